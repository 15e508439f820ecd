/* Included first by clang-tidy only: these raise errors and do not return, which
** their declarations cannot say because they are used as `return lua_error(L)`. */
#include <lauxlib.h>
#include <lua.h>

int(lua_error)(lua_State *L) __attribute__((analyzer_noreturn));
int(luaL_error)(lua_State *L, const char *fmt, ...) __attribute__((analyzer_noreturn));
int(luaL_argerror)(lua_State *L, int arg, const char *extramsg) __attribute__((analyzer_noreturn));
int(luaL_typeerror)(lua_State *L, int arg, const char *tname) __attribute__((analyzer_noreturn));
int ml__error(lua_State *L, const char *cls, const char *fmt, ...)
    __attribute__((analyzer_noreturn));
int ml__misuse(lua_State *L, const char *cls, const char *fmt, ...)
    __attribute__((analyzer_noreturn));
