/* require and the places modules come from.
**
** The engine's require is Lua's, but a module may await while it loads; whoever
** requires it meanwhile waits for it. The standard library is embedded;
** MOONLOOP_STDLIB in the environment, or STDLIB_DIR when building, names a
** folder that is read instead, for those who work on it.
*/
#include <stdlib.h>
#include <string.h>

#include "sandbox.h"
#include "translate.h"

/* ---- embedded modules ---- */

static const ml_source *find_source(const char *name) {
  for (const ml_source *s = ml__stdlib; s->name != NULL; s++)
    if (strcmp(s->name, name) == 0) return s;
  return NULL;
}

/* dir/a/b.lua or dir/a/b/init.lua for a module a.b; pushes the loader or nil. */
static bool load_from_dir(lua_State *L, const char *dir, const char *name) {
  static const char *const forms[] = {"%s/%s.lua", "%s/%s/init.lua"};
  const char *path = luaL_gsub(L, name, ".", "/");
  for (int i = 0; i < 2; i++) {
    const char *file = lua_pushfstring(L, forms[i], dir, path);
    FILE *f = fopen(file, "r");
    if (f == NULL) {
      lua_pop(L, 1);
      continue;
    }
    fclose(f);
    if (luaL_loadfile(L, file) != LUA_OK) lua_error(L);
    lua_insert(L, -3);
    lua_pop(L, 2);
    return true;
  }
  lua_pop(L, 1);
  return false;
}

/* What a searcher gives: the loader and its data. Without one it says nothing: what `require` then
** tells is Lua's own message. */
static int find_embedded(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const char *dir = getenv("MOONLOOP_STDLIB");
  const ml_source *s = find_source(name);
  for (const ml_module *m = ml__bindings; m->name != NULL; m++)
    if (strcmp(m->name, name) == 0) {
      lua_pushcfunction(L, m->open);
      lua_pushliteral(L, ":moonloop:");
      return 2;
    }
#ifdef ML_STDLIB_DIR
  if (dir == NULL && ML_STDLIB_DIR[0] != '\0') dir = ML_STDLIB_DIR;
#endif
  if (dir != NULL && dir[0] != '\0' && load_from_dir(L, dir, name)) {
    lua_pushfstring(L, ":%s:", dir);
    return 2;
  }
  if (s == NULL) return 0;
  if (luaL_loadbufferx(L, (const char *)s->data, s->size, s->chunk, NULL) != LUA_OK)
    return lua_error(L);
  lua_pushliteral(L, ":moonloop:");
  return 2;
}

/* ---- in a state that is the host's ----
**
** There "socket" may be somebody else's. So what is not asyncio's is looked for last; and the
** engine's modules, when they require one another, mean the engine's: they have a `require` of
** their own, and are kept in a table of their own too. */

/* Pushes what ML_R_ATTACHED has in that place. */
static void push_place(lua_State *L, int place) {
  ml__ref_get(L, ML_R_ATTACHED);
  lua_rawgeti(L, -1, place);
  lua_remove(L, -2);
}

/* (name, data): upvalue 1 loads the module, unless it was loaded before */
static int load_own(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_settop(L, 2);
  push_place(L, ML_AT_OWN); /* 3 */
  if (lua_getfield(L, 3, name) != LUA_TNIL) return 1;
  lua_pushvalue(L, lua_upvalueindex(1));
  if (!lua_iscfunction(L, -1)) {
    push_place(L, ML_AT_ENV);
    if (lua_setupvalue(L, -2, 1) == NULL) lua_pop(L, 1);
  }
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_call(L, 2, 1);
  if (lua_isnil(L, -1)) lua_pushboolean(L, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, 3, name);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, name) == LUA_TNIL) {
    lua_pushvalue(L, -3);
    lua_setfield(L, -3, name);
  }
  lua_pop(L, 2);
  return 1;
}

/* The `require` of the engine's own modules. */
static int require_own(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_settop(L, 1);
  if (strcmp(name, "asyncio.core") == 0) {
    ml__ref_get(L, ML_R_CORE);
    return 1;
  }
  push_place(L, ML_AT_OWN);
  if (lua_getfield(L, 2, name) != LUA_TNIL) return 1;
  lua_settop(L, 1);
  if (find_embedded(L) == 2) {
    lua_insert(L, 2); /* data */
    lua_pushcclosure(L, load_own, 1);
    lua_insert(L, 1);
  } else {
    lua_getglobal(L, "require");
    lua_insert(L, 1);
    lua_settop(L, 2);
  }
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

static int search_embedded(lua_State *L) {
  int n = find_embedded(L);
  if (n == 2 && ml__attached(L)) {
    lua_insert(L, -2);
    lua_pushcclosure(L, load_own, 1);
    lua_insert(L, -2);
  }
  return n;
}

static int search_asyncio(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (strncmp(name, "asyncio", 7) == 0 && (name[7] == '\0' || name[7] == '.'))
    return search_embedded(L);
  return 0;
}

/* What globals the engine's modules see: the host's, and their own `require`. */
static void make_env(lua_State *L) {
  ml__ref_get(L, ML_R_ATTACHED);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, require_own);
  lua_setfield(L, -2, "require");
  lua_createtable(L, 0, 2);
  lua_pushglobaltable(L);
  lua_setfield(L, -2, "__index");
  lua_pushglobaltable(L);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, -2);
  lua_rawseti(L, -2, ML_AT_ENV);
  lua_pop(L, 1);
}

int ml__push_embedded(lua_State *L, const char *name) {
  lua_pushcfunction(L, search_embedded);
  lua_pushstring(L, name);
  lua_call(L, 1, 2);
  return 2;
}

/* ---- the host's modules ---- */

static int host_failed(lua_State *L, int rc, const char *name) {
  return ml__error(L, "OSError", "module '%s': the host cannot give it: %s", name, ml_strerror(rc));
}

/* [name, buffer] what resolve and load of ml_config say */
static int ask_host(lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *id = name;
  const ml_config *c = &ml__engine(L)->config;
  ml_buf *b = lua_touserdata(L, 2);
  int rc = 1;
  if (c->resolve != NULL) {
    rc = c->resolve(c->ud, name, b);
    if (rc < 0) return host_failed(L, rc, name);
    id = lua_pushlstring(L, b->data != NULL ? b->data : "", b->len);
    b->len = 0;
  }
  if (rc > 0) rc = c->load(c->ud, id, b);
  if (rc < 0) return host_failed(L, rc, name);
  if (rc == 0) {
    lua_pushfstring(L, "no module '%s' in the host", name);
    return 1;
  }
  lua_pushstring(L, id);
  lua_pushfstring(L, "@%s", id);
  rc = ml__loadbuffer(L, b->data != NULL ? b->data : "", b->len, lua_tostring(L, -1),
                      ml__load_mode(L));
  if (rc != LUA_OK)
    return luaL_error(L, "error loading module '%s':\n\t%s", name, lua_tostring(L, -1));
  lua_pushvalue(L, -3); /* the id, as what require gives second */
  return 2;
}

/* The buffer is freed here, whatever fails: a finalizer may find no memory for its call. */
static int search_host(lua_State *L) {
  ml_buf b;
  int rc;
  memset(&b, 0, sizeof b);
  lua_settop(L, 1);
  lua_pushcfunction(L, ask_host);
  lua_insert(L, 1);
  lua_pushlightuserdata(L, &b);
  rc = lua_pcall(L, 2, LUA_MULTRET, 0);
  ml_buf_free(&b);
  return rc == LUA_OK ? lua_gettop(L) : lua_error(L);
}

bool ml__issearcher(lua_State *L, int idx) {
  lua_CFunction f = lua_tocfunction(L, idx);
  return f == search_embedded || f == search_asyncio || f == search_host;
}

/* ---- require ---- */

void ml__push_searchers(lua_State *L, int package) {
  if (!lua_istable(L, package) || lua_getfield(L, package, "searchers") != LUA_TTABLE)
    luaL_error(L, "'package.searchers' must be a table");
}

/* The text of what was tried is no luaL_Buffer: its box is closed by its place on the stack,
** which callers rearrange. */
bool ml__find_loader(lua_State *L, const char *name) {
  int searchers = lua_gettop(L);
  lua_pushfstring(L, "module '%s' not found:", name);
  for (int i = 1; lua_rawgeti(L, searchers, i) != LUA_TNIL; i++) {
    lua_pushstring(L, name);
    lua_call(L, 1, 2);
    if (lua_isfunction(L, -2)) {
      lua_replace(L, searchers + 1); /* data */
      lua_replace(L, searchers);
      return true;
    }
    lua_pop(L, 1);
    if (lua_isstring(L, -1)) {
      lua_pushliteral(L, "\n\t");
      lua_insert(L, -2);
      lua_concat(L, 3);
    } else
      lua_pop(L, 1);
  }
  lua_pop(L, 1);
  lua_replace(L, searchers);
  return false;
}

/* Stack: 1 name, 2 LOADED, 3 the future of those who wait (or nil), 4 loader
** data, 5 result. */
static int require_done(lua_State *L, bool note) {
  const char *name = lua_tostring(L, 1);
  ml__engine(L)->require_serial++;
  if (!lua_isnil(L, 5)) {
    lua_pushvalue(L, 5);
    lua_setfield(L, 2, name);
  } else if (lua_getfield(L, 2, name) == LUA_TNIL || lua_touserdata(L, -1) == L) {
    lua_pushboolean(L, 1);
    lua_setfield(L, 2, name);
  }
  lua_settop(L, 5);
  lua_getfield(L, 2, name);
  if (note) ml__module_loaded(L, 1, 6, 4);
  lua_pushvalue(L, 4);
  return 2;
}

static int require_k(lua_State *L, int status, lua_KContext note) {
  lua_pushnil(L); /* no longer in progress */
  lua_setfield(L, lua_upvalueindex(2), lua_tostring(L, 1));
  if (ml__isfuture(ml__toobject(L, 3))) {
    lua_pushboolean(L, 1);
    ml__future_set_result(L, 3);
  }
  if (status != LUA_OK && status != LUA_YIELD) return lua_error(L);
  return require_done(L, note != 0);
}

static int waited_k(lua_State *L, int status, lua_KContext ctx);

/* [..., 4 data, 5 loader]: is it a module of Lua's that is not the engine's own? */
static bool can_be_reloaded(lua_State *L) {
  const char *data = lua_type(L, 4) == LUA_TSTRING ? lua_tostring(L, 4) : "";
  return !lua_iscfunction(L, 5) && (data[0] != ':' || strcmp(data, ":preload:") == 0);
}

/* How many letters are wrong, missing, too many or changed about; more than most: most + 1. */
static int distance(const char *a, const char *b, int most) {
  enum { MAX = 40 };
  int row[3][MAX + 1], na = (int)strlen(a), nb = (int)strlen(b);
  if (na > MAX || nb > MAX || abs(na - nb) > most) return most + 1;
  for (int j = 0; j <= nb; j++) row[0][j] = j;
  for (int i = 1; i <= na; i++) {
    int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
    now[0] = i;
    for (int j = 1; j <= nb; j++) {
      int d = last[j - 1] + (a[i - 1] != b[j - 1]);
      if (last[j] + 1 < d) d = last[j] + 1;
      if (now[j - 1] + 1 < d) d = now[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < d)
        d = before[j - 2] + 1;
      now[j] = d;
    }
  }
  return row[na % 3][nb];
}

/* Adds the engine's module with the nearest name to the message on top, if there is one. */
static void add_near_names(lua_State *L, const char *name) {
  int most = (int)strlen(name) / 3, best = most > 2 ? 2 : most;
  const char *near = NULL;
  if (best == 0 || lua_type(L, -1) != LUA_TSTRING) return;
  for (const ml_source *s = ml__stdlib; s->name != NULL; s++) {
    int d = distance(name, s->name, best);
    if (d > best || (near != NULL && d == best)) continue;
    best = d;
    near = s->name;
  }
  if (near == NULL) return;
  lua_pushfstring(L, "%s\n\tdid you mean '%s'?", lua_tostring(L, -1), near);
  lua_replace(L, -2);
}

static int ml_require(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  ml_engine *e = ml__engine(L);
  bool note;
  lua_settop(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE); /* 2 */
  if (lua_getfield(L, 2, name) != LUA_TNIL && lua_toboolean(L, -1)) return 1;
  lua_settop(L, 2);
  if (lua_getfield(L, lua_upvalueindex(2), name) != LUA_TNIL) {
    ml_fiber *owner = ml__isfuture(ml__toobject(L, 3)) && lua_getiuservalue(L, 3, 2) != LUA_TNIL
                          ? lua_touserdata(L, -1)
                          : NULL;
    lua_settop(L, 3);
    /* who loaded it was destroyed with its loop: anew */
    if (ml__isfuture(ml__toobject(L, 3)) && ((ml_future *)lua_touserdata(L, 3))->loop->closed) {
      lua_pushnil(L);
      lua_setfield(L, lua_upvalueindex(2), name);
      lua_settop(L, 1);
      return ml_require(L);
    }
    if (e->task == NULL || owner == e->task || !ml__isfuture(ml__toobject(L, 3)))
      return luaL_error(L, "loop or previous error loading module '%s'", name);
    lua_pushcfunction(L, ml__await); /* another task loads it: wait */
    lua_pushvalue(L, 3);
    lua_callk(L, 1, 0, 0, waited_k);
    return waited_k(L, LUA_OK, 0);
  }
  lua_settop(L, 2);
  ml__push_searchers(L, lua_upvalueindex(1));
  if (!ml__find_loader(L, name)) {
    add_near_names(L, name);
    return lua_error(L);
  }
  lua_settop(L, 4); /* 3 loader, 4 data */
  if (e->task != NULL) {
    ml_future *f = ml__future_new(L, e->task->fut.loop);
    (void)f;
    lua_pushlightuserdata(L, e->task);
    lua_setiuservalue(L, -2, 2);
  } else
    lua_pushboolean(L, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, lua_upvalueindex(2), name);
  /* 3 loader, 4 data, 5 future -> 3 future, 4 data, loader, name, data */
  lua_insert(L, 3);
  lua_insert(L, 4); /* 3 future, 4 data, 5 loader */
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 4);
  note = can_be_reloaded(L);
  return require_k(L, lua_pcallk(L, 2, 1, 0, note, require_k), note);
}

static int waited_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  lua_settop(L, 1);
  return ml_require(L);
}

/* Makes it the second one of those in the table on top. */
static void insert_searcher(lua_State *L, lua_CFunction searcher) {
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushcfunction(L, searcher);
  lua_rawseti(L, -2, 2);
}

void ml__open_loader(lua_State *L) {
  int top = lua_gettop(L);
  if (ml__attached(L)) make_env(L);
  if (lua_getglobal(L, "package") != LUA_TTABLE) {
    lua_settop(L, top);
    return;
  }
  if (lua_getfield(L, -1, "searchers") == LUA_TTABLE) { /* after preload */
    bool own = !ml__attached(L);
    if (ml__engine(L)->config.load != NULL) insert_searcher(L, search_host);
    insert_searcher(L, own ? search_embedded : search_asyncio);
    if (!own) {
      lua_pushcfunction(L, search_embedded);
      lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
  }
  lua_pop(L, 1);
  lua_newtable(L); /* modules in progress */
  lua_pushcclosure(L, ml_require, 2);
  lua_setglobal(L, "require");
  lua_settop(L, top);
}
