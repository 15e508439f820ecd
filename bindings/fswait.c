/* Waiting on the loop for what no thread should wait for: a descriptor that is not ready,
** or a time after which something is tried again.
**
** A wait is a block of its own with a handle of libuv's, which may outlive the file or job
** that waits, and on a host's loop the engine. The owner has it in a slot; a loop that
** closes empties that. What is polled is a duplicate: scripts know the numbers of
** their files' descriptors and may close them, which libuv does not survive.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs.h"

#define LONGEST 50 /* ms between two tries */

struct ml_fswait {
  ml_handlehead head; /* first */
  union {
    uv_handle_t handle;
    uv_poll_t poll;
    uv_timer_t timer;
  } u;
  ml_fswait **slot;
  ml_fswait_cb ready;
  void *owner;
  int fd; /* the duplicate; -1: a timer */
  bool armed;
};

static void on_closed(uv_handle_t *h) { free(h->data); }

void ml__fswait_close(ml_fswait **slot) {
  ml_fswait *w = *slot;
  if (w == NULL) return;
  *slot = NULL;
  w->slot = NULL;
  w->armed = false;
  uv_close(&w->u.handle, on_closed);
  if (w->fd >= 0) close(w->fd);
}

static void close_with_loop(uv_handle_t *h) {
  ml_fswait *w = h->data;
  bool armed = w->armed;
  ml_fswait_cb ready = w->ready;
  void *owner = w->owner;
  ml__fswait_close(w->slot);
  if (armed) ready(owner, UV_ECANCELED);
}

static ml_fswait *wait_new(ml_fswait_cb ready, void *owner) {
  ml_fswait *w = calloc(1, sizeof *w);
  if (w == NULL) return NULL;
  w->head.close = close_with_loop;
  w->ready = ready;
  w->owner = owner;
  w->fd = -1;
  return w;
}

static void install(ml_fswait **slot, ml_fswait *w) {
  w->u.handle.data = w;
  w->slot = slot;
  *slot = w;
}

/* ---- descriptors ---- */

static void on_poll(uv_poll_t *h, int status, int events) {
  ml_fswait *w = h->data;
  (void)events;
  if (status < 0) w->armed = false; /* libuv has stopped */
  w->ready(w->owner, status);
}

static int poll_new(ml_fswait **slot, uv_loop_t *uv, int fd, ml_fswait_cb ready, void *owner) {
  ml_fswait *w = wait_new(ready, owner);
  int rc;
  if (w == NULL) return UV_ENOMEM;
  w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  rc = w->fd < 0 ? uv_translate_sys_error(errno) : uv_poll_init(uv, &w->u.poll, w->fd);
  if (rc == 0) {
    install(slot, w);
    return 0;
  }
  if (w->fd >= 0) close(w->fd);
  free(w);
  return rc;
}

int ml__fswait_poll(ml_fswait **slot, uv_loop_t *uv, int fd, int events, ml_fswait_cb ready,
                    void *owner) {
  int rc = 0;
  if (*slot != NULL && (*slot)->u.handle.loop != uv) ml__fswait_close(slot);
  if (*slot == NULL) rc = poll_new(slot, uv, fd, ready, owner);
  if (rc == 0) rc = uv_poll_start(&(*slot)->u.poll, events, on_poll);
  if (rc == 0) (*slot)->armed = true;
  return rc;
}

void ml__fswait_stop(ml_fswait *w) {
  if (w->armed) uv_poll_stop(&w->u.poll);
  w->armed = false;
}

bool ml__fswait_on(const ml_fswait *w, const uv_loop_t *uv) {
  return w != NULL && w->u.handle.loop == uv;
}

/* ---- time ---- */

static void on_time(uv_timer_t *h) {
  ml_fswait *w = h->data;
  ml_fswait_cb ready = w->ready;
  void *owner = w->owner;
  ml__fswait_close(w->slot);
  ready(owner, 0);
}

int ml__fswait_again(ml_fswait **slot, uv_loop_t *uv, unsigned tries, ml_fswait_cb ready,
                     void *owner) {
  uint64_t ms = tries < 6 ? (uint64_t)1 << tries : LONGEST;
  ml_fswait *w = wait_new(ready, owner);
  if (w == NULL) return UV_ENOMEM;
  uv_timer_init(uv, &w->u.timer); /* cannot fail */
  install(slot, w);
  w->armed = true;
  uv_update_time(uv);
  uv_timer_start(&w->u.timer, on_time, ms, 0);
  return 0;
}
