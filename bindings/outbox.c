/* The outbox: what the tasks of a round write leaves together, behind the round.
**
** A server with hundreds of connections wakes as many tasks in a round, and each reads, thinks and
** writes: were the kernel called at each write, its way through the network and Lua's would drive
** one another out of the processor's caches. So a small write is copied here when other jobs of the
** round are still to run or have left something, and sent when there are enough, or the round is
** over: a tenth of the time of a message is saved. Who runs alone sends at once. Bytes in the outbox
** count as sent: nothing waits for them. What the kernel then does not take is queued as always.
** Whoever works on a descriptor himself flushes first. Owner: ml_engine.
*/
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "stream.h"

#define BYTES (32 * 1024)
#define LETTERS 64
#define LETTER_MAX 2048

typedef struct letter {
  ml_stream *s;
  int fd;
  unsigned len;
} letter;

struct ml_outbox {
  unsigned n;
  bool sending;
  size_t used;
  letter letters[LETTERS];
  char bytes[BYTES];
};

static struct ml_outbox *open_box(ml_engine *e) {
  struct ml_outbox *box = ml__alloc(e->alloc, NULL, 0, sizeof *box);
  if (box == NULL) return NULL;
  box->n = 0;
  box->sending = false;
  box->used = 0;
  e->round_over = ml__outbox_flush;
  return e->outbox = box;
}

void ml__outbox_free(ml_engine *e) {
  if (e->outbox != NULL) ml__alloc(e->alloc, e->outbox, sizeof *e->outbox, 0);
  e->round_over = NULL;
  e->outbox = NULL;
}

/* The stream itself is looked at only if the kernel has not taken all, of this letter or one before. */
static bool deliver(const letter *l, const char *p, bool smooth) {
  uv_buf_t rest = {.base = (char *)p, .len = l->len};
  ssize_t sent = smooth ? send(l->fd, p, l->len, MSG_NOSIGNAL) : 0;
  if (sent == (ssize_t)l->len) return smooth;
  if (sent > 0) {
    rest.base += sent;
    rest.len -= (size_t)sent;
  }
  if (!(l->s->flags & ML_S_DROPPED)) ml__plain_send_now(l->s, &rest, 1); /* it tells of errors */
  return false;
}

void ml__outbox_flush(ml_engine *e) {
  struct ml_outbox *box = e->outbox;
  const char *p;
  bool smooth = true;
  if (box == NULL || box->n == 0 || box->sending) return;
  box->sending = true;
  p = box->bytes;
  for (unsigned i = 0; i < box->n; i++) {
    smooth = deliver(&box->letters[i], p, smooth);
    p += box->letters[i].len;
  }
  box->n = 0;
  box->used = 0;
  box->sending = false;
}

void ml__stream_flush(ml_stream *s) {
  ml_engine *e = s->net->engine;
  const struct ml_outbox *box = e->outbox;
  for (unsigned i = box != NULL ? box->n : 0; i > 0; i--) {
    if (box->letters[i - 1].s != s) continue;
    ml__outbox_flush(e);
    return;
  }
}

/* Room for n bytes more of the stream, or NULL. */
static char *room(struct ml_outbox *box, ml_stream *s, size_t n) {
  letter *last = box->n > 0 ? &box->letters[box->n - 1] : NULL;
  char *p = box->bytes + box->used;
  uv_os_fd_t fd;
  if (last == NULL || last->s != s) {
    if (ml__stream_fd(s, &fd) < 0) return NULL;
    last = &box->letters[box->n++];
    *last = (letter){.s = s, .fd = fd};
  }
  last->len += (unsigned)n;
  box->used += n;
  return p;
}

bool ml__outbox_post(ml_stream *s, const uv_buf_t *bufs, unsigned n, size_t total) {
  const ml_evloop *l = s->loop;
  ml_engine *e = s->net->engine;
  struct ml_outbox *box = e->outbox;
  char *p;
  if (total > LETTER_MAX || s->first != NULL || e->running != l ||
      (ml__list_empty(&l->batch) && (box == NULL || box->n == 0)) ||
      (s->flags & (ML_S_PIPE | ML_S_UNIX)) == ML_S_PIPE ||
      s->high < BYTES) /* a low mark: somebody wants to know what the kernel takes */
    return false;
  if (box == NULL) box = open_box(e);
  if (box == NULL || box->sending) return false;
  if (total > BYTES - box->used || box->n == LETTERS) {
    ml__outbox_flush(e);
    if (s->first != NULL || (s->flags & ML_S_DROPPED)) return false;
  }
  p = room(box, s, total);
  for (unsigned i = 0; p != NULL && i < n; p += bufs[i++].len) memcpy(p, bufs[i].base, bufs[i].len);
  return p != NULL;
}
