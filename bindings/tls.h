/* What the units of asyncio.tls share: contexts, connections, errors.
**
** A ml_tlsconn is the filter of an ml_stream: OpenSSL stands between the socket
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
} ml_tlserrkind;

typedef struct ml_tlserror {
  ml_tlserrkind kind;
  unsigned long code; /* of ERR_get_error */
  long verify;        /* X509_V_ERR_*; TLS_SLOW: milliseconds */
} ml_tlserror;

/* Takes the oldest error off OpenSSL's queue and empties that. */
void ml__tls_error_take(ml_tlserror *e);
/* Pushes an SSLError (or what else fits) that begins with `what`; `name` is the host's
** that was asked for. Both may be NULL. */
void ml__tls_error_push(lua_State *L, const ml_tlserror *e, const char *what, const char *name);
/* Raises what is in OpenSSL's queue. */
int ml__tls_raise(lua_State *L, const char *what);
/* The names of the library and of the reason, as in "[SSL: WRONG_VERSION_NUMBER]". */
void ml__tls_open_errors(lua_State *L);

/* ---- contexts ---- */

typedef struct ml_tlscontext {
  int refs;
  ml_engine *engine;
  SSL_CTX *ssl;
  BIO_METHOD *bio; /* of its connections */
  bool server, check_hostname;
  unsigned hostflags;
  unsigned char *alpn; /* length-prefixed names */
  unsigned alpn_len;
} ml_tlscontext;

typedef struct ml_tlsctxobject {
  ml_object obj;
  ml_tlscontext *ctx;
} ml_tlsctxobject;

ml_tlscontext *ml__tls_context_check(lua_State *L, int idx);
void ml__tls_context_ref(ml_tlscontext *c);
void ml__tls_context_unref(ml_tlscontext *c);
void ml__tls_open_contexts(lua_State *L);

/* ---- certificates ---- */

void ml__tls_push_cert(lua_State *L, X509 *cert); /* as Python's getpeercert() */
void ml__tls_push_der(lua_State *L, X509 *cert);
void ml__tls_push_chain(lua_State *L, const STACK_OF(X509) * chain); /* array of DER */

/* ---- connections ---- */

typedef struct ml_tlsop ml_tlsop;
typedef struct ml_tlscache ml_tlscache; /* of sessions */
enum { TLS_PULL_AGAIN = 1 };            /* nothing more for now */

typedef struct ml_tlsconn {
  int refs;
  ml_engine *engine;
  ml_stream *s; /* NULL: freed */
  SSL *ssl;
  ml_tlscontext *ctx, *chosen; /* chosen: by the SNI callback, or NULL */
  struct ml_tlsconn *under;    /* TLS that this one is inside of, or NULL; it is owned */
  ml_tlscache *cache;          /* of the info table, or NULL */
  lua_State *L;                /* while the handshake may call Lua */
  ml_job job;                  /* the next step of the handshake, or more to read */
  ml_timer timer;              /* of the handshake, then of the shutdown */
  ml_bytes before;             /* came before TLS was started */
  ml_tlsop *waiter;            /* the task that awaits the handshake, or NULL */
  ml_tlserror error;
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
  int info;      /* pin of a table {context, server_hostname, session, cache, alpn, sni, done} */
  int transport; /* pin, during the handshake */
} ml_tlsconn;

/* Awaits a handshake. User values: 1: transport or writer, 2: context, 3: info. */
struct ml_tlsop {
  ml_op op; /* first */
  ml_tlsconn *c;
  bool server;
  double handshake_timeout, shutdown_timeout;
};

extern const ml_streamops ml__tls_ops;

/* Makes TLS the filter of the stream and schedules the handshake's first step. The
** info table is at idx. Raises errors. */
ml_tlsconn *ml__tls_conn_start(lua_State *L, ml_stream *s, ml_tlscontext *ctx, int idx, bool server,
                               double handshake_timeout, double shutdown_timeout);
void ml__tls_conn_unref(ml_tlsconn *c);
void ml__tls_open_conns(lua_State *L);
/* The BIO between OpenSSL and the socket. NULL: no memory. */
BIO_METHOD *ml__tls_bio_method(void);
void ml__tls_schedule(ml_tlsconn *c); /* runs ml_tlsconn.job soon */
/* Reads what has come to where the stream's sink wants it. */
void ml__tls_pump(ml_tlsconn *c);
/* The stream lets go of the socket. */
void ml__tls_conn_closed(ml_tlsconn *c);

/* Pushes the SSLObject of the connection. */
void ml__tls_object_push(lua_State *L, ml_tlsconn *c);
void ml__tls_open_objects(lua_State *L);

/* ---- sessions ---- */

enum { TLS_CACHED = 8 }; /* of one server */
SSL_SESSION *ml__tls_session_check(lua_State *L, int idx);
int ml__tls_session_push(lua_State *L, ml_tlsconn *c); /* an SSLSession, or nil */
ml_tlscache *ml__tls_cache_check(lua_State *L, int idx);
void ml__tls_resume(ml_tlsconn *c); /* begins with a session of the cache, if it has one */
int ml__tls_on_session(SSL *ssl, SSL_SESSION *session); /* OpenSSL's callback */
void ml__tls_open_sessions(lua_State *L);

int ml__open_tls(lua_State *L); /* module asyncio.tls */

#endif
