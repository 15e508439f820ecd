/*
** host WHAT N [MORE]: the least that C pays for what ../host.c does.
**
**   step N        a turn of a libuv loop with a timer, that does not block
**   frames N M    N coroutines that yield, M times, each resumed in turn
**   calls N M     a thread finishes work, M pieces under way, a libuv loop is told by uv_async_t
**   engines N     luaL_newstate, luaL_openlibs, lua_close; pure N, scripts N: the same
**   memory N      a Lua state with its libraries
*/

#include "bench.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>
#include <uv.h>

#include "hand.h"

static void on_timer(uv_timer_t *t) { (void)t; }

static void step(long n) {
  uv_loop_t *loop = uv_default_loop();
  uv_timer_t timer;
  uv_timer_init(loop, &timer);
  uv_timer_start(&timer, on_timer, 1000000000, 0);
  double started = bench_cpu();
  for (long i = 0; i < n; i++) uv_run(loop, UV_RUN_NOWAIT);
  bench_figure("ns", (bench_cpu() - started) * 1e9 / (double)n);
}

static int yield(lua_State *L) { return lua_yield(L, 0); }

static void frames(long tasks, long n) {
  lua_State *L = luaL_newstate(), **co = malloc((size_t)tasks * sizeof *co);
  int nresults;
  luaL_openlibs(L);
  luaL_loadstring(L, "local yield = ... return function() while true do yield() end end");
  lua_pushcfunction(L, yield);
  lua_call(L, 1, 1);
  for (long i = 0; i < tasks; i++) {
    co[i] = lua_newthread(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, co[i]);
    lua_pushvalue(L, 1);
    lua_xmove(L, co[i], 1);
    lua_resume(co[i], L, 0, &nresults);
  }
  double started = bench_cpu();
  for (long k = 0; k < n; k++)
    for (long i = 0; i < tasks; i++)
      if (lua_resume(co[i], L, 0, &nresults) != LUA_YIELD) exit(1);
  bench_figure("ns", (bench_cpu() - started) * 1e9 / (double)n / (double)tasks);
  lua_close(L);
  free(co);
}

typedef struct call {
  struct call *next; /* of what is finished */
  long argument, result;
} call;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static call *finished;
static uv_async_t come;
static hand *worker;
static long left, unbegun;

static void begin(void) {
  if (unbegun-- > 0) hand_over(worker, calloc(1, sizeof(call)));
}

static void finish(void *work) {
  call *c = work;
  bool first;
  c->result = 42;
  pthread_mutex_lock(&lock);
  first = finished == NULL;
  c->next = finished;
  finished = c;
  pthread_mutex_unlock(&lock);
  if (first) uv_async_send(&come);
}

static void on_come(uv_async_t *a) {
  call *list, *next;
  pthread_mutex_lock(&lock);
  list = finished;
  finished = NULL;
  pthread_mutex_unlock(&lock);
  for (; list != NULL; list = next) {
    next = list->next;
    if (list->result != 42) exit(1);
    free(list);
    begin();
    if (--left == 0) uv_close((uv_handle_t *)a, NULL);
  }
}

static void calls(long n, long under_way) {
  uv_loop_t *loop = uv_default_loop();
  worker = hand_new(finish, (size_t)under_way + 1);
  uv_async_init(loop, &come, on_come);
  left = unbegun = n;
  double started = bench_now();
  for (long i = 0; i < under_way; i++) begin();
  uv_run(loop, UV_RUN_DEFAULT);
  bench_figure("ns", (bench_now() - started) * 1e9 / (double)n);
  hand_free(worker);
}

static void states(long n) {
  double started = bench_cpu();
  for (long i = 0; i < n; i++) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_close(L);
  }
  bench_figure("us", (bench_cpu() - started) * 1e6 / (double)n);
}

static void memory(long n) {
  double at = bench_resident();
  for (long i = 0; i < n; i++) luaL_openlibs(luaL_newstate());
  bench_figure("bytes", (bench_resident() - at) / (double)n);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  long n = bench_arg(argc, argv, 2, 1000);
  if (strcmp(what, "step") == 0)
    step(n);
  else if (strcmp(what, "frames") == 0)
    frames(n, bench_arg(argc, argv, 3, 100));
  else if (strcmp(what, "calls") == 0)
    calls(n, bench_arg(argc, argv, 3, 100));
  else if (strcmp(what, "engines") == 0 || strcmp(what, "pure") == 0 ||
           strcmp(what, "scripts") == 0)
    states(n);
  else if (strcmp(what, "memory") == 0)
    memory(n);
  else
    return 2;
  return 0;
}
