/* Values to bytes. pack.h has the format; names.c knows what goes by name.
**
** Nothing here runs Lua code, so that what is packed stands still. When a value
** cannot be copied the whole is walked once more with a trail kept, to say where
** the value is: a message that can be sent pays nothing for that.
*/
#include <stdlib.h>
#include <string.h>

#include "packer.h"

/* ---- bytes ---- */

static char *reserve(ml_packer *P, size_t n) {
  ml_buf *b = P->out;
  if (b->cap - b->len < n) {
    size_t cap = b->cap < 256 ? 256 : b->cap * 2;
    char *p;
    if (cap - b->len < n) cap = b->len + n;
    p = realloc(b->data, cap);
    if (p == NULL) luaL_error(P->L, "not enough memory");
    b->data = p;
    b->cap = cap;
  }
  return b->data + b->len;
}

static void put_bytes(ml_packer *P, const void *p, size_t n) {
  if (n == 0) return;
  memcpy(reserve(P, n), p, n);
  P->out->len += n;
}

static void put_byte(ml_packer *P, int c) {
  *reserve(P, 1) = (char)c;
  P->out->len++;
}

static void put_int(ml_packer *P, uint64_t v) { P->out->len += ml__put_varint(reserve(P, 10), v); }

static void put_string(ml_packer *P, int idx) {
  size_t n;
  const char *s = lua_tolstring(P->L, idx, &n);
  put_int(P, n);
  put_bytes(P, s, n);
}

static bool refuse(ml_packer *P, const char *what) {
  P->bad = what;
  return false;
}

/* ---- objects ---- */

/* If the object at idx has a number already, refers to it. */
static bool known(ml_packer *P, int idx) {
  lua_State *L = P->L;
  bool is;
  if (P->nobj == 0) return false;
  lua_pushvalue(L, idx);
  is = lua_rawget(L, P->seen) == LUA_TNUMBER;
  if (is) {
    put_byte(P, PT_REF);
    put_int(P, (uint64_t)lua_tointeger(L, -1));
  }
  lua_pop(L, 1);
  return is;
}

/* The object at idx gets the next number. */
static void number(ml_packer *P, int idx) {
  lua_State *L = P->L;
  if (P->nobj++ == 0) {
    lua_newtable(L);
    lua_replace(L, P->seen);
    lua_newtable(L);
    lua_replace(L, P->queue);
  }
  lua_pushvalue(L, idx);
  lua_pushinteger(L, P->nobj);
  lua_rawset(L, P->seen);
  lua_pushvalue(L, idx);
  lua_rawseti(L, P->queue, P->nobj);
  if (!P->explain) return;
  lua_pushinteger(L, P->cur);
  lua_rawseti(L, P->trail, 2 * P->nobj - 1);
  ml__pack_segment(P);
  lua_rawseti(L, P->trail, 2 * P->nobj);
}

static bool pack_value(ml_packer *P, int idx);

/* Has the table at idx this field itself? */
static bool has(lua_State *L, int idx, const char *key) {
  bool is;
  lua_pushstring(L, key);
  is = lua_rawget(L, idx) != LUA_TNIL;
  lua_pop(L, 1);
  return is;
}

/* The error class at idx; made by extend if kind is 2. Pops what ml__error_class gave. */
static bool pack_class(ml_packer *P, int idx, int kind) {
  lua_State *L = P->L;
  if (kind == 1) {
    put_byte(P, PT_CLASS);
    put_string(P, -1);
    lua_pop(L, 1);
    return true;
  }
  put_byte(P, PT_SUBCLASS);
  if (P->how->flags & ML_PACK_CODE) {
    ml__identity(L, idx);
    put_string(P, -1);
    lua_pop(L, 1);
  } else
    put_int(P, 0);
  put_string(P, -2);
  luaL_checkstack(L, 10, "pack");
  bool ok = pack_value(P, lua_gettop(L)); /* its base: chains are short */
  lua_pop(L, 2);
  if (ok) number(P, idx);
  return ok;
}

static bool is_globals(lua_State *L, int idx) {
  bool is;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  is = lua_rawequal(L, idx, -1);
  lua_pop(L, 1);
  return is;
}

/* Whatever a function's environment is here: there it is the other state's globals. */
static bool is_environment(lua_State *L, const char *name, int idx) {
  if (!lua_istable(L, idx)) return false;
  return (name != NULL && strcmp(name, "_ENV") == 0) || is_globals(L, idx);
}

static bool pack_table(ml_packer *P, int idx) {
  lua_State *L = P->L;
  bool code = (P->how->flags & ML_PACK_CODE) != 0, metatable = P->metatable;
  int kind;
  P->metatable = false;
  if (known(P, idx)) return true;
  if (has(L, idx, "__name") && (kind = ml__error_class(L, idx)) != 0)
    return pack_class(P, idx, kind);
  if (code && is_globals(L, idx)) {
    put_byte(P, PT_GLOBALS);
    return true;
  }
  if (code && ml__name_of_module(L, idx)) {
    put_byte(P, PT_MODULE);
    put_string(P, -1);
    lua_pop(L, 1);
    return true;
  }
  if (code && (metatable || has(L, idx, "__index"))) {
    put_byte(P, PT_SHARED);
    ml__identity(L, idx);
    put_string(P, -1);
    lua_pop(L, 1);
  } else
    put_byte(P, PT_TABLE);
  put_int(P, lua_rawlen(L, idx));
  number(P, idx);
  return true;
}

/* ---- functions ---- */

static int dump_writer(lua_State *L, const void *p, size_t n, void *ud) {
  (void)L;
  put_bytes(ud, p, n);
  return 0;
}

/* The bytecode of the function at idx, behind its length in four bytes. */
static void put_code(ml_packer *P, int idx) {
  size_t at, n;
  reserve(P, 4);
  at = P->out->len;
  P->out->len += 4;
  lua_pushvalue(P->L, idx);
  lua_dump(P->L, dump_writer, P, 0);
  lua_pop(P->L, 1);
  n = P->out->len - at - 4;
  for (int i = 0; i < 4; i++) P->out->data[at + (size_t)i] = (char)(n >> (8 * i));
}

/* Gives what lies behind `mark` to the codebook, takes it off, and returns its number. The
** same bytes are kept once. */
static uint32_t keep(ml_packer *P, size_t mark) {
  lua_State *L = P->L;
  const ml_codebook *book = P->how->book;
  uint32_t id;
  lua_pushlstring(L, P->out->data + mark, P->out->len - mark);
  P->out->len = mark;
  lua_pushvalue(L, -1);
  if (lua_rawget(L, P->how->known) == LUA_TNUMBER)
    id = (uint32_t)lua_tointeger(L, -1);
  else {
    size_t n;
    const char *s = lua_tolstring(L, -2, &n);
    id = book->keep(book->ud, s, n);
    if (id != 0) {
      lua_pushvalue(L, -2);
      lua_pushinteger(L, id);
      lua_rawset(L, P->how->known);
    }
  }
  lua_pop(L, 2);
  return id;
}

static uint32_t kept(ml_packer *P, int idx);

/* Writes the upvalue on top if it is of a kind that stays the same in the other state:
** globals, modules, functions of libraries, the function itself, one that is kept. */
static bool put_constant(ml_packer *P, int f, const char *name) {
  lua_State *L = P->L;
  int v = lua_gettop(L), kind;
  uint32_t id;
  if (is_environment(L, name, v)) {
    put_byte(P, PT_GLOBALS);
    return true;
  }
  if (lua_istable(L, v)) {
    if (has(L, v, "__name") && (kind = ml__error_class(L, v)) != 0) {
      if (kind == 1) return pack_class(P, v, kind);
      lua_settop(L, v);
      return false;
    }
    if (!ml__name_of_module(L, v)) return false;
    put_byte(P, PT_MODULE);
    put_string(P, -1);
    lua_pop(L, 1);
    return true;
  }
  if (!lua_isfunction(L, v)) return false;
  if (lua_rawequal(L, v, f)) {
    put_byte(P, PT_SELF);
    return true;
  }
  if (ml__name_of_function(L, v)) {
    put_byte(P, PT_NAMED);
    put_string(P, -2);
    put_string(P, -1);
    lua_pop(L, 2);
    return true;
  }
  if (lua_iscfunction(L, v) || (id = kept(P, v)) == 0) return false;
  put_byte(P, PT_KEPT);
  put_int(P, id);
  return true;
}

#define KEPT_DEPTH 10 /* functions that are upvalues of one another */

/* A function all of whose upvalues are constants is kept as a whole: the receiver makes
** it once. Returns its number, or 0. */
static uint32_t kept(ml_packer *P, int idx) {
  lua_State *L = P->L;
  size_t mark = P->out->len;
  int top = lua_gettop(L), type;
  lua_Debug ar;
  uint32_t id;
  if (P->depth >= KEPT_DEPTH) return 0;
  luaL_checkstack(L, 16, "pack");
  id = ml__kept(L, idx, P->how->known);
  if (id != 0) return id;
  lua_pushvalue(L, idx);
  type = lua_rawget(L, P->how->known);
  lua_settop(L, top);
  if (type != LUA_TNIL && type != LUA_TTABLE) return 0;
  lua_pushvalue(L, idx);
  lua_getinfo(L, ">u", &ar);
  put_code(P, idx);
  put_int(P, ar.nups);
  lua_createtable(L, ar.nups + 1, 0);
  P->depth++;
  bool all = true;
  const char *name;
  for (int i = 1; all && (name = lua_getupvalue(L, idx, i)) != NULL; i++) {
    all = put_constant(P, idx, name);
    lua_rawseti(L, top + 1, i + 1);
  }
  P->depth--;
  if (all) id = keep(P, mark);
  P->out->len = mark;
  if (id != 0) {
    lua_pushinteger(L, id);
    lua_rawseti(L, top + 1, 1);
  } else if (P->depth == 0) { /* alone it is not kept: so it will be with others */
    lua_pushboolean(L, 1);
    lua_replace(L, top + 1);
  } else {
    lua_settop(L, top);
    return 0;
  }
  lua_pushvalue(L, idx);
  lua_insert(L, top + 1);
  lua_rawset(L, P->how->known);
  return id;
}

/* The code of a function with upvalues of its own: from its second sending on, by number. */
static void put_function(ml_packer *P, int idx) {
  lua_State *L = P->L;
  uint32_t id = 0;
  size_t mark = P->out->len;
  bool again = false;
  if (P->how->book != NULL) {
    lua_pushvalue(L, idx);
    switch (lua_rawget(L, P->how->known)) {
    case LUA_TNUMBER: id = (uint32_t)lua_tointeger(L, -1); break;
    case LUA_TSTRING: again = true; break;
    case LUA_TBOOLEAN:
      lua_pushvalue(L, idx);
      lua_pushliteral(L, "once");
      lua_rawset(L, P->how->known);
      break;
    default: break;
    }
    lua_pop(L, 1);
  }
  if (again) {
    put_code(P, idx);
    id = keep(P, mark);
    if (id != 0) {
      lua_pushvalue(L, idx);
      lua_pushinteger(L, id);
      lua_rawset(L, P->how->known);
    }
  }
  put_int(P, id);
  if (id == 0) put_code(P, idx);
}

static bool pack_function(ml_packer *P, int idx) {
  lua_State *L = P->L;
  uint32_t id;
  if (!(P->how->flags & ML_PACK_CODE)) return refuse(P, "function");
  if (ml__name_of_function(L, idx)) {
    put_byte(P, PT_NAMED);
    put_string(P, -2);
    put_string(P, -1);
    lua_pop(L, 2);
    return true;
  }
  if (ml__asyncclosure(L, idx)) {
    put_byte(P, PT_ASYNC);
    lua_getupvalue(L, idx, 1);
    bool ok = pack_value(P, lua_gettop(L)); /* no coroutine function itself */
    lua_pop(L, 1);
    return ok;
  }
  if (lua_iscfunction(L, idx)) return refuse(P, "C function");
  if (known(P, idx)) return true;
  if (P->how->book != NULL && (id = kept(P, idx)) != 0) {
    put_byte(P, PT_KEPT);
    put_int(P, id);
    return true;
  }
  put_byte(P, PT_FUNCTION);
  put_function(P, idx);
  number(P, idx);
  return true;
}

/* ---- values and bodies ---- */

static void put_number(ml_packer *P, int idx) {
  P->out->len += ml__put_number(P->L, idx, reserve(P, PACK_NUMBER));
}

static bool pack_value(ml_packer *P, int idx) {
  lua_State *L = P->L;
  switch (lua_type(L, idx)) {
  case LUA_TNIL: put_byte(P, PT_NIL); return true;
  case LUA_TBOOLEAN: put_byte(P, lua_toboolean(L, idx) ? PT_TRUE : PT_FALSE); return true;
  case LUA_TNUMBER: put_number(P, idx); return true;
  case LUA_TSTRING: {
    size_t n = lua_rawlen(L, idx);
    if (n < 64) {
      put_byte(P, PT_SHORT + (int)n);
      put_bytes(P, lua_tostring(L, idx), n);
    } else {
      put_byte(P, PT_STRING);
      put_string(P, idx);
    }
    return true;
  }
  case LUA_TTABLE: return pack_table(P, idx);
  case LUA_TFUNCTION: return pack_function(P, idx);
  case LUA_TLIGHTUSERDATA:
    if (lua_touserdata(L, idx) != NULL) return refuse(P, "userdata");
    put_byte(P, PT_NULL);
    return true;
  case LUA_TUSERDATA: {
    const ml_object *o = ml__toobject(L, idx);
    return refuse(P, o != NULL ? ml__engine(L)->typenames[o->type] : "userdata");
  }
  default: return refuse(P, luaL_typename(L, idx));
  }
}

/* Its metatable, if it has one. */
static bool body_metatable(ml_packer *P, int t) {
  lua_State *L = P->L;
  bool ok;
  if (!lua_getmetatable(L, t)) {
    put_byte(P, PT_END);
    return true;
  }
  P->seg = SEG_META;
  if (!(P->how->flags & ML_PACK_CODE)) {
    int top = lua_gettop(L);
    if (ml__error_class(L, top) == 0) return refuse(P, "only errors may have one");
    lua_settop(L, top);
  }
  put_byte(P, PT_META);
  P->metatable = true;
  ok = pack_value(P, lua_gettop(L));
  lua_pop(L, 1);
  return ok;
}

/* The table at t: a metatable, the array, pairs. Of a class only what a script gave it. */
static bool body_table(ml_packer *P, int t) {
  lua_State *L = P->L;
  bool class = has(L, t, "__name") && ml__error_class(L, t) != 0;
  lua_Integer n = class ? 0 : (lua_Integer)lua_rawlen(L, t);
  lua_settop(L, t);
  if (class)
    put_byte(P, PT_END);
  else if (!body_metatable(P, t))
    return false;
  put_int(P, (uint64_t)n);
  P->seg = SEG_FIELD;
  for (lua_Integer i = 1; i <= n; i++) {
    if (P->explain) {
      lua_pushinteger(L, i);
      P->key = lua_gettop(L);
    }
    lua_rawgeti(L, t, i);
    if (!pack_value(P, lua_gettop(L))) return false;
    lua_settop(L, t);
  }
  if (class && !(P->how->flags & ML_PACK_CODE)) {
    put_byte(P, PT_END);
    return true;
  }
  for (lua_pushnil(L); lua_next(L, t); lua_settop(L, t + 1)) {
    if (lua_isinteger(L, t + 1) && lua_tointeger(L, t + 1) >= 1 && lua_tointeger(L, t + 1) <= n)
      continue;
    if (lua_touserdata(L, t + 1) == (void *)&ml__magic) continue; /* a mark of the engine's */
    if (class && ml__error_class_field(L, t, t + 1)) continue;
    P->seg = SEG_KEY;
    if (!pack_value(P, t + 1)) return false;
    P->seg = SEG_FIELD;
    P->key = t + 1;
    if (!pack_value(P, t + 2)) return false;
  }
  put_byte(P, PT_END);
  return true;
}

/* The function at f: its upvalues. Variables that functions share are shared there. */
static bool body_function(ml_packer *P, int f) {
  lua_State *L = P->L;
  lua_Debug ar;
  lua_pushvalue(L, f);
  lua_getinfo(L, ">u", &ar);
  put_int(P, ar.nups);
  P->seg = SEG_UPVALUE;
  for (int i = 1; i <= ar.nups; i++) {
    const char *name = lua_getupvalue(L, f, i);
    P->key = i;
    if (is_environment(L, name, f + 1)) {
      put_byte(P, PT_GLOBALS);
      lua_settop(L, f);
      continue;
    }
    void *variable = lua_upvalueid(L, f, i);
    if (lua_rawgetp(L, P->seen, variable) == LUA_TNUMBER) {
      lua_Integer where = lua_tointeger(L, -1);
      put_byte(P, PT_JOIN);
      put_int(P, (uint64_t)(where >> 8));
      put_int(P, (uint64_t)(where & 255));
      lua_settop(L, f);
      continue;
    }
    lua_pop(L, 1);
    lua_pushinteger(L, (P->cur << 8) | i);
    lua_rawsetp(L, P->seen, variable);
    if (!pack_value(P, f + 1)) return false;
    lua_settop(L, f);
  }
  return true;
}

static bool pack_all(ml_packer *P, int first, int n) {
  lua_State *L = P->L;
  static const char magic[] = PACK_MAGIC;
  P->out->len = P->start;
  P->nobj = P->cur = 0;
  put_bytes(P, magic, 4);
  put_byte(P, PACK_VERSION);
  put_int(P, (uint64_t)n);
  for (int i = 0; i < n; i++) {
    P->seg = SEG_ROOT;
    P->key = i + 1;
    if (!pack_value(P, first + i)) return false;
  }
  for (P->cur = 1; P->cur <= P->nobj; P->cur++) {
    int top = lua_gettop(L);
    bool ok;
    lua_rawgeti(L, P->queue, P->cur);
    ok = lua_istable(L, top + 1) ? body_table(P, top + 1) : body_function(P, top + 1);
    if (!ok) return false;
    lua_settop(L, top);
  }
  return true;
}

int ml__pack(lua_State *L, int first, int n, const ml_packing *how, ml_buf *out) {
  ml_packer P = {.L = L, .how = how, .out = out, .start = out->len};
  int base = lua_gettop(L);
  luaL_checkstack(L, 30, "pack");
  first = lua_absindex(L, first);
  lua_settop(L, base + 3);
  P.seen = base + 1;
  P.queue = base + 2;
  P.trail = base + 3;
  if (!pack_all(&P, first, n)) {
    lua_settop(L, base + 3);
    lua_newtable(L);
    lua_replace(L, P.trail);
    P.explain = true;
    pack_all(&P, first, n);
    ml__pack_place(&P);
    out->len = P.start;
    lua_replace(L, base + 1);
    lua_settop(L, base + 1);
    return -1;
  }
  lua_settop(L, base);
  return 0;
}
