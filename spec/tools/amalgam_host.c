/* A host that is compiled together with the amalgamation: two engines in one process, one
** of which serves TCP to the other, with timers, files and a worker thread. */
#include "moonloop.h"
#include <stdio.h>
#include <string.h>

static const char server[] =
    "local asyncio, fs = require 'asyncio', require 'fs'\n"
    "local path = await(fs.mkdtemp()) .. '/greeting'\n"
    "await(fs.write_file(path, 'hello from a file'))\n"
    "local greeting = await(fs.read_file(path))\n"
    "await(fs.rmtree(path:match('^(.*)/')))\n"
    "local done = asyncio.Event()\n"
    "local s <close> = await(asyncio.start_server(function(reader, writer)\n"
    "  local w <close> = writer\n"
    "  for line in reader:lines() do\n"
    "    await(asyncio.sleep(0.001))\n"
    "    w:write(greeting .. ', ' .. line .. '\\n')\n"
    "    await(w:drain())\n"
    "  end\n"
    "  done:set()\n"
    "end, '127.0.0.1', 0))\n"
    "tell_port(s.sockets[1]:getsockname()[2])\n"
    "await(done:wait())\n"
    "return await(asyncio.to_thread(function() return 'a thread' end))\n";

static const char client[] =
    "local asyncio = require 'asyncio'\n"
    "local reader, writer = await(asyncio.open_connection('127.0.0.1', ...))\n"
    "local w <close> = writer\n"
    "for i = 1, 3 do\n"
    "  w:write('client ' .. i .. '\\n')\n"
    "  print((await(asyncio.wait_for(reader:readline(), 5)):gsub('\\n$', '')))\n"
    "end\n";

static int tell_port(ml_call *c, void *ud) {
  ml_value v;
  if (ml_arg(c, 0, &v) < 0 || v.type != ML_INT) return ML_EINVAL;
  *(int *)ud = (int)v.u.i;
  return 0;
}

static int failed(ml_task *t) {
  const ml_error *err = ml_task_error(t);
  if (err != NULL) fprintf(stderr, "%s\n%s\n", err->message, err->traceback);
  return 1;
}

int main(void) {
  ml_engine *a, *b;
  ml_task *serving, *asking;
  const ml_value *v;
  char source[sizeof client + 64];
  size_t n;
  int port = 0;
  if (ml_new(NULL, &a) < 0 || ml_new(NULL, &b) < 0) return 1;
  if (ml_def(a, "tell_port", tell_port, &port) < 0) return 1;
  if (ml_load(a, "=server", server, sizeof server - 1, &serving) < 0) return 1;
  while (port == 0 && ml_task_status(serving) == ML_PENDING)
    if (ml_step(a, 0) < 0) return 1;
  if (port == 0) return failed(serving);
  snprintf(source, sizeof source, "(function(...) %s end)(%d)", client, port);
  if (ml_load(b, "=client", source, strlen(source), &asking) < 0) return 1;
  while (ml_task_status(asking) == ML_PENDING || ml_task_status(serving) == ML_PENDING)
    if (ml_step(a, 1000) < 0 || ml_step(b, 1000) < 0) return 1;
  if (ml_task_status(asking) != ML_DONE) return failed(asking);
  if (ml_task_result(serving, &v, &n) < 0 || n != 1) return failed(serving);
  printf("%s\n", v[0].u.str.s);
  ml_task_release(serving);
  ml_task_release(asking);
  return ml_close(a, 1000) < 0 || ml_close(b, 1000) < 0;
}
