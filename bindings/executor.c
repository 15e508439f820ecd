/* Module asyncio.workers: pools of threads, from their making to their end, and what
** scripts call. concurrent.futures is made of it. executor_calls.c has the calls.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "executor.h"

static const char state_key = 0;

/* What scripts hold. User value 1: the table of functions in the codebook; 2: pool->last. */
typedef struct pool_object {
  ml_object obj;
  ml_pool *pool;
} pool_object;

ml_workers *ml__workers_of(lua_State *L) {
  ml_workers *s;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return s;
}

/* ---- the codebook ---- */

static uint32_t keep(void *ud, const void *p, size_t n) {
  ml_pool *pool = ud;
  ml_entry *entry, **code;
  uint32_t id = 0;
  if (n > ML_CODE_BYTES || pool->ncode == ML_CODE_MAX) return 0;
  entry = malloc(sizeof *entry + n);
  if (entry == NULL) return 0;
  entry->n = n;
  memcpy(entry->data, p, n);
  pthread_mutex_lock(&pool->lock);
  if (pool->ncode == pool->maxcode) {
    code = realloc(pool->code, (pool->maxcode * 2 + 16) * sizeof(void *));
    if (code != NULL) {
      pool->code = code;
      pool->maxcode = pool->maxcode * 2 + 16;
    }
  }
  if (pool->ncode < pool->maxcode) {
    pool->code[pool->ncode++] = entry;
    id = pool->ncode;
  } else
    free(entry);
  pthread_mutex_unlock(&pool->lock);
  return id;
}

/* ANY THREAD: entries stay where they are. */
static const void *find(void *ud, uint32_t id, size_t *n) {
  ml_pool *pool = ud;
  const ml_entry *entry = NULL;
  pthread_mutex_lock(&pool->lock);
  if (id >= 1 && id <= pool->ncode) entry = pool->code[id - 1];
  pthread_mutex_unlock(&pool->lock);
  if (entry == NULL) return NULL;
  *n = entry->n;
  return entry->data;
}

/* ---- pools ---- */

/* No more calls; threads end when there is none left. */
void ml__pool_shut(ml_pool *p) {
  if (p->nheld > 0) ml__pool_release(p);
  pthread_mutex_lock(&p->lock);
  p->shut = true;
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
}

#define WORKER_STACK (8u << 20)

/* One more thread. With the pool locked; false: none could be made. */
bool ml__pool_add_worker(ml_pool *p) {
  ml_worker *w = calloc(1, sizeof *w);
  pthread_attr_t attr;
  sigset_t set, old;
  int rc;
  if (w == NULL) return false;
  w->pool = p;
  w->number = p->made++;
  ml__list_append(&p->workers, &w->all);
  p->threads++;
  sigfillset(&set); /* signals are the program's business, but for those that are faults */
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&set, faults[i]);
  pthread_sigmask(SIG_SETMASK, &set, &old);
  rc = pthread_attr_init(&attr);
  if (rc == 0) {
    pthread_attr_setstacksize(&attr, WORKER_STACK);
    rc = pthread_create(&w->thread, &attr, ml__worker_main, w);
    pthread_attr_destroy(&attr);
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (rc == 0) {
    char name[64];
    snprintf(name, sizeof name, "%.12s_%d", p->name, w->number); /* Linux: 15 bytes */
    name[15] = '\0';
    pthread_setname_np(w->thread, name);
    return true;
  }
  p->threads--;
  ml__list_remove(&w->all);
  free(w);
  return false;
}

/* Frees what is left of threads that have ended. */
void ml__pool_join(ml_pool *p) {
  ml_link gone;
  ml__list_init(&gone);
  pthread_mutex_lock(&p->lock);
  for (ml_link *k = p->workers.next, *next; k != &p->workers; k = next) {
    next = k->next;
    if (!ml__containerof(k, ml_worker, all)->ended) continue;
    ml__list_remove(k);
    ml__list_append(&gone, k);
  }
  pthread_mutex_unlock(&p->lock);
  while (!ml__list_empty(&gone)) {
    ml_worker *w = ml__containerof(gone.next, ml_worker, all);
    ml__list_remove(&w->all);
    pthread_join(w->thread, NULL);
    free(w->log);
    free(w);
  }
}

#define INTERRUPT_EVERY 20000000 /* ns */

/* The engine is closing: waits for the threads. What still runs is interrupted, again and
** again; a call that blocks outside of Lua is waited for. */
static void end_pool(lua_State *L, ml_pool *p) {
  struct timespec until;
  ml__pool_shut(p);
  ml__pool_drop(L, p, false);
  pthread_mutex_lock(&p->lock);
  while (p->threads > 0) {
    for (ml_link *k = p->workers.next; k != &p->workers; k = k->next) {
      ml_worker *w = ml__containerof(k, ml_worker, all);
      if (w->engine == NULL || !w->running) continue;
      if (ml_interrupt(w->engine, ML_INTERRUPT_KILL) == 0) /* its loop waits */
        ml_interrupt(w->engine, ML_INTERRUPT_ASK);
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += INTERRUPT_EVERY;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&p->ended, &p->lock, &until);
  }
  pthread_mutex_unlock(&p->lock);
  ml__pool_join(p);
}

static void free_pool(ml_pool *p) {
  ml__list_remove(&p->all);
  pthread_mutex_destroy(&p->lock);
  pthread_cond_destroy(&p->work);
  pthread_cond_destroy(&p->ended);
  for (uint32_t i = 0; i < p->ncode; i++) free(p->code[i]);
  free(p->code);
  ml_buf_free(&p->start);
  ml__sandbox_unref(p->sandbox);
  free(p);
}

/* Pools that nobody holds and whose threads have ended. */
static void reap(ml_workers *s) {
  for (ml_link *k = s->pools.next, *next; k != &s->pools; k = next) {
    ml_pool *p = ml__containerof(k, ml_pool, all);
    bool over;
    next = k->next;
    if (!p->orphan) continue;
    pthread_mutex_lock(&p->lock);
    over = p->threads == 0;
    pthread_mutex_unlock(&p->lock);
    if (!over) continue;
    ml__pool_join(p);
    /* calls that are over but not seen yet refer to it only if it has ended */
    bool used = false;
    for (ml_link *q = s->ports.next; q != &s->ports; q = q->next) {
      ml_port *port = ml__containerof(q, ml_port, all);
      for (ml_link *m = port->inflight.next; m != &port->inflight; m = m->next)
        used = used || ml__containerof(m, ml_work, mine)->pool == p;
    }
    if (!used) free_pool(p);
  }
}

static int state_gc(lua_State *L) {
  ml_workers *s = lua_touserdata(L, 1);
  while (!ml__list_empty(&s->pools)) {
    ml_pool *p = ml__containerof(s->pools.next, ml_pool, all);
    end_pool(L, p);
    free_pool(p);
  }
  s->closed = true; /* finalizers of scripts may come after this one */
  ml_buf_free(&s->out);
  return 0;
}

static int pool_gc(lua_State *L) {
  pool_object *o = lua_touserdata(L, 1);
  if (o->pool == NULL || ml__engine(L)->closing > 1) return 0;
  o->pool->orphan = true;
  ml__pool_shut(o->pool);
  o->pool = NULL;
  return 0;
}

/* ---- what scripts call ---- */

static pool_object *check(lua_State *L) {
  pool_object *o = ml__checkobject(L, 1, ML_T_POOL);
  if (o->pool == NULL || ml__workers_of(L)->closed)
    ml__error(L, "RuntimeError", "the engine is closing: there are no worker threads");
  return o;
}

/* Packs the context, the function, its arguments, which begin at `first`, for the pool
** whose object is at 1. */
static void pack_call(lua_State *L, ml_pool *p, int first, ml_buf *out, const char *fname) {
  ml_packing how = {.flags = ML_PACK_CODE, .what = "argument", .unnamed = 2, .book = &p->book};
  int n = lua_gettop(L) - first + 1;
  lua_getiuservalue(L, 1, 1);
  lua_insert(L, first);
  how.known = first;
  out->len = 0;
  if (ml__pack(L, first + 1, n, &how, out) < 0)
    ml__misuse(L, "TypeError", "%s: cannot copy %s", fname, lua_tostring(L, -1));
}

static bool callable(lua_State *L, int idx) {
  if (lua_isfunction(L, idx)) return true;
  if (luaL_getmetafield(L, idx, "__call") == LUA_TNIL) return false;
  lua_pop(L, 1);
  return true;
}

/* pool:submit(fname, loop or nil, context or nil, f, ...) -> future of the loop, or of the
** running one */
static int pool_submit(lua_State *L) {
  ml_pool *p = check(L)->pool;
  const char *fname = luaL_checkstring(L, 2);
  ml_workers *s = ml__workers_of(L);
  const char *fault, *text;
  ml_evloop *l;
  ml_work *w;
  if (ml__asyncfunction(L, 5) || (lua_isuserdata(L, 5) && ml__isawaitable(L, 5)))
    return ml__misuse(L, "TypeError",
                      "coroutines cannot be used with %s(): use create_task, or asyncio.run in the "
                      "function",
                      fname);
  if (!callable(L, 5))
    return ml__misuse(L, "TypeError", "%s: a function was expected, got %s", fname,
                      luaL_typename(L, 5));
  l = lua_isnil(L, 3) ? ml__loop_get(L) : ml__checkopenloop(L, 3);
  pack_call(L, p, 4, &s->out, fname);
  ml__future_new(L, l);
  w = ml__work_new(L, p, s->out.data, s->out.len);
  if (s->out.cap > 1 << 20) ml_buf_free(&s->out);
  fault = ml__work_enqueue(p, w, &text);
  if (fault == NULL) return 1;
  ml__work_forget(L, w);
  ml__work_free(w);
  return ml__misuse(L, fault, "%s", text);
}

/* Packs the call whose function is at 3, arguments behind it, for the pool whose object is on
** top, if the function was sent before and the arguments are plain. Bytes, or 0. */
static size_t pack_plain(lua_State *L, ml_pool *p, char *out, size_t room) {
  int o = lua_gettop(L);
  size_t n;
  if (!lua_isfunction(L, 3)) return 0;
  if (lua_topointer(L, 3) == p->last.function)
    return ml__pack_plain(L, 2, o - 2, 0, &p->last, out, room);
  lua_getiuservalue(L, o, 1);
  n = ml__pack_plain(L, 2, o - 2, o + 1, NULL, out, room);
  if (n > 0 && lua_getupvalue(L, 3, 1) == NULL) { /* it stays what it is */
    p->last.function = lua_topointer(L, 3);
    p->last.id = ml__kept(L, 3, o + 1);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, o, 2);
  }
  lua_settop(L, o);
  return n;
}

/* loop:run_in_executor(executor, f, ...). Upvalues: each loop's default pool; what does it in
** general. Here are the calls of the default pool that are plain. */
static int run_in_executor(lua_State *L) {
  int n = lua_gettop(L);
  char message[sizeof((ml_work *)0)->room];
  const char *text;
  size_t len;
  const pool_object *o;
  luaL_checkstack(L, 10, "run_in_executor");
  lua_pushvalue(L, 1);
  if (n >= 3 && lua_isnil(L, 2) && lua_rawget(L, lua_upvalueindex(1)) == LUA_TUSERDATA &&
      (o = lua_touserdata(L, -1))->pool != NULL && o->pool->port != NULL &&
      o->pool->port->loop == ml__checkloop(L, 1) &&
      (len = pack_plain(L, o->pool, message, sizeof message)) > 0) {
    ml__future_new(L, o->pool->port->loop);
    ml_work *w = ml__work_new(L, o->pool, message, len);
    if (ml__work_enqueue(o->pool, w, &text) == NULL) return 1;
    ml__work_forget(L, w); /* to be said in general */
    ml__work_free(w);
  }
  lua_settop(L, n);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  lua_call(L, n, 1);
  return 1;
}

/* runner(pools, general) -> run_in_executor */
static int f_runner(lua_State *L) {
  lua_settop(L, 2);
  lua_pushcclosure(L, run_in_executor, 2);
  return 1;
}

/* pool:shutdown(cancel) -> future, done when the threads have ended */
static int pool_shutdown(lua_State *L) {
  ml_pool *p = check(L)->pool;
  bool over;
  ml_work *w;
  lua_settop(L, 2);
  ml__pool_shut(p);
  if (lua_toboolean(L, 2)) ml__pool_drop(L, p, true);
  ml__future_new(L, ml__loop_get(L));
  pthread_mutex_lock(&p->lock);
  over = p->threads == 0;
  pthread_mutex_unlock(&p->lock);
  if (!over) {
    w = ml__work_new(L, p, NULL, 0);
    w->outcome = OUT_ENDED;
    pthread_mutex_lock(&p->lock);
    over = p->threads == 0;
    if (!over) ml__list_append(&p->enders, &w->link);
    pthread_mutex_unlock(&p->lock);
    if (!over) return 1;
    ml__work_forget(L, w);
    ml__work_free(w);
  }
  ml__pool_join(p);
  lua_pushboolean(L, 1);
  ml__future_set_result(L, -2);
  return 1;
}

/* pool:close(): no more calls; waits for nothing */
static int pool_close(lua_State *L) {
  ml__pool_shut(check(L)->pool);
  return 0;
}

/* pool:belong(loop): when the loop closes, so does the pool */
static int pool_belong(lua_State *L) {
  ml_pool *p = check(L)->pool;
  p->owner = ml__checkloop(L, 2);
  ml__port_of(L, p, p->owner);
  return 0;
}

/* pool:count() -> threads, idle ones, calls that wait */
static int pool_count(lua_State *L) {
  ml_pool *p = check(L)->pool;
  if (p->nheld > 0) ml__pool_release(p);
  pthread_mutex_lock(&p->lock);
  lua_pushinteger(L, p->threads);
  lua_pushinteger(L, p->idle);
  lua_pushinteger(L, p->queued);
  pthread_mutex_unlock(&p->lock);
  return 3;
}

static void configure(lua_State *L, ml_pool *p) {
  const ml_engine *e = ml__engine(L);
  ml_config_init(&p->config);
  p->config.log = e->config.log;
  p->config.print = e->config.print;
  p->config.on_refused = e->config.on_refused;
  p->config.debug = e->config.debug;
  p->config.max_output = e->config.max_output; /* of all threads and the engine together */
  p->sandbox = ml__sandbox_ref(e->sandbox);
  p->config.clock = e->config.clock == ML_CLOCK_VIRTUAL ? ML_CLOCK_VIRTUAL : ML_CLOCK_REAL;
  pthread_sigmask(SIG_SETMASK, NULL, &p->signals);
}

#define SPIN 100000

static ml_pool *new_pool(lua_State *L) {
  ml_pool *p = calloc(1, sizeof *p);
  if (p == NULL) return NULL;
  if (pthread_mutex_init(&p->lock, NULL) != 0) goto fail;
  if (pthread_cond_init(&p->work, NULL) != 0) goto unlock;
  if (pthread_cond_init(&p->ended, NULL) != 0) goto uncond;
  p->engine = ml__engine(L);
  p->spin = uv_available_parallelism() > 1 ? SPIN : 0;
  p->book.keep = keep;
  p->book.find = find;
  p->book.ud = p;
  ml__list_init(&p->queue);
  ml__list_init(&p->held);
  ml__list_init(&p->enders);
  ml__list_init(&p->workers);
  configure(L, p);
  return p;
uncond:
  pthread_cond_destroy(&p->work);
unlock:
  pthread_mutex_destroy(&p->lock);
fail:
  free(p);
  return NULL;
}

/* pool(max, name, memory or 0, path, cpath, initializer, ...) */
static int f_pool(lua_State *L) {
  static const ml_packing how = {.flags = ML_PACK_CODE, .what = "initargs: argument", .unnamed = 3};
  ml_workers *s = ml__workers_of(L);
  int n = lua_gettop(L);
  lua_Integer max = luaL_checkinteger(L, 1), limit = luaL_checkinteger(L, 3);
  size_t len;
  const char *name = luaL_checklstring(L, 2, &len);
  pool_object *o = ml__newobject(L, ML_T_POOL, sizeof *o, 2);
  ml_pool *p;
  lua_insert(L, 1);
  ml__push_weak(L, "k");
  lua_setiuservalue(L, 1, 1);
  reap(s);
  if (s->closed) return luaL_error(L, "the engine is closing");
  p = new_pool(L);
  if (p == NULL) return luaL_error(L, "not enough memory");
  ml__list_append(&s->pools, &p->all);
  o->pool = p;
  p->max = (int)max;
  p->limit = (size_t)limit;
  memcpy(p->name, name, len < sizeof p->name ? len : sizeof p->name - 1);
  if (ml__pack(L, 5, n - 3, &how, &p->start) < 0)
    return ml__misuse(L, "TypeError", "initializer: cannot copy %s", lua_tostring(L, -1));
  lua_settop(L, 1);
  return 1;
}

int ml__open_workers(lua_State *L) {
  static const luaL_Reg methods[] = {{"submit", pool_submit}, {"shutdown", pool_shutdown},
                                     {"close", pool_close},   {"belong", pool_belong},
                                     {"count", pool_count},   {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", pool_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"pool", f_pool}, {"runner", f_runner}, {NULL, NULL}};
  ml_workers *s = lua_newuserdatauv(L, sizeof *s, 0);
  memset(s, 0, sizeof *s);
  s->engine = ml__engine(L);
  ml__list_init(&s->pools);
  ml__list_init(&s->ports);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, state_gc);
  lua_setfield(L, -2, "__gc");
  ml__guard_metatable(L);
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  ml__finalized(L);
  ml__newtype(L, ML_T_POOL, "Pool", methods, meta);
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  ml__open_channel(L);
  return 1;
}
