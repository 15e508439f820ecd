/* Connections of HTTP/2 to servers, as scripts have them: the same methods as those of HTTP/1,
** but many requests at once.
*/
#include "h2_client.h"

ml_h2conn *ml__h2_checkconn(lua_State *L) {
  ml_object *o = lua_touserdata(L, 1);
  if (o != NULL && lua_rawlen(L, 1) == sizeof(ml_h2conn) && o->magic == &ml__magic &&
      o->type == ML_T_H2CLIENT)
    return (ml_h2conn *)(void *)o;
  return ml__checkobject(L, 1, ML_T_H2CLIENT);
}

/* Weak: light pointer -> connection. */
static const char conns_key;

void ml__h2_conn_push(lua_State *L, const ml_h2client *c) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &conns_key);
  lua_rawgetp(L, -1, c);
  lua_remove(L, -2);
}

static int c_multiplexed(lua_State *L) {
  ml__h2_checkconn(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* conn:free(): how many requests may be begun; if none, on_free is called when that changes */
static int c_free(lua_State *L) {
  ml_h2client *c = ml__h2_checkconn(L)->c;
  uint32_t room = ml__h2_client_room(c);
  if (room == 0 && !ml__h2_client_closing(c)) {
    ml__h2_client_hold(L, c, 1);
    c->full = true;
  }
  lua_pushinteger(L, room);
  return 1;
}

static int c_is_closing(lua_State *L) {
  lua_pushboolean(L, ml__h2_client_closing(ml__h2_checkconn(L)->c));
  return 1;
}

static void fail_calls(ml_http2 *h) {
  for (ml_link *k = h->streams.next, *next; k != &h->streams; k = next) {
    next = k->next;
    ml__h2_call_fail((ml_h2call *)ml__containerof(k, ml_h2stream, all), H2F_CLOSED, NULL);
  }
}

/* Says goodbye, and is gone. */
static void end(lua_State *L, ml_h2client *c) {
  ml_http2 *h = &c->h;
  h->refs++;
  c->closed = true; /* who closes it knows */
  c->full = c->tell = false;
  c->dropped = 0;
  fail_calls(h);
  if (ml__h2_alive(h) && !ml__h2_full(h) && !(h->flags & (H2_INSIDE | H2_FORGOTTEN))) {
    nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR);
    ml__h2_flush(L, h);
  }
  ml__http2_close(h);
  ml__h2_release(h);
}

/* conn:close(): what is under way fails */
static int c_close(lua_State *L) {
  ml_h2client *c = ml__h2_checkconn(L)->c;
  if (!ml__http2_over(&c->h)) end(L, c);
  return 0;
}

static int c_peername(lua_State *L) {
  ml__stream_addr_push(L, ml__h2_checkconn(L)->c->h.s, true);
  return 1;
}

static int c_sockname(lua_State *L) {
  ml__stream_addr_push(L, ml__h2_checkconn(L)->c->h.s, false);
  return 1;
}

/* conn:transport_info(name [, default]): as get_extra_info of its transport */
static int c_transport_info(lua_State *L) {
  return ml__stream_info(L, ml__h2_checkconn(L)->c->h.s);
}

/* conn:requests(): how many there were */
static int c_requests(lua_State *L) {
  lua_pushinteger(L, ml__h2_checkconn(L)->c->requests);
  return 1;
}

static int c_tostring(lua_State *L) {
  const ml_h2client *c = ml__h2_checkconn(L)->c;
  char who[96];
  ml__stream_text(c->h.s, who, sizeof who);
  lua_pushfstring(L, "<http.client.Connection %s HTTP/2 peer=%s requests=%d open=%d>",
                  ml__http2_over(&c->h)      ? "closed"
                  : ml__h2_client_closing(c) ? "closing"
                  : c->h.nstreams > 0        ? "busy"
                                             : "idle",
                  who, (int)c->requests, (int)c->h.nstreams);
  return 1;
}

static int c_gc(lua_State *L) {
  ml_h2conn *o = lua_touserdata(L, 1);
  ml_h2client *c = o->c;
  o->c = NULL;
  o->obj.magic = NULL;
  if (c == NULL) return 0;
  if (!ml__http2_over(&c->h)) end(L, c);
  ml__h2_release(&c->h);
  return 0;
}

int ml__http2_client(lua_State *L, ml_stream *s, int idx, const char *p, size_t n) {
  ml_h2conn *o;
  ml__checkhcsettings(L, idx);
  idx = lua_absindex(L, idx);
  o = ml__newobject(L, ML_T_H2CLIENT, sizeof *o, 1);
  o->c = (ml_h2client *)ml__h2_new(L, &ml__h2_client_role, sizeof *o->c, idx, s);
  ml__h2_begin(&o->c->h, s, p, n);
  ml__stream_start(s, &ml__h2_sink, &o->c->h);
  ml__h2_client_rest(o->c, true);
  if (s->flags & ML_S_EOF) s->sink->eof(s);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &conns_key);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, o->c);
  lua_pop(L, 1);
  return 1;
}

void ml__open_http2_client(lua_State *L) {
  static const luaL_Reg methods[] = {{"request", ml__h2_conn_request},
                                     {"multiplexed", c_multiplexed},
                                     {"free", c_free},
                                     {"is_closing", c_is_closing},
                                     {"close", c_close},
                                     {"peername", c_peername},
                                     {"sockname", c_sockname},
                                     {"transport_info", c_transport_info},
                                     {"requests", c_requests},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__close", c_close}, {"__tostring", c_tostring}, {"__gc", c_gc}, {NULL, NULL}};
  ml__push_weak(L, "v");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &conns_key);
  ml__newtype(L, ML_T_H2CLIENT, "http.client.Connection", methods, meta);
  lua_setfield(L, -2, "Connection2");
  ml__h2_open_calls(L);
}
