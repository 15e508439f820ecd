/* Files as bodies of messages, by the kernel. What of a file is in memory goes out on the loop's
** own thread, as far as the socket takes it; the rest (pages that are on the disk, a socket that
** is full) is the affair of threads: x:_lend gives them a duplicate of the descriptor. The loop
** over both is stdlib/http/sendfile.lua.
*/
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "http.h"
#include "socket.h"

#define AHEAD ((size_t)128 * 1024) /* what the kernel reads ahead at once */
#define TURN ((size_t)1 << 20)     /* then others have theirs */

/* Can sendfile be used on the stream at all? */
static bool is_plain(const ml_stream *s) {
  return s->ops == &ml__plain_ops && (!(s->flags & ML_S_PIPE) || (s->flags & ML_S_UNIX));
}

/* How many of n bytes can be read without waiting for a disk? One in each AHEAD is tried, and the
** last. */
static size_t in_memory(int fd, off_t at, size_t n) {
  char c;
  const struct iovec one = {&c, 1};
  struct statfs fs;
  for (size_t i = 0; i < n; i = i + AHEAD < n || i == n - 1 ? i + AHEAD : n - 1) {
    if (preadv2(fd, &one, 1, at + (off_t)i, RWF_NOWAIT) >= 0) continue;
    if (errno != EOPNOTSUPP || fstatfs(fd, &fs) < 0) return i / AHEAD * AHEAD;
    return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC ? n : 0;
  }
  return n;
}

/* Sends until something is in the way, which it gives: nothing, "full", "cold", "short" (the file
** has ended), "turn". *rc < 0: it failed. */
static const char *send_steps(int out, int in, off_t at, size_t n, size_t *sent, int *rc) {
  const char *why = NULL;
  *sent = 0;
  *rc = 0;
  while (*sent < n && why == NULL) {
    size_t step = n - *sent < TURN ? n - *sent : TURN;
    ssize_t put;
    if (*sent >= TURN) return "turn";
    step = in_memory(in, at, step);
    if (step == 0) return "cold";
    put = sendfile(out, in, &at, step);
    if (put > 0)
      *sent += (size_t)put;
    else if (put == 0)
      why = "short";
    else if (errno == EAGAIN)
      why = "full";
    else if (errno == EINVAL || errno == ENOSYS)
      why = "cold"; /* by hand */
    else if (errno != EINTR) {
      *rc = uv_translate_sys_error(errno);
      return "failed";
    }
  }
  return why;
}

/* The kernel raises SIGPIPE for sendfile: it is held back and taken. */
static const char *send_quietly(int out, int in, off_t at, size_t n, size_t *sent, int *rc) {
  const struct timespec now = {0, 0};
  const char *why;
  sigset_t pipe, before;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, &before);
  why = send_steps(out, in, at, n, sent, rc);
  if (*rc == UV_EPIPE && !sigismember(&before, SIGPIPE)) sigtimedwait(&pipe, NULL, &now);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return why;
}

/* Counts bytes of the body that another way than x:write has sent. */
static void count(ml_hconn *c, uint64_t n) {
  c->sent += n;
  if (c->flags & ML_HC_LENGTH) c->left -= n < c->left ? n : c->left;
}

const char *ml__hsendfile(lua_State *L, ml_stream *s, size_t *sent) {
  bool own;
  int in = ml__checkfileno(L, 2, "sendfile", &own), rc = 0;
  lua_Integer at = luaL_checkinteger(L, 3), n = luaL_checkinteger(L, 4);
  const char *why;
  uv_os_fd_t out;
  *sent = 0;
  if (!is_plain(s) || ml__stream_fd(s, &out) < 0) return "copy";
  if (s->first != NULL) return "queued";
  why = send_quietly(out, in, (off_t)at, (size_t)n, sent, &rc);
  if (rc >= 0) return why;
  s->flags |= ML_S_WRITEFAIL;
  ml__stream_fail(s, rc);
  ml__error_os(L, rc, "sendfile", "sendfile");
  lua_error(L);
  return NULL;
}

uint64_t ml__hsendfile_check(lua_State *L, const ml_stream *s) {
  bool own;
  lua_Integer at = luaL_checkinteger(L, 3), n = luaL_checkinteger(L, 4);
  ml__checkfileno(L, 2, "sendfile", &own);
  luaL_argcheck(L, at >= 0 && n >= 0, 3, "a position and a number of bytes expected");
  if ((s->flags & ML_S_LENT) && !lua_toboolean(L, 5))
    ml__misuse(L, "RuntimeError", "sendfile(): sendfile is in progress");
  return (uint64_t)n;
}

/* x:_sendfile(file, offset, count, lent) -> bytes sent, what is in the way: nil, "turn", "full", "cold",
** "short", "queued" (what was written before), "copy" (no sendfile here) */
static int x_sendfile(lua_State *L) {
  ml_hconn *c = ml__hconn_check_open(L, "sendfile");
  uint64_t n = ml__hsendfile_check(L, c->s);
  size_t sent = 0;
  const char *why = NULL;
  if ((c->flags & ML_HC_LENGTH) && n > c->left)
    return ml__misuse(L, "ValueError", "sendfile: %I bytes more than the response's length",
                      (LUAI_UACINT)(n - c->left));
  if (c->flags & ML_HC_NOBODY) {
    sent = (size_t)n;
  } else if (c->flags & ML_HC_CHUNKED) {
    why = "copy";
  } else {
    why = ml__hsendfile(L, c->s, &sent);
    count(c, sent);
  }
  lua_pushinteger(L, (lua_Integer)sent);
  lua_pushstring(L, why);
  return 2;
}

bool ml__hsendfile_lend(lua_State *L, ml_stream *s) {
  uv_os_fd_t fd;
  ml_socket *k;
  if (s->first != NULL || ml__stream_fd(s, &fd) < 0) return false;
  k = ml__socket_push(L, AF_UNSPEC, SOCK_STREAM, 0);
  k->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (k->fd < 0) {
    ml__error_os(L, uv_translate_sys_error(errno), "dup", "sendfile");
    lua_error(L);
  }
  s->flags |= ML_S_LENT;
  return true;
}

/* x:_lend() -> a Socket of a duplicate of the descriptor, and how long to wait for the peer, seconds
** (< 0: for ever); nothing may be written until x:_unlend. */
static int x_lend(lua_State *L) {
  ml_hconn *c = ml__hconn_check_open(L, "sendfile");
  if (!ml__hsendfile_lend(L, c->s)) return 0;
  lua_pushnumber(L, c->settings->send_timeout);
  return 2;
}

/* x:_unlend(n): it is given back, n bytes were sent through it; whatever has become of the exchange */
static int x_unlend(lua_State *L) {
  ml_exchange *x = ml__checkexchange(L, 1);
  lua_Integer n = luaL_checkinteger(L, 2);
  ml_hconn *c = x->c;
  c->s->flags &= ~(uint32_t)ML_S_LENT;
  if (x->serial == c->serial && n > 0) count(c, (uint64_t)n);
  return 0;
}

void ml__hsendfile_cork(const ml_stream *s, int on) {
  uv_os_fd_t fd;
  if ((s->flags & (ML_S_CLOSING | ML_S_PIPE)) || ml__stream_fd(s, &fd) < 0) return;
  setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

/* x:_cork(on): what is written goes out in full packets only, until it is taken back */
static int x_cork(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  if (!(x->c->flags & (ML_HC_OVER | ML_HC_UPGRADED)))
    ml__hsendfile_cork(x->c->s, lua_toboolean(L, 2));
  return 0;
}

const luaL_Reg ml__hsendfile_methods[] = {{"_cork", x_cork},
                                          {"_sendfile", x_sendfile},
                                          {"_lend", x_lend},
                                          {"_unlend", x_unlend},
                                          {NULL, NULL}};
