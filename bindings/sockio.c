/* Operations of sockets in general, and those that move bytes of a connection:
** recv, recv_into, send, sendall.
**
** Each tries its system call at once. If it would block, the operation waits in
** the queue of its descriptor; later ones stand behind it and do not try.
*/
#include <errno.h>
#include <string.h>

#include "socket.h"

/* ---- in general ---- */

int ml__sockop_failed(lua_State *L, const ml_sockop *o) {
  const ml_sockclass *c = (const ml_sockclass *)(const void *)o->op.cls;
  if (errno == EWOULDBLOCK || errno == EAGAIN) return ML_PARK;
  return ml__sock_error(L, uv_translate_sys_error(errno), "%s", c->verb);
}

/* The descriptor was closed, or cannot be waited for. */
static int failed(lua_State *L, const ml_sockop *o, int rc, bool waited) {
  const ml_sockclass *c = (const ml_sockclass *)(const void *)o->op.cls;
  if (o->s->fd >= 0) return ml__sock_error(L, rc, "%s", c->verb);
  return ml__sock_error(L, UV_EBADF,
                        waited ? "%s: the socket was closed meanwhile" : "%s: the socket is closed",
                        c->verb);
}

static int wait_for(lua_State *L, ml_sockop *o, bool front) {
  ml_evloop *loop = ml__engine(L)->running;
  int rc = ml__waiter_join(o->s->net, loop, o->s->fd, &o->wait, front);
  return rc < 0 ? failed(L, o, rc, true) : ML_PARK;
}

int ml__sockop_begin(lua_State *L, ml_op *op) {
  ml_sockop *o = (ml_sockop *)op;
  const ml_sockclass *c = (const ml_sockclass *)(const void *)op->cls;
  int n;
  if (o->s->fd < 0) return failed(L, o, UV_EBADF, false);
  if (ml__fdwatch_queued(o->s->net, ml__engine(L)->running, o->s->fd, c->side))
    return wait_for(L, o, false);
  n = c->attempt(L, o);
  return n == ML_PARK ? wait_for(L, o, false) : n;
}

int ml__sockop_wake(lua_State *L, ml_op *op) {
  ml_sockop *o = (ml_sockop *)op;
  const ml_sockclass *c = (const ml_sockclass *)(const void *)op->cls;
  int n;
  ml__waiter_leave(&o->wait); /* trying may raise an error */
  if (op->obj.state == ML_OP_CANCELLED) return 0;
  if (o->s->fd < 0 || o->wait.error != 0) return failed(L, o, o->wait.error, true);
  n = c->attempt(L, o);
  return n == ML_PARK ? wait_for(L, o, true) : n;
}

void ml__sockop_cancel(ml_op *op) { ml__waiter_leave(&((ml_sockop *)op)->wait); }

void *ml__sockop_new(lua_State *L, const ml_sockclass *cls, size_t size, int idx) {
  ml_socket *s = ml__checksocket(L, 1);
  ml_sockop *o = ml__op_new(L, &cls->op, size, idx == 0 ? 1 : 2);
  o->s = s;
  ml__waiter_init(&o->wait, &o->op, cls->side);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (idx != 0) {
    lua_pushvalue(L, idx);
    lua_setiuservalue(L, -2, 2);
  }
  return o;
}

int ml__checkflags(lua_State *L, int idx, const char *fname) {
  lua_Integer flags;
  int ok;
  if (lua_isnoneornil(L, idx)) return 0;
  flags = lua_tointegerx(L, idx, &ok);
  if (!ok)
    ml__misuse(L, "TypeError", "%s: flags must be an integer, got %s", fname,
               luaL_typename(L, idx));
  return (int)flags;
}

size_t ml__checksize(lua_State *L, int idx, const char *fname, const char *what) {
  int ok;
  lua_Integer n = lua_tointegerx(L, idx, &ok);
  if (!ok)
    ml__misuse(L, "TypeError", "%s: %s must be an integer, got %s", fname, what,
               luaL_typename(L, idx));
  if (n < 0) ml__misuse(L, "ValueError", "%s: negative %s (%I)", fname, what, (LUAI_UACINT)n);
  return (size_t)n;
}

/* ---- receiving ---- */

static ssize_t receive(const ml_sockop *o, void *p, size_t n) {
  ssize_t got;
  if (o->n == 0 && ml__socket_stream(o->s)) return 0; /* the kernel would wait */
  do got = recv(o->s->fd, p, n, o->flags | MSG_DONTWAIT);
  while (got < 0 && errno == EINTR);
  return got;
}

static int recv_attempt(lua_State *L, ml_sockop *o) {
  char *slab = ml__slab(o->s->net);
  ssize_t got;
  if (slab == NULL) return luaL_error(L, "not enough memory");
  got = receive(o, slab, o->n < ML_SLAB ? o->n : ML_SLAB);
  if (got < 0) return ml__sockop_failed(L, o);
  if (got == 0 && o->n > 0 && ml__socket_stream(o->s))
    lua_pushnil(L);
  else
    lua_pushlstring(L, slab, (size_t)got);
  return 1;
}

static const ml_sockclass recv_class = ML_SOCKCLASS("Socket.recv", ML_W_READ, recv_attempt, "recv");

int ml__sockop_sized(lua_State *L, const ml_sockclass *cls) {
  ml_sockop *o;
  size_t n;
  int flags;
  ml__checksocket(L, 1);
  n = ml__checksize(L, 2, cls->verb, "size");
  flags = ml__checkflags(L, 3, cls->verb);
  o = ml__sockop_new(L, cls, sizeof *o, 0);
  o->n = n;
  o->flags = flags;
  return 1;
}

/* socket:recv(n [, flags]) -> awaitable of a string; nil at the end */
static int s_recv(lua_State *L) { return ml__sockop_sized(L, &recv_class); }

static int into_attempt(lua_State *L, ml_sockop *o) {
  ml_buffer *b;
  ssize_t got;
  lua_getiuservalue(L, 1, 2);
  b = lua_touserdata(L, -1);
  if (o->done > b->len) o->done = b->len; /* it was altered meanwhile */
  got = receive(o, b->data + o->done, o->n < b->cap - o->done ? o->n : b->cap - o->done);
  if (got < 0) return ml__sockop_failed(L, o);
  if (got == 0 && o->n > 0 && ml__socket_stream(o->s)) {
    lua_pushnil(L);
    return 1;
  }
  b->len = o->done + (size_t)got;
  lua_pushinteger(L, got);
  return 1;
}

static const ml_sockclass into_class = ML_SOCKCLASS("Socket.recv_into", ML_W_READ, into_attempt,
                                                    "recv_into");

/* socket:recv_into(buffer [, n [, at]]) -> awaitable of the number of bytes; nil at
** the end. They go to position `at`, 1 by default, and end the buffer. */
static int s_recv_into(lua_State *L) {
  const ml_buffer *b;
  ml_sockop *o;
  size_t n, at;
  ml__checksocket(L, 1);
  b = ml__checkbuffer(L, 2, "recv_into");
  n = lua_isnoneornil(L, 3) ? b->cap : ml__checksize(L, 3, "recv_into", "size");
  at = lua_isnoneornil(L, 4) ? 1 : ml__checksize(L, 4, "recv_into", "position");
  if (at < 1 || at > b->len + 1)
    return ml__misuse(L, "ValueError", "recv_into: position must be 1 to %I, got %I",
                      (LUAI_UACINT)b->len + 1, (LUAI_UACINT)at);
  if (n > 0 && at > b->cap) return ml__misuse(L, "ValueError", "recv_into: the buffer is full");
  o = ml__sockop_new(L, &into_class, sizeof *o, 2);
  o->n = n;
  o->done = at - 1;
  return 1;
}

/* ---- sending ---- */

static ssize_t transmit(const ml_sockop *o) {
  ssize_t sent;
  do
    sent = send(o->s->fd, o->data + o->done, o->n - o->done,
                o->flags | MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  return sent;
}

static int send_attempt(lua_State *L, ml_sockop *o) {
  ssize_t sent = transmit(o);
  if (sent < 0) return ml__sockop_failed(L, o);
  lua_pushinteger(L, sent);
  return 1;
}

/* A peer that reads as fast as this writes must not hold up the loop. */
#define SENDS_IN_A_ROUND 8

static int sendall_attempt(lua_State *L, ml_sockop *o) {
  for (int i = 0; i < SENDS_IN_A_ROUND; i++) {
    ssize_t sent = transmit(o);
    if (sent < 0) return ml__sockop_failed(L, o);
    o->done += (size_t)sent;
    if (o->done >= o->n) return 0;
  }
  return ML_PARK;
}

static const ml_sockclass send_class = ML_SOCKCLASS("Socket.send", ML_W_WRITE, send_attempt,
                                                    "send");
static const ml_sockclass sendall_class = ML_SOCKCLASS("Socket.sendall", ML_W_WRITE,
                                                       sendall_attempt, "sendall");

static int new_send(lua_State *L, const ml_sockclass *cls) {
  const char *p;
  size_t n;
  int flags;
  ml_sockop *o;
  ml__checksocket(L, 1);
  p = ml__checkbytes(L, 2, cls->verb, &n);
  flags = ml__checkflags(L, 3, cls->verb);
  o = ml__sockop_new(L, cls, sizeof *o, 2);
  o->data = p;
  o->n = n;
  o->flags = flags;
  return 1;
}

/* socket:send(data [, flags]) -> awaitable of the number of bytes that were taken */
static int s_send(lua_State *L) { return new_send(L, &send_class); }

/* socket:sendall(data [, flags]) -> awaitable */
static int s_sendall(lua_State *L) { return new_send(L, &sendall_class); }

void ml__open_sockio(lua_State *L) {
  static const luaL_Reg methods[] = {{"recv", s_recv},
                                     {"recv_into", s_recv_into},
                                     {"send", s_send},
                                     {"sendall", s_sendall},
                                     {NULL, NULL}};
  luaL_setfuncs(L, methods, 0);
}
