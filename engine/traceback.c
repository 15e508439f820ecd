/* Tracebacks that span tasks. An error's traceback is kept beside it while it
** travels: in the field `traceback` of the engine's own errors, in a weak table
** for other objects, and for strings (the last one raised) in the registry.
** It costs nothing until an error leaves a task.
*/
#include <string.h>

#include "core.h"

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

void ml__traceback_arrived(lua_State *L, int err) {
  int type = lua_type(L, err);
  if (type == LUA_TTABLE || type == LUA_TUSERDATA) return;
  lua_pushnil(L);
  ml__ref_set(L, ML_R_LASTERR);
  lua_pushnil(L);
  ml__ref_set(L, ML_R_LASTTB);
}

/* As CPython, which shows 15 errors of a group; fewer levels, as a script may
** put a group into itself. */
#define GROUP_WIDTH 15
#define GROUP_DEPTH 3

static void push_subs(lua_State *L, int err, int depth) {
  int top = lua_gettop(L), list = top + 1;
  lua_Integer n;
  luaL_checkstack(L, 10, "error group");
  lua_pushliteral(L, "exceptions");
  if (lua_type(L, err) != LUA_TTABLE || depth > GROUP_DEPTH || lua_rawget(L, err) != LUA_TTABLE) {
    lua_settop(L, top);
    lua_pushliteral(L, "");
    return;
  }
  n = (lua_Integer)lua_rawlen(L, list);
  lua_pushliteral(L, "");
  for (lua_Integer i = 1; i <= n && i <= GROUP_WIDTH; i++) {
    lua_rawgeti(L, list, i);
    lua_pushfstring(L, "\nsub-exception %d: ", (int)i);
    ml__errtext(L, list + 2, NULL);
    lua_pushliteral(L, "");
    ml__traceback_of(L, list + 2);
    if (lua_type(L, -1) == LUA_TSTRING) {
      lua_pushliteral(L, "\n");
      lua_replace(L, -3);
    } else
      lua_pop(L, 1);
    push_subs(L, list + 2, depth + 1);
    lua_concat(L, lua_gettop(L) - (list + 2));
    luaL_gsub(L, lua_tostring(L, -1), "\n", "\n  ");
    lua_replace(L, list + 2);
    lua_settop(L, list + 2);
    lua_concat(L, 2);
  }
  if (n > GROUP_WIDTH) {
    lua_pushfstring(L, "\n  and %d more", (int)(n - GROUP_WIDTH));
    lua_concat(L, 2);
  }
  lua_replace(L, list);
}

void ml__push_subexceptions(lua_State *L, int err) { push_subs(L, lua_absindex(L, err), 1); }

#define LIBRARY "\n\tmoonloop/"

static bool begins(const char *s, size_t n, const char *with) {
  size_t m = strlen(with);
  return n >= m && memcmp(s, with, m) == 0;
}

/* Is the frame one of the library's, or a C function that it has called? */
static bool is_library(const char *s) {
  const char *caller = strncmp(s, "\n\t[C]:", 6) == 0 ? strchr(s + 1, '\n') : NULL;
  return strncmp(caller != NULL ? caller : s, LIBRARY, sizeof LIBRARY - 1) == 0;
}

/* Adds a frame. A coroutine function is called by await, which Lua has no name for: it gets the one
** that is known of it. */
static void add_frame(ml_engine *e, luaL_Buffer *b, const char *s, size_t n) {
  static const char in[] = " in function <";
  const char *where = n > sizeof in && s[n - 1] == '>' ? strstr(s, in) : NULL, *name = NULL;
  if (where != NULL && where < s + n) {
    const char *from = where + sizeof in - 1;
    name = ml__codeinfo_name(e, from, (size_t)(s + n - 1 - from));
  }
  if (name == NULL) {
    luaL_addlstring(b, s, n);
    return;
  }
  luaL_addlstring(b, s, (size_t)(where - s));
  luaL_addstring(b, " in function '");
  luaL_addstring(b, name);
  luaL_addchar(b, '\'');
}

/* Adds the frames of a traceback: without those that await is made of, and without the library's
** own, too. Gives how many. */
static int add_frames(ml_engine *e, luaL_Buffer *b, const char *s, bool library) {
  bool left_out = false;
  int n = 0;
  for (const char *nl; s != NULL; s = nl) {
    size_t len;
    nl = strchr(s + 1, '\n');
    len = nl != NULL ? (size_t)(nl - s) : strlen(s);
    if (begins(s, len, "\n\t(...tail calls...)"))
      left_out = left_out || n == 0; /* goes with the frame above */
    else
      left_out = begins(s, len, "\n\t[C]: in ?") ||
                 begins(s, len, "\n\t[C]: in function 'await'") ||
                 begins(s, len, "\n\t[C]: in function 'asyncio.core.await'") ||
                 (!library && is_library(s));
    if (left_out) continue;
    add_frame(e, b, s, len);
    n++;
  }
  return n;
}

/* Pushes the stack of L without the engine's own frames, unless there are no others. */
static void push_stack(lua_State *L, int level) {
  ml_engine *e = ml__engine(L);
  luaL_Buffer b;
  const char *s;
  luaL_traceback(L, L, NULL, level);
  s = strchr(lua_tostring(L, -1), '\n'); /* past "stack traceback:" */
  luaL_buffinit(L, &b);
  if (add_frames(e, &b, s, false) == 0) add_frames(e, &b, s, true);
  luaL_pushresult(&b);
  lua_remove(L, -2);
}

/* A traceback that is longer gets no further parts: an error that passes
** thousands of awaits must not cost the square of that. */
#define TRACEBACK_MAX 20000

/* In debug mode: adds to the traceback on top where the running task was made. */
static void add_origin(lua_State *L) {
  ml_engine *e = ml__engine(L);
  int top = lua_gettop(L);
  luaL_Buffer b;
  if (e->task == NULL || !e->task->fut.loop->debug) return;
  ml__task_push(L, e->task);
  ml__source_traceback(L, lua_gettop(L));
  if (lua_type(L, -1) == LUA_TSTRING) {
    const char *s = strchr(lua_tostring(L, -1), '\n');
    luaL_buffinit(L, &b);
    if (s != NULL && add_frames(e, &b, s, false) > 0) {
      luaL_pushresult(&b);
      lua_pushfstring(L, "%s\ncreated at:%s", lua_tostring(L, top), lua_tostring(L, -1));
      lua_replace(L, top);
    }
  }
  lua_settop(L, top);
}

int ml__msgh(lua_State *L) {
  lua_settop(L, 1);
  if (!lua_checkstack(L, 20) || ml__isinstance(L, 1, "CancelledError")) return 1;
  ml__traceback_of(L, 1);
  if (lua_type(L, 2) == LUA_TSTRING && lua_rawlen(L, 2) > TRACEBACK_MAX) {
    lua_settop(L, 1);
    return 1;
  }
  push_stack(L, 1);
  if (lua_type(L, 2) == LUA_TSTRING)
    lua_pushfstring(L, "%s\nawaited at:%s%s", lua_tostring(L, 2), lua_tostring(L, 3),
                    lua_rawlen(L, 2) + lua_rawlen(L, 3) > TRACEBACK_MAX ? "\n..." : "");
  else
    lua_pushfstring(L, "stack traceback:%s", lua_tostring(L, 3));
  add_origin(L);
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

/* core.subexceptions(e): what a group of errors consists of, as text; "" for other errors */
static int err_subexceptions(lua_State *L) {
  luaL_checkany(L, 1);
  ml__push_subexceptions(L, 1);
  return 1;
}

void ml__open_tracebacks(lua_State *L) {
  lua_pushcfunction(L, err_traceback);
  lua_setfield(L, -2, "traceback");
  lua_pushcfunction(L, err_subexceptions);
  lua_setfield(L, -2, "subexceptions");
}
