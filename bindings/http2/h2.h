/* What the units of HTTP/2 share: sessions, their streams, exchanges.
**
** A stream of a session (ml_h2stream) is made when a request's head is complete or is sent,
** and is a block of its own: the session has a reference while the stream is open, the exchange
** that scripts hold has one, and the StreamReader of its body another. nghttp2's callbacks run
** inside libuv's or inside ours and touch no Lua: what needs Lua waits for the session's job,
** which also sends: all frames of a round of the loop go out in one write.
**
** Servers and clients have the same sessions and streams: what is different hangs off ml_h2role.
*/
#ifndef ML_H2_H
#define ML_H2_H

#include <nghttp2/nghttp2.h>

#include "http2.h"

#define H2_WINDOW (256 * 1024)       /* what a peer may send ahead, a stream */
#define H2_CONN_WINDOW (1024 * 1024) /* and all of them */
#define H2_STREAMS 128               /* at once */
#define H2_HIGH (64 * 1024)          /* bytes of a response that wait, until writing waits */
#define H2_LOW (16 * 1024)
#define H2_COPY 8192    /* strings of this size and more are pinned, not copied */
#define H2_RESET_COST 8 /* see h2_guard.c */

typedef struct ml_h2stream ml_h2stream;

/* What makes a session a server's or a client's. But for init, tell and body_error these run
** where no Lua may. */
typedef struct ml_h2role {
  bool client;
  size_t stream;             /* the size of one: ml_h2stream first */
  const char *ours, *theirs; /* what is sent and what comes: "response", "request" */
  void (*init)(lua_State *L, ml_http2 *h, int idx);   /* the settings are at idx */
  int (*greet)(ml_http2 *h);                          /* SETTINGS; gives errors of nghttp2's */
  int (*head)(ml_http2 *h, const nghttp2_frame *f);   /* one has come; errors of nghttp2's */
  void (*frame)(ml_http2 *h, const nghttp2_frame *f); /* one of another type */
  /* Something is written to a stream that is closed: raises, or it is dropped. */
  void (*drop)(lua_State *L, const ml_h2stream *x, const char *fname);
  int (*ended)(ml_h2stream *x); /* our last frame was sent, the peer's has not come */
  /* x (or NULL) is being closed: true if that is against the rules. */
  bool (*closing)(ml_http2 *h, ml_h2stream *x, uint32_t error);
  void (*stream_closed)(ml_h2stream *x);   /* NULL, or: it was */
  void (*stream_free)(ml_h2stream *x);     /* NULL, or: it is being freed */
  void (*over)(ml_http2 *h);               /* nothing comes any more: who waits is woken */
  void (*tell)(lua_State *L, ml_http2 *h); /* in the job */
  void (*body_error)(lua_State *L, ml_readsource *src); /* pushes why a body has ended */
  void (*too_large)(lua_State *L, size_t limit);        /* pushes an error */
  double (*deadline)(const ml_http2 *h);                /* of the session itself; or INFINITY */
  double (*stream_deadline)(const ml_h2stream *x);
  void (*expired)(ml_http2 *h, double now);
  void (*stream_expired)(ml_h2stream *x, double now);
} ml_h2role;

/* A part of a body that waits to be sent. */
typedef struct ml_h2piece {
  struct ml_h2piece *next;
  const char *p; /* in a Lua string that is pinned, or in data */
  size_t n, size;
  int pin;
  char data[];
} ml_h2piece;

enum {                     /* ml_http2.flags */
       H2_OVER = 1,        /* no more requests come: the session is deleted */
       H2_SHUTDOWN = 2,    /* a graceful end was asked for */
       H2_LEAVING = 4,     /* the last GOAWAY is on its way */
       H2_CALM = 8,        /* the peer was told to calm down, and is not heard any more */
       H2_BLOCKED = 16,    /* the buffer was too small for the next frame */
       H2_LINGER = 32,     /* what still comes is dropped */
       H2_INSIDE = 64,     /* nghttp2 is on the C stack */
       H2_HEAD = 128,      /* a request's head is coming */
       H2_FORGOTTEN = 512, /* the loop is closed */
       H2_NOMEM = 1024,    /* an allocation of nghttp2's has failed */
       H2_ACCUSED = 2048,  /* GOAWAY was sent with an error: `fault` */
       H2_GREETED = 256    /* the peer's first SETTINGS have come */
};

/* A head that is coming: one at a time. */
typedef struct ml_h2parse {
  ml_hfield *fields; /* the first is kept for `host` */
  char *text;
  uint32_t nfields, capfields;
  uint32_t ntext, captext;
  uint32_t size; /* of names and values */
  uint32_t cookies;
  ml_hspan method, path, authority, host, status;
  uint64_t length;
  bool has_length, has_host, expects, expects_more, too_large;
} ml_h2parse;

struct ml_http2 {
  int refs;
  uint32_t flags;
  const ml_h2role *role;
  size_t size; /* of this block */
  ml_http *http;
  ml_hsettings *settings; /* of servers */
  uint32_t max_line, max_head, max_headers;
  ml_stream *s;
  ml_evloop *loop;
  nghttp2_session *session; /* NULL: over */
  ml_op *next;              /* waits for a request, or NULL */
  ml_link streams;          /* ml_h2stream.all: open */
  ml_link waiting;          /* ml_h2stream.link: requests that nobody has taken */
  ml_link blocks;           /* of nghttp2's memory */
  ml_link gone;             /* ml_h2stream.link: something is to be told to Lua */
  ml_job job;
  ml_timer timer;
  uint32_t nstreams; /* open */
  uint32_t nlive;    /* handed out, and not answered yet */
  ml_h2parse parse;
  char *out; /* while frames are gathered */
  size_t nout;
  double head_since, idle_since, quiet_since;
  /* Of clients, or INFINITY: nothing has come, though calls are open; and that was too long. */
  double unheard_since, suspect_since;
  double credit_at;
  int credit; /* see h2_guard.c */
  /* Of clients: the newest stream whose head was sent. Of servers: the newest stream, and of it and
  ** the 63 before it which were opened, and which the peer has ended. */
  int32_t newest;
  uint64_t opened, ended;
  double lingering_time;
  const char *fault; /* of the peer, to be told to on_bad; or NULL */
  int pin;           /* of the settings */
};

enum {                        /* ml_h2stream.flags */
       H2S_OPEN = 1,          /* in h->streams */
       H2S_GIVEN = 2,         /* an exchange was made */
       H2S_BODY = 4,          /* the request has a body */
       H2S_EOF = 8,           /* it has come in full */
       H2S_LOST = 16,         /* the peer has gone, or has reset it */
       H2S_STARTED = 32,      /* the response has begun */
       H2S_FINISHED = 64,     /* it has ended, as far as scripts go */
       H2S_DEFERRED = 128,    /* nghttp2 waits for more of it */
       H2S_NOBODY = 256,      /* it has none */
       H2S_LENGTH = 512,      /* its length was told: `left` */
       H2S_CONTINUE = 1024,   /* the peer waits for 100 Continue */
       H2S_DISCARD = 2048,    /* what comes of the body is dropped */
       H2S_HEADONLY = 4096,   /* HEAD */
       H2S_BAD = 8192,        /* answered from here: `bad` is to be told */
       H2S_WANTED = 1 << 14,  /* a task waits for the body: the window is given back at once */
       H2S_ENDED = 1 << 15,   /* the last frame of the response was sent */
       H2S_RESTING = 1 << 17, /* answered: the rest of the request is not let through */
       H2S_LATE = 1 << 16,    /* the peer's body did not come in time */
       H2S_LARGE = 1 << 18,   /* the peer's head was too large */
       H2S_INVALID = 1 << 19, /* a frame of the peer's was against the rules */
       H2S_REFUSED = 1 << 20, /* the peer has reset it */
       H2S_TOLD = 1 << 21     /* a script knows that it is over */
};

struct ml_h2stream {
  int refs;
  int32_t id;
  uint32_t flags;
  ml_http2 *h;
  ml_link all, link;
  ml_hhead *head;
  /* what the peer sends: its body */
  ml_bytes in;      /* not asked for */
  uint64_t got;     /* bytes so far */
  uint32_t unacked; /* of them the window is not given back */
  ml_reader *reader;
  ml_readsource source; /* of that */
  ml_op *reading;       /* x:read(), or NULL */
  size_t limit;         /* of that; 0: none */
  /* what is sent */
  ml_h2piece *first, *last;
  size_t queued;
  uint64_t left;
  struct ml_h2trailers *trailers; /* or NULL */
  ml_link drains;                 /* ml_waitop */
  double body_since, send_since;
  uint64_t written;
  int task; /* pin: is cancelled when the peer goes; or 0 */
  uint16_t bad;
  const char *why;
};

/* What scripts have. User value 1: the StreamReader. */
typedef struct ml_h2exchange {
  ml_object obj;
  ml_h2stream *x;
} ml_h2exchange;

/* ---- sessions (h2_session.c) ---- */

static inline ml_allocator *ml__h2_alloc(const ml_http2 *h) { return h->http->net->engine->alloc; }
/* May nghttp2 be asked for anything? */
static inline bool ml__h2_alive(const ml_http2 *h) {
  return h->session != NULL && !(h->flags & H2_NOMEM);
}
void ml__h2_schedule(ml_http2 *h); /* the job, which sends */
/* GOAWAY with that error, then the end. */
void ml__h2_leave(ml_http2 *h, uint32_t error);
void ml__h2_release(ml_http2 *h);
/* Gives back the window of n bytes of the body. */
void ml__h2_consume(ml_h2stream *x, uint32_t n);
/* on_bad is to be told of this: the first one of a round. */
void ml__h2_fault(ml_http2 *h, const char *why);
/* Something of the stream is to be told to Lua: by the job. */
void ml__h2_tell(ml_h2stream *x);
extern const ml_sink ml__h2_sink;
/* A session with the settings at idx, of which `size` bytes begin with ml_http2; not begun. */
ml_http2 *ml__h2_new(lua_State *L, const ml_h2role *role, size_t size, int idx, ml_stream *s);
/* It takes the stream over, of which n bytes have come already. */
void ml__h2_begin(ml_http2 *h, ml_stream *s, const char *p, size_t n);

void ml__h2_depart(ml_http2 *h); /* all was said */

/* ---- sending (h2_send.c) ---- */

static inline bool ml__h2_full(const ml_http2 *h) {
  return (h->s->flags & (ML_S_FULL | ML_S_DROPPED)) != 0;
}
void ml__h2_flush(lua_State *L, ml_http2 *h);
void ml__h2_send_callbacks(nghttp2_session_callbacks *cb);
nghttp2_data_provider ml__h2_provider(ml_h2stream *x);

/* ---- streams (h2_stream.c) ---- */

ml_h2stream *ml__h2_stream_new(ml_http2 *h, int32_t id, ml_hhead *head);
void ml__h2_stream_unref(ml_h2stream *x);
void ml__h2_stream_data(ml_h2stream *x, const char *p, size_t n);
void ml__h2_stream_eof(ml_h2stream *x);
void ml__h2_want(ml_h2stream *x, bool wants); /* a task waits for more of the body */
/* It is closed: nothing more comes or goes. lost: against the rules. */
void ml__h2_stream_closed(ml_h2stream *x, bool lost);
int ml__h2_piece_add(ml_h2stream *x, const char *p, size_t n, int pin);
void ml__h2_pieces_take(ml_h2stream *x, char *to, size_t n);
void ml__h2_finished(ml_h2stream *x); /* sets H2S_FINISHED */
void ml__h2_took(ml_h2stream *x);     /* all that had come of the body was taken */
void ml__h2_body_late(ml_h2stream *x);
void ml__h2_reset(ml_h2stream *x, uint32_t error);
void ml__h2_continue(ml_h2stream *x); /* 100 Continue */
/* A short answer that is not the script's. */
void ml__h2_answer(ml_h2stream *x, int status, const char *why);
void ml__h2_trailers_free(ml_http2 *h, struct ml_h2trailers *t);
int ml__h2_trailers_send(ml_h2stream *x);

/* ---- heads (h2_head.c) ---- */

void ml__h2_head_begin(ml_http2 *h);
/* 0 or an error of nghttp2's. */
int ml__h2_head_add(ml_http2 *h, const char *name, size_t nname, const char *value, size_t nvalue);
/* The head is complete: the status to answer with and why, or 0 and the head; NULL: no memory. */
int ml__h2_head_end(ml_http2 *h, ml_hhead **head, const char **why);
/* The block of the fields that have come; NULL: no memory. */
ml_hhead *ml__h2_head_build(ml_http2 *h);
void ml__h2_head_free(ml_http2 *h);

/* ---- floods and time-outs (h2_guard.c) ---- */

/* The earlier of two, of which the second is so long after `since`; < 0: never. */
static inline double ml__h2_earlier(double when, double since, double seconds) {
  return seconds >= 0 && since + seconds < when ? since + seconds : when;
}

void ml__h2_guard_init(ml_http2 *h);
void ml__h2_charge(ml_http2 *h, int cost);
void ml__h2_earn(ml_http2 *h, int credit);
void ml__h2_frame_cost(ml_http2 *h, const nghttp2_frame_hd *hd);
/* Ends the session of a peer that uses streams which are closed, or never were. */
void ml__h2_frame_check(ml_http2 *h, const nghttp2_frame_hd *hd);
void ml__h2_frame_ended(ml_http2 *h, int32_t id); /* the peer sends nothing more on it */
void ml__h2_watch(ml_http2 *h);                   /* something has begun that has a deadline */
void ml__h2_watch_stream(ml_h2stream *x);
void ml__h2_linger(ml_http2 *h); /* the session is over: drops what comes, then closes */

/* ---- messages that are sent (h2_message.c) ---- */

#define H2_FIELDS 48 /* on the C stack */

typedef struct ml_h2fields {
  nghttp2_nv few[H2_FIELDS], *nv;
  size_t n;
  bool has_length, date, server; /* were among the headers */
  bool asks;                     /* a request's: Host is kept apart */
  const char *host;              /* or NULL */
  size_t nhost;
  uint64_t length;
  char status[4], number[24];
} ml_h2fields;

void ml__h2_fields_init(ml_h2fields *d);
void ml__h2_put(ml_h2fields *d, const char *name, size_t nname, const char *value, size_t nvalue);
#define H2_PUT(d, name, value, n) ml__h2_put(d, name, sizeof(name) - 1, value, n)
void ml__h2_put_length(ml_h2fields *d, uint64_t n);
/* The array of names and values at idx, or nothing. What d holds lies in Lua's strings, which
** the array keeps. Room for `more` fields of the caller's is made. */
void ml__h2_put_headers(lua_State *L, ml_http *h, ml_h2fields *d, int idx, const char *fname,
                        size_t more);
static inline bool ml__h2_is_open(const ml_h2stream *x) {
  return ml__h2_alive(x->h) && (x->flags & H2S_OPEN);
}
/* Queues the string at idx, if the peer is still there. */
void ml__h2_queue(lua_State *L, ml_h2stream *x, int idx);
/* Pushes nil, or what waits until the peer has taken most of what was written; returns 1. */
int ml__h2_push_drain(lua_State *L, ml_h2stream *x);
extern const luaL_Reg ml__h2_body_methods[];

/* ---- what both sides' exchanges have of what comes (h2_incoming.c) ---- */

enum { H2_UV_READER = 1 }; /* user values of exchanges */

ml_h2stream *ml__h2_check(lua_State *L); /* of the exchange at 1, of either side */
const ml_hhead *ml__h2_check_head(lua_State *L, const char *fname); /* its: raises if it has none */
extern const luaL_Reg ml__h2_message_methods[];

/* ---- exchanges (h2_exchange.c, h2_respond.c) ---- */

void ml__h2_exchange_push(lua_State *L, ml_h2stream *x);
ml_h2stream *ml__h2_check_served(lua_State *L); /* of the server's exchange at 1 */
void ml__h2_push_method(lua_State *L, const ml_h2stream *x);
void ml__h2_push_path(lua_State *L, const ml_h2stream *x);
extern const luaL_Reg ml__h2_respond_methods[];

#endif
