/* Connecting to unix sockets, and transports of descriptors that are there
** already. TCP is in eyeballs.c.
*/
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "stream.h"

typedef struct connop connop;

/* Lives until libuv has answered, whatever becomes of the operation. */
typedef struct connreq {
  uv_connect_t req;
  ml_engine *engine;
  ml_stream *s;
  connop *op; /* NULL: cancelled */
} connreq;

/* User value 1: the path. */
struct connop {
  ml_op op;
  connreq *req; /* under way */
  ml_stream *s; /* connected */
  int status;
};

static void on_connect(uv_connect_t *req, int status) {
  connreq *r = ml__containerof(req, connreq, req);
  connop *op = r->op;
  ml_stream *s = r->s;
  r->engine->nstats_inflight--;
  if (op != NULL) {
    op->req = NULL;
    op->status = status;
    if (status == 0) op->s = s;
    ml__op_wake(&op->op);
  }
  if (status < 0 || op == NULL) ml__stream_discard(s);
  ml__alloc(r->engine->alloc, r, sizeof *r, 0);
}

/* Pushes the error of connecting to what user value 1 names. */
static int failed(lua_State *L, int rc) {
  lua_getiuservalue(L, 1, 1);
  ml__error_uv(L, rc, "connect to %s failed", lua_tostring(L, -1));
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "path");
  return ML_RAISE;
}

static int connect_unix(lua_State *L, connreq *r) {
  struct sockaddr_un un;
  size_t n, len;
  const char *path;
  int rc, fd;
  lua_getiuservalue(L, 1, 1);
  path = lua_tolstring(L, -1, &n);
  if (n == 0 || n >= sizeof un.sun_path) return UV_ENAMETOOLONG;
  r->s = ml__stream_new(L, ml__engine(L)->running, ML_S_PIPE | ML_S_UNIX, 0, &rc);
  if (r->s == NULL) return rc;
  memset(&un, 0, sizeof un);
  un.sun_family = AF_UNIX;
  memcpy(un.sun_path, path, n);
  len = offsetof(struct sockaddr_un, sun_path) + n;
  rc = ml__unix_pin(r->engine, ML_P_NET, (struct sockaddr *)&un, &len, &fd);
  if (rc < 0) return rc == ML_EDENIED ? UV_EACCES : rc; /* it was allowed a moment ago */
  if (path[0] != '\0') {
    uv_pipe_connect(&r->req, &r->s->uv->pipe, un.sun_path, on_connect); /* connects here and now */
    if (fd >= 0) close(fd);
    return 0;
  }
  /* an abstract name: libuv takes none, and the kernel answers at once */
  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return uv_translate_sys_error(errno);
  if (connect(fd, (struct sockaddr *)&un, (socklen_t)len) < 0) {
    rc = uv_translate_sys_error(errno);
    close(fd);
    return rc;
  }
  return uv_pipe_open(&r->s->uv->pipe, fd) < 0 ? UV_EBADF : 1;
}

static int push_connected(lua_State *L, ml_stream *s) {
  ml__stream_names(s);
  ml__transport_push(L, s);
  return 1;
}

static int connect_begin(lua_State *L, ml_op *o) {
  connop *op = (connop *)o;
  ml_engine *e = ml__engine(L);
  connreq *r;
  int rc;
  ml__check_handles(L);
  r = ml__alloc(e->alloc, NULL, 0, sizeof *r);
  if (r == NULL) return luaL_error(L, "not enough memory");
  memset(r, 0, sizeof *r);
  r->engine = e;
  r->op = op;
  rc = connect_unix(L, r);
  if (rc == 0) {
    op->req = r;
    e->nstats_inflight++;
    return ML_PARK;
  }
  op->s = r->s;
  ml__alloc(e->alloc, r, sizeof *r, 0);
  if (rc > 0) return push_connected(L, op->s);
  if (op->s != NULL) ml__stream_discard(op->s);
  return failed(L, rc);
}

static int connect_wake(lua_State *L, ml_op *o) {
  connop *op = (connop *)o;
  if (o->obj.state == ML_OP_CANCELLED) {
    if (op->s != NULL) ml__stream_discard(op->s);
    op->s = NULL;
    return 0;
  }
  return op->status < 0 ? failed(L, op->status) : push_connected(L, op->s);
}

static void connect_cancel(ml_op *o) {
  connop *op = (connop *)o;
  if (op->req == NULL) return;
  op->req->op = NULL;
  if (!ml__stream_gone(op->req->s)) ml__stream_discard(op->req->s);
  op->req = NULL;
}

static const ml_opclass connect_class = {"connect", connect_begin, connect_wake, connect_cancel};

/* connect_unix(path) -> awaitable of a Transport */
static int f_connect_unix(lua_State *L) {
  struct sockaddr_un un;
  size_t n;
  const char *path = luaL_checklstring(L, 1, &n);
  if (n > 0 && n < sizeof un.sun_path) { /* else it fails */
    memset(&un, 0, sizeof un);
    un.sun_family = AF_UNIX;
    memcpy(un.sun_path, path, n);
    ml__check_address(L, ML_P_NET, "connect", (struct sockaddr *)&un,
                      offsetof(struct sockaddr_un, sun_path) + n);
  }
  ml__op_new(L, &connect_class, sizeof(connop), 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* ---- descriptors ---- */

/* fileno(transport or writer) -> descriptor, or nil when it is closed */
static int f_fileno(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  uv_os_fd_t fd;
  ml__stream_flush(s);
  if ((s->flags & ML_S_LOST) || ml__stream_fd(s, &fd) < 0) return 0;
  lua_pushinteger(L, fd);
  return 1;
}

static const struct {
  const char *name;
  int level, option;
} options[] = {
    {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY},  {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE},
    {"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF},       {"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF},
    {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR}, {"SO_ERROR", SOL_SOCKET, SO_ERROR},
    {"SO_LINGER", SOL_SOCKET, SO_LINGER},
};

/* sockopt(transport or writer, name [, value]) -> value. SO_LINGER: seconds, or -1. */
static int f_sockopt(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  const char *name = luaL_checkstring(L, 2);
  struct linger linger;
  uv_os_fd_t fd = -1;
  int value = 0, rc;
  socklen_t n = sizeof value;
  size_t i = 0, count = sizeof options / sizeof options[0];
  while (i < count && strcmp(options[i].name, name) != 0) i++;
  if (i == count) return ml__error(L, "ValueError", "unknown socket option '%s'", name);
  rc = (s->flags & ML_S_LOST) ? UV_EBADF : ml__stream_fd(s, &fd);
  if (rc == 0 && !lua_isnoneornil(L, 3)) {
    value = lua_isboolean(L, 3) ? lua_toboolean(L, 3) : (int)luaL_checkinteger(L, 3);
    linger.l_onoff = value >= 0;
    linger.l_linger = value;
    if (options[i].option == SO_LINGER && options[i].level == SOL_SOCKET)
      rc = setsockopt(fd, options[i].level, options[i].option, &linger, sizeof linger);
    else
      rc = setsockopt(fd, options[i].level, options[i].option, &value, sizeof value);
  } else if (rc == 0)
    rc = getsockopt(fd, options[i].level, options[i].option, &value, &n);
  if (rc < 0) {
    ml__error_uv(L, rc == -1 ? uv_translate_sys_error(errno) : rc, "socket option %s failed", name);
    return lua_error(L);
  }
  lua_pushinteger(L, value);
  return 1;
}

void ml__open_connect(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"connect_unix", f_connect_unix}, {"fileno", f_fileno}, {"sockopt", f_sockopt}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
