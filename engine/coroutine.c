/* Coroutine functions and coroutines.
**
** async(f) is a C closure over f; calling it makes a coroutine that holds f and
** the arguments. await.c runs them.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack.h"

/* ---- what is known of functions ---- */

static unsigned hash_place(const char *s, int line) {
  unsigned h = (unsigned)line * 2654435761u;
  for (; *s != '\0'; s++) h = h * 31 + (unsigned char)*s;
  return h;
}

ml_codeinfo *ml__codeinfo_get(lua_State *L, int idx) {
  ml_engine *e = ml__engine(L);
  ml_codeinfo *i, **bucket;
  lua_Debug ar;
  size_t n;
  lua_pushvalue(L, idx);
  if (!lua_isfunction(L, -1)) { /* a callable object */
    lua_pop(L, 1);
    strcpy(ar.short_src, "?");
    ar.linedefined = -1;
  } else
    lua_getinfo(L, ">S", &ar);
  bucket = &e->codeinfo[hash_place(ar.short_src, ar.linedefined) & 255];
  for (i = *bucket; i != NULL; i = i->next)
    if (i->line == ar.linedefined && strncmp(i->where, ar.short_src, strlen(ar.short_src)) == 0 &&
        (ar.linedefined < 0 || i->where[strlen(ar.short_src)] == ':'))
      return i;
  n = sizeof *i + strlen(ar.short_src) + 16;
  i = ml__alloc(e->alloc, NULL, 0, n);
  if (i == NULL) return NULL;
  i->name = NULL;
  i->misses = 0;
  i->line = ar.linedefined;
  if (ar.linedefined > 0)
    snprintf(i->where, n - offsetof(ml_codeinfo, where), "%s:%d", ar.short_src, ar.linedefined);
  else
    snprintf(i->where, n - offsetof(ml_codeinfo, where), "%s", ar.short_src);
  i->next = *bucket;
  *bucket = i;
  return i;
}

const char *ml__codeinfo_name(ml_engine *e, const char *where, size_t n) {
  size_t colon = n;
  char source[LUA_IDSIZE];
  while (colon > 0 && where[colon - 1] != ':') colon--;
  if (colon < 2 || colon > sizeof source) return NULL;
  memcpy(source, where, colon - 1);
  source[colon - 1] = '\0';
  for (const ml_codeinfo *i = e->codeinfo[hash_place(source, atoi(where + colon)) & 255]; i != NULL;
       i = i->next)
    if (strlen(i->where) == n && memcmp(i->where, where, n) == 0) return i->name;
  return NULL;
}

void ml__codeinfo_free(ml_engine *e) {
  for (int b = 0; b < 256; b++)
    while (e->codeinfo[b] != NULL) {
      ml_codeinfo *i = e->codeinfo[b];
      size_t n = sizeof *i + 16 +
                 (i->line > 0 ? (size_t)(strrchr(i->where, ':') - i->where) : strlen(i->where));
      e->codeinfo[b] = i->next;
      if (i->name != NULL) ml__alloc(e->alloc, i->name, strlen(i->name) + 1, 0);
      ml__alloc(e->alloc, i, n, 0);
    }
}

static void name_info(lua_State *L, ml_codeinfo *i, const char *name) {
  i->name = ml__alloc(ml__engine(L)->alloc, NULL, 0, strlen(name) + 1);
  if (i->name != NULL) strcpy(i->name, name);
}

/* The coroutine function that runs now is called by some name: remember it. */
static void learn_name(lua_State *L, ml_codeinfo *i) {
  lua_Debug ar;
  if (i->misses > 8 || !lua_getstack(L, 0, &ar)) return;
  lua_getinfo(L, "n", &ar);
  if (ar.name == NULL || strcmp(ar.name, "?") == 0) {
    i->misses++;
    return;
  }
  name_info(L, i, ar.name);
}

void ml__coroutine_describe(lua_State *L, int idx, char *buf, size_t n) {
  ml_object *o = ml__toobject(L, idx);
  const ml_codeinfo *i = NULL;
  if (o != NULL && o->type == ML_T_COROUTINE)
    i = ((ml_coroutine *)o)->info;
  else if (o != NULL && o->type == ML_T_OP) {
    snprintf(buf, n, "%s()", ((ml_op *)o)->cls->name);
    return;
  } else if (lua_isfunction(L, idx))
    i = ml__codeinfo_get(L, idx);
  if (i == NULL)
    snprintf(buf, n, "%s", luaL_typename(L, idx));
  else
    snprintf(buf, n, "%s() defined at %s", i->name != NULL ? i->name : "function", i->where);
}

/* ---- coroutine functions ---- */

/* Pushes a coroutine with room for n arguments. Whoever has filled it in sets its tail. */
static inline ml_coroutine *new_coroutine(lua_State *L, ml_codeinfo *info, int n) {
  ml_coroutine *c;
  ml__alloc_expect_coroutine(ml__engine(L)->alloc);
  c = lua_newuserdatauv(L, sizeof *c, n + 1);
  c->tail = NULL;
  c->obj.magic = &ml__magic;
  c->obj.type = ML_T_COROUTINE;
  c->obj.state = ML_CO_NEW;
  c->obj.flags = 0;
  c->obj.n = (uint32_t)n;
  c->info = info;
  return c;
}

void ml__coroutine_awaited(lua_State *L, int idx) {
  ml_codeinfo *info = ml__codeinfo_get(L, idx);
  ml_coroutine *c;
  idx = lua_absindex(L, idx);
  c = new_coroutine(L, info, 0);
  c->obj.state = ML_CO_AWAITED;
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, 1);
  ml__ref_get(L, ML_R_TYPES + ML_T_COROUTINE);
  lua_setmetatable(L, -2);
  c->tail = &c->obj;
}

/* The call of a coroutine function, whose n arguments are on the stack: pushes the coroutine. */
static inline int make_coroutine(lua_State *L, int n) {
  ml_codeinfo *info = lua_touserdata(L, lua_upvalueindex(2));
  ml_coroutine *c;
  if (info != NULL && info->name == NULL) learn_name(L, info);
  if (n >= 65000) return ml__misuse(L, "ValueError", "too many arguments for a coroutine (%d)", n);
  c = new_coroutine(L, info, n);
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, i);
    lua_setiuservalue(L, n + 1, i + 1);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setiuservalue(L, n + 1, 1);
  if (ml__ref_get(L, ML_R_TYPES + ML_T_COROUTINE) == LUA_TTABLE)
    lua_setmetatable(L, n + 1);
  else
    lua_pop(L, 1);
  c->tail = &c->obj;
  return 1;
}

/* A coroutine function. Upvalues: f, its ml_codeinfo. */
static int call_async(lua_State *L) { return make_coroutine(L, lua_gettop(L)); }

/* And one that adds a last argument, upvalue 3. */
static int call_bound(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(3));
  return make_coroutine(L, lua_gettop(L));
}

void ml__async(lua_State *L) {
  ml_codeinfo *i = ml__codeinfo_get(L, -1);
  lua_pushlightuserdata(L, i);
  lua_pushcclosure(L, call_async, 2);
}

static int keyword_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return lua_gettop(L) - (int)ctx;
}

/* async("with", e), async("for", e): what the keywords of that name begin with, see translate.c. */
static int keyword(lua_State *L) {
  const char *word = lua_tostring(L, 1);
  bool with = strcmp(word, "with") == 0;
  if (!with && strcmp(word, "for") != 0)
    return ml__misuse(L, "TypeError", "async: a function was expected, got a string");
  ml__named_function(L, "asyncio.aio", with ? "enter" : "iterate");
  lua_replace(L, 1);
  lua_callk(L, lua_gettop(L) - 1, with ? 1 : 4, 0, keyword_k);
  return keyword_k(L, LUA_OK, 0);
}

static int core_async(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) return keyword(L);
  if (!lua_isfunction(L, 1) && luaL_getmetafield(L, 1, "__call") == LUA_TNIL)
    return ml__misuse(L, "TypeError", "async: a function was expected, got %s",
                      luaL_typename(L, 1));
  if (ml__asyncclosure(L, 1)) {
    lua_settop(L, 1);
    return 1;
  }
  lua_settop(L, 2);
  if (lua_type(L, 2) == LUA_TSTRING) { /* async(f, "name"): what reports call it */
    ml_codeinfo *i = ml__codeinfo_get(L, 1);
    if (i != NULL && i->name == NULL) name_info(L, i, lua_tostring(L, 2));
  }
  lua_settop(L, 1);
  ml__async(L);
  return 1;
}

bool ml__asyncbody(lua_State *L, int idx) {
  if (lua_tocfunction(L, idx) != call_async || lua_getupvalue(L, idx, 1) == NULL) return false;
  lua_replace(L, idx);
  return true;
}

bool ml__asyncclosure(lua_State *L, int idx) {
  lua_CFunction f = lua_tocfunction(L, idx);
  return f == call_async || f == call_bound;
}

bool ml__asyncfunction(lua_State *L, int idx) {
  bool is;
  if (ml__asyncclosure(L, idx)) return true;
  if (!lua_isfunction(L, idx)) return false;
  lua_pushvalue(L, idx);
  ml__ref_get(L, ML_R_ASYNCFNS);
  lua_insert(L, -2);
  is = lua_rawget(L, -2) != LUA_TNIL;
  lua_pop(L, 2);
  return is;
}

/* core.coroutinefunction(f): f gives operations or coroutines and nothing else: it counts
** as a coroutine function. Gives f. */
static int core_coroutinefunction(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  ml__ref_get(L, ML_R_ASYNCFNS);
  lua_pushvalue(L, 1);
  lua_pushboolean(L, 1);
  lua_rawset(L, -3);
  lua_settop(L, 1);
  return 1;
}

/* core.coroutinebody(f): the function that a coroutine function is made of, or nil (also if a
** value is bound to it). For those
** who call one and await it at once: its body on the same stack is the same, and cheaper. */
static int core_coroutinebody(lua_State *L) {
  luaL_checkany(L, 1);
  if (lua_tocfunction(L, 1) != call_async || lua_getupvalue(L, 1, 1) == NULL) lua_pushnil(L);
  return 1;
}

/* core.bindlast(f, value): a coroutine function of f that appends the value to its arguments. */
static int core_bindlast(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  lua_pushlightuserdata(L, ml__codeinfo_get(L, 1));
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, call_bound, 3);
  return 1;
}

/* ---- the rest of Lua's side ---- */

bool ml__isawaitable(lua_State *L, int idx) {
  ml_object *o = ml__toobject(L, idx);
  if (o != NULL && (ml__iscoroutine(o) || ml__isfuture(o))) return true;
  if (lua_isfunction(L, idx)) return true;
  if (luaL_getmetafield(L, idx, "__await") == LUA_TNIL) return false;
  lua_pop(L, 1);
  return true;
}

static int co_tostring(lua_State *L) {
  char buf[256];
  luaL_checkany(L, 1);
  ml__coroutine_describe(L, 1, buf, sizeof buf);
  lua_pushfstring(L, "<coroutine %s>", buf);
  return 1;
}

/* coroutine:close(): it will never run, and no report says so */
static int co_close(lua_State *L) {
  ml_object *o = ml__toobject(L, 1);
  if (o == NULL || !ml__iscoroutine(o)) return luaL_argerror(L, 1, "coroutine expected");
  if (o->state == ML_CO_NEW && !ml__isshared(o)) o->state = ML_CO_AWAITED;
  return 0;
}

static int core_iscoroutine(lua_State *L) {
  ml_object *o = ml__toobject(L, 1);
  lua_pushboolean(L, o != NULL && ml__iscoroutine(o));
  return 1;
}

static int core_iscoroutinefunction(lua_State *L) {
  lua_pushboolean(L, ml__asyncfunction(L, 1));
  return 1;
}

static int core_isawaitable(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L,
                  ml__isawaitable(L, 1) && (ml__toobject(L, 1) != NULL || !lua_isfunction(L, 1)));
  return 1;
}

/* ---- what a coroutine is not: its result ---- */

/* Raises what Lua says of a value that cannot do that, and why it may be one. */
static int not_awaited(lua_State *L, int idx, const char *doing) {
  const ml_object *o = ml__toobject(L, idx);
  const ml_codeinfo *i = NULL;
  const char *name = NULL;
  if (o != NULL && o->type == ML_T_COROUTINE) i = ((const ml_coroutine *)o)->info;
  if (i != NULL) name = i->name;
  if (o != NULL && o->type == ML_T_OP) name = ((const ml_op *)o)->cls->name;
  return luaL_error(L, "attempt to %s a coroutine value: forgot to await %s()?", doing,
                    name != NULL ? name : "it");
}

/* coroutine.key; upvalue 1: the methods */
static int co_index(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  if (lua_type(L, 2) == LUA_TSTRING && strncmp(lua_tostring(L, 2), "__", 2) == 0) return 1;
  return not_awaited(L, 1, "index");
}

static int co_newindex(lua_State *L) { return not_awaited(L, 1, "index"); }

/* An operator; upvalue 1: what it does */
static int co_operator(lua_State *L) {
  return not_awaited(L, ml__toobject(L, 1) != NULL ? 1 : 2, lua_tostring(L, lua_upvalueindex(1)));
}

/* The metatable is on top, the methods below it. */
static void open_hints(lua_State *L) {
  static const char *const operators[][2] = {{"__add", "perform arithmetic on"},
                                             {"__sub", "perform arithmetic on"},
                                             {"__mul", "perform arithmetic on"},
                                             {"__div", "perform arithmetic on"},
                                             {"__mod", "perform arithmetic on"},
                                             {"__pow", "perform arithmetic on"},
                                             {"__unm", "perform arithmetic on"},
                                             {"__idiv", "perform arithmetic on"},
                                             {"__concat", "concatenate"},
                                             {"__len", "get length of"},
                                             {"__lt", "compare"},
                                             {"__le", "compare"}};
  for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
    lua_pushstring(L, operators[i][1]);
    lua_pushcclosure(L, co_operator, 1);
    lua_setfield(L, -2, operators[i][0]);
  }
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, co_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, co_newindex);
  lua_setfield(L, -2, "__newindex");
}

void ml__open_coroutines(lua_State *L) {
  static const luaL_Reg methods[] = {{"close", co_close}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", co_tostring}, {NULL, NULL}};
  static const luaL_Reg fns[] = {{"async", core_async},
                                 {"iscoroutine", core_iscoroutine},
                                 {"iscoroutinefunction", core_iscoroutinefunction},
                                 {"coroutinefunction", core_coroutinefunction},
                                 {"coroutinebody", core_coroutinebody},
                                 {"bindlast", core_bindlast},
                                 {"isawaitable", core_isawaitable},
                                 {NULL, NULL}};
  ml__newtype(L, ML_T_COROUTINE, "coroutine", methods, meta);
  ml__ref_get(L, ML_R_TYPES + ML_T_COROUTINE);
  open_hints(L);
  lua_pop(L, 1);
  lua_pop(L, 1);
  ml__engine(L)->typenames[ML_T_OP] = "coroutine";
  luaL_setfuncs(L, fns, 0);
}
