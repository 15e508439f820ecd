/* Errors of TLS: classes under OSError, with Python's names and texts. A message
** says what was tried, then "[SSL: REASON] ..." as OpenSSL has it. They carry
** `code` and `reason` (REASON), `library`, and for certificates `verify_code`
** and `verify_message`. No key material gets into a text.
*/
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>

#include "tls.h"

static const char classes_key;

static const struct {
  const char *name, *base;
} classes[] = {{"SSLError", NULL},
               {"SSLZeroReturnError", "SSLError"},
               {"SSLEOFError", "SSLError"},
               {"SSLCertVerificationError", "SSLError"}};

void ml__tls_error_take(ml_tlserror *e) {
  unsigned long code = ERR_get_error();
  e->kind = TLS_FAILED;
  e->code = code;
  e->verify = X509_V_OK;
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
    e->kind = TLS_UNVERIFIED;
  ERR_clear_error();
}

/* "certificate verify failed" becomes "CERTIFICATE_VERIFY_FAILED". */
static void mnemonic(unsigned long code, char *buf, size_t n) {
  const char *s = ERR_reason_error_string(code);
  size_t i = 0;
  for (; s != NULL && s[i] != '\0' && i + 1 < n; i++)
    buf[i] = (char)(isalnum((unsigned char)s[i]) ? toupper((unsigned char)s[i]) : '_');
  buf[i] = '\0';
}

/* Pushes an object of the class; the message is on top (popped). */
static void push_object(lua_State *L, const char *cls) {
  lua_createtable(L, 0, 6);
  lua_insert(L, -2);
  lua_setfield(L, -2, "message");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key);
  lua_getfield(L, -1, cls);
  lua_remove(L, -2);
  lua_setmetatable(L, -2);
}

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, key);
}

/* Pushes what Python says of it. */
static const char *push_verify_text(lua_State *L, const ml_tlserror *e, const char *name) {
  bool host = e->verify == X509_V_ERR_HOSTNAME_MISMATCH;
  if (name != NULL && (host || e->verify == X509_V_ERR_IP_ADDRESS_MISMATCH))
    return lua_pushfstring(L, "%s mismatch, certificate is not valid for '%s'.",
                           host ? "Hostname" : "IP address", name);
  return lua_pushstring(L, X509_verify_cert_error_string(e->verify));
}

static void push_openssl(lua_State *L, const ml_tlserror *e, const char *what, const char *colon,
                         const char *name) {
  const char *lib = ERR_lib_error_string(e->code), *text = ERR_reason_error_string(e->code);
  char reason[96], library[32] = "SSL";
  mnemonic(e->code, reason, sizeof reason);
  if (lib != NULL) {
    size_t i = 0;
    for (; lib[i] != '\0' && strncmp(lib + i, " routines", 9) != 0 && i + 1 < sizeof library; i++)
      library[i] = (char)toupper((unsigned char)lib[i]);
    library[i] = '\0';
  }
  if (text == NULL) text = "unknown error";
  if (e->kind == TLS_UNVERIFIED) {
    const char *why = push_verify_text(L, e, name);
    lua_pushfstring(L, "%s%s[%s: %s] %s: %s", what, colon, library, reason, text, why);
  } else
    lua_pushfstring(L, "%s%s[%s: %s] %s", what, colon, library, reason, text);
  push_object(L, e->kind == TLS_UNVERIFIED ? "SSLCertVerificationError" : "SSLError");
  set_string(L, "library", library);
  set_string(L, "reason", reason);
  set_string(L, "code", reason);
  set_integer(L, "errno", 1);
  if (e->kind != TLS_UNVERIFIED) return;
  set_integer(L, "verify_code", e->verify);
  lua_insert(L, -2);
  lua_setfield(L, -2, "verify_message");
}

/* An error that libuv has a code for. */
static void push_system(lua_State *L, int uverr, const char *what, const char *colon,
                        const char *text) {
  char code[32];
  ml__error_new(L, uverr == UV_ETIMEDOUT ? "TimeoutError" : "OSError", "%s%s%s", what, colon, text);
  uv_err_name_r(uverr, code, sizeof code);
  set_string(L, "code", code);
  set_integer(L, "errno", -uverr);
}

void ml__tls_error_push(lua_State *L, const ml_tlserror *e, const char *what, const char *name) {
  const char *colon = what != NULL ? ": " : "";
  char buf[96];
  luaL_checkstack(L, 8, "TLS error");
  if (what == NULL) what = "";
  switch (e->kind) {
  case TLS_RAGGED:
    lua_pushfstring(L,
                    "%s%s[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol",
                    what, colon);
    push_object(L, "SSLEOFError");
    set_string(L, "library", "SSL");
    set_string(L, "reason", "UNEXPECTED_EOF_WHILE_READING");
    set_string(L, "code", "UNEXPECTED_EOF_WHILE_READING");
    set_integer(L, "errno", 8);
    return;
  case TLS_GONE:
    push_system(L, UV_ECONNRESET, what, colon, "the peer closed the connection");
    return;
  case TLS_SLOW:
    snprintf(buf, sizeof buf,
             "SSL handshake is taking longer than %g seconds: aborting the connection",
             (double)e->verify / 1000);
    push_system(L, UV_ECONNABORTED, what, colon, buf);
    return;
  case TLS_SLOW_SHUTDOWN:
    push_system(L, UV_ETIMEDOUT, what, colon, "SSL shutdown timed out");
    return;
  default: break;
  }
  if (ERR_GET_LIB(e->code) == ERR_LIB_SYS && e->code != 0) {
    uv_strerror_r(uv_translate_sys_error(ERR_GET_REASON(e->code)), buf, sizeof buf);
    push_system(L, uv_translate_sys_error(ERR_GET_REASON(e->code)), what, colon, buf);
    return;
  }
  push_openssl(L, e, what, colon, name);
}

int ml__tls_raise(lua_State *L, const char *what) {
  ml_tlserror e;
  ml__tls_error_take(&e);
  ml__tls_error_push(L, &e, what, NULL);
  return lua_error(L);
}

void ml__tls_open_errors(lua_State *L) {
  int module = lua_gettop(L);
  lua_createtable(L, 0, 4); /* classes by name */
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    if (classes[i].base != NULL) {
      lua_getfield(L, module + 1, classes[i].base);
    } else {
      ml__error_class_named(L, "OSError");
    }
    lua_getfield(L, -1, "extend");
    lua_insert(L, -2);
    lua_pushstring(L, classes[i].name);
    lua_call(L, 2, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, module, classes[i].name);
    lua_setfield(L, module + 1, classes[i].name);
  }
  lua_rawsetp(L, LUA_REGISTRYINDEX, &classes_key);
}
