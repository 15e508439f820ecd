/* A host that drives the engine frame by frame. */
#include "expect.h"
#include <time.h>

static double milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* A step runs what is ready and never blocks: where nothing is left but a timer of next year's and
** a reader to whom nobody writes, it comes back. */
static void never_blocks(ml_engine *e) {
  ml_task *sleeps = load(e, "await(require('asyncio').sleep(3e7))");
  ml_task *reads = load(e, "local a, b = require('socket').socketpair()\n"
                           "local a <close>, b = a, b local b <close> = b await(a:recv(1))");
  for (int i = 0; i < 1000; i++) expect(ml_step(e, i % 2 ? 0 : 1000000) >= 0);
  expect(ml_task_status(sleeps) == ML_PENDING && ml_task_status(reads) == ML_PENDING);
  ml_task_cancel(sleeps, NULL);
  ml_task_cancel(reads, NULL);
  while (ml_step(e, 0) > 0) continue;
  expect(ml_task_status(sleeps) == ML_CANCELLED && ml_task_status(reads) == ML_CANCELLED);
  ml_task_release(sleeps);
  ml_task_release(reads);
}

/* And a timer is over when it is due, not sooner. */
static void sleeps(ml_engine *e) {
  ml_task *t = load(e, "await(require('asyncio').sleep(0.05))");
  double start = milliseconds();
  while (ml_task_status(t) == ML_PENDING) expect(ml_step(e, 0) >= 0);
  expect(milliseconds() - start >= 49);
  ml_task_release(t);
}

/* More to do now, or idle. */
static void tells_what_is_left(ml_engine *e) {
  ml_task *t = load(e, "for i = 1, 5 do await(require('asyncio').sleep(0)) end");
  int rounds = 0;
  while (ml_step(e, 0) > 0) rounds++;
  expect(rounds >= 4 && rounds <= 12);
  expect(ml_task_status(t) == ML_DONE);
  expect(ml_step(e, 0) == 0);
  expect(ml_alive(e) == 0);
  ml_task_release(t);
}

/* The budget ends a step between rounds, even if tasks never stop. */
static void keeps_the_budget(ml_engine *e) {
  ml_task *t = load(e, "while true do await(require('asyncio').sleep(0)) end");
  expect(ml_step(e, 5000) > 0); /* it comes back */
  expect_ok(ml_task_cancel(t, NULL));
  while (ml_step(e, 0) > 0) continue;
  expect(ml_task_status(t) == ML_CANCELLED);
  ml_task_release(t);
}

static double now;
static double host_clock(void *ud) {
  (void)ud;
  return now;
}

/* The host's clock: paused, nothing happens; moved on, timers fire. */
static void own_clock(void) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.clock = ML_CLOCK_HOST;
  c.now = host_clock;
  expect_ok(ml_new(&c, &e));
  ml_task *t = load(e, "await(require('asyncio').sleep(10)); return 1");
  for (int i = 0; i < 10; i++) expect(ml_step(e, 0) >= 0);
  expect(ml_task_status(t) == ML_PENDING);
  now = 9.9;
  for (int i = 0; i < 10; i++) expect(ml_step(e, 0) >= 0);
  expect(ml_task_status(t) == ML_PENDING);
  now = 10.1;
  for (int i = 0; i < 10; i++) expect(ml_step(e, 0) >= 0);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
}

/* A script that never rests does not keep timers and input from being seen. */
static void not_starved(ml_engine *e) {
  ml_task *busy = load(e, "while true do await(require('asyncio').sleep(0)) end");
  ml_task *t = load(e, "local asyncio = require 'asyncio'\n"
                       "local path = os.tmpname()\n"
                       "os.remove(path)\n"
                       "local server = await(asyncio.start_unix_server(function(r, w)\n"
                       "  w:write(await(r:readline())) w:close()\n"
                       "end, path))\n"
                       "local r, w = await(asyncio.open_unix_connection(path))\n"
                       "await(asyncio.sleep(0.001))\n"
                       "w:write('through\\n')\n"
                       "local line = await(r:readline())\n"
                       "w:close() server:close()\n"
                       "return line\n");
  const ml_value *v;
  size_t n;
  while (ml_task_status(t) == ML_PENDING) expect(ml_step(e, 500) > 0);
  if (ml_task_error(t) != NULL) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect_ok(ml_task_result(t, &v, &n));
  expect(strcmp(v[0].u.str.s, "through\n") == 0);
  ml_task_release(t);
  expect(ml_task_cancel(busy, NULL) == 1);
  while (ml_step(e, 0) > 0) continue;
  ml_task_release(busy);
}

/* A virtual clock is at the next timer with the next step. */
static void virtual_clock(void) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.clock = ML_CLOCK_VIRTUAL;
  expect_ok(ml_new(&c, &e));
  ml_task *t = load(e, "for i = 1, 10 do await(require('asyncio').sleep(3600)) end");
  int steps = 0;
  while (ml_task_status(t) == ML_PENDING && steps < 1000) {
    expect(ml_step(e, 0) >= 0);
    steps++;
  }
  expect(steps >= 10 && steps < 100); /* ten hours */
  ml_task_release(t);
  /* with a live handle too, once it has been quiet for a moment */
  t = load(e, "local asyncio = require 'asyncio'\n"
              "local server <close> = await(asyncio.start_server(function() end, '127.0.0.1', 0))\n"
              "await(asyncio.sleep(3600))\n");
  while (ml_task_status(t) == ML_PENDING) expect(ml_step(e, 0) >= 0);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
}

/* As much as a number can say is no limit. */
static void for_ever(void) {
  ml_engine *e;
  ml_task *t;
  expect_ok(ml_new(NULL, &e));
  t = load(e, "for i = 1, 1000 do await(require('asyncio').sleep(0)) end");
  expect(ml_step(e, UINT64_MAX) == 0 && ml_task_status(t) == ML_DONE);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
}

int main(void) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  expect_ok(ml_new(&c, &e));
  never_blocks(e);
  sleeps(e);
  tells_what_is_left(e);
  keeps_the_budget(e);
  not_starved(e);
  expect_ok(ml_close(e, 100));
  own_clock();
  virtual_clock();
  for_ever();
  return 0;
}
