/* What any thread may call: waking and interrupting a running engine. Also
** one engine per thread, all at once (`make tsan` watches). */
#include "expect.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static void pause_ms(long ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&t, NULL);
}

static void *own_engine(void *arg) {
  ml_config c;
  ml_engine *e;
  (void)arg;
  for (int i = 0; i < 10; i++) {
    ml_config_init(&c);
    expect_ok(ml_new(&c, &e));
    ml_task *t = load(
        e, "local asyncio = require 'asyncio'\n"
           "local r = await(asyncio.gather(asyncio.sleep(0.001, 1), asyncio.sleep(0, 2)))\n"
           "return r[1] + r[2]\n");
    const ml_value *v;
    size_t n;
    expect_ok(ml_run(e));
    expect_ok(ml_task_result(t, &v, &n));
    expect(n == 1 && v[0].type == ML_INT && v[0].u.i == 3);
    ml_task_release(t);
    expect_ok(ml_close(e, 100));
  }
  return NULL;
}

static void *wake_often(void *arg) {
  for (int i = 0; i < 200; i++) {
    expect_ok(ml_wakeup(arg));
    if (i % 50 == 0) pause_ms(1);
  }
  return NULL;
}

static atomic_int begun;

static void print(void *ud, const char *text, size_t n) {
  capture(ud, text, n);
  begun = 1;
}

static void *interrupt(void *arg) {
  while (!begun) pause_ms(1);
  expect_ok(ml_interrupt(arg, ML_INTERRUPT_ASK));
  return NULL;
}

int main(void) {
  pthread_t threads[4];
  ml_config c;
  ml_engine *e;
  for (int i = 0; i < 4; i++) expect(pthread_create(&threads[i], NULL, own_engine, NULL) == 0);
  for (int i = 0; i < 4; i++) expect(pthread_join(threads[i], NULL) == 0);

  ml_config_init(&c);
  expect_ok(ml_new(&c, &e));
  ml_task *t = load(e, "await(require('asyncio').sleep(0.05)); return 1");
  expect(pthread_create(&threads[0], NULL, wake_often, e) == 0);
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_DONE);
  expect(pthread_join(threads[0], NULL) == 0);
  ml_task_release(t);
  expect_ok(ml_close(e, 100));

  /* A main program that is interrupted ends as Ctrl-C ends it: with clean-up. */
  int status = 0;
  static captured out;
  const char *source =
      "local asyncio = require 'asyncio'\n"
      "asyncio.run(async(function()\n"
      "  local g <close> = setmetatable({}, {__close = function() print('bye') end})\n"
      "  print('begun')\n"
      "  await(asyncio.sleep(30))\n"
      "end)())\n";
  ml_config_init(&c);
  c.print = print;
  c.ud = &out;
  expect_ok(ml_new(&c, &e));
  expect(pthread_create(&threads[0], NULL, interrupt, e) == 0);
  expect(ml_main(e, "=main", source, strlen(source), 0, NULL) < 0);
  expect(ml_last_error(e, &status) != NULL && status == 130);
  expect(strcmp(out.text, "begun\nbye\n") == 0);
  expect(pthread_join(threads[0], NULL) == 0);
  expect_ok(ml_close(e, 100));
  return 0;
}
