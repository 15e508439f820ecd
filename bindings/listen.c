/* Listeners: sockets that are bound, listen and are closed with what they belong to, and the
** connections that come in by them (see listen.h).
**
** libuv tells when there are some; they are accepted here, as libuv would make a handle for each,
** which a TCP connection has no need of (ml_stream.uv). Without a descriptor or memory for a
** connection it is accepted all the same and closed: the kernel would tell of it for ever. The file
** of a unix socket is removed with its listener, unless another socket has taken its place.
*/
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST 256 /* connections that are accepted at once, before others have their turn */

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
  int fd;
  int reserve; /* a descriptor to be given up when there are no others, or -1 */
  uv_poll_t poll;
} listener;

/* ---- life ---- */

static void on_closed(uv_handle_t *h) {
  listener *n = h->data;
  ml__list_remove(&n->all);
  ml__alloc(n->net->engine->alloc, n, sizeof *n, 0);
}

static void listener_close(listener *n) {
  struct stat st;
  n->of = NULL;
  ml__list_remove(&n->link);
  if (n->unlink && stat(n->path, &st) == 0 && st.st_dev == n->dev && st.st_ino == n->ino)
    unlink(n->path);
  if (uv_is_closing((uv_handle_t *)&n->poll)) return;
  uv_close((uv_handle_t *)&n->poll, on_closed);
  close(n->fd);
  if (n->reserve >= 0) close(n->reserve);
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
    if (n->poll.loop == l->uv && !uv_is_closing((uv_handle_t *)&n->poll))
      close_with_loop((uv_handle_t *)&n->poll);
  }
}

/* ---- accepting ---- */

static void set_on(int fd, int level, int option) {
  int on = 1;
  setsockopt(fd, level, option, &on, sizeof on);
}

/* The descriptor of a connection that has come, or UV_E*. */
static int next_connection(int fd) {
  int got;
  do
#ifdef __linux__
    got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    got = accept(fd, NULL, NULL);
#endif
  while (got < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (got < 0) return errno == EWOULDBLOCK ? UV_EAGAIN : uv_translate_sys_error(errno);
#ifndef __linux__
  fcntl(got, F_SETFD, FD_CLOEXEC);
  fcntl(got, F_SETFL, fcntl(got, F_GETFL) | O_NONBLOCK);
#endif
  return got;
}

/* There are no descriptors left: with the one in reserve those that have come are turned away. */
static void turn_away(listener *n) {
  int fd;
  if (n->reserve >= 0) close(n->reserve);
  for (int i = 0; i < MOST && (fd = next_connection(n->fd)) >= 0; i++) close(fd);
  n->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* The connection of that descriptor, which is taken; or NULL, and *err. */
static ml_stream *new_connection(listener *n, int fd, int *err) {
  ml_stream *s = NULL;
  *err = UV_ENOMEM;
  if (ml__handles_full(n->net->engine))
    *err = UV_EMFILE;
  else if (!(n->kind & ML_S_PIPE))
    s = ml__stream_adopt(n->net, n->of->loop, fd);
  else {
    s = ml__stream_make(n->net, n->of->loop, n->kind, AF_UNSPEC, err);
    if (s != NULL) *err = uv_pipe_open(&s->uv->pipe, fd);
    if (s != NULL && *err < 0) {
      ml__stream_discard(s);
      s = NULL;
    }
  }
  if (s == NULL)
    close(fd);
  else if (!(n->kind & ML_S_PIPE))
    set_on(fd, IPPROTO_TCP, TCP_NODELAY);
  return s;
}

static void on_connections(uv_poll_t *h, int status, int events) {
  listener *n = h->data;
  (void)events;
  for (int i = 0; i < MOST && n->of != NULL; i++) {
    ml_stream *s = NULL;
    int rc = status < 0 ? status : next_connection(n->fd);
    if (rc == UV_EAGAIN) return;
    if (rc == UV_EMFILE || rc == UV_ENFILE) turn_away(n);
    if (rc >= 0) s = new_connection(n, rc, &rc);
    n->of->came(n->of, s, s != NULL ? 0 : rc);
    if (s == NULL) return;
  }
}

int ml__listeners_start(ml_listeners *ls, int backlog) {
  for (ml_link *l = ls->list.next; l != &ls->list; l = l->next) {
    listener *n = ml__containerof(l, listener, link);
    int rc = listen(n->fd, backlog) < 0 ? uv_translate_sys_error(errno) : 0;
    if (rc == 0) rc = uv_poll_start(&n->poll, UV_READABLE, on_connections);
    if (rc < 0) return rc;
    n->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
  return 0;
}

/* ---- binding ---- */

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
  rc = uv_poll_init(uv, &n->poll, fd); /* it is non-blocking then */
  if (rc < 0) {
    close(fd);
    ml__alloc(ls->net->engine->alloc, n, sizeof *n, 0);
    return rc;
  }
  n->head.close = close_with_loop;
  n->poll.data = n;
  n->net = ls->net;
  n->of = ls;
  n->kind = kind;
  n->fd = fd;
  n->reserve = -1;
  ml__list_append(&ls->net->listeners, &n->all);
  ml__list_append(&ls->list, &n->link);
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
  socklen_t len = sizeof ss;
  int fd, rc;
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
  getsockname(n->fd, (struct sockaddr *)&ss, &len);
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
