/* Operations of sockets that move messages with addresses: sendto, sendmsg,
** recvfrom, recvfrom_into, recvfrom_many; and descriptors over unix sockets.
*/
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "socket.h"

#define MAX_BATCH 1024
#define MAX_FDS 253 /* SCM_MAX_FD */
#define DATAGRAM 2048

/* Where a message has come from, which may be answered. */
static void push_peer(lua_State *L, const ml_sockaddr *from) {
  if (from->len > 0) ml__peer_known(ml__engine(L), (const struct sockaddr *)&from->ss);
  ml__sockaddr_push(L, from);
}

/* ---- receiving ---- */

static ssize_t receive(const ml_sockop *o, void *p, size_t n, ml_sockaddr *from) {
  ssize_t got;
  do {
    from->len = sizeof from->ss;
    got = recvfrom(o->s->fd, p, n, o->flags | MSG_DONTWAIT, (struct sockaddr *)&from->ss,
                   &from->len);
  } while (got < 0 && errno == EINTR);
  return got;
}

static int recvfrom_attempt(lua_State *L, ml_sockop *o) {
  char *slab = ml__slab(o->s->net);
  ml_sockaddr from;
  ssize_t got;
  if (slab == NULL) return luaL_error(L, "not enough memory");
  got = receive(o, slab, o->n < ML_SLAB ? o->n : ML_SLAB, &from);
  if (got < 0) return ml__sockop_failed(L, o);
  if (got == 0 && o->n > 0 && ml__socket_stream(o->s))
    lua_pushnil(L);
  else
    lua_pushlstring(L, slab, (size_t)got);
  push_peer(L, &from);
  return 2;
}

static const ml_sockclass recvfrom_class = ML_SOCKCLASS("Socket.recvfrom", ML_W_READ,
                                                        recvfrom_attempt, "recvfrom");

/* socket:recvfrom(n [, flags]) -> awaitable of data, address */
static int s_recvfrom(lua_State *L) { return ml__sockop_sized(L, &recvfrom_class); }

static int into_attempt(lua_State *L, ml_sockop *o) {
  ml_buffer *b;
  ml_sockaddr from;
  ssize_t got;
  lua_getiuservalue(L, 1, 2);
  b = lua_touserdata(L, -1);
  got = receive(o, b->data, b->cap, &from);
  if (got < 0) return ml__sockop_failed(L, o);
  b->len = (size_t)got;
  if (got == 0 && ml__socket_stream(o->s))
    lua_pushnil(L);
  else
    lua_pushinteger(L, got);
  push_peer(L, &from);
  return 2;
}

static const ml_sockclass into_class = ML_SOCKCLASS("Socket.recvfrom_into", ML_W_READ, into_attempt,
                                                    "recvfrom_into");

/* socket:recvfrom_into(buffer [, flags]) -> awaitable of number of bytes, address */
static int s_recvfrom_into(lua_State *L) {
  ml_sockop *o;
  int flags;
  ml__checksocket(L, 1);
  ml__checkbuffer(L, 2, "recvfrom_into");
  flags = ml__checkflags(L, 3, "recvfrom_into");
  o = ml__sockop_new(L, &into_class, sizeof *o, 2);
  o->flags = flags;
  return 1;
}

/* Pushes arrays of data and of addresses; one table for a run of equal addresses. */
static void push_batch(lua_State *L, const struct mmsghdr *m, const ml_sockaddr *from, int count) {
  lua_createtable(L, count, 0);
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    lua_pushlstring(L, m[i].msg_hdr.msg_iov->iov_base, m[i].msg_len);
    lua_rawseti(L, -3, i + 1);
    if (i > 0 && m[i].msg_hdr.msg_namelen == m[i - 1].msg_hdr.msg_namelen &&
        memcmp(&from[i].ss, &from[i - 1].ss, m[i].msg_hdr.msg_namelen) == 0)
      lua_rawgeti(L, -1, i);
    else {
      ml_sockaddr a = from[i];
      a.len = m[i].msg_hdr.msg_namelen;
      push_peer(L, &a);
      if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 0); /* no hole */
      }
    }
    lua_rawseti(L, -2, i + 1);
  }
}

/* n messages of at most `done` bytes */
static int many_attempt(lua_State *L, ml_sockop *o) {
  size_t n = o->n, size = o->done;
  struct batch {
    struct mmsghdr m;
    struct iovec v;
    ml_sockaddr from;
  };
  char *bytes;
  struct mmsghdr *m;
  struct iovec *v;
  ml_sockaddr *from;
  int count;
  bytes = n * size <= ML_SLAB ? ml__slab(o->s->net) : lua_newuserdatauv(L, n * size, 0);
  if (bytes == NULL) return luaL_error(L, "not enough memory");
  m = lua_newuserdatauv(L, n * sizeof(struct batch), 0);
  v = (struct iovec *)(void *)(m + n);
  from = (ml_sockaddr *)(void *)(v + n);
  memset(m, 0, n * sizeof *m);
  for (size_t i = 0; i < n; i++) {
    v[i].iov_base = bytes + i * size;
    v[i].iov_len = size;
    m[i].msg_hdr.msg_iov = &v[i];
    m[i].msg_hdr.msg_iovlen = 1;
    m[i].msg_hdr.msg_name = &from[i].ss;
    m[i].msg_hdr.msg_namelen = sizeof from[i].ss;
  }
  do count = recvmmsg(o->s->fd, m, (unsigned)n, o->flags | MSG_DONTWAIT, NULL);
  while (count < 0 && errno == EINTR);
  if (count < 0) return ml__sockop_failed(L, o);
  push_batch(L, m, from, count);
  return 2;
}

static const ml_sockclass many_class = ML_SOCKCLASS("Socket.recvfrom_many", ML_W_READ, many_attempt,
                                                    "recvfrom_many");

/* socket:recvfrom_many([max = 32 [, size = 2048 [, flags]]]) -> awaitable of an array of
** datagrams, at least one, and an array of their addresses */
static int s_recvfrom_many(lua_State *L) {
  ml_sockop *o;
  size_t n, size;
  int flags;
  ml__checksocket(L, 1);
  n = lua_isnoneornil(L, 2) ? 32 : ml__checksize(L, 2, "recvfrom_many", "count");
  size = lua_isnoneornil(L, 3) ? DATAGRAM : ml__checksize(L, 3, "recvfrom_many", "size");
  flags = ml__checkflags(L, 4, "recvfrom_many");
  if (n < 1 || n > MAX_BATCH)
    return ml__misuse(L, "ValueError", "recvfrom_many: 1 to %d datagrams, got %I", MAX_BATCH,
                      (LUAI_UACINT)n);
  if (size < 1 || size > 65536)
    return ml__misuse(L, "ValueError", "recvfrom_many: datagrams of 1 to 65536 bytes, got %I",
                      (LUAI_UACINT)size);
  o = ml__sockop_new(L, &many_class, sizeof *o, 0);
  o->n = n;
  o->done = size;
  o->flags = flags;
  return 1;
}

/* ---- sending ---- */

typedef struct sendop {
  ml_sockop s;
  ml_sockaddr to; /* len 0: none */
} sendop;

static int to_failed(lua_State *L, const sendop *o) {
  const ml_sockclass *c = (const ml_sockclass *)(const void *)o->s.op.cls;
  char who[160];
  if (errno == EWOULDBLOCK || errno == EAGAIN) return ML_PARK;
  if (o->to.len == 0) return ml__sockop_failed(L, &o->s);
  return ml__sock_error(L, uv_translate_sys_error(errno), "%s %s", c->verb,
                        ml__sockaddr_text(&o->to, who, sizeof who));
}

static int sendto_attempt(lua_State *L, ml_sockop *op) {
  sendop *o = (sendop *)op;
  ml_sockaddr to = o->to;
  ssize_t sent;
  int held;
  if (!ml__sockaddr_pin(L, &to, &held)) return to_failed(L, o);
  do
    sent = sendto(op->s->fd, op->data, op->n, op->flags | MSG_NOSIGNAL | MSG_DONTWAIT,
                  (struct sockaddr *)&to.ss, to.len);
  while (sent < 0 && errno == EINTR);
  ml__sockaddr_unpin(held);
  if (sent < 0) return to_failed(L, o);
  lua_pushinteger(L, sent);
  return 1;
}

static const ml_sockclass sendto_class = ML_SOCKCLASS("Socket.sendto", ML_W_WRITE, sendto_attempt,
                                                      "sendto");

/* socket:sendto(data, address [, flags]) or (data, host, port [, flags]) */
static int s_sendto(lua_State *L) {
  ml_socket *s = ml__checksocket(L, 1);
  ml_sockaddr to;
  size_t n;
  const char *p = ml__checkbytes(L, 2, "sendto", &n);
  int flags;
  sendop *o;
  ml__sockaddr_check(L, s, 3, "sendto", &to);
  ml__check_address(L, ML_P_NET, "sendto", (struct sockaddr *)&to.ss, to.len);
  flags = ml__checkflags(L, s->family == AF_UNIX || lua_istable(L, 3) ? 4 : 5, "sendto");
  o = ml__sockop_new(L, &sendto_class, sizeof *o, 2);
  o->s.data = p;
  o->s.n = n;
  o->s.flags = flags;
  o->to = to;
  return 1;
}

static int sendmsg_attempt(lua_State *L, ml_sockop *op) {
  sendop *o = (sendop *)op;
  struct iovec v[64], *all = v;
  struct msghdr m = {.msg_iovlen = op->n};
  ml_sockaddr to = o->to;
  ssize_t sent;
  int held;
  lua_getiuservalue(L, 1, 2);
  if (op->n > 64) all = lua_newuserdatauv(L, op->n * sizeof *all, 0);
  for (size_t i = 0; i < op->n; i++) {
    lua_rawgeti(L, 2, (lua_Integer)i + 1);
    all[i].iov_base = (char *)ml__checkbytes(L, -1, "sendmsg", &all[i].iov_len);
    lua_pop(L, 1);
  }
  m.msg_iov = all;
  if (!ml__sockaddr_pin(L, &to, &held)) return to_failed(L, o);
  if (to.len > 0) {
    m.msg_name = &to.ss;
    m.msg_namelen = to.len;
  }
  do sent = sendmsg(op->s->fd, &m, op->flags | MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  ml__sockaddr_unpin(held);
  if (sent < 0) return to_failed(L, o);
  lua_pushinteger(L, sent);
  return 1;
}

static const ml_sockclass sendmsg_class = ML_SOCKCLASS("Socket.sendmsg", ML_W_WRITE,
                                                       sendmsg_attempt, "sendmsg");

/* socket:sendmsg(array of data [, address [, flags]]) -> awaitable of the number of bytes */
static int s_sendmsg(lua_State *L) {
  ml_socket *s = ml__checksocket(L, 1);
  ml_sockaddr to;
  lua_Integer n;
  int flags;
  sendop *o;
  size_t len;
  lua_settop(L, 4);
  if (!lua_istable(L, 2))
    return ml__misuse(L, "TypeError", "sendmsg: an array of strings was expected, got %s",
                      luaL_typename(L, 2));
  n = (lua_Integer)lua_rawlen(L, 2);
  if (n > IOV_MAX)
    return ml__misuse(L, "ValueError", "sendmsg: at most %d pieces, got %I", IOV_MAX,
                      (LUAI_UACINT)n);
  memset(&to, 0, sizeof to);
  if (!lua_isnil(L, 3)) {
    ml__sockaddr_check(L, s, 3, "sendmsg", &to);
    ml__check_address(L, ML_P_NET, "sendmsg", (struct sockaddr *)&to.ss, to.len);
  }
  flags = ml__checkflags(L, 4, "sendmsg");
  lua_createtable(L, (int)n, 0); /* the script's own may change meanwhile */
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 2, i);
    ml__checkbytes(L, -1, "sendmsg", &len);
    lua_rawseti(L, 5, i);
  }
  o = ml__sockop_new(L, &sendmsg_class, sizeof *o, 5);
  o->s.n = (size_t)n;
  o->s.flags = flags;
  o->to = to;
  return 1;
}

/* ---- descriptors ---- */

typedef struct fdsop {
  ml_sockop s;
  int nfds;
  int fds[MAX_FDS]; /* to be sent: duplicates, so that their owners may close them */
} fdsop;

static void close_fds(int *fds, int n) {
  for (int i = 0; i < n; i++) close(fds[i]);
}

typedef union control {
  struct cmsghdr head; /* aligns */
  char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
} control;

static int send_fds_attempt(lua_State *L, ml_sockop *op) {
  fdsop *o = (fdsop *)op;
  struct iovec v = {.iov_base = (char *)op->data, .iov_len = op->n};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
  control c;
  ssize_t sent;
  size_t bytes = (size_t)o->nfds * sizeof(int);
  if (o->nfds > 0) {
    memset(&c, 0, sizeof c);
    m.msg_control = c.bytes;
    m.msg_controllen = CMSG_SPACE(bytes);
    c.head.cmsg_level = SOL_SOCKET;
    c.head.cmsg_type = SCM_RIGHTS;
    c.head.cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(&c.head), o->fds, bytes);
  }
  do sent = sendmsg(op->s->fd, &m, op->flags | MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return ml__sockop_failed(L, op);
  lua_pushinteger(L, sent);
  return 1;
}

/* The descriptors are duplicated only while the operation runs. */
static int send_fds_begin(lua_State *L, ml_op *op) {
  fdsop *o = (fdsop *)op;
  int own[MAX_FDS], n, dups = 0, rc = 0;
  while (dups < o->nfds && rc == 0) {
    own[dups] = fcntl(o->fds[dups], F_DUPFD_CLOEXEC, 3);
    if (own[dups] < 0)
      rc = uv_translate_sys_error(errno);
    else
      dups++;
  }
  if (rc < 0) {
    n = o->fds[dups];
    close_fds(own, dups);
    return ml__sock_error(L, rc, "send_fds: descriptor %d", n);
  }
  memcpy(o->fds, own, (size_t)dups * sizeof own[0]);
  n = ml__sockop_begin(L, op);
  if (n != ML_PARK) close_fds(o->fds, o->nfds), o->nfds = 0;
  return n;
}

static int send_fds_wake(lua_State *L, ml_op *op) {
  fdsop *o = (fdsop *)op;
  int n = ml__sockop_wake(L, op);
  if (n != ML_PARK) close_fds(o->fds, o->nfds), o->nfds = 0;
  return n;
}

static const ml_sockclass send_fds_class = {
    {"Socket.send_fds", send_fds_begin, send_fds_wake, ml__sockop_cancel},
    ML_W_WRITE,
    send_fds_attempt,
    "send_fds"};

/* socket:send_fds(data, array of descriptors or sockets [, flags]) */
static int s_send_fds(lua_State *L) {
  const char *p;
  size_t n;
  lua_Integer count;
  fdsop *o;
  int flags, fds[MAX_FDS];
  bool own;
  ml__checksocket(L, 1);
  if (ml__engine(L)->sandbox != NULL) return ml__deny(L, ML_P_FULL, "send_fds", NULL, NULL);
  p = ml__checkbytes(L, 2, "send_fds", &n);
  if (n == 0) return ml__misuse(L, "ValueError", "send_fds: at least one byte must go with them");
  if (!lua_istable(L, 3))
    return ml__misuse(L, "TypeError", "send_fds: an array of descriptors was expected, got %s",
                      luaL_typename(L, 3));
  count = (lua_Integer)lua_rawlen(L, 3);
  if (count > MAX_FDS)
    return ml__misuse(L, "ValueError", "send_fds: at most %d descriptors, got %I", MAX_FDS,
                      (LUAI_UACINT)count);
  for (int i = 0; i < (int)count; i++) {
    lua_rawgeti(L, 3, i + 1);
    fds[i] = ml__checkfileno(L, lua_gettop(L), "send_fds", &own);
    lua_pop(L, 1);
  }
  flags = ml__checkflags(L, 4, "send_fds");
  o = ml__sockop_new(L, &send_fds_class, sizeof *o, 2);
  o->s.data = p;
  o->s.n = n;
  o->s.flags = flags;
  o->nfds = (int)count;
  memcpy(o->fds, fds, (size_t)count * sizeof fds[0]);
  return 1;
}

/* Nothing may raise an error while descriptors have no owner: the table is there before. */
static int recv_fds_attempt(lua_State *L, ml_sockop *op) {
  char *slab = ml__slab(op->s->net);
  size_t max = op->done;
  struct iovec v = {.iov_base = slab, .iov_len = op->n < ML_SLAB ? op->n : ML_SLAB};
  control c;
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.bytes};
  ssize_t got;
  int n = 0;
  if (slab == NULL) return luaL_error(L, "not enough memory");
  m.msg_controllen = CMSG_LEN(max * sizeof(int));
  lua_createtable(L, (int)max, 0);
  for (size_t i = 1; i <= max; i++) {
    lua_pushinteger(L, -1);
    lua_rawseti(L, 2, (lua_Integer)i);
  }
  do got = recvmsg(op->s->fd, &m, op->flags | MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  while (got < 0 && errno == EINTR);
  if (got < 0) return ml__sockop_failed(L, op);
  for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h != NULL; h = CMSG_NXTHDR(&m, h)) {
    size_t here = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; i < here; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
      if ((size_t)n >= max) {
        close(fd); /* not to be expected */
        continue;
      }
      lua_pushinteger(L, fd);
      lua_rawseti(L, 2, ++n);
    }
  }
  for (size_t i = (size_t)n + 1; i <= max; i++) {
    lua_pushnil(L);
    lua_rawseti(L, 2, (lua_Integer)i);
  }
  if (got == 0 && ml__socket_stream(op->s))
    lua_pushnil(L);
  else
    lua_pushlstring(L, slab, (size_t)got);
  lua_insert(L, 2);
  lua_pushinteger(L, m.msg_flags & ~MSG_CMSG_CLOEXEC);
  return 3;
}

static const ml_sockclass recv_fds_class = ML_SOCKCLASS("Socket.recv_fds", ML_W_READ,
                                                        recv_fds_attempt, "recv_fds");

/* socket:recv_fds(n, max [, flags]) -> awaitable of data, array of descriptors, flags */
static int s_recv_fds(lua_State *L) {
  size_t n, max;
  int flags;
  ml_sockop *o;
  ml__checksocket(L, 1);
  if (ml__engine(L)->sandbox != NULL) return ml__deny(L, ML_P_FULL, "recv_fds", NULL, NULL);
  n = ml__checksize(L, 2, "recv_fds", "size");
  max = ml__checksize(L, 3, "recv_fds", "count");
  if (max > MAX_FDS)
    return ml__misuse(L, "ValueError", "recv_fds: at most %d descriptors, got %I", MAX_FDS,
                      (LUAI_UACINT)max);
  flags = ml__checkflags(L, 4, "recv_fds");
  o = ml__sockop_new(L, &recv_fds_class, sizeof *o, 0);
  o->n = n;
  o->done = max;
  o->flags = flags;
  return 1;
}

void ml__open_sockmsg(lua_State *L) {
  static const luaL_Reg methods[] = {{"recvfrom", s_recvfrom},
                                     {"recvfrom_into", s_recvfrom_into},
                                     {"recvfrom_many", s_recvfrom_many},
                                     {"sendto", s_sendto},
                                     {"sendmsg", s_sendmsg},
                                     {"send_fds", s_send_fds},
                                     {"recv_fds", s_recv_fds},
                                     {NULL, NULL}};
  luaL_setfuncs(L, methods, 0);
}
