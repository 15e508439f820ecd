/* Files as bodies of messages. What of a file is in memory goes out on the loop's own thread, as far
** as the socket takes it: through one warm buffer, as sendfile(2) hands pages on in pieces of 64 KiB,
** each of which wakes a peer on the same machine. What is on the disk is the affair of threads:
** x:_lend gives them a duplicate of the descriptor. The loop over both is stdlib/http/sendfile.lua.
*/
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "http.h"
#include "socket.h"

#define LEAST (16 * 1024)      /* of a piece, where the socket has little room */
#define TURN ((size_t)1 << 20) /* then others have theirs */

/* Does the descriptor take the bytes as they are? */
static bool is_plain(const ml_stream *s) {
  return s->ops == &ml__plain_ops && (!(s->flags & ML_S_PIPE) || (s->flags & ML_S_UNIX));
}

/* How many bytes would the socket take now, about? Its memory also pays for what the kernel keeps
** of each packet. */
static size_t room(int fd) {
  int space = 0, queued = 0;
  socklen_t n = sizeof space;
  if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &space, &n) < 0 || ioctl(fd, SIOCOUTQ, &queued) < 0)
    return ML_PIECE;
  if (space - queued < LEAST) return LEAST;
  return space - queued < ML_PIECE ? (size_t)(space - queued) : ML_PIECE;
}

/* What can be read without waiting for a disk; EAGAIN: nothing can. */
static ssize_t read_cached(int fd, char *to, size_t n, off_t at) {
  const struct iovec piece = {to, n};
  struct statfs fs;
  ssize_t got = preadv2(fd, &piece, 1, at, RWF_NOWAIT);
  if (got >= 0 || errno != EOPNOTSUPP) return got;
  if (fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
    return pread(fd, to, n, at);
  errno = EAGAIN;
  return -1;
}

/* Sends until something is in the way, which it gives: nothing, "full", "cold", "short" (the file
** has ended), "turn". *rc < 0: it failed. */
static const char *send_steps(int out, int in, off_t at, size_t n, char *piece, size_t *sent,
                              int *rc) {
  *sent = 0;
  *rc = 0;
  while (*sent < n) {
    size_t step;
    ssize_t got, put;
    if (*sent >= TURN) return "turn";
    step = room(out);
    got = read_cached(in, piece, n - *sent < step ? n - *sent : step, at + (off_t)*sent);
    if (got <= 0) return got == 0 ? "short" : "cold"; /* errors, too, are told to the thread */
    do put = send(out, piece, (size_t)got, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (put < 0 && errno == EINTR);
    if (put < 0 && errno != EAGAIN) *rc = uv_translate_sys_error(errno);
    if (put < 0) return "full";
    *sent += (size_t)put;
    if (put < got) return "full";
  }
  return NULL;
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
  char *piece;
  *sent = 0;
  if (!is_plain(s) || ml__stream_fd(s, &out) < 0) return "copy";
  ml__stream_flush(s);
  if (s->first != NULL) return "queued";
  piece = ml__piece(s->net);
  if (piece == NULL) luaL_error(L, "not enough memory");
  why = send_steps(out, in, (off_t)at, (size_t)n, piece, sent, &rc);
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
** "short", "queued" (what was written before), "copy" (the bytes have another form on the wire) */
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
  ml__stream_flush(s);
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
