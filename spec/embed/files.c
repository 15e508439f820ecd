/* Files of an engine on a loop that the host has: closed in the midst of everything, the
** engine leaves nothing that touches its memory, and the host's loop can be closed. */
#include "closed_early.h"

static captured logged;

/* Reads, an opening and a lock that wait, large reads, writes, a watch, a lock, jobs of all kinds; then the end. */
static const char *script =
    "local asyncio, fs = require 'asyncio', require 'fs'\n"
    "dir = await(fs.mkdtemp())\n"
    "os.execute('cd ' .. dir .. '; mkfifo fifo silent; mkdir d')\n"
    "pipe = await(fs.open(dir .. '/fifo', 'r+'))\n"
    "zero = await(fs.open('/dev/zero'))\n"
    "out = await(fs.open(dir .. '/out', 'w+'))\n"
    "for i = 1, 4 do await(out:write(('x'):rep(70000))) end\n"
    "ahead = await(fs.open(dir .. '/out'))\n"
    "for i = 1, 3 do await(ahead:read(20000)) end\n"
    "silent = await(fs.open(dir .. '/silent'))\n"
    "pcall(await, asyncio.wait_for(silent:read(1), 0.001))\n"
    "await(silent:close())\n"
    "still = await(fs.open(dir .. '/fifo', 'r+'))\n"
    "pcall(await, asyncio.wait_for(still:read(1), 0.001))\n"
    "await(out:lock())\n"
    "local function go(op) asyncio.create_task(op) end\n"
    "for i = 1, 3 do\n"
    "  go(pipe:read(1)); go(zero:read(1 << 16)); go(out:write(('y'):rep(100000)))\n"
    "  go(fs.read_file(dir .. '/out')); go(fs.stat(dir)); go(fs.open(dir .. '/new' .. i, 'x'))\n"
    "  go(fs.listdir('/proc')); go(fs.write_file(dir .. '/atomic', 'z', { atomic = true }))\n"
    "  go(fs.open(dir .. '/silent', 'w')); go(fs.read_file(dir .. '/silent')); go(ahead:lock())\n"
    "end\n"
    "asyncio.create_task(async(function() for _ in fs.watch(dir, { recursive = true }) do end "
    "end)())\n"
    "return dir\n";

static void closed_early(uv_loop_t *loop, int steps) {
  ml_engine *e = engine_on(loop, &logged);
  const ml_value *v;
  size_t n;
  char command[256];
  ml_task *t = load(e, script);
  while (ml_task_status(t) == ML_PENDING) step_both(e, loop);
  if (ml_task_status(t) == ML_FAILED) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect_ok(ml_task_result(t, &v, &n));
  snprintf(command, sizeof command, "rm -rf '%s'", v[0].u.str.s);
  ml_task_release(t);
  close_early(e, loop, steps);
  expect(strstr(logged.text, "unclosed <File") != NULL);
  logged.n = 0;
  expect(system(command) == 0);
}

/* There when the program runs under ThreadSanitizer. */
extern void __tsan_init(void) __attribute__((weak));

int main(void) {
  uv_loop_t loop;
  /* it sees no lock of libuv's (tools/tsan.supp): each byte that a thread hands over would be
  ** looked into, for minutes */
  if (__tsan_init != NULL) return 0;
  expect(uv_loop_init(&loop) == 0);
  for (int steps = 0; steps < 12; steps += 3) closed_early(&loop, steps);
  expect(uv_loop_close(&loop) == 0);
  return 0;
}
