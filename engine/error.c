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
    {"BaseExceptionGroup", "BaseException"},
    {"ExceptionGroup", "Exception"},
    {"InvalidStateError", "Exception"},
    {"RuntimeError", "Exception"},
    {"ValueError", "Exception"},
    {"TypeError", "Exception"},
    {"OSError", "Exception"},
    {"EOFError", "Exception"},
    {"TimeoutError", "OSError"},
    {"IncompleteReadError", "EOFError"},
    {"LimitOverrunError", "Exception"},
    {"QueueEmpty", "Exception"},
    {"QueueFull", "Exception"},
    {"QueueShutDown", "Exception"},
    {"BrokenBarrierError", "RuntimeError"},
    {"SendfileNotAvailableError", "RuntimeError"},
    {"StopAsyncIteration", "Exception"},
};

static void push_class(lua_State *L, const char *name) {
  ml__ref_get(L, ML_R_CLASSES);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

/* Is the class on top (popped) `cls` (absolute index) or derived from it? */
static bool derives(lua_State *L, int cls) {
  while (lua_istable(L, -1)) {
    if (lua_rawequal(L, -1, cls)) {
      lua_pop(L, 1);
      return true;
    }
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
  push_class(L, cls);
  lua_insert(L, -2);
  is = derives(L, lua_gettop(L) - 1);
  lua_pop(L, 1);
  return is;
}

/* asyncio.isinstance(e, Class | {Class, ...}) */
static int err_isinstance(lua_State *L) {
  bool is = false;
  luaL_checkany(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  if (lua_type(L, 1) != LUA_TTABLE || !lua_getmetatable(L, 1)) {
    lua_pushboolean(L, 0);
    return 1;
  }
  lua_getfield(L, 2, "__index"); /* a class has it, a list of classes has not */
  if (!lua_isnil(L, -1)) {
    lua_pop(L, 1);
    is = derives(L, 2);
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
  push_class(L, name);
  lua_pushvalue(L, cls);
  is = derives(L, lua_gettop(L) - 1);
  lua_pop(L, 1);
  return is;
}

/* Class(message, fields) */
static int err_call(lua_State *L) {
  bool group, table = lua_istable(L, 3);
  lua_settop(L, 3);
  lua_createtable(L, 0, 4);
  group = class_derives(L, 1, "ExceptionGroup") || class_derives(L, 1, "BaseExceptionGroup");
  if (group) {
    if (!table || lua_rawlen(L, 3) == 0)
      return ml__misuse(L, "TypeError",
                        "second argument of an exception group must be a non-empty array of errors");
    lua_pushvalue(L, 3);
    lua_setfield(L, 4, "exceptions");
  } else if (table) {
    for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
      lua_pushvalue(L, -2);
      lua_pushvalue(L, -2);
      lua_rawset(L, 4);
    }
  }
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
  if (!lua_isstring(L, -1)) {
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

static int err_extend(lua_State *L);

/* Pushes a class named by the string at name, derived from the class at base
** (0: none). */
static void new_class(lua_State *L, int name, int base) {
  int cls;
  lua_createtable(L, 0, 8);
  cls = lua_gettop(L);
  if (base != 0) { /* metamethods are inherited by copying */
    for (lua_pushnil(L); lua_next(L, base); lua_pop(L, 1)) {
      const char *k = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
      if (k[0] == '_' && k[1] == '_') {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, cls);
      }
    }
  }
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

/* Class:extend(name) */
static int err_extend(lua_State *L) {
  if (!lua_istable(L, 1))
    return ml__misuse(L, "TypeError", "extend: call it as Class:extend(\"Name\")");
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "extend: the name of the new class must be a string, got %s",
                      luaL_typename(L, 2));
  lua_settop(L, 2);
  new_class(L, 2, 1);
  return 1;
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
  for (int level = 1; level < 10; level++) { /* the first Lua caller */
    lua_Debug ar;
    if (!lua_getstack(L, level, &ar)) break;
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0) continue;
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
  lua_pushinteger(L, -uverr);
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

void ml__log(ml_engine *e, const char *fmt, ...) {
  char buf[4096];
  va_list ap;
  int n;
  va_start(ap, fmt);
  n = vsnprintf(buf, sizeof buf, fmt, ap);
  va_end(ap);
  if (n < 0) return;
  if ((size_t)n >= sizeof buf) n = sizeof buf - 1;
  if (e->config.log != NULL)
    e->config.log(e->config.ud, buf, (size_t)n);
  else
    fprintf(stderr, "%s\n", buf);
}

static void log_text(ml_engine *e, const char *s, size_t n) {
  if (e->config.log != NULL)
    e->config.log(e->config.ud, s, n);
  else {
    fwrite(s, 1, n, stderr);
    fputc('\n', stderr);
  }
}

/* ---- tracebacks ---- */

void ml__traceback_keep(lua_State *L, int err, int tb) {
  err = lua_absindex(L, err);
  tb = lua_absindex(L, tb);
  if (lua_type(L, err) == LUA_TTABLE) {
    if (ml__isinstance(L, err, "BaseException")) {
      lua_pushliteral(L, "traceback");
      lua_pushvalue(L, tb);
      lua_rawset(L, err);
      return;
    }
  } else if (lua_type(L, err) != LUA_TUSERDATA) {
    lua_pushvalue(L, err);
    ml__ref_set(L, ML_R_LASTERR);
    lua_pushvalue(L, tb);
    ml__ref_set(L, ML_R_LASTTB);
    return;
  }
  ml__ref_get(L, ML_R_TRACEBACKS);
  lua_pushvalue(L, err);
  lua_pushvalue(L, tb);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void ml__traceback_of(lua_State *L, int err) {
  err = lua_absindex(L, err);
  switch (lua_type(L, err)) {
  case LUA_TTABLE:
    lua_pushliteral(L, "traceback");
    if (lua_rawget(L, err) == LUA_TSTRING) return;
    lua_pop(L, 1);
    /* FALLTHROUGH */
  case LUA_TUSERDATA:
    ml__ref_get(L, ML_R_TRACEBACKS);
    lua_pushvalue(L, err);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    return;
  case LUA_TNIL: lua_pushnil(L); return;
  default:
    ml__ref_get(L, ML_R_LASTERR);
    if (lua_rawequal(L, -1, err)) {
      lua_pop(L, 1);
      ml__ref_get(L, ML_R_LASTTB);
    } else {
      lua_pop(L, 1);
      lua_pushnil(L);
    }
  }
}

/* Pushes the stack of L without the engine's own frames. */
static void push_stack(lua_State *L, int level) {
  luaL_Buffer b;
  const char *s, *nl;
  luaL_traceback(L, L, NULL, level);
  s = lua_tostring(L, -1);
  luaL_buffinit(L, &b);
  s = strchr(s, '\n'); /* past "stack traceback:" */
  while (s != NULL) {
    nl = strchr(s + 1, '\n');
    size_t n = nl ? (size_t)(nl - s) : strlen(s);
    if (!(n >= 9 && memcmp(s, "\n\t[C]: in ?", n < 11 ? n : 11) == 0) &&
        !(n >= 26 && memcmp(s, "\n\t[C]: in function 'await'", 26) == 0) &&
        !(n >= 39 && memcmp(s, "\n\t[C]: in function 'asyncio.core.await'", 39) == 0) &&
        !(n >= 12 && memcmp(s, "\n\t@moonloop/", 12) == 0))
      luaL_addlstring(&b, s, n);
    s = nl;
  }
  luaL_pushresult(&b);
  lua_remove(L, -2);
}

int ml__msgh(lua_State *L) {
  lua_settop(L, 1);
  if (!lua_checkstack(L, 20) || ml__isinstance(L, 1, "CancelledError")) return 1;
  ml__traceback_of(L, 1);
  push_stack(L, 1);
  if (lua_type(L, 2) == LUA_TSTRING)
    lua_pushfstring(L, "%s\nawaited at:%s", lua_tostring(L, 2), lua_tostring(L, 3));
  else
    lua_pushfstring(L, "stack traceback:%s", lua_tostring(L, 3));
  ml__traceback_keep(L, 1, -1);
  lua_settop(L, 1);
  return 1;
}

/* asyncio.traceback(e): what is known of where e was raised, or nil */
static int err_traceback(lua_State *L) {
  luaL_checkany(L, 1);
  ml__traceback_of(L, 1);
  return 1;
}

/* ---- reports ---- */

typedef struct ml_report {
  ml_object obj; /* state: 1 while armed */
  ml_link link;  /* in engine->reports while armed */
  ml_evloop *loop;
} ml_report;
enum { REPORT_ERROR = 1, REPORT_WHO, REPORT_TB };

void ml__report_new(lua_State *L, int fut, int err) {
  ml_future *f = lua_touserdata(L, fut);
  ml_report *r;
  int at;
  luaL_checkstack(L, 12, "error report");
  ml__future_brief(L, fut);
  ml__traceback_of(L, err);
  r = ml__newobject(L, ML_T_REPORT, sizeof *r, 3);
  at = lua_gettop(L);
  lua_pushvalue(L, err);
  lua_setiuservalue(L, at, REPORT_ERROR);
  lua_pushvalue(L, at - 2);
  lua_setiuservalue(L, at, REPORT_WHO);
  lua_pushvalue(L, at - 1);
  lua_setiuservalue(L, at, REPORT_TB);
  r->loop = f->loop;
  r->obj.flags = f->obj.type == ML_T_TASK;
  r->obj.state = 1;
  ml__list_append(&ml__engine(L)->reports, &r->link);
  ml__ref_get(L, ML_R_REPORTS);
  lua_pushvalue(L, at);
  lua_rawsetp(L, -2, r);
  lua_settop(L, at);
  lua_replace(L, at - 2);
  lua_settop(L, at - 2);
}

void ml__report_open(lua_State *L, int idx, bool seen) {
  ml_report *r = (ml_report *)ml__toobject(L, idx);
  if (r == NULL || r->obj.type != ML_T_REPORT) { /* memory ran out: see task.c */
    lua_pushliteral(L, "not enough memory");
    return;
  }
  lua_getiuservalue(L, idx, REPORT_ERROR);
  if (seen && r->obj.state == 1) {
    r->obj.state = 0;
    ml__list_remove(&r->link);
  }
  /* what is raised again must find its trace, also when it is a string */
  lua_getiuservalue(L, idx < 0 ? idx - 1 : idx, REPORT_TB);
  if (lua_type(L, -1) == LUA_TSTRING && lua_type(L, -2) != LUA_TTABLE)
    ml__traceback_keep(L, -2, -1);
  lua_pop(L, 1);
}

static int report_emit(lua_State *L) {
  ml_report *r = lua_touserdata(L, 1);
  lua_settop(L, 1);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, r->obj.flags ? "Task exception was never retrieved"
                                 : "Future exception was never retrieved");
  lua_setfield(L, 2, "message");
  lua_getiuservalue(L, 1, REPORT_ERROR);
  lua_setfield(L, 2, "exception");
  lua_getiuservalue(L, 1, REPORT_WHO);
  lua_setfield(L, 2, "future");
  lua_getiuservalue(L, 1, REPORT_TB);
  lua_setfield(L, 2, "traceback");
  ml__call_exception_handler(L, r->loop);
  return 0;
}

static void emit(lua_State *L, int idx) {
  ml_report *r = lua_touserdata(L, idx);
  idx = lua_absindex(L, idx);
  r->obj.state = 0;
  ml__list_remove(&r->link);
  lua_pushcfunction(L, report_emit);
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
}

static int report_gc(lua_State *L) {
  ml_report *r = lua_touserdata(L, 1);
  if (r->obj.state == 1) emit(L, 1);
  return 0;
}

void ml__reports_flush(lua_State *L, ml_evloop *only) {
  ml_engine *e = ml__engine(L);
  ml_link *n = e->reports.next;
  luaL_checkstack(L, 8, "error reports");
  while (n != &e->reports) {
    ml_report *r = ml__containerof(n, ml_report, link);
    n = n->next;
    if (only != NULL && r->loop != only) continue;
    ml__ref_get(L, ML_R_REPORTS);
    if (lua_rawgetp(L, -1, r) == LUA_TUSERDATA)
      emit(L, -1);
    /* else it is about to be finalized, and its __gc tells */
    lua_pop(L, 2);
  }
}

/* The context table is on top. Runs the loop's handler, or the default one. */
static int default_handler(lua_State *L) {
  static const char *const known[] = {"message", "exception", "traceback"};
  ml_engine *e = ml__engine(L);
  int ctx = lua_gettop(L);
  if (lua_getfield(L, ctx, "message") != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushliteral(L, "Unhandled exception in event loop");
  }
  /* the rest of the keys, by name */
  lua_newtable(L);
  lua_Integer n = 0;
  for (lua_pushnil(L); lua_next(L, ctx); lua_pop(L, 1)) {
    bool skip = lua_type(L, -2) != LUA_TSTRING;
    for (size_t i = 0; !skip && i < sizeof known / sizeof *known; i++)
      skip = strcmp(lua_tostring(L, -2), known[i]) == 0;
    if (skip) continue;
    ml__errtext(L, -1, NULL);
    lua_pushfstring(L, "\n%s: %s", lua_tostring(L, -3), lua_tostring(L, -1));
    lua_rawseti(L, ctx + 2, ++n);
    lua_pop(L, 1);
  }
  lua_getglobal(L, "table");
  if (lua_istable(L, -1) && lua_getfield(L, -1, "sort") == LUA_TFUNCTION) {
    lua_pushvalue(L, ctx + 2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  lua_settop(L, ctx + 2);
  lua_pushvalue(L, ctx + 1);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, ctx + 2, i);
    lua_concat(L, 2);
  }
  lua_getfield(L, ctx, "exception");
  if (!lua_isnil(L, -1)) {
    int ex = lua_gettop(L);
    lua_getfield(L, ctx, "traceback");
    if (lua_type(L, -1) != LUA_TSTRING) {
      lua_pop(L, 1);
      ml__traceback_of(L, ex);
    }
    lua_pushvalue(L, ex - 1);
    lua_pushliteral(L, "\n");
    ml__errtext(L, ex, NULL);
    lua_concat(L, 3);
    if (lua_type(L, ex + 1) == LUA_TSTRING) {
      lua_pushliteral(L, "\n");
      lua_pushvalue(L, ex + 1);
      lua_concat(L, 3);
    }
  } else
    lua_pop(L, 1);
  size_t len;
  const char *s = lua_tolstring(L, -1, &len);
  log_text(e, s, len);
  lua_settop(L, ctx - 1);
  return 0;
}

static int default_handler_protected(lua_State *L) {
  lua_settop(L, 1);
  default_handler(L);
  return 0;
}

void ml__call_exception_handler(lua_State *L, ml_evloop *l) {
  int ctx = lua_gettop(L);
  luaL_checkstack(L, 20, "exception handler");
  if (l != NULL && l->has_handler) {
    ml__loop_push(L, l);
    lua_getiuservalue(L, -1, 1);
    lua_insert(L, -2); /* handler, loop */
    lua_pushvalue(L, ctx);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK) {
      lua_settop(L, ctx - 1);
      return;
    }
    /* the handler itself failed: both are told */
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "Unhandled error in exception handler");
    lua_setfield(L, -2, "message");
    lua_insert(L, -2);
    lua_setfield(L, -2, "exception");
    lua_pushcfunction(L, default_handler_protected);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
    lua_settop(L, ctx);
  }
  lua_pushcfunction(L, default_handler_protected);
  lua_insert(L, ctx);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    ml__log(ml__engine(L), "error while reporting an error: %s",
            lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?");
    lua_pop(L, 1);
  }
}

/* ---- arguments ---- */

void ml__checkoptions(lua_State *L, int idx, const char *const *keys, const char *fname) {
  if (lua_isnoneornil(L, idx)) return;
  if (!lua_istable(L, idx))
    ml__misuse(L, "TypeError", "%s() options must be a table, got %s", fname, luaL_typename(L, idx));
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
    ml__error_new(L, "TypeError", "%s() got an unexpected keyword argument '%s' (expected: %s)", fname,
                  lua_tostring(L, 5), lua_tostring(L, 6));
    luaL_where(L, 2);
    lua_getfield(L, -2, "message");
    lua_concat(L, 2);
    lua_setfield(L, -2, "message");
    return lua_error(L);
  }
  return 0;
}

void ml__open_errors(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", report_gc}, {NULL, NULL}};
  static const luaL_Reg fns[] = {{"isinstance", err_isinstance},
                                 {"traceback", err_traceback},
                                 {"options", err_options},
                                 {NULL, NULL}};
  int core = lua_gettop(L);
  lua_createtable(L, 0, 32);
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    int base = 0;
    lua_settop(L, core + 1);
    lua_pushstring(L, classes[i].name);
    if (classes[i].base != NULL) {
      lua_getfield(L, core + 1, classes[i].base);
      base = core + 3;
    }
    new_class(L, core + 2, base);
    if (base == 0) {
      lua_pushcfunction(L, err_extend);
      lua_setfield(L, -2, "extend");
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, core + 1, classes[i].name);
    lua_setfield(L, core, classes[i].name);
  }
  lua_settop(L, core + 1);
  ml__ref_set(L, ML_R_CLASSES);
  ml__newtype(L, ML_T_REPORT, "error report", NULL, meta);
  lua_pop(L, 1);
  luaL_setfuncs(L, fns, 0);
}
