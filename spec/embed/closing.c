/* An engine is closed in the middle of everything: each kind of wait under way, at each of its
** first steps, with and without a time of grace, and with clean-up that waits itself. It comes
** to its end, soon, and leaves nothing; the references to its tasks tell. */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "expect.h"

/* Each makes `wait`, an awaitable that takes its time, or is one step of a task. */
static const struct {
  const char *name, *source;
} kinds[] = {
    {"sleep", "wait = asyncio.sleep(1e6)"},
    {"frame", "wait = async(function() while true do await(asyncio.next_frame()) end end)()"},
    {"ready for ever", "wait = async(function() while true do await(asyncio.sleep(0)) end end)()"},
    {"future", "wait = asyncio.get_running_loop():create_future()"},
    {"event", "wait = asyncio.Event():wait()"},
    {"queue", "wait = asyncio.Queue():get()"},
    {"full queue", "local q = asyncio.Queue(1) q:put_nowait(1) wait = q:put(2)"},
    {"lock", "local l = asyncio.Lock() await(l:acquire())\n"
             "wait = async(function() local _ <close> = await(l:acquire()) end)()"},
    {"semaphore", "wait = asyncio.Semaphore(0):acquire()"},
    {"barrier", "wait = asyncio.Barrier(2):wait()"},
    {"condition", "local c = asyncio.Condition()\n"
                  "wait = async(function() await(c:acquire()) await(c:wait()) end)()"},
    {"gather", "wait = asyncio.gather(asyncio.sleep(1e6), asyncio.Event():wait(), later())"},
    {"wait", "wait = asyncio.wait { asyncio.create_task(asyncio.sleep(1e6)) }"},
    {"wait_for", "wait = asyncio.wait_for(asyncio.Event():wait(), 1e6)"},
    {"shield", "wait = asyncio.shield(asyncio.sleep(1e6))"},
    {"task group", "wait = async(function() asyncio.with(asyncio.TaskGroup(), function(g)\n"
                   "  g:create_task(asyncio.sleep(1e6)) g:create_task(later()) end) end)()"},
    {"as_completed", "wait = async(function() for t in asyncio.as_completed{asyncio.sleep(1e6), "
                     "later()} do await(t) end end)()"},
    {"generator", "wait = async(function()\n"
                  "  local gen = coroutine.wrap(function() for i = 1, 3 do await(asyncio.sleep(0)) "
                  "coroutine.yield(i) end await(later()) end)\n"
                  "  for i in gen do assert(i) end\n"
                  "end)()"},
    {"callbacks", "local loop = asyncio.get_running_loop()\n"
                  "local function again() loop:call_soon(again) end again()\n"
                  "loop:call_later(1e6, print) wait = later()"},
    {"host call", "wait = later()"},
    {"finished host call", "wait = now()"},
    {"connect", "local server = await(asyncio.start_server(function() end, '127.0.0.1', 0))\n"
                "wait = asyncio.open_connection('127.0.0.1', server.sockets[1]:getsockname()[2])"},
    {"read", "local r, w = pair() wait = r:read(1)"},
    {"write", "local r, w = pair() w:write(('x'):rep(4 << 20)) wait = w:drain()"},
    {"accept",
     "local s = await(asyncio.start_unix_server(function() end, path)) wait = s:serve_forever()"},
    {"handler",
     "local s = await(asyncio.start_unix_server(function(r, w) await(r:read(1)) end, path))\n"
     "local r, w = await(asyncio.open_unix_connection(path)) wait = r:read(1)"},
    {"handshake",
     "if not pcall(require, 'ssl') then wait = later() return end\n"
     "await(asyncio.start_unix_server(function(r) await(r:read(1e9)) await(later()) end, path))\n"
     "wait = asyncio.open_unix_connection(path, { ssl = true, server_hostname = 'x' })"},
    {"name", "wait = asyncio.get_running_loop():getaddrinfo('localhost', 80)"},
    {"datagram",
     "local s <const> = await(asyncio.open_datagram { local_addr = { '127.0.0.1', 0 } })\n"
     "wait = s:recv()"},
    /* not more: ThreadSanitizer, blind to libuv's locks, goes through all it has seen for each word */
    {"file", "wait = async(function() while true do await(fs.write_file(path, ('x'):rep(1 << 14))) "
             "await(fs.read_file(path)) end end)()"},
    {"fifo",
     "os.execute('mkfifo ' .. path)\n"
     "wait = async(function() local f <close> = await(fs.open(path)) await(f:read(1)) end)()"},
    {"fifo without reader", "os.execute('mkfifo ' .. path) wait = fs.open(path, 'w')"},
    {"file lock",
     "local f = await(fs.open(path, 'w')) await(f:lock())\n"
     "wait = async(function() local g <close> = await(fs.open(path)) await(g:lock()) end)()"},
    {"folder", "wait = async(function() for _ in fs.walk('/usr/share') do end end)()"},
    {"watch", "wait = async(function() for _ in fs.watch('/tmp') do end end)()"},
    {"process", "wait = async(function()\n"
                "  local p <close> = await(asyncio.create_subprocess_exec('sleep', '1000'))\n"
                "  await(p:wait())\n"
                "end)()"},
    {"process's output", "wait = async(function()\n"
                         "  local p <close> = await(asyncio.create_subprocess_exec('cat', {stdin = "
                         "asyncio.PIPE, stdout = asyncio.PIPE}))\n"
                         "  await(p.stdout:read())\n"
                         "end)()"},
    {"signal", "wait = asyncio.signal('SIGUSR2')"},
    {"thread", "wait = asyncio.to_thread(function() while true do end end)"},
    {"require", "package.preload.slow = function() await(later()) end\n"
                "wait = async(function() require 'slow' end)()"},
};

/* Around `wait`: alone, or with clean-up that waits, or that fails. */
static const struct {
  const char *name, *source;
} frames[] = {
    {"alone", "await(wait)"},
    {"clean-up that waits",
     "local g <close> = setmetatable({}, {__close = function()\n"
     "  cleaning()\n"
     "  await(asyncio.sleep(0.001)) await(asyncio.gather(asyncio.sleep(0), asyncio.sleep(0)))\n"
     "  pcall(await, fs.stat('/'))\n"
     "  cleaned()\n"
     "end})\n"
     "begun()\n"
     "await(wait)"},
    {"clean-up without end",
     "local g <close> = setmetatable({}, {__close = function() await(later()) end})\n"
     "await(wait)"},
    {"clean-up that fails",
     "local g <close> = setmetatable({}, {__close = function() error('in clean-up') end})\n"
     "await(wait)"},
    {"stubborn", "while true do asyncio.catch(await, wait) await(asyncio.sleep(0)) end"},
};

enum { WAITING = 1 };

static const char *const prelude =
    "local asyncio, fs = require 'asyncio', require 'fs'\n"
    "local path, wait = path, nil\n"
    "local function pair()\n"
    "  local s = await(asyncio.start_unix_server(function() await(later()) end, path))\n"
    "  return await(asyncio.open_unix_connection(path))\n"
    "end\n";

enum { MOST = 4096 };
static ml_call *calls[MOST];
static bool closing;
static int ncalls, open_frames; /* of those whose clean-up waits */

static int later(ml_call *c, void *ud) {
  (void)ud;
  expect(ncalls < MOST);
  calls[ncalls++] = c;
  return 0;
}

static int now(ml_call *c, void *ud) {
  (void)ud;
  return ml_call_finish(c, 0, NULL, 0);
}

static int begun(ml_call *c, void *ud) {
  (void)c;
  (void)ud;
  open_frames++;
  return 0;
}

/* Clean-up that had begun before is interrupted, as any await is. */
static int cleaning(ml_call *c, void *ud) {
  (void)c;
  (void)ud;
  if (!closing) open_frames = -1;
  return 0;
}

static int cleaned(ml_call *c, void *ud) {
  (void)c;
  (void)ud;
  open_frames--;
  return 0;
}

static char doing[256];
static void hang(int sig) {
  (void)sig;
  if (write(2, doing, strlen(doing)) < 0 || write(2, ": a hang\n", 9) < 0) _exit(2);
  _exit(1);
}

static void quiet(void *ud, const char *text, size_t n) { (void)ud, (void)text, (void)n; }

static void close_in(int kind, int frame, int steps, int grace) {
  static char source[4096], path[64];
  ml_engine *e;
  ml_config c;
  ml_task *t;
  int status;
  snprintf(doing, sizeof doing, "%s, %s, after %d steps, grace %d", kinds[kind].name,
           frames[frame].name, steps, grace);
  alarm(60);
  ncalls = open_frames = 0;
  closing = false;
  snprintf(path, sizeof path, "/tmp/moonloop-closing-%d", (int)getpid());
  unlink(path);
  snprintf(source, sizeof source, "local asyncio = require 'asyncio'\npath = '%s'\n%s%s\n%s\n",
           path, prelude, kinds[kind].source, frames[frame].source);
  ml_config_init(&c);
  c.log = quiet;
  expect_ok(ml_new(&c, &e));
  expect_ok(ml_def_async(e, "later", later, NULL));
  expect_ok(ml_def_async(e, "now", now, NULL));
  expect_ok(ml_def(e, "begun", begun, NULL));
  expect_ok(ml_def(e, "cleaning", cleaning, NULL));
  expect_ok(ml_def(e, "cleaned", cleaned, NULL));
  t = load(e, source);
  for (int i = 0; i < steps; i++) expect_ok(ml_step(e, 0));
  status = ml_task_status(t);
  /* each kind waits, or fails as its frame does: nothing else */
  if (status == ML_FAILED && strstr(ml_task_error(t)->message, "in clean-up") == NULL) {
    fprintf(stderr, "%s: %s\n", doing, ml_task_error(t)->message);
    exit(1);
  }
  closing = true;
  expect_ok(ml_close(e, grace));
  if (grace > 0 && frame == WAITING) expect(open_frames <= 0); /* it had the time */
  if (status == ML_PENDING) {
    expect(ml_task_status(t) != ML_PENDING);
    expect(ml_task_cancel(t, "too late") <= 0);
  }
  ml_task_release(t);
  for (int i = 0; i < ncalls; i++) {
    int rc = ml_call_finish(calls[i], 0, NULL, 0);
    expect(rc == ML_ECLOSED);
  }
  unlink(path);
}

/* closing [KIND] */
typedef struct closing_case {
  int kind, frame, steps, grace;
} closing_case;

static void *close_on_thread(void *arg) {
  const closing_case *c = arg;
  close_in(c->kind, c->frame, c->steps, c->grace);
  return NULL;
}

/* On a thread of its own: ThreadSanitizer, which does not see how Lua's own code jumps, loses a
** frame with each yield, and has room for 65,536 on a thread. */
static void close_apart(int kind, int frame, int steps, int grace) {
  closing_case c = {kind, frame, steps, grace};
  pthread_t thread;
  expect(pthread_create(&thread, NULL, close_on_thread, &c) == 0);
  pthread_join(thread, NULL);
}

int main(int argc, char **argv) {
  static const int steps[] = {0, 1, 2, 3, 5, 9, 40};
  enum { KINDS = sizeof kinds / sizeof *kinds, FRAMES = sizeof frames / sizeof *frames };
  signal(SIGALRM, hang);
  for (int k = 0; k < KINDS; k++) {
    if (argc > 1 && strcmp(argv[1], kinds[k].name) != 0) continue;
    for (int f = 0; f < FRAMES; f++)
      for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        close_apart(k, f, steps[i], i % 2 == 0 ? 0 : f == WAITING ? 20000 : 20);
  }
  return 0;
}
