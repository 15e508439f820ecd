/* Calls of thread executors as the loop's thread sees them: made, queued, withdrawn, finished;
** and the ports that they come back to.
**
** A call is packed when it is submitted and queued for the threads; its outcome comes to the
** port of the loop, whose job unpacks it into the future. A future that is cancelled
** takes its call out of the queue, or forgets it if it runs already.
*/
#include <stdlib.h>
#include <string.h>

#include "executor.h"

/* ---- the end of calls ---- */

/* The call is over for the loop: its future is let go. */
void ml__work_forget(lua_State *L, ml_work *w) {
  if (w->future == NULL) return;
  w->future = NULL;
  w->port->loop->holds--;
  ml__list_remove(&w->watch.link);
  ml__list_remove(&w->mine);
  ml__unpin(L, w->pin);
}

/* Pushes values that are in the call's bytes; their number. */
static int outcome(lua_State *L, const ml_work *w) {
  static const ml_packing how = {.flags = ML_PACK_CODE};
  return ml__unpack(L, w->data, w->len, &how);
}

/* [work, future]: ends the future. The call is freed by the caller. */
static int finish(lua_State *L) {
  ml_work *w = lua_touserdata(L, 1);
  ml_future *f = lua_touserdata(L, 2);
  int n;
  switch (w->outcome) {
  case OUT_VALUES:
    n = outcome(L, w);
    if (n > 1) { /* as a task returns them */
      lua_createtable(L, n, 1);
      lua_insert(L, 3);
      for (int i = n; i >= 1; i--) lua_rawseti(L, 3, i);
      lua_pushinteger(L, n);
      lua_setfield(L, 3, "n");
      if (f->obj.state == ML_F_PENDING) f->obj.flags |= ML_FF_MULTI;
    }
    lua_settop(L, 3);
    ml__future_set_result(L, 2);
    return 0;
  case OUT_ERROR:
    outcome(L, w);
    lua_settop(L, 4);
    if (lua_isnil(L, 3)) { /* error(nil) */
      ml__error_new(L, "RuntimeError", "the function raised nil");
      lua_replace(L, 3);
    }
    if (lua_type(L, 4) == LUA_TSTRING) ml__traceback_keep(L, 3, 4);
    lua_settop(L, 3);
    ml__future_set_error(L, 2);
    return 0;
  case OUT_ENDED:
    lua_pushboolean(L, 1);
    ml__future_set_result(L, 2);
    return 0;
  case OUT_BROKEN:
    ml__error_new(L, "BrokenThreadPool",
                  "a worker thread could not start (its initializer has failed, or there is no "
                  "memory): the pool can run nothing");
    break;
  default: ml__error_new(L, "RuntimeError", "not enough memory in the worker thread");
  }
  ml__future_set_error(L, 2);
  return 0;
}

/* [future, error]: what finish raised */
static int finish_failed(lua_State *L) {
  ml__future_set_error(L, 1);
  return 0;
}

static void tell_refused(const ml_engine *e, const char *text) {
  ml_refusal what = {text, NULL, NULL, NULL};
  what.rule = what.permission + strlen(what.permission) + 1;
  what.doing = what.rule + strlen(what.rule) + 1;
  what.subject = what.doing + strlen(what.doing) + 1;
  e->config.on_refused(e->config.ud, &what);
}

static void tell_log(ml_engine *e, const ml_work *w) {
  for (size_t at = 0, n; at < w->loglen; at += n + 1 + sizeof n) {
    const char *text = w->log + at + 1 + sizeof n;
    memcpy(&n, w->log + at + 1, sizeof n);
    if (w->log[at] == 'p')
      e->config.print(e->config.ud, text, n);
    else if (w->log[at] == 'r')
      tell_refused(e, text);
    else
      e->config.log(e->config.ud, text, n);
  }
}

#define SPARE 128

/* A call that the loop's thread has done with. */
static void retire(ml_work *w) {
  ml_port *p = w->port;
  if (w->data != w->room || w->log != NULL || w->cap != sizeof w->room || p->nspare == SPARE) {
    ml__work_free(w);
    return;
  }
  p->nspare++;
  ml__list_append(&p->spare, &w->link);
}

/* What most calls give, one plain value, takes no memory and cannot fail. */
static bool finish_plain(lua_State *L, ml_work *w) {
  ml_future *f = w->future;
  if (f == NULL || w->outcome != OUT_VALUES || w->log != NULL || (f->obj.flags & ML_FF_HANDLES) ||
      !lua_checkstack(L, 10) || ml__unpack_plain(L, w->data, w->len, 0, 1) != 1)
    return false;
  ml__pushpinned(L, w->pin);
  lua_insert(L, -2);
  ml__work_forget(L, w);
  ml__future_set_result(L, -2);
  lua_pop(L, 1);
  retire(w);
  return true;
}

/* On the loop, in a job: a call has come back. */
static void come_back(lua_State *L, ml_work *w) {
  int top = lua_gettop(L);
  if (finish_plain(L, w)) return;
  if (w->log != NULL) tell_log(w->port->engine, w);
  if (w->outcome == OUT_ENDED) ml__pool_join(w->pool);
  if (w->future != NULL && lua_checkstack(L, 10)) {
    ml__pushpinned(L, w->pin); /* the call's pin goes first: the future may run finalizers */
    lua_pushcfunction(L, finish);
    lua_pushlightuserdata(L, w);
    lua_pushvalue(L, top + 1);
    ml__work_forget(L, w);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
      lua_pushcfunction(L, finish_failed);
      lua_insert(L, -2);
      lua_pushvalue(L, top + 1);
      lua_insert(L, -2);
      if (lua_pcall(L, 2, 0, 0) != LUA_OK) { /* no memory for it: the task stays */
        ml__log(w->port->engine, "a worker's outcome is lost: not enough memory");
      }
    }
    lua_settop(L, top);
  }
  retire(w);
}

/* Everything that has come since it was posted. */
static void drain(ml_evloop *l, ml_job *j) {
  ml_port *p = ml__containerof(j, ml_port, drain);
  ml_link done;
  ml__list_init(&done);
  ml__lock_soon(&p->lock);
  ml__list_splice(&done, &p->done);
  pthread_mutex_unlock(&p->lock);
  while (!ml__list_empty(&done)) {
    ml_work *w = ml__containerof(done.next, ml_work, link);
    ml__list_remove(&w->link);
    if (!ml__list_empty(&done)) ml__work_fetch(ml__containerof(done.next, ml_work, link));
    come_back(l->L, w);
  }
}

/* Takes the call out of where it waits, and frees it; or, if a thread has it, leaves it. */
static void withdraw(ml_work *w) {
  ml_pool *p = w->pool;
  bool mine;
  if (w->held) {
    ml__list_remove(&w->link);
    p->nheld--;
    ml__work_free(w);
    return;
  }
  pthread_mutex_lock(&p->lock);
  mine = w->state == WORK_QUEUED && !ml__list_empty(&w->link);
  if (mine) {
    ml__list_remove(&w->link);
    if (w->outcome != OUT_ENDED) p->queued--;
  }
  pthread_mutex_unlock(&p->lock);
  if (mine) ml__work_free(w);
}

/* The future is done, but not by the call: it was cancelled. */
static void on_done(ml_evloop *l, ml_job *j) {
  ml_work *w = ml__containerof(j, ml_work, watch);
  ml__work_forget(l->L, w);
  withdraw(w);
}

/* ---- ports ---- */

/* The loop is closing: nobody waits for its calls any more. */
static void port_close(lua_State *L, ml_closer *c) {
  ml_port *p = ml__containerof(c, ml_port, closer);
  ml_evloop *l = p->loop;
  ml_workers *s = ml__workers_of(L);
  ml_link done;
  ml__list_init(&done);
  while (!ml__list_empty(&p->inflight)) {
    ml_work *w = ml__containerof(p->inflight.next, ml_work, mine);
    ml__work_forget(L, w);
    withdraw(w);
  }
  pthread_mutex_lock(&p->lock);
  p->loop = NULL;
  ml__list_splice(&done, &p->done);
  pthread_mutex_unlock(&p->lock);
  while (!ml__list_empty(&p->spare)) {
    ml_work *w = ml__containerof(p->spare.next, ml_work, link);
    ml__list_remove(&w->link);
    ml__work_free(w);
  }
  p->nspare = SPARE; /* no more */
  ml__list_remove(&p->look.link);
  ml__loop_unpost(l, &p->drain);
  while (!ml__list_empty(&done)) {
    ml_work *w = ml__containerof(done.next, ml_work, link);
    ml__list_remove(&w->link);
    ml__work_free(w);
  }
  for (ml_link *k = s->pools.next; k != &s->pools; k = k->next) {
    ml_pool *pool = ml__containerof(k, ml_pool, all);
    if (pool->port == p) pool->port = NULL;
    if (pool->owner == l) ml__pool_shut(pool);
  }
  ml__list_remove(&p->all);
  ml__port_unref(p);
}

/* Calls were left to threads that were awake: what they have not taken yet may wake others. */
static void look(ml_evloop *l, ml_job *j) {
  ml_workers *s = ml__workers_of(l->L);
  (void)j;
  for (ml_link *k = s->pools.next; k != &s->pools; k = k->next) {
    ml_pool *p = ml__containerof(k, ml_pool, all);
    if (p->nheld > 0) ml__pool_release(p);
    if (p->queued == 0) continue;
    pthread_mutex_lock(&p->lock);
    if (p->queued > 0 && p->quick && p->idle < p->threads) {
      ml__pool_guards(p);
    } else {
      p->eager = p->queued > 0;
      ml__pool_wakes(p, p->queued);
    }
    pthread_mutex_unlock(&p->lock);
  }
}

/* The port of the loop for this pool; NULL: no memory. */
ml_port *ml__port_of(lua_State *L, ml_pool *pool, ml_evloop *l) {
  ml_workers *s;
  ml_port *p = pool->port;
  if (p != NULL && p->loop == l) return p;
  s = ml__workers_of(L);
  for (ml_link *k = s->ports.next; k != &s->ports; k = k->next) {
    p = ml__containerof(k, ml_port, all);
    if (p->loop == l) return pool->port = p;
  }
  if (ml__loop_uv(l) == NULL) return NULL; /* from here on it can be woken */
  p = calloc(1, sizeof *p);
  if (p == NULL || pthread_mutex_init(&p->lock, NULL) != 0) {
    free(p);
    return NULL;
  }
  p->engine = l->engine;
  p->loop = l;
  p->refs = 1;
  p->drain.run = drain;
  p->look.run = look;
  ml__list_init(&p->look.link);
  p->closer.close = port_close;
  ml__list_init(&p->drain.link);
  ml__list_init(&p->done);
  ml__list_init(&p->inflight);
  ml__list_init(&p->spare);
  ml__list_append(&l->closers, &p->closer.link);
  ml__list_append(&s->ports, &p->all);
  return pool->port = p;
}

/* ---- new calls ---- */

static ml_work *make_work(ml_port *port) {
  ml_work *w = aligned_alloc(ML_LINE, (sizeof *w + ML_LINE - 1) / ML_LINE * ML_LINE);
  if (w != NULL) atomic_fetch_add(&port->refs, 1);
  return w;
}

static ml_work *reuse(ml_port *port) {
  ml_work *w = ml__containerof(port->spare.next, ml_work, link);
  ml__list_remove(&w->link);
  port->nspare--;
  if (port->nspare > 0) ml__work_fetch(ml__containerof(port->spare.next, ml_work, link));
  return w;
}

/* A new call of n bytes, with the future on top; NULL: no memory. */
ml_work *ml__work_new(lua_State *L, ml_pool *pool, const char *data, size_t n) {
  ml_future *f = lua_touserdata(L, -1);
  ml_port *port = ml__port_of(L, pool, f->loop);
  ml_work *w = NULL;
  int pin = ml__pin(L, -1);
  if (port != NULL) w = port->nspare > 0 ? reuse(port) : make_work(port);
  if (w != NULL) {
    memset(w, 0, sizeof *w);
    w->data = n <= sizeof w->room ? w->room : malloc(n);
    w->cap = n <= sizeof w->room ? sizeof w->room : n;
    w->port = port;
  }
  if (w == NULL || w->data == NULL) {
    if (w != NULL) ml__work_free(w);
    ml__unpin(L, pin);
    luaL_error(L, "not enough memory");
    return NULL;
  }
  w->pool = pool;
  w->future = f;
  w->pin = pin;
  w->len = n;
  w->watch.run = on_done;
  if (n > 0) memcpy(w->data, data, n);
  f->loop->holds++;
  ml__list_init(&w->link);
  ml__list_append(&f->callbacks, &w->watch.link);
  ml__list_append(&port->inflight, &w->mine);
  return w;
}

/* With the pool locked: is one more thread of use for a call when so many wait? A pool that
** is used again and again gets a few more than it needs at a time: of several idle threads
** the kernel wakes one that is near, which takes half as long as waking the only one. */
#define NEAR 4
#define CALLS_EACH 32

static bool wants_worker(const ml_pool *p, int waiting) {
  if (p->threads >= p->max) return false;
  return waiting > p->idle || (p->threads < NEAR && p->calls >= p->threads * CALLS_EACH);
}

/* With the pool locked: a call was appended to the queue: a thread will come for it. NULL, or
** what to say if there is none. */
static const char *queued(ml_pool *p, ml_work *w) {
  int waiting = ++p->queued - (p->spinning ? 1 : 0);
  w->held = false;
  if (!ml__pool_wakes(p, waiting) && waiting > 0 && ml__list_empty(&w->port->look.link))
    ml__ready(w->port->loop, &w->port->look);
  if (p->calls < NEAR * CALLS_EACH) p->calls++;
  if (!wants_worker(p, waiting) || ml__pool_add_worker(p) || p->threads > 0) return NULL;
  ml__list_remove(&w->link);
  p->queued--;
  return "can't start a new thread";
}

/* What was held goes into the queue. */
void ml__pool_release(ml_pool *p) {
  ml__lock_soon(&p->lock);
  while (p->nheld > 0) {
    ml_work *w = ml__containerof(p->held.next, ml_work, link);
    ml__list_remove(&w->link);
    ml__list_append(&p->queue, &w->link);
    p->nheld--;
    queued(p, w); /* threads there are: they were quick */
  }
  pthread_mutex_unlock(&p->lock);
}

/* Two threads that both touch the queue at every call wait for one another most of the time.
** So short calls that come faster than they are done go there HELD at a time. */
#define HELD 16
#define ENOUGH 2 /* so many in the queue keep the threads busy meanwhile */

/* Puts the call into the queue. NULL; or the class of the error that it is, with what it says
** in *text. */
const char *ml__work_enqueue(ml_pool *p, ml_work *w, const char **text) {
  const char *fault = NULL;
  if (atomic_load_explicit(&p->quick, memory_order_relaxed) && p->nheld < HELD &&
      atomic_load_explicit(&p->queued, memory_order_relaxed) >= ENOUGH) {
    w->held = true;
    ml__list_append(&p->held, &w->link);
    p->nheld++;
    if (ml__list_empty(&w->port->look.link)) ml__ready(w->port->loop, &w->port->look);
    return NULL;
  }
  if (p->nheld > 0) ml__pool_release(p);
  ml__lock_soon(&p->lock);
  if (p->broken || p->shut) {
    fault = p->broken ? "BrokenThreadPool" : "RuntimeError";
    *text = p->broken ? "a worker thread could not start: the pool can run nothing"
                      : "cannot schedule new futures after shutdown";
  } else {
    ml__list_append(&p->queue, &w->link);
    if ((*text = queued(p, w)) != NULL) fault = "RuntimeError";
  }
  pthread_mutex_unlock(&p->lock);
  return fault;
}

/* Withdraws the calls that have not begun. */
void ml__pool_drop(lua_State *L, ml_pool *p, bool cancel) {
  for (;;) {
    ml_work *w = NULL;
    pthread_mutex_lock(&p->lock);
    if (!ml__list_empty(&p->queue)) {
      w = ml__containerof(p->queue.next, ml_work, link);
      ml__list_remove(&w->link);
      p->queued--;
    }
    pthread_mutex_unlock(&p->lock);
    if (w == NULL) return;
    if (w->future != NULL && cancel) {
      ml__pushpinned(L, w->pin);
      ml__work_forget(L, w);
      lua_pushnil(L);
      ml__future_cancel(L, -2);
      lua_pop(L, 1);
    } else if (w->future != NULL)
      ml__work_forget(L, w);
    ml__work_free(w);
  }
}
