/* Scripts as tasks of a host: results, errors, cancelling, being told. */
#include "expect.h"

static ml_engine *engine(captured *log) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.clock = ML_CLOCK_VIRTUAL;
  c.log = capture;
  c.ud = log;
  expect_ok(ml_new(&c, &e));
  expect(ml_userdata(e) == log);
  return e;
}

static void results(ml_engine *e) {
  const ml_value *v;
  size_t n;
  ml_task *t = load(e, "await(require('asyncio').sleep(60))\n"
                       "return nil, true, 42, 1.5, 'a\\0b', {}\n");
  expect(ml_task_status(t) == ML_PENDING);
  expect(ml_task_result(t, &v, &n) == ML_EPENDING);
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_DONE);
  expect(ml_task_error(t) == NULL);
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 6);
  expect(v[0].type == ML_NIL);
  expect(v[1].type == ML_BOOL && v[1].u.b == 1);
  expect(v[2].type == ML_INT && v[2].u.i == 42);
  expect(v[3].type == ML_FLOAT && v[3].u.n == 1.5);
  expect(v[4].type == ML_STRING && v[4].u.str.len == 3 && memcmp(v[4].u.str.s, "a\0b", 3) == 0);
  expect(v[5].type == ML_TABLE);
  ml_task_release(t);
}

static void errors(ml_engine *e) {
  ml_task *t = load(e, "local asyncio = require 'asyncio'\n"
                       "local inner = async(function() error('broken') end)\n"
                       "await(asyncio.sleep(1))\n"
                       "await(inner())\n");
  const ml_error *err;
  const ml_value *v;
  size_t n;
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_FAILED);
  err = ml_task_error(t);
  expect(err != NULL && err->code == ML_ESCRIPT);
  expect(strcmp(err->message, "script:2: broken") == 0);
  expect(strstr(err->traceback, "script:4:") != NULL);
  expect(ml_task_result(t, &v, &n) < 0);
  ml_task_release(t);
}

static void syntax(ml_engine *e) {
  ml_task *t = NULL;
  const char *bad = "local x = = 1";
  int status = -1;
  expect(ml_load(e, "@bad.lua", bad, strlen(bad), &t) == ML_ESYNTAX);
  expect(t == NULL);
  expect(strstr(ml_last_error(e, &status)->message, "bad.lua:1:") != NULL);
  expect(status == 1);
  expect(ml_load_file(e, "/no/such/file.lua", &t) < 0);
  expect(strstr(ml_last_error(e, NULL)->message, "/no/such/file.lua") != NULL);
}

static void cancelling(ml_engine *e) {
  ml_task *t = load(e, "await(require('asyncio').sleep(1e6))");
  expect(ml_step(e, 0) >= 0);
  expect_ok(ml_task_cancel(t, "enough"));
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_CANCELLED);
  expect(ml_task_error(t) != NULL && strstr(ml_task_error(t)->message, "enough") != NULL);
  ml_task_release(t);

  t = load(e, "started = true"); /* cancelled before its first step: never runs */
  expect_ok(ml_task_cancel(t, NULL));
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_CANCELLED);
  ml_task_release(t);
  t = load(e, "return started");
  const ml_value *v;
  size_t n;
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 1 && v[0].type == ML_NIL);
  ml_task_release(t);
}

static void note(ml_task *t, void *ud) {
  int *seen = ud;
  expect(ml_task_status(t) == ML_DONE);
  ++*seen;
}

static void callbacks(ml_engine *e) {
  int seen = 0;
  ml_task *t = load(e, "await(require('asyncio').sleep(1))");
  expect_ok(ml_task_on_done(t, note, &seen));
  expect(seen == 0);
  expect_ok(ml_run(e));
  expect(seen == 1);
  ml_task_release(t);
}

/* A task that the host let go runs on. */
static void released(ml_engine *e) {
  ml_task *t = load(e, "await(require('asyncio').sleep(1)); survived = 'yes'");
  ml_task_release(t);
  expect_ok(ml_run(e));
  t = load(e, "return survived");
  const ml_value *v;
  size_t n;
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(t, &v, &n));
  expect(v[0].type == ML_STRING && strcmp(v[0].u.str.s, "yes") == 0);
  ml_task_release(t);
}

/* One script serves the command and a host: asyncio.run awaits in the task. */
static void run_inside(ml_engine *e) {
  ml_task *t = load(e, "local asyncio = require 'asyncio'\n"
                       "local main = async(function() await(asyncio.sleep(1)); return 'done' end)\n"
                       "return asyncio.run(main())\n");
  const ml_value *v;
  size_t n;
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_DONE);
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 1 && v[0].type == ML_STRING && strcmp(v[0].u.str.s, "done") == 0);
  ml_task_release(t);
}

/* Nothing can ever wake it: said by name, not waited for. */
static void stuck(ml_engine *e, captured *log) {
  ml_task *t = load(e, "local asyncio = require 'asyncio'\n"
                       "await(asyncio.get_running_loop():create_future())\n");
  log->n = 0;
  expect(ml_run(e) == ML_ESTUCK);
  expect(log->n > 0);
  expect(ml_task_status(t) == ML_PENDING);
  expect_ok(ml_task_cancel(t, NULL));
  expect_ok(ml_run(e));
  ml_task_release(t);
}

static int told;
static void count(ml_task *t, void *ud) {
  (void)t, (void)ud;
  told++;
}

/* References may be let go at any time, before and after the end and the engine. */
static void orders(void) {
  static captured log;
  ml_engine *e = engine(&log);
  const char *sleeper = "await(require('asyncio').sleep(5)); return 'x'";
  const ml_value *v;
  size_t n;
  ml_task *t = load(e, sleeper), *late = load(e, sleeper), *never;
  expect_ok(ml_task_on_done(t, count, NULL));
  ml_task_release(t); /* nobody is told */
  expect_ok(ml_task_on_done(late, count, NULL));
  expect_ok(ml_task_on_done(late, NULL, NULL)); /* withdrawn */
  expect_ok(ml_run(e));
  expect(told == 0);
  expect_ok(ml_task_on_done(late, count, NULL)); /* done already: at once */
  expect(told == 1);
  expect(ml_task_cancel(late, NULL) == 0); /* nothing to cancel */
  never = load(e, "local asyncio = require 'asyncio'\n"
                  "while true do asyncio.catch(function() await(asyncio.sleep(1e9)) end) end");
  expect(ml_step(e, 0) >= 0);
  expect(ml_task_cancel(never, "one") == 1);
  expect(ml_step(e, 0) >= 0); /* swallowed */
  expect(ml_task_status(never) == ML_PENDING);
  expect_ok(ml_task_on_done(never, count, NULL));
  t = load(e, sleeper); /* still pending at the close */
  expect_ok(ml_close(e, 10));
  /* what came out lives on */
  expect_ok(ml_task_result(late, &v, &n));
  expect(n == 1 && strcmp(v[0].u.str.s, "x") == 0);
  ml_task_release(late);
  expect(ml_task_status(never) == ML_CANCELLED && ml_task_error(never) != NULL);
  expect(ml_task_cancel(never, NULL) == ML_ECLOSED);
  expect(ml_task_result(never, &v, &n) < 0);
  ml_task_release(never);
  expect(ml_task_status(t) == ML_CANCELLED);
  ml_task_release(t);
}

/* Results of all sizes and kinds; objects that cannot be shown. */
static void odd_results(ml_engine *e) {
  const ml_value *v;
  size_t n;
  ml_task *t = load(e, "return");
  ml_task *many = load(e, "return table.unpack({}, 1, 200)");
  ml_task *mute = load(e,
                       "return setmetatable({}, {__tostring = function() error('no') end}), print");
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 0 || (n == 1 && v[0].type == ML_NIL));
  expect_ok(ml_task_result(many, &v, &n));
  expect(n == 200 && v[199].type == ML_NIL);
  expect_ok(ml_task_result(mute, &v, &n));
  expect(n == 2 && v[0].type == ML_TABLE);
  expect(v[1].type == ML_FUNCTION);
  ml_task_release(t);
  ml_task_release(many);
  ml_task_release(mute);
}

int main(void) {
  static captured log;
  ml_engine *e = engine(&log);
  results(e);
  errors(e);
  syntax(e);
  cancelling(e);
  callbacks(e);
  released(e);
  run_inside(e);
  stuck(e, &log);
  odd_results(e);
  expect_ok(ml_close(e, 100));
  orders();
  return 0;
}
