/* What connections of HTTP/1 know of HTTP/2: a session takes a stream over.
**
** A session (ml_http2) is the sink of a stream; nghttp2 stands between the two. It is a
** block of its own, counted by references: its owner has one, each of its streams another.
** The owner is the connection object that scripts have: requests come by its next(), one
** by one, while others are still being answered.
*/
#ifndef ML_HTTP2_H
#define ML_HTTP2_H

#include "http/http.h"

typedef struct ml_http2 ml_http2;

/* Takes over the stream, of which n bytes have come already: from the peer's preface on. The
** settings are at idx. May raise a memory error: then nothing is altered. */
ml_http2 *ml__http2_new(lua_State *L, ml_stream *s, int idx, const char *p, size_t n);
/* For an operation's begin and wake: pushes the next request's exchange, its method and path
** and returns 3, or nil when the session is over and returns 1; or ML_PARK: the operation is
** woken later. */
int ml__http2_next(lua_State *L, ml_http2 *h, ml_op *op);
void ml__http2_unwait(ml_http2 *h, const ml_op *op); /* it was cancelled */
/* No new requests; it is over when the last one is answered. */
void ml__http2_shutdown(ml_http2 *h);
void ml__http2_close(ml_http2 *h); /* now */
bool ml__http2_busy(const ml_http2 *h);
bool ml__http2_over(const ml_http2 *h);
void ml__http2_unref(ml_http2 *h); /* closed, by its owner */

void ml__open_http2(lua_State *L); /* adds to the table on top */

/* Takes over the stream to a server, of which n bytes have come already. The settings of
** http.client.core are at idx. Pushes the connection; returns 1. */
int ml__http2_client(lua_State *L, ml_stream *s, int idx, const char *p, size_t n);
void ml__open_http2_client(lua_State *L); /* adds to the table on top */

#endif
