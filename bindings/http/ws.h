/* WebSocket (RFC 6455, RFC 7692): what its units share.
**
** An ml_ws speaks one side of the protocol over a connection whose handshake is done. It is
** the connection's sink: frames are taken apart in libuv's callback, where they lie in
** the slab, and whole messages wait in a queue for the task that receives. Without a connection
** bytes are fed by hand and those to be sent are collected.
*/
#ifndef ML_WS_H
#define ML_WS_H

#include "stream.h"

enum { /* opcodes; above 15: what only receivers see, as aiohttp's WSMsgType */
       ML_WS_CONTINUATION = 0,
       ML_WS_TEXT = 1,
       ML_WS_BINARY = 2,
       ML_WS_CLOSE = 8,
       ML_WS_PING = 9,
       ML_WS_PONG = 10,
       ML_WS_CLOSING = 0x100,
       ML_WS_CLOSED = 0x101,
       ML_WS_ERROR = 0x102
};

enum { /* close codes */
       ML_WSC_OK = 1000,
       ML_WSC_PROTOCOL = 1002,
       ML_WSC_NONE = 1005,
       ML_WSC_ABNORMAL = 1006,
       ML_WSC_INVALID = 1007,
       ML_WSC_TOO_BIG = 1009,
       ML_WSC_INTERNAL = 1011
};

#define ML_WS_CONTROL 125 /* bytes that a control frame may carry */
#define ML_WS_HEAD 14     /* the longest head of a frame */

/* ---- bytes (ws_frame.c) ---- */

/* Where a check of text that comes in parts has got to. */
typedef struct ml_utf8 {
  uint8_t need, low, high; /* continuation bytes to come; what the next one may be */
} ml_utf8;

/* False: no part of a text in UTF-8. It is complete if u->need is 0 then. */
bool ml__utf8_feed(ml_utf8 *u, const char *p, size_t n);
bool ml__utf8_valid(const char *p, size_t n);
/* Copies n bytes, masked with the key from its byte `at` on. to may be p. */
void ml__ws_mask(char *to, const char *p, size_t n, const uint8_t key[4], unsigned at);
/* Writes a frame's head; key: NULL for none. Returns its size. */
size_t ml__ws_head(uint8_t head[ML_WS_HEAD], unsigned first, uint64_t len, const uint8_t *key);
bool ml__ws_code_valid(unsigned code); /* may a peer close with it? */

/* ---- permessage-deflate (ws_deflate.c) ---- */

typedef struct ml_wszip ml_wszip;
typedef struct ml_wszipconfig {
  int in_bits, out_bits;    /* windows: 8 to 15, 9 to 15 */
  bool in_reset, out_reset; /* no context takeover */
} ml_wszipconfig;

/* NULL: no memory. Its windows are made when they are first used. */
ml_wszip *ml__wszip_new(ml_allocator *a, const ml_wszipconfig *c);
void ml__wszip_free(ml_wszip *z);
/* Both: 0 and the result in *out, *len, until the next call; or a close code. At most max
** bytes come out of an inflated message (0: no limit). */
int ml__wszip_inflate(ml_wszip *z, const char *p, size_t n, size_t max, char **out, size_t *len);
int ml__wszip_deflate(ml_wszip *z, const char *p, size_t n, char **out, size_t *len);
void ml__wszip_done(ml_wszip *z); /* the result is not needed any more */

/* ---- a connection (ws_conn.c) ---- */

/* A message that waits to be received; or is not complete yet. */
typedef struct ml_wsmsg {
  struct ml_wsmsg *next;
  size_t len, cap;
  uint16_t type;
  bool compressed;
  char data[];
} ml_wsmsg;

enum { /* ml_ws.obj.flags */
       ML_WS_SERVER = 1,
       ML_WS_AUTOPING = 2,
       ML_WS_AUTOCLOSE = 4,
       ML_WS_SENT = 8,     /* our close frame is on its way: nothing is sent any more */
       ML_WS_GOT = 16,     /* the peer's has come */
       ML_WS_FAILED = 32,  /* the peer broke a rule: what it sends is dropped */
       ML_WS_GONE = 64,    /* the connection is lost, or its end has come */
       ML_WS_PAUSED = 128, /* reading is */
       ML_WS_PONGS = 256,  /* a pong waits for room: ml_ws.pong */
       ML_WS_PINGED = 512, /* the heartbeat waits for an answer */
       ML_WS_LOCAL = 1024, /* close() was called: messages are dropped */
       ML_WS_LATE = 2048   /* and the answer is due */
};

typedef struct ml_wsop ml_wsop;

/* User values. */
enum {
  ML_WSUV_WRITER = 1,
  ML_WSUV_RECEIVE,
  ML_WSUV_SEND,
  ML_WSUV_MESSAGE,
  ML_WSUV_FAILURE,
  ML_WSUV_ERROR
};

typedef struct ml_ws {
  ml_object obj;
  ml_net *net;
  ml_evloop *loop;
  ml_stream *s; /* NULL: none, or given up */
  /* the frame under way */
  uint64_t left; /* of its payload */
  uint8_t head[ML_WS_HEAD], nhead;
  bool inside; /* its head is complete */
  bool fin;
  uint8_t opcode, nmask; /* nmask: place in the mask */
  uint8_t key[4];
  uint8_t ncontrol;
  uint8_t control[ML_WS_CONTROL];
  /* the message under way, or NULL */
  ml_wsmsg *part;
  ml_utf8 utf8;
  size_t max; /* bytes of a message; 0: no limit */
  ml_wszip *zip;
  /* messages to be received */
  ml_wsmsg *first, *last;
  size_t queued;          /* bytes they take */
  ml_wsop *receiver;      /* who waits, or NULL */
  ml_link senders;        /* who waits for room */
  ml_link closers;        /* who waits for the peer's close frame */
  int close_code;         /* 0: open */
  unsigned overdue;       /* receives since it was closed */
  double timeout;         /* of closing */
  double receive_timeout; /* < 0: none */
  ml_timer linger;        /* the peer's end does not come */
  double heartbeat;       /* 0: none */
  double heard;           /* when the peer sent something last */
  ml_timer beat;
  uint8_t npong;
  uint8_t pong[ML_WS_CONTROL];
  ml_job *on_end; /* a handle, pinned, to be run when the connection is over; or NULL */
  ml_bytes out;   /* without a stream: what was sent */
} ml_ws;

extern const ml_sink ml__ws_sink;
void ml__ws_init(ml_ws *ws, ml_net *net, ml_evloop *loop);
void ml__ws_feed(ml_ws *ws, const char *p, size_t n);
void ml__ws_ended(ml_ws *ws); /* no more bytes will come */
void ml__ws_start_beat(ml_ws *ws);
/* Sends a frame; first: its first byte. 0 or UV_ENOMEM. */
int ml__ws_send(ml_ws *ws, unsigned first, const char *p, size_t n);
/* Sends a close frame, unless that was done; code ML_WSC_NONE: an empty one. */
void ml__ws_send_close(ml_ws *ws, int code, const char *reason, size_t n);
/* The peer broke a rule. The receiver gets the reason, after the messages before it, and so does
** the peer: when it is received, or the time of closing is over. */
void ml__ws_fail(ml_ws *ws, int code, const char *reason);
void ml__ws_abort(ml_ws *ws);      /* drops the connection */
bool ml__ws_full(const ml_ws *ws); /* are senders to wait? */
void ml__ws_took(ml_ws *ws);       /* frees the first message */
void ml__ws_drop_messages(ml_ws *ws);
void ml__ws_free(ml_ws *ws);

/* ---- operations (ws_ops.c) ---- */

struct ml_wsop {
  ml_op op; /* obj.n: not 0 while it is handed out and not done */
  ml_ws *ws;
  ml_link link; /* in senders or closers */
  ml_timer timer;
  double timeout; /* < 0: none */
  const char *name;
  uint16_t opcode;
  uint8_t kind;
  bool late; /* the timer has fired */
  bool compress, forced;
};
void ml__wsop_wake(ml_wsop *op);
extern const luaL_Reg ml__ws_operations[];

/* ---- the handshake's keys (ws_key.c) ---- */

#define ML_WS_KEY 24                 /* characters */
#define ML_WS_ACCEPT 28              /* of the answer */
int ml__ws_key(char key[ML_WS_KEY]); /* 0, or UV_E*: no random bytes */
void ml__ws_accept(const char *key, size_t n, char accept[ML_WS_ACCEPT]);

#endif
