/* Connections that are open when the engine is closed, on its loop or the host's. */
#include "expect.h"
#include <uv.h>

static const char script[] =
    "local asyncio = require 'asyncio'\n"
    "local server = await(asyncio.start_server(function(r, w)\n"
    "  w:write(('x'):rep(5000000))\n"
    "  await(r:readline())\n"
    "end, '127.0.0.1', 0))\n"
    "local port = server.sockets[1].port\n"
    "for i = 1, 5 do\n"
    "  local r, w = await(asyncio.open_connection('127.0.0.1', port))\n"
    "  asyncio.create_task(r:readexactly(1e9 // 1))\n"
    "  asyncio.create_task(w:wait_closed())\n"
    "end\n"
    "local loop = asyncio.get_running_loop()\n"
    "await(loop:create_connection(function() return {} end, '127.0.0.1', port))\n"
    "asyncio.create_task(loop:getaddrinfo('localhost', 80))\n"
    "asyncio.create_task(asyncio.open_connection('127.0.0.1', port))\n"
    "await(server:serve_forever())\n";

static void ignore(void *ud, const char *text, size_t n) {
  (void)ud;
  (void)text;
  (void)n;
}

static void close_with(uv_loop_t *loop, int steps, int grace_ms) {
  ml_config c;
  ml_engine *e;
  ml_task *t;
  ml_config_init(&c);
  c.loop = loop;
  c.log = ignore;
  expect_ok(ml_new(&c, &e));
  expect_ok(ml_load(e, "@sockets", script, sizeof script - 1, &t));
  ml_task_release(t);
  for (int i = 0; i < steps; i++) expect(ml_step(e, 0) >= 0);
  expect_ok(ml_close(e, grace_ms));
}

int main(void) {
  uv_loop_t loop;
  for (int steps = 0; steps < 60; steps += 4) {
    close_with(NULL, steps, steps % 8 == 0 ? 0 : 1000);
    expect(uv_loop_init(&loop) == 0);
    close_with(&loop, steps, steps % 8 == 0 ? 0 : 1000);
    uv_run(&loop, UV_RUN_DEFAULT); /* a lookup may still be under way */
    expect(uv_loop_close(&loop) == 0);
  }
  return 0;
}
