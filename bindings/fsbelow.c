/* Files below a folder, for those who serve them to strangers: one step opens the file, looks at it
** and at what lies beside it compressed, and reads it if it is small. Where all of that is in the
** kernel's memory (RESOLVE_CACHED, RWF_NOWAIT) it is done at once, else on a thread.
**
** There is no way out of the folder: the kernel resolves the name below it (openat2 with
** RESOLVE_BENEATH), so neither dots nor links lead elsewhere, nor does a link that is made
** meanwhile. Nothing but regular files is opened for reading; folders are told of.
*/
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs.h"

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* Linux 5.12 */
#endif

enum { BELOW_FOLLOW = 1, BELOW_CODED = 2 }; /* in job.a; above: two nibbles, the codings wanted */
#define WANTED(a, i) ((int)((a) >> (4 + 4 * (i)) & 15))
#define CODINGS 2
static const char *const suffixes[CODINGS + 1] = {NULL, ".br", ".gz"};

/* What is asked for, and what came of it. */
typedef struct look {
  const char *root, *name;
  int64_t how; /* as job.a */
  uint64_t small;
  bool cached; /* wait for nothing: UV_EAGAIN */
  atomic_bool *cancelled;
  ssize_t status; /* bytes of content, 0, or UV_E* */
  int fd;         /* -1: none */
  int coding, mask;
  uv_stat_t st;
  char *out; /* content, as ml_block has it */
  size_t nout;
} look;

static int last_error(void) { return uv_translate_sys_error(errno); }

/* An old kernel: component by component, and no link at all. */
static int open_by_steps(int dir, const char *name, int flags) {
  int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
  while (at >= 0) {
    size_t n = strcspn(name, "/");
    char part[256];
    int next = -1;
    if (n == 0 && *name == '/') {
      name++;
      continue;
    }
    errno = ENAMETOOLONG;
    if (n < sizeof part && !(n == 2 && name[0] == '.' && name[1] == '.')) {
      memcpy(part, n > 0 ? name : ".", n > 0 ? n : 1);
      part[n > 0 ? n : 1] = '\0';
      next = openat(at, part,
                    O_NOFOLLOW | (name[n] == '/' ? O_PATH | O_DIRECTORY | O_CLOEXEC : flags));
    }
    if (next < 0 || name[n] == '\0') {
      int error = errno;
      close(at);
      errno = error;
      return next;
    }
    close(at);
    at = next;
    name += n;
  }
  return -1;
}

/* A descriptor, or UV_E*. */
static int open_below(const look *l, int dir, const char *name) {
  const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  struct open_how how = {.flags = (uint64_t)flags};
  int fd = -1;
  if (*name == '\0') name = ".";
  if (!(l->how & BELOW_FOLLOW)) how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  if (l->cached) how.resolve |= RESOLVE_CACHED;
  if (how.resolve == 0) {
    fd = openat(dir, name, flags);
    return fd < 0 ? last_error() : fd;
  }
  for (int i = 0; i < 100; i++) { /* EAGAIN: something was renamed meanwhile, or is not cached */
    fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
    if (fd >= 0) return fd;
    if ((errno != EAGAIN || l->cached) && errno != EINTR) break;
  }
  if (l->cached && (errno == ENOSYS || errno == EPERM || errno == EINVAL)) return UV_EAGAIN;
  if (errno == ENOSYS || errno == EPERM) fd = open_by_steps(dir, name, flags);
  return fd < 0 ? last_error() : fd;
}

static int open_root(const look *l) {
  struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_CACHED};
  int fd;
  if (!l->cached) {
    fd = open(l->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? last_error() : fd;
  }
  fd = (int)syscall(SYS_openat2, AT_FDCWD, l->root, &how, sizeof how);
  return fd < 0 ? UV_EAGAIN : fd;
}

static bool is_newer(const uv_timespec_t *a, const uv_timespec_t *b) {
  return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec >= b->tv_nsec);
}

static int stat_fd(int fd, uv_stat_t *st) {
  uv_fs_t r;
  int rc = uv_fs_fstat(NULL, &r, fd, NULL);
  *st = r.statbuf;
  uv_fs_req_cleanup(&r);
  return rc;
}

static bool is(const uv_stat_t *st, unsigned type) { return (st->st_mode & S_IFMT) == type; }

/* The file "name.br" or the like, if it is there and not older than the file itself; or -1. */
static int open_coded(look *l, int dir, int coding, uv_stat_t *st) {
  char name[4096];
  size_t n = strlen(l->name);
  int fd;
  if (n + 4 > sizeof name) return -1;
  memcpy(name, l->name, n);
  memcpy(name + n, suffixes[coding], strlen(suffixes[coding]) + 1);
  fd = open_below(l, dir, name);
  if (fd == UV_EAGAIN && l->cached) l->status = UV_EAGAIN;
  if (fd < 0) return -1;
  if (stat_fd(fd, st) == 0 && is(st, S_IFREG) && is_newer(&st->st_mtim, &l->st.st_mtim)) return fd;
  close(fd);
  return -1;
}

/* Puts a coded file that the client wants in the place of the file. */
static void find_coded(look *l, int dir) {
  int fds[CODINGS + 1] = {-1, -1, -1};
  uv_stat_t sts[CODINGS + 1];
  for (int i = 1; i <= CODINGS; i++) {
    fds[i] = open_coded(l, dir, i, &sts[i]);
    if (fds[i] >= 0) l->mask |= 1 << i;
  }
  for (int i = 0; i < 2 && l->coding == 0; i++) {
    int want = WANTED(l->how, i);
    if (want >= 1 && want <= CODINGS && fds[want] >= 0) l->coding = want;
  }
  if (l->coding != 0) {
    close(l->fd);
    l->fd = fds[l->coding];
    l->st = sts[l->coding];
    fds[l->coding] = -1;
  }
  for (int i = 1; i <= CODINGS; i++)
    if (fds[i] >= 0) close(fds[i]);
}

/* All of the file, if it can be had without waiting; else UV_EAGAIN. */
static ssize_t read_cached(const look *l, ml_block *b) {
  const size_t n = (size_t)l->st.st_size;
  struct iovec v;
  b->cap = (ML_BLOCK_HEAD + n + 1 + 4095) & ~(size_t)4095;
  b->base = malloc(b->cap);
  if (b->base == NULL) return UV_ENOMEM;
  v = (struct iovec){b->base + ML_BLOCK_HEAD, n};
  if (n > 0 && preadv2(l->fd, &v, 1, 0, RWF_NOWAIT) != (ssize_t)n) return UV_EAGAIN;
  b->len = n;
  return (ssize_t)n;
}

/* Reads it if it is small. */
static void read_small(look *l) {
  ml_block b = {NULL, 0, 0};
  if (l->st.st_size > l->small) return;
  l->status = l->cached ? read_cached(l, &b)
                        : ml__fs_gather(l->fd, 0, l->st.st_size, 0, &b, l->cancelled);
  if (l->status < 0) {
    free(b.base);
    return;
  }
  l->out = b.base;
  l->nout = b.cap;
}

/* What has no use any more is closed. */
static void look_below(look *l) {
  int dir = open_root(l);
  l->fd = dir < 0 ? dir : open_below(l, dir, l->name);
  l->status = l->fd < 0 ? l->fd : stat_fd(l->fd, &l->st);
  if (l->status == 0 && !is(&l->st, S_IFREG)) {
    if (!is(&l->st, S_IFDIR)) l->status = UV_EACCES;
  } else if (l->status == 0) {
    if (l->how & BELOW_CODED) find_coded(l, dir);
    if (l->status == 0 && l->small > 0) read_small(l);
  }
  if (l->fd >= 0 && (l->status < 0 || l->out != NULL || !is(&l->st, S_IFREG))) {
    close(l->fd);
    l->fd = -1;
  }
  if (dir >= 0) close(dir);
}

/* "file" or "directory", size, time of its last change, coding (0: none), which codings there are
** (a bit for each), its content if it was read, else a File */
static int push_look(lua_State *L, look *l) {
  const uv_stat_t *st = &l->st;
  const bool folder = is(st, S_IFDIR);
  lua_pushstring(L, folder ? "directory" : "file");
  lua_pushinteger(L, (lua_Integer)(l->out != NULL ? l->status : (ssize_t)st->st_size));
  lua_pushnumber(L, (lua_Number)st->st_mtim.tv_sec + (lua_Number)st->st_mtim.tv_nsec / 1e9);
  lua_pushinteger(L, l->coding);
  lua_pushinteger(L, l->mask);
  if (folder) return 5;
  if (l->out != NULL) {
    ml_block b = {l->out, (size_t)l->status, l->nout};
    l->out = NULL;
    ml__fs_pushblock(L, &b);
  } else {
    int fd = l->fd;
    l->fd = -1;
    ml__file_push(L, fd, O_RDONLY, st, l->name, "r");
  }
  return 6;
}

static int push_protected(lua_State *L) { return push_look(L, lua_touserdata(L, 1)); }

/* Pushes it, and frees what is left of it if that fails: then the error is on top. */
static int push_owned_status(lua_State *L, look *l, int *rc) {
  int top = lua_gettop(L);
  lua_pushcfunction(L, push_protected);
  lua_pushlightuserdata(L, l);
  *rc = lua_pcall(L, 1, LUA_MULTRET, 0);
  if (l->fd >= 0) close(l->fd);
  free(l->out);
  return lua_gettop(L) - top;
}

static int push_owned(lua_State *L, look *l) {
  int rc, n = push_owned_status(L, l, &rc);
  return rc == LUA_OK ? n : lua_error(L);
}

/* ---- on a thread ---- */

/* What was found lies in the job: in b coding and mask. */
static void run_below(ml_fsjob *j) {
  look l = {.root = j->path,
            .name = j->dest,
            .how = j->a,
            .small = (uint64_t)j->b,
            .cancelled = &j->cancelled};
  if (j->sandbox != NULL)
    l.how &= ~(int64_t)BELOW_FOLLOW; /* a link could lead where it may not read */
  look_below(&l);
  j->status = l.status;
  j->fd = l.fd < 0 ? -1 : l.fd;
  j->u.st = l.st;
  j->b = l.coding | l.mask << 4;
  j->out = l.out;
  j->nout = l.nout;
}

static int push_below(lua_State *L, ml_fsjob *j) {
  look l = {.name = j->dest,
            .status = j->status,
            .fd = j->fd,
            .coding = (int)(j->b & 15),
            .mask = (int)(j->b >> 4),
            .st = j->u.st,
            .out = j->out,
            .nout = j->nout};
  j->fd = -1;
  j->out = NULL;
  return push_owned(L, &l);
}

static bool answer_below(lua_State *L, ml_fsjob *j) {
  ml__fs_error(L, (int)j->status, "open", j->dest, NULL);
  return lua_error(L);
}

/* ---- at once ---- */

/* In a sandbox paths are looked up by threads. */
static int below_begin(lua_State *L, ml_op *o) {
  ml_fsop *op = (ml_fsop *)o;
  look l = {.how = op->a, .small = (uint64_t)op->b, .cached = true};
  int rc, n;
  if (ml__engine(L)->sandbox != NULL) return ml__fsop_begin(L, o);
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, 1, 2);
  l.root = lua_tostring(L, -2);
  l.name = lua_tostring(L, -1);
  look_below(&l);
  if (l.status == UV_EAGAIN) {
    lua_pop(L, 2);
    return ml__fsop_begin(L, o);
  }
  if (l.status < 0) {
    ml__fs_error(L, (int)l.status, "open", l.name, NULL);
    return ML_RAISE;
  }
  n = push_owned_status(L, &l, &rc);
  return rc == LUA_OK ? n : ML_RAISE;
}

static const ml_fsclass below_class = {
    {"fs.open_below", below_begin, ml__fsop_wake, ml__fsop_cancel},
    run_below,
    push_below,
    NULL,
    answer_below,
    ML_PATH_R,
    0};

/* open_below(folder, name, follow, wanted, small): wanted: nil, or a string of the codings that are
** served, the best first: "b" (br), "g" (gzip); small: files up to so many bytes are read. */
static int f_open_below(lua_State *L) {
  const bool follow = lua_toboolean(L, 3);
  const char *wanted = luaL_optstring(L, 4, NULL);
  lua_Integer small = luaL_optinteger(L, 5, 0);
  ml_fsop *op = ml__fsop_new(L, &below_class, 1, 2);
  op->a = follow ? BELOW_FOLLOW : 0;
  if (wanted != NULL) op->a |= BELOW_CODED;
  for (int i = 0; wanted != NULL && i < 2 && wanted[i] != '\0'; i++)
    op->a |= (int64_t)(wanted[i] == 'b' ? 1 : 2) << (4 + 4 * i);
  op->b = small > 0 ? (int64_t)small : 0;
  return 1;
}

void ml__open_fsbelow(lua_State *L) {
  lua_pushcfunction(L, f_open_below);
  lua_setfield(L, -2, "open_below");
}
