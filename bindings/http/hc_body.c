/* Responses: the tasks that wait for their head and their body. A body lies with the connection,
** up to a mark, until a task asks for it: as a whole (x:read, x:take) or as a stream (x:content, a
** StreamReader that is fed). Nobody who reads slowly makes more than that come.
*/
#include "hc.h"

#define TURNS 8                   /* reads of a body by one task, before the others have theirs */
#define AHEAD ((uint64_t)4 << 20) /* memory for a body that is not there yet, bytes */

/* ---- what comes ---- */

/* Room for all of a body that a task waits for. */
static void make_room(ml_hcconn *c) {
  uint64_t n = c->expected;
  if (n == UINT64_MAX || n <= ML_SLAB || c->body.base != NULL) return;
  if (c->reading->limit > 0 && n > c->reading->limit) return;
  ml__bytes_reserve(c->s->net, &c->body, (size_t)(n < AHEAD ? n : AHEAD));
}

void ml__hcbody_add(ml_hcconn *c, const char *p, size_t n) {
  int rc = 0;
  size_t mark = c->settings->read_bufsize;
  c->got += n;
  if (c->flags & ML_CC_DISCARD) {
    c->dropped += n;
    if (c->dropped > c->settings->max_discard) ml__hcconn_fail(c, ML_CF_CLOSED, NULL);
    return;
  }
  if (c->reader != NULL) {
    rc = ml__reader_feed(c->reader, p, n);
    if (c->reader->in.len > 2 * (size_t)mark && c->reader->waiter == NULL)
      ml__hcconn_pause(c, true);
  } else {
    if (c->reading != NULL) make_room(c);
    rc = ml__bytes_add(c->s->net, &c->body, p, n);
    if (c->reading == NULL) {
      if (c->body.len > mark) ml__hcconn_pause(c, true);
    } else if (c->reading->limit > 0 && c->got > c->reading->limit)
      ml__op_wake(&c->reading->op);
  }
  if (rc < 0) ml__stream_fail(c->s, rc);
}

void ml__hcbody_end(ml_hcconn *c) {
  if (c->reader != NULL && !(c->reader->obj.flags & (ML_RD_EOF | ML_RD_FAILED))) {
    if (c->flags & ML_CC_COMPLETE)
      ml__reader_end(c->reader);
    else
      ml__reader_fail(c->reader);
  }
  if (c->reading != NULL) ml__op_wake(&c->reading->op);
}

void ml__hcbody_reset(lua_State *L, ml_hcconn *c, int idx) {
  ml_reader *r = c->reader;
  ml__bytes_free(c->s->net, &c->body);
  ml__bytes_free(c->s->net, &c->rest);
  if (r == NULL) return;
  if (!(r->obj.flags & (ML_RD_EOF | ML_RD_FAILED | ML_RD_ERROR))) {
    lua_getiuservalue(L, idx, ML_CC_UV_READER);
    ml__error_new(L, "RuntimeError", "the response is over, and was not read to the end");
    ml__reader_set_error(L, -2);
    lua_pop(L, 1);
    ml__reader_fail(r);
  }
  r->source = NULL;
  c->reader = NULL;
  lua_pushnil(L);
  lua_setiuservalue(L, idx, ML_CC_UV_READER);
}

/* ---- x:response() ---- */

/* The exchange of the operation's connection, which is at 2, takes what is there. */
static int take_response(lua_State *L, ml_hcconn *c) {
  ml_hcexchange *x = c->x;
  int status = c->head->status;
  lua_getiuservalue(L, 2, ML_CC_UV_EXCHANGE);
  ml__hcexchange_take_head(L, x, lua_gettop(L));
  if ((c->flags & ML_CC_COMPLETE) && c->body.len == 0) ml__hcconn_settle(L, c, 2);
  lua_pushinteger(L, status);
  return 1;
}

static int over(lua_State *L, const char *fname) {
  ml__error_new(L, "RuntimeError", "%s(): the request is over", fname);
  return ML_RAISE;
}

static int twice(lua_State *L, const char *fname) {
  ml__error_new(L, "RuntimeError", "%s() called while another task waits in it", fname);
  return ML_RAISE;
}

/* The operation is at index 1. */
static int response_step(lua_State *L, ml_hcop *op) {
  ml_hcconn *c = op->c;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  if (c->x == NULL || c->serial != op->serial) return over(L, "response");
  if (c->head != NULL) return take_response(L, c);
  if (c->x->head != NULL) {
    lua_pushinteger(L, c->x->head->status);
    return 1;
  }
  if (c->fail != ML_CF_NONE) {
    ml__hcexchange_failure(L, c);
    return ML_RAISE;
  }
  if (c->waiting != NULL) return twice(L, "response");
  c->waiting = op;
  return ML_PARK;
}

static int response_begin(lua_State *L, ml_op *o) {
  int n = response_step(L, (ml_hcop *)o);
  if (n != ML_PARK) ml__hcop_done((ml_hcop *)o);
  return n;
}

static void response_cancel(ml_op *o) {
  ml_hcop *op = (ml_hcop *)o;
  ml_hcconn *c = op->c;
  if (c->waiting != op) return;
  c->waiting = NULL;
  if ((c->flags & ML_CC_COMPLETE) || (c->fail != ML_CF_NONE && c->fail != ML_CF_CLOSED))
    ml__hcconn_done(c);
}

static int response_wake(lua_State *L, ml_op *o) {
  response_cancel(o);
  if (o->obj.state != ML_OP_CANCELLED) return response_begin(L, o);
  ml__hcop_done((ml_hcop *)o);
  return 0;
}

static const ml_opclass response_class = {"Exchange.response", response_begin, response_wake,
                                          response_cancel};

static int known_begin(lua_State *L, ml_op *o) {
  const ml_hcexchange *x = ((ml_waitop *)o)->on;
  lua_pushinteger(L, x->head->status);
  return 1;
}

static const ml_opclass known_class = {"Exchange.response", known_begin, NULL, NULL};

/* x:response(): awaited it gives the status of the final response */
static int x_response(lua_State *L) {
  ml_hcexchange *x = ml__checkhcexchange(L, 1);
  if (x->head == NULL && ml__hcexchange_current(x)) {
    ml__hcop_push(L, x->c, &response_class);
    return 1;
  }
  lua_pushvalue(L, 1);
  ml__waitop_push(L, &known_class, x);
  return 1;
}

/* ---- x:continued() ---- */

static int continued_step(lua_State *L, ml_hcop *op) {
  ml_hcconn *c = op->c;
  if (c->x == NULL || c->serial != op->serial || (c->flags & (ML_CC_CONTINUED | ML_CC_HEAD))) {
    lua_pushboolean(L, c->x != NULL && c->serial == op->serial && !(c->flags & ML_CC_HEAD));
    return 1;
  }
  if (c->fail != ML_CF_NONE) {
    ml__hcexchange_failure(L, c);
    return ML_RAISE;
  }
  if (c->continuing != NULL) return twice(L, "continued");
  c->continuing = op;
  return ML_PARK;
}

static int continued_begin(lua_State *L, ml_op *o) {
  int n = continued_step(L, (ml_hcop *)o);
  if (n != ML_PARK) ml__hcop_done((ml_hcop *)o);
  return n;
}

static void continued_cancel(ml_op *o) {
  ml_hcop *op = (ml_hcop *)o;
  if (op->c->continuing == op) op->c->continuing = NULL;
}

static int continued_wake(lua_State *L, ml_op *o) {
  continued_cancel(o);
  if (o->obj.state != ML_OP_CANCELLED) return continued_begin(L, o);
  ml__hcop_done((ml_hcop *)o);
  return 0;
}

static const ml_opclass continued_class = {"Exchange.continued", continued_begin, continued_wake,
                                           continued_cancel};

/* x:continued(): awaited it says whether the server asks for the body (100), or false: it has
** answered already */
static int x_continued(lua_State *L) {
  ml_hcconn *c = ml__checkhccurrent(L, "continued");
  ml__hcop_push(L, c, &continued_class);
  return 1;
}

/* ---- x:read(limit) ---- */

static int raise_too_large(lua_State *L, size_t limit) {
  ml__hc_error(L, "PayloadError", "the response has more than %I bytes", (LUAI_UACINT)limit);
  lua_pushinteger(L, (lua_Integer)limit);
  lua_setfield(L, -2, "limit");
  return ML_RAISE;
}

/* The body of the exchange at idx, which nobody has taken when its connection was needed: pushes it. */
static void push_kept(lua_State *L, ml_hcexchange *x, int idx) {
  x->taken = true;
  if (lua_getiuservalue(L, idx, ML_CX_UV_BODY) == LUA_TSTRING) {
    lua_pushnil(L);
    lua_setiuservalue(L, idx, ML_CX_UV_BODY);
  } else {
    lua_pop(L, 1);
    lua_pushliteral(L, "");
  }
}

static int read_step(lua_State *L, ml_hcop *op) {
  ml_hcconn *c = op->c;
  ml_hcexchange *x;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  if (c->x == NULL || c->serial != op->serial) return over(L, "read");
  x = c->x;
  if (c->flags & (ML_CC_DISCARD | ML_CC_TUNNEL)) return over(L, "read");
  if (c->reader != NULL) {
    ml__error_new(L, "RuntimeError", "read(): the body is read as a stream: use content()");
    return ML_RAISE;
  }
  if (op->limit > 0 &&
      (c->got > op->limit || (c->expected != UINT64_MAX && c->expected > op->limit)))
    return raise_too_large(L, op->limit);
  if (c->flags & ML_CC_COMPLETE) {
    x->taken = true;
    ml__bytes_take(L, c->s->net, &c->body, c->body.len);
    ml__hcconn_settle(L, c, 2);
    return 1;
  }
  if (c->fail != ML_CF_NONE) {
    ml__hcexchange_failure(L, c);
    return ML_RAISE;
  }
  if (c->reading != NULL) return twice(L, "read");
  c->reading = op;
  ml__hcconn_pause(c, false);
  return ML_PARK;
}

static int read_begin(lua_State *L, ml_op *o) {
  int n = read_step(L, (ml_hcop *)o);
  if (n != ML_PARK) ml__hcop_done((ml_hcop *)o);
  return n;
}

static void read_cancel(ml_op *o) {
  ml_hcop *op = (ml_hcop *)o;
  ml_hcconn *c = op->c;
  if (c->reading != op) return;
  c->reading = NULL;
  if ((c->flags & ML_CC_COMPLETE) || (c->fail != ML_CF_NONE && c->fail != ML_CF_CLOSED))
    ml__hcconn_done(c);
}

static int read_wake(lua_State *L, ml_op *o) {
  read_cancel(o);
  if (o->obj.state != ML_OP_CANCELLED) return read_begin(L, o);
  ml__hcop_done((ml_hcop *)o);
  return 0;
}

static const ml_opclass read_class = {"Exchange.read", read_begin, read_wake, read_cancel};

static int kept_begin(lua_State *L, ml_op *o) {
  ml_hcexchange *x = ((ml_waitop *)o)->on;
  lua_getiuservalue(L, 1, 1);
  if (x->taken) {
    ml__error_new(L, "RuntimeError", "read(): the body has been taken already");
    return ML_RAISE;
  }
  push_kept(L, x, lua_gettop(L));
  return 1;
}

static const ml_opclass kept_class = {"Exchange.read", kept_begin, NULL, NULL};

/* x:read([limit]) */
static int x_read(lua_State *L) {
  ml_hcexchange *x = ml__checkhcexchange(L, 1);
  size_t limit = ml__http_read_limit(L);
  if (ml__hcexchange_current(x)) {
    ml__hcop_push(L, x->c, &read_class)->limit = limit;
    return 1;
  }
  if (limit > 0 && lua_getiuservalue(L, 1, ML_CX_UV_BODY) == LUA_TSTRING &&
      lua_rawlen(L, -1) > limit) {
    raise_too_large(L, limit);
    return lua_error(L);
  }
  lua_pushvalue(L, 1);
  ml__waitop_push(L, &kept_class, x);
  return 1;
}

/* x:take(): the body, if the whole response has come already and nobody has taken it; else nil */
static int x_take(lua_State *L) {
  ml_hcexchange *x = ml__checkhcexchange(L, 1);
  ml_hcconn *c = x->c;
  lua_settop(L, 1);
  if (!ml__hcexchange_current(x)) {
    if (x->taken)
      lua_pushnil(L);
    else
      push_kept(L, x, 1);
    return 1;
  }
  if (!(c->flags & ML_CC_COMPLETE) || c->head != NULL || c->reader != NULL || c->reading != NULL ||
      x->taken || (c->flags & ML_CC_DISCARD)) {
    lua_pushnil(L);
    return 1;
  }
  x->taken = true;
  lua_getiuservalue(L, 1, ML_CX_UV_CONN);
  ml__bytes_take(L, c->s->net, &c->body, c->body.len);
  ml__hcconn_settle(L, c, 2);
  return 1;
}

/* ---- x:content() ---- */

static int source_want(ml_readsource *src, ml_evloop *loop) {
  ml_hcconn *c = ml__containerof(src, ml_hcconn, source);
  if (loop == NULL) return 0;
  if (c->fail != ML_CF_NONE || loop != c->s->loop) return -1;
  src->ready = false;
  c->turns = 0;
  ml__hcconn_pause(c, false);
  if (c->s->flags & ML_S_READABLE) {
    ml__stream_unread(c->s);
    ml__hcconn_heard(c);
  }
  return 0;
}

/* How many of the bytes that come next are the body's data and nothing else; 0: that is not known. */
static uint64_t plain_bytes(const ml_hcconn *c) {
  if (!(c->flags & ML_CC_BODY) || c->fail != ML_CF_NONE) return 0;
  if (!(c->flags & ML_CC_IN_CHUNKS)) return c->expected - c->got;
  return ml__hchunks_in_data(&c->chunks) ? c->chunks.left : 0;
}

/* There are bytes: the task that waits reads them itself, without a copy. While it is busy with what it
** has they stay where they are, if the socket need not be stopped for that; but for the end of a body,
** which comes for the connection's sake even if nobody reads it. */
bool ml__hcbody_reads(ml_stream *s) {
  ml_hcconn *c = s->target;
  uint64_t n = c == NULL || c->reader == NULL ? 0 : plain_bytes(c);
  if (n == 0 || (c->flags & ML_CC_DISCARD)) return false;
  if (ml__reader_offer(c->reader)) return true;
  if (c->reader->waiter != NULL || s->watch.fd < 0) return false;
  if (c->reader->in.len == 0 && n <= 2 * (uint64_t)c->settings->read_bufsize) return false;
  c->source.ready = true;
  return true;
}

/* Behind the last byte of a body there must be nothing: what there is would be taken for the next
** response's. So one more is asked for. */
static size_t source_read(ml_readsource *src, char *p, size_t n) {
  ml_hcconn *c = ml__containerof(src, ml_hcconn, source);
  ml_stream *s = c->s;
  uint64_t most = plain_bytes(c);
  ssize_t got;
  if (most == 0 || !(s->flags & ML_S_READING)) return 0;
  if (n >= most) n = (size_t)most + ((c->flags & ML_CC_IN_CHUNKS) ? 0 : 1);
  got = ml__stream_take(s, p, n);
  src->ready = (s->flags & ML_S_READABLE) && ++c->turns < TURNS;
  if (got == 0) s->sink->eof(s);
  if (got <= 0) return 0;
  if ((uint64_t)got > most) {
    c->flags &= ~(uint32_t)ML_CC_KEEP;
    got = (ssize_t)most;
  }
  ml__hcparse_took(c, (size_t)got);
  if (c->flags & ML_CC_COMPLETE) ml__stream_unread(s);
  return (size_t)got;
}

static void source_error(lua_State *L, ml_readsource *src) {
  ml__hcexchange_failure(L, ml__containerof(src, ml_hcconn, source));
}

/* What was kept of a body that nobody has taken: a reader of it. */
static int push_kept_reader(lua_State *L, ml_hcexchange *x) {
  size_t n;
  const char *p;
  ml_reader *r = ml__reader_push(L, x->c->http->net, NULL, ML_LIMIT);
  if (!x->taken) {
    push_kept(L, x, 1);
    p = lua_tolstring(L, -1, &n);
    if (n > 0 && ml__reader_feed(r, p, n) < 0) return luaL_error(L, "not enough memory");
    lua_pop(L, 1);
  }
  ml__reader_end(r);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, ML_CX_UV_BODY);
  return 1;
}

/* x:content(): a StreamReader of the body; always the same one */
static int x_content(lua_State *L) {
  ml_hcexchange *x = ml__checkhcexchange(L, 1);
  ml_hcconn *c = x->c;
  ml_reader *r;
  lua_settop(L, 1);
  if (lua_getiuservalue(L, 1, ML_CX_UV_BODY) == LUA_TUSERDATA) return 1;
  lua_settop(L, 1);
  if (!ml__hcexchange_current(x)) return push_kept_reader(L, x);
  if (c->reading != NULL)
    return ml__misuse(L, "RuntimeError", "content(): another task reads the body");
  if (c->flags & (ML_CC_DISCARD | ML_CC_TUNNEL))
    return ml__misuse(L, "RuntimeError", "content(): the response is over");
  lua_getiuservalue(L, 1, ML_CX_UV_CONN);
  r = ml__reader_push_uv(L, c->s->net, ML_LIMIT, 1);
  lua_pushvalue(L, 1); /* so that nothing of it goes while somebody reads */
  lua_setiuservalue(L, -2, ML_RD_UV_OWN);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 2, ML_CC_UV_READER);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, ML_CX_UV_BODY);
  x->taken = true;
  r->in = c->body;
  memset(&c->body, 0, sizeof c->body);
  if (c->flags & ML_CC_COMPLETE) {
    ml__reader_end(r);
    lua_pushnil(L);
    lua_setiuservalue(L, 2, ML_CC_UV_READER);
    ml__hcconn_settle(L, c, 2);
    return 1;
  }
  c->source.want = source_want;
  c->source.error = source_error;
  c->source.read = source_read;
  r->source = &c->source;
  c->reader = r;
  if (c->fail != ML_CF_NONE) ml__reader_fail(r);
  return 1;
}

/* ---- what nobody wants ---- */

/* x:discard(): reads past the rest of the response, if it is little, so that the connection can be
** used again; else it is closed. True: it is over already. */
static int x_discard(lua_State *L) {
  ml_hcexchange *x = ml__checkhcexchange(L, 1);
  ml_hcconn *c = x->c;
  const ml_hcsettings *set = c->settings;
  double end;
  if (!ml__hcexchange_current(x)) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, ML_CX_UV_CONN);
  if (!(c->flags & ML_CC_HEAD) || !(c->flags & ML_CC_SENT) || !(c->flags & ML_CC_KEEP) ||
      (c->expected != UINT64_MAX && c->expected - c->got > set->max_discard) ||
      (c->flags & ML_CC_TUNNEL)) {
    if (!(c->flags & ML_CC_COMPLETE) || !(c->flags & ML_CC_SENT)) {
      ml__hcconn_fail(c, ML_CF_CLOSED, NULL);
      ml__hcconn_quiet(c);
    }
  } else if (!(c->flags & (ML_CC_COMPLETE | ML_CC_DISCARD))) {
    c->flags |= ML_CC_DISCARD;
    c->dropped = 0;
    end = ml__http_now(c->http, c->s->loop) + set->discard_timeout;
    if (set->discard_timeout >= 0 && end < c->total) c->total = end;
    ml__hcconn_arm(c);
    ml__hcbody_reset(L, c, 2);
    ml__hcconn_pause(c, false);
    ml__stream_unread(c->s);
  }
  x->taken = true;
  if (c->flags & ML_CC_COMPLETE) {
    ml__bytes_free(c->s->net, &c->body);
    ml__hcconn_settle(L, c, 2);
  }
  lua_pushboolean(L, !ml__hcexchange_current(x));
  return 1;
}

const luaL_Reg ml__hcbody_methods[] = {{"read", x_read},
                                       {"take", x_take},
                                       {"content", x_content},
                                       {"discard", x_discard},
                                       {NULL, NULL}};
const luaL_Reg ml__hcresponse_methods[] = {
    {"response", x_response}, {"continued", x_continued}, {NULL, NULL}};
