/* Child processes: starting them with their pipes, and learning of their end.
**
** libuv catches SIGCHLD, once for each loop that has children: its reaper. It
** collects those that have ended, and only ours, and readies a job for each,
** which tells who waits. So the end of a process and the end of its output are
** two things, in whatever order they come.
**
** A child's userdata is pinned while the process runs. A loop that is closed
** kills the children that are to be killed and forgets the others; what could
** not be collected yet is an orphan, looked after when the next process
** starts or ends. No zombie stays as long as the engine lives.
*/
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "process.h"

#ifndef __linux__ /* where unistd.h has it */
extern char **environ;
#endif

#define REAP_TRIES 100 /* of a millisecond, for what was killed with its loop */

struct ml_orphan {
  struct ml_orphan *next;
  pid_t pid;
};

static ml_child *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_PROCESS); }

int ml__os_failed(lua_State *L, int err, const char *what) {
  ml__error_os(L, err, what, "%s", what);
  return lua_error(L);
}

/* ---- the end of children ---- */

void ml__orphans_reap(ml_net *net) {
  for (struct ml_orphan **p = &net->orphans; *p != NULL;) {
    struct ml_orphan *o = *p;
    if (waitpid(o->pid, NULL, WNOHANG) == 0) {
      p = &o->next;
      continue;
    }
    *p = o->next;
    ml__alloc(net->engine->alloc, o, sizeof *o, 0);
  }
}

void ml__orphans_free(ml_net *net) {
  ml__orphans_reap(net);
  while (net->orphans != NULL) {
    struct ml_orphan *o = net->orphans;
    net->orphans = o->next;
    ml__alloc(net->engine->alloc, o, sizeof *o, 0);
  }
}

/* Has it ended? Then it is collected. */
static bool collect(ml_child *c) {
  pid_t pid;
  do pid = waitpid(c->pid, &c->status, WNOHANG);
  while (pid < 0 && errno == EINTR);
  if (pid == 0) return false;
  if (pid < 0) { /* somebody else has collected it */
    ml__log(c->net->engine, "Unknown child process pid %d, will report returncode 255",
            (int)c->pid);
    c->status = 255 << 8;
  }
  c->obj.flags |= C_EXITED;
  ml__list_remove(&c->link);
  return true;
}

static void reap(ml_child *c) {
  if (!collect(c)) return;
  ml__list_append(&c->reaper->ended, &c->link);
  ml__ready(c->loop, &c->ended);
}

static ml_child *find(ml_reaper *r, pid_t pid) {
  for (ml_link *n = r->children.next; n != &r->children; n = n->next) {
    ml_child *c = ml__containerof(n, ml_child, link);
    if (c->pid == pid) return c;
  }
  return NULL;
}

/* The system tells who has ended. When that is somebody else's child, which stays first
** until it is collected, each of ours is asked. */
void ml__on_sigchld(uv_signal_t *h, int signum) {
  ml_reaper *r = h->data;
  siginfo_t info;
  ml_child *c;
  (void)signum;
  for (;;) {
    memset(&info, 0, sizeof info);
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0) break;
    c = find(r, info.si_pid);
    if (c != NULL) {
      reap(c);
      continue;
    }
    for (ml_link *n = r->children.next, *next; n != &r->children; n = next) {
      next = n->next;
      reap(ml__containerof(n, ml_child, link));
    }
    ml__orphans_reap(r->net);
    break;
  }
  if (ml__list_empty(&r->children)) ml__signal_stop(r->net, &r->uv);
}

/* Nobody reads any more what is written to the process: as CPython's transports
** notice for themselves. */
static void end_unread(ml_stream *s) {
  struct pollfd p = {.events = POLLOUT};
  if ((s->flags & (ML_S_CLOSING | ML_S_EOF)) != ML_S_EOF) return; /* not one to write to */
  if (ml__stream_fd(s, &p.fd) == 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLERR))
    ml__stream_fail(s, s->first != NULL ? UV_EPIPE : 0);
}

static void run_ended(ml_evloop *l, ml_job *job) {
  ml_child *c = ml__containerof(job, ml_child, ended);
  int pin = c->pin;
  ml__list_remove(&c->link);
  c->reaper = NULL;
  for (unsigned i = 0; i < c->nstreams; i++) end_unread(c->streams[i]);
  ml__wake_all(&c->waiters, NULL);
  if (c->call != NULL) ml__ready(l, c->call);
  c->call = NULL;
  c->pin = 0;
  ml__unpin(l->L, pin);
}

/* ---- reapers ---- */

static void on_reaper_closed(uv_handle_t *h) {
  ml_reaper *r = h->data;
  ml__list_remove(&r->all);
  ml__alloc(r->net->engine->alloc, r, sizeof *r, 0);
}

static void kill_child(ml_child *c) {
  if ((c->obj.flags & C_GROUP) && kill(-c->pid, SIGKILL) == 0) return;
  kill(c->pid, SIGKILL);
}

/* The loop goes: nobody will be told. */
static void abandon(ml_child *c) {
  ml_net *net = c->net;
  lua_State *L = net->engine->L;
  int pin = c->pin;
  if (!(c->obj.flags & C_EXITED) && (c->obj.flags & C_KILL)) {
    if (!(c->obj.flags & C_KILLED))
      ml__log(net->engine,
              "ResourceWarning: subprocess %d still runs when its loop is closed: killed",
              (int)c->pid);
    kill_child(c);
    for (int i = 0; i < REAP_TRIES && !collect(c); i++) uv_sleep(1);
  }
  if (!(c->obj.flags & C_EXITED)) {
    struct ml_orphan *o = ml__alloc(net->engine->alloc, NULL, 0, sizeof *o);
    c->obj.flags |= C_LOST;
    if (o != NULL) {
      o->pid = c->pid;
      o->next = net->orphans;
      net->orphans = o;
    }
  }
  ml__list_remove(&c->link);
  ml__list_remove(&c->ended.link);
  c->reaper = NULL;
  if (c->call != NULL) ml__handle_drop(L, c->call);
  c->call = NULL;
  c->pin = 0;
  ml__unpin(L, pin);
}

static void close_with_loop(uv_handle_t *h) {
  ml_reaper *r = h->data;
  if (uv_is_closing(h)) return;
  while (!ml__list_empty(&r->children)) abandon(ml__containerof(r->children.next, ml_child, link));
  while (!ml__list_empty(&r->ended)) abandon(ml__containerof(r->ended.next, ml_child, link));
  ml__signal_stop(r->net, &r->uv);
  uv_close(h, on_reaper_closed);
}

void ml__processes_close(ml_net *net, ml_evloop *l) {
  for (ml_link *k = net->reapers.next, *next; k != &net->reapers; k = next) {
    ml_reaper *r = ml__containerof(k, ml_reaper, all);
    next = k->next;
    if (r->loop == l) close_with_loop((uv_handle_t *)&r->uv);
  }
}

size_t ml__children_alive(const ml_net *net) {
  size_t n = 0;
  for (const ml_link *k = net->reapers.next; k != &net->reapers; k = k->next) {
    const ml_reaper *r = ml__containerof(k, const ml_reaper, all);
    for (const ml_link *c = r->children.next; c != &r->children; c = c->next) n++;
  }
  return n;
}

ml_reaper *ml__reaper_get(ml_net *net, ml_evloop *l, int *err) {
  uv_loop_t *uv = ml__loop_uv(l);
  ml_reaper *r;
  for (ml_link *k = net->reapers.next; k != &net->reapers; k = k->next) {
    r = ml__containerof(k, ml_reaper, all);
    if (r->loop == l && !uv_is_closing((uv_handle_t *)&r->uv)) return r;
  }
  *err = UV_ENOMEM;
  r = uv == NULL ? NULL : ml__alloc(net->engine->alloc, NULL, 0, sizeof *r);
  if (r == NULL) return NULL;
  memset(r, 0, sizeof *r);
  *err = uv_signal_init(uv, &r->uv);
  if (*err < 0) {
    ml__alloc(net->engine->alloc, r, sizeof *r, 0);
    return NULL;
  }
  r->head.close = close_with_loop;
  r->uv.data = r;
  r->net = net;
  r->loop = l;
  ml__list_init(&r->children);
  ml__list_init(&r->ended);
  ml__list_append(&net->reapers, &r->all);
  return r;
}

ml_child *ml__child_new(lua_State *L, ml_evloop *l, size_t nstreams) {
  ml_child *c = ml__newobject(L, ML_T_PROCESS, sizeof *c + nstreams * sizeof(ml_stream *), 2);
  c->net = ml__net(L);
  c->loop = l;
  c->ended.run = run_ended;
  ml__list_init(&c->link);
  ml__list_init(&c->waiters);
  ml__list_init(&c->ended.link);
  return c;
}

void ml__child_close_streams(ml_child *c) {
  for (unsigned i = 0; i < c->nstreams; i++) ml__stream_close(c->streams[i]);
}

/* ---- waiting ---- */

static int push_code(lua_State *L, const ml_child *c) {
  lua_pushinteger(L, WIFSIGNALED(c->status) ? -WTERMSIG(c->status) : WEXITSTATUS(c->status));
  return 1;
}

static int wait_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_child *c = w->on;
  if (c->obj.flags & C_EXITED) return push_code(L, c);
  if (c->obj.flags & C_LOST) {
    ml__error_new(L, "RuntimeError", "wait(): the loop of the process is closed");
    return ML_RAISE;
  }
  if (c->loop != ml__engine(L)->running) {
    ml__error_new(L, "RuntimeError", "wait(): the process belongs to a different loop");
    return ML_RAISE;
  }
  ml__list_append(&c->waiters, &w->link);
  return ML_PARK;
}

static int wait_wake(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml__list_remove(&w->link);
  if (op->obj.state == ML_OP_CANCELLED) return 0;
  return push_code(L, w->on);
}

static const ml_opclass wait_class = {"Process.wait", wait_begin, wait_wake, ml__waitop_cancel};

static int c_wait(lua_State *L) {
  ml_child *c = check(L);
  lua_pushvalue(L, 1);
  ml__waitop_push(L, &wait_class, c);
  return 1;
}

/* ---- the rest of a child ---- */

static int c_pid(lua_State *L) {
  lua_pushinteger(L, check(L)->pid);
  return 1;
}

static int c_returncode(lua_State *L) {
  ml_child *c = check(L);
  return (c->obj.flags & C_EXITED) ? push_code(L, c) : 0;
}

/* kill(signal [, group]) */
static int c_kill(lua_State *L) {
  ml_child *c = check(L);
  int signum = ml__checksignal(L, 2, true);
  if (c->obj.flags & (C_EXITED | C_LOST)) {
    ml__error_os(L, UV_ESRCH, "kill", "kill %d: the process has ended", (int)c->pid);
    return lua_error(L);
  }
  return ml__kill(L, lua_toboolean(L, 3) ? -c->pid : c->pid, signum);
}

/* close(): ends the pipes and, unless it is to live on, the process. */
static int c_close(lua_State *L) {
  ml_child *c = check(L);
  if (!(c->obj.flags & (C_EXITED | C_LOST)) && (c->obj.flags & C_KILL)) {
    kill_child(c);
    c->obj.flags |= C_KILLED;
  }
  if (c->obj.flags & (C_EXITED | C_LOST | C_KILL)) /* nobody reads what is left */
    for (unsigned i = 0; i < c->nstreams; i++)
      if (c->streams[i]->first != NULL) ml__stream_fail(c->streams[i], 0);
  ml__child_close_streams(c);
  return 0;
}

/* keep(value): it lives as long as the process runs */
static int c_keep(lua_State *L) {
  check(L);
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 1);
  return 0;
}

/* on_exit(fn, ...): the loop calls it when the process has ended */
static int c_on_exit(lua_State *L) {
  ml_child *c = check(L);
  ml_job *job;
  luaL_checkany(L, 2);
  if (c->loop->closed) return ml__error(L, "RuntimeError", "Event loop is closed");
  if (c->call != NULL) return ml__error(L, "RuntimeError", "on_exit was called before");
  job = ml__handle_new(L, 2, lua_gettop(L) - 2, c->loop);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, 2);
  ml__handle_pin(L, -1);
  if (c->reaper != NULL)
    c->call = job;
  else
    ml__ready(c->loop, job);
  return 0;
}

static int c_gc(lua_State *L) {
  ml_child *c = lua_touserdata(L, 1);
  for (unsigned i = 0; i < c->nstreams; i++) {
    ml__stream_close(c->streams[i]);
    ml__stream_unref(c->streams[i]);
  }
  c->nstreams = 0;
  return 0;
}

/* ---- readers of output ---- */

static void out_data(ml_stream *s, const char *p, size_t n) {
  if (s->target == NULL)
    ml__stream_close(s); /* collected: nobody will read it */
  else
    ml__reader_sink.data(s, p, n);
}

/* The other end of a pipe is closed: there is nothing to do with ours. */
static void out_eof(ml_stream *s) {
  ml__reader_sink.eof(s);
  ml__stream_close(s);
}

static void out_pause(lua_State *L, ml_stream *s) { ml__reader_sink.pause(L, s); }
static void out_resume(ml_stream *s) { ml__reader_sink.resume(s); }
static void out_lost(lua_State *L, ml_stream *s) { ml__reader_sink.lost(L, s); }
static void out_forget(ml_stream *s) { ml__reader_sink.forget(s); }

static void out_yield(ml_stream *s, ml_bytes *to) { ml__reader_sink.yield(s, to); }

/* A terminal says EIO when the last program has left it. */
static void tty_lost(lua_State *L, ml_stream *s) {
  if (s->error == UV_EIO) s->error = 0;
  ml__reader_sink.lost(L, s);
}

static const ml_sink output_sink = {out_data, out_eof,    out_pause, out_resume,
                                    out_lost, out_forget, out_yield, NULL};
static const ml_sink tty_sink = {out_data, out_eof,    out_pause, out_resume,
                                 tty_lost, out_forget, out_yield, NULL};

/* reader(transport, limit, is_tty) -> StreamReader */
static int f_reader(lua_State *L) {
  ml_stream *s = ((ml_endpoint *)ml__checkobject(L, 1, ML_T_TRANSPORT))->s;
  ml_reader *r;
  if (s->sink != NULL) return ml__error(L, "RuntimeError", "Transport already set");
  r = ml__reader_push(L, s->net, s, (size_t)luaL_checkinteger(L, 2));
  ml__stream_start(s, lua_toboolean(L, 3) ? &tty_sink : &output_sink, r);
  return 1;
}

static int tty_number(lua_State *L, const char *fname) {
  ml_stream *s = ml__checkstream(L, 1);
  uv_os_fd_t fd = -1;
  int rc = (s->flags & ML_S_LOST) ? UV_EBADF : ml__stream_fd(s, &fd);
  if (rc < 0) ml__os_failed(L, rc, fname);
  return fd;
}

/* resize(transport, {rows, cols}) */
static int f_resize(lua_State *L) {
  luaL_checktype(L, 2, LUA_TTABLE);
  ml__tty_resize(L, tty_number(L, "resize"), 2);
  return 0;
}

/* size(transport) -> rows, columns */
static int f_size(lua_State *L) {
  struct winsize w = {0};
  ioctl(tty_number(L, "size"), TIOCGWINSZ, &w);
  lua_pushinteger(L, w.ws_row);
  lua_pushinteger(L, w.ws_col);
  return 2;
}

/* ---- what asyncio.subprocess needs to know of the system ---- */

/* environ() -> array of "NAME=value": of those that may be read */
static int f_environ(lua_State *L) {
  const ml_sandbox *s = ml__engine(L)->sandbox;
  int n = 0;
  lua_newtable(L);
  for (int i = 0; environ != NULL && environ[i] != NULL; i++) {
    if (s != NULL) {
      const char *name = lua_pushlstring(L, environ[i], strcspn(environ[i], "="));
      bool may = ml__may_name(s, ML_P_ENV, name);
      lua_pop(L, 1);
      if (!may) continue;
    }
    lua_pushstring(L, environ[i]);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* id("user" or "group", name) -> number, or nil */
static int f_id(lua_State *L) {
  bool user = strcmp(luaL_checkstring(L, 1), "user") == 0;
  const char *name = luaL_checkstring(L, 2);
  char buf[4096];
  struct passwd pw, *upw = NULL;
  struct group gr, *ugr = NULL;
  if (user && getpwnam_r(name, &pw, buf, sizeof buf, &upw) == 0 && upw != NULL)
    lua_pushinteger(L, upw->pw_uid);
  else if (!user && getgrnam_r(name, &gr, buf, sizeof buf, &ugr) == 0 && ugr != NULL)
    lua_pushinteger(L, ugr->gr_gid);
  else
    lua_pushnil(L);
  return 1;
}

/* Module asyncio.process: what asyncio.subprocess is made of. Not for scripts. */
int ml__open_process(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"wait", c_wait},   {"pid", c_pid},   {"returncode", c_returncode}, {"kill", c_kill},
      {"close", c_close}, {"keep", c_keep}, {"on_exit", c_on_exit},       {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", c_gc}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"spawn", ml__process_spawn},
                                       {"reader", f_reader},
                                       {"resize", f_resize},
                                       {"size", f_size},
                                       {"id", f_id},
                                       {"environ", f_environ},
                                       {NULL, NULL}};
  ml__net(L);
  ml__newtype(L, ML_T_PROCESS, "Child", methods, meta);
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
