/* conn:request() of HTTP/2: the head for nghttp2, and the call that it begins. */
#include <math.h>
#include <string.h>

#include "h2_client.h"

#define HEAD_MOST 60000 /* bytes of names and values: nghttp2 sends no larger head */
#define NPSEUDO 4

/* What is to be sent of a body. */
typedef struct body {
  bool some, known; /* is there one; is its length known */
  uint64_t length;
  bool whole; /* it is the string at 5 */
} body;

static void check_target(lua_State *L, const char *s, size_t n, bool connect) {
  bool ok = n > 0 && (connect || s[0] == '/' || (n == 1 && s[0] == '*'));
  for (size_t i = 0; i < n && ok; i++) ok = (unsigned char)s[i] > 0x20 && s[i] != 0x7f;
  if (!ok) ml__misuse(L, "ValueError", "request: '%s' is no target of a request of HTTP/2", s);
}

static const char *check_text(lua_State *L, int idx, const char *what, size_t *n) {
  if (lua_type(L, idx) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "request: the %s must be a string, got %s", what,
               luaL_typename(L, idx));
  return lua_tolstring(L, idx, n);
}

static body check_body(lua_State *L) {
  body b = {0};
  int ok = 0;
  lua_Integer n;
  switch (lua_type(L, 5)) {
  case LUA_TNIL: break;
  case LUA_TSTRING:
    b.some = b.known = b.whole = true;
    b.length = lua_rawlen(L, 5);
    break;
  case LUA_TBOOLEAN: b.some = lua_toboolean(L, 5); break;
  default:
    n = lua_tointegerx(L, 5, &ok);
    if (!ok || n < 0)
      ml__misuse(L, "TypeError",
                 "request: the body must be nil, a string, true, or its length, got %s",
                 luaL_tolstring(L, 5, NULL));
    b.some = b.known = true;
    b.length = (uint64_t)n;
  }
  return b;
}

/* Content-Length as the script says, against what is known. */
static void match_length(lua_State *L, const ml_h2fields *d, body *b) {
  if (!d->has_length) return;
  if (b->known ? b->length != d->length : !b->some && d->length > 0)
    ml__misuse(L, "ValueError", "request: Content-Length tells of %I bytes, the body has %I",
               (LUAI_UACINT)d->length, (LUAI_UACINT)b->length);
  b->known = true;
  b->length = d->length;
}

static void check_size(lua_State *L, const ml_h2fields *d) {
  size_t n = 0;
  for (size_t i = 0; i < d->n; i++) n += d->nv[i].namelen + d->nv[i].valuelen + 16;
  if (n > HEAD_MOST)
    ml__misuse(L, "ValueError", "request: the head has more than %d bytes", HEAD_MOST);
}

/* Slots for pseudo headers come first: :authority, which may be missing, before all. Gives the
** first that is used. */
static size_t make_head(lua_State *L, ml_h2client *c, ml_h2fields *d, body *b, bool *is_head) {
  size_t nm, nt;
  const char *method = check_text(L, 2, "method", &nm), *target = check_text(L, 3, "target", &nt);
  bool connect = nm == 7 && memcmp(method, "CONNECT", 7) == 0;
  if (!ml__token_ok(method, nm)) ml__misuse(L, "ValueError", "request: '%s' is no method", method);
  check_target(L, target, nt, connect);
  *is_head = nm == 4 && memcmp(method, "HEAD", 4) == 0;
  *b = check_body(L);
  ml__h2_fields_init(d);
  d->asks = true;
  H2_PUT(d, ":authority", target, nt);
  H2_PUT(d, ":method", method, nm);
  if (!connect) {
    bool plain = c->h.s->ops == &ml__plain_ops;
    H2_PUT(d, ":scheme", plain ? "http" : "https", plain ? 4 : 5);
    H2_PUT(d, ":path", target, nt);
  }
  ml__h2_put_headers(L, c->h.http, d, 4, "request", NPSEUDO + 1);
  match_length(L, d, b);
  if (!b->some && ml__hc_expects_body(method)) b->known = true;
  if (b->known) ml__h2_put_length(d, b->length);
  check_size(L, d);
  if (connect) return 0;
  if (d->host == NULL) return 1;
  d->nv[0].value = (uint8_t *)d->host;
  d->nv[0].valuelen = d->nhost;
  return 0;
}

/* A request beyond the server's limit waits for its turn in nghttp2. A connection that has gone
** since it was given to somebody is none of their mistakes. */
static void check_open(lua_State *L, ml_h2client *c) {
  const ml_evloop *running = ml__engine(L)->running;
  if (running != NULL && c->h.loop != running)
    ml__misuse(L, "RuntimeError", "request(): the connection belongs to a different loop");
  if (ml__h2_client_takes(c)) return;
  ml__hc_error(L, "Disconnected", "the connection takes no more requests");
  ml__h2_note(L, false, NGHTTP2_NO_ERROR, true);
  lua_error(L);
}

/* Begins the stream, of which the exchange on top has a reference then. */
static ml_h2stream *begin(lua_State *L, ml_h2client *c, ml_h2exchange *e, const ml_h2fields *d,
                          size_t first, bool has_body) {
  ml_http2 *h = &c->h;
  ml_h2stream *x = ml__h2_stream_new(h, -1, NULL);
  nghttp2_data_provider prd;
  if (x == NULL) {
    luaL_error(L, "not enough memory");
    return NULL;
  }
  prd = ml__h2_provider(x);
  x->id = nghttp2_submit_request(h->session, NULL, d->nv + first, d->n - first,
                                 has_body ? &prd : NULL, x);
  if (x->id < 0) {
    ml__h2_stream_closed(x, true);
    luaL_error(L, "not enough memory");
  }
  e->x = x;
  x->refs++;
  return x;
}

/* conn:request(method, target, headers, body) */
int ml__h2_conn_request(lua_State *L) {
  ml_h2client *c = ml__h2_checkconn(L)->c;
  bool is_head, has_body;
  ml_h2exchange *e;
  ml_h2stream *x;
  ml_h2fields d;
  size_t first;
  body b;
  check_open(L, c);
  lua_settop(L, 5);
  first = make_head(L, c, &d, &b, &is_head);
  has_body = b.some && !(b.known && b.length == 0);
  e = ml__newobject(L, ML_T_H2CALL, sizeof *e, H2_UV_CONN);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, H2_UV_CONN);
  ml__h2_client_hold(L, c, 1);
  x = begin(L, c, e, &d, first, has_body);
  c->requests++;
  x->flags |= H2S_STARTED | (is_head ? H2S_HEADONLY : 0);
  ml__h2_call(x)->total = INFINITY;
  ml__h2_call(x)->silence = -1;
  x->body_since = ml__loop_time(c->h.loop);
  if (c->h.unheard_since == INFINITY) c->h.unheard_since = x->body_since;
  if (c->h.nstreams == 1) ml__h2_client_rest(c, false);
  if (!has_body) {
    x->flags |= H2S_NOBODY | H2S_FINISHED;
  } else if (b.whole) {
    ml__h2_queue(L, x, 5);
    x->flags |= H2S_FINISHED;
  } else if (b.known) {
    x->flags |= H2S_LENGTH;
    x->left = b.length;
  }
  ml__h2_schedule(&c->h);
  return 1;
}
