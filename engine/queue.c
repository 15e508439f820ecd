/* Queue, PriorityQueue, LifoQueue. Semantics of CPython 3.13's Lib/asyncio/queues.py.
**
** User value 1 is the table of items: a ring for Queue (size a power of two, so
** that items may be nil), an array for the others; PriorityQueue's is a binary
** heap by the algorithm of Python's heapq, so that equal items leave in the same
** order as there.
**
** Unlike locks' waiters, one that is woken leaves the list at once.
*/
#include "core.h"

typedef enum { FIFO, PRIORITY, LIFO } discipline;

typedef struct queue {
  ml_object obj; /* flags: discipline */
  ml_link getters, putters, joiners;
  lua_Integer maxsize, size, unfinished;
  uint32_t head, mask; /* ring */
  uint32_t changes;    /* puts and gets so far */
  bool is_shutdown;
} queue;

typedef struct queue_op {
  ml_op op;
  ml_link link;
  queue *q;
} queue_op;
enum { UV_QUEUE = 1, UV_ITEM };

static queue *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_QUEUE); }
static bool full(const queue *q) { return q->maxsize > 0 && q->size >= q->maxsize; }

static void wake_next(ml_link *waiters) {
  while (!ml__list_empty(waiters)) {
    queue_op *w = ml__containerof(waiters->next, queue_op, link);
    ml__list_remove(&w->link);
    if (ml__op_wake(&w->op)) return;
  }
}

static void wake_all(ml_link *waiters) {
  while (!ml__list_empty(waiters)) wake_next(waiters);
}

/* ---- items ---- */

#define MAX_NESTING 100

/* a < b. Arrays (tables without __lt) are compared item by item, as tuples. */
static bool less(lua_State *L, int a, int b, int nesting) {
  if (nesting > MAX_NESTING) /* they may hold themselves */
    ml__error(L, "RuntimeError", "queue items nest too deep to be compared");
  a = lua_absindex(L, a);
  b = lua_absindex(L, b);
  if (lua_istable(L, a) && lua_istable(L, b)) {
    if (luaL_getmetafield(L, a, "__lt") != LUA_TNIL ||
        luaL_getmetafield(L, b, "__lt") != LUA_TNIL) {
      lua_pop(L, 1);
      return lua_compare(L, a, b, LUA_OPLT);
    }
    luaL_checkstack(L, 4, "comparison of queue items");
    for (lua_Integer i = 1;; i++) {
      bool end, is;
      lua_rawgeti(L, a, i);
      lua_rawgeti(L, b, i);
      end = lua_isnil(L, -1) || lua_isnil(L, -2);
      if (!end && lua_compare(L, -2, -1, LUA_OPEQ)) {
        lua_pop(L, 2);
        continue;
      }
      is = end ? lua_isnil(L, -2) && !lua_isnil(L, -1) : less(L, -2, -1, nesting + 1);
      lua_pop(L, 2);
      return is;
    }
  }
  return lua_compare(L, a, b, LUA_OPLT);
}

/* Comparisons may raise errors, and run a script's __lt: so the places are found
** first, nothing is moved until all is compared, and a queue that was changed
** meanwhile is left alone. */
static bool less_in(lua_State *L, const queue *q, int a, int b) {
  uint32_t changes = q->changes;
  bool is = less(L, a, b, 0);
  if (q->changes != changes)
    ml__error(L, "RuntimeError", "the queue was changed while its items were compared");
  return is;
}

/* heapq.heappush: the item is on top (popped), t the items. */
static void heap_push(lua_State *L, queue *q, int t) {
  lua_Integer to = q->size, pos = q->size;
  while (to > 0) {
    bool before;
    lua_rawgeti(L, t, ((to - 1) >> 1) + 1);
    before = less_in(L, q, -2, -1);
    lua_pop(L, 1);
    if (!before) break;
    to = (to - 1) >> 1;
  }
  for (; pos > to; pos = (pos - 1) >> 1) {
    lua_rawgeti(L, t, ((pos - 1) >> 1) + 1);
    lua_rawseti(L, t, pos + 1);
  }
  lua_rawseti(L, t, to + 1);
}

/* heapq.heappop: pushes the least item. As there, the path of lesser children is
** followed to a leaf; the last item's place is sought from there upwards. */
static void heap_pop(lua_State *L, queue *q, int t) {
  lua_Integer path[64], n = q->size - 1, child;
  int len = 0, at;
  lua_rawgeti(L, t, 1);
  lua_rawgeti(L, t, q->size);
  path[0] = 0;
  while ((child = 2 * path[len] + 1) < n) {
    if (child + 1 < n) {
      lua_rawgeti(L, t, child + 1);
      lua_rawgeti(L, t, child + 2);
      if (!less_in(L, q, -2, -1)) child++;
      lua_pop(L, 2);
    }
    path[++len] = child;
  }
  for (at = len; at > 0; at--) {
    bool before;
    lua_rawgeti(L, t, path[at] + 1);
    before = less_in(L, q, -2, -1);
    lua_pop(L, 1);
    if (!before) break;
  }
  for (int k = 0; k < at; k++) {
    lua_rawgeti(L, t, path[k + 1] + 1);
    lua_rawseti(L, t, path[k] + 1);
  }
  lua_rawseti(L, t, path[at] + 1);
  lua_pushnil(L);
  lua_rawseti(L, t, q->size);
}

/* Doubles the ring: the items table of the queue at qidx is replaced. */
static void grow(lua_State *L, int qidx, queue *q) {
  uint32_t cap = q->mask + 1, n;
  lua_createtable(L, (int)(2 * cap), 0);
  if (q->mask + 1 != cap) { /* a finalizer has used the queue meanwhile */
    lua_pop(L, 1);
    return;
  }
  n = (uint32_t)q->size;
  lua_getiuservalue(L, qidx, 1);
  for (uint32_t i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (lua_Integer)((q->head + i) & q->mask) + 1);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
  }
  lua_pop(L, 1);
  lua_setiuservalue(L, qidx, 1);
  q->head = 0;
  q->mask = 2 * cap - 1;
}

/* Pushes the table of items of the queue at qidx, with room for one more. */
static void push_items(lua_State *L, int qidx, queue *q) {
  while (q->obj.flags == FIFO && q->size > q->mask) grow(L, qidx, q);
  lua_getiuservalue(L, qidx, 1);
}

/* Adds the item on top (popped) to the table of items below it. */
static void push_item(lua_State *L, queue *q) {
  switch (q->obj.flags) {
  case FIFO: lua_rawseti(L, -2, (lua_Integer)((q->head + (uint32_t)q->size) & q->mask) + 1); break;
  case LIFO: lua_rawseti(L, -2, q->size + 1); break;
  default: heap_push(L, q, lua_gettop(L) - 1);
  }
  q->size++;
  q->changes++;
}

/* Pushes the table of items and the next item, which leaves the queue at qidx. */
static void pop_item(lua_State *L, int qidx, queue *q) {
  lua_getiuservalue(L, qidx, 1);
  switch (q->obj.flags) {
  case FIFO:
    lua_rawgeti(L, -1, (lua_Integer)q->head + 1);
    lua_pushnil(L);
    lua_rawseti(L, -3, (lua_Integer)q->head + 1);
    q->head = (q->head + 1) & q->mask;
    break;
  case LIFO:
    lua_rawgeti(L, -1, q->size);
    lua_pushnil(L);
    lua_rawseti(L, -3, q->size);
    break;
  default: heap_pop(L, q, lua_gettop(L));
  }
  q->size--;
  q->changes++;
}

/* ---- put and get ---- */

static int raise_shutdown(lua_State *L) {
  ml__error_new(L, "QueueShutDown", NULL);
  return ML_RAISE;
}

/* Adds the item on top to the table of items below it. */
static void put_now(lua_State *L, queue *q) {
  push_item(L, q);
  q->unfinished++;
  wake_next(&q->getters);
}

static int put_begin(lua_State *L, ml_op *op) {
  queue_op *w = (queue_op *)op;
  queue *q = w->q;
  if (full(q)) {
    if (q->is_shutdown) return raise_shutdown(L);
    ml__list_append(&q->putters, &w->link);
    return ML_PARK;
  }
  if (q->is_shutdown) return raise_shutdown(L);
  lua_getiuservalue(L, 1, UV_QUEUE);
  push_items(L, 2, q);
  lua_getiuservalue(L, 1, UV_ITEM);
  put_now(L, q);
  return 0;
}

static int put_wake(lua_State *L, ml_op *op) {
  queue_op *w = (queue_op *)op;
  if (op->obj.state == ML_OP_CANCELLED) {
    ml__list_remove(&w->link);
    if (!full(w->q) && (op->obj.flags & ML_OPF_WOKEN)) wake_next(&w->q->putters);
    return 0;
  }
  return put_begin(L, op);
}

static int get_begin(lua_State *L, ml_op *op) {
  queue_op *w = (queue_op *)op;
  queue *q = w->q;
  if (q->size == 0) {
    if (q->is_shutdown) return raise_shutdown(L);
    ml__list_append(&q->getters, &w->link);
    return ML_PARK;
  }
  lua_getiuservalue(L, 1, UV_QUEUE);
  pop_item(L, 2, q);
  wake_next(&q->putters);
  return 1;
}

static int get_wake(lua_State *L, ml_op *op) {
  queue_op *w = (queue_op *)op;
  if (op->obj.state == ML_OP_CANCELLED) {
    ml__list_remove(&w->link);
    if (w->q->size > 0 && (op->obj.flags & ML_OPF_WOKEN)) wake_next(&w->q->getters);
    return 0;
  }
  return get_begin(L, op);
}

static int join_begin(lua_State *L, ml_op *op) {
  queue_op *w = (queue_op *)op;
  (void)L;
  if (w->q->unfinished == 0) return 0;
  ml__list_append(&w->q->joiners, &w->link);
  return ML_PARK;
}

static int join_wake(lua_State *L, ml_op *op) {
  (void)L;
  ml__list_remove(&((queue_op *)op)->link);
  return 0;
}

static const ml_opclass put_class = {"put", put_begin, put_wake, NULL};
static const ml_opclass get_class = {"get", get_begin, get_wake, NULL};
static const ml_opclass join_class = {"join", join_begin, join_wake, NULL};

static queue_op *new_op(lua_State *L, const ml_opclass *cls, queue *q, int nuv) {
  queue_op *w = ml__op_new(L, cls, sizeof *w, nuv);
  w->q = q;
  ml__list_init(&w->link);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, UV_QUEUE);
  return w;
}

static int queue_put(lua_State *L) {
  queue *q = check(L);
  if (lua_gettop(L) != 2) lua_settop(L, 2); /* not free */
  new_op(L, &put_class, q, 2);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, UV_ITEM);
  return 1;
}

static int queue_get(lua_State *L) {
  new_op(L, &get_class, check(L), 1);
  return 1;
}

static int queue_join(lua_State *L) {
  new_op(L, &join_class, check(L), 1);
  return 1;
}

static int queue_put_nowait(lua_State *L) {
  queue *q = check(L);
  lua_settop(L, 2);
  if (q->is_shutdown) return ml__error(L, "QueueShutDown", NULL);
  if (full(q)) return ml__error(L, "QueueFull", NULL);
  push_items(L, 1, q);
  lua_pushvalue(L, 2);
  put_now(L, q);
  return 0;
}

static int queue_get_nowait(lua_State *L) {
  queue *q = check(L);
  if (q->size == 0) return ml__error(L, q->is_shutdown ? "QueueShutDown" : "QueueEmpty", NULL);
  pop_item(L, 1, q);
  wake_next(&q->putters);
  return 1;
}

/* ---- the rest ---- */

static int queue_qsize(lua_State *L) {
  lua_pushinteger(L, check(L)->size);
  return 1;
}

static int queue_empty(lua_State *L) {
  lua_pushboolean(L, check(L)->size == 0);
  return 1;
}

static int queue_full(lua_State *L) {
  lua_pushboolean(L, full(check(L)));
  return 1;
}

static int queue_task_done(lua_State *L) {
  queue *q = check(L);
  if (q->unfinished <= 0) return ml__misuse(L, "ValueError", "task_done() called too many times");
  if (--q->unfinished == 0) wake_all(&q->joiners);
  return 0;
}

static int queue_shutdown(lua_State *L) {
  queue *q = check(L);
  bool immediate = lua_toboolean(L, 2);
  if (lua_istable(L, 2)) {
    static const char *const keys[] = {"immediate", NULL};
    ml__checkoptions(L, 2, keys, "shutdown");
    lua_getfield(L, 2, "immediate");
    immediate = lua_toboolean(L, -1);
  }
  q->is_shutdown = true;
  if (immediate) {
    lua_createtable(L, q->obj.flags == FIFO ? 8 : 0, 0);
    lua_setiuservalue(L, 1, 1);
    q->unfinished = q->unfinished > q->size ? q->unfinished - q->size : 0;
    q->size = 0;
    q->head = 0;
    q->mask = 7;
    q->changes++;
    if (q->unfinished == 0) wake_all(&q->joiners);
  }
  wake_all(&q->getters);
  wake_all(&q->putters);
  return 0;
}

static int queue_tostring(lua_State *L) {
  static const char *const names[] = {"Queue", "PriorityQueue", "LifoQueue"};
  queue *q = check(L);
  lua_pushfstring(L, "<%s maxsize=%I items=%I%s%s%s>", names[q->obj.flags], (LUAI_UACINT)q->maxsize,
                  (LUAI_UACINT)q->size, ml__list_empty(&q->getters) ? "" : " getters",
                  ml__list_empty(&q->putters) ? "" : " putters", q->is_shutdown ? " shutdown" : "");
  return 1;
}

/* queue.maxsize is a field: queues of one size share a metatable whose __index
** holds it, in front of the methods. Cheaper than an __index function. */
static void set_metatable(lua_State *L, int maxsize) {
  ml__ref_get(L, ML_R_QUEUEMETAS);
  lua_pushvalue(L, maxsize);
  if (lua_rawget(L, -2) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 3);
    ml__ref_get(L, ML_R_TYPES + ML_T_QUEUE);
    lua_getfield(L, -1, "__tostring");
    lua_setfield(L, -3, "__tostring");
    lua_getfield(L, -1, "__name");
    lua_setfield(L, -3, "__name");
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, maxsize);
    lua_setfield(L, -2, "maxsize");
    lua_pushvalue(L, -2);
    lua_setmetatable(L, -2);
    lua_setfield(L, -3, "__index");
    lua_pop(L, 1);
    lua_pushvalue(L, maxsize);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
  }
  lua_remove(L, -2);
  lua_setmetatable(L, -2);
}

/* How many items the number at 1 has room for: 1.5 is full with two, math.huge never (0). */
static lua_Integer capacity(lua_State *L, const char *name) {
  int isint;
  lua_Integer n = lua_tointegerx(L, 1, &isint);
  lua_Number x = lua_tonumber(L, 1);
  if (lua_type(L, 1) != LUA_TNUMBER || x != x)
    ml__misuse(L, "TypeError", "%s: maxsize must be a number, got %s", name,
               lua_type(L, 1) == LUA_TNUMBER ? "NaN" : luaL_typename(L, 1));
  if (isint) return n;
  return x > 0 && x < 9e15 ? (lua_Integer)x + 1 : 0;
}

static int make(lua_State *L, discipline d, const char *name) {
  lua_Integer maxsize;
  queue *q;
  if (lua_istable(L, 1)) {
    static const char *const keys[] = {"maxsize", NULL};
    ml__checkoptions(L, 1, keys, name);
    lua_getfield(L, 1, "maxsize");
    lua_replace(L, 1);
  }
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_pushinteger(L, 0);
    lua_replace(L, 1);
  }
  maxsize = capacity(L, name);
  q = ml__newobject(L, ML_T_QUEUE, sizeof *q, 1);
  set_metatable(L, 1);
  q->obj.flags = (uint16_t)d;
  q->maxsize = maxsize;
  q->mask = 7;
  ml__list_init(&q->getters);
  ml__list_init(&q->putters);
  ml__list_init(&q->joiners);
  lua_createtable(L, d == FIFO ? 8 : 0, 0);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

static int fifo_new(lua_State *L) { return make(L, FIFO, "Queue"); }
static int priority_new(lua_State *L) { return make(L, PRIORITY, "PriorityQueue"); }
static int lifo_new(lua_State *L) { return make(L, LIFO, "LifoQueue"); }

void ml__open_queues(lua_State *L) {
  static const luaL_Reg methods[] = {{"put", queue_put},
                                     {"get", queue_get},
                                     {"put_nowait", queue_put_nowait},
                                     {"get_nowait", queue_get_nowait},
                                     {"qsize", queue_qsize},
                                     {"empty", queue_empty},
                                     {"full", queue_full},
                                     {"task_done", queue_task_done},
                                     {"join", queue_join},
                                     {"shutdown", queue_shutdown},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", queue_tostring}, {NULL, NULL}};
  static const struct {
    const char *name;
    lua_CFunction make;
  } kinds[] = {{"Queue", fifo_new}, {"PriorityQueue", priority_new}, {"LifoQueue", lifo_new}};
  int core = lua_gettop(L);
  ml__newtype(L, ML_T_QUEUE, "Queue", methods, meta); /* core + 1: methods */
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    lua_pushvalue(L, core);
    lua_pushvalue(L, core + 1);
    ml__newclass(L, kinds[i].name, kinds[i].make);
    lua_pop(L, 1);
  }
  lua_settop(L, core);
}
