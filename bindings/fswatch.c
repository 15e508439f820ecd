/* Watcher: an inotify descriptor. Its events are read by the task that asks for them and
** stay in the kernel until then. What they mean is fs.watch's business.
**
** The handle is a block of its own that lives until libuv has let go of it.
** Watches on whole trees are added on a thread.
*/
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs.h"

typedef struct watcher watcher;
typedef struct readop readop;

typedef struct handle {
  ml_handlehead head; /* first */
  uv_poll_t poll;
  ml_link link; /* in fs->watchers */
  ml_evloop *loop;
  watcher *w; /* NULL: closed or collected */
  int fd;
} handle;

struct watcher {
  ml_object obj;
  handle *h;      /* NULL: closed */
  readop *waiter; /* or NULL */
};

/* User value 1: the Watcher. */
struct readop {
  ml_op op;
  watcher *w;
  ml_timer timer;
  double delay; /* seconds; < 0: no end */
  bool due;
};

#define EVENTS                                                                        \
  (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | \
   IN_DELETE_SELF | IN_MOVE_SELF)

/* ---- the handle ---- */

static void on_closed(uv_handle_t *uv) {
  handle *h = uv->data;
  close(h->fd);
  free(h);
}

static void close_handle(handle *h) {
  watcher *w = h->w;
  ml__list_remove(&h->link);
  h->w = NULL;
  uv_close((uv_handle_t *)&h->poll, on_closed);
  if (w == NULL) return;
  w->h = NULL;
  if (w->waiter != NULL) ml__op_wake(&w->waiter->op);
}

static void close_with_loop(uv_handle_t *uv) { close_handle(uv->data); }

void ml__watchers_close(ml_fs *fs, ml_evloop *l) {
  for (ml_link *n = fs->watchers.next, *next; n != &fs->watchers; n = next) {
    handle *h = ml__containerof(n, handle, link);
    next = n->next;
    if (h->loop == l) close_handle(h);
  }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  handle *h = poll->data;
  (void)status;
  (void)events;
  uv_poll_stop(poll);
  if (h->w != NULL && h->w->waiter != NULL) ml__op_wake(&h->w->waiter->op);
}

static watcher *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_WATCHER); }

/* watcher() */
static int f_watcher(lua_State *L) {
  ml_evloop *loop = ml__loop_get(L);
  uv_loop_t *uv = ml__loop_uv(loop);
  watcher *w;
  handle *h;
  int rc;
  ml__check_handles(L);
  w = ml__newobject(L, ML_T_WATCHER, sizeof *w, 0);
  h = uv == NULL ? NULL : calloc(1, sizeof *h);
  if (h == NULL) return luaL_error(L, "not enough memory");
  h->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  rc = h->fd < 0 ? uv_translate_sys_error(errno) : uv_poll_init(uv, &h->poll, h->fd);
  if (rc < 0) {
    if (h->fd >= 0) close(h->fd);
    free(h);
    ml__fs_error(L, rc, "watch (too many watchers? see fs.inotify.max_user_instances)", NULL, NULL);
    return lua_error(L);
  }
  h->head.close = close_with_loop;
  h->poll.data = h;
  h->loop = loop;
  h->w = w;
  w->h = h;
  ml__list_append(&ml__fs(L)->watchers, &h->link);
  return 1;
}

/* ---- reading ---- */

/* Pushes an array of wd, mask, cookie, name; false if there is nothing. */
static bool push_events(lua_State *L, handle *h) {
  _Alignas(struct inotify_event) char buf[16 * 1024];
  ssize_t n = read(h->fd, buf, sizeof buf);
  int k = 0;
  if (n <= 0) return false;
  lua_newtable(L);
  for (char *p = buf; p < buf + n;) {
    const struct inotify_event *e = (const struct inotify_event *)(const void *)p;
    lua_pushinteger(L, e->wd);
    lua_rawseti(L, -2, ++k);
    lua_pushinteger(L, e->mask);
    lua_rawseti(L, -2, ++k);
    lua_pushinteger(L, e->cookie);
    lua_rawseti(L, -2, ++k);
    lua_pushstring(L, e->len > 0 ? e->name : "");
    lua_rawseti(L, -2, ++k);
    p += sizeof *e + e->len;
  }
  return true;
}

static void read_stop(readop *op) {
  watcher *w = op->w;
  if (w->waiter != op) return;
  w->waiter = NULL;
  if (w->h != NULL) uv_poll_stop(&w->h->poll);
  if (op->delay >= 0) {
    ml__timer_stop(op->op.task->fut.loop, &op->timer);
    ml__list_remove(&op->timer.job.link);
  }
}

static void read_due(ml_evloop *l, ml_job *j) {
  readop *op = ml__containerof(ml__containerof(j, ml_timer, job), readop, timer);
  (void)l;
  op->due = true;
  ml__op_wake(&op->op);
}

/* nil: closed; false: nothing came in time */
static int read_step(lua_State *L, readop *op) {
  watcher *w = op->w;
  if (w->h == NULL) {
    lua_pushnil(L);
    return 1;
  }
  if (push_events(L, w->h)) return 1;
  if (op->due || op->delay == 0) {
    lua_pushboolean(L, 0);
    return 1;
  }
  return uv_poll_start(&w->h->poll, UV_READABLE, on_poll) < 0 ? luaL_error(L, "not enough memory")
                                                              : ML_PARK;
}

static int read_begin(lua_State *L, ml_op *o) {
  readop *op = (readop *)o;
  watcher *w = op->w;
  int n;
  if (w->waiter != NULL || (w->h != NULL && w->h->loop != ml__engine(L)->running)) {
    ml__error_new(L, "RuntimeError",
                  w->waiter != NULL ? "another task is already waiting for events of this watch"
                                    : "the watch belongs to a different loop");
    return ML_RAISE;
  }
  n = read_step(L, op);
  if (n != ML_PARK) return n;
  if (op->delay > 0) {
    ml_evloop *l = ml__engine(L)->running;
    ml__timer_init(&op->timer, read_due);
    if (ml__timer_start(l, &op->timer, ml__loop_time(l) + op->delay) < 0) {
      uv_poll_stop(&w->h->poll);
      return luaL_error(L, "not enough memory");
    }
  }
  w->waiter = op;
  return ML_PARK;
}

static int read_wake(lua_State *L, ml_op *o) {
  readop *op = (readop *)o;
  int n;
  if (o->obj.state == ML_OP_CANCELLED) {
    read_stop(op);
    return 0;
  }
  n = read_step(L, op);
  if (n != ML_PARK) read_stop(op);
  return n;
}

static void read_cancel(ml_op *o) { read_stop((readop *)o); }

static const ml_opclass read_class = {"Watcher.read", read_begin, read_wake, read_cancel};

/* read([seconds]) -> awaitable of {wd, mask, cookie, name, ...}; false; nil */
static int w_read(lua_State *L) {
  watcher *w = check(L);
  double delay = lua_isnoneornil(L, 2) ? -1 : luaL_checknumber(L, 2);
  readop *op = ml__op_new(L, &read_class, sizeof *op, 1);
  op->w = w;
  op->delay = delay;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* ---- adding ---- */

/* What was found, as records: a char, an int, a path and its zero. 'w': a watch of
** that descriptor; else an entry of that type. */
static bool record(ml_fsjob *j, char what, int wd, const char *path) {
  size_t n = strlen(path) + 1, need = j->nout + 1 + sizeof wd + n;
  if (need > (size_t)j->b) {
    size_t cap = need * 2 + 4096;
    char *p = realloc(j->out, cap);
    if (p == NULL) {
      j->status = UV_ENOMEM;
      return false;
    }
    j->out = p;
    j->b = (int64_t)cap;
  }
  j->out[j->nout++] = what;
  memcpy(j->out + j->nout, &wd, sizeof wd);
  memcpy(j->out + j->nout + sizeof wd, path, n);
  j->nout = need;
  return true;
}

static bool is_folder(DIR *dir, const struct dirent *e) {
  struct stat st;
  if (e->d_type != DT_UNKNOWN) return e->d_type == DT_DIR;
  return fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static void add_subtree(ml_fsjob *j, DIR *parent, const char *name, const char *path);

static void add_entries(ml_fsjob *j, DIR *dir, const char *path) {
  struct dirent *e;
  while (j->status >= 0 && (e = readdir(dir)) != NULL) {
    char *sub;
    bool folder;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (atomic_load(&j->cancelled)) j->status = UV_ECANCELED;
    if (asprintf(&sub, path[strlen(path) - 1] == '/' ? "%s%s" : "%s/%s", path, e->d_name) < 0) {
      j->status = UV_ENOMEM;
      return;
    }
    folder = is_folder(dir, e);
    if (record(j, folder ? 'd' : 'f', 0, sub) && folder && j->a)
      add_subtree(j, dir, e->d_name, sub);
    free(sub);
  }
}

/* A subfolder may have gone, or be nobody's business. */
static void failed_below(ml_fsjob *j) {
  if (errno != ENOENT && errno != ENOTDIR && errno != EACCES && errno != ELOOP)
    j->status = uv_translate_sys_error(errno);
}

/* A folder in the one that is listed. It is entered by its descriptor, so that nothing on the way
** can have become a link; in a sandbox it is watched by that, too. */
static void add_subtree(ml_fsjob *j, DIR *parent, const char *name, const char *path) {
  int fd = openat(dirfd(parent), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), wd;
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  char held[32];
  if (dir == NULL) {
    failed_below(j);
    if (fd >= 0) close(fd);
    return;
  }
  snprintf(held, sizeof held, "/proc/self/fd/%d", fd);
  wd = inotify_add_watch(j->fd, j->sandbox != NULL ? held : path,
                         EVENTS | IN_ONLYDIR | (j->sandbox != NULL ? 0 : IN_DONT_FOLLOW));
  if (wd < 0)
    failed_below(j);
  else if (record(j, 'w', wd, path)) /* the watch, then the list: what is made is in one or both */
    add_entries(j, dir, path);
  closedir(dir);
}

static void run_add(ml_fsjob *j) {
  int wd = inotify_add_watch(j->fd, j->path, EVENTS | IN_ONLYDIR);
  DIR *dir;
  j->status = wd < 0 ? uv_translate_sys_error(errno) : 0;
  j->b = 0;
  if (wd < 0 || !record(j, 'w', wd, j->path)) return;
  dir = opendir(j->path);
  if (dir == NULL) return;
  add_entries(j, dir, j->path);
  closedir(dir);
}

static void push_shown(lua_State *L, const ml_fsjob *j, const char *path) {
  if (ml__fsjob_shown(L, j, path) == path) lua_pushstring(L, path);
}

/* Arrays of wd, path and of path, is folder. */
static int push_add(lua_State *L, ml_fsjob *j) {
  const char *p = j->out, *end = p + j->nout;
  int watches = 0, entries = 0;
  lua_newtable(L);
  lua_newtable(L);
  while (p < end) {
    char what = *p++;
    int wd;
    memcpy(&wd, p, sizeof wd);
    p += sizeof wd;
    if (what == 'w') {
      lua_pushinteger(L, wd);
      lua_rawseti(L, -3, ++watches);
      push_shown(L, j, p);
      lua_rawseti(L, -3, ++watches);
    } else {
      push_shown(L, j, p);
      lua_rawseti(L, -2, ++entries);
      lua_pushboolean(L, what == 'd');
      lua_rawseti(L, -2, ++entries);
    }
    p += strlen(p) + 1;
  }
  return 2;
}

static bool answer_add(lua_State *L, ml_fsjob *j) {
  if (j->status != UV_ENOSPC) return false;
  ml__fs_error(L, UV_ENOSPC, "watch (too many watches: see fs.inotify.max_user_watches)", j->path,
               NULL);
  return lua_error(L);
}

static int add_begin(lua_State *L, ml_op *o) {
  ml_fsop *op = (ml_fsop *)o;
  watcher *w;
  lua_getiuservalue(L, 1, 3);
  w = lua_touserdata(L, -1);
  if (w->h == NULL) {
    lua_getiuservalue(L, 1, 1);
    ml__fs_error(L, UV_EBADF, "watch", lua_tostring(L, -1), NULL);
    return ML_RAISE;
  }
  op->fd = w->h->fd;
  lua_settop(L, 1);
  return ml__fsop_begin(L, o);
}

static const ml_fsclass add_class = {{"fs.watch", add_begin, ml__fsop_wake, ml__fsop_cancel},
                                     run_add,
                                     push_add,
                                     NULL,
                                     answer_add,
                                     ML_PATH_R,
                                     0};

/* add(path, recursive) */
static int w_add(lua_State *L) {
  bool recursive = lua_toboolean(L, 3);
  check(L);
  ml__fsop_new(L, &add_class, 2, 0)->a = recursive;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 3);
  return 1;
}

/* remove(wd) */
static int w_remove(lua_State *L) {
  watcher *w = check(L);
  if (w->h != NULL) inotify_rm_watch(w->h->fd, (int)luaL_checkinteger(L, 2));
  return 0;
}

static int w_close(lua_State *L) {
  watcher *w = check(L);
  if (w->h != NULL) close_handle(w->h);
  return 0;
}

static int w_gc(lua_State *L) {
  watcher *w = lua_touserdata(L, 1);
  w->waiter = NULL;
  if (w->h == NULL) return 0;
  ml__log(ml__engine(L), "ResourceWarning: unclosed fs.watch: call close()");
  close_handle(w->h);
  return 0;
}

void ml__open_fswatch(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"read", w_read}, {"add", w_add}, {"remove", w_remove}, {"close", w_close}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", w_gc}, {NULL, NULL}};
  static const struct {
    const char *name;
    uint32_t bit;
  } bits[] = {{"CREATE", IN_CREATE},
              {"MODIFY", IN_MODIFY},
              {"CLOSE_WRITE", IN_CLOSE_WRITE},
              {"DELETE", IN_DELETE},
              {"MOVED_FROM", IN_MOVED_FROM},
              {"MOVED_TO", IN_MOVED_TO},
              {"DELETE_SELF", IN_DELETE_SELF},
              {"MOVE_SELF", IN_MOVE_SELF},
              {"OVERFLOW", IN_Q_OVERFLOW},
              {"IGNORED", IN_IGNORED},
              {"ISDIR", IN_ISDIR},
              {"UNMOUNT", IN_UNMOUNT}};
  ml__newtype(L, ML_T_WATCHER, "Watcher", methods, meta);
  lua_pop(L, 1);
  lua_pushcfunction(L, f_watcher);
  lua_setfield(L, -2, "watcher");
  lua_createtable(L, 0, 12);
  for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
    lua_pushinteger(L, bits[i].bit);
    lua_setfield(L, -2, bits[i].name);
  }
  lua_setfield(L, -2, "inotify");
}
