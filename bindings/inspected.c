/* What an engine tells an inspector of itself: counts, timers, handles, descriptors; and where
** a script computes that does not let the loop turn.
**
** The last is noted by a hook that a handler of signals sets, between two instructions of Lua.
** What runs in C for long (a sleep, a program that is waited for) is not seen.
*/
#include <arpa/inet.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "inspector.h"

/* ---- where it computes ---- */

#define LEVELS 16 /* of the stack that are told */

/* Appends a line for each function on the stack, the innermost first. */
static void describe(lua_State *L, char *out, size_t n) {
  lua_Debug ar;
  size_t len = 0;
  out[0] = '\0';
  for (int i = 0; i < LEVELS && len < n && lua_getstack(L, i, &ar); i++) {
    lua_getinfo(L, "nSl", &ar);
    if (ar.currentline <= 0) continue;
    len += (size_t)snprintf(out + len, n - len, "%s:%d: in %s\n", ar.short_src, ar.currentline,
                            ar.name != NULL                ? ar.name
                            : strcmp(ar.what, "main") == 0 ? "main chunk"
                                                           : "?");
  }
}

static void place_hook(lua_State *L, lua_Debug *ar) {
  ml_engine *e = ml__engine(L);
  ml_inspector *in = e->inspector;
  (void)ar;
  if (in == NULL || in->hooked != L) {
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  in->hooked = NULL;
  lua_sethook(L, in->hook, in->hook_mask, in->hook_count);
  pthread_mutex_lock(&in->lock);
  describe(L, in->place, sizeof in->place);
  in->place_task = e->task;
  in->place_serial = e->meter.serial;
  in->place_known = true;
  pthread_mutex_unlock(&in->lock);
}

/* The meter needs the hook for itself while it is armed. */
void ml__inspect_show(ml_engine *e) {
  ml_inspector *in = e->inspector;
  lua_State *L = atomic_load_explicit(&e->meter.hot, memory_order_relaxed);
  if (in == NULL || L == NULL || e->meter.armed || lua_gethook(L) == place_hook) return;
  in->hook = lua_gethook(L);
  in->hook_mask = lua_gethookmask(L);
  in->hook_count = lua_gethookcount(L);
  in->hooked = L;
  lua_sethook(L, place_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

/* ---- counts ---- */

static void set(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

typedef struct handles {
  lua_State *L; /* NULL: they are only counted */
  ml_evloop *loop;
  lua_Integer n;
} handles;

static void on_handle(uv_handle_t *h, void *arg) {
  handles *s = arg;
  if (h == (uv_handle_t *)&s->loop->uvtimer || h == (uv_handle_t *)&s->loop->async) return;
  s->n++;
  if (s->L == NULL || !lua_checkstack(s->L, 4)) return;
  lua_createtable(s->L, 0, 3);
  lua_pushstring(s->L, ml__handle_kind(h));
  lua_setfield(s->L, -2, "type");
  lua_pushboolean(s->L, uv_is_active(h));
  lua_setfield(s->L, -2, "active");
  lua_pushboolean(s->L, uv_has_ref(h));
  lua_setfield(s->L, -2, "keeps");
  lua_rawseti(s->L, -2, s->n);
}

/* counts(): {steps, calls, rounds, tasks, timers, ready, handles, bytes, time} */
static int inspected_counts(lua_State *L) {
  ml_engine *e = ml__engine(L);
  uint64_t tasks = 0, timers = 0, ready = 0, open = 0, rounds = 0;
  for (ml_link *k = e->loops.next; k != &e->loops; k = k->next) {
    ml_evloop *l = ml__containerof(k, ml_evloop, link);
    handles h = {NULL, l, 0};
    tasks += l->ntasks;
    timers += l->ntimers;
    rounds += l->rounds;
    for (ml_link *j = l->ready.next; j != &l->ready; j = j->next) ready++;
    if (l->uv_ready && l->own_uv) uv_walk(l->uv, on_handle, &h);
    open += (uint64_t)h.n;
  }
  lua_createtable(L, 0, 10);
  set(L, "steps", e->steps);
  set(L, "calls", e->calls);
  set(L, "rounds", rounds);
  set(L, "tasks", tasks);
  set(L, "timers", timers);
  set(L, "ready", ready);
  set(L, "handles", open);
  set(L, "bytes", ml__alloc_used(e->alloc));
  if (e->running != NULL) {
    lua_pushnumber(L, ml__loop_time(e->running));
    lua_setfield(L, -2, "time");
    lua_pushboolean(L, e->running->clock == ML_CLOCK_VIRTUAL);
    lua_setfield(L, -2, "virtual");
  }
  return 1;
}

typedef struct entry {
  ml_timer *timer;
} entry;

static int by_time(const void *a, const void *b) {
  const ml_timer *x = ((const entry *)a)->timer, *y = ((const entry *)b)->timer;
  return x->when < y->when ? -1 : x->when > y->when ? 1 : x->seq < y->seq ? -1 : 1;
}

/* timers(n): the first n of the running loop: {what, left (seconds)} each */
static int inspected_timers(lua_State *L) {
  ml_evloop *l = ml__engine(L)->running;
  size_t most = (size_t)luaL_checkinteger(L, 1), n;
  entry *list;
  char what[256];
  double now;
  lua_newtable(L);
  if (l == NULL || l->ntimers == 0) return 1;
  n = l->ntimers;
  list = lua_newuserdatauv(L, n * sizeof *list, 0);
  for (size_t i = 0; i < n; i++) list[i].timer = l->heap[i].timer;
  qsort(list, n, sizeof *list, by_time);
  now = ml__loop_time(l);
  for (size_t i = 0; i < n && i < most; i++) {
    ml__job_describe(l, &list[i].timer->job, what, sizeof what);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, what);
    lua_setfield(L, -2, "what");
    lua_pushnumber(L, list[i].timer->when - now);
    lua_setfield(L, -2, "left");
    lua_rawseti(L, 2, (lua_Integer)i + 1);
  }
  lua_settop(L, 2);
  return 1;
}

/* handles(): those of libuv on the running loop, {type, active, keeps} each */
static int inspected_handles(lua_State *L) {
  ml_evloop *l = ml__engine(L)->running;
  handles h = {L, l, 0};
  lua_newtable(L);
  if (l != NULL && l->uv_ready && l->own_uv) uv_walk(l->uv, on_handle, &h);
  return 1;
}

/* ---- descriptors ---- */

/* "127.0.0.1:80", a path, or "" */
static void name_of(const struct sockaddr_storage *sa, socklen_t len, char *out, size_t n) {
  char host[INET6_ADDRSTRLEN];
  const struct sockaddr_in *v4 = (const void *)sa;
  const struct sockaddr_in6 *v6 = (const void *)sa;
  const struct sockaddr_un *un = (const void *)sa;
  out[0] = '\0';
  if (sa->ss_family == AF_INET && inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host) != NULL)
    snprintf(out, n, "%s:%d", host, ntohs(v4->sin_port));
  else if (sa->ss_family == AF_INET6 &&
           inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host) != NULL)
    snprintf(out, n, "[%s]:%d", host, ntohs(v6->sin6_port));
  else if (sa->ss_family == AF_UNIX && len > sizeof un->sun_family && un->sun_path[0] != '\0')
    snprintf(out, n, "%.*s", (int)(len - sizeof un->sun_family), un->sun_path);
}

static void push_socket(lua_State *L, int fd) {
  struct sockaddr_storage sa;
  socklen_t n = sizeof sa;
  char name[160];
  int value = 0;
  memset(&sa, 0, sizeof sa);
  if (getsockname(fd, (struct sockaddr *)&sa, &n) != 0) n = 0;
  name_of(&sa, n, name, sizeof name);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "name");
  n = sizeof value;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &n) != 0) value = 0;
  lua_pushstring(L, sa.ss_family == AF_UNIX ? "unix" : value == SOCK_DGRAM ? "udp" : "tcp");
  lua_setfield(L, -2, "type");
  n = sizeof value;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &n) != 0) value = 0;
  lua_pushboolean(L, value);
  lua_setfield(L, -2, "listening");
  memset(&sa, 0, sizeof sa);
  n = sizeof sa;
  if (getpeername(fd, (struct sockaddr *)&sa, &n) != 0) return;
  name_of(&sa, n, name, sizeof name);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "peer");
}

/* descriptors(): what the process has open, {fd, type, name, listening, peer} each; not what only
** event loops know (epoll, eventfd). */
int ml__inspect_descriptors(lua_State *L) {
  DIR *dir = opendir("/proc/self/fd");
  const struct dirent *d;
  char path[64], to[512];
  lua_Integer count = 0;
  if (ml__engine(L)->inspects == NULL) {
    if (dir != NULL) closedir(dir);
    return ml__misuse(L, "RuntimeError", "this is no inspector");
  }
  lua_newtable(L);
  if (dir == NULL) return 1;
  while ((d = readdir(dir)) != NULL && count < 10000) {
    int fd = (int)strtol(d->d_name, NULL, 10);
    ssize_t n;
    if (d->d_name[0] == '.' || fd == dirfd(dir)) continue;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    n = readlink(path, to, sizeof to - 1);
    if (n < 0) continue;
    to[n] = '\0';
    if (strncmp(to, "anon_inode:", 11) == 0) continue;
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, fd);
    lua_setfield(L, -2, "fd");
    if (strncmp(to, "socket:", 7) == 0)
      push_socket(L, fd);
    else {
      lua_pushstring(L, strncmp(to, "pipe:", 5) == 0 ? "pipe" : "file");
      lua_setfield(L, -2, "type");
      lua_pushstring(L, to);
      lua_setfield(L, -2, "name");
    }
    lua_rawseti(L, -2, ++count);
  }
  closedir(dir);
  return 1;
}

const luaL_Reg ml__inspected_functions[] = {{"counts", inspected_counts},
                                            {"timers", inspected_timers},
                                            {"handles", inspected_handles},
                                            {NULL, NULL}};
