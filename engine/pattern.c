/* string.find, match, gmatch and gsub for engines with a meter: a pattern such as
** ("a*"):rep(30) can take longer than anybody lives, and Lua's own cannot be interrupted
** in it. These look at the meter every CHECK steps; otherwise they are as in Lua 5.4's
** manual (6.4.1), with its messages.
*/
#include <ctype.h>
#include <string.h>

#include "core.h"

#define CHECK 4096
#define MAX_CAPTURES 32
#define MAX_DEPTH 200 /* of the C stack, as in Lua */
#define OPEN (-1)     /* lengths of captures: not closed yet */
#define POSITION (-2) /* () */

typedef struct matcher {
  lua_State *L;
  const char *s, *s_end, *p_end;
  int depth, steps;
  int ncaptures;
  struct {
    const char *at;
    ptrdiff_t len;
  } captures[MAX_CAPTURES];
} matcher;

static const char *match(matcher *m, const char *s, const char *p);

static void step(matcher *m, int n) {
  m->steps -= n;
  if (m->steps > 0) return;
  m->steps = CHECK;
  ml__meter_check(m->L);
}

/* ---- single characters ---- */

/* Behind the item at p: a character, an escape or a set. */
static const char *item_end(matcher *m, const char *p) {
  char c = *p++;
  if (c == '%') {
    if (p == m->p_end) luaL_error(m->L, "malformed pattern (ends with '%%')");
    return p + 1;
  }
  if (c != '[') return p;
  if (p < m->p_end && *p == '^') p++;
  do { /* a ']' that comes first is one of the set */
    if (p == m->p_end) luaL_error(m->L, "malformed pattern (missing ']')");
    c = *p++;
    if (c == '%') {
      if (p == m->p_end) luaL_error(m->L, "malformed pattern (missing ']')");
      p++;
    }
  } while (p == m->p_end || *p != ']');
  return p + 1;
}

static bool in_class(int c, int class) {
  bool is;
  switch (tolower(class)) {
  case 'a': is = isalpha(c); break;
  case 'c': is = iscntrl(c); break;
  case 'd': is = isdigit(c); break;
  case 'g': is = isgraph(c); break;
  case 'l': is = islower(c); break;
  case 'p': is = ispunct(c); break;
  case 's': is = isspace(c); break;
  case 'u': is = isupper(c); break;
  case 'w': is = isalnum(c); break;
  case 'x': is = isxdigit(c); break;
  default: return class == c;
  }
  return isupper(class) ? !is : is;
}

/* Is c in the set that begins at p, its last ']' at end? */
static bool in_set(int c, const char *p, const char *end) {
  bool inside = true;
  if (*++p == '^') {
    inside = false;
    p++;
  }
  for (; p < end; p++) {
    if (*p == '%') {
      p++;
      if (in_class(c, (unsigned char)*p)) return inside;
    } else if (p[1] == '-' && p + 2 < end) {
      if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2]) return inside;
      p += 2;
    } else if ((unsigned char)*p == c)
      return inside;
  }
  return !inside;
}

/* Does the item at p, which ends at end, match the character at s? */
static bool one(const matcher *m, const char *s, const char *p, const char *end) {
  int c;
  if (s >= m->s_end) return false;
  c = (unsigned char)*s;
  switch (*p) {
  case '.': return true;
  case '%': return in_class(c, (unsigned char)p[1]);
  case '[': return in_set(c, p, end - 1);
  default: return (unsigned char)*p == c;
  }
}

/* ---- what repeats and what is remembered ---- */

static const char *longest(matcher *m, const char *s, const char *p, const char *end) {
  ptrdiff_t n = 0;
  while (one(m, s + n, p, end)) {
    n++;
    step(m, 1);
  }
  for (; n >= 0; n--) {
    const char *r = match(m, s + n, end + 1);
    if (r != NULL) return r;
  }
  return NULL;
}

static const char *shortest(matcher *m, const char *s, const char *p, const char *end) {
  for (;; s++) {
    const char *r = match(m, s, end + 1);
    if (r != NULL) return r;
    if (!one(m, s, p, end)) return NULL;
  }
}

static const char *open_capture(matcher *m, const char *s, const char *p, ptrdiff_t what) {
  const char *r;
  if (m->ncaptures >= MAX_CAPTURES) luaL_error(m->L, "too many captures");
  m->captures[m->ncaptures].at = s;
  m->captures[m->ncaptures].len = what;
  m->ncaptures++;
  r = match(m, s, p);
  if (r == NULL) m->ncaptures--;
  return r;
}

static const char *close_capture(matcher *m, const char *s, const char *p) {
  const char *r;
  int i = m->ncaptures - 1;
  while (i >= 0 && m->captures[i].len != OPEN) i--;
  if (i < 0) luaL_error(m->L, "invalid pattern capture");
  m->captures[i].len = s - m->captures[i].at; // NOLINT(clang-analyzer-core*): errors do not return
  r = match(m, s, p);
  if (r == NULL) m->captures[i].len = OPEN;
  return r;
}

/* %b: p is behind the 'b'. */
static const char *balanced(matcher *m, const char *s, const char *p) {
  int depth = 1;
  if (p + 1 >= m->p_end) luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
  if (s >= m->s_end || *s != *p) return NULL;
  while (++s < m->s_end) {
    step(m, 1);
    if (*s == p[1]) {
      if (--depth == 0) return s + 1;
    } else if (*s == p[0])
      depth++;
  }
  return NULL;
}

/* %1 to %9: the text of a capture once more. */
static const char *again(matcher *m, const char *s, int digit) {
  int i = digit - '1';
  size_t len;
  if (i < 0 || i >= m->ncaptures || m->captures[i].len == OPEN) {
    luaL_error(m->L, "invalid capture index %%%d", i + 1);
    return NULL;
  }
  if (m->captures[i].len == POSITION) return NULL;
  len = (size_t)m->captures[i].len;
  step(m, (int)(len >> 8));
  if ((size_t)(m->s_end - s) < len || memcmp(m->captures[i].at, s, len) != 0) return NULL;
  return s + len;
}

/* ---- matching ---- */

/* %f: p is behind the 'f'. */
static bool at_frontier(matcher *m, const char *s, const char *p, const char **end) {
  int before = s == m->s ? 0 : (unsigned char)s[-1], here = s < m->s_end ? (unsigned char)*s : 0;
  if (p == m->p_end || *p != '[') luaL_error(m->L, "missing '[' after '%%f' in pattern");
  *end = item_end(m, p);
  return !in_set(before, p, *end - 1) && in_set(here, p, *end - 1);
}

/* As advance, for an item that stands for one character, which ends at end. */
static bool advance_one(matcher *m, const char **s, const char **p, const char *end) {
  const char *q = *p, *r = NULL;
  char suffix = end < m->p_end ? *end : '\0';
  bool is = one(m, *s, q, end);
  *p = end + 1;
  switch (suffix) {
  case '*':
  case '-':
    if (!is) return true;
    *s = suffix == '*' ? longest(m, *s, q, end) : shortest(m, *s, q, end);
    return false;
  case '+': *s = is ? longest(m, *s + 1, q, end) : NULL; return false;
  case '?':
    if (is) r = match(m, *s + 1, end + 1);
    if (r == NULL) return true;
    *s = r;
    return false;
  default:
    *p = end;
    *s = is ? *s + 1 : NULL;
    return is;
  }
}

/* Goes on by one item of the pattern. True: *s and *p are where it goes on; false: *s is the
** result of the whole. */
static bool advance(matcher *m, const char **s, const char **p) {
  const char *q = *p;
  if (*q == '(') {
    bool position = q + 1 < m->p_end && q[1] == ')';
    *s = open_capture(m, *s, q + (position ? 2 : 1), position ? POSITION : OPEN);
    return false;
  }
  if (*q == ')') {
    *s = close_capture(m, *s, q + 1);
    return false;
  }
  if (*q == '$' && q + 1 == m->p_end) {
    if (*s != m->s_end) *s = NULL;
    return false;
  }
  if (*q == '%' && q + 1 < m->p_end) {
    if (q[1] == 'b') {
      *p = q + 4;
      return (*s = balanced(m, *s, q + 2)) != NULL;
    }
    if (q[1] == 'f') {
      if (at_frontier(m, *s, q + 2, p)) return true;
      *s = NULL;
      return false;
    }
    if (isdigit((unsigned char)q[1])) {
      *p = q + 2;
      return (*s = again(m, *s, (unsigned char)q[1])) != NULL;
    }
  }
  return advance_one(m, s, p, item_end(m, q));
}

/* Behind the match of the pattern from p on, at s; or NULL. */
static const char *match(matcher *m, const char *s, const char *p) {
  if (m->depth++ >= MAX_DEPTH) luaL_error(m->L, "pattern too complex");
  do step(m, 1);
  while (p != m->p_end && advance(m, &s, &p));
  m->depth--;
  return s;
}

static void prepare(matcher *m, lua_State *L, const char *s, size_t ls, const char *p, size_t lp) {
  m->L = L;
  m->s = s;
  m->s_end = s + ls;
  m->p_end = p + lp;
  m->steps = CHECK;
}

static const char *match_at(matcher *m, const char *s, const char *p) {
  m->ncaptures = 0;
  m->depth = 0;
  return match(m, s, p);
}

/* ---- results ---- */

/* Pushes the i-th capture; without any, the whole match is the first. */
static void push_capture(matcher *m, int i, const char *s, const char *e) {
  if (i >= m->ncaptures) {
    if (i != 0) luaL_error(m->L, "invalid capture index %%%d", i + 1);
    lua_pushlstring(m->L, s, (size_t)(e - s));
  } else if (m->captures[i].len == POSITION)
    lua_pushinteger(m->L, m->captures[i].at - m->s + 1);
  else if (m->captures[i].len == OPEN)
    luaL_error(m->L, "unfinished capture");
  else
    lua_pushlstring(m->L, m->captures[i].at, (size_t)m->captures[i].len);
}

/* s NULL: not the whole match. */
static int push_captures(matcher *m, const char *s, const char *e) {
  int n = m->ncaptures == 0 && s != NULL ? 1 : m->ncaptures;
  luaL_checkstack(m->L, n, "too many captures");
  for (int i = 0; i < n; i++) push_capture(m, i, s, e);
  return n;
}

/* Where to begin, from 0; past the end: further than len. */
static size_t start_at(lua_State *L, int idx, size_t len) {
  lua_Integer i = luaL_optinteger(L, idx, 1);
  if (i > 0) return (size_t)i - 1;
  if (i == 0 || i < -(lua_Integer)len) return 0;
  return len - (size_t)-i;
}

static const char *find_plain(lua_State *L, const char *s, size_t ls, const char *p, size_t lp) {
  matcher m;
  const char *last;
  prepare(&m, L, s, ls, p, lp);
  if (lp == 0) return s;
  if (lp > ls) return NULL;
  last = s + ls - lp;
  for (; s <= last; s++) {
    const char *next = memchr(s, p[0], (size_t)(last - s) + 1);
    if (next == NULL) return NULL;
    s = next;
    if (memcmp(s, p, lp) == 0) return s;
    step(&m, 1 + (int)(lp >> 8 > CHECK ? CHECK : lp >> 8));
  }
  return NULL;
}

static bool is_plain(const char *p, size_t lp) {
  static const char special[] = "^$*+?.([%-";
  for (size_t i = 0; i < lp; i++)
    if (p[i] != '\0' && strchr(special, p[i]) != NULL) return false;
  return true;
}

static int find_or_match(lua_State *L, bool find) {
  size_t ls, lp, at;
  const char *s = luaL_checklstring(L, 1, &ls), *p = luaL_checklstring(L, 2, &lp), *from, *e;
  matcher m;
  bool anchored;
  at = start_at(L, 3, ls);
  if (at > ls) {
    luaL_pushfail(L);
    return 1;
  }
  if (find && (lua_toboolean(L, 4) || is_plain(p, lp))) {
    from = find_plain(L, s + at, ls - at, p, lp);
    if (from == NULL) {
      luaL_pushfail(L);
      return 1;
    }
    lua_pushinteger(L, from - s + 1);
    lua_pushinteger(L, from - s + (lua_Integer)lp);
    return 2;
  }
  prepare(&m, L, s, ls, p, lp);
  anchored = lp > 0 && *p == '^';
  if (anchored) p++;
  from = s + at;
  do {
    if ((e = match_at(&m, from, p)) == NULL) continue;
    if (!find) return push_captures(&m, from, e);
    lua_pushinteger(L, from - s + 1);
    lua_pushinteger(L, e - s);
    return push_captures(&m, NULL, NULL) + 2;
  } while (from++ < m.s_end && !anchored);
  luaL_pushfail(L);
  return 1;
}

static int str_find(lua_State *L) { return find_or_match(L, true); }
static int str_match(lua_State *L) { return find_or_match(L, false); }

/* Upvalues: text, pattern, where to go on, end of the last match (0: none). */
static int gmatch_next(lua_State *L) {
  size_t ls, lp, at = (size_t)lua_tointeger(L, lua_upvalueindex(3));
  const char *s = lua_tolstring(L, lua_upvalueindex(1), &ls);
  const char *p = lua_tolstring(L, lua_upvalueindex(2), &lp);
  lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
  matcher m;
  prepare(&m, L, s, ls, p, lp);
  for (; at <= ls; at++) {
    const char *e = match_at(&m, s + at, p);
    if (e == NULL || e - s + 1 == last) continue;
    lua_pushinteger(L, e - s);
    lua_copy(L, -1, lua_upvalueindex(3));
    lua_pushinteger(L, e - s + 1);
    lua_replace(L, lua_upvalueindex(4));
    return push_captures(&m, s + at, e);
  }
  return 0;
}

static int str_gmatch(lua_State *L) {
  size_t ls, at;
  luaL_checklstring(L, 1, &ls);
  luaL_checkstring(L, 2);
  at = start_at(L, 3, ls);
  lua_settop(L, 2);
  lua_pushinteger(L, (lua_Integer)(at > ls ? ls + 1 : at));
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, gmatch_next, 4);
  return 1;
}

/* Adds the replacement string at 3, with its %1. */
static void add_string(matcher *m, luaL_Buffer *b, const char *s, const char *e) {
  lua_State *L = m->L;
  size_t n;
  const char *r = lua_tolstring(L, 3, &n), *end = r + n, *p;
  while ((p = memchr(r, '%', (size_t)(end - r))) != NULL) {
    luaL_addlstring(b, r, (size_t)(p - r));
    p++;
    if (p < end && *p == '%')
      luaL_addchar(b, '%');
    else if (p < end && *p == '0')
      luaL_addlstring(b, s, (size_t)(e - s));
    else if (p < end && isdigit((unsigned char)*p)) {
      push_capture(m, *p - '1', s, e);
      luaL_tolstring(L, -1, NULL);
      lua_remove(L, -2);
      luaL_addvalue(b);
    } else
      luaL_error(L, "invalid use of '%c' in replacement string", '%');
    r = p + 1;
  }
  luaL_addlstring(b, r, (size_t)(end - r));
}

/* Adds what replaces the match. False: it stays as it is. */
static bool add_value(matcher *m, luaL_Buffer *b, const char *s, const char *e, int kind) {
  lua_State *L = m->L;
  if (kind == LUA_TFUNCTION) {
    lua_pushvalue(L, 3);
    lua_call(L, push_captures(m, s, e), 1);
  } else if (kind == LUA_TTABLE) {
    push_capture(m, 0, s, e);
    lua_gettable(L, 3);
  } else {
    add_string(m, b, s, e);
    return true;
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    luaL_addlstring(b, s, (size_t)(e - s));
    return false;
  }
  if (!lua_isstring(L, -1)) luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  luaL_addvalue(b);
  return true;
}

static int str_gsub(lua_State *L) {
  size_t ls, lp;
  const char *s = luaL_checklstring(L, 1, &ls), *p = luaL_checklstring(L, 2, &lp), *last = NULL;
  int kind = lua_type(L, 3);
  lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)ls + 1), n = 0;
  bool anchored = lp > 0 && *p == '^', changed = false;
  matcher m;
  luaL_Buffer b;
  luaL_argexpected(
      L, kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TFUNCTION || kind == LUA_TTABLE,
      3, "string/function/table");
  luaL_buffinit(L, &b);
  prepare(&m, L, s, ls, p, lp);
  if (anchored) p++;
  while (n < most) {
    const char *e = match_at(&m, s, p);
    if (e != NULL && e != last) {
      n++;
      changed = add_value(&m, &b, s, e, kind) || changed;
      s = last = e;
    } else if (s < m.s_end)
      luaL_addchar(&b, *s++); // NOLINT(clang-analyzer-core*): a string
    else
      break;
    if (anchored) break;
  }
  if (changed) {
    luaL_addlstring(&b, s, (size_t)(m.s_end - s));
    luaL_pushresult(&b);
  } else
    lua_pushvalue(L, 1);
  lua_pushinteger(L, n);
  return 2;
}

void ml__open_patterns(lua_State *L) {
  static const luaL_Reg fns[] = {{"find", str_find},
                                 {"match", str_match},
                                 {"gmatch", str_gmatch},
                                 {"gsub", str_gsub},
                                 {NULL, NULL}};
  if (lua_getglobal(L, "string") == LUA_TTABLE) luaL_setfuncs(L, fns, 0);
  lua_pop(L, 1);
}
