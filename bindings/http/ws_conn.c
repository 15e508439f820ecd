/* A WebSocket connection: frames come in, messages are put together, control frames are
** answered, the connection is closed as RFC 6455 says. No Lua here but in `lost`.
**
** Messages wait in a queue of their own; when they take more than a reader's limit, reading
** pauses. A compressed message is kept as it came until it is received: what it
** would become does not fill the memory while nobody reads.
**
** After a fault of the peer what it sends is dropped, and the connection stays for a while so
** that the peer reads why: bytes that nobody has read would make the kernel reset it.
*/
#include <string.h>

#include "ws.h"

#define DEAF (ML_WS_GOT | ML_WS_FAILED | ML_WS_GONE) /* nothing is read any more */
#define FIRST_BLOCK (4 * 1024)

/* ---- sending ---- */

bool ml__ws_full(const ml_ws *ws) { return ws->s != NULL && (ws->s->flags & ML_S_FULL); }

static int output(ml_ws *ws, const uv_buf_t *bufs, unsigned n) {
  if (ws->s != NULL) {
    if (ws->s->flags & ML_S_CLOSING) return 0;
    return ml__stream_write(ws->net->engine->L, ws->s, bufs, n);
  }
  for (unsigned i = 0; i < n; i++)
    if (ml__bytes_add(ws->net, &ws->out, bufs[i].base, bufs[i].len) < 0) return UV_ENOMEM;
  return 0;
}

/* A client's frames are masked, with a key that nobody can know before. */
static int send_masked(ml_ws *ws, unsigned first, const char *p, size_t n) {
  uint8_t key[4];
  char small[512], *frame = small;
  size_t head;
  uv_buf_t buf;
  int rc = uv_random(NULL, NULL, key, sizeof key, 0, NULL);
  if (rc < 0) return rc;
  if (n > sizeof small - ML_WS_HEAD)
    frame = ml__alloc(ws->net->engine->alloc, NULL, 0, n + ML_WS_HEAD);
  if (frame == NULL) return UV_ENOMEM;
  head = ml__ws_head((uint8_t *)frame, first, n, key);
  ml__ws_mask(frame + head, p, n, key, 0);
  buf.base = frame;
  buf.len = head + n;
  rc = output(ws, &buf, 1);
  if (frame != small) ml__alloc(ws->net->engine->alloc, frame, n + ML_WS_HEAD, 0);
  return rc;
}

int ml__ws_send(ml_ws *ws, unsigned first, const char *p, size_t n) {
  char small[512];
  uint8_t head[ML_WS_HEAD];
  uv_buf_t bufs[2];
  if (!(ws->obj.flags & ML_WS_SERVER)) return send_masked(ws, first, p, n);
  if (n <= sizeof small - ML_WS_HEAD) { /* cheaper to copy than to gather */
    size_t size = ml__ws_head((uint8_t *)small, first, n, NULL);
    memcpy(small + size, p, n);
    bufs[0] = uv_buf_init(small, (unsigned)(size + n));
    return output(ws, bufs, 1);
  }
  bufs[0] = uv_buf_init((char *)head, (unsigned)ml__ws_head(head, first, n, NULL));
  bufs[1].base = (char *)(uintptr_t)p; // NOLINT(performance-no-int-to-ptr)
  bufs[1].len = n;
  return output(ws, bufs, 2);
}

/* ---- the end ---- */

static void wake_list(ml_link *list) {
  while (!ml__list_empty(list)) {
    ml_wsop *op = ml__containerof(list->next, ml_wsop, link);
    ml__list_remove(&op->link);
    ml__wsop_wake(op);
  }
}

static void wake_receiver(ml_ws *ws) {
  ml_wsop *op = ws->receiver;
  ws->receiver = NULL;
  if (op != NULL) ml__wsop_wake(op);
}

/* Who asked to be told of the end is: by the loop, unless that is closed. */
static void tell_end(ml_ws *ws) {
  ml_job *j = ws->on_end;
  ws->on_end = NULL;
  if (j == NULL) return;
  if (ws->loop->closed)
    ml__handle_drop(ws->net->engine->L, j);
  else
    ml__ready(ws->loop, j);
}

/* The connection is over: all who wait are told. */
static void gone(ml_ws *ws) {
  ws->obj.flags |= ML_WS_GONE;
  if (ws->close_code == 0) ws->close_code = ML_WSC_ABNORMAL;
  ml__timer_stop(ws->loop, &ws->beat);
  ml__list_remove(&ws->beat.job.link);
  ml__timer_stop(ws->loop, &ws->linger);
  ml__list_remove(&ws->linger.job.link);
  wake_receiver(ws);
  wake_list(&ws->senders);
  wake_list(&ws->closers);
  tell_end(ws);
}

/* Nothing more is to be sent: the connection is closed when all is written. */
static void end_stream(ml_ws *ws) {
  if (ws->s != NULL)
    ml__stream_close(ws->s);
  else if (!(ws->obj.flags & ML_WS_GONE))
    gone(ws);
}

void ml__ws_abort(ml_ws *ws) {
  if (ws->s != NULL) ml__stream_fail(ws->s, 0);
  if (!(ws->obj.flags & ML_WS_GONE)) gone(ws);
}

static void run_linger(ml_evloop *loop, ml_job *job) {
  ml_ws *ws = ml__containerof(job, ml_ws, linger.job);
  (void)loop;
  if (ws->obj.flags & ML_WS_SENT)
    ml__ws_abort(ws);
  else /* the peer has closed or failed, and nobody has received that */
    ml__ws_send_close(ws, ws->close_code, "", 0);
}

static void start_linger(ml_ws *ws) {
  ml__timer_stop(ws->loop, &ws->linger);
  if (ml__timer_start(ws->loop, &ws->linger, ml__loop_time(ws->loop) + ws->timeout) < 0)
    ml__ws_abort(ws);
}

/* The peer has time to read what was sent and to close the connection itself. */
static void linger(ml_ws *ws) {
  if (ws->s == NULL || (ws->obj.flags & ML_WS_GONE)) return;
  ml__stream_end(ws->s);
  start_linger(ws);
}

/* Close frames went both ways: the server closes the connection, a client waits for that (section
** 7.1.1). */
static void closed_both(ml_ws *ws) {
  ml__timer_stop(ws->loop, &ws->beat);
  ml__list_remove(&ws->beat.job.link);
  wake_list(&ws->closers);
  if ((ws->obj.flags & ML_WS_SERVER) || ws->s == NULL)
    end_stream(ws);
  else
    start_linger(ws);
}

/* The peer was told what it did wrong, or would not hear it any more. */
static void failed(ml_ws *ws) {
  wake_list(&ws->closers);
  if (ws->s == NULL)
    end_stream(ws);
  else
    linger(ws);
}

void ml__ws_send_close(ml_ws *ws, int code, const char *reason, size_t n) {
  char payload[ML_WS_CONTROL];
  if (ws->obj.flags & (ML_WS_SENT | ML_WS_GONE)) return;
  if (ws->obj.flags & ML_WS_FAILED) code = ws->close_code;
  payload[0] = (char)(code >> 8);
  payload[1] = (char)code;
  ws->obj.flags |= ML_WS_SENT;
  if (n > sizeof payload - 2) n = sizeof payload - 2;
  memcpy(payload + 2, reason, n);
  ml__ws_send(ws, 0x80 | ML_WS_CLOSE, payload, code == ML_WSC_NONE ? 0 : n + 2);
  wake_list(&ws->senders);
  if (ws->obj.flags & ML_WS_GOT)
    closed_both(ws);
  else if (ws->obj.flags & ML_WS_FAILED)
    failed(ws);
}

/* ---- messages to be received ---- */

static size_t weight(const ml_wsmsg *m) { return sizeof *m + m->len; }

static void message_free(ml_ws *ws, ml_wsmsg *m) {
  if (m != NULL) ml__alloc(ws->net->engine->alloc, m, sizeof *m + m->cap, 0);
}

static ml_wsmsg *message_new(ml_ws *ws, unsigned type, size_t cap) {
  ml_wsmsg *m = ml__alloc(ws->net->engine->alloc, NULL, 0, sizeof *m + cap);
  if (m == NULL) return NULL;
  m->next = NULL;
  m->type = (uint16_t)type;
  m->compressed = false;
  m->len = 0;
  m->cap = cap;
  return m;
}

static void set_paused(ml_ws *ws, bool paused) {
  if (ws->s == NULL || paused == !!(ws->obj.flags & ML_WS_PAUSED)) return;
  ws->obj.flags ^= ML_WS_PAUSED;
  ws->s->flags ^= ML_S_PAUSED;
  ml__stream_reading(ws->s);
}

static void enqueue(ml_ws *ws, ml_wsmsg *m) {
  if (ws->last != NULL)
    ws->last->next = m;
  else
    ws->first = m;
  ws->last = m;
  ws->queued += weight(m);
  wake_receiver(ws);
  if (ws->queued > ML_LIMIT) set_paused(ws, true);
}

/* Puts a message of these bytes into the queue. */
static bool deliver(ml_ws *ws, unsigned type, const void *p, size_t n) {
  ml_wsmsg *m = message_new(ws, type, n);
  if (m == NULL) {
    ml__ws_abort(ws);
    return false;
  }
  memcpy(m->data, p, n);
  m->len = n;
  enqueue(ws, m);
  return true;
}

void ml__ws_took(ml_ws *ws) {
  ml_wsmsg *m = ws->first;
  ws->first = m->next;
  if (ws->first == NULL) ws->last = NULL;
  ws->queued -= weight(m);
  message_free(ws, m);
  if (ws->queued <= ML_LIMIT / 2) set_paused(ws, false);
}

void ml__ws_drop_messages(ml_ws *ws) {
  while (ws->first != NULL) ml__ws_took(ws);
}

void ml__ws_fail(ml_ws *ws, int code, const char *reason) {
  char text[2 + ML_WS_CONTROL] = {(char)(code >> 8), (char)code};
  size_t n = strnlen(reason, ML_WS_CONTROL - 2);
  bool sent = ws->obj.flags & ML_WS_SENT, local = ws->obj.flags & ML_WS_LOCAL, later;
  if (ws->obj.flags & ML_WS_GONE) return;
  if (ws->obj.flags & ML_WS_FAILED) { /* no later than now */
    ml__ws_send_close(ws, ws->close_code, "", 0);
    return;
  }
  ws->obj.flags |= ML_WS_FAILED;
  ws->close_code = code;
  message_free(ws, ws->part);
  ws->part = NULL;
  ml__timer_stop(ws->loop, &ws->beat);
  ml__list_remove(&ws->beat.job.link);
  memcpy(text + 2, reason, n);
  /* Where something came before, it is told when it is received: that is still worked on. */
  later = ws->s != NULL && !sent && !local && (ws->first != NULL || ws->receiver == NULL);
  if (!local && !deliver(ws, ML_WS_ERROR, text, n + 2)) return;
  set_paused(ws, false);
  if (later)
    start_linger(ws);
  else if (sent)
    failed(ws);
  else
    ml__ws_send_close(ws, code, reason, n);
}

/* ---- control frames ---- */

static void answer_ping(ml_ws *ws) {
  if (ws->obj.flags & ML_WS_SENT) return;
  if (ml__ws_full(ws)) { /* the peer does not read: the newest is enough (section 5.5.3) */
    memcpy(ws->pong, ws->control, ws->ncontrol);
    ws->npong = ws->ncontrol;
    ws->obj.flags |= ML_WS_PONGS;
    return;
  }
  ml__ws_send(ws, 0x80 | ML_WS_PONG, (const char *)ws->control, ws->ncontrol);
}

static void on_close_frame(ml_ws *ws) {
  const char *reason = (const char *)ws->control + 2;
  size_t n = ws->ncontrol;
  unsigned code = n < 2 ? ML_WSC_NONE : (unsigned)ws->control[0] << 8 | ws->control[1];
  if (n == 1) {
    ml__ws_fail(ws, ML_WSC_PROTOCOL, "close frame with one byte");
    return;
  }
  if (n > 0 && !ml__ws_code_valid(code)) {
    ml__ws_fail(ws, ML_WSC_PROTOCOL, "invalid close code");
    return;
  }
  if (n > 2 && !ml__utf8_valid(reason, n - 2)) {
    ml__ws_fail(ws, ML_WSC_INVALID, "close reason is not UTF-8");
    return;
  }
  ws->obj.flags |= ML_WS_GOT;
  ws->close_code = (int)code;
  message_free(ws, ws->part);
  ws->part = NULL;
  if (!(ws->obj.flags & ML_WS_LOCAL)) {
    char text[ML_WS_CONTROL] = {(char)(code >> 8), (char)code};
    memcpy(text + 2, reason, n > 2 ? n - 2 : 0);
    if (!deliver(ws, ML_WS_CLOSE, text, n > 2 ? n : 2)) return;
  }
  if (ws->obj.flags & ML_WS_SENT)
    closed_both(ws);
  else if (ws->obj.flags & ML_WS_AUTOCLOSE)
    start_linger(ws); /* answered when it is received: what came before is still worked on */
}

static void control_frame(ml_ws *ws) {
  if (ws->opcode == ML_WS_CLOSE)
    on_close_frame(ws);
  else if (!(ws->obj.flags & ML_WS_AUTOPING))
    deliver(ws, ws->opcode, ws->control, ws->ncontrol);
  else if (ws->opcode == ML_WS_PING)
    answer_ping(ws);
}

/* ---- frames ---- */

static size_t head_size(const uint8_t *h) {
  unsigned len = h[1] & 127;
  return 2 + (len < 126 ? 0 : len == 126 ? 2 : 8) + ((h[1] & 0x80) ? 4 : 0);
}

static const char *wrong_head(const ml_ws *ws, const uint8_t *h, uint64_t len) {
  unsigned opcode = h[0] & 15;
  bool control = opcode >= 8, masked = h[1] & 0x80;
  if (opcode > ML_WS_PONG || (opcode > ML_WS_BINARY && !control)) return "unknown opcode";
  if ((h[0] & 0x30) || ((h[0] & 0x40) && (ws->zip == NULL || control || opcode == 0)))
    return "reserved bit is set";
  if (masked != !!(ws->obj.flags & ML_WS_SERVER))
    return masked ? "frame of a server is masked" : "frame of a client is not masked";
  if (control && !(h[0] & 0x80)) return "fragmented control frame";
  if (control && len > ML_WS_CONTROL) return "control frame is too long";
  if (!control && opcode == 0 && ws->part == NULL) return "continuation of nothing";
  if (!control && opcode != 0 && ws->part != NULL) return "message begins inside a message";
  if (len >> 63) return "length is out of range";
  if (((h[1] & 127) == 126 && len < 126) || ((h[1] & 127) == 127 && len <= 0xFFFF))
    return "length is not in its shortest form";
  return NULL;
}

/* A complete head: false if it ends the connection. */
static bool begin_frame(ml_ws *ws, const uint8_t *h, size_t size) {
  uint64_t len = h[1] & 127;
  size_t bytes = len < 126 ? 0 : len == 126 ? 2 : 8, have, limit;
  const char *wrong;
  if (bytes > 0) len = 0;
  for (size_t i = 0; i < bytes; i++) len = len << 8 | h[2 + i];
  wrong = wrong_head(ws, h, len);
  if (wrong != NULL) {
    ml__ws_fail(ws, ML_WSC_PROTOCOL, wrong);
    return false;
  }
  ws->opcode = h[0] & 15;
  ws->fin = (h[0] & 0x80) != 0;
  ws->left = len;
  ws->inside = true;
  ws->nmask = 0;
  if (h[1] & 0x80) memcpy(ws->key, h + size - 4, 4);
  ws->ncontrol = 0;
  if (ws->opcode >= 8) return true;
  if (ws->part == NULL) {
    ws->part = message_new(ws, ws->opcode, len < FIRST_BLOCK ? (size_t)len : FIRST_BLOCK);
    if (ws->part == NULL) {
      ml__ws_abort(ws);
      return false;
    }
    ws->part->compressed = (h[0] & 0x40) != 0;
    memset(&ws->utf8, 0, sizeof ws->utf8);
  }
  have = ws->part->len;
  /* compressed bytes may be a little more than what they stand for */
  limit = ws->part->compressed ? ws->max + ws->max / 1024 + 64 : ws->max;
  if (ws->max > 0 && (len > limit || have > limit - len)) {
    ml__ws_fail(ws, ML_WSC_TOO_BIG, "message is too big");
    return false;
  }
  return true;
}

/* Room for n more bytes of the message under way: as much as has come twice over, and not
** more than the frame has. */
static char *make_room(ml_ws *ws, size_t n) {
  ml_wsmsg *m = ws->part;
  if (m->cap - m->len < n) {
    size_t cap = 2 * (m->len + n), whole = m->len + (size_t)ws->left;
    if (ws->fin && cap > whole) cap = whole;
    m = ml__alloc(ws->net->engine->alloc, m, sizeof *m + m->cap, sizeof *m + cap);
    if (m == NULL) return NULL;
    m->cap = cap;
    ws->part = m;
  }
  return m->data + m->len;
}

static void take_payload(ml_ws *ws, const char *p, size_t n) {
  bool masked = ws->obj.flags & ML_WS_SERVER;
  char *to;
  if (ws->opcode >= 8) {
    to = (char *)ws->control + ws->ncontrol;
    ws->ncontrol += (uint8_t)n;
  } else {
    to = make_room(ws, n);
    if (to == NULL) {
      ml__ws_abort(ws);
      return;
    }
    ws->part->len += n;
  }
  if (masked)
    ml__ws_mask(to, p, n, ws->key, ws->nmask);
  else
    memcpy(to, p, n);
  ws->nmask = (uint8_t)((ws->nmask + n) & 3);
  ws->left -= n;
  if (ws->opcode < 8 && ws->part->type == ML_WS_TEXT && !ws->part->compressed &&
      !ml__utf8_feed(&ws->utf8, to, n))
    ml__ws_fail(ws, ML_WSC_INVALID, "text is not UTF-8");
}

static void end_frame(ml_ws *ws) {
  ml_wsmsg *m = ws->part;
  ws->inside = false;
  if (ws->opcode >= 8) {
    control_frame(ws);
    return;
  }
  if (!ws->fin || m == NULL) return;
  if (ws->utf8.need > 0) {
    ml__ws_fail(ws, ML_WSC_INVALID, "text ends within a character");
    return;
  }
  ws->part = NULL;
  if (ws->obj.flags & ML_WS_LOCAL)
    message_free(ws, m);
  else
    enqueue(ws, m);
}

void ml__ws_feed(ml_ws *ws, const char *bytes, size_t n) {
  const char *p = bytes, *end = bytes + n;
  if (ws->heartbeat > 0) {
    ws->heard = ml__loop_time(ws->loop);
    ws->obj.flags &= (uint16_t) ~(ML_WS_PINGED | ML_WS_LATE);
  }
  while (p < end && !(ws->obj.flags & DEAF)) {
    if (!ws->inside) {
      const uint8_t *h = (const uint8_t *)p;
      size_t have = (size_t)(end - p), size;
      if (ws->nhead > 0 || have < 2 || have < head_size(h)) { /* it comes in parts */
        ws->head[ws->nhead++] = (uint8_t)*p++;
        if (ws->nhead < 2 || ws->nhead < head_size(ws->head)) continue;
        h = ws->head;
        size = ws->nhead;
        ws->nhead = 0;
      } else {
        size = head_size(h);
        p += size;
      }
      if (!begin_frame(ws, h, size)) return;
    }
    if (ws->left > 0) {
      size_t part = (size_t)(end - p) < ws->left ? (size_t)(end - p) : (size_t)ws->left;
      take_payload(ws, p, part);
      if (ws->obj.flags & DEAF) return;
      p += part;
    }
    if (ws->left == 0) end_frame(ws);
  }
}

void ml__ws_ended(ml_ws *ws) {
  if (ws->obj.flags & ML_WS_GONE) return;
  if (ws->s != NULL) ml__stream_close(ws->s);
  gone(ws);
}

/* ---- as a sink ---- */

static void sink_data(ml_stream *s, const char *p, size_t n) {
  if (s->target != NULL) ml__ws_feed(s->target, p, n);
}

static void sink_eof(ml_stream *s) {
  if (s->target != NULL) ml__ws_ended(s->target);
}

static void sink_pause(lua_State *L, ml_stream *s) {
  (void)L;
  (void)s;
}

static void sink_resume(ml_stream *s) {
  ml_ws *ws = s->target;
  if (ws == NULL) return;
  if (ws->obj.flags & ML_WS_PONGS) {
    ws->obj.flags &= (uint16_t)~ML_WS_PONGS;
    if (!(ws->obj.flags & ML_WS_SENT))
      ml__ws_send(ws, 0x80 | ML_WS_PONG, (const char *)ws->pong, ws->npong);
  }
  wake_list(&ws->senders);
}

static void sink_lost(lua_State *L, ml_stream *s) {
  (void)L;
  if (s->target != NULL && !(((ml_ws *)s->target)->obj.flags & ML_WS_GONE)) gone(s->target);
}

/* The loop is closed: no task will run any more. */
static void sink_forget(ml_stream *s) {
  ml_ws *ws = s->target;
  ws->obj.flags |= ML_WS_GONE;
  if (ws->close_code == 0) ws->close_code = ML_WSC_ABNORMAL;
  if (ws->on_end != NULL) ml__handle_drop(ws->net->engine->L, ws->on_end);
  ws->on_end = NULL;
}

static void sink_yield(ml_stream *s, ml_bytes *to) {
  (void)s;
  memset(to, 0, sizeof *to);
}

const ml_sink ml__ws_sink = {sink_data, sink_eof,    sink_pause, sink_resume,
                             sink_lost, sink_forget, sink_yield, NULL};

/* ---- the heartbeat ---- */

/* Nothing was heard for so long: a ping, which has half of that time to be answered. */
static void run_beat(ml_evloop *loop, ml_job *job) {
  ml_ws *ws = ml__containerof(job, ml_ws, beat.job);
  double now = ml__loop_time(loop), due = ws->heard + ws->heartbeat;
  static const char late[] = "\x03\xee"
                             "no answer to a ping";
  if (ws->obj.flags & (ML_WS_SENT | DEAF)) return;
  if (ws->obj.flags & ML_WS_PAUSED) { /* nobody listens */
    ws->heard = now;
    ws->obj.flags &= (uint16_t) ~(ML_WS_PINGED | ML_WS_LATE);
    due = now + ws->heartbeat;
  }
  if ((ws->obj.flags & (ML_WS_PINGED | ML_WS_LATE)) == ML_WS_PINGED) {
    ws->obj.flags |= ML_WS_LATE; /* or only not read yet: the loop may have been busy */
    due = now;
  } else if (ws->obj.flags & ML_WS_LATE) {
    ws->close_code = ML_WSC_ABNORMAL;
    if (deliver(ws, ML_WS_ERROR, late, sizeof late - 1)) ml__ws_abort(ws);
    return;
  }
  if (now >= due && !(ws->obj.flags & ML_WS_LATE)) {
    ws->obj.flags |= ML_WS_PINGED;
    ml__ws_send(ws, 0x80 | ML_WS_PING, "", 0);
    due = now + ws->heartbeat / 2;
  }
  if (ml__timer_start(loop, &ws->beat, due) < 0) ml__ws_abort(ws);
}

void ml__ws_start_beat(ml_ws *ws) {
  ws->heard = ml__loop_time(ws->loop);
  if (ws->heartbeat > 0 && ml__timer_start(ws->loop, &ws->beat, ws->heard + ws->heartbeat) < 0)
    ml__ws_abort(ws);
}

/* ---- life ---- */

void ml__ws_init(ml_ws *ws, ml_net *net, ml_evloop *loop) {
  ws->net = net;
  ws->loop = loop;
  ml__list_init(&ws->senders);
  ml__list_init(&ws->closers);
  ml__timer_init(&ws->linger, run_linger);
  ml__timer_init(&ws->beat, run_beat);
}

void ml__ws_free(ml_ws *ws) {
  ml_stream *s = ws->s;
  if (ws->net == NULL) return;
  tell_end(ws);
  ml__timer_stop(ws->loop, &ws->beat);
  ml__list_remove(&ws->beat.job.link);
  ml__timer_stop(ws->loop, &ws->linger);
  ml__list_remove(&ws->linger.job.link);
  message_free(ws, ws->part);
  ws->part = NULL;
  ws->s = NULL;
  ml__ws_drop_messages(ws);
  ml__wszip_free(ws->zip);
  ws->zip = NULL;
  ml__bytes_free(ws->net, &ws->out);
  if (s == NULL) return;
  if (s->target == ws) s->target = NULL;
  ml__stream_close(s);
  ml__stream_unref(s);
}
