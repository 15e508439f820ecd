/* One stream of a session: the body of its request as it comes, and that of its response as
** it waits to be sent.
**
** The window for a body is given back when its bytes are taken, or at once while a task waits
** for more than there is: what a peer may send ahead is bounded, and a reader that asks for
** much is never stuck.
*/
#include <string.h>

#include "h2.h"

/* ---- life ---- */

static int want(ml_readsource *src, ml_evloop *loop);
static void taken(ml_readsource *src);
static void reader_gone(ml_readsource *src);

ml_h2stream *ml__h2_stream_new(ml_http2 *h, int32_t id, ml_hhead *head) {
  ml_h2stream *x = ml__alloc(ml__h2_alloc(h), NULL, 0, h->role->stream);
  if (x == NULL) return NULL;
  memset(x, 0, h->role->stream);
  x->refs = 1;
  x->id = id;
  x->h = h;
  h->refs++;
  x->head = head;
  x->flags = H2S_OPEN;
  ml__list_init(&x->link);
  ml__list_init(&x->drains);
  ml__list_append(&h->streams, &x->all);
  h->nstreams++;
  x->source.want = want;
  x->source.error = h->role->body_error;
  x->source.taken = taken;
  x->source.gone = reader_gone;
  return x;
}

static void pieces_free(ml_h2stream *x) {
  ml_engine *e = x->h->http->net->engine;
  while (x->first != NULL) {
    ml_h2piece *p = x->first;
    x->first = p->next;
    if (p->pin != 0) ml__unpin(e->L, p->pin);
    ml__alloc(e->alloc, p, p->size, 0);
  }
  x->last = NULL;
  x->queued = 0;
}

void ml__h2_stream_unref(ml_h2stream *x) {
  ml_http2 *h = x->h;
  ml_engine *e = h->http->net->engine;
  if (--x->refs > 0) return;
  if ((x->flags & (H2S_GIVEN | H2S_FINISHED)) == H2S_GIVEN) h->nlive--;
  pieces_free(x);
  ml__list_remove(&x->link);
  ml__bytes_free(h->http->net, &x->in);
  if (x->task != 0) ml__unpin(e->L, x->task);
  if (x->trailers != NULL) ml__h2_trailers_free(h, x->trailers);
  if (x->head != NULL) ml__alloc(e->alloc, x->head, ml__hhead_size(x->head), 0);
  if (h->role->stream_free != NULL) h->role->stream_free(x);
  ml__alloc(e->alloc, x, h->role->stream, 0);
  ml__h2_release(h);
}

/* ---- the request's body ---- */

static void give_back(ml_h2stream *x, uint32_t n) {
  if (n > x->unacked) n = x->unacked;
  if (n == 0) return;
  x->unacked -= n;
  ml__h2_consume(x, n);
}

static void wake_reading(ml_h2stream *x) {
  ml_op *op = x->reading;
  if (op == NULL) return;
  x->reading = NULL;
  ml__op_wake(op);
}

/* Bytes that are there and not taken. */
static size_t held(const ml_h2stream *x) {
  return x->reader != NULL ? x->reader->in.len : x->in.len;
}

void ml__h2_stream_data(ml_h2stream *x, const char *p, size_t n) {
  ml_net *net = x->h->http->net;
  int rc = 0;
  x->got += n;
  x->unacked += (uint32_t)n;
  x->body_since = ml__loop_time(x->h->loop);
  if (x->flags & H2S_DISCARD) {
    give_back(x, x->unacked);
    return;
  }
  if (x->reader != NULL)
    rc = ml__reader_feed(x->reader, p, n);
  else
    rc = ml__bytes_add(net, &x->in, p, n);
  if (rc < 0) {
    ml__h2_reset(x, NGHTTP2_INTERNAL_ERROR);
    return;
  }
  if (x->flags & H2S_WANTED) give_back(x, x->unacked);
  if (x->reading != NULL && x->limit > 0 && held(x) > x->limit) wake_reading(x);
}

void ml__h2_stream_eof(ml_h2stream *x) {
  if (x->flags & H2S_EOF) return;
  x->flags |= H2S_EOF;
  if (x->reader != NULL) ml__reader_end(x->reader);
  wake_reading(x);
}

/* A task waits in the reader: more has to come than there is. */
static int want(ml_readsource *src, ml_evloop *loop) {
  ml_h2stream *x = ml__containerof(src, ml_h2stream, source);
  ml__h2_want(x, loop != NULL);
  return 0;
}

void ml__h2_want(ml_h2stream *x, bool wants) {
  if (!wants) {
    x->flags &= ~(uint32_t)H2S_WANTED;
    return;
  }
  x->flags |= H2S_WANTED;
  x->body_since = ml__loop_time(x->h->loop);
  if ((x->flags & (H2S_CONTINUE | H2S_STARTED | H2S_EOF)) == H2S_CONTINUE) ml__h2_continue(x);
  x->flags &= ~(uint32_t)H2S_CONTINUE;
  give_back(x, x->unacked);
  ml__h2_watch_stream(x);
}

static void taken(ml_readsource *src) {
  ml_h2stream *x = ml__containerof(src, ml_h2stream, source);
  size_t n = x->reader == NULL ? 0 : x->reader->in.len;
  if (x->unacked > n) give_back(x, x->unacked - (uint32_t)n);
}

void ml__h2_took(ml_h2stream *x) { give_back(x, x->unacked); }

void ml__h2_body_late(ml_h2stream *x) {
  x->flags |= H2S_LATE | H2S_DISCARD;
  x->flags &= ~(uint32_t)H2S_WANTED;
  if (x->reader != NULL) ml__reader_fail(x->reader);
  wake_reading(x);
}

static void reader_gone(ml_readsource *src) {
  ml_h2stream *x = ml__containerof(src, ml_h2stream, source);
  x->reader = NULL;
  x->flags |= H2S_DISCARD;
  if (x->flags & H2S_OPEN) give_back(x, x->unacked);
  ml__h2_stream_unref(x);
}

/* ---- the response's body ---- */

/* A pinned string, or a copy. UV_ENOMEM: nothing is altered. */
int ml__h2_piece_add(ml_h2stream *x, const char *p, size_t n, int pin) {
  ml_h2piece *k = x->last;
  size_t size = sizeof *k + (pin != 0 ? 0 : n);
  if (n == 0) return 0;
  if (pin == 0 && k != NULL && k->pin == 0 && k->p + k->n + n <= (char *)k + k->size) {
    memcpy((char *)k->p + k->n, p, n);
    k->n += n;
    x->queued += n;
    return 0;
  }
  if (pin == 0 && x->first != NULL && size < 1024) size = 1024; /* room for more small ones */
  k = ml__alloc(ml__h2_alloc(x->h), NULL, 0, size);
  if (k == NULL) return UV_ENOMEM;
  k->next = NULL;
  k->size = size;
  k->n = n;
  k->pin = pin;
  k->p = pin != 0 ? p : k->data;
  if (pin == 0) memcpy(k->data, p, n);
  if (x->last != NULL)
    x->last->next = k;
  else
    x->first = k;
  x->last = k;
  if (x->queued == 0) x->send_since = ml__loop_time(x->h->loop);
  x->queued += n;
  return 0;
}

void ml__h2_pieces_take(ml_h2stream *x, char *to, size_t n) {
  ml_engine *e = x->h->http->net->engine;
  x->queued -= n;
  x->send_since = ml__loop_time(x->h->loop);
  while (n > 0) {
    ml_h2piece *k = x->first;
    size_t part = n < k->n ? n : k->n;
    memcpy(to, k->p, part);
    to += part;
    n -= part;
    k->p += part;
    k->n -= part;
    if (k->n > 0) break;
    x->first = k->next;
    if (k->pin != 0) ml__unpin(e->L, k->pin);
    ml__alloc(e->alloc, k, k->size, 0);
  }
  if (x->first == NULL) x->last = NULL;
  if (x->queued <= H2_LOW && !ml__list_empty(&x->drains)) ml__wake_all(&x->drains, NULL);
}

/* ---- the end ---- */

void ml__h2_finished(ml_h2stream *x) {
  if (x->flags & H2S_FINISHED) return;
  x->flags |= H2S_FINISHED | H2S_STARTED;
  if (x->flags & H2S_GIVEN) x->h->nlive--;
}

void ml__h2_stream_closed(ml_h2stream *x, bool lost) {
  ml_http2 *h = x->h;
  if (!(x->flags & H2S_OPEN)) return;
  x->flags &= ~(uint32_t)H2S_OPEN;
  ml__list_remove(&x->all);
  h->nstreams--;
  if (lost) x->flags |= H2S_LOST;
  if (ml__h2_alive(h) && x->unacked > 0) nghttp2_session_consume_connection(h->session, x->unacked);
  x->unacked = 0;
  pieces_free(x);
  if (!(x->flags & H2S_EOF) && x->reader != NULL) ml__reader_fail(x->reader);
  wake_reading(x);
  ml__wake_all(&x->drains, NULL);
  if (h->role->stream_closed != NULL) h->role->stream_closed(x);
  if (!(x->flags & (H2S_GIVEN | H2S_BAD))) ml__list_remove(&x->link);
  if (lost && x->task != 0) ml__h2_tell(x);
  ml__h2_stream_unref(x);
}
