/* load, loadfile, dofile and the searcher of Lua files, for source that has the keywords.
**
** They are Lua's own in all else: arguments, results, messages. What is loaded is read whole
** first. In a sandbox those of sandlib.c stand before them.
*/
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <lualib.h>

#include "translate.h"

#define READ_STEP 4096

int ml__loadbuffer(lua_State *L, const char *source, size_t n, const char *chunkname,
                   const char *mode) {
  ml_translation t = {.alloc = ml__engine(L)->alloc};
  int rc;
  if (n > 0 && source[0] == LUA_SIGNATURE[0])
    return luaL_loadbufferx(L, source, n, chunkname, mode);
  if (ml__translate(&t, source, n) < 0) {
    ml__translation_free(&t);
    lua_pushliteral(L, "not enough memory");
    return LUA_ERRMEM;
  }
  rc = t.text == NULL ? luaL_loadbufferx(L, source, n, chunkname, mode)
                      : luaL_loadbufferx(L, t.text, t.n, chunkname, mode);
  ml__translation_free(&t);
  return rc;
}

/* What a reader gives. No error leaves load while it holds it. */
typedef struct pieces {
  ml_allocator *alloc;
  char *text;
  size_t n, cap;
} pieces;

static bool add_piece(pieces *p, const char *s, size_t n) {
  size_t cap = p->cap == 0 ? READ_STEP : p->cap;
  if (n > SIZE_MAX / 2 - p->n) return false;
  while (cap < p->n + n) cap *= 2;
  if (cap > p->cap) {
    char *text = ml__alloc(p->alloc, p->text, p->cap, cap);
    if (text == NULL) return false;
    p->text = text;
    p->cap = cap;
  }
  memcpy(p->text + p->n, s, n);
  p->n += n;
  return true;
}

/* [what a reader has given] -> a string; it may be a number. */
static int piece_text(lua_State *L) {
  if (lua_tostring(L, 1) != NULL) return 1;
  luaL_where(L, 2); /* who called load */
  lua_pushliteral(L, "reader function must return a string");
  lua_concat(L, 2);
  return lua_error(L);
}

static int check_meter(lua_State *L) {
  ml__meter_check(L);
  return 0;
}

/* Takes what the reader at 1 gives, until it gives nil or nothing. A status: if it is not LUA_OK,
** the error is on top. Between the reader and load there is no other function: await names load. */
static int read_pieces(lua_State *L, pieces *p) {
  for (;;) {
    size_t n;
    int rc;
    lua_pushvalue(L, 1);
    if ((rc = lua_pcall(L, 0, 1, 0)) != LUA_OK) return rc;
    if (lua_iscfunction(L, 1)) { /* which may have no end */
      lua_pushcfunction(L, check_meter);
      if ((rc = lua_pcall(L, 0, 0, 0)) != LUA_OK) return rc;
    }
    if (lua_isnil(L, -1)) return LUA_OK;
    if (lua_type(L, -1) != LUA_TSTRING) {
      lua_pushcfunction(L, piece_text);
      lua_insert(L, -2);
      if ((rc = lua_pcall(L, 1, 1, 0)) != LUA_OK) return rc;
    }
    n = lua_rawlen(L, -1);
    if (n == 0) return LUA_OK;
    if (!add_piece(p, lua_tostring(L, -1), n)) {
      lua_pushliteral(L, "not enough memory");
      return LUA_ERRMEM;
    }
    lua_pop(L, 1);
  }
}

/* What load and loadfile give for what ml__loadbuffer has pushed; env: its index, or 0. */
static int answer(lua_State *L, int rc, int env) {
  if (rc != LUA_OK) {
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
  }
  if (env != 0) {
    lua_pushvalue(L, env);
    if (lua_setupvalue(L, -2, 1) == NULL) lua_pop(L, 1);
  }
  return 1;
}

/* [reader, name, mode, env]: loads what the reader gives. */
static int load_pieces(lua_State *L, const char *name, const char *mode, int env) {
  pieces p = {.alloc = ml__engine(L)->alloc};
  int rc = read_pieces(L, &p);
  if (rc == LUA_OK) rc = ml__loadbuffer(L, p.n > 0 ? p.text : "", p.n, name, mode);
  if (p.text != NULL) ml__alloc(p.alloc, p.text, p.cap, 0);
  return answer(L, rc, env);
}

/* load(chunk [, chunkname [, mode [, env]]]) */
static int f_load(lua_State *L) {
  const char *mode = luaL_optstring(L, 3, "bt"), *name, *s;
  int env = lua_isnone(L, 4) ? 0 : 4;
  size_t n;
  if (!lua_isstring(L, 1)) {
    name = luaL_optstring(L, 2, "=(load)");
    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (lua_gettop(L) < 4) lua_settop(L, 4);
    luaL_checkstack(L, LUA_MINSTACK, "too many nested functions");
    return load_pieces(L, name, mode, env);
  }
  s = lua_tolstring(L, 1, &n);
  name = luaL_optstring(L, 2, s);
  return answer(L, ml__loadbuffer(L, s, n, name, mode), env);
}

/* Takes what is in f, as luaL_loadfilex reads it: without a byte order mark and a first line
** "#...". Pushes it; false: it cannot be read. */
static bool push_source(lua_State *L, FILE *f) {
  luaL_Buffer b;
  size_t n, got;
  const char *s, *nl;
  luaL_buffinit(L, &b);
  do {
    got = fread(luaL_prepbuffsize(&b, READ_STEP), 1, READ_STEP, f);
    luaL_addsize(&b, got);
  } while (got > 0);
  luaL_pushresult(&b);
  if (ferror(f)) return false;
  s = lua_tolstring(L, -1, &n);
  if (n >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0) s += 3, n -= 3;
  if (n > 0 && *s == '#') { /* the newline stays, for line numbers */
    nl = memchr(s, '\n', n);
    if (nl != NULL && nl + 1 < s + n && nl[1] == LUA_SIGNATURE[0]) nl++;
    n = nl != NULL ? n - (size_t)(nl - s) : 0;
    s = nl != NULL ? nl : "";
  }
  lua_pushlstring(L, s, n);
  lua_remove(L, -2);
  return true;
}

static int close_file(lua_State *L) {
  luaL_Stream *p = luaL_checkudata(L, 1, LUA_FILEHANDLE);
  return luaL_fileresult(L, fclose(p->f) == 0, NULL);
}

luaL_Stream *ml__push_file(lua_State *L) {
  luaL_Stream *p = lua_newuserdatauv(L, sizeof *p, 0);
  p->closef = NULL; /* closed as yet */
  luaL_setmetatable(L, LUA_FILEHANDLE);
  p->f = NULL;
  return p;
}

void ml__file_opened(luaL_Stream *p, FILE *f) {
  p->f = f;
  p->closef = close_file;
}

bool ml__file_source(lua_State *L) {
  luaL_Stream *p = lua_touserdata(L, -1);
  bool ok = push_source(L, p->f);
  p->closef = NULL;
  if (!ok) {
    int e = errno;
    fclose(p->f);
    errno = e;
    return false;
  }
  fclose(p->f);
  lua_replace(L, -2);
  return true;
}

/* Pushes the chunk of a file (NULL: standard input), or what is wrong. */
static int load_file(lua_State *L, const char *path, const char *mode) {
  const char *doing = "read";
  bool ok;
  if (path == NULL) {
    ok = push_source(L, stdin);
    lua_pushliteral(L, "=stdin");
  } else {
    luaL_Stream *p = ml__push_file(L);
    FILE *f = fopen(path, "rb");
    if (f != NULL) ml__file_opened(p, f);
    doing = f != NULL ? "read" : "open";
    ok = f != NULL && ml__file_source(L);
    lua_pushfstring(L, "@%s", path);
  }
  if (!ok) {
    lua_pushfstring(L, "cannot %s %s: %s", doing, path != NULL ? path : "stdin", strerror(errno));
    return LUA_ERRFILE;
  }
  return ml__loadbuffer(L, lua_tostring(L, -2), lua_rawlen(L, -2), lua_tostring(L, -1), mode);
}

/* [path, mode]: the chunk, or what is wrong, and the status */
static int protected_file(lua_State *L) {
  int rc = load_file(L, lua_tostring(L, 1), lua_tostring(L, 2));
  lua_pushinteger(L, rc);
  return 2;
}

/* loadfile([path [, mode [, env]]]) */
static int f_loadfile(lua_State *L) {
  const char *path = luaL_optstring(L, 1, NULL), *mode = luaL_optstring(L, 2, NULL);
  int env = lua_isnone(L, 3) ? 0 : 3, rc;
  lua_pushcfunction(L, protected_file);
  lua_pushstring(L, path); /* nil: standard input */
  lua_pushstring(L, mode);
  if ((rc = lua_pcall(L, 2, 2, 0)) == LUA_OK) { /* else: no memory for the source */
    rc = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  return answer(L, rc, env);
}

static int dofile_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L) - 1;
}

/* dofile([path]) */
static int f_dofile(lua_State *L) {
  const char *path = luaL_optstring(L, 1, NULL);
  lua_settop(L, 1);
  if (load_file(L, path, NULL) != LUA_OK) return lua_error(L);
  lua_replace(L, 2);
  lua_settop(L, 2);
  lua_callk(L, 0, LUA_MULTRET, 0, dofile_k);
  return dofile_k(L, LUA_OK, 0);
}

/* The searcher of Lua files; upvalue 1: the package table. */
static int search_file(lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *file;
  lua_getfield(L, lua_upvalueindex(1), "searchpath");
  lua_pushvalue(L, 1);
  lua_getfield(L, lua_upvalueindex(1), "path");
  if (lua_tostring(L, -1) == NULL) return luaL_error(L, "'package.path' must be a string");
  lua_call(L, 2, 2);
  if (lua_isnil(L, -2)) return 1; /* what was tried */
  lua_pop(L, 1);
  file = lua_tostring(L, -1);
  if (load_file(L, file, NULL) != LUA_OK)
    return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", name, file,
                      lua_tostring(L, -1));
  lua_pushstring(L, file);
  return 2;
}

/* The calls that are statements: {line, what is called, known} in a row. */
static void push_calls(lua_State *L, const char *source, const ml_translation *t) {
  lua_Integer line = 1, n = 0;
  size_t at = 0;
  lua_createtable(L, (int)t->ncalls * 3, 0);
  for (size_t i = 0; i < t->ncalls; i++) {
    const ml_callstat *c = &t->calls[i];
    for (; at < c->at; at++) line += source[at] == '\n';
    lua_pushinteger(L, line);
    lua_rawseti(L, -2, ++n);
    lua_pushlstring(L, source + c->at, c->end - c->at);
    lua_rawseti(L, -2, ++n);
    lua_pushboolean(L, c->known);
    lua_rawseti(L, -2, ++n);
  }
}

/* [source, translation]: what f_translate gives. */
static int push_translation(lua_State *L) {
  const ml_translation *t = lua_touserdata(L, 2);
  if (t->text != NULL)
    lua_pushlstring(L, t->text, t->n);
  else
    lua_pushvalue(L, 1);
  if (!t->want_calls) return 1;
  push_calls(L, lua_tostring(L, 1), t);
  return 2;
}

/* core.translate(source [, calls]): plain Lua; with calls, also a list of the calls that are
** statements, in order: line, what is called, is it an async function of the source */
static int core_translate(lua_State *L) {
  size_t n;
  const char *source = luaL_checklstring(L, 1, &n);
  ml_translation t = {.alloc = ml__engine(L)->alloc, .want_calls = lua_toboolean(L, 2)};
  int rc = ml__translate(&t, source, n);
  lua_settop(L, 1);
  lua_pushcfunction(L, push_translation);
  lua_pushvalue(L, 1);
  lua_pushlightuserdata(L, &t);
  if (rc == 0) rc = lua_pcall(L, 2, LUA_MULTRET, 0);
  ml__translation_free(&t);
  if (rc == ML_ENOMEM) return luaL_error(L, "not enough memory");
  return rc != LUA_OK ? lua_error(L) : lua_gettop(L) - 1;
}

void ml__open_chunks(lua_State *L) {
  static const luaL_Reg fns[] = {
      {"load", f_load}, {"loadfile", f_loadfile}, {"dofile", f_dofile}, {NULL, NULL}};
  lua_pushcfunction(L, core_translate);
  lua_setfield(L, -2, "translate");
  if (ml__attached(L)) return; /* the rest is the host's */
  lua_pushglobaltable(L);
  luaL_setfuncs(L, fns, 0);
  lua_getfield(L, -1, LUA_LOADLIBNAME);
  lua_getfield(L, -1, "searchers");
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, search_file, 1);
  lua_rawseti(L, -2, 2); /* after preload */
  lua_pop(L, 3);
}
