/* Lock, Event, Semaphore. Semantics of CPython 3.13's Lib/asyncio/locks.py: all FIFO,
** no barging, nothing lost to a cancel.
**
** A waiter is the operation of its await; it stays in the list until its task
** has run, as in CPython: a woken or cancelled waiter that has not run yet still
** has its place.
*/
#include <stdio.h>

#include "core.h"

typedef struct waitlist {
  ml_object obj; /* Lock: n = locked; Event: n = set */
  ml_link waiters;
  int64_t value; /* Semaphore */
  int64_t bound; /* BoundedSemaphore; < 0: none */
} waitlist;

typedef struct wait_op {
  ml_op op;
  ml_link link;
  waitlist *on;
} wait_op;

static wait_op *waiter(ml_link *n) { return ml__containerof(n, wait_op, link); }

/* User value 1 of the operation keeps the object at index 1 alive. */
static wait_op *new_wait(lua_State *L, const ml_opclass *cls, waitlist *on) {
  wait_op *w = ml__op_new(L, cls, sizeof *w, 1);
  w->on = on;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return w;
}

static bool all_cancelled(const waitlist *l) {
  for (ml_link *n = l->waiters.next; n != &l->waiters; n = n->next)
    if (waiter(n)->op.obj.state != ML_OP_CANCELLED) return false;
  return true;
}

static int answer_true(lua_State *L) {
  lua_pushboolean(L, 1);
  return 1;
}

static int enqueue(ml_op *op) {
  wait_op *w = (wait_op *)op;
  ml__list_append(&w->on->waiters, &w->link);
  return ML_PARK;
}

static waitlist *new_list(lua_State *L, ml_objtype type) {
  waitlist *l = ml__newobject(L, type, sizeof *l, 0);
  ml__list_init(&l->waiters);
  return l;
}

/* ---- Lock ---- */

static void wake_first(waitlist *l) {
  if (!ml__list_empty(&l->waiters)) ml__op_wake(&waiter(l->waiters.next)->op);
}

static int acquire_begin(lua_State *L, ml_op *op) {
  waitlist *l = ((wait_op *)op)->on;
  if (l->obj.n == 0 && all_cancelled(l)) {
    l->obj.n = 1;
    return answer_true(L);
  }
  return enqueue(op);
}

static int acquire_wake(lua_State *L, ml_op *op) {
  wait_op *w = (wait_op *)op;
  ml__list_remove(&w->link);
  if (op->obj.state == ML_OP_CANCELLED) {
    if (w->on->obj.n == 0) wake_first(w->on);
    return 0;
  }
  w->on->obj.n = 1;
  return answer_true(L);
}

static const ml_opclass acquire_class = {"acquire", acquire_begin, acquire_wake, NULL};

static waitlist *check_lock(lua_State *L) { return ml__checkobject(L, 1, ML_T_LOCK); }

static int lock_acquire(lua_State *L) {
  new_wait(L, &acquire_class, check_lock(L));
  return 1;
}

static int lock_release(lua_State *L) {
  waitlist *l = check_lock(L);
  if (l->obj.n == 0) return ml__misuse(L, "RuntimeError", "Lock is not acquired.");
  l->obj.n = 0;
  wake_first(l);
  return 0;
}

static int lock_locked(lua_State *L) {
  lua_pushboolean(L, check_lock(L)->obj.n != 0);
  return 1;
}

/* What is made without arguments was given some? */
static void check_none(lua_State *L, const char *name) {
  if (lua_isnoneornil(L, 1)) return;
  if (!lua_istable(L, 1)) ml__misuse(L, "TypeError", "%s() takes no arguments", name);
  lua_pushnil(L);
  if (lua_next(L, 1))
    ml__misuse(L, "TypeError", "%s() got an unexpected keyword argument '%s'", name,
               luaL_tolstring(L, -2, NULL));
}

static int lock_new(lua_State *L) {
  check_none(L, "Lock");
  new_list(L, ML_T_LOCK);
  return 1;
}

static int count_waiters(const waitlist *l) {
  int n = 0;
  for (ml_link *k = l->waiters.next; k != &l->waiters; k = k->next) n++;
  return n;
}

static void push_repr(lua_State *L, const char *name, const char *state, const waitlist *l) {
  int n = count_waiters(l);
  if (n > 0)
    lua_pushfstring(L, "<%s [%s, waiters:%d]>", name, state, n);
  else
    lua_pushfstring(L, "<%s [%s]>", name, state);
}

static int lock_tostring(lua_State *L) {
  waitlist *l = check_lock(L);
  push_repr(L, "Lock", l->obj.n ? "locked" : "unlocked", l);
  return 1;
}

/* ---- Event ---- */

static int wait_begin(lua_State *L, ml_op *op) {
  return ((wait_op *)op)->on->obj.n != 0 ? answer_true(L) : enqueue(op);
}

static int wait_wake(lua_State *L, ml_op *op) {
  ml__list_remove(&((wait_op *)op)->link);
  return answer_true(L);
}

static const ml_opclass wait_class = {"wait", wait_begin, wait_wake, NULL};

static waitlist *check_event(lua_State *L) { return ml__checkobject(L, 1, ML_T_EVENT); }

static int event_wait(lua_State *L) {
  new_wait(L, &wait_class, check_event(L));
  return 1;
}

static int event_set(lua_State *L) {
  waitlist *l = check_event(L);
  if (l->obj.n != 0) return 0;
  l->obj.n = 1;
  for (ml_link *n = l->waiters.next; n != &l->waiters; n = n->next) ml__op_wake(&waiter(n)->op);
  return 0;
}

static int event_clear(lua_State *L) {
  check_event(L)->obj.n = 0;
  return 0;
}

static int event_is_set(lua_State *L) {
  lua_pushboolean(L, check_event(L)->obj.n != 0);
  return 1;
}

static int event_new(lua_State *L) {
  check_none(L, "Event");
  new_list(L, ML_T_EVENT);
  return 1;
}

static int event_tostring(lua_State *L) {
  waitlist *l = check_event(L);
  push_repr(L, "Event", l->obj.n ? "set" : "unset", l);
  return 1;
}

/* ---- Semaphore ---- */

static bool sem_locked(const waitlist *l) { return l->value == 0 || !all_cancelled(l); }

static bool wake_next(waitlist *l) {
  for (ml_link *n = l->waiters.next; n != &l->waiters; n = n->next)
    if (waiter(n)->op.obj.state == ML_OP_PARKED) {
      l->value--;
      ml__op_wake(&waiter(n)->op);
      return true;
    }
  return false;
}

static int sem_begin(lua_State *L, ml_op *op) {
  waitlist *l = ((wait_op *)op)->on;
  if (!sem_locked(l)) {
    l->value--;
    return answer_true(L);
  }
  return enqueue(op);
}

static int sem_wake(lua_State *L, ml_op *op) {
  wait_op *w = (wait_op *)op;
  ml__list_remove(&w->link);
  /* woken and then cancelled: the permit goes back */
  if (op->obj.state == ML_OP_CANCELLED && (op->obj.flags & ML_OPF_WOKEN)) w->on->value++;
  while (w->on->value > 0 && wake_next(w->on)) continue;
  return answer_true(L);
}

static const ml_opclass sem_class = {"acquire", sem_begin, sem_wake, NULL};

static waitlist *check_sem(lua_State *L) { return ml__checkobject(L, 1, ML_T_SEMAPHORE); }

static int sem_acquire(lua_State *L) {
  new_wait(L, &sem_class, check_sem(L));
  return 1;
}

static int sem_release(lua_State *L) {
  waitlist *l = check_sem(L);
  if (l->bound >= 0 && l->value >= l->bound)
    return ml__misuse(L, "ValueError", "BoundedSemaphore released too many times");
  if (l->value == INT64_MAX)
    return ml__misuse(L, "ValueError", "Semaphore released too many times");
  l->value++;
  wake_next(l);
  return 0;
}

static int sem_is_locked(lua_State *L) {
  lua_pushboolean(L, sem_locked(check_sem(L)));
  return 1;
}

static waitlist *sem_make(lua_State *L, const char *name) {
  static const char *const keys[] = {"value", NULL};
  lua_Integer value = 1;
  waitlist *l;
  if (lua_istable(L, 1)) {
    ml__checkoptions(L, 1, keys, name);
    lua_getfield(L, 1, "value");
    lua_replace(L, 1);
  }
  if (!lua_isnoneornil(L, 1)) {
    if (!lua_isinteger(L, 1))
      ml__misuse(L, "TypeError", "%s: the initial value must be an integer, got %s", name,
                 luaL_typename(L, 1));
    value = lua_tointeger(L, 1);
  }
  if (value < 0) ml__misuse(L, "ValueError", "Semaphore initial value must be >= 0");
  l = new_list(L, ML_T_SEMAPHORE);
  l->value = value;
  l->bound = -1;
  return l;
}

static int sem_new(lua_State *L) {
  sem_make(L, "Semaphore");
  return 1;
}

static int bounded_new(lua_State *L) {
  waitlist *l = sem_make(L, "BoundedSemaphore");
  l->bound = l->value;
  return 1;
}

static int sem_tostring(lua_State *L) {
  waitlist *l = check_sem(L);
  char state[64];
  if (sem_locked(l))
    snprintf(state, sizeof state, "locked");
  else
    snprintf(state, sizeof state, "unlocked, value:%lld", (long long)l->value);
  push_repr(L, l->bound >= 0 ? "BoundedSemaphore" : "Semaphore", state, l);
  return 1;
}

void ml__open_sync(lua_State *L) {
  static const luaL_Reg lock[] = {
      {"acquire", lock_acquire}, {"release", lock_release}, {"locked", lock_locked}, {NULL, NULL}};
  static const luaL_Reg lock_meta[] = {{"__tostring", lock_tostring}, {NULL, NULL}};
  static const luaL_Reg event[] = {{"wait", event_wait},
                                   {"set", event_set},
                                   {"clear", event_clear},
                                   {"is_set", event_is_set},
                                   {NULL, NULL}};
  static const luaL_Reg event_meta[] = {{"__tostring", event_tostring}, {NULL, NULL}};
  static const luaL_Reg sem[] = {
      {"acquire", sem_acquire}, {"release", sem_release}, {"locked", sem_is_locked}, {NULL, NULL}};
  static const luaL_Reg sem_meta[] = {{"__tostring", sem_tostring}, {NULL, NULL}};
  ml__newtype(L, ML_T_LOCK, "Lock", lock, lock_meta);
  ml__newclass(L, "Lock", lock_new);
  ml__newtype(L, ML_T_EVENT, "Event", event, event_meta);
  ml__newclass(L, "Event", event_new);
  ml__newtype(L, ML_T_SEMAPHORE, "Semaphore", sem, sem_meta);
  lua_pushvalue(L, -2);
  lua_pushvalue(L, -2);
  ml__newclass(L, "Semaphore", sem_new);
  lua_pop(L, 1);
  ml__newclass(L, "BoundedSemaphore", bounded_new);
}
