/* SSLObject: what scripts see of a connection's TLS, also after its end. */
#include <openssl/err.h>
#include <string.h>

#include "tls.h"

static const char objects_key; /* weak values: conn -> SSLObject */

/* User value 1: the connection's info table. */
typedef struct tls_object {
  ml_object obj;
  ml_tlsconn *c;
} tls_object;

void ml__tls_object_push(lua_State *L, ml_tlsconn *c) {
  tls_object *o;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &objects_key);
  if (lua_rawgetp(L, -1, c) == LUA_TUSERDATA) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  o = ml__newobject(L, ML_T_TLSOBJECT, sizeof *o, 1);
  o->c = c;
  c->refs++;
  if (c->info != 0) {
    ml__pushpinned(L, c->info);
    lua_setiuservalue(L, -2, 1);
  }
  lua_pushvalue(L, -1);
  lua_rawsetp(L, -3, c);
  lua_remove(L, -2);
}

static ml_tlsconn *check(lua_State *L) {
  return ((tls_object *)ml__checkobject(L, 1, ML_T_TLSOBJECT))->c;
}

static int o_gc(lua_State *L) {
  tls_object *o = lua_touserdata(L, 1);
  ml_tlsconn *c = o->c;
  o->c = NULL;
  if (c != NULL) ml__tls_conn_unref(c);
  return 0;
}

static int none(lua_State *L) {
  lua_pushnil(L);
  return 1;
}

/* ---- certificates ---- */

/* object:getpeercert([binary]): nil without one, {} for one that was not verified */
static int o_getpeercert(lua_State *L) {
  ml_tlsconn *c = check(L);
  X509 *cert = SSL_get0_peer_certificate(c->ssl);
  if (!c->handshook) return ml__misuse(L, "ValueError", "getpeercert: handshake not done yet");
  if (cert == NULL) return none(L);
  if (lua_toboolean(L, 2))
    ml__tls_push_der(L, cert);
  else if (!(SSL_get_verify_mode(c->ssl) & SSL_VERIFY_PEER))
    lua_newtable(L);
  else
    ml__tls_push_cert(L, cert);
  return 1;
}

static int o_verified_chain(lua_State *L) {
  ml__tls_push_chain(L, SSL_get0_verified_chain(check(L)->ssl));
  return 1;
}

static int o_unverified_chain(lua_State *L) {
  ml_tlsconn *c = check(L);
  STACK_OF(X509) *chain = SSL_get_peer_cert_chain(c->ssl);
  X509 *own = SSL_get0_peer_certificate(c->ssl);
  int n;
  ml__tls_push_chain(L, chain);
  if (!c->server || own == NULL) return 1;
  n = (int)lua_rawlen(L, -1); /* a server's chain is without the client's own */
  for (int i = n; i >= 1; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  ml__tls_push_der(L, own);
  lua_rawseti(L, -2, 1);
  return 1;
}

/* ---- what was agreed on ---- */

static void push_cipher(lua_State *L, const SSL_CIPHER *k) {
  lua_createtable(L, 3, 0);
  lua_pushstring(L, SSL_CIPHER_get_name(k));
  lua_rawseti(L, -2, 1);
  lua_pushstring(L, SSL_CIPHER_get_version(k));
  lua_rawseti(L, -2, 2);
  lua_pushinteger(L, SSL_CIPHER_get_bits(k, NULL));
  lua_rawseti(L, -2, 3);
}

static int o_cipher(lua_State *L) {
  const SSL_CIPHER *k = SSL_get_current_cipher(check(L)->ssl);
  if (k == NULL) return none(L);
  push_cipher(L, k);
  return 1;
}

/* object:shared_ciphers(): nil for a client */
static int o_shared_ciphers(lua_State *L) {
  ml_tlsconn *c = check(L);
  STACK_OF(SSL_CIPHER) *theirs = SSL_get_client_ciphers(c->ssl), *ours = SSL_get_ciphers(c->ssl);
  int n = 0;
  if (!c->server || theirs == NULL || ours == NULL) return none(L);
  lua_newtable(L);
  for (int i = 0; i < sk_SSL_CIPHER_num(theirs); i++) {
    const SSL_CIPHER *k = sk_SSL_CIPHER_value(theirs, i);
    if (sk_SSL_CIPHER_find(ours, (SSL_CIPHER *)k) < 0) continue;
    push_cipher(L, k);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static int o_version(lua_State *L) {
  ml_tlsconn *c = check(L);
  if (!c->handshook) return none(L);
  lua_pushstring(L, SSL_get_version(c->ssl));
  return 1;
}

static int o_alpn(lua_State *L) {
  const unsigned char *p = NULL;
  unsigned n = 0;
  SSL_get0_alpn_selected(check(L)->ssl, &p, &n);
  if (p == NULL || n == 0) return none(L);
  lua_pushlstring(L, (const char *)p, n);
  return 1;
}

static int o_compression(lua_State *L) {
  check(L);
  return none(L); /* it is always off */
}

static int o_pending(lua_State *L) {
  lua_pushinteger(L, SSL_pending(check(L)->ssl));
  return 1;
}

/* object:get_channel_binding(["tls-unique"]) */
static int o_channel_binding(lua_State *L) {
  ml_tlsconn *c = check(L);
  const char *kind = luaL_optstring(L, 2, "tls-unique");
  char buf[64];
  size_t n;
  if (strcmp(kind, "tls-unique") != 0)
    return ml__misuse(L, "ValueError", "'%s' channel binding type not implemented", kind);
  if (!c->handshook) return none(L);
  n = (SSL_session_reused(c->ssl) != 0) ^ !c->server
          ? SSL_get_finished(c->ssl, buf, sizeof buf)
          : SSL_get_peer_finished(c->ssl, buf, sizeof buf);
  if (n == 0 || n > sizeof buf) return none(L);
  lua_pushlstring(L, buf, n);
  return 1;
}

/* ---- fields ---- */

static int push_info(lua_State *L, const char *name) {
  if (lua_getiuservalue(L, 1, 1) == LUA_TTABLE) lua_getfield(L, -1, name);
  return 1;
}

/* Fields beside the methods (upvalue 1). */
static int o_index(lua_State *L) {
  ml_tlsconn *c = check(L);
  const char *name;
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(name, "session") == 0) return ml__tls_session_push(L, c);
  if (strcmp(name, "session_reused") == 0)
    lua_pushboolean(L, SSL_session_reused(c->ssl));
  else if (strcmp(name, "server_side") == 0)
    lua_pushboolean(L, c->server);
  else if (strcmp(name, "server_hostname") == 0 || strcmp(name, "context") == 0)
    return push_info(L, name);
  return 1;
}

/* object.context = context, in an SNI callback: goes on with its certificate. */
static int o_newindex(lua_State *L) {
  ml_tlsconn *c = check(L);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  ml_tlscontext *ctx;
  if (strcmp(name, "context") != 0)
    return ml__misuse(L, "TypeError", "SSLObject: the field '%s' cannot be set", name);
  lua_settop(L, 3);
  if (!lua_istable(L, 3) || lua_getfield(L, 3, "_context") != LUA_TUSERDATA)
    return ml__misuse(L, "TypeError", "The value must be a SSLContext, got %s",
                      luaL_typename(L, 3));
  ctx = ml__tls_context_check(L, -1);
  if (c->handshook || lua_getiuservalue(L, 1, 1) != LUA_TTABLE)
    return ml__misuse(L, "ValueError", "SSLObject.context can be set during the handshake alone");
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "context");
  ERR_clear_error();
  if (SSL_set_SSL_CTX(c->ssl, ctx->ssl) == NULL) return ml__tls_raise(L, "SSLObject.context");
  ml__tls_context_ref(ctx);
  if (c->chosen != NULL) ml__tls_context_unref(c->chosen);
  c->chosen = ctx;
  return 0;
}

static int o_tostring(lua_State *L) {
  ml_tlsconn *c = check(L);
  lua_pushfstring(L, "<SSLObject %s %s>", c->server ? "server" : "client",
                  c->handshook ? SSL_get_version(c->ssl) : "in handshake");
  return 1;
}

void ml__tls_open_objects(lua_State *L) {
  static const luaL_Reg methods[] = {{"getpeercert", o_getpeercert},
                                     {"get_verified_chain", o_verified_chain},
                                     {"get_unverified_chain", o_unverified_chain},
                                     {"cipher", o_cipher},
                                     {"shared_ciphers", o_shared_ciphers},
                                     {"version", o_version},
                                     {"selected_alpn_protocol", o_alpn},
                                     {"compression", o_compression},
                                     {"pending", o_pending},
                                     {"get_channel_binding", o_channel_binding},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__tostring", o_tostring}, {"__newindex", o_newindex}, {"__gc", o_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_TLSOBJECT, "SSLObject", methods, meta);
  ml__ref_get(L, ML_R_TYPES + ML_T_TLSOBJECT);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, o_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_setfield(L, -2, "SSLObject");
  ml__push_weak(L, "v");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &objects_key);
}
