/* Files below a folder, for those who serve them to strangers: one trip to a thread opens the file,
** looks at it and at what lies beside it compressed, and reads it if it is small.
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
#include <unistd.h>

#include "fs.h"

enum { BELOW_FOLLOW = 1, BELOW_CODED = 2 }; /* in job.a; above: two nibbles, the codings wanted */
#define WANTED(a, i) ((int)((a) >> (4 + 4 * (i)) & 15))
#define CODINGS 2
static const char *const suffixes[CODINGS + 1] = {NULL, ".br", ".gz"};

/* What run finds besides the descriptor and st: in job.b. */
#define FOUND(coding, mask) ((coding) | (mask) << 4)

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
static int open_below(int dir, const char *name, bool follow) {
  const int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  struct open_how how = {.flags = (uint64_t)flags,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
  int fd;
  if (*name == '\0') name = ".";
  if (follow) {
    fd = openat(dir, name, flags);
    return fd < 0 ? last_error() : fd;
  }
  for (int i = 0; i < 100; i++) { /* EAGAIN: something was renamed meanwhile */
    fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
    if (fd >= 0) return fd;
    if (errno != EAGAIN && errno != EINTR) break;
  }
  if (errno == ENOSYS || errno == EPERM) fd = open_by_steps(dir, name, flags);
  return fd < 0 ? last_error() : fd;
}

static bool is_newer(const uv_timespec_t *a, const uv_timespec_t *b) {
  return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec >= b->tv_nsec);
}

static int look(int fd, uv_stat_t *st) {
  uv_fs_t r;
  int rc = uv_fs_fstat(NULL, &r, fd, NULL);
  *st = r.statbuf;
  uv_fs_req_cleanup(&r);
  return rc;
}

static bool is(const uv_stat_t *st, unsigned type) { return (st->st_mode & S_IFMT) == type; }

/* The file "name.br" or the like, if it is there and not older than the file itself; or -1. */
static int open_coded(const ml_fsjob *j, int dir, int coding, uv_stat_t *st) {
  char name[4096];
  size_t n = strlen(j->dest);
  int fd;
  if (n + 4 > sizeof name) return -1;
  memcpy(name, j->dest, n);
  memcpy(name + n, suffixes[coding], strlen(suffixes[coding]) + 1);
  fd = open_below(dir, name, (j->a & BELOW_FOLLOW) && j->sandbox == NULL);
  if (fd < 0) return -1;
  if (look(fd, st) == 0 && is(st, S_IFREG) && is_newer(&st->st_mtim, &j->u.st.st_mtim)) return fd;
  close(fd);
  return -1;
}

/* Puts a coded file that the client wants in the place of the file. */
static void find_coded(ml_fsjob *j, int dir) {
  int mask = 0, coding = 0, fds[CODINGS + 1] = {-1, -1, -1};
  uv_stat_t sts[CODINGS + 1];
  for (int i = 1; i <= CODINGS; i++) {
    fds[i] = open_coded(j, dir, i, &sts[i]);
    if (fds[i] >= 0) mask |= 1 << i;
  }
  for (int i = 0; i < 2 && coding == 0; i++) {
    int want = WANTED(j->a, i);
    if (want >= 1 && want <= CODINGS && fds[want] >= 0) coding = want;
  }
  if (coding != 0) {
    close(j->fd);
    j->fd = fds[coding];
    j->u.st = sts[coding];
    fds[coding] = -1;
  }
  for (int i = 1; i <= CODINGS; i++)
    if (fds[i] >= 0) close(fds[i]);
  j->b = FOUND(coding, mask);
}

/* Reads it if it has no more than n bytes. */
static void read_small(ml_fsjob *j, uint64_t n) {
  ml_block b = {NULL, 0, 0};
  if (j->u.st.st_size > n) return;
  j->status = ml__fs_gather(j->fd, 0, j->u.st.st_size, 0, &b, &j->cancelled);
  if (j->status < 0) {
    free(b.base);
    return;
  }
  j->out = b.base;
  j->nout = b.cap;
  close(j->fd);
  j->fd = -1;
}

static void run_below(ml_fsjob *j) {
  const uint64_t small = (uint64_t)j->b;
  int dir = open(j->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  j->b = 0;
  if (dir < 0) {
    j->status = last_error();
    return;
  }
  /* in a sandbox a link could lead where the script may not read */
  j->fd = open_below(dir, j->dest, (j->a & BELOW_FOLLOW) && j->sandbox == NULL);
  j->status = j->fd < 0 ? j->fd : look(j->fd, &j->u.st);
  if (j->status == 0 && !is(&j->u.st, S_IFREG)) {
    if (!is(&j->u.st, S_IFDIR)) j->status = UV_EACCES;
    close(j->fd);
    j->fd = -1;
  } else if (j->status == 0) {
    if (j->a & BELOW_CODED) find_coded(j, dir);
    if (small > 0) read_small(j, small);
  }
  close(dir);
}

/* "file" or "directory", size, time of its last change, coding (0: none), which codings there are
** (a bit for each), its content if it was read, else a File */
static int push_below(lua_State *L, ml_fsjob *j) {
  const uv_stat_t *st = &j->u.st;
  const bool folder = is(st, S_IFDIR);
  lua_pushstring(L, folder ? "directory" : "file");
  lua_pushinteger(L, (lua_Integer)(j->out != NULL ? j->status : (ssize_t)st->st_size));
  lua_pushnumber(L, (lua_Number)st->st_mtim.tv_sec + (lua_Number)st->st_mtim.tv_nsec / 1e9);
  lua_pushinteger(L, j->b & 15);
  lua_pushinteger(L, j->b >> 4);
  if (folder) return 5;
  if (j->out != NULL) {
    ml_block b = {j->out, (size_t)j->status, j->nout};
    j->out = NULL;
    ml__fs_pushblock(L, &b);
  } else {
    int fd = j->fd;
    j->fd = -1;
    ml__file_push(L, fd, O_RDONLY, st, j->dest, "r");
  }
  return 6;
}

static bool answer_below(lua_State *L, ml_fsjob *j) {
  ml__fs_error(L, (int)j->status, "open", j->dest, NULL);
  return lua_error(L);
}

static const ml_fsclass below_class = {
    {"fs.open_below", ml__fsop_begin, ml__fsop_wake, ml__fsop_cancel},
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
