/* Transport, and protocol tables: the callback side of a connection.
** Semantics of CPython 3.13's transports.py and _SelectorSocketTransport.
**
** A protocol's methods are called from one job per connection, in the order of
** the events: connection_made, data_received, eof_received, resume_writing;
** connection_lost comes last, from the stream's own job.
*/
#include <stdio.h>
#include <string.h>

#include "stream.h"

static const char transports_key;

ml_endpoint *ml__transport_push(lua_State *L, ml_stream *s) {
  ml_endpoint *t;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &transports_key);
  if (lua_rawgetp(L, -1, s) == LUA_TUSERDATA) {
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
  }
  lua_pop(L, 1);
  t = ml__newobject(L, ML_T_TRANSPORT, sizeof *t, 1);
  t->s = s;
  ml__stream_ref(s);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, -3, s);
  lua_remove(L, -2);
  return t;
}

/* ---- protocols ---- */

enum { P_MADE = 1, P_EOF = 2, P_RESUME = 4 };

typedef struct protocol {
  ml_job job;
  ml_stream *s;
  ml_bytes in;
  int pin;     /* of the transport, whose user value 1 is the protocol */
  int why;     /* of the error of a method that ended the connection */
  int pending; /* P_* */
} protocol;

/* (stream, method name, arguments...): calls the protocol's method, if it has it. */
static int call_method(lua_State *L) {
  ml_stream *s = lua_touserdata(L, 1);
  const char *name = lua_touserdata(L, 2);
  protocol *p = s->target;
  int n = lua_gettop(L) - 2;
  ml__pushpinned(L, p->pin);
  lua_getiuservalue(L, -1, 1);
  lua_getfield(L, -1, name);
  if (lua_isnil(L, -1)) return 0;
  lua_insert(L, 3);
  lua_insert(L, 4);
  lua_pop(L, 1);
  lua_call(L, n + 1, 1);
  return 1;
}

typedef struct failure {
  ml_stream *s;
  const char *name;
  bool fatal;
} failure;

/* (failure, error): tells the loop's exception handler. */
static int report(lua_State *L) {
  const failure *f = lua_touserdata(L, 1);
  protocol *p = f->s->sink == &ml__protocol_sink ? f->s->target : NULL;
  if (f->fatal && p != NULL && p->why == 0) p->why = ml__pin(L, 2);
  if (ml__isinstance(L, 2, "KeyboardInterrupt") || ml__isinstance(L, 2, "SystemExit")) {
    lua_pushvalue(L, 2);
    ml__ref_set(L, ML_R_PENDINGERR);
    f->s->loop->raise = true;
    return 0;
  }
  lua_createtable(L, 0, 4);
  if (f->fatal)
    lua_pushfstring(L, "Fatal error: protocol.%s() call failed.", f->name);
  else
    lua_pushfstring(L, "protocol.%s() failed", f->name);
  lua_setfield(L, -2, "message");
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "exception");
  ml__transport_push(L, f->s);
  lua_getiuservalue(L, -1, 1);
  lua_setfield(L, -3, "protocol");
  lua_setfield(L, -2, "transport");
  ml__call_exception_handler(L, f->s->loop);
  return 0;
}

/* Calls the method with the nargs values on top (popped). The answer is left on the
** stack, or false after an error, which was reported. */
static bool call(lua_State *L, ml_stream *s, const char *name, int nargs, bool fatal) {
  failure f = {s, name, fatal};
  int base;
  lua_pushcfunction(L, ml__msgh);
  lua_pushcfunction(L, call_method);
  lua_pushlightuserdata(L, s);
  lua_pushlightuserdata(L, (void *)name);
  lua_rotate(L, -nargs - 4, 4);
  base = lua_gettop(L) - nargs - 3;
  if (lua_pcall(L, nargs + 2, 1, base) == LUA_OK) {
    lua_remove(L, base);
    return true;
  }
  lua_remove(L, base);
  lua_pushcfunction(L, report);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, &f);
  lua_insert(L, -2);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    ml__log(s->net->engine, "error in protocol.%s: %s", name, lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  if (fatal) ml__stream_fail(s, 0);
  lua_pushboolean(L, 0);
  return false;
}

static int push_bytes(lua_State *L) {
  const ml_bytes *b = lua_touserdata(L, 1);
  lua_pushlstring(L, b->base + b->start, b->len);
  return 1;
}

static int push_transport(lua_State *L) {
  ml__pushpinned(L, ((protocol *)lua_touserdata(L, 1))->pin);
  return 1;
}

static void give_data(lua_State *L, protocol *p) {
  lua_pushcfunction(L, push_bytes);
  lua_pushlightuserdata(L, &p->in);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    lua_pop(L, 1);
    ml__stream_fail(p->s, UV_ENOMEM);
    return;
  }
  ml__bytes_free(p->s->net, &p->in);
  call(L, p->s, "data_received", 1, true);
  lua_pop(L, 1);
}

/* May data be given now? Not while reading is paused, nor after close() or abort();
** but what came before the connection failed is. */
static bool wanted(const ml_stream *s) {
  return !(s->flags & ML_S_HALTED) && (!(s->flags & ML_S_CLOSING) || s->error != 0);
}

static void deliver(ml_evloop *loop, ml_job *job) {
  protocol *p = ml__containerof(job, protocol, job);
  ml_stream *s = p->s;
  lua_State *L = loop->L;
  if (!lua_checkstack(L, 12)) return;
  ml__stream_ref(s);
  if (p->pending & P_MADE) {
    p->pending &= ~P_MADE;
    lua_pushcfunction(L, push_transport);
    lua_pushlightuserdata(L, p);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) call(L, s, "connection_made", 1, false);
    lua_pop(L, 1);
    ml__stream_start(s, &ml__protocol_sink, p);
  }
  if (s->target == p && p->in.len > 0 && wanted(s)) give_data(L, p);
  if (s->target == p && (p->pending & P_RESUME)) {
    p->pending &= ~P_RESUME;
    call(L, s, "resume_writing", 0, false);
    lua_pop(L, 1);
  }
  if (s->target == p && (p->pending & P_EOF) && wanted(s)) {
    bool keep;
    p->pending &= ~P_EOF;
    keep = call(L, s, "eof_received", 0, true) && lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (!keep) ml__stream_close(s);
  }
  ml__stream_unref(s);
}

static void schedule(protocol *p) {
  if (ml__list_empty(&p->job.link)) ml__ready(p->s->loop, &p->job);
}

static void sink_data(ml_stream *s, const char *data, size_t n) {
  protocol *p = s->target;
  if (ml__bytes_add(s->net, &p->in, data, n) < 0)
    ml__stream_fail(s, UV_ENOMEM);
  else
    schedule(p);
}

static void sink_eof(ml_stream *s) {
  protocol *p = s->target;
  p->pending |= P_EOF;
  schedule(p);
}

static void sink_pause(lua_State *L, ml_stream *s) {
  if (s->target == NULL || !lua_checkstack(L, 12)) return;
  call(L, s, "pause_writing", 0, false);
  lua_pop(L, 1);
}

static void sink_resume(ml_stream *s) {
  protocol *p = s->target;
  if (p == NULL) return;
  p->pending |= P_RESUME;
  schedule(p);
}

static void protocol_free(protocol *p) {
  ml_stream *s = p->s;
  ml__list_remove(&p->job.link);
  ml__bytes_free(s->net, &p->in);
  ml__alloc(s->net->engine->alloc, p, sizeof *p, 0);
}

static int push_error(lua_State *L) {
  ml__stream_error(L, lua_touserdata(L, 1));
  return 1;
}

static void sink_lost(lua_State *L, ml_stream *s) {
  protocol *p = s->target;
  if (p == NULL || !lua_checkstack(L, 12)) return;
  if (p->why != 0) {
    ml__pushpinned(L, p->why);
  } else if (s->error != 0) {
    lua_pushcfunction(L, push_error);
    lua_pushlightuserdata(L, s);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) lua_pop(L, 1), lua_pushnil(L);
  } else
    lua_pushnil(L);
  call(L, s, "connection_lost", 1, false);
  lua_pop(L, 1);
  s->target = NULL;
  ml__unpin(L, p->why);
  ml__unpin(L, p->pin);
  protocol_free(p);
}

static void sink_forget(ml_stream *s) {
  protocol *p = s->target;
  ml__unpin(s->net->engine->L, p->why);
  ml__unpin(s->net->engine->L, p->pin);
  protocol_free(p);
}

static void sink_yield(ml_stream *s, ml_bytes *to) {
  protocol *p = s->target;
  memset(to, 0, sizeof *to);
  if (p == NULL) return;
  *to = p->in;
  memset(&p->in, 0, sizeof p->in);
}

const ml_sink ml__protocol_sink = {sink_data, sink_eof,    sink_pause, sink_resume,
                                   sink_lost, sink_forget, sink_yield, NULL};

void ml__protocol_start(lua_State *L, ml_stream *s, int idx) {
  protocol *p;
  idx = lua_absindex(L, idx);
  ml__transport_push(L, s);
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, 1);
  p = ml__alloc(s->net->engine->alloc, NULL, 0, sizeof *p);
  if (p == NULL) luaL_error(L, "not enough memory");
  memset(p, 0, sizeof *p);
  p->s = s;
  p->job.run = deliver;
  p->pending = P_MADE;
  ml__list_init(&p->job.link);
  s->sink = &ml__protocol_sink;
  s->target = p;
  p->pin = ml__pin(L, -1);
  schedule(p);
}

/* ---- Transport ---- */

static ml_stream *check(lua_State *L) {
  return ((ml_endpoint *)ml__checkobject(L, 1, ML_T_TRANSPORT))->s;
}

static int t_abort(lua_State *L) {
  ml__stream_fail(check(L), 0);
  return 0;
}

static int t_pause_reading(lua_State *L) {
  ml_stream *s = check(L);
  if (s->flags & (ML_S_CLOSING | ML_S_HALTED)) return 0;
  s->flags |= ML_S_HALTED;
  ml__stream_reading(s);
  return 0;
}

static int t_resume_reading(lua_State *L) {
  ml_stream *s = check(L);
  if (s->flags & ML_S_CLOSING) return 0;
  s->flags &= ~(uint32_t)ML_S_HALTED;
  ml__stream_reading(s);
  if (s->sink == &ml__protocol_sink && s->target != NULL) schedule(s->target);
  return 0;
}

static int t_is_reading(lua_State *L) {
  lua_pushboolean(L, !(check(L)->flags & (ML_S_CLOSING | ML_S_HALTED | ML_S_PAUSED)));
  return 1;
}

/* A mark at idx or in the table at 2 under `name`: -1 if it is not given. */
static int64_t check_mark(lua_State *L, int idx, const char *name) {
  int64_t n = -1;
  int ok;
  if (lua_istable(L, 2))
    lua_getfield(L, 2, name);
  else
    lua_pushvalue(L, idx);
  if (!lua_isnil(L, -1)) {
    n = lua_tointegerx(L, -1, &ok);
    if (!ok)
      ml__misuse(L, "TypeError", "set_write_buffer_limits: '%s' must be an integer, got %s", name,
                 luaL_typename(L, -1));
    if (n < 0 || n > INT32_MAX)
      ml__misuse(L, "ValueError", "set_write_buffer_limits: '%s' is out of range (%I)", name,
                 (LUAI_UACINT)n);
  }
  lua_pop(L, 1);
  return n;
}

void ml__check_marks(lua_State *L, int64_t *high, int64_t *low) {
  static const char *const keys[] = {"high", "low", NULL};
  lua_settop(L, 3);
  if (lua_istable(L, 2)) ml__checkoptions(L, 2, keys, "set_write_buffer_limits");
  *high = check_mark(L, 2, "high");
  *low = check_mark(L, 3, "low");
  if (*high < 0) *high = *low < 0 ? 64 * 1024 : 4 * *low;
  if (*low < 0) *low = *high / 4;
  if (*low > *high || *high > UINT32_MAX)
    ml__misuse(L, "ValueError", "high (%I) must be >= low (%I) must be >= 0", (LUAI_UACINT)*high,
               (LUAI_UACINT)*low);
}

static int t_set_limits(lua_State *L) {
  ml_stream *s = check(L);
  int64_t high, low;
  ml__check_marks(L, &high, &low);
  s->high = (uint32_t)high;
  s->low = (uint32_t)low;
  ml__stream_marks(L, s);
  return 0;
}

static int t_get_limits(lua_State *L) {
  ml_stream *s = check(L);
  lua_pushinteger(L, s->low);
  lua_pushinteger(L, s->high);
  return 2;
}

static int t_get_size(lua_State *L) {
  ml_stream *s = check(L);
  ml__stream_flush(s);
  lua_pushinteger(L, (lua_Integer)ml__stream_pending(s));
  return 1;
}

static int t_set_protocol(lua_State *L) {
  check(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 1);
  return 0;
}

static int t_get_protocol(lua_State *L) {
  check(L);
  lua_getiuservalue(L, 1, 1);
  return 1;
}

static int t_gc(lua_State *L) {
  ml_endpoint *t = lua_touserdata(L, 1);
  ml_stream *s = t->s;
  t->s = NULL;
  t->obj.magic = NULL; /* finalizers of scripts may still have it */
  if (s == NULL) return 0;
  if (s->sink == NULL) ml__stream_close(s); /* connected, but nobody took it */
  ml__stream_unref(s);
  return 0;
}

/* A stream that has no sink yet: what it has keeps pointers to it. */
static ml_stream *unused(lua_State *L) {
  ml_stream *s = check(L);
  if (s->sink != NULL) ml__error(L, "RuntimeError", "Transport already set");
  return s;
}

/* streams(transport, limit) -> reader, writer */
static int f_streams(lua_State *L) {
  ml__streams_push(L, unused(L), (size_t)luaL_checkinteger(L, 2));
  return 2;
}

/* In libuv's callback: whoever read what is written here has gone. */
static void on_gone(ml_watch *w, bool more) {
  ml_stream *s = ml__containerof(w, ml_stream, watch);
  if (more) ml__stream_fail(s, s->first != NULL ? UV_EPIPE : 0);
}

/* protocol(transport, protocol, write_only): connects them */
static int f_protocol(lua_State *L) {
  ml_stream *s = unused(L);
  if (lua_toboolean(L, 3)) {
    uv_os_fd_t fd;
    s->flags |= ML_S_EOF; /* nothing to read: libuv does not look at it */
    s->watch.ready = on_gone;
    if (ml__stream_fd(s, &fd) == 0) ml__watch_start(s->loop, &s->watch, fd);
  }
  ml__protocol_start(L, s, 2);
  return 1;
}

/* attach(transport, reader): the reader gets what comes */
static int f_attach(lua_State *L) {
  ml_stream *s = unused(L);
  ml_reader *r = ml__checkobject(L, 2, ML_T_READER);
  if (r->s != NULL) return ml__error(L, "RuntimeError", "Transport already set");
  r->s = s;
  ml__stream_ref(s);
  ml__stream_start(s, &ml__reader_sink, r);
  return 0;
}

void ml__open_transport(lua_State *L) {
  static const luaL_Reg methods[] = {{"abort", t_abort},
                                     {"pause_reading", t_pause_reading},
                                     {"resume_reading", t_resume_reading},
                                     {"is_reading", t_is_reading},
                                     {"set_write_buffer_limits", t_set_limits},
                                     {"get_write_buffer_limits", t_get_limits},
                                     {"get_write_buffer_size", t_get_size},
                                     {"set_protocol", t_set_protocol},
                                     {"get_protocol", t_get_protocol},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"streams", f_streams}, {"protocol", f_protocol}, {"attach", f_attach}, {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__tostring", ml__endpoint_tostring}, {"__gc", t_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_TRANSPORT, "Transport", methods, meta);
  luaL_setfuncs(L, ml__endpoint_methods, 0);
  lua_setfield(L, -2, "Transport");
  luaL_setfuncs(L, functions, 0);
  ml__push_weak(L, "v");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &transports_key);
}
