/* Programs: what a host or the command line gives as source text, files or a module's name, compiled
** as chunks; and the main program, which is run outside of tasks until it returns.
*/
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox.h"
#include "translate.h"

/* ---- chunks ---- */

typedef struct chunk_arg {
  const char *name, *src;
  size_t n;
} chunk_arg;

/* A syntax error names file and line; here the line itself is added. */
static void add_line(lua_State *L, const char *src, size_t n) {
  const char *msg = lua_tostring(L, -1), *p = msg, *s = src, *end = src + n, *nl;
  int line = 0;
  while (p != NULL && line == 0) {
    p = strchr(p, ':');
    if (p != NULL) line = atoi(++p);
  }
  if (line <= 0) return;
  for (int i = 1; i < line; i++) {
    nl = memchr(s, '\n', (size_t)(end - s));
    if (nl == NULL) return;
    s = nl + 1;
  }
  nl = memchr(s, '\n', (size_t)(end - s));
  if (nl == NULL) nl = end;
  while (s < nl && (*s == ' ' || *s == '\t')) s++;
  if (nl > s && nl[-1] == '\r') nl--; // NOLINT(clang-analyzer-core*)
  if (nl - s > 200) nl = s + 200;
  lua_pushliteral(L, "\n    ");
  lua_pushlstring(L, s, (size_t)(nl - s));
  lua_concat(L, 3);
}

/* Pushes the compiled chunk, or raises the syntax error. */
static void push_chunk(lua_State *L, const chunk_arg *c) {
  const char *src = c->src;
  size_t n = c->n;
  if (n >= 3 && memcmp(src, "\xEF\xBB\xBF", 3) == 0) { /* byte order mark */
    src += 3;
    n -= 3;
  }
  if (n > 0 && src[0] == '#') { /* shebang: the newline stays, for line numbers */
    const char *nl = memchr(src, '\n', n);
    n = nl != NULL ? n - (size_t)(nl - src) : 0;
    src = nl != NULL ? nl : "";
  }
  if (ml__loadbuffer(L, src, n, c->name, ml__load_mode(L)) != LUA_OK) {
    if (lua_type(L, -1) == LUA_TSTRING) add_line(L, src, n);
    lua_error(L);
  }
}

/* [chunk_arg] -> function */
static int compile(lua_State *L) {
  push_chunk(L, lua_touserdata(L, 1));
  return 1;
}

int ml__load_chunk(ml_engine *e, lua_State *L, const char *name, const char *src, size_t n) {
  chunk_arg c = {name, src, n};
  return ml__protected(e, L, compile, &c, 1, ML_ESYNTAX);
}

typedef struct open_failure {
  const char *path;
  int err;
} open_failure;

/* [open_failure] -> its message */
static int describe_failure(lua_State *L) {
  open_failure *f = lua_touserdata(L, 1);
  lua_pushfstring(L, "cannot open '%s': %s", f->path, strerror(f->err));
  return 1;
}

int ml__read_whole(ml_engine *e, const char *path, char **out, size_t *n) {
  FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
  char *buf = NULL;
  size_t cap = 0, len = 0, got;
  int err = 0;
  if (f == NULL) err = errno;
  while (err == 0) {
    if (len + 65536 > cap) {
      char *p = realloc(buf, cap = len + 65536 + cap);
      if (p == NULL) {
        err = ENOMEM;
        break;
      }
      buf = p;
    }
    got = fread(buf + len, 1, cap - len, f);
    len += got;
    if (got == 0) {
      if (ferror(f)) err = errno != 0 ? errno : EIO;
      break;
    }
  }
  if (f != NULL && f != stdin) fclose(f);
  if (err != 0) {
    lua_State *L = ml__state(e);
    open_failure failure = {path, err};
    free(buf);
    if (!lua_checkstack(L, 8)) return ML_ENOMEM;
    lua_pushcfunction(L, describe_failure);
    lua_pushlightuserdata(L, &failure);
    lua_pcall(L, 1, 1, 0); /* without memory that is the error */
    ml__set_last_error(e, L, uv_translate_sys_error(err));
    return uv_translate_sys_error(err);
  }
  *out = buf;
  *n = len;
  return 0;
}

/* ---- the main program ---- */

typedef struct main_arg {
  chunk_arg chunk; /* or, if its source is NULL, its name is a module's */
  int argc;
  const char *const *argv;
} main_arg;

static void set_arg(lua_State *L, const main_arg *m) {
  const char *name = m->chunk.name;
  if (m->chunk.src != NULL && (name[0] == '@' || name[0] == '=')) name++;
  lua_createtable(L, m->argc, 1);
  lua_pushstring(L, name);
  lua_rawseti(L, -2, 0);
  for (int i = 0; i < m->argc; i++) {
    lua_pushstring(L, m->argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setglobal(L, "arg");
}

/* Pushes the module's loader, or raises an error that says where it was looked for. */
static void push_module(lua_State *L, const char *module) {
  int top = lua_gettop(L);
  lua_getglobal(L, "package");
  ml__push_searchers(L, top + 1);
  lua_replace(L, top + 1);
  if (!ml__find_loader(L, module)) lua_error(L);
  lua_pop(L, 1); /* what the searcher has for the loader: the program's arguments take its place */
}

/* [main_arg] -> the program's function and its arguments */
static int prepare_main(lua_State *L) {
  const main_arg *m = lua_touserdata(L, 1);
  luaL_checkstack(L, m->argc + 8, "too many arguments");
  set_arg(L, m);
  if (m->chunk.src != NULL)
    push_chunk(L, &m->chunk);
  else
    push_module(L, m->chunk.name);
  for (int i = 0; i < m->argc; i++) lua_pushstring(L, m->argv[i]);
  return 1 + m->argc;
}

/* The main chunk's errors have their traceback from here. */
static int run_main(ml_engine *e, const main_arg *m) {
  lua_State *L = e->L;
  int base = lua_gettop(L), st, rc = ML_ESYNTAX;
  ml_metered was;
  if (m->argc < 0 || (m->argc > 0 && m->argv == NULL)) return ML_EINVAL;
  if (ml__refusal(e) < 0) return ml__refusal(e);
  if (ml__busy(e)) return ML_EBUSY;
  if (!lua_checkstack(L, 8)) return ML_ENOMEM;
  e->host_mode = 0;
  e->in_main = true;
  was = ml__meter_open(e, L);
  lua_pushcfunction(L, ml__msgh);
  lua_pushcfunction(L, prepare_main);
  lua_pushlightuserdata(L, (void *)m);
  st = lua_pcall(L, 1, LUA_MULTRET, 0);
  if (st == LUA_OK) {
    rc = ML_ESCRIPT;
    st = lua_pcall(L, lua_gettop(L) - base - 2, 0, base + 1);
  }
  if (e->meter.phase >= ML_M_GRACE) {
    if (st == LUA_OK) lua_pushliteral(L, "stopped");
    ml__meter_outcome(L);
    st = LUA_ERRRUN;
  }
  rc = st == LUA_OK ? 0 : ml__set_last_error(e, L, st == LUA_ERRMEM ? ML_ENOMEM : rc);
  ml__meter_close(e, L, was);
  e->in_main = false;
  lua_settop(L, base);
  return rc;
}

int ml_main(ml_engine *e, const char *name, const char *src, size_t n, int argc,
            const char *const *argv) {
  main_arg m = {{name, src, n}, argc, argv};
  if (e == NULL || src == NULL || name == NULL) return ML_EINVAL;
  return run_main(e, &m);
}

int ml_main_file(ml_engine *e, const char *path, int argc, const char *const *argv) {
  char *src = NULL, *name;
  size_t n = 0;
  int rc;
  if (e == NULL || path == NULL) return ML_EINVAL;
  rc = ml__read_whole(e, path, &src, &n);
  if (rc < 0) return rc;
  name = malloc(strlen(path) + 7);
  if (name == NULL) {
    free(src);
    return ML_ENOMEM;
  }
  name[0] = strcmp(path, "-") == 0 ? '=' : '@';
  strcpy(name + 1, strcmp(path, "-") == 0 ? "stdin" : path);
  rc = ml_main(e, name, src, n, argc, argv);
  free(name);
  free(src);
  return rc;
}

int ml_main_module(ml_engine *e, const char *module, int argc, const char *const *argv) {
  main_arg m = {{module, NULL, 0}, argc, argv};
  if (e == NULL || module == NULL) return ML_EINVAL;
  return run_main(e, &m);
}
