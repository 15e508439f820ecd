/* What a host should not do gets a code, at any time and from anywhere. */
#include "expect.h"
#include <lauxlib.h>
#include <lua.h>

static void no_engine(void) {
  ml_engine *e = (ml_engine *)&e;
  ml_task *t = (ml_task *)&t;
  const ml_value *v;
  size_t n;
  int status = -1;
  ml_config c;
  ml_config_init(&c);
  expect(ml_new(NULL, NULL) == ML_EINVAL);
  expect_ok(ml_new(NULL, &e)); /* the defaults */
  expect_ok(ml_close(e, 0));
  memset(&c, 0, sizeof c); /* not initialised */
  expect(ml_new(&c, &e) == ML_EINVAL);
  ml_config_init(&c);
  c.clock = (ml_clock)77;
  expect(ml_new(&c, &e) == ML_EINVAL);

  expect(ml_close(NULL, 0) == 0);
  expect(ml_run(NULL) == ML_EINVAL);
  expect(ml_step(NULL, 0) == ML_EINVAL);
  expect(ml_alive(NULL) == ML_EINVAL);
  expect(ml_wakeup(NULL) == ML_EINVAL);
  expect(ml_interrupt(NULL, ML_INTERRUPT_ASK) == ML_EINVAL);
  expect(ml_userdata(NULL) == NULL);
  expect(ml_lua(NULL) == NULL && ml_loop(NULL) == NULL);
  expect(ml_load(NULL, "=x", "", 0, &t) == ML_EINVAL && t == NULL);
  expect(ml_load_file(NULL, "x", &t) == ML_EINVAL);
  expect(ml_main(NULL, "=x", "", 0, 0, NULL) == ML_EINVAL);
  expect(ml_main_file(NULL, "x", 0, NULL) == ML_EINVAL);
  expect(ml_main_module(NULL, "x", 0, NULL) == ML_EINVAL);
  expect(ml_last_error(NULL, &status) == NULL && status == 1);
  expect(ml_task_status(NULL) == ML_EINVAL);
  expect(ml_task_result(NULL, &v, &n) == ML_EINVAL && v == NULL && n == 0);
  expect(ml_task_error(NULL) == NULL);
  expect(ml_task_on_done(NULL, NULL, NULL) == ML_EINVAL);
  expect(ml_task_cancel(NULL, NULL) == ML_EINVAL);
  ml_task_release(NULL);
  expect(strlen(ml_strerror(0)) > 0 && strlen(ml_strerror(12345)) > 0);
  for (int code = ML_ELIMIT; code <= ML_EINVAL; code++) expect(strlen(ml_strerror(code)) > 0);
}

static void bad_values(ml_engine *e) {
  ml_task *t = (ml_task *)&t;
  expect(ml_load(e, NULL, "", 0, &t) == ML_EINVAL && t == NULL);
  expect(ml_load(e, "=x", NULL, 0, &t) == ML_EINVAL);
  expect(ml_load_file(e, NULL, &t) == ML_EINVAL);
  expect(ml_load_file(e, "/no/such/file", &t) < 0);
  expect(ml_load(e, "=x", "x = = 1", 7, &t) == ML_ESYNTAX);
  expect(ml_load(e, "=x", "\x1bLua rubbish", 12, &t) < 0);
  expect(ml_load(e, "=x", "a\0b", 3, &t) == ML_ESYNTAX);
  expect(ml_load(e, "", "", 0, NULL) == 0);
  expect(ml_main(e, "=x", "", 0, 2, NULL) == ML_EINVAL);
  expect(ml_main(e, "=x", "", 0, -1, NULL) == ML_EINVAL);
  expect(ml_main_file(e, NULL, 0, NULL) == ML_EINVAL);
  expect(ml_main_module(e, NULL, 0, NULL) == ML_EINVAL);
  expect_ok(ml_run(e));
}

/* ---- from inside a script ---- */

static int inside;
static ml_engine *the_engine;

/* The script calls this: what drives or ends the engine is refused, what adds
** to it works. */
static int from_script(lua_State *L) {
  ml_engine *e = the_engine;
  ml_task *t;
  (void)L;
  expect(ml_step(e, 0) == ML_EBUSY);
  expect(ml_run(e) == ML_EBUSY);
  expect(ml_close(e, 0) == ML_EBUSY);
  expect(ml_main(e, "=x", "", 0, 0, NULL) == ML_EBUSY);
  expect(ml_main_module(e, "string", 0, NULL) == ML_EBUSY);
  expect_ok(ml_load(e, "=inner", "count = (count or 0) + 1", 24, NULL));
  expect_ok(ml_load(e, "=inner", "await(require('asyncio').sleep(1e6))", 36, &t));
  expect(ml_task_cancel(t, "at once") == 1);
  ml_task_release(t);
  expect(ml_load(e, "=inner", "=", 1, &t) == ML_ESYNTAX);
  expect(strstr(ml_last_error(e, NULL)->message, "inner:1:") != NULL);
  inside++;
  return 0;
}

static void done_inside(ml_task *t, void *ud) {
  expect(ml_step(ud, 0) == ML_EBUSY);
  expect(ml_close(ud, 0) == ML_EBUSY);
  expect_ok(ml_load(ud, "=next", "count = count + 100", 19, NULL));
  ml_task_release(t); /* in its own callback */
}

static void busy(ml_engine *e) {
  static const char script[] = "from_script()\n"
                               "local asyncio = require 'asyncio'\n"
                               "await(asyncio.sleep(0))\n"
                               "coroutine.wrap(from_script)()\n"
                               "asyncio.get_event_loop():call_soon(from_script)\n"
                               "await(asyncio.sleep(0))\n";
  const ml_value *v;
  size_t n;
  the_engine = e;
  lua_register(ml_lua(e), "from_script", from_script);
  inside = 0;
  ml_task *t = load(e, script);
  expect_ok(ml_task_on_done(t, done_inside, e));
  expect_ok(ml_run(e));
  expect(inside == 3);
  t = load(e, "return count");
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(t, &v, &n));
  expect(v[0].u.i == 103);
  ml_task_release(t);
  /* in a main program too: before, while and after it drives the loop */
  expect_ok(ml_main(e, "=main", script, sizeof script - 1, 0, NULL));
  expect(inside == 6);
  expect_ok(ml_run(e));
  /* and in clean-up while the engine is closed */
  t = load(e, "local g <close> = setmetatable({}, {__close = function() closing() end})\n"
              "keep = setmetatable({}, {__gc = function() closing() end})\n"
              "await(require('asyncio').sleep(1e6))\n");
  ml_task_release(t);
  expect(ml_step(e, 0) >= 0);
}

static int closing(lua_State *L) {
  ml_task *t;
  (void)L;
  expect(ml_step(the_engine, 0) == ML_EBUSY);
  expect(ml_close(the_engine, 0) == ML_EBUSY);
  expect(ml_load(the_engine, "=late", "", 0, &t) == ML_ECLOSED && t == NULL);
  expect(ml_main(the_engine, "=late", "", 0, 0, NULL) == ML_ECLOSED);
  inside++;
  return 0;
}

int main(void) {
  ml_engine *e;
  ml_config c;
  no_engine();
  ml_config_init(&c);
  c.clock = ML_CLOCK_VIRTUAL;
  expect_ok(ml_new(&c, &e));
  bad_values(e);
  lua_register(ml_lua(e), "closing", closing);
  busy(e);
  inside = 0;
  expect_ok(ml_close(e, 0));
  expect(inside == 2);
  return 0;
}
