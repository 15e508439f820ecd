/* Scripts that would have the engine for ever: slices, and ml_interrupt. */
#include "expect.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>

static captured logged;
static uint64_t slice_us = 3000;

static ml_engine *engine(ml_meter_mode meter, ml_overrun overrun) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.log = capture;
  c.ud = &logged;
  c.meter = meter;
  c.overrun = overrun;
  c.slice_us = slice_us;
  c.memory_limit = 32 << 20;
  logged.n = 0;
  expect_ok(ml_new(&c, &e));
  return e;
}

/* Loads and runs the script, which is stopped. */
static void stopped(ml_engine *e, const char *source, const char *says) {
  ml_task *t = load(e, source);
  int rc = ml_run(e);
  if (rc < 0 || ml_task_status(t) != ML_FAILED || strstr(ml_task_error(t)->message, says) == NULL) {
    fprintf(stderr, "code %d, status %d: %s\n  after %s\n", rc, ml_task_status(t),
            ml_task_error(t) != NULL ? ml_task_error(t)->message : "-", source);
    exit(1);
  }
  ml_task_release(t);
}

static void start(ml_engine *e, const char *source) {
  expect_ok(ml_load(e, "=script", source, strlen(source), NULL));
}

static int64_t number(ml_engine *e, const char *source) {
  ml_task *t = load(e, source);
  const ml_value *v;
  size_t n;
  int64_t answer;
  expect_ok(ml_run(e));
  if (ml_task_error(t) != NULL)
    fprintf(stderr, "%s\n%s\n", ml_task_error(t)->message, ml_task_error(t)->traceback);
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 1 && v[0].type == ML_INT);
  answer = v[0].u.i;
  ml_task_release(t);
  return answer;
}

/* ---- what cannot get away ---- */

static const char *const endless[] = {
    "while true do end",
    "local function f() return f() end f()",
    "while true do pcall(error) end",
    "local function f() while true do end end while true do pcall(f) end",
    "local function f() while true do end end\n"
    "while true do xpcall(f, function() while true do end end) end",
    "local asyncio = require 'asyncio'\n"
    "local function f() while true do end end while true do asyncio.catch(f) end",
    "while true do coroutine.wrap(function() while true do end end)() end",
    "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    "local function spin() while true do pcall(coroutine.wrap(spin)) end end spin()",
    "for x in coroutine.wrap(function() while true do coroutine.yield(1) end end) do end",
    "local co = coroutine.create(function()\n"
    "  local x <close> = setmetatable({}, {__close = function() while true do end end})\n"
    "  coroutine.yield()\n"
    "end)\n"
    "coroutine.resume(co) while true do coroutine.close(co) end",
    "local function close() while true do pcall(function() while true do end end) end end\n"
    "local x <close> = setmetatable({}, {__close = close})\n"
    "local y <close> = setmetatable({}, {__close = close})\n"
    "while true do end",
    "while true do load(function() while true do end end) end",
    "while true do load(os.date) end",
    "table.sort({3, 2, 1}, function() while true do end end)",
    "while true do pcall(string.gsub, 'x', '.', function() while true do end end) end",
    "while true do pcall(require, 'no.such.module') end",
    "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
    "local asyncio = require 'asyncio'\n"
    "while true do pcall(function() await(asyncio.create_task(async(function() end)(),\n"
    "  {eager_start = true})) end) end",
    "local asyncio = require 'asyncio'\n"
    "while true do asyncio.create_task(async(function() while true do end end)(),\n"
    "  {eager_start = true}) end",
    "require('asyncio').critical(function() while true do end end)",
    "local x <close> = setmetatable({}, {__close = function()\n"
    "  pcall(function() await(require('asyncio').sleep(100)) end)\n"
    "  while true do end\n"
    "end})\n"
    "while true do end",
};

static void contained(ml_meter_mode meter, ml_overrun overrun) {
  ml_engine *e = engine(meter, overrun);
  bool preempt = overrun == ML_OVERRUN_PREEMPT;
  for (size_t i = 0; i < sizeof endless / sizeof *endless; i++)
    if (!preempt || strstr(endless[i], "table.sort") != NULL ||
        strstr(endless[i], "critical") != NULL)
      stopped(e, endless[i], "TimeSliceError: ");
  expect(number(e, "return 1 + 1") == 2);
  expect_ok(ml_close(e, 0));
}

/* What a script has made of tostring and indexing does not hold up the host's own calls. */
static void asked(ml_meter_mode meter) {
  static const char source[] = "local function hang() while true do end end\n"
                               "text = setmetatable({}, {__tostring = hang})\n"
                               "thread = coroutine.create(hang)\n"
                               "debug.setmetatable(thread, {__tostring = hang})\n"
                               "function bad() error(text) end\n"
                               "setmetatable(_G, {__index = hang})\n";
  ml_engine *e = engine(meter, ML_OVERRUN_ERROR);
  ml_value v, out;
  ml_usage_info u;
  start(e, source);
  expect_ok(ml_run(e));
  expect_ok(ml_get(e, "thread", &v));
  expect(v.type == ML_OTHER && strcmp(v.u.str.s, "thread") == 0);
  ml_value_free(e, &v);
  expect_ok(ml_get(e, "text", &v));
  expect_ok(ml_tostring(e, &v, &out));
  expect(strcmp(out.u.str.s, "table") == 0);
  ml_value_free(e, &v);
  ml_value_free(e, &out);
  expect_ok(ml_get(e, "bad", &v));
  expect(ml_call_value(e, &v, NULL, 0, NULL, 0) == ML_ESCRIPT);
  expect(ml_last_error(e, NULL) != NULL);
  ml_value_free(e, &v);
  expect(ml_spawn(e, "none", NULL, 0, NULL) == ML_ELIMIT);
  expect_ok(ml_usage(e, &u, sizeof u));
  expect(u.overruns == 4);
  expect(number(e, "debug.setmetatable(thread, nil) return 2") == 2);
  expect_ok(ml_close(e, 0));
}

/* The error says where and what; clean-up has its time; who waits for the task may catch it. */
static void tells(void) {
  ml_engine *e = engine(ML_METER_WATCHDOG, ML_OVERRUN_ERROR);
  ml_task *t = load(e, "local n = 0\nwhile true do n = n + 1 end");
  expect_ok(ml_run(e));
  expect(strcmp(ml_task_error(t)->message,
                "TimeSliceError: script:2: the script ran for longer than its time slice (3.0 ms) "
                "without an await") == 0);
  expect(strstr(ml_task_error(t)->traceback, "script:2") != NULL);
  expect(ml_task_error(t)->code == ML_ELIMIT);
  ml_task_release(t);
  expect(number(e, "local asyncio = require 'asyncio'\n"
                   "local t = asyncio.create_task(async(function()\n"
                   "  pcall(function() while true do end end)\n"
                   "end)())\n"
                   "local ok, err = pcall(await, t)\n"
                   "assert(not ok and asyncio.isinstance(err, asyncio.TimeSliceError))\n"
                   "assert(not asyncio.isinstance(err, asyncio.Exception))\n"
                   "return 1") == 1);
  expect_ok(ml_close(e, 0));
}

/* A host function stops its own caller. */
static int stop_me(ml_call *c, void *ud) {
  (void)ud;
  expect(ml_interrupt(ml_call_engine(c), ML_INTERRUPT_KILL) == 1);
  return 0;
}

/* What is stopped may clean up, for as long as a slice is, and do nothing else. */
static void cleans_up(void) {
  ml_engine *e;
  slice_us = 60000000;
  e = engine(ML_METER_WATCHDOG, ML_OVERRUN_ERROR);
  slice_us = 3000;
  expect_ok(ml_def(e, "stop", stop_me, NULL));
  expect(number(e, "local asyncio = require 'asyncio'\n"
                   "local n = 0\n"
                   "local function close() pcall(error) for i = 1, 100 do n = n + 1 end end\n"
                   "local t = asyncio.create_task(async(function()\n"
                   "  local a <close> = setmetatable({}, {__close = close})\n"
                   "  local b <close> = setmetatable({}, {__close = close})\n"
                   "  pcall(function() stop() while true do end end)\n"
                   "  n = n + 1000\n"
                   "end)())\n"
                   "local ok, err = pcall(await, t)\n"
                   "assert(not ok and tostring(err):find 'Terminated', err)\n"
                   "return n") == 200);
  expect_ok(ml_close(e, 0));
}

/* One that is stopped does no harm to the others, which run as long as they like, in slices. */
static void others(ml_meter_mode meter) {
  ml_engine *e;
  slice_us = 50000; /* what is innocent must be so on any machine */
  e = engine(meter, ML_OVERRUN_ERROR);
  slice_us = 3000;
  expect(number(e, "local asyncio = require 'asyncio'\n"
                   "local done = 0\n"
                   "local bad = async(function() await(asyncio.sleep(0)) while true do end end)\n"
                   "local good = async(function()\n"
                   "  for i = 1, 300 do for j = 1, 1000 do end await(asyncio.sleep(0)) end\n"
                   "  done = done + 1\n"
                   "end)\n"
                   "local r = await(asyncio.gather(good(), bad(), good(), bad(), good(),\n"
                   "  {return_exceptions = true}))\n"
                   "assert(asyncio.isinstance(r[2], asyncio.TimeSliceError))\n"
                   "assert(asyncio.isinstance(r[4], asyncio.TimeSliceError))\n"
                   "return done") == 3);
  expect_ok(ml_close(e, 0));
}

/* Callbacks of the loop are slices, too. */
static void callbacks(void) {
  ml_engine *e = engine(ML_METER_WATCHDOG, ML_OVERRUN_ERROR);
  expect(number(e, "local asyncio = require 'asyncio'\n"
                   "local loop = asyncio.get_running_loop()\n"
                   "loop:call_soon(function() while true do pcall(error) end end)\n"
                   "loop:call_later(0.001, function() while true do end end)\n"
                   "await(asyncio.sleep(0.1))\n"
                   "return 5") == 5);
  expect(strstr(logged.text, "TimeSliceError") != NULL);
  expect_ok(ml_close(e, 0));
}

/* ---- preempting ---- */

static void preempted(ml_meter_mode meter) {
  ml_engine *e = engine(meter, ML_OVERRUN_PREEMPT);
  /* two that compute, one of them in coroutines inside one another, and one that counts rounds */
  expect(
      number(
          e,
          "local asyncio = require 'asyncio'\n"
          "local over, rounds = 0, 0\n"
          "local function long() local n = 0 for i = 1, 1e7 do n = n + i end return n end\n"
          "local plain = async(function() assert(long() == 50000005000000) over = over + 1 end)\n"
          "local nested = async(function()\n"
          "  local f = coroutine.wrap(function()\n"
          "    local g = coroutine.wrap(function(a) assert(a == 1) coroutine.yield(long())\n"
          "      return 'end' end)\n"
          "    coroutine.yield(g(1)) return g(2)\n"
          "  end)\n"
          "  assert(f() == 50000005000000) assert(f() == 'end') over = over + 1\n"
          "end)\n"
          "local count = async(function()\n"
          "  while over < 2 do rounds = rounds + 1 await(asyncio.sleep(0)) end end)\n"
          "await(asyncio.gather(plain(), nested(), count()))\n"
          "assert(rounds > 2, rounds)\n"
          "return over") == 2);
  /* a task that computes without an end is cancelled all the same */
  expect(number(e, "local asyncio = require 'asyncio'\n"
                   "local t = asyncio.create_task(async(function() while true do end end)())\n"
                   "await(asyncio.sleep(0.01))\n"
                   "t:cancel()\n"
                   "local _, err = asyncio.catch(await, t)\n"
                   "assert(asyncio.isinstance(err, asyncio.CancelledError))\n"
                   "return 1") == 1);
  /* what a hook has suspended is nobody's to resume */
  expect(number(e, "local asyncio = require 'asyncio'\n"
                   "local stop\n"
                   "local co = coroutine.create(function() while not stop do end return 7 end)\n"
                   "local t = asyncio.create_task(async(function()\n"
                   "  return select(2, coroutine.resume(co)) end)())\n"
                   "await(asyncio.sleep(0))\n"
                   "assert(coroutine.status(co) == 'normal')\n"
                   "assert(coroutine.resume(co) == false)\n"
                   "assert(not pcall(coroutine.close, co))\n"
                   "stop = true\n"
                   "return await(t)") == 7);
  /* and the engine can be closed meanwhile */
  start(e, "while true do end");
  start(e, "coroutine.wrap(function() while true do end end)()");
  for (int i = 0; i < 4; i++) expect(ml_step(e, 0) == 1);
  expect_ok(ml_close(e, 1));
}

/* An engine is closed though a task is always ready. */
static void closes(void) {
  ml_engine *e = engine(ML_METER_OFF, ML_OVERRUN_ERROR);
  start(e, "local asyncio = require 'asyncio'\n"
           "local again = async(function() await(asyncio.sleep(0)) end)\n"
           "while true do asyncio.catch(function() await(again()) end) end");
  for (int i = 0; i < 4; i++) expect(ml_step(e, 0) == 1);
  expect_ok(ml_close(e, 1));
}

/* ---- interrupting ---- */

static void *kill_soon(void *arg) {
  struct timespec t = {0, 20000000};
  nanosleep(&t, NULL);
  while (ml_interrupt(arg, ML_INTERRUPT_KILL) == 0) nanosleep(&t, NULL);
  return NULL;
}

static void killed(ml_meter_mode meter) {
  ml_engine *e;
  ml_config c;
  pthread_t thread;
  ml_config_init(&c);
  c.meter = meter;
  c.slice_us = 60000000;
  expect_ok(ml_new(&c, &e));
  expect(ml_interrupt(e, 7) == ML_EINVAL);
  expect(ml_interrupt(e, ML_INTERRUPT_KILL) == 0); /* nothing runs: nothing happens */
  expect(number(e, "return 3") == 3);
  static const char *const sources[] = {
      "while true do end",
      "while true do pcall(function() while true do end end) end",
      "while true do coroutine.wrap(function() while true do end end)() end",
      "for x in coroutine.wrap(function() while true do coroutine.yield(1) end end) do end",
      "pcall(function() await(async(function() while true do end end)()) end) while true do end",
  };
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    ml_task *t = load(e, sources[i]);
    expect(pthread_create(&thread, NULL, kill_soon, e) == 0);
    expect_ok(ml_run(e));
    expect(pthread_join(thread, NULL) == 0);
    expect(ml_task_status(t) == ML_FAILED && ml_task_error(t)->code == ML_EKILLED);
    expect(strstr(ml_task_error(t)->message, "Terminated: ") == ml_task_error(t)->message);
    ml_task_release(t);
  }
  expect(pthread_create(&thread, NULL, kill_soon, e) == 0);
  expect(ml_main(e, "=main", sources[1], strlen(sources[1]), 0, NULL) == ML_EKILLED);
  expect(pthread_join(thread, NULL) == 0);
  expect_ok(ml_close(e, 0));
}

static void kills_caller(ml_meter_mode meter) {
  ml_engine *e = engine(meter, ML_OVERRUN_ERROR);
  expect_ok(ml_def(e, "stop", stop_me, NULL));
  stopped(e, "pcall(stop) while true do end", "Terminated: ");
  expect(number(e, "return 3") == 3);
  expect_ok(ml_close(e, 0));
}

/* ---- the watchdog's signal ---- */

static volatile sig_atomic_t seen;
static void on_urgent(int sig) { seen = sig; }

static void *own_engine(void *arg) {
  ml_engine *e;
  ml_config c;
  ml_task *t;
  (void)arg;
  ml_config_init(&c);
  c.meter = ML_METER_WATCHDOG;
  c.slice_us = 3000;
  for (int i = 0; i < 5; i++) {
    expect_ok(ml_new(&c, &e));
    t = load(e, "while true do pcall(error) end");
    expect_ok(ml_run(e));
    expect(ml_task_status(t) == ML_FAILED);
    ml_task_release(t);
    expect(number(e, "return 3") == 3);
    expect_ok(ml_close(e, 0));
  }
  return NULL;
}

static bool handler_is_ours(void) {
  struct sigaction now;
  return sigaction(SIGURG, NULL, &now) == 0 && now.sa_handler == on_urgent;
}

static void signals(void) {
  struct sigaction sa;
  pthread_t threads[4];
  ml_engine *a, *b;
  memset(&sa, 0, sizeof sa);
  sa.sa_handler = on_urgent;
  expect(sigaction(SIGURG, &sa, NULL) == 0);
  a = engine(ML_METER_OFF, ML_OVERRUN_ERROR);
  b = engine(ML_METER_COUNTED, ML_OVERRUN_ERROR);
  expect(handler_is_ours()); /* it was not asked for */
  expect_ok(ml_close(a, 0));
  expect_ok(ml_close(b, 0));
  a = engine(ML_METER_WATCHDOG, ML_OVERRUN_ERROR);
  expect(!handler_is_ours());
  b = engine(ML_METER_WATCHDOG, ML_OVERRUN_ERROR);
  expect(raise(SIGURG) == 0 && seen == SIGURG); /* the host's own go on to its handler */
  for (int i = 0; i < 4; i++) expect(pthread_create(&threads[i], NULL, own_engine, NULL) == 0);
  stopped(a, "while true do end", "TimeSliceError: ");
  expect_ok(ml_close(a, 0));
  stopped(b, "while true do end", "TimeSliceError: ");
  for (int i = 0; i < 4; i++) expect(pthread_join(threads[i], NULL) == 0);
  expect_ok(ml_close(b, 0));
  expect(handler_is_ours());
}

static void configs(void) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.meter = ML_METER_COUNTED;
  c.slice_us = 99;
  expect(ml_new(&c, &e) == ML_EINVAL && e == NULL);
  c.slice_us = 0;
  c.meter = (ml_meter_mode)3;
  expect(ml_new(&c, &e) == ML_EINVAL);
  c.meter = ML_METER_WATCHDOG;
  c.overrun = (ml_overrun)2;
  expect(ml_new(&c, &e) == ML_EINVAL);
  c.overrun = ML_OVERRUN_ERROR;
  c.meter_signal = 1000;
  expect(ml_new(&c, &e) < 0);
  c.meter_signal = SIGKILL;
  expect(ml_new(&c, &e) < 0);
  c.meter_signal = SIGUSR2;
  expect_ok(ml_new(&c, &e));
  stopped(e, "while true do end", "(10.0 ms)");
  expect_ok(ml_close(e, 0));
}

int main(void) {
  if (HELD_BACK) { /* it also loses count of the stack where an error is raised a thousand times */
    others(ML_METER_COUNTED);
    kills_caller(ML_METER_COUNTED);
    return 0;
  }
  contained(ML_METER_WATCHDOG, ML_OVERRUN_ERROR);
  contained(ML_METER_COUNTED, ML_OVERRUN_ERROR);
  contained(ML_METER_WATCHDOG, ML_OVERRUN_PREEMPT);
  contained(ML_METER_COUNTED, ML_OVERRUN_PREEMPT);
  asked(ML_METER_WATCHDOG);
  asked(ML_METER_COUNTED);
  tells();
  cleans_up();
  others(ML_METER_WATCHDOG);
  others(ML_METER_COUNTED);
  callbacks();
  preempted(ML_METER_WATCHDOG);
  preempted(ML_METER_COUNTED);
  closes();
  killed(ML_METER_OFF);
  killed(ML_METER_WATCHDOG);
  killed(ML_METER_COUNTED);
  kills_caller(ML_METER_OFF);
  kills_caller(ML_METER_WATCHDOG);
  kills_caller(ML_METER_COUNTED);
  signals();
  configs();
  return 0;
}
