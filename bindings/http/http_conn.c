/* A connection of HTTP/1: the sink of its stream, its deadlines, and conn:next(), where
** its task waits.
**
** What happens (bytes, an end, a deadline) is noted in flags; whoever waits in conn:next()
** is woken and looks at them, in `step`: there alone it is decided what comes next. So an
** exchange ends, an error is answered and the connection is closed by the task, and in
** libuv's callbacks only parsing is done.
**
** A connection has one timer, which is not moved with each request: it fires at the deadline
** that there was, and then is set to the one that there is.
*/
#include <math.h>
#include <string.h>

#include "http.h"
#ifdef ML_WITH_HTTP2
#include "http2/http2.h"
#endif

ml_hconn *ml__checkhconn(lua_State *L, int idx) { return ml__checkobject(L, idx, ML_T_HTTPCONN); }

/* ---- waking ---- */

static void unpin(ml_hconn *c) {
  int pin = c->pin;
  c->pin = 0;
  c->flags &= ~(uint32_t)ML_HC_RELEASED;
  if (pin != 0) ml__unpin(c->http->net->engine->L, pin);
}

void ml__hconn_wake(ml_hconn *c) {
  ml_hop *op = c->next;
  if (c->flags & ML_HC_RELEASED) {
    c->flags &= ~(uint32_t)ML_HC_RELEASED;
    ml__server_again(c->s);
    return;
  }
  if (op == NULL) return;
  c->next = NULL;
  ml__op_wake(&op->op);
}

static void wake_drains(ml_hconn *c) {
  while (!ml__list_empty(&c->drains)) {
    ml_waitop *w = ml__containerof(c->drains.next, ml_waitop, link);
    ml__list_remove(&w->link);
    ml__op_wake(&w->op);
  }
}

void ml__hconn_bad(ml_hconn *c, int status, const char *why) {
  if (c->bad != 0) return;
  c->bad = (uint16_t)status;
  c->why = why;
  c->flags &= ~(uint32_t)ML_HC_KEEP;
  ml__hconn_wake(c);
}

void ml__hconn_pause(ml_hconn *c, bool pause) {
  ml_stream *s = c->s;
  if (pause == !!(s->flags & ML_S_PAUSED) || (c->flags & ML_HC_OVER)) return;
  if (pause)
    s->flags |= ML_S_PAUSED;
  else
    s->flags &= ~(uint32_t)ML_S_PAUSED;
  ml__stream_reading(s);
}

/* The peer has gone: whoever was to be told is cancelled, by a job, since that runs Lua. */
static void tell_gone(ml_hconn *c) {
  if (c->gone_pin != 0 && ml__list_empty(&c->gone.link)) ml__ready(c->s->loop, &c->gone);
}

static int cancel_gone(lua_State *L) {
  ml__pushpinned(L, (int)lua_tointeger(L, 1));
  lua_pushliteral(L, "the peer has gone");
  ml__task_cancel(L, 2);
  return 0;
}

static void run_gone(ml_evloop *loop, ml_job *job) {
  ml_hconn *c = ml__containerof(job, ml_hconn, gone);
  lua_State *L = loop->L;
  int pin = c->gone_pin;
  if (pin == 0 || !lua_checkstack(L, 8)) return;
  c->gone_pin = 0;
  lua_pushcfunction(L, cancel_gone);
  lua_pushinteger(L, pin);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  ml__unpin(L, pin);
}

static void forget_gone(lua_State *L, ml_hconn *c) {
  ml__list_remove(&c->gone.link);
  ml__unpin(L, c->gone_pin);
  c->gone_pin = 0;
}

/* ---- deadlines ---- */

void ml__hconn_deadline(ml_hconn *c, double seconds) {
  ml_evloop *l = c->s->loop;
  if (seconds < 0 || (c->flags & ML_HC_OVER)) {
    c->deadline = INFINITY;
    return;
  }
  c->deadline = ml__http_now(c->http, l) + seconds;
  if (c->timer.index != 0 && c->timer.when <= c->deadline) return;
  ml__timer_stop(l, &c->timer);
  if (ml__list_empty(&c->timer.job.link) && ml__timer_start(l, &c->timer, c->deadline) < 0)
    ml__stream_fail(c->s, UV_ENOMEM);
}

static void stop_timer(ml_hconn *c) {
  c->deadline = INFINITY;
  ml__timer_stop(c->s->loop, &c->timer);
  ml__list_remove(&c->timer.job.link);
}

/* What was to be written goes on slowly, or not at all? */
static bool sending(ml_hconn *c) {
  size_t queued = ml__stream_pending(c->s);
  if (queued == 0 || queued >= c->queued) return false;
  c->queued = queued;
  return true;
}

/* ---- idle connections without a task ---- */

/* May its task end now, for another one to begin with the next request? Thousands of idle
** connections need no Lua thread each. */
static bool may_rest(const ml_hconn *c) {
  return c->settings->release_after >= 0 &&
         !(c->flags & (ML_HC_REST | ML_HC_RELEASED | ML_HC_BUSY)) && c->next != NULL &&
         c->serial > 0 && ml__server_makes(c->s);
}

/* Some 60 connections halve the time: a task is cheap to begin, its thread is not to keep. */
static double rest_time(const ml_hsettings *set) {
  return set->release_after * 64 / (64.0 + set->nconns);
}

/* In conn:next(), the connection at idx: its task may go. */
static int release(lua_State *L, ml_hconn *c, int idx) {
  double left = c->settings->keepalive_timeout;
  c->flags &= ~(uint32_t)ML_HC_REST;
  c->pin = ml__pin(L, idx);
  c->flags |= ML_HC_RELEASED;
  if (left >= 0) left = left > rest_time(c->settings) ? left - rest_time(c->settings) : 0;
  ml__hconn_deadline(c, left);
  lua_pushnil(L); /* the operation goes too */
  lua_setiuservalue(L, idx, ML_HC_UV_NEXT);
  lua_pushnil(L);
  return 1;
}

bool ml__hconn_kept(const ml_stream *s) {
  const ml_hconn *c = s->sink == &ml__http_sink ? s->target : NULL;
  return c != NULL && c->pin != 0;
}

int ml__hconn_revive(lua_State *L, ml_stream *s) {
  ml_hconn *c = s->sink == &ml__http_sink ? s->target : NULL;
  if (c == NULL || c->pin == 0) return 0;
  ml__pushpinned(L, c->pin);
  unpin(c);
  return 1;
}

static void expired(ml_hconn *c) {
  c->deadline = INFINITY;
  if (c->flags & ML_HC_LINGER) {
    ml__stream_fail(c->s, 0);
  } else if (c->flags & ML_HC_READING) {
    ml__hconn_bad(c, 408, "the request's body does not come");
    ml__hbody_end(c);
  } else if (ml__stream_pending(c->s) > 0) {
    if (sending(c))
      ml__hconn_deadline(c, c->settings->send_timeout);
    else
      ml__stream_fail(c->s, UV_ETIMEDOUT);
  } else if (c->partial != NULL) {
    ml__hconn_bad(c, 408, "the request does not come");
  } else if (may_rest(c)) {
    c->flags |= ML_HC_REST;
    ml__hconn_wake(c);
  } else {
    c->flags |= ML_HC_LATE;
    ml__hconn_wake(c);
  }
}

static void on_timer(ml_evloop *l, ml_job *job) {
  ml_timer *t = ml__containerof(job, ml_timer, job);
  ml_hconn *c = ml__containerof(t, ml_hconn, timer);
  if (c->deadline == INFINITY || (c->flags & ML_HC_OVER)) return;
  if (c->deadline > ml__loop_time(l) + 1e-3) {
    if (ml__timer_start(l, &c->timer, c->deadline) < 0) ml__stream_fail(c->s, UV_ENOMEM);
  } else
    expired(c);
}

/* ---- the sink ---- */

static void over(ml_hconn *c) {
  if (!(c->flags & ML_HC_OVER)) c->settings->nconns--;
  c->flags |= ML_HC_OVER | ML_HC_PEER_ENDED;
  stop_timer(c);
  if (c->flags & ML_HC_BODY) ml__hbody_end(c);
  wake_drains(c);
  if (c->pin != 0)
    unpin(c);
  else
    ml__hconn_wake(c);
}

static void sink_data(ml_stream *s, const char *p, size_t n) {
  ml_hconn *c = s->target;
  if (c != NULL && !(c->flags & (ML_HC_LINGER | ML_HC_OVER))) ml__hparse_feed(c, p, n);
}

static void sink_eof(ml_stream *s) {
  ml_hconn *c = s->target;
  if (c == NULL) return;
  c->flags |= ML_HC_PEER_ENDED;
  if (c->flags & ML_HC_LINGER) {
    ml__stream_close(s);
    return;
  }
  if (c->flags & ML_HC_BODY) ml__hbody_end(c);
  tell_gone(c);
  ml__hconn_wake(c);
}

static void sink_pause(lua_State *L, ml_stream *s) { (void)L, (void)s; }

static void sink_resume(ml_stream *s) {
  ml_hconn *c = s->target;
  if (c == NULL) return;
  wake_drains(c);
  ml__hconn_wake(c);
}

static void sink_lost(lua_State *L, ml_stream *s) {
  ml_hconn *c = s->target;
  (void)L;
  if (c == NULL) return;
  over(c);
  tell_gone(c);
}

static void sink_forget(ml_stream *s) {
  ml_hconn *c = s->target;
  ml__list_remove(&c->gone.link);
  over(c);
}

static void sink_yield(ml_stream *s, ml_bytes *to) {
  ml_hconn *c = s->target;
  memset(to, 0, sizeof *to);
  if (c == NULL) return;
  *to = c->in;
  memset(&c->in, 0, sizeof c->in);
}

const ml_sink ml__http_sink = {sink_data, sink_eof,    sink_pause, sink_resume,
                               sink_lost, sink_forget, sink_yield};

/* ---- the end ---- */

/* Closes once what is queued is sent. Bytes that nobody has read would make the kernel reset
** the connection and the peer lose the answer: so it is told of the end and they are dropped
** until it ends as well (RFC 9112, 9.6). */
void ml__hconn_close(ml_hconn *c) {
  ml_stream *s = c->s;
  bool unread = c->bad != 0 || (c->flags & (ML_HC_BODY | ML_HC_DISCARD)) ||
                (c->flags & (ML_HC_BUSY | ML_HC_MORE)) == (ML_HC_BUSY | ML_HC_MORE) ||
                c->in.len > 0 || c->head != NULL;
  if ((c->flags & (ML_HC_OVER | ML_HC_LINGER | ML_HC_UPGRADED)) || (s->flags & ML_S_CLOSING))
    return;
  ml__bytes_free(s->net, &c->in);
  ml__hparse_free(c);
  if (unread && !(c->flags & ML_HC_PEER_ENDED) && c->settings->lingering_time > 0) {
    c->flags |= ML_HC_LINGER;
    ml__hconn_pause(c, false);
    ml__stream_end(s);
    ml__hconn_deadline(c, c->settings->lingering_time);
    return;
  }
  ml__stream_close(s);
  c->queued = ml__stream_pending(s);
  if (c->queued > 0) ml__hconn_deadline(c, c->settings->send_timeout);
}

void ml__hconn_leave(ml_hconn *c, ml_bytes *rest) {
  *rest = c->in;
  memset(&c->in, 0, sizeof c->in);
  c->s->target = NULL;
  over(c);
  c->flags |= ML_HC_UPGRADED;
}

/* The exchange is over; the connection is at idx. */
static void end_exchange(lua_State *L, ml_hconn *c, int idx) {
  const uint32_t of_exchange = ML_HC_BUSY | ML_HC_STARTED | ML_HC_ANSWERED | ML_HC_DISCARD |
                               ML_HC_CONTINUE | ML_HC_CHUNKED | ML_HC_LENGTH | ML_HC_NOBODY;
  if (c->reader != NULL || c->body.base != NULL || c->reading != NULL) ml__hbody_reset(L, c, idx);
  if (c->gone_pin != 0) forget_gone(L, c);
  c->flags &= ~of_exchange;
}

/* ---- conn:next() ---- */

static void tell_bad(lua_State *L, ml_hconn *c, int idx) {
  lua_getiuservalue(L, idx, ML_HC_UV_SETTINGS);
  ml__hsettings_tell(L, lua_gettop(L), c->bad, c->why, &c->s->peer);
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
  stop_timer(c);
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
  if (set->release_after >= 0 && (t < 0 || rest_time(set) < t) && ml__server_makes(c->s))
    return rest_time(set);
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
      ((c->flags & ML_HC_SHUTDOWN) && c->partial == NULL)) {
    ml__hconn_close(c);
    return AGAIN;
  }
  if (c->partial != NULL) return WAIT;
  if (c->flags & ML_HC_REST) return release(L, c, idx);
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
  if (c->pin != 0) unpin(c);
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
  if ((c->flags & ML_HC_RELEASED) && c->partial == NULL)
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
  if (c->gone_pin != 0) forget_gone(L, c);
  stop_timer(c);
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
                         c->partial != NULL);
  return 1;
}

static int c_peername(lua_State *L) {
  ml__addr_push(L, &ml__checkhconn(L, 1)->s->peer);
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
  stop_timer(c);
  forget_gone(L, c);
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
  ml__list_init(&c->all);
  ml__list_init(&c->drains);
  ml__list_init(&c->gone.link);
  ml__timer_init(&c->timer, on_timer);
  c->gone.run = run_gone;
  c->http = http;
  c->settings = set;
  c->deadline = INFINITY;
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
