/* StreamWriter, and what it has in common with Transport: writing and closing.
** Semantics of CPython 3.13's streams.py and selector_events.py.
**
** A writer that is collected while its connection is open closes it and says
** so, as CPython's does.
*/
#include <string.h>

#include "stream.h"

/* The user value of writers. Their transport, which few are asked for, is a rare property. */
enum { UV_READER = 1 };

ml_endpoint *ml__checkendpoint(lua_State *L, int idx) {
  ml_object *o = lua_touserdata(L, idx);
  if (o != NULL && lua_rawlen(L, idx) == sizeof(ml_endpoint) && o->magic == &ml__magic &&
      (o->type == ML_T_WRITER || o->type == ML_T_TRANSPORT))
    return (ml_endpoint *)(void *)o;
  return ml__checkobject(L, idx, ML_T_WRITER);
}

ml_stream *ml__checkstream(lua_State *L, int idx) { return ml__checkendpoint(L, idx)->s; }

/* ---- writing ---- */

static void check_writable(lua_State *L, const ml_stream *s, const char *fname) {
  if (s->flags & ML_S_ENDED)
    ml__misuse(L, "RuntimeError", "Cannot call %s() after write_eof()", fname);
  if (s->flags & ML_S_HANDSHAKE)
    ml__misuse(L, "RuntimeError",
               "Cannot call %s() during the TLS handshake: await start_tls() first", fname);
  if (s->flags & ML_S_LENT)
    ml__misuse(L, "RuntimeError", "unable to %s; sendfile is in progress", fname);
}

static int w_write(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  size_t n;
  const char *p;
  uv_buf_t b;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "write: data must be a string, got %s", luaL_typename(L, 2));
  check_writable(L, s, "write");
  p = lua_tolstring(L, 2, &n);
  b.base = (char *)p;
  b.len = n;
  if (ml__stream_write(L, s, &b, 1) < 0) return luaL_error(L, "not enough memory");
  return 0;
}

static int w_writelines(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  uv_buf_t bufs[64];
  unsigned k = 0;
  lua_Integer n;
  if (!lua_istable(L, 2))
    return ml__misuse(L, "TypeError", "writelines: an array of strings was expected, got %s",
                      luaL_typename(L, 2));
  check_writable(L, s, "writelines");
  n = (lua_Integer)lua_rawlen(L, 2);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 2, i);
    if (lua_type(L, -1) != LUA_TSTRING)
      return ml__misuse(L, "TypeError", "writelines: item %d must be a string, got %s", (int)i,
                        luaL_typename(L, -1));
    lua_pop(L, 1);
  }
  for (lua_Integer i = 1; i <= n; i++) { /* the table holds the strings meanwhile */
    size_t len;
    lua_rawgeti(L, 2, i);
    bufs[k].base = (char *)lua_tolstring(L, -1, &len);
    bufs[k++].len = len;
    lua_pop(L, 1);
    if (k == sizeof bufs / sizeof bufs[0] || i == n) {
      if (ml__stream_write(L, s, bufs, k) < 0) return luaL_error(L, "not enough memory");
      k = 0;
    }
  }
  return 0;
}

static int w_write_eof(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  if (s->flags & (ML_S_HANDSHAKE | ML_S_LENT)) check_writable(L, s, "write_eof");
  ml__stream_end(s);
  return 0;
}

static int w_can_write_eof(lua_State *L) {
  ml__checkstream(L, 1);
  lua_pushboolean(L, 1);
  return 1;
}

static int w_close(lua_State *L) {
  ml__stream_close(ml__checkstream(L, 1));
  return 0;
}

static int w_is_closing(lua_State *L) {
  lua_pushboolean(L, (ml__checkstream(L, 1)->flags & ML_S_CLOSING) != 0);
  return 1;
}

/* ---- drain and wait_closed ---- */

/* How far a drain has come is in obj.n. */
enum { DONE, BUSY, YIELDED, WAITING };

static ml_stream *stream_of(const ml_waitop *w) { return ((ml_endpoint *)w->on)->s; }

/* Pushes the reader that belongs to the operation at index 1, or nil. */
static void push_reader(lua_State *L) {
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, -1, UV_READER);
  lua_remove(L, -2);
}

/* Pushes the error that the connection of the operation at index 1 was lost to:
** the reader's, so that all see the same object. */
static int raise_lost(lua_State *L, ml_stream *s) {
  push_reader(L);
  if (!lua_isuserdata(L, -1) || !ml__reader_failed(L, lua_gettop(L))) ml__stream_error(L, s);
  return ML_RAISE;
}

static int drain_end(ml_op *op, int n) {
  op->obj.n = DONE;
  return n;
}

static int drain_wait(lua_State *L, ml_waitop *w) {
  ml_stream *s = stream_of(w);
  if ((s->flags & ML_S_LOST) && s->error != 0) return drain_end(&w->op, raise_lost(L, s));
  if (s->flags & ML_S_LOST) {
    ml__error_new(L, "OSError", "Connection lost");
    lua_pushliteral(L, "ECONNRESET");
    lua_setfield(L, -2, "code");
    return drain_end(&w->op, ML_RAISE);
  }
  if (!(s->flags & ML_S_FULL)) {
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 1); /* the operation waits for its next writer */
    return drain_end(&w->op, 0);
  }
  w->op.obj.n = WAITING;
  ml__list_append(&s->waiters, &w->link);
  return ML_PARK;
}

static int drain_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_stream *s = stream_of(w);
  const ml_reader *r = s->sink == &ml__reader_sink ? s->target : NULL;
  if (r != NULL && (r->obj.flags & (ML_RD_FAILED | ML_RD_ERROR))) {
    push_reader(L);
    if (ml__reader_failed(L, lua_gettop(L))) return drain_end(op, ML_RAISE);
  }
  if (s->flags & ML_S_CLOSING) { /* let connection_lost be called first */
    op->obj.n = YIELDED;
    return ML_YIELD;
  }
  return drain_wait(L, w);
}

static int drain_wake(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_stream *s = stream_of(w);
  ml__list_remove(&w->link);
  if (op->obj.state == ML_OP_CANCELLED) return drain_end(op, 0);
  if (op->obj.n == YIELDED) return drain_wait(L, w);
  return drain_end(op, s->error != 0 ? raise_lost(L, s) : 0);
}

const ml_opclass ml__drain_class = {"StreamWriter.drain", drain_begin, drain_wake,
                                    ml__waitop_cancel};

static ml_endpoint *check_writer(lua_State *L) {
  ml_endpoint *e = ml__checkendpoint(L, 1);
  return e->obj.type == ML_T_WRITER ? e : ml__checkobject(L, 1, ML_T_WRITER);
}

/* The last drain is kept, and used again by any writer when it is done with. */
static int w_drain(lua_State *L) {
  ml_endpoint *e = check_writer(L);
  ml_waitop *w = lua_touserdata(L, lua_upvalueindex(1));
  if (w != NULL && w->op.obj.n == DONE && w->op.obj.state == ML_CO_AWAITED) {
    w->op.obj.state = ML_CO_NEW;
    w->op.obj.flags = 0;
    w->on = e;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
  } else {
    lua_pushvalue(L, 1);
    w = ml__waitop_push(L, &ml__drain_class, e);
    lua_pushvalue(L, -1);
    lua_replace(L, lua_upvalueindex(1));
  }
  w->op.obj.n = BUSY;
  return 1;
}

static int closed_begin(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_stream *s = stream_of(w);
  if (s->flags & ML_S_LOST) return s->error != 0 ? raise_lost(L, s) : 0;
  ml__list_append(&s->waiters, &w->link);
  return ML_PARK;
}

static int closed_wake(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml_stream *s = stream_of(w);
  ml__list_remove(&w->link);
  if (op->obj.state == ML_OP_CANCELLED) return 0;
  return s->error != 0 ? raise_lost(L, s) : 0;
}

const ml_opclass ml__closed_class = {"StreamWriter.wait_closed", closed_begin, closed_wake,
                                     ml__waitop_cancel};

static int w_wait_closed(lua_State *L) {
  ml_endpoint *e = check_writer(L);
  lua_pushvalue(L, 1);
  ml__waitop_push(L, &ml__closed_class, e);
  return 1;
}

/* ---- looking ---- */

static void push_pipename(lua_State *L, ml_stream *s, bool peer) {
  char buf[256];
  size_t n = sizeof buf;
  if ((s->flags & (ML_S_UNIX | ML_S_CLOSED)) != ML_S_UNIX || ml__stream_gone(s)) {
    lua_pushliteral(L, "");
    return;
  }
  if ((peer ? uv_pipe_getpeername(&s->uv->pipe, buf, &n)
            : uv_pipe_getsockname(&s->uv->pipe, buf, &n)) != 0)
    n = 0;
  lua_pushlstring(L, buf, n);
}

/* get_extra_info(name [, default]) */
static int w_get_extra_info(lua_State *L) {
  ml_stream *s = ml__checkstream(L, 1);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
  if (name == NULL)
    return ml__misuse(L, "TypeError", "get_extra_info: a name was expected, got %s",
                      luaL_typename(L, 2));
  lua_settop(L, 3);
  if (strcmp(name, "peername") == 0 || strcmp(name, "sockname") == 0) {
    bool peer = name[0] == 'p';
    if (s->flags & ML_S_UNIX)
      push_pipename(L, s, peer);
    else
      ml__stream_addr_push(L, s, peer);
    if (lua_isnil(L, -1)) lua_pushvalue(L, 3);
  }
  return 1;
}

static const char *state_name(const ml_stream *s) {
  if (s->flags & ML_S_LOST) return "closed";
  return (s->flags & ML_S_CLOSING) ? "closing" : "open";
}

int ml__endpoint_tostring(lua_State *L) {
  ml_endpoint *e = ml__checkendpoint(L, 1);
  char who[96];
  ml__stream_text(e->s, who, sizeof who);
  lua_pushfstring(L, "<%s %s peer=%s bufsize=%I>",
                  e->obj.type == ML_T_WRITER ? "StreamWriter" : "Transport", state_name(e->s), who,
                  (LUAI_UACINT)ml__stream_pending(e->s));
  return 1;
}

static int push_transport(lua_State *L) {
  ml_endpoint *e = check_writer(L);
  ml__push_extras(L, 1);
  if (lua_getfield(L, -1, "transport") == LUA_TNIL) {
    ml__transport_push(L, e->s);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "transport");
  }
  return 1;
}

/* The methods (upvalue 1), and fields: those are light userdata there. Every method
** call comes through here. */
static int w_index(lua_State *L) {
  if (lua_gettop(L) != 2) lua_settop(L, 2);
  return lua_rawget(L, lua_upvalueindex(1)) == LUA_TLIGHTUSERDATA ? push_transport(L) : 1;
}

static int w_gc(lua_State *L) {
  ml_endpoint *e = lua_touserdata(L, 1);
  ml_stream *s = e->s;
  e->s = NULL;
  e->obj.magic = NULL; /* finalizers of scripts may still have it */
  if (s == NULL) return 0;
  if (!(s->flags & ML_S_CLOSING) && !(e->obj.flags & ML_EP_GIVEN)) {
    char who[96];
    ml__stream_text(s, who, sizeof who);
    ml__log(s->net->engine, "ResourceWarning: unclosed <StreamWriter peer=%s>: call close()", who);
    ml__stream_close(s);
  }
  ml__stream_unref(s);
  return 0;
}

void ml__streams_push(lua_State *L, ml_stream *s, size_t limit) {
  ml_endpoint *w;
  ml_reader *r = ml__reader_push(L, s->net, s, limit);
  w = ml__newobject(L, ML_T_WRITER, sizeof *w, UV_READER);
  w->s = s;
  ml__stream_ref(s);
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, -2, UV_READER);
  ml__stream_start(s, &ml__reader_sink, r);
}

/* new_writer(transport [, reader]) */
static int f_new_writer(lua_State *L) {
  ml_endpoint *t = ml__checkobject(L, 1, ML_T_TRANSPORT), *w;
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) ml__checkobject(L, 2, ML_T_READER);
  w = ml__newobject(L, ML_T_WRITER, sizeof *w, UV_READER);
  w->s = t->s;
  ml__stream_ref(w->s);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, UV_READER);
  ml__push_extras(L, -1);
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "transport");
  lua_pop(L, 1);
  return 1;
}

const luaL_Reg ml__endpoint_methods[] = {{"write", w_write},
                                         {"writelines", w_writelines},
                                         {"write_eof", w_write_eof},
                                         {"can_write_eof", w_can_write_eof},
                                         {"close", w_close},
                                         {"is_closing", w_is_closing},
                                         {"get_extra_info", w_get_extra_info},
                                         {NULL, NULL}};

void ml__open_writer(lua_State *L) {
  static const luaL_Reg methods[] = {{"wait_closed", w_wait_closed}, {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__tostring", ml__endpoint_tostring}, {"__gc", w_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_WRITER, "StreamWriter", methods, meta);
  luaL_setfuncs(L, ml__endpoint_methods, 0);
  lua_pushnil(L);
  lua_pushcclosure(L, w_drain, 1);
  lua_setfield(L, -2, "drain");
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "transport");
  ml__ref_get(L, ML_R_TYPES + ML_T_WRITER);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, w_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_setfield(L, -2, "StreamWriter");
  lua_pushcfunction(L, f_new_writer);
  lua_setfield(L, -2, "new_writer");
}
