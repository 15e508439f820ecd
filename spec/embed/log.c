/* All that an engine has to say goes through log and print; nothing is written
** to the host's standard output or error. */
#include "expect.h"
#include <unistd.h>

static captured out, logged;
static void to_log(void *ud, const char *text, size_t n) {
  (void)ud;
  capture(&logged, text, n);
  capture(&logged, "\n", 1);
}

static const char script[] =
    "local asyncio = require 'asyncio'\n"
    "print('a', 1, nil, setmetatable({}, {__tostring = function() return 'object' end}))\n"
    "print()\n"
    "local lost = async(function() end)\n"
    "lost()\n"
    "asyncio.sleep(1)\n"
    "collectgarbage()\n"
    "asyncio.create_task(async(function() error('nobody sees this') end)())\n"
    "asyncio.get_running_loop():call_soon(function() error('in a callback') end)\n"
    "await(asyncio.sleep(0.01))\n"
    "collectgarbage() collectgarbage()\n"
    "warn('@on') warn('one ', 'warning')\n"
    "setmetatable({}, {__gc = function() error('in gc') end})\n"
    "collectgarbage()\n"
    "asyncio.current_task():print_stack()\n"
    "asyncio.create_task(async(function() await(asyncio.Event():wait()) end)(), {name = 'waits in "
    "vain'})\n";

static int told;

static void on_unhandled(void *ud, const ml_error *error) {
  (void)ud;
  told++;
  if (told == 1) {
    expect(error->code == ML_ESCRIPT && strcmp(error->message, "script:1: spam") == 0);
    expect(strstr(error->traceback, "stack traceback") != NULL);
  } else
    expect(error->code == ML_ELIMIT && strstr(error->message, "too many tasks") != NULL);
}

/* A host that is told of errors that nobody handles. */
static void unhandled(void) {
  static captured none;
  ml_engine *e;
  ml_config c;
  const char *one = "error('spam')",
             *two = "require('asyncio').get_running_loop():call_soon(function()\n"
                    "  require('asyncio').create_task(async(function() end)()) end)\n"
                    "await(require('asyncio').sleep(0.001))";
  ml_config_init(&c);
  c.log = capture;
  c.ud = &none;
  c.max_tasks = 1;
  c.on_unhandled = on_unhandled;
  expect_ok(ml_new(&c, &e));
  expect_ok(ml_load(e, "=script", one, strlen(one), NULL));
  expect_ok(ml_run(e));
  expect(told == 1);
  expect_ok(ml_load(e, "=script", two, strlen(two), NULL));
  expect_ok(ml_run(e));
  expect(told == 2);
  expect_ok(ml_close(e, 0));
  none.text[none.n] = '\0';
  expect(strstr(none.text, "spam") == NULL && strstr(none.text, "too many") == NULL);
}

int main(void) {
  unhandled();
  ml_engine *e;
  ml_config c;
  char path[] = "/tmp/moonloop-stdio-XXXXXX";
  int fd = mkstemp(path), saved[2];
  expect(fd >= 0);
  unlink(path);
  fflush(NULL);
  saved[0] = dup(1);
  saved[1] = dup(2);
  dup2(fd, 1);
  dup2(fd, 2);

  ml_config_init(&c);
  c.log = to_log;
  c.print = capture;
  c.ud = &out;
  c.debug = 1;
  int made = ml_new(&c, &e);
  ml_task *t = NULL;
  int loaded = ml_load(e, "=script", script, sizeof script - 1, &t), ran = ml_run(e);
  int status = ml_task_status(t);
  ml_task_release(t);
  int bad = ml_load(e, "=bad", "=", 1, NULL);
  int closed = ml_close(e, 100);

  fflush(NULL);
  dup2(saved[0], 1);
  dup2(saved[1], 2);
  expect(lseek(fd, 0, SEEK_END) == 0);
  expect(made == 0 && loaded == 0 && closed == 0 && bad == ML_ESYNTAX);
  expect(ran == ML_ESTUCK);
  expect(status == ML_DONE);
  expect(strcmp(out.text, "a\t1\tnil\tobject\n\n") == 0);
  static const char *const said[] = {"coroutine 'lost' (script:4) was never awaited",
                                     "coroutine 'sleep' was never awaited",
                                     "nobody sees this",
                                     "never retrieved",
                                     "in a callback",
                                     "one warning",
                                     "in gc",
                                     "Stack for <Task",
                                     "waits in vain",
                                     "can never wake"};
  for (size_t i = 0; i < sizeof said / sizeof *said; i++)
    if (strstr(logged.text, said[i]) == NULL) {
      fprintf(stderr, "not in the log: %s\n%s\n", said[i], logged.text);
      return 1;
    }
  return 0;
}
