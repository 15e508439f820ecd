/* Descriptors 0, 1 and 2: see stdfd.h. And module asyncio.stdstreams, which has
** the three streams. Owner: the userdata of each stream, which lives as long
** as its engine.
*/
#include "stdfd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PIPEFS_MAGIC 0x50495045 /* linux/magic.h */

typedef struct stdpoll {
  ml_handlehead head; /* first */
  ml_engine *engine;
  ml_evloop *loop;
  ml_stdfd *f; /* NULL: closed */
  uv_poll_t poll;
} stdpoll;

/* malloc'd: on a host's loop it may outlive the engine. */
typedef struct stdwork {
  uv_work_t req;
  ml_stdfd *f; /* NULL: given up */
  int fd;
  bool writes;
  uv_sem_t over; /* posted by the thread */
  size_t n;
  ssize_t rc;
  char data[1];
} stdwork;

const char *ml__stdfd_name(const ml_stdfd *f) {
  static const char *const names[] = {"<stdin>", "<stdout>", "<stderr>"};
  return names[f->number];
}

ml_evloop *ml__stdfd_loop(ml_engine *e) {
  ml_evloop *l = e->running;
  if (l == NULL && !e->closing) l = ml__engine_loop(e);
  return l != NULL && !l->closed && ml__loop_uv(l) != NULL ? l : NULL;
}

/* ---- opening ---- */

/* Not the master of a pseudo-terminal: that would make another. Nor the reading end of
** a FIFO, which might have lost its writers. */
static bool can_reopen(int fd, const struct stat *st, bool writes) {
  struct statfs fs;
  unsigned n;
  if (S_ISCHR(st->st_mode)) return isatty(fd) && ioctl(fd, TIOCGPTN, &n) < 0;
  if (!S_ISFIFO(st->st_mode)) return false;
  return writes || (fstatfs(fd, &fs) == 0 && fs.f_type == PIPEFS_MAGIC);
}

int ml__fd_reopen(int fd, const struct stat *st, bool writes) {
  char path[32];
  if (!can_reopen(fd, st, writes)) return -1;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return open(path, (writes ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

bool ml__fd_pollable(int fd) {
  struct epoll_event ev = {.events = EPOLLIN};
  int ep = epoll_create1(EPOLL_CLOEXEC);
  bool ok = ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0;
  if (ep >= 0) close(ep);
  return ok;
}

int ml__stdfd_open(ml_stdfd *f) {
  struct stat st;
  f->fd = -1;
  if (fstat(f->number, &st) < 0) return uv_translate_sys_error(errno);
  f->dev = st.st_dev;
  f->ino = st.st_ino;
  f->regular = S_ISREG(st.st_mode);
  f->socket = S_ISSOCK(st.st_mode);
  f->tty = S_ISCHR(st.st_mode) && isatty(f->number);
  f->fd = ml__fd_reopen(f->number, &st, f->number > 0);
  f->shared = f->fd < 0;
  if (f->shared) f->fd = fcntl(f->number, F_DUPFD_CLOEXEC, 3);
  if (f->fd < 0) return uv_translate_sys_error(errno);
  f->pollable = !f->regular && ml__fd_pollable(f->fd);
  return 0;
}

/* ---- watching ---- */

static void on_poll_closed(uv_handle_t *h) {
  stdpoll *p = h->data;
  ml__alloc(p->engine->alloc, p, sizeof *p, 0);
}

static void poll_close(uv_handle_t *h) {
  stdpoll *p = h->data;
  if (p->f != NULL) p->f->poll = NULL;
  p->f = NULL;
  if (uv_is_closing(h)) return;
  uv_poll_stop(&p->poll);
  uv_close(h, on_poll_closed);
}

static void on_poll(uv_poll_t *h, int status, int events) {
  stdpoll *p = h->data;
  (void)events;
  if (p->f != NULL) p->f->ready(p->f, status);
}

static int poll_open(ml_stdfd *f, ml_evloop *loop) {
  ml_engine *e = f->engine;
  stdpoll *p = ml__alloc(e->alloc, NULL, 0, sizeof *p);
  int rc, flags = fcntl(f->fd, F_GETFL);
  if (p == NULL) return UV_ENOMEM;
  memset(p, 0, sizeof *p);
  rc = uv_poll_init(loop->uv, &p->poll, f->fd);
  if (f->shared) fcntl(f->fd, F_SETFL, flags); /* libuv has made it non-blocking */
  if (rc < 0) {
    ml__alloc(e->alloc, p, sizeof *p, 0);
    return rc;
  }
  p->head.close = poll_close;
  p->poll.data = p;
  p->engine = e;
  p->loop = loop;
  p->f = f;
  f->poll = p;
  return 0;
}

int ml__stdfd_watch(ml_stdfd *f, ml_evloop *loop, int events) {
  if (events == 0) {
    if (f->poll != NULL) uv_poll_stop(&f->poll->poll);
    return 0;
  }
  if (f->poll != NULL && f->poll->loop != loop) poll_close((uv_handle_t *)&f->poll->poll);
  if (f->poll == NULL) {
    int rc = poll_open(f, loop);
    if (rc < 0) return rc;
  }
  return uv_poll_start(&f->poll->poll, events, on_poll);
}

/* ---- threads ---- */

static void on_thread(uv_work_t *req) {
  stdwork *w = ml__containerof(req, stdwork, req);
  size_t n = 0;
  ssize_t got;
  do {
    got = w->writes ? write(w->fd, w->data + n, w->n - n) : read(w->fd, w->data, w->n);
    if (got > 0) n += (size_t)got;
  } while ((got < 0 && errno == EINTR) || (w->writes && got > 0 && n < w->n));
  w->rc = n > 0 || got == 0 ? (ssize_t)n : uv_translate_sys_error(errno);
  uv_sem_post(&w->over);
}

static void give_up(stdwork *w) {
  ml_stdfd *f = w->f;
  w->f = NULL;
  f->work = NULL;
  f->engine->nstats_inflight--;
}

static void on_thread_done(uv_work_t *req, int status) {
  stdwork *w = ml__containerof(req, stdwork, req);
  ml_stdfd *f = w->f;
  if (f != NULL) {
    give_up(w);
    f->done(f, w->data, status < 0 ? status : w->rc);
  }
  uv_sem_destroy(&w->over);
  free(w);
}

int ml__stdfd_start(ml_stdfd *f, ml_evloop *loop, const char *p, size_t n) {
  stdwork *w = malloc(offsetof(stdwork, data) + n);
  int rc = UV_ENOMEM;
  if (w == NULL) return rc;
  w->f = f;
  w->fd = f->fd;
  w->writes = p != NULL;
  w->n = n;
  w->rc = 0;
  if (p != NULL) memcpy(w->data, p, n);
  if (uv_sem_init(&w->over, 0) == 0) {
    rc = uv_queue_work(loop->uv, &w->req, on_thread, on_thread_done);
    if (rc < 0) uv_sem_destroy(&w->over);
  }
  if (rc < 0) {
    free(w);
    return rc;
  }
  f->work = w;
  f->engine->nstats_inflight++;
  return 0;
}

void ml__stdfd_settle(ml_stdfd *f) {
  stdwork *w = f->work;
  if (w == NULL) return;
  if (uv_cancel((uv_req_t *)&w->req) == 0) {
    give_up(w);
    f->done(f, w->data, UV_ECANCELED);
    return;
  }
  uv_sem_wait(&w->over);
  give_up(w);
  f->done(f, w->data, w->rc);
}

void ml__stdfd_close(ml_stdfd *f) {
  if (f->poll != NULL) poll_close((uv_handle_t *)&f->poll->poll);
  if (f->work != NULL) { /* the thread uses the descriptor */
    stdwork *w = f->work;
    if (uv_cancel((uv_req_t *)&w->req) != 0) uv_sem_wait(&w->over);
    give_up(w);
  }
  if (f->fd >= 0) close(f->fd);
  f->fd = -1;
}

void ml__stdio_leave(lua_State *L, ml_evloop *l) {
  for (int i = 0; i < 3; i++) {
    ml_stdfd *f = i == 0 ? ml__stdin_fd(L) : ml__stdout_fd(L, i);
    if (f == NULL) continue;
    if (f->poll != NULL && f->poll->loop == l) poll_close((uv_handle_t *)&f->poll->poll);
    if (f->work != NULL && f->work->req.loop == l->uv) ml__stdfd_settle(f);
  }
}

/* ---- at once ---- */

static ssize_t outcome(ssize_t n) {
  if (n >= 0) return n;
  return errno == EWOULDBLOCK || errno == EINTR ? UV_EAGAIN : uv_translate_sys_error(errno);
}

ssize_t ml__stdfd_read(ml_stdfd *f, char *p, size_t n) {
  ssize_t got;
  struct pollfd q = {f->fd, POLLIN, 0};
  if (f->socket) return outcome(recv(f->fd, p, n, MSG_DONTWAIT));
  if (f->shared && poll(&q, 1, 0) == 0) return UV_EAGAIN;
  got = outcome(read(f->fd, p, n));
  return got == UV_EIO && f->tty ? 0 : got; /* hung up */
}

/* A pipe that nobody reads gives EPIPE and a signal, which would end a host that has not
** cared for it: the signal is taken back. */
static ssize_t write_quietly(int fd, const char *p, size_t n) {
  const struct timespec now = {0, 0};
  sigset_t sigpipe, old, before;
  ssize_t sent;
  int err;
  sigemptyset(&sigpipe);
  sigaddset(&sigpipe, SIGPIPE);
  sigpending(&before);
  pthread_sigmask(SIG_BLOCK, &sigpipe, &old);
  sent = write(fd, p, n);
  err = errno;
  if (sent < 0 && err == EPIPE && !sigismember(&before, SIGPIPE))
    while (sigtimedwait(&sigpipe, NULL, &now) < 0 && errno == EINTR) {}
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  errno = err;
  return sent;
}

ssize_t ml__stdfd_write(ml_stdfd *f, const char *p, size_t n) {
  struct pollfd q = {f->fd, POLLOUT, 0};
  size_t sent = 0, most = f->tty ? 256 : PIPE_BUF;
  ssize_t got = 0;
  if (f->socket) return outcome(send(f->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL));
  if (!f->shared || !f->pollable) return outcome(write_quietly(f->fd, p, n));
  /* so many bytes do not block when it is writable */
  while (sent < n && poll(&q, 1, 0) == 1) {
    got = outcome(write_quietly(f->fd, p + sent, n - sent < most ? n - sent : most));
    if (got < 0) break;
    sent += (size_t)got;
  }
  return sent > 0 ? (ssize_t)sent : got < 0 ? got : UV_EAGAIN;
}

bool ml__stdfd_wait(const ml_stdfd *f) {
  struct pollfd q = {f->fd, POLLOUT, 0};
  int interrupts = f->engine->sigints;
  while (poll(&q, 1, -1) < 0) {
    if (errno != EINTR || f->engine->sigints != interrupts) return false;
  }
  return true;
}

int ml__open_stdstreams(lua_State *L) {
  ml__check_may(L, ML_P_STDIO, "use of the standard streams", NULL);
  ml__net(L);
  lua_createtable(L, 0, 4);
  ml__stdin_open(L);
  ml__stdout_open(L);
  return 1;
}
