/* Waiting for descriptors: operations that wait until one can be read or written,
** and the loop's add_reader and add_writer.
**
** A watch is one uv_poll_t: libuv allows one for a descriptor. Operations stand
** in its two queues; the first of a queue is woken when the descriptor is ready,
** tries, and stays first until it leaves: first come, first served.
*/
#ifndef ML_FDWATCH_H
#define ML_FDWATCH_H

#include "stream.h"

typedef struct ml_fdwatch ml_fdwatch;
enum { ML_W_READ, ML_W_WRITE };

/* An operation's place in a queue; part of the operation. */
typedef struct ml_waiter {
  ml_link link;
  ml_fdwatch *watch; /* NULL: in no queue */
  ml_op *op;         /* NULL: nobody is to be woken */
  uint8_t side;      /* ML_W_* */
  bool busy;         /* first, but waits for something else */
  int error;         /* taken out of the queue: UV_EBADF when the descriptor was closed */
} ml_waiter;

static inline void ml__waiter_init(ml_waiter *q, ml_op *op, int side) {
  ml__list_init(&q->link);
  q->watch = NULL;
  q->op = op;
  q->side = (uint8_t)side;
  q->busy = false;
  q->error = 0;
}
/* Does anybody wait for that already? */
bool ml__fdwatch_queued(ml_net *net, ml_evloop *loop, int fd, int side);
/* Is the first of them busy? */
bool ml__fdwatch_busy(ml_net *net, ml_evloop *loop, int fd, int side);
/* Puts it into the descriptor's queue: at its end or, if it had left for a try, at its
** front. On error it is in none. */
int ml__waiter_join(ml_net *net, ml_evloop *loop, int fd, ml_waiter *q, bool front);
void ml__waiter_leave(ml_waiter *q); /* no-op when it is in none */
void ml__waiter_busy(ml_waiter *q, bool busy);
/* b takes the place of a. */
void ml__waiter_replace(ml_waiter *a, ml_waiter *b);
/* The descriptor is about to be closed or given away: ends all that wait for it. */
void ml__fdwatch_forget(ml_net *net, int fd);
void ml__fdwatches_close(ml_net *net, ml_evloop *l); /* all of the loop */
void ml__fdwatches_free(ml_net *net);
void ml__filejobs_orphan(ml_net *net, ml_evloop *l); /* NULL: of all loops; see sendfile.c */

/* The descriptor of a number, a socket, a Lua file or an object with a method fileno; raises
** misuse. *own: it is a socket's. */
int ml__checkfileno(lua_State *L, int idx, const char *fname, bool *own);
void ml__open_fdwatch(lua_State *L); /* adds functions to the table on top */

#endif
