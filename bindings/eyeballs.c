/* Connecting by TCP to the first of several addresses that answers: "happy
** eyeballs" (RFC 8305), as CPython's staggered_race does it. Attempts begin
** `delay` seconds apart, or as soon as the newest one has failed; the first
** that connects wins and the others are closed.
**
** An attempt lives until libuv has answered, whatever becomes of the operation.
** All of it runs in libuv's callbacks and timers, without Lua.
*/
#include <string.h>
#include <sys/socket.h>

#include "stream.h"

typedef struct raceop raceop;

typedef struct attempt {
  uv_connect_t req;
  ml_link link; /* in raceop.attempts */
  ml_evloop *loop;
  ml_stream *s;
  raceop *op; /* NULL: cancelled, or another one has won */
  unsigned index;
} attempt;

typedef struct target {
  ml_addr to;
  ml_addr from; /* what binding failed with, or else was bound to; family 0: nothing */
  int status;
  bool bound; /* false, and status set: binding to `from` failed */
} target;

struct raceop {
  ml_op op;
  ml_net *net;
  ml_link attempts;
  ml_timer timer; /* of the next attempt */
  double delay;   /* < 0: one after the other */
  ml_stream *s;   /* connected */
  unsigned n, next, nlocals;
  ml_addr *locals; /* behind the targets */
  target targets[];
};

static void begin_next(raceop *op, ml_evloop *loop);

/* It is over: nothing of it may go on. */
static void stop(raceop *op, ml_evloop *loop) {
  ml__timer_stop(loop, &op->timer);
  ml__list_remove(&op->timer.job.link);
  while (!ml__list_empty(&op->attempts)) {
    attempt *a = ml__containerof(op->attempts.next, attempt, link);
    ml__list_remove(&a->link);
    a->op = NULL;
    if (!ml__stream_gone(a->s)) ml__stream_discard(a->s);
  }
}

/* The newest attempt has failed, or none is under way: on, or out. */
static void failed(raceop *op, ml_evloop *loop, unsigned index) {
  if (op->next == index + 1 && op->next < op->n) {
    ml__timer_stop(loop, &op->timer);
    ml__list_remove(&op->timer.job.link);
    begin_next(op, loop);
  } else if (op->next == op->n && ml__list_empty(&op->attempts))
    ml__op_wake(&op->op);
}

static void on_connect(uv_connect_t *req, int status) {
  attempt *a = ml__containerof(req, attempt, req);
  raceop *op = a->op;
  ml_stream *s = a->s;
  ml_evloop *loop = a->loop;
  ml_engine *e = loop->engine;
  unsigned index = a->index;
  e->nstats_inflight--;
  loop->patient--;
  loop->stirred = true;
  ml__list_remove(&a->link);
  ml__alloc(e->alloc, a, sizeof *a, 0);
  if (op == NULL || status < 0) ml__stream_discard(s);
  if (op == NULL) return;
  op->targets[index].status = status;
  if (status == 0) {
    op->s = s;
    stop(op, loop);
    ml__op_wake(&op->op);
  } else {
    if (status == UV_ECANCELED) op->next = op->n; /* the loop is being closed */
    failed(op, loop, index);
  }
}

/* Binds to the first of the local addresses that can be had. */
static int bind_local(raceop *op, target *t, ml_stream *s) {
  int rc = UV_EADDRNOTAVAIL;
  for (unsigned i = 0; i < op->nlocals; i++) {
    struct sockaddr_storage ss;
    if (op->locals[i].family != t->to.family) continue;
    t->from = op->locals[i];
    ml__addr_get(&t->from, &ss);
    rc = uv_tcp_bind(&s->uv->tcp, (struct sockaddr *)&ss, 0);
    if (rc == 0) return 0;
  }
  return rc;
}

/* The one place where a TCP connection is begun. */
static int begin(raceop *op, ml_evloop *loop, unsigned index) {
  ml_engine *e = loop->engine;
  target *t = &op->targets[index];
  struct sockaddr_storage ss;
  attempt *a;
  int rc;
  ml__addr_get(&t->to, &ss);
  t->bound = true;
  if (!ml__may_address(e, ML_P_NET, (struct sockaddr *)&ss, sizeof ss)) return ML_EDENIED;
  a = ml__alloc(e->alloc, NULL, 0, sizeof *a);
  if (a == NULL) return UV_ENOMEM;
  memset(a, 0, sizeof *a);
  a->s = ml__stream_make(op->net, loop, 0, t->to.family, &rc);
  if (a->s != NULL) {
    uv_tcp_nodelay(&a->s->uv->tcp, 1);
    rc = op->nlocals > 0 ? bind_local(op, t, a->s) : 0;
    t->bound = rc == 0;
    if (rc == 0) rc = uv_tcp_connect(&a->req, &a->s->uv->tcp, (struct sockaddr *)&ss, on_connect);
    if (rc == 0) {
      a->loop = loop;
      a->op = op;
      a->index = index;
      ml__list_append(&op->attempts, &a->link);
      e->nstats_inflight++;
      loop->patient++;
      return 0;
    }
    ml__stream_discard(a->s);
  }
  ml__alloc(e->alloc, a, sizeof *a, 0);
  return rc;
}

/* Begins the next attempt that can be begun, and the time until the one after. */
static void begin_next(raceop *op, ml_evloop *loop) {
  while (op->next < op->n) {
    unsigned i = op->next++;
    int rc = begin(op, loop, i);
    op->targets[i].status = rc;
    if (rc < 0) continue;
    /* without memory for a timer the next one begins when this one has failed */
    if (op->delay >= 0 && op->next < op->n)
      ml__timer_start(loop, &op->timer, ml__loop_time(loop) + op->delay);
    return;
  }
  if (ml__list_empty(&op->attempts)) ml__op_wake(&op->op);
}

static void on_delay(ml_evloop *loop, ml_job *job) {
  raceop *op = ml__containerof(ml__containerof(job, ml_timer, job), raceop, timer);
  begin_next(op, loop);
}

/* ---- the operation ---- */

/* Pushes the error of a target. */
static void push_error(lua_State *L, const target *t) {
  char to[96], from[96];
  ml__addr_text(&t->to, to, sizeof to);
  if (t->status == ML_EDENIED) {
    struct sockaddr_storage ss;
    ml__addr_get(&t->to, &ss);
    ml__address_denied(L, ML_P_NET, "connect", (struct sockaddr *)&ss, sizeof ss);
  } else if (t->bound)
    ml__error_uv(L, t->status, "connect to %s failed", to);
  else if (t->from.family == 0) {
    const char *family = t->to.family == AF_INET6 ? "inet6" : "inet";
    ml__error_new(L, "OSError",
                  "connect to %s failed: no matching local address with family %s found", to,
                  family);
    lua_pushliteral(L, "EADDRNOTAVAIL");
    lua_setfield(L, -2, "code");
  } else {
    ml__addr_text(&t->from, from, sizeof from);
    ml__error_uv(L, t->status, "connect to %s failed: bind to %s failed", to, from);
  }
  ml__addr_push(L, &t->to);
  lua_rawgeti(L, -1, 1);
  lua_setfield(L, -3, "host");
  lua_rawgeti(L, -1, 2);
  lua_setfield(L, -3, "port");
  lua_pop(L, 1);
}

/* The Transport, or nil and an array of errors. */
static int outcome(lua_State *L, raceop *op) {
  if (op->s != NULL) {
    ml__stream_names(op->s);
    ml__transport_push(L, op->s);
    op->s = NULL;
    return 1;
  }
  lua_pushnil(L);
  lua_createtable(L, (int)op->n, 0);
  for (unsigned i = 0; i < op->n; i++) {
    push_error(L, &op->targets[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 2;
}

static int race_begin(lua_State *L, ml_op *o) {
  raceop *op = (raceop *)o;
  ml_evloop *loop = ml__engine(L)->running;
  ml__check_handles(L);
  ml__list_init(&op->attempts);
  ml__timer_init(&op->timer, on_delay);
  begin_next(op, loop);
  return ml__list_empty(&op->attempts) ? outcome(L, op) : ML_PARK;
}

static int race_wake(lua_State *L, ml_op *o) {
  raceop *op = (raceop *)o;
  if (o->obj.state != ML_OP_CANCELLED) return outcome(L, op);
  if (op->s != NULL) ml__stream_discard(op->s);
  op->s = NULL;
  return 0;
}

static void race_cancel(ml_op *o) { stop((raceop *)o, o->task->fut.loop); }

static const ml_opclass race_class = {"connect", race_begin, race_wake, race_cancel};

/* The address table at idx, into *a. */
static void check_address(lua_State *L, int idx, ml_addr *a) {
  struct sockaddr_storage ss;
  luaL_checktype(L, idx, LUA_TTABLE);
  lua_geti(L, idx, 1);
  lua_geti(L, idx < 0 ? idx - 1 : idx, 2);
  if (lua_type(L, -2) != LUA_TSTRING || !lua_isinteger(L, -1) ||
      !ml__addr_parse(lua_tostring(L, -2), (int)lua_tointeger(L, -1), &ss))
    ml__error(L, "ValueError", "not an address: %s:%s", luaL_tolstring(L, -2, NULL),
              luaL_tolstring(L, -2, NULL));
  ml__addr_set(a, (struct sockaddr *)&ss);
  lua_pop(L, 2);
}

/* Raises if none of the addresses is allowed; begin() leaves out those that are not. */
static void check_targets(lua_State *L, raceop *op) {
  struct sockaddr_storage ss;
  for (unsigned i = 0; i < op->n; i++) {
    ml__addr_get(&op->targets[i].to, &ss);
    if (ml__may_address(ml__engine(L), ML_P_NET, (struct sockaddr *)&ss, sizeof ss)) return;
  }
  op->op.obj.state = ML_CO_AWAITED; /* no coroutine that was forgotten */
  ml__addr_get(&op->targets[0].to, &ss);
  ml__check_address(L, ML_P_NET, "connect", (struct sockaddr *)&ss, sizeof ss);
}

/* connect_tcp(addresses, local addresses or nil, delay or nil) -> awaitable of a
** Transport, or of nil and an array of errors, one for each address. */
static int f_connect_tcp(lua_State *L) {
  lua_Integer n, nlocals = 0;
  raceop *op;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 3);
  n = luaL_len(L, 1);
  if (!lua_isnil(L, 2)) nlocals = luaL_len(L, 2);
  luaL_argcheck(L, n >= 1 && n <= 10000, 1, "1 to 10000 addresses expected");
  luaL_argcheck(L, nlocals >= 0 && nlocals <= 10000, 2, "too many addresses");
  op = ml__op_new(L, &race_class,
                  sizeof *op + (size_t)n * sizeof(target) + (size_t)nlocals * sizeof(ml_addr), 0);
  op->net = ml__net(L);
  op->n = (unsigned)n;
  op->nlocals = (unsigned)nlocals;
  op->locals = (ml_addr *)(void *)&op->targets[n];
  op->delay = lua_isnil(L, 3) ? -1 : luaL_checknumber(L, 3);
  for (int i = 0; i < n; i++) {
    lua_geti(L, 1, i + 1);
    check_address(L, -1, &op->targets[i].to);
    lua_pop(L, 1);
  }
  check_targets(L, op);
  for (int i = 0; i < nlocals; i++) {
    lua_geti(L, 2, i + 1);
    check_address(L, -1, &op->locals[i]);
    lua_pop(L, 1);
  }
  return 1;
}

void ml__open_eyeballs(lua_State *L) {
  lua_pushcfunction(L, f_connect_tcp);
  lua_setfield(L, -2, "connect_tcp");
}
