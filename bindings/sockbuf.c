/* Buffers that sockets receive into and send from: bytes that become no strings
** on their way. Its memory is its own for life, so that operations may keep
** pointers into it.
*/
#include <string.h>

#include "socket.h"

#define MAX_BUFFER ((lua_Integer)1 << 30)

ml_buffer *ml__checkbuffer(lua_State *L, int idx, const char *fname) {
  ml_object *o = ml__toobject(L, idx);
  if (o == NULL || o->type != ML_T_BUFFER)
    ml__misuse(L, "TypeError", "%s: a buffer was expected, got %s", fname,
               o != NULL ? ml__engine(L)->typenames[o->type] : luaL_typename(L, idx));
  return (ml_buffer *)(void *)o;
}

const char *ml__checkbytes(lua_State *L, int idx, const char *fname, size_t *n) {
  ml_object *o;
  const ml_buffer *b;
  if (lua_type(L, idx) == LUA_TSTRING) return lua_tolstring(L, idx, n);
  o = ml__toobject(L, idx);
  if (o == NULL || o->type != ML_T_BUFFER)
    ml__misuse(L, "TypeError", "%s: data must be a string or a buffer, got %s", fname,
               o != NULL ? ml__engine(L)->typenames[o->type] : luaL_typename(L, idx));
  b = (ml_buffer *)(void *)o;
  *n = b->len;
  return b->data;
}

static ml_buffer *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_BUFFER); }

/* buffer(n or string) */
static int f_buffer(lua_State *L) {
  size_t len = 0, cap;
  const char *text = NULL;
  ml_buffer *b;
  lua_settop(L, 1);
  if (lua_type(L, 1) == LUA_TSTRING) {
    text = lua_tolstring(L, 1, &len);
    cap = len;
  } else {
    int ok;
    lua_Integer n = lua_tointegerx(L, 1, &ok);
    if (!ok)
      return ml__misuse(L, "TypeError", "buffer: a number of bytes was expected, got %s",
                        luaL_typename(L, 1));
    if (n < 1 || n > MAX_BUFFER)
      return ml__misuse(L, "ValueError", "buffer: 1 to %I bytes, got %I", (LUAI_UACINT)MAX_BUFFER,
                        (LUAI_UACINT)n);
    cap = (size_t)n;
  }
  b = ml__newobject(L, ML_T_BUFFER, sizeof *b, 1);
  b->data = lua_newuserdatauv(L, cap, 0);
  lua_setiuservalue(L, -2, 1);
  b->cap = cap;
  b->len = len;
  if (len > 0) memcpy(b->data, text, len);
  return 1;
}

/* Positions as string.sub has them; gives [*i, *j), *i <= *j <= len. */
static void range(lua_State *L, const ml_buffer *b, size_t *i, size_t *j) {
  lua_Integer len = (lua_Integer)b->len;
  lua_Integer from = luaL_optinteger(L, 2, 1), to = luaL_optinteger(L, 3, -1);
  if (from < 0) from = from < -len ? 1 : len + from + 1;
  if (from == 0) from = 1;
  if (to < 0) to = to < -len ? 0 : len + to + 1;
  if (to > len) to = len;
  *i = from > to ? 0 : (size_t)from - 1;
  *j = from > to ? 0 : (size_t)to;
}

static int b_sub(lua_State *L) {
  const ml_buffer *b = check(L);
  size_t i, j;
  range(L, b, &i, &j);
  lua_pushlstring(L, b->data + i, j - i);
  return 1;
}

static int b_tostring(lua_State *L) {
  const ml_buffer *b = check(L);
  lua_pushlstring(L, b->data, b->len);
  return 1;
}

static int b_byte(lua_State *L) {
  const ml_buffer *b = check(L);
  size_t i, j;
  lua_Integer at = luaL_optinteger(L, 2, 1);
  lua_settop(L, 3);
  if (lua_isnil(L, 3)) {
    lua_pushinteger(L, at);
    lua_replace(L, 3);
  }
  range(L, b, &i, &j);
  luaL_checkstack(L, (int)(j - i < 1000000 ? j - i : 1000000), "buffer slice too long");
  for (size_t k = i; k < j; k++) lua_pushinteger(L, (unsigned char)b->data[k]);
  return (int)(j - i);
}

/* buffer:find(text [, init]) -> first, last or nil. Plain text. */
static int b_find(lua_State *L) {
  const ml_buffer *b = check(L);
  size_t n;
  const char *text = luaL_checklstring(L, 2, &n), *p;
  lua_Integer init = luaL_optinteger(L, 3, 1);
  if (init < 0) init = (lua_Integer)b->len + init + 1;
  if (init < 1) init = 1;
  if ((size_t)(init - 1) > b->len) return 0;
  p = n == 0 ? b->data + init - 1
             : memmem(b->data + init - 1, b->len - (size_t)(init - 1), text, n);
  if (p == NULL) return 0;
  lua_pushinteger(L, p - b->data + 1);
  lua_pushinteger(L, p - b->data + (lua_Integer)n);
  return 2;
}

static int b_clear(lua_State *L) {
  check(L)->len = 0;
  return 0;
}

/* buffer:consume(n): drops the first n bytes; gives the number left */
static int b_consume(lua_State *L) {
  ml_buffer *b = check(L);
  lua_Integer n = luaL_checkinteger(L, 2);
  if (n < 0 || (size_t)n > b->len)
    return ml__misuse(L, "ValueError", "consume: 0 to %I bytes, got %I", (LUAI_UACINT)b->len,
                      (LUAI_UACINT)n);
  b->len -= (size_t)n;
  memmove(b->data, b->data + n, b->len);
  lua_pushinteger(L, (lua_Integer)b->len);
  return 1;
}

static int put(lua_State *L, size_t at, const char *fname) {
  ml_buffer *b = check(L);
  size_t n;
  const char *p = ml__checkbytes(L, 2, fname, &n);
  if (n > b->cap - at)
    return ml__misuse(L, "ValueError", "%s: room for %I bytes, got %I", fname,
                      (LUAI_UACINT)(b->cap - at), (LUAI_UACINT)n);
  memmove(b->data + at, p, n);
  b->len = at + n;
  return 0;
}

static int b_set(lua_State *L) { return put(L, 0, "set"); }
static int b_append(lua_State *L) { return put(L, check(L)->len, "append"); }

static int b_capacity(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->cap);
  return 1;
}

static int b_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->len);
  return 1;
}

void ml__open_sockbuf(lua_State *L) {
  static const luaL_Reg methods[] = {{"sub", b_sub},           {"tostring", b_tostring},
                                     {"byte", b_byte},         {"find", b_find},
                                     {"clear", b_clear},       {"consume", b_consume},
                                     {"set", b_set},           {"append", b_append},
                                     {"capacity", b_capacity}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", b_tostring}, {"__len", b_len}, {NULL, NULL}};
  ml__newtype(L, ML_T_BUFFER, "Buffer", methods, meta);
  lua_setfield(L, -2, "Buffer");
  lua_pushcfunction(L, f_buffer);
  lua_setfield(L, -2, "buffer");
}
