/* Names of hosts in any script: what DNS wants of them (IDNA 2008 with the mappings of UTS 46, by
** libidn2), and back. Both work on whole names and hold nothing between calls: what the library
** allocates is copied to the C stack and freed before Lua sees it. What the result may contain is
** the caller's to check: url.parse does.
*/
#include <idn2.h>
#include <string.h>

#include "core.h"

#define LONGEST 1024 /* bytes of a name, either way: 255 characters of up to 4 */

/* Copies the library's text. Gives false if it is too long. */
static bool take(char *to, uint8_t *text) {
  size_t n = strlen((char *)text);
  bool fits = n < LONGEST;
  if (fits) memcpy(to, text, n + 1);
  idn2_free(text);
  return fits;
}

/* The result, or nil and what is wrong. */
static int answer(lua_State *L, int rc, const char *text) {
  if (rc == IDN2_OK) {
    lua_pushstring(L, text);
    return 1;
  }
  if (rc == IDN2_MALLOC) return luaL_error(L, "not enough memory");
  lua_pushnil(L);
  lua_pushstring(L, idn2_strerror(rc));
  return 2;
}

static const uint8_t *check_name(lua_State *L) {
  size_t n;
  const char *name = luaL_checklstring(L, 1, &n);
  luaL_argcheck(L, n < LONGEST && strlen(name) == n, 1, "not a name of a host");
  return (const uint8_t *)name;
}

/* encode(name): in ASCII, small letters. */
static int idna_encode(lua_State *L) {
  const uint8_t *name = check_name(L);
  uint8_t *out = NULL;
  char text[LONGEST];
  int rc = idn2_lookup_u8(name, &out, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
  if (rc == IDN2_OK && !take(text, out)) rc = IDN2_TOO_BIG_DOMAIN;
  return answer(L, rc, text);
}

/* decode(name): as people read it. */
static int idna_decode(lua_State *L) {
  const uint8_t *name = check_name(L);
  char *out = NULL;
  char text[LONGEST];
  int rc = idn2_to_unicode_8z8z((const char *)name, &out, 0);
  if (rc == IDN2_OK && !take(text, (uint8_t *)out)) rc = IDN2_TOO_BIG_DOMAIN;
  return answer(L, rc, text);
}

int ml__open_idna(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"encode", idna_encode}, {"decode", idna_decode}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
