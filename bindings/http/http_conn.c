/* conn:next(), where the task of a connection of HTTP/1 waits, and what else scripts can do
** with one.
**
** What http_sink.c has noted is looked at in `step`: there alone it is decided what comes
** next. So an exchange ends, an error is answered and the connection is closed by the task.
*/

#include "http.h"
#ifdef ML_WITH_HTTP2
#include "http2/http2.h"
#endif

ml_hconn *ml__checkhconn(lua_State *L, int idx) { return ml__checkobject(L, idx, ML_T_HTTPCONN); }

/* ---- conn:next() ---- */

/* The exchange is over; the connection is at idx. */
static void end_exchange(lua_State *L, ml_hconn *c, int idx) {
  const uint32_t of_exchange = ML_HC_BUSY | ML_HC_STARTED | ML_HC_ANSWERED | ML_HC_DISCARD |
                               ML_HC_CONTINUE | ML_HC_CHUNKED | ML_HC_LENGTH | ML_HC_NOBODY;
  if (c->reader != NULL || c->body.base != NULL || c->reading != NULL) ml__hbody_reset(L, c, idx);
  if (c->gone_pin != 0) ml__hconn_forget(L, c);
  c->flags &= ~of_exchange;
  /* a body that had come in full may have been read without ever waiting for more of it */
  if (c->in.len <= c->settings->max_head) ml__hconn_pause(c, false);
}

static void tell_bad(lua_State *L, ml_hconn *c, int idx) {
  ml_addr peer = ml__stream_addr(c->s, true);
  lua_getiuservalue(L, idx, ML_HC_UV_SETTINGS);
  ml__hsettings_tell(L, lua_gettop(L), c->bad, c->why, &peer);
  lua_pop(L, 1);
}

static int hand_out(lua_State *L, ml_hconn *c, int idx) {
  const ml_exchange *x = ml__exchange_push(L, c, idx);
  const char *text = ml__hhead_text(&x->head);
  lua_pushlstring(L, text + x->head.method.at, x->head.method.n);
  ml__exchange_path(L, x);
  return 3;
}

enum { WAIT = -1, AGAIN = -2, HTTP2 = -3 };

/* ---- a peer that speaks HTTP/2 ---- */

#ifdef ML_WITH_HTTP2
static int become_http2(lua_State *L, ml_hconn *c, int idx) {
  ml_stream *s = c->s;
  lua_getiuservalue(L, idx, ML_HC_UV_SETTINGS);
  c->h2 = ml__http2_new(L, s, lua_gettop(L), c->in.base + c->in.start, c->in.len);
  lua_pop(L, 1);
  ml__hconn_stop(c);
  ml__bytes_free(s->net, &c->in);
  s->flags &= ~(uint32_t)ML_S_PAUSED;
  ml__stream_reading(s);
  if (c->flags & ML_HC_SHUTDOWN) ml__http2_shutdown(c->h2);
  if (s->flags & ML_S_EOF) s->sink->eof(s);
  return HTTP2;
}

static int next_http2(lua_State *L, ml_hop *op) {
  int n = ml__http2_next(L, op->c->h2, &op->op);
  if (n == ML_PARK)
    op->c->next = op;
  else
    op->op.obj.n = 0;
  return n;
}

static void http2_unwait(const ml_hop *op) {
  if (op->c->h2 != NULL) ml__http2_unwait(op->c->h2, &op->op);
}

static void http2_free(ml_hconn *c) {
  if (c->h2 != NULL) ml__http2_unref(c->h2);
  c->h2 = NULL;
}

static bool http2_over(const ml_hconn *c) { return c->h2 != NULL && ml__http2_over(c->h2); }
static bool http2_busy(const ml_hconn *c) { return c->h2 != NULL && ml__http2_busy(c->h2); }

static void http2_shutdown(ml_hconn *c) {
  if (c->h2 != NULL) ml__http2_shutdown(c->h2);
}

static void http2_close(ml_hconn *c) {
  if (c->h2 != NULL) ml__http2_close(c->h2);
}
#else
static int become_http2(lua_State *L, ml_hconn *c, int idx) {
  (void)L, (void)idx;
  c->flags &= ~(uint32_t)ML_HC_HTTP2;
  ml__hconn_bad(c, 505, "HTTP/2 is not served here");
  return AGAIN;
}
static int next_http2(lua_State *L, ml_hop *op) { return (void)L, (void)op, ML_RAISE; }
static void http2_unwait(const ml_hop *op) { (void)op; }
static void http2_free(ml_hconn *c) { (void)c; }
static bool http2_over(const ml_hconn *c) { return (void)c, false; }
static bool http2_busy(const ml_hconn *c) { return (void)c, false; }
static void http2_shutdown(ml_hconn *c) { (void)c; }
static void http2_close(ml_hconn *c) { (void)c; }
#endif

bool ml__hconn_is_over(const ml_hconn *c) {
  return (c->flags & (ML_HC_OVER | ML_HC_UPGRADED)) || http2_over(c);
}

/* ---- steps ---- */

/* The last exchange: is it over, and what of its body? */
static int step_exchange(lua_State *L, ml_hconn *c, int idx) {
  if (!(c->flags & ML_HC_ANSWERED)) { /* another task may, but not for ever if nobody is there */
    if (c->flags & ML_HC_LATE)
      ml__stream_fail(c->s, 0);
    else if (c->flags & ML_HC_PEER_ENDED)
      ml__hconn_deadline(c, c->settings->send_timeout);
    return WAIT;
  }
  if (!(c->flags & ML_HC_KEEP) || c->bad != 0) {
    if (c->bad != 0) tell_bad(L, c, idx);
    ml__hconn_close(c);
    end_exchange(L, c, idx);
    return AGAIN;
  }
  if (c->flags & ML_HC_BODY) {
    if (!(c->flags & ML_HC_DISCARD)) {
      c->flags |= ML_HC_DISCARD;
      ml__hconn_deadline(c, c->settings->lingering_time);
      ml__hbody_reset(L, c, idx);
      ml__hconn_pause(c, false);
    }
    if (c->got <= c->settings->max_discard && !(c->flags & (ML_HC_LATE | ML_HC_PEER_ENDED)))
      return WAIT;
    c->flags &= ~(uint32_t)ML_HC_KEEP;
    return AGAIN;
  }
  end_exchange(L, c, idx);
  return AGAIN;
}

/* How long it may be idle: until it is closed, or its task ends. */
static double idle_time(const ml_hconn *c) {
  const ml_hsettings *set = c->settings;
  double t = set->keepalive_timeout;
  if (c->serial == 0) return set->header_timeout;
  if (set->release_after >= 0 && (t < 0 || ml__hconn_rest_time(set) < t) && ml__server_makes(c->s))
    return ml__hconn_rest_time(set);
  return t;
}

/* What to do next: a number of results, or WAIT, or AGAIN. */
static int step(lua_State *L, ml_hconn *c, int idx) {
  ml_stream *s = c->s;
  if (c->h2 != NULL) return HTTP2;
  if ((c->flags & ML_HC_OVER) || ((s->flags & ML_S_CLOSING) && s->first == NULL)) {
    end_exchange(L, c, idx);
    lua_pushnil(L);
    return 1;
  }
  if ((c->flags & ML_HC_LINGER) || (s->flags & ML_S_CLOSING)) return WAIT;
  if (c->flags & ML_HC_BUSY) return step_exchange(L, c, idx);
  if (s->flags & ML_S_FULL) {
    c->queued = ml__stream_pending(s);
    ml__hconn_deadline(c, c->settings->send_timeout);
    return WAIT;
  }
  if (c->head == NULL && c->bad == 0) ml__hparse_next(c);
  if (c->bad != 0) {
    tell_bad(L, c, idx);
    ml__respond_bad(L, c);
    ml__hconn_close(c);
    return AGAIN;
  }
  if (c->head != NULL) return hand_out(L, c, idx);
  if (c->flags & ML_HC_HTTP2) return become_http2(L, c, idx);
  if ((c->flags & (ML_HC_PEER_ENDED | ML_HC_LATE)) ||
      ((c->flags & ML_HC_SHUTDOWN) && c->input.partial == NULL)) {
    ml__hconn_close(c);
    return AGAIN;
  }
  if (c->input.partial != NULL) return WAIT;
  if (c->flags & ML_HC_REST) return ml__hconn_release(L, c, idx);
  ml__hconn_deadline(c, idle_time(c));
  return WAIT;
}

/* The operation is at index 1. */
static int next_step(lua_State *L, ml_hop *op) {
  ml_hconn *c = op->c;
  int n;
  lua_getiuservalue(L, 1, 1);
  do n = step(L, c, 2);
  while (n == AGAIN);
  if (n == HTTP2) return next_http2(L, op);
  if (n != WAIT) {
    op->op.obj.n = 0;
    return n;
  }
  c->next = op;
  return ML_PARK;
}

static int next_begin(lua_State *L, ml_op *o) {
  ml_hop *op = (ml_hop *)o;
  ml_hconn *c = op->c;
  if (c->pin != 0) ml__hconn_unpin(c);
  if (c->next != NULL || c->s->loop != ml__engine(L)->running) {
    o->obj.n = 0;
    ml__error_new(L, "RuntimeError",
                  c->next != NULL ? "next() called while another task waits for the next request"
                                  : "next(): the connection belongs to a different loop");
    return ML_RAISE;
  }
  return next_step(L, op);
}

static void next_cancel(ml_op *o) {
  ml_hop *op = (ml_hop *)o;
  if (op->c->next == op) op->c->next = NULL;
  http2_unwait(op);
}

static int next_wake(lua_State *L, ml_op *o) {
  next_cancel(o);
  if (o->obj.state == ML_OP_CANCELLED) {
    o->obj.n = 0;
    return 0;
  }
  return next_step(L, (ml_hop *)o);
}

static const ml_opclass next_class = {"Connection.next", next_begin, next_wake, next_cancel};

/* Pushes the operation of the connection at 1: the last one, if it is done with. */
static int push_next(lua_State *L) {
  ml_hop *op = NULL;
  if (lua_getiuservalue(L, 1, ML_HC_UV_NEXT) == LUA_TUSERDATA) op = lua_touserdata(L, -1);
  if (op != NULL && op->op.obj.n == 0 && op->op.obj.state == ML_CO_AWAITED) {
    op->op.obj.state = ML_CO_NEW;
    op->op.obj.flags = 0;
  } else {
    op = ml__op_new(L, &next_class, sizeof *op, 1);
    op->c = lua_touserdata(L, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, ML_HC_UV_NEXT);
  }
  op->op.obj.n = 1;
  return 1;
}

static int c_next(lua_State *L) {
  ml__checkhconn(L, 1);
  return push_next(L);
}

/* for x, method, path in conn do: awaits by itself */
static int c_call(lua_State *L) {
  ml__checkhconn(L, 1);
  push_next(L);
  lua_replace(L, 1);
  lua_settop(L, 1);
  return ml__await(L);
}

/* ---- the rest ---- */

void ml__hconn_shutdown(ml_hconn *c) {
  c->flags |= ML_HC_SHUTDOWN;
  http2_shutdown(c);
  if (!(c->flags & ML_HC_STARTED)) c->flags &= ~(uint32_t)ML_HC_KEEP;
  if ((c->flags & ML_HC_RELEASED) && c->input.partial == NULL)
    ml__stream_close(c->s);
  else
    ml__hconn_wake(c);
}

static int c_shutdown(lua_State *L) {
  ml__hconn_shutdown(ml__checkhconn(L, 1));
  return 0;
}

static int c_close(lua_State *L) {
  ml_hconn *c = ml__checkhconn(L, 1);
  http2_close(c);
  if (!(c->flags & ML_HC_UPGRADED)) ml__stream_close(c->s);
  if (c->gone_pin != 0) ml__hconn_forget(L, c);
  ml__hconn_stop(c);
  ml__hconn_wake(c);
  return 0;
}

static int c_abort(lua_State *L) {
  ml_hconn *c = ml__checkhconn(L, 1);
  if (!(c->flags & ML_HC_UPGRADED)) ml__stream_fail(c->s, 0);
  return 0;
}

static int c_is_closing(lua_State *L) {
  const ml_hconn *c = ml__checkhconn(L, 1);
  lua_pushboolean(L, ml__hconn_is_over(c) || (c->flags & ML_HC_LINGER) ||
                         (c->s->flags & ML_S_CLOSING));
  return 1;
}

static int c_busy(lua_State *L) {
  const ml_hconn *c = ml__checkhconn(L, 1);
  lua_pushboolean(L, http2_busy(c) || (c->flags & ML_HC_BUSY) || c->head != NULL ||
                         c->input.partial != NULL);
  return 1;
}

static int c_peername(lua_State *L) {
  ml__stream_addr_push(L, ml__checkhconn(L, 1)->s, true);
  return 1;
}

static int c_tostring(lua_State *L) {
  const ml_hconn *c = ml__checkhconn(L, 1);
  char who[96];
  ml__stream_text(c->s, who, sizeof who);
  lua_pushfstring(L, "<http.Connection %s peer=%s requests=%d>",
                  (c->flags & ML_HC_OVER) || (c->s->flags & ML_S_CLOSING) ? "closed"
                  : (c->flags & ML_HC_BUSY)                               ? "busy"
                                                                          : "idle",
                  who, (int)c->serial);
  return 1;
}

static int c_gc(lua_State *L) {
  ml_hconn *c = lua_touserdata(L, 1);
  ml_stream *s = c->s;
  if (s == NULL) return 0;
  if (!(c->flags & ML_HC_OVER)) c->settings->nconns--;
  ml__hconn_stop(c);
  ml__hconn_forget(L, c);
  ml__list_remove(&c->all);
  ml__hparse_free(c);
  ml__bytes_free(s->net, &c->in);
  ml__bytes_free(s->net, &c->body);
  if (c->reader != NULL) c->reader->source = NULL;
  c->obj.magic = NULL;
  http2_free(c);
  c->s = NULL;
  if (s->target == c) {
    s->target = NULL;
    ml__stream_close(s);
  }
  ml__stream_unref(s);
  return 0;
}

ml_hconn *ml__hconn_push(lua_State *L, ml_stream *s, int settings) {
  ml_hsettings *set = ml__checkhsettings(L, settings);
  ml_http *http = ml__http(L);
  ml_hconn *c;
  settings = lua_absindex(L, settings);
  c = ml__newobject(L, ML_T_HTTPCONN, sizeof *c, ML_HC_UV_NEXT);
  ml__hconn_prepare(c);
  c->http = http;
  c->settings = set;
  lua_pushvalue(L, settings);
  lua_setiuservalue(L, -2, ML_HC_UV_SETTINGS);
  ml__hparse_init(c);
  c->s = s;
  ml__stream_ref(s);
  ml__list_append(&set->conns, &c->all);
  set->nconns++;
  ml__stream_start(s, &ml__http_sink, c);
  return c;
}

void ml__open_hconn(lua_State *L) {
  static const luaL_Reg methods[] = {{"next", c_next},
                                     {"shutdown", c_shutdown},
                                     {"close", c_close},
                                     {"abort", c_abort},
                                     {"busy", c_busy},
                                     {"is_closing", c_is_closing},
                                     {"peername", c_peername},
                                     {"detach", ml__hconn_detach},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__call", c_call},
                                  {"__close", c_close},
                                  {"__tostring", c_tostring},
                                  {"__gc", c_gc},
                                  {NULL, NULL}};
  ml__newtype(L, ML_T_HTTPCONN, "http.Connection", methods, meta);
  lua_setfield(L, -2, "Connection");
}
