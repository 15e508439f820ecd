/* The loop that feeds a compressor or decompressor, and its memory: see coder.h. */
#include <stdlib.h>
#include <string.h>

#include "coder.h"

#define HEAD 16 /* bytes in front of each block: its size */
#define PIECE ((size_t)64 * 1024)
#define MARK ((size_t)16 << 20)
#define ROOM ((size_t)512 * 1024) /* a compressor takes less */

static const char heap_key = 0;

/* ---- memory ---- */

ml_coderheap *ml__coderheap(lua_State *L) {
  ml_coderheap *h;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &heap_key) == LUA_TNIL) {
    lua_pop(L, 1);
    h = lua_newuserdatauv(L, sizeof *h, 0);
    *h = (ml_coderheap){ml__engine(L), 0, MARK};
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &heap_key);
  }
  h = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return h;
}

void *ml__coder_alloc(void *heap, size_t n) {
  ml_coderheap *h = heap;
  char *p;
  if (n > SIZE_MAX / 2) return NULL;
  p = ml__alloc(h->engine->alloc, NULL, 0, n + HEAD);
  if (p == NULL) return NULL;
  memcpy(p, &n, sizeof n);
  h->used += n + HEAD;
  return p + HEAD;
}

void ml__coder_free(void *heap, void *p) {
  ml_coderheap *h = heap;
  size_t n;
  if (p == NULL) return;
  memcpy(&n, (char *)p - HEAD, sizeof n);
  h->used -= n + HEAD;
  ml__alloc(h->engine->alloc, (char *)p - HEAD, n + HEAD, 0);
}

/* Would one more be too much for the engine's limit, and can some be garbage? */
static bool nearly_full(const ml_coderheap *h) {
  const size_t limit = h->engine->config.memory_limit;
  return limit != 0 && h->used > 0 && ml__alloc_used(h->engine->alloc) + ROOM > limit;
}

/* ---- objects ---- */

void *ml__coder_new(lua_State *L, ml_objtype type, const ml_codec *codec, size_t size) {
  ml_coderheap *h = ml__coderheap(L);
  ml_coder *c;
  if (h->used > h->mark || nearly_full(h)) { /* Lua does not see what they take */
    lua_gc(L, LUA_GCCOLLECT);
    h->mark = h->used * 2 > MARK ? h->used * 2 : MARK;
  }
  c = ml__newobject(L, type, size, 3);
  c->codec = codec;
  c->heap = h;
  c->obj.state = ML_CODER_CLOSED; /* until the library's state is there */
  return c;
}

ml_coder *ml__checkcoder(lua_State *L, ml_objtype type) { return ml__checkobject(L, 1, type); }

void ml__coder_close(ml_coder *c, int state) {
  if (c->obj.state == ML_CODER_OPEN || c->obj.state == ML_CODER_BROKEN) c->codec->end(c);
  c->obj.state = (uint8_t)state;
}

int ml__coder_gc(lua_State *L) {
  ml_object *o = ml__toobject(L, 1);
  if (o != NULL) ml__coder_close((ml_coder *)(void *)o, ML_CODER_CLOSED);
  return 0;
}

int ml__coder_error(lua_State *L, const char *codec) {
  lua_createtable(L, 0, 1);
  lua_insert(L, -2);
  lua_setfield(L, -2, "message");
  lua_getfield(L, LUA_REGISTRYINDEX, codec);
  lua_setmetatable(L, -2);
  return lua_error(L);
}

int ml__coder_failed(lua_State *L, ml_coder *c) {
  if (!c->codec->why(L, c)) {
    lua_pushliteral(L, "not enough memory");
    return lua_error(L);
  }
  return ml__coder_error(L, c->codec->name);
}

/* Raises unless there is a stream to work on. */
static void check_open(lua_State *L, const ml_coder *c) {
  static const char *const why[] = {
      [ML_CODER_ENDED] = "the stream has ended",
      [ML_CODER_BROKEN] = "an error has come before",
      [ML_CODER_CLOSED] = "it is closed",
  };
  if (c->obj.state == ML_CODER_OPEN) return;
  lua_pushfstring(L, "error while %s: %s", c->codec->doing, why[c->obj.state]);
  ml__coder_error(L, c->codec->name);
}

/* ---- feeding ---- */

/* Works on the input until it is used up, or so many bytes have come, or the end. Pushes them.
** If an error leaves this, the coder is broken. */
static int drive(lua_State *L, ml_coder *c, ml_span *s, int mode, size_t max) {
  luaL_Buffer b;
  size_t got = 0, room = s->nin / 2 + 128;
  int rc;
  c->obj.state = ML_CODER_BROKEN;
  luaL_buffinit(L, &b);
  do {
    const size_t before = s->nin;
    room = room < PIECE ? room : PIECE;
    if (room > max - got) room = max - got;
    if (room == 0) {
      rc = ML_CODE_FULL;
      break;
    }
    s->out = (uint8_t *)luaL_prepbuffsize(&b, room);
    s->nout = room;
    rc = c->codec->step(c, s, mode);
    luaL_addsize(&b, room - s->nout);
    got += room - s->nout;
    room *= 2;
    if (before - s->nin + room > PIECE) ml__meter_check(L);
  } while (rc == ML_CODE_FULL);
  if (rc == ML_CODE_FAILED) return ml__coder_failed(L, c);
  luaL_pushresult(&b);
  c->obj.state = ML_CODER_OPEN;
  if (rc == ML_CODE_END) ml__coder_close(c, ML_CODER_ENDED);
  return rc;
}

static const char *check_bytes(lua_State *L, const ml_coder *c, size_t *n) {
  if (lua_type(L, 2) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: data must be a string, got %s", c->codec->doing,
               luaL_typename(L, 2));
  return lua_tolstring(L, 2, n);
}

int ml__coder_feed(lua_State *L, ml_coder *c, int mode) {
  size_t n;
  const char *p = check_bytes(L, c, &n);
  lua_Integer first = luaL_optinteger(L, 3, 1), last = luaL_optinteger(L, 4, -1);
  ml_span s;
  check_open(L, c);
  if (first < 0) first = first < -(lua_Integer)n ? 1 : (lua_Integer)n + first + 1;
  if (first == 0) first = 1;
  if (last < 0) last = (lua_Integer)n + last + 1;
  if (last > (lua_Integer)n) last = (lua_Integer)n;
  s.in = (const uint8_t *)p + (first > last ? 0 : first - 1);
  s.nin = first > last ? 0 : (size_t)(last - first + 1);
  drive(L, c, &s, mode, SIZE_MAX);
  return 1;
}

int ml__coder_flush(lua_State *L, ml_coder *c, int mode) {
  ml_span s = {(const uint8_t *)"", 0, NULL, 0};
  check_open(L, c);
  drive(L, c, &s, mode, SIZE_MAX);
  return 1;
}

/* At index 2: the input, of which s is left. */
static void keep_rest(lua_State *L, const ml_span *s, int rc) {
  if (rc != ML_CODE_END) {
    if (s->nin == 0)
      lua_pushliteral(L, "");
    else
      lua_pushlstring(L, (const char *)s->in, s->nin);
    lua_setiuservalue(L, 1, 1);
    return;
  }
  lua_pushliteral(L, "");
  lua_setiuservalue(L, 1, 1);
  lua_pushlstring(L, (const char *)s->in, s->nin);
  lua_setiuservalue(L, 1, 2);
}

int ml__coder_decode(lua_State *L, ml_coder *c, const char *what) {
  size_t n;
  const char *p = check_bytes(L, c, &n);
  lua_Integer max = luaL_optinteger(L, 3, 0);
  ml_span s = {(const uint8_t *)p, n, NULL, 0};
  int rc;
  if (max < 0)
    return ml__misuse(L, "ValueError", "%s: max_length must be greater than zero, got %I", what,
                      (LUAI_UACINT)max);
  if (c->obj.state == ML_CODER_ENDED) { /* as in Python */
    if (lua_getiuservalue(L, 1, 2) != LUA_TSTRING) {
      lua_pop(L, 1);
      lua_pushliteral(L, "");
    }
    lua_pushvalue(L, 2);
    lua_concat(L, 2);
    lua_setiuservalue(L, 1, 2);
    lua_pushliteral(L, "");
    return 1;
  }
  check_open(L, c);
  rc = drive(L, c, &s, 0, max == 0 ? SIZE_MAX : (size_t)max);
  keep_rest(L, &s, rc);
  return 1;
}

/* ---- types ---- */

int ml__coder_fields(lua_State *L) {
  const ml_object *o = ml__toobject(L, 1);
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  int uv = strcmp(key, "unconsumed_tail") == 0 ? 1 : strcmp(key, "unused_data") == 0 ? 2 : 0;
  if (o != NULL && strcmp(key, "eof") == 0) {
    lua_pushboolean(L, o->state == ML_CODER_ENDED);
    return 1;
  }
  if (o != NULL && uv != 0) {
    if (lua_getiuservalue(L, 1, uv) != LUA_TSTRING) lua_pushliteral(L, "");
    return 1;
  }
  lua_settop(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  return 1;
}

void ml__coder_type(lua_State *L, ml_objtype type, const char *name, const luaL_Reg *methods,
                    lua_CFunction fields) {
  static const luaL_Reg meta[] = {{"__gc", ml__coder_gc}, {"__close", ml__coder_gc}, {NULL, NULL}};
  ml__newtype(L, type, name, methods, meta);
  lua_pushcfunction(L, ml__coder_gc);
  lua_setfield(L, -2, "close");
  if (fields != NULL) {
    ml__ref_get(L, ML_R_TYPES + (int)type);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, fields, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
  }
  lua_setfield(L, -2, name);
}

void ml__coder_errors(lua_State *L, const char *codec, const char *classname) {
  lua_pushstring(L, classname);
  ml__error_class_named(L, "Exception");
  ml__error_class_new(L, lua_gettop(L) - 1, lua_gettop(L));
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, codec);
  lua_setfield(L, -4, "error");
  lua_pop(L, 2);
}

int ml__coder_option(lua_State *L, int idx, const char *key, int def, int least, int most,
                     const char *fname) {
  lua_Integer v;
  int isint;
  if (!lua_istable(L, idx)) return def;
  if (lua_getfield(L, idx, key) == LUA_TNIL) {
    lua_pop(L, 1);
    return def;
  }
  v = lua_tointegerx(L, -1, &isint);
  if (!isint)
    return ml__misuse(L, "TypeError", "%s: %s must be an integer, got %s", fname, key,
                      luaL_typename(L, -1));
  if (v < least || v > most)
    return ml__misuse(L, "ValueError", "%s: %s must be %d to %d, got %I", fname, key, least, most,
                      (LUAI_UACINT)v);
  lua_pop(L, 1);
  return (int)v;
}
