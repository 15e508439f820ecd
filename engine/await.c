/* await, and the operations that a task can wait for.
**
** Awaiting a coroutine calls its function then and there, on the same Lua stack;
** awaiting a future or an operation parks the task: its Lua thread yields, down
** to the loop. The rules of waking are those of Task.__step and __wakeup in
** CPython.
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core.h"

/* ---- operations ---- */

bool ml__op_wake(ml_op *op) {
  if (op->obj.state != ML_OP_PARKED) return false;
  op->obj.state = ML_OP_WOKEN;
  ml__ready(op->task->fut.loop, &op->task->job);
  return true;
}

bool ml__op_cancel(ml_op *op) {
  if (op->obj.state != ML_OP_PARKED) return false;
  op->obj.state = ML_OP_CANCELLED;
  if (op->cls->cancel != NULL) op->cls->cancel(op);
  ml__ready(op->task->fut.loop, &op->task->job);
  return true;
}

/* ---- await ---- */

/* Writes the name that the function on top has in the standard libraries. */
static bool library_name(lua_State *L, char *buf, size_t n) {
  int f = lua_gettop(L);
  bool found = false;
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(L); !found && lua_next(L, f + 1); lua_settop(L, f + 2)) {
    if (lua_type(L, f + 2) != LUA_TSTRING || !lua_istable(L, f + 3)) continue;
    for (lua_pushnil(L); !found && lua_next(L, f + 3); lua_settop(L, f + 4)) {
      const char *mod = lua_tostring(L, f + 2);
      if (lua_type(L, f + 4) != LUA_TSTRING || !lua_rawequal(L, f, f + 5)) continue;
      bool global = strcmp(mod, "_G") == 0;
      snprintf(buf, n, "%s%s%s", global ? "" : mod, global ? "" : ".", lua_tostring(L, f + 4));
      found = true;
    }
  }
  lua_settop(L, f);
  return found;
}

/* Names the innermost C function that cannot be suspended. */
static void blame(lua_State *L, char *buf, size_t n) {
  lua_Debug ar;
  int top = lua_gettop(L);
  snprintf(buf, n, "a C function");
  luaL_checkstack(L, 8, "stack");
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_settop(L, top);
    lua_getinfo(L, "Snf", &ar);
    if (strcmp(ar.what, "C") == 0) {
      if (lua_tocfunction(L, -1) == ml__await) continue;
      if (!library_name(L, buf, n) && ar.name != NULL)
        snprintf(buf, n, "the C function '%s'", ar.name);
      break;
    }
    if (ar.name != NULL && strcmp(ar.namewhat, "metamethod") == 0 &&
        (strcmp(ar.name, "__gc") == 0 || strcmp(ar.name, "gc") == 0)) {
      snprintf(buf, n, "a __gc metamethod");
      break;
    }
  }
  lua_settop(L, top);
}

static int cannot_suspend(lua_State *L) {
  char what[128];
  int top = lua_gettop(L);
  blame(L, what, sizeof what);
  lua_settop(L, top);
  if (strstr(what, "__gc") != NULL) /* Lua shows a string in its warning, but no object */
    return luaL_error(L,
                      "cannot await here: a __gc metamethod cannot suspend a task; start one with "
                      "create_task, or close by hand or with <close>");
  return ml__misuse(L, "RuntimeError",
                    "cannot await here: inside %s Lua cannot suspend a task; await before or after "
                    "that call and pass the value in, or start a task with create_task",
                    what);
}

/* await is used where no task runs. */
static int await_outside(lua_State *L) {
  ml_engine *e = ml__engine(L);
  if (e->task != NULL)
    return ml__misuse(
        L, "RuntimeError",
        "cannot await here: this coroutine was resumed by C code, not by coroutine.resume "
        "or coroutine.wrap; await in the task itself");
  if (e->running != NULL)
    return ml__misuse(L, "RuntimeError",
                      "cannot await here: callbacks of the loop cannot suspend; use "
                      "asyncio.create_task(...) in the callback");
  if (e->reloading > 0)
    return ml__misuse(L, "RuntimeError",
                      "cannot await here: the host reloads a module and does not wait");
  ml__ensure_future(L, 1, NULL, "await");
  ml__run_until(L, ((ml_future *)lua_touserdata(L, 1))->loop, 1);
  int n = ml__future_results(L, 1);
  return n < 0 ? lua_error(L) : n;
}

/* Raises the running task's own CancelledError; the message is on top. */
static int raise_own(lua_State *L, ml_fiber *t) {
  t->fut.obj.flags &= (uint16_t) ~(ML_FF_MUST_CANCEL | ML_FF_CANCELLING);
  ml__error_cancelled(L);
  lua_pushinteger(L, t->id);
  lua_rawsetp(L, -2, &ml__magic); /* its own: pcall lets it pass */
  return lua_error(L);
}

/* Pushes the message of the task's last cancel. */
static void push_cancel_message(lua_State *L, ml_fiber *t) {
  ml__task_push(L, t);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
}

int ml__task_raise_cancel(lua_State *L, ml_fiber *t) {
  luaL_checkstack(L, 8, "cancel");
  push_cancel_message(L, t);
  return raise_own(L, t);
}

/* Must the task that has just been resumed raise its cancellation? */
static inline bool must_cancel(const ml_fiber *t) {
  return (t->fut.obj.flags & ML_FF_MUST_CANCEL) != 0;
}

/* Yields down to the loop. A task's own thread yields nothing; a coroutine of the
** script's yields ml__park, for the engine's resume to pass on. */
static inline int suspend(lua_State *L, ml_fiber *t, lua_KContext ctx, lua_KFunction k) {
  t->parked = L;
  if (L == t->thread) return lua_yieldk(L, 0, ctx, k);
  lua_pushlightuserdata(L, (void *)&ml__park);
  return lua_yieldk(L, 1, ctx, k);
}

/* Suspends the running task. Cancelled while it was running: what it waits
** for is cancelled at once (Task.__step). */
static int park(lua_State *L, ml_fiber *t, ml_object *on, lua_KContext ctx, lua_KFunction k) {
  t->waiting = on;
  t->parked = L;
  if (must_cancel(t) && on != NULL) {
    push_cancel_message(L, t);
    bool ok = on->type == ML_T_OP ? ml__op_cancel((ml_op *)on)
                                  : (lua_pushvalue(L, -1), ml__future_cancel(L, 1));
    lua_pop(L, 1);
    if (ok) {
      t->fut.obj.flags &= (uint16_t)~ML_FF_MUST_CANCEL;
      t->fut.obj.flags |= ML_FF_CANCELLING;
    }
  }
  return suspend(L, t, ctx, k);
}

static int future_k(lua_State *L, int status, lua_KContext ctx) {
  ml_fiber *t = ml__engine(L)->task;
  int n;
  (void)status;
  (void)ctx;
  ml__check_resumed(L);
  n = ml__future_results(L, 1);
  if (must_cancel(t)) {
    if (n < 0 && ml__isinstance(L, -1, "CancelledError"))
      lua_getfield(L, -1, "message"); /* the error that came keeps its message */
    else
      push_cancel_message(L, t);
    return raise_own(L, t);
  }
  if (n >= 0) {
    t->fut.obj.flags &= (uint16_t)~ML_FF_CANCELLING;
    return n;
  }
  if ((t->fut.obj.flags & ML_FF_CANCELLING) && ml__isinstance(L, -1, "CancelledError")) {
    lua_getfield(L, -1, "message");
    return raise_own(L, t);
  }
  t->fut.obj.flags &= (uint16_t)~ML_FF_CANCELLING;
  return lua_error(L);
}

/* A future that cannot be awaited: the error comes in the next round (Task.__step). */
static int wrong_k(lua_State *L, int status, lua_KContext ctx) {
  ml_fiber *t = ml__engine(L)->task;
  (void)status;
  ml__check_resumed(L);
  if (must_cancel(t)) {
    push_cancel_message(L, t);
    return raise_own(L, t);
  }
  if (ctx == 0) return ml__misuse(L, "RuntimeError", "Task cannot await on itself");
  ml__task_push(L, t);
  ml__future_repr(L, lua_gettop(L));
  ml__future_repr(L, 1);
  return ml__misuse(L, "RuntimeError", "Task %s got Future %s attached to a different loop",
                    lua_tostring(L, -2), lua_tostring(L, -1));
}

static int await_wrong(lua_State *L, ml_fiber *t, lua_KContext why) {
  if (!lua_isyieldable(L)) return wrong_k(L, LUA_OK, why);
  ml__ready(t->fut.loop, &t->job);
  t->waiting = NULL;
  return suspend(L, t, why, wrong_k);
}

static int await_future(lua_State *L, ml_fiber *t, ml_future *f) {
  int n;
  if (f->obj.state == ML_F_PENDING) {
    if (f == &t->fut || f->loop != t->fut.loop) return await_wrong(L, t, f != &t->fut);
    if (!lua_isyieldable(L)) return cannot_suspend(L);
    ml__list_append(&f->callbacks, &t->job.link);
    return park(L, t, &f->obj, 0, future_k);
  }
  n = ml__future_results(L, 1);
  return n < 0 ? lua_error(L) : n;
}

static int coroutine_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L) - 1;
}

static int await_coroutine(lua_State *L, ml_fiber *t, ml_coroutine *c) {
  int n = (int)c->obj.n;
  c->obj.state = ML_CO_AWAITED;
  if (t->depth >= ML_MAX_DEPTH && lua_isyieldable(L)) return ml__segment_enter(L, t, 1);
  if (n > 8) luaL_checkstack(L, n + 1, "too many arguments of a coroutine");
  for (int i = 1; i <= n + 1; i++) lua_getiuservalue(L, 1, i);
  t->depth++;
  lua_callk(L, n, LUA_MULTRET, 0, coroutine_k);
  t->depth--;
  return lua_gettop(L) - 1;
}

static int op_answer(lua_State *L, ml_fiber *t, ml_op *op, int n);

static int op_k(lua_State *L, int status, lua_KContext ctx) {
  ml_fiber *t = ml__engine(L)->task;
  ml_op *op = (ml_op *)ctx; /* at index 1, too */
  bool cancelled = op->obj.state == ML_OP_CANCELLED;
  int n;
  (void)status;
  ml__check_resumed(L);
  ml__keepfirst(L);
  if (must_cancel(t) && !cancelled) { /* woken, then cancelled before it could run */
    cancelled = true;
    op->obj.flags |= ML_OPF_WOKEN;
    op->obj.state = ML_OP_CANCELLED;
  }
  n = op->cls->wake(L, op);
  if (cancelled && n != ML_PARK && n != ML_RAISE) {
    op->obj.state = ML_CO_AWAITED;
    push_cancel_message(L, t);
    return raise_own(L, t);
  }
  return op_answer(L, t, op, n);
}

static int op_answer(lua_State *L, ml_fiber *t, ml_op *op, int n) {
  switch (n) {
  case ML_PARK:
    if (!lua_isyieldable(L)) {
      op->obj.state = ML_OP_PARKED;
      op->task = t;
      op->obj.state = ML_OP_CANCELLED; /* undo what begin did */
      if (op->cls->cancel != NULL) op->cls->cancel(op);
      op->cls->wake(L, op);
      op->obj.state = ML_CO_AWAITED;
      ml__keepfirst(L);
      return cannot_suspend(L);
    }
    op->obj.state = ML_OP_PARKED;
    op->task = t;
    ml__keepfirst(L);
    return park(L, t, &op->obj, (lua_KContext)op, op_k);
  case ML_YIELD:
    if (!lua_isyieldable(L)) return cannot_suspend(L);
    op->obj.state = ML_OP_WOKEN;
    ml__ready(t->fut.loop, &t->job);
    ml__keepfirst(L);
    return park(L, t, NULL, (lua_KContext)op, op_k);
  case ML_RAISE: op->obj.state = ML_CO_AWAITED; return lua_error(L);
  default: op->obj.state = ML_CO_AWAITED; return n;
  }
}

/* asyncio.sleep(0): once through the ready queue, no object needed. */
static int yield_k(lua_State *L, int status, lua_KContext ctx) {
  ml_fiber *t = ml__engine(L)->task;
  (void)status;
  (void)ctx;
  ml__check_resumed(L);
  if (must_cancel(t)) {
    push_cancel_message(L, t);
    return raise_own(L, t);
  }
  return 0;
}

/* asyncio.next_frame(): the frame has come. */
static int frame_k(lua_State *L, int status, lua_KContext ctx) {
  ml_fiber *t = ml__engine(L)->task;
  (void)status;
  (void)ctx;
  ml__check_resumed(L);
  if (t->fut.obj.flags & (ML_FF_MUST_CANCEL | ML_FF_CANCELLING)) {
    push_cancel_message(L, t);
    return raise_own(L, t);
  }
  lua_pushnumber(L, t->fut.loop->frames.dt);
  lua_pushinteger(L, (lua_Integer)t->fut.loop->frames.n);
  return 2;
}

/* Parks the task until the next frame: no object, and one list for all. */
static int await_frame(lua_State *L, ml_fiber *t, ml_object *o) {
  ml_evloop *l = t->fut.loop;
  if (!lua_isyieldable(L)) return cannot_suspend(L);
  if (!l->frames.used) ml__frame_first(l);
  ml__list_append(must_cancel(t) ? &l->ready : &l->frames.waiting, &t->job.link);
  t->fut.obj.flags &= (uint16_t)~ML_FF_CANCELLING;
  t->depth = (uint16_t)l->frames.n;
  t->waiting = o;
  return suspend(L, t, 0, frame_k);
}

static int await_misc(lua_State *L, ml_fiber *t);
static int await_call(lua_State *L, ml_fiber *t);

int ml__await(lua_State *L) {
  ml_engine *e = ml__engine(L);
  ml_fiber *t = e->task;
  ml_object *o;
  if (__builtin_expect(L != e->active, 0)) return await_misc(L, t);
  o = lua_touserdata(L, 1);
  if (o == NULL) {
    if (lua_type(L, 1) == LUA_TBOOLEAN) return await_call(L, t);
    return await_misc(L, t);
  }
  if (t->fut.obj.flags & ML_FF_CRITICAL) return await_misc(L, t);
  if (o == e->sleep0) {
    if (!lua_isyieldable(L)) return cannot_suspend(L);
    ml__ready(t->fut.loop, &t->job);
    t->waiting = NULL;
    return suspend(L, t, 0, yield_k);
  }
  if (o == e->frame0) return await_frame(L, t, o);
  if (!ml__isobject(L, 1, o)) return await_misc(L, t);
  switch (o->type) {
  case ML_T_OP:
    if (o->state != ML_CO_NEW)
      return ml__misuse(L, "RuntimeError", "cannot reuse already awaited coroutine");
    ml__keepfirst(L);
    o->state = ML_CO_AWAITED;
    return op_answer(L, t, (ml_op *)o, ((ml_op *)o)->cls->begin(L, (ml_op *)o));
  case ML_T_COROUTINE:
    if (o->state != ML_CO_NEW)
      return ml__misuse(L, "RuntimeError", "cannot reuse already awaited coroutine");
    ml__keepfirst(L);
    return await_coroutine(L, t, (ml_coroutine *)o);
  case ML_T_FUTURE:
  case ML_T_TASK:
  case ML_T_GATHER: ml__keepfirst(L); return await_future(L, t, (ml_future *)o);
  default: return await_misc(L, t);
  }
}

static int retry_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return lua_gettop(L) - (int)ctx;
}

static int await_other(lua_State *L, ml_fiber *t, int chain);

/* How often __await may give an object that has __await itself. */
#define MAX_AWAIT_CHAIN 100

/* __await has given its awaitable, which is on top. */
static int metamethod_k(lua_State *L, int status, lua_KContext chain) {
  ml_object *o;
  (void)status;
  lua_replace(L, 1);
  lua_settop(L, 1);
  o = ml__toobject(L, 1);
  if (o != NULL && (ml__iscoroutine(o) || ml__isfuture(o))) return ml__await(L);
  if (!ml__isawaitable(L, 1))
    return ml__misuse(L, "TypeError", "__await must return an awaitable, it returned %s",
                      luaL_typename(L, 1));
  return await_other(L, ml__engine(L)->task, (int)chain + 1);
}

static int called_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  lua_replace(L, 1);
  lua_settop(L, 1);
  return ml__await(L);
}

static int body_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L) - 1;
}

/* await(false, f, x): as await(f(x)), for the keyword; of a coroutine function no coroutine is
** made. A false and why, of a function that failed, is no call. */
static int await_call(lua_State *L, ml_fiber *t) {
  ml_engine *e = ml__engine(L);
  if (e->meter.phase >= ML_M_GRACE) return ml__meter_raise(L); /* it is being stopped */
  if (L == e->active && t->depth < ML_MAX_DEPTH && !(t->fut.obj.flags & ML_FF_CRITICAL) &&
      !lua_toboolean(L, 1) && ml__asyncbody(L, 2)) {
    t->depth++;
    lua_callk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, body_k);
    t->depth--;
    return lua_gettop(L) - 1;
  }
  if (lua_toboolean(L, 1) || lua_gettop(L) == 1 || lua_type(L, 2) == LUA_TSTRING)
    return await_other(L, t, 0);
  if (!lua_isfunction(L, 2)) {
    if (luaL_getmetafield(L, 2, "__call") == LUA_TNIL)
      return luaL_error(L, "attempt to call a %s value", luaL_typename(L, 2));
    lua_pop(L, 1);
  }
  lua_callk(L, lua_gettop(L) - 2, 1, 0, called_k);
  return called_k(L, LUA_OK, 0);
}

static int await_misc(lua_State *L, ml_fiber *t) {
  if (ml__engine(L)->meter.phase >= ML_M_GRACE) return ml__meter_raise(L);
  return lua_type(L, 1) == LUA_TBOOLEAN ? await_call(L, t) : await_other(L, t, 0);
}

/* Everything but an object of the engine's in a running task. */
static int await_other(lua_State *L, ml_fiber *t, int chain) {
  ml_engine *e = ml__engine(L);
  ml_object *o = ml__toobject(L, 1);
  if (lua_gettop(L) == 0)
    return ml__misuse(L, "TypeError", "await: an awaitable was expected, got no value");
  lua_settop(L, 1);
  if (o == NULL || !(ml__iscoroutine(o) || ml__isfuture(o))) {
    if (luaL_getmetafield(L, 1, "__await") != LUA_TNIL) {
      if (chain == MAX_AWAIT_CHAIN)
        return ml__misuse(L, "RuntimeError",
                          "__await returned an object with __await %d times in a row", chain);
      lua_pushvalue(L, 1);
      lua_callk(L, 1, 1, chain, metamethod_k);
      return metamethod_k(L, LUA_OK, chain);
    }
    if (!lua_isfunction(L, 1)) {
      if (lua_isnil(L, 1))
        return ml__misuse(L, "TypeError",
                          "await: an awaitable was expected, got nil (does the function "
                          "that was called return its awaitable?)");
      return ml__misuse(L, "TypeError",
                        "await: an awaitable (coroutine, task, future or a value with __await) was "
                        "expected, got %s",
                        o != NULL ? e->typenames[o->type] : luaL_typename(L, 1));
    }
  }
  if (L != e->active) return await_outside(L);
  if (t->fut.obj.flags & ML_FF_CRITICAL)
    return ml__misuse(L, "RuntimeError",
                      "await inside asyncio.critical: this section must run without a suspension");
  /* a plain function: called without arguments, as everywhere */
  if (ml__asyncfunction(L, 1)) {
    lua_pushvalue(L, 1);
    lua_call(L, 0, 1);
    lua_replace(L, 1);
    return ml__await(L);
  }
  lua_pushvalue(L, 1);
  t->depth++;
  lua_callk(L, 0, LUA_MULTRET, 1, retry_k);
  t->depth--;
  return lua_gettop(L) - 1;
}

/* ---- sleep ---- */

typedef struct sleep_op {
  ml_op op;
  ml_timer timer; /* when: the delay, until it begins */
} sleep_op;

/* The timer is due: the future that sleep waits for is done; the task goes
** through the ready queue like any waiter. */
static void sleep_due(ml_evloop *l, ml_job *j) {
  ml_timer *t = ml__containerof(j, ml_timer, job);
  (void)l;
  ml__op_wake(&ml__containerof(t, sleep_op, timer)->op);
}

ml_fiber *ml__sleeper_of(ml_job *j) {
  if (j->run != sleep_due) return NULL;
  return ml__containerof(ml__containerof(j, ml_timer, job), sleep_op, timer)->op.task;
}

static int sleep_begin(lua_State *L, ml_op *op) {
  sleep_op *s = (sleep_op *)op;
  ml_evloop *l = ml__engine(L)->running;
  double delay = s->timer.when;
  if (delay <= 0) return ML_YIELD;
  if (l->engine->config.max_handles != 0) ml__check_handles(L);
  ml__timer_init(&s->timer, sleep_due);
  if (ml__timer_start(l, &s->timer, ml__loop_time(l) + delay) < 0)
    return luaL_error(L, "not enough memory");
  return ML_PARK;
}

static int sleep_wake(lua_State *L, ml_op *op) {
  if (op->obj.n == 0) return 0;
  lua_getiuservalue(L, 1, 1);
  return 1;
}

static void sleep_cancel(ml_op *op) {
  sleep_op *s = (sleep_op *)op;
  ml__timer_stop(op->task->fut.loop, &s->timer);
  ml__list_remove(&s->timer.job.link);
}

static const ml_opclass sleep_class = {"sleep", sleep_begin, sleep_wake, sleep_cancel};

static int core_sleep(lua_State *L) {
  sleep_op *s;
  double delay;
  if (lua_isinteger(L, 1) && lua_gettop(L) == 1 && lua_tointeger(L, 1) <= 0) { /* a mere yield */
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
  }
  delay = lua_type(L, 1) == LUA_TNUMBER ? lua_tonumber(L, 1) : NAN;
  if (!(delay > 0)) {
    if (isnan(delay)) ml__checkdelay(L, 1, "sleep"); /* raises */
    if (lua_isnoneornil(L, 2)) {
      lua_pushvalue(L, lua_upvalueindex(1));
      return 1;
    }
  }
  if (lua_isnoneornil(L, 2)) {
    s = ml__op_new(L, &sleep_class, sizeof *s, 0);
  } else {
    s = ml__op_new(L, &sleep_class, sizeof *s, 1);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    s->op.obj.n = 1;
  }
  s->timer.when = delay;
  return 1;
}

/* ---- critical sections ---- */

/* asyncio.critical(f, ...): an await inside is an error */
static int critical_k(lua_State *L, int status, lua_KContext ctx) {
  ml_fiber *t = ml__engine(L)->task;
  if (t != NULL && !ctx) t->fut.obj.flags &= (uint16_t)~ML_FF_CRITICAL;
  if (status != LUA_OK && status != LUA_YIELD) return lua_error(L);
  return lua_gettop(L);
}

static int core_critical(lua_State *L) {
  ml_fiber *t = ml__engine(L)->task;
  bool nested = t != NULL && (t->fut.obj.flags & ML_FF_CRITICAL);
  luaL_checkany(L, 1);
  if (t != NULL) t->fut.obj.flags |= ML_FF_CRITICAL;
  return critical_k(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, nested, critical_k),
                    nested);
}

/* ---- shared operations ---- */

/* Never begun: a task that awaits it is told by the object itself what to do. */
static const ml_opclass frame_class = {"next_frame", NULL, NULL, NULL};

/* asyncio.next_frame() */
static int core_next_frame(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return 1;
}

/* Pushes an operation that any number of tasks may await, each as often as it likes. */
static ml_object *new_shared(lua_State *L, const ml_opclass *cls) {
  ml_op *op = lua_newuserdatauv(L, sizeof *op, 0); /* not watched by the allocator */
  memset(op, 0, sizeof *op);
  op->obj.magic = &ml__magic;
  op->obj.type = ML_T_OP;
  op->obj.flags = ML_OPF_SHARED;
  op->cls = cls;
  ml__ref_get(L, ML_R_TYPES + ML_T_COROUTINE);
  lua_setmetatable(L, -2);
  return &op->obj;
}

void ml__open_await(lua_State *L) {
  ml_engine *e = ml__engine(L);
  lua_pushcfunction(L, ml__await);
  lua_setfield(L, -2, "await");
  lua_pushcfunction(L, core_critical);
  lua_setfield(L, -2, "critical");
  e->sleep0 = new_shared(L, &sleep_class);
  lua_pushvalue(L, -1);
  ml__ref_set(L, ML_R_SLEEP0);
  lua_pushcclosure(L, core_sleep, 1);
  lua_setfield(L, -2, "sleep");
  e->frame0 = new_shared(L, &frame_class);
  lua_pushvalue(L, -1);
  ml__ref_set(L, ML_R_FRAME0);
  lua_pushcclosure(L, core_next_frame, 1);
  lua_setfield(L, -2, "next_frame");
}
