/* Certificates as tables: what Python's getpeercert() gives. Names are arrays of
** RDNs, an RDN is an array of {name, value}; alternative names are {kind, value}.
*/
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "tls.h"

static void push_bio(lua_State *L, BIO *b) {
  char *p = NULL;
  long n = BIO_get_mem_data(b, &p);
  lua_pushlstring(L, n > 0 ? p : "", n > 0 ? (size_t)n : 0);
}

/* A userdata that frees the BIO if an error is raised meanwhile. */
static int bio_gc(lua_State *L) {
  BIO **b = lua_touserdata(L, 1);
  BIO_free(*b);
  *b = NULL;
  return 0;
}

static BIO *push_guarded_bio(lua_State *L) {
  BIO **b = lua_newuserdatauv(L, sizeof(BIO *), 0);
  *b = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, bio_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  *b = BIO_new(BIO_s_mem());
  if (*b == NULL) luaL_error(L, "not enough memory");
  return *b;
}

static void push_object_name(lua_State *L, const ASN1_OBJECT *o) {
  char buf[128];
  int nid = OBJ_obj2nid(o);
  if (nid != NID_undef) {
    lua_pushstring(L, OBJ_nid2ln(nid));
    return;
  }
  OBJ_obj2txt(buf, sizeof buf, o, 1);
  lua_pushstring(L, buf);
}

static void push_asn1_string(lua_State *L, BIO *b, const ASN1_STRING *s) {
  (void)BIO_reset(b);
  ASN1_STRING_print_ex(b, s, ASN1_STRFLGS_UTF8_CONVERT);
  push_bio(L, b);
}

static void push_name(lua_State *L, BIO *b, X509_NAME *name) {
  int n = X509_NAME_entry_count(name), rdns = 0, set = -1, k = 0;
  lua_newtable(L);
  for (int i = 0; i < n; i++) {
    X509_NAME_ENTRY *e = X509_NAME_get_entry(name, i);
    if (X509_NAME_ENTRY_set(e) != set) {
      set = X509_NAME_ENTRY_set(e);
      k = 0;
      lua_newtable(L);
      lua_pushvalue(L, -1);
      lua_rawseti(L, -3, ++rdns);
    } else
      lua_rawgeti(L, -1, rdns);
    lua_createtable(L, 2, 0);
    push_object_name(L, X509_NAME_ENTRY_get_object(e));
    lua_rawseti(L, -2, 1);
    push_asn1_string(L, b, X509_NAME_ENTRY_get_data(e));
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, ++k);
    lua_pop(L, 1);
  }
}

static void push_time(lua_State *L, BIO *b, const ASN1_TIME *t) {
  (void)BIO_reset(b);
  ASN1_TIME_print(b, t);
  push_bio(L, b);
}

static void push_serial(lua_State *L, BIO *b, const ASN1_INTEGER *n) {
  (void)BIO_reset(b);
  i2a_ASN1_INTEGER(b, n);
  push_bio(L, b);
}

/* {kind, value} of one alternative name, or nothing pushed. */
static bool push_general_name(lua_State *L, BIO *b, GENERAL_NAME *g) {
  const char *kind;
  char buf[64];
  lua_createtable(L, 2, 0);
  switch (g->type) {
  case GEN_DNS: kind = "DNS"; break;
  case GEN_EMAIL: kind = "email"; break;
  case GEN_URI: kind = "URI"; break;
  case GEN_IPADD: {
    const unsigned char *ip = ASN1_STRING_get0_data(g->d.iPAddress);
    int n = ASN1_STRING_length(g->d.iPAddress);
    lua_pushliteral(L, "IP Address");
    lua_rawseti(L, -2, 1);
    if ((n == 4 && uv_inet_ntop(AF_INET, ip, buf, sizeof buf) == 0) ||
        (n == 16 && uv_inet_ntop(AF_INET6, ip, buf, sizeof buf) == 0))
      lua_pushstring(L, buf);
    else
      lua_pushliteral(L, "<invalid>");
    lua_rawseti(L, -2, 2);
    return true;
  }
  case GEN_DIRNAME:
    lua_pushliteral(L, "DirName");
    lua_rawseti(L, -2, 1);
    push_name(L, b, g->d.dirn);
    lua_rawseti(L, -2, 2);
    return true;
  case GEN_RID:
    lua_pushliteral(L, "Registered ID");
    lua_rawseti(L, -2, 1);
    push_object_name(L, g->d.rid);
    lua_rawseti(L, -2, 2);
    return true;
  default: lua_pop(L, 1); return false;
  }
  lua_pushstring(L, kind);
  lua_rawseti(L, -2, 1);
  lua_pushlstring(L, (const char *)ASN1_STRING_get0_data(g->d.ia5),
                  (size_t)ASN1_STRING_length(g->d.ia5));
  lua_rawseti(L, -2, 2);
  return true;
}

static int names_gc(lua_State *L) {
  GENERAL_NAMES **names = lua_touserdata(L, 1);
  GENERAL_NAMES_free(*names);
  *names = NULL;
  return 0;
}

/* Sets the field subjectAltName of the table on top, if there are any. */
static void set_alt_names(lua_State *L, BIO *b, X509 *cert) {
  GENERAL_NAMES **names = lua_newuserdatauv(L, sizeof(void *), 0);
  int n = 0;
  *names = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, names_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
  if (*names == NULL) {
    lua_pop(L, 1);
    return;
  }
  lua_newtable(L);
  for (int i = 0; i < sk_GENERAL_NAME_num(*names); i++)
    if (push_general_name(L, b, sk_GENERAL_NAME_value(*names, i))) lua_rawseti(L, -2, ++n);
  lua_setfield(L, -3, "subjectAltName");
  lua_pop(L, 1);
}

void ml__tls_push_cert(lua_State *L, X509 *cert) {
  BIO *b;
  luaL_checkstack(L, 12, "certificate");
  b = push_guarded_bio(L);
  lua_createtable(L, 0, 8);
  push_name(L, b, X509_get_subject_name(cert));
  lua_setfield(L, -2, "subject");
  push_name(L, b, X509_get_issuer_name(cert));
  lua_setfield(L, -2, "issuer");
  lua_pushinteger(L, X509_get_version(cert) + 1);
  lua_setfield(L, -2, "version");
  push_serial(L, b, X509_get0_serialNumber(cert));
  lua_setfield(L, -2, "serialNumber");
  push_time(L, b, X509_get0_notBefore(cert));
  lua_setfield(L, -2, "notBefore");
  push_time(L, b, X509_get0_notAfter(cert));
  lua_setfield(L, -2, "notAfter");
  set_alt_names(L, b, cert);
  lua_remove(L, -2);
  ERR_clear_error();
}

void ml__tls_push_der(lua_State *L, X509 *cert) {
  unsigned char *p, *q;
  int n = i2d_X509(cert, NULL);
  luaL_checkstack(L, 4, "certificate");
  if (n <= 0) {
    ml__tls_raise(L, "certificate");
    return;
  }
  p = q = lua_newuserdatauv(L, (size_t)n, 0);
  i2d_X509(cert, &q);
  lua_pushlstring(L, (char *)p, (size_t)n);
  lua_remove(L, -2);
}

void ml__tls_push_chain(lua_State *L, const STACK_OF(X509) * chain) {
  int n = chain == NULL ? 0 : sk_X509_num(chain);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    ml__tls_push_der(L, sk_X509_value(chain, i));
    lua_rawseti(L, -2, i + 1);
  }
}
