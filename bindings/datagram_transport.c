/* DatagramTransport: a UDP socket with a protocol table. Semantics of CPython 3.13's
** _SelectorDatagramTransport.
**
** connection_made, datagram_received, resume_writing and the errors of what was sent
** later are called from one job per socket; connection_lost comes last, from the
** socket's own job. The job reads the socket itself. While it is open its transport,
** and so its protocol, is pinned.
*/
#include <string.h>

#include "datagram.h"

enum { P_MADE = 1, P_READ = 2, P_RESUME = 4 };
enum { MAX_ERRORS = 8 }; /* of queued datagrams; more are not told one by one */

typedef struct protocol {
  ml_job job;
  ml_dgram *d;
  int pin; /* of the transport */
  int pending;
  bool paused; /* pause_writing was called */
  int errors[MAX_ERRORS], nerrors;
} protocol;

/* ---- calling the protocol ---- */

typedef struct calling {
  protocol *p;
  const char *name;
  const ml_batch *batch; /* datagram_received: the datagram, */
  int index;             /* and which */
  int error;             /* error_received: a code, or 0: the error is an argument */
  bool receiving;
} calling;

static int push_arguments(lua_State *L, const calling *c, int self) {
  ml_dgram *d = c->p->d;
  if (c->batch != NULL) {
    lua_pushlstring(L, c->batch->data[c->index], c->batch->len[c->index]);
    ml__dgram_push_address(L, self, d, &c->batch->from[c->index]);
    return 2;
  }
  if (c->error != 0) {
    if (c->receiving)
      ml__dgram_receive_error(L, d, c->error);
    else
      ml__dgram_send_error(L, d, c->error, NULL);
    return 1;
  }
  return 0;
}

/* (calling, argument...): calls the protocol's method, if it has it. */
static int call_method(lua_State *L) {
  const calling *c = lua_touserdata(L, 1);
  int given = lua_gettop(L) - 1, self = given + 2, n;
  ml__pushpinned(L, c->p->pin);
  lua_getiuservalue(L, self, 2);
  if (lua_getfield(L, -1, c->name) == LUA_TNIL) return 0;
  lua_pushvalue(L, -2);
  for (int i = 0; i < given; i++) lua_pushvalue(L, i + 2);
  n = push_arguments(L, c, self);
  lua_call(L, n + given + 1, 0);
  return 0;
}

/* (calling, error): tells the loop's exception handler. */
static int report(lua_State *L) {
  const calling *c = lua_touserdata(L, 1);
  ml_evloop *loop = c->p->d->loop;
  if (ml__isinstance(L, 2, "KeyboardInterrupt") || ml__isinstance(L, 2, "SystemExit")) {
    lua_pushvalue(L, 2);
    ml__ref_set(L, ML_R_PENDINGERR);
    loop->raise = true;
    return 0;
  }
  lua_createtable(L, 0, 4);
  lua_pushfstring(L, "protocol.%s() failed", c->name);
  lua_setfield(L, -2, "message");
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "exception");
  ml__pushpinned(L, c->p->pin);
  lua_getiuservalue(L, -1, 2);
  lua_setfield(L, -3, "protocol");
  lua_setfield(L, -2, "transport");
  ml__call_exception_handler(L, loop);
  return 0;
}

/* Calls the method with the nargs values on top (popped); errors are reported. */
static void call(lua_State *L, calling *c, int nargs) {
  int base = lua_gettop(L) - nargs + 1;
  lua_pushcfunction(L, ml__msgh);
  lua_pushcfunction(L, call_method);
  lua_pushlightuserdata(L, c);
  lua_rotate(L, base, 3);
  if (lua_pcall(L, nargs + 1, 0, base) == LUA_OK) {
    lua_settop(L, base - 1);
    return;
  }
  lua_pushcfunction(L, report);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, c);
  lua_insert(L, -2);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK)
    ml__log(c->p->d->net->engine, "error in protocol.%s: %s", c->name, lua_tostring(L, -1));
  lua_settop(L, base - 1);
}

static void call_simple(lua_State *L, protocol *p, const char *name) {
  calling c = {.p = p, .name = name};
  call(L, &c, 0);
}

static void call_error(lua_State *L, protocol *p, int error, bool receiving) {
  calling c = {.p = p, .name = "error_received", .error = error, .receiving = receiving};
  call(L, &c, 0);
}

/* ---- the job ---- */

static bool is_open(const ml_dgram *d) { return !(d->flags & ML_D_CLOSING) && d->target != NULL; }

static void read_all(lua_State *L, protocol *p) {
  ml_dgram *d = p->d;
  ml_batch *b;
  int n = ml__dgram_receive(d, &b);
  if (n == UV_EAGAIN) return;
  if (n < 0) {
    call_error(L, p, n, true);
    return;
  }
  for (int i = 0; i < n && is_open(d) && !d->loop->raise; i++) {
    calling c = {.p = p, .name = "datagram_received", .batch = b, .index = i};
    call(L, &c, 0);
  }
}

static int push_transport(lua_State *L) {
  ml__pushpinned(L, ((protocol *)lua_touserdata(L, 1))->pin);
  return 1;
}

static void made(lua_State *L, protocol *p) {
  calling c = {.p = p, .name = "connection_made"};
  int rc;
  lua_pushcfunction(L, push_transport);
  lua_pushlightuserdata(L, p);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK)
    call(L, &c, 1);
  else
    lua_pop(L, 1);
  if (!is_open(p->d)) return;
  rc = ml__dgram_start(p->d);
  if (rc < 0) call_error(L, p, rc, true);
}

static void deliver(ml_evloop *loop, ml_job *job) {
  protocol *p = ml__containerof(job, protocol, job);
  ml_dgram *d = p->d;
  lua_State *L = loop->L;
  int pending = p->pending;
  if (!lua_checkstack(L, 12)) return;
  p->pending = 0;
  ml__dgram_ref(d);
  if ((pending & P_MADE) && d->target != NULL) made(L, p);
  while (d->target != NULL && p->nerrors > 0) {
    int error = p->errors[0];
    memmove(p->errors, p->errors + 1, (size_t)--p->nerrors * sizeof p->errors[0]);
    call_error(L, p, error, false);
  }
  if (is_open(d) && d->error != 0) {
    int error = d->error;
    d->error = 0;
    call_error(L, p, error, true);
  }
  if ((pending & P_READ) && is_open(d)) read_all(L, p);
  if ((pending & P_RESUME) && d->target != NULL && p->paused && d->queued <= d->low) {
    p->paused = false;
    call_simple(L, p, "resume_writing");
  }
  ml__dgram_unref(d);
}

static void schedule(protocol *p, int what) {
  p->pending |= what;
  if (ml__list_empty(&p->job.link)) ml__ready(p->d->loop, &p->job);
}

static void sink_readable(ml_dgram *d) { schedule(d->target, P_READ); }
static void sink_writable(ml_dgram *d) { schedule(d->target, P_RESUME); }

static void sink_failed(ml_dgram *d, int error) {
  protocol *p = d->target;
  if (p->nerrors < MAX_ERRORS) p->errors[p->nerrors++] = error;
  schedule(p, 0);
}

static void protocol_free(protocol *p) {
  ml__list_remove(&p->job.link);
  ml__alloc(p->d->net->engine->alloc, p, sizeof *p, 0);
}

static void sink_lost(lua_State *L, ml_dgram *d) {
  protocol *p = d->target;
  if (p == NULL) return;
  if (lua_checkstack(L, 12)) {
    calling c = {.p = p, .name = "connection_lost"};
    lua_pushnil(L);
    call(L, &c, 1);
  }
  d->target = NULL;
  ml__unpin(L, p->pin);
  protocol_free(p);
}

static void sink_forget(ml_dgram *d) {
  protocol *p = d->target;
  ml__unpin(d->net->engine->L, p->pin);
  protocol_free(p);
  d->target = NULL;
}

const ml_dgsink ml__dgprotocol_sink = {sink_readable, sink_writable, sink_failed, sink_lost,
                                       sink_forget};

/* ---- the object ---- */

static ml_dgram *check(lua_State *L) {
  return ((ml_dgobject *)ml__checkobject(L, 1, ML_T_DGTRANSPORT))->d;
}

/* An error that sending has met at once goes to the protocol, as in CPython. */
static void refused(lua_State *L, ml_dgram *d, int error, const ml_dgaddr *to) {
  calling c = {.p = d->target, .name = "error_received"};
  ml__dgram_send_error(L, d, error, to);
  call(L, &c, 1);
}

/* sendto(data [, address]) */
static int t_sendto(lua_State *L) {
  ml_dgram *d = check(L);
  const ml_dgaddr *to;
  ml_dgaddr room;
  protocol *p;
  size_t n;
  const char *data;
  int rc;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "sendto: a string was expected, got %s", luaL_typename(L, 2));
  data = lua_tolstring(L, 2, &n);
  to = ml__dgram_destination(L, 1, d, 3, &room, "sendto");
  if ((d->flags & ML_D_DROPPED) || d->target == NULL) {
    if (d->drops++ >= 4) ml__log(d->net->engine, "socket.send() raised exception.");
    return 0;
  }
  lua_settop(L, 3);
  luaL_checkstack(L, 12, "sendto");
  rc = ml__dgram_send(d, data, n, to);
  if (rc < 0) {
    refused(L, d, rc, to);
    return 0;
  }
  p = d->target;
  if (d->error != 0) schedule(p, 0);
  if (rc == ML_D_QUEUED && d->queued > d->high) {
    d->flags |= ML_D_FULL;
    if (!p->paused) {
      p->paused = true;
      call_simple(L, p, "pause_writing");
    }
  }
  return 0;
}

static int t_get_protocol(lua_State *L) {
  check(L);
  lua_getiuservalue(L, 1, 2);
  return 1;
}

static int t_set_protocol(lua_State *L) {
  check(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 2);
  return 0;
}

static int t_gc(lua_State *L) {
  ml_dgobject *t = lua_touserdata(L, 1);
  ml_dgram *d = t->d;
  t->d = NULL;
  t->obj.magic = NULL; /* finalizers of scripts may still have it */
  if (d == NULL) return 0;
  if (d->target == NULL && !(d->flags & ML_D_CLOSING)) /* it never got its protocol */
    ml__dgram_close(d, true);
  ml__dgram_unref(d);
  return 0;
}

/* datagram_protocol(transport, protocol): connects them */
static int f_protocol(lua_State *L) {
  ml_dgram *d = check(L);
  protocol *p;
  luaL_checktype(L, 2, LUA_TTABLE);
  if (d->target != NULL) return ml__error(L, "RuntimeError", "Transport already set");
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 2);
  p = ml__alloc(d->net->engine->alloc, NULL, 0, sizeof *p);
  if (p == NULL) return luaL_error(L, "not enough memory");
  memset(p, 0, sizeof *p);
  p->d = d;
  p->job.run = deliver;
  ml__list_init(&p->job.link);
  d->target = p; /* from here on it is freed with the socket */
  p->pin = ml__pin(L, 1);
  schedule(p, P_MADE);
  return 0;
}

void ml__dgprotocol_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"sendto", t_sendto},
                                     {"get_protocol", t_get_protocol},
                                     {"set_protocol", t_set_protocol},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", t_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_DGTRANSPORT, "DatagramTransport", methods, meta);
  ml__dgram_install(L, ML_T_DGTRANSPORT);
  lua_setfield(L, -2, "DatagramTransport");
  lua_pushcfunction(L, f_protocol);
  lua_setfield(L, -2, "datagram_protocol");
}
