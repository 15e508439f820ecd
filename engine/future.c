/* Futures: a result to come. Semantics of asyncio.Future (Lib/asyncio/futures.py).
**
** User value 1 holds what the future ended with, see core.h. Callbacks are jobs
** in a list; when the future is done the list moves to the ready queue. A
** callback that is a Lua function is a Handle; handles are kept alive by a
** table in the future's extras, in the order of adding.
*/
#include <string.h>

#include "core.h"

#define MAX_CANCEL_DEPTH 100

ml_future *ml__future_new(lua_State *L, ml_evloop *loop) {
  ml_future *f = ml__newobject(L, ML_T_FUTURE, sizeof *f, 2);
  f->loop = loop;
  ml__list_init(&f->callbacks);
  return f;
}

/* Pushes the table of handles of the future at idx (made if there is none). */
static void push_handles(lua_State *L, int idx, ml_future *f) {
  ml__push_extras(L, idx);
  f->obj.flags |= ML_FF_HANDLES;
}

/* Before the callbacks are scheduled: Lua handles must outlive the future. */
static void pin_handles(lua_State *L, int idx, ml_future *f) {
  int i = 0;
  push_handles(L, idx, f);
  for (lua_Integer k = 1; lua_rawgeti(L, -1, k) != LUA_TNIL; k++, i++) {
    ml__handle_pin(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  for (; i > 0; i--) {
    lua_pushnil(L);
    lua_rawseti(L, -2, i);
  }
  lua_pop(L, 1);
}

void ml__future_schedule(ml_future *f) { ml__list_splice(&f->loop->ready, &f->callbacks); }

void ml__future_finish(lua_State *L, int idx, ml_future *f, int state) {
  if (f->obj.flags & ML_FF_HANDLES) pin_handles(L, idx, f);
  lua_setiuservalue(L, idx, 1);
  f->obj.state = (uint8_t)state;
  ml__future_schedule(f);
}

bool ml__future_set_result(lua_State *L, int idx) {
  ml_future *f = lua_touserdata(L, idx);
  if (f->obj.state != ML_F_PENDING) {
    lua_pop(L, 1);
    return false;
  }
  ml__future_finish(L, lua_absindex(L, idx), f, ML_F_DONE);
  return true;
}

bool ml__future_set_error(lua_State *L, int idx) {
  ml_future *f = lua_touserdata(L, idx);
  idx = lua_absindex(L, idx);
  if (f->obj.state != ML_F_PENDING) {
    lua_pop(L, 1);
    return false;
  }
  ml__report_new(L, idx, lua_gettop(L));
  lua_remove(L, -2);
  ml__future_finish(L, idx, f, ML_F_FAILED);
  return true;
}

static int fut_cancel(lua_State *L);

/* Gathers of tasks that gather nest on the C stack: beyond some depth the
** cancel goes on in the next round. The message is on top (popped). */
static bool gather_cancel(lua_State *L, int idx, ml_future *f) {
  ml_engine *e = ml__engine(L);
  bool any;
  if (e->cancel_depth < MAX_CANCEL_DEPTH || (f->obj.flags & ML_FF_VISITED)) {
    e->cancel_depth++;
    any = ml__gather_cancel(L, idx);
    e->cancel_depth--;
    return any;
  }
  luaL_checkstack(L, 12, "cancel");
  lua_pushcfunction(L, fut_cancel);
  lua_insert(L, -2);
  lua_pushvalue(L, idx);
  lua_insert(L, -2);
  ml_job *j = ml__handle_new(L, lua_gettop(L) - 2, 2, f->loop);
  ml__handle_pin(L, -1);
  ml__ready(f->loop, j);
  lua_pop(L, 2);
  return true;
}

bool ml__future_cancel(lua_State *L, int idx) {
  ml_future *f = lua_touserdata(L, idx);
  idx = lua_absindex(L, idx);
  if (f->obj.state != ML_F_PENDING) {
    lua_pop(L, 1);
    if (f->obj.state == ML_F_FAILED && f->obj.type != ML_T_GATHER) { /* as CPython: not reported */
      lua_getiuservalue(L, idx, 1);
      ml__report_seen(L, -1);
      lua_pop(L, 1);
    }
    return false;
  }
  if (f->obj.type == ML_T_TASK) return ml__task_cancel(L, idx);
  if (f->obj.type == ML_T_GATHER) return gather_cancel(L, idx, f);
  f->obj.flags |= ML_FF_MSG;
  ml__future_finish(L, idx, f, ML_F_CANCELLED);
  return true;
}

/* Ends a future as cancelled with the CancelledError on top (popped). */
void ml__future_cancelled_with(lua_State *L, int idx) {
  ml_future *f = lua_touserdata(L, idx);
  f->obj.flags &= (uint16_t)~ML_FF_MSG;
  ml__future_finish(L, lua_absindex(L, idx), f, ML_F_CANCELLED);
}

/* Pushes the CancelledError of a cancelled future. The first asker of a task gets the
** object that ended it (Future._make_cancelled_error), later ones get a copy. */
static void push_cancelled(lua_State *L, int idx, ml_future *f) {
  idx = lua_absindex(L, idx);
  lua_getiuservalue(L, idx, 1);
  if (!(f->obj.flags & ML_FF_MSG)) {
    lua_pushnil(L); /* as CPython: its message is gone with it */
    lua_setiuservalue(L, idx, 1);
    f->obj.flags |= ML_FF_MSG;
    return;
  }
  ml__error_cancelled(L);
}

int ml__future_results(lua_State *L, int idx) {
  ml_future *f = lua_touserdata(L, idx);
  switch (f->obj.state) {
  case ML_F_DONE:
    lua_getiuservalue(L, idx, 1);
    if (f->obj.flags & ML_FF_MULTI) {
      int t = lua_gettop(L), n;
      lua_getfield(L, t, "n");
      n = (int)lua_tointeger(L, -1);
      lua_pop(L, 1);
      luaL_checkstack(L, n + 1, "too many results of a task");
      for (int i = 1; i <= n; i++) lua_rawgeti(L, t, i);
      lua_remove(L, t);
      return n;
    }
    return 1;
  case ML_F_FAILED:
    lua_getiuservalue(L, idx, 1);
    ml__report_open(L, -1, true);
    lua_remove(L, -2);
    return -1;
  case ML_F_CANCELLED: push_cancelled(L, idx, f); return -1;
  default: ml__error_new(L, "InvalidStateError", "Result is not set."); return -1;
  }
}

/* ---- methods ---- */

static ml_future *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_FUTURE); }

static int fut_result(lua_State *L) {
  ml_future *f = check(L);
  int n;
  if (f->obj.state == ML_F_PENDING) return ml__misuse(L, "InvalidStateError", "Result is not set.");
  n = ml__future_results(L, 1);
  return n < 0 ? lua_error(L) : n;
}

static int fut_exception(lua_State *L) {
  ml_future *f = check(L);
  if (f->obj.state == ML_F_PENDING)
    return ml__misuse(L, "InvalidStateError", "Exception is not set.");
  if (f->obj.state == ML_F_DONE) {
    lua_pushnil(L);
    return 1;
  }
  ml__future_results(L, 1);
  return f->obj.state == ML_F_CANCELLED ? lua_error(L) : 1;
}

static int fut_done(lua_State *L) {
  lua_pushboolean(L, check(L)->obj.state != ML_F_PENDING);
  return 1;
}

static int fut_cancelled(lua_State *L) {
  lua_pushboolean(L, check(L)->obj.state == ML_F_CANCELLED);
  return 1;
}

static int fut_cancel(lua_State *L) {
  check(L);
  lua_settop(L, 2);
  if (lua_istable(L, 2) && !lua_getmetatable(L, 2)) { /* cancel{msg = "..."} */
    lua_getfield(L, 2, "msg");
    lua_replace(L, 2);
  }
  lua_settop(L, 2);
  lua_pushboolean(L, ml__future_cancel(L, 1));
  return 1;
}

static int not_for_tasks(lua_State *L, const ml_future *f, const char *what) {
  if (f->obj.type != ML_T_TASK) return 0;
  return ml__misuse(L, "RuntimeError", "Task does not support %s operation", what);
}

/* The future's callbacks were to be called by a loop that is closed: they are dropped. */
static int check_closed(lua_State *L, ml_future *f) {
  bool any = false;
  if (!f->loop->closed) return 0;
  for (ml_link *n; (n = f->loop->ready.next) != &f->loop->ready; any = true) {
    ml__list_remove(n);
    ml__handle_drop(L, (ml_job *)(void *)n);
  }
  return any ? ml__error(L, "RuntimeError", "Event loop is closed") : 0;
}

static int fut_set_result(lua_State *L) {
  ml_future *f = check(L);
  not_for_tasks(L, f, "set_result");
  if (f->obj.state != ML_F_PENDING)
    return ml__misuse(L, "InvalidStateError", "invalid state: the future is already done");
  if (lua_gettop(L) > 2) { /* several values: as a task returns them */
    int n = lua_gettop(L) - 1;
    lua_createtable(L, n, 1);
    lua_insert(L, 2);
    for (int i = n; i >= 1; i--) lua_rawseti(L, 2, i);
    lua_pushinteger(L, n);
    lua_setfield(L, 2, "n");
    lua_settop(L, 2);
    if (f->obj.state == ML_F_PENDING)
      f->obj.flags |= ML_FF_MULTI; /* a finalizer may have ended it */
  }
  lua_settop(L, 2);
  ml__future_set_result(L, 1);
  return check_closed(L, f);
}

static int fut_set_exception(lua_State *L) {
  ml_future *f = check(L);
  not_for_tasks(L, f, "set_exception");
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  if (f->obj.state != ML_F_PENDING)
    return ml__misuse(L, "InvalidStateError", "invalid state: the future is already done");
  if (lua_isnil(L, 2))
    return ml__misuse(L, "TypeError", "set_exception: the error must not be nil");
  /* a class stands for an error of it without a message */
  if (lua_istable(L, 2)) {
    lua_pushliteral(L, "__base");
    if (lua_rawget(L, 2) != LUA_TNIL) {
      lua_pushvalue(L, 2);
      lua_call(L, 0, 1);
      lua_replace(L, 2);
    }
    lua_settop(L, 2);
  }
  if (ml__isinstance(L, 2, "StopAsyncIteration"))
    return ml__misuse(
        L, "TypeError",
        "StopAsyncIteration interacts badly with iterators and cannot be raised into a Future");
  ml__future_set_error(L, 1);
  return check_closed(L, f);
}

static int fut_add_done_callback(lua_State *L) {
  ml_future *f = check(L);
  ml_job *j;
  if (!lua_isfunction(L, 2) && !luaL_getmetafield(L, 2, "__call"))
    return ml__misuse(L, "TypeError", "add_done_callback: a function was expected, got %s",
                      luaL_typename(L, 2));
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  if (f->loop->closed && f->obj.state != ML_F_PENDING)
    return ml__error(L, "RuntimeError", "Event loop is closed");
  j = ml__handle_new(L, 2, 1, f->loop); /* calls fn(future) */
  if (f->obj.state != ML_F_PENDING) {
    ml__handle_pin(L, -1);
    ml__ready(f->loop, j);
  } else {
    push_handles(L, 1, f);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    ml__list_append(&f->callbacks, &j->link);
  }
  return 0;
}

static int fut_remove_done_callback(lua_State *L) {
  ml_future *f = check(L);
  lua_Integer keep = 0, removed = 0;
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  if (f->obj.state != ML_F_PENDING || !(f->obj.flags & ML_FF_HANDLES)) {
    lua_pushinteger(L, 0);
    return 1;
  }
  push_handles(L, 1, f); /* 3 */
  lua_newtable(L);       /* 4: the jobs to be removed, by handle */
  for (lua_Integer k = 1; lua_rawgeti(L, 3, k) != LUA_TNIL; k++) {
    ml_job *j = ml__handle_job(L, -1, 2); /* __eq may do anything, also to the list */
    if (j != NULL) {
      lua_pushlightuserdata(L, j);
      lua_rawset(L, 4);
    } else
      lua_pop(L, 1);
  }
  lua_pop(L, 1);
  for (lua_Integer k = 1; lua_rawgeti(L, 3, k) != LUA_TNIL; k++) {
    lua_pushvalue(L, -1);
    if (lua_rawget(L, 4) != LUA_TNIL) {
      ml__list_remove(&((ml_job *)lua_touserdata(L, -1))->link);
      removed++;
      lua_pop(L, 2);
    } else {
      lua_pop(L, 1);
      lua_rawseti(L, 3, ++keep);
    }
  }
  for (lua_Integer k = keep + removed; k > keep; k--) {
    lua_pushnil(L);
    lua_rawseti(L, 3, k);
  }
  lua_pushinteger(L, removed);
  return 1;
}

static int fut_get_loop(lua_State *L) {
  ml__loop_push(L, check(L)->loop);
  return 1;
}

void ml__future_state_repr(lua_State *L, int idx) {
  static const char *const names[] = {"pending", "finished", "finished", "cancelled"};
  ml_future *f = lua_touserdata(L, idx);
  lua_pushstring(L, names[f->obj.state]);
}

/* Is there a table on top without words of its own? */
static bool is_plain_table(lua_State *L) {
  if (lua_type(L, -1) != LUA_TTABLE) return false;
  if (luaL_getmetafield(L, -1, "__tostring") == LUA_TNIL &&
      luaL_getmetafield(L, -1, "__name") == LUA_TNIL)
    return true;
  lua_pop(L, 1);
  return false;
}

/* Pushes " result=..." or " exception=..." or "". */
void ml__future_outcome_repr(lua_State *L, int idx) {
  ml_future *f = lua_touserdata(L, idx);
  idx = lua_absindex(L, idx);
  if (f->obj.state == ML_F_DONE) {
    lua_getiuservalue(L, idx, 1);
    if (lua_type(L, -1) == LUA_TSTRING)
      lua_pushfstring(L, " result='%s'", lua_tostring(L, -1));
    else if (is_plain_table(L))
      lua_pushfstring(L, " result=table: %p", lua_topointer(L, -1));
    else if (f->obj.flags & ML_FF_SHOWN)
      lua_pushliteral(L, " result=...");
    else {
      f->obj.flags |= ML_FF_SHOWN;
      ml__errtext(L, -1, NULL);
      f->obj.flags &= (uint16_t)~ML_FF_SHOWN;
      lua_pushfstring(L, " result=%s", lua_tostring(L, -1));
      lua_remove(L, -2);
    }
    lua_remove(L, -2);
  } else if (f->obj.state == ML_F_FAILED) {
    lua_getiuservalue(L, idx, 1);
    ml__report_open(L, -1, false);
    ml__errtext(L, -1, NULL);
    lua_pushfstring(L, " exception=%s", lua_tostring(L, -1));
    lua_replace(L, -4);
    lua_pop(L, 2);
  } else
    lua_pushliteral(L, "");
}

static int fut_tostring(lua_State *L) {
  check(L);
  ml__future_repr(L, 1);
  return 1;
}

static int fut_new(lua_State *L) {
  static const char *const keys[] = {"loop", NULL};
  ml_evloop *l = NULL;
  ml__checkoptions(L, 1, keys, "Future");
  if (lua_istable(L, 1) && lua_getfield(L, 1, "loop") != LUA_TNIL) l = ml__checkloop(L, -1);
  ml__future_new(L, l != NULL ? l : ml__loop_get(L));
  return 1;
}

static int core_isfuture(lua_State *L) {
  lua_pushboolean(L, ml__isfuture(ml__toobject(L, 1)));
  return 1;
}

const luaL_Reg ml__future_methods[] = {{"result", fut_result},
                                       {"exception", fut_exception},
                                       {"done", fut_done},
                                       {"cancelled", fut_cancelled},
                                       {"cancel", fut_cancel},
                                       {"set_result", fut_set_result},
                                       {"set_exception", fut_set_exception},
                                       {"add_done_callback", fut_add_done_callback},
                                       {"remove_done_callback", fut_remove_done_callback},
                                       {"get_loop", fut_get_loop},
                                       {NULL, NULL}};

void ml__open_futures(lua_State *L) {
  static const luaL_Reg meta[] = {{"__tostring", fut_tostring}, {NULL, NULL}};
  static const luaL_Reg fns[] = {{"isfuture", core_isfuture}, {NULL, NULL}};
  ml__newtype(L, ML_T_FUTURE, "Future", ml__future_methods, meta);
  ml__newclass(L, "Future", fut_new);
  ml__newtype(L, ML_T_GATHER, "Future", ml__future_methods, meta);
  lua_pop(L, 1);
  luaL_setfuncs(L, fns, 0);
}
