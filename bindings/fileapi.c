/* File as scripts hold it: methods, fields, its end. See file.h.
*/
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

static ml_fileobject *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_FILE); }

/* Pushes an operation on the file at index 1: the last one if it is done with. */
static ml_fileop *push_op(lua_State *L, ml_filekind kind) {
  ml_fileop *op = NULL;
  check(L);
  if (lua_getiuservalue(L, 1, 1) == LUA_TUSERDATA) op = lua_touserdata(L, -1);
  if (op != NULL && op->op.obj.n == 0 && op->op.obj.state == ML_CO_AWAITED) {
    op->op.obj.state = ML_CO_NEW;
    op->op.obj.flags = 0;
    op->op.cls = &ml__file_classes[kind];
  } else {
    lua_pop(L, 1);
    op = ml__op_new(L, &ml__file_classes[kind], sizeof *op, 2);
    ml__list_init(&op->link);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 1);
  }
  op->op.obj.n = 1;
  op->kind = kind;
  op->worked = false;
  op->a = op->b = 0;
  op->done = 0;
  return op;
}

static lua_Integer check_size(lua_State *L, int idx, const char *fname, const char *what) {
  lua_Integer n = ml__fs_checkint(L, idx, fname, what);
  if (n < 0) ml__misuse(L, "ValueError", "%s: %s must not be negative, got %I", fname, what, n);
  return n;
}

/* read([n or "a", "l", "L"]) */
static int f_read(lua_State *L) {
  check(L);
  if (lua_type(L, 2) == LUA_TNUMBER) {
    lua_Integer n = check_size(L, 2, "read", "a number of bytes");
    push_op(L, ML_FILE_READ)->a = n;
  } else if (lua_isnoneornil(L, 2))
    push_op(L, ML_FILE_READ_ALL);
  else {
    const char *what = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    if (what == NULL)
      return ml__misuse(L, "TypeError", "read: a number of bytes or \"a\" was expected, got %s",
                        luaL_typename(L, 2));
    if (*what == '*') what++;
    if (strcmp(what, "a") == 0)
      push_op(L, ML_FILE_READ_ALL);
    else if (strcmp(what, "l") == 0 || strcmp(what, "L") == 0)
      push_op(L, ML_FILE_LINE)->b = *what == 'l';
    else
      return ml__misuse(L, "ValueError", "read: the format must be \"a\", \"l\" or \"L\", got '%s'",
                        lua_tostring(L, 2));
  }
  return 1;
}

static int f_readline(lua_State *L) {
  push_op(L, ML_FILE_LINE);
  return 1;
}

static void check_data(lua_State *L, int idx, const char *fname) {
  if (!lua_isstring(L, idx))
    ml__misuse(L, "TypeError", "%s: a string was expected, got %s", fname, luaL_typename(L, idx));
}

static ml_fileop *push_write(lua_State *L, ml_filekind kind) {
  ml_fileop *op = push_op(L, kind);
  lua_pushvalue(L, 2);
  lua_tostring(L, -1); /* numbers become strings */
  lua_setiuservalue(L, -2, 2);
  return op;
}

/* write(data, ...) */
static int f_write(lua_State *L) {
  int n = lua_gettop(L);
  check(L);
  for (int i = 2; i <= (n > 2 ? n : 2); i++) check_data(L, i, "write");
  if (n > 2) lua_concat(L, n - 1);
  push_write(L, ML_FILE_WRITE);
  return 1;
}

static int f_pwrite(lua_State *L) {
  lua_Integer offset;
  check(L);
  check_data(L, 2, "pwrite");
  offset = check_size(L, 3, "pwrite", "an offset");
  push_write(L, ML_FILE_PWRITE)->a = offset;
  return 1;
}

static int f_pread(lua_State *L) {
  ml_fileop *op;
  lua_Integer n, offset;
  check(L);
  n = check_size(L, 2, "pread", "a number of bytes");
  offset = check_size(L, 3, "pread", "an offset");
  op = push_op(L, ML_FILE_PREAD);
  op->a = n;
  op->b = offset;
  return 1;
}

/* seek([whence [, offset]]), as Lua's */
static int f_seek(lua_State *L) {
  static const char *const names[] = {"set", "cur", "end"};
  static const int modes[] = {SEEK_SET, SEEK_CUR, SEEK_END};
  lua_Integer offset = 0;
  const char *whence = "cur";
  ml_fileop *op;
  int i = 0;
  check(L);
  if (lua_type(L, 2) == LUA_TSTRING)
    whence = lua_tostring(L, 2);
  else if (!lua_isnoneornil(L, 2))
    return ml__misuse(L, "TypeError", "seek: \"set\", \"cur\" or \"end\" was expected, got %s",
                      luaL_typename(L, 2));
  while (i < 3 && strcmp(whence, names[i]) != 0) i++;
  if (i == 3)
    return ml__misuse(L, "ValueError", "seek: \"set\", \"cur\" or \"end\" was expected, got '%s'",
                      whence);
  if (!lua_isnoneornil(L, 3)) offset = ml__fs_checkint(L, 3, "seek", "an offset");
  op = push_op(L, ML_FILE_SEEK);
  op->a = offset;
  op->b = modes[i];
  return 1;
}

static int f_tell(lua_State *L) {
  push_op(L, ML_FILE_SEEK)->b = SEEK_CUR;
  return 1;
}

static int f_truncate(lua_State *L) {
  lua_Integer n = 0;
  bool here = lua_isnoneornil(L, 2);
  ml_fileop *op;
  check(L);
  if (!here) n = check_size(L, 2, "truncate", "a length");
  op = push_op(L, ML_FILE_TRUNCATE);
  op->a = n;
  op->b = here;
  return 1;
}

static int f_fsync(lua_State *L) {
  push_op(L, ML_FILE_SYNC);
  return 1;
}
static int f_datasync(lua_State *L) {
  push_op(L, ML_FILE_DATASYNC);
  return 1;
}
static int f_stat(lua_State *L) {
  push_op(L, ML_FILE_STAT);
  return 1;
}
/* _spill(): what _receive and _add have put aside begins to be written; raises what became of what
** was before */
static int f_spill(lua_State *L) {
  push_op(L, ML_FILE_SPILL);
  return 1;
}
static int f_close(lua_State *L) {
  push_op(L, ML_FILE_CLOSE);
  return 1;
}

/* The kernel lets the owner of a file alter its attributes by a descriptor that only reads. */
static void check_alters(lua_State *L, const char *doing) {
  const ml_file *f = check(L)->f;
  if (ml__engine(L)->sandbox == NULL || f == NULL || (f->flags & O_ACCMODE) != O_RDONLY) return;
  ml__deny(L, ML_P_WRITE, doing, "a file open for reading", NULL);
}

static int f_chmod(lua_State *L) {
  lua_Integer mode;
  check_alters(L, "chmod");
  mode = ml__fs_checkint(L, 2, "chmod", "a mode");
  push_op(L, ML_FILE_CHMOD)->a = mode & 07777;
  return 1;
}

static int f_utime(lua_State *L) {
  double atime, mtime;
  ml_fileop *op;
  check_alters(L, "utime");
  atime = ml__fs_checktime(L, 2, "utime");
  mtime = ml__fs_checktime(L, 3, "utime");
  op = push_op(L, ML_FILE_UTIME);
  op->atime = atime;
  op->mtime = mtime;
  return 1;
}

/* _lock(operation of flock, do not wait) */
static int f_lock(lua_State *L) {
  lua_Integer how = ml__fs_checkint(L, 2, "lock", "an operation");
  bool nowait = lua_toboolean(L, 3);
  ml_fileop *op = push_op(L, ML_FILE_LOCK);
  op->a = how == 0 ? LOCK_UN : how == 1 ? LOCK_SH : LOCK_EX;
  op->b = nowait;
  return 1;
}

static int f_fileno(lua_State *L) {
  ml_file *f = check(L)->f;
  if (f == NULL || f->closing) {
    ml__fs_error(L, UV_EBADF, "fileno", f != NULL ? f->path : NULL, NULL);
    return lua_error(L);
  }
  lua_pushinteger(L, f->fd);
  return 1;
}

/* Where awaiting cannot be: closes the file here and now. */
static int f_close_now(lua_State *L) {
  ml_file *f = check(L)->f;
  if (f == NULL || f->closing) return 0;
  f->closing = true;
  if (f->busy) return 0; /* it is closed when it is collected */
  f->closed = true;
  ml__fswait_close(&f->wait);
  close(f->fd);
  f->fd = -1;
  return 0;
}

static int f_index(lua_State *L) {
  ml_fileobject *o;
  const char *key;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  o = check(L);
  if (lua_type(L, 2) != LUA_TSTRING) return 1;
  key = lua_tostring(L, 2);
  if (strcmp(key, "closed") == 0)
    lua_pushboolean(L, o->f == NULL || o->f->closing);
  else if (strcmp(key, "path") == 0)
    lua_getiuservalue(L, 1, 2);
  else if (strcmp(key, "mode") == 0)
    lua_getiuservalue(L, 1, 3);
  return 1;
}

static int f_tostring(lua_State *L) {
  ml_fileobject *o = check(L);
  lua_getiuservalue(L, 1, 2);
  lua_getiuservalue(L, 1, 3);
  lua_pushfstring(L, "<File '%s' mode=%s%s>", lua_tostring(L, -2), lua_tostring(L, -1),
                  o->f == NULL || o->f->closing ? " closed" : "");
  return 1;
}

static int f_gc(lua_State *L) {
  ml_fileobject *o = lua_touserdata(L, 1);
  ml_file *f = o->f;
  o->f = NULL;
  if (f == NULL) return 0;
  if (!f->closing)
    ml__log(f->engine, "ResourceWarning: unclosed <File '%s'>: call close()", f->path);
  f->closing = true;
  f->object = NULL;
  if (f->waiting) ml__file_withdraw(f);
  if (!f->busy) ml__file_destroy(f);
  return 0;
}

void ml__file_push(lua_State *L, int fd, int flags, const uv_stat_t *st, const char *path,
                   const char *mode) {
  ml_fs *fs = ml__fs(L);
  ml_fileobject *o;
  ml_file *f;
  char *copy;
  if (ml__handles_full(fs->engine)) {
    close(fd);
    ml__check_handles(L); /* raises */
  }
  f = calloc(1, sizeof *f);
  copy = strdup(path);
  if (f == NULL || copy == NULL) {
    free(f);
    free(copy);
    close(fd);
    luaL_error(L, "not enough memory");
    return;
  }
  f->engine = fs->engine;
  f->fd = fd;
  f->flags = flags;
  f->path = copy;
  f->regular = S_ISREG(st->st_mode);
  f->seekable = f->regular || S_ISBLK(st->st_mode);
  f->polled = !f->seekable;
  if ((flags & O_APPEND) && f->regular) f->pos = (int64_t)st->st_size;
  ml__list_init(&f->ops);
  ml__list_append(&fs->files, &f->link);
  /* orphaned at the engine's end should this fail */
  o = ml__newobject(L, ML_T_FILE, sizeof *o, 3);
  o->f = f;
  ml__file_prepare(o);
  f->object = o;
  lua_pushstring(L, path);
  lua_setiuservalue(L, -2, 2);
  lua_pushstring(L, mode);
  lua_setiuservalue(L, -2, 3);
}

void ml__files_orphan(ml_fs *fs, ml_evloop *l) {
  for (ml_link *n = fs->files.next, *next; n != &fs->files; n = next) {
    ml_file *f = ml__containerof(n, ml_file, link);
    next = n->next;
    if (l != NULL && !f->busy && ml__fswait_on(f->wait, l->uv)) ml__fswait_close(&f->wait);
    if (l != NULL && !(f->busy && f->loop == l)) continue;
    if (f->object != NULL) f->object->f = NULL;
    f->object = NULL;
    if (f->waiting) ml__file_withdraw(f);
    if (!f->busy) {
      ml__file_destroy(f);
      continue;
    }
    ml__list_remove(&f->link);
    f->engine->nstats_inflight--;
    f->engine = NULL;
    atomic_store(&f->cancelled, true);
    uv_cancel((uv_req_t *)&f->work); /* on_done follows and frees it */
  }
}

void ml__open_file(lua_State *L) {
  static const luaL_Reg methods[] = {{"read", f_read},
                                     {"readline", f_readline},
                                     {"write", f_write},
                                     {"pread", f_pread},
                                     {"pwrite", f_pwrite},
                                     {"seek", f_seek},
                                     {"tell", f_tell},
                                     {"truncate", f_truncate},
                                     {"fsync", f_fsync},
                                     {"datasync", f_datasync},
                                     {"stat", f_stat},
                                     {"chmod", f_chmod},
                                     {"utime", f_utime},
                                     {"fileno", f_fileno},
                                     {"close", f_close},
                                     {"_lock", f_lock},
                                     {"_close", f_close_now},
                                     {"_spill", f_spill},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", f_tostring}, {"__gc", f_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_FILE, "File", methods, meta);
  luaL_setfuncs(L, ml__file_spilling, 0);
  ml__ref_get(L, ML_R_TYPES + ML_T_FILE);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, f_index, 1);
  lua_setfield(L, -2, "__index");
  lua_getfield(L, -1, "__metatable");
  lua_setfield(L, -4, "File_metatable");
  lua_pop(L, 1);
  lua_setfield(L, -2, "File");
}
