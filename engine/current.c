/* What is current: the loop of the caller, the context of the task that runs, and who is told of
** an interrupt; and counts of what there is at the moment, for leak gates.
**
** Contexts are tables: ML_R_CONTEXTS has those of tasks, ML_R_MAINCTX the one outside of them. A
** task has none of its own until one is set or inherited (ML_FF_CONTEXT).
*/
#include <string.h>

#include "core.h"

/* ---- which loop ---- */

static int core_get_running_loop(lua_State *L) {
  ml_engine *e = ml__engine(L);
  if (e->running == NULL) return ml__misuse(L, "RuntimeError", "no running event loop");
  ml__loop_push(L, e->running);
  return 1;
}

/* core.get_running_loop_or_nil() */
static int core_running_or_nil(lua_State *L) {
  ml_engine *e = ml__engine(L);
  if (e->running == NULL)
    lua_pushnil(L);
  else
    ml__loop_push(L, e->running);
  return 1;
}

static int core_get_event_loop(lua_State *L) {
  ml_engine *e = ml__engine(L);
  if (e->running != NULL) {
    ml__loop_push(L, e->running);
    return 1;
  }
  if (e->current == NULL) e->current = ml__loop_new(e, e->config.clock);
  if (e->current == NULL)
    return luaL_error(L, e->closing ? "the engine is closing" : "not enough memory");
  ml__loop_push(L, e->current);
  return 1;
}

static int core_set_event_loop(lua_State *L) {
  ml_engine *e = ml__engine(L);
  e->current = lua_isnoneornil(L, 1) ? NULL : ml__checkloop(L, 1);
  return 0;
}

/* new_event_loop{clock = "real" | "virtual" | "host", debug = } */
static int core_new_event_loop(lua_State *L) {
  static const char *const keys[] = {"clock", "debug", "shuffle", NULL};
  static const char *const clocks[] = {"real", "virtual", "host", NULL};
  ml_engine *e = ml__engine(L);
  ml_clock clock = e->config.clock;
  uint64_t rng = 0;
  ml_evloop *l;
  lua_settop(L, 1);
  ml__checkoptions(L, 1, keys, "new_event_loop");
  if (lua_istable(L, 1) && lua_getfield(L, 1, "shuffle") != LUA_TNIL) {
    if (!lua_isinteger(L, -1))
      return ml__misuse(L, "TypeError", "shuffle must be an integer, got %s",
                        luaL_tolstring(L, -1, NULL));
    rng = (uint64_t)lua_tointeger(L, -1) * 2 + 1;
  }
  if (lua_istable(L, 1) && lua_getfield(L, 1, "clock") != LUA_TNIL) {
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    int i = 0;
    while (clocks[i] != NULL && strcmp(s, clocks[i]) != 0) i++;
    if (clocks[i] == NULL || (i == ML_CLOCK_HOST && e->config.now == NULL))
      return ml__misuse(L, "ValueError", "clock must be \"real\" or \"virtual\", got %s",
                        luaL_tolstring(L, -1, NULL));
    clock = (ml_clock)i;
  }
  ml__check_handles(L);
  l = ml__loop_new(e, clock);
  if (l == NULL) return luaL_error(L, e->closing ? "the engine is closing" : "not enough memory");
  l->rng = rng;
  if (lua_istable(L, 1)) {
    if (lua_getfield(L, 1, "debug") != LUA_TNIL) l->debug = lua_toboolean(L, -1);
    ml__loop_watched(l);
  }
  ml__loop_push(L, l);
  return 1;
}

/* core.on_sigint(fn or nil) returns the handler that was there */
static int core_on_sigint(lua_State *L) {
  lua_settop(L, 1);
  ml__engine(L)->interrupted = 0;
  ml__ref_get(L, ML_R_SIGINT);
  lua_insert(L, 1);
  if (lua_isnil(L, 2)) {
    lua_pushboolean(L, 0);
    lua_replace(L, 2);
  }
  ml__ref_set(L, ML_R_SIGINT);
  if (!lua_isfunction(L, 1)) lua_pushnil(L);
  return 1;
}

void ml__interrupt_deliver(ml_evloop *l) {
  ml_engine *e = l->engine;
  lua_State *L = l->L;
  int n = e->sigints;
  e->sigints = 0;
  if (n == 0 || !lua_checkstack(L, 10)) return;
  if (n == 1 && ml__ref_get(L, ML_R_SIGINT) == LUA_TFUNCTION) {
    if (lua_pcall(L, 0, 0, 0) == LUA_OK) return;
  } else {
    lua_pushcfunction(L, ml__push_interrupt);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) { /* no memory: the text does */
    }
  }
  ml__ref_set(L, ML_R_PENDINGERR);
  l->raise = true;
}

/* core.stats(): for leak gates */
static int core_stats(lua_State *L) {
  ml_engine *e = ml__engine(L);
  lua_Integer tasks = 0, handles = 0, timers = 0, ready = 0, pins = 0;
  for (ml_link *k = e->loops.next; k != &e->loops; k = k->next) {
    ml_evloop *l = ml__containerof(k, ml_evloop, link);
    tasks += (lua_Integer)l->ntasks;
    timers += (lua_Integer)l->ntimers;
    for (ml_link *j = l->ready.next; j != &l->ready; j = j->next) ready++;
    if (l->uv_ready && uv_loop_alive(l->uv)) handles++;
  }
  ml__ref_get(L, ML_R_PINS);
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i > 0; i--) {
    if (lua_rawgeti(L, -1, i) == LUA_TUSERDATA) pins++;
    lua_pop(L, 1);
  }
  pins += e->lastslot - e->nslots - tasks; /* tasks that have ended and are held */
  lua_createtable(L, 0, 8);
  lua_pushinteger(L, tasks);
  lua_setfield(L, -2, "tasks");
  lua_pushinteger(L, timers);
  lua_setfield(L, -2, "timers");
  lua_pushinteger(L, ready);
  lua_setfield(L, -2, "ready");
  lua_pushinteger(L, handles);
  lua_setfield(L, -2, "handles");
  lua_pushinteger(L, pins);
  lua_setfield(L, -2, "pins");
  lua_pushinteger(L, e->nstats_inflight);
  lua_setfield(L, -2, "futures_in_flight");
  lua_pushinteger(L, (lua_Integer)ml__alloc_used(e->alloc));
  lua_setfield(L, -2, "bytes");
  return 1;
}

static int core_in_host_script(lua_State *L) {
  ml_engine *e = ml__engine(L);
  lua_pushboolean(L, e->host_mode && e->task != NULL && (e->task->fut.obj.flags & ML_FF_HOST));
  return 1;
}

/* ---- context tables ----
**
** One that nobody has in hands is never changed: asyncio.context.set replaces it by a changed copy, and those who
** inherit it share it. One that was given out (asyncio.context.copy, task:get_context) has a metatable and is changed
** in place, so that all who run in it see what is set; who inherits it gets a copy.
*/

#define GIVEN_OUT "moonloop.context"

/* Pushes a copy of the context table at idx. */
static void push_copy(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 5, "context");
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, idx);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
}

/* The context on top is inherited: where it may be changed in place, a copy takes its place. */
static bool inherited(lua_State *L) {
  if (!lua_istable(L, -1)) return false;
  if (!lua_getmetatable(L, -1)) return true;
  lua_pop(L, 1);
  push_copy(L, -1);
  lua_replace(L, -2);
  return true;
}

void ml__context_set(lua_State *L, int task, ml_fiber *t) {
  /* the context is on top (stays) */
  int ctx = lua_gettop(L);
  task = lua_absindex(L, task);
  ml__ref_get(L, ML_R_CONTEXTS);
  lua_pushvalue(L, task);
  lua_pushvalue(L, ctx);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  t->fut.obj.flags |= ML_FF_CONTEXT;
}

static void push_context(lua_State *L, ml_fiber *t) {
  if (t == NULL) {
    ml__ref_get(L, ML_R_MAINCTX);
    return;
  }
  if (!(t->fut.obj.flags & ML_FF_CONTEXT)) {
    lua_pushnil(L);
    return;
  }
  ml__ref_get(L, ML_R_CONTEXTS);
  ml__task_push(L, t);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

void ml__context_inherit(lua_State *L, ml_fiber *t, ml_fiber *parent) {
  int task = lua_gettop(L);
  push_context(L, parent);
  if (inherited(L)) ml__context_set(L, task, t);
  lua_settop(L, task);
}

bool ml__context_push(lua_State *L) {
  ml_engine *e = ml__engine(L);
  if (e->task == NULL && !e->main_context) {
    lua_pushnil(L);
    return false;
  }
  push_context(L, e->task);
  return inherited(L);
}

bool ml__context_of(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  ml__ref_get(L, ML_R_CONTEXTS);
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (lua_istable(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

/* Pops the context table that is current from now on, or nil. */
static void set_context(lua_State *L) {
  ml_engine *e = ml__engine(L);
  if (e->task == NULL) {
    e->main_context = !lua_isnil(L, -1);
    ml__ref_set(L, ML_R_MAINCTX);
    return;
  }
  ml__task_push(L, e->task);
  lua_insert(L, -2);
  ml__context_set(L, -2, e->task);
  lua_pop(L, 2);
}

int ml__context_pcall(lua_State *L, int n, int ctx) {
  int status, f = lua_gettop(L) - n;
  if (!lua_istable(L, ctx)) return lua_pcall(L, n, 0, 0);
  ctx = lua_absindex(L, ctx);
  push_context(L, ml__engine(L)->task);
  lua_insert(L, f);
  lua_pushvalue(L, ctx);
  set_context(L);
  status = lua_pcall(L, n, 0, 0);
  lua_pushvalue(L, f);
  set_context(L);
  lua_remove(L, f);
  return status;
}

int ml__context_get(lua_State *L) {
  ml_object *o = ml__toobject(L, 1);
  if (o != NULL && o->type == ML_T_TASK) {
    if (!ml__context_of(L, 1)) lua_newtable(L);
    if (!lua_getmetatable(L, -1)) {
      push_copy(L, -1);
      luaL_setmetatable(L, GIVEN_OUT);
      ml__context_set(L, 1, (ml_fiber *)o);
      return 1;
    }
    lua_pop(L, 1);
    return 1;
  }
  push_context(L, ml__engine(L)->task);
  if (!lua_istable(L, -1)) lua_newtable(L);
  return 1;
}

static int core_context_set(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  set_context(L);
  return 0;
}

/* context_copy(given_out): a copy of the current context. */
static int core_context_copy(lua_State *L) {
  lua_settop(L, 1);
  push_context(L, ml__engine(L)->task);
  if (lua_istable(L, -1))
    push_copy(L, -1);
  else
    lua_newtable(L);
  if (lua_toboolean(L, 1)) luaL_setmetatable(L, GIVEN_OUT);
  return 1;
}

/* context_given_out(context): is it one that is changed in place? */
static int core_context_given_out(lua_State *L) {
  lua_settop(L, 1);
  lua_pushboolean(L, lua_getmetatable(L, 1) != 0);
  return 1;
}

void ml__open_current(lua_State *L) {
  static const luaL_Reg fns[] = {{"get_running_loop", core_get_running_loop},
                                 {"get_running_loop_or_nil", core_running_or_nil},
                                 {"get_event_loop", core_get_event_loop},
                                 {"set_event_loop", core_set_event_loop},
                                 {"new_event_loop", core_new_event_loop},
                                 {"on_sigint", core_on_sigint},
                                 {"stats", core_stats},
                                 {"in_host_script", core_in_host_script},
                                 {"context_get", ml__context_get},
                                 {"context_set", core_context_set},
                                 {"context_copy", core_context_copy},
                                 {"context_given_out", core_context_given_out},
                                 {NULL, NULL}};
  luaL_setfuncs(L, fns, 0);
  luaL_newmetatable(L, GIVEN_OUT);
  lua_pop(L, 1);
}
