/*
** host WHAT N [MORE]: what a host in C pays for engines.
**
**   step N        an ml_step of an engine whose script sleeps
**   frames N M    N tasks that await the next frame, M times
**   calls N M     asynchronous host calls that another thread finishes, M of them under way
**   engines N     ml_new and ml_close
**   pure N        the same with ML_PROFILE_PURE
**   scripts N     the same with a script between that loads asyncio and awaits
**   memory N      what an idle engine takes, N of them alive, over a Lua state with its libraries
**   watchdog N    CPU time of scripts under the watchdog over that without, percent, the least of N pairs of
**                 runs; the limit is the noise: two runs without it
**   overrun N     how long after its slice of 10 ms a script is stopped, CPU time, the median of N; the
**                 limit is how late a thread wakes that sleeps as long
**
** limit/host.c does the same without the engine.
*/

#include "limit/bench.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "limit/hand.h"

#include <lauxlib.h>
#include <lualib.h>
#include <moonloop.h>

static void check(int rc) {
  if (rc >= 0) return;
  fprintf(stderr, "%s\n", ml_strerror(rc));
  exit(1);
}

static ml_engine *with_script(const char *script) {
  ml_engine *e;
  check(ml_new(NULL, &e));
  check(ml_load(e, "=host", script, strlen(script), NULL));
  check(ml_step(e, 0));
  return e;
}

static void step(long n) {
  ml_engine *e = with_script("await(require 'asyncio'.sleep(1e6))");
  double started = bench_cpu();
  for (long i = 0; i < n; i++) check(ml_step(e, 0));
  bench_figure("ns", (bench_cpu() - started) * 1e9 / (double)n);
  check(ml_close(e, 0));
}

static void frames(long tasks, long n) {
  static const char script[] =
      "local asyncio = require 'asyncio'\n"
      "local frames = 0\n"
      "function begin(tasks)\n"
      "  for i = 1, tasks do\n"
      "    asyncio.create_task(function() while true do await(asyncio.next_frame()) end end)\n"
      "  end\n"
      "end\n"
      "function count() while true do frames = frames + 1 await(asyncio.next_frame()) end end\n"
      "function done() return frames end\n";
  ml_engine *e;
  ml_task *t;
  ml_value v = {.type = ML_INT, .u.i = tasks};
  const ml_value *result;
  size_t results;
  check(ml_new(NULL, &e));
  check(ml_load(e, "=host", script, strlen(script), NULL));
  check(ml_step(e, 0));
  check(ml_spawn(e, "begin", &v, 1, NULL));
  check(ml_spawn(e, "count", NULL, 0, NULL));
  for (int i = 0; i < 3; i++) check(ml_step(e, 0));
  double started = bench_cpu();
  for (long i = 0; i < n; i++) check(ml_step(e, 0));
  bench_figure("ns", (bench_cpu() - started) * 1e9 / (double)n / (double)tasks);
  check(ml_spawn(e, "done", NULL, 0, &t));
  while (ml_task_status(t) == ML_PENDING) check(ml_step(e, 0));
  check(ml_task_result(t, &result, &results));
  if (result[0].u.i < n) exit(1); /* each step was a frame */
  ml_task_release(t);
  check(ml_close(e, 0));
}

static void finish(void *call) {
  ml_value v = {.type = ML_INT, .u.i = 42};
  check(ml_call_finish(call, 0, &v, 1));
}

static int ask(ml_call *c, void *ud) {
  hand_over(ud, c);
  return 0;
}

static void calls(long n, long under_way) {
  static const char script[] =
      "local asyncio = require 'asyncio'\n"
      "function all(n, m)\n"
      "  local one = async(function() for i = 1, n // m do assert(await(ask()) == 42) end end)\n"
      "  local list = {}\n"
      "  for i = 1, m do list[i] = one() end\n"
      "  await(asyncio.gather(list))\n"
      "end\n";
  ml_engine *e;
  ml_value args[2] = {{.type = ML_INT, .u.i = n}, {.type = ML_INT, .u.i = under_way}};
  hand *h = hand_new(finish, (size_t)under_way);
  check(ml_new(NULL, &e));
  check(ml_def_async(e, "ask", ask, h));
  check(ml_load(e, "=host", script, strlen(script), NULL));
  check(ml_run(e));
  double started = bench_now();
  check(ml_spawn(e, "all", args, 2, NULL));
  check(ml_run(e));
  bench_figure("ns", (bench_now() - started) * 1e9 / (double)n);
  hand_free(h);
  check(ml_close(e, 0));
}

static void engines(long n, ml_profile profile) {
  ml_config c;
  ml_engine *e;
  ml_config_init(&c);
  c.profile = profile;
  double started = bench_cpu();
  for (long i = 0; i < n; i++) {
    check(ml_new(&c, &e));
    check(ml_close(e, 0));
  }
  bench_figure("us", (bench_cpu() - started) * 1e6 / (double)n);
}

static void scripts(long n) {
  double started = bench_cpu();
  for (long i = 0; i < n; i++) check(ml_close(with_script("require 'asyncio'.sleep(0)"), 0));
  bench_figure("us", (bench_cpu() - started) * 1e6 / (double)n);
}

static void memory(long n) {
  double at = bench_resident(), states;
  for (long i = 0; i < n; i++) luaL_openlibs(luaL_newstate());
  states = bench_resident() - at;
  at = bench_resident();
  for (long i = 0; i < n; i++) ml_loop(with_script("await(require 'asyncio'.sleep(1e6))"));
  bench_figure("bytes", (bench_resident() - at - states) / (double)n);
}

static void to_nobody(void *ud, const char *text, size_t n) { (void)ud, (void)text, (void)n; }

static ml_engine *metered(bool watched, const char *script) {
  ml_config c;
  ml_engine *e;
  ml_config_init(&c);
  c.log = to_nobody;
  if (watched) c.meter = ML_METER_WATCHDOG;
  check(ml_new(&c, &e));
  check(ml_load(e, "=host", script, strlen(script), NULL));
  return e;
}

/* Tasks that take turns and compute a little. */
static double work(bool watched) {
  ml_engine *e = metered(watched, "local asyncio = require 'asyncio'\n"
                                  "local one = async(function()\n"
                                  "  for i = 1, 3000 do\n"
                                  "    for j = 1, 100 do end\n"
                                  "    await(asyncio.sleep(0))\n"
                                  "  end\n"
                                  "end)\n"
                                  "local t = {}\n"
                                  "for i = 1, 100 do t[i] = one() end\n"
                                  "await(asyncio.gather(t))\n");
  double started = bench_cpu();
  check(ml_run(e));
  started = bench_cpu() - started;
  check(ml_close(e, 0));
  return started;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double least(const double *times, long n) {
  double min = times[0];
  for (long i = 1; i < n; i++)
    if (times[i] < min) min = times[i];
  return min;
}

static void watchdog(long n) {
  double *plain = calloc((size_t)n * 3, sizeof *plain), *again = plain + n, *watched = again + n;
  for (long i = 0; i < n; i++) {
    plain[i] = work(false);
    watched[i] = work(true);
    again[i] = work(false);
  }
  bench_figure("percent", (least(watched, n) / least(plain, n) - 1) * 100);
  bench_figure("limit", (least(again, n) / least(plain, n) - 1) * 100);
  free(plain);
}

static double thread_cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void overrun(long n) {
  double *late = calloc((size_t)n * 2, sizeof *late), *slept = late + n;
  for (long i = 0; i < n; i++) {
    ml_engine *e = metered(true, "while true do end");
    struct timespec t = {0, 10000000};
    double started = thread_cpu();
    check(ml_run(e));
    late[i] = thread_cpu() - started - 0.01;
    check(ml_close(e, 0));
    started = bench_now();
    nanosleep(&t, NULL);
    slept[i] = bench_now() - started - 0.01;
  }
  qsort(late, (size_t)n, sizeof *late, by_size);
  qsort(slept, (size_t)n, sizeof *slept, by_size);
  bench_figure("us", late[n / 2] * 1e6);
  bench_figure("limit", slept[n / 2] * 1e6);
  free(late);
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
  else if (strcmp(what, "engines") == 0)
    engines(n, ML_PROFILE_FULL);
  else if (strcmp(what, "pure") == 0)
    engines(n, ML_PROFILE_PURE);
  else if (strcmp(what, "scripts") == 0)
    scripts(n);
  else if (strcmp(what, "memory") == 0)
    memory(n);
  else if (strcmp(what, "watchdog") == 0)
    watchdog(n);
  else if (strcmp(what, "overrun") == 0)
    overrun(n);
  else
    return 2;
  return 0;
}
