/* What a script may say of a response, whichever version of HTTP carries it: status, headers,
** length. Errors name the method of the exchange that was called.
*/
#include "http.h"

int ml__http_status(lua_State *L, int idx, const char *fname, int least) {
  int ok;
  lua_Integer n = lua_tointegerx(L, idx, &ok);
  if (!ok || n < least || n > 999)
    ml__misuse(L, "ValueError", "%s: a status of %d to 999 was expected, got %s", fname, least,
               luaL_tolstring(L, idx, NULL));
  return (int)n;
}

int ml__http_inform_status(lua_State *L, int idx) {
  int status = ml__http_status(L, idx, "inform", 100);
  if (status > 199 || status == 101)
    ml__misuse(L, "ValueError", "inform: a status of 100 or 102 to 199 was expected, got %d",
               status);
  return status;
}

static bool parse_length(const char *s, size_t n, uint64_t *v) {
  *v = 0;
  if (n == 0 || n > 18) return false;
  for (size_t i = 0; i < n; i++) {
    if (s[i] < '0' || s[i] > '9') return false;
    *v = *v * 10 + (uint64_t)(s[i] - '0');
  }
  return true;
}

uint64_t ml__http_length(lua_State *L, const char *fname, const ml_hline *line, bool again) {
  uint64_t n = 0;
  if (again || !parse_length(line->value, line->nvalue, &n))
    ml__misuse(L, "ValueError", "%s: Content-Length must be one number, got '%s'", fname,
               line->value);
  return n;
}

lua_Integer ml__http_lines(lua_State *L, int idx, const char *fname) {
  lua_Integer n;
  if (lua_isnoneornil(L, idx)) return 0;
  if (!lua_istable(L, idx)) {
    ml__headers_array(L, idx, fname);
    lua_replace(L, idx);
  }
  n = (lua_Integer)lua_rawlen(L, idx);
  if (n % 2 != 0)
    ml__misuse(L, "ValueError", "%s: headers must be name, value, name, value...: %d items came",
               fname, (int)n);
  return n;
}

void ml__http_line(lua_State *L, ml_http *h, int idx, lua_Integer i, const char *fname,
                   ml_hline *line) {
  if (lua_rawgeti(L, idx, i) != LUA_TSTRING || lua_rawgeti(L, idx, i + 1) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: headers must be strings, got %s", fname, luaL_typename(L, -1));
  line->name = lua_tolstring(L, -2, &line->nname);
  line->value = lua_tolstring(L, -1, &line->nvalue);
  if (!ml__header_name_ok(L, h, -2, line->name, line->nname))
    ml__misuse(L, "ValueError", "%s: '%s' is no name of a header", fname, line->name);
  if (!ml__header_value_ok(L, h, -1, line->value, line->nvalue))
    ml__misuse(L, "ValueError", "%s: the value of %s has a line break or NUL in it", fname,
               line->name);
  if (line->nname == 17 && ml__name_equals(line->name, 17, "transfer-encoding", 17))
    ml__misuse(L, "ValueError", "%s: Transfer-Encoding is set by the connection", fname);
}

void ml__http_gone(lua_State *L, const char *text) {
  ml__error_new(L, "OSError", "%s", text);
  lua_pushliteral(L, "ECONNRESET");
  lua_setfield(L, -2, "code");
}

int ml__http_raise_gone(lua_State *L, const char *fname) {
  ml__http_gone(L, lua_pushfstring(L, "%s: the peer has gone", fname));
  return lua_error(L);
}

int ml__stream_info(lua_State *L, ml_stream *s) {
  lua_settop(L, 3);
  ml__transport_push(L, s);
  lua_getfield(L, -1, "get_extra_info");
  lua_insert(L, -2);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_call(L, 3, 1);
  return 1;
}

void ml__setting_count(lua_State *L, const char *name, uint32_t *v, uint32_t most) {
  if (lua_getfield(L, 1, name) != LUA_TNIL) {
    int ok;
    lua_Integer n = lua_tointegerx(L, -1, &ok);
    if (!ok || n < 0 || n > most)
      ml__misuse(L, "ValueError", "settings: %s must be an integer of 0 to %d, got %s", name,
                 (int)most, luaL_tolstring(L, -1, NULL));
    *v = (uint32_t)n;
  }
  lua_pop(L, 1);
}

void ml__setting_seconds(lua_State *L, const char *name, double *v) {
  int t = lua_getfield(L, 1, name);
  if (t == LUA_TBOOLEAN && !lua_toboolean(L, -1))
    *v = -1;
  else if (t != LUA_TNIL) {
    if (t != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0))
      ml__misuse(L, "ValueError", "settings: %s must be a number of seconds or false, got %s", name,
                 luaL_tolstring(L, -1, NULL));
    *v = lua_tonumber(L, -1);
  }
  lua_pop(L, 1);
}

size_t ml__http_read_limit(lua_State *L) {
  lua_Integer limit = luaL_optinteger(L, 2, 0);
  if (limit < 0)
    ml__misuse(L, "ValueError", "read: a limit of 0 (none) or more was expected, got %I",
               (LUAI_UACINT)limit);
  return (size_t)limit;
}
