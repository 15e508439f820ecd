/* Errors: classes and objects, tracebacks that span tasks, and the reports of
** errors that nobody has seen.
**
** A class is a table that is the metatable of its objects; an object is a table
** with `message` and what fields its maker gives. Everything else raised
** (strings, numbers, tables) passes through the engine untouched.
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core.h"

/* ---- classes ---- */

static const struct {
  const char *name, *base;
} classes[] = {
    {"BaseException", NULL},
    {"Exception", "BaseException"},
    {"CancelledError", "BaseException"},
    {"KeyboardInterrupt", "BaseException"},
    {"SystemExit", "BaseException"},
    {"Terminated", "BaseException"}, /* of ml_interrupt */
    {"TimeSliceError", "Terminated"},
    {"LimitError", "Exception"},
    {"BaseExceptionGroup", "BaseException"},
    {"ExceptionGroup", "Exception"},
    {"InvalidStateError", "Exception"},
    {"RuntimeError", "Exception"},
    {"ValueError", "Exception"},
    {"TypeError", "Exception"},
    {"OSError", "Exception"},
    {"EOFError", "Exception"},
    {"TimeoutError", "OSError"},
    {"PermissionError", "OSError"}, /* what a sandbox refuses */
    {"IncompleteReadError", "EOFError"},
    {"LimitOverrunError", "Exception"},
    {"QueueEmpty", "Exception"},
    {"QueueFull", "Exception"},
    {"QueueShutDown", "Exception"},
    {"BrokenBarrierError", "RuntimeError"},
    {"SendfileNotAvailableError", "RuntimeError"},
    {"StopAsyncIteration", "Exception"},
    {"BrokenExecutor", "RuntimeError"}, /* of concurrent.futures */
    {"BrokenThreadPool", "BrokenExecutor"},
    {"BrokenProcessPool", "BrokenExecutor"},
};

/* Classes are made when they are first asked for: most scripts never see most of them. Until then
** ML_R_CLASSES has false there, so that looking for one allocates nothing. */
static void find_class(lua_State *L, const char *name) {
  ml__ref_get(L, ML_R_CLASSES);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

static void new_class(lua_State *L, int name, int base);
static int err_extend(lua_State *L);

/* Pushes the engine's class of that name, or nil. */
static void push_class(lua_State *L, const char *name) {
  size_t i = 0;
  int base = 0;
  find_class(L, name);
  if (!lua_isboolean(L, -1)) return;
  lua_pop(L, 1);
  luaL_checkstack(L, 10, "error class");
  while (strcmp(classes[i].name, name) != 0) i++;
  lua_pushstring(L, name);
  if (classes[i].base != NULL) {
    push_class(L, classes[i].base);
    base = lua_gettop(L);
  } else
    lua_pushnil(L);
  new_class(L, lua_gettop(L) - 1, base);
  if (base == 0) {
    lua_pushcfunction(L, err_extend);
    lua_setfield(L, -2, "extend");
  }
  if (strstr(name, "Group") != NULL) luaL_setfuncs(L, ml__errorgroup_methods, 0);
  lua_replace(L, -3);
  lua_pop(L, 1);
  ml__ref_get(L, ML_R_CLASSES);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

/* __index of asyncio.core: an error class that has not been made */
static int core_index(lua_State *L) {
  lua_settop(L, 2);
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  push_class(L, lua_tostring(L, 2));
  if (lua_isnil(L, -1)) return 1;
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_rawset(L, 1);
  return 1;
}

#define MAX_BASES 100 /* a script may have made a cycle of __base */

/* Is the class on top (popped) `cls` (absolute index) or derived from it? A class may have a second
** base, as Python's ServerTimeoutError that is a TimeoutError, too. */
static bool derives(lua_State *L, int cls) {
  for (int i = 0; i < MAX_BASES && lua_istable(L, -1); i++) {
    bool second;
    if (lua_rawequal(L, -1, cls)) {
      lua_pop(L, 1);
      return true;
    }
    lua_pushliteral(L, "__also");
    second = lua_rawget(L, -2) == LUA_TTABLE;
    for (int j = 0; second && j < MAX_BASES; j++) {
      if (lua_rawequal(L, -1, cls)) {
        lua_pop(L, 2);
        return true;
      }
      lua_pushliteral(L, "__base");
      second = lua_rawget(L, -2) == LUA_TTABLE;
      lua_remove(L, -2);
    }
    lua_pop(L, 1);
    lua_pushliteral(L, "__base");
    lua_rawget(L, -2);
    lua_remove(L, -2);
  }
  lua_pop(L, 1);
  return false;
}

bool ml__isinstance(lua_State *L, int idx, const char *cls) {
  bool is;
  if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx)) return false;
  find_class(L, cls);
  lua_insert(L, -2);
  is = derives(L, lua_gettop(L) - 1);
  lua_pop(L, 1);
  return is;
}

/* Is the value at idx an object of the class at cls that is no error class, such
** as Task, Future, Lock, Queue: one whose methods it has? */
static bool object_of(lua_State *L, int idx, int cls) {
  int top = lua_gettop(L);
  ml_object *o = ml__toobject(L, idx);
  bool is = false;
  if (o == NULL || !lua_istable(L, cls)) return false;
  lua_pushliteral(L, "methods");
  if (lua_rawget(L, cls) == LUA_TTABLE) {
    int types[2] = {o->type, ml__isfuture(o) ? ML_T_FUTURE : o->type};
    for (int i = 0; !is && i < 2; i++)
      is = ml__ref_get(L, ML_R_TYPES + types[i]) == LUA_TTABLE &&
           lua_getfield(L, -1, "__index") == LUA_TTABLE && lua_rawequal(L, -1, top + 1);
  }
  lua_settop(L, top);
  return is;
}

/* asyncio.isinstance(e, Class | {Class, ...}) */
static int err_isinstance(lua_State *L) {
  bool is = false;
  luaL_checkany(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  if (lua_type(L, 1) == LUA_TUSERDATA) {
    is = object_of(L, 1, 2);
    for (lua_Integer i = 1; !is && lua_rawgeti(L, 2, i) == LUA_TTABLE; i++) {
      is = object_of(L, 1, 3);
      lua_settop(L, 2);
    }
    lua_pushboolean(L, is);
    return 1;
  }
  if (lua_type(L, 1) != LUA_TTABLE || !lua_getmetatable(L, 1)) {
    lua_pushboolean(L, 0);
    return 1;
  }
  lua_getfield(L, 2, "__index"); /* a class has it, a list of classes has not */
  if (!lua_isnil(L, -1)) {
    lua_pop(L, 1);
    is = derives(L, 2);
    if (!is) { /* the one class with two bases */
      find_class(L, "BaseExceptionGroup");
      is = lua_rawequal(L, -1, 2) && ml__isinstance(L, 1, "ExceptionGroup");
      lua_pop(L, 1);
    }
  } else {
    lua_pop(L, 1);
    for (lua_Integer i = 1; !is && lua_rawgeti(L, 2, i) == LUA_TTABLE; i++) {
      lua_pushvalue(L, 3);
      is = derives(L, 4);
      lua_settop(L, 3);
    }
  }
  lua_pushboolean(L, is);
  return 1;
}

static bool class_derives(lua_State *L, int cls, const char *name) {
  bool is;
  find_class(L, name);
  lua_pushvalue(L, cls);
  is = derives(L, lua_gettop(L) - 1);
  lua_pop(L, 1);
  return is;
}

/* What the classes of asyncio take by position, as in CPython. For the error at
** index 4; arguments at 2 and 3. */
static void positional(lua_State *L, int n) {
  if (class_derives(L, 1, "IncompleteReadError")) { /* (partial, expected) */
    size_t len;
    if (lua_type(L, 2) != LUA_TSTRING || n < 3) return;
    lua_tolstring(L, 2, &len);
    lua_pushvalue(L, 2);
    lua_setfield(L, 4, "partial");
    lua_pushvalue(L, 3);
    lua_setfield(L, 4, "expected");
    lua_pushfstring(L, "%I bytes read on a total of %s expected bytes", (LUAI_UACINT)len,
                    lua_isnil(L, 3) ? "undefined" : luaL_tolstring(L, 3, NULL));
    lua_replace(L, 2);
    lua_settop(L, 4);
  } else if (class_derives(L, 1, "LimitOverrunError")) { /* (message, consumed) */
    if (lua_isnil(L, 3)) return;
    lua_pushvalue(L, 3);
    lua_setfield(L, 4, "consumed");
  } else if (class_derives(L, 1, "SystemExit")) { /* (code) */
    lua_pushvalue(L, 2);
    lua_setfield(L, 4, "code");
  }
}

/* Class(message, fields) */
static int err_call(lua_State *L) {
  bool group, table = lua_istable(L, 3);
  int n = lua_gettop(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 3);
  lua_createtable(L, 0, 4);
  group = class_derives(L, 1, "ExceptionGroup") || class_derives(L, 1, "BaseExceptionGroup");
  if (group) {
    if (!table || lua_rawlen(L, 3) == 0)
      return ml__misuse(
          L, "TypeError",
          "second argument of an exception group must be a non-empty array of errors");
    lua_pushvalue(L, 3);
    lua_setfield(L, 4, "exceptions");
  } else if (table) {
    for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
      lua_pushvalue(L, -2);
      lua_pushvalue(L, -2);
      lua_rawset(L, 4);
    }
  } else
    positional(L, n);
  if (!lua_isnil(L, 2)) {
    lua_pushvalue(L, 2);
    lua_setfield(L, 4, "message");
  }
  lua_pushvalue(L, 1);
  lua_setmetatable(L, 4);
  return 1;
}

static int err_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  if (lua_getfield(L, 1, "name") != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushliteral(L, "Exception");
  }
  lua_getfield(L, 1, "message");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return 1;
  }
  if (lua_type(L, -1) != LUA_TSTRING) {
    luaL_tolstring(L, -1, NULL);
    lua_remove(L, -2);
  }
  if (lua_rawlen(L, -1) == 0) {
    lua_pop(L, 1);
    return 1;
  }
  lua_pushfstring(L, "%s: %s", lua_tostring(L, -2), lua_tostring(L, -1));
  lua_pushliteral(L, "exceptions");
  if (lua_rawget(L, 1) == LUA_TTABLE) {
    int n = (int)lua_rawlen(L, -1);
    lua_pushfstring(L, "%s (%d sub-exception%s)", lua_tostring(L, -2), n, n == 1 ? "" : "s");
  } else
    lua_pop(L, 1);
  return 1;
}

/* Pushes a class named by the string at name, derived from the class at base
** (0: none). */
static void new_class(lua_State *L, int name, int base) {
  int cls;
  lua_createtable(L, 0, 8);
  cls = lua_gettop(L);
  lua_pushvalue(L, name);
  lua_setfield(L, cls, "name");
  lua_pushvalue(L, name);
  lua_setfield(L, cls, "__name");
  lua_pushvalue(L, cls);
  lua_setfield(L, cls, "__index");
  lua_pushcfunction(L, err_tostring);
  lua_setfield(L, cls, "__tostring");
  if (base != 0) {
    lua_pushvalue(L, base);
    lua_setfield(L, cls, "__base");
  }
  lua_createtable(L, 0, 3);
  lua_pushcfunction(L, err_call);
  lua_setfield(L, -2, "__call");
  if (base != 0) {
    lua_pushvalue(L, base);
    lua_setfield(L, -2, "__index");
  }
  lua_pushfstring(L, "class %s", lua_tostring(L, name));
  lua_setfield(L, -2, "__name");
  lua_setmetatable(L, cls);
}

/* The same for a class of scripts: what metamethods the base was given are copied. */
static void derive_class(lua_State *L, int name, int base) {
  static const char *const own[] = {"__name", "__index", "__tostring", "__base"};
  int cls;
  new_class(L, name, base);
  cls = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, base); lua_pop(L, 1)) {
    const char *k = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    bool copy = k[0] == '_' && k[1] == '_';
    for (int i = 0; copy && i < 4; i++) copy = strcmp(k, own[i]) != 0;
    if (!copy) continue;
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, cls);
  }
}

/* Class:extend(name[, second base]) */
static int err_extend(lua_State *L) {
  if (!lua_istable(L, 1))
    return ml__misuse(L, "TypeError", "extend: call it as Class:extend(\"Name\")");
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "extend: the name of the new class must be a string, got %s",
                      luaL_typename(L, 2));
  if (!lua_isnoneornil(L, 3) && (!lua_istable(L, 3) || !class_derives(L, 3, "BaseException")))
    return ml__misuse(L, "TypeError", "extend: the second base must be an error class, got %s",
                      luaL_typename(L, 3));
  lua_settop(L, 3);
  derive_class(L, 2, 1);
  if (!lua_isnil(L, 3)) {
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "__also");
  }
  return 1;
}

/* ---- for those who copy classes ---- */

int ml__error_class(lua_State *L, int idx) {
  int top = lua_gettop(L);
  idx = lua_absindex(L, idx);
  if (!lua_istable(L, idx) || !class_derives(L, idx, "BaseException")) return 0;
  lua_pushliteral(L, "name");
  if (lua_rawget(L, idx) == LUA_TSTRING) {
    find_class(L, lua_tostring(L, -1));
    if (lua_rawequal(L, -1, idx)) {
      lua_pop(L, 1);
      return 1;
    }
    lua_pop(L, 1);
    lua_pushliteral(L, "__base");
    if (lua_rawget(L, idx) == LUA_TTABLE) return 2;
  }
  lua_settop(L, top);
  return 0;
}

void ml__error_class_named(lua_State *L, const char *name) { push_class(L, name); }

void ml__error_class_new(lua_State *L, int name, int base) { derive_class(L, name, base); }

bool ml__error_class_field(lua_State *L, int cls, int key) {
  static const char *const own[] = {"name", "__name", "__base", "__tostring", "__index"};
  const char *k = lua_type(L, key) == LUA_TSTRING ? lua_tostring(L, key) : "";
  for (int i = 0; i < 3; i++)
    if (strcmp(k, own[i]) == 0) return true;
  if (strcmp(k, own[3]) == 0) return lua_tocfunction(L, key + 1) == err_tostring;
  return strcmp(k, own[4]) == 0 && lua_rawequal(L, key + 1, cls);
}

/* ---- making and raising ---- */

static void error_vnew(lua_State *L, const char *cls, const char *fmt, va_list ap) {
  luaL_checkstack(L, 8, "error object");
  lua_createtable(L, 0, 4);
  if (fmt != NULL) {
    lua_pushvfstring(L, fmt, ap);
    lua_setfield(L, -2, "message");
  }
  push_class(L, cls);
  lua_setmetatable(L, -2);
}

void ml__error_new(lua_State *L, const char *cls, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  error_vnew(L, cls, fmt, ap);
  va_end(ap);
}

void ml__error_cancelled(lua_State *L) {
  ml__error_new(L, "CancelledError", NULL);
  lua_insert(L, -2);
  if (lua_isnil(L, -1))
    lua_pop(L, 1);
  else
    lua_setfield(L, -2, "message");
}

int ml__error(lua_State *L, const char *cls, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  error_vnew(L, cls, fmt, ap);
  va_end(ap);
  return lua_error(L);
}

int ml__misuse(lua_State *L, const char *cls, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  error_vnew(L, cls, fmt, ap);
  va_end(ap);
  for (int level = 1; level < 10; level++) { /* the first caller in a script */
    lua_Debug ar;
    if (!lua_getstack(L, level, &ar)) break;
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0 || strncmp(ar.short_src, "moonloop/", 9) == 0) continue;
    lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
    lua_getfield(L, -2, "message");
    lua_concat(L, 2);
    lua_setfield(L, -2, "message");
    break;
  }
  return lua_error(L);
}

void ml__error_uv(lua_State *L, int uverr, const char *fmt, ...) {
  char msg[128];
  va_list ap;
  va_start(ap, fmt);
  lua_pushvfstring(L, fmt, ap);
  va_end(ap);
  uv_strerror_r(uverr, msg, sizeof msg);
  ml__error_new(L, uverr == UV_ETIMEDOUT ? "TimeoutError" : "OSError", "%s: %s",
                lua_tostring(L, -1), msg);
  uv_err_name_r(uverr, msg, sizeof msg);
  lua_pushstring(L, msg);
  lua_setfield(L, -2, "code");
  lua_pushinteger(L, -(lua_Integer)uverr);
  lua_setfield(L, -2, "errno");
  lua_remove(L, -2);
}

const char *ml__errtext(lua_State *L, int idx, size_t *n) {
  /* __tostring of an error may itself raise */
  int top = lua_gettop(L);
  idx = lua_absindex(L, idx);
  if (lua_type(L, idx) == LUA_TSTRING) {
    lua_pushvalue(L, idx);
    return lua_tolstring(L, -1, n);
  }
  if (lua_type(L, idx) == LUA_TTABLE && luaL_getmetafield(L, idx, "__tostring") == LUA_TNIL &&
      luaL_getmetafield(L, idx, "__name") == LUA_TNIL) {
    lua_pushliteral(L, "(error object is a table value)"); /* as lua says */
    return lua_tolstring(L, -1, n);
  }
  lua_settop(L, top);
  lua_getglobal(L, "tostring");
  if (!lua_isfunction(L, -1)) {
    lua_pop(L, 1);
    return luaL_tolstring(L, idx, n);
  }
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK || lua_type(L, -1) != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, idx));
  }
  return lua_tolstring(L, -1, n);
}

/* Without a log of the host's. */
static void log_to_stderr(ml_engine *e, const char *s, size_t n) {
  if (e->on_log != NULL) e->on_log(e, false);
  fwrite(s, 1, n, stderr);
  fputc('\n', stderr);
  if (e->on_log != NULL) e->on_log(e, true);
}

void ml__log_text(ml_engine *e, const char *s, size_t n) {
  if (!ml__log_fits(e, n)) return;
  if (e->config.log != NULL)
    e->config.log(e->config.ud, s, n);
  else
    log_to_stderr(e, s, n);
}

void ml__log(ml_engine *e, const char *fmt, ...) {
  char buf[4096];
  va_list ap;
  int n;
  va_start(ap, fmt);
  n = vsnprintf(buf, sizeof buf, fmt, ap);
  va_end(ap);
  if (n < 0) return;
  ml__log_text(e, buf, (size_t)n >= sizeof buf ? sizeof buf - 1 : (size_t)n);
}

/* ---- arguments ---- */

void ml__checkoptions(lua_State *L, int idx, const char *const *keys, const char *fname) {
  if (lua_isnoneornil(L, idx)) return;
  if (!lua_istable(L, idx))
    ml__misuse(L, "TypeError", "%s() options must be a table, got %s", fname,
               luaL_typename(L, idx));
  idx = lua_absindex(L, idx);
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    bool found = false;
    luaL_Buffer b;
    for (int i = 0; !found && keys[i] != NULL; i++)
      found = lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), keys[i]) == 0;
    if (found) continue;
    lua_pop(L, 1);
    luaL_tolstring(L, -1, NULL);
    luaL_buffinit(L, &b);
    for (int i = 0; keys[i] != NULL; i++) {
      if (i > 0) luaL_addstring(&b, ", ");
      luaL_addstring(&b, keys[i]);
    }
    luaL_pushresult(&b);
    ml__misuse(L, "TypeError", "%s() got an unexpected keyword argument '%s' (expected: %s)", fname,
               lua_tostring(L, -2), lua_tostring(L, -1));
  }
}

double ml__checkdelay(lua_State *L, int idx, const char *fname) {
  int isnum;
  double d = lua_tonumberx(L, idx, &isnum);
  if (!isnum || lua_type(L, idx) != LUA_TNUMBER)
    ml__misuse(L, "TypeError", "%s: the delay must be a number of seconds, got %s", fname,
               luaL_typename(L, idx));
  if (isnan(d)) ml__misuse(L, "ValueError", "%s: the delay is NaN (not a number)", fname);
  return d;
}

/* core.options(opts, {"key", ...}, "fname"): raises at the caller's caller */
static int err_options(lua_State *L) {
  const char *fname = luaL_checkstring(L, 3);
  luaL_checktype(L, 2, LUA_TTABLE);
  if (lua_isnil(L, 1)) return 0;
  if (!lua_istable(L, 1))
    return ml__misuse(L, "TypeError", "%s() options must be a table, got %s", fname,
                      luaL_typename(L, 1));
  lua_settop(L, 3);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    bool found = false;
    for (lua_Integer i = 1; !found && lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
      found = lua_rawequal(L, -1, 4);
      lua_pop(L, 1);
    }
    if (found) {
      lua_settop(L, 5);
      continue;
    }
    luaL_Buffer b;
    lua_settop(L, 4);
    luaL_tolstring(L, 4, NULL);
    luaL_buffinit(L, &b);
    for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
      if (i > 1) {
        lua_pushfstring(L, ", %s", lua_tostring(L, -1));
        lua_remove(L, -2);
      }
      luaL_addvalue(&b);
    }
    lua_pop(L, 1);
    luaL_pushresult(&b);
    return ml__misuse(L, "TypeError", "%s() got an unexpected keyword argument '%s' (expected: %s)",
                      fname, lua_tostring(L, 5), lua_tostring(L, 6));
  }
  return 0;
}

void ml__open_errors(lua_State *L) {
  static const luaL_Reg fns[] = {
      {"isinstance", err_isinstance}, {"options", err_options}, {NULL, NULL}};
  lua_createtable(L, 0, 32);
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, classes[i].name);
  }
  ml__ref_set(L, ML_R_CLASSES);
  luaL_setfuncs(L, fns, 0);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, core_index);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}
