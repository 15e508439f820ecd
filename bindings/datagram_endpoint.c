/* DatagramEndpoint: a UDP socket whose datagrams a task awaits.
**
** When a datagram comes and a task waits, the task is woken and reads the socket
** itself, several datagrams at a time: it gets the first, the others are kept for the
** next recv(), which then does not suspend. When nobody waits they are kept as they
** come, in a queue with a bound.
**
** The endpoint keeps its last receive operation and uses it again when that is done with.
*/
#include <string.h>

#include "datagram.h"

/* An ml_waitop's obj.n: not 0 while it is handed out and not done. */

/* Someone who waits can have one of what is kept, or the error. */
static void wake_next(ml_dgram *d) {
  ml_waitop *w;
  if (ml__list_empty(&d->receivers)) return;
  w = ml__containerof(d->receivers.next, ml_waitop, link);
  ml__list_remove(&w->link);
  ml__op_wake(&w->op);
}

/* ---- as a sink ---- */

static void sink_readable(ml_dgram *d) {
  ml_batch *b;
  int n;
  if (!ml__list_empty(&d->receivers)) {
    wake_next(d);
    return;
  }
  n = ml__dgram_receive(d, &b);
  if (n < 0 && n != UV_EAGAIN) d->error = n;
  for (int i = 0; i < n; i++) ml__dgram_keep(d, b, i);
}

static void sink_writable(ml_dgram *d) { ml__wake_all(&d->waiters, &ml__dgdrain_class); }

static void sink_failed(ml_dgram *d, int error) {
  d->error = error;
  wake_next(d);
}

static void sink_lost(lua_State *L, ml_dgram *d) {
  (void)L;
  (void)d;
}
static void sink_forget(ml_dgram *d) { (void)d; }

const ml_dgsink ml__dgendpoint_sink = {sink_readable, sink_writable, sink_failed, sink_lost,
                                       sink_forget};

/* ---- recv ---- */

static inline ml_dgobject *check(lua_State *L) {
  ml_object *o = lua_touserdata(L, 1);
  if (o != NULL && lua_rawlen(L, 1) == sizeof(ml_dgobject) && o->magic == &ml__magic &&
      o->type == ML_T_DGENDPOINT)
    return (ml_dgobject *)(void *)o;
  return ml__checkobject(L, 1, ML_T_DGENDPOINT);
}

static int done(ml_waitop *w, int n) {
  w->op.obj.n = 0;
  return n;
}

static int push_datagram(lua_State *L, ml_dgram *d, const char *p, size_t n,
                         const ml_dgaddr *from) {
  lua_pushlstring(L, p, n);
  lua_getiuservalue(L, 1, 1); /* the endpoint */
  ml__dgram_push_address(L, lua_gettop(L), d, from);
  lua_remove(L, -2);
  return 2;
}

/* What is kept, an error, or the end. 0: nothing of these. */
static int take(lua_State *L, ml_dgram *d) {
  if (d->first != NULL) {
    push_datagram(L, d, d->first->data, d->first->len, &d->first->from);
    ml__dgram_take(d);
    return 2;
  }
  if (d->flags & ML_D_CLOSING) {
    lua_pushnil(L);
    return 1;
  }
  if (d->error != 0) {
    int error = d->error;
    d->error = 0;
    ml__dgram_receive_error(L, d, error);
    return ML_RAISE;
  }
  return 0;
}

static int park(ml_dgram *d, ml_waitop *w) {
  ml__list_append(&d->receivers, &w->link);
  return ML_PARK;
}

static int recv_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_dgram *d = w->on;
  int n = take(L, d);
  if (n != 0) return done(w, n);
  if (d->loop != ml__engine(L)->running) {
    ml__error_new(L, "RuntimeError", "recv(): the endpoint belongs to a different loop");
    return done(w, ML_RAISE);
  }
  return park(d, w);
}

static int recv_wake(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_dgram *d = w->on;
  ml_batch *b;
  int n;
  if (op->obj.state == ML_OP_CANCELLED) {
    ml__list_remove(&w->link);
    /* what it was woken for is another's */
    if ((op->obj.flags & ML_OPF_WOKEN) && (d->first != NULL || d->error != 0)) wake_next(d);
    return done(w, 0);
  }
  n = take(L, d);
  if (n == 0) {
    n = ml__dgram_receive(d, &b);
    if (n == UV_EAGAIN) return park(d, w);
    if (n < 0) {
      ml__dgram_receive_error(L, d, n);
      return done(w, ML_RAISE);
    }
    for (int i = 1; i < n; i++) ml__dgram_keep(d, b, i);
    if (n > 1) wake_next(d);
    return done(w, push_datagram(L, d, b->data[0], b->len[0], &b->from[0]));
  }
  if (d->first != NULL) wake_next(d);
  return done(w, n);
}

static const ml_opclass recv_class = {"DatagramEndpoint.recv", recv_begin, recv_wake,
                                      ml__waitop_cancel};

/* recv() -> awaitable of data, address; nil when the endpoint is closed */
static int e_recv(lua_State *L) {
  ml_dgobject *e = check(L);
  ml_waitop *w = NULL;
  if (lua_getiuservalue(L, 1, 2) == LUA_TUSERDATA) w = lua_touserdata(L, -1);
  if (w != NULL && w->op.obj.n == 0 && w->op.obj.state == ML_CO_AWAITED) {
    w->op.obj.state = ML_CO_NEW;
    w->op.obj.flags = 0;
  } else {
    lua_pop(L, 1);
    lua_pushvalue(L, 1);
    w = ml__waitop_push(L, &recv_class, e->d);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 2);
  }
  w->op.obj.n = 1;
  return 1;
}

/* The iterator of datagrams(): what is kept is given without an operation; else it awaits recv(). */
static int next_datagram(lua_State *L) {
  const ml_packet *p;
  ml_dgram *d;
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(1));
  d = check(L)->d;
  p = d->first;
  if (p == NULL) {
    e_recv(L);
    lua_replace(L, 1);
    lua_settop(L, 1);
    return ml__await(L);
  }
  lua_pushlstring(L, p->data, p->len);
  ml__dgram_push_address(L, 1, d, &p->from);
  ml__dgram_take(d);
  return 2;
}

/* datagrams() -> an iterator over datagrams and their senders' addresses, until the endpoint is
** closed. It awaits by itself. */
static int e_datagrams(lua_State *L) {
  check(L);
  lua_settop(L, 1);
  lua_pushcclosure(L, next_datagram, 1);
  return 1;
}

/* recv_nowait() -> data, address; nothing: there is none now */
static int e_recv_nowait(lua_State *L) {
  ml_dgram *d = check(L)->d;
  ml_batch *b;
  int n;
  if (d->first == NULL && !(d->flags & ML_D_CLOSING) && d->error == 0) {
    n = ml__dgram_receive(d, &b);
    if (n < 0 && n != UV_EAGAIN) d->error = n;
    for (int i = 0; i < n; i++) ml__dgram_keep(d, b, i);
  }
  if (d->first != NULL) {
    lua_pushlstring(L, d->first->data, d->first->len);
    ml__dgram_push_address(L, 1, d, &d->first->from);
    ml__dgram_take(d);
    return 2;
  }
  if (d->error != 0 && !(d->flags & ML_D_CLOSING)) {
    n = d->error;
    d->error = 0;
    ml__dgram_receive_error(L, d, n);
    return lua_error(L);
  }
  return 0;
}

/* ---- send and drain ---- */

/* send(data [, address]) -> true; or false: it was dropped, as too many wait already */
static int e_send(lua_State *L) {
  ml_dgram *d = check(L)->d;
  const ml_dgaddr *to;
  ml_dgaddr room;
  size_t n;
  const char *data;
  int rc;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "send: a string was expected, got %s", luaL_typename(L, 2));
  data = lua_tolstring(L, 2, &n);
  to = ml__dgram_destination(L, 1, d, 3, &room, "send");
  if (d->flags & ML_D_CLOSING)
    rc = UV_EBADF;
  else if (d->queued > 0 && d->queued + n > d->high) {
    d->flags |= ML_D_FULL;
    d->sent_dropped++;
    lua_pushboolean(L, 0);
    return 1;
  } else
    rc = ml__dgram_send(d, data, n, to);
  if (rc < 0) {
    ml__dgram_send_error(L, d, rc, to);
    return lua_error(L);
  }
  if (d->error != 0) wake_next(d);
  if (d->queued > d->high) d->flags |= ML_D_FULL;
  lua_pushboolean(L, 1);
  return 1;
}

static int drain_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_dgram *d = w->on;
  (void)L;
  if (!(d->flags & ML_D_FULL) || (d->flags & ML_D_DROPPED)) return 0;
  ml__list_append(&d->waiters, &w->link);
  return ML_PARK;
}

const ml_opclass ml__dgdrain_class = {"DatagramEndpoint.drain", drain_begin, ml__waitop_wake,
                                      ml__waitop_cancel};

static int closed_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_dgram *d = w->on;
  (void)L;
  if (d->flags & ML_D_LOST) return 0;
  ml__list_append(&d->waiters, &w->link);
  return ML_PARK;
}

static const ml_opclass closed_class = {"DatagramEndpoint.wait_closed", closed_begin,
                                        ml__waitop_wake, ml__waitop_cancel};

static int new_wait(lua_State *L, const ml_opclass *cls) {
  ml_dgram *d = check(L)->d;
  lua_pushvalue(L, 1);
  ml__waitop_push(L, cls, d);
  return 1;
}

static int e_drain(lua_State *L) { return new_wait(L, &ml__dgdrain_class); }

static int e_wait_closed(lua_State *L) { return new_wait(L, &closed_class); }

/* ---- the rest ---- */

/* dropped() -> datagrams that were received, and that were to be sent, and dropped */
static int e_dropped(lua_State *L) {
  const ml_dgram *d = check(L)->d;
  lua_pushinteger(L, (lua_Integer)d->received_dropped);
  lua_pushinteger(L, (lua_Integer)d->sent_dropped);
  return 2;
}

static int e_qsize(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->d->npackets);
  return 1;
}

static int e_gc(lua_State *L) {
  ml_dgobject *e = lua_touserdata(L, 1);
  ml_dgram *d = e->d;
  e->d = NULL;
  e->obj.magic = NULL; /* finalizers of scripts may still have it */
  if (d == NULL) return 0;
  if (!(d->flags & ML_D_CLOSING)) {
    char text[224];
    ml__dgram_text(d, text, sizeof text);
    ml__log(d->net->engine, "ResourceWarning: unclosed <DatagramEndpoint %s>: call close()", text);
    ml__dgram_close(d, false);
  }
  ml__dgram_unref(d);
  return 0;
}

void ml__dgendpoint_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"recv", e_recv},
                                     {"recv_nowait", e_recv_nowait},
                                     {"send", e_send},
                                     {"drain", e_drain},
                                     {"datagrams", e_datagrams},
                                     {"dropped", e_dropped},
                                     {"wait_closed", e_wait_closed},
                                     {"qsize", e_qsize},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", e_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_DGENDPOINT, "DatagramEndpoint", methods, meta);
  ml__dgram_install(L, ML_T_DGENDPOINT);
  lua_setfield(L, -2, "DatagramEndpoint");
}
