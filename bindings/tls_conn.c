/* The life of a TLS connection: the handshake, step by step, in jobs of the loop,
** so that it may call Lua (for a name that a client asks for), and its end.
**
** A client awaits the handshake as an operation. A server's handshakes run by
** themselves: a function is called when one is done, and one that fails ends its
** connection and nothing else.
*/
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls.h"

/* ---- life ---- */

static void conn_free(ml_tlsconn *c) {
  ml_engine *e = c->engine;
  if (c->under != NULL) ml__tls_conn_unref(c->under);
  if (c->ssl != NULL) SSL_free(c->ssl);
  if (c->chosen != NULL) ml__tls_context_unref(c->chosen);
  ml__tls_context_unref(c->ctx); /* has the BIO's methods: last */
  ml__alloc(e->alloc, c, sizeof *c, 0);
}

void ml__tls_conn_unref(ml_tlsconn *c) {
  if (--c->refs == 0) conn_free(c);
}

void ml__tls_schedule(ml_tlsconn *c) {
  if (c->s != NULL && ml__list_empty(&c->job.link)) ml__ready(c->s->loop, &c->job);
}

static void stop_timer(ml_tlsconn *c) {
  if (c->timer.index != 0) ml__timer_stop(c->s->loop, &c->timer);
  ml__list_remove(&c->timer.job.link);
}

static void wake_waiter(ml_tlsconn *c) {
  ml_tlsop *op = c->waiter;
  c->waiter = NULL;
  if (op != NULL) ml__op_wake(&op->op);
}

void ml__tls_conn_closed(ml_tlsconn *c) {
  int pin = c->transport, info = c->info;
  if (c->under != NULL) ml__tls_conn_closed(c->under);
  if (c->s != NULL) stop_timer(c);
  ml__list_remove(&c->job.link);
  wake_waiter(c);
  c->transport = c->info = 0;
  c->cache = NULL;
  if (pin != 0) ml__unpin(c->engine->L, pin);
  if (info != 0) ml__unpin(c->engine->L, info);
}

/* ---- the handshake ---- */

static void push_failure(lua_State *L, ml_tlsconn *c, int uverr) {
  char who[96];
  ml__stream_text(c->s, who, sizeof who);
  if (c->error.kind != TLS_OK)
    ml__stream_error(L, c->s);
  else
    ml__error_uv(L, uverr, "TLS handshake with %s failed", who);
}

static int debug_line(lua_State *L) {
  ml_tlsconn *c = lua_touserdata(L, 1);
  push_failure(L, c, (int)lua_tointeger(L, 2));
  ml__log(c->engine, "%s", ml__errtext(L, -1, NULL));
  return 0;
}

/* Ends the connection. A client's task gets the error; of a server's there is a line in
** the log in debug mode, as asyncio has it. */
static void conn_failed(ml_tlsconn *c, int uverr) {
  ml_stream *s = c->s;
  lua_State *L = s->loop->L != NULL ? s->loop->L : c->engine->L;
  if (s->flags & ML_S_DROPPED) return;
  stop_timer(c);
  if (c->waiter == NULL && s->loop->debug && lua_checkstack(L, 12)) {
    lua_pushcfunction(L, debug_line);
    lua_pushlightuserdata(L, c);
    lua_pushinteger(L, uverr);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  ml__stream_fail(s, uverr);
  wake_waiter(c);
}

/* (conn): calls info.done(transport), if there is one. */
static int call_done(lua_State *L) {
  ml_tlsconn *c = lua_touserdata(L, 1);
  ml__pushpinned(L, c->info);
  if (lua_getfield(L, -1, "done") != LUA_TFUNCTION) return 0;
  ml__pushpinned(L, c->transport);
  lua_call(L, 1, 0);
  return 0;
}

/* (conn, error) */
static int report(lua_State *L) {
  ml_tlsconn *c = lua_touserdata(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "Error on transport creation for incoming connection");
  lua_setfield(L, -2, "message");
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "exception");
  ml__call_exception_handler(L, c->s->loop);
  return 0;
}

static void established(lua_State *L, ml_tlsconn *c) {
  ml_stream *s = c->s;
  int base = lua_gettop(L), pin = c->transport;
  stop_timer(c);
  c->handshook = true;
  s->flags &= ~(uint32_t)ML_S_HANDSHAKE;
  ml__stream_reading(s);
  if (s->flags & ML_S_READING) ml__tls_schedule(c);
  lua_pushcfunction(L, ml__msgh);
  lua_pushcfunction(L, call_done);
  lua_pushlightuserdata(L, c);
  if (lua_pcall(L, 1, 0, base + 1) != LUA_OK) {
    lua_pushcfunction(L, report);
    lua_pushlightuserdata(L, c);
    lua_pushvalue(L, base + 2);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
    ml__stream_fail(s, 0);
  }
  lua_settop(L, base);
  if (c->transport == pin) {
    c->transport = 0;
    ml__unpin(L, pin);
  }
  wake_waiter(c);
}

static void step(lua_State *L, ml_tlsconn *c) {
  int rc, err;
  if (c->s->flags & ML_S_DROPPED) return;
  ERR_clear_error();
  c->met_eof = false;
  c->L = L;
  rc = SSL_do_handshake(c->ssl);
  c->L = NULL;
  if (c->s->flags & ML_S_DROPPED) {
    wake_waiter(c);
    return;
  }
  if (rc == 1) {
    established(L, c);
    return;
  }
  err = SSL_get_error(c->ssl, rc);
  if (err == SSL_ERROR_WANT_READ) return;
  if (c->sockerr != 0) {
    conn_failed(c, c->sockerr);
    return;
  }
  if (c->met_eof) {
    c->error.kind = TLS_GONE;
  } else if (c->error.kind == TLS_OK) {
    ml__tls_error_take(&c->error);
    if (c->error.kind == TLS_UNVERIFIED) c->error.verify = SSL_get_verify_result(c->ssl);
  }
  conn_failed(c, c->error.kind == TLS_GONE ? UV_ECONNRESET : UV_EPROTO);
}

static void run_job(ml_evloop *loop, ml_job *job) {
  ml_tlsconn *c = ml__containerof(job, ml_tlsconn, job);
  ml_stream *s = c->s;
  if (s == NULL) return;
  c->refs++;
  ml__stream_ref(s);
  if (s->flags & ML_S_HANDSHAKE) {
    if (lua_checkstack(loop->L, 16)) step(loop->L, c);
  } else
    ml__tls_pump(c);
  ml__stream_unref(s);
  ml__tls_conn_unref(c);
}

static void run_timeout(ml_evloop *loop, ml_job *job) {
  ml_tlsconn *c = ml__containerof(job, ml_tlsconn, timer.job);
  (void)loop;
  if (c->s == NULL || !(c->s->flags & ML_S_HANDSHAKE)) return;
  c->error.kind = TLS_SLOW;
  c->error.verify = (long)(c->handshake_timeout * 1000);
  conn_failed(c, UV_ECONNABORTED);
}

/* ---- starting ---- */

static BIO *new_bio(ml_tlsconn *c) {
  BIO *b = BIO_new(c->ctx->bio);
  if (b == NULL) return NULL;
  BIO_set_data(b, c);
  BIO_set_init(b, 1);
  return b;
}

/* The name that is asked for and, if the context says so, verified. "": none. */
static int set_name(ml_tlsconn *c, const char *name) {
  X509_VERIFY_PARAM *param = SSL_get0_param(c->ssl);
  ASN1_OCTET_STRING *ip = a2i_IPADDRESS(name);
  bool is_ip = ip != NULL;
  ASN1_OCTET_STRING_free(ip);
  ERR_clear_error();
  if (!is_ip && !SSL_set_tlsext_host_name(c->ssl, name)) return 0;
  if (!c->ctx->check_hostname) return 1;
  X509_VERIFY_PARAM_set_hostflags(param, c->ctx->hostflags);
  return is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, name)
               : X509_VERIFY_PARAM_set1_host(param, name, 0);
}

/* (conn, info): info.alpn, names each behind its length, unless the context has some of its own. */
static void set_alpn(lua_State *L, ml_tlsconn *c) {
  size_t n;
  const char *names;
  lua_getfield(L, 2, "alpn");
  names = lua_tolstring(L, -1, &n);
  if (names != NULL && c->ctx->alpn_len == 0 &&
      SSL_set_alpn_protos(c->ssl, (const unsigned char *)names, (unsigned)n) != 0)
    luaL_error(L, "not enough memory");
  lua_pop(L, 1);
}

/* (conn, info): may raise errors; the conn is freed by who calls. */
static int prepare(lua_State *L) {
  ml_tlsconn *c = lua_touserdata(L, 1);
  const char *name;
  BIO *b;
  c->ssl = SSL_new(c->ctx->ssl);
  b = c->ssl == NULL ? NULL : new_bio(c);
  if (b == NULL) return ml__tls_raise(L, "TLS cannot be started");
  SSL_set_bio(c->ssl, b, b);
  SSL_set_app_data(c->ssl, c);
  SSL_set_mode(c->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY |
                           SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_set_read_ahead(c->ssl, 1);
  c->lenient = (SSL_get_options(c->ssl) & SSL_OP_IGNORE_UNEXPECTED_EOF) != 0;
  SSL_set_options(c->ssl, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION);
  lua_getfield(L, 2, "server_hostname");
  name = lua_tostring(L, -1);
  if (!c->server && name != NULL && name[0] != '\0' && !set_name(c, name))
    return ml__tls_raise(L, "server_hostname");
  lua_getfield(L, 2, "session");
  if (!lua_isnil(L, -1) && !SSL_set_session(c->ssl, ml__tls_session_check(L, -1)))
    return ml__tls_raise(L, "session");
  lua_pop(L, 2);
  set_alpn(L, c);
  if (lua_getfield(L, 2, "cache") != LUA_TNIL) c->cache = ml__tls_cache_check(L, -1);
  lua_pop(L, 1);
  if (c->server)
    SSL_set_accept_state(c->ssl);
  else
    SSL_set_connect_state(c->ssl);
  if (c->cache != NULL && SSL_get_session(c->ssl) == NULL) ml__tls_resume(c);
  lua_pushvalue(L, 2);
  c->info = ml__pin(L, -1);
  ml__transport_push(L, c->s);
  c->transport = ml__pin(L, -1);
  if (ml__timer_start(c->s->loop, &c->timer, ml__loop_time(c->s->loop) + c->handshake_timeout) < 0)
    return luaL_error(L, "not enough memory");
  return 0;
}

static void check_stream(lua_State *L, const ml_stream *s) {
  char who[96];
  const ml_tlsconn *filter = s->filter;
  if (s->flags & ML_S_HANDSHAKE)
    ml__error(L, "RuntimeError", "a TLS handshake of the connection is under way already");
  if (filter != NULL && filter->under != NULL)
    ml__error(L, "RuntimeError",
              "the connection has TLS inside TLS already: no third layer is supported");
  if (!(s->flags & (ML_S_CLOSING | ML_S_ENDED))) return;
  ml__stream_text(s, who, sizeof who);
  ml__error_uv(L, UV_ENOTCONN, "TLS handshake with %s failed", who);
  lua_error(L);
}

ml_tlsconn *ml__tls_conn_start(lua_State *L, ml_stream *s, ml_tlscontext *ctx, int idx, bool server,
                               double handshake_timeout, double shutdown_timeout) {
  ml_tlsconn *c;
  idx = lua_absindex(L, idx);
  check_stream(L, s);
  c = ml__alloc(ml__engine(L)->alloc, NULL, 0, sizeof *c);
  if (c == NULL) luaL_error(L, "not enough memory");
  memset(c, 0, sizeof *c);
  c->refs = 1;
  c->engine = ml__engine(L);
  c->ctx = ctx;
  ml__tls_context_ref(ctx);
  c->s = s;
  c->server = server;
  c->after = TLS_PULL_AGAIN;
  c->handshake_timeout = handshake_timeout;
  c->shutdown_timeout = shutdown_timeout;
  c->job.run = run_job;
  ml__list_init(&c->job.link);
  ml__timer_init(&c->timer, run_timeout);
  lua_pushcfunction(L, prepare);
  lua_pushlightuserdata(L, c);
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    ml__tls_conn_closed(c);
    ml__tls_conn_unref(c);
    lua_error(L);
  }
  if (s->flags & ML_S_READING) {
    s->flags &= ~(uint32_t)ML_S_READING;
    s->ops->read_stop(s);
  }
  if (s->sink != NULL) s->sink->yield(s, &c->before);
  c->under = s->filter;
  if (c->under != NULL) ml__list_remove(&c->under->job.link); /* who reads is the new one */
  s->filter = c;
  s->ops = &ml__tls_ops;
  s->flags |= ML_S_HANDSHAKE;
  c->eof = (s->flags & ML_S_EOF) != 0;
  ml__stream_reading(s);
  ml__tls_schedule(c);
  return c;
}

/* ---- as an operation ---- */

static int handshake_begin(lua_State *L, ml_op *o) {
  ml_tlsop *op = (ml_tlsop *)o;
  ml_stream *s;
  ml_tlscontext *ctx;
  for (int i = 1; i <= 3; i++) lua_getiuservalue(L, 1, i);
  s = ml__checkstream(L, 2);
  ctx = ml__tls_context_check(L, 3);
  if (s->loop != ml__engine(L)->running)
    return ml__error(L, "RuntimeError", "the connection belongs to a different loop");
  op->c = ml__tls_conn_start(L, s, ctx, 4, op->server, op->handshake_timeout, op->shutdown_timeout);
  op->c->waiter = op;
  return ML_PARK;
}

static int handshake_wake(lua_State *L, ml_op *o) {
  ml_tlsop *op = (ml_tlsop *)o;
  ml_tlsconn *c = op->c;
  ml_stream *s = c->s;
  int n = 0;
  op->c = NULL;
  if (c->waiter == op) c->waiter = NULL;
  if (o->obj.state == ML_OP_CANCELLED) {
    if (s != NULL) ml__stream_fail(s, 0);
  } else if (!c->handshook || s == NULL) {
    if (s != NULL && (s->error != 0 || c->error.kind != TLS_OK))
      push_failure(L, c, s->error);
    else
      ml__error_uv(L, UV_ECONNABORTED, "TLS handshake failed");
    n = ML_RAISE;
  }
  return n;
}

static void handshake_cancel(ml_op *o) {
  ml_tlsop *op = (ml_tlsop *)o;
  if (op->c != NULL && op->c->waiter == op) op->c->waiter = NULL;
}

static const ml_opclass handshake_class = {"TLS handshake", handshake_begin, handshake_wake,
                                           handshake_cancel};

/* handshake(transport or writer, context, info, server_side, handshake timeout, shutdown
** timeout) -> awaitable of nothing */
static int f_handshake(lua_State *L) {
  ml_tlsop *op;
  ml__checkstream(L, 1);
  ml__tls_context_check(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  op = ml__op_new(L, &handshake_class, sizeof *op, 3);
  op->server = lua_toboolean(L, 4);
  op->handshake_timeout = luaL_checknumber(L, 5);
  op->shutdown_timeout = luaL_checknumber(L, 6);
  for (int i = 1; i <= 3; i++) {
    lua_pushvalue(L, i);
    lua_setiuservalue(L, -2, i);
  }
  return 1;
}

/* accept(transport, context, info, handshake timeout, shutdown timeout): starts a
** server's handshake; info.done(transport) is called when it has succeeded. */
static int f_accept(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  ml_tlscontext *ctx = ml__tls_context_check(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  ml__tls_conn_start(L, s, ctx, 3, true, luaL_checknumber(L, 4), luaL_checknumber(L, 5));
  return 0;
}

/* object(transport or writer) -> SSLObject, or nothing */
static int f_object(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  ml_tlsconn *c = s->filter;
  if (c == NULL || !c->handshook) return 0;
  ml__tls_object_push(L, c);
  return 1;
}

/* accepted(transport or writer): is it a server's side? */
static int f_accepted(lua_State *L) {
  lua_pushboolean(L, ml__checkstream(L, 1)->server != NULL);
  return 1;
}

void ml__tls_open_conns(lua_State *L) {
  static const luaL_Reg functions[] = {{"handshake", f_handshake},
                                       {"accept", f_accept},
                                       {"object", f_object},
                                       {"accepted", f_accepted},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
