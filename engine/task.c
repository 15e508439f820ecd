/* Tasks: coroutines that the loop runs. Semantics of asyncio.Task (Lib/asyncio/tasks.py).
**
** A task runs on a Lua thread taken from a cache. The thread's first function is
** task_body, which calls the coroutine's function under lua_pcallk: so errors and
** cancellation unwind inside the thread, where `<close>` may still await.
** A pending task is kept alive by ML_R_TASKS, its thread by ML_R_THREADS.
**
** Lua limits how deep C calls nest (LUAI_MAXCCALLS, 200). A chain of awaits
** that grows past ML_MAX_DEPTH goes on in a further Lua thread, a segment,
** which is resumed from the loop, on a flat C stack.
**
** User value 1 of a pending task is the message of its last cancel.
*/
#include "core.h"

#define MAX_FREE_THREADS 1024

const char ml__park = 'p';

struct ml_freethread {
  lua_State *co;
  int slot;
};

/* ---- Lua threads ---- */

lua_State *ml__thread_take(lua_State *L, int *slot) {
  ml_engine *e = ml__engine(L);
  lua_State *co;
  if (e->nfree > 0) {
    e->nfree--;
    *slot = e->freethreads[e->nfree].slot;
    return e->freethreads[e->nfree].co;
  }
  ml__ref_get(L, ML_R_THREADS);
  co = lua_newthread(L);
  *slot = luaL_ref(L, -2);
  lua_pop(L, 1);
  return co;
}

void ml__thread_release(ml_engine *e, lua_State *co, int slot, bool reuse) {
  if (reuse && e->nfree < MAX_FREE_THREADS) {
    if (e->nfree == e->maxfree) {
      int max = e->maxfree == 0 ? 16 : 2 * e->maxfree;
      void *p = ml__alloc(e->alloc, e->freethreads, (size_t)e->maxfree * sizeof *e->freethreads,
                          (size_t)max * sizeof *e->freethreads);
      if (p == NULL) goto drop;
      e->freethreads = p;
      e->maxfree = max;
    }
    lua_settop(co, 0);
    e->freethreads[e->nfree].co = co;
    e->freethreads[e->nfree++].slot = slot;
    return;
  }
drop:
  ml__ref_get(e->L, ML_R_THREADS);
  luaL_unref(e->L, -1, slot);
  lua_pop(e->L, 1);
}

/* ---- finishing ---- */

/* Lets an error leave the loop: KeyboardInterrupt and SystemExit do. */
static void raise_from_loop(lua_State *L, ml_evloop *l, int err) {
  lua_pushvalue(L, err);
  ml__ref_set(L, ML_R_PENDINGERR);
  l->raise = true;
}

/* ML_R_TASKS keeps a pending task alive; its free slots are listed in C. */
static int slot_take(ml_engine *e) { return e->nslots > 0 ? e->slots[--e->nslots] : ++e->lastslot; }

static void slot_release(lua_State *L, int slot) {
  ml_engine *e = ml__engine(L);
  ml__ref_get(L, ML_R_TASKS);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
  if (e->nslots == e->maxslots) {
    int max = e->maxslots == 0 ? 64 : 2 * e->maxslots;
    void *p = ml__alloc(e->alloc, e->slots, (size_t)e->maxslots * sizeof *e->slots,
                        (size_t)max * sizeof *e->slots);
    if (p == NULL) return; /* the slot is lost, nothing else */
    e->slots = p;
    e->maxslots = max;
  }
  e->slots[e->nslots++] = slot;
}

void ml__task_in(lua_State *L, int slot) {
  ml__ref_get(L, ML_R_TASKS);
  lua_rawgeti(L, -1, slot);
  lua_remove(L, -2);
}

void ml__task_push(lua_State *L, ml_fiber *t) { ml__task_in(L, t->slot); }

void ml__task_let_go(lua_State *L, int slot) {
  ml_fiber *t;
  ml__task_in(L, slot);
  t = lua_touserdata(L, -1);
  lua_pop(L, 1);
  t->fut.obj.flags &= (uint16_t)~ML_FF_HELD;
  if (t->fut.obj.state != ML_F_PENDING) slot_release(L, slot);
}

static void leave(lua_State *L, ml_fiber *t) {
  if (!(t->fut.obj.flags & ML_FF_HELD)) slot_release(L, t->slot);
  ml__list_remove(&t->all);
  t->fut.loop->ntasks--;
}

/* The error on top ends the task at idx; it is popped. */
static void fail(lua_State *L, int idx, ml_fiber *t) {
  t->fut.obj.flags &= (uint16_t)~ML_FF_MUST_CANCEL;
  if (ml__isinstance(L, -1, "CancelledError")) {
    ml__future_cancelled_with(L, idx);
  } else {
    int err = lua_gettop(L);
    bool leaves = ml__isinstance(L, err, "KeyboardInterrupt") ||
                  ml__isinstance(L, err, "SystemExit");
    if (leaves) raise_from_loop(L, t->fut.loop, err);
    ml__future_set_error(L, idx);
    if (leaves) { /* who runs the loop sees it */
      lua_getiuservalue(L, idx, 1);
      ml__report_open(L, -1, true);
      lua_pop(L, 2);
    }
  }
  leave(L, t);
}

/* The task at idx returned the values from first to the top; they are popped. */
static void succeed(lua_State *L, int idx, ml_fiber *t, int first) {
  int n = lua_gettop(L) - first + 1;
  if (t->fut.obj.flags & ML_FF_MUST_CANCEL) { /* cancelled right before it ended */
    lua_settop(L, first - 1);
    t->fut.obj.flags &= (uint16_t)~ML_FF_MUST_CANCEL;
    t->fut.obj.flags |= ML_FF_MSG;
    lua_getiuservalue(L, idx, 1);
    ml__future_cancelled_with(L, idx);
    t->fut.obj.flags |= ML_FF_MSG;
    leave(L, t);
    return;
  }
  if (n == 0)
    lua_pushnil(L);
  else if (n > 1) {
    luaL_checkstack(L, 3, "too many results of a task");
    lua_createtable(L, n, 1);
    lua_insert(L, first);
    for (int i = n; i >= 1; i--) lua_rawseti(L, first, i);
    lua_pushinteger(L, n);
    lua_setfield(L, first, "n");
    t->fut.obj.flags |= ML_FF_MULTI;
  }
  if (t->fut.obj.state == ML_F_PENDING) ml__future_finish(L, idx, &t->fut, ML_F_DONE);
  leave(L, t);
}

/* ---- running ---- */

enum { BODY_TASK = 1, BODY_CO, BODY_MSGH, BODY_FIRST };

static int task_body_k(lua_State *L, int status, lua_KContext ctx) {
  ml_fiber *t = lua_touserdata(L, BODY_TASK);
  (void)ctx;
  if (ml__engine(L)->meter.phase >= ML_M_GRACE) { /* stopped, whatever it made of that */
    if (status == LUA_OK || status == LUA_YIELD) {
      lua_settop(L, BODY_FIRST - 1);
      lua_pushliteral(L, "stopped");
    }
    ml__meter_outcome(L);
    fail(L, BODY_TASK, t);
  } else if (status == LUA_OK || status == LUA_YIELD)
    succeed(L, BODY_TASK, t, BODY_FIRST);
  else
    fail(L, BODY_TASK, t);
  return 0;
}

/* Pushes what a coroutine (or function, or awaitable) at idx is run as: a
** function and its arguments, whose number is returned. */
static int push_call(lua_State *L, int idx) {
  ml_object *o = ml__toobject(L, idx);
  if (o != NULL && o->type == ML_T_COROUTINE) {
    int n = (int)o->n;
    if (n > 8) luaL_checkstack(L, n + 2, "too many arguments of a coroutine");
    for (int i = 1; i <= n + 1; i++) lua_getiuservalue(L, idx, i);
    return n;
  }
  if (o == NULL && lua_isfunction(L, idx)) {
    lua_pushvalue(L, idx);
    return 0;
  }
  lua_pushcfunction(L, ml__await);
  lua_pushvalue(L, idx);
  if (o != NULL && o->type == ML_T_OP) o->state = ML_CO_NEW; /* taken by the await */
  return 1;
}

static int task_body(lua_State *L) {
  int n = lua_gettop(L) - BODY_CO; /* of a call: its arguments */
  lua_pushcfunction(L, ml__msgh);
  if (n > 0) {
    lua_insert(L, BODY_MSGH);
    lua_pushvalue(L, BODY_CO);
    lua_insert(L, BODY_FIRST);
  } else
    n = push_call(L, BODY_CO);
  return task_body_k(L, lua_pcallk(L, n, LUA_MULTRET, BODY_MSGH, 0, task_body_k), 0);
}

/* A segment's function: [coroutine] -> status, results. */
static int segment_body_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  lua_pushboolean(L, status == LUA_OK || status == LUA_YIELD);
  lua_replace(L, 1);
  lua_remove(L, 2);
  return lua_gettop(L);
}

static int segment_body(lua_State *L) {
  int n;
  lua_pushcfunction(L, ml__msgh);
  n = push_call(L, 1);
  return segment_body_k(L, lua_pcallk(L, n, LUA_MULTRET, 2, 0, segment_body_k), 0);
}

/* The inner segment has ended: takes its results over. */
static int segment_k(lua_State *L, int status, lua_KContext ctx) {
  ml_engine *e = ml__engine(L);
  ml_fiber *t = e->task;
  ml_segment *s;
  int n;
  bool ok;
  (void)status;
  (void)ctx;
  ml__check_resumed(L);
  s = t->segments;
  if (s == NULL || s->at != L) return luaL_error(L, "a chain of awaits was resumed out of order");
  n = lua_gettop(s->inner);
  luaL_checkstack(L, n + 1, "too many results of a coroutine");
  lua_xmove(s->inner, L, n);
  t->segments = s->next;
  ml__thread_release(e, s->inner, s->slot, !(t->fut.obj.flags & ML_FF_NO_REUSE));
  ml__alloc(e->alloc, s, sizeof *s, 0);
  ok = lua_toboolean(L, -n);
  lua_remove(L, -n);
  return ok ? n - 1 : lua_error(L);
}

int ml__segment_enter(lua_State *L, ml_fiber *t, int idx) {
  ml_engine *e = ml__engine(L);
  ml_segment *s;
  int slot;
  uint32_t level = t->segments != NULL ? t->segments->level + 1 : 1;
  lua_State *inner;
  if (level > ML_MAX_SEGMENTS)
    return ml__misuse(L, "RuntimeError", "stack overflow: the recursion of awaits has no end");
  inner = ml__thread_take(L, &slot);
  s = ml__alloc(e->alloc, NULL, 0, sizeof *s);
  if (s == NULL) {
    ml__thread_release(e, inner, slot, true);
    return luaL_error(L, "not enough memory");
  }
  s->outer = t->thread;
  s->inner = inner;
  s->at = L;
  s->slot = slot;
  s->depth = t->depth;
  s->started = false;
  s->level = level;
  s->next = t->segments;
  t->segments = s;
  t->thread = inner;
  lua_pushcfunction(inner, segment_body);
  lua_pushvalue(L, idx);
  lua_xmove(L, inner, 1);
  t->parked = L;
  if (L == s->outer) return lua_yieldk(L, 0, 0, segment_k);
  lua_pushlightuserdata(L, (void *)&ml__park);
  return lua_yieldk(L, 1, 0, segment_k);
}

/* Something went wrong that task_body could not catch: memory ran out while an
** error was handled, or foreign C code yielded. err is on top of co. */
static void abandon(ml_fiber *t, lua_State *co) {
  lua_State *L = t->fut.loop->L;
  if (!lua_checkstack(L, 10)) return;
  ml__task_push(L, t);
  lua_xmove(co, L, 1);
  if (t->fut.obj.state == ML_F_PENDING) fail(L, lua_gettop(L) - 1, t);
  lua_pop(L, 1);
  lua_resetthread(co);
  lua_settop(co, 0);
}

static int abandon_protected(lua_State *L) {
  ml_fiber *t = lua_touserdata(L, 1);
  lua_State *co = lua_touserdata(L, 2);
  abandon(t, co);
  return 0;
}

/* The last resort, without memory: the task failed. */
static void force_fail(ml_fiber *t) {
  ml__list_remove(&t->all);
  t->fut.loop->ntasks--;
  t->fut.obj.state = ML_F_FAILED;
  ml__future_schedule(&t->fut);
}

static void finish_thread(ml_engine *e, ml_fiber *t, lua_State *co, bool ok) {
  while (t->segments != NULL) { /* what waited for them was given up */
    ml_segment *s = t->segments;
    t->segments = s->next;
    lua_resetthread(s->inner);
    ml__thread_release(e, s->inner, s->slot, false);
    ml__alloc(e->alloc, s, sizeof *s, 0);
  }
  ml__thread_release(e, co, t->thread_slot, ok && !(t->fut.obj.flags & ML_FF_NO_REUSE));
  t->thread = NULL;
}

/* Cancelled before its first step: the body never runs. */
static int cancel_unstarted(lua_State *L) {
  ml_fiber *t = lua_touserdata(L, 1);
  ml__task_push(L, t);
  lua_getiuservalue(L, 2, 1);
  ml__error_cancelled(L);
  fail(L, 2, t);
  return 0;
}

/* Puts a new Lua thread into the cache. */
static int make_thread(lua_State *L) {
  int slot;
  lua_State *co = ml__thread_take(L, &slot);
  ml__thread_release(ml__engine(L), co, slot, true);
  return 0;
}

/* Gives the task its Lua thread, ready to be resumed: [body, task, coroutine]. A thread is
** taken only now, so that thousands of short tasks share a few. */
static bool start(ml_evloop *l, ml_fiber *t) {
  ml_engine *e = l->engine;
  lua_State *co;
  if (t->thread != NULL) return true; /* ml__task_call's */
  if (e->nfree == 0) {
    lua_pushcfunction(l->L, make_thread);
    if (lua_pcall(l->L, 0, 0, 0) != LUA_OK) lua_pop(l->L, 1);
    if (e->nfree == 0) return false;
  }
  e->nfree--;
  t->thread_slot = e->freethreads[e->nfree].slot;
  co = t->thread = e->freethreads[e->nfree].co;
  lua_pushcfunction(co, task_body);
  ml__ref_get(co, ML_R_TASKS);
  lua_rawgeti(co, -1, t->slot);
  lua_replace(co, -2);
  lua_getiuservalue(co, -1, 2);
  return true;
}

static void task_step(ml_evloop *l, ml_job *j);

/* Before the first step: false, and it has ended, if there is none. */
static __attribute__((noinline)) bool begin(ml_evloop *l, ml_fiber *t) {
  t->fut.obj.flags |= ML_FF_STARTED;
  if (t->fut.obj.flags & ML_FF_MUST_CANCEL) {
    lua_pushcfunction(l->L, cancel_unstarted);
    lua_pushlightuserdata(l->L, t);
    if (lua_pcall(l->L, 1, 0, 0) != LUA_OK) lua_pop(l->L, 1);
    if (t->fut.obj.state == ML_F_PENDING) force_fail(t);
    if (t->thread != NULL) finish_thread(l->engine, t, t->thread, true);
    return false;
  }
  if (start(l, t)) return true;
  force_fail(t); /* no memory for its thread */
  return false;
}

/* Resumes the task's Lua thread once; *hot is what the meter had before. */
static inline int resume(ml_evloop *l, ml_fiber *t, int nargs, int *nres, lua_State **hot) {
  ml_engine *e = l->engine;
  lua_State *co = e->active = t->thread;
  *hot = ml__meter_enter(e, co);
  t->depth = 0;
  t->parked = NULL;
  *nres = 0;
  return lua_resume(co, l->L, nargs, nres);
}

/* The thread came back so: goes on until the task waits or has ended. */
static __attribute__((noinline)) void settle(ml_evloop *l, ml_fiber *t, int st, int nres) {
  ml_engine *e = l->engine;
  lua_State *hot;
  for (;;) {
    lua_State *co = t->thread;
    int nargs = 0;
    if (st == LUA_YIELD && t->parked != NULL && nres == 0) {
      if (t->segments == NULL || t->segments->started) return;
      t->segments->started = true; /* switch: on with the inner segment */
      nargs = 1;
    } else {
      if (st == LUA_YIELD) { /* foreign code yielded: no way back into it */
        lua_settop(co, 0);
        ml__error_new(co, "RuntimeError", "Task got bad yield: C code called lua_yield in it");
        st = LUA_ERRRUN;
      }
      if (t->segments == NULL || co != t->segments->inner) break;
      if (st != LUA_OK) { /* not even segment_body caught it */
        lua_pushboolean(co, 0);
        lua_insert(co, -2);
        lua_xmove(co, l->L, 2);
        lua_resetthread(co);
        lua_settop(co, 0);
        lua_xmove(l->L, co, 2);
      }
      t->thread = t->segments->outer;
    }
    st = resume(l, t, nargs, &nres, &hot);
  }
  if (st != LUA_OK) {
    lua_pushcfunction(l->L, abandon_protected);
    lua_pushlightuserdata(l->L, t);
    lua_pushlightuserdata(l->L, t->thread);
    if (lua_pcall(l->L, 2, 0, 0) != LUA_OK) lua_pop(l->L, 1);
  }
  if (t->fut.obj.state == ML_F_PENDING) force_fail(t);
  finish_thread(e, t, t->thread, st == LUA_OK);
}

/* Resumes the task until it waits or ends. */
void ml__task_run(ml_evloop *l, ml_fiber *t) {
  ml_engine *e = l->engine;
  ml_fiber *prev = e->task;
  lua_State *active = e->active, *hot;
  int nres, nargs = 0, st;
  t->waiting = NULL;
  if (__builtin_expect(!(t->fut.obj.flags & ML_FF_STARTED), 0)) {
    if (!begin(l, t)) return;
    nargs = lua_gettop(t->thread) - 1;
  }
  e->task = t;
  st = resume(l, t, nargs, &nres, &hot);
  if (__builtin_expect(st != LUA_YIELD || t->parked == NULL || nres != 0 || t->segments != NULL, 0))
    settle(l, t, st, nres);
  e->task = prev;
  e->active = active;
  ml__meter_leave(e, hot);
}

/* With thousands of tasks in a round, each step would begin with a wait for memory:
** what the next ones need is fetched while this one runs. */
static inline void prefetch_next(ml_evloop *l) {
  ml_job *next = (ml_job *)(void *)l->batch.next;
  if (&next->link == &l->batch || next->run != task_step) return;
  lua_State *co = ml__containerof(next, ml_fiber, job)->thread;
  if (co != NULL) __builtin_prefetch(co);
  __builtin_prefetch(next->link.next);
}

static void task_step(ml_evloop *l, ml_job *j) {
  prefetch_next(l);
  ml__task_run(l, ml__containerof(j, ml_fiber, job));
}

const size_t ml__freethread_size = sizeof(struct ml_freethread);

/* [operation]: lets it undo what it holds. */
static int undo_op(lua_State *L) {
  ml_op *op = (ml_op *)ml__toobject(L, 1);
  if (op != NULL && op->obj.type == ML_T_OP) op->cls->wake(L, op);
  return 0;
}

void ml__task_destroy(lua_State *L, ml_fiber *t, lua_State *co) {
  ml_engine *e = ml__engine(L);
  int top = lua_gettop(L);
  luaL_checkstack(L, 6, "task");
  if (t->waiting != NULL && t->waiting->type == ML_T_OP && t->parked != NULL &&
      !ml__isshared(t->waiting)) {
    ml_op *op = (ml_op *)t->waiting;
    if (op->obj.state == ML_OP_PARKED) ml__op_cancel(op);
    op->obj.state = ML_OP_CANCELLED;
    lua_pushcfunction(L, undo_op);
    lua_pushvalue(t->parked, 1);
    lua_xmove(t->parked, L, 1);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  ml__list_remove(&t->job.link);
  t->waiting = NULL;
  t->fut.obj.state = ML_F_CANCELLED;
  t->fut.obj.flags |= ML_FF_MSG;
  while (!ml__list_empty(&t->fut.callbacks)) ml__list_remove(t->fut.callbacks.next);
  while (t->segments != NULL) {
    ml_segment *s = t->segments;
    ml__thread_unwind(s->inner);
    ml__thread_release(e, s->inner, s->slot, false);
    co = s->outer;
    t->segments = s->next;
    ml__alloc(e->alloc, s, sizeof *s, 0);
  }
  if (co != NULL) {
    ml__thread_unwind(co);
    ml__thread_release(e, co, t->thread_slot, false);
  }
  t->thread = t->parked = NULL;
  if (!(t->fut.obj.flags & ML_FF_HELD)) slot_release(L, t->slot);
  lua_settop(L, top);
}

/* ---- making ---- */

ml_fiber *ml__task_of(lua_State *L, int idx, ml_evloop *loop, ml_object *o) {
  ml_engine *e = ml__engine(L);
  ml_fiber *t, *parent = e->task;
  if (e->config.max_tasks != 0) ml__check_tasks(L);
  t = ml__newobject(L, ML_T_TASK, sizeof *t, 2);
  t->fut.loop = loop;
  ml__list_init(&t->fut.callbacks);
  ml__list_init(&t->job.link);
  t->job.run = task_step;
  t->id = ++e->task_ids;
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, 2);
  ml__ref_get(L, ML_R_TASKS);
  lua_pushvalue(L, -2);
  t->slot = slot_take(e);
  lua_rawseti(L, -2, t->slot);
  lua_pop(L, 1);
  if (parent != NULL ? (parent->fut.obj.flags & ML_FF_CONTEXT) != 0 : e->main_context)
    ml__context_inherit(L, t, parent);
  if (o != NULL && ml__iscoroutine(o) && !ml__isshared(o)) o->state = ML_CO_AWAITED;
  ml__list_append(&loop->tasks, &t->all);
  loop->ntasks++;
  return t;
}

ml_fiber *ml__task_new(lua_State *L, int idx, ml_evloop *loop) {
  luaL_checkstack(L, 10, "task");
  idx = lua_absindex(L, idx);
  return ml__task_of(L, idx, loop, ml__toobject(L, idx));
}

ml_fiber *ml__task_call(lua_State *L, int n, ml_evloop *loop) {
  ml_engine *e = ml__engine(L);
  int f = lua_gettop(L) - n;
  ml_fiber *t;
  lua_State *co;
  if (!ml__asyncbody(L, f)) {
    lua_call(L, n, 1);
    t = ml__task_new(L, -1, loop);
    lua_remove(L, -2);
    return t;
  }
  if (e->nfree == 0) make_thread(L); /* what fails fails before there is a task */
  t = ml__task_new(L, f, loop);
  co = ml__thread_take(L, &t->thread_slot);
  t->thread = co;
  t->fut.obj.flags |= ML_FF_CALLED;
  lua_insert(L, f);
  lua_pushvalue(L, f);
  lua_insert(L, f); /* task, task, function, arguments */
  lua_pushcfunction(co, task_body);
  lua_xmove(L, co, n + 2);
  return t;
}

bool ml__job_is_task(const ml_job *j) { return j->run == task_step; }
