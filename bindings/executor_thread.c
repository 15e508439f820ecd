/* The workers' side of thread executors: a thread with an engine that takes calls from
** the pool's queue. A call runs as a main program does, outside of tasks: it may await
** and may run a loop. Globals and modules stay from call to call.
*/
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "executor.h"

static const ml_packing results = {.flags = ML_PACK_CODE, .what = "result"};
static const ml_packing failure = {.flags = ML_PACK_CODE, .what = "field"};

/* ---- what the host's log and print get: kept, and told by the loop's thread ---- */

static void collect(ml_worker *w, char kind, const char *text, size_t n) {
  size_t need = w->loglen + n + 1 + sizeof n;
  if (need > w->logcap) {
    char *p = realloc(w->log, need * 2);
    if (p == NULL) return;
    w->log = p;
    w->logcap = need * 2;
  }
  w->log[w->loglen] = kind;
  memcpy(w->log + w->loglen + 1, &n, sizeof n);
  memcpy(w->log + w->loglen + 1 + sizeof n, text, n);
  w->loglen = need;
}

static void collect_log(void *ud, const char *text, size_t n) { collect(ud, 'l', text, n); }
static void collect_print(void *ud, const char *text, size_t n) { collect(ud, 'p', text, n); }

/* Of one call as many as fit: a script may be refused for ever. */
#define REFUSALS 65536

/* Four strings, with the zero bytes behind them. */
static void collect_refused(void *ud, const ml_refusal *what) {
  const char *const parts[] = {what->permission, what->rule, what->doing, what->subject};
  ml_worker *w = ud;
  char text[2048];
  size_t n = 0;
  for (int i = 0; i < 4; i++) {
    size_t len = strnlen(parts[i], 500);
    memcpy(text + n, parts[i], len);
    n += len;
    text[n++] = '\0';
  }
  if (w->loglen < REFUSALS) collect(w, 'r', text, n);
}

/* ---- memory ---- */

static void *limited(void *ud, void *p, size_t osize, size_t nsize) {
  ml_pool *pool = ud;
  size_t old = p != NULL ? osize : 0;
  void *q;
  if (nsize == 0) {
    free(p);
    atomic_fetch_sub_explicit(&pool->used, old, memory_order_relaxed);
    return NULL;
  }
  if (nsize > old) {
    size_t used = atomic_fetch_add_explicit(&pool->used, nsize - old, memory_order_relaxed);
    if (pool->limit != 0 && used + (nsize - old) > pool->limit) {
      atomic_fetch_sub_explicit(&pool->used, nsize - old, memory_order_relaxed);
      return NULL;
    }
  }
  q = realloc(p, nsize);
  if (q == NULL) {
    if (nsize > old) atomic_fetch_sub_explicit(&pool->used, nsize - old, memory_order_relaxed);
    return nsize <= old ? p : NULL; /* shrinking does not fail */
  }
  if (nsize < old) atomic_fetch_sub_explicit(&pool->used, old - nsize, memory_order_relaxed);
  return q;
}

/* ---- delivering ---- */

void ml__port_unref(ml_port *p) {
  if (atomic_fetch_sub(&p->refs, 1) != 1) return;
  pthread_mutex_destroy(&p->lock);
  free(p);
}

void ml__work_free(ml_work *w) {
  ml__port_unref(w->port);
  if (w->data != w->room) free(w->data);
  free(w->log);
  free(w);
}

void ml__work_deliver(ml_work *w) {
  ml_port *p = w->port;
  bool first;
  ml__lock_soon(&p->lock);
  if (p->loop == NULL) {
    pthread_mutex_unlock(&p->lock);
    ml__work_free(w);
    return;
  }
  first = ml__list_empty(&p->done);
  ml__list_append(&p->done, &w->link);
  if (first) ml__loop_post(p->loop, &p->drain);
  pthread_mutex_unlock(&p->lock);
}

/* ---- a call ---- */

typedef struct call {
  ml_worker *worker;
  ml_work *work;
  ml_packing how;
  int outcome;
} call;

/* Packs the error at err and its traceback. */
static void pack_error(lua_State *L, ml_worker *w, int err) {
  w->out.len = 0;
  lua_pushvalue(L, err);
  ml__traceback_of(L, err);
  if (ml__pack(L, lua_gettop(L) - 1, 2, &failure, &w->out) == 0) return;
  lua_pop(L, 1);
  ml__errtext(L, err, NULL); /* what it says can be sent */
  ml__error_new(L, "RuntimeError", "%s", lua_tostring(L, -1));
  lua_replace(L, -4);
  lua_pop(L, 1);
  if (ml__pack(L, lua_gettop(L) - 1, 2, &failure, &w->out) < 0) luaL_error(L, "cannot be");
}

/* What asyncio.context gives in the call: the table at idx, or nothing. */
static void set_context(lua_State *L, int idx) {
  ml__ref_get(L, ML_R_CORE);
  lua_getfield(L, -1, "context_set");
  if (lua_istable(L, idx))
    lua_pushvalue(L, idx);
  else
    lua_newtable(L);
  lua_call(L, 1, 0);
  lua_pop(L, 1);
}

/* [call, values...]: the values in worker->out */
static int run_results(lua_State *L) {
  call *c = lua_touserdata(L, 1);
  ml_worker *w = c->worker;
  w->out.len = 0;
  c->outcome = OUT_VALUES;
  luaL_checkstack(L, 20, "results");
  if (ml__pack(L, 2, lua_gettop(L) - 1, &results, &w->out) == 0) return 0;
  c->outcome = OUT_ERROR;
  ml__error_new(L, "TypeError", "cannot copy %s", lua_tostring(L, -1));
  pack_error(L, w, lua_gettop(L));
  return 0;
}

/* [call, message handler, known]: the function's outcome in worker->out */
static int run_call(lua_State *L) {
  call *c = lua_touserdata(L, 1);
  ml_worker *w = c->worker;
  int n;
  c->how.known = 3;
  n = ml__unpack(L, c->work->data, c->work->len, &c->how);
  if (lua_istable(L, 4) || w->engine->main_context) set_context(L, 4);
  lua_remove(L, 4);
  if (lua_pcall(L, n - 2, LUA_MULTRET, 2) != LUA_OK) {
    c->outcome = OUT_ERROR;
    pack_error(L, w, lua_gettop(L));
    return 0;
  }
  lua_rotate(L, 2, -2); /* [call, results..., handler, known] */
  lua_settop(L, -3);
  return run_results(L);
}

/* [call, error]: what run_call raised itself */
static int run_failed(lua_State *L) {
  call *c = lua_touserdata(L, 1);
  c->outcome = OUT_ERROR;
  pack_error(L, c->worker, 2);
  return 0;
}

/* The outcome goes where the call was, if there is room. */
static void store(ml_worker *w, ml_work *work, int outcome) {
  work->outcome = outcome;
  if (outcome != OUT_VALUES && outcome != OUT_ERROR) return;
  if (w->out.len > work->cap) {
    char *p = malloc(w->out.len);
    if (p == NULL) {
      work->outcome = OUT_MEMORY;
      return;
    }
    if (work->data != work->room) free(work->data);
    work->data = p;
    work->cap = w->out.len;
  }
  memcpy(work->data, w->out.data, w->out.len);
  work->len = w->out.len;
  if (w->out.cap > 1 << 20) ml_buf_free(&w->out); /* one large result is no reason to keep it */
}

#define PLAIN 16 /* arguments of a plain call at most */

/* Pushes the function and the arguments of a call whose function is here already and whose
** arguments are plain: their number; or -1, and nothing is pushed. */
static int push_plain(ml_worker *w, const ml_work *work) {
  lua_State *L = w->engine->L;
  int n;
  if (w->engine->main_context || !lua_checkstack(L, PLAIN + LUA_MINSTACK)) return -1;
  n = ml__unpack_plain(L, work->data, work->len, 2, PLAIN);
  if (n >= 2 && lua_isnil(L, 3) && lua_isfunction(L, 4)) {
    lua_remove(L, 3);
    return n - 2;
  }
  lua_settop(L, 2);
  return -1;
}

/* At index 1 the message handler, at 2 the table of kept functions. */
static void run_work(ml_worker *w, ml_work *work) {
  lua_State *L = w->engine->L;
  call c = {.worker = w, .work = work, .outcome = OUT_MEMORY};
  ml_metered was;
  int n = push_plain(w, work), status;
  size_t written = 0;
  w->engine->in_main = true;
  was = ml__meter_open(w->engine, L);
  if (n >= 0) {
    status = lua_pcall(L, n, LUA_MULTRET, 1);
    n = lua_gettop(L) - 2;
    if (status == LUA_OK) written = ml__pack_plain(L, 3, n, 0, NULL, work->data, work->cap);
    if (status == LUA_OK && written == 0 && lua_checkstack(L, 2)) {
      lua_pushcfunction(L, run_results);
      lua_insert(L, 3);
      lua_pushlightuserdata(L, &c);
      lua_insert(L, 4);
      status = lua_pcall(L, n + 1, 0, 0);
    }
  } else {
    c.how.flags = ML_PACK_CODE;
    c.how.book = &w->pool->book;
    lua_pushcfunction(L, run_call);
    lua_pushlightuserdata(L, &c);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    status = lua_pcall(L, 3, 0, 0);
  }
  if (status != LUA_OK) {
    c.outcome = OUT_MEMORY;
    lua_pushcfunction(L, run_failed);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, &c);
    lua_insert(L, -2);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) c.outcome = OUT_MEMORY;
  }
  ml__meter_close(w->engine, L, was);
  w->engine->in_main = false;
  lua_settop(L, 2);
  if (written > 0) {
    work->outcome = OUT_VALUES;
    work->len = written;
  } else
    store(w, work, c.outcome);
  if (w->loglen > 0) {
    work->log = w->log;
    work->loglen = w->loglen;
    w->log = NULL;
    w->loglen = w->logcap = 0;
  }
}

/* ---- the engine of a worker ---- */

static int no_exit(lua_State *L) {
  return ml__misuse(L, "RuntimeError",
                    "os.exit() in a worker thread would end the whole program: return or raise an "
                    "error instead");
}

/* (...) with the signals of the program, for those who start other programs. Upvalues: the
** function, the worker. */
static int with_signals(lua_State *L) {
  ml_worker *w = lua_touserdata(L, lua_upvalueindex(2));
  sigset_t old;
  int st;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  pthread_sigmask(SIG_SETMASK, &w->pool->signals, &old);
  st = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return st == LUA_OK ? lua_gettop(L) : lua_error(L);
}

static void wrap(lua_State *L, ml_worker *w, const char *lib, const char *name) {
  if (lua_getglobal(L, lib) == LUA_TTABLE) {
    lua_getfield(L, -1, name);
    lua_pushlightuserdata(L, w);
    lua_pushcclosure(L, with_signals, 2);
    lua_setfield(L, -2, name);
  }
  lua_pop(L, 1);
}

/* [worker]: prepares the state; calls the initializer */
static int set_up(lua_State *L) {
  ml_worker *w = lua_touserdata(L, 1);
  static const ml_packing how = {.flags = ML_PACK_CODE};
  int n;
  wrap(L, w, "io", "popen");
  wrap(L, w, "os", "execute");
  lua_getglobal(L, "os");
  lua_pushcfunction(L, no_exit);
  lua_setfield(L, -2, "exit");
  lua_settop(L, 1);
  n = ml__unpack(L, w->pool->start.data, w->pool->start.len, &how);
  lua_getglobal(L, "package"); /* 2: path, 3: cpath, 4: initializer, ... */
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "path");
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "cpath");
  lua_pop(L, 1);
  if (n > 2 && !lua_isnil(L, 4)) lua_call(L, n - 3, 0);
  return 0;
}

/* [error]: what to say of it */
static int describe(lua_State *L) {
  ml__errtext(L, 1, NULL);
  ml__traceback_of(L, 1);
  lua_pushfstring(L, "Exception in initializer: %s\n%s", lua_tostring(L, 2),
                  lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : "");
  return 1;
}

/* False: the state cannot be made, or its initializer has failed. */
static bool start(ml_worker *w) {
  ml_pool *p = w->pool;
  ml_config c = p->config;
  ml_engine *e = NULL;
  lua_State *L;
  ml_metered was;
  bool ok;
  c.alloc = limited;
  c.alloc_ud = p;
  c.ud = w;
  if (c.log != NULL) c.log = collect_log;
  if (c.print != NULL) c.print = collect_print;
  if (c.on_refused != NULL) c.on_refused = collect_refused;
  if (ml__new_in(&c, p->sandbox, &e) < 0) return false;
  L = e->L;
  e->output_of = p->engine->output_of;
  e->host_mode = 0;
  pthread_mutex_lock(&p->lock);
  w->engine = e;
  w->running = true;
  pthread_mutex_unlock(&p->lock);
  lua_pushcfunction(L, ml__msgh);
  lua_pushcfunction(L, set_up);
  lua_pushlightuserdata(L, w);
  e->in_main = true;
  was = ml__meter_open(e, L);
  ok = lua_pcall(L, 1, 0, 1) == LUA_OK;
  ml__meter_close(e, L, was);
  e->in_main = false;
  if (!ok) {
    lua_pushcfunction(L, describe);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING)
      ml__log(e, "%s", lua_tostring(L, -1));
    return false;
  }
  lua_newtable(L); /* 2: functions of the codebook */
  return true;
}

/* ---- the thread ---- */

/* When calls come many at a time, the next one is near: waking a thread costs more than
** looking for it a little while. With the pool locked; one thread at a time. */
static void spin(ml_pool *p) {
  uint64_t end = uv_hrtime() + (uint64_t)p->spin;
  p->spinning = true;
  pthread_mutex_unlock(&p->lock);
  while (atomic_load_explicit(&p->queued, memory_order_relaxed) == 0 && uv_hrtime() < end)
    sched_yield(); /* whoever will bring the call may need this processor */
  ml__lock_soon(&p->lock);
  p->spinning = false;
  if (p->queued == 0) p->burst = false;
}

#define WATCH 1000000 /* ns */

/* With the pool locked: an idle thread looks whether the calls go on that are left to those that
** are awake, which may be stuck in one that is not quick. */
static void watch(ml_pool *p) {
  unsigned seen;
  p->wanted = false;
  p->sentry = true;
  do {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WATCH;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    seen = p->taken;
    pthread_cond_timedwait(&p->work, &p->lock, &until);
  } while (p->taken != seen && p->quick && !p->waking && !p->shut && !p->broken);
  p->sentry = false;
  if (p->queued > 0 && p->taken == seen) p->eager = true;
}

/* With the pool locked: the next call, or NULL when there will be none. */
static ml_work *take(ml_worker *w) {
  ml_pool *p = w->pool;
  ml_work *work;
  bool waited = p->queued == 0;
  if (p->queued == 0 && p->burst && !p->shut && !p->spinning && p->spin > 0) spin(p);
  while (p->queued == 0 && !p->shut && !p->broken) {
    p->idle++;
    pthread_cond_wait(&p->work, &p->lock);
    if (p->wanted && !p->waking) watch(p);
    p->idle--;
    p->waking = p->wanted = false;
  }
  if (p->queued == 0 || p->broken) return NULL;
  if (waited) w->began = uv_hrtime();
  work = ml__containerof(p->queue.next, ml_work, link);
  ml__list_remove(&work->link);
  p->queued--;
  p->taken++;
  if (p->queued > 0) ml__work_fetch(ml__containerof(p->queue.next, ml_work, link));
  work->state = WORK_RUNNING;
  if (p->queued > 0) p->burst = true;
  if (p->queued == 0) p->eager = false;
  if (!ml__pool_wakes(p, p->queued)) ml__pool_guards(p);
  return work;
}

/* Every call that waits is told that the pool is broken. */
static void break_pool(ml_pool *p) {
  ml_link calls;
  ml__list_init(&calls);
  pthread_mutex_lock(&p->lock);
  p->broken = true;
  ml__list_splice(&calls, &p->queue);
  p->queued = 0;
  for (ml_link *k = calls.next; k != &calls; k = k->next)
    ml__containerof(k, ml_work, link)->state = WORK_RUNNING;
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
  while (!ml__list_empty(&calls)) {
    ml_work *work = ml__containerof(calls.next, ml_work, link);
    ml__list_remove(&work->link);
    work->outcome = OUT_BROKEN;
    ml__work_deliver(work);
  }
}

static void end(ml_worker *w) {
  ml_pool *p = w->pool;
  ml_engine *e = w->engine;
  ml_link enders;
  ml__list_init(&enders);
  pthread_mutex_lock(&p->lock);
  w->engine = NULL;
  pthread_mutex_unlock(&p->lock);
  if (e != NULL) {
    lua_settop(e->L, 0);
    ml_close(e, 0);
  }
  ml_buf_free(&w->out);
  pthread_mutex_lock(&p->lock);
  w->ended = true;
  if (--p->threads == 0) ml__list_splice(&enders, &p->enders);
  for (ml_link *k = enders.next; k != &enders; k = k->next)
    ml__containerof(k, ml_work, link)->state = WORK_RUNNING; /* beyond recall */
  pthread_cond_broadcast(&p->ended);
  pthread_mutex_unlock(&p->lock);
  while (!ml__list_empty(&enders)) { /* nothing of the pool from here on */
    ml_work *work = ml__containerof(enders.next, ml_work, link);
    ml__list_remove(&work->link);
    ml__work_deliver(work);
  }
}

#define QUICK 20000 /* ns */

/* A call has ended: is that what calls take? */
static void measure(ml_worker *w) {
  uint64_t now = uv_hrtime(), ns = now - w->began;
  bool quick;
  w->began = now;
  w->usual = (w->usual * 7 + (ns < 1000000000 ? ns : 1000000000)) / 8;
  quick = w->usual < QUICK;
  if (atomic_load_explicit(&w->pool->quick, memory_order_relaxed) != quick)
    atomic_store_explicit(&w->pool->quick, quick, memory_order_relaxed);
}

void *ml__worker_main(void *arg) {
  ml_worker *w = arg;
  ml_pool *p = w->pool;
  ml_work *work;
  bool ok = start(w);
  w->usual = 10 * QUICK;
  w->began = uv_hrtime();
  if (!ok) break_pool(p);
  pthread_mutex_lock(&p->lock);
  w->running = false;
  while ((work = take(w)) != NULL) {
    w->running = true;
    pthread_mutex_unlock(&p->lock);
    run_work(w, work);
    ml__work_deliver(work);
    measure(w);
    ml__lock_soon(&p->lock);
    w->running = false;
  }
  pthread_mutex_unlock(&p->lock);
  end(w);
  return NULL;
}
