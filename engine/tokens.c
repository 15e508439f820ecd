/* Reads Lua's tokens: llex.c's rules for where each begins and ends. See tokens.h. */
#include "tokens.h"

#include <string.h>

enum { SPACE = 1, LETTER = 2, DIGIT = 4 };

static const unsigned char classes[256] = {
    ['\t'] = SPACE, ['\n'] = SPACE, ['\v'] = SPACE, ['\f'] = SPACE, ['\r'] = SPACE, [' '] = SPACE,
    ['0'] = DIGIT,  ['1'] = DIGIT,  ['2'] = DIGIT,  ['3'] = DIGIT,  ['4'] = DIGIT,  ['5'] = DIGIT,
    ['6'] = DIGIT,  ['7'] = DIGIT,  ['8'] = DIGIT,  ['9'] = DIGIT,  ['_'] = LETTER, ['a'] = LETTER,
    ['b'] = LETTER, ['c'] = LETTER, ['d'] = LETTER, ['e'] = LETTER, ['f'] = LETTER, ['g'] = LETTER,
    ['h'] = LETTER, ['i'] = LETTER, ['j'] = LETTER, ['k'] = LETTER, ['l'] = LETTER, ['m'] = LETTER,
    ['n'] = LETTER, ['o'] = LETTER, ['p'] = LETTER, ['q'] = LETTER, ['r'] = LETTER, ['s'] = LETTER,
    ['t'] = LETTER, ['u'] = LETTER, ['v'] = LETTER, ['w'] = LETTER, ['x'] = LETTER, ['y'] = LETTER,
    ['z'] = LETTER, ['A'] = LETTER, ['B'] = LETTER, ['C'] = LETTER, ['D'] = LETTER, ['E'] = LETTER,
    ['F'] = LETTER, ['G'] = LETTER, ['H'] = LETTER, ['I'] = LETTER, ['J'] = LETTER, ['K'] = LETTER,
    ['L'] = LETTER, ['M'] = LETTER, ['N'] = LETTER, ['O'] = LETTER, ['P'] = LETTER, ['Q'] = LETTER,
    ['R'] = LETTER, ['S'] = LETTER, ['T'] = LETTER, ['U'] = LETTER, ['V'] = LETTER, ['W'] = LETTER,
    ['X'] = LETTER, ['Y'] = LETTER, ['Z'] = LETTER};

static inline bool is(char c, int cls) { return (classes[(unsigned char)c] & cls) != 0; }

typedef struct word {
  char text[9];
  unsigned char n;
  unsigned char kind;
} word;

/* by their first letter */
static const word words[] = {
    {"and", 3, ML_TK_AND},     {"break", 5, ML_TK_BREAK},   {"do", 2, ML_TK_DO},
    {"else", 4, ML_TK_ELSE},   {"elseif", 6, ML_TK_ELSEIF}, {"end", 3, ML_TK_END},
    {"false", 5, ML_TK_FALSE}, {"for", 3, ML_TK_FOR},       {"function", 8, ML_TK_FUNCTION},
    {"goto", 4, ML_TK_GOTO},   {"if", 2, ML_TK_IF},         {"in", 2, ML_TK_IN},
    {"local", 5, ML_TK_LOCAL}, {"nil", 3, ML_TK_NIL},       {"not", 3, ML_TK_NOT},
    {"or", 2, ML_TK_OR},       {"repeat", 6, ML_TK_REPEAT}, {"return", 6, ML_TK_RETURN},
    {"then", 4, ML_TK_THEN},   {"true", 4, ML_TK_TRUE},     {"until", 5, ML_TK_UNTIL},
    {"while", 5, ML_TK_WHILE}, {"", 0, ML_TK_NAME}};

/* Where each letter's words begin. */
static const unsigned char first_word[26] = {0,  1,  22, 2,  3,  6,  9,  22, 10, 22, 22, 12, 22,
                                             13, 15, 22, 22, 16, 22, 18, 20, 22, 21, 22, 22, 22};

static ml_tokenkind word_kind(const char *s, size_t n) {
  if (n < 2 || n > 8 || *s < 'a' || *s > 'z') return ML_TK_NAME;
  for (const word *w = words + first_word[*s - 'a']; w->text[0] == *s; w++)
    if (w->n == n && memcmp(w->text, s, n) == 0) return (ml_tokenkind)w->kind;
  return ML_TK_NAME;
}

/* Behind the long bracket that begins at p, "[[" or "[=["; NULL: none does. One that is not
** closed goes on to the end. */
static const char *long_bracket(const char *p, const char *end, bool *closed) {
  const char *q = p + 1;
  size_t level;
  while (q < end && *q == '=') q++;
  if (q == end || *q != '[') return NULL;
  level = (size_t)(q - p - 1);
  *closed = true;
  while ((q = memchr(q + 1, ']', (size_t)(end - q - 1))) != NULL) {
    const char *r = q + 1;
    while (r < end && *r == '=') r++;
    if (r < end && *r == ']' && (size_t)(r - q - 1) == level) return r + 1;
    q = r - 1;
  }
  *closed = false;
  return end;
}

/* Behind what separates tokens; NULL: a comment without an end. */
static const char *skip_space(const char *p, const char *end) {
  bool closed;
  for (;;) {
    while (p < end && is(*p, SPACE)) p++;
    if (end - p < 2 || p[0] != '-' || p[1] != '-') return p;
    p += 2;
    if (p < end && *p == '[') {
      const char *q = long_bracket(p, end, &closed);
      if (q != NULL && !closed) return NULL;
      if (q != NULL) {
        p = q;
        continue;
      }
    }
    while (p < end && *p != '\n' && *p != '\r') p++;
  }
}

/* Behind the string that begins at p; NULL: it has no end. */
static const char *quoted(const char *p, const char *end) {
  char quote = *p++;
  while (p < end && *p != quote) {
    if (*p == '\n' || *p == '\r') return NULL;
    if (*p != '\\') {
      p++;
      continue;
    }
    if (++p == end) return NULL;
    if (*p == 'z') {
      for (p++; p < end && is(*p, SPACE); p++) continue;
    } else if ((*p == '\r' || *p == '\n') && p + 1 < end && (p[1] == '\r' || p[1] == '\n') &&
               p[1] != *p) {
      p += 2;
    } else
      p++;
  }
  return p < end ? p + 1 : NULL;
}

static const char *number(const char *p, const char *end) {
  bool hex = p + 1 < end && p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
  for (; p < end; p++) {
    char c = (char)(*p | 0x20);
    if ((hex ? c == 'p' : c == 'e') && p + 1 < end && (p[1] == '+' || p[1] == '-'))
      p++;
    else if (!is(*p, LETTER | DIGIT) && *p != '.')
      break;
  }
  return p;
}

/* The kind of the operator at p; how long it is. */
static ml_tokenkind operator_kind(const char *p, const char *end, size_t *n) {
  char next = p + 1 < end ? p[1] : '\0';
  *n = 1;
  switch (*p) {
  case '(':
  case '[':
  case '{': return ML_TK_OPEN;
  case ')':
  case ']':
  case '}': return ML_TK_CLOSE;
  case ',': return ML_TK_COMMA;
  case ';': return ML_TK_SEMICOLON;
  case ':':
    if (next != ':') return ML_TK_COLON;
    *n = 2;
    return ML_TK_LABEL;
  case '.':
    if (next != '.') return ML_TK_DOT;
    *n = p + 2 < end && p[2] == '.' ? 3 : 2;
    return *n == 3 ? ML_TK_VARARG : ML_TK_OPERATOR;
  case '=':
    if (next != '=') return ML_TK_ASSIGN;
    *n = 2;
    return ML_TK_OPERATOR;
  case '<':
  case '>':
    if (next == '=' || next == *p) {
      *n = 2;
      return ML_TK_OPERATOR;
    }
    return *p == '<' ? ML_TK_LESS : ML_TK_GREATER;
  case '~':
    if (next == '=') *n = 2;
    return ML_TK_OPERATOR;
  case '/':
    if (next == '/') *n = 2;
    return ML_TK_OPERATOR;
  default: return ML_TK_OPERATOR;
  }
}

ml_token ml__token_next(const char *text, size_t n, size_t from) {
  const char *end = text + n, *p = skip_space(text + from, end), *q;
  ml_token t = {ML_TK_EOF, n, n};
  bool closed;
  if (p == NULL) {
    t.kind = ML_TK_BROKEN;
    return t;
  }
  t.at = (size_t)(p - text);
  if (p == end) return t;
  if (is(*p, LETTER)) {
    for (q = p + 1; q < end && is(*q, LETTER | DIGIT); q++) continue;
    t.kind = word_kind(p, (size_t)(q - p));
  } else if (*p == '"' || *p == '\'') {
    q = quoted(p, end);
    t.kind = q != NULL ? ML_TK_STRING : ML_TK_BROKEN;
  } else if (is(*p, DIGIT) || (*p == '.' && p + 1 < end && is(p[1], DIGIT))) {
    q = number(p, end);
    t.kind = ML_TK_NUMBER;
  } else if (*p == '[' && (q = long_bracket(p, end, &closed)) != NULL) {
    t.kind = closed ? ML_TK_STRING : ML_TK_BROKEN;
  } else {
    size_t length;
    t.kind = operator_kind(p, end, &length);
    q = p + length;
  }
  t.end = q != NULL ? (size_t)(q - text) : n;
  return t;
}
