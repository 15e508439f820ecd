/*
** A thread that finishes what it is handed, for host.c and its limit: work is put into an array
** under a lock; the thread takes all that is there.
*/

#ifndef HAND_H
#define HAND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct hand {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t come;
  void (*finish)(void *work);
  void **work, **taken;
  size_t n;
  bool over;
} hand;

static inline void *hand_run(void *ud) {
  hand *h = ud;
  for (;;) {
    size_t n;
    pthread_mutex_lock(&h->lock);
    while (h->n == 0 && !h->over) pthread_cond_wait(&h->come, &h->lock);
    n = h->n;
    memcpy(h->taken, h->work, n * sizeof *h->work);
    h->n = 0;
    pthread_mutex_unlock(&h->lock);
    if (n == 0) return NULL;
    for (size_t i = 0; i < n; i++) h->finish(h->taken[i]);
  }
}

/* At most `most` pieces of work are under way at a time. */
static inline hand *hand_new(void (*finish)(void *work), size_t most) {
  hand *h = calloc(1, sizeof *h);
  pthread_mutex_init(&h->lock, NULL);
  pthread_cond_init(&h->come, NULL);
  h->finish = finish;
  h->work = malloc(most * sizeof *h->work);
  h->taken = malloc(most * sizeof *h->taken);
  if (pthread_create(&h->thread, NULL, hand_run, h) != 0) exit(1);
  return h;
}

static inline void hand_over(hand *h, void *work) {
  pthread_mutex_lock(&h->lock);
  h->work[h->n++] = work;
  if (h->n == 1) pthread_cond_signal(&h->come);
  pthread_mutex_unlock(&h->lock);
}

static inline void hand_free(hand *h) {
  pthread_mutex_lock(&h->lock);
  h->over = true;
  pthread_cond_signal(&h->come);
  pthread_mutex_unlock(&h->lock);
  pthread_join(h->thread, NULL);
  free(h->work);
  free(h->taken);
  free(h);
}

#endif
