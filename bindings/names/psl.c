/* Public suffixes: the domains below which anybody can register a name ("com", "co.uk",
** "github.io"), by the list that libpsl was built with. A cookie for one of them would be a cookie
** for strangers: the CookieJar asks here. The list is constant; threads share it.
*/
#include <libpsl.h>

#include "core.h"

/* is_public_suffix(domain): ASCII, small letters, no point at either end. What has no rule is one
** if it has no point in it. */
static int psl_is_suffix(lua_State *L) {
  const psl_ctx_t *psl = psl_builtin();
  const char *domain = luaL_checkstring(L, 1);
  lua_pushboolean(L, psl != NULL ? psl_is_public_suffix(psl, domain) : 0);
  return 1;
}

int ml__open_psl(lua_State *L) {
  static const luaL_Reg functions[] = {{"is_public_suffix", psl_is_suffix}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
