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
  for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
    for (int steps = 0; steps < 5; steps += 2) close_amid(scripts[i], steps);
  return 0;
}
