/* Sockets and asyncio's connections: a socket becomes a connection or listens for a
** server; a connection lends its descriptor while a file goes out through it.
*/
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "listen.h"
#include "socket.h"

/* ---- a socket becomes a connection ---- */

static ml_socket *check_stream(lua_State *L, int idx, const char *fname) {
  ml_object *o = ml__toobject(L, idx);
  ml_socket *s = (ml_socket *)(void *)o;
  if (o == NULL || o->type != ML_T_SOCKET)
    ml__error(L, "TypeError", "%s(): sock must be a socket, got %s", fname, luaL_typename(L, idx));
  if (s->fd < 0) ml__error(L, "ValueError", "%s(): sock is closed", fname);
  if (s->type != SOCK_STREAM ||
      (s->family != AF_INET && s->family != AF_INET6 && s->family != AF_UNIX))
    ml__error(L, "ValueError", "A Stream Socket was expected, got %s",
              luaL_tolstring(L, idx, NULL));
  return s;
}

/* check_socket(socket, fname, unix): raises what is wrong with it */
static int f_check_socket(lua_State *L) {
  const char *fname = luaL_checkstring(L, 2);
  ml_socket *s = check_stream(L, 1, fname);
  if (lua_toboolean(L, 3) && s->family != AF_UNIX)
    return ml__error(L, "ValueError", "A UNIX Domain Stream Socket was expected, got %s",
                     luaL_tolstring(L, 1, NULL));
  return 0;
}

/* take_socket(socket) -> Transport, which owns the descriptor then */
static int f_take_socket(lua_State *L) {
  ml_socket *k = check_stream(L, 1, "connect");
  ml_evloop *loop = ml__loop_get(L);
  bool pipe = k->family == AF_UNIX;
  ml_sockaddr peer;
  ml_stream *s;
  int rc;
  peer.len = sizeof peer.ss;
  if (getpeername(k->fd, (struct sockaddr *)&peer.ss, &peer.len) < 0) {
    ml__sock_error(L, uv_translate_sys_error(errno), "sock");
    return lua_error(L);
  }
  ml__check_handles(L);
  s = ml__stream_new(L, loop, pipe ? ML_S_PIPE | ML_S_UNIX : 0, 0, &rc);
  if (s != NULL) {
    ml__fdwatch_forget(k->net, k->fd);
    rc = pipe ? uv_pipe_open(&s->uv->pipe, k->fd) : uv_tcp_open(&s->uv->tcp, k->fd);
    if (rc == 0) {
      k->fd = -1;
      if (!pipe) uv_tcp_nodelay(&s->uv->tcp, 1);
      ml__stream_names(s);
      ml__transport_push(L, s);
      return 1;
    }
    ml__stream_discard(s);
  }
  ml__sock_error(L, rc, "sock");
  return lua_error(L);
}

/* listen_socket(server, socket, cleanup) -> its address: the server owns the descriptor then */
static int f_listen_socket(lua_State *L) {
  ml_listeners *ls = ml__checklisteners(L, 1);
  ml_socket *k = check_stream(L, 2, "create_server");
  ml_sockaddr a;
  const char *path = NULL;
  int rc;
  ml__socket_check_listen(L, k);
  listen(k->fd, 0); /* binds it, if need be */
  a.len = sizeof a.ss;
  memset(&a.ss, 0, sizeof a.ss); /* so that paths end */
  if (getsockname(k->fd, (struct sockaddr *)&a.ss, &a.len) < 0) a.len = 0;
  if (k->family == AF_UNIX && lua_toboolean(L, 3)) path = ((struct sockaddr_un *)&a.ss)->sun_path;
  ml__fdwatch_forget(k->net, k->fd);
  rc = ml__listeners_add(ls, k->fd, k->family == AF_UNIX, path);
  if (rc < 0) {
    ml__sock_error(L, rc, "sock");
    return lua_error(L);
  }
  k->fd = -1;
  ml__sockaddr_push(L, &a);
  return 1;
}

/* ---- a connection lends its descriptor ---- */

static int flushed_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_stream *s = ((ml_endpoint *)w->on)->s;
  if (s->flags & (ML_S_DROPPED | ML_S_LOST))
    return ml__sock_error(L, s->error != 0 ? s->error : UV_ECONNABORTED, "write");
  if (s->first == NULL) return 0;
  ml__list_append(&s->waiters, &w->link);
  return ML_PARK;
}

static int flushed_wake(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml__list_remove(&w->link);
  return op->obj.state == ML_OP_CANCELLED ? 0 : flushed_begin(L, op);
}

const ml_opclass ml__flushed_class = {"flushed", flushed_begin, flushed_wake, ml__waitop_cancel};

static int new_wait(lua_State *L, const ml_opclass *cls) {
  ml_endpoint *e = ml__checkendpoint(L, 1);
  lua_pushvalue(L, 1);
  ml__waitop_push(L, cls, e);
  return 1;
}

/* flushed(transport or writer) -> awaitable: nothing waits to be written */
static int f_flushed(lua_State *L) { return new_wait(L, &ml__flushed_class); }

/* drained(transport or writer) -> awaitable: below the high-water mark */
static int f_drained(lua_State *L) { return new_wait(L, &ml__drain_class); }

/* can_lend(transport or writer): is it a plain socket? */
static int f_can_lend(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  lua_pushboolean(L,
                  s->ops == &ml__plain_ops && (!(s->flags & ML_S_PIPE) || (s->flags & ML_S_UNIX)));
  return 1;
}

/* lend(transport or writer): a socket of a duplicate of its descriptor. Until
** take_back nothing may be written. */
static int f_lend(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  uv_os_fd_t fd;
  ml_socket *k;
  if (s->flags & ML_S_LENT)
    return ml__error(L, "RuntimeError", "unable to send; sendfile is in progress");
  if ((s->flags & ML_S_CLOSING) || ml__stream_fd(s, &fd) < 0)
    return ml__error(L, "RuntimeError", "Transport is closing");
  ml__stream_flush(s);
  k = ml__socket_push(L, AF_UNSPEC, SOCK_STREAM, 0);
  k->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (k->fd < 0) {
    ml__sock_error(L, uv_translate_sys_error(errno), "sendfile");
    return lua_error(L);
  }
  s->flags |= ML_S_LENT;
  return 1;
}

static int f_take_back(lua_State *L) {
  ml__checkstream(L, 1)->flags &= ~(uint32_t)ML_S_LENT;
  return 0;
}

void ml__open_handover(lua_State *L) {
  static const luaL_Reg functions[] = {{"check_socket", f_check_socket},
                                       {"take_socket", f_take_socket},
                                       {"listen_socket", f_listen_socket},
                                       {"flushed", f_flushed},
                                       {"drained", f_drained},
                                       {"can_lend", f_can_lend},
                                       {"lend", f_lend},
                                       {"take_back", f_take_back},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
