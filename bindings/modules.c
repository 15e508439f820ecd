/* The bindings that are built in, by the name that require knows. */
#include "core.h"

int luaopen_moonloop_time(lua_State *L);

const ml_module ml__bindings[] = {{"time", luaopen_moonloop_time}, {NULL, NULL}};
