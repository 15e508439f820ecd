/* Addresses of sockets between scripts and the kernel: host and port, or the path
** of a unix socket. Names are not resolved here but "localhost" (RFC 6761), ""
** (all interfaces) and "<broadcast>".
*/
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "socket.h"

static const char *well_known(const char *host, int family) {
  bool v6 = family == AF_INET6;
  if (strcmp(host, "") == 0) return v6 ? "::" : "0.0.0.0";
  if (strcmp(host, "localhost") == 0) return v6 ? "::1" : "127.0.0.1";
  if (strcmp(host, "<broadcast>") == 0 && !v6) return "255.255.255.255";
  return host;
}

static void check_unix(lua_State *L, int idx, const char *fname, ml_sockaddr *a) {
  struct sockaddr_un *un = (struct sockaddr_un *)(void *)&a->ss;
  size_t n;
  const char *path;
  if (lua_type(L, idx) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: the path of a unix socket was expected, got %s", fname,
               luaL_typename(L, idx));
  path = lua_tolstring(L, idx, &n);
  if (n >= sizeof un->sun_path)
    ml__misuse(L, "ValueError", "%s: a path of at most %d bytes was expected, got %d", fname,
               (int)sizeof un->sun_path - 1, (int)n);
  if (n > 0 && path[0] != '\0' && strlen(path) != n)
    ml__misuse(L, "ValueError", "%s: the path has a zero byte in it", fname);
  un->sun_family = AF_UNIX;
  memcpy(un->sun_path, path, n);
  a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (n > 0 && path[0] != '\0'));
}

void ml__sockaddr_check(lua_State *L, const ml_socket *s, int idx, const char *fname,
                        ml_sockaddr *a) {
  const char *host, *given;
  lua_Integer port;
  size_t n;
  int ok, top = lua_gettop(L);
  memset(a, 0, sizeof *a);
  if (s->family == AF_UNIX) {
    check_unix(L, idx, fname, a);
    return;
  }
  luaL_checkstack(L, 4, "address");
  if (lua_istable(L, idx)) {
    lua_rawgeti(L, idx, 1);
    lua_rawgeti(L, idx, 2);
  } else {
    if (lua_gettop(L) < idx) lua_settop(L, idx);
    lua_pushvalue(L, idx);
    if (top > idx)
      lua_pushvalue(L, idx + 1);
    else
      lua_pushnil(L);
  }
  if (lua_type(L, -2) != LUA_TSTRING)
    ml__misuse(L, "TypeError",
               "%s: an address (host and port, or {host, port}) was expected, got %s", fname,
               luaL_typename(L, lua_istable(L, idx) ? -2 : idx));
  port = lua_tointegerx(L, -1, &ok);
  if (!ok)
    ml__misuse(L, "TypeError", "%s: port must be an integer, got %s", fname, luaL_typename(L, -1));
  if (port < 0 || port > 65535)
    ml__misuse(L, "ValueError", "%s: port must be 0-65535, got %I", fname, (LUAI_UACINT)port);
  given = lua_tolstring(L, -2, &n);
  host = well_known(given, s->family);
  if (s->family == AF_INET)
    ok = uv_ip4_addr(host, (int)port, (struct sockaddr_in *)(void *)&a->ss) == 0;
  else if (s->family == AF_INET6)
    ok = uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)(void *)&a->ss) == 0;
  else
    ml__misuse(L, "ValueError", "%s: sockets of this family have no addresses here", fname);
  if (!ok || strlen(given) != n)
    ml__misuse(L, "ValueError", "%s: an IPv%d address was expected, got '%s'", fname,
               s->family == AF_INET6 ? 6 : 4, given);
  a->len = s->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  lua_settop(L, top);
}

static size_t path_of(const ml_sockaddr *a, const char **path) {
  const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&a->ss;
  size_t n = a->len > offsetof(struct sockaddr_un, sun_path)
                 ? a->len - offsetof(struct sockaddr_un, sun_path)
                 : 0;
  *path = un->sun_path;
  if (n > 0 && un->sun_path[0] != '\0') n = strnlen(un->sun_path, n);
  return n;
}

void ml__sockaddr_push(lua_State *L, const ml_sockaddr *a) {
  ml_addr small;
  const char *path;
  if (a->len > 0 && a->ss.ss_family == AF_UNIX) {
    size_t n = path_of(a, &path);
    lua_pushlstring(L, path, n);
  } else if (a->len > 0 && (a->ss.ss_family == AF_INET || a->ss.ss_family == AF_INET6)) {
    ml__addr_set(&small, (const struct sockaddr *)&a->ss);
    ml__addr_push(L, &small);
  } else
    lua_pushnil(L);
}

bool ml__sockaddr_pin(lua_State *L, ml_sockaddr *a, int *held) {
  size_t len = a->len;
  int rc = 0;
  *held = -1;
  if (a->len > 0 && a->ss.ss_family == AF_UNIX)
    rc = ml__unix_pin(ml__engine(L), ML_P_NET, (struct sockaddr *)&a->ss, &len, held);
  a->len = (socklen_t)len;
  if (rc < 0) errno = rc == ML_EDENIED ? EACCES : -rc;
  return rc == 0;
}

void ml__sockaddr_unpin(int held) {
  int error = errno;
  if (held >= 0) close(held);
  errno = error;
}

const char *ml__sockaddr_text(const ml_sockaddr *a, char *buf, size_t n) {
  ml_addr small;
  const char *path;
  if (a->ss.ss_family == AF_UNIX) {
    size_t len = path_of(a, &path);
    bool abstract = len > 0 && path[0] == '\0';
    snprintf(buf, n, "'%s%.*s'", abstract ? "@" : "", (int)(len - abstract), path + abstract);
    return buf;
  }
  ml__addr_set(&small, (const struct sockaddr *)&a->ss);
  return ml__addr_text(&small, buf, n);
}
