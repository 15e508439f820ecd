/* An allocator whose n-th allocation fails, and that counts what is not given back: for the
** sweeps of oom.c and oom_calls.c. */
#ifndef LIMITED_H
#define LIMITED_H

#include <stdalign.h>

#include "expect.h"

typedef struct limits {
  long left;          /* allocations until the failure; -1: none fails */
  int refusals;       /* how many there will be; -1: no end */
  long asked;         /* how often something was asked for */
  long blocks, bytes; /* not given back */
} limits;

typedef union head {
  size_t size;
  max_align_t align;
} head;

/* An ml_alloc_fn and lua_Alloc. */
static void *limited(void *ud, void *p, size_t osize, size_t nsize) {
  limits *b = ud;
  head *h = p != NULL ? (head *)p - 1 : NULL, *q;
  if (h != NULL) expect(h->size == osize); /* as Lua promises its allocator */
  if (nsize == 0) {
    if (h != NULL) {
      b->blocks--;
      b->bytes -= (long)h->size;
    }
    free(h);
    return NULL;
  }
  b->asked++;
  if (b->left > 0)
    b->left--;
  else if (b->left == 0 && b->refusals != 0) {
    if (b->refusals > 0) b->refusals--;
    return NULL;
  }
  q = realloc(h, sizeof *h + nsize);
  if (q == NULL) return NULL;
  if (p == NULL)
    b->blocks++, b->bytes += (long)nsize;
  else
    b->bytes += (long)nsize - (long)osize;
  q->size = nsize;
  return q + 1;
}

#endif
