/* Listeners: sockets that are bound, listen and are closed with what they belong to, and the
** connections that libuv accepts by them (see listen.h).
**
** Where there is no memory for a connection it is accepted all the same and closed: libuv takes
** no further one before that. The file of a unix socket is removed with its listener, unless
** another socket has taken its place.
*/
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

typedef union anyhandle {
  uv_handle_t handle;
  uv_stream_t stream;
  uv_tcp_t tcp;
  uv_pipe_t pipe;
} anyhandle;

typedef struct listener {
  ml_handlehead head; /* first */
  ml_net *net;
  ml_listeners *of; /* NULL: gone */
  ml_link link;
  ml_link all; /* in net->listeners */
  uint32_t kind;
  dev_t dev; /* unix: of the socket file, which is removed at close */
  ino_t ino;
  bool unlink;
  char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
  anyhandle u;
  anyhandle spare;   /* for a connection that there is no memory for */
  bool turning_away; /* until that is closed */
  bool another;      /* has come meanwhile */
  bool closed;
} listener;

/* ---- life ---- */

static void free_if_closed(listener *n) {
  if (!n->closed || n->turning_away) return;
  ml__list_remove(&n->all);
  ml__alloc(n->net->engine->alloc, n, sizeof *n, 0);
}

static void on_listener_closed(uv_handle_t *h) {
  listener *n = h->data;
  n->closed = true;
  free_if_closed(n);
}

static void listener_close(listener *n) {
  struct stat st;
  n->of = NULL;
  ml__list_remove(&n->link);
  if (n->unlink && stat(n->path, &st) == 0 && st.st_dev == n->dev && st.st_ino == n->ino)
    unlink(n->path);
  if (!uv_is_closing(&n->u.handle)) uv_close(&n->u.handle, on_listener_closed);
}

void ml__listeners_close(ml_listeners *ls) {
  while (!ml__list_empty(&ls->list)) listener_close(ml__containerof(ls->list.next, listener, link));
}

static void close_with_loop(uv_handle_t *h) {
  listener *n = h->data;
  if (n->of != NULL)
    n->of->ended(n->of);
  else
    listener_close(n);
}

void ml__listeners_end(ml_net *net, ml_evloop *l) {
  for (ml_link *k = net->listeners.next, *next; k != &net->listeners; k = next) {
    listener *n = ml__containerof(k, listener, all);
    next = k->next;
    if (n->u.handle.loop == l->uv && !uv_is_closing(&n->u.handle)) close_with_loop(&n->u.handle);
  }
}

/* ---- accepting ---- */

static void on_connection(uv_stream_t *h, int status);

static void on_turned_away(uv_handle_t *h) {
  listener *n = h->data;
  n->turning_away = false;
  if (n->another) on_connection(&n->u.stream, 0);
  free_if_closed(n);
}

/* Accepts a connection and closes it, without memory. */
static void turn_away(listener *n) {
  uv_loop_t *uv = n->u.handle.loop;
  n->another = n->turning_away;
  if (n->another) return;
  if (n->kind & ML_S_PIPE)
    uv_pipe_init(uv, &n->spare.pipe, 0);
  else
    uv_tcp_init(uv, &n->spare.tcp);
  n->spare.handle.data = n;
  n->turning_away = true;
  uv_accept(&n->u.stream, &n->spare.stream);
  uv_close(&n->spare.handle, on_turned_away);
}

/* The connection that has come; or NULL, and *err. */
static ml_stream *accept_from(listener *n, int *err) {
  bool full = ml__handles_full(n->net->engine);
  ml_stream *s = ml__stream_make(n->net, n->of->loop, n->kind, AF_UNSPEC, err);
  if (s == NULL) {
    turn_away(n);
    return NULL;
  }
  *err = uv_accept(&n->u.stream, &s->uv->stream);
  if (*err == 0 && full) *err = UV_EMFILE; /* one too many: it is closed */
  if (*err < 0) {
    ml__stream_discard(s);
    return NULL;
  }
  if (!(n->kind & ML_S_PIPE)) uv_tcp_nodelay(&s->uv->tcp, 1);
  return s;
}

static void on_connection(uv_stream_t *h, int status) {
  listener *n = h->data;
  ml_stream *s;
  n->another = false;
  if (n->of == NULL) return;
  s = status == 0 ? accept_from(n, &status) : NULL;
  n->of->came(n->of, s, status);
}

int ml__listeners_start(ml_listeners *ls, int backlog) {
  for (ml_link *l = ls->list.next; l != &ls->list; l = l->next) {
    listener *n = ml__containerof(l, listener, link);
    int rc = uv_listen(&n->u.stream, backlog, on_connection);
    if (rc < 0) return rc;
  }
  return 0;
}

/* ---- binding ---- */

static void set_on(int fd, int level, int option) {
  int on = 1;
  setsockopt(fd, level, option, &on, sizeof on);
}

/* A bound socket, or a negative code. */
static int bind_socket(const struct sockaddr *sa, socklen_t len, bool reuse, bool reuse_port,
                       bool keep_alive) {
  int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return uv_translate_sys_error(errno);
  if (sa->sa_family != AF_UNIX) {
    if (reuse) set_on(fd, SOL_SOCKET, SO_REUSEADDR);
    if (reuse_port) set_on(fd, SOL_SOCKET, SO_REUSEPORT);
    if (keep_alive) set_on(fd, SOL_SOCKET, SO_KEEPALIVE);
    if (sa->sa_family == AF_INET6) set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY);
  }
  if (bind(fd, sa, len) < 0) {
    int rc = uv_translate_sys_error(errno);
    close(fd);
    return rc;
  }
  return fd;
}

/* Takes fd. */
static int add_listener(ml_listeners *ls, int fd, uint32_t kind, listener **out) {
  uv_loop_t *uv = ml__loop_uv(ls->loop);
  listener *n = uv == NULL ? NULL : ml__alloc(ls->net->engine->alloc, NULL, 0, sizeof *n);
  int rc;
  if (n == NULL) {
    close(fd);
    return UV_ENOMEM;
  }
  memset(n, 0, sizeof *n);
  rc = (kind & ML_S_PIPE) ? uv_pipe_init(uv, &n->u.pipe, 0) : uv_tcp_init(uv, &n->u.tcp);
  if (rc < 0) {
    close(fd);
    ml__alloc(ls->net->engine->alloc, n, sizeof *n, 0);
    return rc;
  }
  n->head.close = close_with_loop;
  n->u.handle.data = n;
  n->net = ls->net;
  n->of = ls;
  n->kind = kind;
  ml__list_append(&ls->net->listeners, &n->all);
  ml__list_append(&ls->list, &n->link);
  rc = (kind & ML_S_PIPE) ? uv_pipe_open(&n->u.pipe, fd) : uv_tcp_open(&n->u.tcp, fd);
  if (rc < 0) {
    close(fd);
    listener_close(n);
    return rc;
  }
  *out = n;
  return 0;
}

/* The socket at the path goes with the listener, unless another one has taken its place by then. */
static void remove_later(listener *n, const char *path) {
  struct stat st;
  if (path[0] == '\0' || stat(path, &st) < 0 || !S_ISSOCK(st.st_mode)) return;
  n->unlink = true;
  n->dev = st.st_dev;
  n->ino = st.st_ino;
  snprintf(n->path, sizeof n->path, "%s", path);
}

int ml__listeners_add(ml_listeners *ls, int fd, bool local, const char *path) {
  listener *n;
  int rc, mine = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* add_listener closes what it fails with */
  if (mine < 0) return uv_translate_sys_error(errno);
  rc = add_listener(ls, mine, local ? ML_S_PIPE | ML_S_UNIX : 0, &n);
  if (rc < 0) return rc;
  close(fd);
  if (path != NULL) remove_later(n, path);
  return 0;
}

/* bind_tcp(server, ip, port, reuse_address, reuse_port, keep_alive) -> address */
static int f_bind_tcp(lua_State *L) {
  ml_listeners *ls = ml__checklisteners(L, 1);
  const char *host = luaL_checkstring(L, 2);
  struct sockaddr_storage ss;
  ml_addr a;
  listener *n;
  int fd, rc, len = (int)sizeof ss;
  if (!ml__addr_parse(host, (int)luaL_checkinteger(L, 3), &ss))
    return luaL_argerror(L, 2, "an IP address was expected");
  ml__check_address(L, ML_P_LISTEN, "bind", (struct sockaddr *)&ss, sizeof ss);
  ml__check_handles(L);
  fd = bind_socket((struct sockaddr *)&ss,
                   ss.ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                           : sizeof(struct sockaddr_in6),
                   lua_toboolean(L, 4), lua_toboolean(L, 5), lua_toboolean(L, 6));
  rc = fd < 0 ? fd : add_listener(ls, fd, 0, &n);
  if (rc < 0) {
    char who[96];
    ml__addr_set(&a, (struct sockaddr *)&ss);
    ml__error_uv(L, rc, "bind to %s failed", ml__addr_text(&a, who, sizeof who));
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "host");
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "port");
    return lua_error(L);
  }
  uv_tcp_getsockname(&n->u.tcp, (struct sockaddr *)&ss, &len);
  ml__addr_set(&a, (struct sockaddr *)&ss);
  ml__addr_push(L, &a);
  return 1;
}

/* bind_unix(server, path, cleanup) */
static int f_bind_unix(lua_State *L) {
  ml_listeners *ls = ml__checklisteners(L, 1);
  size_t len;
  const char *path = luaL_checklstring(L, 2, &len);
  struct sockaddr_un un;
  struct stat st;
  listener *n;
  int fd, rc;
  ml__check_handles(L);
  memset(&un, 0, sizeof un);
  un.sun_family = AF_UNIX;
  if (len == 0 || len >= sizeof un.sun_path)
    return ml__error(L, "OSError",
                     "bind to unix socket failed: a path of 1 to %d bytes was expected, got %d",
                     (int)sizeof un.sun_path - 1, (int)len);
  memcpy(un.sun_path, path, len);
  ml__check_address(L, ML_P_LISTEN, "bind", (struct sockaddr *)&un,
                    offsetof(struct sockaddr_un, sun_path) + len);
  if (path[0] != '\0' && stat(path, &st) == 0 && S_ISSOCK(st.st_mode)) unlink(path);
  fd = bind_socket((struct sockaddr *)&un,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] != '\0')),
                   false, false, false);
  rc = fd < 0 ? fd : add_listener(ls, fd, ML_S_PIPE | ML_S_UNIX, &n);
  if (rc < 0) {
    ml__error_uv(L, rc, "bind to %s failed", path);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "path");
    return lua_error(L);
  }
  if (lua_toboolean(L, 3)) remove_later(n, path);
  return 0;
}

void ml__open_listen(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"bind_tcp", f_bind_tcp}, {"bind_unix", f_bind_unix}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
