/* The tokens of Lua's source, as far as the keywords of translate.c need to know them.
**
** A token is a place in the text; what separates tokens is known by the gap between
** them. Numbers and operators are not looked at closely: what is wrong in them Lua
** itself says. Nothing is allocated. Any thread.
*/
#ifndef ML_TOKENS_H
#define ML_TOKENS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum {
  ML_TK_EOF,
  ML_TK_NAME,
  ML_TK_STRING,
  ML_TK_NUMBER,
  ML_TK_BROKEN, /* a string or a comment without an end: Lua will say so */
  /* operators, by what they mean for what follows */
  ML_TK_OPERATOR, /* an expression follows */
  ML_TK_ASSIGN,   /* = */
  ML_TK_COMMA,
  ML_TK_SEMICOLON,
  ML_TK_OPEN,   /* ( [ { */
  ML_TK_CLOSE,  /* ) ] } */
  ML_TK_DOT,    /* . : a name follows */
  ML_TK_COLON,  /* : */
  ML_TK_LABEL,  /* :: */
  ML_TK_VARARG, /* ... */
  ML_TK_LESS,   /* < */
  ML_TK_GREATER,
  /* reserved words */
  ML_TK_AND,
  ML_TK_BREAK,
  ML_TK_DO,
  ML_TK_ELSE,
  ML_TK_ELSEIF,
  ML_TK_END,
  ML_TK_FALSE,
  ML_TK_FOR,
  ML_TK_FUNCTION,
  ML_TK_GOTO,
  ML_TK_IF,
  ML_TK_IN,
  ML_TK_LOCAL,
  ML_TK_NIL,
  ML_TK_NOT,
  ML_TK_OR,
  ML_TK_REPEAT,
  ML_TK_RETURN,
  ML_TK_THEN,
  ML_TK_TRUE,
  ML_TK_UNTIL,
  ML_TK_WHILE
} ml_tokenkind;

typedef struct ml_token {
  ml_tokenkind kind;
  size_t at, end; /* where it is in the text */
} ml_token;

/* The token that begins at `from` or behind it. */
ml_token ml__token_next(const char *text, size_t n, size_t from);

#endif
