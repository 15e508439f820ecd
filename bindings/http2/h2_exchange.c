/* An exchange of HTTP/2: a request and its response, with the methods that one of HTTP/1
** has. It can be asked as long as somebody has it, also when its stream is long closed.
**
** Collected before it was answered, it resets its stream: nobody will answer any more.
*/
#include <stdio.h>
#include <string.h>

#include "h2.h"

ml_h2stream *ml__h2_check_served(lua_State *L) {
  return ((ml_h2exchange *)ml__checkobject(L, 1, ML_T_H2EXCHANGE))->x;
}

void ml__h2_exchange_push(lua_State *L, ml_h2stream *x) {
  ml_h2exchange *e = ml__newobject(L, ML_T_H2EXCHANGE, sizeof *e, H2_UV_READER);
  ml__list_remove(&x->link);
  e->x = x;
  x->refs++;
  x->flags |= H2S_GIVEN;
  x->h->nlive++;
}

/* ---- the request ---- */

static int push_span(lua_State *L, const ml_hhead *d, ml_hspan s) {
  lua_pushlstring(L, ml__hhead_text(d) + s.at, s.n);
  return 1;
}

void ml__h2_push_method(lua_State *L, const ml_h2stream *x) {
  push_span(L, x->head, x->head->method);
}
void ml__h2_push_path(lua_State *L, const ml_h2stream *x) { push_span(L, x->head, x->head->path); }

static int x_method(lua_State *L) {
  const ml_hhead *d = ml__h2_check_served(L)->head;
  return push_span(L, d, d->method);
}

static int x_target(lua_State *L) {
  const ml_hhead *d = ml__h2_check_served(L)->head;
  return push_span(L, d, d->target);
}

static int x_path(lua_State *L) {
  const ml_hhead *d = ml__h2_check_served(L)->head;
  return push_span(L, d, d->path);
}

static int x_query(lua_State *L) {
  const ml_hhead *d = ml__h2_check_served(L)->head;
  if (d->flags & ML_HH_QUERY) return push_span(L, d, d->query);
  lua_pushnil(L);
  return 1;
}

static int x_version(lua_State *L) {
  ml__h2_check_served(L);
  lua_pushliteral(L, "2.0");
  return 1;
}

static int x_scheme(lua_State *L) {
  lua_pushstring(L, ml__h2_check_served(L)->h->s->ops == &ml__plain_ops ? "http" : "https");
  return 1;
}

static int x_authority(lua_State *L) {
  const ml_hhead *d = ml__h2_check_served(L)->head;
  if (d->host.n > 0) return push_span(L, d, d->host);
  lua_pushnil(L);
  return 1;
}

static int x_has_body(lua_State *L) {
  const ml_h2stream *x = ml__h2_check_served(L);
  lua_pushboolean(L, (x->flags & H2S_BODY) &&
                         !((x->head->flags & ML_HH_LENGTH) && x->head->length == 0));
  return 1;
}

/* x:content_length(): nil if it is not known */
static int x_content_length(lua_State *L) {
  const ml_h2stream *x = ml__h2_check_served(L);
  if (x->head->flags & ML_HH_LENGTH)
    lua_pushinteger(L, (lua_Integer)x->head->length);
  else if (!(x->flags & H2S_BODY))
    lua_pushinteger(L, 0);
  else
    lua_pushnil(L);
  return 1;
}

/* ---- the connection ---- */

static int flag(lua_State *L, uint32_t which) {
  lua_pushboolean(L, (ml__h2_check_served(L)->flags & which) != 0);
  return 1;
}
static int x_started(lua_State *L) { return flag(L, H2S_STARTED); }
static int x_finished(lua_State *L) { return flag(L, H2S_FINISHED); }

/* Not in the middle of a closing session; and nothing that one exchange can alter. */
static int x_keep_alive(lua_State *L) {
  const ml_http2 *h = ml__h2_check_served(L)->h;
  lua_pushboolean(L, !(h->flags & (H2_OVER | H2_SHUTDOWN | H2_LEAVING)));
  return 1;
}

static int x_set_keep_alive(lua_State *L) {
  ml_h2stream *x = ml__h2_check_served(L);
  if (!lua_toboolean(L, 2)) ml__http2_shutdown(x->h);
  return 0;
}

static int x_lost(lua_State *L) { return flag(L, H2S_LOST); }

/* x:on_lost(task): it is cancelled when the peer goes before the exchange is over; nil: none */
static int x_on_lost(lua_State *L) {
  ml_h2stream *x = ml__h2_check_served(L);
  int pin = 0;
  if (!lua_isnoneornil(L, 2)) {
    ml__checkobject(L, 2, ML_T_TASK);
    pin = ml__pin(L, 2);
  }
  if (x->task != 0) ml__unpin(L, x->task);
  x->task = pin;
  if (pin != 0 && (x->flags & H2S_LOST)) ml__h2_tell(x);
  return 0;
}

static int x_upgrade(lua_State *L) {
  ml__h2_check_served(L);
  return ml__misuse(L, "RuntimeError", "upgrade(): HTTP/2 has no upgrade");
}

static int x_tostring(lua_State *L) {
  const ml_hhead *d = ml__h2_check_served(L)->head;
  lua_pushliteral(L, "<http.Exchange ");
  push_span(L, d, d->method);
  lua_pushliteral(L, " ");
  push_span(L, d, d->target);
  lua_pushliteral(L, " HTTP/2>");
  lua_concat(L, 5);
  return 1;
}

static int x_gc(lua_State *L) {
  ml_h2exchange *e = lua_touserdata(L, 1);
  ml_h2stream *x = e->x;
  e->x = NULL;
  e->obj.magic = NULL; /* finalizers of scripts may still have it */
  if (x == NULL) return 0;
  if (!(x->flags & H2S_FINISHED)) {
    ml__h2_finished(x);
    ml__h2_reset(x, NGHTTP2_INTERNAL_ERROR);
  }
  ml__h2_stream_unref(x);
  return 0;
}

void ml__open_http2(lua_State *L) {
  static const luaL_Reg methods[] = {{"method", x_method},
                                     {"target", x_target},
                                     {"path", x_path},
                                     {"query", x_query},
                                     {"version", x_version},
                                     {"scheme", x_scheme},
                                     {"authority", x_authority},
                                     {"has_body", x_has_body},
                                     {"content_length", x_content_length},
                                     {"started", x_started},
                                     {"finished", x_finished},
                                     {"keep_alive", x_keep_alive},
                                     {"set_keep_alive", x_set_keep_alive},
                                     {"lost", x_lost},
                                     {"on_lost", x_on_lost},
                                     {"upgrade", x_upgrade},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", x_tostring}, {"__gc", x_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_H2EXCHANGE, "http.Exchange", methods, meta);
  luaL_setfuncs(L, ml__h2_respond_methods, 0);
  luaL_setfuncs(L, ml__h2_body_methods, 0);
  luaL_setfuncs(L, ml__h2_message_methods, 0);
  lua_setfield(L, -2, "Exchange2");
}
