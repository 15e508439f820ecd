/* What DatagramTransport and DatagramEndpoint have in common: addresses, errors,
** options, groups, closing.
**
** The address table of a sender is the same object for as long as somebody holds it,
** so that it is fit as a key and need not be made for each datagram: they are found by
** their bytes in a table with weak values.
*/
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "datagram.h"

static const char addresses_key;

ml_dgram *ml__checkdgram(lua_State *L, int idx) {
  ml_object *o = ml__toobject(L, idx);
  if (o == NULL || (o->type != ML_T_DGTRANSPORT && o->type != ML_T_DGENDPOINT))
    ml__checkobject(L, idx, ML_T_DGENDPOINT); /* raises */
  return ((ml_dgobject *)(void *)o)->d;
}

/* ---- addresses ---- */

static bool same(const ml_dgaddr *a, const ml_dgaddr *b) {
  if (a->sa.sa_family != b->sa.sa_family) return false;
  if (a->sa.sa_family == AF_INET)
    return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
  return a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
         memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 16) == 0;
}

/* The table on top is that of `from`: remembers both. */
static void remember(lua_State *L, int self, ml_dgram *d, const ml_dgaddr *from) {
  d->last_from = *from;
  d->last_table = lua_topointer(L, -1);
  lua_rawgeti(L, -1, 1);
  d->last_host = lua_tostring(L, -1);
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, self, 1);
}

/* What it is found by: for IPv4 a number, which is had cheaper than a string. */
static void push_key(lua_State *L, const ml_dgaddr *from, const ml_addr *a) {
  if (from->sa.sa_family == AF_INET)
    lua_pushinteger(L, (lua_Integer)from->in.sin_addr.s_addr << 16 | from->in.sin_port);
  else
    lua_pushlstring(L, (const char *)a, sizeof *a);
}

void ml__dgram_push_address(lua_State *L, int self, ml_dgram *d, const ml_dgaddr *from) {
  ml_addr a;
  if (d->last_table != NULL && same(from, &d->last_from)) {
    lua_getiuservalue(L, self, 1);
    return;
  }
  ml__peer_known(ml__engine(L), &from->sa);
  ml__addr_set(&a, &from->sa);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &addresses_key);
  push_key(L, from, &a);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, -3) != LUA_TTABLE) {
    lua_pop(L, 1);
    ml__addr_push(L, &a);
    if (lua_isnil(L, -1)) { /* of no family that is known */
      lua_replace(L, -3);
      lua_pop(L, 1);
      return;
    }
    lua_insert(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
  } else
    lua_remove(L, -2);
  lua_remove(L, -2);
  remember(L, self, d, from);
}

static bool is_known(lua_State *L, const ml_dgram *d, int idx) {
  bool is;
  if (lua_topointer(L, idx) != d->last_table || d->last_table == NULL) return false;
  lua_rawgeti(L, idx, 1);
  lua_rawgeti(L, idx, 2);
  is = lua_tostring(L, -2) == d->last_host &&
       lua_tointeger(L, -1) == ntohs(d->last_from.in.sin_port); /* in6: the same place */
  lua_pop(L, 2);
  return is;
}

static const ml_dgaddr *parse(lua_State *L, ml_dgram *d, int self, int idx, ml_dgaddr *room,
                              const char *fname) {
  struct sockaddr_storage ss;
  lua_Integer port;
  int is_port;
  if (!lua_istable(L, idx))
    ml__misuse(L, "TypeError", "%s: an address {ip, port} was expected, got %s", fname,
               luaL_typename(L, idx));
  lua_geti(L, idx, 1);
  lua_geti(L, idx, 2);
  port = lua_tointegerx(L, -1, &is_port);
  if (lua_type(L, -2) != LUA_TSTRING || !is_port)
    ml__misuse(L, "TypeError", "%s: an address {ip, port} was expected, got {%s, %s}", fname,
               luaL_typename(L, -2), luaL_typename(L, -1));
  if (port < 0 || port > 65535)
    ml__misuse(L, "ValueError", "%s: port must be 0-65535, got %I", fname, (LUAI_UACINT)port);
  if (!ml__addr_parse(lua_tostring(L, -2), (int)port, &ss))
    ml__misuse(L, "ValueError",
               "%s: '%s' is not an IP address (names are looked up with loop:getaddrinfo)", fname,
               lua_tostring(L, -2));
  lua_pop(L, 2);
  memcpy(room, &ss, sizeof *room);
  ml__check_address(L, ML_P_NET, fname, &room->sa, sizeof *room);
  if (ml__addr_is(L, idx)) {
    lua_pushvalue(L, idx);
    remember(L, self, d, room);
    lua_pop(L, 1);
  }
  return room;
}

const ml_dgaddr *ml__dgram_destination(lua_State *L, int self, ml_dgram *d, int idx,
                                       ml_dgaddr *room, const char *fname) {
  const ml_dgaddr *to;
  if (lua_isnoneornil(L, idx)) {
    if (!(d->flags & ML_D_REMOTE))
      ml__misuse(L, "ValueError",
                 "%s: an address {ip, port} is needed: the socket is not connected", fname);
    return (d->flags & ML_D_CONNECTED) ? NULL : &d->remote;
  }
  to = is_known(L, d, idx) ? &d->last_from : parse(L, d, self, idx, room, fname);
  if (!(d->flags & ML_D_REMOTE)) return to;
  if (!same(to, &d->remote)) {
    char text[96];
    ml_addr a;
    ml__addr_set(&a, &d->remote.sa);
    ml__misuse(L, "ValueError", "%s: Invalid address: must be nil or %s", fname,
               ml__addr_text(&a, text, sizeof text));
  }
  return (d->flags & ML_D_CONNECTED) ? NULL : &d->remote;
}

/* ---- messages ---- */

void ml__dgram_text(const ml_dgram *d, char *buf, size_t n) {
  char name[96], peer[96];
  ml_addr a;
  ml__addr_text(&d->name, name, sizeof name);
  if (!(d->flags & ML_D_REMOTE)) {
    snprintf(buf, n, "name=%s", d->name.family == 0 ? "?" : name);
    return;
  }
  ml__addr_set(&a, &d->remote.sa);
  snprintf(buf, n, "name=%s peer=%s", d->name.family == 0 ? "?" : name,
           ml__addr_text(&a, peer, sizeof peer));
}

/* Host and port of the address become fields of the error on top. */
static void set_place(lua_State *L, const ml_addr *a) {
  if (a->family == 0) return;
  ml__addr_push(L, a);
  lua_rawgeti(L, -1, 1);
  lua_setfield(L, -3, "host");
  lua_rawgeti(L, -1, 2);
  lua_setfield(L, -3, "port");
  lua_pop(L, 1);
}

void ml__dgram_send_error(lua_State *L, const ml_dgram *d, int error, const ml_dgaddr *to) {
  char text[96];
  ml_addr a;
  if (to == NULL && !(d->flags & ML_D_REMOTE)) {
    ml__error_uv(L, error, "send of a datagram failed");
    return;
  }
  ml__addr_set(&a, to != NULL ? &to->sa : &d->remote.sa);
  ml__error_uv(L, error, "send to %s failed", ml__addr_text(&a, text, sizeof text));
  set_place(L, &a);
}

void ml__dgram_receive_error(lua_State *L, const ml_dgram *d, int error) {
  char text[96];
  ml_addr a = d->name;
  bool connected = d->flags & ML_D_CONNECTED;
  if (connected) ml__addr_set(&a, &d->remote.sa);
  ml__addr_text(&a, text, sizeof text);
  ml__error_uv(L, error, connected ? "receive from %s failed" : "receive at %s failed", text);
  set_place(L, &a);
}

/* ---- methods ---- */

static int d_close(lua_State *L) {
  ml__dgram_close(ml__checkdgram(L, 1), false);
  return 0;
}

static int d_abort(lua_State *L) {
  ml__dgram_close(ml__checkdgram(L, 1), true);
  return 0;
}

static int d_is_closing(lua_State *L) {
  lua_pushboolean(L, ml__checkdgram(L, 1)->flags & ML_D_CLOSING);
  return 1;
}

static int d_get_extra_info(lua_State *L) {
  const ml_dgram *d = ml__checkdgram(L, 1);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
  if (name == NULL)
    return ml__misuse(L, "TypeError", "get_extra_info: a name was expected, got %s",
                      luaL_typename(L, 2));
  lua_settop(L, 3);
  if (strcmp(name, "sockname") == 0)
    ml__addr_push(L, &d->name);
  else if (strcmp(name, "peername") == 0 && (d->flags & ML_D_CONNECTED)) {
    ml_addr a;
    ml__addr_set(&a, &d->remote.sa);
    ml__addr_push(L, &a);
  }
  if (lua_isnil(L, -1)) lua_pushvalue(L, 3);
  return 1;
}

static int d_get_limits(lua_State *L) {
  const ml_dgram *d = ml__checkdgram(L, 1);
  lua_pushinteger(L, (lua_Integer)d->low);
  lua_pushinteger(L, (lua_Integer)d->high);
  return 2;
}

static int d_set_limits(lua_State *L) {
  ml_dgram *d = ml__checkdgram(L, 1);
  int64_t high, low;
  ml__check_marks(L, &high, &low);
  d->high = (size_t)high;
  d->low = (size_t)low;
  return 0;
}

static int d_get_size(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)ml__checkdgram(L, 1)->queued);
  return 1;
}

static int d_fileno(lua_State *L) {
  lua_pushinteger(L, ml__checkdgram(L, 1)->fd);
  return 1;
}

static int d_tostring(lua_State *L) {
  ml_dgram *d = ml__checkdgram(L, 1);
  const char *state = (d->flags & ML_D_LOST)      ? "closed"
                      : (d->flags & ML_D_CLOSING) ? "closing"
                                                  : "open";
  char text[224];
  ml__dgram_text(d, text, sizeof text);
  lua_pushfstring(L, "<%s %s %s>", ml__engine(L)->typenames[ml__toobject(L, 1)->type], state, text);
  return 1;
}

/* ---- options and groups ---- */

static ml_dgram *open_dgram(lua_State *L, const char *what) {
  ml_dgram *d = ml__checkdgram(L, 1);
  if (d->fd >= 0 && !(d->flags & ML_D_CLOSING)) return d;
  ml__error_uv(L, UV_EBADF, "%s failed: the socket is closed", what);
  lua_error(L);
  return NULL;
}

static int answer(lua_State *L, int rc, const char *what) {
  if (rc == 0) return 0;
  ml__error_uv(L, rc, "%s failed", what);
  return lua_error(L);
}

static int hops(lua_State *L, const char *what, int least) {
  int ok;
  lua_Integer n = lua_tointegerx(L, 2, &ok);
  if (!ok || n < least || n > 255)
    ml__misuse(L, "ValueError", "%s: an integer from %d to 255 was expected, got %s", what, least,
               luaL_tolstring(L, 2, NULL));
  return (int)n;
}

static int d_set_ttl(lua_State *L) {
  ml_dgram *d = open_dgram(L, "set_ttl");
  return answer(L, uv_udp_set_ttl(&d->udp, hops(L, "set_ttl", 1)), "set_ttl");
}

static int d_set_multicast_ttl(lua_State *L) {
  ml_dgram *d = open_dgram(L, "set_multicast_ttl");
  return answer(L, uv_udp_set_multicast_ttl(&d->udp, hops(L, "set_multicast_ttl", 0)),
                "set_multicast_ttl");
}

static int d_set_multicast_loopback(lua_State *L) {
  ml_dgram *d = open_dgram(L, "set_multicast_loopback");
  luaL_checkany(L, 2);
  return answer(L, uv_udp_set_multicast_loop(&d->udp, lua_toboolean(L, 2)),
                "set_multicast_loopback");
}

static int d_set_broadcast(lua_State *L) {
  ml_dgram *d = open_dgram(L, "set_broadcast");
  luaL_checkany(L, 2);
  return answer(L, uv_udp_set_broadcast(&d->udp, lua_toboolean(L, 2)), "set_broadcast");
}

/* The IPv4 address of the interface of that name: false if it has none. */
static bool address_of(const char *interface, char *buf, size_t n) {
  uv_interface_address_t *list;
  bool found = false;
  int count;
  if (uv_interface_addresses(&list, &count) < 0) return false;
  for (int i = 0; i < count && !found; i++) {
    if (strcmp(list[i].name, interface) != 0 || list[i].address.address4.sin_family != AF_INET)
      continue;
    found = uv_ip4_name(&list[i].address.address4, buf, n) == 0;
  }
  uv_free_interface_addresses(list, count);
  return found;
}

/* The text that libuv takes for the interface at idx, a name or an address: NULL for
** none. IPv6 knows interfaces by their scope. */
static const char *interface_at(lua_State *L, int idx, bool v6, char *buf, size_t n,
                                const char *fname) {
  struct sockaddr_storage ss;
  const char *name;
  if (lua_isnoneornil(L, idx)) return NULL;
  if (lua_type(L, idx) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: an interface is a name or an address, got %s", fname,
               luaL_typename(L, idx));
  name = lua_tostring(L, idx);
  if (ml__addr_parse(name, 0, &ss)) return name;
  if (v6 && if_nametoindex(name) != 0)
    snprintf(buf, n, "::%%%s", name);
  else if (v6 || !address_of(name, buf, n))
    ml__misuse(L, "ValueError", "%s: there is no interface '%s'%s", fname, name,
               v6 ? "" : " with an IPv4 address");
  return buf;
}

/* set_multicast_interface(name or address): where multicasts go out */
static int d_set_multicast_interface(lua_State *L) {
  const char *fname = "set_multicast_interface";
  ml_dgram *d = open_dgram(L, fname);
  char buf[96];
  return answer(
      L,
      uv_udp_set_multicast_interface(
          &d->udp, interface_at(L, 2, d->name.family == AF_INET6, buf, sizeof buf, fname)),
      fname);
}

static int membership(lua_State *L, uv_membership how, const char *fname) {
  static const char *const keys[] = {"interface", "source", NULL};
  ml_dgram *d = open_dgram(L, fname);
  struct sockaddr_storage ss;
  const char *group, *interface, *source = NULL;
  char buf[96];
  int rc;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "%s: the address of a group was expected, got %s", fname,
                      luaL_typename(L, 2));
  group = lua_tostring(L, 2);
  if (!ml__addr_parse(group, 0, &ss))
    return ml__misuse(L, "ValueError", "%s: '%s' is not an IP address", fname, group);
  ml__check_address(L, ML_P_LISTEN, fname, (struct sockaddr *)&ss, sizeof ss);
  lua_settop(L, 3);
  lua_pushnil(L);
  lua_pushnil(L);
  if (!lua_isnil(L, 3)) {
    ml__checkoptions(L, 3, keys, fname);
    lua_settop(L, 3);
    lua_getfield(L, 3, "interface");
    lua_getfield(L, 3, "source");
  }
  interface = interface_at(L, 4, ss.ss_family == AF_INET6, buf, sizeof buf, fname);
  if (!lua_isnil(L, 5)) source = luaL_checkstring(L, 5);
  rc = source == NULL ? uv_udp_set_membership(&d->udp, group, interface, how)
                      : uv_udp_set_source_membership(&d->udp, group, interface, source, how);
  if (rc == 0) return 0;
  ml__error_uv(L, rc, "%s %s failed", fname, group);
  return lua_error(L);
}

static int d_join_group(lua_State *L) { return membership(L, UV_JOIN_GROUP, "join_group"); }
static int d_leave_group(lua_State *L) { return membership(L, UV_LEAVE_GROUP, "leave_group"); }

void ml__dgram_install(lua_State *L, ml_objtype type) {
  static const luaL_Reg methods[] = {{"close", d_close},
                                     {"abort", d_abort},
                                     {"is_closing", d_is_closing},
                                     {"get_extra_info", d_get_extra_info},
                                     {"get_write_buffer_limits", d_get_limits},
                                     {"set_write_buffer_limits", d_set_limits},
                                     {"get_write_buffer_size", d_get_size},
                                     {"fileno", d_fileno},
                                     {"set_ttl", d_set_ttl},
                                     {"set_multicast_ttl", d_set_multicast_ttl},
                                     {"set_multicast_loopback", d_set_multicast_loopback},
                                     {"set_multicast_interface", d_set_multicast_interface},
                                     {"set_broadcast", d_set_broadcast},
                                     {"join_group", d_join_group},
                                     {"leave_group", d_leave_group},
                                     {NULL, NULL}};
  luaL_setfuncs(L, methods, 0);
  ml__ref_get(L, ML_R_TYPES + (int)type);
  lua_pushcfunction(L, d_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}

void ml__dgsocket_open(lua_State *L) {
  ml__push_weak(L, "v");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &addresses_key);
}
