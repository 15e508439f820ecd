/* Module asyncio.embedded: what is in the binary, for those who explore it: names of modules, and
** what the library's sources and the reference say of its functions (see tools/embed.c).
*/
#include "core.h"

/* modules() -> array of names */
static int f_modules(lua_State *L) {
  lua_Integer n = 0;
  lua_newtable(L);
  for (const ml_source *s = ml__stdlib; s->name != NULL; s++) {
    lua_pushstring(L, s->name);
    lua_rawseti(L, -2, ++n);
  }
  for (const ml_module *m = ml__bindings; m->name != NULL; m++) {
    lua_pushstring(L, m->name);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* docs() -> sections "\1SOURCE\n", each with entries "\2LINE WHAT FOLLOWS\nTEXT"; those of the
** reference are text alone */
static int f_docs(lua_State *L) {
  lua_pushlstring(L, ml__docs, ml__docs_size);
  return 1;
}

int ml__open_embedded(lua_State *L) {
  static const luaL_Reg functions[] = {{"modules", f_modules}, {"docs", f_docs}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
