/* Watches: descriptors whose bytes are read when they come, thousands at a time.
**
** libuv watches level-triggered: of each message the kernel is asked twice whether
** there is something to read, before and after. A loop therefore has an epoll
** instance of its own for its connections, edge-triggered, whose descriptor is
** what libuv watches. Who is told must read until the kernel gives less than was
** asked for, or ask to be told again. Where there is no epoll, watches are not to
** be had and connections are read by libuv.
*/
#include <errno.h>
#include <unistd.h>

#include "core.h"

#ifdef __linux__
#include <sys/epoll.h>

#define BATCH 256

struct ml_watches {
  ml_handlehead head; /* first */
  ml_evloop *loop;
  int epoll;
  size_t n, nweak; /* watches */
  uv_poll_t poll;
};

static void on_events(uv_poll_t *h, int status, int events) {
  struct ml_watches *p = ml__containerof(h, struct ml_watches, poll);
  struct epoll_event ev[BATCH];
  int n;
  (void)status;
  (void)events;
  do {
    n = epoll_wait(p->epoll, ev, BATCH, 0);
    for (int i = 0; i < n; i++) {
      ml_watch *w = ev[i].data.ptr;
      if (i + 4 < n) __builtin_prefetch(ev[i + 4].data.ptr); /* thousands do not fit the caches */
      w->ready(w, (ev[i].events & ~(uint32_t)EPOLLIN) != 0);
    }
  } while (n == BATCH);
}

static void on_closed(uv_handle_t *h) {
  struct ml_watches *p = h->data;
  p->loop->watches = NULL;
  close(p->epoll);
  ml__alloc(p->loop->engine->alloc, p, sizeof *p, 0);
}

static void close_watches(uv_handle_t *h) { uv_close(h, on_closed); }

static int open_watches(ml_evloop *l) {
  struct ml_watches *p;
  uv_loop_t *uv = ml__loop_uv(l);
  int rc = UV_ENOMEM;
  if (uv == NULL) return rc;
  p = ml__alloc(l->engine->alloc, NULL, 0, sizeof *p);
  if (p == NULL) return rc;
  p->head.close = close_watches;
  p->loop = l;
  p->n = p->nweak = 0;
  p->epoll = epoll_create1(EPOLL_CLOEXEC);
  rc = p->epoll < 0 ? uv_translate_sys_error(errno) : uv_poll_init(uv, &p->poll, p->epoll);
  if (rc < 0) {
    if (p->epoll >= 0) close(p->epoll);
    ml__alloc(l->engine->alloc, p, sizeof *p, 0);
    return rc;
  }
  p->poll.data = p;
  l->watches = p;
  return 0;
}

static int control(const ml_evloop *l, int op, ml_watch *w) {
  struct epoll_event ev = {.events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET, .data.ptr = w};
  return epoll_ctl(l->watches->epoll, op, w->fd, &ev) < 0 ? uv_translate_sys_error(errno) : 0;
}

/* Is there one that the loop has to go on for? */
static void hold(struct ml_watches *p) {
  if (p->n > p->nweak)
    uv_ref((uv_handle_t *)&p->poll);
  else
    uv_unref((uv_handle_t *)&p->poll);
}

int ml__watch_start(ml_evloop *l, ml_watch *w, int fd) {
  int rc = l->watches == NULL ? open_watches(l) : 0;
  if (rc < 0) return rc;
  w->fd = fd;
  rc = control(l, EPOLL_CTL_ADD, w);
  if (rc < 0) {
    w->fd = -1;
    return rc;
  }
  if (l->watches->n++ == 0) uv_poll_start(&l->watches->poll, UV_READABLE, on_events);
  if (w->weak) l->watches->nweak++;
  hold(l->watches);
  return 0;
}

void ml__watch_weaken(ml_evloop *l, ml_watch *w, bool weak) {
  if (w->weak == weak) return;
  w->weak = weak;
  if (w->fd < 0) return;
  l->watches->nweak += weak ? 1 : (size_t)-1;
  hold(l->watches);
}

void ml__watch_again(ml_evloop *l, ml_watch *w) {
  if (w->fd >= 0) control(l, EPOLL_CTL_MOD, w);
}

void ml__watch_stop(ml_evloop *l, ml_watch *w) {
  struct ml_watches *p = l->watches;
  if (w->fd < 0) return;
  control(l, EPOLL_CTL_DEL, w);
  w->fd = -1;
  if (w->weak) p->nweak--;
  p->n--;
  if (uv_is_closing((uv_handle_t *)&p->poll)) return;
  hold(p);
  if (p->n == 0) uv_poll_stop(&p->poll);
}

void ml__watches_close(ml_evloop *l) {
  if (l->watches != NULL) close_watches((uv_handle_t *)&l->watches->poll);
}

#else

int ml__watch_start(ml_evloop *l, ml_watch *w, int fd) {
  (void)l, (void)w, (void)fd;
  return UV_ENOSYS;
}
void ml__watch_again(ml_evloop *l, ml_watch *w) { (void)l, (void)w; }
void ml__watch_stop(ml_evloop *l, ml_watch *w) { (void)l, (void)w; }
void ml__watch_weaken(ml_evloop *l, ml_watch *w, bool weak) { (void)l, (void)w, (void)weak; }
void ml__watches_close(ml_evloop *l) { (void)l; }

#endif
