/* The Task object and the functions about tasks: what scripts see of task.c. */
#include <stdio.h>
#include <string.h>

#include "core.h"

static ml_fiber *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_TASK); }

static void push_name(lua_State *L, int idx, const ml_fiber *t) {
  if (t->fut.obj.flags & ML_FF_NAMED) {
    ml__push_extras(L, idx);
    lua_getfield(L, -1, "name");
    lua_remove(L, -2);
  } else
    lua_pushfstring(L, "Task-%d", (int)t->id);
}

void ml__task_name(lua_State *L, ml_fiber *t) {
  if (t->fut.obj.flags & ML_FF_NAMED && t->fut.obj.state == ML_F_PENDING) {
    ml__task_push(L, t);
    push_name(L, lua_gettop(L), t);
    lua_remove(L, -2);
  } else /* the object of one that has ended is not to be found from here */
    lua_pushfstring(L, "Task-%d", (int)t->id);
}

static int task_get_name(lua_State *L) {
  push_name(L, 1, check(L));
  return 1;
}

static void set_name(lua_State *L, int idx, int name) {
  ml_fiber *t = lua_touserdata(L, idx);
  name = lua_absindex(L, name);
  ml__push_extras(L, idx);
  luaL_tolstring(L, name, NULL);
  lua_setfield(L, -2, "name");
  lua_pop(L, 1);
  t->fut.obj.flags |= ML_FF_NAMED;
}

static int task_set_name(lua_State *L) {
  check(L);
  luaL_checkany(L, 2);
  set_name(L, 1, 2);
  return 0;
}

static int task_get_coro(lua_State *L) {
  ml_fiber *t = check(L);
  lua_getiuservalue(L, 1, 2);
  if (t->fut.obj.flags & ML_FF_CALLED) { /* there was no need for one yet */
    ml__coroutine_awaited(L, -1);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 2);
    t->fut.obj.flags &= (uint16_t)~ML_FF_CALLED;
  }
  return 1;
}

static int task_cancelling(lua_State *L) {
  lua_pushinteger(L, check(L)->cancels);
  return 1;
}

static int task_uncancel(lua_State *L) {
  ml_fiber *t = check(L);
  if (t->cancels > 0 && --t->cancels == 0) t->fut.obj.flags &= (uint16_t)~ML_FF_MUST_CANCEL;
  lua_pushinteger(L, t->cancels);
  return 1;
}

/* The innermost place in the task's code: "FILE:LINE", or "". */
static void where(const ml_fiber *t, char *buf, size_t n) {
  lua_State *co = t->parked != NULL ? t->parked : t->thread;
  lua_Debug ar;
  buf[0] = '\0';
  if (t->fut.obj.state != ML_F_PENDING || co == NULL || t->waiting == NULL) co = t->thread;
  if (co == NULL) return;
  for (int level = 0; lua_getstack(co, level, &ar); level++) {
    lua_getinfo(co, "Sl", &ar);
    if (ar.currentline > 0 && strncmp(ar.source, "@moonloop/", 10) != 0) {
      snprintf(buf, n, "%s:%d", ar.short_src, ar.currentline);
      return;
    }
  }
}

void ml__future_repr(lua_State *L, int idx) {
  ml_future *f = lua_touserdata(L, idx);
  char at[128], coro[256];
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 12, "repr");
  ml__future_state_repr(L, idx);
  if (f->obj.type != ML_T_TASK) {
    lua_pushfstring(L, "<%s %s", f->obj.type == ML_T_GATHER ? "_GatheringFuture" : "Future",
                    lua_tostring(L, -1));
  } else {
    ml_fiber *t = (ml_fiber *)f;
    push_name(L, idx, t);
    where(t, at, sizeof at);
    lua_getiuservalue(L, idx, 2);
    ml__coroutine_describe(L, -1, coro, sizeof coro);
    lua_pop(L, 1);
    if (f->obj.state == ML_F_PENDING)
      lua_pushfstring(L, "<Task %s name='%s' coro=<%s%s%s>",
                      t->cancels > 0 ? "cancelling" : lua_tostring(L, -2), lua_tostring(L, -1),
                      coro, at[0] ? " running at " : "", at);
    else
      lua_pushfstring(L, "<Task %s name='%s' coro=<%s>", lua_tostring(L, -2), lua_tostring(L, -1),
                      coro);
    lua_remove(L, -2);
    if (t->waiting != NULL && f->obj.state == ML_F_PENDING) {
      if (t->waiting->type == ML_T_OP)
        lua_pushfstring(L, "%s wait_for=<%s>", lua_tostring(L, -1),
                        ((ml_op *)t->waiting)->cls->name);
      else if (t->waiting->type == ML_T_TASK) {
        ml__task_name(L, (ml_fiber *)t->waiting);
        lua_pushfstring(L, "%s wait_for=<Task name='%s'>", lua_tostring(L, -2),
                        lua_tostring(L, -1));
        lua_remove(L, -2);
      } else
        lua_pushfstring(L, "%s wait_for=<Future>", lua_tostring(L, -1));
      lua_remove(L, -2);
    }
  }
  ml__future_outcome_repr(L, idx);
  lua_pushliteral(L, ">");
  lua_concat(L, 3);
  lua_remove(L, -2);
}

void ml__future_brief(lua_State *L, int idx) {
  ml_future *f = lua_touserdata(L, idx);
  char coro[256];
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, 8, "repr");
  if (f->obj.type != ML_T_TASK) {
    lua_pushliteral(L, "<Future finished>");
    return;
  }
  push_name(L, idx, (ml_fiber *)f);
  lua_getiuservalue(L, idx, 2);
  ml__coroutine_describe(L, -1, coro, sizeof coro);
  lua_pop(L, 1);
  lua_pushfstring(L, "<Task finished name='%s' coro=<%s>>", lua_tostring(L, -1), coro);
  lua_remove(L, -2);
}

static int task_tostring(lua_State *L) {
  check(L);
  ml__future_repr(L, 1);
  return 1;
}

/* Pushes the traceback of a pending task's suspended stack. */
static void push_stack(lua_State *L, ml_fiber *t) {
  int n = 0;
  luaL_checkstack(L, 8, "stack");
  if (t->parked != NULL && t->waiting != NULL && t->parked != t->thread) {
    luaL_traceback(L, t->parked, NULL, 0);
    n++;
  }
  if (t->thread != NULL && t->thread != L) {
    luaL_traceback(L, t->thread, NULL, 0);
    n++;
  }
  for (ml_segment *s = t->segments; s != NULL && n < 6; s = s->next, n++)
    luaL_traceback(L, s->outer, NULL, 0);
  if (n == 0) lua_pushliteral(L, "");
  for (; n > 1; n--) {
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
}

/* The option `limit` of get_stack and print_stack, or a number itself. */
static lua_Integer check_limit(lua_State *L, const char *const *keys, const char *fname) {
  lua_Integer limit = LUA_MAXINTEGER;
  int isint = 1;
  if (lua_istable(L, 2)) {
    ml__checkoptions(L, 2, keys, fname);
    lua_getfield(L, 2, "limit");
  } else
    lua_pushvalue(L, 2);
  if (!lua_isnoneornil(L, -1)) limit = lua_tointegerx(L, -1, &isint);
  if (!isint)
    ml__misuse(L, "TypeError", "%s: the limit must be an integer, got %s", fname,
               luaL_typename(L, -1));
  lua_pop(L, 1);
  return limit;
}

/* task:get_stack({limit=}) -> array of {source, line, name}; innermost first */
static int task_get_stack(lua_State *L) {
  static const char *const keys[] = {"limit", NULL};
  ml_fiber *t = check(L);
  lua_State *stacks[3] = {t->waiting != NULL ? t->parked : NULL, t->thread, NULL};
  lua_Integer limit, n = 0;
  lua_settop(L, 2);
  limit = check_limit(L, keys, "get_stack");
  lua_newtable(L);
  if (t->fut.obj.state != ML_F_PENDING) return 1;
  if (ml__engine(L)->task == t) {
    stacks[0] = L;
    stacks[1] = t->thread != L ? t->thread : NULL;
  } else if (stacks[0] == stacks[1])
    stacks[0] = NULL;
  for (int i = 0; i < 2; i++) {
    lua_Debug ar;
    if (stacks[i] == NULL) continue;
    for (int level = 0; n < limit && lua_getstack(stacks[i], level, &ar); level++) {
      lua_getinfo(stacks[i], "Sln", &ar);
      if (ar.currentline <= 0) continue;
      lua_createtable(L, 0, 3);
      lua_pushstring(L, ar.short_src);
      lua_setfield(L, -2, "source");
      lua_pushinteger(L, ar.currentline);
      lua_setfield(L, -2, "line");
      if (ar.name != NULL)
        lua_pushstring(L, ar.name);
      else if (strcmp(ar.what, "main") == 0)
        lua_pushliteral(L, "main chunk");
      else
        lua_pushfstring(L, "function at %s:%d", ar.short_src, ar.linedefined);
      lua_setfield(L, -2, "name");
      lua_rawseti(L, -2, ++n);
    }
  }
  return 1;
}

/* Pushes the text at idx without what follows its first `lines` lines. */
static void push_lines(lua_State *L, int idx, lua_Integer lines) {
  const char *s = lua_tostring(L, idx), *end = s;
  while ((end = strchr(end, '\n')) != NULL && --lines > 0) end++;
  lua_pushlstring(L, s, end != NULL ? (size_t)(end - s) : strlen(s));
}

/* task:print_stack({limit=, file=}): to the log, or to a file */
static int task_print_stack(lua_State *L) {
  static const char *const keys[] = {"limit", "file", NULL};
  ml_fiber *t = check(L);
  lua_Integer limit;
  lua_settop(L, 2);
  limit = check_limit(L, keys, "print_stack");
  if (lua_istable(L, 2))
    lua_getfield(L, 2, "file");
  else
    lua_pushnil(L);
  lua_replace(L, 2);
  ml__future_repr(L, 1);
  if (t->fut.obj.state == ML_F_PENDING)
    push_stack(L, t);
  else {
    lua_getiuservalue(L, 1, 1);
    if (t->fut.obj.state == ML_F_FAILED) {
      ml__report_open(L, -1, false);
      ml__traceback_of(L, -1);
    }
    if (lua_type(L, -1) != LUA_TSTRING) lua_pushliteral(L, "no stack");
  }
  if (limit >= 0 && limit < LUA_MAXINTEGER) push_lines(L, -1, limit + 1);
  if (lua_isnil(L, 2)) {
    ml__log(ml__engine(L), "Stack for %s\n%s", lua_tostring(L, 3), lua_tostring(L, -1));
    return 0;
  }
  lua_pushfstring(L, "Stack for %s\n%s\n", lua_tostring(L, 3), lua_tostring(L, -1));
  lua_getfield(L, 2, "write");
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -3);
  lua_call(L, 2, 0);
  return 0;
}

void ml__task_created_at(lua_State *L, int idx) {
  ml__push_extras(L, idx);
  luaL_traceback(L, L, NULL, 1);
  lua_setfield(L, -2, "created_at");
  lua_pop(L, 1);
}

void ml__source_traceback(lua_State *L, int idx) {
  ml__push_extras(L, idx);
  lua_getfield(L, -1, "created_at");
  lua_remove(L, -2);
}

static const char *const task_keys[] = {"name", "eager_start", "context", "loop", NULL};

/* create_task(L, coroutine at idx, options at opts) pushes the task. True: what
** ml__task_created is to be told. */
static bool create(lua_State *L, int idx, int opts, ml_evloop *l, const char *fname, bool eager,
                   bool may_yield) {
  ml_object *o = ml__toobject(L, idx);
  ml_fiber *t;
  int name = 0, context = 0;
  ml__checkoptions(L, opts, task_keys, fname);
  if (lua_istable(L, opts)) { /* first: metamethods may do anything */
    opts = lua_absindex(L, opts);
    if (lua_getfield(L, opts, "eager_start") != LUA_TNIL) eager = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (lua_getfield(L, opts, "context") == LUA_TTABLE) context = lua_gettop(L);
    if (lua_getfield(L, opts, "name") != LUA_TNIL) {
      luaL_tolstring(L, -1, NULL);
      name = lua_gettop(L);
    }
  }
  /* A future or task is no coroutine, as in CPython; but gather(...) may be given. */
  if (o != NULL ? !ml__iscoroutine(o) && o->type != ML_T_GATHER
                : !lua_isfunction(L, idx) && !ml__isawaitable(L, idx))
    ml__misuse(L, "TypeError", "%s: a coroutine was expected, got %s", fname,
               o != NULL ? ml__engine(L)->typenames[o->type] : luaL_typename(L, idx));
  if (o != NULL && ml__iscoroutine(o) && o->state != ML_CO_NEW)
    ml__misuse(L, "RuntimeError", "cannot reuse already awaited coroutine");
  if (l->closed) {
    if (o != NULL && ml__iscoroutine(o) && !ml__isshared(o)) o->state = ML_CO_AWAITED; /* closed */
    ml__error(L, "RuntimeError", "Event loop is closed");
  }
  if (o == NULL && ml__asyncfunction(L, idx)) { /* a coroutine function: call it */
    lua_pushvalue(L, idx);
    lua_call(L, 0, 1);
    lua_replace(L, idx);
  }
  t = ml__task_new(L, idx, l);
  if (name != 0) set_name(L, -1, name);
  if (context != 0) {
    lua_pushvalue(L, context);
    ml__context_set(L, -2, t);
    lua_pop(L, 1);
  }
  if (l->debug) ml__task_created_at(L, -1);
  if (eager && ml__engine(L)->running == l) return ml__task_start_eagerly(L, l, t, may_yield);
  ml__ready(l, &t->job);
  return false;
}

static int core_eager_task_factory(lua_State *L);

/* Pushes the task factory and its arguments; false: the loop has none, or the one that
** only makes tasks eager. */
static bool push_factory(lua_State *L, int idx, int opts, ml_evloop *l, bool *eager) {
  *eager = false;
  if (!l->has_factory) return false;
  ml__loop_push(L, l);
  lua_getiuservalue(L, -1, 2);
  if (lua_tocfunction(L, -1) == core_eager_task_factory) {
    lua_pop(L, 2);
    *eager = true;
    return false;
  }
  lua_insert(L, -2);
  lua_pushvalue(L, idx);
  if (lua_istable(L, opts))
    lua_pushvalue(L, opts);
  else
    lua_pushnil(L);
  return true;
}

/* The task that a factory has made is on top: it has the name that was asked for, whatever the factory knows of names. */
static void name_made(lua_State *L, int opts) {
  ml_object *o = ml__toobject(L, -1);
  if (o == NULL || o->type != ML_T_TASK || !lua_istable(L, opts)) return;
  if (lua_getfield(L, opts, "name") != LUA_TNIL) set_name(L, -2, lua_gettop(L));
  lua_pop(L, 1);
}

void ml__create_task(lua_State *L, int idx, int opts, ml_evloop *l, const char *fname) {
  bool eager;
  idx = lua_absindex(L, idx);
  if (push_factory(L, idx, opts, l, &eager)) {
    lua_call(L, 3, 1);
    name_made(L, opts);
  } else
    create(L, idx, opts, l, fname, eager, false);
}

static int called_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  name_made(L, (int)ctx);
  return 1;
}

int ml__create_task_k(lua_State *L, int idx, int opts, ml_evloop *l) {
  bool eager;
  if (!push_factory(L, idx, opts, l, &eager))
    return ml__task_created(L, create(L, idx, opts, l, "create_task", eager, true));
  lua_callk(L, 3, 1, opts, called_k);
  return called_k(L, LUA_OK, opts);
}

/* (coroutine, options): the loop that the options name, or the running one. */
static ml_evloop *loop_option(lua_State *L) {
  ml_evloop *l;
  lua_settop(L, 2);
  if (lua_istable(L, 2) && lua_getfield(L, 2, "loop") != LUA_TNIL)
    l = ml__checkloop(L, -1);
  else
    l = ml__loop_get(L);
  lua_settop(L, 2);
  return l;
}

static int core_create_task(lua_State *L) {
  ml_evloop *l = loop_option(L);
  return ml__create_task_k(L, 1, 2, l);
}

/* eager_task_factory(loop, coro, opts); and what factories build on:
** core.Task(coro, opts) */
static int core_task(lua_State *L) {
  ml_evloop *l = loop_option(L);
  return ml__task_created(L, create(L, 1, 2, l, "Task", false, true));
}

static int core_eager_task_factory(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  lua_settop(L, 3);
  return ml__task_created(L, create(L, 2, 3, l, "create_task", true, true));
}

ml_future *ml__ensure_future(lua_State *L, int idx, ml_evloop *loop, const char *what) {
  ml_object *o = ml__toobject(L, idx);
  idx = lua_absindex(L, idx);
  if (ml__isfuture(o)) {
    if (loop != NULL && ((ml_future *)o)->loop != loop)
      ml__misuse(
          L, "ValueError",
          "%s: the future belongs to a different loop than the one specified as the loop argument",
          what);
    return (ml_future *)o;
  }
  if (loop == NULL) loop = ml__loop_get(L);
  if (o != NULL ? ml__iscoroutine(o) : lua_isfunction(L, idx) || ml__isawaitable(L, idx)) {
    lua_pushnil(L);
    ml__create_task(L, idx, lua_gettop(L), loop, what);
    lua_replace(L, idx);
    lua_pop(L, 1);
    o = ml__toobject(L, idx);
    if (!ml__isfuture(o)) ml__misuse(L, "TypeError", "%s: the task factory gave no task", what);
    return (ml_future *)o;
  }
  ml__misuse(L, "TypeError",
             "%s: an asyncio.Future, a coroutine or an awaitable is required, got %s", what,
             luaL_typename(L, idx));
  return NULL;
}

static int core_ensure_future(lua_State *L) {
  static const char *const keys[] = {"loop", NULL};
  ml_evloop *l = NULL;
  lua_settop(L, 2);
  ml__checkoptions(L, 2, keys, "ensure_future");
  if (lua_istable(L, 2) && lua_getfield(L, 2, "loop") != LUA_TNIL) l = ml__checkloop(L, -1);
  lua_settop(L, 1);
  ml__ensure_future(L, 1, l, "ensure_future");
  return 1;
}

static int core_current_task(lua_State *L) {
  ml_engine *e = ml__engine(L);
  ml_evloop *l = lua_isnoneornil(L, 1) ? e->running : ml__checkloop(L, 1);
  if (l == NULL || e->task == NULL || e->task->fut.loop != l)
    lua_pushnil(L);
  else
    ml__task_push(L, e->task);
  return 1;
}

static int core_all_tasks(lua_State *L) {
  ml_evloop *l = lua_isnoneornil(L, 1) ? ml__loop_get(L) : ml__checkloop(L, 1);
  lua_Integer n = 0;
  lua_createtable(L, (int)l->ntasks, 0);
  for (ml_link *k = l->tasks.next; k != &l->tasks; k = k->next) {
    ml__task_push(L, ml__containerof(k, ml_fiber, all));
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* core.awaiting(task): what it awaits (future, task), the name of the operation
** that it awaits, or nil */
static int core_awaiting(lua_State *L) {
  ml_fiber *t = check(L);
  ml_object *w = t->waiting;
  if (w == NULL || t->fut.obj.state != ML_F_PENDING)
    lua_pushnil(L);
  else if (w->type == ML_T_OP)
    lua_pushstring(L, ((ml_op *)w)->cls->name);
  else if (t->parked != NULL && lua_checkstack(t->parked, 2)) {
    lua_pushvalue(t->parked, 1);
    lua_xmove(t->parked, L, 1);
  } else
    lua_pushnil(L);
  return 1;
}

/* core.awaiters(fut): array of the tasks that wait on it */
static int core_awaiters(lua_State *L) {
  ml_future *f = ml__checkobject(L, 1, ML_T_FUTURE);
  lua_Integer n = 0;
  lua_newtable(L);
  for (ml_link *k = f->callbacks.next; k != &f->callbacks; k = k->next) {
    ml_job *j = (ml_job *)(void *)k;
    if (ml__job_is_task(j)) {
      ml__task_push(L, ml__containerof(j, ml_fiber, job));
      lua_rawseti(L, -2, ++n);
    } else if (ml__gather_of_job(j) != NULL) {
      ml__gather_push(L, ml__gather_of_job(j));
      lua_rawseti(L, -2, ++n);
    }
  }
  return 1;
}

void ml__open_tasks(lua_State *L) {
  static const luaL_Reg meta[] = {{"__tostring", task_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"get_name", task_get_name},
                                     {"set_name", task_set_name},
                                     {"get_coro", task_get_coro},
                                     {"get_stack", task_get_stack},
                                     {"print_stack", task_print_stack},
                                     {"cancelling", task_cancelling},
                                     {"uncancel", task_uncancel},
                                     {"get_context", ml__context_get},
                                     {NULL, NULL}};
  static const luaL_Reg fns[] = {{"create_task", core_create_task},
                                 {"ensure_future", core_ensure_future},
                                 {"current_task", core_current_task},
                                 {"all_tasks", core_all_tasks},
                                 {"eager_task_factory", core_eager_task_factory},
                                 {"awaiting", core_awaiting},
                                 {"awaiters", core_awaiters},
                                 {NULL, NULL}};
  ml__newtype(L, ML_T_TASK, "Task", ml__future_methods, meta);
  luaL_setfuncs(L, methods, 0);
  ml__newclass(L, "Task", core_task);
  luaL_setfuncs(L, fns, 0);
}
