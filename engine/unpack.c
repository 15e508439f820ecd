/* Bytes to values: the other half of pack.c. The bytes may be anything: each length is
** checked against what is left, numbers against what has been made, and nothing
** recurses but chains of classes, which are bounded. Code is loaded for those alone
** who say that they trust the sender (ML_PACK_CODE).
*/
#include <string.h>

#include "pack.h"

typedef struct unpacker {
  lua_State *L;
  const ml_packing *how;
  const unsigned char *begin, *p, *end;
  size_t room;      /* elements that tables may still be made for in advance */
  int objects;      /* index: number -> object, -number -> true: its body is not wanted */
  lua_Integer nobj; /* numbers given */
  int depth;
  bool in_book; /* a kept function is made: its objects have no numbers */
} unpacker;

static void unpack_value(unpacker *U);

static int bad(unpacker *U, const char *why) {
  return ml__error(U->L, "ValueError", "not a packed value, or a damaged one: %s at byte %d", why,
                   (int)(U->p - U->begin));
}

static size_t left(const unpacker *U) { return (size_t)(U->end - U->p); }

static int get_byte(unpacker *U) {
  if (U->p == U->end) return bad(U, "it ends early");
  return *U->p++;
}

static uint64_t get_int(unpacker *U) {
  uint64_t v;
  const unsigned char *p = ml__get_varint(U->p, U->end, &v);
  if (p == NULL) return (uint64_t)bad(U, left(U) < 10 ? "it ends early" : "a number is too long");
  U->p = p;
  return v;
}

/* A length of something that takes at least a byte each. */
static size_t get_length(unpacker *U) {
  uint64_t n = get_int(U);
  if (n > left(U)) bad(U, "a length is greater than what is left");
  return (size_t)n;
}

static const char *get_bytes(unpacker *U, size_t *n) {
  const char *s;
  *n = get_length(U);
  s = (const char *)U->p;
  U->p += *n;
  return s;
}

static void get_string(unpacker *U) {
  size_t n;
  const char *s = get_bytes(U, &n);
  lua_pushlstring(U->L, s, n);
}

/* The object on top has the next number. */
static void number(unpacker *U) {
  if (U->nobj++ == 0) {
    lua_newtable(U->L);
    lua_replace(U->L, U->objects);
  }
  lua_pushvalue(U->L, -1);
  lua_rawseti(U->L, U->objects, U->nobj);
}

/* What was numbered last is there already: its body is read and dropped. */
static void unwanted(unpacker *U) {
  lua_pushboolean(U->L, 1);
  lua_rawseti(U->L, U->objects, -U->nobj);
}

static void push_object(unpacker *U) {
  uint64_t n = get_int(U);
  if (n == 0 || n > (uint64_t)U->nobj) bad(U, "an object is not there");
  lua_rawgeti(U->L, U->objects, (lua_Integer)n);
}

/* ---- tables, classes ---- */

static void new_table(unpacker *U) {
  uint64_t hint = get_int(U);
  if (hint > U->room) bad(U, "a length is greater than what is left");
  U->room -= (size_t)hint;
  lua_createtable(U->L, (int)(hint > INT32_MAX / 2 ? 0 : hint), 0);
}

/* A table with an identity: the one that is here already, or a new one. */
static void shared_table(unpacker *U) {
  lua_State *L = U->L;
  int id = lua_gettop(L) + 1;
  get_string(U);
  lua_pushvalue(L, id);
  ml__identified(L);
  new_table(U);
  if (lua_istable(L, id + 1))
    lua_pop(L, 1);
  else {
    ml__identify(L, id);
    lua_replace(L, id + 1);
    lua_pushnil(L);
    lua_replace(L, id);
  }
  bool there = lua_isstring(L, id);
  lua_remove(L, id);
  number(U);
  if (there) unwanted(U);
}

static void subclass(unpacker *U) {
  lua_State *L = U->L;
  int top = lua_gettop(L);
  size_t n;
  const char *id = get_bytes(U, &n);
  bool there = false;
  if (++U->depth > PACK_MAX_CHAIN) bad(U, "too many classes derived from one another");
  luaL_checkstack(L, 20, "unpack");
  get_string(U);   /* top + 1: name */
  unpack_value(U); /* top + 2: base */
  if (ml__error_class(L, top + 2) == 0) bad(U, "a class is not an error's");
  lua_settop(L, top + 2);
  if (n > 0 && (U->how->flags & ML_PACK_CODE)) {
    lua_pushlstring(L, id, n);
    ml__identified(L);
    there = lua_istable(L, -1);
    if (!there) lua_pop(L, 1);
  }
  if (!there) {
    ml__error_class_new(L, top + 1, top + 2);
    if (n > 0 && (U->how->flags & ML_PACK_CODE)) {
      lua_pushlstring(L, id, n);
      lua_pushvalue(L, -2);
      ml__identify(L, -2);
      lua_pop(L, 2);
    }
  }
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  U->depth--;
  number(U);
  if (there) unwanted(U);
}

/* ---- functions ---- */

static void push_code(unpacker *U, const char *s, size_t n) {
  if (luaL_loadbufferx(U->L, s, n, "=packed", "b") != LUA_OK) lua_error(U->L);
}

/* Code behind its length in four bytes. */
static void get_code(unpacker *U) {
  size_t n = 0;
  if (left(U) < 4) bad(U, "it ends early");
  for (int i = 0; i < 4; i++) n |= (size_t)U->p[i] << (8 * i);
  U->p += 4;
  if (n > left(U)) bad(U, "a length is greater than what is left");
  U->p += n;
  push_code(U, (const char *)U->p - n, n);
}

/* The bytes of the codebook's entry: an unpacker of their own. */
static unpacker open_entry(unpacker *U, uint64_t id) {
  const ml_codebook *book = U->how->book;
  unpacker E = *U;
  size_t n = 0;
  const void *p = book != NULL && id <= UINT32_MAX ? book->find(book->ud, (uint32_t)id, &n) : NULL;
  if (p == NULL) bad(U, "a function is not in the codebook");
  E.begin = E.p = p;
  E.end = E.p + n;
  E.in_book = true;
  return E;
}

static void new_function(unpacker *U) {
  uint64_t id = get_int(U);
  if (id == 0)
    get_code(U);
  else {
    unpacker E = open_entry(U, id);
    get_code(&E);
  }
  number(U);
}

/* A function that is kept whole: made once in each state. */
static void kept_function(unpacker *U) {
  lua_State *L = U->L;
  int f = lua_gettop(L) + 1;
  uint64_t id = get_int(U), n;
  if (U->how->book == NULL) bad(U, "a function is not in the codebook");
  luaL_checkstack(L, 10, "unpack");
  if (lua_rawgeti(L, U->how->known, (lua_Integer)id) == LUA_TFUNCTION) return;
  lua_pop(L, 1);
  unpacker E = open_entry(U, id);
  get_code(&E);
  n = get_int(&E);
  for (int i = 1; i <= (int)n; i++) {
    if (E.p < E.end && *E.p == PT_SELF) {
      E.p++;
      lua_pushvalue(L, f);
    } else
      unpack_value(&E);
    if (lua_setupvalue(L, f, i) == NULL) bad(&E, "a function has fewer upvalues");
  }
  lua_pushvalue(L, f);
  lua_rawseti(L, U->how->known, (lua_Integer)id);
}

static void named_function(unpacker *U) {
  lua_State *L = U->L;
  int top = lua_gettop(L);
  get_string(U);
  get_string(U);
  ml__named_function(L, lua_tostring(L, top + 1), lua_tostring(L, top + 2));
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
}

static void module(unpacker *U) {
  lua_State *L = U->L;
  get_string(U);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, lua_tostring(L, -2)) != LUA_TTABLE) {
    lua_pop(L, 2);
    lua_getglobal(L, "require");
    lua_insert(L, -2);
    lua_call(L, 1, 1);
    return;
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* ---- values and bodies ---- */

static void get_float(unpacker *U) {
  if (left(U) < 8) bad(U, "it ends early");
  lua_pushnumber(U->L, ml__get_float(U->p));
  U->p += 8;
}

static void unpack_code(unpacker *U, int tag) {
  lua_State *L = U->L;
  if (!(U->how->flags & ML_PACK_CODE)) bad(U, "it is not of plain values");
  switch (tag) {
  case PT_GLOBALS: lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS); break;
  case PT_MODULE: module(U); break;
  case PT_NAMED: named_function(U); break;
  case PT_FUNCTION: new_function(U); break;
  case PT_KEPT: kept_function(U); break;
  case PT_SHARED: shared_table(U); break;
  case PT_ASYNC:
    unpack_value(U);
    ml__async(L);
    break;
  default: bad(U, "a value of no known kind");
  }
}

static void unpack_value(unpacker *U) {
  lua_State *L = U->L;
  int tag = get_byte(U);
  if (tag >= PT_SMALL) {
    lua_pushinteger(L, tag - PT_SMALL);
    return;
  }
  if (tag >= PT_SHORT) {
    size_t n = (size_t)(tag - PT_SHORT);
    if (n > left(U)) bad(U, "it ends early");
    lua_pushlstring(L, (const char *)U->p, n);
    U->p += n;
    return;
  }
  if (U->in_book && (tag == PT_REF || tag == PT_TABLE || tag == PT_SUBCLASS)) bad(U, "an object");
  switch (tag) {
  case PT_NIL: lua_pushnil(L); break;
  case PT_FALSE: lua_pushboolean(L, 0); break;
  case PT_TRUE: lua_pushboolean(L, 1); break;
  case PT_INT: lua_pushinteger(L, ml__unzigzag(get_int(U))); break;
  case PT_FLOAT: get_float(U); break;
  case PT_STRING: get_string(U); break;
  case PT_REF: push_object(U); break;
  case PT_TABLE:
    new_table(U);
    number(U);
    break;
  case PT_NULL: lua_pushlightuserdata(L, NULL); break;
  case PT_CLASS:
    get_string(U);
    ml__error_class_named(L, lua_tostring(L, -1));
    lua_remove(L, -2);
    if (!lua_istable(L, -1)) bad(U, "an unknown class");
    break;
  case PT_SUBCLASS: subclass(U); break;
  default: unpack_code(U, tag);
  }
}

/* The metatable is on top (popped): the table at t gets it. */
static void set_metatable(unpacker *U, int t) {
  lua_State *L = U->L;
  if (!lua_istable(L, -1)) bad(U, "a metatable is no table");
  if (!(U->how->flags & ML_PACK_CODE)) {
    int top = lua_gettop(L);
    if (ml__error_class(L, top) == 0 || ml__error_class(L, t) != 0) bad(U, "a metatable");
    lua_settop(L, top);
  }
  lua_setmetatable(L, t);
}

static void body_table(unpacker *U, int t) {
  lua_State *L = U->L;
  size_t n;
  int tag = get_byte(U);
  if (tag == PT_META) {
    unpack_value(U);
    set_metatable(U, t);
  } else if (tag != PT_END)
    bad(U, "no body of a table");
  n = get_length(U);
  if (!(U->how->flags & ML_PACK_CODE) && ml__error_class(L, t) != 0) { /* it has its name only */
    if (n > 0 || get_byte(U) != PT_END) bad(U, "fields of a class");
    return;
  }
  lua_settop(L, t);
  for (size_t i = 1; i <= n; i++) {
    unpack_value(U);
    lua_rawseti(L, t, (lua_Integer)i);
  }
  while (U->p < U->end && *U->p != PT_END) {
    unpack_value(U);
    if (lua_isnil(L, -1) || (lua_type(L, -1) == LUA_TNUMBER && !lua_rawequal(L, -1, -1)))
      bad(U, "a key that no table can have");
    unpack_value(U);
    lua_rawset(L, t);
  }
  if (get_byte(U) != PT_END) bad(U, "no end of a table");
}

static void body_function(unpacker *U, int f) {
  lua_State *L = U->L;
  uint64_t n = get_int(U);
  for (int i = 1; i <= 255 && i <= (int)n; i++) {
    if (U->p < U->end && *U->p == PT_JOIN) {
      int up;
      U->p++;
      push_object(U);
      up = (int)get_int(U);
      if (!lua_isfunction(L, -1) || lua_iscfunction(L, -1) || lua_upvalueid(L, -1, up) == NULL ||
          lua_upvalueid(L, f, i) == NULL)
        bad(U, "no such upvalue");
      lua_upvaluejoin(L, f, i, -1, up);
      lua_pop(L, 1);
      continue;
    }
    unpack_value(U);
    if (lua_setupvalue(L, f, i) == NULL) bad(U, "a function has fewer upvalues");
  }
}

static void bodies(unpacker *U) {
  lua_State *L = U->L;
  for (lua_Integer i = 1; i <= U->nobj; i++) {
    int top = lua_gettop(L);
    if (lua_rawgeti(L, U->objects, -i) == LUA_TNIL) {
      lua_rawgeti(L, U->objects, i);
      lua_replace(L, top + 1);
    } else {
      lua_newtable(L);
      lua_replace(L, top + 1);
    }
    if (lua_istable(L, top + 1))
      body_table(U, top + 1);
    else
      body_function(U, top + 1);
    lua_settop(L, top);
  }
}

int ml__unpack(lua_State *L, const void *p, size_t n, const ml_packing *how) {
  unpacker U = {.L = L, .how = how, .begin = p, .p = p, .end = (const unsigned char *)p + n};
  size_t count;
  luaL_checkstack(L, 30, "unpack");
  U.room = n;
  if (n < PACK_HEADER || memcmp(p, PACK_MAGIC, 4) != 0)
    return ml__error(L, "ValueError", "not a packed value: it does not begin like one");
  if (U.p[4] != PACK_VERSION)
    return ml__error(L, "ValueError", "packed by another version (%d, here it is %d)", U.p[4],
                     PACK_VERSION);
  U.p += PACK_HEADER;
  lua_pushnil(L);
  U.objects = lua_gettop(L);
  count = get_length(&U);
  if (count > 1000000 || !lua_checkstack(L, (int)count + 30)) bad(&U, "too many values");
  for (size_t i = 0; i < count; i++) unpack_value(&U);
  bodies(&U);
  if (U.p != U.end) bad(&U, "something follows it");
  lua_remove(L, U.objects);
  return (int)count;
}
