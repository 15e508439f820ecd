/* Keywords: async and await in plain Lua's clothes.
**
**   async function M.f(x) ... end      M.f = async(function(x) ... end, "M.f")
**   local async function f() ... end   local f; f = async(function() ... end, "f")
**   async function(x) ... end          async(function(x) ... end)
**   await a.b:c(x)                     await(a.b:c(x))
**   await f(x), f an async function    await(false,f,x)   no coroutine is made
**   async for a, b in e do             for a, b in async("for", e) do
**   async with e as x, d do            do local __async_with <close> = async("with", e)
**                                      local x = __async_with.value ...
**
** One pass over the tokens. What is copied is copied with its spaces and comments, and each
** line stays where it is. The words are keywords only where plain Lua could not go on: so a
** source without them is not changed, not even looked at when neither word occurs in it.
**
** A stack tells what is open: blocks, brackets, heads of loops, operands of await. What is
** wrong is left for Lua to find, in an order in which it finds what a reader would.
*/
#include "translate.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "asyncnames.h"
#include "rewrite.h"
#include "tokens.h"

typedef enum {
  BLOCK,    /* function, if, do, repeat */
  FUNCTION, /* one whose end closes async( */
  BRACKET,
  FOR,    /* the head of async for */
  WITH,   /* the head of async with */
  OPERAND /* of await, or a call that is a statement */
} openkind;

/* what comes next in an operand */
typedef enum { PRIMARY, SUFFIX, FIELD, METHOD, ARGUMENTS } expectation;

typedef struct level {
  unsigned char kind;   /* openkind */
  unsigned char expect; /* OPERAND */
  bool in;              /* FOR: behind `in`; WITH: behind `as NAME` */
  bool parameters;      /* BRACKET: of a function */
  bool table;           /* BRACKET: { */
  bool statement;       /* OPERAND: no await, a statement */
  bool known;           /* OPERAND: of an async function's name */
  bool called;          /* OPERAND: its last suffix is a call */
  bool empty;           /* OPERAND: without arguments */
  unsigned suffixes;    /* OPERAND */
  size_t at, end;       /* FUNCTION: its name; OPERAND: what is called */
  size_t begin;         /* OPERAND that is known: where it is in the output, behind DIRECT */
  size_t mark;          /* and its first bracket */
} level;

typedef struct pass {
  ml_rewrite w;
  ml_token last;    /* the token before */
  bool last_closed; /* that closes an attribute: `>` */
  bool declaring;   /* between local or for and what ends the list of names */
  bool in_label;    /* between :: and :: */
  bool aliased;     /* the words were declared to be something else in an inner scope */
  bool uses_alias;  /* so other names stand for them */
  bool parameters;  /* the next bracket is of a function's parameters */
  bool self;        /* and self is to be its first one */
  level *stack;
  size_t depth, cap;
  ml_asyncnames names;
} pass;

/* ---- output ---- */

static void emit_token(pass *p, ml_token k) { ml__rewrite_add(&p->w, p->w.s + k.at, k.end - k.at); }

/* The word, or the name that stands for it where the word is a variable, then the rest. */
static void emit_word(pass *p, const char *word, const char *rest) {
  if (p->aliased) ml__rewrite_put(&p->w, "__");
  p->uses_alias = p->uses_alias || p->aliased;
  ml__rewrite_put(&p->w, word);
  ml__rewrite_put(&p->w, rest);
}

/* ---- the stack ---- */

static level *push(pass *p, openkind kind) {
  level *o;
  if (!ml__rewrite_grow(&p->w, (void **)(void *)&p->stack, &p->cap, p->depth + 1, sizeof *p->stack))
    return NULL;
  o = &p->stack[p->depth++];
  memset(o, 0, sizeof *o);
  o->kind = (unsigned char)kind;
  return o;
}

static level *top(pass *p) { return p->depth > 0 ? &p->stack[p->depth - 1] : NULL; }

static bool top_is(pass *p, openkind kind) { return p->depth > 0 && top(p)->kind == kind; }

/* ---- names ---- */

static bool is_text(const pass *p, ml_token k, const char *s, size_t n) {
  return k.kind == ML_TK_NAME && k.end - k.at == n && memcmp(p->w.s + k.at, s, n) == 0;
}

static bool is_await(const pass *p, ml_token k) { return is_text(p, k, "await", 5); }
static bool is_async(const pass *p, ml_token k) { return is_text(p, k, "async", 5); }
static bool is_word(const pass *p, ml_token k) { return is_await(p, k) || is_async(p, k); }

/* An async function has that name. */
static void learn(pass *p, ml_token k) {
  if (!ml__asyncnames_add(&p->names, k)) p->w.failed = true;
}

static void forget(pass *p, ml_token k) { ml__asyncnames_remove(&p->names, k); }

static bool known(const pass *p, ml_token k) { return ml__asyncnames_has(&p->names, k); }

/* ---- where we are ---- */

static ml_token next(const pass *p, ml_token after) {
  return ml__token_next(p->w.s, p->w.n, after.end);
}

static bool same_line(const pass *p, ml_token a, ml_token b) {
  for (size_t i = a.end; i < b.at; i++)
    if (ml__is_newline(p->w.s[i])) return false;
  return true;
}

static bool is_bracket(const pass *p, ml_token k) {
  return k.kind == ML_TK_OPEN && p->w.s[k.at] == '(';
}

/* Does an expression follow the last token? */
static bool wants_expression(pass *p) {
  switch (p->last.kind) {
  case ML_TK_OPERATOR:
  case ML_TK_ASSIGN:
  case ML_TK_COMMA:
  case ML_TK_OPEN:
  case ML_TK_LESS:
  case ML_TK_AND:
  case ML_TK_ELSEIF:
  case ML_TK_IF:
  case ML_TK_IN:
  case ML_TK_NOT:
  case ML_TK_OR:
  case ML_TK_RETURN:
  case ML_TK_UNTIL:
  case ML_TK_WHILE: return true;
  case ML_TK_GREATER: return !p->last_closed;
  case ML_TK_SEMICOLON: return top_is(p, BRACKET) && top(p)->table;
  default: return false;
  }
}

/* Is a name that follows the last token no variable? */
static bool wants_name(const pass *p) {
  switch (p->last.kind) {
  case ML_TK_DOT:
  case ML_TK_COLON:
  case ML_TK_GOTO:
  case ML_TK_FUNCTION: return true;
  case ML_TK_LABEL: return p->in_label;
  default: return false;
  }
}

/* ---- operands: of await, and calls that are statements ---- */

/* Does the operand go on with this token? */
static bool goes_on(level *o, const char *s, ml_token k) {
  bool arguments = k.kind == ML_TK_STRING || (k.kind == ML_TK_OPEN && s[k.at] != '[');
  switch ((expectation)o->expect) {
  case PRIMARY:
  case FIELD:
  case METHOD:
    if (k.kind != ML_TK_NAME) return false;
    if (o->expect != PRIMARY) o->end = k.end;
    o->expect = o->expect == METHOD ? ARGUMENTS : SUFFIX;
    return true;
  case ARGUMENTS:
    if (!arguments) return false;
    break;
  default:
    if (!arguments && k.kind != ML_TK_OPEN && k.kind != ML_TK_DOT && k.kind != ML_TK_COLON)
      return false;
  }
  o->expect = k.kind == ML_TK_DOT ? FIELD : k.kind == ML_TK_COLON ? METHOD : SUFFIX;
  o->called = arguments;
  o->suffixes++;
  return true;
}

static void note_call(pass *p, const level *o) {
  ml_translation *t = p->w.out;
  if (!ml__rewrite_grow(&p->w, (void **)(void *)&t->calls, &t->capcalls, t->ncalls + 1,
                        sizeof *t->calls))
    return;
  t->calls[t->ncalls++] = (ml_callstat){o->at, o->end, o->known && o->suffixes == 1};
}

/* What tells await that the function and its arguments follow. */
#define DIRECT "false,"
#define DIRECT_LEN (sizeof DIRECT - 1)

/* The operand on top has ended with the last token; `then` follows. */
static void end_operand(pass *p, ml_token then) {
  level o = *top(p);
  p->depth--;
  if (o.statement) {
    if (o.called && then.kind != ML_TK_ASSIGN && then.kind != ML_TK_COMMA) note_call(p, &o);
    return;
  }
  if (o.expect != SUFFIX || p->last.end <= o.at) return; /* broken off: Lua says why */
  ml__rewrite_copy(&p->w, p->last.end);
  if (o.mark != 0 && o.suffixes == 1) { /* await(false,f(x)) -> await(false,f,x) */
    if (!p->w.failed) p->w.out->text[o.mark] = o.empty ? ' ' : ',';
    return;
  }
  if (o.begin != 0 && !p->w.failed) memset(p->w.out->text + o.begin - DIRECT_LEN, ' ', DIRECT_LEN);
  ml__rewrite_put(&p->w, ")");
}

static void begin_await(pass *p, ml_token k, ml_token operand) {
  level *o;
  ml__rewrite_copy(&p->w, k.at);
  emit_word(p, "await", "(");
  p->w.copied = operand.at;
  if ((o = push(p, OPERAND)) == NULL) return;
  o->known = known(p, operand);
  o->at = operand.at;
  o->end = operand.end;
  if (!o->known || !is_bracket(p, next(p, operand))) return;
  ml__rewrite_put(&p->w, DIRECT);
  o->begin = p->w.out->n;
}

/* ---- async ---- */

/* The function's name, from k on: the token behind it, or one that is none. */
static ml_token path_end(const pass *p, ml_token k, bool *method, bool *plain) {
  *method = false;
  *plain = true;
  for (;;) {
    ml_token after = next(p, k);
    if (after.kind != ML_TK_DOT && after.kind != ML_TK_COLON) return after;
    if (*method) return after;
    *plain = false;
    *method = after.kind == ML_TK_COLON;
    k = next(p, after);
    if (k.kind != ML_TK_NAME) return k;
  }
}

/* `async` before `function`. Gives the token to go on from. */
static ml_token begin_function(pass *p, ml_token async, ml_token function) {
  ml_token name = next(p, function), after = name;
  bool local = p->last.kind == ML_TK_LOCAL, method = false, plain = true;
  level *o;
  if (name.kind == ML_TK_NAME) after = path_end(p, name, &method, &plain);
  ml__rewrite_copy(&p->w, async.at);
  if (name.kind == ML_TK_NAME ? !is_bracket(p, after) || (local && !plain)
                              : local || !wants_expression(p) || !is_bracket(p, name)) {
    ml__rewrite_skip(&p->w, function.at); /* nonsense: of a plain function, it is Lua's to say */
    return async;
  }
  if (local && is_word(p, name) && (p->depth > 0 || is_async(p, name))) p->aliased = true;
  if ((o = push(p, FUNCTION)) == NULL) return function;
  if (name.kind == ML_TK_NAME) {
    if (local) {
      emit_token(p, name);
      ml__rewrite_put(&p->w, "; ");
    }
    ml__rewrite_skip(&p->w, name.at);
    o->at = name.at;
    for (ml_token k = name; k.at != after.at; k = next(p, k)) {
      o->end = k.end;
      if (k.kind != ML_TK_COLON) continue;
      ml__rewrite_copy(&p->w, k.at);
      ml__rewrite_put(&p->w, ".");
      p->w.copied = k.end;
    }
    ml__rewrite_copy(&p->w, o->end);
    ml__rewrite_put(&p->w, " = ");
    if (plain) learn(p, name);
  } else
    ml__rewrite_skip(&p->w, function.at);
  emit_word(p, "async", "(function");
  if (name.kind != ML_TK_NAME) p->w.copied = function.end;
  p->parameters = true;
  p->self = method;
  function.end = after.at;
  return function;
}

/* The block on top is over with `end`. */
static void end_block(pass *p, ml_token k) {
  level o;
  while (p->depth > 0 && top(p)->kind > FUNCTION) p->depth--;
  if (p->depth == 0) return;
  o = p->stack[--p->depth];
  if (o.kind != FUNCTION) return;
  ml__rewrite_copy(&p->w, k.end);
  if (o.end > o.at && memchr(p->w.s + o.at, '\n', o.end - o.at) == NULL) {
    ml__rewrite_put(&p->w, ", \"");
    for (size_t i = o.at; i < o.end; i++) /* there may be spaces and comments in it */
      if (p->w.s[i] == '.' || p->w.s[i] == ':' || p->w.s[i] == '_' ||
          isalnum((unsigned char)p->w.s[i]))
        ml__rewrite_add(&p->w, p->w.s + i, 1);
    ml__rewrite_put(&p->w, "\"");
  }
  ml__rewrite_put(&p->w, ")");
}

#define WITH_HEAD "local __async_with <close> = "

static void begin_with(pass *p, ml_token async, ml_token with) {
  ml__rewrite_copy(&p->w, async.at);
  ml__rewrite_put(&p->w, "do " WITH_HEAD);
  emit_word(p, "async", "(\"with\",");
  ml__rewrite_skip(&p->w, with.end);
  push(p, WITH);
}

static void begin_for(pass *p, ml_token async, ml_token word) {
  ml__rewrite_copy(&p->w, async.at);
  ml__rewrite_skip(&p->w, word.at);
  push(p, FOR);
}

/* A token that ends an expression, or cannot stand in one. */
static bool ends_expression(pass *p, ml_token k) {
  if (wants_expression(p) || wants_name(p)) return false;
  switch (k.kind) {
  case ML_TK_NAME:
  case ML_TK_NUMBER:
  case ML_TK_EOF:
  case ML_TK_ASSIGN:
  case ML_TK_SEMICOLON:
  case ML_TK_LABEL: return true;
  case ML_TK_AND:
  case ML_TK_OR: return false;
  default: return k.kind >= ML_TK_AND;
  }
}

/* The head of async for is on top. Is that all there is to do for the token? */
static bool head_of_for(pass *p, ml_token k) {
  level *o = top(p);
  if (!o->in) {
    if (k.kind == ML_TK_ASSIGN) { /* then Lua misses `in` here */
      ml__rewrite_copy(&p->w, p->last.end);
      ml__rewrite_put(&p->w, ", _");
      p->depth--;
    } else if (k.kind == ML_TK_IN) {
      o->in = true;
      ml__rewrite_copy(&p->w, k.end);
      ml__rewrite_put(&p->w, " ");
      emit_word(p, "async", "(\"for\",");
      return true;
    } else if (k.kind != ML_TK_NAME && k.kind != ML_TK_COMMA)
      p->depth--;
    return false;
  }
  if (!ends_expression(p, k)) return false;
  ml__rewrite_copy(&p->w, p->last.end);
  ml__rewrite_put(&p->w, ")");
  p->depth--;
  if (k.kind != ML_TK_DO) return false; /* Lua misses it here */
  push(p, BLOCK);
  return true;
}

/* `as`: binds the name behind it. */
static ml_token with_name(pass *p, ml_token as) {
  ml_token name = next(p, as);
  ml__rewrite_copy(&p->w, p->last.end);
  ml__rewrite_put(&p->w, ") local ");
  ml__rewrite_skip(&p->w, name.at);
  if (name.kind != ML_TK_NAME) { /* Lua misses it */
    p->depth--;
    return as;
  }
  top(p)->in = true;
  ml__rewrite_copy(&p->w, name.end);
  ml__rewrite_put(&p->w, " = __async_with.value");
  if (is_word(p, name)) p->aliased = true;
  forget(p, name);
  return name;
}

/* Could an expression go on with it, behind any value? */
static bool may_continue(ml_token k) {
  return k.kind == ML_TK_OPERATOR || k.kind == ML_TK_LESS || k.kind == ML_TK_GREATER ||
         k.kind == ML_TK_AND || k.kind == ML_TK_OR;
}

/* The same for the head of async with. */
static bool head_of_with(pass *p, ml_token *k) {
  level *o = top(p);
  if (wants_expression(p) || wants_name(p)) return false;
  if (is_text(p, *k, "as", 2) && !o->in) {
    *k = with_name(p, *k);
    return true;
  }
  if (k->kind != ML_TK_COMMA && !o->in && !ends_expression(p, *k)) return false;
  ml__rewrite_copy(&p->w, p->last.end);
  if (!o->in) ml__rewrite_put(&p->w, ")");
  if (k->kind == ML_TK_COMMA) {
    o->in = false;
    ml__rewrite_skip(&p->w, k->end);
    ml__rewrite_put(&p->w, " " WITH_HEAD);
    emit_word(p, "async", "(\"with\",");
    return true;
  }
  p->depth--;
  if (k->kind != ML_TK_DO) {
    /* Lua misses `do` here; an operator goes on with no statement */
    ml__rewrite_put(&p->w, may_continue(*k) ? ";" : " while nil ");
    return false;
  }
  ml__rewrite_skip(&p->w, k->end);
  push(p, BLOCK);
  return true;
}

/* ---- the pass ---- */

static void note_bracket(pass *p, ml_token k) {
  level *o = top(p);
  if (p->depth > 0 && o->kind == OPERAND && o->begin != 0 && o->suffixes == 1) {
    ml__rewrite_copy(&p->w, k.end);
    o->mark = p->w.out->n - 1;
  }
  if ((o = push(p, BRACKET)) == NULL) return;
  o->table = p->w.s[k.at] == '{';
  o->parameters = p->parameters && p->w.s[k.at] == '(';
  p->parameters = false;
  if (o->parameters && p->self) {
    ml_token after = next(p, k);
    ml__rewrite_copy(&p->w, k.end);
    ml__rewrite_put(&p->w, after.kind == ML_TK_CLOSE ? "self" : "self, ");
  }
  p->self = false;
}

/* A name that is made another variable's: what is known of it holds no more. */
static void note_name(pass *p, ml_token k) {
  bool declared = p->declaring || (top_is(p, BRACKET) && top(p)->parameters);
  ml_token after;
  if (declared && is_word(p, k) &&
      (p->last.kind == ML_TK_FOR || p->depth > (p->last.kind == ML_TK_FUNCTION ? 1 : 0))) {
    p->aliased = true;
    return;
  }
  if (p->names.n == 0) return;
  if (!declared && p->last.kind != ML_TK_FUNCTION) {
    if (wants_name(p) || (top_is(p, BRACKET) && top(p)->table)) return;
    after = next(p, k);
    if (after.kind != ML_TK_ASSIGN && (after.kind != ML_TK_COMMA || wants_expression(p))) return;
  }
  forget(p, k);
}

static void begin_statement(pass *p, ml_token k) {
  level *o;
  if (p->declaring || p->parameters || wants_expression(p) || wants_name(p) || p->last_closed ||
      p->last.kind == ML_TK_LOCAL || p->last.kind == ML_TK_FOR || top_is(p, BRACKET) ||
      top_is(p, FOR) || top_is(p, WITH) || top_is(p, OPERAND))
    return;
  if ((o = push(p, OPERAND)) == NULL) return;
  o->statement = true;
  o->expect = SUFFIX;
  o->known = known(p, k);
  o->at = k.at;
  o->end = k.end;
}

/* A name. Gives the token to go on from. */
static ml_token on_name(pass *p, ml_token k) {
  ml_token after;
  if (!wants_name(p) && (!p->declaring || p->last.kind == ML_TK_LOCAL)) {
    if (is_await(p, k) && !p->declaring) {
      after = next(p, k);
      if (after.kind == ML_TK_NAME && same_line(p, k, after)) {
        begin_await(p, k, after);
        return k;
      }
    } else if (is_async(p, k)) {
      bool expression = wants_expression(p);
      after = next(p, k);
      bool here = same_line(p, k, after);
      if (here && after.kind == ML_TK_FUNCTION &&
          (!expression || next(p, after).kind != ML_TK_NAME))
        return begin_function(p, k, after);
      here = here && !p->declaring && !expression;
      if (here && after.kind == ML_TK_FOR) {
        begin_for(p, k, after);
        return after;
      }
      if (here && is_text(p, after, "with", 4)) {
        begin_with(p, k, after);
        after.kind = ML_TK_OPERATOR; /* an expression follows */
        return after;
      }
    }
  }
  note_name(p, k);
  if (p->w.out->want_calls) begin_statement(p, k);
  return k;
}

static ml_token on_token(pass *p, ml_token k) {
  while (top_is(p, OPERAND) && !goes_on(top(p), p->w.s, k)) end_operand(p, k);
  if (p->declaring && k.kind == ML_TK_NAME && (p->last.kind == ML_TK_NAME || p->last_closed))
    p->declaring = false;
  if (top_is(p, FOR) && head_of_for(p, k)) return k;
  if (top_is(p, WITH) && head_of_with(p, &k)) return k;
  switch (k.kind) {
  case ML_TK_NAME: return on_name(p, k);
  case ML_TK_FUNCTION:
    p->parameters = true;
    push(p, BLOCK);
    break;
  case ML_TK_IF:
  case ML_TK_DO:
  case ML_TK_REPEAT: push(p, BLOCK); break;
  case ML_TK_END: end_block(p, k); break;
  case ML_TK_UNTIL:
    if (top_is(p, BLOCK)) p->depth--;
    break;
  case ML_TK_OPEN: note_bracket(p, k); break;
  case ML_TK_CLOSE:
    if (top_is(p, BRACKET)) p->depth--;
    if (top_is(p, OPERAND)) top(p)->empty = p->last.kind == ML_TK_OPEN;
    break;
  default: break;
  }
  return k;
}

static void translate(pass *p) {
  ml_token k = {ML_TK_EOF, 0, 0};
  p->last = k;
  do {
    k = ml__token_next(p->w.s, p->w.n, p->last.end);
    if (k.kind == ML_TK_BROKEN) break;
    k = on_token(p, k);
    p->last_closed = k.kind == ML_TK_GREATER && p->declaring;
    if (k.kind == ML_TK_LOCAL || k.kind == ML_TK_FOR ||
        (k.kind == ML_TK_FUNCTION && p->last.kind == ML_TK_LOCAL))
      p->declaring = true;
    else if (k.kind != ML_TK_NAME && k.kind != ML_TK_COMMA && k.kind != ML_TK_LESS &&
             k.kind != ML_TK_GREATER)
      p->declaring = false;
    if (k.kind == ML_TK_LABEL) p->in_label = !p->in_label;
    p->last = k;
  } while (k.kind != ML_TK_EOF && !p->w.failed);
}

#define ALIASES "local __async, __await = async, await "

/* What stands for the words where they are variables is declared before all else. */
static void declare_aliases(pass *p) {
  ml_translation *t = p->w.out;
  size_t n = sizeof ALIASES - 1, body = t->n;
  ml__rewrite_add(&p->w, ALIASES, n);
  if (p->w.failed) return;
  memmove(t->text + n, t->text, body);
  memcpy(t->text, ALIASES, n);
}

static int by_place(const void *a, const void *b) {
  size_t x = ((const ml_callstat *)a)->at, y = ((const ml_callstat *)b)->at;
  return (x > y) - (x < y);
}

int ml__translate(ml_translation *t, const char *source, size_t n) {
  pass p;
  t->text = NULL;
  t->calls = NULL;
  t->n = t->cap = t->ncalls = t->capcalls = 0;
  if (!t->want_calls && memmem(source, n, "await", 5) == NULL &&
      memmem(source, n, "async", 5) == NULL)
    return 0;
  memset(&p, 0, sizeof p);
  p.w.out = t;
  ml__asyncnames_init(&p.names, t->alloc, source);
  p.w.s = source;
  p.w.n = n;
  translate(&p);
  if (t->n > 0 || p.w.copied > 0) { /* else nothing is changed */
    ml__rewrite_add(&p.w, "", 0);
    ml__rewrite_copy(&p.w, n);
  }
  if (p.uses_alias && !p.w.failed) declare_aliases(&p);
  if (t->ncalls > 1) qsort(t->calls, t->ncalls, sizeof *t->calls, by_place);
  if (p.stack != NULL) ml__alloc(t->alloc, p.stack, p.cap * sizeof *p.stack, 0);
  ml__asyncnames_free(&p.names);
  return p.w.failed ? ML_ENOMEM : 0;
}

void ml__translation_free(ml_translation *t) {
  if (t->text != NULL) ml__alloc(t->alloc, t->text, t->cap, 0);
  if (t->calls != NULL) ml__alloc(t->alloc, t->calls, t->capcalls * sizeof *t->calls, 0);
  t->text = NULL;
  t->calls = NULL;
}
