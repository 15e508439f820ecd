/* Server: the connections that came in by its listeners (listen.c), and the tasks that
** handle these. Semantics of CPython 3.13's base_events.Server.
**
** A server is pinned while it listens or has connections. What libuv has accepted waits
** in a list; one job per server then makes the objects and starts the handlers.
*/
#include <string.h>

#include "listen.h"

/* User values: 1: the handler (a coroutine function), or a protocol factory;
** 2: the array of sockets; 3: nil, or a function that gets the Transport of what came
** in and calls _established when it is ready (TLS); 4: nil, or an ml_maker. */
struct ml_server {
  ml_object obj; /* flags: SV_* */
  ml_listeners listeners;
  ml_link accepted; /* ml_stream.peers: not made into objects yet */
  ml_link clients;  /* ml_stream.peers */
  ml_link waiters;  /* ml_waitop: wait_closed */
  ml_job job;       /* for what is accepted */
  int pin;
  int backlog;
  int error; /* accepting failed */
  size_t limit;
  ml_maker *maker; /* or NULL: the handler gets reader and writer */
};
enum { SV_SERVING = 1, SV_CLOSED = 2, SV_PROTOCOLS = 4 };

static ml_server *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_SERVER); }

ml_listeners *ml__checklisteners(lua_State *L, int idx) {
  ml_server *v = ml__checkobject(L, idx, ML_T_SERVER);
  return &v->listeners;
}

/* ---- life ---- */

static void unpin_if_done(ml_server *v) {
  if (!(v->obj.flags & SV_CLOSED) || !ml__list_empty(&v->clients)) return;
  ml__wake_all(&v->waiters, NULL);
  ml__list_remove(&v->job.link);
  if (v->pin != 0) {
    int pin = v->pin;
    v->pin = 0;
    ml__unpin(v->listeners.net->engine->L, pin);
  }
}

void ml__server_detach(ml_stream *s) {
  ml_server *v = s->server;
  if (v == NULL) return;
  s->server = NULL;
  ml__list_remove(&s->peers);
  unpin_if_done(v);
}

static void server_close(ml_server *v) {
  if (v->obj.flags & SV_CLOSED) return;
  v->obj.flags |= SV_CLOSED;
  v->obj.flags &= (uint16_t)~SV_SERVING;
  ml__listeners_close(&v->listeners);
  while (!ml__list_empty(&v->accepted)) {
    ml_stream *s = ml__containerof(v->accepted.next, ml_stream, peers);
    ml__list_remove(&s->peers);
    if (s->sink != NULL) { /* not new */
      ml__list_append(&v->clients, &s->peers);
      ml__stream_close(s);
      continue;
    }
    s->server = NULL;
    ml__stream_discard(s);
  }
  unpin_if_done(v);
}

static int sv_gc(lua_State *L) {
  ml_server *v = lua_touserdata(L, 1);
  if (v->listeners.net == NULL) return 0;
  v->pin = 0;
  while (!ml__list_empty(&v->clients)) { /* only when the engine ends */
    ml_stream *s = ml__containerof(v->clients.next, ml_stream, peers);
    ml__list_remove(&s->peers);
    s->server = NULL;
  }
  server_close(v);
  return 0;
}

/* ---- accepting ---- */

/* The handler's task has ended: an error of its is told, and ends the connection; with it ends
** one that a maker has made. */
static int handled(lua_State *L) {
  ml_stream *s = lua_touserdata(L, 1);
  ml_future *f;
  ml__task_in(L, s->task);
  f = lua_touserdata(L, 2);
  if (f->obj.state == ML_F_DONE && (!ml__server_makes(s) || s->server->maker->kept(s))) return 0;
  if (f->obj.state == ML_F_FAILED && ml__future_results(L, 2) < 0) {
    lua_createtable(L, 0, 4);
    lua_pushliteral(L, "Unhandled exception in client_connected_cb");
    lua_setfield(L, -2, "message");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "exception");
    ml__transport_push(L, s);
    lua_setfield(L, -2, "transport");
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "task");
    ml__stream_close(s);
    ml__call_exception_handler(L, s->loop);
  }
  ml__stream_close(s);
  return 0;
}

static void run_handled(ml_evloop *loop, ml_job *job) {
  ml_stream *s = ml__containerof(job, ml_stream, handled);
  lua_State *L = loop->L;
  int task = s->task;
  if (lua_checkstack(L, 12)) {
    lua_pushcfunction(L, handled);
    lua_pushlightuserdata(L, s);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  s->task = 0;
  ml__task_let_go(L, task);
  if (s->flags & ML_S_AGAIN) ml__server_again(s);
  ml__stream_unref(s);
}

bool ml__server_makes(const ml_stream *s) { return s->server != NULL && s->server->maker != NULL; }

void ml__server_again(ml_stream *s) {
  ml_server *v = s->server;
  s->flags &= ~(uint32_t)ML_S_AGAIN;
  if (v == NULL) return;
  if (s->task != 0) {
    s->flags |= ML_S_AGAIN;
    return;
  }
  ml__list_remove(&s->peers);
  ml__list_append(&v->accepted, &s->peers);
  if (ml__list_empty(&v->job.link)) ml__ready(v->listeners.loop, &v->job);
}

/* The server's object is at idx. */
static void start_handler(lua_State *L, ml_server *v, int idx, ml_stream *s) {
  ml_fiber *t;
  int n = 2;
  if (!ml__streams_follow(v->listeners.net, v->listeners.loop)) luaL_error(L, "not enough memory");
  lua_getiuservalue(L, idx, 1);
  if (v->maker != NULL) {
    lua_getiuservalue(L, idx, 4);
    n = v->maker->make(L, s, lua_gettop(L));
    lua_remove(L, -1 - n);
  } else
    ml__streams_push(L, s, v->limit);
  t = ml__task_call(L, n, v->listeners.loop);
  s->task = ml__task_hold(t);
  s->handled.run = run_handled;
  ml__list_append(&t->fut.callbacks, &s->handled.link);
  ml__stream_ref(s);
  if (ml__list_empty(&t->job.link)) ml__ready(v->listeners.loop, &t->job);
}

static void establish(lua_State *L, ml_server *v, int idx, ml_stream *s) {
  if (!(v->obj.flags & SV_PROTOCOLS)) {
    start_handler(L, v, idx, s);
    return;
  }
  lua_getiuservalue(L, idx, 1);
  lua_call(L, 0, 1);
  ml__protocol_start(L, s, -1);
}

/* (server, stream) */
static int accept_one(lua_State *L) {
  ml_server *v = lua_touserdata(L, 1);
  ml_stream *s = lua_touserdata(L, 2);
  ml__pushpinned(L, v->pin);
  if (s->sink != NULL) {
    if (v->maker != NULL && v->maker->kept(s)) start_handler(L, v, 3, s);
  } else if (lua_getiuservalue(L, 3, 3) == LUA_TNIL) {
    establish(L, v, 3, s);
  } else {
    ml__transport_push(L, s);
    lua_call(L, 1, 0);
  }
  return 0;
}

/* server:_established(transport): what was accepted is ready to be handled. */
static int sv_established(lua_State *L) {
  ml_server *v = check(L);
  ml_stream *s = ml__checkstream(L, 2);
  if (s->server == v && s->sink == NULL) establish(L, v, 1, s);
  return 0;
}

/* (server, message, error or nil) */
static int report(lua_State *L) {
  ml_server *v = lua_touserdata(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushstring(L, lua_touserdata(L, 2));
  lua_setfield(L, -2, "message");
  if (lua_isnil(L, 3))
    ml__error_uv(L, v->error, "accept failed");
  else
    lua_pushvalue(L, 3);
  lua_setfield(L, -2, "exception");
  ml__call_exception_handler(L, v->listeners.loop);
  return 0;
}

/* Tells of the error on top (popped; nil: of accepting). */
static void run_report(lua_State *L, ml_server *v, const char *message) {
  lua_pushcfunction(L, report);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, v);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, (void *)message);
  lua_insert(L, -2);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) lua_pop(L, 1);
}

static void run_accepted(ml_evloop *loop, ml_job *job) {
  ml_server *v = ml__containerof(job, ml_server, job);
  lua_State *L = loop->L;
  int pin = v->pin;
  if (pin == 0 || !lua_checkstack(L, 16)) return;
  ml__pushpinned(L, pin); /* on this stack while it runs */
  if (v->error < 0) {
    lua_pushnil(L);
    run_report(L, v, "socket.accept() failed");
    v->error = 0;
  }
  while (!ml__list_empty(&v->accepted)) {
    ml_stream *s = ml__containerof(v->accepted.next, ml_stream, peers);
    int base = lua_gettop(L);
    ml__list_remove(&s->peers);
    ml__list_append(&v->clients, &s->peers);
    if (s->sink == NULL) ml__stream_names(s);
    lua_pushcfunction(L, ml__msgh);
    lua_pushcfunction(L, accept_one);
    lua_pushlightuserdata(L, v);
    lua_pushlightuserdata(L, s);
    ml__stream_ref(s);
    if (lua_pcall(L, 2, 0, base + 1) != LUA_OK) {
      run_report(L, v, "Error on transport creation for incoming connection");
      ml__stream_fail(s, 0);
    }
    ml__stream_unref(s);
    lua_settop(L, base);
  }
  lua_pop(L, 1);
}

static void came(ml_listeners *ls, ml_stream *s, int error) {
  ml_server *v = ml__containerof(ls, ml_server, listeners);
  if (s != NULL) {
    s->server = v;
    ml__list_append(&v->accepted, &s->peers);
  } else
    v->error = error;
  if (ml__list_empty(&v->job.link)) ml__ready(ls->loop, &v->job);
}

static void ended(ml_listeners *ls) { server_close(ml__containerof(ls, ml_server, listeners)); }

/* ---- making ---- */

/* new_server(handler, protocols, limit, backlog [, accept [, maker]]) */
static int f_new_server(lua_State *L) {
  ml_evloop *loop = ml__loop_get(L);
  ml_net *net = ml__net(L);
  ml_server *v;
  lua_settop(L, 6);
  if (!lua_isnil(L, 6)) ml__checkobject(L, 6, ML_T_MAKER);
  v = ml__newobject(L, ML_T_SERVER, sizeof *v, 4);
  ml__list_init(&v->listeners.list);
  v->listeners.net = net;
  v->listeners.loop = loop;
  v->listeners.came = came;
  v->listeners.ended = ended;
  ml__list_init(&v->accepted);
  ml__list_init(&v->clients);
  ml__list_init(&v->waiters);
  ml__list_init(&v->job.link);
  v->job.run = run_accepted;
  v->obj.flags = lua_toboolean(L, 2) ? SV_PROTOCOLS : 0;
  v->limit = (size_t)luaL_checkinteger(L, 3);
  v->backlog = (int)luaL_checkinteger(L, 4);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 2);
  lua_pushvalue(L, 5);
  lua_setiuservalue(L, -2, 3);
  v->maker = lua_touserdata(L, 6);
  lua_pushvalue(L, 6);
  lua_setiuservalue(L, -2, 4);
  return 1;
}

/* server:_start_serving() */
static int sv_start(lua_State *L) {
  ml_server *v = check(L);
  int rc;
  if (v->obj.flags & SV_CLOSED) return ml__misuse(L, "RuntimeError", "the server is closed");
  if (v->obj.flags & SV_SERVING) return 0;
  if (v->pin == 0) v->pin = ml__pin(L, 1);
  v->obj.flags |= SV_SERVING;
  rc = ml__listeners_start(&v->listeners, v->backlog);
  if (rc < 0) {
    server_close(v);
    ml__error_uv(L, rc, "listen failed");
    return lua_error(L);
  }
  return 0;
}

static int sv_close(lua_State *L) {
  server_close(check(L));
  return 0;
}

static void each_client(ml_server *v, void (*f)(ml_stream *)) {
  for (ml_link *l = v->clients.next, *next; l != &v->clients; l = next) {
    next = l->next;
    f(ml__containerof(l, ml_stream, peers));
  }
}

static void abort_stream(ml_stream *s) { ml__stream_fail(s, 0); }

static int sv_close_clients(lua_State *L) {
  each_client(check(L), ml__stream_close);
  return 0;
}

static int sv_abort_clients(lua_State *L) {
  each_client(check(L), abort_stream);
  return 0;
}

static int sv_is_serving(lua_State *L) {
  lua_pushboolean(L, (check(L)->obj.flags & SV_SERVING) != 0);
  return 1;
}

static int sv_is_closed(lua_State *L) {
  lua_pushboolean(L, (check(L)->obj.flags & SV_CLOSED) != 0);
  return 1;
}

static int sv_get_loop(lua_State *L) {
  ml__ref_get(L, ML_R_LOOPS);
  lua_rawgetp(L, -1, check(L)->listeners.loop);
  return 1;
}

static int closed_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_server *v = w->on;
  (void)L;
  if ((v->obj.flags & SV_CLOSED) && ml__list_empty(&v->clients)) return 0;
  ml__list_append(&v->waiters, &w->link);
  return ML_PARK;
}

static const ml_opclass closed_class = {"Server.wait_closed", closed_begin, ml__waitop_wake,
                                        ml__waitop_cancel};

static int sv_wait_closed(lua_State *L) {
  ml_server *v = check(L);
  lua_pushvalue(L, 1);
  ml__waitop_push(L, &closed_class, v);
  return 1;
}

/* Fields beside the methods (upvalue 1): sockets. */
static int sv_index(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "sockets") == 0) {
    if (check(L)->obj.flags & SV_CLOSED)
      lua_newtable(L);
    else
      lua_getiuservalue(L, 1, 2);
  }
  return 1;
}

static int sv_tostring(lua_State *L) {
  ml_server *v = check(L);
  int n = 0;
  for (ml_link *l = v->clients.next; l != &v->clients; l = l->next) n++;
  lua_pushfstring(L, "<Server %s connections=%d>",
                  (v->obj.flags & SV_CLOSED)    ? "closed"
                  : (v->obj.flags & SV_SERVING) ? "serving"
                                                : "not serving",
                  n);
  return 1;
}

void ml__open_server(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"_start_serving", sv_start},        {"_is_closed", sv_is_closed},
      {"_established", sv_established},    {"close", sv_close},
      {"close_clients", sv_close_clients}, {"abort_clients", sv_abort_clients},
      {"is_serving", sv_is_serving},       {"get_loop", sv_get_loop},
      {"wait_closed", sv_wait_closed},     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", sv_tostring}, {"__gc", sv_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_SERVER, "Server", methods, meta);
  ml__ref_get(L, ML_R_TYPES + ML_T_SERVER);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, sv_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_setfield(L, -2, "Server");
  lua_pushcfunction(L, f_new_server);
  lua_setfield(L, -2, "new_server");
}
