/* Reports of errors that nobody has seen, and the exception handler that they go
** to. A future that fails holds its error inside a report; opening the report
** disarms it, collecting it armed tells.
*/
#include <string.h>

#include "core.h"

typedef struct ml_report {
  ml_object obj; /* state: 1 while armed */
  ml_link link;  /* in engine->reports while armed */
  ml_evloop *loop;
} ml_report;
enum { REPORT_ERROR = 1, REPORT_WHO, REPORT_TB, REPORT_SOURCE, REPORT_CONTEXT };

void ml__report_new(lua_State *L, int fut, int err) {
  ml_future *f = lua_touserdata(L, fut);
  ml_report *r;
  bool context;
  int at;
  fut = lua_absindex(L, fut);
  luaL_checkstack(L, 16, "error report");
  ml__future_brief(L, fut);
  ml__traceback_of(L, err);
  ml__traceback_arrived(L, err); /* the report has it */
  context = f->obj.type == ML_T_TASK && ml__context_of(L, fut);
  r = ml__newobject(L, ML_T_REPORT, sizeof *r,
                    context          ? REPORT_CONTEXT
                    : f->loop->debug ? REPORT_SOURCE
                                     : REPORT_TB);
  at = lua_gettop(L);
  if (context) {
    lua_pushvalue(L, at - 1);
    lua_setiuservalue(L, at, REPORT_CONTEXT);
    lua_remove(L, --at);
  }
  if (f->loop->debug && f->obj.type == ML_T_TASK) {
    ml__source_traceback(L, fut);
    lua_setiuservalue(L, at, REPORT_SOURCE);
  }
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

/* The report at idx, or NULL where memory ran out: see task.c. */
static ml_report *to_report(lua_State *L, int idx) {
  ml_object *o = ml__toobject(L, idx);
  return o != NULL && o->type == ML_T_REPORT ? (ml_report *)o : NULL;
}

static void disarm(ml_report *r) {
  if (r->obj.state != 1) return;
  r->obj.state = 0;
  ml__list_remove(&r->link);
}

void ml__report_seen(lua_State *L, int idx) {
  ml_report *r = to_report(L, idx);
  if (r != NULL) disarm(r);
}

void ml__report_open(lua_State *L, int idx, bool seen) {
  ml_report *r = to_report(L, idx);
  if (r == NULL) {
    lua_pushliteral(L, "not enough memory");
    return;
  }
  lua_getiuservalue(L, idx, REPORT_ERROR);
  if (seen) disarm(r);
  /* what is raised again must find its trace, also when it is a string */
  lua_getiuservalue(L, idx < 0 ? idx - 1 : idx, REPORT_TB);
  if (lua_type(L, -1) == LUA_TSTRING && lua_type(L, -2) != LUA_TTABLE)
    ml__traceback_keep(L, -2, -1);
  lua_pop(L, 1);
}

/* The context table is on top: the host is told. */
static int host_handler(lua_State *L) {
  ml_engine *e = ml__engine(L);
  ml_error err = {ML_ESCRIPT, "Unhandled exception in event loop", ""};
  int ctx = lua_gettop(L);
  if (lua_getfield(L, ctx, "exception") != LUA_TNIL) {
    err.code = ml__error_code(L, ctx + 1, ML_ESCRIPT);
    err.message = ml__errtext(L, ctx + 1, NULL);
    lua_getfield(L, ctx, "traceback");
    if (lua_type(L, -1) != LUA_TSTRING) ml__traceback_of(L, ctx + 1);
    if (lua_type(L, -1) == LUA_TSTRING) err.traceback = lua_tostring(L, -1);
  } else if (lua_getfield(L, ctx, "message") == LUA_TSTRING)
    err.message = lua_tostring(L, -1);
  e->config.on_unhandled(e->config.ud, &err);
  lua_settop(L, ctx - 1);
  return 0;
}

/* Appends to the message on top what else the context has, by name. */
static void add_details(lua_State *L, int ctx) {
  static const char *const known[] = {"message", "exception", "traceback", "source_traceback"};
  int message = lua_gettop(L), list = message + 1;
  lua_Integer n = 0;
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, ctx); lua_pop(L, 1)) {
    bool skip = lua_type(L, -2) != LUA_TSTRING;
    for (size_t i = 0; !skip && i < sizeof known / sizeof *known; i++)
      skip = strcmp(lua_tostring(L, -2), known[i]) == 0;
    if (!skip && strcmp(lua_tostring(L, -2), "task") == 0) { /* told as the future */
      lua_getfield(L, ctx, "future");
      skip = lua_rawequal(L, -1, -2);
      lua_pop(L, 1);
    }
    if (skip) continue;
    ml__errtext(L, -1, NULL);
    lua_pushfstring(L, "\n%s: %s", lua_tostring(L, -3), lua_tostring(L, -1));
    lua_rawseti(L, list, ++n);
    lua_pop(L, 1);
  }
  lua_getglobal(L, "table");
  if (lua_istable(L, -1) && lua_getfield(L, -1, "sort") == LUA_TFUNCTION) {
    lua_pushvalue(L, list);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  lua_settop(L, list);
  lua_pushvalue(L, message);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, list, i);
    lua_concat(L, 2);
  }
  lua_replace(L, message);
  lua_settop(L, message);
}

/* Appends the context's error, with its traceback. */
static void add_exception(lua_State *L, int ctx) {
  int text = lua_gettop(L), ex = text + 1;
  lua_getfield(L, ctx, "exception");
  if (lua_isnil(L, ex)) {
    lua_settop(L, text);
    return;
  }
  lua_getfield(L, ctx, "traceback");
  if (lua_type(L, -1) != LUA_TSTRING) {
    lua_pop(L, 1);
    ml__traceback_of(L, ex);
  }
  lua_pushvalue(L, text);
  lua_pushliteral(L, "\n");
  ml__errtext(L, ex, NULL);
  lua_concat(L, 3);
  if (lua_type(L, ex + 1) == LUA_TSTRING) {
    lua_pushliteral(L, "\n");
    lua_pushvalue(L, ex + 1);
    ml__push_subexceptions(L, ex);
    lua_concat(L, 4);
  }
  lua_replace(L, text);
  lua_settop(L, text);
}

/* The context table is on top. Runs the loop's handler, or the default one. */
static int default_handler(lua_State *L) {
  int ctx = lua_gettop(L);
  const char *s;
  size_t len;
  if (lua_getfield(L, ctx, "message") != LUA_TSTRING) {
    lua_pop(L, 1);
    lua_pushliteral(L, "Unhandled exception in event loop");
  }
  add_details(L, ctx);
  if (lua_getfield(L, ctx, "source_traceback") == LUA_TSTRING) {
    lua_pushfstring(L, "%s\nObject created at:\n%s", lua_tostring(L, -2), lua_tostring(L, -1));
    lua_replace(L, -3);
  }
  lua_pop(L, 1);
  add_exception(L, ctx);
  s = lua_tolstring(L, -1, &len);
  ml__log_text(ml__engine(L), s, len);
  lua_settop(L, ctx - 1);
  return 0;
}

static int default_handler_protected(lua_State *L) {
  lua_settop(L, 1);
  return ml__engine(L)->config.on_unhandled != NULL ? host_handler(L) : default_handler(L);
}

/* The context table is on top (popped). The handler runs in the task-local values at `values`, if there are any. */
static void call_handler(lua_State *L, ml_evloop *l, int values) {
  int ctx = lua_gettop(L);
  luaL_checkstack(L, 20, "exception handler");
  if (l != NULL && l->has_handler) {
    ml__loop_push(L, l);
    lua_getiuservalue(L, -1, 1);
    lua_insert(L, -2); /* handler, loop */
    lua_pushvalue(L, ctx);
    if (ml__context_pcall(L, 2, values) == LUA_OK) {
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

void ml__call_exception_handler(lua_State *L, ml_evloop *l) {
  ml_object *o;
  lua_pushliteral(L, "task");
  lua_rawget(L, -2);
  o = ml__toobject(L, -1);
  if (o == NULL || o->type != ML_T_TASK || !ml__context_of(L, lua_gettop(L))) lua_pushnil(L);
  lua_replace(L, -2);
  lua_insert(L, -2);
  call_handler(L, l, lua_gettop(L) - 1);
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
  if (r->obj.flags) { /* a task */
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, "task");
  }
  lua_setfield(L, 2, "future");
  lua_getiuservalue(L, 1, REPORT_TB);
  lua_setfield(L, 2, "traceback");
  if (lua_getiuservalue(L, 1, REPORT_SOURCE) == LUA_TSTRING)
    lua_setfield(L, 2, "source_traceback");
  else
    lua_pop(L, 1);
  lua_getiuservalue(L, 1, REPORT_CONTEXT);
  lua_insert(L, 2);
  call_handler(L, r->loop, 2);
  return 0;
}

static void emit(lua_State *L, int idx) {
  ml_report *r = lua_touserdata(L, idx);
  idx = lua_absindex(L, idx);
  disarm(r);
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
    if (lua_rawgetp(L, -1, r) == LUA_TUSERDATA) emit(L, -1);
    /* else it is about to be finalized, and its __gc tells */
    lua_pop(L, 2);
  }
}

void ml__open_reports(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", report_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_REPORT, "error report", NULL, meta);
  lua_pop(L, 1);
}
