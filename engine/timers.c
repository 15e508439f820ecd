/* Timers: one heap per loop, ordered by deadline and, for equal deadlines, by
** the order of starting. Each entry keeps its deadline beside the pointer, so
** that sifting touches no timer but those it moves. Four children to a node:
** half the levels of a binary heap.
**
** A timer's `index` is its place in the heap plus one; 0 when not scheduled.
*/
#include <string.h>

#include "core.h"

static inline bool before(double when, const ml_timer *t, double when2, const ml_timer *t2) {
  return when < when2 || (when == when2 && t->seq < t2->seq);
}

static inline void put(ml_evloop *l, size_t i, double when, ml_timer *t) {
  l->heap[i].when = when;
  l->heap[i].timer = t;
  t->index = i + 1;
}

static void sift_up(ml_evloop *l, size_t i, double when, ml_timer *t) {
  while (i > 0) {
    size_t up = (i - 1) / 4;
    if (!before(when, t, l->heap[up].when, l->heap[up].timer)) break;
    put(l, i, l->heap[up].when, l->heap[up].timer);
    i = up;
  }
  put(l, i, when, t);
}

static void sift_down(ml_evloop *l, size_t i, double when, ml_timer *t) {
  for (;;) {
    size_t c = 4 * i + 1, last = c + 4 < l->ntimers ? c + 4 : l->ntimers, least = c;
    if (c >= l->ntimers) break;
    for (size_t k = c + 1; k < last; k++)
      if (before(l->heap[k].when, l->heap[k].timer, l->heap[least].when, l->heap[least].timer))
        least = k;
    if (!before(l->heap[least].when, l->heap[least].timer, when, t)) break;
    put(l, i, l->heap[least].when, l->heap[least].timer);
    i = least;
  }
  put(l, i, when, t);
}

void ml__timer_init(ml_timer *t, void (*run)(ml_evloop *, ml_job *)) {
  memset(t, 0, sizeof *t);
  t->job.run = run;
  ml__list_init(&t->job.link);
}

int ml__timer_start(ml_evloop *l, ml_timer *t, double when) {
  if (l->ntimers == l->heapcap) {
    size_t cap = l->heapcap == 0 ? 16 : 2 * l->heapcap;
    void *heap = ml__alloc(l->engine->alloc, l->heap, l->heapcap * sizeof *l->heap,
                           cap * sizeof *l->heap);
    if (heap == NULL) return UV_ENOMEM;
    l->heap = heap;
    l->heapcap = cap;
  }
  t->when = when;
  t->seq = ++l->timer_seq;
  if (t->weak) l->nweak++;
  sift_up(l, l->ntimers++, when, t);
  return 0;
}

void ml__timer_stop(ml_evloop *l, ml_timer *t) {
  size_t i = t->index;
  ml_timer *last;
  double when;
  if (i-- == 0) return;
  t->index = 0;
  if (t->weak) l->nweak--;
  last = l->heap[--l->ntimers].timer;
  when = l->heap[l->ntimers].when;
  if (last == t) return;
  if (i > 0 && before(when, last, l->heap[(i - 1) / 4].when, l->heap[(i - 1) / 4].timer))
    sift_up(l, i, when, last);
  else
    sift_down(l, i, when, last);
}

void ml__timer_weaken(ml_evloop *l, ml_timer *t, bool weak) {
  if (t->weak == weak) return;
  t->weak = weak;
  if (t->index != 0) l->nweak += weak ? 1 : (size_t)-1;
}
