/* What the units of UDP share: a socket (ml_dgram), and the objects that scripts hold
** of it: a DatagramTransport with its protocol table, or a DatagramEndpoint.
**
** An ml_dgram is a block of its own, counted by references; it outlives its
** userdata until libuv has let go of the handle. Datagrams are read by who takes
** them (a task that waits, the protocol's job) from the socket, many at a time, and
** kept in a bounded queue when nobody waits.
*/
#ifndef ML_DATAGRAM_H
#define ML_DATAGRAM_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "stream.h"

#define ML_BATCH 16 /* datagrams read at a time */

typedef struct ml_dgram ml_dgram;

typedef union ml_dgaddr {
  struct sockaddr sa;
  struct sockaddr_in in;
  struct sockaddr_in6 in6;
} ml_dgaddr;

/* One read: n datagrams, good until the next read of any socket. */
typedef struct ml_batch {
  char *data[ML_BATCH];
  size_t len[ML_BATCH];
  ml_dgaddr from[ML_BATCH];
} ml_batch;

/* A datagram that nobody has taken yet. */
typedef struct ml_packet {
  struct ml_packet *next;
  size_t len;
  ml_dgaddr from;
  char data[1];
} ml_packet;

/* Whom a socket belongs to. All but `lost` are called from libuv's callbacks. */
typedef struct ml_dgsink {
  void (*readable)(ml_dgram *d);
  void (*writable)(ml_dgram *d);          /* what waited was sent, down to the low mark */
  void (*failed)(ml_dgram *d, int error); /* a datagram that waited could not be sent */
  void (*lost)(lua_State *L, ml_dgram *d);
  void (*forget)(ml_dgram *d); /* the loop is being closed, or the block freed */
} ml_dgsink;

enum {
  ML_D_CONNECTED = 1, /* to `remote` */
  ML_D_REMOTE = 2,    /* datagrams go to `remote` unless told otherwise */
  ML_D_CLOSING = 4,   /* close was called: what waits is still sent */
  ML_D_DROPPED = 8,   /* connection_lost is on its way or done */
  ML_D_LOST = 16,     /* connection_lost was called */
  ML_D_CLOSED = 32,   /* libuv has let go */
  ML_D_FULL = 64,     /* above the high-water mark, not yet below the low one */
  ML_D_NEWEST = 128,  /* a full receive queue drops what comes, not what is oldest */
  ML_D_MANY = 256     /* more than one datagram came at a time: they are read so */
};

struct ml_dgram {
  ml_handlehead head; /* first */
  ml_net *net;
  ml_evloop *loop;
  const ml_dgsink *sink;
  void *target; /* of the sink */
  ml_link all;  /* in net->dgrams */
  uv_udp_t udp;
  int fd, refs;
  uint32_t flags;
  ml_dgaddr remote;
  ml_addr name;
  size_t queued, high, low; /* bytes that wait to be sent; water marks */
  ml_packet *first, *last;  /* received, not taken */
  size_t npackets, nbytes, maxpackets, maxbytes;
  uint64_t received_dropped, sent_dropped;
  int error;         /* came with no one to take it: the next receiver's */
  uint32_t nreads;   /* see receive() */
  uint32_t drops;    /* sent after the end */
  ml_job lost;       /* calls connection_lost */
  ml_link waiters;   /* ml_waitop: drain and wait_closed */
  ml_link receivers; /* ml_waitop: recv */
  /* the sender whose address table is user value 1 of the object */
  ml_dgaddr last_from;
  const void *last_table;
  const char *last_host;
};

/* What scripts hold. User values: 1: the address table used last; 2: the protocol, or
** the receive operation used last. */
typedef struct ml_dgobject {
  ml_object obj;
  ml_dgram *d;
} ml_dgobject;

static inline void ml__dgram_ref(ml_dgram *d) { d->refs++; }
void ml__dgram_unref(ml_dgram *d);
/* The socket of the DatagramTransport or DatagramEndpoint at idx. */
ml_dgram *ml__checkdgram(lua_State *L, int idx);
/* Reads: the number of datagrams in *b, or UV_EAGAIN, or the error that came instead. */
int ml__dgram_receive(ml_dgram *d, ml_batch **b);
/* Puts datagram i behind those that wait, as far as there is room. */
void ml__dgram_keep(ml_dgram *d, const ml_batch *b, int i);
void ml__dgram_take(ml_dgram *d); /* the first one is done with */
enum { ML_D_SENT, ML_D_QUEUED };
/* Sends at once or queues. `to` NULL: connected. Else a negative code. */
int ml__dgram_send(ml_dgram *d, const char *p, size_t n, const ml_dgaddr *to);
int ml__dgram_start(ml_dgram *d); /* begins to watch the socket */
void ml__dgram_close(ml_dgram *d, bool abort);
/* The address at idx, or none (nil), for a send by `self`; misuse raises an error. */
const ml_dgaddr *ml__dgram_destination(lua_State *L, int self, ml_dgram *d, int idx,
                                       ml_dgaddr *room, const char *fname);
/* Pushes the address table of a sender. */
void ml__dgram_push_address(lua_State *L, int self, ml_dgram *d, const ml_dgaddr *from);
/* Pushes the OSError of a send to (or NULL: the connected peer), of a receive. */
void ml__dgram_send_error(lua_State *L, const ml_dgram *d, int error, const ml_dgaddr *to);
void ml__dgram_receive_error(lua_State *L, const ml_dgram *d, int error);
void ml__dgram_text(const ml_dgram *d, char *buf, size_t n); /* for tostring and messages */
void ml__dgram_install(lua_State *L, ml_objtype type);       /* what both objects have */
extern const ml_dgsink ml__dgprotocol_sink, ml__dgendpoint_sink;
extern const ml_opclass ml__dgdrain_class;
void ml__dgprotocol_open(lua_State *L); /* types and functions, into the table on top */
void ml__dgendpoint_open(lua_State *L);
void ml__dgsocket_open(lua_State *L);

#endif
