/* What the units of http.client.core share: settings, connections of HTTP/1 to servers, exchanges.
**
** A connection (ml_hcconn) is the sink of a stream. One exchange at a time is its current one:
** from conn:request() until the response's body has been taken and the request has been sent.
** libuv's callbacks only parse and note what has come; a task that waits is woken to take it. What
** nobody waits for is taken over by a job, so that the connection is free for others and the
** settings' on_free is told.
**
** An exchange keeps the head and the body that it has been given: it can be asked when its
** connection does something else long since. A connection that has failed never gets another.
*/
#ifndef ML_HC_H
#define ML_HC_H

#include "http.h"

/* ---- settings: a userdata, made once for many connections ---- */

typedef struct ml_hcsettings {
  ml_object obj; /* first */
  ml_hlimits limits;
  uint32_t max_line, max_head, max_headers; /* those of limits, for HTTP/2 */
  uint32_t read_bufsize;                    /* bytes of a body that come without being asked for */
  uint32_t max_discard;     /* bytes of a body that nobody wants, for the sake of keep-alive */
  double discard_timeout;   /* seconds for them */
  double keepalive_timeout; /* seconds that a connection may be idle; < 0: for ever */
  bool http2;               /* by prior knowledge */
} ml_hcsettings;
enum { ML_HCS_ON_FREE = 1 }; /* user values */

ml_hcsettings *ml__checkhcsettings(lua_State *L, int idx);
/* Calls on_free(conn, dropped) of the settings at settings_idx, if there is one: from a job. An
** error of it goes to the loop's exception handler. */
void ml__hcsettings_tell(lua_State *L, int settings_idx, int conn_idx, lua_Integer dropped);
/* Pushes an error of one of the module's classes: BadResponse, Disconnected, PayloadError,
** TimeoutError. */
void ml__hc_error(lua_State *L, const char *cls, const char *fmt, ...);

/* ---- connections ---- */

enum {                        /* ml_hcconn.flags */
       ML_CC_BUSY = 1,        /* there is a current exchange */
       ML_CC_HEAD = 2,        /* its response has begun: the final head is there */
       ML_CC_BODY = 4,        /* the response's body is not there in full */
       ML_CC_COMPLETE = 8,    /* the response is */
       ML_CC_CLOSED_END = 16, /* its end is the connection's */
       ML_CC_IN_CHUNKS = 32,  /* it comes in chunks */
       ML_CC_KEEP = 64,       /* the connection may be used again */
       ML_CC_SENT = 128,      /* the request has been sent to its end */
       ML_CC_CHUNKED = 256,   /* it goes out in chunks; else `left` tells */
       ML_CC_IS_HEAD = 512,   /* its method is HEAD */
       ML_CC_IS_CONNECT = 1024,
       ML_CC_CONTINUED = 2048, /* 100 has come */
       ML_CC_TUNNEL = 4096,    /* the stream is to be another protocol's: x:upgrade() */
       ML_CC_DISCARD = 8192,   /* nobody wants what still comes */
       ML_CC_BEGAN = 1 << 14,  /* some byte of the response has come */
       ML_CC_PEER_ENDED = 1 << 15,
       ML_CC_OVER = 1 << 16, /* the stream is gone or goes */
       ML_CC_UPGRADED = 1 << 17,
       ML_CC_READER = 1 << 18, /* x:content() was called */
       ML_CC_IDLE = 1 << 19
};

typedef enum {
  ML_CF_NONE,
  ML_CF_HEAD,    /* the response's head is malformed: why */
  ML_CF_PAYLOAD, /* its body is: why */
  ML_CF_GONE,    /* the server has gone: error of the stream, or none */
  ML_CF_TOTAL,   /* the exchange took too long */
  ML_CF_READ,    /* the server was silent for too long */
  ML_CF_CLOSED   /* from this side */
} ml_hcfail;

struct ml_hcconn;
struct ml_hcexchange;
typedef struct ml_hcop { /* x:response(), x:read(), x:continued() or a drain */
  ml_op op;
  struct ml_hcconn *c; /* user value 1 */
  uint32_t serial;     /* its exchange's */
  size_t limit;        /* x:read: 0: none */
} ml_hcop;

typedef struct ml_hcconn {
  ml_object obj; /* first */
  ml_http *http;
  ml_stream *s;
  ml_hcsettings *settings; /* user value */
  uint32_t flags;
  uint32_t serial;         /* of the current exchange, or the last one */
  struct ml_hcexchange *x; /* the current one: user value; or NULL */
  uint16_t informs;        /* answers before the answer */
  uint8_t fail;            /* ml_hcfail */
  const char *why;         /* of that */
  ml_hinput input;
  ml_hhead *head;       /* complete, not handed out yet; or NULL */
  ml_bytes body;        /* not taken yet */
  ml_bytes rest;        /* of a tunnel: came behind the head; else trailers */
  uint64_t got;         /* bytes of the body so far */
  uint64_t expected;    /* its length, if it is known; or UINT64_MAX */
  uint64_t dropped;     /* since nobody wants it */
  ml_hchunks chunks;    /* of a body in chunks */
  uint64_t left;        /* bytes that the request's body still has to have */
  ml_hcop *waiting;     /* in x:response(), or NULL */
  ml_hcop *continuing;  /* in x:continued(), or NULL */
  ml_hcop *reading;     /* in x:read(), or NULL */
  ml_link drains;       /* ml_waitop */
  ml_reader *reader;    /* user value; or NULL */
  ml_readsource source; /* of that */
  int turns;            /* of the task that reads it */
  ml_timer timer;
  double total, silence; /* loop time that the exchange ends at, or INFINITY; seconds, or < 0 */
  double last;           /* when something has come, or the request was sent */
  ml_job done;           /* takes over what nobody waits for */
  int pin;               /* of the connection itself, collected in the middle of an exchange */
} ml_hcconn;
/* User values. */
enum { ML_CC_UV_SETTINGS = 1, ML_CC_UV_EXCHANGE, ML_CC_UV_READER, ML_CC_UV_OP };

ml_hcconn *ml__checkhcconn(lua_State *L, int idx);
/* Pushes a connection that takes over a stream, which has no sink yet. */
ml_hcconn *ml__hcconn_push(lua_State *L, ml_stream *s, int settings);
bool ml__hcconn_free(const ml_hcconn *c); /* may there be another request? */
/* What its exchange needs no more is given to that, and the connection is idle or closes. It is
** at idx. Does nothing if something is still to come or to be sent. */
void ml__hcconn_settle(lua_State *L, ml_hcconn *c, int idx);
/* The response is complete, or something else has come that might be the last: if no task takes it
** the job does. */
void ml__hcconn_done(ml_hcconn *c);
/* Who ends the exchange knows: on_free is not told. */
static inline void ml__hcconn_quiet(ml_hcconn *c) {
  if (c->pin == 0) ml__list_remove(&c->done.link);
}

/* ---- what comes (hc_sink.c, hc_parse.c) ---- */

extern const ml_sink ml__hc_sink;
void ml__hcconn_prepare(ml_hcconn *c); /* a new one */
void ml__hcconn_begin(ml_hcconn *c);   /* an exchange begins: idle no more */
void ml__hcconn_idle(ml_hcconn *c);
void ml__hcconn_stop(ml_hcconn *c); /* no deadline any more, and it is not idle */
void ml__hcconn_arm(ml_hcconn *c);  /* a deadline was altered */
void ml__hcconn_pause(ml_hcconn *c, bool pause);
void ml__hcconn_heard(ml_hcconn *c); /* its silence begins now */
/* The exchange fails, if its response is not complete, and the connection with it. */
void ml__hcconn_fail(ml_hcconn *c, ml_hcfail fail, const char *why);
/* Bytes of a response, of a tunnel, or of nothing. */
void ml__hcparse_feed(ml_hcconn *c, const char *p, size_t n);
void ml__hcparse_took(ml_hcconn *c,
                      size_t n);    /* so many bytes of the body's data were read past it */
void ml__hcparse_eof(ml_hcconn *c); /* the peer has ended: so may the response */

/* ---- bodies of responses (hc_body.c) ---- */

void ml__hcbody_add(ml_hcconn *c, const char *p, size_t n);
void ml__hcbody_end(ml_hcconn *c);   /* it is complete, or never will be */
bool ml__hcbody_reads(ml_stream *s); /* of ml_sink */
/* The exchange is over, and has no body with the connection any more. */
void ml__hcbody_reset(lua_State *L, ml_hcconn *c, int idx);
extern const luaL_Reg ml__hcbody_methods[];

/* ---- exchanges ---- */

typedef struct ml_hcexchange {
  ml_object obj;        /* first */
  ml_hcconn *c;         /* user value */
  const ml_hhead *head; /* user value, a userdata; or NULL */
  uint32_t serial;
  bool taken; /* the body was, or the reader has it */
  bool chunked;
} ml_hcexchange;
/* User values. */
enum { ML_CX_UV_CONN = 1, ML_CX_UV_HEAD, ML_CX_UV_BODY, ML_CX_UV_TRAILERS };

ml_hcexchange *ml__checkhcexchange(lua_State *L, int idx);
/* Is it the current one of its connection? */
static inline bool ml__hcexchange_current(const ml_hcexchange *x) { return x->c->x == x; }
/* The exchange at 1, if it is: else raises. */
ml_hcconn *ml__checkhccurrent(lua_State *L, const char *fname);
/* c->head becomes the exchange's, which is at idx. */
void ml__hcexchange_take_head(lua_State *L, ml_hcexchange *x, int idx);
/* The trailers that have come, if they have not been kept yet, are. The exchange is at idx. */
void ml__hcexchange_take_trailers(lua_State *L, ml_hcconn *c, int idx);
/* Pushes why the current exchange has failed. */
void ml__hcexchange_failure(lua_State *L, const ml_hcconn *c);
/* Pushes why its request cannot be sent on: the response may be there all the same. */
void ml__hcexchange_send_failure(lua_State *L, const ml_hcconn *c, const char *fname);
/* The exchange at 1, whose request's body is still to be sent: else raises. */
ml_hcconn *ml__checkhcsending(lua_State *L, const char *fname);
/* Pushes an operation of the class for the exchange at 1: the connection's last one, if it is
** done with. */
ml_hcop *ml__hcop_push(lua_State *L, ml_hcconn *c, const ml_opclass *cls);
static inline void ml__hcop_done(ml_hcop *op) { op->op.obj.n = 0; }
extern const luaL_Reg ml__hcresponse_methods[], ml__hcrequest_methods[], ml__hctransfer_methods[];
int ml__hcconn_request(lua_State *L); /* conn:request() */
/* Do requests of this method have a body, so that none has to be told? */
bool ml__hc_expects_body(const char *method);

/* units' openers: add to the table on top */
void ml__open_hcconn(lua_State *L);
void ml__open_hcexchange(lua_State *L);

#endif
