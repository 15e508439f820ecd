/* The engine on a loop that the host has: the host runs its loop and steps the
** engine; both see their events, and closing leaves the host's handles alone. */
#include "expect.h"
#include <uv.h>

static int ticks, closed;
static void on_tick(uv_timer_t *t) { (void)t, ticks++; }
static void on_closed(uv_handle_t *h) { (void)h, closed++; }

static int count_handles;
static void count(uv_handle_t *h, void *arg) { (void)h, (void)arg, count_handles++; }
static int handles(uv_loop_t *loop) {
  count_handles = 0;
  uv_walk(loop, count, NULL);
  return count_handles;
}

static ml_engine *engine(uv_loop_t *loop) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.loop = loop;
  expect_ok(ml_new(&c, &e));
  expect(ml_loop(e) == loop);
  return e;
}

/* Steps between turns of the host's loop: a server and a client in the script,
** a timer of the host's. */
static void together(uv_loop_t *loop, uv_timer_t *timer) {
  ml_engine *e = engine(loop);
  const ml_value *v;
  size_t n;
  ml_task *t = load(
      e, "local asyncio = require 'asyncio'\n"
         "local server = await(asyncio.start_server(function(r, w)\n"
         "  for line in r:lines() do w:write(line:upper() .. '\\n') end\n"
         "  w:close()\n"
         "end, '127.0.0.1', 0))\n"
         "local r, w = await(asyncio.open_connection('127.0.0.1', server.sockets[1].port))\n"
         "w:write('hello\\n')\n"
         "local line = await(r:readline())\n"
         "w:close()\n"
         "await(asyncio.sleep(0.02))\n"
         "server:close()\n"
         "return line\n");
  int before = ticks;
  while (ml_task_status(t) == ML_PENDING) {
    expect(ml_step(e, 0) >= 0);
    uv_run(loop, UV_RUN_NOWAIT);
  }
  if (ml_task_status(t) == ML_FAILED) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect_ok(ml_task_result(t, &v, &n));
  expect(strcmp(v[0].u.str.s, "HELLO\n") == 0);
  ml_task_release(t);
  expect(ticks > before);
  expect_ok(ml_close(e, 100));
  expect(uv_is_active((uv_handle_t *)timer));
  expect(handles(loop) == 1);
}

/* Closed in the midst of it: sockets, timers and tasks are open. */
static void closed_early(uv_loop_t *loop) {
  ml_engine *e = engine(loop);
  ml_task_release(load(
      e,
      "local asyncio = require 'asyncio'\n"
      "server = await(asyncio.start_server(function(r, w) await(r:read()) end, '127.0.0.1', 0))\n"
      "r, w = await(asyncio.open_connection('127.0.0.1', server.sockets[1].port))\n"
      "asyncio.create_task(r:read())\n"
      "await(asyncio.sleep(1e6))\n"));
  for (int i = 0; i < 50; i++) {
    expect(ml_step(e, 0) >= 0);
    uv_run(loop, UV_RUN_NOWAIT);
  }
  expect(handles(loop) > 1);
  expect_ok(ml_close(e, 0));
  uv_run(loop, UV_RUN_NOWAIT);
  expect(handles(loop) == 1);
}

/* Engines share a loop. */
static void two(uv_loop_t *loop) {
  ml_engine *e[2] = {engine(loop), engine(loop)};
  ml_task *t[2];
  for (int i = 0; i < 2; i++)
    t[i] = load(e[i], "return await(require('asyncio').sleep(0.01, 'up'))");
  while (ml_task_status(t[0]) == ML_PENDING || ml_task_status(t[1]) == ML_PENDING)
    for (int i = 0; i < 2; i++) expect(ml_step(e[i], 0) >= 0);
  ml_task_release(t[0]);
  expect_ok(ml_close(e[0], 0));
  expect_ok(ml_close(e[1], 0));
  expect(ml_task_status(t[1]) == ML_DONE);
  ml_task_release(t[1]); /* after the engine */
  expect(handles(loop) == 1);
}

int main(void) {
  uv_loop_t loop;
  uv_timer_t timer;
  uv_loop_init(&loop);
  uv_timer_init(&loop, &timer);
  uv_timer_start(&timer, on_tick, 1, 1);
  two(&loop);
  together(&loop, &timer);
  closed_early(&loop);
  uv_close((uv_handle_t *)&timer, on_closed);
  uv_run(&loop, UV_RUN_DEFAULT);
  expect(closed == 1);
  expect(uv_loop_close(&loop) == 0);
  return 0;
}
