/* Child processes of an engine in a host that has children, signal handlers and a loop
** of its own: each keeps to what is its own. */
#include "expect.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

static int host_ended, host_signals, closed;
static char logged[4096];

static void on_closed(uv_handle_t *h) { (void)h, closed++; }
static void on_ended(uv_process_t *p, int64_t status, int sig) {
  expect(status == 7 && sig == 0);
  host_ended++;
  uv_close((uv_handle_t *)p, on_closed);
}
static void on_host_signal(int sig) { (void)sig, host_signals++; }
static void log_text(void *ud, const char *text, size_t n) {
  (void)ud;
  snprintf(logged, sizeof logged, "%.*s", (int)n, text);
}

static ml_engine *engine(uv_loop_t *loop) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.loop = loop;
  c.log = log_text;
  expect_ok(ml_new(&c, &e));
  return e;
}

static void finish(ml_engine *e, uv_loop_t *loop, ml_task *t) {
  while (ml_task_status(t) == ML_PENDING) {
    expect(ml_step(e, 0) >= 0);
    uv_run(loop, UV_RUN_NOWAIT);
  }
  if (ml_task_status(t) != ML_DONE) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
}

/* A process of the host's on the loop, a zombie of the host's that nobody may take,
** and a script's processes. */
static void side_by_side(uv_loop_t *loop) {
  ml_engine *e = engine(loop);
  char *args[] = {"/bin/sh", "-c", "exit 7", NULL};
  uv_process_options_t o = {.file = args[0], .args = args, .exit_cb = on_ended};
  uv_process_t p;
  int status;
  pid_t zombie = fork();
  if (zombie == 0) _exit(3);
  expect(zombie > 0);
  expect_ok(uv_spawn(loop, &p, &o));
  finish(e, loop,
         load(e, "local asyncio = require 'asyncio'\n"
                 "local jobs = {}\n"
                 "for i = 1, 20 do jobs[i] = async(function()\n"
                 "  local p = await(asyncio.create_subprocess_exec('sh', '-c', 'exit ' .. i))\n"
                 "  assert(await(p:wait()) == i)\n"
                 "end)() end\n"
                 "await(asyncio.gather(jobs))\n"));
  while (host_ended == 0) uv_run(loop, UV_RUN_ONCE);
  expect(waitpid(zombie, &status, 0) == zombie && WEXITSTATUS(status) == 3);
  expect_ok(ml_close(e, 100));
  uv_run(loop, UV_RUN_NOWAIT);
  expect(closed == 1);
}

/* SIGPIPE would end this program: a pipe that nobody reads is an error instead. */
static void broken_pipe(uv_loop_t *loop) {
  ml_engine *e = engine(loop);
  struct sigaction sa;
  expect(sigaction(SIGPIPE, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL);
  finish(e, loop,
         load(e, "local asyncio = require 'asyncio'\n"
                 "local p = await(asyncio.create_subprocess_exec('sh', '-c', 'exec 0<&-; echo; "
                 "sleep 100',\n"
                 "  { stdin = asyncio.PIPE, stdout = asyncio.PIPE }))\n"
                 "await(p.stdout:readline())\n"
                 "p.stdin:write('x')\n"
                 "local ok, e = pcall(await, p.stdin:wait_closed())\n"
                 "assert(not ok and e.code == 'EPIPE', e)\n"
                 "p:close()\n"
                 "await(p:wait())\n"));
  expect_ok(ml_close(e, 100));
}

/* What the host does with a signal is done again after the script's handler. */
static void own_handler(uv_loop_t *loop) {
  ml_engine *e = engine(loop);
  signal(SIGUSR1, on_host_signal);
  finish(e, loop,
         load(e, "local asyncio, signal = require 'asyncio', require 'signal'\n"
                 "local loop, n = asyncio.get_running_loop(), 0\n"
                 "loop:add_signal_handler('SIGUSR1', function() n = n + 1 end)\n"
                 "signal.raise_signal('SIGUSR1')\n"
                 "while n == 0 do await(asyncio.sleep(0.001)) end\n"
                 "loop:add_signal_handler('SIGUSR2', print)\n"));
  expect(host_signals == 0);
  expect_ok(ml_close(e, 100)); /* the handlers go with the loop */
  raise(SIGUSR1);
  expect(host_signals == 1);
}

/* Closed while a process runs: it is killed, and there is no zombie. */
static void closed_early(uv_loop_t *loop) {
  ml_engine *e = engine(loop);
  finish(e, loop,
         load(e, "local asyncio = require 'asyncio'\n"
                 "p = await(asyncio.create_subprocess_exec('sleep', 1000, { stdin = asyncio.PIPE, "
                 "pty = true }))\n"
                 "asyncio.create_task(p:wait())\n"
                 "asyncio.create_task(asyncio.signal('SIGUSR1'))\n"
                 "await(asyncio.sleep(0.01))\n"));
  expect_ok(ml_close(e, 0));
  expect(strstr(logged, "ResourceWarning: subprocess ") == logged);
  uv_run(loop, UV_RUN_NOWAIT);
  expect(waitpid(-1, NULL, WNOHANG) < 0); /* ECHILD */
}

int main(void) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  side_by_side(&loop);
  broken_pipe(&loop);
  own_handler(&loop);
  closed_early(&loop);
  expect(uv_loop_close(&loop) == 0);
  return 0;
}
