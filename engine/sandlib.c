/* Lua's own libraries in a sandbox: each function that reaches outside asks first.
**
** Nothing is hidden: what is refused says so. Where Lua's function answers failure with nil,
** a message and a number, so does a refusal; else it raises PermissionError. Files are opened
** here, by what ml__path_pin has found.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lualib.h>

#include "sandbox.h"
#include "translate.h"

#define SHELL "/bin/sh"

static const ml_sandbox *sandbox(lua_State *L) { return ml__engine(L)->sandbox; }

/* The function that this one stands before, with the same arguments. */
static int original(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* nil, what the PermissionError on top says, EACCES */
static int answer_denied(lua_State *L) {
  const char *text;
  luaL_tolstring(L, -1, NULL);
  text = strstr(lua_tostring(L, -1), "EACCES");
  luaL_pushfail(L);
  lua_pushstring(L, text != NULL ? text : "permission denied");
  lua_pushinteger(L, EACCES);
  return 3;
}

/* nil, "path: text", number of a failed look-up */
static int answer_failed(lua_State *L, int rc, unsigned how, const char *doing, const char *path) {
  if (rc == ML_EDENIED) {
    ml__path_denied(L, how, doing, path);
    return answer_denied(L);
  }
  errno = -rc;
  return luaL_fileresult(L, 0, path);
}

/* ---- files ---- */

/* Pushes a file of the io library. 0, UV_E* or ML_EDENIED, and *how: what was needed. */
static int open_file(lua_State *L, const char *path, const char *mode, unsigned *how) {
  bool both = strchr(mode, '+') != NULL;
  int flags = both ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY, fd, rc;
  luaL_Stream *p = ml__push_file(L);
  ml_pathpin pin;
  FILE *f;
  if (*how == 0) *how = both ? ML_PATH_R | ML_PATH_W : mode[0] == 'r' ? ML_PATH_R : ML_PATH_W;
  if (mode[0] != 'r') {
    *how |= ML_PATH_CREATE;
    flags |= O_CREAT | (mode[0] == 'w' ? O_TRUNC : O_APPEND);
  }
  rc = ml__path_pin(sandbox(L), path, *how, &pin);
  if (rc < 0) return rc;
  flags = pin.exists ? flags & ~O_CREAT : flags | O_NOFOLLOW;
  fd = open(pin.path, flags | O_CLOEXEC | O_NOCTTY, 0666);
  rc = fd < 0 ? uv_translate_sys_error(errno) : 0;
  ml__path_unpin(&pin);
  if (rc < 0) return rc;
  f = fdopen(fd, mode);
  if (f == NULL) {
    rc = uv_translate_sys_error(errno);
    close(fd);
    return rc;
  }
  ml__file_opened(p, f);
  return 0;
}

static const char *check_mode(lua_State *L, int idx) {
  const char *mode = luaL_optstring(L, idx, "r"), *m = mode;
  bool ok = *m != '\0' && strchr("rwa", *m++) != NULL;
  if (ok && *m == '+') m++;
  if (ok && *m == 'b') m++;
  luaL_argcheck(L, ok && *m == '\0', idx, "invalid mode");
  return mode;
}

static const char *check_path(lua_State *L, int idx) {
  size_t n;
  const char *s = luaL_checklstring(L, idx, &n);
  luaL_argcheck(L, strlen(s) == n, idx, "the path contains a zero byte");
  return s;
}

static int sb_open(lua_State *L) {
  const char *path = check_path(L, 1), *mode = check_mode(L, 2);
  unsigned how = 0;
  int rc = open_file(L, path, mode, &how);
  return rc == 0 ? 1 : answer_failed(L, rc, how, "open", path);
}

/* Pushes the file, or raises. */
static void must_open(lua_State *L, const char *path, const char *mode) {
  unsigned how = 0;
  int rc = open_file(L, path, mode, &how);
  if (rc == 0) return;
  if (rc == ML_EDENIED) {
    ml__path_denied(L, how, "open", path);
    lua_error(L);
  }
  luaL_error(L, "%s: %s", path, strerror(-rc));
}

/* io.input, io.output; upvalue 2: the mode */
static int sb_default(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING || lua_type(L, 1) == LUA_TNUMBER) {
    lua_settop(L, 1);
    must_open(L, check_path(L, 1), lua_tostring(L, lua_upvalueindex(2)));
    lua_replace(L, 1);
  }
  return original(L);
}

/* io.lines; upvalue 2: the method */
static int sb_lines(lua_State *L) {
  if (lua_isnoneornil(L, 1)) return original(L);
  must_open(L, check_path(L, 1), "r");
  lua_pushvalue(L, -1);
  lua_replace(L, 1); /* the file, what to read, the file */
  lua_insert(L, 1);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 2); /* file, method, file, what to read */
  lua_call(L, lua_gettop(L) - 2, 1);
  lua_pushnil(L);
  lua_pushnil(L);
  lua_pushvalue(L, 1);
  return 4;
}

/* Is there leave to make files where the C library makes its temporary ones? */
static bool may_tmp(lua_State *L) {
  char real[4096];
  return ml__path_real(P_tmpdir, real, sizeof real) &&
         (ml__path_has(sandbox(L), real) & ML_PATH_WRITE) != 0;
}

static int sb_tmpfile(lua_State *L) {
  if (may_tmp(L)) return original(L);
  ml__path_denied(L, ML_PATH_W, "tmpfile", P_tmpdir);
  return answer_denied(L);
}

static int sb_tmpname(lua_State *L) {
  if (may_tmp(L)) return original(L);
  ml__path_denied(L, ML_PATH_W, "tmpname", P_tmpdir);
  return lua_error(L);
}

static int sb_remove(lua_State *L) {
  const char *path = check_path(L, 1);
  ml_pathpin pin;
  unsigned how = ML_PATH_W | ML_PATH_NOFOLLOW;
  int rc = ml__path_pin(sandbox(L), path, how, &pin);
  if (rc < 0) return answer_failed(L, rc, how, "remove", path);
  rc = remove(pin.path) < 0 ? errno : 0;
  ml__path_unpin(&pin);
  errno = rc;
  return luaL_fileresult(L, rc == 0, path);
}

static int sb_rename(lua_State *L) {
  const char *from = check_path(L, 1), *to = check_path(L, 2);
  unsigned how = ML_PATH_W | ML_PATH_NOFOLLOW;
  ml_pathpin pins[2];
  int which, rc = ml__path_pin_both(sandbox(L), from, how | ML_PATH_MOVES, to, how, pins, &which);
  if (rc < 0) {
    if (which == 0) how |= ML_PATH_READ;
    return answer_failed(L, rc, how, "rename", which == 0 ? from : to);
  }
  rc = rename(pins[0].path, pins[1].path) < 0 ? errno : 0;
  ml__path_unpin(&pins[0]);
  ml__path_unpin(&pins[1]);
  errno = rc;
  return luaL_fileresult(L, rc == 0, from);
}

/* ---- the process ---- */

static int sb_popen(lua_State *L) {
  const char *command = luaL_checkstring(L, 1);
  if (!ml__may_run(sandbox(L), SHELL)) ml__deny(L, ML_P_RUN, "popen", command, SHELL);
  return original(L);
}

static int sb_execute(lua_State *L) {
  const char *command = luaL_optstring(L, 1, NULL);
  bool may = ml__may_run(sandbox(L), SHELL);
  if (!may && command != NULL) ml__deny(L, ML_P_RUN, "execute", command, SHELL);
  if (may) return original(L);
  lua_pushboolean(L, 0);
  return 1;
}

static int sb_getenv(lua_State *L) {
  ml__check_env(L, luaL_checkstring(L, 1));
  return original(L);
}

static int sb_exit(lua_State *L) {
  ml__check_may(L, ML_P_EXIT, "exit", NULL);
  return original(L);
}

static int sb_setlocale(lua_State *L) {
  const char *name = luaL_optstring(L, 1, NULL);
  if (name != NULL) ml__deny(L, ML_P_FULL, "setlocale", name, NULL);
  return original(L);
}

/* ---- code ---- */

/* load(chunk [, name [, mode [, env]]]) */
static int sb_load(lua_State *L) {
  const char *mode = luaL_optstring(L, 3, "bt");
  if (ml__may(sandbox(L), ML_P_BYTECODE)) return original(L);
  if (strchr(mode, 't') == NULL) {
    ml__tell_refused(ml__engine(L), ML_P_BYTECODE, "load", NULL, NULL);
    luaL_pushfail(L);
    lua_pushliteral(L, "precompiled code is refused in a sandbox (needs --allow-bytecode)");
    return 2;
  }
  if (lua_gettop(L) < 3) lua_settop(L, 3);
  lua_pushliteral(L, "t");
  lua_replace(L, 3);
  return original(L);
}

/* Pushes the file's chunk, or a message: then false. */
static bool load_file(lua_State *L, const char *path, const char *mode) {
  unsigned how = ML_PATH_ALLOWED | ML_PATH_MODULE;
  int rc = open_file(L, path, "r", &how);
  if (rc < 0) {
    if (rc == ML_EDENIED) {
      ml__path_denied(L, how, "load", path);
      answer_denied(L);
      lua_pop(L, 1);
    } else
      lua_pushfstring(L, "cannot open %s: %s", path, strerror(-rc));
    return false;
  }
  if (!ml__file_source(L)) {
    lua_pushfstring(L, "cannot read %s: %s", path, strerror(errno));
    return false;
  }
  lua_pushfstring(L, "@%s", path);
  rc = ml__loadbuffer(L, lua_tostring(L, -2), lua_rawlen(L, -2), lua_tostring(L, -1), mode);
  return rc == LUA_OK;
}

/* [path, mode]: the chunk or a message, and if it is a chunk */
static int protected_file(lua_State *L) {
  lua_pushboolean(L, load_file(L, lua_tostring(L, 1), lua_tostring(L, 2)));
  return 2;
}

static int sb_loadfile(lua_State *L) {
  const char *path = lua_isnoneornil(L, 1) ? NULL : check_path(L, 1);
  const char *mode = luaL_optstring(L, 2, "bt");
  bool env = !lua_isnone(L, 3), ok;
  if (!ml__may(sandbox(L), ML_P_BYTECODE)) mode = "t";
  if (path == NULL) {
    ml__check_may(L, ML_P_STDIO, "loadfile", "stdin");
    lua_settop(L, env ? 3 : 2);
    lua_pushstring(L, mode);
    lua_replace(L, 2);
    return original(L);
  }
  lua_pushcfunction(L, protected_file);
  lua_pushstring(L, path);
  lua_pushstring(L, mode);
  ok = lua_pcall(L, 2, 2, 0) == LUA_OK; /* else: no memory for the source */
  if (ok) {
    ok = lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  if (!ok) {
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
  }
  if (env) {
    lua_pushvalue(L, 3);
    if (lua_setupvalue(L, -2, 1) == NULL) lua_pop(L, 1);
  }
  return 1;
}

static int dofile_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L) - 1;
}

static int sb_dofile(lua_State *L) {
  const char *path = lua_isnoneornil(L, 1) ? NULL : check_path(L, 1);
  if (path == NULL) {
    ml__check_may(L, ML_P_STDIO, "dofile", "stdin");
    return original(L);
  }
  lua_settop(L, 1);
  if (!load_file(L, path, ml__load_mode(L))) return lua_error(L);
  lua_replace(L, 2);
  lua_settop(L, 2);
  lua_callk(L, 0, LUA_MULTRET, 0, dofile_k);
  return dofile_k(L, LUA_OK, 0);
}

/* ---- modules ---- */

/* Pushes the file of the module that may be read, or what was looked for: then false. */
static bool search_path(lua_State *L, const char *name, const char *path, const char *sep,
                        const char *rep) {
  luaL_Buffer tried;
  bool first = true;
  if (*sep != '\0') name = luaL_gsub(L, name, sep, rep);
  luaL_buffinit(L, &tried);
  while (*path != '\0') {
    const char *end = strchr(path, *LUA_PATH_SEP), *file;
    ml_pathpin pin;
    int rc;
    if (end == NULL) end = path + strlen(path);
    lua_pushlstring(L, path, (size_t)(end - path));
    file = luaL_gsub(L, lua_tostring(L, -1), LUA_PATH_MARK, name);
    lua_remove(L, -2);
    rc = ml__path_pin(sandbox(L), file, ML_PATH_ALLOWED | ML_PATH_MODULE, &pin);
    if (rc == 0) {
      rc = access(pin.path, R_OK);
      ml__path_unpin(&pin);
      if (rc == 0) return true;
    }
    lua_pushfstring(L, rc == ML_EDENIED ? "%sno permission to read '%s'" : "%sno file '%s'",
                    first ? "" : "\n\t", file);
    first = false;
    lua_remove(L, -2);
    luaL_addvalue(&tried);
    path = *end == '\0' ? end : end + 1;
  }
  luaL_pushresult(&tried);
  return false;
}

static int sb_searchpath(lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *path = luaL_checkstring(L, 2);
  const char *sep = luaL_optstring(L, 3, "."), *rep = luaL_optstring(L, 4, LUA_DIRSEP);
  if (search_path(L, name, path, sep, rep)) return 1;
  luaL_pushfail(L);
  lua_insert(L, -2);
  return 2;
}

/* The searcher of Lua files; upvalue 1: the package table. */
static int search_disk(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (lua_getfield(L, lua_upvalueindex(1), "path") != LUA_TSTRING)
    return luaL_error(L, "'package.path' must be a string");
  if (!search_path(L, name, lua_tostring(L, -1), ".", LUA_DIRSEP)) return 1;
  if (!load_file(L, lua_tostring(L, -1), ml__load_mode(L)))
    return luaL_error(L, "error loading module '%s':\n\t%s", name, lua_tostring(L, -1));
  lua_pushvalue(L, -3); /* file, source's name, chunk */
  return 2;
}

static int sb_loadlib(lua_State *L) {
  return ml__deny(L, ML_P_FULL, "loadlib", luaL_checkstring(L, 1), NULL);
}

/* ---- debug ---- */

/* What could reach what the engine holds, or the code that watches the script. upvalue 1: its
** name */
static int sb_debug(lua_State *L) {
  return ml__deny(L, ML_P_FULL, lua_tostring(L, lua_upvalueindex(1)), NULL, NULL);
}

/* C code knows its userdata by their metatables. */
static int sb_setmetatable(lua_State *L) {
  if (lua_type(L, 1) == LUA_TUSERDATA || lua_type(L, 1) == LUA_TLIGHTUSERDATA)
    return ml__deny(L, ML_P_FULL, "debug.setmetatable", "userdata", NULL);
  return original(L);
}

/* ---- putting them in place ---- */

/* The field of the table on top is fn from now on, with what was there as upvalue 1. */
static void put(lua_State *L, const char *name, lua_CFunction fn) {
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, fn, 1);
  lua_setfield(L, -2, name);
}

static void put_all(lua_State *L, const luaL_Reg *fns) {
  for (; fns->name != NULL; fns++) put(L, fns->name, fns->func);
}

static void close_standard(lua_State *L, const char *name) {
  luaL_Stream *p;
  lua_getfield(L, -1, name);
  p = luaL_testudata(L, -1, LUA_FILEHANDLE);
  if (p != NULL) p->closef = NULL; /* closed, to scripts: it is the process's */
  lua_pop(L, 1);
}

static void open_io(lua_State *L) {
  static const luaL_Reg fns[] = {
      {"open", sb_open}, {"popen", sb_popen}, {"tmpfile", sb_tmpfile}, {NULL, NULL}};
  lua_getglobal(L, LUA_IOLIBNAME);
  put_all(L, fns);
  lua_getfield(L, -1, "input");
  lua_pushliteral(L, "r");
  lua_pushcclosure(L, sb_default, 2);
  lua_setfield(L, -2, "input");
  lua_getfield(L, -1, "output");
  lua_pushliteral(L, "w");
  lua_pushcclosure(L, sb_default, 2);
  lua_setfield(L, -2, "output");
  lua_getfield(L, -1, "lines");
  luaL_getmetatable(L, LUA_FILEHANDLE);
  lua_getfield(L, -1, "__index");
  lua_getfield(L, -1, "lines");
  lua_replace(L, -3);
  lua_pop(L, 1);
  lua_pushcclosure(L, sb_lines, 2);
  lua_setfield(L, -2, "lines");
  if (!ml__may(sandbox(L), ML_P_STDIO)) {
    close_standard(L, "stdin");
    close_standard(L, "stdout");
    close_standard(L, "stderr");
  }
  lua_pop(L, 1);
}

/* Searchers: preload, the engine's, the host's (see loader.c), and files that may be read; those
** of C modules are none any more. */
static void open_package(lua_State *L) {
  lua_Integer n;
  lua_getglobal(L, LUA_LOADLIBNAME);
  put(L, "searchpath", sb_searchpath);
  put(L, "loadlib", sb_loadlib);
  lua_getfield(L, -1, "searchers");
  n = (lua_Integer)lua_rawlen(L, -1);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, search_disk, 1);
  lua_rawseti(L, -2, n - 2);
  for (lua_Integer i = n - 1; i <= n; i++) {
    lua_pushnil(L);
    lua_rawseti(L, -2, i);
  }
  lua_pop(L, 2);
}

static void open_debug(lua_State *L) {
  static const char *const refused[] = {"debug", "sethook", "getregistry"};
  lua_getglobal(L, LUA_DBLIBNAME);
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    lua_pushfstring(L, "debug.%s", refused[i]);
    lua_pushcclosure(L, sb_debug, 1);
    lua_setfield(L, -2, refused[i]);
  }
  put(L, "setmetatable", sb_setmetatable);
  lua_pop(L, 1);
}

void ml__open_sandbox(lua_State *L) {
  static const luaL_Reg base[] = {
      {"load", sb_load}, {"loadfile", sb_loadfile}, {"dofile", sb_dofile}, {NULL, NULL}};
  static const luaL_Reg os[] = {{"remove", sb_remove},       {"rename", sb_rename},
                                {"tmpname", sb_tmpname},     {"execute", sb_execute},
                                {"getenv", sb_getenv},       {"exit", sb_exit},
                                {"setlocale", sb_setlocale}, {NULL, NULL}};
  if (sandbox(L) == NULL) return;
  lua_pushglobaltable(L);
  put_all(L, base);
  lua_pop(L, 1);
  lua_getglobal(L, LUA_OSLIBNAME);
  put_all(L, os);
  lua_pop(L, 1);
  open_io(L);
  open_package(L);
  open_debug(L);
}
