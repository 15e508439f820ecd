/* A host with a poll(2) loop of its own: it waits for the engine's descriptor beside its own. */
#include <poll.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "expect.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Runs the task to its end. Returns how often the host woke up. */
static int drive(ml_engine *e, ml_task *t) {
  int turns = 0, fd, timeout;
  double end = now() + 60;
  while (ml_task_status(t) == ML_PENDING) {
    struct pollfd p;
    expect_ok(ml_poll_info(e, &fd, &timeout));
    expect(fd >= 0 && timeout >= -1);
    p = (struct pollfd){.fd = fd, .events = POLLIN};
    poll(&p, 1, timeout);
    expect_ok(ml_step(e, 0));
    turns++;
    expect(now() < end);
  }
  if (ml_task_status(t) != ML_DONE) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
  return turns;
}

static ml_call *waiting;
static int later(ml_call *c, void *ud) {
  (void)ud;
  waiting = c;
  return 0;
}
static void *finish(void *ud) {
  (void)ud;
  usleep(20000);
  expect_ok(ml_call_finish(waiting, 0, NULL, 0));
  return NULL;
}

int main(void) {
  ml_engine *e;
  pthread_t thread;
  int fd, timeout, turns;
  ml_task *t;
  expect_ok(ml_new(NULL, &e));
  expect(ml_poll_info(NULL, &fd, &timeout) == ML_EINVAL);
  expect(ml_poll_info(e, NULL, &timeout) == ML_EINVAL);
  expect_ok(ml_poll_info(e, &fd, &timeout)); /* nothing to wait for */
  expect(timeout == -1);

  t = load(e, "await(require('asyncio').sleep(1000))");
  expect_ok(ml_poll_info(e, &fd, &timeout));
  expect(timeout == 0); /* ready to begin */
  expect_ok(ml_step(e, 0));
  expect_ok(ml_poll_info(e, &fd, &timeout));
  expect(timeout > 0 && timeout <= 1000001);
  expect(ml_task_cancel(t, NULL) == 1);
  while (ml_task_status(t) == ML_PENDING) expect(ml_step(e, 0) >= 0);
  ml_task_release(t);
  t = load(e, "await(require('asyncio').sleep(0.05))");
  turns = drive(e, t);
  expect(turns < 10); /* it slept */

  t = load(e, "local asyncio = require 'asyncio'\n"
              "local server = await(asyncio.start_server(function(r, w)\n"
              "  for line in r:lines() do w:write(line:upper() .. '\\n') end\n"
              "  w:close()\n"
              "end, '127.0.0.1', 0))\n"
              "local r, w = await(asyncio.open_connection('127.0.0.1', server.sockets[1].port))\n"
              "for i = 1, 20 do\n"
              "  w:write('hello ' .. i .. '\\n')\n"
              "  assert(await(r:readline()) == 'HELLO ' .. i .. '\\n')\n"
              "end\n"
              "w:close()\n"
              "await(w:wait_closed())\n"
              "server:close()\n"
              "await(server:wait_closed())\n");
  turns = drive(e, t);
  expect(turns < 500);

  expect_ok(ml_def_async(e, "later", later, NULL)); /* another thread wakes the host */
  t = load(e, "await(later())");
  expect_ok(ml_step(e, 0));
  expect_ok(ml_poll_info(e, &fd, &timeout));
  expect(timeout == -1);
  pthread_create(&thread, NULL, finish, NULL);
  turns = drive(e, t);
  expect(turns < 10);
  pthread_join(thread, NULL);
  expect_ok(ml_close(e, 0));
  return 0;
}
