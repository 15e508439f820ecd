/* What scripts may have at a time: tasks, handles, bytes of output; and what they use.
**
** Handles are counted when one more is wanted, and only under a limit: nothing has
** to be kept in step. The bindings tell theirs by an ml_counter.
*/
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core.h"

size_t ml__count_tasks(const ml_engine *e) {
  size_t n = 0;
  for (const ml_link *k = e->loops.next; k != &e->loops; k = k->next)
    n += ml__containerof(k, const ml_evloop, link)->ntasks;
  return n;
}

/* Timers, loops beside the first one, and what the bindings have. */
size_t ml__count_handles(const ml_engine *e) {
  size_t n = 0, loops = 0;
  for (const ml_link *k = e->loops.next; k != &e->loops; k = k->next) {
    const ml_evloop *l = ml__containerof(k, const ml_evloop, link);
    n += l->ntimers;
    if (!l->closed) loops++;
  }
  n += e->nfiles;
  for (ml_counter *c = e->counters; c != NULL; c = c->next) n += c->count(c);
  return loops > 1 ? n + loops - 1 : n;
}

static int reached(lua_State *L, const char *what, lua_Integer max, const char *field) {
  return ml__misuse(L, "LimitError", "too many %s: the host allows %I at a time (%s)", what,
                    (LUAI_UACINT)max, field);
}

void ml__check_tasks(lua_State *L) {
  const ml_engine *e = ml__engine(L);
  size_t max = e->config.max_tasks;
  if (max != 0 && ml__count_tasks(e) >= max) reached(L, "tasks", (lua_Integer)max, "max_tasks");
}

bool ml__handles_full(const ml_engine *e) {
  return e->config.max_handles != 0 && ml__count_handles(e) >= e->config.max_handles;
}

void ml__check_handles(lua_State *L) {
  const ml_engine *e = ml__engine(L);
  if (ml__handles_full(e))
    reached(L, "timers and open handles", (lua_Integer)e->config.max_handles, "max_handles");
}

/* ---- output ---- */

bool ml__output_fits(ml_engine *e, size_t n) {
  uint_fast64_t max = e->config.max_output, have = atomic_load(e->output_of);
  do
    if (max != 0 && (have > max || n > max - have)) return false;
  while (!atomic_compare_exchange_weak(e->output_of, &have, have + n));
  return true;
}

void ml__check_output(lua_State *L, size_t n) {
  ml_engine *e = ml__engine(L);
  if (ml__output_fits(e, n)) return;
  ml__misuse(L, "LimitError", "too much output: the host allows %I bytes (max_output)",
             (LUAI_UACINT)e->config.max_output);
}

/* The first thing that does not fit on the log says so; the rest is dropped. */
bool ml__log_fits(ml_engine *e, size_t n) {
  static const char text[] =
      "the host's limit of output is reached: no more is logged (max_output)";
  if (ml__output_fits(e, n)) return true;
  if (e->log_full) return false;
  e->log_full = true;
  if (e->config.log != NULL)
    e->config.log(e->config.ud, text, sizeof text - 1);
  else
    fprintf(stderr, "%s\n", text);
  return false;
}

/* print, for hosts that take its text or limit it */
static int limited_print(lua_State *L) {
  ml_engine *e = ml__engine(L);
  int n = lua_gettop(L);
  size_t len;
  const char *s;
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (int i = 1; i <= n; i++) {
    if (i > 1) luaL_addchar(&b, '\t');
    luaL_tolstring(L, i, NULL);
    luaL_addvalue(&b);
  }
  luaL_addchar(&b, '\n');
  luaL_pushresult(&b);
  s = lua_tolstring(L, -1, &len);
  ml__check_output(L, len);
  if (e->config.print != NULL)
    e->config.print(e->config.ud, s, len);
  else {
    fwrite(s, 1, len, stdout);
    fflush(stdout);
  }
  return 0;
}

/* Is the file at 1 (default output: none) one that everybody sees? */
static bool is_standard(lua_State *L, bool method) {
  const luaL_Stream *f;
  if (method)
    f = luaL_testudata(L, 1, LUA_FILEHANDLE);
  else {
    lua_getfield(L, LUA_REGISTRYINDEX, "_IO_output");
    f = luaL_testudata(L, -1, LUA_FILEHANDLE);
    lua_pop(L, 1);
  }
  return f != NULL && f->closef != NULL && (f->f == stdout || f->f == stderr);
}

/* io.write, and file:write. Upvalues: Lua's own; is it a method? */
static int limited_write(lua_State *L) {
  bool method = lua_toboolean(L, lua_upvalueindex(2));
  int n = lua_gettop(L);
  if (is_standard(L, method)) {
    size_t sum = 0, len;
    for (int i = method ? 2 : 1; i <= n; i++) {
      if (!lua_isstring(L, i)) continue; /* Lua's own complains */
      lua_pushvalue(L, i);
      lua_tolstring(L, -1, &len);
      lua_pop(L, 1);
      sum += len;
    }
    ml__check_output(L, sum);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n, LUA_MULTRET);
  return lua_gettop(L);
}

static void wrap_write(lua_State *L, bool method) {
  if (lua_istable(L, -1) && lua_getfield(L, -1, "write") == LUA_TFUNCTION &&
      lua_tocfunction(L, -1) != limited_write) {
    lua_pushboolean(L, method);
    lua_pushcclosure(L, limited_write, 2);
    lua_setfield(L, -2, "write");
    return;
  }
  lua_pop(L, 1);
}

/* ---- files of io ---- */

static int close_file(lua_State *L) {
  luaL_Stream *f = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  ml__engine(L)->nfiles--;
  return luaL_fileresult(L, fclose(f->f) == 0, NULL);
}

static int close_program(lua_State *L) {
  luaL_Stream *f = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  ml__engine(L)->nfiles--;
  errno = 0; /* what is there else is taken for pclose's */
  return luaL_execresult(L, pclose(f->f));
}

/* A function of io that opens. Upvalues: Lua's own; its name. A file that it gives is counted until
** it is closed, which Lua does by a function in the file. */
static int limited_open(lua_State *L) {
  const char *name = lua_tostring(L, lua_upvalueindex(2));
  bool program = strcmp(name, "popen") == 0;
  int n = lua_gettop(L);
  if (strcmp(name, "tmpfile") != 0) luaL_checkstring(L, 1); /* Lua's own would not know its name */
  ml__check_handles(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n, LUA_MULTRET);
  n = lua_gettop(L);
  for (int i = 1; i <= n; i++) { /* lines gives it as the last of four */
    luaL_Stream *f = luaL_testudata(L, i, LUA_FILEHANDLE);
    if (f == NULL || f->closef == NULL) continue;
    f->closef = program ? close_program : close_file;
    ml__engine(L)->nfiles++;
  }
  return n;
}

/* input and output open a name; what they get or give else is open already. lines() reads what is. */
static int limited_named(lua_State *L) {
  int n = lua_gettop(L);
  if (lua_type(L, 1) == LUA_TSTRING) return limited_open(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, n, LUA_MULTRET);
  return lua_gettop(L);
}

static void wrap_open(lua_State *L, const char *name, lua_CFunction f) {
  if (lua_istable(L, -1) && lua_getfield(L, -1, name) == LUA_TFUNCTION) {
    lua_pushstring(L, name);
    lua_pushcclosure(L, f, 2);
    lua_setfield(L, -2, name);
  } else
    lua_pop(L, 1);
}

void ml__open_limits(lua_State *L) {
  const ml_config *c = &ml__engine(L)->config;
  int top = lua_gettop(L);
  if (c->print != NULL || c->max_output != 0) {
    lua_pushcfunction(L, limited_print);
    lua_setglobal(L, "print");
  }
  if (c->max_output != 0) {
    lua_getglobal(L, "io");
    wrap_write(L, false);
    lua_settop(L, top);
    if (luaL_getmetatable(L, LUA_FILEHANDLE) == LUA_TTABLE) {
      lua_getfield(L, -1, "__index");
      wrap_write(L, true);
    }
  }
  lua_settop(L, top);
  if (c->max_handles != 0) {
    lua_getglobal(L, "io");
    for (int i = 0; i < 3; i++) {
      static const char *const open[] = {"open", "popen", "tmpfile"};
      static const char *const named[] = {"lines", "input", "output"};
      wrap_open(L, open[i], limited_open);
      wrap_open(L, named[i], limited_named);
    }
  }
  lua_settop(L, top);
}

/* ---- for the host ---- */

int ml_usage(const ml_engine *e, ml_usage_info *out, size_t size) {
  ml_usage_info u = {0};
  if (e == NULL || out == NULL || size > sizeof u) return ML_EINVAL;
  u.memory = ml__alloc_used(e->alloc);
  u.tasks = ml__count_tasks(e);
  u.handles = ml__count_handles(e);
  u.output = atomic_load(e->output_of);
  u.slices = e->meter.serial;
  u.overruns = e->meter.overruns;
  u.preemptions = e->meter.preemptions;
  u.kills = e->meter.kills;
  memcpy(out, &u, size);
  return 0;
}
