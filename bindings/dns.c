/* getaddrinfo and getnameinfo, on libuv's thread pool. What is an IP address already
** is answered without it.
**
** A request can not be stopped while a thread works on it: a cancelled operation
** leaves it behind, and it frees itself.
*/
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "stream.h"

typedef struct dnsop dnsop;

typedef struct dnsreq {
  union {
    uv_req_t req;
    uv_getaddrinfo_t addr;
    uv_getnameinfo_t name;
  } u;
  ml_link link;      /* in net->lookups */
  ml_engine *engine; /* NULL: closed */
  dnsop *op;         /* NULL: cancelled */
} dnsreq;

/* User values: 1: host or IP address, 2: service. */
struct dnsop {
  ml_op op;
  dnsreq *req;
  int status;
  int port; /* to be given instead of a service, or -1 */
  struct addrinfo hints;
  struct addrinfo *found;
  dnsreq *named; /* getnameinfo's, kept for its answer */
};

static const struct {
  const char *name;
  int value;
} families[] = {{"unspec", AF_UNSPEC}, {"inet", AF_INET}, {"inet6", AF_INET6}},
  types[] = {{"any", 0}, {"stream", SOCK_STREAM}, {"dgram", SOCK_DGRAM}};

/* They are malloc'd: on a host's loop they may outlive the engine. */
static void release(dnsreq *r) {
  if (r->engine != NULL) r->engine->nstats_inflight--;
  ml__list_remove(&r->link);
  free(r);
}

void ml__dns_orphan(ml_net *net) {
  while (!ml__list_empty(&net->lookups)) {
    dnsreq *r = ml__containerof(net->lookups.next, dnsreq, link);
    ml__list_remove(&r->link);
    r->engine = NULL;
    r->op = NULL;
    uv_cancel(&r->u.req);
  }
}

static int failed(lua_State *L, dnsop *op) {
  const char *host;
  lua_getiuservalue(L, 1, 1);
  host = lua_isnil(L, -1) ? "the local host" : lua_tostring(L, -1);
  ml__error_uv(L, op->status, "resolve %s failed", host);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "host");
  return ML_RAISE;
}

static dnsreq *new_req(lua_State *L, dnsop *op) {
  ml_engine *e = ml__engine(L);
  ml_net *net = ml__net(L);
  dnsreq *r = calloc(1, sizeof *r);
  if (r == NULL) luaL_error(L, "not enough memory");
  ml__list_append(&net->lookups, &r->link);
  r->engine = e;
  r->op = op;
  e->nstats_inflight++;
  op->req = r;
  return r;
}

static int started(lua_State *L, dnsop *op, int rc) {
  if (rc == 0) return ML_PARK;
  release(op->req);
  op->req = NULL;
  op->status = rc;
  return failed(L, op);
}

static void dns_cancel(ml_op *o) {
  dnsop *op = (dnsop *)o;
  if (op->req == NULL) return;
  op->req->op = NULL;
  uv_cancel(&op->req->u.req);
  op->req = NULL;
}

/* ---- getaddrinfo ---- */

static void on_addrinfo(uv_getaddrinfo_t *req, int status, struct addrinfo *res) {
  dnsreq *r = ml__containerof(req, dnsreq, u.addr);
  if (r->op != NULL) {
    r->op->req = NULL;
    r->op->status = status;
    r->op->found = res;
    ml__op_wake(&r->op->op);
  } else
    uv_freeaddrinfo(res);
  release(r);
}

static void push_name(lua_State *L, int value, bool family) {
  if (family)
    lua_pushstring(L, value == AF_INET6 ? "inet6" : "inet");
  else
    lua_pushstring(L, value == SOCK_STREAM ? "stream" : value == SOCK_DGRAM ? "dgram" : "raw");
}

/* One entry {family, type, proto, canonname, address} with fields of these names. */
static void push_info(lua_State *L, const struct addrinfo *i) {
  static const char *const keys[] = {"family", "type", "proto", "canonname", "address"};
  ml_addr a;
  ml__addr_set(&a, i->ai_addr);
  lua_createtable(L, 5, 5);
  push_name(L, i->ai_family, true);
  push_name(L, i->ai_socktype, false);
  lua_pushinteger(L, i->ai_protocol);
  lua_pushstring(L, i->ai_canonname != NULL ? i->ai_canonname : "");
  ml__addr_push(L, &a);
  for (int k = 5; k >= 1; k--) {
    lua_pushvalue(L, -1);
    lua_setfield(L, -k - 2, keys[k - 1]);
    lua_rawseti(L, -k - 1, k);
  }
}

/* The array of what was found; frees it. */
static int push_found(lua_State *L) {
  dnsop *op = lua_touserdata(L, 1);
  int n = 0;
  lua_newtable(L);
  for (struct addrinfo *i = op->found; i != NULL; i = i->ai_next) {
    if (i->ai_family != AF_INET && i->ai_family != AF_INET6) continue;
    push_info(L, i);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static int addrinfo_wake(lua_State *L, ml_op *o) {
  dnsop *op = (dnsop *)o;
  int rc;
  if (o->obj.state == ML_OP_CANCELLED) {
    uv_freeaddrinfo(op->found);
    op->found = NULL;
    return 0;
  }
  if (op->status < 0) return failed(L, op);
  lua_pushcfunction(L, push_found);
  lua_pushlightuserdata(L, op);
  rc = lua_pcall(L, 1, 1, 0);
  uv_freeaddrinfo(op->found);
  op->found = NULL;
  return rc == LUA_OK ? 1 : ML_RAISE;
}

static int addrinfo_begin(lua_State *L, ml_op *o) {
  dnsop *op = (dnsop *)o;
  uv_loop_t *uv = ml__loop_uv(ml__engine(L)->running);
  struct sockaddr_storage ss;
  const char *host, *service;
  dnsreq *r;
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, 1, 2);
  host = lua_tostring(L, -2);
  service = lua_tostring(L, -1);
  if (uv == NULL) return luaL_error(L, "not enough memory");
  if (host != NULL && op->port >= 0 && ml__addr_parse(host, op->port, &ss) &&
      (op->hints.ai_family == AF_UNSPEC || op->hints.ai_family == ss.ss_family)) {
    struct addrinfo one = op->hints;
    one.ai_family = ss.ss_family;
    if (one.ai_socktype == 0) one.ai_socktype = SOCK_STREAM;
    if (one.ai_protocol == 0)
      one.ai_protocol = one.ai_socktype == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
    one.ai_addr = (struct sockaddr *)&ss;
    lua_createtable(L, 1, 0);
    push_info(L, &one);
    lua_rawseti(L, -2, 1);
    return 1;
  }
  r = new_req(L, op);
  return started(L, op, uv_getaddrinfo(uv, &r->u.addr, on_addrinfo, host, service, &op->hints));
}

static const ml_opclass addrinfo_class = {"getaddrinfo", addrinfo_begin, addrinfo_wake, dns_cancel};

static int check_family(lua_State *L, int idx) {
  if (lua_isnoneornil(L, idx)) return AF_UNSPEC;
  for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
    if (lua_type(L, idx) == LUA_TSTRING ? strcmp(lua_tostring(L, idx), families[i].name) == 0
                                        : lua_tointeger(L, idx) == families[i].value)
      return families[i].value;
  }
  return ml__error(L, "ValueError", "family must be 'unspec', 'inet' or 'inet6', got '%s'",
                   luaL_tolstring(L, idx, NULL));
}

static int check_type(lua_State *L, int idx) {
  if (lua_isnoneornil(L, idx)) return 0;
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    if (lua_type(L, idx) == LUA_TSTRING ? strcmp(lua_tostring(L, idx), types[i].name) == 0
                                        : lua_tointeger(L, idx) == types[i].value)
      return types[i].value;
  }
  return ml__error(L, "ValueError", "type must be 'stream' or 'dgram', got '%s'",
                   luaL_tolstring(L, idx, NULL));
}

/* getaddrinfo(host or nil, port, service or nil, family, type, proto, flags, passive) */
static int f_getaddrinfo(lua_State *L) {
  struct addrinfo hints;
  dnsop *op;
  lua_settop(L, 8);
  memset(&hints, 0, sizeof hints);
  hints.ai_family = check_family(L, 4);
  hints.ai_socktype = check_type(L, 5);
  hints.ai_protocol = (int)luaL_optinteger(L, 6, 0);
  hints.ai_flags = (int)luaL_optinteger(L, 7, 0) | (lua_toboolean(L, 8) ? AI_PASSIVE : 0);
  op = ml__op_new(L, &addrinfo_class, sizeof *op, 2);
  op->hints = hints;
  op->port = (int)luaL_optinteger(L, 2, -1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (op->port >= 0) {
    lua_pushinteger(L, op->port);
    lua_tostring(L, -1);
  } else
    lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, 2);
  return 1;
}

/* ---- getnameinfo ---- */

static void on_nameinfo(uv_getnameinfo_t *req, int status, const char *host, const char *service) {
  dnsreq *r = ml__containerof(req, dnsreq, u.name);
  dnsop *op = r->op;
  (void)host; /* they lie in the request */
  (void)service;
  if (op == NULL) {
    release(r);
    return;
  }
  op->req = NULL;
  op->named = r;
  op->status = status;
  ml__op_wake(&op->op);
}

static int nameinfo_begin(lua_State *L, ml_op *o) {
  dnsop *op = (dnsop *)o;
  uv_loop_t *uv = ml__loop_uv(ml__engine(L)->running);
  struct sockaddr_storage ss;
  dnsreq *r;
  lua_getiuservalue(L, 1, 1);
  if (uv == NULL) return luaL_error(L, "not enough memory");
  if (!ml__addr_parse(lua_tostring(L, -1), op->port, &ss)) {
    op->status = UV_EAI_NONAME;
    return failed(L, op);
  }
  r = new_req(L, op);
  return started(
      L, op,
      uv_getnameinfo(uv, &r->u.name, on_nameinfo, (struct sockaddr *)&ss, op->hints.ai_flags));
}

static int nameinfo_wake(lua_State *L, ml_op *o) {
  dnsop *op = (dnsop *)o;
  char host[NI_MAXHOST] = "", service[NI_MAXSERV] = "";
  if (op->named != NULL) {
    memcpy(host, op->named->u.name.host, sizeof host);
    memcpy(service, op->named->u.name.service, sizeof service);
    release(op->named);
    op->named = NULL;
  }
  if (o->obj.state == ML_OP_CANCELLED) return 0;
  if (op->status < 0) return failed(L, op);
  lua_pushstring(L, host);
  lua_pushstring(L, service);
  return 2;
}

static const ml_opclass nameinfo_class = {"getnameinfo", nameinfo_begin, nameinfo_wake, dns_cancel};

/* getnameinfo(ip, port, flags) -> awaitable of host, service */
static int f_getnameinfo(lua_State *L) {
  dnsop *op;
  luaL_checkstring(L, 1);
  lua_settop(L, 3);
  op = ml__op_new(L, &nameinfo_class, sizeof *op, 2);
  op->port = (int)luaL_checkinteger(L, 2);
  op->hints.ai_flags = (int)luaL_optinteger(L, 3, 0);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

void ml__open_dns(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"getaddrinfo", f_getaddrinfo}, {"getnameinfo", f_getnameinfo}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
