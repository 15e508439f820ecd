/* File's operations: one acts, the others stand in line behind it. See file.h.
*/
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "file.h"

#define FILL (16 * 1024)     /* the least that is read at once */
#define AHEAD (256 * 1024)   /* read at once of a file that is read in sequence */
#define GATHER (1024 * 1024) /* reads from here on go into a block of their own */
#define PIECE (1024 * 1024)  /* the most that is copied and written at once */
#define POLLED (64 * 1024)   /* the most that is read at once on the loop */

static const char *const verbs[] = {"read",   "read",     "readline", "write",    "seek", "pread",
                                    "pwrite", "truncate", "fsync",    "datasync", "stat", "chmod",
                                    "utime",  "lock",     "close",    "write"};

/* ---- buffers ---- */

static void drop(ml_filebuf *b, size_t n) {
  b->start += n;
  b->len -= n;
  if (b->len == 0) b->start = 0;
}

/* Room for n bytes at its beginning; nothing is in it. */
static bool reserve(ml_filebuf *b, size_t n) {
  char *p;
  if (n <= b->cap) return true;
  p = malloc(n);
  if (p == NULL) return false;
  free(b->base);
  b->base = p;
  b->cap = n;
  return true;
}

/* next joins cur. */
static bool merge(ml_file *f) {
  ml_filebuf *c = &f->cur, *x = &f->next;
  if (c->len == 0) {
    ml_filebuf t = *c;
    *c = *x;
    *x = t;
    x->start = x->len = 0;
    return true;
  }
  if (c->start + c->len + x->len > c->cap) {
    size_t need = c->len + x->len;
    if (need > c->cap) { /* by half, so that a long line costs what it is long */
      size_t cap = need + need / 2;
      char *p = malloc(cap);
      if (p == NULL) return false;
      memcpy(p, c->base + c->start, c->len);
      free(c->base);
      c->base = p;
      c->cap = cap;
    } else
      memmove(c->base, c->base + c->start, c->len);
    c->start = 0;
  }
  memcpy(c->base + c->start + c->len, x->base + x->start, x->len);
  c->len += x->len;
  x->start = x->len = 0;
  return true;
}

static void forget(ml_file *f) {
  if (!f->seekable) return; /* a stream's bytes come once */
  f->cur.start = f->cur.len = f->next.start = f->next.len = 0;
  f->fills = 0;
}

void ml__file_destroy(ml_file *f) {
  ml__fswait_close(&f->wait);
  ml__fswait_close(&f->retry);
  ml__list_remove(&f->link);
  if (f->fd >= 0) close(f->fd);
  free(f->cur.base);
  free(f->next.base);
  free(f->out.base);
  free(f->in.base);
  free(f->block.base);
  free(f->path);
  free(f);
}

/* ---- on the loop ---- */

static void wake_first(ml_file *f) {
  if (!ml__list_empty(&f->ops)) ml__op_wake(&ml__containerof(f->ops.next, ml_fileop, link)->op);
}

/* What the job has done becomes the file's, whether or not anybody waits for it. */
static void absorb(ml_file *f) {
  ssize_t n = f->status;
  switch (f->kind) {
  case ML_FILE_FILLING:
    f->eof = n >= 0 && (f->regular ? (size_t)n < f->n : n == 0);
    f->next.start = 0;
    f->next.len = n > 0 ? (size_t)n : 0;
    break;
  case ML_FILE_SPILL: f->spilled = (int)(n < 0 ? n : f->b); /* fall through */
  case ML_FILE_WRITE:
    if (n <= 0) break;
    f->pos = (f->flags & O_APPEND) ? f->a : f->a + n;
    break;
  case ML_FILE_READ:
  case ML_FILE_READ_ALL:
  case ML_FILE_PREAD:
    if (!atomic_load(&f->cancelled)) break;
    free(f->block.base);
    f->block = (ml_block){NULL, 0, 0};
    break;
  case ML_FILE_LOCK: /* nobody will give it back */
    if (n > 0 && atomic_load(&f->cancelled)) flock(f->fd, LOCK_UN);
    break;
  case ML_FILE_CLOSE:
    f->closed = true;
    if (f->fd >= 0 && n == UV_ECANCELED) {
      close(f->fd);
      f->fd = -1;
    }
    break;
  default: break;
  }
}

/* The job is over. */
static void end_job(ml_file *f) {
  f->busy = f->waiting = false;
  if (f->engine != NULL) f->engine->nstats_inflight--;
  absorb(f);
}

static void settle(ml_file *f) {
  end_job(f);
  if (f->object == NULL)
    ml__file_destroy(f);
  else
    wake_first(f);
}

void ml__file_withdraw(ml_file *f) {
  ml__fswait_close(&f->retry);
  if (f->wait != NULL) ml__fswait_stop(f->wait);
  f->status = f->kind == ML_FILE_WRITE && f->put > 0 ? (ssize_t)f->put : UV_ECANCELED;
  end_job(f);
}

static void on_done(uv_work_t *w, int status);

static void on_retry(void *owner, int status) {
  ml_file *f = owner;
  f->waiting = false;
  if (status == 0) status = uv_queue_work(f->work.loop, &f->work, ml__file_work, on_done);
  if (status == 0) return;
  f->status = status;
  settle(f);
}

/* Others have the lock: it is tried for again later. */
static bool locked_out(ml_file *f) {
  int rc;
  if (f->kind != ML_FILE_LOCK || f->status != UV_EAGAIN || atomic_load(&f->cancelled)) return false;
  rc = ml__fswait_again(&f->retry, f->work.loop, f->tries++, on_retry, f);
  if (rc < 0) f->status = rc;
  return f->waiting = rc == 0;
}

static void on_done(uv_work_t *w, int status) {
  ml_file *f = ml__containerof(w, ml_file, work);
  if (status < 0) f->status = status;
  if (!locked_out(f)) settle(f);
}

/* A polled file is ready. */
static void on_ready(void *owner, int status) {
  ml_file *f = owner;
  f->status = status == UV_ECANCELED ? status : ml__file_try(f);
  if (f->status == UV_EAGAIN) {
    f->loop->stirred = true;
    if (status == 0) return;
    f->status = status;
  }
  if (f->wait != NULL) ml__fswait_stop(f->wait);
  settle(f);
}

/* UV_E* if it cannot be started */
static int start_job(ml_file *f, uv_loop_t *uv) {
  bool writes = f->kind == ML_FILE_WRITE || f->kind == ML_FILE_SPILL;
  int rc;
  if (f->kind == ML_FILE_CLOSE) ml__fswait_close(&f->wait); /* its duplicate keeps pipes open */
  if (f->polled && (f->kind == ML_FILE_FILLING || writes)) {
    rc = ml__fswait_poll(&f->wait, uv, f->fd, writes ? UV_WRITABLE : UV_READABLE, on_ready, f);
    f->waiting = rc == 0;
    if (rc != UV_EPERM) return rc;
    f->polled = false; /* a device that never makes one wait, but may take long */
  }
  return uv_queue_work(uv, &f->work, ml__file_work, on_done);
}

static int start(lua_State *L, ml_file *f, ml_filekind kind) {
  ml_engine *e = ml__engine(L);
  uv_loop_t *uv = ml__loop_uv(e->running);
  int rc;
  f->kind = kind;
  f->loop = e->running;
  f->put = 0;
  f->tries = 0;
  atomic_store(&f->cancelled, false);
  rc = uv == NULL ? UV_ENOMEM : start_job(f, uv);
  if (rc < 0) return rc;
  f->busy = true;
  e->nstats_inflight++;
  return 0;
}

static int start_fill(lua_State *L, ml_file *f, size_t n) {
  if (!reserve(&f->next, n)) return UV_ENOMEM;
  f->n = n;
  f->a = f->pos + (int64_t)f->cur.len;
  if (f->fills < 2) f->fills++;
  return start(L, f, ML_FILE_FILLING);
}

/* A file that is read in sequence: the next part is fetched while the script works. */
static void read_ahead(lua_State *L, ml_file *f) {
  if (!f->regular || f->busy || f->eof || f->fills < 2 || f->next.len > 0 || f->cur.len == 0)
    return;
  start_fill(L, f, AHEAD);
}

/* ---- operations ---- */

enum { MORE = -10 };

static int failed(lua_State *L, ml_fileop *op, ssize_t status) {
  ml__fs_error(L, (int)status, verbs[op->kind], op->f->path, NULL);
  return ML_RAISE;
}

/* The operation is over: the next one may act. */
static void leave(ml_fileop *op) {
  ml_file *f = op->f;
  bool first = f->ops.next == &op->link;
  ml__list_remove(&op->link);
  op->op.obj.n = 0;
  if (first && !f->busy) wake_first(f);
}

static int finish(ml_fileop *op, int n) {
  leave(op);
  return n;
}

/* The first n bytes; of a line that read("l") wants, without the line break. */
static int take(lua_State *L, ml_fileop *op, size_t n) {
  ml_file *f = op->f;
  const char *p = f->cur.base + f->cur.start;
  bool chop = op->kind == ML_FILE_LINE && op->b && n > 0 && p[n - 1] == '\n';
  f->pos += (int64_t)n;
  drop(&f->cur, n);
  read_ahead(L, f);
  finish(op, 0);
  lua_pushlstring(L, n > 0 ? p : "", chop ? n - 1 : n);
  return 1;
}

static int take_nothing(lua_State *L, ml_fileop *op) {
  lua_pushnil(L);
  return finish(op, 1);
}

/* Reads into next what cur lacks. */
static int need(lua_State *L, ml_fileop *op, size_t n) {
  ml_file *f = op->f;
  size_t least = f->fills >= 2 && f->regular ? AHEAD : FILL;
  int rc;
  if (f->polled && n > POLLED) n = POLLED;
  rc = start_fill(L, f, n > least ? n : least);
  op->worked = true;
  if (rc < 0) {
    finish(op, 0);
    return failed(L, op, rc);
  }
  return ML_PARK;
}

/* Nothing is under way. A fill that was made for the operation and has failed? */
static bool fill_failed(ml_fileop *op) {
  return op->worked && op->f->kind == ML_FILE_FILLING && op->f->status < 0;
}

/* The result of a job that read into f->block. */
static int take_block(lua_State *L, ml_fileop *op) {
  ml_file *f = op->f;
  ml_block b = f->block;
  size_t front = op->kind == ML_FILE_PREAD ? 0 : f->cur.len + f->next.len;
  f->block = (ml_block){NULL, 0, 0};
  if (f->status < 0 || b.base == NULL) {
    free(b.base);
    finish(op, 0);
    return failed(L, op, f->status < 0 ? f->status : UV_ENOMEM);
  }
  if (front > 0) {
    char *p = b.base + ML_BLOCK_HEAD;
    if (f->cur.len > 0) memcpy(p, f->cur.base + f->cur.start, f->cur.len);
    if (f->next.len > 0) memcpy(p + f->cur.len, f->next.base + f->next.start, f->next.len);
  }
  finish(op, 0);
  if (b.len == 0 && op->kind != ML_FILE_READ_ALL && op->a > 0) {
    free(b.base);
    lua_pushnil(L);
    return 1;
  }
  if (op->kind != ML_FILE_PREAD) {
    f->pos += (int64_t)b.len;
    forget(f);
  }
  ml__fs_pushblock(L, &b);
  return 1;
}

static int start_block(lua_State *L, ml_fileop *op, int64_t offset, uint64_t n) {
  ml_file *f = op->f;
  int rc;
  f->a = offset;
  f->n = n > SIZE_MAX / 4 ? SIZE_MAX / 4 : (size_t)n;
  op->worked = true;
  rc = start(L, f, op->kind);
  if (rc == 0) return ML_PARK;
  finish(op, 0);
  return failed(L, op, rc);
}

static int step_read(lua_State *L, ml_fileop *op) {
  ml_file *f = op->f;
  size_t n = op->kind == ML_FILE_READ ? (size_t)op->a : SIZE_MAX / 4;
  bool all = op->kind == ML_FILE_READ_ALL;
  if (op->worked && !f->busy && f->kind == op->kind) return take_block(L, op);
  if (n <= f->cur.len) return take(L, op, n);
  if (f->busy) return ML_PARK;
  if (fill_failed(op)) {
    finish(op, 0);
    return failed(L, op, f->status);
  }
  if (f->seekable && n - f->cur.len >= GATHER) {
    size_t have = f->cur.len + f->next.len;
    if (n > have) return start_block(L, op, f->pos, n - have);
  }
  if (f->next.len > 0 && !merge(f)) {
    finish(op, 0);
    return failed(L, op, UV_ENOMEM);
  }
  if (n <= f->cur.len) return take(L, op, n);
  if (op->worked && f->eof)
    return f->cur.len > 0 || all ? take(L, op, f->cur.len) : take_nothing(L, op);
  return need(L, op, all ? AHEAD : n - f->cur.len > GATHER ? GATHER : n - f->cur.len);
}

static int step_line(lua_State *L, ml_fileop *op) {
  ml_file *f = op->f;
  for (;;) {
    const char *p = f->cur.base + f->cur.start, *end = NULL;
    if (f->cur.len > op->done) end = memchr(p + op->done, '\n', f->cur.len - op->done);
    if (end != NULL) return take(L, op, (size_t)(end - p) + 1);
    op->done = f->cur.len;
    if (f->busy) return ML_PARK;
    if (f->next.len == 0) break;
    if (!merge(f)) {
      finish(op, 0);
      return failed(L, op, UV_ENOMEM);
    }
  }
  if (fill_failed(op)) {
    finish(op, 0);
    return failed(L, op, f->status);
  }
  if (op->worked && f->eof) return f->cur.len > 0 ? take(L, op, f->cur.len) : take_nothing(L, op);
  return need(L, op, FILL);
}

/* Copies the next piece of what is to be written: the string may go while a thread writes. */
static int write_piece(lua_State *L, ml_fileop *op) {
  ml_file *f = op->f;
  size_t n;
  const char *p;
  int rc;
  lua_getiuservalue(L, 1, 2);
  p = lua_tolstring(L, -1, &n);
  lua_pop(L, 1);
  n -= op->done;
  if (n > PIECE) n = PIECE;
  rc = reserve(&f->out, n) ? 0 : UV_ENOMEM;
  if (rc == 0) {
    memcpy(f->out.base, p + op->done, n);
    f->n = n;
    f->a = op->kind == ML_FILE_PWRITE ? op->a + (int64_t)op->done : f->pos;
    op->worked = true;
    rc = start(L, f, op->kind);
  }
  if (rc == 0) return ML_PARK;
  finish(op, 0);
  return failed(L, op, rc);
}

/* The operation is over: what was to be written is not kept for the next one. */
static void forget_data(lua_State *L) {
  lua_pushnil(L);
  lua_setiuservalue(L, 1, 2);
}

static int step_write(lua_State *L, ml_fileop *op) {
  ml_file *f = op->f;
  size_t n;
  if (f->busy) return ML_PARK;
  if (op->worked) {
    op->worked = false;
    if (f->status > 0) op->done += (size_t)f->status;
    if (f->status < 0 || f->b < 0) {
      forget_data(L);
      finish(op, 0);
      return failed(L, op, f->status < 0 ? f->status : f->b);
    }
  }
  forget(f);
  lua_getiuservalue(L, 1, 2);
  n = lua_rawlen(L, -1);
  lua_pop(L, 1);
  if (op->done < n) return write_piece(L, op);
  if (f->out.cap > AHEAD) { /* not kept for a next one that may not come */
    free(f->out.base);
    f->out = (ml_filebuf){NULL, 0, 0, 0};
  }
  forget_data(L);
  lua_pushinteger(L, (lua_Integer)n);
  return finish(op, 1);
}

/* What has been put into f->in begins to be written, when what was before is; that must have gone
** well. */
static int step_spill(lua_State *L, ml_fileop *op) {
  ml_file *f = op->f;
  ml_filebuf full = f->in;
  int rc = f->spilled;
  if (f->busy) return ML_PARK;
  if (rc == 0 && full.len > 0) {
    forget(f);
    f->in = f->out;
    f->in.len = 0;
    f->out = full;
    f->n = full.len;
    f->a = f->pos;
    rc = start(L, f, ML_FILE_SPILL);
  }
  if (rc == 0 && !ml__file_intake(f)) rc = UV_ENOMEM;
  finish(op, 0);
  return rc < 0 ? failed(L, op, rc) : 0;
}

/* Where seek would go. < 0: UV_E* */
static int64_t target(const ml_fileop *op, int64_t base) {
  if (op->a > 0 ? base > INT64_MAX - op->a : base + op->a < 0) return UV_EINVAL;
  return base + op->a;
}

static int sought(lua_State *L, ml_fileop *op, int64_t to) {
  ml_file *f = op->f;
  finish(op, 0);
  if (to < 0) return failed(L, op, (ssize_t)to);
  if (to != f->pos) {
    if (to > f->pos && to - f->pos <= (int64_t)f->cur.len)
      drop(&f->cur, (size_t)(to - f->pos));
    else
      forget(f);
    f->pos = to;
  }
  lua_pushinteger(L, (lua_Integer)to);
  return 1;
}

/* a: offset; b: SEEK_SET, SEEK_CUR, SEEK_END */
static int step_seek(lua_State *L, ml_fileop *op) {
  ml_file *f = op->f;
  int rc;
  if (f->busy) return ML_PARK;
  if (!f->seekable) return sought(L, op, UV_ESPIPE);
  if (op->b == SEEK_SET) return sought(L, op, target(op, 0));
  if (op->b == SEEK_CUR) return sought(L, op, target(op, f->pos));
  if (op->worked) return sought(L, op, f->status < 0 ? f->status : target(op, f->status));
  op->worked = true;
  rc = start(L, f, ML_FILE_SEEK);
  return rc < 0 ? sought(L, op, rc) : ML_PARK;
}

static int step_pread(lua_State *L, ml_fileop *op) {
  if (op->f->busy) return ML_PARK;
  return op->worked ? take_block(L, op) : start_block(L, op, op->b, (uint64_t)op->a);
}

static int step_other(lua_State *L, ml_fileop *op) {
  ml_file *f = op->f;
  int rc;
  if (op->kind == ML_FILE_CLOSE && f->waiting && f->kind == ML_FILE_SPILL) ml__file_withdraw(f);
  if (f->busy) return ML_PARK;
  if (op->kind == ML_FILE_CLOSE && f->closed && !op->worked) return finish(op, 0);
  if (!op->worked) {
    op->worked = true;
    f->a = op->kind == ML_FILE_TRUNCATE && op->b ? f->pos : op->a;
    f->b = op->b;
    f->atime = op->atime;
    f->mtime = op->mtime;
    if (op->kind == ML_FILE_TRUNCATE) forget(f);
    rc = start(L, f, op->kind);
    if (rc == 0) return ML_PARK;
    f->status = rc;
  }
  finish(op, 0);
  if (f->status < 0) return failed(L, op, f->status);
  if (op->kind == ML_FILE_STAT)
    ml__fs_pushstat(L, &f->st);
  else if (op->kind == ML_FILE_LOCK)
    lua_pushboolean(L, f->status > 0);
  else
    return 0;
  return 1;
}

/* The operation is the first one. */
static int step(lua_State *L, ml_fileop *op) {
  ml_file *f = op->f;
  if (f->loop != NULL && f->busy && f->loop != ml__engine(L)->running) {
    finish(op, 0);
    ml__error_new(L, "RuntimeError", "%s(): the file is in use by a different loop",
                  verbs[op->kind]);
    return ML_RAISE;
  }
  switch (op->kind) {
  case ML_FILE_READ:
    if (op->a == 0) {
      lua_pushliteral(L, "");
      return finish(op, 1);
    }
    return step_read(L, op);
  case ML_FILE_READ_ALL: return step_read(L, op);
  case ML_FILE_LINE: return step_line(L, op);
  case ML_FILE_WRITE:
  case ML_FILE_PWRITE: return step_write(L, op);
  case ML_FILE_SPILL: return step_spill(L, op);
  case ML_FILE_SEEK: return step_seek(L, op);
  case ML_FILE_PREAD: return step_pread(L, op);
  default: return step_other(L, op);
  }
}

static bool may(const ml_file *f, ml_filekind kind) {
  int access = f->flags & O_ACCMODE;
  if (kind == ML_FILE_READ || kind == ML_FILE_READ_ALL || kind == ML_FILE_LINE ||
      kind == ML_FILE_PREAD)
    return access != O_WRONLY;
  if (kind == ML_FILE_WRITE || kind == ML_FILE_PWRITE || kind == ML_FILE_TRUNCATE ||
      kind == ML_FILE_SPILL)
    return access != O_RDONLY;
  return true;
}

static int op_begin(lua_State *L, ml_op *o) {
  ml_fileop *op = (ml_fileop *)o;
  ml_file *f;
  lua_getiuservalue(L, 1, 1);
  f = op->f = ((ml_fileobject *)lua_touserdata(L, -1))->f;
  lua_pop(L, 1);
  if (f == NULL) return luaL_error(L, "the engine is closing");
  if ((f->closing && op->kind != ML_FILE_CLOSE) || !may(f, op->kind)) {
    op->op.obj.n = 0;
    ml__fs_error(L, UV_EBADF, verbs[op->kind], f->path, NULL);
    return ML_RAISE;
  }
  if (op->kind == ML_FILE_CLOSE) f->closing = true;
  ml__list_append(&f->ops, &op->link);
  return f->ops.next == &op->link ? step(L, op) : ML_PARK;
}

static int op_wake(lua_State *L, ml_op *o) {
  ml_fileop *op = (ml_fileop *)o;
  if (o->obj.state == ML_OP_CANCELLED) {
    forget_data(L);
    leave(op);
    return 0;
  }
  return op->f->ops.next == &op->link ? step(L, op) : ML_PARK;
}

/* A job that has not begun or waits is withdrawn, one that a thread has is told to stop.
** Closing goes on. */
static void op_cancel(ml_op *o) {
  ml_fileop *op = (ml_fileop *)o;
  ml_file *f = op->f;
  if (f->busy && op->worked && f->ops.next == &op->link && op->kind != ML_FILE_CLOSE) {
    atomic_store(&f->cancelled, true);
    if (f->waiting)
      ml__file_withdraw(f);
    else
      uv_cancel((uv_req_t *)&f->work);
  }
  leave(op);
}

const ml_opclass ml__file_classes[] = {
    {"File.read", op_begin, op_wake, op_cancel},
    {"File.read", op_begin, op_wake, op_cancel},
    {"File.readline", op_begin, op_wake, op_cancel},
    {"File.write", op_begin, op_wake, op_cancel},
    {"File.seek", op_begin, op_wake, op_cancel},
    {"File.pread", op_begin, op_wake, op_cancel},
    {"File.pwrite", op_begin, op_wake, op_cancel},
    {"File.truncate", op_begin, op_wake, op_cancel},
    {"File.fsync", op_begin, op_wake, op_cancel},
    {"File.datasync", op_begin, op_wake, op_cancel},
    {"File.stat", op_begin, op_wake, op_cancel},
    {"File.chmod", op_begin, op_wake, op_cancel},
    {"File.utime", op_begin, op_wake, op_cancel},
    {"File.lock", op_begin, op_wake, op_cancel},
    {"File.close", op_begin, op_wake, op_cancel},
    {"File.write", op_begin, op_wake, op_cancel},
};
