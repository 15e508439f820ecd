/* Sockets of an engine on a loop that the host has: closed while operations wait, callbacks
** are set and a file goes out, the engine leaves nothing on the loop. */
#include "closed_early.h"

static captured logged;

static const char *script =
    "local asyncio, socket = require 'asyncio', require 'socket'\n"
    "local loop = asyncio.get_running_loop()\n"
    "local function go(op) asyncio.create_task(op) end\n"
    "kept = {}\n"
    "for i = 1, 3 do\n"
    "  local a, b = socket.socketpair()\n"
    "  a:set { sndbuf = 4096 }\n"
    "  kept[#kept + 1], kept[#kept + 2] = a, b\n"
    "  go(a:recv(1)); go(a:recv(1)); go(b:recv_into(socket.buffer(10)))\n"
    "  go(a:sendfile('/proc/self/exe')); go(a:sendall(('x'):rep(1000000)))\n"
    "  loop:add_reader(a, print); loop:add_writer(b:fileno(), function() end)\n"
    "end\n"
    "local s = socket.socket(); s:bind('127.0.0.1', 0); s:listen()\n"
    "kept[#kept + 1] = s\n"
    "go(s:accept())\n"
    "go(socket.create_connection('localhost', s:getsockname().port))\n";

static void closed_early(uv_loop_t *loop, int steps) {
  ml_engine *e = engine_on(loop, &logged);
  ml_task_release(load(e, script));
  close_early(e, loop, steps);
  logged.n = 0;
}

int main(void) {
  uv_loop_t loop;
  expect(uv_loop_init(&loop) == 0);
  for (int steps = 0; steps < 12; steps += 2) closed_early(&loop, steps);
  expect(uv_loop_close(&loop) == 0);
  return 0;
}
