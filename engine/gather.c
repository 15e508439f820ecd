/* gather: one future for many. Semantics of asyncio.gather (Lib/asyncio/tasks.py).
**
** The gathering future has a job in each child's callbacks, all in its own block
** of memory; it is pinned, and in its loop's list, until the last child is done or
** the loop is closed. User value 2 is the array of children; when all are done it
** becomes the array of results.
*/
#include <string.h>

#include "core.h"

typedef struct gather gather;
typedef struct child {
  ml_job job;
  gather *owner;
  ml_future *future;
} child;

struct gather {
  ml_future fut; /* first */
  ml_link all;   /* in loop->gathers while it is pinned */
  int pin;
  int n;      /* children in argument order, repeated ones too */
  int unique; /* different children */
  int nkids;  /* of them pending when gather was called */
  int finished;
  bool return_exceptions, cancel_requested;
  child kids[];
};

static void keep(lua_State *L, int idx, gather *g) {
  g->pin = ml__pin(L, idx);
  ml__list_append(&g->fut.loop->gathers, &g->all);
}

static void let_go(lua_State *L, gather *g) {
  ml__list_remove(&g->all);
  ml__unpin(L, g->pin);
  g->pin = 0;
}

void ml__gathers_drop(lua_State *L, ml_evloop *l) {
  while (!ml__list_empty(&l->gathers)) {
    gather *g = ml__containerof(l->gathers.next, gather, all);
    for (int i = 0; i < g->nkids; i++) ml__list_remove(&g->kids[i].job.link);
    let_go(L, g);
  }
}

/* Pushes the outcome of the child on top, as an array of results has it. */
static void push_outcome(lua_State *L) {
  ml_future *f = lua_touserdata(L, -1);
  if (f->obj.state == ML_F_DONE) {
    lua_getiuservalue(L, -1, 1);
    if (f->obj.flags & ML_FF_MULTI) {
      lua_rawgeti(L, -1, 1);
      lua_remove(L, -2);
    }
  } else if (f->obj.state == ML_F_CANCELLED) { /* a new one; a task's message went with its own */
    ml__error_new(L, "CancelledError", NULL);
    if (f->obj.flags & ML_FF_MSG) {
      lua_getiuservalue(L, -2, 1);
      lua_setfield(L, -2, "message");
    }
  } else
    ml__future_results(L, lua_gettop(L));
}

/* All children are done: the gather at idx gets its results. */
static void complete(lua_State *L, int idx, gather *g) {
  lua_getiuservalue(L, idx, 2);
  if (g->cancel_requested) {
    /* also with return_exceptions: the cancellation is not lost */
    lua_rawgeti(L, -1, g->n);
    ml_future *last = lua_touserdata(L, -1);
    if (last->obj.state == ML_F_CANCELLED)
      ml__future_results(L, lua_gettop(L));
    else { /* it swallowed the cancel, but not the message */
      ml__error_new(L, "CancelledError", NULL);
      ml__push_extras(L, -2);
      lua_getfield(L, -1, "cancel_message");
      lua_setfield(L, -3, "message");
      lua_pop(L, 1);
    }
    ml__future_set_error(L, idx);
    lua_pop(L, 2);
    return;
  }
  for (int i = 1; i <= g->n; i++) {
    lua_rawgeti(L, -1, i);
    push_outcome(L);
    lua_rawseti(L, -3, i);
    lua_pop(L, 1);
  }
  lua_pushinteger(L, g->n);
  lua_setfield(L, -2, "n");
  ml__future_set_result(L, idx);
}

/* A child (on top, popped) is done. The gather is at idx. */
static void child_done(lua_State *L, int idx, gather *g) {
  ml_future *f = lua_touserdata(L, -1);
  int top = lua_gettop(L);
  g->finished++;
  if (g->fut.obj.state != ML_F_PENDING) {
    if (f->obj.state == ML_F_FAILED) ml__future_results(L, top); /* seen: late errors are silent */
  } else if (!g->return_exceptions && f->obj.state != ML_F_DONE) {
    ml__future_results(L, top);
    ml__future_set_error(L, idx);
  } else if (g->finished == g->unique)
    complete(L, idx, g);
  lua_settop(L, top - 1);
}

static int run_protected(lua_State *L) {
  child *c = lua_touserdata(L, 1);
  gather *g = c->owner;
  ml__pushpinned(L, g->pin);
  if (c->future->obj.state == ML_F_DONE && g->finished + 1 < g->unique) {
    g->finished++; /* the common case needs no object */
    return 0;
  }
  lua_getiuservalue(L, 2, 2);
  for (int i = 1; i <= g->n; i++) { /* which child? */
    if (lua_rawgeti(L, 3, i), lua_touserdata(L, -1) == c->future) break;
    lua_pop(L, 1);
  }
  child_done(L, 2, g);
  if (g->finished == g->unique) let_go(L, g);
  return 0;
}

static void child_run(ml_evloop *l, ml_job *j) {
  child *c = (child *)(void *)j;
  gather *g = c->owner;
  if (c->future->obj.state == ML_F_DONE && g->fut.obj.state == ML_F_PENDING &&
      g->finished + 1 < g->unique) {
    g->finished++;
    return;
  }
  lua_pushcfunction(l->L, run_protected);
  lua_pushlightuserdata(l->L, c);
  if (lua_pcall(l->L, 1, 0, 0) != LUA_OK) {
    ml__log(l->engine, "gather: %s", lua_tostring(l->L, -1));
    lua_pop(l->L, 1);
  }
}

ml_future *ml__gather_of_job(ml_job *j) {
  return j->run == child_run ? &((child *)(void *)j)->owner->fut : NULL;
}

void ml__gather_push(lua_State *L, ml_future *f) {
  gather *g = (gather *)f;
  if (g->pin > 0)
    ml__pushpinned(L, g->pin);
  else
    lua_pushnil(L);
}

/* _GatheringFuture.cancel: the message is on top (popped) */
bool ml__gather_cancel(lua_State *L, int idx) {
  gather *g = lua_touserdata(L, idx);
  int msg = lua_gettop(L);
  bool any = false;
  /* a gather that waits for itself, in a way, is not asked twice */
  if (g->fut.obj.flags & ML_FF_VISITED) {
    lua_pop(L, 1);
    return false;
  }
  luaL_checkstack(L, 8, "cancel");
  g->fut.obj.flags |= ML_FF_VISITED;
  lua_getiuservalue(L, idx, 2);
  for (int i = 1; i <= g->n; i++) {
    lua_rawgeti(L, msg + 1, i);
    lua_pushvalue(L, msg);
    if (ml__isfuture(ml__toobject(L, -2)) && ml__future_cancel(L, lua_gettop(L) - 1)) any = true;
    lua_settop(L, msg + 1);
  }
  g->fut.obj.flags &= (uint16_t)~ML_FF_VISITED;
  if (any) g->cancel_requested = true;
  lua_settop(L, msg - 1);
  return any;
}

/* Is the value at idx an options table: no list, no object? */
static bool is_options(lua_State *L, int idx) {
  bool is;
  if (!lua_istable(L, idx) || lua_getmetatable(L, idx)) {
    return false;
  }
  is = lua_rawgeti(L, idx, 1) == LUA_TNIL;
  lua_pop(L, 1);
  if (is) {
    lua_pushnil(L);
    is = lua_next(L, idx) != 0;
    if (is) lua_pop(L, 2);
  }
  return is;
}

static bool is_list(lua_State *L, int idx) {
  if (!lua_istable(L, idx)) return false;
  if (lua_getmetatable(L, idx)) {
    lua_pop(L, 1);
    return false;
  }
  return true;
}

/* The coroutine on top was given before: replaces it by the task made of it. */
static void find_repeated(lua_State *L, int list, int children, int i) {
  for (int k = 1; k < i; k++) {
    if (list != 0)
      lua_rawgeti(L, list, k);
    else
      lua_pushvalue(L, k);
    if (lua_rawequal(L, -1, -2)) {
      lua_rawgeti(L, children, k);
      lua_replace(L, -3);
      lua_pop(L, 1);
      return;
    }
    lua_pop(L, 1);
  }
  ml__misuse(L, "RuntimeError", "cannot reuse already awaited coroutine");
}

/* Makes a future of argument i and puts it into the children of the gather at self, below it. */
static ml_future *take(lua_State *L, int self, gather *g, int list, int i) {
  int children = self - 1, at = self + 1;
  ml_evloop *loop = g->fut.loop;
  ml_object *o;
  ml_future *f;
  if (list)
    lua_rawgeti(L, 1, i);
  else
    lua_pushvalue(L, i);
  o = ml__toobject(L, at);
  bool coroutine = o != NULL && ml__iscoroutine(o);
  if (coroutine && o->state != ML_CO_NEW && !ml__isshared(o)) find_repeated(L, list, children, i);
  if (o == NULL && !ml__isawaitable(L, at))
    ml__misuse(L, "TypeError",
               "gather: argument %d: an awaitable was expected, got %s (calls of async functions "
               "give them: gather(f(1), f(2)))",
               i, luaL_typename(L, at));
  if (coroutine && o->state == ML_CO_NEW) {
    if (loop == NULL) loop = ml__loop_get(L);
    if (loop->has_factory)
      f = ml__ensure_future(L, at, loop, "gather");
    else {
      ml_fiber *t = ml__task_of(L, at, loop, o);
      if (loop->debug) ml__task_created_at(L, -1);
      ml__ready(loop, &t->job);
      f = &t->fut;
    }
    f->obj.flags |= ML_FF_QUIET;
  } else if (ml__isfuture(o) && (loop == NULL || ((ml_future *)o)->loop == loop))
    f = (ml_future *)o;
  else
    f = ml__ensure_future(L, at, loop, "gather");
  if (loop == NULL) loop = f->loop;
  g->fut.loop = loop;
  lua_rawseti(L, children, i);
  if (lua_gettop(L) != self) lua_settop(L, self); /* the coroutine */
  return f;
}

/* Notes a child in kids, once: then it is marked with `serial`. */
static void note(gather *g, ml_future *f, uint32_t serial) {
  if (f->obj.n == serial) return;
  f->obj.n = serial;
  g->kids[g->unique++].future = f;
}

/* Adds a job to the callbacks of each child that is not done; kids are those then. */
static void join(gather *g) {
  for (int k = 0; k < g->unique; k++) {
    ml_future *f = g->kids[k].future;
    f->obj.n = 0;
    if (f->obj.state != ML_F_PENDING) continue;
    child *c = &g->kids[g->nkids++];
    c->job.run = child_run;
    c->owner = g;
    c->future = f;
    ml__list_append(&f->callbacks, &c->job.link);
  }
}

/* Some children were done before the gather at `self` was made. */
static void count_done(lua_State *L, int self, gather *g) {
  uint32_t serial = ++ml__engine(L)->gather_serial;
  for (int i = 1; i <= g->n; i++) {
    lua_getiuservalue(L, self, 2);
    if (g->fut.obj.state == ML_F_DONE) break;
    lua_rawgeti(L, -1, i);
    ml_future *f = (ml_future *)ml__toobject(L, -1);
    bool pending = false;
    for (int k = 0; !pending && f->obj.state != ML_F_PENDING && k < g->nkids; k++)
      pending = g->kids[k].future == f;
    if (f->obj.state != ML_F_PENDING && !pending && f->obj.n != serial) {
      f->obj.n = serial;
      child_done(L, self, g);
    }
    lua_settop(L, self);
  }
  lua_settop(L, self);
  if (g->finished == g->unique) let_go(L, g);
}

/* Pushes the table of children and a gather with room for n of them. */
static gather *new_gather(lua_State *L, int n) {
  gather *g;
  lua_createtable(L, n, 1);
  g = ml__newobject(L, ML_T_GATHER, sizeof *g + (size_t)n * sizeof *g->kids, 2);
  ml__list_init(&g->fut.callbacks);
  g->n = n;
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, -2, 2);
  return g;
}

static int core_gather(lua_State *L) {
  static const char *const keys[] = {"return_exceptions", NULL};
  ml_engine *e = ml__engine(L);
  int nargs = lua_gettop(L), list = 0, n, self;
  bool rexc = false;
  uint32_t serial = ++e->gather_serial;
  gather *g;
  if (nargs > 0 && is_options(L, nargs)) {
    lua_settop(L, nargs);
    ml__checkoptions(L, nargs, keys, "gather");
    lua_getfield(L, nargs, "return_exceptions");
    rexc = lua_toboolean(L, -1);
    nargs--;
  }
  lua_settop(L, nargs);
  if (nargs == 1 && is_list(L, 1)) list = 1;
  n = list ? (int)lua_rawlen(L, 1) : nargs;
  luaL_checkstack(L, 16, "gather");
  g = new_gather(L, n);
  g->return_exceptions = rexc;
  self = lua_gettop(L);
  for (int i = 1; i <= n; i++) note(g, take(L, self, g, list, i), serial);
  if (g->fut.loop == NULL) g->fut.loop = ml__loop_get(L);
  if (n == 0) {
    lua_newtable(L);
    lua_pushinteger(L, 0);
    lua_setfield(L, -2, "n");
    ml__future_set_result(L, self);
    return 1;
  }
  keep(L, self, g);
  if (e->gather_serial != serial) { /* a task factory or finalizer has gathered: mark anew */
    serial = ++e->gather_serial;
    g->unique = 0;
    for (int i = 1; i <= n; i++) {
      lua_rawgeti(L, self - 1, i);
      note(g, lua_touserdata(L, -1), serial);
      lua_pop(L, 1);
    }
  }
  join(g);
  if (g->nkids < g->unique) count_done(L, self, g);
  return 1;
}

void ml__open_gather(lua_State *L) {
  lua_pushcfunction(L, core_gather);
  lua_setfield(L, -2, "gather");
}
