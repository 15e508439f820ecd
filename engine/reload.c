/* Hot reload: a module's new code takes the place of the old one while tasks run.
**
** The new chunk is run; what it gives is then compared with the old module, place by
** place (fields of tables, named upvalues of functions), and the difference is put into
** the old tables, which stay what they are. Functions are new. Data is kept unless the
** code says something else than it did: for that, what a module was like when it had
** just been loaded is remembered (its "base", in ML_R_MODULES). New functions are joined
** to the old variables that are kept. All of that is undone if on_reload fails.
**
** Tables are read and written raw. Nothing of other modules is entered.
*/
#include <string.h>

#include "core.h"

/* Values that are remembered of a module at most, and places that are visited. */
#define MAX_BASE 2000
#define MAX_VISITS 200000

/* What stands in a base for values that are only remembered by their type. */
static const char marks[LUA_NUMTYPES] = {0};
/* In a list of writes: the key that means a table's metatable. */
static const char metatable_key = 0;

/* A walk's tables, at these indices of its stack. */
enum {
  W_NAME = 1,
  W_NEW,
  W_OLD,
  W_GLOBALS, /* a copy of the global variables, before the chunk ran; or nil */
  W_FOREIGN, /* tables that are not the module's own */
  W_BASE_T,  /* of the old module: table -> field -> value */
  W_BASE_U,  /* upvalue's id -> value */
  W_NEXT_T,  /* the same of the new one */
  W_NEXT_U,
  W_SEEN,   /* new tables and functions, ids of new upvalues */
  W_WRITES, /* table, key, value, ... */
  W_JOINS,  /* id of a new upvalue -> {old function, index} */
  W_NAMES,  /* name of an old upvalue -> {function, index}, or false: there are several */
  W_FNS,    /* new functions */
  W_QUEUE,  /* new, old, ...: to be visited */
  W_TOP = W_QUEUE
};

typedef struct walk {
  lua_State *L;
  lua_Integer writes, fns, fns_done, queued, visited;
  int budget;
} walk;

static void push_mark(lua_State *L, int idx) {
  int t = lua_type(L, idx);
  if (t == LUA_TNIL || t == LUA_TTABLE || t == LUA_TUSERDATA || t == LUA_TTHREAD)
    lua_pushlightuserdata(L, (void *)&marks[t]);
  else
    lua_pushvalue(L, idx);
}

static bool has(lua_State *L, int set, int idx) {
  bool is;
  lua_pushvalue(L, idx);
  is = lua_rawget(L, set) != LUA_TNIL;
  lua_pop(L, 1);
  return is;
}

/* Has the value at idx been visited? From now on it has. */
static bool visited(lua_State *L, int idx) {
  if (has(L, W_SEEN, idx)) return true;
  lua_pushvalue(L, idx);
  lua_pushboolean(L, 1);
  lua_rawset(L, W_SEEN);
  return false;
}

/* ov 0: there is no old one */
static void enqueue(walk *w, int nv, int ov) {
  lua_State *L = w->L;
  if (w->queued >= MAX_VISITS) return;
  lua_pushvalue(L, nv);
  lua_rawseti(L, W_QUEUE, 2 * w->queued + 1);
  if (ov != 0)
    lua_pushvalue(L, ov);
  else
    lua_pushboolean(L, 0);
  lua_rawseti(L, W_QUEUE, 2 * w->queued + 2);
  w->queued++;
}

static void add_write(walk *w, int t, int k, int v) {
  lua_State *L = w->L;
  lua_Integer at = 3 * w->writes++;
  lua_pushvalue(L, t);
  lua_rawseti(L, W_WRITES, at + 1);
  lua_pushvalue(L, k);
  lua_rawseti(L, W_WRITES, at + 2);
  lua_pushvalue(L, v);
  lua_rawseti(L, W_WRITES, at + 3); /* nil: there is none */
}

/* Pushes the function of Lua's behind the one at idx (async makes C functions of them), or
** returns false: what is the engine's own is not entered. */
static bool push_plain(lua_State *L, int idx) {
  lua_Debug ar;
  if (ml__asyncclosure(L, idx))
    lua_getupvalue(L, idx, 1);
  else
    lua_pushvalue(L, idx);
  if (lua_isfunction(L, -1) && !lua_iscfunction(L, -1)) {
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">S", &ar);
    if (strncmp(ar.source, "@moonloop/", 10) != 0) return true;
  }
  lua_pop(L, 1);
  return false;
}

/* Is what the place holds (ov, nil: nothing) kept, though the new code puts nv there? b is
** the mark of what the old code put there, nil if that is not known. What is found on the
** way is queued. */
static bool keeps(walk *w, int nv, int ov, int b) {
  lua_State *L = w->L;
  int t = lua_type(L, nv);
  bool same, unchanged;
  switch (t) {
  case LUA_TFUNCTION: enqueue(w, nv, lua_isfunction(L, ov) ? ov : 0); return false;
  case LUA_TTABLE:
    if (lua_rawequal(L, nv, ov)) return true;
    if (has(L, W_FOREIGN, nv)) return false;
    if (lua_istable(L, ov)) {
      bool own = !has(L, W_FOREIGN, ov);
      enqueue(w, nv, own ? ov : 0);
      return own;
    }
    break;
  case LUA_TUSERDATA:
  case LUA_TTHREAD:
    if (lua_type(L, ov) == t) return true;
    break;
  default:
    if (lua_isnil(L, b)) return !lua_isnil(L, ov);
  }
  push_mark(L, nv);
  unchanged = lua_rawequal(L, -1, b);
  lua_pop(L, 1);
  same = unchanged && !lua_isnil(L, b);
  if (!same && t == LUA_TTABLE) enqueue(w, nv, 0);
  return same;
}

/* ---- upvalues ---- */

static bool named(const char *name) {
  return name[0] != '\0' && name[0] != '(' && strcmp(name, "_ENV") != 0;
}

/* Index of the upvalue of that name, or 0. */
static int find_upvalue(lua_State *L, int f, const char *name) {
  const char *s;
  for (int i = 1; (s = lua_getupvalue(L, f, i)) != NULL; i++) {
    lua_pop(L, 1);
    if (strcmp(s, name) == 0) return i;
  }
  return 0;
}

static void push_place(lua_State *L, int f, int i) {
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, f);
  lua_rawseti(L, -2, 1);
  lua_pushinteger(L, i);
  lua_rawseti(L, -2, 2);
}

/* The i-th upvalue of nf, whose value is on top (popped), is what the j-th of of was. */
static void match_upvalue(walk *w, int nf, int i, int of, int j) {
  lua_State *L = w->L;
  int nv = lua_gettop(L);
  void *id = lua_upvalueid(L, nf, i), *old = lua_upvalueid(L, of, j);
  lua_getupvalue(L, of, j);
  lua_rawgetp(L, W_BASE_U, old);
  if (keeps(w, nv, nv + 1, nv + 2)) {
    push_place(L, of, j);
    lua_rawsetp(L, W_JOINS, id);
    id = old;
  }
  if (w->budget-- > 0) {
    push_mark(L, nv);
    lua_rawsetp(L, W_NEXT_U, id);
  }
  lua_settop(L, nv - 1);
}

/* The names of a function's upvalues lead to it, as long as they are unique. */
static void note_names(lua_State *L, int f) {
  const char *name;
  for (int i = 1; (name = lua_getupvalue(L, f, i)) != NULL; i++) {
    lua_pop(L, 1);
    if (!named(name)) continue;
    if (lua_getfield(L, W_NAMES, name) == LUA_TTABLE) {
      lua_rawgeti(L, -1, 1);
      lua_rawgeti(L, -2, 2);
      if (lua_upvalueid(L, -2, (int)lua_tointeger(L, -1)) != lua_upvalueid(L, f, i)) {
        lua_pushboolean(L, 0);
        lua_setfield(L, W_NAMES, name);
      }
      lua_pop(L, 3);
      continue;
    }
    if (lua_isnil(L, -1)) {
      push_place(L, f, i);
      lua_setfield(L, W_NAMES, name);
    }
    lua_pop(L, 1);
  }
}

static void visit_function(walk *w, int nf, int of) {
  lua_State *L = w->L;
  const char *name;
  int top = lua_gettop(L);
  if (!push_plain(L, nf)) return;
  nf = top + 1;
  if (of != 0 && push_plain(L, of)) {
    of = top + 2;
    note_names(L, of);
    for (int i = 1; (name = lua_getupvalue(L, nf, i)) != NULL; i++) {
      int j = named(name) ? find_upvalue(L, of, name) : 0;
      lua_pushlightuserdata(L, lua_upvalueid(L, nf, i));
      bool done = j == 0 || visited(L, -1);
      lua_pop(L, 1);
      if (done)
        lua_pop(L, 1);
      else
        match_upvalue(w, nf, i, of, j);
    }
  }
  lua_pushvalue(L, nf);
  lua_rawseti(L, W_FNS, ++w->fns);
  lua_settop(L, top);
}

/* Upvalues of new functions that no old function of the same place has: those of that name
** anywhere else in the module. */
static void match_rest(walk *w) {
  lua_State *L = w->L;
  const char *name;
  int top = lua_gettop(L), nf = top + 1;
  lua_rawgeti(L, W_FNS, ++w->fns_done);
  for (int i = 1; (name = lua_getupvalue(L, nf, i)) != NULL; i++) {
    lua_pushlightuserdata(L, lua_upvalueid(L, nf, i));
    bool done = !named(name) || visited(L, -1);
    lua_pop(L, 1);
    if (!done && lua_getfield(L, W_NAMES, name) == LUA_TTABLE) {
      lua_rawgeti(L, -1, 1);
      lua_rawgeti(L, -2, 2);
      int j = (int)lua_tointeger(L, -1);
      lua_pop(L, 1);
      lua_pushvalue(L, nf + 1);
      match_upvalue(w, nf, i, nf + 3, j);
    } else if (!done) {
      if (w->budget-- > 0) {
        push_mark(L, nf + 1);
        lua_rawsetp(L, W_NEXT_U, lua_upvalueid(L, nf, i));
      }
      if (lua_isfunction(L, nf + 1) || (lua_istable(L, nf + 1) && !has(L, W_FOREIGN, nf + 1)))
        enqueue(w, nf + 1, 0);
    }
    lua_settop(L, nf);
  }
  lua_settop(L, top);
}

/* ---- tables ---- */

/* A field of the new table: [..., k, v] on top; stays. */
static void visit_field(walk *w, int ot, int base, int record) {
  lua_State *L = w->L;
  int k = lua_gettop(L) - 1, v = k + 1;
  if (record != 0 && w->budget-- > 0) {
    lua_pushvalue(L, k);
    push_mark(L, v);
    lua_rawset(L, record);
  }
  if (ot != 0) {
    lua_pushvalue(L, k);
    lua_rawget(L, ot); /* v + 1 */
    lua_pushvalue(L, k);
    if (base != 0)
      lua_rawget(L, base); /* v + 2 */
    else {
      lua_pop(L, 1);
      lua_pushnil(L);
    }
    if (!keeps(w, v, v + 1, v + 2) && !lua_rawequal(L, v, v + 1)) add_write(w, ot, k, v);
  } else if (lua_isfunction(L, v) || (lua_istable(L, v) && !has(L, W_FOREIGN, v)))
    enqueue(w, v, 0);
  lua_settop(L, v);
}

/* What the new code has no longer: gone if it is as the old code put it there. */
static void drop_fields(walk *w, int nt, int ot, int base) {
  lua_State *L = w->L;
  int k = lua_gettop(L) + 1;
  for (lua_pushnil(L); lua_next(L, ot); lua_settop(L, k)) {
    lua_pushvalue(L, k);
    if (lua_rawget(L, nt) != LUA_TNIL) continue;
    if (lua_isfunction(L, k + 1) && push_plain(L, k + 1)) {
      note_names(L, lua_gettop(L));
      lua_pop(L, 1);
    }
    if (base == 0) continue;
    lua_pushvalue(L, k);
    lua_rawget(L, base);
    if (!lua_isnil(L, -1) && lua_rawequal(L, -1, k + 1)) add_write(w, ot, k, k + 2);
  }
}

static void visit_table(walk *w, int nt, int ot) {
  lua_State *L = w->L;
  int top = lua_gettop(L), base = 0, record = 0;
  if (ot != 0) {
    lua_pushvalue(L, ot);
    if (lua_rawget(L, W_BASE_T) == LUA_TTABLE) base = lua_gettop(L);
  }
  if (w->budget > 0) {
    lua_newtable(L);
    record = lua_gettop(L);
    lua_pushvalue(L, ot != 0 ? ot : nt);
    lua_pushvalue(L, record);
    lua_rawset(L, W_NEXT_T);
  }
  for (lua_pushnil(L); lua_next(L, nt); lua_pop(L, 1)) visit_field(w, ot, base, record);
  if (ot != 0) drop_fields(w, nt, ot, base);
  if (lua_getmetatable(L, nt)) {
    int mt = lua_gettop(L);
    if (ot != 0 && lua_getmetatable(L, ot)) {
      if (!lua_rawequal(L, mt, mt + 1) && !has(L, W_FOREIGN, mt)) enqueue(w, mt, mt + 1);
    } else {
      if (!has(L, W_FOREIGN, mt)) enqueue(w, mt, 0);
      if (ot != 0) {
        lua_pushlightuserdata(L, (void *)&metatable_key);
        add_write(w, ot, mt + 1, mt);
      }
    }
  }
  lua_settop(L, top);
}

/* ---- the walk ---- */

static void visit_all(walk *w) {
  lua_State *L = w->L;
  int top = lua_gettop(L);
  while (w->visited < w->queued || w->fns_done < w->fns) {
    if (w->visited == w->queued) {
      match_rest(w);
      continue;
    }
    lua_rawgeti(L, W_QUEUE, 2 * w->visited + 1);
    lua_rawgeti(L, W_QUEUE, 2 * w->visited + 2);
    w->visited++;
    if (!visited(L, top + 1)) {
      int old = lua_type(L, top + 2) == lua_type(L, top + 1) ? top + 2 : 0;
      if (lua_istable(L, top + 1)) {
        if (old != 0) {
          lua_pushvalue(L, top + 1);
          lua_pushvalue(L, old);
          lua_rawset(L, W_SEEN);
        }
        visit_table(w, top + 1, old);
      } else
        visit_function(w, top + 1, old);
    }
    lua_settop(L, top);
  }
}

/* The value on top, if it is a new table that an old one stands for, becomes the old one. */
static bool forward(lua_State *L) {
  if (!lua_istable(L, -1)) return false;
  lua_pushvalue(L, -1);
  if (lua_rawget(L, W_SEEN) != LUA_TTABLE) {
    lua_pop(L, 1);
    return false;
  }
  lua_replace(L, -2);
  return true;
}

/* What is new and stays refers to old tables where it referred to those in their place. */
static void forward_all(walk *w) {
  lua_State *L = w->L;
  int top = lua_gettop(L), t = top + 1, k = top + 2;
  for (lua_Integer i = 0; i < w->queued; i++, lua_settop(L, top)) {
    lua_rawgeti(L, W_QUEUE, 2 * i + 1);
    if (!lua_istable(L, t)) continue;
    lua_pushvalue(L, t);
    if (lua_rawget(L, W_SEEN) == LUA_TTABLE) continue;
    lua_settop(L, t);
    for (lua_pushnil(L); lua_next(L, t); lua_settop(L, k)) {
      if (!forward(L)) continue;
      lua_pushvalue(L, k);
      lua_pushvalue(L, k + 1);
      lua_rawset(L, t);
    }
    if (lua_getmetatable(L, t) && forward(L)) lua_setmetatable(L, t);
  }
  for (lua_Integer i = 1; i <= w->writes; i++, lua_settop(L, top)) {
    lua_rawgeti(L, W_WRITES, 3 * i);
    if (forward(L)) lua_rawseti(L, W_WRITES, 3 * i);
  }
}

/* New functions get the old variables that are kept. */
static void join_all(walk *w) {
  lua_State *L = w->L;
  int top = lua_gettop(L), nf = top + 1;
  for (lua_Integer n = 1; n <= w->fns; n++, lua_settop(L, top)) {
    lua_rawgeti(L, W_FNS, n);
    for (int i = 1; lua_getupvalue(L, nf, i) != NULL; i++, lua_settop(L, nf)) {
      if (lua_rawgetp(L, W_JOINS, lua_upvalueid(L, nf, i)) != LUA_TTABLE) {
        lua_pop(L, 1);
        if (forward(L)) lua_setupvalue(L, nf, i);
        continue;
      }
      lua_rawgeti(L, -1, 1);
      lua_rawgeti(L, -2, 2);
      lua_upvaluejoin(L, nf, i, nf + 3, (int)lua_tointeger(L, nf + 4));
    }
  }
}

static void new_weak(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}

/* Pushes what is no part of the module whose name is at W_NAME: the other modules. */
static void push_foreign(lua_State *L) {
  int set = lua_gettop(L) + 1, loaded = set + 1, k = set + 2;
  lua_newtable(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(L); lua_next(L, loaded); lua_settop(L, k)) {
    if (lua_rawequal(L, k, W_NAME) || !lua_istable(L, k + 1)) continue;
    lua_pushboolean(L, 1);
    lua_rawset(L, set);
    lua_pushnil(L); /* for the settop */
  }
  lua_pushglobaltable(L);
  lua_pushboolean(L, 1);
  lua_rawset(L, set);
  lua_settop(L, set);
}

/* [name, new, old, globals]: fills the stack up to W_TOP. */
static void start_walk(walk *w, lua_State *L) {
  memset(w, 0, sizeof *w);
  w->L = L;
  w->budget = MAX_BASE;
  lua_settop(L, W_GLOBALS);
  luaL_checkstack(L, 40, "reload");
  push_foreign(L);
  ml__ref_get(L, ML_R_MODULES);
  lua_pushvalue(L, W_NAME);
  if (lua_rawget(L, -2) == LUA_TTABLE) {
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
  } else {
    lua_newtable(L);
    lua_newtable(L);
  }
  lua_insert(L, W_BASE_T);
  lua_insert(L, W_BASE_T);
  lua_settop(L, W_BASE_U);
  new_weak(L);
  for (int i = W_NEXT_U; i <= W_TOP; i++) lua_newtable(L);
}

/* Pushes the base that the walk has found. */
static void push_base(lua_State *L) {
  lua_createtable(L, 3, 0);
  lua_pushvalue(L, W_NEXT_T);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, W_NEXT_U);
  lua_rawseti(L, -2, 2);
}

/* [name, module, data]: remembers what a module is like that has just been loaded. */
static int note_module(lua_State *L) {
  walk w;
  lua_settop(L, W_OLD);
  lua_pushvalue(L, W_OLD); /* the loader's data, in the place of W_GLOBALS */
  lua_pushnil(L);
  lua_replace(L, W_OLD);
  start_walk(&w, L);
  if (lua_istable(L, W_NEW) || lua_isfunction(L, W_NEW)) enqueue(&w, W_NEW, 0);
  visit_all(&w);
  ml__ref_get(L, ML_R_MODULES);
  lua_pushvalue(L, W_NAME);
  push_base(L);
  lua_pushvalue(L, W_GLOBALS);
  lua_rawseti(L, -2, 3);
  lua_rawset(L, -3);
  return 0;
}

void ml__module_loaded(lua_State *L, int name, int module, int data) {
  name = lua_absindex(L, name);
  lua_pushcfunction(L, note_module);
  lua_pushvalue(L, name);
  lua_pushvalue(L, module);
  lua_pushvalue(L, data);
  lua_call(L, 3, 0);
}

/* ---- writing ---- */

/* Exchanges what the n-th write's place holds and its value. [..., writes] on top */
static void exchange(lua_State *L, lua_Integer n) {
  int list = lua_gettop(L), t = list + 1;
  lua_rawgeti(L, list, 3 * n - 2);
  lua_rawgeti(L, list, 3 * n - 1);
  lua_rawgeti(L, list, 3 * n);
  if (lua_touserdata(L, t + 1) == &metatable_key) {
    if (!lua_getmetatable(L, t)) lua_pushnil(L);
    lua_pushvalue(L, t + 2);
    lua_setmetatable(L, t);
  } else {
    lua_pushvalue(L, t + 1);
    lua_rawget(L, t);
    lua_pushvalue(L, t + 1);
    lua_pushvalue(L, t + 2);
    lua_rawset(L, t);
  }
  lua_rawseti(L, list, 3 * n); /* the slot is there: no memory is needed */
  lua_settop(L, list);
}

/* [writes, count of those done]: undoes them. */
static int undo(lua_State *L) {
  lua_Integer n = lua_tointeger(L, 2);
  lua_settop(L, 1);
  for (; n > 0; n--) exchange(L, n);
  return 0;
}

/* [writes, pointer to the count, how many] */
static int commit(lua_State *L) {
  lua_Integer *done = lua_touserdata(L, 2), n = lua_tointeger(L, 3);
  lua_settop(L, 1);
  while (*done < n) {
    exchange(L, *done + 1);
    ++*done;
  }
  return 0;
}

/* All writes of the list at W_WRITES, or none. */
static void commit_all(lua_State *L, lua_Integer n) {
  lua_Integer done = 0;
  lua_pushcfunction(L, commit);
  lua_pushvalue(L, W_WRITES);
  lua_pushlightuserdata(L, &done);
  lua_pushinteger(L, n);
  if (lua_pcall(L, 3, 0, 0) == LUA_OK) return;
  lua_pushcfunction(L, undo);
  lua_pushvalue(L, W_WRITES);
  lua_pushinteger(L, done);
  lua_call(L, 2, 0);
  lua_error(L); /* no memory */
}

/* ---- reloading ---- */

/* The stack of a reload. */
enum { R_NAME = 1, R_MSGH, R_OLD, R_GLOBALS, R_DATA, R_NEW, R_COPY, R_WRITES, R_COUNT, R_MODULE };

static void push_globals_copy(lua_State *L) {
  int g = lua_gettop(L) + 1, copy = g + 1, k = g + 2;
  lua_pushglobaltable(L);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, g); lua_settop(L, k)) {
    lua_pushvalue(L, k);
    lua_pushvalue(L, k + 1);
    lua_rawset(L, copy);
  }
  lua_remove(L, g);
}

/* Global variables are again what the copy at R_GLOBALS says. */
static void restore_globals(lua_State *L) {
  int g = lua_gettop(L) + 1, k = g + 1;
  lua_pushglobaltable(L);
  for (lua_pushnil(L); lua_next(L, g); lua_settop(L, k)) {
    lua_pushvalue(L, k);
    lua_pushvalue(L, k);
    lua_rawget(L, R_GLOBALS);
    lua_rawset(L, g); /* fields that are there: none is added while we go over them */
  }
  for (lua_pushnil(L); lua_next(L, R_GLOBALS); lua_settop(L, k)) {
    lua_pushvalue(L, k);
    lua_pushvalue(L, k + 1);
    lua_rawset(L, g);
  }
  lua_settop(L, g - 1);
}

/* Global functions and tables that the chunk has made anew. */
static void match_globals(walk *w) {
  lua_State *L = w->L;
  int g = lua_gettop(L) + 1, k = g + 1;
  lua_pushglobaltable(L);
  for (lua_pushnil(L); lua_next(L, g); lua_settop(L, k)) {
    int t = lua_type(L, k + 1);
    lua_pushvalue(L, k);
    lua_rawget(L, W_GLOBALS);
    if (lua_rawequal(L, k + 1, k + 2) || (t != LUA_TFUNCTION && t != LUA_TTABLE) ||
        (t == LUA_TTABLE && has(L, W_FOREIGN, k + 1)))
      continue;
    if (lua_type(L, k + 2) != t) {
      enqueue(w, k + 1, 0);
      continue;
    }
    enqueue(w, k + 1, k + 2);
    if (t == LUA_TTABLE) add_write(w, g, k, k + 2);
  }
  lua_settop(L, g - 1);
}

/* [name, new, old, globals] -> a copy of the old module, writes, how many, the module */
static int apply(lua_State *L) {
  walk w;
  int kept = W_OLD, base, top;
  start_walk(&w, L);
  top = lua_gettop(L);
  if (lua_istable(L, W_NEW) && lua_istable(L, W_OLD))
    enqueue(&w, W_NEW, W_OLD);
  else {
    kept = W_NEW;
    if (lua_isfunction(L, W_NEW) || lua_istable(L, W_NEW))
      enqueue(&w, W_NEW, lua_type(L, W_OLD) == lua_type(L, W_NEW) ? W_OLD : 0);
  }
  match_globals(&w);
  visit_all(&w);
  push_base(L);
  base = top + 1;
  ml__ref_get(L, ML_R_MODULES);
  add_write(&w, base + 1, W_NAME, base);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  add_write(&w, base + 2, W_NAME, kept);
  lua_settop(L, base);
  if (lua_istable(L, W_OLD)) {
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, W_OLD); lua_settop(L, base + 2)) {
      lua_pushvalue(L, base + 2);
      lua_pushvalue(L, base + 3);
      lua_rawset(L, base + 1);
    }
  } else
    lua_pushvalue(L, W_OLD);
  forward_all(&w);
  join_all(&w);
  commit_all(L, w.writes);
  lua_pushvalue(L, W_WRITES);
  lua_pushinteger(L, w.writes);
  lua_pushvalue(L, kept);
  return 4;
}

/* Pushes the module's loader and what is passed to it, or raises an error. */
static void push_loader(lua_State *L, const char *name) {
  ml_engine *e = ml__engine(L);
  int searchers = lua_gettop(L) + 1;
  e->reload_error = ML_EINVAL;
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "package") != LUA_TTABLE ||
      lua_getfield(L, -1, "searchers") != LUA_TTABLE)
    luaL_error(L, "'package.searchers' must be a table");
  lua_replace(L, searchers);
  lua_settop(L, searchers);
  lua_pushliteral(L, "");
  for (int i = 1; lua_rawgeti(L, searchers, i) != LUA_TNIL; i++) {
    lua_pushstring(L, name);
    e->reload_error = ML_ESYNTAX;
    lua_call(L, 1, 2);
    e->reload_error = ML_EINVAL;
    if (lua_isfunction(L, -2)) {
      lua_remove(L, searchers);
      lua_remove(L, searchers);
      return;
    }
    lua_pop(L, 1);
    if (lua_isstring(L, -1)) {
      lua_pushliteral(L, "\n\t");
      lua_insert(L, -2);
      lua_concat(L, 3);
    } else
      lua_pop(L, 1);
  }
  luaL_error(L, "module '%s' not found:%s", name, lua_tostring(L, searchers + 1));
}

static int reloaded_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_pushcfunction(L, undo);
    lua_pushvalue(L, R_WRITES);
    lua_pushvalue(L, R_COUNT);
    lua_call(L, 2, 0);
    restore_globals(L);
    return lua_error(L);
  }
  ml__engine(L)->require_serial++;
  ml__ref_get(L, ML_R_MODULES);
  lua_pushvalue(L, R_NAME);
  if (lua_rawget(L, -2) == LUA_TTABLE) {
    lua_pushvalue(L, R_DATA);
    lua_rawseti(L, -2, 3);
  }
  lua_settop(L, R_MODULE);
  return 1;
}

/* The new chunk has been run; what it gave, or its error, is on top. */
static int loaded_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (status != LUA_OK && status != LUA_YIELD) {
    restore_globals(L);
    return lua_error(L);
  }
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, R_NAME);
  lua_rawget(L, R_NEW + 1);
  if (!lua_rawequal(L, -1, R_OLD)) { /* it has put itself there */
    if (lua_isnil(L, R_NEW)) lua_copy(L, -1, R_NEW);
    lua_pushvalue(L, R_NAME);
    lua_pushvalue(L, R_OLD);
    lua_rawset(L, R_NEW + 1);
  }
  if (lua_isnil(L, R_NEW)) {
    lua_pushboolean(L, 1);
    lua_replace(L, R_NEW);
  }
  lua_settop(L, R_NEW);
  lua_pushcfunction(L, apply);
  lua_pushvalue(L, R_NAME);
  lua_pushvalue(L, R_NEW);
  lua_pushvalue(L, R_OLD);
  lua_pushvalue(L, R_GLOBALS);
  if (lua_pcall(L, 4, 4, 0) != LUA_OK) {
    restore_globals(L);
    return lua_error(L);
  }
  if (lua_istable(L, R_NEW)) {
    lua_pushliteral(L, "on_reload");
    if (lua_rawget(L, R_NEW) == LUA_TFUNCTION) {
      lua_pushvalue(L, R_COPY);
      return reloaded_k(L, lua_pcallk(L, 1, 0, R_MSGH, 0, reloaded_k), 0);
    }
  }
  return reloaded_k(L, LUA_OK, 0);
}

/* core.reload(name): gives the module */
static int core_reload(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  ml_engine *e = ml__engine(L);
  e->reload_error = ML_EINVAL;
  lua_settop(L, 1);
  luaL_checkstack(L, 20, "reload");
  lua_pushcfunction(L, ml__msgh);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, name) == LUA_TNIL)
    return ml__misuse(L, "ValueError", "reload: module '%s' is not loaded: require it first", name);
  ml__ref_get(L, ML_R_MODULES);
  if (lua_getfield(L, -1, name) != LUA_TTABLE)
    return ml__misuse(L, "ValueError",
                      "reload: module '%s' cannot be reloaded: it is not a Lua module that require "
                      "has loaded",
                      name);
  lua_pop(L, 2);
  lua_remove(L, R_OLD);
  push_globals_copy(L);
  push_loader(L, name); /* loader, data */
  lua_pushvalue(L, -1);
  lua_insert(L, R_DATA);
  lua_pushvalue(L, R_NAME);
  lua_insert(L, -2); /* loader, name, data */
  e->reload_error = ML_ESCRIPT;
  return loaded_k(L, lua_pcallk(L, 2, 1, R_MSGH, 0, loaded_k), 0);
}

/* [module's name, a pointer] */
static int reload_named(lua_State *L) {
  const char *module = lua_touserdata(L, 1);
  lua_pushcfunction(L, core_reload);
  lua_pushstring(L, module);
  lua_call(L, 1, 0);
  return 0;
}

int ml_reload(ml_engine *e, const char *module) {
  lua_State *L;
  ml_metered was;
  int st, top, rc = 0;
  if (e == NULL || module == NULL) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  L = ml__state(e);
  top = lua_gettop(L);
  if (!lua_checkstack(L, 8)) return ML_ENOMEM;
  was = ml__meter_open(e, L);
  lua_pushcfunction(L, reload_named);
  lua_pushlightuserdata(L, (void *)module);
  e->reloading++;
  e->reload_error = ML_EINVAL;
  st = lua_pcall(L, 1, 0, 0);
  e->reloading--;
  ml__meter_close(e, L, was);
  if (st != LUA_OK) rc = ml__set_last_error(e, L, st == LUA_ERRMEM ? ML_ENOMEM : e->reload_error);
  lua_settop(L, top);
  return rc;
}

/* core.modules(): what can be reloaded: name -> file, or false */
static int core_modules(lua_State *L) {
  lua_settop(L, 0);
  lua_newtable(L);
  ml__ref_get(L, ML_R_MODULES);
  for (lua_pushnil(L); lua_next(L, 2); lua_settop(L, 3)) {
    lua_pushvalue(L, 3);
    if (lua_rawgeti(L, 4, 3) != LUA_TSTRING || lua_tostring(L, -1)[0] == ':') {
      lua_pop(L, 1);
      lua_pushboolean(L, 0);
    }
    lua_rawset(L, 1);
  }
  lua_settop(L, 1);
  return 1;
}

void ml__open_reload(lua_State *L) {
  static const luaL_Reg fns[] = {{"reload", core_reload}, {"modules", core_modules}, {NULL, NULL}};
  luaL_setfuncs(L, fns, 0);
}
