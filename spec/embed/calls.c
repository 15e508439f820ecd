/* Host functions: answered at once, later, from other threads, too late, twice. */
#include <pthread.h>
#include <unistd.h>

#include "expect.h"

static ml_value integer(int64_t i) { return (ml_value){.type = ML_INT, .u.i = i}; }
static ml_value text(const char *s) {
  return (ml_value){.type = ML_STRING, .u.str = {s, strlen(s), 0}};
}

/* ---- at once ---- */

static int add(ml_call *c, void *ud) {
  ml_value a, b, sum;
  (void)ud;
  expect_ok(ml_arg(c, 0, &a));
  expect_ok(ml_arg(c, 1, &b));
  if (a.type != ML_INT || b.type != ML_INT) {
    ml_value why = text("two integers were expected");
    expect_ok(ml_return(c, &why, 1));
    return ML_EINVAL;
  }
  sum = integer(a.u.i + b.u.i);
  return ml_return(c, &sum, 1);
}

static int kinds(ml_call *c, void *ud) {
  static const ml_type wanted[] = {ML_NIL, ML_BOOL, ML_INT, ML_FLOAT, ML_STRING, ML_TABLE};
  ml_value v[6];
  (void)ud;
  expect(ml_argc(c) == 6);
  for (int i = 0; i < 6; i++) {
    expect_ok(ml_arg(c, i, &v[i]));
    expect(v[i].type == wanted[i]);
  }
  expect(v[4].u.str.len == 3 && memcmp(v[4].u.str.s, "a\0b", 3) == 0);
  expect(strcmp(v[5].u.str.s, "table") == 0);
  expect(ml_arg(c, 6, &v[0]) == ML_EINVAL && v[0].type == ML_NIL);
  expect(ml_arg(c, -1, &v[0]) == ML_EINVAL);
  expect(ml_step(ml_call_engine(c), 0) == ML_EBUSY);
  expect(ml_run(ml_call_engine(c)) == ML_EBUSY);
  v[0].type = ML_NIL;
  expect_ok(ml_return(c, v, 6)); /* the table goes back as itself */
  ml_value_free(ml_call_engine(c), &v[5]);
  return 0;
}

static int missing(ml_call *c, void *ud) {
  (void)c;
  (void)ud;
  return -2; /* UV_ENOENT on Linux */
}

static int too_much(ml_call *c, void *ud) {
  static ml_value v[20000];
  (void)ud;
  expect(ml_return(c, v, 20000) == ML_EINVAL);
  expect(ml_call_finish(c, 0, NULL, 0) == ML_EINVAL); /* not asynchronous */
  expect(ml_call_on_cancel(c, NULL, NULL) == ML_EINVAL);
  return 0;
}

static void run_ok(ml_engine *e, const char *source) {
  ml_task *t = load(e, source);
  expect_ok(ml_run(e));
  if (ml_task_status(t) != ML_DONE) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
}

static void at_once(ml_engine *e) {
  expect_ok(ml_def(e, "math.plus", add, NULL));
  expect_ok(ml_def(e, "game.world.kinds", kinds, NULL));
  expect_ok(ml_def(e, "missing", missing, NULL));
  expect_ok(ml_def(e, "too_much", too_much, NULL));
  expect(ml_def(e, "", add, NULL) == ML_EINVAL);
  expect(ml_def(e, "a..b", add, NULL) == ML_EINVAL);
  expect(ml_def(e, "1st", add, NULL) == ML_EINVAL);
  expect(ml_def(e, "a-b", add, NULL) == ML_EINVAL);
  expect(ml_def(e, "missing.sub", add, NULL) == ML_EINVAL); /* no table */
  expect(strstr(ml_last_error(e, NULL)->message, "'missing' is no table") != NULL);
  expect(ml_def(e, "f", NULL, NULL) == ML_EINVAL);
  run_ok(e,
         "assert(math.plus(1, 2) == 3)\n"
         "local t = {}\n"
         "local a, b, c, d, s, u = game.world.kinds(nil, true, 1, 1.5, 'a\\0b', t)\n"
         "assert(a == nil and b == true and c == 1 and d == 1.5 and s == 'a\\0b' and u == t)\n"
         "local asyncio = require 'asyncio'\n"
         "local ok, err = pcall(math.plus, 1, 'x')\n"
         "assert(not ok and asyncio.isinstance(err, asyncio.ValueError), tostring(err))\n"
         "assert(err.message:find('math.plus: two integers were expected', 1, true), err.message)\n"
         "ok, err = pcall(missing)\n"
         "assert(not ok and err.code == 'ENOENT', tostring(err))\n"
         "assert(err.message == 'missing: no such file or directory', err.message)\n"
         "too_much()\n");
}

/* ---- later ---- */

typedef struct pending {
  ml_call *calls[16];
  int n, cancelled;
} pending;

static int later(ml_call *c, void *ud) {
  pending *p = ud;
  p->calls[p->n++] = c;
  return 0;
}

static void on_cancel(ml_call *c, void *ud) {
  pending *p = ud;
  p->cancelled++;
  expect_ok(ml_call_finish(c, 0, NULL, 0));
}

static int cancellable(ml_call *c, void *ud) {
  pending *p = ud;
  p->calls[p->n++] = c;
  return ml_call_on_cancel(c, on_cancel, p);
}

static int immediate(ml_call *c, void *ud) {
  ml_value v;
  (void)ud;
  expect_ok(ml_arg(c, 0, &v));
  return ml_call_finish(c, 0, &v, 1);
}

static int refused(ml_call *c, void *ud) {
  (void)c;
  (void)ud;
  return ML_ELIMIT;
}

static void asynchronous(ml_engine *e) {
  pending p = {{NULL}, 0, 0};
  ml_value v[2];
  ml_task *t;
  expect_ok(ml_def_async(e, "host.later", later, &p));
  expect_ok(ml_def_async(e, "host.cancellable", cancellable, &p));
  expect_ok(ml_def_async(e, "host.immediate", immediate, NULL));
  expect_ok(ml_def_async(e, "host.refused", refused, NULL));
  run_ok(e, "assert(await(host.immediate('now')) == 'now')\n"
            "local ok, err = pcall(await, host.refused())\n"
            "assert(not ok and err.message:find('host.refused: a limit was reached', 1, true))\n");
  t = load(e, "local asyncio = require 'asyncio'\n"
              "local a, b = await(host.later('x', 7))\n"
              "assert(a == 'answer' and b == 8, a)\n"
              "local ok, err = pcall(await, host.later())\n"
              "assert(not ok and err.code == 'ETIMEDOUT', tostring(err))\n"
              "assert(tostring(err):find('too slow', 1, true))\n"
              "return 'end'\n");
  expect_ok(ml_step(e, 0));
  expect(p.n == 1 && ml_alive(e) == 1);
  expect_ok(ml_arg(p.calls[0], 1, &v[1]));
  expect(v[1].type == ML_INT && v[1].u.i == 7);
  v[0] = text("answer");
  v[1] = integer(8);
  expect_ok(ml_call_finish(p.calls[0], 0, v, 2));
  expect(ml_call_finish(p.calls[0], 0, v, 2) == ML_EINVAL); /* twice */
  while (p.n < 2) expect_ok(ml_step(e, 0));
  expect(ml_call_finish(p.calls[0], 0, v, 2) == ML_EINVAL); /* and after it was taken */
  v[0] = text("too slow");
  expect_ok(ml_call_finish(p.calls[1], -110, v, 1)); /* UV_ETIMEDOUT on Linux */
  expect_ok(ml_run(e));
  if (ml_task_status(t) != ML_DONE) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);

  p.n = 0;
  t = load(e, "await(host.cancellable())");
  while (p.n < 1) expect_ok(ml_step(e, 0));
  expect_ok(ml_task_cancel(t, "enough"));
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_CANCELLED && p.cancelled == 1);
  ml_task_release(t);
  /* one that is finished is not told of its cancellation */
  p.n = 0;
  t = load(e, "await(host.cancellable())");
  while (p.n < 1) expect_ok(ml_step(e, 0));
  expect_ok(ml_call_finish(p.calls[0], 0, NULL, 0));
  expect_ok(ml_task_cancel(t, "too late"));
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_CANCELLED && p.cancelled == 1);
  ml_task_release(t);
  /* without a callback the host finishes in vain */
  p.n = 1;
  t = load(e, "await(host.later())");
  while (p.n < 2) expect_ok(ml_step(e, 0));
  expect_ok(ml_task_cancel(t, NULL));
  expect_ok(ml_run(e));
  expect_ok(ml_call_finish(p.calls[1], 0, NULL, 0));
  expect_ok(ml_run(e));
  ml_task_release(t);
}

/* ---- from threads ---- */

enum { THREADS = 8, EACH = 500 };

typedef struct inbox {
  pthread_mutex_t lock;
  pthread_cond_t filled;
  ml_call *calls[THREADS * EACH];
  int n, taken;
  int finished, closed;
} inbox;

static int enqueue(ml_call *c, void *ud) {
  inbox *b = ud;
  pthread_mutex_lock(&b->lock);
  b->calls[b->n++] = c;
  pthread_cond_signal(&b->filled);
  pthread_mutex_unlock(&b->lock);
  return 0;
}

static void *work(void *ud) {
  inbox *b = ud;
  for (;;) {
    ml_call *c;
    ml_value v = integer(1);
    int rc;
    pthread_mutex_lock(&b->lock);
    while (b->taken == b->n && b->taken < THREADS * EACH) pthread_cond_wait(&b->filled, &b->lock);
    if (b->taken == THREADS * EACH) {
      pthread_cond_broadcast(&b->filled);
      pthread_mutex_unlock(&b->lock);
      return NULL;
    }
    c = b->calls[b->taken++];
    if (b->taken == THREADS * EACH) pthread_cond_broadcast(&b->filled);
    pthread_mutex_unlock(&b->lock);
    rc = ml_call_finish(c, 0, &v, 1);
    expect(rc == 0 || rc == ML_ECLOSED);
    pthread_mutex_lock(&b->lock);
    if (rc == 0)
      b->finished++;
    else
      b->closed++;
    pthread_mutex_unlock(&b->lock);
  }
}

static void from_threads(int close_early) {
  static inbox b;
  pthread_t threads[THREADS];
  ml_engine *e;
  ml_config c;
  captured log = {"", 0};
  memset(&b, 0, sizeof b);
  pthread_mutex_init(&b.lock, NULL);
  pthread_cond_init(&b.filled, NULL);
  ml_config_init(&c);
  c.log = capture;
  c.ud = &log;
  expect_ok(ml_new(&c, &e));
  expect_ok(ml_def_async(e, "work", enqueue, &b));
  ml_task_release(load(e,
                       "local asyncio = require 'asyncio'\n"
                       "local sum = 0\n"
                       "local one = async(function() local n = await(work()) sum = sum + n end)\n"
                       "local all = {}\n"
                       "for i = 1, 4000 do all[i] = one() end\n"
                       "await(asyncio.gather(all))\n"
                       "assert(sum == 4000)\n"));
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, &b);
  if (close_early) {
    while (b.n < THREADS * EACH) expect_ok(ml_step(e, 0));
    expect_ok(ml_close(e, 0)); /* while they finish */
  } else {
    expect_ok(ml_run(e));
    if (log.n > 0) fprintf(stderr, "%s\n", log.text);
    expect(log.n == 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  expect(b.finished + b.closed == THREADS * EACH);
  if (!close_early) expect_ok(ml_close(e, 0));
}

static void too_late(void) {
  pending p = {{NULL}, 0, 0};
  ml_engine *e;
  ml_value v;
  expect_ok(ml_new(NULL, &e));
  expect_ok(ml_def_async(e, "later", later, &p));
  expect_ok(ml_def_async(e, "cancellable", cancellable, &p));
  expect_ok(ml_load(e, "=script", "await(later())", 14, NULL));
  expect_ok(ml_load(e, "=script", "await(cancellable())", 20, NULL));
  expect_ok(ml_load(e, "=script", "await(later('x'))", 17, NULL));
  while (p.n < 3) expect_ok(ml_step(e, 0));
  expect_ok(ml_close(e, 0));
  expect(p.cancelled == 1); /* which finished it */
  expect(ml_arg(p.calls[0], 0, &v) == ML_EINVAL && ml_args(p.calls[0], "v", &v) == ML_ECLOSED);
  expect(ml_arg(p.calls[2], 0, &v) == ML_ECLOSED && v.type == ML_NIL);
  expect(ml_call_engine(p.calls[2]) == NULL && ml_argc(p.calls[2]) == 1);
  expect(ml_call_on_cancel(p.calls[2], NULL, NULL) == ML_EINVAL);
  expect(ml_call_finish(p.calls[2], 0, NULL, 0) == ML_ECLOSED);
  expect(ml_call_finish(p.calls[0], 0, NULL, 0) == ML_ECLOSED);
}

/* ---- spawn ---- */

static void spawning(ml_engine *e) {
  ml_task *t;
  const ml_value *v;
  ml_value args[2];
  size_t n;
  run_ok(
      e,
      "local asyncio = require 'asyncio'\n"
      "game.greet = async(function(who, n) await(asyncio.sleep(0)) return who .. '!', n + 1 end)\n"
      "function plain(...) return select('#', ...), await(asyncio.sleep(0, 'slept')) end\n");
  args[0] = text("hello");
  args[1] = integer(1);
  expect_ok(ml_spawn(e, "game.greet", args, 2, &t));
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 2 && strcmp(v[0].u.str.s, "hello!") == 0 && v[1].u.i == 2);
  ml_task_release(t);
  expect_ok(ml_spawn(e, "plain", NULL, 0, &t));
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 2 && v[0].u.i == 0 && strcmp(v[1].u.str.s, "slept") == 0);
  ml_task_release(t);
  expect(ml_spawn(e, "no.such.thing", NULL, 0, &t) == ML_EINVAL && t == NULL);
  expect(strstr(ml_last_error(e, NULL)->message, "no function 'no.such.thing'") != NULL);
}

int main(void) {
  ml_engine *e;
  ml_config c;
  captured log = {"", 0};
  ml_config_init(&c);
  c.log = capture;
  c.ud = &log;
  expect_ok(ml_new(&c, &e));
  at_once(e);
  asynchronous(e);
  spawning(e);
  expect_ok(ml_close(e, 0));
  if (log.n > 0) fprintf(stderr, "%s\n", log.text);
  expect(log.n == 0);
  from_threads(0);
  from_threads(1);
  too_late();
  return 0;
}
