/* Eager starts: a task whose first step runs inside create_task (asyncio's eager_start).
**
** They nest on the C stack, of which Lua allows some 200 levels. A chain of tasks that
** start tasks goes on deeper by going back: the makers are suspended in their create_task,
** one after the other, down to the outermost; that one drives them on a flat stack,
** innermost first: a maker is resumed when what it made has had its first step. To the
** tasks it is as if it had nested.
*/
#include "core.h"

#define MAX_EAGER_DEPTH 30

/* A step of the task t, inside what runs on L. */
static void step(lua_State *L, ml_evloop *l, ml_fiber *t) {
  ml_engine *e = l->engine;
  lua_State *outer = l->L;
  uint16_t depth = e->task != NULL ? e->task->depth : 0;
  l->L = L;
  e->eager_depth++;
  ml__task_run(l, t);
  e->eager_depth--;
  l->L = outer;
  if (e->task != NULL) e->task->depth = depth;
}

/* Runs those that were suspended on the way back, innermost first. */
static void drive(lua_State *L, ml_evloop *l) {
  ml_engine *e = l->engine;
  ml_link chain;
  ml__list_init(&chain);
  for (;;) {
    ml_link *n;
    ml__list_splice(&e->unwound, &chain); /* what is new comes first */
    ml__list_splice(&chain, &e->unwound);
    if (ml__list_empty(&chain)) return;
    n = chain.next;
    ml__list_remove(n);
    step(L, l, ml__containerof(ml__containerof(n, ml_job, link), ml_fiber, job));
  }
}

/* A KeyboardInterrupt or SystemExit that ended the task's first step goes to its maker, who may be unwound by it. */
static void raise_to_maker(lua_State *L, ml_evloop *l) {
  l->raise = false;
  ml__ref_get(L, ML_R_PENDINGERR);
  lua_pushnil(L);
  ml__ref_set(L, ML_R_PENDINGERR);
  lua_error(L);
}

bool ml__task_start_eagerly(lua_State *L, ml_evloop *l, ml_fiber *t, bool may_yield) {
  ml_engine *e = l->engine;
  ml_fiber *maker = e->task;
  bool can_yield = may_yield && maker != NULL && L == e->active && lua_isyieldable(L);
  if (e->eager_depth >= MAX_EAGER_DEPTH) {
    if (!can_yield) { /* a C function is in the way */
      ml__ready(l, &t->job);
      return false;
    }
    ml__list_append(&e->unwound, &t->job.link);
  } else {
    bool before = l->raise;
    step(L, l, t);
    if (ml__list_empty(&e->unwound)) {
      if (l->raise && !before && t->fut.obj.state == ML_F_FAILED) raise_to_maker(L, l);
      return false;
    }
    if (!can_yield || e->eager_depth == 0) {
      drive(L, l);
      return false;
    }
  }
  ml__list_append(&e->unwound, &maker->job.link);
  return true;
}

/* The task that was made is on top. */
static int created_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  ml__check_resumed(L);
  return 1;
}

int ml__task_created(lua_State *L, bool yield) {
  ml_fiber *maker = ml__engine(L)->task;
  if (!yield) return 1;
  maker->waiting = NULL;
  maker->parked = L;
  if (L == maker->thread) return lua_yieldk(L, 0, 0, created_k);
  lua_pushlightuserdata(L, (void *)&ml__park);
  return lua_yieldk(L, 1, 0, created_k);
}
