/* What the units of asyncio.net share: connections, and the objects that
** scripts hold of them.
**
** A connection (ml_stream) is a block of its own, counted by references, that
** outlives its userdata until libuv has let go of the handle. Its bytes go to
** a sink: a StreamReader, or a protocol table. libuv's callbacks touch no Lua:
** they store bytes and ready jobs.
**
** Between the socket and all of that stands ml_streamops: what filters the
** bytes (TLS) puts itself there.
*/
#ifndef ML_STREAM_H
#define ML_STREAM_H

#include "sandbox.h"

/* A little more than the 64 KiB that peers like to send at once: a read that fills
** its buffer makes libuv read again, in vain. With a string's head they are whole
** pages, as many as a string of 64 KiB takes: one can become the other. */
#define ML_SLAB (64 * 1024 + 4000)
#define ML_PIECE (512 * 1024) /* it stays in the processor's cache */
#define ML_LIMIT (64 * 1024)  /* a reader's default limit */

typedef struct ml_stream ml_stream;
typedef struct ml_reader ml_reader;
typedef struct ml_server ml_server;
typedef struct ml_readop ml_readop;
typedef struct ml_readsource ml_readsource;

/* The engine's part of the network: one userdata in the registry. */
typedef struct ml_net {
  ml_engine *engine;
  char *slab;      /* what the next read goes into, or NULL */
  char *spare[16]; /* slabs kept for reuse */
  int nspare, maxspare;
  struct ml_batch *batch; /* of datagrams, or NULL */
  char *piece;            /* of a file that is sent, or NULL */
  ml_link dgrams;         /* every ml_dgram */
  ml_link streams;        /* every ml_stream */
  ml_link listeners;      /* every listening handle, see listen.c */
  ml_link followers;      /* one for each loop that has to be heard of when it ends, see stream.c */
  ml_link lookups;        /* requests to the resolver, see dns.c */
  ml_link reapers;        /* one for each loop with child processes, see process.c */
  ml_link signals;        /* handles of watched signals, see signal.c */
  struct ml_sigtable *sigtable;
  struct ml_orphan *orphans; /* children whose loop is gone, see process.c */
  ml_link sockets;           /* every ml_socket */
  ml_counter counter;
  struct ml_fdwatch **fdwatches; /* by descriptor, see fdwatch.c */
  int nfdwatches;
  ml_link filejobs;                               /* on threads, see sendfile.c */
  void (*close_next)(lua_State *L, ml_evloop *l); /* what closed handles before */
} ml_net;

ml_net *ml__net(lua_State *L);
size_t ml__sockets_open(const ml_net *net);   /* socket.c */
size_t ml__children_alive(const ml_net *net); /* process.c */
size_t ml__dgrams_open(const ml_net *net);    /* datagram.c */
char *ml__slab(ml_net *net);                  /* a string buffer of ML_SLAB bytes, or NULL */
/* What files that are sent go through: ML_PIECE bytes, made at first use, or NULL. */
char *ml__piece(ml_net *net);
/* Pushes the first n bytes of the slab as a string; the slab may be used up by it. */
void ml__slab_push(lua_State *L, ml_net *net, size_t n);

/* ---- bytes that have come and not been taken: live ones are [start, start + len) ---- */

typedef struct ml_bytes {
  char *base;
  size_t start, len, cap; /* cap == ML_SLAB: a slab */
} ml_bytes;

/* Puts n bytes behind the others. They may lie in net->slab: then the slab
** itself may be taken. UV_ENOMEM: nothing is altered. */
int ml__bytes_add(ml_net *net, ml_bytes *b, const char *p, size_t n);
/* Memory for n bytes at once, if there is none yet and so much is to be had. */
void ml__bytes_reserve(ml_net *net, ml_bytes *b, size_t n);
/* Pushes the first n as a string, and drops them. */
void ml__bytes_take(lua_State *L, ml_net *net, ml_bytes *b, size_t n);
void ml__bytes_drop(ml_net *net, ml_bytes *b, size_t n); /* the first n; gives memory back at 0 */
void ml__bytes_free(ml_net *net, ml_bytes *b);

/* ---- addresses, kept small ---- */

typedef struct ml_addr {
  uint8_t family; /* 0: unknown; AF_INET, AF_INET6 */
  uint16_t port;
  uint32_t scope;
  uint8_t ip[16];
} ml_addr;
typedef struct ml_addr4 { /* of IPv4 */
  uint8_t family;
  uint16_t port;
  uint8_t ip[4];
} ml_addr4;

void ml__addr_set(ml_addr *a, const struct sockaddr *sa);
void ml__addr_get(const ml_addr *a, struct sockaddr_storage *ss);
/* Pushes an address table {host, port, host=, port=}, or nil if unknown. */
void ml__addr_push(lua_State *L, const ml_addr *a);
bool ml__addr_is(lua_State *L, int idx); /* is it such a table? */
/* "1.2.3.4:80", "[::1]:80" */
const char *ml__addr_text(const ml_addr *a, char *buf, size_t n);
/* An IP address as text and a port: false if it is none. */
bool ml__addr_parse(const char *host, int port, struct sockaddr_storage *ss);
/* Takes the descriptor out of the Socket at idx; -1: it is closed. */
int ml__socket_take(lua_State *L, int idx);
int ml__address_open(lua_State *L); /* adds functions to the table on top */

/* ---- connections ---- */

/* The way to the socket. None of these calls Lua, but for `error`. */
typedef struct ml_streamops {
  /* Takes all the bytes: sends what goes at once, keeps the rest. UV_ENOMEM: part may
  ** be lost. Other failures end in ml__stream_fail. */
  int (*send)(ml_stream *s, const uv_buf_t *bufs, unsigned n);
  ssize_t (*read)(ml_stream *s, char *buf, size_t n); /* see ml__stream_read */
  int (*read_start)(ml_stream *s);
  void (*read_stop)(ml_stream *s);
  int (*shutdown)(ml_stream *s); /* nothing is queued */
  /* Close was called: sends what belongs to that. It may set ML_S_LINGER, and ends
  ** that by ml__stream_settle. NULL: nothing to do. */
  void (*finish)(ml_stream *s);
  void (*close)(ml_stream *s); /* ends in ml__stream_closed */
  void (*free)(ml_stream *s);  /* NULL, or gives up s->filter */
  /* NULL, or pushes the error that the connection was lost to, if it was the filter's:
  ** else returns false. */
  bool (*error)(lua_State *L, ml_stream *s);
} ml_streamops;

/* A socket as it is; for filters too. */
extern const ml_streamops ml__plain_ops;
int ml__plain_send(ml_stream *s, const uv_buf_t *bufs, unsigned n);
int ml__plain_send_now(ml_stream *s, const uv_buf_t *bufs, unsigned n); /* past the outbox */
ssize_t ml__plain_recv(ml_stream *s, char *buf, size_t n); /* bytes, 0 at the end, UV_E* */
void ml__plain_write_stop(ml_stream *s);
void ml__plain_close(ml_stream *s);

/* Who gets the bytes. Called from libuv's callbacks but for `lost` and
** `pause`, which may call Lua. */
typedef struct ml_sink {
  void (*data)(ml_stream *s, const char *p, size_t n);
  void (*eof)(ml_stream *s);
  void (*pause)(lua_State *L, ml_stream *s);
  void (*resume)(ml_stream *s);
  void (*lost)(lua_State *L, ml_stream *s);
  void (*forget)(ml_stream *s); /* the stream is freed */
  /* Gives away the bytes that nobody has taken yet. */
  void (*yield)(ml_stream *s, ml_bytes *to);
  /* NULL, or there are bytes: true if whoever wants them will read them himself (ml__stream_read),
  ** or ask for them to be told of again (ml__stream_unread). */
  bool (*reads)(ml_stream *s);
} ml_sink;
extern const ml_sink ml__reader_sink, ml__protocol_sink;

/* Bytes that wait to be written. */
typedef struct ml_chunk {
  struct ml_chunk *next;
  size_t size, len, off; /* size: of the block; live bytes are data[off .. off + len) */
  char data[1];
} ml_chunk;

enum {
  ML_S_READING = 1,     /* libuv reads */
  ML_S_PAUSED = 2,      /* the sink wants no more for now */
  ML_S_EOF = 4,         /* the peer has ended its side */
  ML_S_ENDED = 8,       /* write_eof was called */
  ML_S_CLOSING = 16,    /* close was called, or the connection failed */
  ML_S_DROPPED = 32,    /* connection_lost is on its way or done: writes are dropped */
  ML_S_LOST = 64,       /* connection_lost was called */
  ML_S_FULL = 128,      /* above the high-water mark, not yet below the low one */
  ML_S_CLOSED = 256,    /* libuv has let go */
  ML_S_WRITEFAIL = 512, /* the error came of a write */
  ML_S_HALTED = 1024,   /* pause_reading was called */
  ML_S_STARTED = 2048,
  ML_S_PIPE = 4096,       /* a handle of type uv_pipe_t */
  ML_S_UNIX = 8192,       /* and it is a socket */
  ML_S_SHUT = 16384,      /* the socket was shut down for writing */
  ML_S_READABLE = 32768,  /* the reader's task was woken to read for itself, and has not yet */
  ML_S_HANDSHAKE = 65536, /* the filter's beginning: it reads, nobody writes */
  ML_S_LINGER = 1 << 17,  /* closing: the filter waits for the peer's answer */
  ML_S_RAGGED = 1 << 18,  /* the peer's end was none by the filter's rules */
  ML_S_MORE = 1 << 19,    /* a short read is not the last: see ml_watch */
  ML_S_LENT = 1 << 20,    /* a file goes out through its descriptor: no writing */
  ML_S_AGAIN = 1 << 21,   /* the server's handler is to run again when it has ended */
  ML_S_WEAK = 1 << 22,    /* see ml__stream_weaken */
  ML_S_BARE = 1 << 23,    /* made of a descriptor: see ml_stream.uv */
  ML_S_V6 = 1 << 24       /* ml_stream.addrs.v6 */
};

typedef union ml_uvstream {
  uv_handle_t handle;
  uv_stream_t stream;
  uv_tcp_t tcp;
  uv_pipe_t pipe;
} ml_uvstream;

struct ml_stream {
  ml_handlehead head; /* first */
  /* what each message touches */
  const ml_streamops *ops;
  const ml_sink *sink;
  void *target; /* of the sink: ml_reader or protocol; NULL: collected */
  ml_net *net;
  ml_evloop *loop;
  ml_watch watch; /* of sockets without a filter */
  uint32_t flags;
  int fd;             /* its descriptor, or -1: libuv knows it */
  uint32_t high, low; /* water marks */
  ml_chunk *first;    /* waiting to be written */
  size_t queued;      /* bytes in them */
  ml_link waiters;    /* ml_waitop: drain and wait_closed */
  /* the rest */
  ml_chunk *last;
  ml_link all;       /* in net->streams */
  ml_server *server; /* or NULL */
  ml_link peers;     /* in the server's clients, or accepted */
  int refs;
  int error;      /* what it was lost to, or 0 */
  uint32_t drops; /* writes after the end */
  int task;       /* slot of the server's handler task: see ml__task_hold */
  ml_job lost;    /* calls connection_lost */
  ml_job handled; /* that task is done */
  union {         /* the peer's, its own */
    ml_addr4 v4[2];
    ml_addr *v6; /* both, in a block */
  } addrs;
  struct ml_poller *writer; /* tells when more can be written, or NULL */
  void *filter;             /* of ops, or NULL */
  /* libuv's handle, behind the struct. A TCP socket that came in has none: it is watched and
  ** written without. Until ml__stream_handle makes it one, as a block of its own, the descriptor
  ** belongs to the stream. */
  ml_uvstream *uv;
};

/* Its descriptor: 0, or UV_EBADF. */
static inline int ml__stream_fd(const ml_stream *s, uv_os_fd_t *fd) {
  if (s->fd < 0) return s->uv != NULL ? uv_fileno(&s->uv->handle, fd) : UV_EBADF;
  *fd = s->fd;
  return 0;
}
/* Its descriptor is closed, or about to be. */
static inline bool ml__stream_gone(const ml_stream *s) {
  return s->uv != NULL ? uv_is_closing(&s->uv->handle) != 0 : s->fd < 0;
}
/* When the loop is closed the streams of it that libuv does not know of are closed, and servers'
** handlers let go. False: no memory. */
bool ml__streams_follow(ml_net *net, ml_evloop *loop);
/* A connection of a TCP socket's descriptor, which it takes. NULL: no memory. */
ml_stream *ml__stream_adopt(ml_net *net, ml_evloop *loop, int fd);
/* Sees to it that it has a handle of libuv's: 0, or UV_E*. */
int ml__stream_handle(ml_stream *s);
/* The loop is being closed: no job will run any more. */
void ml__stream_shut(ml_stream *s);
/* A new connection with a handle initialised for it, with one reference.
** NULL and *err: no memory or descriptors. */
ml_stream *ml__stream_new(lua_State *L, ml_evloop *loop, uint32_t kind, int family, int *err);
/* Like it, of an accepted or given handle; net is known. */
ml_stream *ml__stream_make(ml_net *net, ml_evloop *loop, uint32_t kind, int family, int *err);
void ml__stream_names(ml_stream *s); /* asks for its addresses */
/* The peer's address, or its own; and pushes it. */
ml_addr ml__stream_addr(const ml_stream *s, bool peer);
void ml__stream_addr_push(lua_State *L, const ml_stream *s, bool peer);
static inline void ml__stream_ref(ml_stream *s) { s->refs++; }
void ml__stream_unref(ml_stream *s);
/* Connects it to its sink and starts to read. */
void ml__stream_start(ml_stream *s, const ml_sink *sink, void *target);
void ml__stream_reading(ml_stream *s); /* makes libuv read, or not, as the flags say */
/* An idle connection is no reason for the loop to go on, but is still looked at. */
void ml__stream_weaken(ml_stream *s, bool weak);
/* Reads from the socket, past libuv. Bytes, 0 at the end, UV_EAGAIN, or the error
** that the connection has just failed with. */
ssize_t ml__stream_read(ml_stream *s, char *buf, size_t n);
/* The same, but if that was not all (ML_S_READABLE) nothing is told until ml__stream_unread. */
ssize_t ml__stream_take(ml_stream *s, char *buf, size_t n);
/* A task that was to read for itself does not, or will later: tell of the bytes again. */
static inline void ml__stream_unread(ml_stream *s) {
  if (!(s->flags & ML_S_READABLE)) return;
  s->flags &= ~(uint32_t)ML_S_READABLE;
  ml__watch_again(s->loop, &s->watch);
}
/* Tries to write at once, keeps the rest. UV_ENOMEM: part may be lost. */
int ml__stream_write(lua_State *L, ml_stream *s, const uv_buf_t *bufs, unsigned n);
/* The bytes wait for the end of the round; false: they are to be sent at once. */
bool ml__outbox_post(ml_stream *s, const uv_buf_t *bufs, unsigned n, size_t total);
void ml__outbox_flush(ml_engine *e);
void ml__outbox_free(ml_engine *e);
/* Empties the outbox if there is something of the stream in it: before anybody else works on its
** descriptor, or asks what was sent. */
void ml__stream_flush(ml_stream *s);
void ml__stream_end(ml_stream *s);
void ml__stream_close(ml_stream *s);               /* flushes */
void ml__stream_fail(ml_stream *s, int error);     /* 0: abort */
void ml__stream_discard(ml_stream *s);             /* it has no sink yet: nobody is told */
void ml__stream_settle(ml_stream *s);              /* closing: is there more to wait for? */
size_t ml__stream_pending(const ml_stream *s);     /* bytes not written */
void ml__stream_marks(lua_State *L, ml_stream *s); /* after the marks were altered */
/* Pushes the OSError that it was lost to. */
void ml__stream_error(lua_State *L, ml_stream *s);
void ml__stream_text(const ml_stream *s, char *buf, size_t n); /* names the peer */
/* For ml_streamops: something was taken from the queue and written; or the error. */
void ml__stream_wrote(ml_stream *s, int status);
void ml__stream_closed(ml_stream *s);

/* An operation that waits in one of a stream's or server's lists. */
typedef struct ml_waitop {
  ml_op op; /* obj.n: not 0 while it is handed out and not done */
  ml_link link;
  void *on; /* the stream or server */
} ml_waitop;
/* The owner of `on` is on top: in its place, an operation of the class that waits for `on`. */
ml_waitop *ml__waitop_push(lua_State *L, const ml_opclass *cls, void *on);
void ml__waitop_cancel(ml_op *op);
int ml__waitop_wake(lua_State *L, ml_op *op);            /* no results */
void ml__wake_all(ml_link *list, const ml_opclass *cls); /* NULL: of every class */
extern const ml_opclass ml__drain_class, ml__closed_class;
extern const ml_opclass ml__flushed_class; /* nothing is queued: see handover.c */

/* ---- what scripts hold ---- */

/* A StreamWriter or a Transport. User values of writers: see writer.c; of transports: the
** protocol. */
typedef struct ml_endpoint {
  ml_object obj; /* flags: ML_EP_* */
  ml_stream *s;
} ml_endpoint;
enum { ML_EP_GIVEN = 1 }; /* a writer: another object has the stream, to close it */

ml_endpoint *ml__checkendpoint(lua_State *L, int idx);
ml_stream *ml__checkstream(lua_State *L, int idx); /* of a writer or transport */
extern const luaL_Reg ml__endpoint_methods[];      /* what both have */
int ml__endpoint_tostring(lua_State *L);
/* The arguments of set_write_buffer_limits([high [, low]] or {high = , low = }). */
void ml__check_marks(lua_State *L, int64_t *high, int64_t *low);
/* Pushes the Transport of the stream; takes no reference of the caller's. */
ml_endpoint *ml__transport_push(lua_State *L, ml_stream *s);
/* Makes reader and writer of a new stream, pushes them and starts to read. */
void ml__streams_push(lua_State *L, ml_stream *s, size_t limit);
/* Connects a new stream to the protocol at idx and pushes its Transport. */
void ml__protocol_start(lua_State *L, ml_stream *s, int idx);
/* User value 1 of readers is the operation made last, or the error (ML_RD_ERROR). */
struct ml_reader {
  ml_object obj;
  ml_net *net;
  ml_stream *s;          /* or NULL */
  ml_readop *waiter;     /* or NULL */
  ml_readsource *source; /* or NULL, see stdfd.h */
  ml_bytes in;
  size_t limit;
};
enum { ML_RD_EOF = 1, ML_RD_FAILED = 2, ML_RD_ERROR = 4, ML_RD_PAUSED = 8, ML_RD_TOLD = 16 };
ml_reader *ml__reader_push(lua_State *L, ml_net *net, ml_stream *s, size_t limit);
/* One that a source will feed, with so many user values more, from ML_RD_UV_OWN on. */
ml_reader *ml__reader_push_uv(lua_State *L, ml_net *net, size_t limit, int more);
#define ML_RD_UV_OWN 2
/* There are bytes to be read: true if the task that waits for them was woken to read
** them itself. */
bool ml__reader_offer(ml_reader *r);
/* The error on top (popped) is what reading from the reader at idx raises from now on. */
void ml__reader_set_error(lua_State *L, int idx);
/* If the reader at idx has failed pushes the error and returns true. */
bool ml__reader_failed(lua_State *L, int idx);

/* What feeds a reader while a task waits in it. */
struct ml_readsource {
  /* A task waits on the loop; NULL: none does any more. > 0: the reader was fed at
  ** once; < 0: failed. */
  int (*want)(ml_readsource *src, ml_evloop *loop);
  void (*error)(lua_State *L, ml_readsource *src); /* pushes why it failed */
  void (*taken)(ml_readsource *src);               /* NULL, or bytes were taken: r->in is shorter */
  void (*gone)(ml_readsource *src);                /* NULL, or the reader is collected */
  /* NULL, or reads for the task that ml__reader_offer has woken: n bytes at most, to p, which has room
  ** for one more. 0: none, but the reader may have been fed or ended. */
  size_t (*read)(ml_readsource *src, char *p, size_t n);
  bool ready; /* `read` has more: no need to wait for it */
  bool again; /* a terminal: after its end it can be read on */
};
/* What begins like this has bytes of a reader put into its own memory, that become no string. `room`:
** where *n bytes and one more can be put; it makes *n less, 0 if there is no place. `add`: n were. */
typedef struct ml_intake {
  ml_object obj;
  char *(*room)(struct ml_intake *in, size_t *n);
  void (*add)(struct ml_intake *in, size_t n);
} ml_intake;
/* Pushes an operation that has n bytes at most, of the reader at one index, put into the intake at
** another: gives their number, nil at the end, 0 if there is no room. */
void ml__reader_into(lua_State *L, int reader, int intake, size_t n);
/* For sources. UV_ENOMEM: nothing was taken. */
int ml__reader_feed(ml_reader *r, const char *p, size_t n);
void ml__reader_end(ml_reader *r);
void ml__reader_fail(ml_reader *r);
void ml__reader_wake(ml_reader *r);            /* who waits looks again */
extern const luaL_Reg ml__reader_operations[]; /* what is awaited: read, readexactly, ... */

/* What begins like this makes what a server's handler gets for a stream that came in, in the place
** of reader and writer: pushes it and gives the number of values; the maker is at idx. When the
** handler's task has ended the stream is closed, unless `kept` says that it is to live on: then
** ml__server_again begins another task of the handler, for which `make` is called again. */
typedef struct ml_maker {
  ml_object obj;
  int (*make)(lua_State *L, ml_stream *s, int idx);
  bool (*kept)(const ml_stream *s);
} ml_maker;
bool ml__server_makes(const ml_stream *s); /* did it come in by a server with a maker? */
void ml__server_again(ml_stream *s);

void ml__server_detach(ml_stream *s);
void ml__listeners_end(ml_net *net, ml_evloop *l);
void ml__dgrams_close(ml_net *net, ml_evloop *l);
void ml__dgrams_free(ml_net *net); /* the engine is being closed */
void ml__dns_orphan(ml_net *net);  /* what is under way frees itself later */

void ml__processes_close(ml_net *net, ml_evloop *l);
void ml__orphans_free(ml_net *net);
void ml__signals_close(ml_net *net, ml_evloop *l);
void ml__signals_free(ml_net *net);
/* uv_signal_start and _stop that leave a signal as they have found it. */
int ml__signal_start(ml_net *net, uv_signal_t *h, uv_signal_cb cb, int signum);
void ml__signal_stop(ml_net *net, uv_signal_t *h);
/* The signal at idx, a number or name; zero: 0 is one too. Raises misuse. */
int ml__checksignal(lua_State *L, int idx, bool zero);
/* Sends a signal; raises OSError. Returns 0. */
int ml__kill(lua_State *L, pid_t pid, int signum);
/* Pushes an OSError "CODE: text: what" with fields code, errno, syscall. */
void ml__error_os(lua_State *L, int uverr, const char *syscall, const char *fmt, ...);

void ml__stdio_leave(lua_State *L, ml_evloop *l); /* standard streams let go of it */

/* units' openers: add functions to the table on top */
void ml__open_reader(lua_State *L);
void ml__open_writer(lua_State *L);
void ml__open_transport(lua_State *L);
void ml__open_server(lua_State *L);
void ml__open_listen(lua_State *L);
void ml__open_connect(lua_State *L);
void ml__open_pipes(lua_State *L);
void ml__open_eyeballs(lua_State *L);
void ml__open_dns(lua_State *L);
void ml__open_datagrams(lua_State *L);
void ml__open_handover(lua_State *L);
int ml__open_net(lua_State *L);        /* module asyncio.net */
int ml__open_time(lua_State *L);       /* module time */
int ml__open_signal(lua_State *L);     /* module signal */
int ml__open_sigwatch(lua_State *L);   /* module asyncio.sigwatch */
int ml__open_process(lua_State *L);    /* module asyncio.process */
int ml__open_stdstreams(lua_State *L); /* module asyncio.stdstreams */
int ml__open_terminal(lua_State *L);   /* module asyncio.terminal */

#endif
