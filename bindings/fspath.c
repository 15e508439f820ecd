/* Operations on paths: each is libuv's, called on one of its threads. Arguments were
** checked when the operation was made; here they are a job's.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs.h"

#define OP(name) \
  { name, ml__fsop_begin, ml__fsop_wake, ml__fsop_cancel }

/* ---- stat ---- */

static const char *type_name(uint64_t mode) {
  switch (mode & S_IFMT) {
  case S_IFREG: return "file";
  case S_IFDIR: return "directory";
  case S_IFLNK: return "link";
  case S_IFIFO: return "fifo";
  case S_IFSOCK: return "socket";
  case S_IFCHR: return "char";
  case S_IFBLK: return "block";
  default: return "unknown";
  }
}

static void set_time(lua_State *L, const char *key, const uv_timespec_t *t) {
  lua_pushnumber(L, (lua_Number)t->tv_sec + (lua_Number)t->tv_nsec / 1e9);
  lua_setfield(L, -2, key);
}

static void set_flag(lua_State *L, const char *key, uint64_t mode, unsigned type) {
  lua_pushboolean(L, (mode & S_IFMT) == type);
  lua_setfield(L, -2, key);
}

void ml__fs_pushstat(lua_State *L, const uv_stat_t *st) {
  const struct {
    const char *key;
    uint64_t value;
  } numbers[] = {{"size", st->st_size},       {"mode", st->st_mode & 07777},
                 {"ino", st->st_ino},         {"dev", st->st_dev},
                 {"nlink", st->st_nlink},     {"uid", st->st_uid},
                 {"gid", st->st_gid},         {"rdev", st->st_rdev},
                 {"blksize", st->st_blksize}, {"blocks", st->st_blocks}};
  lua_createtable(L, 0, 18);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    lua_pushinteger(L, (lua_Integer)numbers[i].value);
    lua_setfield(L, -2, numbers[i].key);
  }
  lua_pushstring(L, type_name(st->st_mode));
  lua_setfield(L, -2, "type");
  set_flag(L, "is_file", st->st_mode, S_IFREG);
  set_flag(L, "is_dir", st->st_mode, S_IFDIR);
  set_flag(L, "is_link", st->st_mode, S_IFLNK);
  set_time(L, "mtime", &st->st_mtim);
  set_time(L, "atime", &st->st_atim);
  set_time(L, "ctime", &st->st_ctim);
  set_time(L, "birthtime", &st->st_birthtim);
}

/* Takes what a synchronous call of libuv has found out. */
static void taken(ml_fsjob *j, uv_fs_t *r, int rc) {
  j->status = rc;
  uv_fs_req_cleanup(r);
}

static void run_stat(ml_fsjob *j) {
  uv_fs_t r;
  int rc = j->a ? uv_fs_lstat(NULL, &r, j->path, NULL) : uv_fs_stat(NULL, &r, j->path, NULL);
  j->u.st = r.statbuf;
  taken(j, &r, rc);
}

static int push_stat(lua_State *L, ml_fsjob *j) {
  ml__fs_pushstat(L, &j->u.st);
  return 1;
}

static const ml_fsclass stat_class = {OP("fs.stat"), run_stat, push_stat, NULL, NULL, ML_PATH_R, 0};
static const ml_fsclass lstat_class = {
    OP("fs.lstat"), run_stat, push_stat, NULL, NULL, ML_PATH_R | ML_PATH_NOFOLLOW, 0};

static int f_stat(lua_State *L) {
  ml__fsop_new(L, &stat_class, 1, 0);
  return 1;
}

static int f_lstat(lua_State *L) {
  ml__fsop_new(L, &lstat_class, 1, 0)->a = 1;
  return 1;
}

/* exists, is_file, is_dir, is_link: b is the type asked for; no error but "no". */
static int push_is(lua_State *L, ml_fsjob *j) {
  lua_pushboolean(L, j->b == 0 || (int64_t)(j->u.st.st_mode & S_IFMT) == j->b);
  return 1;
}

static bool answer_false(lua_State *L, ml_fsjob *j) {
  (void)j;
  lua_pushboolean(L, 0);
  return true;
}

static const ml_fsclass is_classes[] = {
    {OP("fs.exists"), run_stat, push_is, NULL, answer_false, ML_PATH_R, 0},
    {OP("fs.is_file"), run_stat, push_is, NULL, answer_false, ML_PATH_R, 0},
    {OP("fs.is_dir"), run_stat, push_is, NULL, answer_false, ML_PATH_R, 0},
    {OP("fs.is_link"), run_stat, push_is, NULL, answer_false, ML_PATH_R | ML_PATH_NOFOLLOW, 0},
};

static int push_is_op(lua_State *L, int which, int64_t type) {
  ml_fsop *op = ml__fsop_new(L, &is_classes[which], 1, 0);
  op->a = which == 3;
  op->b = type;
  return 1;
}

static int f_exists(lua_State *L) { return push_is_op(L, 0, 0); }
static int f_is_file(lua_State *L) { return push_is_op(L, 1, S_IFREG); }
static int f_is_dir(lua_State *L) { return push_is_op(L, 2, S_IFDIR); }
static int f_is_link(lua_State *L) { return push_is_op(L, 3, S_IFLNK); }

static void run_access(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_access(NULL, &r, j->path, (int)j->a, NULL));
}

static int push_true(lua_State *L, ml_fsjob *j) {
  (void)j;
  lua_pushboolean(L, 1);
  return 1;
}

/* "You may not" and "there is none" are answers, anything else is an error. */
static bool answer_access(lua_State *L, ml_fsjob *j) {
  if (j->status != UV_EACCES && j->status != UV_ENOENT && j->status != UV_EROFS &&
      j->status != UV_EPERM && j->status != UV_ENOTDIR && j->status != UV_ETXTBSY)
    return false;
  return answer_false(L, j);
}

static const ml_fsclass access_class = {OP("fs.access"), run_access, push_true, NULL,
                                        answer_access,   ML_PATH_R,  0};

/* access(path [, "rwx"]): without a mode, whether it is there */
static int f_access(lua_State *L) {
  const char *mode = "";
  int flags = F_OK;
  if (lua_type(L, 2) == LUA_TSTRING)
    mode = lua_tostring(L, 2);
  else if (!lua_isnoneornil(L, 2))
    return ml__misuse(L, "TypeError", "fs.access: a mode such as 'rw' was expected, got %s",
                      luaL_typename(L, 2));
  for (; *mode != '\0'; mode++) {
    if (*mode != 'r' && *mode != 'w' && *mode != 'x')
      return ml__misuse(L, "ValueError", "fs.access: the mode is made of r, w and x, got '%s'",
                        lua_tostring(L, 2));
    flags |= *mode == 'r' ? R_OK : *mode == 'w' ? W_OK : X_OK;
  }
  ml__fsop_new(L, &access_class, 1, 0)->a = flags;
  return 1;
}

/* ---- names ---- */

static void run_mkdir(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_mkdir(NULL, &r, j->path, (int)j->a, NULL));
}

static void run_rmdir(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_rmdir(NULL, &r, j->path, NULL));
}

static void run_unlink(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_unlink(NULL, &r, j->path, NULL));
}

static void run_rename(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_rename(NULL, &r, j->path, j->dest, NULL));
}

/* Where fsync does not serve folders, and where a folder may not be read, the rename is all that
** can be done. */
static int sync_folder(const char *folder) {
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;
  if (fd < 0) return errno == EACCES ? 0 : uv_translate_sys_error(errno);
  while (fsync(fd) < 0 && (error = errno) == EINTR) error = 0;
  close(fd);
  if (error == EINVAL || error == EBADF || error == EROFS || error == ENOTSUP) error = 0;
  return error == 0 ? 0 : uv_translate_sys_error(error);
}

/* "a/b" -> "a", "/b" -> "/", "b" -> "."; the first n bytes of what it gives */
static const char *folder_of(const char *path, size_t *n) {
  const char *slash = strrchr(path, '/');
  *n = slash != NULL && slash > path ? (size_t)(slash - path) : 1;
  return slash == NULL ? "." : path;
}

/* b: it has its new name */
static void run_rename_synced(ml_fsjob *j) {
  size_t n;
  const char *p = folder_of(j->dest, &n);
  char *folder = strndup(p, n);
  j->status = UV_ENOMEM;
  if (folder == NULL) return;
  run_rename(j);
  if (j->status >= 0) {
    j->b = 1;
    j->status = sync_folder(folder);
  }
  free(folder);
}

static bool answer_rename_synced(lua_State *L, ml_fsjob *j) {
  size_t n;
  const char *p = folder_of(j->dest, &n);
  if (j->b == 0) return false;
  ml__fs_error(L, (int)j->status, "fsync", lua_pushlstring(L, p, n), NULL);
  return lua_error(L);
}

static void run_link(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_link(NULL, &r, j->path, j->dest, NULL));
}

static void run_symlink(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_symlink(NULL, &r, j->path, j->dest, 0, NULL));
}

/* A new file, held, so that no link can take its place before libuv opens it. */
static int hold_new(ml_pathpin *pin) {
  int fd = open(pin->path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (fd < 0) return uv_translate_sys_error(errno);
  ml__path_unpin(pin);
  pin->fd = fd;
  snprintf(pin->path, sizeof pin->path, "/proc/self/fd/%d", fd);
  return 0;
}

static bool is_fifo(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
}

static void run_copyfile(ml_fsjob *j) {
  uv_fs_t r;
  if (is_fifo(j->path) || is_fifo(j->dest)) { /* libuv would wait for its other end */
    j->status = UV_EINVAL;
    return;
  }
  if (j->pins != NULL && !j->pins[1].exists && !(j->a & UV_FS_COPYFILE_EXCL)) {
    j->status = hold_new(&j->pins[1]);
    if (j->status < 0) return;
  }
  taken(j, &r, uv_fs_copyfile(NULL, &r, j->path, j->dest, (int)j->a, NULL));
}

static void take_text(ml_fsjob *j, uv_fs_t *r, int rc) {
  if (rc == 0 && (j->out = strdup(r->ptr)) == NULL) rc = UV_ENOMEM;
  taken(j, r, rc);
}

static void run_readlink(ml_fsjob *j) {
  uv_fs_t r;
  take_text(j, &r, uv_fs_readlink(NULL, &r, j->path, NULL));
}

static void run_realpath(ml_fsjob *j) {
  uv_fs_t r;
  take_text(j, &r, uv_fs_realpath(NULL, &r, j->path, NULL));
}

static void run_mkdtemp(ml_fsjob *j) {
  size_t n = strlen(j->path), shown = strlen(j->text);
  j->status = mkdtemp(j->path) == NULL ? uv_translate_sys_error(errno) : 0;
  if (j->path != j->text && n >= 6 && shown >= 6) memcpy(j->text + shown - 6, j->path + n - 6, 6);
}

static void undo_mkdtemp(ml_fsjob *j) { rmdir(j->path); }

static int push_text(lua_State *L, ml_fsjob *j) {
  lua_pushstring(L, j->out);
  return 1;
}

static int push_path(lua_State *L, ml_fsjob *j) {
  lua_pushstring(L, j->path);
  return 1;
}

static const ml_fsclass mkdir_class = {
    OP("fs.mkdir"), run_mkdir, NULL, NULL, NULL, ML_PATH_W | ML_PATH_NOFOLLOW, 0};
static const ml_fsclass rmdir_class = {
    OP("fs.rmdir"), run_rmdir, NULL, NULL, NULL, ML_PATH_W | ML_PATH_NOFOLLOW, 0};
static const ml_fsclass unlink_class = {
    OP("fs.unlink"), run_unlink, NULL, NULL, NULL, ML_PATH_W | ML_PATH_NOFOLLOW, 0};
static const ml_fsclass rename_class = {OP("fs.rename"),
                                        run_rename,
                                        NULL,
                                        NULL,
                                        NULL,
                                        ML_PATH_W | ML_PATH_NOFOLLOW | ML_PATH_MOVES,
                                        ML_PATH_W | ML_PATH_NOFOLLOW};
static const ml_fsclass rename_synced_class = {OP("fs.rename"),
                                               run_rename_synced,
                                               NULL,
                                               NULL,
                                               answer_rename_synced,
                                               ML_PATH_W | ML_PATH_NOFOLLOW | ML_PATH_MOVES,
                                               ML_PATH_W | ML_PATH_NOFOLLOW};
static const ml_fsclass link_class = {OP("fs.link"),
                                      run_link,
                                      NULL,
                                      NULL,
                                      NULL,
                                      ML_PATH_W | ML_PATH_NOFOLLOW | ML_PATH_MOVES,
                                      ML_PATH_W | ML_PATH_NOFOLLOW};
static const ml_fsclass symlink_class = {OP("fs.symlink"),
                                         run_symlink,
                                         NULL,
                                         NULL,
                                         NULL,
                                         ML_PATH_W | ML_PATH_MOVES | ML_PATH_TARGET,
                                         ML_PATH_W | ML_PATH_NOFOLLOW};
static const ml_fsclass copyfile_class = {
    OP("fs.copyfile"), run_copyfile, NULL, NULL, NULL, ML_PATH_R, ML_PATH_W | ML_PATH_CREATE};
static const ml_fsclass readlink_class = {
    OP("fs.readlink"), run_readlink, push_text, NULL, NULL, ML_PATH_R | ML_PATH_NOFOLLOW, 0};
static const ml_fsclass realpath_class = {
    OP("fs.realpath"), run_realpath, push_text, NULL, NULL, ML_PATH_R, 0};
static const ml_fsclass mkdtemp_class = {
    OP("fs.mkdtemp"), run_mkdtemp, push_path, undo_mkdtemp, NULL, ML_PATH_W | ML_PATH_NOFOLLOW, 0};

static int f_rmdir(lua_State *L) {
  ml__fsop_new(L, &rmdir_class, 1, 0);
  return 1;
}
static int f_unlink(lua_State *L) {
  ml__fsop_new(L, &unlink_class, 1, 0);
  return 1;
}
static int f_rename(lua_State *L) {
  ml__fsop_new(L, &rename_class, 1, 2);
  return 1;
}
/* rename_synced(path, dest): on the disk, too */
static int f_rename_synced(lua_State *L) {
  ml__fsop_new(L, &rename_synced_class, 1, 2);
  return 1;
}
static int f_link(lua_State *L) {
  ml__fsop_new(L, &link_class, 1, 2);
  return 1;
}
static int f_symlink(lua_State *L) {
  ml__fsop_new(L, &symlink_class, 1, 2);
  return 1;
}
static int f_readlink(lua_State *L) {
  ml__fsop_new(L, &readlink_class, 1, 0);
  return 1;
}
static int f_realpath(lua_State *L) {
  ml__fsop_new(L, &realpath_class, 1, 0);
  return 1;
}
/* mkdtemp(template that ends in XXXXXX) */
static int f_mkdtemp(lua_State *L) {
  ml__fsop_new(L, &mkdtemp_class, 1, 0);
  return 1;
}
/* mkdir(path, mode) */
static int f_mkdir(lua_State *L) {
  lua_Integer mode = ml__fs_checkint(L, 2, "fs.mkdir", "a mode");
  ml__fsop_new(L, &mkdir_class, 1, 0)->a = mode & 07777;
  return 1;
}
/* copyfile(src, dst, excl, reflink: nil, "try" or "force") */
static int f_copyfile(lua_State *L) {
  const char *reflink = lua_tostring(L, 4);
  ml_fsop *op;
  lua_settop(L, 4);
  op = ml__fsop_new(L, &copyfile_class, 1, 2);
  op->a = lua_toboolean(L, 3) ? UV_FS_COPYFILE_EXCL : 0;
  if (reflink != NULL)
    op->a |= strcmp(reflink, "force") == 0 ? UV_FS_COPYFILE_FICLONE_FORCE : UV_FS_COPYFILE_FICLONE;
  return 1;
}

/* ---- attributes ---- */

static void run_chmod(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_chmod(NULL, &r, j->path, (int)j->a, NULL));
}

static void run_chown(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_chown(NULL, &r, j->path, (uv_uid_t)j->a, (uv_gid_t)j->b, NULL));
}

static void run_lchown(ml_fsjob *j) {
  uv_fs_t r;
  taken(j, &r, uv_fs_lchown(NULL, &r, j->path, (uv_uid_t)j->a, (uv_gid_t)j->b, NULL));
}

/* libuv's would keep microseconds only */
static void run_utime(ml_fsjob *j) {
  struct timespec ts[2] = {ml__fs_timespec(j->atime), ml__fs_timespec(j->mtime)};
  int rc = utimensat(AT_FDCWD, j->path, ts, j->a ? AT_SYMLINK_NOFOLLOW : 0);
  j->status = rc < 0 ? uv_translate_sys_error(errno) : 0;
}

static void run_truncate(ml_fsjob *j) {
  j->status = truncate(j->path, (off_t)j->a) < 0 ? uv_translate_sys_error(errno) : 0;
}

static void run_statfs(ml_fsjob *j) {
  uv_fs_t r;
  int rc = uv_fs_statfs(NULL, &r, j->path, NULL);
  if (rc == 0) j->u.statfs = *(uv_statfs_t *)r.ptr;
  taken(j, &r, rc);
}

static int push_statfs(lua_State *L, ml_fsjob *j) {
  const uv_statfs_t *s = &j->u.statfs;
  const struct {
    const char *key;
    uint64_t value;
  } numbers[] = {{"type", s->f_type},   {"bsize", s->f_bsize},   {"blocks", s->f_blocks},
                 {"bfree", s->f_bfree}, {"bavail", s->f_bavail}, {"files", s->f_files},
                 {"ffree", s->f_ffree}};
  lua_createtable(L, 0, 7);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    lua_pushinteger(L, (lua_Integer)numbers[i].value);
    lua_setfield(L, -2, numbers[i].key);
  }
  return 1;
}

static const ml_fsclass chmod_class = {OP("fs.chmod"), run_chmod, NULL, NULL, NULL, ML_PATH_W, 0};
static const ml_fsclass chown_class = {OP("fs.chown"), run_chown, NULL, NULL, NULL, ML_PATH_W, 0};
static const ml_fsclass lchown_class = {
    OP("fs.lchown"), run_lchown, NULL, NULL, NULL, ML_PATH_W | ML_PATH_NOFOLLOW, 0};
static const ml_fsclass utime_class = {OP("fs.utime"), run_utime, NULL, NULL, NULL, ML_PATH_W, 0};
static const ml_fsclass truncate_class = {
    OP("fs.truncate"), run_truncate, NULL, NULL, NULL, ML_PATH_W, 0};
static const ml_fsclass statfs_class = {OP("fs.statfs"), run_statfs, push_statfs, NULL, NULL,
                                        ML_PATH_R,       0};

static int f_chmod(lua_State *L) {
  lua_Integer mode = ml__fs_checkint(L, 2, "fs.chmod", "a mode");
  ml__fsop_new(L, &chmod_class, 1, 0)->a = mode & 07777;
  return 1;
}

static int push_chown(lua_State *L, const ml_fsclass *cls) {
  lua_Integer uid = ml__fs_checkint(L, 2, cls->op.name, "a user id");
  lua_Integer gid = ml__fs_checkint(L, 3, cls->op.name, "a group id");
  ml_fsop *op = ml__fsop_new(L, cls, 1, 0);
  op->a = uid;
  op->b = gid;
  return 1;
}
static int f_chown(lua_State *L) { return push_chown(L, &chown_class); }
static int f_lchown(lua_State *L) { return push_chown(L, &lchown_class); }

/* utime(path, atime, mtime, nofollow) */
static int f_utime(lua_State *L) {
  double atime = ml__fs_checktime(L, 2, "fs.utime"), mtime = ml__fs_checktime(L, 3, "fs.utime");
  ml_fsop *op;
  lua_settop(L, 4);
  op = ml__fsop_new(L, &utime_class, 1, 0);
  op->atime = atime;
  op->mtime = mtime;
  op->a = lua_toboolean(L, 4);
  return 1;
}

static int f_truncate(lua_State *L) {
  lua_Integer n = ml__fs_checkint(L, 2, "fs.truncate", "a length");
  if (n < 0) return ml__misuse(L, "ValueError", "fs.truncate: the length is negative");
  ml__fsop_new(L, &truncate_class, 1, 0)->a = n;
  return 1;
}

static int f_statfs(lua_State *L) {
  ml__fsop_new(L, &statfs_class, 1, 0);
  return 1;
}

void ml__open_fspaths(lua_State *L) {
  static const luaL_Reg functions[] = {{"stat", f_stat},
                                       {"lstat", f_lstat},
                                       {"exists", f_exists},
                                       {"is_file", f_is_file},
                                       {"is_dir", f_is_dir},
                                       {"is_link", f_is_link},
                                       {"access", f_access},
                                       {"mkdir", f_mkdir},
                                       {"rmdir", f_rmdir},
                                       {"unlink", f_unlink},
                                       {"rename", f_rename},
                                       {"rename_synced", f_rename_synced},
                                       {"link", f_link},
                                       {"symlink", f_symlink},
                                       {"readlink", f_readlink},
                                       {"realpath", f_realpath},
                                       {"mkdtemp", f_mkdtemp},
                                       {"chmod", f_chmod},
                                       {"chown", f_chown},
                                       {"lchown", f_lchown},
                                       {"utime", f_utime},
                                       {"truncate", f_truncate},
                                       {"copyfile", f_copyfile},
                                       {"statfs", f_statfs},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
