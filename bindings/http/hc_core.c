/* The module http.client.core: settings, errors, and taking over connections to servers. */
#include "hc.h"
#ifdef ML_WITH_HTTP2
#include "http2/http2.h"
#endif
#ifdef ML_WITH_TLS
#include "tls.h"
#endif

static const char errors_key;

/* ---- errors ---- */

static void push_class(lua_State *L, const char *cls) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &errors_key);
  lua_getfield(L, -1, cls);
  lua_remove(L, -2);
}

void ml__hc_error(lua_State *L, const char *cls, const char *fmt, ...) {
  va_list ap;
  luaL_checkstack(L, 8, "error");
  push_class(L, cls);
  va_start(ap, fmt);
  lua_pushvfstring(L, fmt, ap);
  va_end(ap);
  lua_call(L, 1, 1);
}

/* Makes the classes, as fields of the table on top. */
static void open_errors(lua_State *L) {
  static const struct {
    const char *name, *base;
  } classes[] = {{"BadResponse", "Exception"},
                 {"Disconnected", "Exception"},
                 {"PayloadError", "Exception"},
                 {"TimeoutError", "TimeoutError"}};
  lua_newtable(L);
  for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
    lua_pushstring(L, classes[i].name);
    ml__error_class_named(L, classes[i].base);
    ml__error_class_new(L, lua_gettop(L) - 1, lua_gettop(L));
    lua_pushvalue(L, -1);
    lua_setfield(L, -5, classes[i].name); /* of the list */
    lua_setfield(L, -5, classes[i].name); /* of the module */
    lua_pop(L, 2);
  }
  lua_rawsetp(L, LUA_REGISTRYINDEX, &errors_key);
}

/* ---- settings ---- */

ml_hcsettings *ml__checkhcsettings(lua_State *L, int idx) {
  return ml__checkobject(L, idx, ML_T_HCSETTINGS);
}

static const char *const known[] = {
    "max_line",    "max_field",       "max_head",          "max_headers", "read_bufsize",
    "max_discard", "discard_timeout", "keepalive_timeout", "http2",       "on_free",
    NULL};

/* settings{...} */
static int f_settings(lua_State *L) {
  ml_hcsettings *s;
  int t;
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_newtable(L);
    lua_replace(L, 1);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  ml__checkoptions(L, 1, known, "settings");
  s = ml__newobject(L, ML_T_HCSETTINGS, sizeof *s, 1);
  s->limits = (ml_hlimits){8190, 64 * 1024, 256, 8190};
  s->read_bufsize = ML_LIMIT;
  s->max_discard = 64 * 1024;
  s->discard_timeout = 1;
  s->keepalive_timeout = 15;
  ml__setting_count(L, "max_line", &s->limits.max_line, 1 << 20);
  ml__setting_count(L, "max_field", &s->limits.max_field, 1 << 24);
  ml__setting_count(L, "max_head", &s->limits.max_head, 1 << 24);
  ml__setting_count(L, "max_headers", &s->limits.max_headers, ML_HTTP_MAXFIELDS);
  ml__setting_count(L, "read_bufsize", &s->read_bufsize, 1 << 30);
  ml__setting_count(L, "max_discard", &s->max_discard, 1 << 30);
  ml__setting_seconds(L, "discard_timeout", &s->discard_timeout);
  ml__setting_seconds(L, "keepalive_timeout", &s->keepalive_timeout);
  s->max_line = s->limits.max_line;
  s->max_head = s->limits.max_head;
  s->max_headers = s->limits.max_headers;
  lua_getfield(L, 1, "http2");
  s->http2 = lua_toboolean(L, -1);
  lua_pop(L, 1);
  t = lua_getfield(L, 1, "on_free");
  if (t != LUA_TNIL && t != LUA_TFUNCTION)
    return ml__misuse(L, "TypeError", "settings: on_free must be a function, got %s",
                      luaL_typename(L, -1));
  lua_setiuservalue(L, -2, ML_HCS_ON_FREE);
  return 1;
}

static int call_on_free(lua_State *L) { /* (on_free, conn, dropped) */
  lua_call(L, 2, 0);
  return 0;
}

static int report(lua_State *L) { /* (error) */
  lua_newtable(L);
  lua_pushliteral(L, "on_free of a connection's settings failed");
  lua_setfield(L, -2, "message");
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "exception");
  ml__call_exception_handler(L, ml__engine(L)->running);
  return 0;
}

void ml__hcsettings_tell(lua_State *L, int settings_idx, int conn_idx, lua_Integer dropped) {
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 8)) return;
  settings_idx = lua_absindex(L, settings_idx);
  conn_idx = lua_absindex(L, conn_idx);
  lua_pushcfunction(L, call_on_free);
  if (lua_getiuservalue(L, settings_idx, ML_HCS_ON_FREE) == LUA_TFUNCTION) {
    lua_pushvalue(L, conn_idx);
    lua_pushinteger(L, dropped);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
      lua_pushcfunction(L, report);
      lua_insert(L, -2);
      lua_pcall(L, 1, 0, 0);
    }
  }
  lua_settop(L, top);
}

/* ---- taking over ---- */

/* What TLS has agreed upon; without it, what the settings say. */
static bool speaks_http2(const ml_stream *s, const ml_hcsettings *set) {
#ifdef ML_WITH_TLS
  if (s->ops == &ml__tls_ops) {
    const ml_tlsconn *c = s->filter;
    const unsigned char *p = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(c->ssl, &p, &n);
    return n == 2 && memcmp(p, "h2", 2) == 0;
  }
#else
  (void)s;
#endif
  return set->http2;
}

static int connection_http2(lua_State *L, ml_stream *s, ml_bytes *rest) {
#ifdef ML_WITH_HTTP2
  int n = ml__http2_client(L, s, 3, rest->len > 0 ? rest->base + rest->start : "", rest->len);
  ml__bytes_free(s->net, rest);
  return n;
#else
  ml__bytes_free(s->net, rest);
  ml__stream_close(s);
  return ml__misuse(L, "ValueError", "connection: HTTP/2 is not built in");
#endif
}

/* connection(reader, writer, settings): the connection is HTTP's from now on */
static int f_connection(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 2);
  const ml_hcsettings *set = ml__checkhcsettings(L, 3);
  ml_bytes rest = {0};
  bool http2;
  lua_settop(L, 3);
  if (s->sink != &ml__reader_sink || s->target == NULL || s->target != lua_touserdata(L, 1))
    return ml__misuse(L, "ValueError",
                      "connection: the connection is not one of this reader and writer");
  http2 = speaks_http2(s, set);
  s->sink->yield(s, &rest);
  s->sink->forget(s);
  s->sink = NULL;
  s->target = NULL;
  s->flags &= ~(uint32_t)(ML_S_PAUSED | ML_S_HALTED | ML_S_READABLE);
  ml__checkendpoint(L, 2)->obj.flags |= ML_EP_GIVEN;
  if (http2) return connection_http2(L, s, &rest);
  ml__hcconn_push(L, s, 3);
  if (s->flags & ML_S_CLOSING) ml__hc_sink.lost(L, s);
  if (rest.len > 0) ml__hc_sink.data(s, rest.base + rest.start, rest.len);
  ml__bytes_free(s->net, &rest);
  if (s->flags & ML_S_EOF) ml__hc_sink.eof(s);
  return 1;
}

int ml__open_httpclient(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"connection", f_connection}, {"settings", f_settings}, {NULL, NULL}};
  static const luaL_Reg none[] = {{NULL, NULL}};
  luaL_requiref(L, "http.core", ml__open_http, 0); /* Headers */
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  ml__newtype(L, ML_T_HCSETTINGS, "http.client.Settings", none, NULL);
  lua_setfield(L, -2, "Settings");
  open_errors(L);
  ml__open_hcconn(L);
  ml__open_hcexchange(L);
#ifdef ML_WITH_HTTP2
  ml__open_http2_client(L);
#endif
  return 1;
}
