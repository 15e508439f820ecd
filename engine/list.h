/* Lists: circular, intrusive, with a head. What is in one can be taken out without it. */
#ifndef ML_LIST_H
#define ML_LIST_H

#include <stdbool.h>

typedef struct ml_link {
  struct ml_link *next, *prev;
} ml_link;

static inline void ml__list_init(ml_link *h) { h->next = h->prev = h; }
static inline bool ml__list_empty(const ml_link *h) { return h->next == h; }
static inline void ml__list_append(ml_link *h, ml_link *n) {
  n->prev = h->prev;
  n->next = h;
  h->prev->next = n;
  h->prev = n;
}
static inline void ml__list_remove(ml_link *n) {
  n->prev->next = n->next;
  n->next->prev = n->prev;
  n->next = n->prev = n;
}
/* Moves all of `from` to the end of `to`. */
static inline void ml__list_splice(ml_link *to, ml_link *from) {
  if (ml__list_empty(from)) return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  ml__list_init(from);
}

#endif
