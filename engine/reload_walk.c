/* The comparison of a module's new code with the old, for reload.c.
**
** Two values that stand in the same place are a pair: the modules first, then the fields of
** tables and the upvalues of functions of each pair. A walk has a queue of them and makes a
** list of writes; nothing is changed while it goes on. The tables that it needs are on
** the stack, see reload.h. Tables are read raw, those of other modules are not entered.
*/
#include <string.h>

#include "reload.h"

/* Values that are remembered of a module at most, and places that are visited. */
#define MAX_BASE 2000
#define MAX_VISITS 200000

/* What stands in a base for values that are only remembered by their type. */
static const char marks[LUA_NUMTYPES] = {0};

const char ml__walk_metatable = 0;

static void push_mark(lua_State *L, int idx) {
  int t = lua_type(L, idx);
  if (t == LUA_TNIL || t == LUA_TTABLE || t == LUA_TUSERDATA || t == LUA_TTHREAD)
    lua_pushlightuserdata(L, (void *)&marks[t]);
  else
    lua_pushvalue(L, idx);
}

bool ml__walk_has(lua_State *L, int set, int idx) {
  bool is;
  lua_pushvalue(L, idx);
  is = lua_rawget(L, set) != LUA_TNIL;
  lua_pop(L, 1);
  return is;
}

/* Has the value at idx been visited? From now on it has. */
static bool visited(lua_State *L, int idx) {
  if (ml__walk_has(L, W_SEEN, idx)) return true;
  lua_pushvalue(L, idx);
  lua_pushboolean(L, 1);
  lua_rawset(L, W_SEEN);
  return false;
}

/* ov 0: there is no old one */
void ml__walk_enqueue(ml_walk *w, int nv, int ov) {
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

void ml__walk_write(ml_walk *w, int t, int k, int v) {
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
static bool keeps(ml_walk *w, int nv, int ov, int b) {
  lua_State *L = w->L;
  int t = lua_type(L, nv);
  bool same, unchanged;
  switch (t) {
  case LUA_TFUNCTION: ml__walk_enqueue(w, nv, lua_isfunction(L, ov) ? ov : 0); return false;
  case LUA_TTABLE:
    if (lua_rawequal(L, nv, ov)) return true;
    if (ml__walk_has(L, W_FOREIGN, nv)) return false;
    if (lua_istable(L, ov)) {
      bool own = !ml__walk_has(L, W_FOREIGN, ov);
      ml__walk_enqueue(w, nv, own ? ov : 0);
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
  if (!same && t == LUA_TTABLE) ml__walk_enqueue(w, nv, 0);
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
static void match_upvalue(ml_walk *w, int nf, int i, int of, int j) {
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

static void visit_function(ml_walk *w, int nf, int of) {
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
static void match_rest(ml_walk *w) {
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
      if (lua_isfunction(L, nf + 1) ||
          (lua_istable(L, nf + 1) && !ml__walk_has(L, W_FOREIGN, nf + 1)))
        ml__walk_enqueue(w, nf + 1, 0);
    }
    lua_settop(L, nf);
  }
  lua_settop(L, top);
}

/* ---- tables ---- */

/* A field of the new table: [..., k, v] on top; stays. */
static void visit_field(ml_walk *w, int ot, int base, int record) {
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
    if (!keeps(w, v, v + 1, v + 2) && !lua_rawequal(L, v, v + 1)) ml__walk_write(w, ot, k, v);
  } else if (lua_isfunction(L, v) || (lua_istable(L, v) && !ml__walk_has(L, W_FOREIGN, v)))
    ml__walk_enqueue(w, v, 0);
  lua_settop(L, v);
}

/* What the new code has no longer: gone if it is as the old code put it there. */
static void drop_fields(ml_walk *w, int nt, int ot, int base) {
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
    if (!lua_isnil(L, -1) && lua_rawequal(L, -1, k + 1)) ml__walk_write(w, ot, k, k + 2);
  }
}

static void visit_table(ml_walk *w, int nt, int ot) {
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
      if (!lua_rawequal(L, mt, mt + 1) && !ml__walk_has(L, W_FOREIGN, mt))
        ml__walk_enqueue(w, mt, mt + 1);
    } else {
      if (!ml__walk_has(L, W_FOREIGN, mt)) ml__walk_enqueue(w, mt, 0);
      if (ot != 0) {
        lua_pushlightuserdata(L, (void *)&ml__walk_metatable);
        ml__walk_write(w, ot, mt + 1, mt);
      }
    }
  }
  lua_settop(L, top);
}

/* ---- the walk ---- */

void ml__walk_run(ml_walk *w) {
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
void ml__walk_forward(ml_walk *w) {
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
void ml__walk_join(ml_walk *w) {
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
void ml__walk_start(ml_walk *w, lua_State *L) {
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
  ml__push_weak(L, "k");
  for (int i = W_NEXT_U; i <= W_TOP; i++) lua_newtable(L);
}

/* Pushes the base that the walk has found. */
void ml__walk_base(lua_State *L) {
  lua_createtable(L, 3, 0);
  lua_pushvalue(L, W_NEXT_T);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, W_NEXT_U);
  lua_rawseti(L, -2, 2);
}

/* [name, module, data]: remembers what a module is like that has just been loaded. */
static int note_module(lua_State *L) {
  ml_walk w;
  lua_settop(L, W_OLD);
  lua_pushvalue(L, W_OLD); /* the loader's data, in the place of W_GLOBALS */
  lua_pushnil(L);
  lua_replace(L, W_OLD);
  ml__walk_start(&w, L);
  if (lua_istable(L, W_NEW) || lua_isfunction(L, W_NEW)) ml__walk_enqueue(&w, W_NEW, 0);
  ml__walk_run(&w);
  ml__ref_get(L, ML_R_MODULES);
  lua_pushvalue(L, W_NAME);
  ml__walk_base(L);
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
