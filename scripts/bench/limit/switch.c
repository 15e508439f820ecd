/*
** switch TASKS YIELDS: one lua_resume and one lua_yield, the least that a
** switch between two tasks in Lua can cost. The tasks take turns.
*/

#include "bench.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static const char body[] = "local yield, n = ...\n"
                           "return function() for _ = 1, n do yield() end end";

static int yield(lua_State *L) { return lua_yield(L, 0); }

/* Leaves the function that every task runs on the stack. */
static void push_body(lua_State *L, long yields) {
  luaL_loadstring(L, body);
  lua_pushcfunction(L, yield);
  lua_pushinteger(L, yields);
  lua_call(L, 2, 1);
}

/* Makes the tasks; a table on the stack keeps them alive. */
static lua_State **make_tasks(lua_State *L, long n) {
  lua_State **tasks = malloc((size_t)n * sizeof(lua_State *));
  int function = lua_gettop(L);
  lua_createtable(L, (int)n, 0);
  for (long i = 0; i < n; i++) {
    tasks[i] = lua_newthread(L);
    lua_rawseti(L, -2, i + 1);
    lua_pushvalue(L, function);
    lua_xmove(L, tasks[i], 1);
  }
  return tasks;
}

/* Resumes all in turn until each has ended. Returns the number of yields. */
static long run(lua_State *L, lua_State **tasks, long n) {
  long yields = 0;
  for (long live = n; live > 0;) {
    for (long i = 0; i < n; i++) {
      int nresults = 0;
      if (!tasks[i]) continue;
      if (lua_resume(tasks[i], L, 0, &nresults) == LUA_YIELD) {
        yields++;
      } else {
        tasks[i] = NULL;
        live--;
      }
    }
  }
  return yields;
}

int main(int argc, char **argv) {
  long n = bench_arg(argc, argv, 1, 100), yields = bench_arg(argc, argv, 2, 20000);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  push_body(L, yields);
  lua_State **tasks = make_tasks(L, n);

  double started = bench_now();
  long done = run(L, tasks, n);
  bench_figure("ns", (bench_now() - started) * 1e9 / (double)done);

  free(tasks);
  lua_close(L);
  return done == n * yields ? 0 : 1;
}
