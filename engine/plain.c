/* Small messages of plain values: nil, booleans, numbers, short strings, functions that are
** in the codebook already. The format is pack.h's; what pack.c and unpack.c do in
** general is done here for the common call of a worker, without raising and
** without memory.
*/
#include <string.h>

#include "pack.h"

uint32_t ml__kept(lua_State *L, int idx, int known) {
  int top = lua_gettop(L);
  uint32_t id = 0;
  lua_pushvalue(L, idx);
  if (lua_rawget(L, known) == LUA_TTABLE) { /* {number, upvalues...}: are they the same? */
    bool same = true;
    for (int i = 1; same && lua_getupvalue(L, idx, i) != NULL; i++) {
      lua_rawgeti(L, top + 1, i + 1);
      same = lua_rawequal(L, -1, -2);
      lua_settop(L, top + 1);
    }
    if (same) {
      lua_rawgeti(L, top + 1, 1);
      id = (uint32_t)lua_tointeger(L, -1);
    }
  }
  lua_settop(L, top);
  return id;
}

size_t ml__pack_plain(lua_State *L, int first, int n, int known, const ml_lastkept *last, char *out,
                      size_t room) {
  static const char head[] = PACK_MAGIC;
  char *p = out, *end = out + room;
  uint32_t id;
  if (n > 127 || room < PACK_HEADER + 1) return 0;
  memcpy(p, head, 4);
  p[4] = PACK_VERSION;
  p[5] = (char)n;
  p += 6;
  for (int i = first; i < first + n; i++) {
    if (end - p < PACK_NUMBER) return 0;
    switch (lua_type(L, i)) {
    case LUA_TNIL: *p++ = PT_NIL; break;
    case LUA_TBOOLEAN: *p++ = lua_toboolean(L, i) ? PT_TRUE : PT_FALSE; break;
    case LUA_TNUMBER: p += ml__put_number(L, i, p); break;
    case LUA_TSTRING: {
      size_t len;
      const char *s = lua_tolstring(L, i, &len);
      if (len >= 64 || (size_t)(end - p) < len + 1) return 0;
      *p++ = (char)(PT_SHORT + len);
      memcpy(p, s, len);
      p += len;
      break;
    }
    case LUA_TFUNCTION:
      if (last != NULL && last->function == lua_topointer(L, i))
        id = last->id;
      else
        id = known != 0 ? ml__kept(L, i, known) : 0;
      if (id == 0) return 0;
      *p++ = PT_KEPT;
      p += ml__put_varint(p, id);
      break;
    default: return 0;
    }
  }
  return (size_t)(p - out);
}

/* Pushes the value at p; the byte behind it, or NULL if it is not plain. */
static const unsigned char *push_value(lua_State *L, const unsigned char *p,
                                       const unsigned char *end, int known) {
  uint64_t v;
  int tag = *p++;
  if (tag >= PT_SMALL) {
    lua_pushinteger(L, tag - PT_SMALL);
    return p;
  }
  switch (tag) {
  case PT_NIL: lua_pushnil(L); return p;
  case PT_FALSE:
  case PT_TRUE: lua_pushboolean(L, tag == PT_TRUE); return p;
  case PT_INT:
    p = ml__get_varint(p, end, &v);
    if (p != NULL) lua_pushinteger(L, ml__unzigzag(v));
    return p;
  case PT_FLOAT:
    if (end - p < 8) return NULL;
    lua_pushnumber(L, ml__get_float(p));
    return p + 8;
  case PT_KEPT:
    p = known != 0 ? ml__get_varint(p, end, &v) : NULL;
    if (p == NULL || lua_rawgeti(L, known, (lua_Integer)v) == LUA_TFUNCTION) return p;
    return NULL;
  default: return NULL;
  }
}

int ml__unpack_plain(lua_State *L, const void *data, size_t n, int known, int max) {
  const unsigned char *p = data, *end = p + n;
  int top = lua_gettop(L), count;
  if (n < PACK_HEADER + 1 || p[4] != PACK_VERSION || p[5] > max) return -1;
  count = p[5];
  p += PACK_HEADER + 1;
  for (int i = 0; i < count; i++) {
    p = p < end ? push_value(L, p, end, known) : NULL;
    if (p == NULL) break;
  }
  if (p == end) return count;
  lua_settop(L, top);
  return -1;
}
