/* Module fs.core: what fs is made of. Jobs on libuv's threads, their errors,
** and the blocks that become strings.
**
** An operation on a path copies what it needs into a job and parks. A thread
** runs the job; the loop's callback wakes the operation, or, when that was
** cancelled meanwhile, lets the job undo what nobody wants and frees it.
*/
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"

static const char fs_key;

/* ---- jobs ---- */

static void release(ml_fsjob *j) {
  ml__fswait_close(&j->wait);
  if (j->engine != NULL && j->counted) j->engine->nstats_inflight--;
  if (j->engine != NULL && j->has_dir) j->fs->dirs--;
  ml__list_remove(&j->link);
  if (j->fd >= 0) close(j->fd);
  if (j->dir != NULL) closedir(j->dir);
  for (int i = 0; j->pins != NULL && i < 2; i++) ml__path_unpin(&j->pins[i]);
  free(j->pins);
  ml__sandbox_unref(j->sandbox);
  free(j->out);
  free(j);
}

/* On a thread: looks up what the script may do, and where. */
static int pin(ml_fsjob *j) {
  int which = 0, rc;
  if (j->pins == NULL && (j->pins = malloc(2 * sizeof *j->pins)) == NULL) return UV_ENOMEM;
  j->pins[0].fd = j->pins[1].fd = -1;
  if (j->dir != NULL) return 0; /* it was opened before */
  if (j->dest == NULL || j->cls->how_dest == 0)
    rc = ml__path_pin(j->sandbox, j->path, j->how, &j->pins[0]);
  else
    rc = ml__path_pin_both(j->sandbox, j->path, j->how, j->dest, j->cls->how_dest, j->pins, &which);
  if (rc != ML_EDENIED) return rc;
  j->denied = (signed char)(which + 1);
  return UV_EACCES;
}

static void run_pinned(ml_fsjob *j) {
  char *path = j->path, *dest = j->dest;
  bool resumed = j->waits == ML_FSJOB_READS;
  if (!j->undoing && !resumed && (j->status = pin(j)) < 0) return;
  if (j->pins[0].fd >= 0) j->path = j->pins[0].path;
  if (j->pins[1].fd >= 0) j->dest = j->pins[1].path;
  if (j->undoing)
    j->cls->undo(j);
  else
    j->cls->run(j);
  j->path = path;
  j->dest = dest;
  for (int i = 0; j->waits == ML_FSJOB_TRIES && i < 2; i++) ml__path_unpin(&j->pins[i]);
}

static void run_work(uv_work_t *w) {
  ml_fsjob *j = ml__containerof(w, ml_fsjob, work);
  if (j->sandbox != NULL)
    run_pinned(j);
  else if (j->undoing)
    j->cls->undo(j);
  else
    j->cls->run(j);
}

static void on_done(uv_work_t *w, int status);

/* Nobody wants the job any more. */
static void discard(ml_fsjob *j, uv_loop_t *uv) {
  j->op = NULL;
  if (j->status >= 0 && j->cls->undo != NULL && !j->undoing) {
    j->undoing = true;
    if (uv != NULL && uv_queue_work(uv, &j->work, run_work, on_done) == 0) return;
    run_work(&j->work);
  }
  release(j);
}

static void settle(ml_fsjob *j) {
  if (j->op != NULL)
    ml__op_wake(&j->op->op);
  else
    discard(j, j->work.loop);
}

/* The job goes on; after an error of the descriptor in a while. */
static void on_ready(void *owner, int status) {
  ml_fsjob *j = owner;
  uv_loop_t *uv = j->work.loop;
  j->loop->stirred = true;
  j->waiting = status < 0 && status != UV_ECANCELED;
  if (j->wait != NULL) ml__fswait_stop(j->wait);
  if (j->waiting) {
    ml__fswait_close(&j->wait);
    status = ml__fswait_again(&j->wait, uv, j->tries++, on_ready, j);
  } else if (status == 0)
    status = uv_queue_work(uv, &j->work, run_work, on_done);
  if (status == 0) return;
  j->waiting = false;
  j->status = status;
  settle(j);
}

/* Did the job say that it has to wait? UV_EPERM: for what is always ready. */
static bool must_wait(ml_fsjob *j) {
  uv_loop_t *uv = j->work.loop;
  int rc = UV_EPERM;
  if (j->waits == ML_FSJOB_GOES || j->status != UV_EAGAIN || j->op == NULL) return false;
  if (j->waits == ML_FSJOB_READS)
    rc = ml__fswait_poll(&j->wait, uv, j->fd, UV_READABLE, on_ready, j);
  if (rc == UV_EPERM) rc = ml__fswait_again(&j->wait, uv, j->tries++, on_ready, j);
  if (rc < 0) j->status = rc;
  return j->waiting = rc == 0;
}

static void on_done(uv_work_t *w, int status) {
  ml_fsjob *j = ml__containerof(w, ml_fsjob, work);
  if (status < 0 && !j->undoing) j->status = status;
  if (!must_wait(j)) settle(j);
}

static char *keep(char **at, const char *s, size_t n) {
  char *p = *at;
  memcpy(p, s, n + 1);
  *at = p + n + 1;
  return p;
}

int ml__fsop_begin(lua_State *L, ml_op *o) {
  ml_fsop *op = (ml_fsop *)o;
  ml_fs *fs = ml__fs(L);
  uv_loop_t *uv = ml__loop_uv(fs->engine->running);
  const char *path, *dest;
  size_t npath = 0, ndest = 0;
  ml_fsjob *j;
  char *at;
  int rc;
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, 1, 2);
  path = lua_tolstring(L, -2, &npath);
  dest = lua_tolstring(L, -1, &ndest);
  j = uv == NULL ? NULL : calloc(1, sizeof *j + npath + ndest + 2);
  if (j == NULL) return luaL_error(L, "not enough memory");
  at = j->text;
  if (path != NULL) j->path = keep(&at, path, npath);
  if (dest != NULL) j->dest = keep(&at, dest, ndest);
  j->engine = fs->engine;
  j->fs = fs;
  j->loop = fs->engine->running;
  j->sandbox = ml__sandbox_ref(fs->engine->sandbox);
  j->how = op->how;
  j->cls = (const ml_fsclass *)op->op.cls;
  j->op = op;
  j->a = op->a;
  j->b = op->b;
  j->atime = op->atime;
  j->mtime = op->mtime;
  if (op->dir != NULL) {
    j->dir = *op->dir;
    j->has_dir = j->dir != NULL;
    *op->dir = NULL;
  }
  j->fd = -1;
  ml__list_append(&fs->jobs, &j->link);
  rc = 0;
  if (op->fd >= 0 && (j->fd = fcntl(op->fd, F_DUPFD_CLOEXEC, 0)) < 0)
    rc = uv_translate_sys_error(errno);
  if (rc == 0) rc = uv_queue_work(uv, &j->work, run_work, on_done);
  if (rc < 0) {
    if (op->dir != NULL) *op->dir = j->dir;
    j->dir = NULL;
    j->has_dir = false;
    release(j);
    ml__fs_error(L, rc, ml__fs_verb(o->cls->name), path, dest);
    return ML_RAISE;
  }
  j->counted = true;
  fs->engine->nstats_inflight++;
  op->job = j;
  return ML_PARK;
}

/* (job): the results. Protected: the job is the caller's. */
static int push_results(lua_State *L) {
  ml_fsjob *j = lua_touserdata(L, 1);
  lua_settop(L, 0);
  if (j->denied != 0) {
    unsigned how = j->denied == 1 ? j->how : j->cls->how_dest;
    if (how & ML_PATH_MOVES) how |= ML_PATH_READ;
    ml__path_denied(L, how, ml__fs_verb(j->cls->op.name), j->denied == 1 ? j->path : j->dest);
    return lua_error(L);
  }
  if (j->status < 0 && (j->cls->answers == NULL || !j->cls->answers(L, j))) {
    ml__fs_error(L, (int)j->status, ml__fs_verb(j->cls->op.name), j->path, j->dest);
    return lua_error(L);
  }
  if (j->status >= 0) return j->cls->push == NULL ? 0 : j->cls->push(L, j);
  return lua_gettop(L);
}

int ml__fsop_wake(lua_State *L, ml_op *o) {
  ml_fsop *op = (ml_fsop *)o;
  ml_fsjob *j = op->job;
  int rc, top = lua_gettop(L);
  if (o->obj.state == ML_OP_CANCELLED) {
    op->job = NULL;
    if (j != NULL) discard(j, j->work.loop); /* it was done before the cancel */
    return 0;
  }
  lua_pushcfunction(L, push_results);
  lua_pushlightuserdata(L, j);
  rc = lua_pcall(L, 1, LUA_MULTRET, 0);
  op->job = NULL;
  if (rc == LUA_OK || j->status < 0) { /* taken */
    release(j);
    return rc == LUA_OK ? lua_gettop(L) - top : ML_RAISE;
  }
  discard(j, j->work.loop);
  return ML_RAISE;
}

void ml__fsop_cancel(ml_op *o) {
  ml_fsop *op = (ml_fsop *)o;
  ml_fsjob *j = op->job;
  if (j == NULL) return;
  j->op = NULL;
  op->job = NULL;
  atomic_store(&j->cancelled, true);
  if (j->waiting)
    release(j);
  else
    uv_cancel((uv_req_t *)&j->work); /* on_done follows, sooner or later */
}

static void check_path(lua_State *L, const char *name, int idx) {
  size_t n;
  const char *s;
  if (lua_type(L, idx) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: a path (a string) was expected, got %s", name,
               luaL_typename(L, idx));
  s = lua_tolstring(L, idx, &n);
  if (strlen(s) != n)
    ml__misuse(L, "ValueError", "%s: the path contains a zero byte: '%s\\0...'", name, s);
}

ml_fsop *ml__fsop_new(lua_State *L, const ml_fsclass *cls, int idx, int dest) {
  ml_fsop *op;
  check_path(L, cls->op.name, idx);
  if (dest != 0) check_path(L, cls->op.name, dest);
  op = ml__op_new(L, &cls->op, sizeof *op, 3);
  op->fd = -1;
  op->how = cls->how;
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, 1);
  if (dest != 0) {
    lua_pushvalue(L, dest);
    lua_setiuservalue(L, -2, 2);
  }
  return op;
}

/* ---- errors and arguments ---- */

const char *ml__fsjob_shown(lua_State *L, const ml_fsjob *j, const char *path) {
  size_t n = j->pins == NULL ? 0 : strlen(j->pins[0].path), have = strlen(j->path);
  if (n == 0 || strncmp(path, j->pins[0].path, n) != 0) return path;
  path += n;
  if (*path == '/' && have > 0 && j->path[have - 1] == '/') path++;
  return lua_pushfstring(L, "%s%s", j->path, path);
}

const char *ml__fs_verb(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot != NULL ? dot + 1 : name;
}

void ml__fs_error(lua_State *L, int status, const char *what, const char *path, const char *dest) {
  char text[128], code[32];
  uv_strerror_r(status, text, sizeof text);
  uv_err_name_r(status, code, sizeof code);
  if (dest != NULL)
    ml__error_new(L, "OSError", "%s: %s: %s '%s' -> '%s'", code, text, what, path, dest);
  else if (path != NULL)
    ml__error_new(L, "OSError", "%s: %s: %s '%s'", code, text, what, path);
  else
    ml__error_new(L, "OSError", "%s: %s: %s", code, text, what);
  lua_pushstring(L, code);
  lua_setfield(L, -2, "code");
  lua_pushinteger(L, -status);
  lua_setfield(L, -2, "errno");
  lua_pushstring(L, what);
  lua_setfield(L, -2, "syscall");
  lua_pushstring(L, path);
  lua_setfield(L, -2, "path");
  lua_pushstring(L, dest);
  lua_setfield(L, -2, "dest");
}

lua_Integer ml__fs_checkint(lua_State *L, int idx, const char *fname, const char *what) {
  int ok;
  lua_Integer n = lua_tointegerx(L, idx, &ok);
  if (!ok || lua_type(L, idx) != LUA_TNUMBER)
    ml__misuse(L, "TypeError", "%s: %s (an integer) was expected, got %s", fname, what,
               lua_type(L, idx) == LUA_TNUMBER ? lua_tostring(L, idx) : luaL_typename(L, idx));
  return n;
}

double ml__fs_checktime(lua_State *L, int idx, const char *fname) {
  double t = lua_tonumber(L, idx);
  if (lua_type(L, idx) != LUA_TNUMBER)
    ml__misuse(L, "TypeError", "%s: a time (a number of seconds) was expected, got %s", fname,
               luaL_typename(L, idx));
  if (!(t > -1e11 && t < 1e11)) ml__misuse(L, "ValueError", "%s: the time is out of range", fname);
  return t;
}

struct timespec ml__fs_timespec(double t) {
  struct timespec ts;
  double whole = floor(t);
  ts.tv_sec = (time_t)whole;
  ts.tv_nsec = (long)((t - whole) * 1e9);
  return ts;
}

/* ---- blocks that become strings ---- */

/* On the stack above the function: the block. */
static int push_block(lua_State *L, ml_block *b) {
  if (ml__strbuf_adopt(L, b->base, b->cap, b->len)) b->base = NULL;
  return 1;
}

static int push_block_protected(lua_State *L) { return push_block(L, lua_touserdata(L, 1)); }

void ml__fs_pushblock(lua_State *L, ml_block *b) {
  int rc;
  if (b->base == NULL) {
    lua_pushliteral(L, "");
    return;
  }
  lua_pushcfunction(L, push_block_protected);
  lua_pushlightuserdata(L, b);
  rc = lua_pcall(L, 1, 1, 0);
  free(b->base);
  b->base = NULL;
  if (rc != LUA_OK) lua_error(L);
}

/* ---- the engine's part ---- */

static void orphan_jobs(ml_fs *fs, ml_evloop *l) {
  for (ml_link *n = fs->jobs.next, *next; n != &fs->jobs; n = next) {
    ml_fsjob *j = ml__containerof(n, ml_fsjob, link);
    next = n->next;
    if (l != NULL && j->work.loop != l->uv) continue;
    ml__list_remove(&j->link);
    atomic_store(&j->cancelled, true);
    if (j->counted) j->engine->nstats_inflight--;
    j->engine = NULL;
    j->op = NULL;
    if (j->waiting)
      release(j);
    else
      uv_cancel((uv_req_t *)&j->work);
  }
}

/* The loop is the host's: what is under way there outlives the engine. */
static void close_handles(lua_State *L, ml_evloop *l) {
  ml_fs *fs = ml__fs(L);
  ml__watchers_close(fs, l);
  ml__files_orphan(fs, l);
  orphan_jobs(fs, l);
  if (fs->close_next != NULL) fs->close_next(L, l);
}

static int fs_gc(lua_State *L) {
  ml_fs *fs = lua_touserdata(L, 1);
  ml__files_orphan(fs, NULL);
  orphan_jobs(fs, NULL);
  return 0;
}

static size_t count_handles(const ml_counter *c) {
  const ml_fs *fs = ml__containerof(c, const ml_fs, counter);
  size_t n = fs->dirs;
  for (const ml_link *k = fs->files.next; k != &fs->files; k = k->next)
    if (ml__containerof(k, const ml_file, link)->fd >= 0) n++;
  for (const ml_link *k = fs->watchers.next; k != &fs->watchers; k = k->next) n++;
  return n;
}

ml_fs *ml__fs(lua_State *L) {
  ml_fs *fs;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &fs_key);
  fs = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (fs != NULL) return fs;
  fs = lua_newuserdatauv(L, sizeof *fs, 0);
  memset(fs, 0, sizeof *fs);
  fs->engine = ml__engine(L);
  ml__list_init(&fs->jobs);
  ml__list_init(&fs->files);
  ml__list_init(&fs->watchers);
  /* finalized after everything made later: files rely on it */
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, fs_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  fs->counter.count = count_handles;
  fs->counter.next = fs->engine->counters;
  fs->engine->counters = &fs->counter;
  fs->close_next = fs->engine->close_handles;
  fs->engine->close_handles = close_handles;
  lua_rawsetp(L, LUA_REGISTRYINDEX, &fs_key);
  ml__finalized(L);
  return fs;
}

int ml__open_fs(lua_State *L) {
  ml__fs(L);
  lua_newtable(L);
  ml__open_fspaths(L);
  ml__open_fswhole(L);
  ml__open_file(L);
  ml__open_fswatch(L);
  ml__open_fsbelow(L);
  return 1;
}
