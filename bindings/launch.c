/* What a child process gets: its pipes, its terminal, its descriptors; and its start.
**
** The request, a table that asyncio.spawning has checked, is laid out in C arrays
** whose strings the table holds. What is opened meanwhile lies in a userdata,
** so that an error of any kind closes it. Once the program runs nothing can
** fail any more: the streams and the child's object are made before.
*/
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "process.h"
#include "spawn.h"

#ifndef __linux__ /* where unistd.h has it */
extern char **environ;
#endif

/* ---- what a child gets ---- */

typedef struct slot {
  int ours;      /* to be made into a stream, or -1 */
  int theirs;    /* to be closed here when the child has it, or -1 */
  uint32_t kind; /* of the stream: ML_S_* */
} slot;

/* A userdata, so that whatever is raised closes what it has opened. */
typedef struct request {
  ml_spawning s;
  size_t n; /* slots, and one more for the pty */
  ml_childfd *fds;
  slot *slots;
} request;

static void shut(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static int request_gc(lua_State *L) {
  request *q = lua_touserdata(L, 1);
  for (size_t i = 0; i <= q->n; i++) {
    shut(&q->slots[i].ours);
    shut(&q->slots[i].theirs);
  }
  return 0;
}

/* A pipe from or to the child, or a pair of sockets. */
static void open_pipe(lua_State *L, request *q, size_t i, const char *how) {
  slot *s = &q->slots[i];
  int pair[2], rc;
  bool both = how[1] == 'w';
  rc = both ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) : pipe2(pair, O_CLOEXEC);
  if (rc < 0) ml__os_failed(L, uv_translate_sys_error(errno), both ? "socketpair" : "pipe");
  s->ours = pair[how[0] == 'w'];
  s->theirs = pair[how[0] != 'w'];
  s->kind = both ? ML_S_PIPE | ML_S_UNIX : how[0] == 'w' ? ML_S_PIPE | ML_S_EOF : ML_S_PIPE;
  q->fds[i].source = s->theirs;
}

static int file_number(lua_State *L, int idx) {
  luaL_Stream *f = luaL_testudata(L, idx, LUA_FILEHANDLE);
  if (f == NULL) return (int)lua_tointeger(L, idx);
  if (f->closef == NULL) ml__error(L, "ValueError", "the file is closed");
  fflush(f->f);
  return fileno(f->f);
}

/* Slot i is as the table {target, how} on top says; pops it. */
static void read_slot(lua_State *L, request *q, size_t i) {
  ml_childfd *fd = &q->fds[i];
  const char *how = "";
  lua_rawgeti(L, -1, 1);
  lua_rawgeti(L, -2, 2);
  if (lua_type(L, -1) == LUA_TNUMBER) ml__check_fd(L, "spawn", (int)lua_tointeger(L, -1));
  fd->target = (int)lua_tointeger(L, -2);
  fd->source = -1;
  if (lua_type(L, -1) == LUA_TSTRING) how = lua_tostring(L, -1);
  if (*how == 'r' || *how == 'w') {
    open_pipe(L, q, i, how);
  } else if (strcmp(how, "tty") == 0) {
    fd->source = q->slots[q->n].theirs;
  } else if (strcmp(how, "null") == 0) {
    fd->source = q->slots[i].theirs = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd->source < 0) ml__os_failed(L, uv_translate_sys_error(errno), "open '/dev/null'");
  } else if (strcmp(how, "stdout") == 0) {
    fd->source = q->fds[1].source < 0 ? 1 : q->fds[1].source;
  } else if (*how == '\0')
    fd->source = file_number(L, -1);
  lua_pop(L, 3);
}

void ml__tty_resize(lua_State *L, int fd, int idx) {
  struct winsize w = {0};
  lua_rawgeti(L, idx, 1);
  lua_rawgeti(L, idx, 2);
  w.ws_row = (unsigned short)lua_tointeger(L, -2);
  w.ws_col = (unsigned short)lua_tointeger(L, -1);
  lua_pop(L, 2);
  ioctl(fd, TIOCSWINSZ, &w);
}

/* A terminal of its own: ours is the last slot's. The size is in the table on top. */
static void open_pty(lua_State *L, request *q) {
  slot *s = &q->slots[q->n];
  char name[128];
  s->ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (s->ours < 0 || grantpt(s->ours) < 0 || unlockpt(s->ours) < 0 ||
      ptsname_r(s->ours, name, sizeof name) != 0)
    ml__os_failed(L, uv_translate_sys_error(errno), "openpty");
  s->theirs = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (s->theirs < 0) ml__os_failed(L, uv_translate_sys_error(errno), "openpty");
  ml__tty_resize(L, s->ours, lua_gettop(L));
  s->kind = ML_S_PIPE;
  q->s.tty = s->theirs;
}

/* The strings of the array in field `name` of the table at 1, which holds them;
** NULL if it is not there. Pushes what holds the array. */
static char **strings(lua_State *L, const char *name) {
  char **list;
  lua_Integer n;
  if (lua_getfield(L, 1, name) != LUA_TTABLE) return NULL;
  n = (lua_Integer)lua_rawlen(L, -1);
  list = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *list, 0);
  for (lua_Integer i = 0; i < n; i++) {
    if (lua_rawgeti(L, -2, i + 1) != LUA_TSTRING)
      luaL_error(L, "spawn: '%s' must be strings, got %s", name, luaL_typename(L, -1));
    list[i] = (char *)lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  list[n] = NULL;
  return list;
}

/* Descriptors must rise from 0, 1, 2; the table of their slots is on top. */
static void check_fds(lua_State *L) {
  size_t n = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  lua_Integer last = -1, fd;
  for (size_t i = 1; i <= n; i++) {
    if (lua_rawgeti(L, -1, (lua_Integer)i) != LUA_TTABLE) luaL_error(L, "spawn: bad descriptor");
    lua_rawgeti(L, -1, 1);
    fd = lua_tointeger(L, -1);
    if (fd <= last || fd > 65535 || (i <= 3 && fd != (lua_Integer)i - 1))
      luaL_error(L, "spawn: bad descriptor");
    last = fd;
    lua_pop(L, 2);
  }
  if (n < 3) luaL_error(L, "spawn: descriptors are missing");
}

static long number(lua_State *L, const char *name) {
  long n = lua_getfield(L, 1, name) == LUA_TNIL ? -1 : (long)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

static bool flag(lua_State *L, const char *name) {
  bool b;
  lua_getfield(L, 1, name);
  b = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return b;
}

/* In a sandbox: of the paths, those that may be run remain, as they were allowed; and what makes
** the loader take other code into them stays out. */
static void check_program(lua_State *L) {
  const ml_sandbox *s = ml__engine(L)->sandbox;
  const char *program;
  char real[4096];
  lua_Integer n, kept = 0;
  if (ml__may(s, ML_P_RUN)) return;
  lua_getfield(L, 1, "program");
  program = lua_tostring(L, -1);
  if (lua_getfield(L, 1, "paths") != LUA_TTABLE) luaL_error(L, "spawn: the program is missing");
  n = (lua_Integer)lua_rawlen(L, -1);
  lua_createtable(L, 1, 0);
  for (lua_Integer i = 1; i <= n; i++) {
    const char *path = lua_rawgeti(L, -2, i) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (ml__may_run(s, path) && ml__path_name(path, real, sizeof real)) {
      lua_pushstring(L, real);
      lua_rawseti(L, -3, ++kept);
    }
    lua_pop(L, 1);
  }
  for (int i = 0; program != NULL && i < s->n; i++) { /* found by PATH when the rule was made */
    const ml_rule *r = &s->rules[i];
    const char *base = r->perm == ML_P_RUN ? strrchr(r->name, '/') : NULL;
    if (base == NULL || strcmp(base + 1, program) != 0) continue;
    lua_pushstring(L, r->name);
    lua_rawseti(L, -2, ++kept);
  }
  if (kept == 0) ml__deny(L, ML_P_RUN, "spawn", program != NULL ? program : "?", program);
  lua_setfield(L, 1, "paths");
  if (lua_getfield(L, 1, "env") != LUA_TTABLE) return;
  n = (lua_Integer)lua_rawlen(L, -1);
  for (lua_Integer i = 1; i <= n; i++) {
    if (lua_rawgeti(L, -1, i) == LUA_TSTRING && strncmp(lua_tostring(L, -1), "LD_", 3) == 0)
      ml__deny(L, ML_P_RUN, "spawn with", lua_tostring(L, -1), NULL);
    lua_pop(L, 1);
  }
}

/* Supplementary groups; those of root do not stay when the user changes. */
static void read_groups(lua_State *L, ml_spawning *s) {
  gid_t *groups;
  s->ngroups = (s->uid >= 0 || s->gid >= 0) && geteuid() == 0 ? 0 : -1;
  if (lua_getfield(L, 1, "groups") != LUA_TTABLE) return;
  s->ngroups = (long)lua_rawlen(L, -1);
  s->groups = groups = lua_newuserdatauv(L, (size_t)s->ngroups * sizeof *groups + 1, 0);
  for (long i = 0; i < s->ngroups; i++) {
    lua_rawgeti(L, -2, i + 1);
    groups[i] = (gid_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
}

/* Pushes a request made of the table at 1; things that it refers to stay below. */
static request *new_request(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", request_gc}, {NULL, NULL}};
  ml_spawning s = {.tty = -1};
  request *q;
  size_t n, size;
  s.paths = strings(L, "paths");
  s.argv = strings(L, "args");
  s.envp = strings(L, "env");
  if (s.paths == NULL || s.argv == NULL || s.argv[0] == NULL)
    luaL_error(L, "spawn: the program is missing");
  if (s.envp == NULL) s.envp = environ;
  lua_getfield(L, 1, "cwd");
  s.cwd = lua_tostring(L, -1);
  s.session = flag(L, "session");
  s.close_fds = flag(L, "close_fds");
  s.group = number(L, "group");
  s.umask = number(L, "umask");
  s.uid = number(L, "uid");
  s.gid = number(L, "gid");
  read_groups(L, &s);
  lua_getfield(L, 1, "fds");
  check_fds(L);
  n = lua_rawlen(L, -1);
  size = sizeof *q + (n + 1) * (sizeof(slot) + sizeof(ml_childfd));
  q = lua_newuserdatauv(L, size, 0);
  memset(q, 0, size);
  q->s = s;
  q->slots = (slot *)(void *)(q + 1);
  q->fds = (ml_childfd *)(void *)(q->slots + n + 1);
  for (size_t i = 0; i <= n; i++) q->slots[i].ours = q->slots[i].theirs = -1;
  q->n = n;
  if (luaL_newmetatable(L, "moonloop.spawn")) luaL_setfuncs(L, meta, 0);
  lua_setmetatable(L, -2);
  q->s.fds = q->fds;
  q->s.nfds = n;
  return q;
}

/* ---- starting ---- */

/* The Transport of slot i, pushed; the child keeps the stream. */
static void push_stream(lua_State *L, request *q, size_t i, ml_child *c) {
  slot *sl = &q->slots[i];
  int rc;
  ml_stream *s = ml__stream_new(L, c->loop, sl->kind, 0, &rc);
  if (s == NULL) {
    ml__os_failed(L, rc, "pipe");
    return;
  }
  rc = uv_pipe_open(&s->uv->pipe, sl->ours);
  if (rc < 0) {
    ml__stream_discard(s);
    ml__os_failed(L, rc, "pipe");
  }
  sl->ours = -1;
  ml__stream_ref(s);
  c->streams[c->nstreams++] = s;
  ml__transport_push(L, s);
}

static int spawn_failed(lua_State *L, const ml_spawning *s, int rc, int stage) {
  const char *program = s->argv[0];
  const char *what = "spawn", *subject = program;
  lua_getfield(L, 1, "program");
  if (lua_isstring(L, -1)) subject = program = lua_tostring(L, -1);
  switch (stage) {
  case ML_SPAWN_CWD: what = "chdir", subject = s->cwd; break;
  case ML_SPAWN_GROUP: what = "setpgid"; break;
  case ML_SPAWN_TTY: what = "controlling terminal"; break;
  case ML_SPAWN_USER: what = "change of user"; break;
  case ML_SPAWN_FDS: what = "dup2"; break;
  default: break;
  }
  if (stage == ML_SPAWN_EXEC || stage == ML_SPAWN_FORK)
    ml__error_os(L, rc, what, "spawn '%s'", program);
  else if (stage == ML_SPAWN_CWD)
    ml__error_os(L, rc, what, "chdir '%s' (spawn '%s')", subject, program);
  else
    ml__error_os(L, rc, what, "%s (spawn '%s')", what, program);
  lua_pushstring(L, subject);
  lua_setfield(L, -2, "path");
  return lua_error(L);
}

/* Opens what the child gets. Leaves the child and the table of its transports on top. */
static ml_child *prepare(lua_State *L, request *q, ml_evloop *l) {
  ml_child *c;
  if (lua_getfield(L, 1, "pty") == LUA_TTABLE) open_pty(L, q);
  lua_getfield(L, 1, "fds");
  for (size_t i = 0; i < q->n; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    read_slot(L, q, i);
  }
  c = ml__child_new(L, l, q->n + 1);
  lua_newtable(L);
  for (size_t i = 0; i <= q->n; i++) {
    if (q->slots[i].ours < 0) continue;
    push_stream(L, q, i, c);
    if (i == q->n)
      lua_setfield(L, -2, "pty");
    else
      lua_rawseti(L, -2, q->fds[i].target);
  }
  return c;
}

/* spawn(request) -> child, {descriptor = Transport}. The one place where programs are
** started. The table has been checked by asyncio.subprocess. */
int ml__process_spawn(lua_State *L) {
  ml_evloop *l = ml__loop_get(L);
  ml_net *net = ml__net(L);
  ml_reaper *r;
  request *q;
  ml_child *c;
  int rc, stage;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  luaL_checkstack(L, 30, "spawn");
  check_program(L);
  lua_settop(L, 1);
  ml__check_handles(L);
  ml__orphans_reap(net);
  r = ml__reaper_get(net, l, &rc);
  if (r == NULL) return ml__os_failed(L, rc, "spawn");
  q = new_request(L);
  c = prepare(L, q, l);
  if (flag(L, "kill")) c->obj.flags |= C_KILL;
  if (flag(L, "kill_group")) c->obj.flags |= C_GROUP;
  if (flag(L, "flush")) {
    fflush(stdout);
    fflush(stderr);
  }
  c->pin = ml__pin(L, -2);
  rc = ml__list_empty(&r->children) ? ml__signal_start(net, &r->uv, ml__on_sigchld, SIGCHLD) : 0;
  stage = ML_SPAWN_FORK;
  if (rc == 0) rc = ml__spawn(&q->s, &c->pid, &stage);
  for (size_t i = 0; i <= q->n; i++) shut(&q->slots[i].theirs);
  if (rc < 0) {
    if (ml__list_empty(&r->children)) ml__signal_stop(net, &r->uv);
    c->obj.flags |= C_LOST;
    ml__child_close_streams(c);
    ml__unpin(L, c->pin);
    c->pin = 0;
    return spawn_failed(L, &q->s, rc, stage);
  }
  c->reaper = r;
  ml__list_append(&r->children, &c->link);
  return 2;
}
