/* Watches of descriptors, and the loop's add_reader and add_writer.
**
** A watch lies outside the Lua heap and belongs to its loop. It stays armed when
** a waiter leaves: the next one then costs no system call. An event that nobody
** waits for disarms it. While nobody waits it does not keep the loop alive.
**
** Descriptors that scripts give as numbers are watched by a duplicate: the number
** may be closed behind the loop's back, which libuv does not survive.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fdwatch.h"
#include "socket.h"

/* A function that add_reader or add_writer has given. */
typedef struct callback {
  ml_job job; /* the event; runs the handle's */
  ml_fdwatch *watch;
  ml_job *handle;
  int pin; /* of the handle; 0: none */
} callback;

struct ml_fdwatch {
  ml_handlehead head; /* first */
  ml_net *net;
  ml_evloop *loop;
  ml_fdwatch *next; /* of the same descriptor, on another loop */
  int fd, own;      /* own: the duplicate that is watched, or -1 */
  int armed;        /* UV_READABLE, UV_WRITABLE: what libuv watches for */
  ml_link queue[2];
  callback callbacks[2];
  uv_poll_t poll;
};

static const int masks[2] = {UV_READABLE, UV_WRITABLE};

static ml_fdwatch *find(const ml_net *net, const ml_evloop *loop, int fd) {
  ml_fdwatch *w = fd >= 0 && fd < net->nfdwatches ? net->fdwatches[fd] : NULL;
  while (w != NULL && w->loop != loop) w = w->next;
  return w;
}

/* ---- life ---- */

static void unlink_watch(ml_fdwatch *w) {
  ml_fdwatch **p = &w->net->fdwatches[w->fd];
  while (*p != NULL && *p != w) p = &(*p)->next;
  if (*p == w) *p = w->next;
}

static void callback_drop(ml_fdwatch *w, int side) {
  callback *c = &w->callbacks[side];
  int pin = c->pin;
  ml__list_remove(&c->job.link);
  c->pin = 0;
  c->handle = NULL;
  ml__unpin(w->net->engine->L, pin);
}

static void on_closed(uv_handle_t *h) {
  ml_fdwatch *w = h->data;
  ml__alloc(w->net->engine->alloc, w, sizeof *w, 0);
}

static void watch_close(ml_fdwatch *w) {
  unlink_watch(w);
  for (int side = 0; side < 2; side++) {
    while (!ml__list_empty(&w->queue[side])) {
      ml_waiter *q = ml__containerof(w->queue[side].next, ml_waiter, link);
      ml__list_remove(&q->link);
      q->watch = NULL;
      q->error = UV_EBADF;
      if (q->op != NULL) ml__op_wake(q->op);
    }
    callback_drop(w, side);
  }
  uv_poll_stop(&w->poll);
  uv_close((uv_handle_t *)&w->poll, on_closed);
  if (w->own >= 0) close(w->own);
}

static void close_with_loop(uv_handle_t *h) { watch_close(h->data); }

void ml__fdwatch_forget(ml_net *net, int fd) {
  while (fd >= 0 && fd < net->nfdwatches && net->fdwatches[fd] != NULL)
    watch_close(net->fdwatches[fd]);
}

void ml__fdwatches_close(ml_net *net, ml_evloop *l) {
  for (int fd = 0; fd < net->nfdwatches; fd++) {
    ml_fdwatch *w = find(net, l, fd);
    if (w != NULL) watch_close(w);
  }
}

void ml__fdwatches_free(ml_net *net) {
  ml__alloc(net->engine->alloc, net->fdwatches, (size_t)net->nfdwatches * sizeof(void *), 0);
  net->fdwatches = NULL;
  net->nfdwatches = 0;
}

static int reserve(ml_net *net, int fd) {
  int n = net->nfdwatches < 32 ? 32 : net->nfdwatches;
  ml_fdwatch **p;
  if (fd < net->nfdwatches) return 0;
  while (n <= fd) n *= 2;
  p = ml__alloc(net->engine->alloc, net->fdwatches, (size_t)net->nfdwatches * sizeof(void *),
                (size_t)n * sizeof(void *));
  if (p == NULL) return UV_ENOMEM;
  memset(p + net->nfdwatches, 0, (size_t)(n - net->nfdwatches) * sizeof(void *));
  net->fdwatches = p;
  net->nfdwatches = n;
  return 0;
}

/* libuv makes what it polls non-blocking: others may share a terminal or pipe. */
static int init_poll(ml_fdwatch *w, uv_loop_t *uv) {
  int fd = w->own >= 0 ? w->own : w->fd;
  int mode = fcntl(fd, F_GETFL);
  int rc = uv_poll_init(uv, &w->poll, fd);
  if (rc == 0 && w->own >= 0 && mode >= 0 && !(mode & O_NONBLOCK)) fcntl(fd, F_SETFL, mode);
  return rc;
}

static void run_callback(ml_evloop *loop, ml_job *job);

static int watch_new(ml_net *net, ml_evloop *loop, int fd, bool duplicate, ml_fdwatch **out) {
  uv_loop_t *uv = ml__loop_uv(loop);
  ml_fdwatch *w;
  int rc = reserve(net, fd);
  if (rc < 0 || uv == NULL) return UV_ENOMEM;
  w = ml__alloc(net->engine->alloc, NULL, 0, sizeof *w);
  if (w == NULL) return UV_ENOMEM;
  memset(w, 0, sizeof *w);
  w->head.close = close_with_loop;
  w->net = net;
  w->loop = loop;
  w->fd = fd;
  w->own = duplicate ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
  rc = duplicate && w->own < 0 ? uv_translate_sys_error(errno) : init_poll(w, uv);
  if (rc < 0) {
    if (w->own >= 0) close(w->own);
    ml__alloc(net->engine->alloc, w, sizeof *w, 0);
    return rc;
  }
  w->poll.data = w;
  uv_unref((uv_handle_t *)&w->poll);
  for (int side = 0; side < 2; side++) {
    ml__list_init(&w->queue[side]);
    ml__list_init(&w->callbacks[side].job.link);
    w->callbacks[side].job.run = run_callback;
    w->callbacks[side].watch = w;
  }
  w->next = net->fdwatches[fd];
  net->fdwatches[fd] = w;
  *out = w;
  return 0;
}

/* ---- events ---- */

static ml_waiter *front(const ml_fdwatch *w, int side) {
  const ml_link *h = &w->queue[side];
  return h->next == h ? NULL : ml__containerof(h->next, ml_waiter, link);
}

static int wanted(const ml_fdwatch *w) {
  int events = 0;
  for (int side = 0; side < 2; side++) {
    const ml_waiter *q = front(w, side);
    if ((q != NULL && !q->busy) || w->callbacks[side].pin != 0) events |= masks[side];
  }
  return events;
}

static void on_poll(uv_poll_t *h, int status, int events);

static int arm(ml_fdwatch *w, int events) {
  int rc;
  if (events == 0) {
    rc = uv_poll_stop(&w->poll);
  } else if (fcntl(w->own >= 0 ? w->own : w->fd, F_GETFD) < 0) {
    rc = UV_EBADF; /* closed behind us: libuv would abort */
    uv_poll_stop(&w->poll);
  } else
    rc = uv_poll_start(&w->poll, events, on_poll);
  w->armed = rc == 0 ? events : 0;
  return rc;
}

/* After the queues or callbacks were altered. `idle`: events that nobody may have
** waited for. */
static int settle(ml_fdwatch *w, int idle) {
  int events = wanted(w), rc = 0;
  if (events != 0)
    uv_ref((uv_handle_t *)&w->poll);
  else
    uv_unref((uv_handle_t *)&w->poll);
  if ((events & ~w->armed) != 0 || (idle & w->armed & ~events) != 0) rc = arm(w, events);
  return rc;
}

static void on_poll(uv_poll_t *h, int status, int events) {
  ml_fdwatch *w = h->data;
  if (status < 0) { /* an error of the descriptor: libuv has stopped; a try will tell */
    w->armed = 0;
    events = UV_READABLE | UV_WRITABLE;
  }
  for (int side = 0; side < 2; side++) {
    ml_waiter *q = front(w, side);
    callback *c = &w->callbacks[side];
    if (!(events & masks[side])) continue;
    if (q != NULL && !q->busy) ml__op_wake(q->op);
    if (c->pin != 0 && ml__list_empty(&c->job.link)) ml__ready(w->loop, &c->job);
  }
  if (settle(w, events) < 0) watch_close(w);
}

/* ---- queues ---- */

bool ml__fdwatch_queued(ml_net *net, ml_evloop *loop, int fd, int side) {
  const ml_fdwatch *w = find(net, loop, fd);
  return w != NULL && !ml__list_empty(&w->queue[side]);
}

bool ml__fdwatch_busy(ml_net *net, ml_evloop *loop, int fd, int side) {
  const ml_fdwatch *w = find(net, loop, fd);
  const ml_waiter *q = w == NULL ? NULL : front(w, side);
  return q != NULL && q->busy;
}

int ml__waiter_join(ml_net *net, ml_evloop *loop, int fd, ml_waiter *q, bool first) {
  ml_fdwatch *w = find(net, loop, fd);
  int rc = 0;
  if (w == NULL) rc = watch_new(net, loop, fd, false, &w);
  if (rc < 0) return rc;
  q->watch = w;
  ml__list_append(first ? w->queue[q->side].next : &w->queue[q->side], &q->link);
  rc = settle(w, 0);
  if (rc < 0) ml__waiter_leave(q);
  return rc;
}

void ml__waiter_leave(ml_waiter *q) {
  ml_fdwatch *w = q->watch;
  if (w == NULL) return;
  ml__list_remove(&q->link);
  q->watch = NULL;
  q->busy = false;
  if (settle(w, 0) < 0) watch_close(w);
}

void ml__waiter_busy(ml_waiter *q, bool busy) {
  q->busy = busy;
  if (q->watch != NULL && settle(q->watch, 0) < 0) watch_close(q->watch);
}

void ml__waiter_replace(ml_waiter *a, ml_waiter *b) {
  b->watch = a->watch;
  b->side = a->side;
  b->busy = a->busy;
  if (a->watch == NULL) return;
  ml__list_append(&a->link, &b->link);
  ml__list_remove(&a->link);
  a->watch = NULL;
}

/* ---- add_reader and add_writer ---- */

static int pin_handle(lua_State *L) {
  ml__pushpinned(L, ((callback *)lua_touserdata(L, 1))->pin);
  ml__handle_pin(L, -1);
  return 0;
}

/* The handle runs as one that was called soon: that lets go of its pin. */
static void run_callback(ml_evloop *loop, ml_job *job) {
  callback *c = ml__containerof(job, callback, job);
  lua_State *L = loop->L;
  if (c->pin == 0 || !lua_checkstack(L, 4)) return;
  lua_pushcfunction(L, pin_handle);
  lua_pushlightuserdata(L, c);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    lua_pop(L, 1); /* memory: the next event tries again */
    return;
  }
  c->handle->run(loop, c->handle);
}

int ml__checkfileno(lua_State *L, int idx, const char *fname, bool *own) {
  ml_object *o = ml__toobject(L, idx);
  luaL_Stream *file = NULL;
  lua_Integer fd = -1;
  int ok = 0;
  *own = false;
  if (o != NULL && o->type == ML_T_SOCKET) {
    ok = 1;
    *own = true;
    fd = ((ml_socket *)(void *)o)->fd;
  } else if (lua_type(L, idx) == LUA_TNUMBER) {
    fd = lua_tointegerx(L, idx, &ok);
  } else if ((file = luaL_testudata(L, idx, LUA_FILEHANDLE)) != NULL) {
    if (file->closef == NULL) ml__misuse(L, "ValueError", "%s: the file is closed", fname);
    ok = 1;
    fd = fileno(file->f);
  } else if ((lua_istable(L, idx) || lua_isuserdata(L, idx)) &&
             luaL_getmetafield(L, idx, "__index") != LUA_TNIL) {
    lua_pop(L, 1);
    if (lua_getfield(L, idx, "fileno") == LUA_TFUNCTION) {
      lua_pushvalue(L, idx);
      lua_call(L, 1, 1);
      fd = lua_tointegerx(L, -1, &ok);
      if (!ok) { /* nil: it is closed */
        fd = -1;
        ok = lua_isnil(L, -1) ? 1 : 0;
      }
    }
    lua_pop(L, 1);
  }
  if (!ok)
    ml__misuse(L, "TypeError", "%s: a descriptor or a socket was expected, got %s", fname,
               luaL_typename(L, idx));
  if (fd < 0 || fd > INT32_MAX)
    ml__misuse(L, "ValueError", "%s: invalid file descriptor: %I", fname, (LUAI_UACINT)fd);
  if (!*own && file == NULL) ml__check_fd(L, fname, (int)fd);
  return (int)fd;
}

static void check_function(lua_State *L, int idx, const char *fname) {
  ml_object *o = ml__toobject(L, idx);
  if ((o != NULL && ml__iscoroutine(o)) || ml__asyncfunction(L, idx))
    ml__misuse(L, "TypeError", "coroutines cannot be used with %s()", fname);
  if (lua_isfunction(L, idx)) return;
  if (luaL_getmetafield(L, idx, "__call") == LUA_TNIL)
    ml__misuse(L, "TypeError", "%s: a function was expected, got %s", fname, luaL_typename(L, idx));
  lua_pop(L, 1);
}

/* Is it the descriptor of a connection or server of asyncio's? */
static bool of_transport(ml_net *net, int fd) {
  uv_os_fd_t other;
  for (ml_link *k = net->streams.next; k != &net->streams; k = k->next) {
    ml_stream *s = ml__containerof(k, ml_stream, all);
    if (!(s->flags & ML_S_CLOSED) && ml__stream_fd(s, &other) == 0 && other == fd) return true;
  }
  return false;
}

/* (loop, descriptor or socket, function, ...) */
static int add(lua_State *L, int side, const char *fname) {
  ml_evloop *loop = ml__checkopenloop(L, 1);
  ml_net *net = ml__net(L);
  ml_fdwatch *w;
  bool own;
  int fd = ml__checkfileno(L, 2, fname, &own), rc = 0, pin;
  ml_job *job;
  check_function(L, 3, fname);
  if (!own && of_transport(net, fd))
    return ml__misuse(L, "RuntimeError", "%s: file descriptor %d is used by a transport", fname,
                      fd);
  job = ml__handle_new(L, 3, lua_gettop(L) - 3, loop);
  pin = ml__pin(L, -1);
  w = find(net, loop, fd);
  if (w == NULL) rc = watch_new(net, loop, fd, !own, &w);
  if (rc == 0) {
    callback_drop(w, side);
    w->callbacks[side].pin = pin;
    w->callbacks[side].handle = job;
    rc = settle(w, 0);
    if (rc < 0) watch_close(w);
  } else
    ml__unpin(L, pin);
  if (rc < 0) {
    ml__sock_error(L, rc, "%s %d", fname, fd);
    return lua_error(L);
  }
  return 0;
}

static int drop(lua_State *L, int side, const char *fname) {
  ml_evloop *loop = ml__checkloop(L, 1);
  ml_net *net = ml__net(L);
  ml_object *o = ml__toobject(L, 2);
  ml_fdwatch *w = NULL;
  bool own, there;
  if (o == NULL || o->type != ML_T_SOCKET || ((ml_socket *)(void *)o)->fd >= 0)
    w = find(net, loop, ml__checkfileno(L, 2, fname, &own));
  there = w != NULL && w->callbacks[side].pin != 0;
  if (there) {
    callback_drop(w, side);
    if (wanted(w) == 0 && front(w, ML_W_READ) == NULL && front(w, ML_W_WRITE) == NULL)
      watch_close(w);
    else if (settle(w, masks[side]) < 0)
      watch_close(w);
  }
  lua_pushboolean(L, there);
  return 1;
}

static int f_add_reader(lua_State *L) { return add(L, ML_W_READ, "add_reader"); }
static int f_add_writer(lua_State *L) { return add(L, ML_W_WRITE, "add_writer"); }
static int f_remove_reader(lua_State *L) { return drop(L, ML_W_READ, "remove_reader"); }
static int f_remove_writer(lua_State *L) { return drop(L, ML_W_WRITE, "remove_writer"); }

/* fileno(file, socket or object) -> its descriptor */
static int f_fileno(lua_State *L) {
  bool own;
  lua_pushinteger(L, ml__checkfileno(L, 1, "fileno", &own));
  return 1;
}

void ml__open_fdwatch(lua_State *L) {
  static const luaL_Reg functions[] = {{"add_reader", f_add_reader},
                                       {"add_writer", f_add_writer},
                                       {"remove_reader", f_remove_reader},
                                       {"remove_writer", f_remove_writer},
                                       {"fileno", f_fileno},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
