/* Module socket.core: sockets, without what has to wait (sockio.c, sockmsg.c,
** sockconn.c, sendfile.c). stdlib/socket.lua is its face.
**
** Families and types are strings to scripts, as getaddrinfo gives them: "inet",
** "inet6", "unix"; "stream", "dgram", "raw", "seqpacket". A socket that is
** collected open is closed and told of.
*/
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct name {
  const char *name;
  int value;
} name;
static const name families[] = {{"inet", AF_INET}, {"inet6", AF_INET6}, {"unix", AF_UNIX}, {0}},
                  types[] = {{"stream", SOCK_STREAM},
                             {"dgram", SOCK_DGRAM},
                             {"raw", SOCK_RAW},
                             {"seqpacket", SOCK_SEQPACKET},
                             {0}};

static void push_name(lua_State *L, const name *list, int value) {
  while (list->name != NULL && list->value != value) list++;
  if (list->name != NULL)
    lua_pushstring(L, list->name);
  else
    lua_pushinteger(L, value);
}

static int check_name(lua_State *L, int idx, const name *list, const char *what) {
  int ok, value = (int)lua_tointegerx(L, idx, &ok);
  if (ok && lua_type(L, idx) == LUA_TNUMBER) return value;
  if (lua_type(L, idx) == LUA_TSTRING) {
    for (const name *n = list; n->name != NULL; n++)
      if (strcmp(lua_tostring(L, idx), n->name) == 0) return n->value;
    return ml__misuse(L, "ValueError", "socket: unknown %s '%s'", what, lua_tostring(L, idx));
  }
  return ml__misuse(L, "TypeError", "socket: %s must be a string, got %s", what,
                    luaL_typename(L, idx));
}

int ml__sock_error(lua_State *L, int uverr, const char *fmt, ...) {
  char msg[128], code[64];
  va_list ap;
  va_start(ap, fmt);
  lua_pushvfstring(L, fmt, ap);
  va_end(ap);
  uv_strerror_r(uverr, msg, sizeof msg);
  uv_err_name_r(uverr, code, sizeof code);
  ml__error_new(L, uverr == UV_ETIMEDOUT ? "TimeoutError" : "OSError", "%s: %s: %s", code, msg,
                lua_tostring(L, -1));
  lua_pushstring(L, code);
  lua_setfield(L, -2, "code");
  lua_pushinteger(L, -uverr);
  lua_setfield(L, -2, "errno");
  lua_remove(L, -2);
  return ML_RAISE;
}

static int fail(lua_State *L, const char *what) { /* by errno */
  ml__sock_error(L, uv_translate_sys_error(errno), "%s", what);
  return lua_error(L);
}

ml_socket *ml__checksocket(lua_State *L, int idx) { return ml__checkobject(L, idx, ML_T_SOCKET); }

/* An open one. */
static ml_socket *check(lua_State *L, const char *what) {
  ml_socket *s = ml__checksocket(L, 1);
  if (s->fd < 0) {
    ml__sock_error(L, UV_EBADF, "%s: the socket is closed", what);
    lua_error(L);
  }
  return s;
}

ml_socket *ml__socket_push(lua_State *L, int family, int type, int proto) {
  ml_net *net = ml__net(L);
  ml_socket *s;
  ml__check_handles(L);
  s = ml__newobject(L, ML_T_SOCKET, sizeof *s, 0);
  s->net = net;
  s->fd = -1;
  ml__list_append(&net->sockets, &s->all);
  s->family = family;
  s->type = type;
  s->proto = proto;
  return s;
}

size_t ml__sockets_open(const ml_net *net) {
  size_t n = 0;
  for (const ml_link *k = net->sockets.next; k != &net->sockets; k = k->next)
    if (ml__containerof(k, const ml_socket, all)->fd >= 0) n++;
  return n;
}

int ml__socket_detach(ml_socket *s) {
  int fd = s->fd;
  if (fd < 0) return -1;
  s->fd = -1;
  ml__fdwatch_forget(s->net, fd);
  return fd;
}

int ml__socket_take(lua_State *L, int idx) { return ml__socket_detach(ml__checksocket(L, idx)); }

/* ---- making ---- */

static int option(int fd, int opt) {
  int value = 0;
  socklen_t n = sizeof value;
  return getsockopt(fd, SOL_SOCKET, opt, &value, &n) == 0 ? value : -1;
}

/* What asyncio's connections and servers own is not for sockets. */
static void check_free(lua_State *L, int fd) {
  ml_net *net = ml__net(L);
  uv_os_fd_t other;
  for (ml_link *k = net->streams.next; k != &net->streams; k = k->next) {
    ml_stream *s = ml__containerof(k, ml_stream, all);
    if (!(s->flags & ML_S_CLOSED) && ml__stream_fd(s, &other) == 0 && other == fd)
      ml__misuse(L, "ValueError", "socket: descriptor %d is used by a transport", fd);
  }
}

/* The socket that a number stands for. */
static int adopt(lua_State *L, int fd, bool duplicate) {
  ml_socket *s = ml__socket_push(L, 0, 0, 0);
  if (!duplicate) check_free(L, fd);
  if (option(fd, SO_TYPE) < 0) {
    ml__sock_error(L, uv_translate_sys_error(errno), "socket: descriptor %d", fd);
    return lua_error(L);
  }
  s->family = option(fd, SO_DOMAIN);
  s->type = option(fd, SO_TYPE);
  s->proto = option(fd, SO_PROTOCOL);
  s->fd = duplicate ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : fd;
  if (s->fd < 0) return fail(L, "socket");
  fcntl(s->fd, F_SETFD, FD_CLOEXEC);
  fcntl(s->fd, F_SETFL, fcntl(s->fd, F_GETFL) | O_NONBLOCK);
  return 1;
}

static int check_fd(lua_State *L, int idx) {
  int ok;
  lua_Integer fd = lua_tointegerx(L, idx, &ok);
  if (!ok)
    return ml__misuse(L, "TypeError", "socket: fileno must be an integer, got %s",
                      luaL_typename(L, idx));
  if (fd < 0 || fd > INT32_MAX)
    return ml__misuse(L, "ValueError", "socket: invalid file descriptor: %I", (LUAI_UACINT)fd);
  ml__check_fd(L, "socket", (int)fd);
  return (int)fd;
}

static int check_proto(lua_State *L, int idx) {
  int ok;
  lua_Integer proto = lua_tointegerx(L, idx, &ok);
  if (lua_isnoneornil(L, idx)) return 0;
  if (!ok)
    return ml__misuse(L, "TypeError", "socket: proto must be an integer, got %s",
                      luaL_typename(L, idx));
  return (int)proto;
}

/* What addresses say all of: no raw packets, no netlink. */
static void check_kind(lua_State *L, int family, int type, int proto) {
  bool ip = family == AF_INET || family == AF_INET6;
  type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (ml__engine(L)->sandbox == NULL) return;
  if (ip && type == SOCK_STREAM && (proto == 0 || proto == IPPROTO_TCP)) return;
  if (ip && type == SOCK_DGRAM && (proto == 0 || proto == IPPROTO_UDP)) return;
  if (family == AF_UNIX && type != SOCK_RAW) return;
  ml__deny(L, ML_P_FULL, "socket", "other than tcp, udp and unix", NULL);
}

/* socket([family [, type [, proto]]] [, {fileno = }]) */
static int f_socket(lua_State *L) {
  static const char *const keys[] = {"fileno", NULL};
  int family, type, proto, opts = lua_gettop(L);
  ml_socket *s;
  if (opts > 0 && lua_istable(L, opts)) {
    ml__checkoptions(L, opts, keys, "socket");
    if (lua_getfield(L, opts, "fileno") != LUA_TNIL)
      return adopt(L, check_fd(L, lua_gettop(L)), false);
    lua_settop(L, opts - 1);
  }
  lua_settop(L, 3);
  family = lua_isnil(L, 1) ? AF_INET : check_name(L, 1, families, "family");
  type = lua_isnil(L, 2) ? SOCK_STREAM : check_name(L, 2, types, "type");
  proto = check_proto(L, 3);
  check_kind(L, family, type, proto);
  s = ml__socket_push(L, family, type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC), proto);
  s->fd = socket(family, s->type | SOCK_NONBLOCK | SOCK_CLOEXEC, proto);
  if (s->fd < 0) return fail(L, "socket");
  s->proto = option(s->fd, SO_PROTOCOL);
  return 1;
}

/* fromfd(descriptor): of a duplicate */
static int f_fromfd(lua_State *L) { return adopt(L, check_fd(L, 1), true); }

/* socketpair([family [, type [, proto]]]) -> socket, socket */
static int f_pair(lua_State *L) {
  ml_socket *a, *b;
  int fds[2], family, type, proto;
  lua_settop(L, 3);
  family = lua_isnil(L, 1) ? AF_UNIX : check_name(L, 1, families, "family");
  type = lua_isnil(L, 2) ? SOCK_STREAM : check_name(L, 2, types, "type");
  type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
  proto = check_proto(L, 3);
  check_kind(L, family, type, proto);
  a = ml__socket_push(L, family, type, proto);
  b = ml__socket_push(L, family, type, proto);
  if (socketpair(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, proto, fds) < 0)
    return fail(L, "socketpair");
  a->fd = fds[0];
  b->fd = fds[1];
  return 2;
}

/* ---- methods that do not wait ---- */

static int s_close(lua_State *L) {
  ml_socket *s = ml__checksocket(L, 1);
  int fd = ml__socket_detach(s);
  if (fd >= 0) close(fd);
  return 0;
}

static int s_gc(lua_State *L) {
  ml_socket *s = lua_touserdata(L, 1);
  int fd = s->fd;
  ml__list_remove(&s->all);
  if (fd < 0) return 0;
  ml__log(s->net->engine, "ResourceWarning: unclosed <socket fd=%d>: call close()", fd);
  close(ml__socket_detach(s));
  return 0;
}

static int s_detach(lua_State *L) {
  lua_pushinteger(L, ml__socket_detach(ml__checksocket(L, 1)));
  return 1;
}

static int s_fileno(lua_State *L) {
  lua_pushinteger(L, ml__checksocket(L, 1)->fd);
  return 1;
}

static int s_bind(lua_State *L) {
  ml_socket *s = check(L, "bind");
  ml_sockaddr a;
  char who[160];
  ml__sockaddr_check(L, s, 2, "bind", &a);
  ml__check_address(L, ML_P_LISTEN, "bind", (struct sockaddr *)&a.ss, a.len);
  if (bind(s->fd, (const struct sockaddr *)&a.ss, a.len) < 0) {
    ml__sock_error(L, uv_translate_sys_error(errno), "bind %s",
                   ml__sockaddr_text(&a, who, sizeof who));
    return lua_error(L);
  }
  return 0;
}

void ml__socket_check_listen(lua_State *L, const ml_socket *s) {
  ml_sockaddr a;
  if (ml__engine(L)->sandbox == NULL) return;
  memset(&a, 0, sizeof a);
  a.len = sizeof a.ss;
  if (getsockname(s->fd, (struct sockaddr *)&a.ss, &a.len) < 0) a.len = 0;
  ml__check_address(L, ML_P_LISTEN, "listen", (struct sockaddr *)&a.ss, a.len);
}

static int s_listen(lua_State *L) {
  ml_socket *s = check(L, "listen");
  size_t n = lua_isnoneornil(L, 2) ? 128 : ml__checksize(L, 2, "listen", "backlog");
  ml__socket_check_listen(L, s);
  if (listen(s->fd, n > INT32_MAX ? INT32_MAX : (int)n) < 0) return fail(L, "listen");
  return 0;
}

static int s_shutdown(lua_State *L) {
  static const name hows[] = {{"rd", SHUT_RD}, {"wr", SHUT_WR}, {"rdwr", SHUT_RDWR}, {0}};
  ml_socket *s = check(L, "shutdown");
  int how = check_name(L, 2, hows, "way to shut down");
  if (shutdown(s->fd, how) < 0) return fail(L, "shutdown");
  return 0;
}

static int push_address(lua_State *L, bool peer) {
  ml_socket *s = check(L, peer ? "getpeername" : "getsockname");
  ml_sockaddr a;
  a.len = sizeof a.ss;
  if ((peer ? getpeername : getsockname)(s->fd, (struct sockaddr *)&a.ss, &a.len) < 0)
    return fail(L, peer ? "getpeername" : "getsockname");
  ml__sockaddr_push(L, &a);
  return 1;
}
static int s_getsockname(lua_State *L) { return push_address(L, false); }
static int s_getpeername(lua_State *L) { return push_address(L, true); }

/* In a sandbox: those that alter how this socket works, and nothing else (programs for the kernel,
** routes, devices). */
static void check_option(lua_State *L, int level, int opt) {
  static const struct {
    int level, opt;
  } known[] = {
      {SOL_SOCKET, SO_REUSEADDR},
      {SOL_SOCKET, SO_REUSEPORT},
      {SOL_SOCKET, SO_KEEPALIVE},
      {SOL_SOCKET, SO_BROADCAST},
      {SOL_SOCKET, SO_LINGER},
      {SOL_SOCKET, SO_OOBINLINE},
      {SOL_SOCKET, SO_SNDBUF},
      {SOL_SOCKET, SO_RCVBUF},
      {SOL_SOCKET, SO_SNDTIMEO},
      {SOL_SOCKET, SO_RCVTIMEO},
      {SOL_SOCKET, SO_RCVLOWAT},
      {IPPROTO_TCP, TCP_NODELAY},
      {IPPROTO_TCP, TCP_CORK},
      {IPPROTO_TCP, TCP_KEEPIDLE},
      {IPPROTO_TCP, TCP_KEEPINTVL},
      {IPPROTO_TCP, TCP_KEEPCNT},
      {IPPROTO_TCP, TCP_USER_TIMEOUT},
      {IPPROTO_TCP, TCP_QUICKACK},
      {IPPROTO_TCP, TCP_DEFER_ACCEPT},
      {IPPROTO_IP, IP_TTL},
      {IPPROTO_IP, IP_TOS},
      {IPPROTO_IP, IP_MULTICAST_TTL},
      {IPPROTO_IP, IP_MULTICAST_LOOP},
      {IPPROTO_IP, IP_MULTICAST_IF},
      {IPPROTO_IPV6, IPV6_V6ONLY},
      {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
      {IPPROTO_IPV6, IPV6_TCLASS},
      {IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
      {IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
      {IPPROTO_IPV6, IPV6_MULTICAST_IF},
  };
  char text[48];
  if (ml__engine(L)->sandbox == NULL) return;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (known[i].level == level && known[i].opt == opt) return;
  snprintf(text, sizeof text, "level %d, option %d", level, opt);
  ml__deny(L, ML_P_FULL, "setsockopt", text, NULL);
}

/* socket:setsockopt(level, option, integer, boolean or string of bytes) */
static int s_setsockopt(lua_State *L) {
  ml_socket *s = check(L, "setsockopt");
  int level = (int)luaL_checkinteger(L, 2), opt = (int)luaL_checkinteger(L, 3), value, rc;
  size_t n;
  check_option(L, level, opt);
  if (lua_type(L, 4) == LUA_TSTRING) {
    const char *p = lua_tolstring(L, 4, &n);
    rc = setsockopt(s->fd, level, opt, p, (socklen_t)n);
  } else {
    value = lua_isboolean(L, 4) ? lua_toboolean(L, 4) : (int)luaL_checkinteger(L, 4);
    rc = setsockopt(s->fd, level, opt, &value, sizeof value);
  }
  if (rc < 0) return fail(L, "setsockopt");
  return 0;
}

/* socket:getsockopt(level, option [, n]) -> integer, or a string of at most n bytes */
static int s_getsockopt(lua_State *L) {
  ml_socket *s = check(L, "getsockopt");
  int level = (int)luaL_checkinteger(L, 2), opt = (int)luaL_checkinteger(L, 3), value = 0;
  char buf[1024] = "";
  socklen_t n = sizeof value;
  if (lua_isnoneornil(L, 4)) {
    if (getsockopt(s->fd, level, opt, &value, &n) < 0) return fail(L, "getsockopt");
    lua_pushinteger(L, n == 1 ? *(unsigned char *)&value : value);
    return 1;
  }
  n = (socklen_t)luaL_checkinteger(L, 4);
  luaL_argcheck(L, n > 0 && n <= sizeof buf, 4, "1 to 1024 bytes");
  if (getsockopt(s->fd, level, opt, buf, &n) < 0) return fail(L, "getsockopt");
  lua_pushlstring(L, buf, n);
  return 1;
}

static int s_set_inheritable(lua_State *L) {
  ml_socket *s = check(L, "set_inheritable");
  if (fcntl(s->fd, F_SETFD, lua_toboolean(L, 2) ? 0 : FD_CLOEXEC) < 0)
    return fail(L, "set_inheritable");
  return 0;
}

static int s_get_inheritable(lua_State *L) {
  ml_socket *s = check(L, "get_inheritable");
  lua_pushboolean(L, !(fcntl(s->fd, F_GETFD) & FD_CLOEXEC));
  return 1;
}

static int s_dup(lua_State *L) { return adopt(L, check(L, "dup")->fd, true); }

static int s_tostring(lua_State *L) {
  ml_socket *s = ml__checksocket(L, 1);
  ml_sockaddr a;
  char who[160] = "";
  if (s->fd < 0) {
    lua_pushliteral(L, "<socket closed>");
    return 1;
  }
  lua_pushfstring(L, "<socket fd=%d family=", s->fd);
  push_name(L, families, s->family);
  lua_pushliteral(L, " type=");
  push_name(L, types, s->type);
  for (int peer = 0; peer <= 1; peer++) {
    a.len = sizeof a.ss;
    if ((peer ? getpeername : getsockname)(s->fd, (struct sockaddr *)&a.ss, &a.len) == 0 &&
        s->family != AF_UNSPEC)
      lua_pushfstring(L, " %s=%s", peer ? "peer" : "name", ml__sockaddr_text(&a, who, sizeof who));
    else
      lua_pushliteral(L, "");
  }
  lua_pushliteral(L, ">");
  lua_concat(L, lua_gettop(L) - 1);
  return 1;
}

/* Fields beside the methods (upvalue 1): family, type, proto. */
static int s_index(lua_State *L) {
  ml_socket *s;
  const char *k;
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  k = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  s = ml__checksocket(L, 1);
  if (strcmp(k, "family") == 0)
    push_name(L, families, s->family);
  else if (strcmp(k, "type") == 0)
    push_name(L, types, s->type);
  else if (strcmp(k, "proto") == 0)
    lua_pushinteger(L, s->proto);
  else
    lua_pushnil(L);
  return 1;
}

/* ---- functions ---- */

static int f_gethostname(lua_State *L) {
  char buf[UV_MAXHOSTNAMESIZE];
  size_t n = sizeof buf;
  int rc = uv_os_gethostname(buf, &n);
  if (rc < 0) {
    ml__sock_error(L, rc, "gethostname");
    return lua_error(L);
  }
  lua_pushlstring(L, buf, n);
  return 1;
}

/* inet_pton(family, text) -> 4 or 16 bytes */
static int f_inet_pton(lua_State *L) {
  unsigned char bytes[16];
  int family = check_name(L, 1, families, "family");
  const char *text = luaL_checkstring(L, 2);
  if (family != AF_INET && family != AF_INET6)
    return ml__misuse(L, "ValueError", "inet_pton: family must be 'inet' or 'inet6'");
  if (inet_pton(family, text, bytes) != 1) {
    ml__sock_error(L, UV_EINVAL, "inet_pton '%s'", text);
    return lua_error(L);
  }
  lua_pushlstring(L, (char *)bytes, family == AF_INET ? 4 : 16);
  return 1;
}

/* inet_ntop(family, bytes) -> text */
static int f_inet_ntop(lua_State *L) {
  char text[64];
  size_t n;
  int family = check_name(L, 1, families, "family");
  const char *bytes = luaL_checklstring(L, 2, &n);
  if (n != (family == AF_INET    ? 4
            : family == AF_INET6 ? 16
                                 : 0) ||
      inet_ntop(family, bytes, text, sizeof text) == NULL)
    return ml__misuse(L, "ValueError", "inet_ntop: 4 bytes of 'inet' or 16 of 'inet6' expected");
  lua_pushstring(L, text);
  return 1;
}

static int f_if_nametoindex(lua_State *L) {
  unsigned i = if_nametoindex(luaL_checkstring(L, 1));
  if (i == 0) {
    ml__sock_error(L, uv_translate_sys_error(errno), "if_nametoindex '%s'", lua_tostring(L, 1));
    return lua_error(L);
  }
  lua_pushinteger(L, i);
  return 1;
}

static int f_getpid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

int ml__open_socket(lua_State *L) {
  static const luaL_Reg methods[] = {{"close", s_close},
                                     {"detach", s_detach},
                                     {"fileno", s_fileno},
                                     {"bind", s_bind},
                                     {"listen", s_listen},
                                     {"shutdown", s_shutdown},
                                     {"getsockname", s_getsockname},
                                     {"getpeername", s_getpeername},
                                     {"setsockopt", s_setsockopt},
                                     {"getsockopt", s_getsockopt},
                                     {"set_inheritable", s_set_inheritable},
                                     {"get_inheritable", s_get_inheritable},
                                     {"dup", s_dup},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__tostring", s_tostring}, {"__gc", s_gc}, {"__close", s_close}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"socket", f_socket},
                                       {"fromfd", f_fromfd},
                                       {"socketpair", f_pair},
                                       {"gethostname", f_gethostname},
                                       {"inet_pton", f_inet_pton},
                                       {"inet_ntop", f_inet_ntop},
                                       {"if_nametoindex", f_if_nametoindex},
                                       {"getpid", f_getpid},
                                       {NULL, NULL}};
  ml__net(L);
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  ml__open_sockbuf(L);
  ml__open_fdwatch(L);
  ml__open_sources(L);
  ml__newtype(L, ML_T_SOCKET, "Socket", methods, meta);
  ml__open_sockio(L);
  ml__open_sockmsg(L);
  ml__open_sockconn(L);
  ml__open_sendfile(L);
  ml__ref_get(L, ML_R_TYPES + ML_T_SOCKET);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, s_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_setfield(L, -2, "Socket");
  ml__open_sockconst(L);
  return 1;
}
