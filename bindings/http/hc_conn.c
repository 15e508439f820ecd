/* Connections of HTTP/1 to servers, as scripts have them, and how an exchange ends: by the task
** that takes the last of it, or by a job.
*/
#include "hc.h"

ml_hcconn *ml__checkhcconn(lua_State *L, int idx) {
  ml_object *o = lua_touserdata(L, idx);
  if (o != NULL && lua_rawlen(L, idx) == sizeof(ml_hcconn) && o->magic == &ml__magic &&
      o->type == ML_T_HCCONN)
    return (ml_hcconn *)(void *)o;
  return ml__checkobject(L, idx, ML_T_HCCONN);
}

/* Weak: light pointer -> connection. */
static const char conns_key;

static void push_conn(lua_State *L, const ml_hcconn *c) {
  if (c->pin != 0) {
    ml__pushpinned(L, c->pin);
    return;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &conns_key);
  lua_rawgetp(L, -1, c);
  lua_remove(L, -2);
}

bool ml__hcconn_free(const ml_hcconn *c) {
  return !(c->flags & (ML_CC_BUSY | ML_CC_OVER | ML_CC_UPGRADED | ML_CC_PEER_ENDED)) &&
         c->fail == ML_CF_NONE && !(c->s->flags & ML_S_CLOSING);
}

/* ---- the end of an exchange ---- */

/* May the connection be given to somebody else? */
static bool settled(const ml_hcconn *c) {
  return (c->flags & (ML_CC_BUSY | ML_CC_COMPLETE | ML_CC_SENT | ML_CC_TUNNEL)) ==
             (ML_CC_BUSY | ML_CC_COMPLETE | ML_CC_SENT) &&
         c->fail == ML_CF_NONE;
}

/* The exchange at x gets what has come and nobody has taken. */
static void hand_over(lua_State *L, ml_hcconn *c, int x) {
  ml_hcexchange *ex = c->x;
  if (c->head != NULL) ml__hcexchange_take_head(L, ex, x);
  ml__hcexchange_take_trailers(L, c, x);
  if (c->body.len == 0) return;
  if (!(c->flags & ML_CC_DISCARD)) {
    ml__bytes_take(L, c->s->net, &c->body, c->body.len);
    lua_setiuservalue(L, x, ML_CX_UV_BODY);
  }
}

void ml__hcconn_settle(lua_State *L, ml_hcconn *c, int idx) {
  const uint32_t kept = ML_CC_KEEP | ML_CC_PEER_ENDED | ML_CC_OVER;
  if (!settled(c)) return;
  if (c->head != NULL || c->body.len > 0 || c->rest.len > 0) {
    lua_getiuservalue(L, idx, ML_CC_UV_EXCHANGE);
    hand_over(L, c, lua_gettop(L));
    lua_pop(L, 1);
  }
  if (c->body.base != NULL || c->reader != NULL || c->rest.base != NULL)
    ml__hcbody_reset(L, c, idx);
  ml__list_remove(&c->done.link);
  c->x = NULL;
  lua_pushnil(L);
  lua_setiuservalue(L, idx, ML_CC_UV_EXCHANGE);
  c->flags &= kept;
  if ((c->flags & kept) == ML_CC_KEEP) {
    ml__hcconn_idle(c);
  } else {
    ml__hcconn_stop(c);
    ml__stream_close(c->s);
  }
}

void ml__hcconn_done(ml_hcconn *c) {
  if ((c->flags & ML_CC_BUSY) && ml__list_empty(&c->done.link)) ml__ready(c->s->loop, &c->done);
}

static int settle_job(lua_State *L) { /* (conn) */
  ml__hcconn_settle(L, lua_touserdata(L, 1), 1);
  return 0;
}

/* Nobody waits for what has come: the connection is free, or will be. */
static void run_done(ml_evloop *loop, ml_job *job) {
  ml_hcconn *c = ml__containerof(job, ml_hcconn, done);
  lua_State *L = loop->L;
  int top = lua_gettop(L);
  bool over = c->fail != ML_CF_NONE;
  if (c->waiting != NULL || c->reading != NULL || !lua_checkstack(L, 16)) return;
  if (!over && !settled(c)) return;
  push_conn(L, c);
  if (!lua_isnil(L, -1)) {
    lua_pushcfunction(L, settle_job);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
      lua_pop(L, 1);
      ml__hcconn_fail(c, ML_CF_CLOSED, NULL);
    }
    lua_getiuservalue(L, -1, ML_CC_UV_SETTINGS);
    ml__hcsettings_tell(L, -1, -2, 0);
  }
  lua_settop(L, top);
  ml__unpin(L, c->pin);
  c->pin = 0;
}

/* ---- methods ---- */

static int c_multiplexed(lua_State *L) {
  ml__checkhcconn(L, 1);
  lua_pushboolean(L, 0);
  return 1;
}

/* conn:free(): how many requests may be made now */
static int c_free(lua_State *L) {
  lua_pushinteger(L, ml__hcconn_free(ml__checkhcconn(L, 1)));
  return 1;
}

static bool is_closing(const ml_hcconn *c) {
  return (c->flags & (ML_CC_OVER | ML_CC_UPGRADED | ML_CC_PEER_ENDED)) || c->fail != ML_CF_NONE ||
         (c->s->flags & ML_S_CLOSING);
}

static int c_is_closing(lua_State *L) {
  lua_pushboolean(L, is_closing(ml__checkhcconn(L, 1)));
  return 1;
}

/* conn:close(): what is under way fails */
static int c_close(lua_State *L) {
  ml_hcconn *c = ml__checkhcconn(L, 1);
  if (c->flags & ML_CC_UPGRADED) return 0;
  if (c->flags & ML_CC_BUSY) {
    ml__hcconn_fail(c, ML_CF_CLOSED, NULL);
    ml__hcconn_quiet(c);
  } else {
    ml__hcconn_stop(c);
    ml__stream_close(c->s);
  }
  return 0;
}

static int c_peername(lua_State *L) {
  ml__stream_addr_push(L, ml__checkhcconn(L, 1)->s, true);
  return 1;
}

static int c_sockname(lua_State *L) {
  ml__stream_addr_push(L, ml__checkhcconn(L, 1)->s, false);
  return 1;
}

/* conn:transport_info(name [, default]): as get_extra_info of its transport */
static int c_transport_info(lua_State *L) { return ml__stream_info(L, ml__checkhcconn(L, 1)->s); }

/* conn:requests(): how many there were */
static int c_requests(lua_State *L) {
  lua_pushinteger(L, ml__checkhcconn(L, 1)->serial);
  return 1;
}

static int c_tostring(lua_State *L) {
  const ml_hcconn *c = ml__checkhcconn(L, 1);
  char who[96];
  ml__stream_text(c->s, who, sizeof who);
  lua_pushfstring(L, "<http.client.Connection %s peer=%s requests=%d>",
                  (c->flags & ML_CC_UPGRADED) ? "upgraded"
                  : is_closing(c)             ? "closed"
                  : (c->flags & ML_CC_BUSY)   ? "busy"
                                              : "idle",
                  who, (int)c->serial);
  return 1;
}

static int pin_it(lua_State *L) { /* (conn) */
  ml_hcconn *c = lua_touserdata(L, 1);
  lua_getmetatable(L, 1); /* it will be finalized once more */
  lua_setmetatable(L, 1);
  c->pin = ml__pin(L, 1);
  return 0;
}

/* Collected in the middle of an exchange: whoever counts the connections is told by the job, for
** which it lives on a little. */
static bool tell_first(lua_State *L, ml_hcconn *c) {
  if (!(c->flags & ML_CC_BUSY) || ml__engine(L)->closing || c->s->loop->closed) return false;
  if (c->fail != ML_CF_NONE && ml__list_empty(&c->done.link)) return false; /* has been told */
  ml__hcconn_fail(c, ML_CF_CLOSED, NULL);
  lua_pushcfunction(L, pin_it);
  lua_pushvalue(L, 1);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}

static int c_gc(lua_State *L) {
  ml_hcconn *c = lua_touserdata(L, 1);
  ml_stream *s = c->s;
  if (s == NULL || tell_first(L, c)) return 0;
  ml__hcconn_stop(c);
  ml__list_remove(&c->done.link);
  ml__hinput_free(&c->input);
  ml__hhead_free(c->http, c->head);
  ml__bytes_free(s->net, &c->body);
  ml__bytes_free(s->net, &c->rest);
  if (c->reader != NULL) {
    c->reader->source = NULL;
    if (!(c->reader->obj.flags & ML_RD_EOF)) ml__reader_fail(c->reader);
  }
  c->obj.magic = NULL;
  c->s = NULL;
  if (s->target == c) {
    s->target = NULL;
    ml__stream_close(s);
  }
  ml__stream_unref(s);
  return 0;
}

ml_hcconn *ml__hcconn_push(lua_State *L, ml_stream *s, int settings) {
  ml_hcsettings *set = ml__checkhcsettings(L, settings);
  ml_http *http = ml__http(L);
  ml_hcconn *c;
  settings = lua_absindex(L, settings);
  c = ml__newobject(L, ML_T_HCCONN, sizeof *c, ML_CC_UV_OP);
  ml__hcconn_prepare(c);
  c->done.run = run_done;
  c->http = http;
  c->settings = set;
  lua_pushvalue(L, settings);
  lua_setiuservalue(L, -2, ML_CC_UV_SETTINGS);
  ml__hinput_init(&c->input, http, &set->limits, HTTP_RESPONSE);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &conns_key);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, c);
  lua_pop(L, 1);
  c->s = s;
  ml__stream_ref(s);
  ml__stream_start(s, &ml__hc_sink, c);
  ml__hcconn_idle(c);
  return c;
}

void ml__open_hcconn(lua_State *L) {
  static const luaL_Reg methods[] = {{"request", ml__hcconn_request},
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
  ml__newtype(L, ML_T_HCCONN, "http.client.Connection", methods, meta);
  lua_setfield(L, -2, "Connection");
}
