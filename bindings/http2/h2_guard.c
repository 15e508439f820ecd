/* What a peer may not do: work for nothing, and time that passes without any.
**
** Frames that cost us work and bring nothing (settings, pings, resets, empty frames, windows
** that open by a byte) are paid for from a credit, which time and answered requests fill
** again. A peer without credit is told to calm down (GOAWAY, ENHANCE_YOUR_CALM) and not heard
** any more. nghttp2 has limits of its own for CONTINUATION, queued answers and settings.
**
** One timer serves a session. It is not moved when something new has a later deadline: it
** fires, and is set to the next one that there is then.
*/
#include <math.h>

#include "h2.h"

#define CREDIT 2000 /* at most, and at first */
#define RATE 100.0  /* a second */

/* ---- floods ---- */

void ml__h2_earn(ml_http2 *h, int credit) {
  h->credit = h->credit + credit < CREDIT ? h->credit + credit : CREDIT;
}

void ml__h2_charge(ml_http2 *h, int cost) {
  double now, more;
  if (h->flags & H2_CALM) return;
  h->credit -= cost;
  if (h->credit >= 0) return;
  now = ml__loop_time(h->loop);
  more = (now - h->credit_at) * RATE;
  h->credit_at = now;
  ml__h2_earn(h, more < CREDIT ? (int)more : CREDIT);
  if (h->credit >= 0) return;
  h->flags |= H2_CALM;
  h->fault = NULL;
  ml__h2_fault(h, "too much work for nothing: told to calm down");
  ml__h2_leave(h, NGHTTP2_ENHANCE_YOUR_CALM);
}

void ml__h2_frame_cost(ml_http2 *h, const nghttp2_frame_hd *hd) {
  bool ack = hd->flags & NGHTTP2_FLAG_ACK;
  switch (hd->type) {
  case NGHTTP2_HEADERS: break;
  case NGHTTP2_DATA:
    if (hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM)) ml__h2_charge(h, 4);
    break;
  case NGHTTP2_SETTINGS: ml__h2_charge(h, ack ? 1 : 10); break;
  case NGHTTP2_PING: ml__h2_charge(h, ack ? 1 : 4); break;
  case NGHTTP2_RST_STREAM: ml__h2_charge(h, 1); break; /* and see on_stream_close */
  default: ml__h2_charge(h, 1); break;
  }
}

/* ---- streams ---- */

static uint64_t bit(const ml_http2 *h, int32_t id) {
  uint32_t back = (uint32_t)(h->newest - id) / 2;
  return id <= h->newest && back < 64 ? (uint64_t)1 << back : 0;
}

void ml__h2_frame_ended(ml_http2 *h, int32_t id) { h->ended |= bit(h, id); }

/* RFC 9113, 5.1 and 5.1.1: a head on a stream that was passed over, or that the peer has ended.
** nghttp2 would know if it kept closed streams; DATA it does not tell of. What was reset from here
** may still have frames on their way. */
static uint32_t wrong_stream(ml_http2 *h, const nghttp2_frame_hd *hd) {
  int32_t id = hd->stream_id;
  if (hd->type == NGHTTP2_PRIORITY) return id == 0 ? NGHTTP2_PROTOCOL_ERROR : 0;
  if (hd->type != NGHTTP2_HEADERS || id % 2 == 0) return 0;
  if (id > h->newest) {
    uint32_t more = (uint32_t)(id - h->newest) / 2;
    h->opened = more < 64 ? h->opened << more | 1 : 1;
    h->ended = more < 64 ? h->ended << more : 0;
    h->newest = id;
    return 0;
  }
  if (h->ended & bit(h, id)) return NGHTTP2_STREAM_CLOSED;
  return bit(h, id) & ~h->opened ? NGHTTP2_PROTOCOL_ERROR : 0;
}

void ml__h2_frame_check(ml_http2 *h, const nghttp2_frame_hd *hd) {
  uint32_t error = h->role->client ? 0 : wrong_stream(h, hd);
  if (error == 0) return;
  ml__h2_fault(h, error == NGHTTP2_STREAM_CLOSED ? "a head on a stream that is closed"
                                                 : "a frame on a stream that is none");
  ml__h2_leave(h, error);
}

/* ---- deadlines ---- */

static double deadline(const ml_http2 *h) {
  double when = h->role->deadline(h);
  for (ml_link *k = h->streams.next; k != &h->streams; k = k->next) {
    double d = h->role->stream_deadline(ml__containerof(k, ml_h2stream, all));
    if (d < when) when = d;
  }
  return when;
}

/* The timer fires then, or before. One that has fired is set anew when its job runs. */
static void arm(ml_http2 *h, double when) {
  if (when == INFINITY || (h->timer.index != 0 && h->timer.when <= when)) return;
  if (!ml__list_empty(&h->timer.job.link)) return;
  ml__timer_stop(h->loop, &h->timer);
  if (ml__timer_start(h->loop, &h->timer, when) < 0) ml__stream_fail(h->s, UV_ENOMEM);
}

void ml__h2_watch(ml_http2 *h) {
  if (!(h->flags & H2_OVER)) arm(h, h->role->deadline(h));
}

void ml__h2_watch_stream(ml_h2stream *x) {
  if (!(x->h->flags & H2_OVER) && (x->flags & H2S_OPEN)) arm(x->h, x->h->role->stream_deadline(x));
}

static void expire(ml_http2 *h, double now) {
  for (ml_link *k = h->streams.next, *next; k != &h->streams; k = next) {
    ml_h2stream *x = ml__containerof(k, ml_h2stream, all);
    next = k->next;
    if (h->role->stream_deadline(x) <= now) h->role->stream_expired(x, now);
  }
  if (h->role->deadline(h) <= now) h->role->expired(h, now);
}

static void on_timer(ml_evloop *l, ml_job *job) {
  ml_timer *t = ml__containerof(job, ml_timer, job);
  ml_http2 *h = ml__containerof(t, ml_http2, timer);
  double now = ml__loop_time(l) + 1e-3;
  if (h->flags & H2_LINGER) {
    ml__stream_close(h->s);
    return;
  }
  if (h->flags & H2_OVER) return;
  expire(h, now);
  if (!(h->flags & H2_OVER)) arm(h, deadline(h));
}

void ml__h2_linger(ml_http2 *h) {
  double seconds = h->lingering_time;
  ml_stream *s = h->s;
  if (seconds <= 0 || (s->flags & ML_S_EOF)) {
    ml__stream_close(s);
    return;
  }
  h->flags |= H2_LINGER;
  ml__stream_end(s);
  if (s->flags & ML_S_CLOSING) return;
  if (ml__timer_start(h->loop, &h->timer, ml__loop_time(h->loop) + seconds) < 0)
    ml__stream_close(s);
}

void ml__h2_guard_init(ml_http2 *h) {
  ml__timer_init(&h->timer, on_timer);
  h->credit = CREDIT;
  h->credit_at = h->head_since = h->idle_since = ml__loop_time(h->loop);
  h->quiet_since = h->idle_since;
  ml__h2_watch(h);
}
