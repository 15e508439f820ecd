/* An exchange: a request, as its head says, and what has become of its connection. The
** head's text lies in the userdata itself: it can be asked as long as somebody has it.
*/
#include <string.h>

#include "http.h"

ml_exchange *ml__checkexchange(lua_State *L, int idx) {
  ml_object *o = lua_touserdata(L, idx);
  if (o != NULL && lua_rawlen(L, idx) >= sizeof(ml_exchange) && o->magic == &ml__magic &&
      o->type == ML_T_EXCHANGE)
    return (ml_exchange *)(void *)o;
  return ml__checkobject(L, idx, ML_T_EXCHANGE);
}

static bool is_current(const ml_exchange *x) {
  return x->serial == x->c->serial && (x->c->flags & ML_HC_BUSY);
}

ml_hconn *ml__checkcurrent(lua_State *L, const char *fname) {
  ml_exchange *x = ml__checkexchange(L, 1);
  if (!is_current(x)) ml__misuse(L, "RuntimeError", "%s(): the request is over", fname);
  return x->c;
}

ml_exchange *ml__exchange_push(lua_State *L, ml_hconn *c, int idx) {
  ml_hhead *h = c->head;
  size_t size = ml__hhead_size(h);
  ml_exchange *x = lua_newuserdatauv(L, offsetof(ml_exchange, head) + size, 1);
  memset(x, 0, offsetof(ml_exchange, head));
  memcpy(&x->head, h, size);
  x->obj.magic = &ml__magic;
  x->obj.type = ML_T_EXCHANGE;
  x->c = c;
  x->serial = ++c->serial;
  ml__ref_get(L, ML_R_TYPES + ML_T_EXCHANGE);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, 1);
  c->head = NULL;
  ml__alloc(c->s->net->engine->alloc, h, size, 0);
  c->flags &= ~(uint32_t)(ML_HC_KEEP | ML_HC_OLD | ML_HC_MORE);
  c->flags |= ML_HC_BUSY;
  if (x->head.flags & ML_HH_KEEP)
    c->flags |= (c->flags & ML_HC_SHUTDOWN) ? ML_HC_MORE : ML_HC_KEEP | ML_HC_MORE;
  if (x->head.flags & ML_HH_CONTINUE) c->flags |= ML_HC_CONTINUE;
  if (x->head.minor == 0) c->flags |= ML_HC_OLD;
  if (x->head.method.n == 4 && memcmp(ml__hhead_text(&x->head), "HEAD", 4) == 0)
    c->flags |= ML_HC_NOBODY;
  return x;
}

/* ---- the request ---- */

static int push_span(lua_State *L, const ml_exchange *x, ml_hspan s) {
  lua_pushlstring(L, ml__hhead_text(&x->head) + s.at, s.n);
  return 1;
}

static int x_method(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  return push_span(L, x, x->head.method);
}

static int x_target(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  return push_span(L, x, x->head.target);
}

int ml__exchange_path(lua_State *L, const ml_exchange *x) {
  if (x->head.path.n > 0) return push_span(L, x, x->head.path);
  lua_pushliteral(L, "/"); /* http://host */
  return 1;
}

static int x_path(lua_State *L) { return ml__exchange_path(L, ml__checkexchange(L, 1)); }

static int x_query(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  if (x->head.flags & ML_HH_QUERY) return push_span(L, x, x->head.query);
  lua_pushnil(L);
  return 1;
}

static int x_version(lua_State *L) {
  lua_pushstring(L, ml__checkexchange(L, 1)->head.minor == 0 ? "1.0" : "1.1");
  return 1;
}

static int x_scheme(lua_State *L) {
  lua_pushstring(L, ml__checkexchange(L, 1)->c->s->ops == &ml__plain_ops ? "http" : "https");
  return 1;
}

/* x:authority(): the target's, or Host; nil: there was none */
static int x_authority(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  if (x->head.host.at > 0) return push_span(L, x, x->head.host);
  lua_pushnil(L);
  return 1;
}

/* x:header(name): the first one's value, or nil */
static int x_header(lua_State *L) { return ml__hhead_header(L, &ml__checkexchange(L, 1)->head); }

static int x_headers(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  ml__headers_in(L, &x->head, 1);
  return 1;
}

/* ---- the connection ---- */

static int x_peername(lua_State *L) {
  ml__stream_addr_push(L, ml__checkexchange(L, 1)->c->s, true);
  return 1;
}

static int x_sockname(lua_State *L) {
  ml__stream_addr_push(L, ml__checkexchange(L, 1)->c->s, false);
  return 1;
}

/* x:transport_info(name [, default]): as get_extra_info of the connection's transport */
static int x_transport_info(lua_State *L) {
  return ml__stream_info(L, ml__checkexchange(L, 1)->c->s);
}

static int x_started(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  lua_pushboolean(L, !is_current(x) || (x->c->flags & ML_HC_STARTED));
  return 1;
}

static int x_finished(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  lua_pushboolean(L, !is_current(x) || (x->c->flags & ML_HC_ANSWERED));
  return 1;
}

/* x:sent(): bytes of the response's body so far */
static int x_sent(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  bool begun = is_current(x) && (x->c->flags & ML_HC_STARTED);
  lua_pushinteger(L, begun ? (lua_Integer)x->c->sent : 0);
  return 1;
}

/* x:multiplexed(): may others be served meanwhile on the same connection? HTTP/2's may. */
static int x_multiplexed(lua_State *L) {
  ml__checkexchange(L, 1);
  lua_pushboolean(L, 0);
  return 1;
}

static int x_keep_alive(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  lua_pushboolean(L, is_current(x) && (x->c->flags & ML_HC_KEEP));
  return 1;
}

/* x:set_keep_alive(keep): true only gives back what the request has asked for */
static int x_set_keep_alive(lua_State *L) {
  ml_hconn *c = ml__checkcurrent(L, "set_keep_alive");
  const ml_exchange *x = lua_touserdata(L, 1);
  if (!lua_toboolean(L, 2))
    c->flags &= ~(uint32_t)ML_HC_KEEP;
  else if ((x->head.flags & ML_HH_KEEP) && !(c->flags & ML_HC_SHUTDOWN) && c->bad == 0)
    c->flags |= ML_HC_KEEP;
  return 0;
}

static bool is_lost(const ml_exchange *x) {
  return !is_current(x) || (x->c->flags & (ML_HC_PEER_ENDED | ML_HC_OVER)) ||
         (x->c->s->flags & ML_S_CLOSING);
}

static int x_lost(lua_State *L) {
  lua_pushboolean(L, is_lost(ml__checkexchange(L, 1)));
  return 1;
}

/* x:on_lost(task): it is cancelled when the peer goes before the exchange is over; nil: none */
static int x_on_lost(lua_State *L) {
  ml_hconn *c = ml__checkcurrent(L, "on_lost");
  int pin = 0;
  if (!lua_isnoneornil(L, 2)) {
    ml__checkobject(L, 2, ML_T_TASK);
    pin = ml__pin(L, 2);
  }
  ml__list_remove(&c->gone.link);
  ml__unpin(L, c->gone_pin);
  c->gone_pin = pin;
  if (pin != 0 && (c->flags & (ML_HC_PEER_ENDED | ML_HC_OVER))) ml__ready(c->s->loop, &c->gone);
  return 0;
}

/* x:abort(): the connection is dropped */
static int x_abort(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  if (is_current(x)) ml__stream_fail(x->c->s, 0);
  return 0;
}

static int x_tostring(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  lua_pushliteral(L, "<http.Exchange ");
  push_span(L, x, x->head.method);
  lua_pushliteral(L, " ");
  push_span(L, x, x->head.target);
  lua_pushliteral(L, ">");
  lua_concat(L, 5);
  return 1;
}

void ml__open_exchange(lua_State *L) {
  static const luaL_Reg methods[] = {{"method", x_method},
                                     {"target", x_target},
                                     {"path", x_path},
                                     {"query", x_query},
                                     {"version", x_version},
                                     {"scheme", x_scheme},
                                     {"authority", x_authority},
                                     {"header", x_header},
                                     {"headers", x_headers},
                                     {"peername", x_peername},
                                     {"sockname", x_sockname},
                                     {"transport_info", x_transport_info},
                                     {"started", x_started},
                                     {"finished", x_finished},
                                     {"sent", x_sent},
                                     {"multiplexed", x_multiplexed},
                                     {"keep_alive", x_keep_alive},
                                     {"set_keep_alive", x_set_keep_alive},
                                     {"lost", x_lost},
                                     {"on_lost", x_on_lost},
                                     {"abort", x_abort},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", x_tostring}, {NULL, NULL}};
  ml__newtype(L, ML_T_EXCHANGE, "http.Exchange", methods, meta);
  luaL_setfuncs(L, ml__hbody_methods, 0);
  luaL_setfuncs(L, ml__respond_methods, 0);
  luaL_setfuncs(L, ml__upgrade_methods, 0);
  luaL_setfuncs(L, ml__hsendfile_methods, 0);
  lua_setfield(L, -2, "Exchange");
}
