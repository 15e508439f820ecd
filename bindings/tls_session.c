/* Sessions of TLS, with which a client spares itself most of the next handshake.
**
** SSLSession is what scripts hold of one. A session cache is what connections to one
** server have in common: they leave in it what the server gives them, as it comes
** (TLS 1.3 sends tickets behind the handshake), and begin with what is there. A ticket
** is used once while there are others (RFC 8446, C.4). The cache is a userdata in the
** info table of its connections, so it lives as long as any of them can be read from.
*/
#include <string.h>
#include <time.h>

#include "tls.h"

/* ---- SSLSession ---- */

typedef struct tls_session {
  ml_object obj;
  SSL_SESSION *session;
} tls_session;

SSL_SESSION *ml__tls_session_check(lua_State *L, int idx) {
  return ((tls_session *)ml__checkobject(L, idx, ML_T_TLSSESSION))->session;
}

/* issession(value) */
static int f_issession(lua_State *L) {
  const ml_object *o = ml__toobject(L, 1);
  lua_pushboolean(L, o != NULL && o->type == ML_T_TLSSESSION);
  return 1;
}

int ml__tls_session_push(lua_State *L, ml_tlsconn *c) {
  tls_session *s;
  if (!c->server && c->handshook) {
    s = ml__newobject(L, ML_T_TLSSESSION, sizeof *s, 0);
    s->session = SSL_get1_session(c->ssl);
    if (s->session != NULL) return 1;
  }
  lua_pushnil(L);
  return 1;
}

static int s_gc(lua_State *L) {
  tls_session *s = lua_touserdata(L, 1);
  if (s->session != NULL) SSL_SESSION_free(s->session);
  s->session = NULL;
  return 0;
}

static int s_index(lua_State *L) {
  SSL_SESSION *s = ml__tls_session_check(L, 1);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  unsigned n = 0;
  if (strcmp(name, "id") == 0) {
    const unsigned char *id = SSL_SESSION_get_id(s, &n);
    lua_pushlstring(L, (const char *)id, n);
  } else if (strcmp(name, "time") == 0)
    lua_pushinteger(L, SSL_SESSION_get_time(s));
  else if (strcmp(name, "timeout") == 0)
    lua_pushinteger(L, SSL_SESSION_get_timeout(s));
  else if (strcmp(name, "has_ticket") == 0)
    lua_pushboolean(L, SSL_SESSION_has_ticket(s));
  else if (strcmp(name, "ticket_lifetime_hint") == 0)
    lua_pushinteger(L, (lua_Integer)SSL_SESSION_get_ticket_lifetime_hint(s));
  else
    lua_pushnil(L);
  return 1;
}

/* ---- caches ---- */

/* The newest is sessions[n - 1]. */
struct ml_tlscache {
  ml_object obj;
  unsigned n;
  struct {
    SSL_SESSION *session;
    bool verified, named; /* was the certificate verified, and its name compared? */
  } sessions[TLS_CACHED];
};

/* Takes over the reference. */
static void put(ml_tlscache *k, ml_tlsconn *c, SSL_SESSION *session) {
  if (k->n == TLS_CACHED) {
    SSL_SESSION_free(k->sessions[0].session);
    memmove(&k->sessions[0], &k->sessions[1], (--k->n) * sizeof k->sessions[0]);
  }
  k->sessions[k->n].session = session;
  k->sessions[k->n].verified = (SSL_get_verify_mode(c->ssl) & SSL_VERIFY_PEER) != 0;
  k->sessions[k->n++].named = c->ctx->check_hostname;
}

static void drop(ml_tlscache *k, unsigned i) {
  SSL_SESSION_free(k->sessions[i].session);
  memmove(&k->sessions[i], &k->sessions[i + 1], (--k->n - i) * sizeof k->sessions[0]);
}

int ml__tls_on_session(SSL *ssl, SSL_SESSION *session) {
  ml_tlsconn *c = SSL_get_app_data(ssl);
  if (c == NULL || c->cache == NULL || !SSL_SESSION_is_resumable(session)) return 0;
  put(c->cache, c, session);
  return 1;
}

/* A session does not verify again: so what the context asks for now must have been asked for
** when it was made. */
void ml__tls_resume(ml_tlsconn *c) {
  ml_tlscache *k = c->cache;
  bool verified = (SSL_get_verify_mode(c->ssl) & SSL_VERIFY_PEER) != 0;
  for (unsigned i = k->n; i-- > 0;) {
    SSL_SESSION *s = k->sessions[i].session;
    if ((verified && !k->sessions[i].verified) ||
        (c->ctx->check_hostname && !k->sessions[i].named) ||
        (int64_t)SSL_SESSION_get_time(s) + SSL_SESSION_get_timeout(s) < (int64_t)time(NULL)) {
      drop(k, i);
      continue;
    }
    SSL_set_session(c->ssl, s);
    if (k->n > 1) drop(k, i);
    return;
  }
}

ml_tlscache *ml__tls_cache_check(lua_State *L, int idx) {
  return ml__checkobject(L, idx, ML_T_TLSCACHE);
}

/* new_cache() -> a cache, for `cache` of an info table */
static int f_new_cache(lua_State *L) {
  ml_tlscache *k = ml__newobject(L, ML_T_TLSCACHE, sizeof *k, 0);
  k->n = 0;
  return 1;
}

/* #cache: how many sessions there are */
static int k_len(lua_State *L) {
  lua_pushinteger(L, ml__tls_cache_check(L, 1)->n);
  return 1;
}

static int k_gc(lua_State *L) {
  ml_tlscache *k = lua_touserdata(L, 1);
  while (k->n > 0) SSL_SESSION_free(k->sessions[--k->n].session);
  return 0;
}

void ml__tls_open_sessions(lua_State *L) {
  static const luaL_Reg session_meta[] = {{"__gc", s_gc}, {NULL, NULL}};
  static const luaL_Reg cache_meta[] = {{"__len", k_len}, {"__gc", k_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_TLSSESSION, "SSLSession", NULL, session_meta);
  ml__ref_get(L, ML_R_TYPES + ML_T_TLSSESSION);
  lua_pushcfunction(L, s_index);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_setfield(L, -2, "SSLSession");
  ml__newtype(L, ML_T_TLSCACHE, "SSLSessionCache", NULL, cache_meta);
  lua_pop(L, 1);
  lua_pushcfunction(L, f_issession);
  lua_setfield(L, -2, "issession");
  lua_pushcfunction(L, f_new_cache);
  lua_setfield(L, -2, "new_cache");
}
