/* Main programs, as the moonloop command runs them. */
#include "expect.h"
#include <unistd.h>

static captured out, logged;

static void to_log(void *ud, const char *text, size_t n) { (void)ud, capture(&logged, text, n); }

static ml_engine *engine(void) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.clock = ML_CLOCK_VIRTUAL;
  c.print = capture;
  c.log = to_log;
  c.ud = &out;
  out.n = logged.n = 0;
  expect_ok(ml_new(&c, &e));
  return e;
}

static int run(ml_engine *e, const char *source) {
  return ml_main(e, "=main", source, strlen(source), 0, NULL);
}

static void arguments(void) {
  ml_engine *e = engine();
  const char *argv[] = {"one", "two words"};
  const char *source = "#!/usr/bin/env moonloop\nprint(arg[0], arg[1], arg[2], #arg, ...)";
  expect_ok(ml_main(e, "@dir/script.lua", source, strlen(source), 2, argv));
  expect(strcmp(out.text, "dir/script.lua\tone\ttwo words\t2\tone\ttwo words\n") == 0);
  expect_ok(ml_close(e, 0));
}

/* Its awaits drive the loop; what is left runs in ml_run. */
static void top_level_await(void) {
  ml_engine *e = engine();
  expect_ok(
      run(e, "local asyncio = require 'asyncio'\n"
             "asyncio.create_task(async(function() await(asyncio.sleep(5)) print('later') end)())\n"
             "print(await(asyncio.sleep(3, 'slept')))\n"));
  expect(strcmp(out.text, "slept\n") == 0);
  expect(ml_alive(e) == 1);
  expect_ok(ml_run(e));
  expect(strcmp(out.text, "slept\nlater\n") == 0);
  expect(ml_alive(e) == 0);
  expect_ok(ml_close(e, 0));
}

static void errors(void) {
  ml_engine *e = engine();
  const ml_error *err;
  int status = -1;
  expect(run(e, "local x = 1\nlocal = 2") == ML_ESYNTAX);
  err = ml_last_error(e, &status);
  expect(err != NULL && err->code == ML_ESYNTAX && status == 1);
  expect(strstr(err->message, "main:2:") != NULL && strstr(err->message, "local = 2") != NULL);

  expect(run(e, "local function f() error('oh') end\nf()") == ML_ESCRIPT);
  err = ml_last_error(e, &status);
  expect(strcmp(err->message, "main:1: oh") == 0 && status == 1);
  expect(strstr(err->traceback, "main:2:") != NULL);

  expect(run(e, "error(setmetatable({}, {__tostring = function() error('no') end}))") ==
         ML_ESCRIPT);
  expect(ml_last_error(e, NULL)->message != NULL);
  expect(run(e, "error()") == ML_ESCRIPT);
  expect(run(e, "local function f() return f() + 1 end f()") == ML_ESCRIPT);
  expect(strstr(ml_last_error(e, NULL)->message, "stack overflow") != NULL);

  expect_ok(run(e, "print('still works')"));
  expect(strcmp(out.text, "still works\n") == 0);
  expect_ok(ml_close(e, 0));
}

static void exits(void) {
  ml_engine *e = engine();
  int status = -1;
  expect(run(e, "error(require('asyncio').SystemExit(3))") < 0);
  ml_last_error(e, &status);
  expect(status == 3);
  expect(run(e, "error(require('asyncio').SystemExit())") < 0);
  ml_last_error(e, &status);
  expect(status == 0);
  expect(run(e, "error(require('asyncio').SystemExit('a reason'))") < 0);
  ml_last_error(e, &status);
  expect(status == 1);
  /* out of a task, through the loop */
  expect(run(e, "local asyncio = require 'asyncio'\n"
                "asyncio.run(async(function() await(asyncio.sleep(1)) error(asyncio.SystemExit(4)) "
                "end)())\n") < 0);
  ml_last_error(e, &status);
  expect(status == 4);
  expect(run(e, "error(require('asyncio').KeyboardInterrupt())") < 0);
  ml_last_error(e, &status);
  expect(status == 130);
  expect_ok(ml_close(e, 0));
}

static void from_file(void) {
  ml_engine *e = engine();
  char path[] = "/tmp/moonloop-main-XXXXXX";
  int fd = mkstemp(path);
  static const char source[] = "\xEF\xBB\xBFprint(...)";
  const char *argv[] = {"x"};
  expect(fd >= 0 && write(fd, source, sizeof source - 1) == (ssize_t)sizeof source - 1);
  close(fd);
  expect_ok(ml_main_file(e, path, 1, argv));
  expect(strcmp(out.text, "x\n") == 0);
  unlink(path);
  expect(ml_main_file(e, path, 0, NULL) < 0);
  expect(strstr(ml_last_error(e, NULL)->message, path) != NULL);
  expect(ml_main_file(e, "/", 0, NULL) < 0); /* a folder */
  expect_ok(ml_close(e, 0));
}

static void from_module(void) {
  ml_engine *e = engine();
  const char *argv[] = {"a"};
  expect_ok(run(e, "package.preload.prog = function(...) print(arg[0], arg[1], ...) end"));
  expect_ok(ml_main_module(e, "prog", 1, argv));
  expect(strcmp(out.text, "prog\ta\ta\n") == 0);
  expect(ml_main_module(e, "no.such.module", 0, NULL) < 0);
  expect(strstr(ml_last_error(e, NULL)->message, "no.such.module") != NULL);
  expect_ok(ml_close(e, 0));
}

static void ends_stuck(void) {
  ml_engine *e = engine();
  expect_ok(run(e, "local asyncio = require 'asyncio'\n"
                   "asyncio.create_task(async(function() await(asyncio.Event():wait()) end)(), "
                   "{name = 'poor'})\n"));
  expect(ml_run(e) == ML_ESTUCK);
  expect(strstr(logged.text, "poor") != NULL);
  expect_ok(ml_close(e, 0));
}

int main(void) {
  arguments();
  top_level_await();
  errors();
  exits();
  from_file();
  from_module();
  ends_stuck();
  return 0;
}
