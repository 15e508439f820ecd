/* Operations of sockets that make connections: accept and connect. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "socket.h"

/* ---- accept ---- */

static int accept_attempt(lua_State *L, ml_sockop *o) {
  const ml_socket *s = o->s;
  ml_socket *c = ml__socket_push(L, s->family, s->type, s->proto);
  ml_sockaddr from;
  do { /* a connection that is gone again is none */
    from.len = sizeof from.ss;
    c->fd = accept4(s->fd, (struct sockaddr *)&from.ss, &from.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
  } while (c->fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (c->fd < 0) return ml__sockop_failed(L, o);
  ml__sockaddr_push(L, &from);
  return 2;
}

static const ml_sockclass accept_class = ML_SOCKCLASS("Socket.accept", ML_W_READ, accept_attempt,
                                                      "accept");

/* socket:accept() -> awaitable of a socket and its peer's address */
static int s_accept(lua_State *L) {
  ml__sockop_new(L, &accept_class, sizeof(ml_sockop), 0);
  return 1;
}

/* ---- connect ---- */

typedef struct connop {
  ml_sockop s;
  ml_sockaddr to;
  bool started;
} connop;

static int failed(lua_State *L, const connop *o, int error) {
  char who[160];
  ml_addr a;
  ml__sock_error(L, uv_translate_sys_error(error), "connect %s",
                 ml__sockaddr_text(&o->to, who, sizeof who));
  if (o->to.ss.ss_family == AF_UNIX) {
    ml__sockaddr_push(L, &o->to);
    lua_setfield(L, -2, "path");
    return ML_RAISE;
  }
  ml__addr_set(&a, (const struct sockaddr *)&o->to.ss);
  ml__addr_push(L, &a);
  lua_getfield(L, -1, "host");
  lua_setfield(L, -3, "host");
  lua_getfield(L, -1, "port");
  lua_setfield(L, -3, "port");
  lua_pop(L, 1);
  return ML_RAISE;
}

/* Takes the attempt back, so that the socket can be connected again. */
static void dissolve(const connop *o) {
  struct sockaddr none = {.sa_family = AF_UNSPEC};
  (void)connect(o->s.s->fd, &none, sizeof none);
}

/* Linux wants to be asked again after EINPROGRESS: that tells what has become of it. */
static int connect_attempt(lua_State *L, ml_sockop *op) {
  connop *o = (connop *)op;
  ml_sockaddr to = o->to;
  int rc, held;
  if (!ml__sockaddr_pin(L, &to, &held)) return failed(L, o, errno);
  do rc = connect(op->s->fd, (const struct sockaddr *)&to.ss, to.len);
  while (rc < 0 && errno == EINTR);
  ml__sockaddr_unpin(held);
  if (rc == 0 || (errno == EISCONN && o->started)) return 0;
  if (errno != EINPROGRESS && !(errno == EALREADY && o->started)) return failed(L, o, errno);
  o->started = true;
  return ML_PARK;
}

static int connect_wake(lua_State *L, ml_op *op) {
  connop *o = (connop *)op;
  if (op->obj.state == ML_OP_CANCELLED && o->started && o->s.s->fd >= 0) dissolve(o);
  return ml__sockop_wake(L, op);
}

static const ml_sockclass connect_class = {
    {"Socket.connect", ml__sockop_begin, connect_wake, ml__sockop_cancel},
    ML_W_WRITE,
    connect_attempt,
    "connect"};

/* A name instead of an address: the Lua side looks it up. */
static bool is_name(lua_State *L, const ml_socket *s) {
  struct sockaddr_storage ss;
  const char *host;
  bool table = lua_istable(L, 2), name;
  int top = lua_gettop(L);
  if (s->family != AF_INET && s->family != AF_INET6) return false;
  if (table) {
    lua_rawgeti(L, 2, 1);
    lua_rawgeti(L, 2, 2);
  } else {
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
  }
  host = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
  name = host[0] != '\0' && host[0] != '<' && lua_isinteger(L, -1) &&
         strcmp(host, "localhost") != 0 && !ml__addr_parse(host, 0, &ss);
  lua_settop(L, name ? top + 2 : top);
  return name;
}

/* socket:connect(host, port), ({host, port}) or (path) -> awaitable */
static int s_connect(lua_State *L) {
  ml_socket *s = ml__checksocket(L, 1);
  ml_sockaddr to;
  connop *o;
  lua_settop(L, 3);
  if (is_name(L, s)) {
    lua_getfield(L, 1, "_connect_name");
    lua_pushvalue(L, 1);
    lua_rotate(L, -4, 2);
    lua_call(L, 3, 1);
    return 1;
  }
  ml__sockaddr_check(L, s, 2, "connect", &to);
  ml__check_address(L, ML_P_NET, "connect", (struct sockaddr *)&to.ss, to.len);
  o = ml__sockop_new(L, &connect_class, sizeof *o, 0);
  o->to = to;
  return 1;
}

void ml__open_sockconn(lua_State *L) {
  static const luaL_Reg methods[] = {{"accept", s_accept}, {"connect", s_connect}, {NULL, NULL}};
  luaL_setfuncs(L, methods, 0);
}
