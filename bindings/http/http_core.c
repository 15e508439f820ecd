/* The module http.core: settings, what an engine keeps for HTTP, and taking connections over. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http.h"
#ifdef ML_WITH_HTTP2
#include "http2/http2.h"
#endif

static const char http_key, known_key;

/* ---- the engine's part ---- */

static int http_gc(lua_State *L) {
  ml_http *h = lua_touserdata(L, 1);
  ml_allocator *a = h->net->engine->alloc;
  if (h->fields != NULL) ml__alloc(a, h->fields, ML_HTTP_MAXFIELDS * sizeof *h->fields, 0);
  if (h->out != NULL) ml__alloc(a, h->out, h->capout, 0);
  h->fields = NULL;
  h->out = NULL;
  h->capout = 0;
  return 0;
}

ml_http *ml__http(lua_State *L) {
  ml_http *h;
  ml_net *net;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &http_key);
  h = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (h != NULL) return h;
  net = ml__net(L);
  h = lua_newuserdatauv(L, sizeof *h, 0);
  memset(h, 0, sizeof *h);
  h->net = net;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, http_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  h->fields = ml__alloc(net->engine->alloc, NULL, 0, ML_HTTP_MAXFIELDS * sizeof *h->fields);
  if (h->fields == NULL) luaL_error(L, "not enough memory");
  lua_createtable(L, 2 * ML_HTTP_KNOWN, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &known_key);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &http_key);
  ml__finalized(L);
  return h;
}

const char *ml__http_date(ml_http *h) {
  static const char days[] = "SunMonTueWedThuFriSat";
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  struct timespec now;
  struct tm tm;
  const ml_evloop *l = h->net->engine->running;
  if (l != NULL && l == h->date_loop && l->rounds == h->date_round) return h->date;
  h->date_loop = l;
  h->date_round = l != NULL ? l->rounds : 0;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec == h->date_at) return h->date;
  h->date_at = now.tv_sec;
  gmtime_r(&now.tv_sec, &tm);
  snprintf(h->date, sizeof h->date, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
           days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000,
           tm.tm_hour, tm.tm_min, tm.tm_sec);
  return h->date;
}

double ml__http_now(ml_http *h, ml_evloop *l) {
  if (h->loop != l || h->round != l->rounds) {
    h->loop = l;
    h->round = l->rounds;
    h->now = ml__loop_time(l);
  }
  return h->now;
}

/* Long strings are not worth it, and have no address of their own. */
#define KNOWN_MAX 40

static size_t place_of(const char *p) {
  return ((uintptr_t)p >> 4 ^ (uintptr_t)p >> 10) & (ML_HTTP_KNOWN - 1);
}

/* Keeps the string at idx in the place: its address stays its own as long as it is there. */
static void keep_known(lua_State *L, int idx, lua_Integer place) {
  lua_pushvalue(L, idx);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &known_key);
  lua_insert(L, -2);
  lua_rawseti(L, -2, place);
  lua_pop(L, 1);
}

bool ml__header_name_ok(lua_State *L, ml_http *h, int idx, const char *s, size_t n) {
  size_t i = place_of(s);
  if (h->names[i].p == s && h->names[i].n == n) return true;
  if (!ml__token_ok(s, n)) return false;
  if (n > KNOWN_MAX) return true;
  keep_known(L, idx, (lua_Integer)i + 1);
  h->names[i].p = s;
  h->names[i].n = n;
  return true;
}

bool ml__header_value_ok(lua_State *L, ml_http *h, int idx, const char *s, size_t n) {
  size_t i = place_of(s);
  if (h->values[i].p == s && h->values[i].n == n) return true;
  if (!ml__field_ok(s, n)) return false;
  if (n > KNOWN_MAX || n < 8) return true;
  keep_known(L, idx, (lua_Integer)i + 1 + ML_HTTP_KNOWN);
  h->values[i].p = s;
  h->values[i].n = n;
  return true;
}

/* ---- reasons ---- */

typedef struct reason {
  short status;
  const char *text;
} reason;

static const reason reasons[] = {{100, "Continue"},
                                 {101, "Switching Protocols"},
                                 {102, "Processing"},
                                 {103, "Early Hints"},
                                 {200, "OK"},
                                 {201, "Created"},
                                 {202, "Accepted"},
                                 {203, "Non-Authoritative Information"},
                                 {204, "No Content"},
                                 {205, "Reset Content"},
                                 {206, "Partial Content"},
                                 {207, "Multi-Status"},
                                 {208, "Already Reported"},
                                 {226, "IM Used"},
                                 {300, "Multiple Choices"},
                                 {301, "Moved Permanently"},
                                 {302, "Found"},
                                 {303, "See Other"},
                                 {304, "Not Modified"},
                                 {305, "Use Proxy"},
                                 {307, "Temporary Redirect"},
                                 {308, "Permanent Redirect"},
                                 {400, "Bad Request"},
                                 {401, "Unauthorized"},
                                 {402, "Payment Required"},
                                 {403, "Forbidden"},
                                 {404, "Not Found"},
                                 {405, "Method Not Allowed"},
                                 {406, "Not Acceptable"},
                                 {407, "Proxy Authentication Required"},
                                 {408, "Request Timeout"},
                                 {409, "Conflict"},
                                 {410, "Gone"},
                                 {411, "Length Required"},
                                 {412, "Precondition Failed"},
                                 {413, "Content Too Large"},
                                 {414, "URI Too Long"},
                                 {415, "Unsupported Media Type"},
                                 {416, "Range Not Satisfiable"},
                                 {417, "Expectation Failed"},
                                 {418, "I'm a Teapot"},
                                 {421, "Misdirected Request"},
                                 {422, "Unprocessable Content"},
                                 {423, "Locked"},
                                 {424, "Failed Dependency"},
                                 {425, "Too Early"},
                                 {426, "Upgrade Required"},
                                 {428, "Precondition Required"},
                                 {429, "Too Many Requests"},
                                 {431, "Request Header Fields Too Large"},
                                 {451, "Unavailable For Legal Reasons"},
                                 {500, "Internal Server Error"},
                                 {501, "Not Implemented"},
                                 {502, "Bad Gateway"},
                                 {503, "Service Unavailable"},
                                 {504, "Gateway Timeout"},
                                 {505, "HTTP Version Not Supported"},
                                 {506, "Variant Also Negotiates"},
                                 {507, "Insufficient Storage"},
                                 {508, "Loop Detected"},
                                 {510, "Not Extended"},
                                 {511, "Network Authentication Required"}};

const char *ml__http_reason(int status) {
  size_t lo = 0, hi = sizeof reasons / sizeof reasons[0];
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (reasons[mid].status == status) return reasons[mid].text;
    if (reasons[mid].status < status)
      lo = mid + 1;
    else
      hi = mid;
  }
  return "";
}

/* reason(status): "Not Found"; "" if there is none */
static int f_reason(lua_State *L) {
  lua_pushstring(L, ml__http_reason((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* ---- settings ---- */

static int make_conn(lua_State *L, ml_stream *s, int idx) {
  if (ml__hconn_revive(L, s) != 0) return 1;
  ml__hconn_push(L, s, idx);
  return 1;
}

ml_hsettings *ml__checkhsettings(lua_State *L, int idx) {
  ml_hsettings *s = ml__checkobject(L, idx, ML_T_MAKER);
  if (s->maker.make != make_conn) luaL_argerror(L, idx, "http settings expected");
  return s;
}

static const char *const known[] = {"max_line",
                                    "max_head",
                                    "max_headers",
                                    "max_discard",
                                    "server",
                                    "header_timeout",
                                    "keepalive_timeout",
                                    "body_timeout",
                                    "send_timeout",
                                    "lingering_time",
                                    "release_after",
                                    "on_bad",
                                    NULL};

static void read_server(lua_State *L, ml_hsettings *s) {
  const char *name = "moonloop/" ML_VERSION_STRING;
  size_t n = strlen(name);
  int t = lua_getfield(L, 1, "server");
  if (t == LUA_TSTRING) {
    name = lua_tolstring(L, -1, &n);
    if (n > sizeof s->server - 16 || !ml__field_ok(name, n))
      ml__misuse(L, "ValueError", "settings: server must be a short text of one line");
  } else if (t == LUA_TBOOLEAN && !lua_toboolean(L, -1))
    n = 0;
  else if (t != LUA_TNIL)
    ml__misuse(L, "TypeError", "settings: server must be a string or false, got %s",
               luaL_typename(L, -1));
  if (n > 0) s->nserver = (size_t)snprintf(s->server, sizeof s->server, "Server: %s\r\n", name);
  lua_pop(L, 1);
}

/* settings{...} */
static int f_settings(lua_State *L) {
  ml_hsettings *s;
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_newtable(L);
    lua_replace(L, 1);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  ml__checkoptions(L, 1, known, "settings");
  s = ml__newobject(L, ML_T_MAKER, sizeof *s, 1);
  ml__list_init(&s->conns);
  s->maker.make = make_conn;
  s->maker.kept = ml__hconn_kept;
  s->release_after = -1;
  s->max_line = 8190;
  s->max_head = 16384;
  s->max_headers = 128;
  s->max_discard = 256 * 1024;
  s->header_timeout = 60;
  s->keepalive_timeout = 75;
  s->body_timeout = 60;
  s->send_timeout = 60;
  s->lingering_time = 10;
  ml__setting_count(L, "max_line", &s->max_line, 1 << 20);
  ml__setting_count(L, "max_head", &s->max_head, 1 << 20);
  ml__setting_count(L, "max_headers", &s->max_headers, ML_HTTP_MAXFIELDS);
  ml__setting_count(L, "max_discard", &s->max_discard, 1 << 30);
  ml__setting_seconds(L, "header_timeout", &s->header_timeout);
  ml__setting_seconds(L, "keepalive_timeout", &s->keepalive_timeout);
  ml__setting_seconds(L, "body_timeout", &s->body_timeout);
  ml__setting_seconds(L, "send_timeout", &s->send_timeout);
  ml__setting_seconds(L, "release_after", &s->release_after);
  ml__setting_seconds(L, "lingering_time", &s->lingering_time);
  read_server(L, s);
  if (lua_getfield(L, 1, "on_bad") != LUA_TNIL) {
    if (!lua_isfunction(L, -1))
      ml__misuse(L, "TypeError", "settings: on_bad must be a function, got %s",
                 luaL_typename(L, -1));
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 2, ML_HS_ON_BAD);
  }
  lua_settop(L, 2);
  return 1;
}

/* settings:connections(): how many there are */
static int s_connections(lua_State *L) {
  const ml_hsettings *s = ml__checkhsettings(L, 1);
  lua_Integer n = 0;
  for (const ml_link *k = s->conns.next; k != &s->conns; k = k->next)
    if (!ml__hconn_is_over(ml__containerof(k, const ml_hconn, all))) n++;
  lua_pushinteger(L, n);
  return 1;
}

/* settings:shutdown(): that of each connection */
static int s_shutdown(lua_State *L) {
  ml_hsettings *s = ml__checkhsettings(L, 1);
  for (ml_link *k = s->conns.next; k != &s->conns; k = k->next)
    ml__hconn_shutdown(ml__containerof(k, ml_hconn, all));
  return 0;
}

/* settings:protocols(): what TLS may offer (ALPN), each name behind its length */
static int s_protocols(lua_State *L) {
  ml__checkhsettings(L, 1);
#ifdef ML_WITH_HTTP2
  lua_pushliteral(L, "\x02h2\x08http/1.1");
#else
  lua_pushliteral(L, "\x08http/1.1");
#endif
  return 1;
}

static void free_conns(ml_hsettings *s) {
  while (!ml__list_empty(&s->conns)) ml__list_remove(s->conns.next);
}

static int s_gc(lua_State *L) {
  free_conns(lua_touserdata(L, 1));
  return 0;
}

void ml__hsettings_tell(lua_State *L, int idx, int status, const char *why, const ml_addr *peer) {
  if (lua_getiuservalue(L, idx, ML_HS_ON_BAD) == LUA_TFUNCTION) {
    lua_pushinteger(L, status);
    lua_pushstring(L, why);
    ml__addr_push(L, peer);
    lua_call(L, 3, 0);
  } else
    lua_pop(L, 1);
}

/* ---- taking over ---- */

/* serve(reader, writer, settings): the connection is HTTP's from now on */
static int f_serve(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 2);
  ml_bytes rest = {0};
  ml_hconn *c;
  ml__checkhsettings(L, 3);
  lua_settop(L, 3);
  if (s->sink != &ml__reader_sink || s->target == NULL)
    return ml__misuse(L, "ValueError",
                      "serve: the connection is not one of this reader and writer");
  s->sink->yield(s, &rest);
  s->sink->forget(s);
  s->sink = NULL;
  s->target = NULL;
  s->flags &= ~(uint32_t)(ML_S_PAUSED | ML_S_HALTED | ML_S_READABLE);
  c = ml__hconn_push(L, s, 3);
  if (s->flags & ML_S_CLOSING) {
    c->flags |= ML_HC_OVER;
    c->settings->nconns--;
  }
  if (rest.len > 0) ml__hparse_feed(c, rest.base + rest.start, rest.len);
  ml__bytes_free(s->net, &rest);
  if (s->flags & ML_S_EOF) ml__http_sink.eof(s);
  return 1;
}

int ml__open_http(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"serve", f_serve}, {"settings", f_settings}, {"reason", f_reason}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"connections", s_connections},
                                     {"shutdown", s_shutdown},
                                     {"protocols", s_protocols},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", s_gc}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushliteral(L, "moonloop/" ML_VERSION_STRING);
  lua_setfield(L, -2, "software");
  ml__newtype(L, ML_T_MAKER, "http.Settings", methods, meta);
  lua_setfield(L, -2, "Settings");
  ml__open_hbody(L);
  ml__open_hconn(L);
  ml__open_exchange(L);
  ml__open_hheaders(L);
#ifdef ML_WITH_HTTP2
  ml__open_http2(L);
#endif
  return 1;
}
