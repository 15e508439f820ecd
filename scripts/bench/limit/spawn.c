/*
** spawn N BATCH [reuse]: a new Lua thread, a function put on it and run to its
** end, in batches as gather makes them. With `reuse` the threads of the first
** batch serve all the others.
*/

#include "bench.h"

#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

enum { FUNCTION = 1, THREADS };

/* Thread i of the batch: a new one, or the one that is there already. */
static lua_State *thread_at(lua_State *L, long i) {
  lua_State *co;
  if (lua_rawgeti(L, THREADS, i) == LUA_TTHREAD) {
    co = lua_tothread(L, -1);
    lua_pop(L, 1);
  } else {
    lua_pop(L, 1);
    co = lua_newthread(L);
    lua_rawseti(L, THREADS, i);
  }
  return co;
}

/* Returns the sum of what the batch's functions returned. */
static long long run_batch(lua_State *L, long batch) {
  long long sum = 0;
  for (long i = 1; i <= batch; i++) {
    lua_State *co = thread_at(L, i);
    lua_pushvalue(L, FUNCTION);
    lua_xmove(L, co, 1);
    lua_pushinteger(co, i);
  }
  for (long i = 1; i <= batch; i++) {
    lua_State *co = thread_at(L, i);
    int nresults = 0;
    if (lua_resume(co, L, 1, &nresults) != LUA_OK) return -1;
    sum += lua_tointeger(co, -1);
    lua_settop(co, 0);
  }
  return sum;
}

int main(int argc, char **argv) {
  long n = bench_arg(argc, argv, 1, 1000000), batch = bench_arg(argc, argv, 2, 10000);
  int reuse = argc > 3 && strcmp(argv[3], "reuse") == 0;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (luaL_dostring(L, "return function(x) return x end")) return 1;

  double started = bench_now();
  for (long done = 0; done < n; done += batch) {
    if (done == 0 || !reuse) {
      lua_settop(L, FUNCTION);
      lua_createtable(L, (int)batch, 0);
    }
    if (run_batch(L, batch) != (long long)batch * (batch + 1) / 2) return 1;
  }
  bench_figure("ns", (bench_now() - started) * 1e9 / (double)n);

  lua_close(L);
  return 0;
}
