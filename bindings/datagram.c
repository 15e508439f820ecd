/* A UDP socket: its life, sending, receiving. See datagram.h.
**
** open -> closing (close was called; what waits is still sent) -> dropped
** (connection_lost is scheduled) -> lost (it was called, libuv closes the handle)
** -> closed. It is freed when closed and no userdata refers to it.
**
** libuv watches the socket and sends what the kernel did not take at once. Reading is
** done here: it allots no buffer, so that libuv only tells that there is something.
*/
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "datagram.h"

#define DGRAM_MAX 65536 /* more than any UDP datagram has */
#define OVERHEAD 8      /* a datagram of no bytes has to count too; as CPython */

/* ---- life ---- */

static void packets_free(ml_dgram *d) {
  while (d->first != NULL) ml__dgram_take(d);
}

void ml__dgram_unref(ml_dgram *d) {
  if (--d->refs > 0) return;
  ml__list_remove(&d->all);
  ml__list_remove(&d->lost.link);
  packets_free(d);
  if (d->target != NULL) d->sink->forget(d);
  ml__alloc(d->net->engine->alloc, d, sizeof *d, 0);
}

static void on_closed(uv_handle_t *h) {
  ml_dgram *d = h->data;
  d->flags |= ML_D_CLOSED;
  ml__dgram_unref(d);
}

static void close_handle(ml_dgram *d) {
  d->fd = -1;
  if (!uv_is_closing((uv_handle_t *)&d->udp)) uv_close((uv_handle_t *)&d->udp, on_closed);
}

/* The loop is being closed: no job will run any more. */
static void close_with_loop(uv_handle_t *h) {
  ml_dgram *d = h->data;
  d->flags |= ML_D_CLOSING | ML_D_DROPPED | ML_D_LOST;
  ml__list_remove(&d->lost.link);
  packets_free(d);
  if (d->target != NULL) d->sink->forget(d);
  d->target = NULL;
  close_handle(d);
}

size_t ml__dgrams_open(const ml_net *net) {
  size_t n = 0;
  for (const ml_link *k = net->dgrams.next; k != &net->dgrams; k = k->next)
    if (!uv_is_closing((uv_handle_t *)&ml__containerof(k, ml_dgram, all)->udp)) n++;
  return n;
}

void ml__dgrams_close(ml_net *net, ml_evloop *l) {
  for (ml_link *n = net->dgrams.next, *next; n != &net->dgrams; n = next) {
    ml_dgram *d = ml__containerof(n, ml_dgram, all);
    next = n->next;
    if (d->loop != l || uv_is_closing((uv_handle_t *)&d->udp)) continue;
    close_with_loop((uv_handle_t *)&d->udp);
  }
}

static void run_lost(ml_evloop *loop, ml_job *job) {
  ml_dgram *d = ml__containerof(job, ml_dgram, lost);
  d->flags |= ML_D_LOST;
  d->sink->lost(loop->L, d);
  ml__wake_all(&d->waiters, NULL);
  close_handle(d);
}

static void drop(ml_dgram *d) {
  if (d->flags & ML_D_DROPPED) return;
  d->flags |= ML_D_DROPPED;
  ml__ready(d->loop, &d->lost);
}

void ml__dgram_close(ml_dgram *d, bool abort) {
  if (!(d->flags & ML_D_CLOSING)) {
    d->flags |= ML_D_CLOSING;
    uv_udp_recv_stop(&d->udp);
    packets_free(d);
    ml__wake_all(&d->receivers, NULL);
  }
  if (abort || d->queued == 0) drop(d);
}

/* ---- sending ---- */

/* A datagram that libuv sends when the kernel takes more. */
typedef struct pending {
  uv_udp_send_t req;
  ml_dgram *d;
  size_t len;
  char data[1];
} pending;

static socklen_t addr_len(const ml_dgaddr *a) {
  return a->sa.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in;
}

static int send_now(const ml_dgram *d, const char *p, size_t n, const ml_dgaddr *to) {
  ssize_t rc;
  do
    rc = to == NULL ? send(d->fd, p, n, MSG_NOSIGNAL)
                    : sendto(d->fd, p, n, MSG_NOSIGNAL, &to->sa, addr_len(to));
  while (rc < 0 && errno == EINTR);
  if (rc >= 0) return ML_D_SENT;
  return errno == EWOULDBLOCK || errno == ENOBUFS ? UV_EAGAIN : uv_translate_sys_error(errno);
}

static void on_sent(uv_udp_send_t *req, int status) {
  pending *p = ml__containerof(req, pending, req);
  ml_dgram *d = p->d;
  size_t len = p->len;
  d->queued -= len + OVERHEAD;
  d->loop->patient--;
  d->loop->stirred = true;
  d->net->engine->nstats_inflight--;
  ml__alloc(d->net->engine->alloc, p, offsetof(pending, data) + len, 0);
  if (!(d->flags & ML_D_DROPPED)) {
    if (status < 0) d->sink->failed(d, status);
    if ((d->flags & ML_D_FULL) && d->queued <= d->low) {
      d->flags &= ~(uint32_t)ML_D_FULL;
      d->sink->writable(d);
    }
    if ((d->flags & ML_D_CLOSING) && d->queued == 0) drop(d);
  }
  ml__dgram_unref(d);
}

static int send_later(ml_dgram *d, const char *data, size_t n, const ml_dgaddr *to) {
  ml_allocator *alloc = d->net->engine->alloc;
  pending *p = ml__alloc(alloc, NULL, 0, offsetof(pending, data) + n);
  uv_buf_t buf;
  int rc;
  if (p == NULL) return UV_ENOMEM;
  p->d = d;
  p->len = n;
  memcpy(p->data, data, n);
  buf = uv_buf_init(p->data, (unsigned)n);
  rc = uv_udp_send(&p->req, &d->udp, &buf, 1, to == NULL ? NULL : &to->sa, on_sent);
  if (rc < 0) {
    ml__alloc(alloc, p, offsetof(pending, data) + n, 0);
    return rc;
  }
  ml__dgram_ref(d);
  d->queued += n + OVERHEAD;
  d->loop->patient++;
  d->net->engine->nstats_inflight++;
  return ML_D_QUEUED;
}

int ml__dgram_send(ml_dgram *d, const char *p, size_t n, const ml_dgaddr *to) {
  int rc;
  if (d->queued > 0) return send_later(d, p, n, to);
  rc = send_now(d, p, n, to);
  if (rc == UV_ECONNREFUSED) {
    /* of an earlier datagram: whoever receives is told; this one was not sent */
    d->error = rc;
    rc = send_now(d, p, n, to);
  }
  return rc == UV_EAGAIN ? send_later(d, p, n, to) : rc;
}

/* ---- receiving ---- */

void ml__dgram_take(ml_dgram *d) {
  ml_packet *p = d->first;
  d->first = p->next;
  if (d->first == NULL) d->last = NULL;
  d->npackets--;
  d->nbytes -= p->len;
  ml__alloc(d->net->engine->alloc, p, offsetof(ml_packet, data) + p->len, 0);
}

void ml__dgram_keep(ml_dgram *d, const ml_batch *b, int i) {
  size_t len = b->len[i];
  ml_packet *p;
  while (d->npackets >= d->maxpackets || d->nbytes + len > d->maxbytes) {
    d->received_dropped++;
    if ((d->flags & ML_D_NEWEST) || d->first == NULL) return;
    ml__dgram_take(d);
  }
  p = ml__alloc(d->net->engine->alloc, NULL, 0, offsetof(ml_packet, data) + len);
  if (p == NULL) {
    d->received_dropped++;
    return;
  }
  p->next = NULL;
  p->len = len;
  p->from = b->from[i];
  memcpy(p->data, b->data[i], len);
  if (d->last != NULL)
    d->last->next = p;
  else
    d->first = p;
  d->last = p;
  d->npackets++;
  d->nbytes += len;
}

/* The engine's buffers for one read, made at first use; pages that no datagram has
** touched take no memory. */
static ml_batch *batch(ml_net *net) {
  ml_allocator *alloc = net->engine->alloc;
  if (net->batch != NULL) return net->batch;
  ml_batch *b = ml__alloc(alloc, NULL, 0, sizeof *b + (size_t)ML_BATCH * DGRAM_MAX);
  if (b == NULL) return NULL;
  for (size_t i = 0; i < ML_BATCH; i++) b->data[i] = (char *)(b + 1) + i * DGRAM_MAX;
  return net->batch = b;
}

void ml__dgrams_free(ml_net *net) {
  while (!ml__list_empty(&net->dgrams)) {
    ml_dgram *d = ml__containerof(net->dgrams.next, ml_dgram, all);
    d->refs = 1;
    ml__dgram_unref(d);
  }
  if (net->batch != NULL)
    ml__alloc(net->engine->alloc, net->batch, sizeof *net->batch + (size_t)ML_BATCH * DGRAM_MAX, 0);
  net->batch = NULL;
}

static int receive_one(const ml_dgram *d, ml_batch *b) {
  socklen_t len = sizeof b->from[0];
  ssize_t n;
  do n = recvfrom(d->fd, b->data[0], DGRAM_MAX, 0, &b->from[0].sa, &len);
  while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EWOULDBLOCK ? UV_EAGAIN : uv_translate_sys_error(errno);
  b->len[0] = (size_t)n;
  if (len == 0) b->from[0] = d->remote;
  return 1;
}

#ifdef __linux__
static int receive_many(const ml_dgram *d, ml_batch *b) {
  struct mmsghdr msgs[ML_BATCH];
  struct iovec iov[ML_BATCH];
  int n;
  memset(msgs, 0, sizeof msgs);
  for (int i = 0; i < ML_BATCH; i++) {
    iov[i].iov_base = b->data[i];
    iov[i].iov_len = DGRAM_MAX;
    msgs[i].msg_hdr.msg_name = &b->from[i];
    msgs[i].msg_hdr.msg_namelen = sizeof b->from[i];
    msgs[i].msg_hdr.msg_iov = &iov[i];
    msgs[i].msg_hdr.msg_iovlen = 1;
  }
  do n = recvmmsg(d->fd, msgs, ML_BATCH, 0, NULL);
  while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EWOULDBLOCK ? UV_EAGAIN : uv_translate_sys_error(errno);
  for (int i = 0; i < n; i++) {
    b->len[i] = msgs[i].msg_len;
    if (msgs[i].msg_hdr.msg_namelen == 0) b->from[i] = d->remote;
  }
  return n;
}
#else
static int receive_many(const ml_dgram *d, ml_batch *b) { return receive_one(d, b); }
#endif

/* One datagram is had cheaper by recvfrom, several by recvmmsg. Which of them is to be
** expected is known from the last reads; every 16th one looks. */
int ml__dgram_receive(ml_dgram *d, ml_batch **b) {
  int n;
  *b = batch(d->net);
  if (*b == NULL) return UV_ENOMEM;
  if (!(d->flags & ML_D_MANY) && (++d->nreads & 15) != 0) return receive_one(d, *b);
  n = receive_many(d, *b);
  if (n > 1)
    d->flags |= ML_D_MANY;
  else if (n == 1)
    d->flags &= ~(uint32_t)ML_D_MANY;
  return n;
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf) {
  (void)h;
  (void)hint;
  *buf = uv_buf_init(NULL, 0);
}

static void on_readable(uv_udp_t *h, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                        unsigned flags) {
  ml_dgram *d = h->data;
  (void)n; /* UV_ENOBUFS */
  (void)buf;
  (void)from;
  (void)flags;
  d->loop->stirred = true;
  d->sink->readable(d);
}

int ml__dgram_start(ml_dgram *d) {
  int rc = 0, n = (int)sizeof(struct sockaddr_storage);
  struct sockaddr_storage ss;
  if (!(d->flags & ML_D_CLOSING)) rc = uv_udp_recv_start(&d->udp, on_alloc, on_readable);
  if (uv_udp_getsockname(&d->udp, (struct sockaddr *)&ss, &n) == 0)
    ml__addr_set(&d->name, (struct sockaddr *)&ss);
  return rc;
}

/* ---- opening ---- */

typedef struct opening {
  ml_dgram *d;
  ml_dgaddr local, remote;
  bool has_local, has_remote, connect, reuse_addr, reuse_port, broadcast;
  int family;
  const char *doing; /* what failed */
} opening;

static int set_option(int fd, int option) {
  int on = 1;
  return setsockopt(fd, SOL_SOCKET, option, &on, sizeof on) < 0 ? uv_translate_sys_error(errno) : 0;
}

/* The one place where a UDP socket is bound. One that is to hear from nobody in
** particular gets a port now, not with what it sends first. */
static int bind_to(opening *o, int fd) {
  if (fd >= 0 || (!o->has_local && o->has_remote && o->connect)) return 0;
  if (!o->has_local) o->local.sa.sa_family = (sa_family_t)o->family;
  return uv_udp_bind(&o->d->udp, &o->local.sa, o->reuse_addr ? UV_UDP_REUSEADDR : 0);
}

/* The one place where a UDP socket is connected. */
static int connect_to(const opening *o) {
  ml_dgram *d = o->d;
  if (!o->has_remote) return 0;
  d->remote = o->remote;
  d->flags |= ML_D_REMOTE;
  if (!o->connect) return 0;
  d->flags |= ML_D_CONNECTED;
  return uv_udp_connect(&d->udp, &o->remote.sa);
}

static int set_up(opening *o, int fd) {
  ml_dgram *d = o->d;
  uv_os_fd_t own;
  int rc;
  if (fd >= 0) {
    o->doing = "open";
    rc = uv_udp_open(&d->udp, fd);
    if (rc < 0) return rc;
  }
  rc = uv_fileno((uv_handle_t *)&d->udp, &own);
  if (rc < 0) return rc;
  d->fd = own;
  o->doing = "bind";
  if (o->reuse_port) rc = set_option(d->fd, SO_REUSEPORT);
  if (rc == 0 && o->broadcast) rc = set_option(d->fd, SO_BROADCAST);
  if (rc == 0) rc = bind_to(o, fd);
  if (rc < 0) return rc;
  o->doing = "connect";
  return connect_to(o);
}

static bool flag_at(lua_State *L, const char *name) {
  bool is;
  lua_getfield(L, 1, name);
  is = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is;
}

static size_t size_at(lua_State *L, const char *name, size_t fallback) {
  lua_Integer n;
  lua_getfield(L, 1, name);
  n = luaL_optinteger(L, -1, (lua_Integer)fallback);
  lua_pop(L, 1);
  return n < 1 ? 1 : (size_t)n;
}

static bool address_at(lua_State *L, const char *name, ml_dgaddr *a) {
  struct sockaddr_storage ss;
  if (lua_getfield(L, 1, name) == LUA_TNIL) {
    lua_pop(L, 1);
    return false;
  }
  lua_geti(L, -1, 1);
  lua_geti(L, -2, 2);
  if (!ml__addr_parse(luaL_checkstring(L, -2), (int)luaL_checkinteger(L, -1), &ss))
    ml__error(L, "ValueError", "not an IP address: %s", lua_tostring(L, -2));
  memcpy(a, &ss, sizeof *a);
  lua_pop(L, 3);
  return true;
}

/* Field fd: a number, or a socket, which loses it. */
static int descriptor_at(lua_State *L) {
  ml_object *s;
  int fd;
  lua_getfield(L, 1, "fd");
  s = ml__toobject(L, -1);
  if (s != NULL && s->type == ML_T_SOCKET)
    fd = ml__socket_take(L, -1);
  else {
    fd = (int)luaL_optinteger(L, -1, -1);
    if (fd >= 0) ml__check_fd(L, "datagram", fd);
  }
  lua_pop(L, 1);
  return fd;
}

/* The family of a descriptor that is a datagram socket; else a negative code. */
static int family_of(int fd) {
  struct sockaddr_storage ss;
  socklen_t n = sizeof ss, size = sizeof(int);
  int type = 0;
  memset(&ss, 0, sizeof ss);
  if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0 ||
      getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
    return uv_translate_sys_error(errno);
  if (type != SOCK_DGRAM ||
      (ss.ss_family != AF_INET && ss.ss_family != AF_INET6 && ss.ss_family != AF_UNIX))
    return UV_EPROTOTYPE;
  return ss.ss_family;
}

static int open_failed(lua_State *L, const opening *o, int rc) {
  char where[96];
  ml_addr a;
  bool local = o->doing[0] == 'b';
  memset(&a, 0, sizeof a);
  if (local ? o->has_local : o->has_remote) {
    ml__addr_set(&a, local ? &o->local.sa : &o->remote.sa);
    ml__addr_text(&a, where, sizeof where);
    ml__error_uv(L, rc, "%s to %s failed", o->doing, where);
    ml__addr_push(L, &a);
    lua_rawgeti(L, -1, 1);
    lua_setfield(L, -3, "host");
    lua_rawgeti(L, -1, 2);
    lua_setfield(L, -3, "port");
    lua_pop(L, 1);
  } else
    ml__error_uv(L, rc, "%s of a datagram socket failed", o->doing);
  return lua_error(L);
}

static ml_dgram *dgram_new(lua_State *L, int family, int *err) {
  ml_net *net = ml__net(L);
  ml_evloop *loop = ml__loop_get(L);
  uv_loop_t *uv = ml__loop_uv(loop);
  ml_dgram *d;
  ml__check_handles(L);
  d = uv == NULL ? NULL : ml__alloc(net->engine->alloc, NULL, 0, sizeof *d);
  *err = UV_ENOMEM;
  if (d == NULL) return NULL;
  memset(d, 0, sizeof *d);
  *err = uv_udp_init_ex(uv, &d->udp, (unsigned)family);
  if (*err < 0) {
    ml__alloc(net->engine->alloc, d, sizeof *d, 0);
    return NULL;
  }
  d->head.close = close_with_loop;
  d->udp.data = d;
  d->net = net;
  d->loop = loop;
  d->refs = 1; /* the handle's */
  d->fd = -1;
  d->high = 64 * 1024;
  d->low = 16 * 1024;
  d->lost.run = run_lost;
  ml__list_init(&d->lost.link);
  ml__list_init(&d->waiters);
  ml__list_init(&d->receivers);
  ml__list_append(&net->dgrams, &d->all);
  return d;
}

/* datagram{endpoint = bool, family = "inet" | "inet6", loc = address, remote = address,
** fd, reuse_addr, reuse_port, broadcast, queue, queue_bytes, newest} -> DatagramTransport
** or DatagramEndpoint. A descriptor is taken over, if nothing fails. */
static int f_datagram(lua_State *L) {
  opening o;
  ml_dgobject *obj;
  int rc, fd;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  memset(&o, 0, sizeof o);
  o.doing = "open";
  o.family = AF_INET;
  o.has_local = address_at(L, "loc", &o.local);
  o.has_remote = address_at(L, "remote", &o.remote);
  o.reuse_addr = flag_at(L, "reuse_addr");
  o.reuse_port = flag_at(L, "reuse_port");
  o.broadcast = flag_at(L, "broadcast");
  o.connect = !o.broadcast;
  if (o.has_local) ml__check_address(L, ML_P_LISTEN, "bind", &o.local.sa, sizeof o.local);
  if (o.has_remote) ml__check_address(L, ML_P_NET, "connect", &o.remote.sa, sizeof o.remote);
  fd = descriptor_at(L);
  lua_getfield(L, 1, "family");
  if (lua_isstring(L, -1) && strcmp(lua_tostring(L, -1), "inet6") == 0) o.family = AF_INET6;
  lua_settop(L, 1);
  obj = ml__newobject(L, flag_at(L, "endpoint") ? ML_T_DGENDPOINT : ML_T_DGTRANSPORT, sizeof *obj,
                      2);
  if (fd >= 0) {
    rc = family_of(fd);
    if (rc < 0) return open_failed(L, &o, rc);
  }
  o.d = dgram_new(L, fd >= 0 ? 0 : o.family, &rc);
  if (o.d == NULL) return open_failed(L, &o, rc);
  o.d->sink = obj->obj.type == ML_T_DGENDPOINT ? &ml__dgendpoint_sink : &ml__dgprotocol_sink;
  rc = set_up(&o, fd);
  if (rc < 0) {
    o.d->flags |= ML_D_CLOSING | ML_D_DROPPED | ML_D_LOST;
    close_handle(o.d);
    return open_failed(L, &o, rc);
  }
  obj->d = o.d;
  ml__dgram_ref(o.d);
  if (fd >= 0) {
    struct sockaddr_storage ss;
    int n = (int)sizeof ss;
    if (uv_udp_getpeername(&o.d->udp, (struct sockaddr *)&ss, &n) == 0) {
      memcpy(&o.d->remote, &ss, sizeof o.d->remote);
      o.d->flags |= ML_D_REMOTE | ML_D_CONNECTED;
    }
  }
  o.d->maxpackets = size_at(L, "queue", 1024);
  o.d->maxbytes = size_at(L, "queue_bytes", 4 * 1024 * 1024);
  if (flag_at(L, "newest")) o.d->flags |= ML_D_NEWEST;
  if (obj->obj.type == ML_T_DGTRANSPORT) return 1; /* begins when connection_made was called */
  rc = ml__dgram_start(o.d);
  if (rc == 0) return 1;
  ml__dgram_close(o.d, true);
  o.doing = "open";
  return open_failed(L, &o, rc);
}

void ml__open_datagrams(lua_State *L) {
  ml__dgsocket_open(L);
  ml__dgprotocol_open(L);
  ml__dgendpoint_open(L);
  lua_pushcfunction(L, f_datagram);
  lua_setfield(L, -2, "datagram");
}
