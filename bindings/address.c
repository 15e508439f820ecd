/* Socket addresses, and what scripts see of them.
**
** An address is a table {host, port, host = , port = } that prints as "host:port";
** functions that take a host take one too.
*/
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "stream.h"

static const char addr_meta;

void ml__addr_set(ml_addr *a, const struct sockaddr *sa) {
  memset(a, 0, sizeof *a);
  if (sa->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
    a->port = ntohs(in->sin_port);
    memcpy(a->ip, &in->sin_addr, 4);
  } else if (sa->sa_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
    a->port = ntohs(in6->sin6_port);
    a->scope = in6->sin6_scope_id;
    memcpy(a->ip, &in6->sin6_addr, 16);
  } else
    return;
  a->family = (uint8_t)sa->sa_family;
}

void ml__addr_get(const ml_addr *a, struct sockaddr_storage *ss) {
  memset(ss, 0, sizeof *ss);
  ss->ss_family = a->family;
  if (a->family == AF_INET) {
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)ss;
    in->sin_port = htons(a->port);
    memcpy(&in->sin_addr, a->ip, 4);
  } else if (a->family == AF_INET6) {
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ss;
    in6->sin6_port = htons(a->port);
    in6->sin6_scope_id = a->scope;
    memcpy(&in6->sin6_addr, a->ip, 16);
  }
}

/* A link-local address is one together with its interface: "fe80::1%eth0". */
static void addr_host(const ml_addr *a, char *buf, size_t n) {
  size_t len, room;
  if (uv_inet_ntop(a->family, a->ip, buf, n) != 0) snprintf(buf, n, "?");
  if (a->family != AF_INET6 || a->scope == 0) return;
  len = strlen(buf);
  room = n - len - 1;
  buf[len] = '%';
  if (uv_if_indextoname(a->scope, buf + len + 1, &room) != 0)
    snprintf(buf + len + 1, n - len - 1, "%u", (unsigned)a->scope);
}

const char *ml__addr_text(const ml_addr *a, char *buf, size_t n) {
  char host[INET6_ADDRSTRLEN + UV_IF_NAMESIZE + 2];
  addr_host(a, host, sizeof host);
  snprintf(buf, n, a->family == AF_INET6 ? "[%s]:%d" : "%s:%d", host, a->port);
  return buf;
}

bool ml__addr_parse(const char *host, int port, struct sockaddr_storage *ss) {
  memset(ss, 0, sizeof *ss);
  return uv_ip4_addr(host, port, (struct sockaddr_in *)(void *)ss) == 0 ||
         uv_ip6_addr(host, port, (struct sockaddr_in6 *)(void *)ss) == 0;
}

static int addr_tostring(lua_State *L) {
  const char *host;
  lua_rawgeti(L, 1, 1);
  lua_rawgeti(L, 1, 2);
  host = luaL_tolstring(L, -2, NULL);
  lua_pushfstring(L, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, luaL_tolstring(L, -2, NULL));
  return 1;
}

static int addr_concat(lua_State *L) {
  for (int i = 1; i <= 2; i++) {
    if (lua_istable(L, i)) {
      lua_rawgeti(L, i, 1);
      lua_replace(L, i);
    }
  }
  luaL_checkstring(L, 1);
  luaL_checkstring(L, 2);
  lua_concat(L, 2);
  return 1;
}

void ml__addr_push(lua_State *L, const ml_addr *a) {
  char host[INET6_ADDRSTRLEN + UV_IF_NAMESIZE + 2];
  if (a->family == 0) {
    lua_pushnil(L);
    return;
  }
  addr_host(a, host, sizeof host);
  lua_createtable(L, 2, 2);
  lua_pushstring(L, host);
  lua_pushvalue(L, -1);
  lua_rawseti(L, -3, 1);
  lua_setfield(L, -2, "host");
  lua_pushinteger(L, a->port);
  lua_pushvalue(L, -1);
  lua_rawseti(L, -3, 2);
  lua_setfield(L, -2, "port");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &addr_meta);
  lua_setmetatable(L, -2);
}

bool ml__addr_is(lua_State *L, int idx) {
  bool is;
  if (!lua_getmetatable(L, idx)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &addr_meta);
  is = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return is;
}

/* isip(host): is it the text of an IP address? */
static int f_isip(lua_State *L) {
  struct sockaddr_storage ss;
  lua_pushboolean(L, ml__addr_parse(luaL_checkstring(L, 1), 0, &ss));
  return 1;
}

int ml__address_open(lua_State *L) {
  static const luaL_Reg meta[] = {
      {"__tostring", addr_tostring}, {"__concat", addr_concat}, {NULL, NULL}};
  luaL_newlibtable(L, meta);
  luaL_setfuncs(L, meta, 0);
  lua_pushliteral(L, "address");
  lua_setfield(L, -2, "__name");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &addr_meta);
  lua_pushcfunction(L, f_isip);
  lua_setfield(L, -2, "isip");
  return 0;
}
