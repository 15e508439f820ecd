/* The library leaves the host's process as it is: signal handlers and mask, locale, folder, umask,
** environment, standard streams; it prints nothing, and writing to what nobody reads raises no
** signal. All of it while scripts use timers, TCP, pipes, files, threads and DNS, fail, are
** cancelled, interrupted and dropped. Also run under strace by spec/tools/quiet_spec.lua. */
#include "expect.h"
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static captured printed, logged;

static void to_log(void *ud, const char *text, size_t n) { (void)ud, capture(&logged, text, n); }

/* ---- what belongs to the process ---- */

typedef struct surroundings {
  struct sigaction actions[65];
  sigset_t mask;
  char locale[256], folder[1024];
  mode_t umask;
  int flags[3];
  struct stat streams[3];
  char **environ;
  size_t nenviron;
} surroundings;

static void note(surroundings *s) {
  memset(s, 0, sizeof *s);
  for (int i = 1; i < 65; i++) sigaction(i, NULL, &s->actions[i]);
  sigprocmask(SIG_BLOCK, NULL, &s->mask);
  snprintf(s->locale, sizeof s->locale, "%s", setlocale(LC_ALL, NULL));
  expect(getcwd(s->folder, sizeof s->folder) != NULL);
  s->umask = umask(0);
  umask(s->umask);
  for (int fd = 0; fd < 3; fd++) {
    s->flags[fd] = fcntl(fd, F_GETFL);
    expect(fstat(fd, &s->streams[fd]) == 0);
  }
  s->environ = environ;
  while (environ[s->nenviron] != NULL) s->nenviron++;
}

static void same(const surroundings *a, const surroundings *b) {
  /* 32 and 33 are the C library's own, for its threads */
  for (int i = 1; i < 65; i++)
    if (i != 32 && i != 33 && a->actions[i].sa_handler != b->actions[i].sa_handler) {
      fprintf(stderr, "the handler of signal %d has changed\n", i);
      exit(1);
    }
  for (int i = 1; i < 65; i++) expect(sigismember(&a->mask, i) == sigismember(&b->mask, i));
  expect(strcmp(a->locale, b->locale) == 0);
  expect(strcmp(a->folder, b->folder) == 0);
  expect(a->umask == b->umask);
  for (int fd = 0; fd < 3; fd++) {
    expect(a->flags[fd] == b->flags[fd]);
    expect(a->streams[fd].st_ino == b->streams[fd].st_ino);
    expect(a->streams[fd].st_size == b->streams[fd].st_size); /* nothing was written */
  }
  expect(a->environ == b->environ && a->nenviron == b->nenviron);
}

/* ---- what scripts do ---- */

static const char busy[] =
    "local asyncio, fs = require 'asyncio', require 'fs'\n"
    "local path = await(fs.mkdtemp())\n"
    "await(fs.write_file(path .. '/x', 'text'))\n"
    "assert(await(fs.read_file(path .. '/x')) == 'text')\n"
    "await(fs.rmtree(path))\n"
    "local gone = asyncio.Event()\n"
    "do\n"
    "  local server <close> = await(asyncio.start_server(function(reader, writer)\n"
    "    writer:close() gone:set()\n"
    "  end, '127.0.0.1', 0))\n"
    "  local host, port = server.sockets[1]:getsockname()[1], server.sockets[1]:getsockname()[2]\n"
    "  local reader, writer = await(asyncio.open_connection(host, port))\n"
    "  await(gone:wait())\n"
    "  for i = 1, 50 do\n" /* nobody reads */
    "    pcall(function() writer:write(('x'):rep(100000)) await(writer:drain()) end)\n"
    "  end\n"
    "  writer:close()\n"
    "end\n"
    "local pipe = await(asyncio.connect_write_pipe(FD))\n"
    "for i = 1, 5 do pcall(function() pipe:write('x') await(pipe:drain()) end) end\n"
    "pipe:close()\n"
    "await(asyncio.get_running_loop():getaddrinfo('localhost', 80))\n"
    "assert(await(asyncio.to_thread(function() print 'in a thread' return 1 end)) == 1)\n"
    "print(await(asyncio.sleep(0.001, 'done')))\n"
    "asyncio.create_task(async(function() error('never seen') end)())\n"
    "local function lost() end\n"
    "async(lost)()\n"
    "collectgarbage()\n"
    "await(asyncio.wait_for(asyncio.Event():wait(), 0.001))\n"; /* fails: TimeoutError */

static void run(int fd) {
  ml_engine *e;
  ml_config c;
  char source[sizeof busy + 32];
  ml_config_init(&c);
  c.print = capture;
  c.log = to_log;
  c.ud = &printed;
  snprintf(source, sizeof source, "FD = %d %s", fd, busy);
  expect_ok(ml_new(&c, &e));
  ml_task *t = load(e, source);
  ml_task *stays = load(e, "await(require('asyncio').sleep(3600))");
  while (ml_task_status(t) == ML_PENDING) expect(ml_step(e, 1000) >= 0);
  expect(ml_task_status(t) == ML_FAILED);
  expect(strcmp(ml_task_error(t)->message, "TimeoutError") == 0);
  ml_task_release(t);
  expect(ml_load(e, "=broken", "local = 1", 9, NULL) == ML_ESYNTAX);
  expect_ok(ml_task_cancel(stays, "enough"));
  ml_task_release(stays);
  ml_task_release(load(e, "while true do await(require('asyncio').sleep(0)) end"));
  expect_ok(ml_step(e, 0));
  expect_ok(ml_wakeup(e));
  expect_ok(ml_close(e, 0));
  expect(strcmp(printed.text, "in a thread\ndone\n") == 0);
  expect(strstr(logged.text, "never seen") != NULL);
  expect(strstr(logged.text, "was never awaited") != NULL);
}

static FILE *streams; /* what stands for standard output and error meanwhile */
static int out, err;

static void put_back(void) {
  char text[4096];
  ssize_t n;
  dup2(out, 1);
  dup2(err, 2);
  rewind(streams);
  while ((n = read(fileno(streams), text, sizeof text)) > 0)
    if (write(2, text, (size_t)n) < 0) break;
}

int main(void) {
  static surroundings before, after;
  int ends[2];
  out = dup(1);
  err = dup(2);
  streams = tmpfile();
  expect(streams != NULL && pipe(ends) == 0);
  close(ends[0]); /* nobody reads */
  dup2(fileno(streams), 1);
  dup2(fileno(streams), 2);
  setvbuf(stdout, NULL, _IONBF, 0);
  atexit(put_back);
  note(&before);
  run(ends[1]);
  note(&after);
  same(&before, &after);
  return 0;
}
