/* Bodies of requests: kept with the connection, up to a mark, until a task asks for them:
** as a whole (x:read) or as a stream (x:content, a StreamReader that is fed). Nobody who
** reads slowly, or not at all, makes more than that come.
*/
#include <stdio.h>
#include <string.h>

#include "http.h"

#define MARK ML_LIMIT /* bytes that come without being asked for */

static const char errors_key;

/* Has what was still to come of it got lost? */
static bool failed(const ml_hconn *c) {
  return (c->flags & ML_HC_BODY) && (c->bad != 0 || (c->flags & (ML_HC_PEER_ENDED | ML_HC_OVER)));
}

void ml__http_error(lua_State *L, const char *cls, int status, const char *why) {
  luaL_checkstack(L, 6, "error");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &errors_key);
  lua_getfield(L, -1, cls);
  lua_pushstring(L, why);
  lua_call(L, 1, 1);
  lua_remove(L, -2);
  lua_pushinteger(L, status);
  lua_setfield(L, -2, "status");
}

/* Pushes why the body never came in full. */
static void push_failure(lua_State *L, const ml_hconn *c) {
  if (c->bad != 0) {
    ml__http_error(L, c->bad == 408 ? "RequestTimeout" : "BadRequest", c->bad, c->why);
  } else {
    ml__http_gone(L, ML_HTTP_CUT);
  }
}

static int raise_too_large(lua_State *L, ml_hconn *c, size_t limit) {
  char text[96];
  snprintf(text, sizeof text, "the request's body has more than %zu bytes", limit);
  c->flags &= ~(uint32_t)ML_HC_KEEP;
  ml__http_error(L, "PayloadTooLarge", 413, text);
  return ML_RAISE;
}

/* ---- what comes ---- */

void ml__hbody_add(ml_hconn *c, const char *p, size_t n) {
  int rc = 0;
  c->got += n;
  if (c->flags & ML_HC_DISCARD) {
    if (c->got > c->settings->max_discard) ml__hconn_wake(c);
    return;
  }
  if (c->flags & ML_HC_READING) ml__hconn_deadline(c, c->settings->body_timeout);
  if (c->reader != NULL) {
    rc = ml__reader_feed(c->reader, p, n);
    if (c->reader->in.len > 2 * c->reader->limit && c->reader->waiter == NULL)
      ml__hconn_pause(c, true);
  } else {
    rc = ml__bytes_add(c->s->net, &c->body, p, n);
    if (c->reading == NULL) {
      if (c->body.len > MARK) ml__hconn_pause(c, true);
    } else if (c->reading->limit > 0 && c->got > c->reading->limit)
      ml__op_wake(&c->reading->op);
  }
  if (rc < 0) ml__stream_fail(c->s, rc);
}

void ml__hbody_end(ml_hconn *c) {
  if (c->flags & ML_HC_READING) ml__hconn_deadline(c, -1);
  c->flags &= ~(uint32_t)ML_HC_READING;
  if (c->reader != NULL && !(c->reader->obj.flags & (ML_RD_EOF | ML_RD_FAILED))) {
    if (c->flags & ML_HC_BODY)
      ml__reader_fail(c->reader);
    else
      ml__reader_end(c->reader);
  }
  if (c->reading != NULL) ml__op_wake(&c->reading->op);
  if (c->flags & ML_HC_DISCARD) ml__hconn_wake(c);
}

/* 100 Continue, if the peer waits for it. */
static void expects(ml_hconn *c) {
  static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
  uv_buf_t b = {.base = (char *)text, .len = sizeof text - 1};
  if (!(c->flags & ML_HC_CONTINUE)) return;
  c->flags &= ~(uint32_t)ML_HC_CONTINUE;
  if (c->got == 0 && !(c->flags & (ML_HC_STARTED | ML_HC_OVER)) && !(c->s->flags & ML_S_CLOSING))
    ml__stream_write(c->s->loop->L, c->s, &b, 1);
}

static void begin_wait(ml_hconn *c) {
  expects(c);
  c->flags |= ML_HC_READING;
  ml__hconn_deadline(c, c->settings->body_timeout);
  ml__hconn_pause(c, false);
}

/* Whoever still reads what is left of it is told that it is too late. */
void ml__hbody_reset(lua_State *L, ml_hconn *c, int idx) {
  ml_reader *r = c->reader;
  ml_hop *op = c->reading;
  c->flags &= ~(uint32_t)ML_HC_READING;
  ml__bytes_free(c->s->net, &c->body);
  c->reading = NULL;
  if (op != NULL) ml__op_wake(&op->op);
  if (r == NULL) return;
  if (!(r->obj.flags & (ML_RD_EOF | ML_RD_FAILED | ML_RD_ERROR))) {
    lua_getiuservalue(L, idx, ML_HC_UV_READER);
    ml__error_new(L, "RuntimeError", "the request is over, and its body was not read to the end");
    ml__reader_set_error(L, -2);
    lua_pop(L, 1);
    r->source = NULL;
    ml__reader_fail(r);
  } else if (r->obj.flags & ML_RD_FAILED && !(r->obj.flags & ML_RD_ERROR)) {
    lua_getiuservalue(L, idx, ML_HC_UV_READER);
    ml__reader_failed(L, lua_gettop(L)); /* the error is made while it is known */
    lua_pop(L, 2);
  }
  r->source = NULL;
  c->reader = NULL;
  lua_pushnil(L);
  lua_setiuservalue(L, idx, ML_HC_UV_READER);
}

/* ---- x:read(limit) ---- */

/* The operation is at index 1. */
static int read_step(lua_State *L, ml_hop *op) {
  ml_hconn *c = op->c;
  if (c->serial != op->serial || !(c->flags & ML_HC_BUSY) || (c->flags & ML_HC_DISCARD)) {
    ml__error_new(L, "RuntimeError", "read(): the request is over");
    return ML_RAISE;
  }
  if (c->reader != NULL) {
    ml__error_new(L, "RuntimeError", "read(): the body is read as a stream: use content()");
    return ML_RAISE;
  }
  if (op->limit > 0 &&
      (c->got > op->limit ||
       ((c->flags & ML_HC_BODY) && c->expected != UINT64_MAX && c->expected > op->limit)))
    return raise_too_large(L, c, op->limit);
  if (failed(c)) {
    push_failure(L, c);
    return ML_RAISE;
  }
  if (!(c->flags & ML_HC_BODY)) {
    ml__bytes_take(L, c->s->net, &c->body, c->body.len);
    return 1;
  }
  if (c->reading != NULL) {
    ml__error_new(L, "RuntimeError", "read() called while another task reads the body");
    return ML_RAISE;
  }
  c->reading = op;
  begin_wait(c);
  return ML_PARK;
}

static int read_begin(lua_State *L, ml_op *o) { return read_step(L, (ml_hop *)o); }

static void read_cancel(ml_op *o) {
  ml_hop *op = (ml_hop *)o;
  ml_hconn *c = op->c;
  if (c->reading != op) return;
  c->reading = NULL;
  if (c->flags & ML_HC_READING) ml__hconn_deadline(c, -1);
  c->flags &= ~(uint32_t)ML_HC_READING;
}

static int read_wake(lua_State *L, ml_op *o) {
  read_cancel(o);
  return o->obj.state == ML_OP_CANCELLED ? 0 : read_step(L, (ml_hop *)o);
}

static const ml_opclass read_class = {"Exchange.read", read_begin, read_wake, read_cancel};

/* x:read([limit]) */
static int x_read(lua_State *L) {
  ml_hconn *c = ml__checkcurrent(L, "read");
  ml_exchange *x = lua_touserdata(L, 1);
  size_t limit = ml__http_read_limit(L);
  ml_hop *op;
  op = ml__op_new(L, &read_class, sizeof *op, 1);
  op->c = c;
  op->serial = x->serial;
  op->limit = limit;
  lua_getiuservalue(L, 1, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* ---- x:content() ---- */

static int source_want(ml_readsource *src, ml_evloop *loop) {
  ml_hconn *c = ml__containerof(src, ml_hconn, source);
  if (loop == NULL) {
    if (c->flags & ML_HC_READING) ml__hconn_deadline(c, -1);
    c->flags &= ~(uint32_t)ML_HC_READING;
    return 0;
  }
  if (failed(c) || loop != c->s->loop) return -1;
  begin_wait(c);
  return 0;
}

static void source_error(lua_State *L, ml_readsource *src) {
  push_failure(L, ml__containerof(src, ml_hconn, source));
}

/* x:content(): a StreamReader of the body; always the same one */
static int x_content(lua_State *L) {
  ml_hconn *c = ml__checkcurrent(L, "content");
  ml_reader *r;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  if (c->reader != NULL) {
    lua_getiuservalue(L, 2, ML_HC_UV_READER);
    return 1;
  }
  if (c->reading != NULL)
    return ml__misuse(L, "RuntimeError", "content(): another task reads the body");
  r = ml__reader_push(L, c->s->net, NULL, ML_LIMIT);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 2, ML_HC_UV_READER);
  r->in = c->body;
  memset(&c->body, 0, sizeof c->body);
  c->source.want = source_want;
  c->source.error = source_error;
  r->source = &c->source;
  c->reader = r;
  if (!(c->flags & ML_HC_BODY))
    ml__reader_end(r);
  else if (failed(c))
    ml__reader_fail(r);
  return 1;
}

static int x_has_body(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  lua_pushboolean(L, (x->head.flags & ML_HH_CHUNKED) || x->head.length > 0);
  return 1;
}

/* x:content_length(): nil if it is not known */
static int x_content_length(lua_State *L) {
  const ml_exchange *x = ml__checkexchange(L, 1);
  if (x->head.flags & ML_HH_LENGTH)
    lua_pushinteger(L, (lua_Integer)x->head.length);
  else
    lua_pushnil(L);
  return 1;
}

const luaL_Reg ml__hbody_methods[] = {{"read", x_read},
                                      {"content", x_content},
                                      {"has_body", x_has_body},
                                      {"content_length", x_content_length},
                                      {NULL, NULL}};

/* Makes the error classes, as fields of the table on top. */
void ml__open_hbody(lua_State *L) {
  static const char *const names[] = {"BadRequest", "RequestTimeout", "PayloadTooLarge"};
  lua_newtable(L);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    lua_pushstring(L, names[i]);
    ml__error_class_named(L, "Exception");
    ml__error_class_new(L, lua_gettop(L) - 1, lua_gettop(L));
    lua_pushvalue(L, -1);
    lua_setfield(L, -5, names[i]); /* of the list */
    lua_setfield(L, -5, names[i]); /* of the module */
    lua_pop(L, 2);
  }
  lua_rawsetp(L, LUA_REGISTRYINDEX, &errors_key);
}
