/* Where a value is that cannot be packed, in words: "argument 1: field 'a.b[3]' (thread)". When
** packing has failed, pack.c walks once more and notes for each object who holds it and by
** what (P->trail); from the current place that leads back to the root.
*/
#include "packer.h"

static bool identifier(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    char c = s[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!letter && !(i > 0 && c >= '0' && c <= '9')) return false;
  }
  return n > 0;
}

void ml__pack_segment(ml_packer *P) {
  lua_State *L = P->L;
  size_t n;
  const char *s;
  switch (P->seg) {
  case SEG_ROOT:
    if (P->key <= P->how->unnamed || P->how->what == NULL)
      lua_pushliteral(L, "");
    else
      lua_pushfstring(L, "%s %d", P->how->what, P->key - P->how->unnamed);
    break;
  case SEG_KEY: lua_pushliteral(L, "a key"); break;
  case SEG_META: lua_pushliteral(L, "metatable"); break;
  case SEG_UPVALUE:
    lua_rawgeti(L, P->queue, P->cur);
    s = lua_getupvalue(L, -1, P->key);
    lua_pushfstring(L, "upvalue '%s'", s != NULL ? s : "?");
    lua_replace(L, -3);
    lua_pop(L, 1);
    break;
  case SEG_FIELD:
    if (lua_type(L, P->key) == LUA_TSTRING) {
      s = lua_tolstring(L, P->key, &n);
      lua_pushfstring(L, identifier(s, n) ? ".%s" : "[\"%s\"]", s);
    } else {
      luaL_tolstring(L, P->key, NULL); /* of a table with __tostring: never a key here */
      lua_pushfstring(L, "[%s]", lua_tostring(L, -1));
      lua_remove(L, -2);
    }
    break;
  }
}

#define TRAIL_SHOWN 10 /* parts from either end of a long trail */

void ml__pack_place(ml_packer *P) {
  lua_State *L = P->L;
  lua_Integer n = 1, id = P->cur;
  int list;
  bool field = false, any = false;
  luaL_Buffer b;
  luaL_checkstack(L, 20, "pack");
  lua_newtable(L); /* the trail from here to the root */
  list = lua_gettop(L);
  ml__pack_segment(P);
  lua_rawseti(L, list, 1);
  for (; id > 0; n++) {
    lua_rawgeti(L, P->trail, 2 * id);
    lua_rawseti(L, list, n + 1);
    lua_rawgeti(L, P->trail, 2 * id - 1);
    id = lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  luaL_buffinit(L, &b);
  for (lua_Integer i = n; i >= 1; i--) {
    const char *s;
    if (n > 2 * TRAIL_SHOWN && i == n - TRAIL_SHOWN) {
      luaL_addstring(&b, "...");
      i = TRAIL_SHOWN;
    }
    lua_rawgeti(L, list, i);
    s = lua_tostring(L, -1); /* the list keeps it */
    lua_pop(L, 1);
    bool piece = s[0] == '.' || s[0] == '[';
    if (field && !piece) luaL_addstring(&b, "'");
    if (any && s[0] != '\0' && !(field && piece)) luaL_addstring(&b, ": ");
    if (piece && !field) {
      luaL_addstring(&b, "field '");
      if (s[0] == '.') s++;
    }
    luaL_addstring(&b, s);
    any = any || s[0] != '\0';
    field = piece;
  }
  if (field) luaL_addstring(&b, "'");
  if (!any) luaL_addstring(&b, P->how->unnamed > 0 ? "the function" : "the value");
  luaL_addstring(&b, " (");
  luaL_addstring(&b, P->bad);
  luaL_addstring(&b, ")");
  luaL_pushresult(&b);
}
