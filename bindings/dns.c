/* getaddrinfo and getnameinfo, on libuv's thread pool. What is an IP address already
** is answered without it.
**
** A request can not be stopped while a thread works on it: a cancelled operation
** leaves it behind, and it frees itself.
*/
#include <netdb.h>
#include <stdio.h>
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

typedef struct constant {
  const char *name;
  int value;
} constant;

static const constant families[] = {{"unspec", AF_UNSPEC}, {"inet", AF_INET}, {"inet6", AF_INET6}},
                      types[] = {{"any", 0},
                                 {"stream", SOCK_STREAM},
                                 {"dgram", SOCK_DGRAM},
                                 {"raw", SOCK_RAW}},
                      protos[] = {{"any", 0}, {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}},
                      ai_flags[] = {{"passive", AI_PASSIVE},
                                    {"canonname", AI_CANONNAME},
                                    {"numerichost", AI_NUMERICHOST},
                                    {"numericserv", AI_NUMERICSERV},
                                    {"addrconfig", AI_ADDRCONFIG},
                                    {"v4mapped", AI_V4MAPPED},
                                    {"all", AI_ALL}},
                      ni_flags[] = {{"numerichost", NI_NUMERICHOST},
                                    {"numericserv", NI_NUMERICSERV},
                                    {"namereqd", NI_NAMEREQD},
                                    {"nofqdn", NI_NOFQDN},
                                    {"dgram", NI_DGRAM}};

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

/* Pushes a name as messages show it: what does not print is escaped, and a long one
** is cut. */
static const char *push_shown(lua_State *L, const char *s, size_t n) {
  luaL_Buffer b;
  size_t shown = n < 80 ? n : 80;
  luaL_buffinit(L, &b);
  for (size_t i = 0; i < shown; i++) {
    unsigned char c = (unsigned char)s[i];
    char hex[8];
    if (c >= ' ' && c != 127) {
      luaL_addchar(&b, (char)c);
      continue;
    }
    snprintf(hex, sizeof hex, "\\x%02x", c);
    luaL_addstring(&b, hex);
  }
  if (shown < n) luaL_addstring(&b, "...");
  luaL_pushresult(&b);
  return lua_tostring(L, -1);
}

/* Pushes the name that user value 1 holds, and the name as it is shown. */
static const char *push_host(lua_State *L) {
  size_t n;
  const char *host;
  lua_getiuservalue(L, 1, 1);
  host = lua_tolstring(L, -1, &n);
  if (host != NULL) return push_shown(L, host, n);
  lua_pushliteral(L, "the local host");
  return lua_tostring(L, -1);
}

static int failed(lua_State *L, dnsop *op) {
  ml__error_uv(L, op->status, "resolve %s failed", push_host(L));
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "host");
  return ML_RAISE;
}

/* What keeps a text from being the name of a host (RFC 1035), or NULL. A name in UTF-8
** is turned into its ASCII form (IDNA) by libuv, which looks at that one's length. */
static const char *fault(const char *host, size_t n) {
  size_t label = 0;
  bool ascii = true;
  if (n > 0 && host[n - 1] == '.') n--;
  for (size_t i = 0; i < n; i++) {
    if ((unsigned char)host[i] >= 128) ascii = false;
    label = host[i] == '.' ? 0 : label + 1;
    if (label > 63 && ascii) return "a label is longer than 63 bytes";
    if (host[i] == '.' && (i == 0 || host[i - 1] == '.')) return "a label is empty";
  }
  if (n == 0) return "a label is empty";
  if (n > 253 && ascii) return "the name is longer than 253 bytes";
  return NULL;
}

/* The name in user value 1 can be none: raises the error, if so. */
static bool bad_name(lua_State *L, dnsop *op) {
  size_t n;
  const char *host, *why;
  int base = lua_gettop(L);
  lua_getiuservalue(L, 1, 1);
  host = lua_tolstring(L, -1, &n);
  why = host == NULL || n == 0 ? NULL : fault(host, n);
  lua_settop(L, base);
  if (why == NULL) return false;
  op->status = UV_EAI_NONAME;
  failed(L, op);
  lua_pushfstring(L, "resolve %s failed: %s", push_host(L), why);
  lua_setfield(L, base + 3, "message");
  lua_settop(L, base + 3);
  return true;
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

/* The entry of an address, as the hints want it. */
static void push_one(lua_State *L, const struct addrinfo *hints, struct sockaddr *sa) {
  struct addrinfo one = *hints;
  one.ai_family = sa->sa_family;
  if (one.ai_socktype == 0) one.ai_socktype = SOCK_STREAM;
  if (one.ai_protocol == 0)
    one.ai_protocol = one.ai_socktype == SOCK_STREAM  ? IPPROTO_TCP
                      : one.ai_socktype == SOCK_DGRAM ? IPPROTO_UDP
                                                      : 0;
  one.ai_addr = sa;
  push_info(L, &one);
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

/* What the sandbox allows of the name it allows of its addresses. */
static void know_found(lua_State *L, const dnsop *op) {
  ml_engine *e = ml__engine(L);
  const char *host;
  if (e->sandbox == NULL) return;
  lua_getiuservalue(L, 1, 1);
  host = lua_tostring(L, -1);
  for (const struct addrinfo *i = op->found; i != NULL && host != NULL; i = i->ai_next)
    if (i->ai_family == AF_INET || i->ai_family == AF_INET6) ml__address_known(e, host, i->ai_addr);
  lua_pop(L, 1);
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
  know_found(L, op);
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
  if (host != NULL && op->port >= 0 && op->hints.ai_socktype != 0 &&
      !(op->hints.ai_flags & AI_CANONNAME) && ml__addr_parse(host, op->port, &ss) &&
      (op->hints.ai_family == AF_UNSPEC || op->hints.ai_family == ss.ss_family)) {
    lua_createtable(L, 1, 0);
    push_one(L, &op->hints, (struct sockaddr *)&ss);
    lua_rawseti(L, -2, 1);
    return 1;
  }
  if (bad_name(L, op)) return ML_RAISE;
  if (host != NULL && !ml__may_lookup(ml__engine(L)->sandbox, host)) {
    ml__denied(L, ML_P_NET, "resolve", host, host);
    return ML_RAISE;
  }
  r = new_req(L, op);
  return started(L, op, uv_getaddrinfo(uv, &r->u.addr, on_addrinfo, host, service, &op->hints));
}

static const ml_opclass addrinfo_class = {"getaddrinfo", addrinfo_begin, addrinfo_wake, dns_cancel};

/* The value of the constant at idx, a name or a number: false if it is none. */
static bool constant_at(lua_State *L, int idx, const constant *c, size_t n, int *value) {
  for (size_t i = 0; i < n; i++) {
    if (lua_type(L, idx) == LUA_TSTRING
            ? strcmp(lua_tostring(L, idx), c[i].name) == 0
            : lua_isinteger(L, idx) && lua_tointeger(L, idx) == c[i].value) {
      *value = c[i].value;
      return true;
    }
  }
  return false;
}

static int check_constant(lua_State *L, int idx, const constant *c, size_t n,
                          const char *expected) {
  int value = 0;
  if (!lua_isnoneornil(L, idx) && !constant_at(L, idx, c, n, &value))
    ml__misuse(L, "ValueError", "%s, got '%s'", expected, luaL_tolstring(L, idx, NULL));
  return value;
}
#define CONSTANT(L, idx, list, expected) \
  check_constant(L, idx, list, sizeof list / sizeof list[0], expected)

/* An integer, a name, or an array of names. */
static int check_flags(lua_State *L, int idx, const constant *c, size_t n) {
  int flags = 0, one;
  if (lua_isnoneornil(L, idx)) return 0;
  if (lua_isinteger(L, idx)) return (int)lua_tointeger(L, idx);
  if (lua_type(L, idx) == LUA_TSTRING && constant_at(L, idx, c, n, &flags)) return flags;
  if (!lua_istable(L, idx))
    ml__misuse(L, "ValueError", "flags must be names as '%s', or an integer, got '%s'", c[0].name,
               luaL_tolstring(L, idx, NULL));
  for (lua_Integer i = 1, len = luaL_len(L, idx); i <= len; i++) {
    lua_geti(L, idx, i);
    if (!constant_at(L, -1, c, n, &one))
      ml__misuse(L, "ValueError", "unknown flag '%s'", luaL_tolstring(L, -1, NULL));
    flags |= one;
    lua_pop(L, 1);
  }
  return flags;
}
#define FLAGS(L, idx, list) check_flags(L, idx, list, sizeof list / sizeof list[0])

static void check_hints(lua_State *L, struct addrinfo *hints, int family, int type, int proto) {
  memset(hints, 0, sizeof *hints);
  if (family != 0)
    hints->ai_family = CONSTANT(L, family, families, "family must be 'unspec', 'inet' or 'inet6'");
  hints->ai_socktype = CONSTANT(L, type, types, "type must be 'stream', 'dgram' or 'raw'");
  if (lua_isinteger(L, proto))
    hints->ai_protocol = (int)lua_tointeger(L, proto);
  else
    hints->ai_protocol = CONSTANT(L, proto, protos, "proto must be 'tcp', 'udp' or an integer");
}

/* getaddrinfo(host or nil, port, service or nil, family, type, proto, flags, passive) */
static int f_getaddrinfo(lua_State *L) {
  struct addrinfo hints;
  dnsop *op;
  lua_settop(L, 8);
  check_hints(L, &hints, 4, 5, 6);
  hints.ai_flags = FLAGS(L, 7, ai_flags) | (lua_toboolean(L, 8) ? AI_PASSIVE : 0);
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

/* addrinfo(ip, port, type, proto) -> an entry of getaddrinfo's */
static int f_addrinfo(lua_State *L) {
  struct sockaddr_storage ss;
  struct addrinfo hints;
  const char *host = luaL_checkstring(L, 1);
  lua_Integer port = luaL_checkinteger(L, 2);
  lua_settop(L, 4);
  check_hints(L, &hints, 0, 3, 4);
  luaL_argcheck(L, port >= 0 && port <= 65535, 2, "port must be 0-65535");
  luaL_argcheck(L, ml__addr_parse(host, (int)port, &ss), 1, "an IP address expected");
  push_one(L, &hints, (struct sockaddr *)&ss);
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
  if (!(op->hints.ai_flags & NI_NUMERICHOST) &&
      !ml__may_address(ml__engine(L), ML_P_NET, (struct sockaddr *)&ss, sizeof ss)) {
    ml__address_denied(L, ML_P_NET, "getnameinfo", (struct sockaddr *)&ss, sizeof ss);
    return ML_RAISE;
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
  int port, flags;
  luaL_checkstring(L, 1);
  lua_settop(L, 3);
  port = (int)luaL_checkinteger(L, 2);
  flags = FLAGS(L, 3, ni_flags);
  op = ml__op_new(L, &nameinfo_class, sizeof *op, 2);
  op->port = port;
  op->hints.ai_flags = flags;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

void ml__open_dns(lua_State *L) {
  static const luaL_Reg functions[] = {{"getaddrinfo", f_getaddrinfo},
                                       {"addrinfo", f_addrinfo},
                                       {"getnameinfo", f_getnameinfo},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
