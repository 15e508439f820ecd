/* What http.web does most often, in C: making a Response of a text and nothing else.
** The object is a table with the layout of stdlib/http/web/layout.lua; everything that
** is not the plain case goes to the class's `new`. Owns nothing, keeps nothing.
*/
#include "core.h"

/* Of a response's array part. */
enum { STATUS = 1, BODY, TYPE, HEADERS, COOKIES, EXCHANGE, MORE };

/* Of response_call. */
enum { UP_CLASS = 1, UP_TYPE, UP_TEXT };

/* Is the table at index 2 {text = STRING}, and nothing else? Pushes the string. */
static bool only_text(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(UP_TEXT));
  if (lua_rawget(L, 2) != LUA_TSTRING) return false;
  lua_pushnil(L);
  if (lua_next(L, 2) == 0) return false;
  lua_pop(L, 1);
  return lua_rawequal(L, -1, lua_upvalueindex(UP_TEXT)) && lua_next(L, 2) == 0;
}

/* Response(opts), or the call of a class derived from it */
static int response_call(lua_State *L) {
  if (lua_gettop(L) == 2 && lua_istable(L, 2) && lua_rawequal(L, 1, lua_upvalueindex(UP_CLASS)) &&
      only_text(L)) {
    lua_createtable(L, MORE, 0);
    lua_pushinteger(L, 200);
    lua_rawseti(L, 4, STATUS);
    lua_pushvalue(L, 3);
    lua_rawseti(L, 4, BODY);
    lua_pushvalue(L, lua_upvalueindex(UP_TYPE));
    lua_rawseti(L, 4, TYPE);
    for (int i = HEADERS; i <= MORE; i++) {
      lua_pushboolean(L, 0);
      lua_rawseti(L, 4, i);
    }
    lua_pushvalue(L, 1);
    lua_setmetatable(L, 4);
    return 1;
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  lua_getfield(L, 1, "new");
  lua_insert(L, 1);
  lua_call(L, 2, 1);
  return 1;
}

/* constructor(Response, type): what __call of the class is to be; type: of a text */
static int web_constructor(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TSTRING);
  lua_settop(L, 2);
  lua_pushliteral(L, "text");
  lua_pushcclosure(L, response_call, 3);
  return 1;
}

static const luaL_Reg functions[] = {{"constructor", web_constructor}, {NULL, NULL}};

int ml__open_httpweb(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
