/* What http.web does most often, in C: making a Response of a text and nothing else, the
** line of a plain cookie, the look-up of what an object of its classes has not itself, and
** the route of a request where that is simple (dispatcher.lua has the whole of it).
** Requests and responses are tables with the layout of stdlib/http/web/layout.lua. Everything that
** is not the plain case goes to Lua. Owns nothing, keeps nothing.
*/
#include <string.h>

#include "http.h"

/* Of a response's array part. */
enum { STATUS = 1, BODY, TYPE, HEADERS, COOKIES, EXCHANGE, MORE };

/* Of response_call. */
enum { UP_CLASS = 1, UP_TYPE, UP_TEXT };

/* Is the table at index 2 {text = STRING}, and nothing else? Pushes the string. */
static bool only_text(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(UP_TEXT));
  if (lua_rawget(L, 2) != LUA_TSTRING) return false;
  lua_pushnil(L);
  if (lua_next(L, 2) == 0) return false;
  lua_pop(L, 1);
  return lua_rawequal(L, -1, lua_upvalueindex(UP_TEXT)) && lua_next(L, 2) == 0;
}

/* Response(opts), or the call of a class derived from it */
static int response_call(lua_State *L) {
  if (lua_gettop(L) == 2 && lua_istable(L, 2) && lua_rawequal(L, 1, lua_upvalueindex(UP_CLASS)) &&
      only_text(L)) {
    lua_createtable(L, MORE, 0);
    lua_pushinteger(L, 200);
    lua_rawseti(L, 4, STATUS);
    lua_pushvalue(L, 3);
    lua_rawseti(L, 4, BODY);
    lua_pushvalue(L, lua_upvalueindex(UP_TYPE));
    lua_rawseti(L, 4, TYPE);
    for (int i = HEADERS; i <= MORE; i++) {
      lua_pushboolean(L, 0);
      lua_rawseti(L, 4, i);
    }
    lua_pushvalue(L, 1);
    lua_setmetatable(L, 4);
    return 1;
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  lua_getfield(L, 1, "new");
  lua_insert(L, 1);
  lua_call(L, 2, 1);
  return 1;
}

/* Of send_response. */
enum { UP_OF = 1, UP_HEADS, UP_RESPOND };

/* Pushes the response's part; is it there? */
static bool part(lua_State *L, int i) {
  lua_rawgeti(L, 1, i);
  return lua_toboolean(L, -1);
}

/* The head of the response at 1: pushed, as an exchange takes it. A type that `heads` has not
** yet, or more than one cookie: not the simple case. */
static bool push_head(lua_State *L) {
  bool typed = part(L, TYPE), cookie = part(L, COOKIES);
  if (cookie) {
    if (!typed || lua_type(L, -1) != LUA_TSTRING) return false;
    lua_createtable(L, 4, 0);
    lua_pushliteral(L, "Content-Type");
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, -3);
    lua_rawseti(L, -2, 2);
    lua_pushliteral(L, "Set-Cookie");
    lua_rawseti(L, -2, 3);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, 4);
    return true;
  }
  lua_pop(L, 1);
  if (typed) return lua_rawget(L, lua_upvalueindex(UP_HEADS)) == LUA_TTABLE;
  lua_pop(L, 1);
  lua_pushnil(L);
  return true;
}

/* send(response, x): sends a Response that has a body, a content type, perhaps a plain cookie, and
** nothing else. Gives true and what respond gave; nothing if it is another one. */
static int send_response(lua_State *L) {
  lua_settop(L, 2);
  if (!lua_istable(L, 1) || !lua_getmetatable(L, 1) ||
      !lua_rawequal(L, -1, lua_upvalueindex(UP_OF)) || part(L, EXCHANGE) || part(L, MORE) ||
      part(L, HEADERS))
    return 0;
  lua_settop(L, 2);
  if (!push_head(L)) return 0;
  lua_copy(L, -1, 3);
  lua_settop(L, 3); /* response, x, head */
  lua_pushvalue(L, lua_upvalueindex(UP_RESPOND));
  lua_gettable(L, 2);
  lua_pushvalue(L, 2);
  lua_rawgeti(L, 1, STATUS);
  lua_pushnil(L);
  lua_pushvalue(L, 3);
  lua_rawgeti(L, 1, BODY);
  lua_call(L, 5, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, -2);
  return 2;
}

/* sender(Response, heads): a function that sends plain responses; heads: by content type, the
** array of a head that has nothing else */
static int web_sender(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_pushliteral(L, "respond");
  lua_pushcclosure(L, send_response, UP_RESPOND);
  return 1;
}

/* constructor(Response, type): what __call of the class is to be; type: of a text */
static int web_constructor(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TSTRING);
  lua_settop(L, 2);
  lua_pushliteral(L, "text");
  lua_pushcclosure(L, response_call, 3);
  return 1;
}

/* ---- the route of a request ---- */

/* Of a request's array part. */
enum { REQ_EXCHANGE = 1, REQ_ROUTE, REQ_PARAMS };

/* Of the array parts of a resource and of a route. */
enum { RESOURCE_TAIL = 1, RESOURCE_ROUTES };
enum { ROUTE_PARAM = 1, ROUTE_META };

/* Of find_route: the router's index (dispatcher.lua), Request, the name of a field. */
enum { UP_PIECES = 1, UP_REQUEST, UP_MATCH_INFO };

/* Of find_route's stack. */
enum { AT_EXCHANGE = 1, AT_METHOD, AT_PATH, AT_ROUTE, AT_VALUE };

/* The common shape: a literal beginning, and one parameter for the last piece. Is the path's
** first piece that of one resource alone, which looks so? The route and the value get to their
** places. */
static bool find_tail_route(lua_State *L) {
  size_t n, m;
  const char *path = lua_tolstring(L, AT_PATH, &n), *slash, *tail;
  if (n < 2 || memchr(path, '%', n) != NULL) return false;
  slash = memchr(path + 1, '/', n - 1);
  if (slash == NULL) return false;
  lua_pushlstring(L, path, (size_t)(slash - path));
  if (lua_rawget(L, lua_upvalueindex(UP_PIECES)) != LUA_TTABLE || lua_rawlen(L, -1) != 1)
    return false;
  if (lua_rawgeti(L, -1, 1) != LUA_TTABLE || lua_rawgeti(L, -1, RESOURCE_TAIL) != LUA_TSTRING)
    return false;
  tail = lua_tolstring(L, -1, &m); /* the resource has it */
  if (n <= m || memcmp(path, tail, m) != 0 || memchr(path + m, '/', n - m) != NULL) return false;
  if (lua_rawgeti(L, -2, RESOURCE_ROUTES) != LUA_TTABLE) return false;
  lua_pushvalue(L, AT_METHOD);
  if (lua_rawget(L, -2) != LUA_TTABLE) return false;
  lua_replace(L, AT_ROUTE);
  lua_settop(L, AT_ROUTE);
  lua_pushlstring(L, path + m, n - m);
  return true;
}

/* The value becomes the parameters: {[route's parameter] = value} with the route's metatable. */
static void make_params(lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_rawgeti(L, AT_ROUTE, ROUTE_PARAM);
  lua_pushvalue(L, AT_VALUE);
  lua_rawset(L, -3);
  lua_rawgeti(L, AT_ROUTE, ROUTE_META);
  lua_setmetatable(L, -2);
  lua_replace(L, AT_VALUE);
}

/* find(x, method, path): the request and its route, if that is of the common shape; else nothing */
static int find_route(lua_State *L) {
  lua_settop(L, AT_ROUTE);
  if (lua_type(L, AT_PATH) != LUA_TSTRING || !find_tail_route(L)) return 0;
  make_params(L);
  lua_createtable(L, REQ_PARAMS, 1);
  lua_pushvalue(L, AT_EXCHANGE);
  lua_rawseti(L, -2, REQ_EXCHANGE);
  lua_pushvalue(L, AT_ROUTE);
  lua_rawseti(L, -2, REQ_ROUTE);
  lua_pushvalue(L, AT_VALUE);
  lua_rawseti(L, -2, REQ_PARAMS);
  lua_pushvalue(L, lua_upvalueindex(UP_MATCH_INFO));
  lua_pushvalue(L, AT_VALUE);
  lua_rawset(L, -3);
  lua_pushvalue(L, lua_upvalueindex(UP_REQUEST));
  lua_setmetatable(L, -2);
  lua_pushvalue(L, AT_ROUTE);
  return 2;
}

/* finder(pieces, Request): a function that finds the routes of a router */
static int web_finder(lua_State *L) {
  for (int i = UP_PIECES; i <= UP_REQUEST; i++) luaL_checktype(L, i, LUA_TTABLE);
  lua_settop(L, UP_REQUEST);
  lua_pushliteral(L, "match_info");
  lua_pushcclosure(L, find_route, UP_MATCH_INFO);
  return 1;
}

/* ---- objects ---- */

/* __index of a class (upvalue 1: the class, 2: its getters): what the class has, or what the
** getter of that name gives. */
static int class_index(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TNIL) { /* the classes above? */
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_gettable(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_gettable(L, lua_upvalueindex(2)) == LUA_TNIL) return 1;
  }
  lua_replace(L, 2);
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

/* index(class, getters): what __index of the class is to be */
static int web_index(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_pushcclosure(L, class_index, 2);
  return 1;
}

/* headers(request): those of its exchange, kept in its field `headers` */
static int web_headers(lua_State *L) {
  const ml_object *o;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_rawgeti(L, 1, 1);
  o = ml__toobject(L, 2);
  if (o != NULL && o->type == ML_T_EXCHANGE)
    ml__headers_in(L, &ml__checkexchange(L, 2)->head, 2);
  else {
    lua_getfield(L, 2, "headers");
    lua_insert(L, 2);
    lua_call(L, 1, 1);
  }
  lua_pushvalue(L, lua_upvalueindex(1)); /* "headers" */
  lua_pushvalue(L, -2);
  lua_rawset(L, 1);
  return 1;
}

static bool value_ok(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned char ch = (unsigned char)s[i];
    if (ch <= ' ' || ch >= 127 || ch == '"' || ch == ',' || ch == ';' || ch == '\\') return false;
  }
  return true;
}

/* cookie(name, value): the Set-Cookie of a cookie for the whole site, or nil if it needs quotes,
** is long, or is none (RFC 6265, 4.1.1) */
static int web_cookie(lua_State *L) {
  static const char end[] = "; Path=/";
  char line[256];
  size_t n, m;
  const char *name, *value;
  lua_settop(L, 2);
  if (lua_type(L, 1) != LUA_TSTRING || lua_type(L, 2) != LUA_TSTRING) return 0;
  name = lua_tolstring(L, 1, &n);
  value = lua_tolstring(L, 2, &m);
  if (n + 1 + m + sizeof end > sizeof line || !ml__token_ok(name, n) || !value_ok(value, m))
    return 0;
  memcpy(line, name, n);
  line[n] = '=';
  memcpy(line + n + 1, value, m);
  memcpy(line + n + 1 + m, end, sizeof end);
  lua_pushlstring(L, line, n + m + sizeof end);
  return 1;
}

static const luaL_Reg functions[] = {
    {"constructor", web_constructor}, {"cookie", web_cookie}, {"index", web_index},
    {"finder", web_finder},           {"sender", web_sender}, {NULL, NULL}};

int ml__open_httpweb(lua_State *L) {
  luaL_newlib(L, functions);
  lua_pushliteral(L, "headers");
  lua_pushcclosure(L, web_headers, 1);
  lua_setfield(L, -2, "headers");
  return 1;
}
