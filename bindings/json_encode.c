/* json.encode: a value as text, in one pass. Containers that are open are entries of a list, not
** calls; the table of each, and where lua_next has got to in it, stay on the Lua stack.
*/
#include "json.h"

#include <math.h>
#include <stdlib.h>

#define FRAMES 16
/* Values between two looks at the meter. */
#define CHECK 4096
/* Replacements of one value by `__json` and `default`, at most. */
#define HOOKS 100
/* What the field n of a list may be at most. */
#define MAX_N 100000000

typedef enum { LIST, NAMED, SORTED } json_kind;

typedef struct json_frame {
  json_kind kind;
  int idx;       /* of its table; NAMED: the key is above; SORTED: the keys and their order */
  bool numbers;  /* integers are fit as keys */
  bool counted;  /* LIST: its field n is its length, what is not there is null */
  lua_Integer i; /* the value that is being written, from 1 */
  lua_Integer n; /* LIST, SORTED: how many there are */
  size_t start;  /* where its text begins */
} json_frame;

typedef struct json_name {
  const char *s;
  size_t len;
  lua_Integer i; /* in the list of keys */
} json_name;

typedef struct json_encoder {
  lua_State *L;
  json_frame *frames;
  int depth, capacity, max_depth;
  int slots; /* the first of three on the stack: block, larger list of frames, default */
  unsigned steps;
  bool sorted, has_default;
  const char *indent; /* NULL: none */
  size_t indent_len;
  int space; /* slots of the stack that are there */
  json_frame first[FRAMES];
  ml_jsontext out;
} json_encoder;

/* ---- the text ---- */

static inline char *room(json_encoder *e, size_t n) { return ml__jsontext_room(&e->out, n); }

static inline void put(json_encoder *e, const char *s, size_t n) {
  ml__jsontext_put(&e->out, s, n);
}

static void newline(json_encoder *e) {
  size_t n = (size_t)e->depth * e->indent_len;
  char *p = room(e, n + 1);
  *p++ = '\n';
  for (int i = 0; i < e->depth; i++, p += e->indent_len) memcpy(p, e->indent, e->indent_len);
  e->out.len += n + 1;
}

/* ---- errors ---- */

static bool is_name(const char *s, size_t n) {
  if (n == 0 || n > 64 || (s[0] >= '0' && s[0] <= '9')) return false;
  for (size_t i = 0; i < n; i++)
    if (!((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z') && !(s[i] >= '0' && s[i] <= '9') &&
        s[i] != '_')
      return false;
  return true;
}

/* Pushes how a script gets at what is written now in the first `depth` frames. */
static void push_path(json_encoder *e, int depth) {
  lua_State *L = e->L;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  lua_pushliteral(L, "value");
  for (int k = 0; k < depth; k++) {
    const json_frame *f = &e->frames[k];
    const char *s;
    size_t n;
    if (f->kind == LIST) {
      lua_pushfstring(L, "%s[%I]", lua_tostring(L, -1), (LUAI_UACINT)f->i);
    } else {
      if (f->kind == SORTED)
        lua_rawgeti(L, f->idx + 1, ((json_name *)lua_touserdata(L, f->idx + 2))[f->i - 1].i);
      else
        lua_pushvalue(L, f->idx + 1);
      s = luaL_tolstring(L, -1, &n);
      if (lua_type(L, -2) == LUA_TSTRING && is_name(s, n))
        lua_pushfstring(L, "%s.%s", lua_tostring(L, -3), s);
      else if (lua_type(L, -2) == LUA_TSTRING)
        lua_pushfstring(L, "%s[\"%s\"]", lua_tostring(L, -3), s);
      else
        lua_pushfstring(L, "%s[%s]", lua_tostring(L, -3), s);
      lua_replace(L, -3);
      lua_pop(L, 1);
    }
    lua_replace(L, -2);
  }
}

/* Raises an error about what is being written: `what` is on top of the stack. */
static void fail(json_encoder *e, const char *cls) {
  push_path(e, e->depth);
  ml__misuse(e->L, cls, "encode: %s: %s", lua_tostring(e->L, -1), lua_tostring(e->L, -2));
}

static inline void string(json_encoder *e, const char *s, size_t n) {
  size_t bad = ml__jsontext_string(&e->out, s, n);
  if (bad == 0) return;
  lua_pushfstring(e->L, "invalid UTF-8 at byte %I", (LUAI_UACINT)bad);
  fail(e, "ValueError");
}

/* The table on top is one too many. */
static void fail_deep(json_encoder *e) {
  lua_State *L = e->L;
  int k = e->depth - 1, top = lua_gettop(L), period;
  while (k >= 0 && !lua_rawequal(L, e->frames[k].idx, top)) k--;
  period = e->depth - k;
  if (k >= 0) { /* where it goes round for the first time */
    for (k = 0; k + period < e->depth; k++)
      if (lua_rawequal(L, e->frames[k].idx, e->frames[k + period].idx)) break;
    push_path(e, k);
    push_path(e, k + period);
    ml__misuse(L, "ValueError", "encode: circular reference: %s is %s again", lua_tostring(L, -1),
               lua_tostring(L, -2));
  }
  lua_pushfstring(L, "deeper than %d", e->max_depth);
  if (e->depth > 8) e->depth = 8; /* where it goes down: enough of the path */
  fail(e, "ValueError");
}

/* ---- containers ---- */

/* The table on top is a list: how long, and may it have holes? False: it is none. */
static bool field_n(json_encoder *e, json_frame *f) {
  lua_State *L = e->L;
  lua_Integer n;
  int isint;
  lua_pushliteral(L, "n");
  lua_rawget(L, f->idx);
  n = lua_tointegerx(L, -1, &isint);
  isint = isint && lua_type(L, -1) == LUA_TNUMBER;
  lua_pop(L, 1);
  if (!isint || n < 0 || n > MAX_N || f->counted) return false;
  lua_settop(L, f->idx);
  f->counted = true;
  f->n = n;
  f->i = 0;
  e->out.len = f->start + 1;
  return true;
}

/* At the end of a list: whatever else it has is an error. True: it is written again, now with
** its field n for its length. */
static bool has_more(json_encoder *e, json_frame *f) {
  lua_State *L = e->L;
  if (f->counted || f->n == 0)
    lua_pushnil(L);
  else
    lua_pushinteger(L, f->n);
  for (; lua_next(L, f->idx); lua_pop(L, 1)) {
    if (f->counted && lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 &&
        lua_tointeger(L, -2) <= f->n)
      continue;
    if (f->counted && lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "n") == 0)
      continue;
    if (field_n(e, f)) return true;
    lua_pop(L, 1);
    luaL_tolstring(L, -1, NULL);
    lua_pushfstring(L, "a list of %I, but it has the key '%s', too (see json.object)",
                    (LUAI_UACINT)f->n, lua_tostring(L, -1));
    e->depth--;
    fail(e, "TypeError");
  }
  return false;
}

static int by_name(const void *x, const void *y) {
  const json_name *a = x, *b = y;
  int c = memcmp(a->s, b->s, a->len < b->len ? a->len : b->len);
  return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

/* Above the table: a list of its keys, and their order. Numbers are texts in there. */
static void sort(json_encoder *e, json_frame *f) {
  lua_State *L = e->L;
  json_name *names;
  f->n = 0;
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, f->idx); lua_pop(L, 1)) {
    lua_pushvalue(L, -2);
    lua_rawseti(L, f->idx + 1, ++f->n);
  }
  names = lua_newuserdatauv(L, sizeof *names * (size_t)(f->n + 1), 0);
  lua_createtable(L, f->numbers ? (int)f->n : 0, 0); /* keeps the texts of numbers */
  for (lua_Integer i = 1; i <= f->n; i++) {
    int type = lua_rawgeti(L, f->idx + 1, i);
    names[i - 1].i = i;
    names[i - 1].s = "";
    names[i - 1].len = 0;
    if (type == LUA_TSTRING || (f->numbers && lua_isinteger(L, -1))) {
      names[i - 1].s = lua_tolstring(L, -1, &names[i - 1].len);
      if (type == LUA_TNUMBER) {
        lua_rawseti(L, f->idx + 3, i);
        continue;
      }
    }
    lua_pop(L, 1);
  }
  if (f->n > 1) qsort(names, (size_t)f->n, sizeof *names, by_name);
  f->i = 0;
}

static void close_container(json_encoder *e, json_frame *f) {
  bool empty = e->out.len == f->start + 1;
  e->depth--;
  if (e->indent != NULL && !empty) newline(e);
  *room(e, 1) = f->kind == LIST ? ']' : '}';
  e->out.len++;
  lua_settop(e->L, f->idx - 1);
}

/* Room for one more container: in the list, and for what it has on the stack. */
static void more_space(json_encoder *e, int top) {
  lua_State *L = e->L;
  luaL_checkstack(L, 4 * LUA_MINSTACK, "the JSON text");
  e->space = top + 3 * LUA_MINSTACK;
  if (e->depth == e->capacity) {
    json_frame *larger = lua_newuserdatauv(L, 2 * sizeof *larger * (size_t)e->capacity, 0);
    memcpy(larger, e->frames, sizeof *larger * (size_t)e->capacity);
    lua_replace(L, e->slots + 1);
    e->frames = larger;
    e->capacity *= 2;
  }
}

/* The table on top of the stack, of that kind or, `mark` 0, of the one that it looks like. */
static void open_container(json_encoder *e, int mark) {
  lua_State *L = e->L;
  int top = lua_gettop(L);
  json_frame *f;
  lua_Integer n;
  if (e->depth == e->max_depth) fail_deep(e);
  if (top > e->space || e->depth == e->capacity) more_space(e, top);
  f = &e->frames[e->depth++];
  f->idx = top;
  f->numbers = mark == ML_JSON_OBJECT;
  f->counted = false;
  f->start = e->out.len;
  f->i = 0;
  n = f->numbers ? 0 : (lua_Integer)lua_rawlen(L, -1);
  f->n = n;
  f->kind = n > 0 || mark == ML_JSON_ARRAY ? LIST : e->sorted ? SORTED : NAMED;
  *room(e, 1) = f->kind == LIST ? '[' : '{';
  e->out.len++;
  if (f->kind == SORTED)
    sort(e, f);
  else if (f->kind == NAMED)
    lua_pushnil(L);
}

static inline void separate(json_encoder *e, const json_frame *f) {
  if (f->i > 1) {
    *room(e, 1) = ',';
    e->out.len++;
  }
  if (e->indent != NULL) newline(e);
}

/* The key at idx, and a colon. */
static void name(json_encoder *e, const json_frame *f, int idx) {
  lua_State *L = e->L;
  size_t n;
  if (lua_type(L, idx) == LUA_TSTRING) {
    const char *s = lua_tolstring(L, idx, &n);
    string(e, s, n);
  } else if (lua_isinteger(L, idx) && f->numbers) {
    char *out = room(e, ML_JSON_NUMBER + 2);
    n = (size_t)ml__json_frominteger(out + 1, lua_tointeger(L, idx));
    out[0] = out[n + 1] = '"';
    e->out.len += n + 2;
  } else {
    lua_pushvalue(L, idx);
    luaL_tolstring(L, -1, NULL);
    lua_pushfstring(L, "keys must be strings, got %s %s%s", luaL_typename(L, -2),
                    lua_tostring(L, -1),
                    lua_isinteger(L, -2) ? " (not a list from 1 on; see json.object)" : "");
    e->depth--;
    fail(e, "TypeError");
  }
  if (e->indent != NULL)
    put(e, ": ", 2);
  else
    put(e, ":", 1);
}

static void one(json_encoder *e);

/* The next value of the innermost container, or its end. */
static void step(json_encoder *e) {
  json_frame *f = &e->frames[e->depth - 1];
  lua_State *L = e->L;
  if (f->kind == NAMED) {
    if (!lua_next(L, f->idx)) {
      close_container(e, f);
      return;
    }
    f->i++;
    separate(e, f);
    name(e, f, f->idx + 1);
  } else if (f->i == f->n) {
    if (f->kind == LIST && has_more(e, f)) return;
    close_container(e, f);
    return;
  } else if (f->kind == LIST) {
    f->i++;
    if (lua_rawgeti(L, f->idx, f->i) == LUA_TNIL && !f->counted) {
      if (field_n(e, f)) return;
      lua_pushliteral(L, "nil in a list (see json.null)");
      fail(e, "TypeError");
    }
    separate(e, f);
  } else {
    json_name *names = lua_touserdata(L, f->idx + 2);
    lua_rawgeti(L, f->idx + 1, names[f->i++].i);
    separate(e, f);
    name(e, f, lua_gettop(L));
    lua_rawget(L, f->idx);
  }
  one(e);
}

/* ---- values ---- */

/* Replaces the value on top by what the function on top of it gives for it. */
static void hook(json_encoder *e, int *hooks) {
  lua_State *L = e->L;
  if (++*hooks > HOOKS) {
    lua_pushliteral(L, "replaced by __json or default again and again");
    fail(e, "ValueError");
  }
  lua_insert(L, -2);
  lua_call(L, 1, 1);
}

static bool has_hook(json_encoder *e) { return luaL_getmetafield(e->L, -1, "__json") != LUA_TNIL; }

/* How the table on top is marked, or 0; its metatable is above it (popped). */
static int mark_of(lua_State *L) {
  int mark = lua_rawequal(L, -1, lua_upvalueindex(ML_JSON_ARRAY))    ? ML_JSON_ARRAY
             : lua_rawequal(L, -1, lua_upvalueindex(ML_JSON_OBJECT)) ? ML_JSON_OBJECT
                                                                     : 0;
  lua_pop(L, 1);
  return mark;
}

static void number(json_encoder *e) {
  lua_State *L = e->L;
  char *out = room(e, ML_JSON_NUMBER);
  if (lua_isinteger(L, -1)) {
    e->out.len += (size_t)ml__json_frominteger(out, lua_tointeger(L, -1));
  } else {
    double d = (double)lua_tonumber(L, -1);
    if (!isfinite(d)) {
      lua_pushfstring(L, "%f is no JSON number", (LUAI_UACNUMBER)d);
      fail(e, "ValueError");
    }
    e->out.len += (size_t)ml__json_fromdouble(out, d);
  }
}

/* What is neither JSON's nor has `__json`. */
static void other(json_encoder *e, int *hooks) {
  lua_State *L = e->L;
  if (!e->has_default) {
    lua_pushfstring(L, "a %s has no JSON form (see __json and default)", luaL_typename(L, -1));
    fail(e, "TypeError");
  }
  lua_pushvalue(L, e->slots + 2);
  hook(e, hooks);
}

/* Writes and pops the value on top; a container is only opened. */
static void one(json_encoder *e) {
  lua_State *L = e->L;
  int mark;
  size_t n;
  const char *s;
  if (++e->steps % CHECK == 0) ml__meter_check(L);
  for (int hooks = 0;;) {
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
      s = lua_tolstring(L, -1, &n);
      string(e, s, n);
      break;
    case LUA_TNUMBER: number(e); break;
    case LUA_TBOOLEAN:
      if (lua_toboolean(L, -1))
        put(e, "true", 4);
      else
        put(e, "false", 5);
      break;
    case LUA_TNIL: put(e, "null", 4); break;
    case LUA_TTABLE:
      if (!lua_getmetatable(L, -1)) {
        open_container(e, 0);
        return;
      }
      mark = mark_of(L);
      if (mark != 0 || !has_hook(e)) {
        open_container(e, mark);
        return;
      }
      hook(e, &hooks);
      continue;
    case LUA_TUSERDATA:
      if (lua_rawequal(L, -1, lua_upvalueindex(ML_JSON_NULL))) {
        put(e, "null", 4);
        break;
      }
      if (has_hook(e))
        hook(e, &hooks);
      else
        other(e, &hooks);
      continue;
    default: other(e, &hooks); continue;
    }
    lua_pop(L, 1);
    return;
  }
}

/* ---- json.encode ---- */

static void indent_option(json_encoder *e) {
  lua_State *L = e->L;
  int isint;
  lua_Integer n;
  switch (lua_getfield(L, 2, "indent")) {
  case LUA_TNIL: lua_pop(L, 1); return;
  case LUA_TSTRING:
    e->indent = lua_tolstring(L, -1, &e->indent_len);
    if (strspn(e->indent, " \t") != e->indent_len)
      ml__misuse(L, "ValueError", "encode: indent must be blanks or their number");
    lua_replace(L, 3); /* it stays */
    return;
  default:
    n = lua_tointegerx(L, -1, &isint);
    if (!isint || n < 0 || n > 32)
      ml__misuse(L, "ValueError", "encode: indent must be blanks or their number, 0 to 32");
    lua_pop(L, 1);
    e->indent = "                                ";
    e->indent_len = (size_t)n;
  }
}

static bool flag(lua_State *L, const char *key) {
  bool on;
  lua_getfield(L, 2, key);
  on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

static void options(json_encoder *e) {
  static const char *const keys[] = {"indent",  "sort_keys", "ensure_ascii",
                                     "default", "max_depth", NULL};
  lua_State *L = e->L;
  ml__checkoptions(L, 2, keys, "encode");
  e->max_depth = ml__json_depth(L, "encode");
  e->sorted = flag(L, "sort_keys");
  e->out.ascii = flag(L, "ensure_ascii");
  indent_option(e);
  if (lua_getfield(L, 2, "default") == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  if (!lua_isfunction(L, -1))
    ml__misuse(L, "TypeError", "encode: default must be a function, got %s", luaL_typename(L, -1));
  e->has_default = true;
  lua_replace(L, e->slots + 2);
}

/* encode(value, options) -> text */
int ml__json_encode(lua_State *L) {
  json_encoder e;
  luaL_checkany(L, 1);
  lua_settop(L, 6); /* value, options, indent, and the slots */
  e.L = L;
  e.frames = e.first;
  e.capacity = FRAMES;
  e.depth = 0;
  e.max_depth = ML_JSON_DEPTH;
  e.slots = 4;
  ml__jsontext_init(&e.out, L, e.slots);
  e.steps = 0;
  e.sorted = e.has_default = false;
  e.indent = NULL;
  e.indent_len = 0;
  e.space = 0;
  if (!lua_isnil(L, 2)) options(&e);
  lua_pushvalue(L, 1);
  one(&e);
  while (e.depth > 0) step(&e);
  ml__jsontext_push(&e.out);
  return 1;
}
