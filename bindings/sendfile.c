/* Files that go out through sockets: sendfile(2) on libuv's threads, as reading a
** file may block. Files are opened and read there too.
**
** A thread works on duplicates of the descriptors: their owners may close them. It
** stops where the socket takes no more; the operation then waits for that and sends
** the thread again. A cancelled operation leaves its job behind: that keeps its
** place in the socket's queue until the thread is done, so that nobody writes in
** between.
*/
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "socket.h"

#define SOURCE "socket.source"
#define PIECE (64 * 1024)          /* by hand, where sendfile(2) cannot */
#define JOB_MAX ((size_t)16 << 20) /* bytes in one go */
#define READ_MAX ((size_t)1 << 20)

typedef struct fileop fileop;

/* What a thread works on. malloc'd: on a host's loop it may outlive the engine. */
typedef struct job {
  uv_work_t work;
  ml_link link;      /* in net->filejobs */
  ml_engine *engine; /* NULL: closed */
  fileop *op;        /* NULL: cancelled */
  ml_waiter ghost;   /* the place of a cancelled operation */
  atomic_bool stop;
  int in, out;
  int64_t offset;
  size_t n, done;
  int status; /* UV_E*; UV_EAGAIN: the socket takes no more */
  ml_sandbox *sandbox;
  char text[];
} job;

/* User values: 1: socket or source, 2: source. */
struct fileop {
  ml_op op;
  ml_waiter wait;
  ml_socket *s;
  job *job; /* under way */
  bool answered;
  int64_t offset;
  uint64_t count, sent;
  size_t done; /* the job's */
  int status;
};

/* A file to be read: a descriptor of its own. */
typedef struct source {
  int fd;
} source;

/* ---- on a thread ---- */

static int read_at(int fd, char *p, size_t n, int64_t offset, size_t *got) {
  ssize_t r;
  do r = pread(fd, p, n, offset);
  while (r < 0 && errno == EINTR);
  if (r < 0) return uv_translate_sys_error(errno);
  *got = (size_t)r;
  return 0;
}

static int copy_piece(job *j, size_t n, size_t *sent) {
  char buf[PIECE];
  size_t got = 0;
  ssize_t r;
  int rc = read_at(j->in, buf, n < sizeof buf ? n : sizeof buf, j->offset, &got);
  *sent = 0;
  if (rc < 0 || got == 0) return rc;
  do r = send(j->out, buf, got, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (r < 0 && errno == EINTR);
  if (r < 0) return uv_translate_sys_error(errno);
  *sent = (size_t)r;
  j->offset += r;
  return 0;
}

/* The kernel raises SIGPIPE for sendfile: it is held back and taken. */
static ssize_t quiet_sendfile(int out, int in, off_t *offset, size_t n) {
  sigset_t pipe, before;
  struct timespec now = {0, 0};
  ssize_t r;
  int error;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, &before);
  r = sendfile(out, in, offset, n);
  error = errno;
  if (r < 0 && error == EPIPE && !sigismember(&before, SIGPIPE)) sigtimedwait(&pipe, NULL, &now);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = error;
  return r;
}

static void send_work(uv_work_t *work) {
  job *j = ml__containerof(work, job, work);
  bool by_hand = false;
  while (j->done < j->n && j->done < JOB_MAX && !j->stop) {
    size_t sent = 0;
    off_t offset = j->offset;
    if (by_hand) {
      j->status = copy_piece(j, j->n - j->done, &sent);
    } else {
      ssize_t r = quiet_sendfile(j->out, j->in, &offset, j->n - j->done);
      if (r < 0 && errno == EINTR) continue;
      if (r < 0 && (errno == EINVAL || errno == ENOSYS)) {
        by_hand = true;
        continue;
      }
      j->status = r < 0 ? uv_translate_sys_error(errno) : 0;
      if (r > 0) sent = (size_t)r, j->offset = offset;
    }
    if (j->status < 0) return;
    j->done += sent;
    if (sent == 0) {
      j->status = UV_EOF;
      return;
    }
  }
}

static void read_work(uv_work_t *work) {
  job *j = ml__containerof(work, job, work);
  j->status = read_at(j->in, j->text, j->n, j->offset, &j->done);
}

static void open_work(uv_work_t *work) {
  job *j = ml__containerof(work, job, work);
  struct stat st;
  ml_pathpin pin = {.fd = -1};
  if (j->sandbox != NULL) {
    j->status = ml__path_pin(j->sandbox, j->text, ML_PATH_R, &pin);
    if (j->status < 0) return;
  }
  j->in = open(pin.fd >= 0 ? pin.path : j->text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  ml__path_unpin(&pin);
  if (j->in < 0)
    j->status = uv_translate_sys_error(errno);
  else if (fstat(j->in, &st) == 0 && S_ISDIR(st.st_mode))
    j->status = UV_EISDIR;
}

/* ---- jobs ---- */

static void job_free(job *j) {
  if (j->in >= 0) close(j->in);
  if (j->out >= 0) close(j->out);
  if (j->engine != NULL) j->engine->nstats_inflight--;
  ml__list_remove(&j->link);
  ml__sandbox_unref(j->sandbox);
  free(j);
}

void ml__filejobs_orphan(ml_net *net, ml_evloop *l) {
  for (ml_link *k = net->filejobs.next, *next; k != &net->filejobs; k = next) {
    job *j = ml__containerof(k, job, link);
    fileop *op = j->op;
    next = k->next;
    if (l != NULL && j->work.loop != l->uv) continue;
    ml__waiter_leave(&j->ghost);
    if (op != NULL) op->job = NULL;
    if (op != NULL && op->answered) {
      job_free(j);
      continue;
    }
    ml__list_remove(&j->link);
    j->engine = NULL;
    j->op = NULL;
    j->stop = true;
    uv_cancel((uv_req_t *)&j->work);
  }
}

static void on_done(uv_work_t *work, int status) {
  job *j = ml__containerof(work, job, work);
  fileop *op = j->op;
  if (status < 0 && j->status == 0) j->status = status;
  if (j->engine != NULL) ml__waiter_leave(&j->ghost);
  if (op == NULL) {
    job_free(j);
    return;
  }
  op->answered = true; /* the job is the operation's until it has looked at it */
  op->status = j->status;
  op->done = j->done;
  ml__op_wake(&op->op);
}

/* Starts a job on `in` (a duplicate is made; -1: none) and out; 0 or an error. */
static int submit(lua_State *L, fileop *op, uv_work_cb work, int in, int out, size_t n,
                  const char *path) {
  ml_net *net = ml__net(L);
  uv_loop_t *uv = ml__loop_uv(ml__engine(L)->running);
  size_t room = path != NULL ? strlen(path) + 1 : work == read_work ? n : 0;
  job *j = uv == NULL ? NULL : malloc(sizeof *j + room);
  int rc = 0;
  if (j == NULL) return UV_ENOMEM;
  memset(j, 0, sizeof *j);
  if (path != NULL) memcpy(j->text, path, room);
  j->in = j->out = -1;
  j->offset = op->offset;
  j->n = n;
  ml__waiter_init(&j->ghost, NULL, ML_W_WRITE);
  ml__list_append(&net->filejobs, &j->link);
  j->engine = net->engine;
  j->sandbox = ml__sandbox_ref(net->engine->sandbox);
  j->engine->nstats_inflight++;
  if (in >= 0) j->in = fcntl(in, F_DUPFD_CLOEXEC, 3);
  if (out >= 0) j->out = fcntl(out, F_DUPFD_CLOEXEC, 3);
  if ((in >= 0 && j->in < 0) || (out >= 0 && j->out < 0)) rc = uv_translate_sys_error(errno);
  if (rc == 0) rc = uv_queue_work(uv, &j->work, work, on_done);
  if (rc < 0) {
    job_free(j);
    return rc;
  }
  j->op = op;
  op->job = j;
  op->answered = false;
  return 0;
}

/* The operation is given up, or has what it wants. */
static void release(fileop *op) {
  job *j = op->job;
  op->job = NULL;
  if (j == NULL) return;
  j->op = NULL;
  if (op->answered) {
    job_free(j);
    return;
  }
  j->stop = true;
  uv_cancel((uv_req_t *)&j->work);
}

static void file_cancel(ml_op *o) {
  fileop *op = (fileop *)o;
  if (op->job != NULL && !op->answered) ml__waiter_replace(&op->wait, &op->job->ghost);
  release(op);
  ml__waiter_leave(&op->wait);
}

/* ---- sources ---- */

static source *push_source(lua_State *L) {
  source *f = lua_newuserdatauv(L, sizeof *f, 0);
  f->fd = -1;
  luaL_setmetatable(L, SOURCE);
  return f;
}

static source *check_source(lua_State *L, int idx) {
  source *f = luaL_checkudata(L, idx, SOURCE);
  if (f->fd < 0) ml__error(L, "ValueError", "the file is closed");
  return f;
}

static int source_close(lua_State *L) {
  source *f = luaL_checkudata(L, 1, SOURCE);
  if (f->fd >= 0) close(f->fd);
  f->fd = -1;
  return 0;
}

/* source(file): of what ml__checkfileno takes */
static int f_source(lua_State *L) {
  luaL_Stream *file = luaL_testudata(L, 1, LUA_FILEHANDLE);
  struct stat st;
  source *f;
  bool own;
  int fd = ml__checkfileno(L, 1, "sendfile", &own);
  lua_settop(L, 1);
  if (file != NULL) fflush(file->f); /* what was written to it */
  f = push_source(L);
  f->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (f->fd < 0 || fstat(f->fd, &st) < 0) {
    ml__sock_error(L, uv_translate_sys_error(errno), "sendfile: descriptor %d", fd);
    return lua_error(L);
  }
  if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
    ml__sock_error(L, UV_ESPIPE, "sendfile: descriptor %d is no regular file", fd);
    return lua_error(L);
  }
  return 1;
}

static int open_begin(lua_State *L, ml_op *o) {
  int rc;
  lua_getiuservalue(L, 1, 2);
  rc = submit(L, (fileop *)o, open_work, -1, -1, 0, lua_tostring(L, -1));
  if (rc == 0) return ML_PARK;
  return ml__sock_error(L, rc, "open '%s'", lua_tostring(L, -1));
}

static int open_wake(lua_State *L, ml_op *o) {
  fileop *op = (fileop *)o;
  if (o->obj.state == ML_OP_CANCELLED) {
    release(op);
    return 0;
  }
  lua_getiuservalue(L, 1, 2);
  lua_getiuservalue(L, 1, 1);
  if (op->status == 0) {
    ((source *)lua_touserdata(L, -1))->fd = op->job->in;
    op->job->in = -1;
  }
  release(op);
  if (op->status == 0) return 1;
  if (op->status == ML_EDENIED) {
    ml__path_denied(L, ML_PATH_R, "open", lua_tostring(L, 2));
    return ML_RAISE;
  }
  ml__sock_error(L, op->status, "open '%s'", lua_tostring(L, 2));
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "path");
  return ML_RAISE;
}

static const ml_opclass open_class = {"open", open_begin, open_wake, file_cancel};

static fileop *new_op(lua_State *L, const ml_opclass *cls, int first, int second) {
  fileop *op = ml__op_new(L, cls, sizeof *op, 2);
  ml__waiter_init(&op->wait, &op->op, ML_W_WRITE);
  lua_pushvalue(L, first);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, second);
  lua_setiuservalue(L, -2, 2);
  return op;
}

/* open_source(path) -> awaitable of a source */
static int f_open_source(lua_State *L) {
  size_t n;
  const char *path = luaL_checklstring(L, 1, &n);
  if (strlen(path) != n)
    return ml__misuse(L, "ValueError", "sendfile: the path has a zero byte in it");
  lua_settop(L, 1);
  push_source(L);
  new_op(L, &open_class, 2, 1);
  return 1;
}

/* ---- reading ---- */

static int read_begin(lua_State *L, ml_op *o) {
  fileop *op = (fileop *)o;
  const source *f;
  int rc;
  lua_getiuservalue(L, 1, 1);
  f = lua_touserdata(L, -1);
  rc = f->fd < 0 ? UV_EBADF : submit(L, op, read_work, f->fd, -1, (size_t)op->count, NULL);
  return rc == 0 ? ML_PARK : ml__sock_error(L, rc, "read");
}

static int push_read(lua_State *L) {
  const fileop *op = lua_touserdata(L, 1);
  lua_pushlstring(L, op->job->text, op->done);
  return 1;
}

static int read_wake(lua_State *L, ml_op *o) {
  fileop *op = (fileop *)o;
  int rc = LUA_OK;
  if (o->obj.state == ML_OP_CANCELLED) {
    release(op);
    return 0;
  }
  if (op->status == 0 && op->done > 0) {
    lua_pushcfunction(L, push_read);
    lua_pushlightuserdata(L, op);
    rc = lua_pcall(L, 1, 1, 0);
  }
  release(op);
  if (op->status < 0) return ml__sock_error(L, op->status, "read");
  if (op->done == 0) lua_pushnil(L);
  return rc == LUA_OK ? 1 : ML_RAISE;
}

static const ml_opclass read_class = {"read", read_begin, read_wake, file_cancel};

/* read_source(source, n, offset) -> awaitable of a string; nil at the end */
static int f_read_source(lua_State *L) {
  size_t n = ml__checksize(L, 2, "read", "size");
  size_t offset = ml__checksize(L, 3, "read", "offset");
  fileop *op;
  check_source(L, 1);
  op = new_op(L, &read_class, 1, 1);
  op->offset = (int64_t)offset;
  op->count = n < READ_MAX ? n : READ_MAX;
  return 1;
}

/* ---- sending ---- */

static int give_up(lua_State *L, fileop *op, int rc) {
  bool closed = op->s->fd < 0;
  ml__waiter_leave(&op->wait);
  release(op);
  return ml__sock_error(L, closed ? UV_EBADF : rc,
                        closed ? "sendfile: the socket was closed meanwhile" : "sendfile");
}

static int go_on(lua_State *L, fileop *op) {
  const source *f;
  uint64_t left = op->count - op->sent;
  int rc;
  lua_getiuservalue(L, 1, 2);
  f = lua_touserdata(L, -1);
  ml__waiter_busy(&op->wait, true);
  rc = f->fd < 0 ? UV_EBADF
                 : submit(L, op, send_work, f->fd, op->s->fd,
                          left > JOB_MAX ? JOB_MAX : (size_t)left, NULL);
  return rc < 0 ? give_up(L, op, rc) : ML_PARK;
}

static int send_begin(lua_State *L, ml_op *o) {
  fileop *op = (fileop *)o;
  ml_evloop *loop = ml__engine(L)->running;
  bool queued;
  int rc;
  if (op->s->fd < 0) return ml__sock_error(L, UV_EBADF, "sendfile: the socket is closed");
  if (op->count == 0) {
    lua_pushinteger(L, 0);
    return 1;
  }
  queued = ml__fdwatch_queued(op->s->net, loop, op->s->fd, ML_W_WRITE);
  op->wait.busy = !queued;
  rc = ml__waiter_join(op->s->net, loop, op->s->fd, &op->wait, false);
  if (rc < 0) return ml__sock_error(L, rc, "sendfile");
  return queued ? ML_PARK : go_on(L, op);
}

static int send_wake(lua_State *L, ml_op *o) {
  fileop *op = (fileop *)o;
  if (o->obj.state == ML_OP_CANCELLED) {
    if (op->job != NULL && !op->answered) ml__waiter_replace(&op->wait, &op->job->ghost);
    ml__waiter_leave(&op->wait);
    release(op);
    return 0;
  }
  if (op->wait.error != 0 || op->s->fd < 0) return give_up(L, op, op->wait.error);
  if (op->job == NULL) return go_on(L, op); /* its turn, or the socket takes more */
  op->sent += op->done;
  op->offset += (int64_t)op->done;
  release(op);
  if (op->status < 0 && op->status != UV_EAGAIN && op->status != UV_EOF)
    return give_up(L, op, op->status);
  if (op->status == UV_EOF || op->sent == op->count) {
    ml__waiter_leave(&op->wait);
    lua_pushinteger(L, (lua_Integer)op->sent);
    return 1;
  }
  if (op->status != UV_EAGAIN) return go_on(L, op);
  ml__waiter_busy(&op->wait, false);
  return op->wait.error == 0 ? ML_PARK : give_up(L, op, op->wait.error);
}

static const ml_opclass send_class = {"Socket.sendfile", send_begin, send_wake, file_cancel};

/* socket:_sendfile(source, offset, count or nil) -> awaitable of the number of bytes */
static int s_sendfile(lua_State *L) {
  ml_socket *s = ml__checksocket(L, 1);
  fileop *op;
  size_t offset, count;
  check_source(L, 2);
  offset = ml__checksize(L, 3, "sendfile", "offset");
  count = lua_isnoneornil(L, 4) ? SIZE_MAX : ml__checksize(L, 4, "sendfile", "count");
  op = new_op(L, &send_class, 1, 2);
  op->s = s;
  op->offset = (int64_t)offset;
  op->count = count;
  return 1;
}

/* busy(socket): does a thread send through it? */
static int f_busy(lua_State *L) {
  ml_socket *s = ml__checksocket(L, 1);
  lua_pushboolean(L, s->fd >= 0 && ml__fdwatch_busy(s->net, ml__loop_get(L), s->fd, ML_W_WRITE));
  return 1;
}

void ml__open_sources(lua_State *L) {
  static const luaL_Reg functions[] = {{"source", f_source},
                                       {"open_source", f_open_source},
                                       {"busy", f_busy},
                                       {"read_source", f_read_source},
                                       {NULL, NULL}};
  luaL_newmetatable(L, SOURCE);
  lua_pushcfunction(L, source_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, source_close);
  lua_setfield(L, -2, "__close");
  ml__guard_metatable(L);
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}

void ml__open_sendfile(lua_State *L) {
  lua_pushcfunction(L, s_sendfile);
  lua_setfield(L, -2, "_sendfile");
}
