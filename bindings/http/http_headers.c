/* Headers: names and values in order, several values of a name, names alike whatever their
** case. An array {name, value, name, value...} in the user value of a userdata; there are
** few of them, so a look-up goes through. Those that came have there what their head is in, and
** look into that as it came, until somebody wants more than single values.
*/
#include <string.h>

#include "http.h"

/* Letters and digits, and what else RFC 9110 allows in a token (5.6.2). */
static const char token_chars[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
    ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1,  ['~'] = 1, ['0'] = 1,
    ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1,  ['7'] = 1, ['8'] = 1,
    ['9'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1,  ['F'] = 1, ['G'] = 1,
    ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1,  ['N'] = 1, ['O'] = 1,
    ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1,  ['V'] = 1, ['W'] = 1,
    ['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1,  ['d'] = 1, ['e'] = 1,
    ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1,  ['l'] = 1, ['m'] = 1,
    ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1,  ['t'] = 1, ['u'] = 1,
    ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1};

bool ml__token_ok(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!token_chars[(unsigned char)s[i]]) return false;
  return n > 0;
}

/* What a Host may not have, beside controls, spaces and what is beyond ASCII. */
static const char not_in_host[128] = {
    ['"'] = 1, ['#'] = 1, ['/'] = 1, ['<'] = 1, ['>'] = 1, ['?'] = 1, ['@'] = 1,  ['\\'] = 1,
    ['^'] = 1, ['`'] = 1, ['{'] = 1, ['|'] = 1, ['}'] = 1, [' '] = 1, [0x7f] = 1,
};

bool ml__host_ok(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned char ch = (unsigned char)s[i];
    if (ch < ' ' || ch > 0x7f || not_in_host[ch]) return false;
  }
  return true;
}

bool ml__field_ok(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (s[i] == '\r' || s[i] == '\n' || s[i] == '\0') return false;
  return true;
}

static inline unsigned char lower(char ch) {
  unsigned char u = (unsigned char)ch;
  return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 32) : u;
}

bool ml__name_equals(const char *a, size_t na, const char *b, size_t nb) {
  if (na != nb) return false;
  for (size_t i = 0; i < na; i++)
    if (a[i] != b[i] && lower(a[i]) != lower(b[i])) return false;
  return true;
}

/* The first field of that name, or NULL. */
static const ml_hfield *find_field(const ml_hhead *h, const char *name, size_t n) {
  const char *text = ml__hhead_text(h);
  for (int i = 0; i < h->nfields; i++) {
    const ml_hfield *f = &h->fields[i];
    if (f->nname == n && ml__name_equals(text + f->name, n, name, n)) return f;
  }
  return NULL;
}

int ml__hhead_header(lua_State *L, const ml_hhead *h) {
  const ml_hfield *f;
  const char *name;
  size_t n;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "header: a name was expected, got %s", luaL_typename(L, 2));
  name = lua_tolstring(L, 2, &n);
  f = find_field(h, name, n);
  if (f != NULL)
    lua_pushlstring(L, ml__hhead_text(h) + f->value, f->nvalue);
  else
    lua_pushnil(L);
  return 1;
}

/* ---- making ---- */

typedef struct headers {
  ml_object obj;        /* first */
  const ml_hhead *head; /* in the user value, as long as there is no array; else NULL */
} headers;

/* The array on top (popped), or what the head is in, becomes a Headers. */
static void wrap(lua_State *L, const ml_hhead *head) {
  headers *h = (headers *)ml__newobject(L, ML_T_HEADERS, sizeof *h, 1);
  h->head = head;
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, 1);
}

/* Pushes the array of a head's fields. */
static void push_fields(lua_State *L, const ml_hhead *h) {
  const char *text = ml__hhead_text(h);
  luaL_checkstack(L, 6, "headers");
  lua_createtable(L, 2 * h->nfields, 0);
  for (int i = 0; i < h->nfields; i++) {
    lua_pushlstring(L, text + h->fields[i].name, h->fields[i].nname);
    lua_rawseti(L, -2, 2 * i + 1);
    lua_pushlstring(L, text + h->fields[i].value, h->fields[i].nvalue);
    lua_rawseti(L, -2, 2 * i + 2);
  }
}

void ml__headers_of(lua_State *L, const ml_hhead *h) {
  push_fields(L, h);
  wrap(L, NULL);
}

void ml__headers_wrap(lua_State *L) { wrap(L, NULL); }

void ml__headers_in(lua_State *L, const ml_hhead *h, int owner) {
  lua_pushvalue(L, owner);
  wrap(L, h);
}

/* Pushes the array of the Headers at idx, made now if need be. */
static void push_array(lua_State *L, int idx) {
  headers *h = lua_touserdata(L, idx);
  if (h->head == NULL) {
    lua_getiuservalue(L, idx, 1);
    return;
  }
  push_fields(L, h->head);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, idx, 1);
  h->head = NULL;
}

void ml__headers_array(lua_State *L, int idx, const char *fname) {
  const ml_object *o = ml__toobject(L, idx);
  if (o != NULL && o->type == ML_T_HEADERS)
    push_array(L, lua_absindex(L, idx));
  else if (lua_istable(L, idx))
    lua_pushvalue(L, idx);
  else
    ml__misuse(L, "TypeError",
               "%s: headers must be an array of names and values, or Headers, got %s", fname,
               luaL_typename(L, idx));
}

/* Name and value at the indices, checked: numbers become strings. */
static void check_pair(lua_State *L, int name, int value, const char *fname) {
  size_t n;
  const char *s;
  if (lua_type(L, name) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: a header's name must be a string, got %s", fname,
               luaL_typename(L, name));
  if (lua_type(L, value) != LUA_TSTRING && lua_type(L, value) != LUA_TNUMBER)
    ml__misuse(L, "TypeError", "%s: the value of %s must be a string, got %s", fname,
               lua_tostring(L, name), luaL_typename(L, value));
  s = lua_tolstring(L, name, &n);
  if (!ml__token_ok(s, n)) ml__misuse(L, "ValueError", "%s: '%s' is no name of a header", fname, s);
  s = lua_tolstring(L, value, &n);
  if (!ml__field_ok(s, n))
    ml__misuse(L, "ValueError", "%s: the value of %s has a line break or NUL in it", fname,
               lua_tostring(L, name));
}

/* Appends the pair (absolute indices) to the array on top. */
static void append(lua_State *L, int name, int value) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  lua_pushvalue(L, name);
  lua_rawseti(L, -2, n + 1);
  lua_pushvalue(L, value);
  lua_rawseti(L, -2, n + 2);
}

/* Headers{name = value, ...}, of an array of {name, value}, of other Headers. Adds to the array
** on top. */
static void add_all(lua_State *L, int from, const char *fname) {
  int array = lua_gettop(L), k;
  const ml_object *o = ml__toobject(L, from);
  if (o != NULL && o->type == ML_T_HEADERS) {
    push_array(L, from);
    for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, -1); i <= n; i++) {
      lua_rawgeti(L, -1, i);
      lua_rawseti(L, array, (lua_Integer)lua_rawlen(L, array) + 1);
    }
    lua_settop(L, array);
    return;
  }
  luaL_checktype(L, from, LUA_TTABLE);
  for (lua_Integer i = 1; lua_rawgeti(L, from, i) != LUA_TNIL; i++, lua_settop(L, array)) {
    k = lua_gettop(L);
    if (!lua_istable(L, k))
      ml__misuse(L, "TypeError", "%s: item %d must be {name, value}, got %s", fname, (int)i,
                 luaL_typename(L, k));
    lua_rawgeti(L, k, 1);
    lua_rawgeti(L, k, 2);
    check_pair(L, k + 1, k + 2, fname);
    lua_pushvalue(L, array);
    append(L, k + 1, k + 2);
  }
  lua_settop(L, array);
  for (lua_pushnil(L); lua_next(L, from) != 0; lua_settop(L, array + 1)) {
    k = array + 1;
    if (lua_isinteger(L, k)) continue;
    check_pair(L, k, k + 1, fname);
    lua_pushvalue(L, array);
    append(L, k, k + 1);
  }
}

static int headers_new(lua_State *L) {
  lua_settop(L, 1);
  lua_newtable(L);
  if (!lua_isnil(L, 1)) add_all(L, 1, "Headers");
  wrap(L, NULL);
  return 1;
}

/* ---- looking ---- */

static void check(lua_State *L) {
  ml__checkobject(L, 1, ML_T_HEADERS);
  push_array(L, 1);
  lua_replace(L, 1); /* the array is at 1 from now on */
}

/* The place of the first such name from `from` on in the array at 1; 0: none. */
static lua_Integer find(lua_State *L, const char *name, size_t n, lua_Integer from) {
  lua_Integer all = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer i = from; i < all; i += 2) {
    size_t k;
    const char *s;
    lua_rawgeti(L, 1, i);
    s = lua_tolstring(L, -1, &k);
    lua_pop(L, 1); /* the array has it */
    if (k == n && ml__name_equals(s, k, name, n)) return i;
  }
  return 0;
}

static const char *check_name(lua_State *L, int idx, size_t *n, const char *fname) {
  if (lua_type(L, idx) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: a header's name must be a string, got %s", fname,
               luaL_typename(L, idx));
  return lua_tolstring(L, idx, n);
}

/* The first value of the name in the Headers at 1: pushed, or what is on top stays. Leaves the
** rest of the stack as it may be. */
static int first(lua_State *L, const char *name, size_t n) {
  const headers *h = (const headers *)ml__checkobject(L, 1, ML_T_HEADERS);
  if (h->head != NULL) {
    const ml_hfield *f = find_field(h->head, name, n);
    if (f != NULL) lua_pushlstring(L, ml__hhead_text(h->head) + f->value, f->nvalue);
  } else {
    lua_Integer i;
    push_array(L, 1);
    lua_replace(L, 1);
    i = find(L, name, n, 1);
    if (i > 0) lua_rawgeti(L, 1, i + 1);
  }
  return 1;
}

static int h_get(lua_State *L) {
  size_t n;
  const char *name = check_name(L, 2, &n, "get");
  lua_settop(L, 3); /* the default is on top */
  return first(L, name, n);
}

/* headers[name]: a method (upvalue 1), or the first value, or nil */
static int h_index(lua_State *L) {
  size_t n;
  const char *name;
  lua_settop(L, 2);
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  name = lua_tolstring(L, 2, &n);
  if (name[0] < 'A' || name[0] > 'Z') { /* a method? */
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  } else
    lua_pushnil(L);
  return first(L, name, n); /* else nil, which is on top */
}

static int h_getall(lua_State *L) {
  size_t n;
  const char *name = check_name(L, 2, &n, "getall");
  int k = 0;
  lua_settop(L, 2);
  check(L);
  lua_newtable(L);
  for (lua_Integer i = find(L, name, n, 1); i > 0; i = find(L, name, n, i + 2)) {
    lua_rawgeti(L, 1, i + 1);
    lua_rawseti(L, 3, ++k);
  }
  return 1;
}

static int h_contains(lua_State *L) {
  size_t n;
  const char *name = check_name(L, 2, &n, "contains");
  check(L);
  lua_pushboolean(L, find(L, name, n, 1) > 0);
  return 1;
}

static int h_len(lua_State *L) {
  check(L);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1) / 2);
  return 1;
}

/* Upvalues: the array, the place of the next one. */
static int pairs_next(lua_State *L) {
  lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));
  if (lua_rawgeti(L, lua_upvalueindex(1), i) == LUA_TNIL) return 1;
  lua_rawgeti(L, lua_upvalueindex(1), i + 1);
  lua_pushinteger(L, i + 2);
  lua_replace(L, lua_upvalueindex(2));
  return 2;
}

static int h_pairs(lua_State *L) {
  lua_settop(L, 1);
  check(L);
  lua_pushinteger(L, 1);
  lua_pushcclosure(L, pairs_next, 2);
  return 1;
}

static int h_copy(lua_State *L) {
  lua_settop(L, 1);
  return headers_new(L);
}

/* headers:array(): {name, value, name, value...}, as responses take it: the object's own */
static int h_array(lua_State *L) {
  lua_settop(L, 1);
  check(L);
  return 1;
}

/* ---- altering ---- */

static int h_add(lua_State *L) {
  lua_settop(L, 3);
  check_pair(L, 2, 3, "add");
  check(L);
  lua_pushvalue(L, 1);
  append(L, 2, 3);
  return 0;
}

static int h_extend(lua_State *L) {
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  check(L);
  lua_pushvalue(L, 1);
  add_all(L, 2, "extend");
  return 0;
}

/* Takes the pair at i out of the array at 1. */
static void take_out(lua_State *L, lua_Integer i) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer k = i; k <= n; k++) {
    if (k + 2 <= n)
      lua_rawgeti(L, 1, k + 2);
    else
      lua_pushnil(L);
    lua_rawseti(L, 1, k);
  }
}

/* headers[name] = value: in the place of the first one; nil: none is left */
static int h_newindex(lua_State *L) {
  size_t n;
  const char *name = check_name(L, 2, &n, "headers[name] = value");
  lua_Integer i, more;
  lua_settop(L, 3);
  if (!lua_isnil(L, 3)) check_pair(L, 2, 3, "headers[name] = value");
  check(L);
  i = find(L, name, n, 1);
  if (!lua_isnil(L, 3)) {
    if (i == 0) {
      lua_pushvalue(L, 1);
      append(L, 2, 3);
      return 0;
    }
    lua_pushvalue(L, 2);
    lua_rawseti(L, 1, i);
    lua_pushvalue(L, 3);
    lua_rawseti(L, 1, i + 1);
    i += 2;
  }
  if (i == 0) return 0;
  while ((more = find(L, name, n, i)) > 0) take_out(L, more);
  return 0;
}

static int h_eq(lua_State *L) {
  ml__checkobject(L, 1, ML_T_HEADERS);
  ml__checkobject(L, 2, ML_T_HEADERS);
  lua_settop(L, 2);
  push_array(L, 1);
  push_array(L, 2);
  if (lua_rawlen(L, 3) == lua_rawlen(L, 4)) {
    lua_Integer n = (lua_Integer)lua_rawlen(L, 3);
    bool same = true;
    for (lua_Integer i = 1; same && i <= n; i++) {
      size_t a, b;
      const char *s, *t;
      lua_rawgeti(L, 3, i);
      lua_rawgeti(L, 4, i);
      s = lua_tolstring(L, -2, &a);
      t = lua_tolstring(L, -1, &b);
      same = i % 2 == 0 ? a == b && memcmp(s, t, a) == 0 : ml__name_equals(s, a, t, b);
      lua_pop(L, 2);
    }
    lua_pushboolean(L, same);
  } else
    lua_pushboolean(L, 0);
  return 1;
}

static int h_tostring(lua_State *L) {
  luaL_Buffer b;
  lua_Integer n;
  lua_settop(L, 1);
  check(L);
  n = (lua_Integer)lua_rawlen(L, 1);
  luaL_buffinit(L, &b);
  luaL_addstring(&b, "<Headers");
  for (lua_Integer i = 1; i < n; i += 2) {
    luaL_addstring(&b, i == 1 ? " " : "; ");
    lua_rawgeti(L, 1, i);
    luaL_addvalue(&b);
    luaL_addstring(&b, ": ");
    lua_rawgeti(L, 1, i + 1);
    luaL_addvalue(&b);
  }
  luaL_addstring(&b, ">");
  luaL_pushresult(&b);
  return 1;
}

void ml__open_hheaders(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"get", h_get},       {"getall", h_getall}, {"contains", h_contains}, {"add", h_add},
      {"extend", h_extend}, {"copy", h_copy},     {"array", h_array},       {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__newindex", h_newindex}, {"__len", h_len},
                                  {"__pairs", h_pairs},       {"__eq", h_eq},
                                  {"__tostring", h_tostring}, {NULL, NULL}};
  ml__newtype(L, ML_T_HEADERS, "http.Headers", methods, meta);
  ml__ref_get(L, ML_R_TYPES + ML_T_HEADERS);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, h_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  ml__newclass(L, "Headers", headers_new);
}
