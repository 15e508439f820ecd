/* What the units of HTTP/2's client side share: connections to servers, and calls.
**
** A connection is a session of the role `client`, and a userdata that owns it. A call is a
** stream of it: a request, and the response that comes. While a call is open the session keeps
** the userdata: a body may be read by somebody who has nothing else any more.
*/
#ifndef ML_H2_CLIENT_H
#define ML_H2_CLIENT_H

#include "h2.h"
#include "http/hc.h"

typedef enum {
  H2F_NONE,
  H2F_HEAD,  /* the response's head cannot be taken: why */
  H2F_TOTAL, /* the exchange took too long */
  H2F_READ,  /* the server was silent for too long */
  H2F_CLOSED /* from this side */
} ml_h2fail;

typedef struct ml_h2client {
  ml_http2 h; /* first */
  ml_hcsettings *settings;
  int pin; /* of the connection, while calls are open or it is to be told of; or 0 */
  uint32_t requests;
  bool full;        /* somebody was told that there is no room: on_free is called when there is */
  bool tell;        /* by the job */
  uint32_t dropped; /* calls that were collected before anybody knew of their end: likewise */
  bool dead;        /* it was suspect for too long */
  bool closed;      /* who has to know of its end does, or will */
  bool draining;    /* GOAWAY has come */
  uint32_t goaway;  /* and why */
  int32_t last;     /* and the last stream that the server looks at */
} ml_h2client;

typedef struct ml_h2call {
  ml_h2stream x;         /* first */
  ml_op *answering;      /* in x:response(), or NULL */
  ml_op *continuing;     /* in x:continued(), or NULL */
  double total, silence; /* loop time that it ends at, or INFINITY; seconds, or < 0 */
  ml_hhead *trailers;    /* or NULL */
  uint32_t error;        /* of HTTP/2, that it was closed with */
  uint8_t fail;          /* ml_h2fail */
  bool continued;        /* 100 has come */
  const char *why;
} ml_h2call;

/* The userdata of a connection. User value 1: the settings. */
typedef struct ml_h2conn {
  ml_object obj;
  ml_h2client *c;
} ml_h2conn;

enum { H2_UV_CONN = 2 }; /* user values of calls' exchanges: see H2_UV_READER */

static inline ml_h2call *ml__h2_call(ml_h2stream *x) { return (ml_h2call *)x; }
static inline ml_h2client *ml__h2_client(ml_http2 *h) { return (ml_h2client *)h; }
/* Has its response come in full? */
static inline bool ml__h2_complete(const ml_h2stream *x) {
  return x->head != NULL && (x->flags & H2S_EOF);
}

extern const ml_h2role ml__h2_client_role; /* h2_client.c */
/* How many requests may be begun. */
uint32_t ml__h2_client_room(const ml_h2client *c);
bool ml__h2_client_takes(const ml_h2client *c); /* or wait for their turn */
bool ml__h2_client_closing(const ml_h2client *c);
void ml__h2_client_rest(ml_h2client *c, bool idle);
void ml__h2_client_hold(lua_State *L, ml_h2client *c, int idx); /* the connection at idx is kept */
/* The call ends here, for that reason: its stream is reset. */
void ml__h2_call_fail(ml_h2call *k, ml_h2fail fail, const char *why);
/* Fields of the error on top; a code of 0: none. */
void ml__h2_note(lua_State *L, bool began, uint32_t code, bool retry);
void ml__h2_call_failure(lua_State *L, ml_h2call *k); /* pushes why it has failed */

void ml__h2_conn_push(lua_State *L, const ml_h2client *c); /* its userdata, or nil: collected */
int ml__h2_conn_request(lua_State *L);                     /* conn:request(), h2_request.c */
void ml__h2_open_calls(lua_State *L);                      /* h2_call.c */
ml_h2conn *ml__h2_checkconn(lua_State *L);                 /* at 1; h2_conn.c */

#endif
