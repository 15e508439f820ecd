/* What the units of http.core share: settings, connections of HTTP/1, requests.
**
** A connection (ml_hconn) is the sink of a stream: libuv's callback hands the bytes to
** llhttp, and no Lua runs. When a request's head is complete it is copied into one block,
** and the task that waits in conn:next() is woken, once; the block becomes part of the
** exchange, the userdata which scripts have of a request and its response. A body lies
** with the connection until somebody asks for it.
**
** One exchange at a time is the current one (its serial is the connection's). Older ones
** still answer what was asked for, but nothing can be done with them.
*/
#ifndef ML_HTTP_H
#define ML_HTTP_H

#include <llhttp.h>
#include <string.h>

#include "stream.h"

#define ML_HTTP_MAXFIELDS 1000
#define ML_HTTP_KNOWN 32 /* a power of 2 */

typedef struct ml_hfield { /* offsets into the head's text */
  uint32_t name, nname;
  uint32_t value, nvalue;
} ml_hfield;

/* A part of the head's text. */
typedef struct ml_hspan {
  uint32_t at, n;
} ml_hspan;

enum {
  ML_HH_LENGTH = 1,    /* has Content-Length */
  ML_HH_CHUNKED = 2,   /* has a body in chunks */
  ML_HH_CONTINUE = 4,  /* the peer waits for 100 Continue */
  ML_HH_KEEP = 8,      /* the connection may be used again */
  ML_HH_UPGRADE = 16,  /* asks for another protocol */
  ML_HH_ABSOLUTE = 32, /* the target was a whole URL */
  ML_HH_QUERY = 64
};

/* The head of a request or a response: one block. The fields, then the text, follow it. */
typedef struct ml_hhead {
  uint32_t ntext;
  uint16_t nfields;
  uint8_t minor; /* HTTP/1.minor */
  uint8_t flags; /* ML_HH_* */
  ml_hspan method, target, path, query, host;
  ml_hspan reason; /* a response's */
  uint16_t status;
  uint64_t length; /* of the body, if it is known */
  ml_hfield fields[];
} ml_hhead;

static inline const char *ml__hhead_text(const ml_hhead *h) {
  return (const char *)(h->fields + h->nfields);
}
static inline size_t ml__hhead_size(const ml_hhead *h) {
  return sizeof *h + h->nfields * sizeof *h->fields + h->ntext;
}

/* What is known while a head is parsed. */
typedef struct ml_hparse {
  const char *chunk; /* what llhttp reads */
  uint32_t base;     /* bytes of the head before it */
  uint32_t nfields;
  ml_hspan target; /* or the reason */
  uint8_t last;    /* what the last callback told of: ML_HP_* */
  bool complete, folded;
} ml_hparse;
enum { ML_HP_NONE, ML_HP_TARGET, ML_HP_NAME, ML_HP_VALUE };

/* A head that is not there yet in full. */
typedef struct ml_hpartial {
  ml_hparse parse;
  ml_hfield *fields;
  uint32_t capfields, captext;
  char *text;
} ml_hpartial;

/* The engine's part of HTTP: one userdata in the registry. */
typedef struct ml_http {
  ml_net *net;
  ml_hparse parse;
  ml_hfield *fields; /* ML_HTTP_MAXFIELDS: of the head that is being parsed */
  char *out;         /* a response's head is made here */
  size_t nout, capout;
  uint64_t round; /* of `loop`: that `now` is the time of */
  ml_evloop *loop;
  double now;
  uint64_t date_round; /* of `date_loop`: that the clock was looked at in */
  const ml_evloop *date_loop;
  /* names and values of responses' headers that have been looked at: the strings are kept in the
  ** table `known`, so that an address means one string */
  struct {
    const char *p;
    size_t n;
  } names[ML_HTTP_KNOWN], values[ML_HTTP_KNOWN];
  int64_t date_at; /* the second that date tells */
  char date[40];   /* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" */
} ml_http;

ml_http *ml__http(lua_State *L);
/* The loop's time, as of the round that runs. */
double ml__http_now(ml_http *h, ml_evloop *l);
/* Are the strings at the indices a name and a value that can be sent? */
bool ml__header_name_ok(lua_State *L, ml_http *h, int idx, const char *s, size_t n);
bool ml__header_value_ok(lua_State *L, ml_http *h, int idx, const char *s, size_t n);
/* "Date: ...\r\n", 37 bytes, of this second */
const char *ml__http_date(ml_http *h);

/* ---- heads out of bytes (http_head.c), requests' and responses' ---- */

typedef struct ml_hlimits {
  uint32_t max_line, max_head, max_headers, max_field;
} ml_hlimits;

/* What a connection reads heads with. */
typedef struct ml_hinput {
  ml_http *http;
  ml_hlimits limits;
  uint16_t bad; /* status of what is wrong with the head, or 0 */
  const char *why;
  ml_hpartial *partial; /* or NULL */
  llhttp_t parser;      /* what its callbacks need comes before it */
} ml_hinput;

typedef enum {
  ML_HI_MORE,
  ML_HI_HEAD,
  ML_HI_BAD,   /* bad and why tell of it; or bad is 0, and llhttp's error does */
  ML_HI_HTTP2, /* the preface of HTTP/2 */
  ML_HI_NOMEMORY
} ml_hresult;

void ml__hinput_init(ml_hinput *in, ml_http *http, const ml_hlimits *limits, llhttp_type_t type);
/* Reads on: *used of the n bytes belong to the head, a new block of which is *head if it is
** complete. Then the parser says of it what it does until it is reset. */
ml_hresult ml__hinput_feed(ml_hinput *in, const char *p, size_t n, size_t *used, ml_hhead **head);
void ml__hinput_free(ml_hinput *in); /* what came of a head that is not complete */
void ml__hhead_free(ml_http *http, ml_hhead *head);

/* ---- settings: a userdata, made once for many connections ---- */

typedef struct ml_hsettings {
  ml_maker maker; /* first */
  uint32_t max_line, max_head, max_headers;
  uint32_t max_discard; /* bytes of a body that nobody has read, for the sake of keep-alive */
  double release_after; /* seconds, less of them the more connections there are; < 0: never */
  uint32_t nconns;      /* not over */
  double header_timeout, keepalive_timeout, body_timeout, send_timeout, lingering_time;
  ml_link conns;    /* ml_hconn.all */
  char server[128]; /* "Server: NAME\r\n", or "" */
  size_t nserver;
} ml_hsettings;
enum { ML_HS_ON_BAD = 1 }; /* user values */

ml_hsettings *ml__checkhsettings(lua_State *L, int idx);
/* Calls on_bad of the settings at idx. */
void ml__hsettings_tell(lua_State *L, int idx, int status, const char *why, const ml_addr *peer);

/* ---- bodies in chunks (http_chunks.c) ---- */

/* Memory that is zero is a body's beginning. */
typedef struct ml_hchunks {
  uint64_t left;   /* bytes of data that are next, if it is in a chunk */
  uint32_t beside; /* bytes of extensions and trailers so far */
  uint8_t state, digits;
  bool lenient; /* lines may end with LF alone, spaces may follow a size */
} ml_hchunks;

/* Goes over what is no data: to the next data, the end, or where it is wrong. Gives how many
** bytes that was; the last *ntrailers of them belong to the trailers, their empty line too. */
size_t ml__hchunks_skip(ml_hchunks *k, const char *p, size_t n, size_t *ntrailers);
bool ml__hchunks_in_data(const ml_hchunks *k);
void ml__hchunks_took(ml_hchunks *k, size_t n); /* of the data */
bool ml__hchunks_done(const ml_hchunks *k);
const char *ml__hchunks_wrong(const ml_hchunks *k); /* or NULL */

/* ---- connections ---- */

enum {                        /* ml_hconn.flags */
       ML_HC_BUSY = 1,        /* an exchange was handed out and is not over */
       ML_HC_STARTED = 2,     /* of it: the response has begun */
       ML_HC_ANSWERED = 4,    /* it has ended */
       ML_HC_BODY = 8,        /* the request's body is not there in full */
       ML_HC_DISCARD = 16,    /* nobody wants what comes of it */
       ML_HC_KEEP = 32,       /* the connection may be used again */
       ML_HC_CONTINUE = 64,   /* the peer waits for 100 Continue */
       ML_HC_CHUNKED = 128,   /* the response goes out in chunks */
       ML_HC_LENGTH = 256,    /* its length was told: `left` */
       ML_HC_NOBODY = 512,    /* it has none: HEAD, 204, 304 */
       ML_HC_SHUTDOWN = 1024, /* graceful end was asked for */
       ML_HC_LINGER = 2048,   /* closing: what still comes is dropped */
       ML_HC_PAUSED = 4096,   /* the sink wants no more for now */
       ML_HC_OVER = 8192,     /* the stream is gone or goes */
       ML_HC_PEER_ENDED = 1 << 14,
       ML_HC_LATE = 1 << 15,     /* the deadline has passed */
       ML_HC_READING = 1 << 16,  /* a task waits for the body */
       ML_HC_READER = 1 << 17,   /* the body goes to `reader` */
       ML_HC_UPGRADED = 1 << 18, /* the stream has another sink now */
       ML_HC_TOOBIG = 1 << 19,
       ML_HC_OLD = 1 << 20,     /* the request is one of HTTP/1.0 */
       ML_HC_HTTP2 = 1 << 21,   /* the peer has sent the preface of HTTP/2 */
       ML_HC_MORE = 1 << 22,    /* its peer means to send another request */
       ML_HC_REST = 1 << 23,    /* idle for a while: its task is to end */
       ML_HC_RELEASED = 1 << 24 /* no task: the next request begins one; `pin` */
};

struct ml_hconn;
struct ml_http2;
typedef struct ml_hop { /* an operation: conn:next(), x:read() or a drain */
  ml_op op;
  struct ml_hconn *c; /* user value 1 */
  uint32_t serial;    /* x:read: its exchange's */
  size_t limit;       /* x:read: 0: none */
} ml_hop;

typedef struct ml_hconn {
  ml_object obj; /* first */
  ml_http *http;
  ml_stream *s;
  ml_hsettings *settings; /* user value 1 */
  ml_link all;            /* in settings->conns */
  uint32_t flags;
  uint32_t serial; /* of the current exchange */
  uint16_t bad;    /* status to answer with, or 0 */
  uint8_t minor;
  const char *why; /* of bad */
  ml_hinput input;
  ml_hhead *head;       /* complete, not handed out yet; or NULL */
  ml_bytes in;          /* not parsed yet */
  ml_bytes body;        /* not asked for yet */
  uint64_t got;         /* bytes of the body so far */
  uint64_t expected;    /* its length, if it is known; or UINT64_MAX */
  ml_hchunks chunks;    /* of a body in chunks */
  uint64_t left;        /* bytes that the response still has to have */
  uint64_t sent;        /* bytes of the response's body */
  ml_hop *next;         /* the operation that waits in conn:next(), or NULL */
  ml_hop *reading;      /* in x:read(), or NULL */
  ml_link drains;       /* ml_waitop */
  ml_reader *reader;    /* user value 2; or NULL */
  ml_readsource source; /* of that */
  ml_timer timer;
  double deadline; /* loop time, or INFINITY; the timer may fire before it */
  size_t queued;   /* what was to be written when that was looked at last */
  ml_job gone;     /* cancels the task at `gone_pin` */
  int gone_pin;
  int pin;             /* of the connection itself, while it has no task */
  struct ml_http2 *h2; /* what it has become, or NULL */
} ml_hconn;
/* User values. */
enum { ML_HC_UV_SETTINGS = 1, ML_HC_UV_READER, ML_HC_UV_NEXT };

ml_hconn *ml__checkhconn(lua_State *L, int idx);
bool ml__hconn_kept(const ml_stream *s);          /* of ml_maker */
int ml__hconn_revive(lua_State *L, ml_stream *s); /* pushes it; 0: it has none yet */
/* Pushes a connection that takes over a stream, which has no sink yet. */
ml_hconn *ml__hconn_push(lua_State *L, ml_stream *s, int settings);
/* http_sink.c */
void ml__hconn_prepare(ml_hconn *c);                  /* a new one */
void ml__hconn_deadline(ml_hconn *c, double seconds); /* from now; < 0: none */
void ml__hconn_stop(ml_hconn *c);                     /* no deadline any more */
void ml__hconn_over(ml_hconn *c);                     /* the stream is gone or goes */
void ml__hconn_forget(lua_State *L, ml_hconn *c);     /* whom to tell that the peer has gone */
/* How long an idle connection keeps its task, seconds. */
double ml__hconn_rest_time(const ml_hsettings *set);
/* In conn:next(), the connection at idx: its task may go. */
int ml__hconn_release(lua_State *L, ml_hconn *c, int idx);
void ml__hconn_unpin(ml_hconn *c); /* it is kept by a task again, or by nobody */
/* The request that waits cannot be served: the status and a reason. */
void ml__hconn_bad(ml_hconn *c, int status, const char *why);
void ml__hconn_wake(ml_hconn *c); /* who waits in conn:next() */
void ml__hconn_pause(ml_hconn *c, bool pause);
bool ml__hconn_is_over(const ml_hconn *c);
void ml__hconn_close(ml_hconn *c); /* after what is queued; lingers if need be */
void ml__hconn_shutdown(ml_hconn *c);
int ml__hconn_detach(lua_State *L); /* a method */
/* The stream's sink is another one from now on; gives what has come already. */
void ml__hconn_leave(ml_hconn *c, ml_bytes *rest);
/* Pushes reader and writer of the stream in the place of its sink; takes the rest. May raise a
** memory error: then nothing is altered. */
int ml__http_detach(lua_State *L, ml_stream *s, ml_bytes *rest);
extern const ml_sink ml__http_sink;

/* ---- parsing (http_parse.c) ---- */

void ml__hparse_init(ml_hconn *c);
void ml__hparse_feed(ml_hconn *c, const char *p, size_t n); /* what has come */
void ml__hparse_next(ml_hconn *c); /* goes on with c->in, after an exchange */
void ml__hparse_free(ml_hconn *c);

/* ---- bodies (http_parse.c, http_body.c) ---- */

void ml__hbody_add(ml_hconn *c, const char *p, size_t n);
void ml__hbody_end(ml_hconn *c); /* it is complete, or never will be: c->bad, lost */
void ml__hbody_reset(lua_State *L, ml_hconn *c,
                     int idx); /* the exchange is over; idx: the connection */
/* Pushes an error of that class of the module's, with its status. */
void ml__http_error(lua_State *L, const char *cls, int status, const char *why);
extern const luaL_Reg ml__hbody_methods[];

/* ---- exchanges ---- */

typedef struct ml_exchange {
  ml_object obj; /* first */
  ml_hconn *c;   /* user value 1 */
  uint32_t serial;
  ml_hhead head; /* last */
} ml_exchange;

ml_exchange *ml__checkexchange(lua_State *L, int idx);
/* The exchange at 1, if it is the current one: else raises. */
ml_hconn *ml__checkcurrent(lua_State *L, const char *fname);
/* Pushes an exchange of c->head, which is freed. The connection is at idx. */
int ml__exchange_path(lua_State *L, const ml_exchange *x); /* pushes it */
ml_exchange *ml__exchange_push(lua_State *L, ml_hconn *c, int idx);
extern const luaL_Reg ml__respond_methods[], ml__upgrade_methods[], ml__hsendfile_methods[];

/* ---- what is sent (http_out.c): heads are put together in the engine's buffer ---- */

/* Makes room for n bytes more: what was put there stays. May raise a memory error. */
void ml__hout_room(lua_State *L, ml_http *h, size_t n);
/* There is room for it. p may be NULL if n is 0. */
static inline void ml__hout_put(ml_http *h, const char *p, size_t n) {
  if (n > 0) memcpy(h->out + h->nout, p, n);
  h->nout += n;
}
#define ML_HOUT_PUT(h, literal) ml__hout_put(h, literal, sizeof(literal) - 1)
void ml__hout_number(ml_http *h, uint64_t v);
void ml__hout_hex(ml_http *h, size_t v);
/* What a script's headers have told. */
typedef struct ml_htold {
  bool length, date, server, connection, close, host, expect;
  uint64_t n; /* Content-Length */
} ml_htold;
/* Puts the array of names and values at idx (or Headers, or nothing), checked. */
void ml__hout_headers(lua_State *L, ml_http *h, int idx, const char *fname, ml_htold *t);
/* Sends the buffer, and n bytes at p and nend at end behind it. Raises a memory error. */
void ml__hout_send(lua_State *L, ml_http *h, ml_stream *s, const char *p, size_t n, const char *end,
                   size_t nend);

/* Files (http_sendfile.c): the arguments of x:_sendfile are at 2 to 5. The number of bytes. */
uint64_t ml__hsendfile_check(lua_State *L, const ml_stream *s);
/* What is in the way of more than *sent bytes of it, or NULL. Raises OSError. */
const char *ml__hsendfile(lua_State *L, ml_stream *s, size_t *sent);
/* Pushes a Socket of a duplicate of the descriptor; or returns false. */
bool ml__hsendfile_lend(lua_State *L, ml_stream *s);
void ml__hsendfile_cork(const ml_stream *s, int on);

/* ---- responses (http_respond.c) ---- */

const char *ml__http_reason(int status);
/* x:transport_info(name [, default]): get_extra_info of the stream's transport. */
int ml__stream_info(lua_State *L, ml_stream *s);
/* The field of that name of the settings at 1, if it is there: an integer of 0 to most; seconds, or
** false for none (-1). Else raises. */
void ml__setting_count(lua_State *L, const char *name, uint32_t *v, uint32_t most);
void ml__setting_seconds(lua_State *L, const char *name, double *v);
/* What a script may say of it (http_message.c). These raise misuse in the name of fname. */
int ml__http_status(lua_State *L, int idx, const char *fname, int least); /* least to 999 */
int ml__http_inform_status(lua_State *L, int idx);                        /* 100, 102 to 199 */
static inline bool ml__http_bodiless(int status) {
  return status < 200 || status == 204 || status == 304;
}
typedef struct ml_hline {
  const char *name, *value;
  size_t nname, nvalue;
} ml_hline;
/* How many items the array of names and values at idx has; that of Headers takes their place. */
lua_Integer ml__http_lines(lua_State *L, int idx, const char *fname);
/* Pushes the items i and i + 1 of it, checked: no name and no value begins a line of its own. */
void ml__http_line(lua_State *L, ml_http *h, int idx, lua_Integer i, const char *fname,
                   ml_hline *line);
/* The Content-Length that the line tells; again: there was one already. */
uint64_t ml__http_length(lua_State *L, const char *fname, const ml_hline *line, bool again);
/* Pushes an OSError with the code ECONNRESET; or raises that of a response. */
void ml__http_gone(lua_State *L, const char *text);
#define ML_HTTP_CUT "the peer has gone in the middle of the request's body"
int ml__http_raise_gone(lua_State *L, const char *fname);
/* The exchange at 1, which has begun its response and not ended it: else raises. */
ml_hconn *ml__hconn_check_open(lua_State *L, const char *fname);
/* The short answer to a request that cannot be served. */
void ml__respond_bad(lua_State *L, ml_hconn *c);
/* Pushes nil, or what waits until the peer has read most of what was written. The connection
** is at idx. */
int ml__hconn_drain(lua_State *L, ml_hconn *c, int idx);
/* x:upgrade: sends the answer. */
ml_hconn *ml__respond_upgrade(lua_State *L);
/* A response was sent to its end. */
void ml__hconn_answered(ml_hconn *c);

/* ---- headers ---- */

bool ml__name_equals(const char *a, size_t na, const char *b, size_t nb); /* ASCII case aside */
bool ml__token_ok(const char *s, size_t n);
bool ml__field_ok(const char *s, size_t n); /* no CR, LF, NUL */
bool ml__host_ok(const char *s, size_t n);  /* a value of Host, or an authority without user */
/* Pushes a Headers object of a head's fields; of one that lies in the userdata at `owner`: made
** of its fields when that is needed. */
void ml__headers_of(lua_State *L, const ml_hhead *h);
void ml__headers_in(lua_State *L, const ml_hhead *h, int owner);
/* Of the array of names and values on top (popped). */
void ml__headers_wrap(lua_State *L);
/* x:header(name), of a head: pushes the first field's value, or nil. */
int ml__hhead_header(lua_State *L, const ml_hhead *h);
/* What x:read(limit) is given; 0: none. */
size_t ml__http_read_limit(lua_State *L);
/* The array of names and values at idx, or of the Headers there: pushes it. */
void ml__headers_array(lua_State *L, int idx, const char *fname);

/* units' openers: add to the table on top */
int ml__open_http(lua_State *L); /* module http.core */
void ml__open_hconn(lua_State *L);
void ml__open_exchange(lua_State *L);
void ml__open_hheaders(lua_State *L);
void ml__open_hbody(lua_State *L);

#endif
