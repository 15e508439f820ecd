/* Handles: Lua functions that a loop will call (asyncio.Handle, TimerHandle), and
** the callbacks of futures. A handle in a queue is pinned until it has run.
*/
#include <math.h>
#include <stdio.h>

#include "core.h"

typedef struct handle {
  ml_object obj; /* n: arguments; flags: HF_* */
  ml_evloop *loop;
  int pin;
  ml_timer timer; /* its job is the handle's */
} handle;
enum { HF_CANCELLED = 1, HF_TIMER = 2, HF_CONTEXT = 4 };
#define MAX_ARGS 65000 /* Lua's userdata hold no more values */

/* Pushes what names the function at idx in messages: its place, or what it is. */
static const char *push_place(lua_State *L, int idx) {
  const ml_codeinfo *i = lua_isfunction(L, idx) ? ml__codeinfo_get(L, idx) : NULL;
  const char *name = NULL;
  idx = lua_absindex(L, idx);
  if (i == NULL && luaL_getmetafield(L, idx, "__name") == LUA_TSTRING)
    name = lua_tostring(L, -1); /* kept by its metatable */
  lua_pushstring(L, i != NULL ? i->where : name != NULL ? name : luaL_typename(L, idx));
  return lua_tostring(L, -1);
}

/* (handle, error): the exception handler hears of what a callback raised. */
static int failed(lua_State *L) {
  handle *h = lua_touserdata(L, 1);
  if (ml__isinstance(L, 2, "KeyboardInterrupt") || ml__isinstance(L, 2, "SystemExit")) {
    ml__ref_set(L, ML_R_PENDINGERR);
    h->loop->raise = true;
    return 0;
  }
  lua_createtable(L, 0, 3);
  lua_getiuservalue(L, 1, 1);
  lua_pushfstring(L, "Exception in callback %s", push_place(L, -1));
  lua_setfield(L, 3, "message");
  lua_settop(L, 3);
  lua_pushvalue(L, 2);
  lua_setfield(L, 3, "exception");
  lua_pushvalue(L, 1);
  lua_setfield(L, 3, "handle");
  ml__call_exception_handler(L, h->loop);
  ml__traceback_arrived(L, 2);
  return 0;
}

/* Calls the function and its arguments on top. What they raise is told in the context that they have left. */
static void call(lua_State *L, handle *h, int n) {
  if (lua_pcall(L, n, 0, 2) == LUA_OK) return;
  lua_pushcfunction(L, failed);
  lua_pushvalue(L, 1);
  lua_rotate(L, -3, 2); /* failed, handle, error */
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  ml__log(h->loop->engine, "error in a callback: %s", lua_tostring(L, -1));
  lua_pop(L, 1);
}

/* Calls the function and its arguments on top with the context table that was
** current when the handle was made; what is set in it ends with the call. */
static void call_in_context(lua_State *L, handle *h, int n) {
  ml_engine *e = h->loop->engine;
  bool had = e->main_context, own = (h->obj.flags & HF_CONTEXT) != 0;
  if (!own && !had) {
    call(L, h, n);
    if (!e->main_context) return;
    lua_pushnil(L);
  } else {
    ml__ref_get(L, ML_R_MAINCTX);
    lua_insert(L, -n - 2);
    if (own) {
      lua_getiuservalue(L, 1, n + 2);
      ml__ref_set(L, ML_R_MAINCTX);
      e->main_context = true;
    }
    call(L, h, n);
  }
  ml__ref_set(L, ML_R_MAINCTX);
  e->main_context = had;
}

/* User values: 1 = function, then the arguments, then its context if it has one. */
static int run_protected(lua_State *L) {
  handle *h = lua_touserdata(L, 1);
  int n = (int)h->obj.n;
  luaL_checkstack(L, n + 8, "callback");
  lua_pushcfunction(L, ml__msgh);
  for (int i = 1; i <= n + 1; i++) lua_getiuservalue(L, 1, i);
  call_in_context(L, h, n);
  return 0;
}

static void handle_run(ml_evloop *l, ml_job *j) {
  handle *h = ml__containerof(ml__containerof(j, ml_timer, job), handle, timer);
  lua_State *L = l->L;
  int pin = h->pin;
  h->pin = 0;
  if (!lua_checkstack(L, 6)) return;
  lua_pushcfunction(L, run_protected);
  ml__pushpinned(L, pin);
  ml__unpin(L, pin);
  if ((h->obj.flags & HF_CANCELLED) || lua_touserdata(L, -1) != h) {
    lua_pop(L, 2);
    return;
  }
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    ml__log(l->engine, "error in a callback: %s", lua_tostring(L, -1));
    lua_pop(L, 1);
  }
}

static handle *new_handle(lua_State *L, ml_objtype type, int fn, int nargs, ml_evloop *loop) {
  int base = lua_gettop(L) - nargs;
  if (nargs > MAX_ARGS)
    ml__misuse(L, "ValueError", "too many arguments for a callback (%d)", nargs);
  bool context = ml__context_push(L);
  handle *h = ml__newobject(L, type, sizeof *h, nargs + (context ? 2 : 1));
  int self = lua_gettop(L) - 1;
  lua_insert(L, self);
  if (context) {
    h->obj.flags = HF_CONTEXT;
    lua_setiuservalue(L, self, nargs + 2);
  } else
    lua_pop(L, 1);
  h->loop = loop;
  h->obj.n = (uint32_t)nargs;
  ml__timer_init(&h->timer, handle_run);
  lua_pushvalue(L, fn);
  lua_setiuservalue(L, self, 1);
  for (int i = 1; i <= nargs; i++) {
    lua_pushvalue(L, base + i);
    lua_setiuservalue(L, self, i + 1);
  }
  if (nargs > 0) {
    lua_insert(L, base + 1);
    lua_settop(L, base + 1);
  }
  return h;
}

ml_job *ml__handle_new(lua_State *L, int fn, int nargs, ml_evloop *loop) {
  return &new_handle(L, ML_T_HANDLE, lua_absindex(L, fn), nargs, loop)->timer.job;
}

void ml__handle_pin(lua_State *L, int idx) {
  handle *h = lua_touserdata(L, idx);
  if (h->pin == 0) h->pin = ml__pin(L, idx);
}

void ml__handle_drop(lua_State *L, ml_job *j) {
  handle *h = ml__containerof(ml__containerof(j, ml_timer, job), handle, timer);
  if (j->run != handle_run) return;
  ml__unpin(L, h->pin);
  h->pin = 0;
}

ml_job *ml__handle_job(lua_State *L, int idx, int fn) {
  handle *h = lua_touserdata(L, idx);
  bool same;
  lua_getiuservalue(L, idx, 1);
  same = lua_compare(L, -1, fn, LUA_OPEQ);
  lua_pop(L, 1);
  return same ? &h->timer.job : NULL;
}

typedef struct description {
  ml_job *job;
  char *buf;
  size_t n;
} description;

static int describe(lua_State *L) {
  const description *d = lua_touserdata(L, 1);
  ml_job *j = d->job;
  char *buf = d->buf;
  size_t n = d->n;
  ml_fiber *sleeper = ml__sleeper_of(j);
  if (ml__job_is_task(j) || sleeper != NULL) {
    ml__task_push(L, sleeper != NULL ? sleeper : ml__containerof(j, ml_fiber, job));
    if (ml__isfuture(ml__toobject(L, -1))) {
      ml__future_repr(L, lua_gettop(L));
      snprintf(buf, n, "%s%s", sleeper != NULL ? "sleep of " : "", lua_tostring(L, -1));
    }
  } else if (j->run == handle_run) {
    handle *h = ml__containerof(ml__containerof(j, ml_timer, job), handle, timer);
    ml__pushpinned(L, h->pin);
    if (lua_touserdata(L, -1) == h) {
      lua_getiuservalue(L, -1, 1);
      snprintf(buf, n, "<Handle %s>", push_place(L, -1));
    }
  }
  return 0;
}

void ml__job_describe(ml_evloop *l, ml_job *j, char *buf, size_t n) {
  lua_State *L = l->L;
  description d = {j, buf, n};
  snprintf(buf, n, "an event of the loop");
  if (!lua_checkstack(L, 8)) return;
  lua_pushcfunction(L, describe);
  lua_pushlightuserdata(L, &d);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1); /* memory */
}

/* ---- scheduling ---- */

static void check_callback(lua_State *L, int idx, const char *fname) {
  ml_object *o = ml__toobject(L, idx);
  if ((o != NULL && ml__iscoroutine(o)) || ml__asyncfunction(L, idx))
    ml__misuse(L, "TypeError", "coroutines cannot be used with %s(): use create_task", fname);
  if (lua_isfunction(L, idx)) return;
  if (luaL_getmetafield(L, idx, "__call") == LUA_TNIL)
    ml__misuse(L, "TypeError", "%s: a function was expected, got %s", fname, luaL_typename(L, idx));
  lua_pop(L, 1);
}

/* loop:call_soon(fn, ...) */
int ml__loop_call_soon(lua_State *L) {
  ml_evloop *l = ml__checkopenloop(L, 1);
  ml_job *j;
  check_callback(L, 2, "call_soon");
  j = ml__handle_new(L, 2, lua_gettop(L) - 2, l);
  ml__handle_pin(L, -1);
  ml__ready(l, j);
  return 1;
}

static int call_at(lua_State *L, const char *fname, bool relative) {
  ml_evloop *l = ml__checkopenloop(L, 1);
  double when;
  if (!relative && lua_type(L, 2) != LUA_TNUMBER)
    ml__misuse(L, "TypeError", "%s: when must be a number of seconds, got %s", fname,
               luaL_typename(L, 2));
  when = ml__checkdelay(L, 2, fname);
  handle *h;
  if (relative) when = ml__loop_time(l) + when;
  if (isnan(when)) when = ml__loop_time(l); /* inf - inf */
  check_callback(L, 3, fname);
  if (l->engine->config.max_handles != 0) ml__check_handles(L);
  h = new_handle(L, ML_T_TIMERHANDLE, 3, lua_gettop(L) - 3, l);
  h->obj.flags |= HF_TIMER;
  ml__handle_pin(L, -1);
  if (ml__timer_start(l, &h->timer, when) < 0) {
    ml__unpin(L, h->pin);
    return luaL_error(L, "not enough memory");
  }
  return 1;
}

int ml__loop_call_later(lua_State *L) { return call_at(L, "call_later", true); }
int ml__loop_call_at(lua_State *L) { return call_at(L, "call_at", false); }

static handle *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_HANDLE); }

static int handle_cancel(lua_State *L) {
  handle *h = check(L);
  if (h->obj.flags & HF_CANCELLED) return 0;
  h->obj.flags |= HF_CANCELLED;
  if (h->timer.index != 0) { /* not due yet: nothing of it stays */
    ml__timer_stop(h->loop, &h->timer);
    ml__unpin(L, h->pin);
    h->pin = 0;
  }
  return 0;
}

static int handle_cancelled(lua_State *L) {
  lua_pushboolean(L, check(L)->obj.flags & HF_CANCELLED);
  return 1;
}

static int handle_when(lua_State *L) {
  handle *h = ml__checkobject(L, 1, ML_T_TIMERHANDLE);
  lua_pushnumber(L, h->timer.when);
  return 1;
}

static int handle_tostring(lua_State *L) {
  handle *h = check(L);
  const char *cancelled = h->obj.flags & HF_CANCELLED ? " cancelled" : "";
  lua_getiuservalue(L, 1, 1);
  if (h->obj.flags & HF_TIMER)
    lua_pushfstring(L, "<TimerHandle%s when=%f %s>", cancelled, (double)h->timer.when,
                    push_place(L, -1));
  else
    lua_pushfstring(L, "<Handle%s %s>", cancelled, push_place(L, -1));
  return 1;
}

void ml__open_handles(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"cancel", handle_cancel}, {"cancelled", handle_cancelled}, {NULL, NULL}};
  static const luaL_Reg when[] = {{"when", handle_when}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", handle_tostring}, {NULL, NULL}};
  ml__newtype(L, ML_T_HANDLE, "Handle", methods, meta);
  lua_pop(L, 1);
  ml__newtype(L, ML_T_TIMERHANDLE, "TimerHandle", methods, meta);
  luaL_setfuncs(L, when, 0);
  lua_pop(L, 1);
}
