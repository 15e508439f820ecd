/*
** timers N MS: N coroutines at once, each asleep on a libuv timer of its own
** (they lie in libuv's heap) for a random time of up to MS milliseconds.
*/

#include "bench.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <uv.h>

typedef struct sleeper {
  uv_timer_t timer;
  lua_State *co;
} sleeper;

static const char body[] = "local sleep, longest = ...\n"
                           "local random = math.random\n"
                           "math.randomseed(1)\n"
                           "return function() sleep(random(0, longest)) end";

static lua_State *main_state;
static long woken;

static void on_close(uv_handle_t *handle) { free(handle); }

/* Resumes the coroutine to its end and lets go of it. */
static void on_timer(uv_timer_t *timer) {
  lua_State *L = main_state, *co = ((sleeper *)timer)->co;
  int nresults = 0;
  if (lua_resume(co, L, 0, &nresults) != LUA_OK) exit(1);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, co);
  uv_close((uv_handle_t *)timer, on_close);
  woken++;
}

static int l_sleep(lua_State *L) {
  sleeper *s = malloc(sizeof *s);
  s->co = L;
  uv_timer_init(uv_default_loop(), &s->timer);
  uv_timer_start(&s->timer, on_timer, (uint64_t)luaL_checkinteger(L, 1), 0);
  return lua_yield(L, 0);
}

/* Leaves the function that every coroutine runs on the stack. */
static void push_body(lua_State *L, long longest) {
  luaL_loadstring(L, body);
  lua_pushcfunction(L, l_sleep);
  lua_pushinteger(L, longest);
  lua_call(L, 2, 1);
}

/* Starts a coroutine that runs the function on the stack up to its sleep. */
static void start(lua_State *L) {
  int nresults = 0;
  lua_State *co = lua_newthread(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, co);
  lua_pushvalue(L, -1);
  lua_xmove(L, co, 1);
  if (lua_resume(co, L, 0, &nresults) != LUA_YIELD) exit(1);
}

int main(int argc, char **argv) {
  long n = bench_arg(argc, argv, 1, 1000000), longest = bench_arg(argc, argv, 2, 2000);
  lua_State *L = main_state = luaL_newstate();
  luaL_openlibs(L);
  push_body(L, longest);

  double started = bench_now();
  for (long i = 0; i < n; i++) start(L);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  bench_figure("over", bench_now() - started - (double)longest / 1000);

  return woken == n ? 0 : 1;
}
