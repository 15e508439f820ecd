/* Many engines in one process: a thousand one after the other, each of them used, and 64 at
** once in threads. Sanitizers see that nothing is left and nothing is shared. */
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "expect.h"

enum { ENGINES = 1000, BATCH = 50, THREADS = 64 };

typedef struct host {
  captured printed, logged;
  ml_call *call; /* not answered yet */
  int path;      /* a number for the script's socket */
} host;

static void on_print(void *ud, const char *text, size_t n) {
  capture(&((host *)ud)->printed, text, n);
}
static void on_log(void *ud, const char *text, size_t n) {
  capture(&((host *)ud)->logged, text, n);
}

static int number(ml_call *c, void *ud) {
  ml_value v = {.type = ML_INT, .u.i = ((host *)ud)->path};
  return ml_return(c, &v, 1);
}

static int later(ml_call *c, void *ud) {
  ((host *)ud)->call = c;
  return 0;
}

/* What scripts do: tasks, errors, locks, queues, files, sockets, threads, all in one. */
static const char busy[] =
    "local asyncio, fs = require 'asyncio', require 'fs'\n"
    "local r = await(asyncio.gather(asyncio.sleep(0, 1), host.later(), asyncio.sleep(0.001, 3)))\n"
    "assert(r[1] == 1 and r[2] == 'answered' and r[3] == 3)\n"
    "assert(not pcall(await, asyncio.wait_for(asyncio.sleep(10), 0.001)))\n"
    "local q, lock = asyncio.Queue(1), asyncio.Lock()\n"
    "asyncio.with(asyncio.TaskGroup(), function(g)\n"
    "  g:create_task(async(function() for i = 1, 3 do await(q:put(i)) end end)())\n"
    "  for i = 1, 3 do assert(await(q:get()) == i) end\n"
    "end)\n"
    "asyncio.with(lock, function() assert(lock:locked()) end)\n"
    "local path = ('/tmp/moonloop-many-%d'):format(host.number())\n"
    "local server <close> = await(asyncio.start_unix_server(function(reader, writer)\n"
    "  writer:write(await(reader:readline())) await(writer:drain()) writer:close()\n"
    "end, path))\n"
    "local reader, writer = await(asyncio.open_unix_connection(path))\n"
    "writer:write('through\\n')\n"
    "assert(await(reader:readline()) == 'through\\n')\n"
    "writer:close()\n"
    "os.remove(path)\n"
    "await(fs.write_file(path, 'text'))\n"
    "assert(await(fs.read_file(path)) == 'text')\n"
    "os.remove(path)\n"
    "asyncio.create_task(asyncio.sleep(1e6))\n" /* left to ml_close */
    "print(n == nil and 'alone' or 'shared')\n"
    "n = 1\n";

/* As hosts wait that have a loop of their own. */
static void rest(ml_engine *e) {
  struct pollfd p = {.events = POLLIN};
  int timeout;
  expect_ok(ml_poll_info(e, &p.fd, &timeout));
  expect(poll(&p, 1, timeout < 0 || timeout > 5 ? 5 : timeout) >= 0);
}

static void use(int number_of_host) {
  host h = {.path = number_of_host};
  const ml_value answer = {.type = ML_STRING, .u.str = {"answered", 8, 0}};
  ml_engine *e;
  ml_config c;
  ml_task *t;
  ml_config_init(&c);
  c.print = on_print;
  c.log = on_log;
  c.ud = &h;
  expect_ok(ml_new(&c, &e));
  expect_ok(ml_def(e, "host.number", number, &h));
  expect_ok(ml_def_async(e, "host.later", later, &h));
  t = load(e, busy);
  while (ml_task_status(t) == ML_PENDING) {
    int rc = ml_step(e, 0);
    expect_ok(rc);
    if (rc == 0) rest(e);
    if (h.call != NULL) expect_ok(ml_call_finish(h.call, 0, &answer, 1));
    h.call = NULL;
  }
  if (ml_task_status(t) != ML_DONE) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
  expect(strcmp(h.printed.text, "alone\n") == 0);
  if (h.logged.n > 0) fprintf(stderr, "%s\n", h.logged.text);
  expect(h.logged.n == 0);
  expect_ok(ml_close(e, 1000));
}

static pthread_barrier_t together;

/* One after the other. (Not all in one thread: ThreadSanitizer does not see the jumps of Lua's
** errors, and takes a thread's stack for deeper and deeper.) */
static void *batch(void *ud) {
  for (int i = 0; i < BATCH; i++) use(*(int *)ud);
  return NULL;
}

static void *own(void *ud) {
  int n = *(int *)ud;
  pthread_barrier_wait(&together);
  use(n);
  use(n);
  return NULL;
}

int main(void) {
  pthread_t threads[THREADS];
  int numbers[THREADS], base = (int)getpid() * 100;
  for (int i = 0; i < ENGINES; i += BATCH) {
    expect(pthread_create(&threads[0], NULL, batch, &base) == 0);
    expect(pthread_join(threads[0], NULL) == 0);
  }
  expect(pthread_barrier_init(&together, NULL, THREADS) == 0);
  for (int i = 0; i < THREADS; i++) {
    numbers[i] = base + i;
    expect(pthread_create(&threads[i], NULL, own, &numbers[i]) == 0);
  }
  for (int i = 0; i < THREADS; i++) expect(pthread_join(threads[i], NULL) == 0);
  pthread_barrier_destroy(&together);
  return 0;
}
