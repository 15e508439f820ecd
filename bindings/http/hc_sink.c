/* What comes to a connection of the HTTP client: bytes, an end, a deadline. It is the sink of its
** stream. In libuv's callbacks only parsing is done, and tasks are woken.
**
** A connection has one timer, which is not moved with each request: it fires at the deadline that
** there was, and then is set to the one that there is. While nobody uses the connection neither it
** nor the timer keep the loop alive.
*/
#include <math.h>

#include "hc.h"

/* ---- waking ---- */

static void wake(ml_hcop *op) {
  if (op != NULL) ml__op_wake(&op->op);
}

static void wake_drains(ml_hcconn *c) {
  while (!ml__list_empty(&c->drains)) {
    ml_waitop *w = ml__containerof(c->drains.next, ml_waitop, link);
    ml__list_remove(&w->link);
    ml__op_wake(&w->op);
  }
}

void ml__hcconn_pause(ml_hcconn *c, bool pause) {
  ml_stream *s = c->s;
  if (pause == !!(s->flags & ML_S_PAUSED) || (c->flags & ML_CC_OVER)) return;
  if (pause)
    s->flags |= ML_S_PAUSED;
  else
    s->flags &= ~(uint32_t)ML_S_PAUSED;
  ml__stream_reading(s);
  if (!pause) ml__hcconn_heard(c);
}

void ml__hcconn_heard(ml_hcconn *c) {
  if (c->silence < 0) return;
  c->last = ml__http_now(c->http, c->s->loop);
  ml__hcconn_arm(c);
}

void ml__hcconn_fail(ml_hcconn *c, ml_hcfail fail, const char *why) {
  if (c->fail != ML_CF_NONE || (c->flags & ML_CC_UPGRADED)) return;
  c->fail = (uint8_t)fail;
  c->why = why;
  ml__hcconn_stop(c);
  if (fail != ML_CF_GONE) ml__stream_fail(c->s, 0);
  wake(c->waiting);
  wake(c->continuing);
  ml__hcbody_end(c);
  wake_drains(c);
  ml__hcconn_done(c);
}

/* ---- deadlines ---- */

/* When the exchange fails if nothing comes: silence is none as long as what has come is not read. */
static double deadline(const ml_hcconn *c) {
  double t = c->total;
  if (c->silence >= 0 && (c->flags & ML_CC_SENT) && !(c->flags & ML_CC_COMPLETE) &&
      !(c->s->flags & (ML_S_PAUSED | ML_S_READABLE)) && c->last + c->silence < t)
    t = c->last + c->silence;
  return t;
}

void ml__hcconn_arm(ml_hcconn *c) {
  ml_evloop *l = c->s->loop;
  double when = deadline(c);
  if (when == INFINITY || (c->flags & ML_CC_OVER)) return;
  if (c->timer.index != 0 && c->timer.when <= when) return;
  ml__timer_stop(l, &c->timer);
  if (ml__list_empty(&c->timer.job.link) && ml__timer_start(l, &c->timer, when) < 0)
    ml__stream_fail(c->s, UV_ENOMEM);
}

static void on_timer(ml_evloop *l, ml_job *job) {
  ml_timer *t = ml__containerof(job, ml_timer, job);
  ml_hcconn *c = ml__containerof(t, ml_hcconn, timer);
  double now = ml__loop_time(l) + 1e-3, when = deadline(c);
  if (when == INFINITY || (c->flags & ML_CC_OVER)) return;
  if (when > now)
    ml__hcconn_arm(c);
  else if (c->flags & ML_CC_IDLE)
    ml__stream_close(c->s);
  else
    ml__hcconn_fail(c, c->total <= now ? ML_CF_TOTAL : ML_CF_READ, NULL);
}

static void weaken(ml_hcconn *c, bool weak) {
  ml__timer_weaken(c->s->loop, &c->timer, weak);
  ml__stream_weaken(c->s, weak);
}

void ml__hcconn_begin(ml_hcconn *c) {
  c->flags &= ~(uint32_t)ML_CC_IDLE;
  weaken(c, false);
  c->total = INFINITY;
  c->silence = -1;
}

void ml__hcconn_idle(ml_hcconn *c) {
  double t = c->settings->keepalive_timeout;
  c->flags |= ML_CC_IDLE | ML_CC_KEEP;
  c->silence = -1;
  c->total = t < 0 ? INFINITY : ml__http_now(c->http, c->s->loop) + t;
  weaken(c, true);
  ml__hcconn_pause(c, false);
  ml__hcconn_arm(c);
}

void ml__hcconn_stop(ml_hcconn *c) {
  c->total = INFINITY;
  c->silence = -1;
  c->flags &= ~(uint32_t)ML_CC_IDLE;
  ml__timer_stop(c->s->loop, &c->timer);
  ml__list_remove(&c->timer.job.link);
  weaken(c, false);
}

/* ---- the sink ---- */

static void over(ml_hcconn *c) {
  c->flags |= ML_CC_OVER | ML_CC_PEER_ENDED;
  if (c->flags & ML_CC_BUSY) ml__hcconn_fail(c, ML_CF_GONE, NULL);
  ml__hcconn_stop(c);
  wake_drains(c);
}

static void sink_data(ml_stream *s, const char *p, size_t n) {
  ml_hcconn *c = s->target;
  if (c == NULL || (c->flags & ML_CC_OVER) || c->fail != ML_CF_NONE) return;
  if (!(c->flags & ML_CC_BUSY)) { /* nothing was asked for */
    ml__stream_fail(s, 0);
    return;
  }
  c->flags |= ML_CC_BEGAN;
  if (c->silence >= 0) c->last = ml__http_now(c->http, s->loop);
  ml__hcparse_feed(c, p, n);
}

static void sink_eof(ml_stream *s) {
  ml_hcconn *c = s->target;
  if (c == NULL) return;
  c->flags |= ML_CC_PEER_ENDED;
  c->flags &= ~(uint32_t)ML_CC_KEEP;
  if (c->flags & ML_CC_TUNNEL) return;
  if (c->flags & ML_CC_BUSY)
    ml__hcparse_eof(c);
  else
    ml__stream_close(s);
}

static void sink_pause(lua_State *L, ml_stream *s) { (void)L, (void)s; }

static void sink_resume(ml_stream *s) {
  if (s->target != NULL) wake_drains(s->target);
}

/* A server may answer before it has read all, and go: then writing fails, and its answer is still
** there to be read. */
static void last_look(ml_hcconn *c) {
  ml_stream *s = c->s;
  ssize_t n;
  char *p;
  if (!(s->flags & ML_S_WRITEFAIL) || s->ops != &ml__plain_ops || !(c->flags & ML_CC_BUSY)) return;
  for (int i = 0; i < 16 && c->fail == ML_CF_NONE && !(c->flags & ML_CC_COMPLETE); i++) {
    p = ml__slab(s->net);
    n = p == NULL ? UV_ENOMEM : ml__plain_recv(s, p, ML_SLAB);
    if (n == 0) ml__hcparse_eof(c);
    if (n <= 0) return;
    c->flags |= ML_CC_BEGAN;
    ml__hcparse_feed(c, p, (size_t)n);
  }
}

static void sink_lost(lua_State *L, ml_stream *s) {
  (void)L;
  if (s->target == NULL) return;
  last_look(s->target);
  over(s->target);
}

static void sink_forget(ml_stream *s) {
  ml_hcconn *c = s->target;
  int pin = c->pin;
  over(c);
  ml__list_remove(&c->done.link); /* no job will run any more */
  c->pin = 0;
  if (pin != 0) ml__unpin(c->http->net->engine->L, pin);
}

static void sink_yield(ml_stream *s, ml_bytes *to) {
  (void)s;
  memset(to, 0, sizeof *to);
}

const ml_sink ml__hc_sink = {sink_data, sink_eof,    sink_pause, sink_resume,
                             sink_lost, sink_forget, sink_yield, ml__hcbody_reads};

void ml__hcconn_prepare(ml_hcconn *c) {
  ml__list_init(&c->drains);
  ml__list_init(&c->done.link);
  ml__timer_init(&c->timer, on_timer);
  c->total = INFINITY;
  c->silence = -1;
}
