/* Hot reload from a host, while scripts run. */
#include "expect.h"
#include <unistd.h>

static char dir[] = "/tmp/reloadXXXXXX", file[64];

static void write_module(const char *source) {
  FILE *f = fopen(file, "w");
  expect(f != NULL);
  expect(fputs(source, f) >= 0);
  expect(fclose(f) == 0);
}

static void quiet(void *ud, const char *text, size_t n) { (void)ud, (void)text, (void)n; }

static ml_engine *engine(void) {
  ml_engine *e;
  char source[256];
  ml_config c;
  ml_config_init(&c);
  c.log = quiet;           /* of the await that is refused */
  c.clock = ML_CLOCK_HOST; /* time is what ml_frame says */
  expect_ok(ml_new(&c, &e));
  snprintf(source, sizeof source, "package.path = '%s/?.lua'", dir);
  ml_task *t = load(e, source);
  while (ml_task_status(t) == ML_PENDING) expect(ml_step(e, 0) >= 0);
  ml_task_release(t);
  return e;
}

static void frames(ml_engine *e, int n) {
  while (n-- > 0) {
    expect_ok(ml_frame(e, 1));
    expect(ml_step(e, 1000) >= 0);
  }
}

static const char *text_of(ml_task *t) {
  const ml_value *v;
  size_t n;
  expect_ok(ml_task_result(t, &v, &n));
  expect(n > 0 && v[0].type == ML_STRING);
  return v[0].u.str.s;
}

/* A game goes on, with the new code and the old state. */
static void goes_on(void) {
  ml_engine *e = engine();
  write_module("local M = {x = 0, speed = 1}\n"
               "function M.update(dt) M.x = M.x + M.speed * dt end\n"
               "return M\n");
  ml_task *t = load(e,
                    "local asyncio, hero = require 'asyncio', require 'hero'\n"
                    "for i = 1, 4 do local dt = await(asyncio.next_frame()) hero.update(dt) end\n"
                    "return tostring(hero.x)\n");
  frames(e, 3); /* the script begins in the first, which it does not see */
  write_module("local M = {x = 0, speed = 10}\n"
               "function M.update(dt) M.x = M.x + M.speed * dt * 2 end\n"
               "return M\n");
  expect_ok(ml_reload(e, "hero"));
  frames(e, 5);
  expect(strcmp(text_of(t), "42.0") == 0);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
}

/* What is wrong is told, and the old module works. */
static void fails(void) {
  ml_engine *e = engine();
  write_module("return {f = function() return 'old' end}");
  ml_task *t = load(e, "local m, asyncio = require 'hero', require 'asyncio'\n"
                       "await(asyncio.sleep(5))\n"
                       "return m.f()\n");
  frames(e, 2);
  write_module("return {\n  f = = 1}");
  expect(ml_reload(e, "hero") == ML_ESYNTAX);
  expect(ml_last_error(e, NULL)->code == ML_ESYNTAX);
  expect(strstr(ml_last_error(e, NULL)->message, "hero.lua:2:") != NULL);
  write_module("local function f() error('in the chunk') end f()");
  expect(ml_reload(e, "hero") == ML_ESCRIPT);
  expect(strstr(ml_last_error(e, NULL)->message, "hero.lua:1: in the chunk") != NULL);
  expect(strstr(ml_last_error(e, NULL)->traceback, "hero.lua:1:") != NULL);
  write_module("return {on_reload = function(old) error('in on_reload ' .. old.f()) end}");
  expect(ml_reload(e, "hero") == ML_ESCRIPT);
  expect(strstr(ml_last_error(e, NULL)->message, "in on_reload old") != NULL);
  write_module("await(require('asyncio').sleep(1))");
  expect(ml_reload(e, "hero") == ML_ESCRIPT);
  expect(strstr(ml_last_error(e, NULL)->message, "cannot await here") != NULL);
  expect(unlink(file) == 0);
  expect(ml_reload(e, "hero") == ML_EINVAL);
  expect(strstr(ml_last_error(e, NULL)->message, "not found") != NULL);
  expect(ml_reload(e, "villain") == ML_EINVAL);
  expect(strstr(ml_last_error(e, NULL)->message, "is not loaded") != NULL);
  expect(ml_reload(e, "asyncio") == ML_EINVAL);
  expect(ml_reload(NULL, "hero") == ML_EINVAL && ml_reload(e, NULL) == ML_EINVAL);
  frames(e, 8);
  expect(strcmp(text_of(t), "old") == 0);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
}

static ml_engine *inside;
static int on_key(ml_call *c, void *ud) {
  (void)c, (void)ud;
  return ml_reload(inside, "hero");
}

/* From a host function that a script has called. */
static void from_a_script(void) {
  ml_engine *e = inside = engine();
  expect_ok(ml_def(e, "on_key", on_key, NULL));
  write_module("return {f = function() return 'one' end}");
  ml_task *t = load(e, "local m = require 'hero'\n"
                       "local f = io.open(package.path:gsub('?', 'hero'), 'w')\n"
                       "f:write(\"return {f = function() return 'two' end}\") f:close()\n"
                       "on_key()\n"
                       "return m.f()\n");
  frames(e, 3);
  expect(strcmp(text_of(t), "two") == 0);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
}

int main(void) {
  expect(mkdtemp(dir) != NULL);
  snprintf(file, sizeof file, "%s/hero.lua", dir);
  goes_on();
  fails();
  from_a_script();
  unlink(file);
  rmdir(dir);
  return 0;
}
