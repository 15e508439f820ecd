/* What the units of asyncio.tls share: contexts, connections, errors.
**
** A tls_conn is the filter of an ml_stream: OpenSSL stands between the socket
** and the stream's sink. It is counted by references: the stream has one, each
** SSLObject that scripts hold has another, so that certificates can be looked
** at when the connection is long closed. Everything belongs to the engine's thread.
*/
#ifndef ML_TLS_H
#define ML_TLS_H

#include <openssl/ssl.h>

#include "stream.h"

/* ---- errors ---- */

typedef enum {
  TLS_OK,
  TLS_FAILED,       /* OpenSSL says so: code */
  TLS_UNVERIFIED,   /* the peer's certificate: verify */
  TLS_RAGGED,       /* the peer went without close_notify */
  TLS_GONE,         /* the peer went during the handshake */
  TLS_SLOW,         /* the handshake took too long */
  TLS_SLOW_SHUTDOWN /* the peer did not answer a close_notify */
} tls_errkind;

typedef struct tls_error {
  tls_errkind kind;
  unsigned long code; /* of ERR_get_error */
  long verify;        /* X509_V_ERR_*; TLS_SLOW: milliseconds */
} tls_error;

/* Takes the oldest error off OpenSSL's queue and empties that. */
void tls_error_take(tls_error *e);
/* Pushes an SSLError (or what else fits) that begins with `what`; `name` is the host's
** that was asked for. Both may be NULL. */
void tls_error_push(lua_State *L, const tls_error *e, const char *what, const char *name);
/* Raises what is in OpenSSL's queue. */
int tls_raise(lua_State *L, const char *what);
/* The names of the library and of the reason, as in "[SSL: WRONG_VERSION_NUMBER]". */
void tls_open_errors(lua_State *L);

/* ---- contexts ---- */

typedef struct tls_context {
  int refs;
  ml_engine *engine;
  SSL_CTX *ssl;
  BIO_METHOD *bio; /* of its connections */
  bool server, check_hostname;
  unsigned hostflags;
  unsigned char *alpn; /* length-prefixed names */
  unsigned alpn_len;
} tls_context;

typedef struct tls_ctxobject {
  ml_object obj;
  tls_context *ctx;
} tls_ctxobject;

tls_context *tls_context_check(lua_State *L, int idx);
void tls_context_ref(tls_context *c);
void tls_context_unref(tls_context *c);
void tls_open_contexts(lua_State *L);

/* ---- certificates ---- */

void tls_push_cert(lua_State *L, X509 *cert); /* as Python's getpeercert() */
void tls_push_der(lua_State *L, X509 *cert);
void tls_push_chain(lua_State *L, const STACK_OF(X509) * chain); /* array of DER */

/* ---- connections ---- */

typedef struct tls_op tls_op;
enum { TLS_PULL_AGAIN = 1 }; /* nothing more for now */

typedef struct tls_conn {
  int refs;
  ml_engine *engine;
  ml_stream *s; /* NULL: freed */
  SSL *ssl;
  tls_context *ctx, *chosen; /* chosen: by the SNI callback, or NULL */
  lua_State *L;              /* while the handshake may call Lua */
  ml_job job;                /* the next step of the handshake, or more to read */
  ml_timer timer;            /* of the handshake, then of the shutdown */
  ml_bytes before;           /* came before TLS was started */
  tls_op *waiter;            /* the task that awaits the handshake, or NULL */
  tls_error error;
  int sockerr;    /* UV_E*: of the last recv */
  int after;      /* what is to be told next: PULL_* of tls_stream.c */
  bool server;    /* side */
  bool eof;       /* the socket has ended */
  bool met_eof;   /* the last call into OpenSSL has seen that */
  bool lenient;   /* no close_notify is asked for: OP_IGNORE_UNEXPECTED_EOF */
  bool drained;   /* the last recv took all there was */
  bool notified;  /* close_notify was sent */
  bool handshook; /* the handshake is done */
  bool gathering; /* records are collected in `out` */
  char *out;      /* a slab */
  size_t nout, discarded;
  double handshake_timeout, shutdown_timeout;
  int info;      /* pin of a table {context, server_hostname, sni, done} */
  int transport; /* pin, during the handshake */
} tls_conn;

/* Awaits a handshake. User values: 1: transport or writer, 2: context, 3: info. */
struct tls_op {
  ml_op op; /* first */
  tls_conn *c;
  bool server;
  double handshake_timeout, shutdown_timeout;
};

extern const ml_streamops tls_ops;

/* Makes TLS the filter of the stream and schedules the handshake's first step. The
** info table is at idx. Raises errors. */
tls_conn *tls_conn_start(lua_State *L, ml_stream *s, tls_context *ctx, int idx, bool server,
                         double handshake_timeout, double shutdown_timeout);
void tls_conn_unref(tls_conn *c);
void tls_open_conns(lua_State *L);
/* The BIO between OpenSSL and the socket. NULL: no memory. */
BIO_METHOD *tls_bio_method(void);
void tls_schedule(tls_conn *c); /* runs tls_conn.job soon */
/* The handshake can go no further: c->error or s->error say why. */
void tls_conn_failed(tls_conn *c, int uverr);
/* Reads what has come to where the stream's sink wants it. */
void tls_pump(tls_conn *c);
/* The stream lets go of the socket. */
void tls_conn_closed(tls_conn *c);
/* The shutdown has taken too long. */
void tls_shutdown_timeout(ml_evloop *loop, ml_job *job);

/* Pushes the SSLObject of the connection. */
void tls_object_push(lua_State *L, tls_conn *c);
void tls_open_objects(lua_State *L);
SSL_SESSION *tls_session_check(lua_State *L, int idx);

int ml__open_tls(lua_State *L); /* module asyncio.tls */

#endif
