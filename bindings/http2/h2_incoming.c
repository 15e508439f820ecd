/* What exchanges of both sides have: the headers and the body of the message that comes, and
** whom it comes from.
*/
#include <stdio.h>
#include <string.h>

#include "h2.h"

ml_h2stream *ml__h2_check(lua_State *L) {
  ml_object *o = lua_touserdata(L, 1);
  if (o != NULL && lua_rawlen(L, 1) == sizeof(ml_h2exchange) && o->magic == &ml__magic &&
      (o->type == ML_T_H2EXCHANGE || o->type == ML_T_H2CALL))
    return ((ml_h2exchange *)(void *)o)->x;
  return ((ml_h2exchange *)ml__checkobject(L, 1, ML_T_H2EXCHANGE))->x;
}

/* ---- headers ---- */

const ml_hhead *ml__h2_check_head(lua_State *L, const char *fname) {
  const ml_h2stream *x = ml__h2_check(L);
  if (x->head == NULL) ml__misuse(L, "RuntimeError", "%s(): there is no response yet", fname);
  return x->head;
}

/* x:header(name): the first one's value, or nil */
static int x_header(lua_State *L) { return ml__hhead_header(L, ml__h2_check_head(L, "header")); }

static int x_headers(lua_State *L) {
  ml__headers_of(L, ml__h2_check_head(L, "headers"));
  return 1;
}

/* ---- the body ---- */

/* User value 1: the exchange. */
typedef struct readop {
  ml_op op;
  ml_h2stream *x;
  size_t limit;
} readop;

static uint64_t told_length(const ml_h2stream *x) {
  return x->head != NULL && (x->head->flags & ML_HH_LENGTH) ? x->head->length : 0;
}

static int read_step(lua_State *L, readop *op) {
  ml_h2stream *x = op->x;
  const ml_h2role *role = x->h->role;
  if (x->reader != NULL) {
    ml__error_new(L, "RuntimeError", "read(): the body is read as a stream: use content()");
    return ML_RAISE;
  }
  if (op->limit > 0 && (x->in.len > op->limit || told_length(x) > op->limit)) {
    role->too_large(L, op->limit);
    return ML_RAISE;
  }
  if (x->flags & H2S_EOF) {
    ml__bytes_take(L, x->h->http->net, &x->in, x->in.len);
    ml__h2_took(x);
    if (!(x->flags & H2S_OPEN)) x->flags |= H2S_TOLD;
    return 1;
  }
  if ((x->flags & H2S_LATE) || !(x->flags & H2S_OPEN)) {
    role->body_error(L, &x->source);
    return ML_RAISE;
  }
  if (x->flags & H2S_DISCARD) {
    ml__error_new(L, "RuntimeError", "read(): the %s is over", role->theirs);
    return ML_RAISE;
  }
  if (x->reading != NULL || x->h->loop != ml__engine(L)->running) {
    ml__error_new(L, "RuntimeError",
                  x->reading != NULL ? "read() called while another task reads the body"
                                     : "read(): the connection belongs to a different loop");
    return ML_RAISE;
  }
  x->reading = &op->op;
  x->limit = op->limit;
  ml__h2_want(x, true);
  return ML_PARK;
}

static int read_begin(lua_State *L, ml_op *o) { return read_step(L, (readop *)o); }

static void read_cancel(ml_op *o) {
  ml_h2stream *x = ((readop *)o)->x;
  if (x->reading == o) x->reading = NULL;
  ml__h2_want(x, false);
}

static int read_wake(lua_State *L, ml_op *o) {
  read_cancel(o);
  return o->obj.state == ML_OP_CANCELLED ? 0 : read_step(L, (readop *)o);
}

static const ml_opclass read_class = {"Exchange.read", read_begin, read_wake, read_cancel};

/* x:read([limit]) */
static int x_read(lua_State *L) {
  ml_h2stream *x = ml__h2_check(L);
  size_t limit = ml__http_read_limit(L);
  readop *op;
  op = ml__op_new(L, &read_class, sizeof *op, 1);
  op->x = x;
  op->limit = limit;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* x:content(): a StreamReader of the body; always the same one */
static int x_content(lua_State *L) {
  ml_h2stream *x = ml__h2_check(L);
  ml_reader *r;
  lua_settop(L, 1);
  if (lua_getiuservalue(L, 1, H2_UV_READER) != LUA_TNIL) return 1;
  if (x->reading != NULL)
    return ml__misuse(L, "RuntimeError", "content(): another task reads the body");
  r = ml__reader_push_uv(L, x->h->http->net, ML_LIMIT, x->h->role->client ? 1 : 0);
  if (x->h->role->client) { /* so that nothing of it goes while somebody reads */
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, ML_RD_UV_OWN);
  }
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, H2_UV_READER);
  r->in = x->in;
  memset(&x->in, 0, sizeof x->in);
  r->source = &x->source;
  x->refs++;
  x->reader = r;
  if (x->flags & H2S_EOF)
    ml__reader_end(r);
  else if (!(x->flags & H2S_OPEN))
    ml__reader_fail(r);
  return 1;
}

/* ---- the connection ---- */

static int x_peername(lua_State *L) {
  ml__stream_addr_push(L, ml__h2_check(L)->h->s, true);
  return 1;
}

static int x_sockname(lua_State *L) {
  ml__stream_addr_push(L, ml__h2_check(L)->h->s, false);
  return 1;
}

/* x:transport_info(name [, default]): as get_extra_info of the connection's transport */
static int x_transport_info(lua_State *L) { return ml__stream_info(L, ml__h2_check(L)->h->s); }

static int x_multiplexed(lua_State *L) {
  ml__h2_check(L);
  lua_pushboolean(L, 1);
  return 1;
}

static int x_sent(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)ml__h2_check(L)->written);
  return 1;
}

/* x:abort(): the stream is reset */
static int x_abort(lua_State *L) {
  ml_h2stream *x = ml__h2_check(L);
  ml__h2_finished(x);
  ml__h2_reset(x, NGHTTP2_CANCEL);
  return 0;
}

const luaL_Reg ml__h2_message_methods[] = {{"header", x_header},
                                           {"headers", x_headers},
                                           {"read", x_read},
                                           {"content", x_content},
                                           {"peername", x_peername},
                                           {"sockname", x_sockname},
                                           {"transport_info", x_transport_info},
                                           {"multiplexed", x_multiplexed},
                                           {"sent", x_sent},
                                           {"abort", x_abort},
                                           {NULL, NULL}};
