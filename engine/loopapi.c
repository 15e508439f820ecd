/* The Loop object: asyncio's loop methods. */
#include <string.h>

#include "core.h"

typedef struct loop_object {
  ml_object obj;
  ml_evloop *loop;
  bool fields; /* it has a metatable of its own */
} loop_object;
enum { UV_HANDLER = 1, UV_FACTORY };

ml_evloop *ml__checkloop(lua_State *L, int idx) {
  loop_object *o = ml__checkobject(L, idx, ML_T_LOOP);
  return o->loop;
}

void ml__loop_push(lua_State *L, ml_evloop *l) {
  loop_object *o;
  ml__ref_get(L, ML_R_LOOPS);
  if (lua_rawgetp(L, -1, l) == LUA_TUSERDATA) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  o = ml__newobject(L, ML_T_LOOP, sizeof *o, 2);
  o->loop = l;
  lua_pushvalue(L, -1);
  lua_rawsetp(L, -3, l);
  lua_remove(L, -2);
}

ml_evloop *ml__checkopenloop(lua_State *L, int idx) {
  ml_evloop *l = ml__checkloop(L, idx);
  if (l->closed) ml__error(L, "RuntimeError", "Event loop is closed");
  return l;
}

static void check_running(lua_State *L, ml_evloop *l) {
  ml_engine *e = l->engine;
  if (l->depth > 0)
    ml__misuse(L, "RuntimeError", "This event loop is already running: await instead");
  if (e->running != NULL)
    ml__misuse(L, "RuntimeError",
               "Cannot run the event loop while another loop is running: await instead");
}

/* ---- running ---- */

/* Raises what ended a run of the loop. */
static int raise_pending(lua_State *L) {
  ml__ref_get(L, ML_R_PENDINGERR);
  lua_pushnil(L);
  ml__ref_set(L, ML_R_PENDINGERR);
  return lua_error(L);
}

static void until_done(ml_evloop *l, ml_job *j) {
  (void)j;
  l->stopping = true;
}

/* Pushes the description of every task that waits for what cannot come. */
static void push_stuck(lua_State *L, ml_evloop *l) {
  int n = 0;
  lua_pushliteral(L, "");
  for (ml_link *k = l->tasks.next; k != &l->tasks && n < 20; k = k->next, n++) {
    ml_fiber *t = ml__containerof(k, ml_fiber, all), *slow = t, *fast = t;
    lua_pushliteral(L, "\n  ");
    ml__task_push(L, t);
    if (ml__isfuture(ml__toobject(L, -1)))
      ml__future_repr(L, lua_gettop(L));
    else
      lua_pushliteral(L, "?");
    lua_remove(L, -2);
    lua_concat(L, 3);
    /* a cycle of tasks that await each other? */
    do {
      for (int i = 0; i < 2 && fast != NULL; i++)
        fast = fast->waiting != NULL && fast->waiting->type == ML_T_TASK ? (ml_fiber *)fast->waiting
                                                                         : NULL;
      slow = slow->waiting != NULL && slow->waiting->type == ML_T_TASK ? (ml_fiber *)slow->waiting
                                                                       : NULL;
    } while (fast != NULL && slow != NULL && fast != slow);
    if (fast == NULL || slow == NULL) continue;
    for (slow = fast; slow != t;) { /* only for its members */
      slow = (ml_fiber *)slow->waiting;
      if (slow == fast) break;
    }
    if (slow != t) continue;
    lua_pushliteral(L, "\n    in a cycle: ");
    do {
      ml__task_name(L, slow);
      lua_pushliteral(L, " -> ");
      lua_concat(L, 3);
      slow = (ml_fiber *)slow->waiting;
    } while (slow != t);
    ml__task_name(L, t);
    lua_concat(L, 3);
  }
}

int ml__loop_report_stuck(lua_State *L, ml_evloop *l) {
  int n = (int)l->ntasks;
  if (n == 0) return 0;
  luaL_checkstack(L, 30, "report");
  push_stuck(L, l);
  ml__log(l->engine, "%d task%s can never wake:%s", n, n == 1 ? "" : "s", lua_tostring(L, -1));
  lua_pop(L, 1);
  return n;
}

void ml__run_until(lua_State *L, ml_evloop *l, int idx) {
  ml_future *f = lua_touserdata(L, idx);
  ml_job u;
  int rc = ML_RUN_STOPPED;
  idx = lua_absindex(L, idx);
  if (l->closed) ml__error(L, "RuntimeError", "Event loop is closed");
  if (ml__engine(L)->meter.phase >= ML_M_GRACE) ml__meter_raise(L);
  u.run = until_done;
  ml__list_init(&u.link);
  if (f->obj.state == ML_F_PENDING)
    ml__list_append(&f->callbacks, &u.link);
  else
    ml__ready(l, &u);
  l->lasting++;
  rc = ml__loop_run(L, l, false, 0);
  l->lasting--;
  ml__list_remove(&u.link);
  if (rc == ML_RUN_RAISE) {
    if (f->obj.state == ML_F_FAILED) { /* seen: it is what is raised */
      ml__future_results(L, idx);
      lua_pop(L, 1);
    }
    raise_pending(L);
  }
  if (f->obj.state != ML_F_PENDING) return;
  if (rc == ML_RUN_IDLE) {
    luaL_checkstack(L, 30, "report");
    if (l->ntasks == 0) { /* a future that nobody sees to */
      ml__future_repr(L, idx);
      ml__error(L, "RuntimeError", "deadlock: nothing is left that could wake what is awaited: %s",
                lua_tostring(L, -1));
    }
    push_stuck(L, l);
    ml__error(L, "RuntimeError",
              "deadlock: nothing is left that could wake what is awaited; tasks that wait:%s",
              lua_tostring(L, -1));
  }
  ml__error(L, "RuntimeError", "Event loop stopped before Future completed.");
}

static int loop_run_until_complete(lua_State *L) {
  ml_evloop *l = ml__checkopenloop(L, 1);
  int n;
  lua_settop(L, 2);
  check_running(L, l);
  ml__ensure_future(L, 2, l, "run_until_complete");
  ml__run_until(L, l, 2);
  n = ml__future_results(L, 2);
  return n < 0 ? lua_error(L) : n;
}

static int loop_run_forever(lua_State *L) {
  ml_evloop *l = ml__checkopenloop(L, 1);
  int rc;
  check_running(L, l);
  if (ml__engine(L)->meter.phase >= ML_M_GRACE) return ml__meter_raise(L);
  l->lasting++;
  rc = ml__loop_run(L, l, false, 0);
  l->lasting--;
  if (rc == ML_RUN_RAISE) return raise_pending(L);
  if (rc == ML_RUN_IDLE && l->ntasks > 0) {
    luaL_checkstack(L, 30, "report");
    push_stuck(L, l);
    return ml__error(L, "RuntimeError",
                     "deadlock: run_forever() has nothing left to run; tasks that wait:%s",
                     lua_tostring(L, -1));
  }
  return 0;
}

static int loop_stop(lua_State *L) {
  ml__checkloop(L, 1)->stopping = true;
  return 0;
}

/* Tasks that are still pending are destroyed: told, and their `<close>` run. */
static void destroy_tasks(lua_State *L, ml_evloop *l) {
  while (!ml__list_empty(&l->tasks)) {
    ml_fiber *t = ml__containerof(l->tasks.next, ml_fiber, all);
    lua_State *co = t->thread;
    ml__task_push(L, t);
    ml__list_remove(&t->all);
    l->ntasks--;
    ml__list_remove(&t->job.link);
    if (!(t->fut.obj.flags & ML_FF_QUIET)) {
      lua_createtable(L, 0, 2);
      lua_pushliteral(L, "Task was destroyed but it is pending!");
      lua_setfield(L, -2, "message");
      ml__future_repr(L, lua_gettop(L) - 1);
      lua_setfield(L, -2, "task");
      if (l->debug) {
        ml__source_traceback(L, lua_gettop(L) - 1);
        lua_setfield(L, -2, "source_traceback");
      }
      ml__call_exception_handler(L, l);
    }
    ml__task_destroy(L, t, co);
    lua_pop(L, 1);
  }
}

void ml__loop_shut(lua_State *L, ml_evloop *l) {
  if (l->closed) return;
  l->closed = true; /* what runs meanwhile adds nothing to it */
  destroy_tasks(L, l);
  ml__gathers_drop(L, l);
  /* jobs that will never run */
  ml__list_splice(&l->ready, &l->batch);
  while (!ml__list_empty(&l->ready)) {
    ml_link *n = l->ready.next;
    ml__list_remove(n);
    ml__handle_drop(L, (ml_job *)(void *)n);
  }
  while (l->ntimers > 0) {
    ml_timer *t = l->heap[0].timer;
    ml__timer_stop(l, t);
    ml__handle_drop(L, &t->job);
  }
  ml__reports_flush(L, l);
  ml__loop_close(L, l);
}

static int loop_close(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  if (l->depth > 0) return ml__misuse(L, "RuntimeError", "Cannot close a running event loop");
  ml__loop_shut(L, l);
  return 0;
}

static int loop_is_running(lua_State *L) {
  lua_pushboolean(L, ml__checkloop(L, 1)->depth > 0);
  return 1;
}

static int loop_is_closed(lua_State *L) {
  lua_pushboolean(L, ml__checkloop(L, 1)->closed);
  return 1;
}

static int loop_time(lua_State *L) {
  lua_pushnumber(L, ml__loop_time(ml__checkloop(L, 1)));
  return 1;
}

/* ---- making ---- */

static int loop_create_future(lua_State *L) {
  ml__future_new(L, ml__checkloop(L, 1));
  return 1;
}

static int loop_create_task(lua_State *L) {
  ml_evloop *l = ml__checkopenloop(L, 1);
  lua_settop(L, 3);
  return ml__create_task_k(L, 2, 3, l);
}

int ml__loop_call_soon(lua_State *L);
int ml__loop_call_later(lua_State *L);
int ml__loop_call_at(lua_State *L);

/* From the engine's own thread it is call_soon; other threads have the C API. */
static int loop_call_soon_threadsafe(lua_State *L) {
  int n = ml__loop_call_soon(L);
  ml__loop_wake(ml__checkloop(L, 1));
  return n;
}

/* ---- settings ---- */

static int set_function(lua_State *L, int uv, const char *what, bool *flag) {
  if (!lua_isnoneornil(L, 2) && !lua_isfunction(L, 2)) {
    if (luaL_getmetafield(L, 2, "__call") == LUA_TNIL)
      return ml__misuse(L, "TypeError", "%s: a function or nil was expected, got %s", what,
                        luaL_typename(L, 2));
  }
  lua_settop(L, 2);
  *flag = !lua_isnil(L, 2);
  lua_setiuservalue(L, 1, uv);
  return 0;
}

static int loop_set_exception_handler(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  return set_function(L, UV_HANDLER, "set_exception_handler", &l->has_handler);
}

static int loop_get_exception_handler(lua_State *L) {
  ml__checkloop(L, 1);
  lua_getiuservalue(L, 1, UV_HANDLER);
  return 1;
}

static int loop_set_task_factory(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  return set_function(L, UV_FACTORY, "set_task_factory", &l->has_factory);
}

static int loop_get_task_factory(lua_State *L) {
  ml__checkloop(L, 1);
  lua_getiuservalue(L, 1, UV_FACTORY);
  return 1;
}

static int loop_call_exception_handler(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  ml__call_exception_handler(L, l);
  return 0;
}

static int loop_default_exception_handler(lua_State *L) {
  ml__checkloop(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  ml__call_exception_handler(L, NULL);
  return 0;
}

static int loop_set_debug(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  l->debug = lua_toboolean(L, 2);
  ml__loop_watched(l);
  return 0;
}

static int loop_get_debug(lua_State *L) {
  lua_pushboolean(L, ml__checkloop(L, 1)->debug);
  return 1;
}

/* Gives the Loop at 1 a metatable of its own, whose __index is a table of fields that falls
** back to the methods: tables alone, since methods are called often. On top is that table. */
static void push_fields(lua_State *L) {
  loop_object *o = lua_touserdata(L, 1);
  int top = lua_gettop(L);
  luaL_checkstack(L, 8, "loop");
  lua_getmetatable(L, 1);
  if (!o->fields) {
    lua_createtable(L, 0, 8);
    for (lua_pushnil(L); lua_next(L, top + 1);) {
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, top + 2);
    }
    lua_createtable(L, 0, 1);
    lua_createtable(L, 0, 1);
    lua_getfield(L, top + 1, "__index");
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, top + 3);
    lua_setfield(L, top + 2, "__index");
    lua_setmetatable(L, 1);
    o->fields = true;
    lua_getmetatable(L, 1);
    lua_replace(L, top + 1);
  }
  if (lua_getfield(L, top + 1, "__index") != LUA_TTABLE)
    ml__misuse(L, "TypeError", "the loop's metatable was changed: it takes no fields");
  lua_replace(L, top + 1);
}

/* Fields: slow_callback_duration, and whatever a script keeps there. */
static int loop_newindex(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  const char *k = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(k, "slow_callback_duration") == 0)
    l->slow = ml__checkdelay(L, 3, "slow_callback_duration");
  lua_settop(L, 3);
  push_fields(L);
  lua_insert(L, 2);
  lua_rawset(L, 2);
  return 0;
}

static int loop_tostring(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  lua_pushfstring(L, "<EventLoop running=%s closed=%s debug=%s>", l->depth > 0 ? "true" : "false",
                  l->closed ? "true" : "false", l->debug ? "true" : "false");
  return 1;
}

static int loop_close_meta(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  if (l->depth == 0) ml__loop_shut(L, l);
  return 0;
}

void ml__open_loops(lua_State *L) {
  static const luaL_Reg methods[] = {{"run_until_complete", loop_run_until_complete},
                                     {"run_forever", loop_run_forever},
                                     {"stop", loop_stop},
                                     {"close", loop_close},
                                     {"is_running", loop_is_running},
                                     {"is_closed", loop_is_closed},
                                     {"time", loop_time},
                                     {"call_soon", ml__loop_call_soon},
                                     {"call_soon_threadsafe", loop_call_soon_threadsafe},
                                     {"call_later", ml__loop_call_later},
                                     {"call_at", ml__loop_call_at},
                                     {"create_future", loop_create_future},
                                     {"create_task", loop_create_task},
                                     {"set_exception_handler", loop_set_exception_handler},
                                     {"get_exception_handler", loop_get_exception_handler},
                                     {"call_exception_handler", loop_call_exception_handler},
                                     {"default_exception_handler", loop_default_exception_handler},
                                     {"set_task_factory", loop_set_task_factory},
                                     {"get_task_factory", loop_get_task_factory},
                                     {"set_debug", loop_set_debug},
                                     {"get_debug", loop_get_debug},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", loop_tostring},
                                  {"__newindex", loop_newindex},
                                  {"__close", loop_close_meta},
                                  {NULL, NULL}};
  ml__open_current(L);
  ml__open_gate(L);
  ml__newtype(L, ML_T_LOOP, "Loop", methods, meta);
  luaL_setfuncs(L, ml__frame_methods, 0);
  lua_pushnumber(L, ML_SLOW); /* until it is set for a loop */
  lua_setfield(L, -2, "slow_callback_duration");
  lua_createtable(L, 0, 1);
  lua_insert(L, -2);
  lua_setfield(L, -2, "methods");
  lua_setfield(L, -2, "Loop");
}
