/* What comes to a connection of HTTP/1: bytes, an end, a deadline. It is the sink of its stream.
**
** What happens is noted in flags, and whoever waits in conn:next() is woken to look at them:
** in libuv's callbacks only parsing is done.
**
** A connection has one timer, which is not moved with each request: it fires at the deadline
** that there was, and then is set to the one that there is.
*/
#include <math.h>
#include <string.h>

#include "http.h"

/* ---- waking ---- */

void ml__hconn_unpin(ml_hconn *c) {
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

void ml__hconn_forget(lua_State *L, ml_hconn *c) {
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

void ml__hconn_stop(ml_hconn *c) {
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
double ml__hconn_rest_time(const ml_hsettings *set) {
  return set->release_after * 64 / (64.0 + set->nconns);
}

int ml__hconn_release(lua_State *L, ml_hconn *c, int idx) {
  double left = c->settings->keepalive_timeout;
  c->flags &= ~(uint32_t)ML_HC_REST;
  c->pin = ml__pin(L, idx);
  c->flags |= ML_HC_RELEASED;
  if (left >= 0)
    left = left > ml__hconn_rest_time(c->settings) ? left - ml__hconn_rest_time(c->settings) : 0;
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
  ml__hconn_unpin(c);
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
  } else if (c->input.partial != NULL) {
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

void ml__hconn_over(ml_hconn *c) {
  if (!(c->flags & ML_HC_OVER)) c->settings->nconns--;
  c->flags |= ML_HC_OVER | ML_HC_PEER_ENDED;
  ml__hconn_stop(c);
  if (c->flags & ML_HC_BODY) ml__hbody_end(c);
  wake_drains(c);
  if (c->pin != 0)
    ml__hconn_unpin(c);
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
  ml__hconn_over(c);
  tell_gone(c);
}

static void sink_forget(ml_stream *s) {
  ml_hconn *c = s->target;
  ml__list_remove(&c->gone.link);
  ml__hconn_over(c);
}

static void sink_yield(ml_stream *s, ml_bytes *to) {
  ml_hconn *c = s->target;
  memset(to, 0, sizeof *to);
  if (c == NULL) return;
  *to = c->in;
  memset(&c->in, 0, sizeof c->in);
}

const ml_sink ml__http_sink = {sink_data, sink_eof,    sink_pause, sink_resume,
                               sink_lost, sink_forget, sink_yield, NULL};

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
  ml__hconn_over(c);
  c->flags |= ML_HC_UPGRADED;
}

/* ---- the beginning ---- */

void ml__hconn_prepare(ml_hconn *c) {
  ml__list_init(&c->all);
  ml__list_init(&c->drains);
  ml__list_init(&c->gone.link);
  ml__timer_init(&c->timer, on_timer);
  c->gone.run = run_gone;
  c->deadline = INFINITY;
}
