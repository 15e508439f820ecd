/* ml_attach: an engine in a state that the host has made.
**
** What is the host's stays the host's: its allocator (ours is put before it, and looks on),
** extra space, panic and warning functions, the collector's settings, its references in the
** registry (ours lie at ML_REF_ATTACHED). What is replaced in global tables is noted and put
** back by ml_close. Scripts may keep objects of a closed engine: so what is under them (the
** engine's struct too) stays, closed, until the state goes, whose last block takes it along;
** an engine attached once more is the same one, opened again.
**
** The host may close its state first: then a sentinel's finalizer closes the engine. It is
** renewed whenever a userdata with a finalizer is made, since Lua runs the newest first.
*/
#include <string.h>

#include <lualib.h>

#include "core.h"

/* When the state is closed without ml_close: how long clean-up may take, ms. */
#define GRACE_MS 1000

typedef struct sentinel {
  ml_engine *e;
} sentinel;

struct ml_attachment {
  const void *sentinel; /* the newest one */
  bool opened;          /* the units have been */
  bool inside;          /* the state was closed by a script that the engine ran */
};

static const char engine_key = 'e'; /* in the registry: the engine, a light pointer */
#define MARK "moonloop"             /* there too: other copies of the library see it */

ml_engine *ml__attached_engine(lua_State *L) {
  ml_engine *e;
  void *ud;
  lua_Alloc f = lua_getallocf(L, &ud);
  if (f == ml__alloc_attached || f == ml__alloc) return ml__alloc_ud(ud);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &engine_key); /* somebody else's is before it */
  e = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return e;
}

/* ---- the state's end ---- */

/* With the state's last block: nothing of the engine can be called any more. */
static void gone(void *ud) {
  ml_engine *e = ud;
  ml_attachment *a = e->attachment;
  if (a->inside) return; /* its frames are on the C stack */
  ml__alloc(e->alloc, a, sizeof *a, 0);
  ml__engine_free(e);
}

/* Our allocator before the state's. */
static void put_allocator(ml_engine *e) {
  void *ud;
  lua_Alloc f = lua_getallocf(e->L, &ud);
  int kb = lua_gc(e->L, LUA_GCCOUNT), b = lua_gc(e->L, LUA_GCCOUNTB);
  if (f == ml__alloc_attached && ud == e->alloc) return;
  ml__alloc_adopt(e->alloc, f, ud, kb < 0 || b < 0 ? 0 : (size_t)kb * 1024 + (size_t)b,
                  lua_getextraspace(e->L), gone);
  lua_setallocf(e->L, ml__alloc_attached, e->alloc);
}

/* The newest sentinel is finalized when the state is closed, and only then. */
static int sentinel_gc(lua_State *L) {
  const sentinel *s = lua_touserdata(L, 1);
  ml_engine *e = s->e;
  if (e->attachment->sentinel != s) return 0;
  e->attachment->sentinel = NULL;
  if (e->running != NULL || e->task != NULL || e->in_main) { /* os.exit(status, true) in a task */
    e->attachment->inside = true;
    ml_flush(e);
    ml_restore_terminal(e);
    e->closing = 2;
  } else if (!e->closing)
    ml__engine_shut(e, GRACE_MS);
  put_allocator(e); /* which is told of the last block */
  return 0;
}

/* ML_R_ATTACHED is on top. Once there is a sentinel nothing fails any more. */
static void new_sentinel(lua_State *L, ml_engine *e) {
  sentinel *s = lua_newuserdatauv(L, sizeof *s, 0);
  s->e = e;
  lua_rawgeti(L, -2, ML_AT_META);
  lua_setmetatable(L, -2);
  lua_rawseti(L, -2, ML_AT_SENTINEL);
  e->attachment->sentinel = s;
}

void ml__attach_watch(lua_State *L) {
  ml_engine *e = ml__engine(L);
  if (e->closing) return;
  luaL_checkstack(L, 5, "sentinel");
  ml__ref_get(L, ML_R_ATTACHED);
  new_sentinel(L, e);
  lua_pop(L, 1);
}

/* ---- what is replaced in the host's tables ---- */

static const char *const tables[] = {"_G", "package", "coroutine", "debug",
                                     "io", "os",      "string",    "table"};
#define NTABLES ((int)(sizeof tables / sizeof *tables))

/* Pushes the global table of that name; false, and something else, if there is none. */
static bool push_table(lua_State *L, const char *name) {
  lua_pushglobaltable(L);
  if (strcmp(name, "_G") == 0) return true;
  lua_pushstring(L, name);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  return lua_istable(L, -1);
}

/* Pushes copies of the tables, as one table. */
static void push_copies(lua_State *L) {
  int copies;
  lua_createtable(L, NTABLES, 0);
  copies = lua_gettop(L);
  for (int i = 0; i < NTABLES; i++) {
    if (push_table(L, tables[i])) {
      lua_newtable(L);
      for (lua_pushnil(L); lua_next(L, -3) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
      }
      lua_rawseti(L, copies, i + 1);
    }
    lua_settop(L, copies);
  }
}

/* Does the host keep its own of this? The key is at idx. */
static bool keeps(lua_State *L, unsigned keep, const char *table, int idx) {
  const char *key = lua_type(L, idx) == LUA_TSTRING ? lua_tostring(L, idx) : "";
  if (strcmp(table, "coroutine") == 0) return keep & ML_KEEP_COROUTINE;
  if (strcmp(table, "debug") == 0) return keep & ML_KEEP_DEBUG;
  if (strcmp(table, "_G") != 0) return false;
  if (strcmp(key, "pcall") == 0 || strcmp(key, "xpcall") == 0) return keep & ML_KEEP_PCALL;
  if (strcmp(key, "require") == 0) return keep & ML_KEEP_REQUIRE;
  return strcmp(key, "print") != 0 && keep & ML_KEEP_GLOBALS;
}

/* Compares every pair of the table at `from` with the one at `with`; one of them is the table
** itself, the other its copy. Notes in `out` what differs, or undoes it. */
static void compare(lua_State *L, int from, int with, bool from_is_copy, int out, unsigned keep,
                    const char *name) {
  int self = from_is_copy ? with : from;
  for (lua_pushnil(L); lua_next(L, from) != 0; lua_pop(L, 1)) {
    int key = lua_gettop(L) - 1, n = (int)lua_rawlen(L, out);
    lua_pushvalue(L, key);
    lua_rawget(L, with);
    /* the second pass is for what is gone from the table */
    if ((from_is_copy && !lua_isnil(L, -1)) || lua_rawequal(L, -1, -2)) {
      lua_pop(L, 1);
      continue;
    }
    if (keeps(L, keep, name, key)) { /* an assignment to what the traversal is at */
      lua_pushvalue(L, key);
      lua_pushvalue(L, from_is_copy ? key + 1 : key + 2);
      lua_rawset(L, self);
      lua_pop(L, 1);
      continue;
    }
    lua_pop(L, 1);
    lua_pushvalue(L, self);
    lua_rawseti(L, out, n + 1);
    lua_pushvalue(L, key);
    lua_rawseti(L, out, n + 2);
    for (int i = 0; i < 2; i++) { /* what was, what is; false: a light NULL */
      lua_pushvalue(L, key);
      lua_rawget(L, (i == 0) == from_is_copy ? from : with);
      if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushlightuserdata(L, NULL);
      }
      lua_rawseti(L, out, n + 3 + i);
    }
  }
}

/* [copies]: notes what has been replaced since */
static void note_replaced(lua_State *L, int copies, unsigned keep) {
  int out, base;
  ml__ref_get(L, ML_R_ATTACHED);
  lua_newtable(L);
  out = lua_gettop(L);
  lua_pushvalue(L, out);
  lua_rawseti(L, out - 1, ML_AT_REPLACED);
  base = out;
  for (int i = 0; i < NTABLES; i++) {
    if (push_table(L, tables[i]) && lua_rawgeti(L, copies, i + 1) == LUA_TTABLE) {
      compare(L, base + 1, base + 2, false, out, keep, tables[i]);
      compare(L, base + 2, base + 1, true, out, keep, tables[i]);
    }
    lua_settop(L, base);
  }
  lua_settop(L, out - 2);
}

/* [] puts everything back */
static int put_back(lua_State *L) {
  int list;
  lua_settop(L, 0);
  ml__ref_get(L, ML_R_ATTACHED);
  lua_rawgeti(L, 1, ML_AT_REPLACED);
  list = lua_gettop(L);
  for (int i = 1, n = lua_istable(L, list) ? (int)lua_rawlen(L, list) : 0; i < n; i += 4) {
    lua_rawgeti(L, list, i);
    lua_rawgeti(L, list, i + 1);
    lua_pushvalue(L, -1);
    lua_rawget(L, list + 1);
    if (lua_isnil(L, -1)) lua_pushlightuserdata(L, NULL), lua_replace(L, -2);
    lua_rawgeti(L, list, i + 3);
    if (lua_rawequal(L, -1, -2)) { /* else the host has something else there now */
      lua_pop(L, 2);
      lua_rawgeti(L, list, i + 2);
      if (lua_islightuserdata(L, -1) && lua_touserdata(L, -1) == NULL)
        lua_pushnil(L), lua_replace(L, -2);
      lua_rawset(L, list + 1);
    }
    lua_settop(L, list);
  }
  lua_settop(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE); /* 2 */
  lua_rawgeti(L, 1, ML_AT_OWN);                         /* 3 */
  for (lua_pushnil(L); lua_istable(L, 3) && lua_next(L, 3) != 0; lua_settop(L, 4)) {
    lua_pushvalue(L, 4);
    lua_rawget(L, 2);
    if (!lua_rawequal(L, 5, 6)) continue; /* the host's */
    lua_pushvalue(L, 4);
    lua_pushnil(L);
    lua_rawset(L, 2);
  }
  lua_settop(L, 2);
  lua_pushnil(L);
  lua_setfield(L, 2, "asyncio.core");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushnil(L);
  lua_setfield(L, -2, "asyncio.core");
  lua_settop(L, 0);
  if (push_table(L, "package") && lua_getfield(L, 1, "searchers") == LUA_TTABLE) {
    lua_Integer to = 1;
    for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
      if (ml__issearcher(L, 3))
        lua_settop(L, 2);
      else
        lua_rawseti(L, 2, to++);
    }
    lua_settop(L, 2);
    for (lua_Integer n = (lua_Integer)lua_rawlen(L, 2); n >= to; n--) {
      lua_pushnil(L);
      lua_rawseti(L, 2, n);
    }
  }
  return 0;
}

static int collect(lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT);
  return 0;
}

void ml__attach_leave(ml_engine *e) {
  static const lua_CFunction steps[] = {ml__objects_close, put_back, collect};
  void *ud;
  if (e->meter.dog != NULL) ml__dog_free(e->meter.dog);
  e->meter.dog = NULL;
  if (e->meter.counted) lua_sethook(e->L, NULL, 0, 0);
  e->meter.counted = false;
  if (lua_checkstack(e->L, 4))
    for (int i = 0; i < 3; i++) {
      lua_pushcfunction(e->L, steps[i]);
      if (lua_pcall(e->L, 0, 0, 0) != LUA_OK) lua_pop(e->L, 1);
    }
  if (lua_getallocf(e->L, &ud) == ml__alloc_attached && ud == e->alloc)
    ml__alloc_disown(e->alloc, e->L);
}

/* ---- attaching ---- */

/* [engine]: what needs no more than the registry; the last step makes it final */
static int prepare(lua_State *L) {
  ml_engine *e = lua_touserdata(L, 1);
  lua_pushlightuserdata(L, e);
  lua_setfield(L, LUA_REGISTRYINDEX, MARK);
  lua_createtable(L, ML_AT_ENV, 0);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, sentinel_gc);
  lua_setfield(L, -2, "__gc");
  lua_rawseti(L, -2, ML_AT_META);
  lua_newtable(L);
  lua_rawseti(L, -2, ML_AT_OWN);
  lua_pushvalue(L, -1);
  lua_rawseti(L, LUA_REGISTRYINDEX, ML_REF_ATTACHED + ML_R_ATTACHED);
  lua_pushlightuserdata(L, e);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &engine_key);
  new_sentinel(L, e);
  return 0;
}

/* Attaching has failed: the next one may succeed. */
static int unmark(lua_State *L) {
  lua_pushnil(L);
  lua_setfield(L, LUA_REGISTRYINDEX, MARK);
  return 0;
}

/* [engine] */
static int open_units(lua_State *L) {
  ml_engine *e = lua_touserdata(L, 1);
  ml_attachment *a = e->attachment;
  lua_settop(L, 0);
  push_copies(L);
  lua_pushcfunction(L, a->opened ? ml__engine_install : ml__engine_open);
  lua_call(L, 0, 0);
  a->opened = true;
  note_replaced(L, 1, e->config.keep);
  return 0;
}

static int call_with(lua_State *L, lua_CFunction f, void *p) {
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, p);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return 0;
  lua_pop(L, 1);
  return ML_ENOMEM;
}

/* [out]: whose is the state? */
static int whose(lua_State *L) {
  void **out = lua_touserdata(L, 1);
  luaL_checkversion(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  out[0] = lua_tothread(L, -1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &engine_key);
  out[1] = lua_touserdata(L, -1);
  if (lua_getfield(L, LUA_REGISTRYINDEX, MARK) != LUA_TNIL) out[2] = L;
  return 0;
}

/* Is it to be a sandbox, or to have a seed? What the host's state has given out already, and what it
** was made with, cannot be taken back. */
static bool sealed(const ml_engine *e) {
  return e->config.profile != ML_PROFILE_FULL || e->config.allow != NULL || e->config.seed != 0;
}

/* A closed engine's, once more: its configuration anew, and its first loop the host's. */
static int reopen(ml_engine *e, const ml_config *c) {
  ml_engine *fresh = NULL;
  int rc = ml__engine_new(c, &fresh);
  if (rc < 0) return rc;
  if (sealed(fresh)) {
    ml__engine_free(fresh);
    return ML_EINVAL;
  }
  e->config = fresh->config;
  e->rng = fresh->rng;
  ml__engine_free(fresh);
  e->closing = 0;
  e->host_mode = 1;
  e->sigints = 0;
  e->interrupted = 0;
  if (e->config.loop != NULL) {
    ml_evloop *l = ml__engine_loop(e);
    if (l == NULL) {
      e->closing = 2;
      return ML_ENOMEM;
    }
    ml__list_remove(&l->link);
    ml__list_append(e->loops.next, &l->link);
  }
  return 0;
}

/* A new engine for the state whose main thread is given. */
static int make(lua_State *L, lua_State *main, const ml_config *c, ml_engine **out) {
  ml_engine *e = NULL;
  int rc = ml__engine_new(c, &e);
  if (rc < 0) return rc;
  if (sealed(e)) {
    ml__engine_free(e);
    return ML_EINVAL;
  }
  e->L = main;
  e->attachment = ml__alloc(e->alloc, NULL, 0, sizeof *e->attachment);
  if (e->attachment == NULL) {
    ml__engine_free(e);
    return ML_ENOMEM;
  }
  memset(e->attachment, 0, sizeof *e->attachment);
  if (call_with(L, prepare, e) < 0) {
    lua_pushnil(L); /* which allocates nothing */
    lua_rawsetp(L, LUA_REGISTRYINDEX, &engine_key);
    call_with(L, unmark, NULL);
    ml__alloc(e->alloc, e->attachment, sizeof *e->attachment, 0);
    ml__engine_free(e);
    return ML_ENOMEM;
  }
  *out = e;
  return 0;
}

int ml_attach(lua_State *L, const ml_config *c, ml_engine **out) {
  void *found[3] = {NULL, NULL, NULL}, *ud;
  ml_engine *e;
  lua_State *main;
  int rc;
  if (out == NULL) return ML_EINVAL;
  *out = NULL;
  if (L == NULL) return ML_EINVAL;
  if (lua_version(L) != LUA_VERSION_NUM) return ML_EVERSION;
  if (!lua_checkstack(L, LUA_MINSTACK)) return ML_ENOMEM;
  lua_pushcfunction(L, whose);
  lua_pushlightuserdata(L, found);
  rc = lua_pcall(L, 1, 0, 0);
  if (rc != LUA_OK) {
    lua_pop(L, 1);
    return rc == LUA_ERRMEM ? ML_ENOMEM : ML_EVERSION;
  }
  main = found[0];
  e = found[1];
  if (main == NULL) return ML_EVERSION;
  if (lua_getallocf(L, &ud) == ml__alloc) return ML_EINVAL; /* ml_new's */
  if (e == NULL ? found[2] != NULL : e->closing != 2) return ML_EINVAL;
  /* left there by a state of ml_new's whose block this one has now */
  if (!ml__attached(main)) *(uintptr_t *)lua_getextraspace(main) = 0;
  rc = e != NULL ? reopen(e, c) : make(L, main, c, &e);
  if (rc < 0) return rc;
  put_allocator(e);
  if (call_with(L, open_units, e) < 0) {
    ml__engine_shut(e, 0);
    ml__attach_leave(e);
    return ML_ENOMEM;
  }
  rc = ml__meter_init(e);
  if (rc < 0) {
    ml__engine_shut(e, 0);
    ml__attach_leave(e);
    return rc;
  }
  ml__alloc_limit(e->alloc, e->config.memory_limit);
  *out = e;
  return 0;
}
