/* Listening sockets, and the connections that come in by them.
**
** Whoever listens has an ml_listeners: a server. A listening handle is a block of its
** own, which lives until libuv has let go of it, longer than its owner if need be.
*/
#ifndef ML_LISTEN_H
#define ML_LISTEN_H

#include "stream.h"

typedef struct ml_listeners {
  ml_link list; /* listener.link */
  ml_net *net;
  ml_evloop *loop;
  /* From libuv's callback, no Lua: a connection came in, which is the owner's now; or NULL and
  ** why it could not be accepted. */
  void (*came)(struct ml_listeners *ls, ml_stream *s, int error);
  /* The loop closes: what is to be closed by ml__listeners_close. */
  void (*ended)(struct ml_listeners *ls);
} ml_listeners;

/* Of the server at idx; or an argument error. See server.c. */
ml_listeners *ml__checklisteners(lua_State *L, int idx);
/* Takes fd, if it is 0, for a listener that does not listen yet. path: of its socket, which goes
** with it; or NULL. */
int ml__listeners_add(ml_listeners *ls, int fd, bool local, const char *path);
/* All of them listen. 0 or UV_E*. */
int ml__listeners_start(ml_listeners *ls, int backlog);
void ml__listeners_close(ml_listeners *ls);

#endif
