/* Paths of scripts in a sandbox: looked up once, checked, and held while they are used.
**
** A path is resolved to the name without links that it has now; if the rules allow that,
** the file is opened (O_PATH) by that very name, with no link followed on the way, and
** system calls are given the descriptor, as /proc/self/fd/N, or a name in the folder that
** is held so. Whatever is renamed or linked in between makes the lookup fail, or is too
** late. /proc itself is refused unless a rule names it: it leads everywhere.
*/
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "sandbox.h"

#define ROOM 4096 /* PATH_MAX */
#define PROC_MAGIC 0x9fa0

/* ---- names ---- */

/* Appends "/" and the n bytes at s. */
static bool append(char *to, size_t room, const char *s, size_t n) {
  size_t have = strlen(to);
  if (have == 1 && to[0] == '/') have = 0;
  if (have + n + 2 > room) return false;
  to[have] = '/';
  memcpy(to + have + 1, s, n);
  to[have + 1 + n] = '\0';
  return true;
}

/* The real name of the longest part of `path` that is there, in out; what follows it, in rest.
** Returns 0, or why the whole path could not be found. */
static int existing_part(const char *path, char *out, char *rest) {
  char part[ROOM];
  size_t n = strlen(path);
  int error = 0;
  if (n >= sizeof part) return UV_ENAMETOOLONG;
  for (;;) {
    memcpy(part, path, n);
    part[n] = '\0';
    if (realpath(n > 0 ? part : path[0] == '/' ? "/" : ".", out) != NULL) break;
    if (error == 0) error = uv_translate_sys_error(errno);
    if (n == 0) return UV_ENOENT; /* the working folder is gone */
    while (n > 0 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    while (n > 1 && path[n - 1] == '/') n--;
  }
  while (path[n] == '/') n++;
  memcpy(rest, path + n, strlen(path + n) + 1);
  return error;
}

/* Where the link at the beginning of rest leads, with what follows it, into `next`: false if there
** is none, or it is too long. */
static bool follow(const char *real, const char *rest, char *next) {
  char link[ROOM] = "", target[ROOM];
  size_t n = strcspn(rest, "/");
  ssize_t len;
  memcpy(link, real, strlen(real) + 1);
  if (n == 0 || !append(link, sizeof link, rest, n)) return false;
  len = readlink(link, target, sizeof target - 1);
  if (len <= 0) return false;
  target[len] = '\0';
  next[0] = '\0';
  if (target[0] != '/') memcpy(next, real, strlen(real) + 1);
  return append(next, ROOM, target + (target[0] == '/'), strlen(target) - (target[0] == '/')) &&
         (rest[n] == '\0' || append(next, ROOM, rest + n + 1, strlen(rest + n + 1)));
}

/* As existing_part, but a link that leads to what is not there is followed all the same: whether it
** is there, where scripts may not look, must make no difference. */
static int real_part(const char *path, char *out, char *rest) {
  char next[ROOM];
  int rc = existing_part(path, out, rest);
  for (int links = 0; rc < 0 && rc != UV_ENAMETOOLONG; links++) {
    if (!follow(out, rest, next)) return rc;
    if (links == 40) return UV_ENAMETOOLONG;
    rc = existing_part(next, out, rest);
  }
  return rc;
}

static bool is_dots(const char *s, size_t n) {
  return (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.');
}

/* Adds what is not there as it is written: false if it is too long, or leads back up. */
static bool add_rest(char *out, size_t room, const char *rest) {
  while (*rest != '\0') {
    size_t n = strcspn(rest, "/");
    if (n == 2 && rest[0] == '.' && rest[1] == '.') return false;
    if (n > 0 && !is_dots(rest, n) && !append(out, room, rest, n)) return false;
    rest += n + (rest[n] == '/');
  }
  return true;
}

bool ml__path_real(const char *path, char *out, size_t n) {
  char real[ROOM], rest[ROOM] = "";
  int rc = real_part(path, real, rest);
  if (rc == UV_ENAMETOOLONG || !add_rest(real, sizeof real, rest) || strlen(real) >= n)
    return false;
  memcpy(out, real, strlen(real) + 1);
  return true;
}

/* Where the last component begins, and its length; false: it is a name of a folder that is
** elsewhere ("." and "..", "/"). */
static bool last_part(const char *path, const char **base, size_t *n) {
  size_t end = strlen(path), start;
  while (end > 0 && path[end - 1] == '/') end--;
  start = end;
  while (start > 0 && path[start - 1] != '/') start--;
  *base = path + start;
  *n = end - start;
  return *n > 0 && !is_dots(*base, *n);
}

/* As ml__path_real, with what a link at the end leads to left alone. Returns why its folder could
** not be found, or 0. */
static int name_of(const char *path, char *out, size_t room) {
  char dir[ROOM], rest[ROOM] = "";
  const char *base;
  size_t n, len;
  int rc;
  if (!last_part(path, &base, &n)) {
    rc = real_part(path, out, rest);
    return rc != 0 || add_rest(out, room, rest) ? rc : UV_ENOENT;
  }
  len = (size_t)(base - path);
  if (len >= sizeof dir) return UV_ENAMETOOLONG;
  memcpy(dir, path, len);
  dir[len] = '\0';
  rc = real_part(len > 0 ? dir : ".", out, rest);
  if (rc == UV_ENAMETOOLONG) return rc;
  if (!add_rest(out, room, rest)) return UV_ENOENT;
  return append(out, room, base, n) ? rc : UV_ENAMETOOLONG;
}

bool ml__path_name(const char *path, char *out, size_t n) {
  char real[ROOM];
  int rc = name_of(path, real, sizeof real);
  if (rc == UV_ENAMETOOLONG || strlen(real) >= n) return false;
  memcpy(out, real, strlen(real) + 1);
  return true;
}

/* ---- rules ---- */

static bool below(const char *path, const char *root) {
  size_t n = strlen(root);
  if (n == 1) return true; /* "/" */
  return strncmp(path, root, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static const ml_perm path_perms[] = {ML_P_READ, ML_P_WRITE, ML_P_MODULE};

unsigned ml__path_has(const ml_sandbox *s, const char *real) {
  bool proc = below(real, "/proc");
  unsigned has = 0;
  for (int i = 0; i < 3; i++)
    if (ml__may(s, path_perms[i]) && !proc) has |= 1u << i;
  for (int i = 0; i < s->n; i++) {
    const ml_rule *r = &s->rules[i];
    if (r->any || r->perm > ML_P_MODULE || !below(real, r->name)) continue;
    if (!proc || below(r->name, "/proc")) has |= 1u << r->perm;
  }
  if (has & ML_PATH_READ) has |= ML_PATH_MODULE;
  return has;
}

static bool enough(unsigned has, unsigned how) {
  unsigned need = how & (ML_PATH_READ | ML_PATH_WRITE | ML_PATH_MODULE);
  return (how & ML_PATH_ALLOWED) && (has & need) == need;
}

/* ---- opening ---- */

int ml__path_open(const char *real) {
  struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                         .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
  const char *at = real;
  int fd = (int)syscall(SYS_openat2, AT_FDCWD, real, &how, sizeof how);
  if (fd >= 0) return fd;
  if (errno != ENOSYS && errno != EPERM && errno != EINVAL) return uv_translate_sys_error(errno);
  fd = open("/", O_PATH | O_CLOEXEC | O_DIRECTORY); /* an old kernel: component by component */
  while (fd >= 0) {
    char part[256];
    size_t n;
    struct stat st;
    int next;
    while (*at == '/') at++;
    n = strcspn(at, "/");
    if (n == 0) return fd;
    next = n < sizeof part ? 0 : -1;
    if (next == 0) {
      memcpy(part, at, n);
      part[n] = '\0';
      next = openat(fd, part, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    } else
      errno = ENAMETOOLONG;
    if (next >= 0 && fstat(next, &st) == 0 && S_ISLNK(st.st_mode)) {
      close(next);
      next = -1;
      errno = ELOOP;
    }
    if (next < 0) {
      int error = errno;
      close(fd);
      return uv_translate_sys_error(error);
    }
    close(fd);
    fd = next;
    at += n;
  }
  return uv_translate_sys_error(errno);
}

/* Something of the kernel's, where names mean other things than files? */
static bool in_proc(int fd, const char *real) {
  struct statfs fs;
  return !below(real, "/proc") && (fstatfs(fd, &fs) < 0 || fs.f_type == PROC_MAGIC);
}

/* Holds the file of the real name. */
static int hold_file(const char *real, ml_pathpin *pin) {
  pin->fd = ml__path_open(real);
  if (pin->fd < 0) return pin->fd;
  pin->exists = true;
  snprintf(pin->path, sizeof pin->path, "/proc/self/fd/%d", pin->fd);
  return in_proc(pin->fd, real) ? ML_EDENIED : 0;
}

/* Makes what is missing of the folders on the way to the last part of `real`; a descriptor. */
static int make_parents(const char *real) {
  int fd = open("/", O_PATH | O_CLOEXEC | O_DIRECTORY), rc = 0;
  while (fd >= 0) {
    char part[256];
    size_t n;
    int next;
    while (*real == '/') real++;
    n = strcspn(real, "/");
    if (real[n] == '\0') return fd;
    if (n >= sizeof part) {
      close(fd);
      return UV_ENAMETOOLONG;
    }
    memcpy(part, real, n);
    part[n] = '\0';
    rc = mkdirat(fd, part, 0777) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES
             ? uv_translate_sys_error(errno)
             : 0;
    next = rc < 0 ? -1 : openat(fd, part, O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
    if (rc == 0 && next < 0) rc = uv_translate_sys_error(errno);
    close(fd);
    fd = next;
    real += n;
  }
  return rc < 0 ? rc : uv_translate_sys_error(errno);
}

/* Holds the folder of the real name. */
static int hold_name(char *real, unsigned how, ml_pathpin *pin) {
  char *slash = strrchr(real, '/');
  const char *base = slash + 1;
  if (slash[1] == '\0' || strlen(base) > 255) return slash[1] == '\0' ? UV_EBUSY : UV_ENAMETOOLONG;
  if (how & ML_PATH_PARENTS)
    pin->fd = make_parents(real);
  else {
    *slash = '\0';
    pin->fd = ml__path_open(slash == real ? "/" : real);
    *slash = '/';
  }
  if (pin->fd < 0) return pin->fd;
  snprintf(pin->path, sizeof pin->path, "/proc/self/fd/%d/%s", pin->fd, base);
  return in_proc(pin->fd, real) ? ML_EDENIED : 0;
}

static int lookup(const ml_sandbox *s, const char *path, unsigned how, ml_pathpin *pin) {
  char real[ROOM], rest[ROOM] = "";
  struct stat st;
  int rc;
  if (path[0] == '\0') return UV_ENOENT;
  if (how & ML_PATH_NOFOLLOW) {
    rc = name_of(path, real, sizeof real);
    if (rc == UV_ENAMETOOLONG) return rc;
  } else {
    rc = real_part(path, real, rest);
    if (rc == UV_ENAMETOOLONG) return rc;
    if (!add_rest(real, sizeof real, rest))
      return enough(ml__path_has(s, real), how) ? UV_ENOENT : ML_EDENIED;
  }
  pin->has = ml__path_has(s, real);
  if (!enough(pin->has, how)) return ML_EDENIED;
  if (how & ML_PATH_NOFOLLOW)
    return rc < 0 && !(how & ML_PATH_PARENTS) ? rc : hold_name(real, how, pin);
  if (rc == 0) return hold_file(real, pin);
  if (!(how & ML_PATH_CREATE) || rc != UV_ENOENT) return rc;
  /* not there, but it may be a link that leads nowhere, or its folder may be missing */
  if (strchr(rest, '/') != NULL && !(how & ML_PATH_PARENTS) && rest[strcspn(rest, "/") + 1] != '\0')
    return rc;
  if (lstat(real, &st) == 0) return UV_ELOOP;
  return hold_name(real, how, pin);
}

int ml__path_pin(const ml_sandbox *s, const char *path, unsigned how, ml_pathpin *pin) {
  int rc;
  pin->fd = -1;
  pin->exists = false;
  pin->has = 0;
  rc = lookup(s, path, how, pin);
  if (rc < 0) ml__path_unpin(pin);
  return rc;
}

/* May there be a link with this text at `at`? It must lead to where as much is allowed as there. */
static int check_target(const ml_sandbox *s, const char *text, const char *at, unsigned need) {
  char path[ROOM] = "", real[ROOM];
  const char *base;
  size_t n;
  if (text[0] != '/') {
    if (!last_part(at, &base, &n)) return UV_EEXIST;
    if ((size_t)(base - at) >= sizeof path) return UV_ENAMETOOLONG;
    memcpy(path, at, (size_t)(base - at));
  }
  n = strlen(path);
  if (n + strlen(text) >= sizeof path) return UV_ENAMETOOLONG;
  memcpy(path + n, text, strlen(text) + 1);
  if (!ml__path_real(path, real, sizeof real)) return ML_EDENIED;
  return (ml__path_has(s, real) & need) == need ? 0 : ML_EDENIED;
}

/* Moved or linked, a file is under the rules of where it is then. */
int ml__path_pin_both(const ml_sandbox *s, const char *from, unsigned how_from, const char *to,
                      unsigned how_to, ml_pathpin pins[2], int *which) {
  int rc = ml__path_pin(s, to, how_to, &pins[1]);
  *which = 1;
  if (rc < 0) return rc;
  *which = 0;
  if (how_from & ML_PATH_MOVES)
    how_from |= pins[1].has & (ML_PATH_READ | ML_PATH_WRITE | ML_PATH_MODULE);
  if (how_from & ML_PATH_TARGET)
    rc = check_target(s, from, to, how_from & (ML_PATH_READ | ML_PATH_WRITE | ML_PATH_MODULE));
  else
    rc = ml__path_pin(s, from, how_from, &pins[0]);
  if (rc < 0) ml__path_unpin(&pins[1]);
  return rc;
}

void ml__path_unpin(ml_pathpin *pin) {
  if (pin->fd >= 0) close(pin->fd);
  pin->fd = -1;
}

static int hold_gc(lua_State *L) {
  ml__path_unpin(lua_touserdata(L, 1));
  return 0;
}

const char *ml__path_hold(lua_State *L, const char *path, unsigned how, const char *doing) {
  const ml_sandbox *s = ml__engine(L)->sandbox;
  ml_pathpin *pin;
  int rc;
  if (s == NULL) {
    lua_pushnil(L);
    return path;
  }
  pin = lua_newuserdatauv(L, sizeof *pin, 0);
  pin->fd = -1;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, hold_gc);
  lua_setfield(L, -2, "__gc");
  ml__guard_metatable(L);
  lua_setmetatable(L, -2);
  rc = ml__path_pin(s, path, how, pin);
  if (rc == 0) return pin->path;
  if (rc == ML_EDENIED)
    ml__path_denied(L, how, doing, path);
  else
    ml__error_uv(L, rc, "%s '%s' failed", doing, path);
  lua_error(L);
  return NULL;
}

/* What is allowed there, for a message. */
static unsigned path_seen(const ml_sandbox *s, unsigned how, const char *path) {
  char real[ROOM];
  bool ok = how & ML_PATH_NOFOLLOW ? ml__path_name(path, real, sizeof real)
                                   : ml__path_real(path, real, sizeof real);
  return ok ? ml__path_has(s, real) : 0;
}

void ml__path_denied(lua_State *L, unsigned how, const char *doing, const char *path) {
  unsigned has = path_seen(ml__engine(L)->sandbox, how, path);
  ml_perm perm = (how & ~has & ML_PATH_WRITE)    ? ML_P_WRITE
                 : (how & ~has & ML_PATH_READ)   ? ML_P_READ
                 : (how & ~has & ML_PATH_MODULE) ? ML_P_READ
                                                 : ML_P_FULL;
  if (!(how & ML_PATH_ALLOWED)) perm = ML_P_FULL;
  ml__denied(L, perm, doing, path, path);
  lua_pushstring(L, path);
  lua_setfield(L, -2, "path");
}
