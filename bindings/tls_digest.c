/* Digests of strings by OpenSSL, as hexadecimal text, and bytes that nobody can guess: what Digest
** authentication is computed with (RFC 7616). One call, one digest: nothing is held between calls.
*/
#include <openssl/evp.h>

#include "core.h"

static int hexdigest(lua_State *L, const char *name) {
  static const char digits[] = "0123456789abcdef";
  unsigned char bytes[EVP_MAX_MD_SIZE];
  char text[2 * EVP_MAX_MD_SIZE];
  size_t n, size = 0;
  const char *data = luaL_checklstring(L, 1, &n);
  if (!EVP_Q_digest(NULL, name, NULL, data, n, bytes, &size))
    return luaL_error(L, "this OpenSSL has no %s", name);
  for (size_t i = 0; i < size; i++) {
    text[2 * i] = digits[bytes[i] >> 4];
    text[2 * i + 1] = digits[bytes[i] & 15];
  }
  lua_pushlstring(L, text, 2 * size);
  return 1;
}

static int digest_md5(lua_State *L) { return hexdigest(L, "MD5"); }
static int digest_sha1(lua_State *L) { return hexdigest(L, "SHA1"); }
static int digest_sha512(lua_State *L) { return hexdigest(L, "SHA512"); }
static int digest_sha256(lua_State *L) { return hexdigest(L, "SHA256"); }
static int digest_sha512_256(lua_State *L) { return hexdigest(L, "SHA512-256"); }

int ml__open_digest(lua_State *L) {
  static const luaL_Reg functions[] = {{"md5", digest_md5},
                                       {"sha1", digest_sha1},
                                       {"sha256", digest_sha256},
                                       {"sha512", digest_sha512},
                                       {"sha512_256", digest_sha512_256},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
