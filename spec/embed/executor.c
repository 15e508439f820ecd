/* Worker threads under a host: closing the engine with calls under way, and what workers
** print and log.
*/
#include "expect.h"
#include <dirent.h>
#include <time.h>

static int threads(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/task");
  expect(d != NULL);
  for (struct dirent *f; (f = readdir(d)) != NULL;) n += f->d_name[0] != '.';
  closedir(d);
  return n;
}

static void pause_ms(long ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&t, NULL);
}

/* Loads the script, makes some steps, closes the engine. */
static void close_amid(const char *source, int steps) {
  ml_config c;
  ml_engine *e;
  captured log = {0};
  int before = threads();
  ml_config_init(&c);
  c.log = capture;
  c.print = capture;
  c.ud = &log;
  expect_ok(ml_new(&c, &e));
  ml_task_release(load(e, source));
  for (int i = 0; i < steps; i++) {
    expect(ml_step(e, 0) >= 0);
    pause_ms(2);
  }
  expect_ok(ml_close(e, 10));
  /* libuv keeps none for this; a thread that has been joined is gone */
  expect(threads() == before);
}

static void prints(void) {
  ml_config c;
  ml_engine *e;
  captured log = {0};
  ml_config_init(&c);
  c.print = capture;
  c.log = capture;
  c.ud = &log;
  expect_ok(ml_new(&c, &e));
  ml_task *t = load(e, "local asyncio = require 'asyncio'\n"
                       "await(asyncio.to_thread(function() print('from a', 'worker') end))\n"
                       "print('after it')\n");
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_DONE);
  expect(strcmp(log.text, "from a\tworker\nafter it\n") == 0);
  ml_task_release(t);
  expect_ok(ml_close(e, 10));
}

/* A slice is of the engine's own thread: workers are for what takes long. What they print and
** log is the engine's output, within the same limit. */
static void limits(void) {
  ml_config c;
  ml_engine *e;
  ml_usage_info u;
  captured log = {0};
  ml_task *t;
  ml_config_init(&c);
  c.print = capture;
  c.ud = &log;
  c.meter = ML_METER_COUNTED;
  c.slice_us = 2000;
  c.max_output = 100;
  expect_ok(ml_new(&c, &e));
  t = load(e, "local asyncio = require 'asyncio'\n"
              "function busy()\n"
              "  local till = os.clock() + 0.05\n"
              "  while os.clock() < till do end\n"
              "  return true\n"
              "end\n"
              "assert(await(asyncio.to_thread(busy)))\n"
              "local pool = require('concurrent.futures').ThreadPoolExecutor(4)\n"
              "local calls, printed = {}, 0\n"
              "for i = 1, 30 do calls[i] = pool:submit(function() print(('x'):rep(9)) end) end\n"
              "for _, call in ipairs(calls) do\n"
              "  local ok, err = pcall(await, call)\n"
              "  if ok then printed = printed + 1\n"
              "  else assert(tostring(err):find('LimitError.*too much output'), err) end\n"
              "end\n"
              "assert(printed == 10 and not pcall(print))\n"
              "await(pool:shutdown())\n");
  expect_ok(ml_run(e));
  if (ml_task_status(t) == ML_FAILED) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
  expect(log.n == 100);
  expect_ok(ml_usage(e, &u, sizeof u));
  expect(u.output == 100 && u.overruns == 0);
  t = load(e, "busy()");
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_FAILED);
  expect(strstr(ml_task_error(t)->message, "TimeSliceError") != NULL);
  ml_task_release(t);
  expect_ok(ml_close(e, 10));
}

int main(void) {
  static const char *const scripts[] = {
      "await(require('asyncio').to_thread(function() while true do end end))",
      "local pool = require('concurrent.futures').ThreadPoolExecutor(2)\n"
      "for i = 1, 20 do pool:submit(function() for i = 1, 1e8 do end end) end",
      "local time = require 'time'\n"
      "local pool = require('concurrent.futures').ThreadPoolExecutor(2)\n"
      "for i = 1, 20 do pool:submit(time.sleep, 0.01) end\n"
      "await(pool:shutdown())",
      "local pool = require('concurrent.futures').ThreadPoolExecutor(2)\n"
      "for i = 1, 20 do pool:submit(function() require('asyncio').run(\n"
      "  require('asyncio').sleep(1000)) end) end",
      "for i = 1, 5 do require('concurrent.futures').ThreadPoolExecutor(2):submit(print) end\n"
      "collectgarbage()",
  };
  prints(); /* first: a sanitizer makes a thread of its own with the first one */
  limits();
  for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
    for (int steps = 0; steps < 5; steps += 2) close_amid(scripts[i], steps);
  return 0;
}
