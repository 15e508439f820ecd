/* What the units of socket.core share: sockets, their addresses, and operations
** that wait for them.
**
** A socket is a userdata with a non-blocking descriptor of its own. Its operations
** try at once and wait only when the kernel says so (see fdwatch.h); they hold the
** socket alive. close() ends them with an error.
*/
#ifndef ML_SOCKET_H
#define ML_SOCKET_H

#include <sys/socket.h>

#include "fdwatch.h"

typedef struct ml_socket {
  ml_object obj;
  ml_net *net;
  ml_link all; /* in net->sockets */
  int fd;      /* -1: closed or detached */
  int family, type, proto;
} ml_socket;

ml_socket *ml__checksocket(lua_State *L, int idx); /* may be closed */
/* Pushes a socket without a descriptor; the caller sets fd. */
ml_socket *ml__socket_push(lua_State *L, int family, int type, int proto);
/* Takes the descriptor out of the socket: who waits for it gets an error. */
int ml__socket_detach(ml_socket *s);
/* Raises PermissionError unless the socket may listen where it is bound. */
void ml__socket_check_listen(lua_State *L, const ml_socket *s);
/* True where no bytes mean the end. */
static inline bool ml__socket_stream(const ml_socket *s) {
  return s->type == SOCK_STREAM || s->type == SOCK_SEQPACKET;
}

/* Pushes the OSError "CODE: text: what", fmt as lua_pushfstring. Returns ML_RAISE. */
int ml__sock_error(lua_State *L, int uverr, const char *fmt, ...);

/* ---- addresses ---- */

typedef struct ml_sockaddr {
  socklen_t len;
  struct sockaddr_storage ss;
} ml_sockaddr;

/* The address at idx for the socket: host and (at idx + 1) port, a table {host, port},
** or a path. Raises misuse. */
void ml__sockaddr_check(lua_State *L, const ml_socket *s, int idx, const char *fname,
                        ml_sockaddr *a);
/* Pushes an address table, a path or nil. */
void ml__sockaddr_push(lua_State *L, const ml_sockaddr *a);
const char *ml__sockaddr_text(const ml_sockaddr *a, char *buf, size_t n);
/* Before a system call that connects or sends to the address: in a sandbox that of a unix socket
** becomes one that is held, until unpin. False: errno. */
bool ml__sockaddr_pin(lua_State *L, ml_sockaddr *a, int *held);
void ml__sockaddr_unpin(int held); /* errno stays */

/* ---- buffers that are received into ---- */

/* Live bytes are data[0 .. len). */
typedef struct ml_buffer {
  ml_object obj;
  size_t len, cap;
  char *data; /* of its user value */
} ml_buffer;

/* The bytes of a string or buffer at idx; raises misuse. */
const char *ml__checkbytes(lua_State *L, int idx, const char *fname, size_t *n);
ml_buffer *ml__checkbuffer(lua_State *L, int idx, const char *fname);

/* ---- operations ---- */

/* User values: 1: the socket; 2: data or a buffer. */
typedef struct ml_sockop {
  ml_op op;
  ml_waiter wait;
  ml_socket *s;
  const char *data;
  size_t n, done;
  int flags;
} ml_sockop;

typedef struct ml_sockclass {
  ml_opclass op; /* first */
  int side;      /* ML_W_* */
  /* Tries: number of results, ML_RAISE, or ML_PARK: not yet. */
  int (*attempt)(lua_State *L, ml_sockop *o);
  const char *verb; /* for messages */
} ml_sockclass;

#define ML_SOCKCLASS(name, side, attempt, verb) \
  { {name, ml__sockop_begin, ml__sockop_wake, ml__sockop_cancel}, side, attempt, verb }

int ml__sockop_begin(lua_State *L, ml_op *op);
int ml__sockop_wake(lua_State *L, ml_op *op);
void ml__sockop_cancel(ml_op *op);
/* Pushes an operation (n [, flags]) of the socket at index 1, as recv and recvfrom are. */
int ml__sockop_sized(lua_State *L, const ml_sockclass *cls);
/* Pushes a new operation of the socket at index 1; user value 2 is the value at idx (0: none). */
void *ml__sockop_new(lua_State *L, const ml_sockclass *cls, size_t size, int idx);
/* After a system call has failed: ML_PARK if it would have blocked, else the error. */
int ml__sockop_failed(lua_State *L, const ml_sockop *o);
/* The flags argument at idx: MSG_*. */
int ml__checkflags(lua_State *L, int idx, const char *fname);
/* A number of bytes, from 0 on. */
size_t ml__checksize(lua_State *L, int idx, const char *fname, const char *what);

/* units' openers: add functions or methods to the table on top */
void ml__open_sockbuf(lua_State *L);
void ml__open_sockio(lua_State *L);
void ml__open_sockmsg(lua_State *L);
void ml__open_sockconn(lua_State *L);
void ml__open_sendfile(lua_State *L);
void ml__open_sources(lua_State *L);
void ml__open_sockconst(lua_State *L);
int ml__open_socket(lua_State *L); /* module socket.core */

#endif
