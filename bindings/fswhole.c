/* Jobs that do a whole thing on a thread: opening, reading a file to its end, making a
** path's parents, listing a folder in batches, removing a tree.
**
** They look at `cancelled` between their steps. What is not a regular file is opened
** and read without blocking: what is not ready is left to the loop (ML_FSJOB_*).
*/
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"

#define OP(name) \
  { name, ml__fsop_begin, ml__fsop_wake, ml__fsop_cancel }

static int last_error(void) { return uv_translate_sys_error(errno); }

/* ---- reading and writing ---- */

/* A FIFO that had no writer yet reads as if it were at its end; poll knows better. */
static bool readable(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  int n;
  do n = poll(&p, 1, 0);
  while (n < 0 && errno == EINTR);
  return n != 0;
}

ssize_t ml__fs_read(int fd, char *p, size_t n, int64_t offset) {
  ssize_t got;
  if (offset < 0 && !readable(fd)) return UV_EAGAIN;
  do got = offset < 0 ? read(fd, p, n) : pread(fd, p, n, (off_t)offset);
  while (got < 0 && errno == EINTR);
  return got < 0 ? last_error() : got;
}

/* write(2); a pipe without readers is an error and no signal. */
static ssize_t write_quietly(int fd, const char *p, size_t n) {
  static const struct timespec at_once;
  sigset_t pipes, before;
  ssize_t put;
  int error;
  sigemptyset(&pipes);
  sigaddset(&pipes, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipes, &before);
  put = write(fd, p, n);
  error = errno;
  if (put < 0 && error == EPIPE) sigtimedwait(&pipes, NULL, &at_once);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = error;
  return put;
}

ssize_t ml__fs_write(int fd, const char *p, size_t n, int64_t offset) {
  ssize_t put;
  do put = offset < 0 ? write_quietly(fd, p, n) : pwrite(fd, p, n, (off_t)offset);
  while (put < 0 && errno == EINTR);
  return put < 0 ? last_error() : put;
}

/* ---- gathering ---- */

/* Room for a string's head, `len` bytes and the zero behind them, in whole pages. */
static bool block_grow(ml_block *b, size_t len) {
  size_t cap;
  char *p;
  if (len > SIZE_MAX / 2) return false;
  cap = (ML_BLOCK_HEAD + len + 1 + 4095) & ~(size_t)4095;
  if (cap <= b->cap) return true;
  p = realloc(b->base, cap);
  if (p == NULL) return false;
  b->base = p;
  b->cap = cap;
  return true;
}

/* The most that is read in one go: a cancel is looked at in between. */
#define GATHER_STEP ((size_t)4 << 20)

/* How many bytes are likely to come, at most n. */
static size_t expected(int fd, int64_t offset, uint64_t n) {
  struct stat st;
  uint64_t size = 0;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > offset)
    size = (uint64_t)st.st_size - (offset > 0 ? (uint64_t)offset : 0);
  return size < n ? (size_t)size : (size_t)n;
}

ssize_t ml__fs_gather(int fd, int64_t offset, uint64_t n, size_t front, ml_block *b,
                      atomic_bool *cancelled) {
  size_t want = expected(fd, offset, n), got = b->len > front ? b->len - front : 0;
  /* one byte more: room to learn that it is the end */
  if (!block_grow(b, front + (want > 0 ? want + 1 : 4096))) return UV_ENOMEM;
  while (got < n) {
    size_t room = b->cap - ML_BLOCK_HEAD - 1 - front - got, step;
    ssize_t rc;
    if (room == 0) { /* longer than it said */
      if (!block_grow(b, front + got + (got > 65536 ? got / 2 : 65536))) return UV_ENOMEM;
      continue;
    }
    step = n - got < room ? (size_t)(n - got) : room;
    if (step > GATHER_STEP) step = GATHER_STEP;
    if (atomic_load(cancelled)) return UV_ECANCELED;
    rc = ml__fs_read(fd, b->base + ML_BLOCK_HEAD + front + got, step,
                     offset < 0 ? -1 : offset + (int64_t)got);
    if (rc < 0) return rc;
    if (rc == 0) break;
    got += (size_t)rc;
    b->len = front + got;
  }
  b->len = front + got;
  return (ssize_t)got;
}

/* ---- opening ---- */

/* UV_EAGAIN: a FIFO that nobody reads can not be opened for writing yet. */
static int open_at_once(const char *path, int flags, int mode) {
  struct stat st;
  int fd, error;
  do fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
  while (fd < 0 && errno == EINTR);
  if (fd >= 0) return fd;
  error = errno;
  if (error == ENXIO && (flags & O_ACCMODE) == O_WRONLY && stat(path, &st) == 0 &&
      S_ISFIFO(st.st_mode))
    return UV_EAGAIN;
  return uv_translate_sys_error(error);
}

/* Of a path that is held: a file is there and made, or a name in a folder, which is not to be a
** link by now. */
static int pinned_flags(const ml_fsjob *j) {
  int flags = (int)j->a;
  if (j->pins == NULL) return flags;
  return j->pins[0].exists ? flags & ~(O_CREAT | O_NOFOLLOW) : flags | O_NOFOLLOW;
}

static void run_open(ml_fsjob *j) {
  uv_fs_t r;
  int rc = j->pins != NULL && j->pins[0].exists && (j->a & O_EXCL) && (j->a & O_CREAT)
               ? UV_EEXIST
               : open_at_once(j->path, pinned_flags(j), (int)j->b);
  j->status = rc;
  j->waits = rc == UV_EAGAIN ? ML_FSJOB_TRIES : ML_FSJOB_GOES;
  if (rc < 0) return;
  j->fd = rc;
  rc = uv_fs_fstat(NULL, &r, j->fd, NULL);
  j->u.st = r.statbuf;
  uv_fs_req_cleanup(&r);
  if (rc == 0 && (j->u.st.st_mode & S_IFMT) == S_IFDIR) rc = UV_EISDIR;
  if (rc == 0) return;
  j->status = rc;
  close(j->fd);
  j->fd = -1;
}

/* A file that exclusive mode has just made is taken back. */
static void undo_open(ml_fsjob *j) {
  if (j->fd < 0) return;
  if ((j->a & O_EXCL) && (j->a & O_CREAT)) unlink(j->path);
  close(j->fd);
  j->fd = -1;
}

static int push_open(lua_State *L, ml_fsjob *j) {
  int fd = j->fd;
  if (fd < 0) return luaL_error(L, "not enough memory");
  j->fd = -1;
  ml__file_push(L, fd, (int)j->a, &j->u.st, j->path, j->dest);
  return 1;
}

/* dest is the mode */
static bool answer_open(lua_State *L, ml_fsjob *j) {
  ml__fs_error(L, (int)j->status, "open", j->path, NULL);
  return lua_error(L);
}

static const ml_fsclass open_class = {OP("fs.open"), run_open, push_open, undo_open,
                                      answer_open,   0,        0};

static unsigned open_how(int flags) {
  int access = flags & O_ACCMODE;
  unsigned how = access == O_WRONLY ? ML_PATH_W : ML_PATH_R;
  if (access != O_RDONLY || (flags & (O_CREAT | O_TRUNC | O_APPEND))) how |= ML_PATH_W;
  if (flags & O_CREAT) how |= ML_PATH_CREATE;
  if (flags & O_NOFOLLOW) how |= ML_PATH_NOFOLLOW;
  return how;
}

/* open(path, mode as text, flags, permissions) */
static int f_open(lua_State *L) {
  lua_Integer flags = ml__fs_checkint(L, 3, "fs.open", "flags");
  lua_Integer perm = ml__fs_checkint(L, 4, "fs.open", "a mode of permissions");
  ml_fsop *op = ml__fsop_new(L, &open_class, 1, 2);
  op->a = flags;
  op->how = open_how((int)flags);
  op->b = perm & 07777;
  return 1;
}

/* ---- a file as one string ---- */

/* Again and again for what is no regular file, with more of it. */
static void run_read_file(ml_fsjob *j) {
  ml_block b = {j->out, j->got, j->nout};
  struct stat st;
  if (j->fd < 0) j->fd = open_at_once(j->path, O_RDONLY, 0);
  j->status = j->fd;
  if (j->fd < 0) return;
  j->status = fstat(j->fd, &st) < 0 ? last_error() : S_ISDIR(st.st_mode) ? UV_EISDIR : 0;
  if (j->status == 0)
    j->status = ml__fs_gather(j->fd, S_ISREG(st.st_mode) ? 0 : -1, SIZE_MAX / 4, 0, &b,
                              &j->cancelled);
  j->out = b.base;
  j->nout = b.cap;
  j->got = b.len;
  j->waits = j->status == UV_EAGAIN ? ML_FSJOB_READS : ML_FSJOB_GOES;
  if (j->waits == ML_FSJOB_READS) return;
  close(j->fd);
  j->fd = -1;
}

static int push_read_file(lua_State *L, ml_fsjob *j) {
  ml_block b = {j->out, j->got, j->nout};
  j->out = NULL;
  ml__fs_pushblock(L, &b);
  return 1;
}

static const ml_fsclass read_file_class = {
    OP("fs.read_file"), run_read_file, push_read_file, NULL, NULL, ML_PATH_R, 0};

static int f_read_file(lua_State *L) {
  ml__fsop_new(L, &read_file_class, 1, 0);
  return 1;
}

/* ---- folders with their parents ---- */

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Parents first. One that somebody else makes meanwhile is welcome. */
static void run_makedirs(ml_fsjob *j) {
  char *p = j->path;
  j->status = 0;
  while (*p == '/') p++;
  for (;;) {
    bool last;
    p += strcspn(p, "/");
    last = p[strspn(p, "/")] == '\0';
    *p = '\0';
    if (mkdir(j->path, last ? (mode_t)j->a : 0777) < 0) {
      int error = last_error();
      if (!is_folder(j->path) || (last && !j->b)) {
        j->status = error == UV_EEXIST && !last ? UV_ENOTDIR : error;
        return;
      }
    }
    if (last) return;
    *p++ = '/';
    p += strspn(p, "/");
  }
}

static const ml_fsclass makedirs_class = {OP("fs.mkdir"),
                                          run_makedirs,
                                          NULL,
                                          NULL,
                                          NULL,
                                          ML_PATH_W | ML_PATH_CREATE | ML_PATH_PARENTS,
                                          0};

/* makedirs(path, mode, exist_ok) */
static int f_makedirs(lua_State *L) {
  lua_Integer mode = ml__fs_checkint(L, 2, "fs.mkdir", "a mode");
  bool exist_ok = lua_toboolean(L, 3);
  ml_fsop *op = ml__fsop_new(L, &makedirs_class, 1, 0);
  op->a = mode & 07777;
  op->b = exist_ok;
  return 1;
}

/* ---- folders in batches ---- */

#define BATCH 512

typedef struct dirobject {
  ml_object obj;
  ml_fs *fs;
  void *dir; /* DIR*; NULL: closed, or with a job */
} dirobject;

static char entry_type(DIR *dir, const struct dirent *e) {
  struct stat st;
  switch (e->d_type) {
  case DT_REG: return 'f';
  case DT_DIR: return 'd';
  case DT_LNK: return 'l';
  case DT_FIFO: return 'p';
  case DT_SOCK: return 's';
  case DT_CHR: return 'c';
  case DT_BLK: return 'b';
  default: break;
  }
  if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) return '?';
  return S_ISREG(st.st_mode) ? 'f' : S_ISDIR(st.st_mode) ? 'd' : S_ISLNK(st.st_mode) ? 'l' : '?';
}

static const char *entry_type_name(char c) {
  switch (c) {
  case 'f': return "file";
  case 'd': return "directory";
  case 'l': return "link";
  case 'p': return "fifo";
  case 's': return "socket";
  case 'c': return "char";
  case 'b': return "block";
  default: return "unknown";
  }
}

static bool is_dots(const char *name) {
  return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static void run_scandir(ml_fsjob *j) {
  struct dirent *e = NULL;
  size_t cap = 0;
  int n = 0;
  j->status = 0;
  if (j->dir == NULL && (j->dir = opendir(j->path)) == NULL) {
    j->status = last_error();
    return;
  }
  while (n < BATCH && (errno = 0, e = readdir(j->dir)) != NULL) {
    size_t len = strlen(e->d_name) + 2; /* its type in front */
    if (is_dots(e->d_name)) continue;
    if (j->nout + len > cap) {
      char *p = realloc(j->out, cap = cap * 2 + len + 4096);
      if (p == NULL) {
        j->status = UV_ENOMEM;
        break;
      }
      j->out = p;
    }
    j->out[j->nout] = entry_type(j->dir, e);
    memcpy(j->out + j->nout + 1, e->d_name, len - 1);
    j->nout += len;
    n++;
  }
  if (e == NULL && errno != 0 && j->status == 0) j->status = last_error();
  if (e == NULL || j->status < 0) {
    closedir(j->dir);
    j->dir = NULL;
  }
}

static void undo_scandir(ml_fsjob *j) {
  if (j->dir != NULL) closedir(j->dir);
  j->dir = NULL;
}

/* The Dir (nil at the end), then an array of names and types. */
static int push_scandir(lua_State *L, ml_fsjob *j) {
  const char *p = j->out, *end = p + j->nout;
  int n = 0;
  lua_newtable(L);
  for (; p < end; p += strlen(p) + 1) {
    lua_pushstring(L, p + 1);
    lua_rawseti(L, -2, ++n);
    lua_pushstring(L, entry_type_name(*p));
    lua_rawseti(L, -2, ++n);
  }
  if (j->dir != NULL) {
    dirobject *d;
    if (!j->has_dir) ml__check_handles(L); /* or else it is counted already */
    d = ml__newobject(L, ML_T_DIR, sizeof *d, 0);
    d->fs = j->fs;
    d->dir = j->dir;
    d->fs->dirs++;
    j->dir = NULL;
  } else
    lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

static const ml_fsclass scandir_class = {
    OP("fs.scandir"), run_scandir, push_scandir, undo_scandir, NULL, ML_PATH_R, 0};

/* scandir(path [, Dir]) -> awaitable of Dir or nil, {name, type, ...} */
static int f_scandir(lua_State *L) {
  dirobject *d;
  if (lua_isnoneornil(L, 2)) {
    ml__fsop_new(L, &scandir_class, 1, 0);
    return 1;
  }
  d = ml__checkobject(L, 2, ML_T_DIR);
  ml__fsop_new(L, &scandir_class, 1, 0)->dir = &d->dir;
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 3);
  return 1;
}

static int dir_close(lua_State *L) {
  dirobject *d = ml__checkobject(L, 1, ML_T_DIR);
  if (d->dir == NULL) return 0;
  closedir(d->dir);
  d->dir = NULL;
  d->fs->dirs--;
  return 0;
}

/* ---- whole trees ---- */

typedef struct removal {
  ml_fsjob *j;
  int64_t failed; /* entries left; with ignore_errors */
} removal;

/* Keeps the first error and the path it is about. */
static void note(removal *r, const char *path, int error) {
  r->failed++;
  if (r->j->status < 0) return;
  r->j->status = error;
  r->j->out = strdup(path);
}

/* `path` is for messages only: folders are entered by descriptors, so that one that is
** swapped for a link meanwhile is not followed. */
static void remove_folder(removal *r, int parent, const char *name, const char *path);

static void remove_entry(removal *r, int fd, const char *name, const char *path) {
  if (unlinkat(fd, name, 0) == 0 || errno == ENOENT) return;
  if (errno == EISDIR)
    remove_folder(r, fd, name, path);
  else
    note(r, path, last_error());
}

static void remove_entries(removal *r, DIR *dir, const char *path) {
  struct dirent *e;
  while ((errno = 0, e = readdir(dir)) != NULL) {
    char *sub;
    if (is_dots(e->d_name)) continue;
    if (atomic_load(&r->j->cancelled)) r->j->status = UV_ECANCELED;
    if (r->j->status < 0 && !r->j->a) return;
    if (r->j->status == UV_ECANCELED) return;
    if (asprintf(&sub, "%s/%s", path, e->d_name) < 0) {
      r->j->status = UV_ENOMEM;
      return;
    }
    if (e->d_type == DT_DIR)
      remove_folder(r, dirfd(dir), e->d_name, sub);
    else
      remove_entry(r, dirfd(dir), e->d_name, sub);
    free(sub);
  }
  if (errno != 0) note(r, path, last_error());
}

static void remove_folder(removal *r, int parent, const char *name, const char *path) {
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *dir;
  int64_t before = r->failed;
  if (fd < 0) {
    if (errno != ENOENT || parent == AT_FDCWD) note(r, path, last_error());
    return;
  }
  dir = fdopendir(fd);
  if (dir == NULL) {
    note(r, path, last_error());
    close(fd);
    return;
  }
  remove_entries(r, dir, path);
  closedir(dir);
  if (r->failed > before || r->j->status == UV_ECANCELED || (r->j->status < 0 && !r->j->a)) return;
  if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT) note(r, path, last_error());
}

static void run_rmtree(ml_fsjob *j) {
  removal r = {j, 0};
  j->status = 0;
  remove_folder(&r, AT_FDCWD, j->path, j->path);
  if (j->status == UV_ELOOP) j->status = UV_ENOTDIR; /* a link */
}

static bool answer_rmtree(lua_State *L, ml_fsjob *j) {
  if (j->a) return true;
  ml__fs_error(L, (int)j->status, "rmtree",
               j->out != NULL ? ml__fsjob_shown(L, j, j->out) : j->path, NULL);
  return lua_error(L);
}

static const ml_fsclass rmtree_class = {
    OP("fs.rmtree"), run_rmtree, NULL, NULL, answer_rmtree, ML_PATH_W | ML_PATH_NOFOLLOW, 0};

/* rmtree(path, ignore_errors) */
static int f_rmtree(lua_State *L) {
  bool ignore = lua_toboolean(L, 2);
  ml__fsop_new(L, &rmtree_class, 1, 0)->a = ignore;
  return 1;
}

void ml__open_fswhole(lua_State *L) {
  static const luaL_Reg functions[] = {{"open", f_open},         {"read_file", f_read_file},
                                       {"makedirs", f_makedirs}, {"scandir", f_scandir},
                                       {"rmtree", f_rmtree},     {NULL, NULL}};
  static const luaL_Reg methods[] = {{"close", dir_close}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", dir_close}, {"__close", dir_close}, {NULL, NULL}};
  static const struct {
    const char *name;
    int value;
  } flags[] = {{"O_RDONLY", O_RDONLY},    {"O_WRONLY", O_WRONLY}, {"O_RDWR", O_RDWR},
               {"O_CREAT", O_CREAT},      {"O_EXCL", O_EXCL},     {"O_TRUNC", O_TRUNC},
               {"O_APPEND", O_APPEND},    {"O_SYNC", O_SYNC},     {"O_DSYNC", O_DSYNC},
               {"O_NOFOLLOW", O_NOFOLLOW}};
  luaL_setfuncs(L, functions, 0);
  lua_createtable(L, 0, 10);
  for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
    lua_pushinteger(L, flags[i].value);
    lua_setfield(L, -2, flags[i].name);
  }
  lua_setfield(L, -2, "flags");
  ml__newtype(L, ML_T_DIR, "Dir", methods, meta);
  lua_pop(L, 1);
}
