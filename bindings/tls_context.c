/* SSLContext: what connections have in common. Thin: the rules of Python's
** attributes are in stdlib/ssl.lua, which wraps these objects.
**
** A context is counted by references, as its connections outlive the object that
** scripts hold.
*/
#include <dirent.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "tls.h"

ml_tlscontext *ml__tls_context_check(lua_State *L, int idx) {
  return ((ml_tlsctxobject *)ml__checkobject(L, idx, ML_T_TLSCONTEXT))->ctx;
}

void ml__tls_context_ref(ml_tlscontext *c) { c->refs++; }

void ml__tls_context_unref(ml_tlscontext *c) {
  if (--c->refs > 0) return;
  SSL_CTX_free(c->ssl);
  BIO_meth_free(c->bio);
  if (c->alpn != NULL) ml__alloc(c->engine->alloc, c->alpn, c->alpn_len, 0);
  ml__alloc(c->engine->alloc, c, sizeof *c, 0);
}

/* ---- callbacks of OpenSSL ---- */

/* (conn, name or NULL): info.sni(object, name or nil) -> an alert's number, or nothing */
static int call_sni(lua_State *L) {
  ml_tlsconn *c = lua_touserdata(L, 1);
  ml__pushpinned(L, c->info);
  if (lua_getfield(L, -1, "sni") != LUA_TFUNCTION) return 0;
  ml__tls_object_push(L, c);
  lua_pushstring(L, lua_touserdata(L, 2));
  lua_call(L, 2, 1);
  return 1;
}

static int on_servername(SSL *ssl, int *alert, void *arg) {
  ml_tlsconn *c = SSL_get_app_data(ssl);
  lua_State *L = c == NULL ? NULL : c->L;
  int rc = SSL_TLSEXT_ERR_OK, top;
  (void)arg;
  if (L == NULL || !c->server || !lua_checkstack(L, 16)) return SSL_TLSEXT_ERR_NOACK;
  top = lua_gettop(L);
  lua_pushcfunction(L, call_sni);
  lua_pushlightuserdata(L, c);
  lua_pushlightuserdata(L, (void *)SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
  if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
    *alert = SSL_AD_INTERNAL_ERROR;
    rc = SSL_TLSEXT_ERR_ALERT_FATAL;
  } else if (lua_isinteger(L, -1)) {
    *alert = (int)lua_tointeger(L, -1);
    rc = SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  lua_settop(L, top);
  return rc;
}

/* The server's first name that the client has too; none: no protocol. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                   const unsigned char *in, unsigned inlen, void *arg) {
  const ml_tlscontext *c = arg;
  (void)ssl;
  if (c->alpn_len == 0) return SSL_TLSEXT_ERR_NOACK;
  return SSL_select_next_proto((unsigned char **)out, outlen, c->alpn, c->alpn_len, in, inlen) ==
                 OPENSSL_NPN_NEGOTIATED
             ? SSL_TLSEXT_ERR_OK
             : SSL_TLSEXT_ERR_NOACK;
}

/* ---- making ---- */

#define CIPHERS \
  "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"

/* As Python 3.13 sets a context up, but that a peer's close_notify is asked for. */
static bool configure(ml_tlscontext *c) {
  static const unsigned char sid[] = "moonloop";
  SSL_CTX *ssl = c->ssl;
  SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_verify(
      ssl, c->server ? SSL_VERIFY_NONE : SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  SSL_CTX_set_session_id_context(ssl, sid, sizeof sid - 1);
  SSL_CTX_set_tlsext_servername_callback(ssl, on_servername);
  SSL_CTX_set_alpn_select_cb(ssl, on_alpn, c);
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_TRUSTED_FIRST);
  if (c->server) {
    SSL_CTX_set_dh_auto(ssl, 1);
  } else {
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl, ml__tls_on_session);
  }
  return SSL_CTX_set_cipher_list(ssl, CIPHERS) &&
         SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
}

/* new_context(server) */
static int f_new_context(lua_State *L) {
  bool server = lua_toboolean(L, 1);
  ml_tlsctxobject *o = ml__newobject(L, ML_T_TLSCONTEXT, sizeof *o, 0);
  ml_tlscontext *c = ml__alloc(ml__engine(L)->alloc, NULL, 0, sizeof *c);
  if (c == NULL) return luaL_error(L, "not enough memory");
  memset(c, 0, sizeof *c);
  c->refs = 1;
  c->engine = ml__engine(L);
  c->server = server;
  c->check_hostname = !server;
  c->hostflags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
  o->ctx = c;
  ERR_clear_error();
  c->bio = ml__tls_bio_method();
  c->ssl = c->bio == NULL ? NULL : SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  if (c->ssl == NULL || !configure(c)) return ml__tls_raise(L, "SSLContext");
  return 1;
}

static int c_gc(lua_State *L) {
  ml_tlsctxobject *o = lua_touserdata(L, 1);
  ml_tlscontext *c = o->ctx;
  o->ctx = NULL;
  if (c != NULL) ml__tls_context_unref(c);
  return 0;
}

/* ---- certificates and keys ---- */

/* A path that OpenSSL may open: the one way to the file system. Pushes "FUNCTION 'PATH'
** failed" for errors. */
static const char *check_path(lua_State *L, int idx, const char *fname) {
  size_t n;
  const char *path;
  if (lua_isnoneornil(L, idx)) return NULL;
  if (lua_type(L, idx) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: a path must be a string, got %s", fname, luaL_typename(L, idx));
  path = lua_tolstring(L, idx, &n);
  if (strlen(path) != n) ml__misuse(L, "ValueError", "%s: a path has a zero byte in it", fname);
  return path;
}

typedef struct password {
  lua_State *L;
  int idx;     /* a string, a function or nil */
  bool failed; /* an error is on top of the stack */
  bool asked;
} password;

static int on_password(char *buf, int size, int rwflag, void *arg) {
  password *p = arg;
  lua_State *L = p->L;
  size_t n;
  const char *s;
  (void)rwflag;
  p->asked = true;
  if (p->failed || lua_isnoneornil(L, p->idx)) return -1;
  lua_pushvalue(L, p->idx);
  if (lua_isfunction(L, -1) && lua_pcall(L, 0, 1, 0) != LUA_OK) {
    p->failed = true;
    return -1;
  }
  if (lua_type(L, -1) != LUA_TSTRING) {
    ml__error_new(L, "TypeError", "load_cert_chain: the password must be a string, got %s",
                  luaL_typename(L, -1));
    p->failed = true;
    return -1;
  }
  s = lua_tolstring(L, -1, &n);
  if (n > (size_t)size) {
    ml__error_new(L, "ValueError", "load_cert_chain: the password is longer than %d bytes", size);
    p->failed = true;
    return -1;
  }
  memcpy(buf, s, n);
  lua_pop(L, 1);
  return (int)n;
}

/* context:load_cert_chain(certfile [, keyfile [, password]]) */
static int c_load_cert_chain(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  const char *cert = check_path(L, 2, "load_cert_chain"), *key;
  password p = {L, 4, false, false};
  bool ok;
  key = check_path(L, 3, "load_cert_chain");
  lua_settop(L, 4);
  if (cert == NULL)
    return ml__misuse(L, "TypeError", "load_cert_chain: certfile should be a path, got nil");
  if (key == NULL) key = cert;
  lua_pushfstring(L, "load_cert_chain '%s' failed", cert);
  lua_pushfstring(L, "load_cert_chain '%s' failed", key);
  cert = ml__path_hold(L, cert, ML_PATH_R, "load_cert_chain");
  key = ml__path_hold(L, key, ML_PATH_R, "load_cert_chain");
  ERR_clear_error();
  if (!SSL_CTX_use_certificate_chain_file(c->ssl, cert))
    return ml__tls_raise(L, lua_tostring(L, 5));
  SSL_CTX_set_default_passwd_cb(c->ssl, on_password);
  SSL_CTX_set_default_passwd_cb_userdata(c->ssl, &p);
  ok = SSL_CTX_use_PrivateKey_file(c->ssl, key, SSL_FILETYPE_PEM) == 1;
  SSL_CTX_set_default_passwd_cb(c->ssl, NULL);
  SSL_CTX_set_default_passwd_cb_userdata(c->ssl, NULL);
  if (p.failed) {
    ERR_clear_error();
    return lua_error(L);
  }
  if (!ok && p.asked && lua_isnil(L, 4)) {
    ERR_clear_error();
    lua_pushfstring(L, "%s: the key is encrypted and no password was given", lua_tostring(L, 6));
    ml__tls_error_push(L,
                       &(ml_tlserror){.kind = TLS_FAILED,
                                      .code = ERR_PACK(ERR_LIB_PEM, 0, PEM_R_BAD_PASSWORD_READ)},
                       lua_tostring(L, -1), NULL);
    return lua_error(L);
  }
  if (!ok && ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_OSSL_DECODER) { /* "unsupported" */
    ERR_clear_error();
    ERR_raise(ERR_LIB_PEM, PEM_R_NO_START_LINE);
  }
  if (!ok || !SSL_CTX_check_private_key(c->ssl)) return ml__tls_raise(L, lua_tostring(L, 6));
  return 0;
}

/* PEM certificates and CRLs, or DER certificates one behind the other. */
static bool add_data(X509_STORE *store, const char *data, size_t n) {
  int count = 0;
  if (memmem(data, n, "-----BEGIN", 10) == NULL) {
    const unsigned char *p = (const unsigned char *)data, *end = p + n;
    while (p < end) {
      X509 *x = d2i_X509(NULL, &p, end - p);
      bool ok = x != NULL && X509_STORE_add_cert(store, x);
      X509_free(x);
      if (!ok) return false;
      count++;
    }
  } else {
    BIO *b = BIO_new_mem_buf(data, (int)n);
    STACK_OF(X509_INFO) *infos = b == NULL ? NULL : PEM_X509_INFO_read_bio(b, NULL, NULL, NULL);
    bool ok = infos != NULL;
    for (int i = 0; ok && i < sk_X509_INFO_num(infos); i++) {
      X509_INFO *info = sk_X509_INFO_value(infos, i);
      if (info->x509 != NULL) ok = X509_STORE_add_cert(store, info->x509), count++;
      if (ok && info->crl != NULL) ok = X509_STORE_add_crl(store, info->crl), count++;
    }
    sk_X509_INFO_pop_free(infos, X509_INFO_free);
    BIO_free(b);
    if (!ok) return false;
  }
  if (count == 0) ERR_raise(ERR_LIB_PEM, PEM_R_NO_START_LINE);
  return count > 0;
}

/* "5ed36f99.0", "5ed36f99.r0": what OpenSSL would look for in a folder */
static bool is_hashed(const char *name) {
  size_t n = strspn(name, "0123456789abcdef");
  const char *p = name + n + 1;
  if (n != 8 || name[n] != '.') return false;
  if (*p == 'r') p++;
  n = strspn(p, "0123456789");
  return n > 0 && n < 4 && p[n] == '\0';
}

/* In a sandbox OpenSSL gets no folder that it would look into later, by names that may be others'
** by then: what is there is read now, each file under the rules. False: no such folder. */
static bool read_folder(lua_State *L, SSL_CTX *ssl, const char *dir) {
  const ml_sandbox *s = ml__engine(L)->sandbox;
  X509_LOOKUP *lookup = X509_STORE_add_lookup(SSL_CTX_get_cert_store(ssl),
                                              X509_LOOKUP_file()); /* the store's */
  struct dirent *e;
  ml_pathpin folder, file;
  DIR *list;
  if (lookup == NULL || ml__path_pin(s, dir, ML_PATH_R, &folder) < 0) return false;
  list = opendir(folder.path);
  while (list != NULL && (e = readdir(list)) != NULL) {
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    if (!is_hashed(e->d_name) || n >= (int)sizeof path) continue;
    if (ml__path_pin(s, path, ML_PATH_R, &file) < 0) continue;
    X509_load_cert_crl_file(lookup, file.path, X509_FILETYPE_PEM);
    ml__path_unpin(&file);
  }
  if (list != NULL) closedir(list);
  ml__path_unpin(&folder);
  ERR_clear_error();
  return list != NULL;
}

/* context:load_verify_locations(cafile, capath, cadata) */
static int c_load_verify(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  const char *file = check_path(L, 2, "load_verify_locations");
  const char *dir = check_path(L, 3, "load_verify_locations"), *data;
  size_t n;
  lua_settop(L, 4);
  ERR_clear_error();
  if (!lua_isnil(L, 4)) {
    if (lua_type(L, 4) != LUA_TSTRING)
      return ml__misuse(L, "TypeError", "load_verify_locations: cadata should be a string, got %s",
                        luaL_typename(L, 4));
    data = lua_tolstring(L, 4, &n);
    if (n > INT32_MAX || !add_data(SSL_CTX_get_cert_store(c->ssl), data, n))
      return ml__tls_raise(L, "load_verify_locations: cadata");
  }
  if (file == NULL && dir == NULL) return 0;
  lua_pushfstring(L, "load_verify_locations '%s' failed", file != NULL ? file : dir);
  if (file != NULL) file = ml__path_hold(L, file, ML_PATH_R, "load_verify_locations");
  if (dir != NULL && ml__engine(L)->sandbox != NULL) {
    ml__path_hold(L, dir, ML_PATH_R, "load_verify_locations");
    if (!read_folder(L, c->ssl, dir)) return luaL_error(L, "%s", lua_tostring(L, 5));
    if (file == NULL) return 0;
    dir = NULL;
  }
  if (!SSL_CTX_load_verify_locations(c->ssl, file, dir))
    return ml__tls_raise(L, lua_tostring(L, 5));
  return 0;
}

static int c_default_paths(lua_State *L) {
  ERR_clear_error();
  if (!SSL_CTX_set_default_verify_paths(ml__tls_context_check(L, 1)->ssl))
    return ml__tls_raise(L, "set_default_verify_paths");
  return 0;
}

/* context:get_ca_certs(binary) */
static int c_ca_certs(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  bool binary = lua_toboolean(L, 2);
  STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(c->ssl));
  int n = 0;
  lua_newtable(L);
  for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
    X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
    if (x == NULL || !X509_check_ca(x)) continue;
    if (binary)
      ml__tls_push_der(L, x);
    else
      ml__tls_push_cert(L, x);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* context:cert_store_stats() -> certificates, CAs among them, CRLs */
static int c_store_stats(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(c->ssl));
  int certs = 0, cas = 0, crls = 0;
  for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
    X509_OBJECT *o = sk_X509_OBJECT_value(all, i);
    X509 *x = X509_OBJECT_get0_X509(o);
    certs += x != NULL;
    cas += x != NULL && X509_check_ca(x);
    crls += X509_OBJECT_get0_X509_CRL(o) != NULL;
  }
  lua_pushinteger(L, certs);
  lua_pushinteger(L, cas);
  lua_pushinteger(L, crls);
  return 3;
}

/* ---- ciphers and protocols ---- */

static int c_set_ciphers(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  const char *list = luaL_checkstring(L, 2);
  ERR_clear_error();
  if (!SSL_CTX_set_cipher_list(c->ssl, list)) return ml__tls_raise(L, "set_ciphers");
  return 0;
}

static int c_get_ciphers(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  SSL *ssl;
  STACK_OF(SSL_CIPHER) * list;
  lua_newtable(L);
  ssl = SSL_new(c->ssl);
  if (ssl == NULL) return ml__tls_raise(L, "get_ciphers");
  list = SSL_get1_supported_ciphers(ssl);
  SSL_free(ssl);
  for (int i = 0; i < sk_SSL_CIPHER_num(list); i++) {
    const SSL_CIPHER *k = sk_SSL_CIPHER_value(list, i);
    int alg = 0, bits = SSL_CIPHER_get_bits(k, &alg);
    lua_createtable(L, 0, 6);
    lua_pushstring(L, SSL_CIPHER_get_name(k));
    lua_setfield(L, -2, "name");
    lua_pushstring(L, SSL_CIPHER_get_version(k));
    lua_setfield(L, -2, "protocol");
    lua_pushinteger(L, SSL_CIPHER_get_id(k));
    lua_setfield(L, -2, "id");
    lua_pushinteger(L, bits);
    lua_setfield(L, -2, "strength_bits");
    lua_pushinteger(L, alg);
    lua_setfield(L, -2, "alg_bits");
    lua_pushboolean(L, SSL_CIPHER_is_aead(k));
    lua_setfield(L, -2, "aead");
    lua_rawseti(L, -2, i + 1);
  }
  sk_SSL_CIPHER_free(list);
  return 1;
}

/* context:set_alpn_protocols(names, each behind its length [, unless some are set]) */
static int c_set_alpn(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  size_t n;
  const char *names = luaL_checklstring(L, 2, &n);
  unsigned char *copy = NULL;
  if (lua_toboolean(L, 3) && c->alpn_len > 0) return 0;
  if (n > 0) {
    copy = ml__alloc(c->engine->alloc, NULL, 0, n);
    if (copy == NULL) return luaL_error(L, "not enough memory");
    memcpy(copy, names, n);
  }
  if (c->alpn != NULL) ml__alloc(c->engine->alloc, c->alpn, c->alpn_len, 0);
  c->alpn = copy;
  c->alpn_len = (unsigned)n;
  if (SSL_CTX_set_alpn_protos(c->ssl, (const unsigned char *)names, (unsigned)n) != 0)
    return luaL_error(L, "not enough memory");
  return 0;
}

static int c_set_curve(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  const char *name = luaL_checkstring(L, 2);
  ERR_clear_error();
  if (!SSL_CTX_set1_groups_list(c->ssl, name)) {
    ERR_clear_error();
    return ml__misuse(L, "ValueError", "unknown elliptic curve name '%s'", name);
  }
  return 0;
}

/* ---- properties: get and set by name ---- */

static int verify_mode(const SSL_CTX *ssl) {
  int mode = SSL_CTX_get_verify_mode(ssl);
  if (!(mode & SSL_VERIFY_PEER)) return 0;
  return (mode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) ? 2 : 1;
}

/* context:get(name) */
static int c_get(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  const char *name = luaL_checkstring(L, 2);
  X509_VERIFY_PARAM *param = SSL_CTX_get0_param(c->ssl);
  lua_Integer v = 0;
  if (strcmp(name, "check_hostname") == 0 || strcmp(name, "server") == 0) {
    lua_pushboolean(L, name[0] == 'c' ? c->check_hostname : c->server);
    return 1;
  }
  if (strcmp(name, "verify_mode") == 0)
    v = verify_mode(c->ssl);
  else if (strcmp(name, "verify_flags") == 0)
    v = (lua_Integer)X509_VERIFY_PARAM_get_flags(param);
  else if (strcmp(name, "options") == 0)
    v = (lua_Integer)SSL_CTX_get_options(c->ssl);
  else if (strcmp(name, "minimum_version") == 0)
    v = SSL_CTX_get_min_proto_version(c->ssl);
  else if (strcmp(name, "maximum_version") == 0)
    v = SSL_CTX_get_max_proto_version(c->ssl);
  else if (strcmp(name, "hostflags") == 0)
    v = c->hostflags;
  else if (strcmp(name, "num_tickets") == 0)
    v = (lua_Integer)SSL_CTX_get_num_tickets(c->ssl);
  else if (strcmp(name, "security_level") == 0)
    v = SSL_CTX_get_security_level(c->ssl);
  else
    return luaL_argerror(L, 2, "unknown property");
  lua_pushinteger(L, v);
  return 1;
}

static void set_verify_mode(SSL_CTX *ssl, lua_Integer mode) {
  static const int modes[] = {SSL_VERIFY_NONE, SSL_VERIFY_PEER,
                              SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT};
  SSL_CTX_set_verify(ssl, modes[mode], NULL);
}

/* context:set(name, value): the value has been checked. Returns whether it took. */
static int c_set(lua_State *L) {
  ml_tlscontext *c = ml__tls_context_check(L, 1);
  const char *name = luaL_checkstring(L, 2);
  X509_VERIFY_PARAM *param = SSL_CTX_get0_param(c->ssl);
  lua_Integer v = lua_isboolean(L, 3) ? lua_toboolean(L, 3) : luaL_checkinteger(L, 3);
  bool ok = true;
  ERR_clear_error();
  if (strcmp(name, "check_hostname") == 0) {
    c->check_hostname = v != 0;
  } else if (strcmp(name, "verify_mode") == 0) {
    luaL_argcheck(L, v >= 0 && v <= 2, 3, "0 to 2 expected");
    set_verify_mode(c->ssl, v);
  } else if (strcmp(name, "verify_flags") == 0) {
    X509_VERIFY_PARAM_clear_flags(param, ~(unsigned long)v);
    ok = X509_VERIFY_PARAM_set_flags(param, (unsigned long)v);
  } else if (strcmp(name, "options") == 0) {
    SSL_CTX_clear_options(c->ssl, ~(uint64_t)v);
    SSL_CTX_set_options(c->ssl, (uint64_t)v);
  } else if (strcmp(name, "minimum_version") == 0) {
    ok = SSL_CTX_set_min_proto_version(c->ssl, (int)v);
  } else if (strcmp(name, "maximum_version") == 0) {
    ok = SSL_CTX_set_max_proto_version(c->ssl, (int)v);
  } else if (strcmp(name, "hostflags") == 0) {
    c->hostflags = (unsigned)v;
  } else if (strcmp(name, "num_tickets") == 0) {
    ok = v >= 0 && SSL_CTX_set_num_tickets(c->ssl, (size_t)v);
  } else
    return luaL_argerror(L, 2, "unknown property");
  ERR_clear_error();
  lua_pushboolean(L, ok);
  return 1;
}

static int c_session_stats(lua_State *L) {
  SSL_CTX *s = ml__tls_context_check(L, 1)->ssl;
  const struct {
    const char *name;
    long value;
  } stats[] = {{"number", SSL_CTX_sess_number(s)},
               {"connect", SSL_CTX_sess_connect(s)},
               {"connect_good", SSL_CTX_sess_connect_good(s)},
               {"accept", SSL_CTX_sess_accept(s)},
               {"accept_good", SSL_CTX_sess_accept_good(s)},
               {"hits", SSL_CTX_sess_hits(s)},
               {"misses", SSL_CTX_sess_misses(s)},
               {"timeouts", SSL_CTX_sess_timeouts(s)},
               {"cache_full", SSL_CTX_sess_cache_full(s)}};
  lua_createtable(L, 0, sizeof stats / sizeof *stats);
  for (size_t i = 0; i < sizeof stats / sizeof *stats; i++) {
    lua_pushinteger(L, stats[i].value);
    lua_setfield(L, -2, stats[i].name);
  }
  return 1;
}

void ml__tls_open_contexts(lua_State *L) {
  static const luaL_Reg methods[] = {{"load_cert_chain", c_load_cert_chain},
                                     {"load_verify_locations", c_load_verify},
                                     {"set_default_verify_paths", c_default_paths},
                                     {"get_ca_certs", c_ca_certs},
                                     {"cert_store_stats", c_store_stats},
                                     {"set_ciphers", c_set_ciphers},
                                     {"get_ciphers", c_get_ciphers},
                                     {"set_alpn_protocols", c_set_alpn},
                                     {"set_ecdh_curve", c_set_curve},
                                     {"session_stats", c_session_stats},
                                     {"get", c_get},
                                     {"set", c_set},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", c_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_TLSCONTEXT, "SSLContext", methods, meta);
  lua_pop(L, 1);
  lua_pushcfunction(L, f_new_context);
  lua_setfield(L, -2, "new_context");
}
