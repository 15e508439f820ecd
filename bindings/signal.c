/* Signals: module signal (numbers, names, sending), and watches, by which a loop calls
** Lua functions when a signal has come.
**
** libuv catches the signal and readies the watch's job; the job calls the
** function. Signals that come before it has run are one. A watch does not keep
** its loop alive, but as long as it is there the loop has something to wait for
** (loop->soft). What was done with a signal before the engine's first watch of it
** is done again when the last one is closed: so Ctrl-C works as before.
**
** A watch is pinned until it is closed. Signals belong to the process: engines in
** several threads that watch the same signal all get it.
*/
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stream.h"

#define NSIGNALS 65 /* numbers are below it */

static const struct {
  const char *name;
  int number;
} names[] = {
    {"SIGABRT", SIGABRT},   {"SIGALRM", SIGALRM},     {"SIGBUS", SIGBUS},   {"SIGCHLD", SIGCHLD},
    {"SIGCONT", SIGCONT},   {"SIGFPE", SIGFPE},       {"SIGHUP", SIGHUP},   {"SIGILL", SIGILL},
    {"SIGINT", SIGINT},     {"SIGIO", SIGIO},         {"SIGKILL", SIGKILL}, {"SIGPIPE", SIGPIPE},
    {"SIGPROF", SIGPROF},   {"SIGQUIT", SIGQUIT},     {"SIGSEGV", SIGSEGV}, {"SIGSTOP", SIGSTOP},
    {"SIGSYS", SIGSYS},     {"SIGTERM", SIGTERM},     {"SIGTRAP", SIGTRAP}, {"SIGTSTP", SIGTSTP},
    {"SIGTTIN", SIGTTIN},   {"SIGTTOU", SIGTTOU},     {"SIGURG", SIGURG},   {"SIGUSR1", SIGUSR1},
    {"SIGUSR2", SIGUSR2},   {"SIGVTALRM", SIGVTALRM}, {"SIGXCPU", SIGXCPU}, {"SIGXFSZ", SIGXFSZ},
#ifdef SIGWINCH
    {"SIGWINCH", SIGWINCH},
#endif
#ifdef SIGPWR
    {"SIGPWR", SIGPWR},
#endif
};
#define NNAMES (sizeof names / sizeof names[0])

/* ---- what was done before ---- */

struct ml_sigtable {
  uint32_t count[NSIGNALS]; /* the engine's watches of each */
  struct sigaction before[NSIGNALS];
  void (*ours[NSIGNALS])(int); /* libuv's handler */
};

int ml__signal_start(ml_net *net, uv_signal_t *h, uv_signal_cb cb, int signum) {
  struct ml_sigtable *t = net->sigtable;
  struct sigaction now;
  int rc;
  if (t == NULL) {
    t = net->sigtable = ml__alloc(net->engine->alloc, NULL, 0, sizeof *t);
    if (t == NULL) return UV_ENOMEM;
    memset(t, 0, sizeof *t);
  }
  if (t->count[signum] == 0) sigaction(signum, NULL, &t->before[signum]);
  rc = uv_signal_start(h, cb, signum);
  if (rc < 0) return rc;
  if (t->count[signum]++ == 0 && sigaction(signum, NULL, &now) == 0)
    t->ours[signum] = now.sa_handler;
  return 0;
}

void ml__signal_stop(ml_net *net, uv_signal_t *h) {
  struct ml_sigtable *t = net->sigtable;
  struct sigaction now, *before;
  int signum = h->signum;
  if (signum == 0) return; /* not started */
  uv_signal_stop(h);
  before = &t->before[signum];
  if (--t->count[signum] > 0 || before->sa_handler == t->ours[signum]) return;
  /* libuv has set the default: unless somebody else still watches */
  if (sigaction(signum, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
    sigaction(signum, before, NULL);
}

void ml__signals_free(ml_net *net) {
  if (net->sigtable != NULL) ml__alloc(net->engine->alloc, net->sigtable, sizeof *net->sigtable, 0);
  net->sigtable = NULL;
}

/* ---- numbers and names ---- */

static const char *name_of(int signum) {
  for (size_t i = 0; i < NNAMES; i++)
    if (names[i].number == signum) return names[i].name;
  return NULL;
}

/* "SIGTERM", or "signal 40" */
static void describe(int signum, char *buf, size_t n) {
  const char *name = name_of(signum);
  if (name != NULL)
    snprintf(buf, n, "%s", name);
  else
    snprintf(buf, n, "signal %d", signum);
}

int ml__checksignal(lua_State *L, int idx, bool zero) {
  lua_Integer n;
  int ok;
  if (lua_type(L, idx) == LUA_TSTRING) {
    const char *s = lua_tostring(L, idx);
    for (size_t i = 0; i < NNAMES; i++)
      if (strcmp(names[i].name, s) == 0 || strcmp(names[i].name + 3, s) == 0)
        return names[i].number;
    return ml__misuse(L, "ValueError", "unknown signal '%s'", s);
  }
  n = lua_tointegerx(L, idx, &ok);
  if (!ok)
    return ml__misuse(L, "TypeError", "a signal's number or name was expected, got %s",
                      lua_type(L, idx) == LUA_TNUMBER ? lua_tostring(L, idx)
                                                      : luaL_typename(L, idx));
  if (n < (zero ? 0 : 1) || n >= NSIGNALS)
    return ml__misuse(L, "ValueError", "invalid signal number %I", (LUAI_UACINT)n);
  return (int)n;
}

void ml__error_os(lua_State *L, int uverr, const char *syscall, const char *fmt, ...) {
  char code[64], text[128];
  va_list ap;
  va_start(ap, fmt);
  lua_pushvfstring(L, fmt, ap);
  va_end(ap);
  uv_err_name_r(uverr, code, sizeof code);
  uv_strerror_r(uverr, text, sizeof text);
  if (-uverr == ENOEXEC) { /* unknown to older libuvs */
    snprintf(code, sizeof code, "ENOEXEC");
    snprintf(text, sizeof text, "exec format error");
  }
  ml__error_new(L, "OSError", "%s: %s: %s", code, text, lua_tostring(L, -1));
  lua_remove(L, -2);
  lua_pushstring(L, code);
  lua_setfield(L, -2, "code");
  lua_pushinteger(L, -uverr);
  lua_setfield(L, -2, "errno");
  lua_pushstring(L, syscall);
  lua_setfield(L, -2, "syscall");
}

/* The one place from which signals are sent. */
int ml__kill(lua_State *L, pid_t pid, int signum) {
  char what[32];
  (void)L;
  if (kill(pid, signum) == 0) return 0;
  int err = uv_translate_sys_error(errno);
  describe(signum, what, sizeof what);
  ml__error_os(L, err, "kill", "kill %d with %s", (int)pid, what);
  return lua_error(L);
}

static lua_Integer check_pid(lua_State *L, const char *fname) {
  int ok;
  lua_Integer pid = lua_tointegerx(L, 1, &ok);
  if (!ok)
    ml__misuse(L, "TypeError", "%s: a process id (an integer) was expected, got %s", fname,
               luaL_typename(L, 1));
  if (pid < INT32_MIN || pid > INT32_MAX)
    ml__misuse(L, "ValueError", "%s: %I is no process id", fname, (LUAI_UACINT)pid);
  return pid;
}

/* In a sandbox: this process at most. Children have a method of their own. */
static void check_target(lua_State *L, pid_t pid) {
  char text[24];
  snprintf(text, sizeof text, "%d", (int)pid);
  if (pid == getpid())
    ml__check_may(L, ML_P_SIGNAL, "kill", text);
  else
    ml__check_may(L, ML_P_FULL, "kill", pid > 0 ? text : NULL);
}

/* kill(pid, signal): raises OSError. Signal 0 sends nothing and tells whether it could. */
static int f_kill(lua_State *L) {
  pid_t pid = (pid_t)check_pid(L, "kill");
  check_target(L, pid);
  return ml__kill(L, pid, ml__checksignal(L, 2, true));
}

/* killpg(group, signal) */
static int f_killpg(lua_State *L) {
  lua_Integer group = check_pid(L, "killpg");
  check_target(L, -1);
  if (group <= 1)
    return ml__misuse(L, "ValueError", "killpg: %I is no process group", (LUAI_UACINT)group);
  return ml__kill(L, -(pid_t)group, ml__checksignal(L, 2, true));
}

/* raise_signal(signal): to this process */
static int f_raise_signal(lua_State *L) {
  check_target(L, getpid());
  return ml__kill(L, getpid(), ml__checksignal(L, 1, false));
}

/* strsignal(signal) -> what the system calls it, as "Terminated" */
static int f_strsignal(lua_State *L) {
  lua_pushstring(L, strsignal(ml__checksignal(L, 1, false)));
  return 1;
}

/* signame(signal) -> "SIGTERM", or nil */
static int f_signame(lua_State *L) {
  lua_pushstring(L, name_of(ml__checksignal(L, 1, false)));
  return 1;
}

/* signum(signal) -> its number */
static int f_signum(lua_State *L) {
  lua_pushinteger(L, ml__checksignal(L, 1, false));
  return 1;
}

/* getpid() -> of this process */
static int f_getpid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

int ml__open_signal(lua_State *L) {
  static const luaL_Reg functions[] = {{"kill", f_kill},           {"killpg", f_killpg},
                                       {"getpid", f_getpid},       {"raise_signal", f_raise_signal},
                                       {"strsignal", f_strsignal}, {"signame", f_signame},
                                       {"signum", f_signum},       {NULL, NULL}};
  luaL_newlib(L, functions);
  for (size_t i = 0; i < NNAMES; i++) {
    lua_pushinteger(L, names[i].number);
    lua_setfield(L, -2, names[i].name);
  }
  return 1;
}

/* ---- watches ---- */

typedef struct sigwatch sigwatch;

/* What libuv holds; lives until it has let go. */
typedef struct sighandle {
  ml_handlehead head; /* first */
  ml_net *net;
  ml_evloop *loop;
  sigwatch *owner; /* NULL: closed */
  ml_link all;     /* in net->signals */
  ml_job job;
  uv_signal_t uv;
} sighandle;

/* User value 1: the Handle that is run. */
struct sigwatch {
  ml_object obj;
  sighandle *h; /* NULL: closed */
  ml_job *call; /* of the Handle */
  int pin;
};

static void on_handle_closed(uv_handle_t *uv) {
  sighandle *h = uv->data;
  ml__list_remove(&h->all);
  ml__alloc(h->net->engine->alloc, h, sizeof *h, 0);
}

static void handle_close(sighandle *h) {
  sigwatch *w = h->owner;
  if (w != NULL) {
    int pin = w->pin;
    h->owner = NULL;
    w->h = NULL;
    w->pin = 0;
    h->loop->soft--;
    ml__list_remove(&h->job.link);
    ml__signal_stop(h->net, &h->uv);
    ml__unpin(h->net->engine->L, pin);
  }
  if (!uv_is_closing((uv_handle_t *)&h->uv)) uv_close((uv_handle_t *)&h->uv, on_handle_closed);
}

static void close_with_loop(uv_handle_t *uv) { handle_close(uv->data); }

void ml__signals_close(ml_net *net, ml_evloop *l) {
  for (ml_link *k = net->signals.next, *next; k != &net->signals; k = next) {
    sighandle *h = ml__containerof(k, sighandle, all);
    next = k->next;
    if (h->loop == l) handle_close(h);
  }
}

static void on_signal(uv_signal_t *uv, int signum) {
  sighandle *h = uv->data;
  (void)signum;
  if (h->owner != NULL && ml__list_empty(&h->job.link)) ml__ready(h->loop, &h->job);
}

/* (watch): the Handle is to be run once more. */
static int arm(lua_State *L) {
  sigwatch *w = lua_touserdata(L, 1);
  ml__pushpinned(L, w->pin);
  lua_getiuservalue(L, -1, 1);
  ml__handle_pin(L, -1);
  return 0;
}

static void run_watch(ml_evloop *l, ml_job *job) {
  sighandle *h = ml__containerof(job, sighandle, job);
  lua_State *L = l->L;
  ml_job *call = h->owner->call;
  if (!lua_checkstack(L, 6)) return;
  lua_pushcfunction(L, arm);
  lua_pushlightuserdata(L, h->owner);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK)
    call->run(l, call);
  else
    lua_pop(L, 1); /* no memory */
}

/* watch(loop, signal, fn, ...) -> SignalWatch */
static int f_watch(lua_State *L) {
  ml_evloop *l = ml__checkopenloop(L, 1);
  int signum = ml__checksignal(L, 2, false);
  ml_net *net = ml__net(L);
  uv_loop_t *uv = ml__loop_uv(l);
  sigwatch *w;
  sighandle *h;
  int rc;
  ml_job *call;
  luaL_checkany(L, 3);
  ml__check_may(L, ML_P_SIGNAL, "watch signals", NULL);
  ml__check_handles(L);
  call = ml__handle_new(L, 3, lua_gettop(L) - 3, l);
  w = ml__newobject(L, ML_T_SIGNALWATCH, sizeof *w, 1);
  w->call = call;
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, 1);
  w->pin = ml__pin(L, -1);
  h = uv == NULL ? NULL : ml__alloc(net->engine->alloc, NULL, 0, sizeof *h);
  if (h == NULL) {
    ml__unpin(L, w->pin);
    return luaL_error(L, "not enough memory");
  }
  memset(h, 0, sizeof *h);
  h->head.close = close_with_loop;
  h->net = net;
  h->loop = l;
  h->job.run = run_watch;
  ml__list_init(&h->job.link);
  rc = uv_signal_init(uv, &h->uv);
  if (rc < 0) {
    ml__alloc(net->engine->alloc, h, sizeof *h, 0);
    ml__unpin(L, w->pin);
    ml__error_os(L, rc, "signal", "watch signal %d", signum);
    return lua_error(L);
  }
  ml__list_append(&net->signals, &h->all);
  h->uv.data = h;
  h->owner = w;
  w->h = h;
  l->soft++;
  uv_unref((uv_handle_t *)&h->uv);
  rc = ml__signal_start(net, &h->uv, on_signal, signum);
  if (rc < 0) {
    handle_close(h);
    ml__error_os(L, rc, "signal", "watch signal %d", signum);
    return lua_error(L);
  }
  return 1;
}

static int watch_close(lua_State *L) {
  sigwatch *w = ml__checkobject(L, 1, ML_T_SIGNALWATCH);
  bool open = w->h != NULL;
  if (open) handle_close(w->h);
  lua_pushboolean(L, open);
  return 1;
}

/* Module asyncio.sigwatch: what asyncio.signals is made of. Not for scripts. */
int ml__open_sigwatch(lua_State *L) {
  static const luaL_Reg methods[] = {{"close", watch_close}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"watch", f_watch}, {NULL, NULL}};
  ml__newtype(L, ML_T_SIGNALWATCH, "SignalWatch", methods, NULL);
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
