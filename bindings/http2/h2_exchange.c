/* An exchange of HTTP/2: a request and its response, with the methods that one of HTTP/1
** has. It can be asked as long as somebody has it, also when its stream is long closed.
**
** Collected before it was answered, it resets its stream: nobody will answer any more.
*/
#include <stdio.h>
#include <string.h>

#include "h2.h"

enum { UV_READER = 1 }; /* user values */

static ml_h2exchange *check(lua_State *L) {
  ml_object *o = lua_touserdata(L, 1);
  if (o != NULL && lua_rawlen(L, 1) == sizeof(ml_h2exchange) && o->magic == &ml__magic &&
      o->type == ML_T_H2EXCHANGE)
    return (ml_h2exchange *)(void *)o;
  return ml__checkobject(L, 1, ML_T_H2EXCHANGE);
}

ml_h2stream *ml__h2_check(lua_State *L) { return check(L)->x; }

void ml__h2_exchange_push(lua_State *L, ml_h2stream *x) {
  ml_h2exchange *e = ml__newobject(L, ML_T_H2EXCHANGE, sizeof *e, UV_READER);
  ml__list_remove(&x->link);
  e->x = x;
  x->refs++;
  x->flags |= H2S_GIVEN;
  x->h->nlive++;
}

/* ---- the request ---- */

static int push_span(lua_State *L, const ml_hhead *d, ml_hspan s) {
  lua_pushlstring(L, ml__hhead_text(d) + s.at, s.n);
  return 1;
}

void ml__h2_push_method(lua_State *L, const ml_h2stream *x) {
  push_span(L, x->head, x->head->method);
}
void ml__h2_push_path(lua_State *L, const ml_h2stream *x) { push_span(L, x->head, x->head->path); }

static int x_method(lua_State *L) {
  const ml_hhead *d = check(L)->x->head;
  return push_span(L, d, d->method);
}

static int x_target(lua_State *L) {
  const ml_hhead *d = check(L)->x->head;
  return push_span(L, d, d->target);
}

static int x_path(lua_State *L) {
  const ml_hhead *d = check(L)->x->head;
  return push_span(L, d, d->path);
}

static int x_query(lua_State *L) {
  const ml_hhead *d = check(L)->x->head;
  if (d->flags & ML_HH_QUERY) return push_span(L, d, d->query);
  lua_pushnil(L);
  return 1;
}

static int x_version(lua_State *L) {
  check(L);
  lua_pushliteral(L, "2.0");
  return 1;
}

static int x_scheme(lua_State *L) {
  lua_pushstring(L, check(L)->x->h->s->ops == &ml__plain_ops ? "http" : "https");
  return 1;
}

static int x_authority(lua_State *L) {
  const ml_hhead *d = check(L)->x->head;
  if (d->host.n > 0) return push_span(L, d, d->host);
  lua_pushnil(L);
  return 1;
}

/* x:header(name): the first one's value, or nil */
static int x_header(lua_State *L) {
  const ml_hhead *d = check(L)->x->head;
  const char *text = ml__hhead_text(d), *name;
  size_t n;
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "header: a name was expected, got %s", luaL_typename(L, 2));
  name = lua_tolstring(L, 2, &n);
  for (int i = 0; i < d->nfields; i++) {
    const ml_hfield *f = &d->fields[i];
    if (f->nname != n || !ml__name_equals(text + f->name, n, name, n)) continue;
    lua_pushlstring(L, text + f->value, f->nvalue);
    return 1;
  }
  lua_pushnil(L);
  return 1;
}

static int x_headers(lua_State *L) {
  ml__headers_of(L, check(L)->x->head);
  return 1;
}

static int x_has_body(lua_State *L) {
  const ml_h2stream *x = check(L)->x;
  lua_pushboolean(L, (x->flags & H2S_BODY) &&
                         !((x->head->flags & ML_HH_LENGTH) && x->head->length == 0));
  return 1;
}

/* x:content_length(): nil if it is not known */
static int x_content_length(lua_State *L) {
  const ml_h2stream *x = check(L)->x;
  if (x->head->flags & ML_HH_LENGTH)
    lua_pushinteger(L, (lua_Integer)x->head->length);
  else if (!(x->flags & H2S_BODY))
    lua_pushinteger(L, 0);
  else
    lua_pushnil(L);
  return 1;
}

/* ---- the body ---- */

/* User value 1: the exchange. */
typedef struct readop {
  ml_op op;
  ml_h2stream *x;
  size_t limit;
} readop;

static int raise_lost(lua_State *L) {
  ml__http_gone(L, ML_HTTP_CUT);
  return ML_RAISE;
}

static int read_step(lua_State *L, readop *op) {
  ml_h2stream *x = op->x;
  char text[96];
  if (x->reader != NULL) {
    ml__error_new(L, "RuntimeError", "read(): the body is read as a stream: use content()");
    return ML_RAISE;
  }
  if (op->limit > 0 &&
      (x->in.len > op->limit || ((x->head->flags & ML_HH_LENGTH) && x->head->length > op->limit))) {
    snprintf(text, sizeof text, "the request's body has more than %zu bytes", op->limit);
    ml__http_error(L, "PayloadTooLarge", 413, text);
    return ML_RAISE;
  }
  if (x->flags & H2S_EOF) {
    ml__bytes_take(L, x->h->http->net, &x->in, x->in.len);
    ml__h2_took(x);
    return 1;
  }
  if (x->flags & H2S_LATE) {
    ml__http_error(L, "RequestTimeout", 408, "the request's body does not come");
    return ML_RAISE;
  }
  if (!(x->flags & H2S_OPEN)) return raise_lost(L);
  if (x->flags & H2S_DISCARD) {
    ml__error_new(L, "RuntimeError", "read(): the request is over");
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
  ml_h2stream *x = check(L)->x;
  lua_Integer limit = luaL_optinteger(L, 2, 0);
  readop *op;
  if (limit < 0)
    return ml__misuse(L, "ValueError", "read: a limit of 0 (none) or more was expected, got %I",
                      (LUAI_UACINT)limit);
  op = ml__op_new(L, &read_class, sizeof *op, 1);
  op->x = x;
  op->limit = (size_t)limit;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* x:content(): a StreamReader of the body; always the same one */
static int x_content(lua_State *L) {
  ml_h2stream *x = check(L)->x;
  ml_reader *r;
  lua_settop(L, 1);
  if (lua_getiuservalue(L, 1, UV_READER) != LUA_TNIL) return 1;
  if (x->reading != NULL)
    return ml__misuse(L, "RuntimeError", "content(): another task reads the body");
  r = ml__reader_push(L, x->h->http->net, NULL, ML_LIMIT);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, UV_READER);
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
  ml__addr_push(L, &check(L)->x->h->s->peer);
  return 1;
}

static int x_sockname(lua_State *L) {
  ml__addr_push(L, &check(L)->x->h->s->name);
  return 1;
}

/* x:transport_info(name [, default]): as get_extra_info of the connection's transport */
static int x_transport_info(lua_State *L) {
  const ml_h2stream *x = check(L)->x;
  lua_settop(L, 3);
  ml__transport_push(L, x->h->s);
  lua_getfield(L, -1, "get_extra_info");
  lua_insert(L, -2);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_call(L, 3, 1);
  return 1;
}

static int flag(lua_State *L, uint32_t which) {
  lua_pushboolean(L, (check(L)->x->flags & which) != 0);
  return 1;
}
static int x_started(lua_State *L) { return flag(L, H2S_STARTED); }
static int x_finished(lua_State *L) { return flag(L, H2S_FINISHED); }

/* Not in the middle of a closing session; and nothing that one exchange can alter. */
static int x_keep_alive(lua_State *L) {
  const ml_http2 *h = check(L)->x->h;
  lua_pushboolean(L, !(h->flags & (H2_OVER | H2_SHUTDOWN | H2_LEAVING)));
  return 1;
}

static int x_set_keep_alive(lua_State *L) {
  ml_h2stream *x = check(L)->x;
  if (!lua_toboolean(L, 2)) ml__http2_shutdown(x->h);
  return 0;
}

static int x_multiplexed(lua_State *L) {
  check(L);
  lua_pushboolean(L, 1);
  return 1;
}

static int x_sent(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->x->written);
  return 1;
}

static int x_lost(lua_State *L) { return flag(L, H2S_LOST); }

/* x:on_lost(task): it is cancelled when the peer goes before the exchange is over; nil: none */
static int x_on_lost(lua_State *L) {
  ml_h2stream *x = check(L)->x;
  int pin = 0;
  if (!lua_isnoneornil(L, 2)) {
    ml__checkobject(L, 2, ML_T_TASK);
    pin = ml__pin(L, 2);
  }
  if (x->task != 0) ml__unpin(L, x->task);
  x->task = pin;
  if (pin != 0 && (x->flags & H2S_LOST)) ml__h2_tell(x);
  return 0;
}

/* x:abort(): the stream is reset */
static int x_abort(lua_State *L) {
  ml_h2stream *x = check(L)->x;
  ml__h2_finished(x);
  ml__h2_reset(x, NGHTTP2_CANCEL);
  return 0;
}

static int x_upgrade(lua_State *L) {
  check(L);
  return ml__misuse(L, "RuntimeError", "upgrade(): HTTP/2 has no upgrade");
}

static int x_tostring(lua_State *L) {
  const ml_hhead *d = check(L)->x->head;
  lua_pushliteral(L, "<http.Exchange ");
  push_span(L, d, d->method);
  lua_pushliteral(L, " ");
  push_span(L, d, d->target);
  lua_pushliteral(L, " HTTP/2>");
  lua_concat(L, 5);
  return 1;
}

static int x_gc(lua_State *L) {
  ml_h2exchange *e = lua_touserdata(L, 1);
  ml_h2stream *x = e->x;
  e->x = NULL;
  e->obj.magic = NULL; /* finalizers of scripts may still have it */
  if (x == NULL) return 0;
  if (!(x->flags & H2S_FINISHED)) {
    ml__h2_finished(x);
    ml__h2_reset(x, NGHTTP2_INTERNAL_ERROR);
  }
  ml__h2_stream_unref(x);
  return 0;
}

void ml__open_http2(lua_State *L) {
  static const luaL_Reg methods[] = {{"method", x_method},
                                     {"target", x_target},
                                     {"path", x_path},
                                     {"query", x_query},
                                     {"version", x_version},
                                     {"scheme", x_scheme},
                                     {"authority", x_authority},
                                     {"header", x_header},
                                     {"headers", x_headers},
                                     {"has_body", x_has_body},
                                     {"content_length", x_content_length},
                                     {"read", x_read},
                                     {"content", x_content},
                                     {"peername", x_peername},
                                     {"sockname", x_sockname},
                                     {"transport_info", x_transport_info},
                                     {"started", x_started},
                                     {"finished", x_finished},
                                     {"keep_alive", x_keep_alive},
                                     {"set_keep_alive", x_set_keep_alive},
                                     {"multiplexed", x_multiplexed},
                                     {"sent", x_sent},
                                     {"lost", x_lost},
                                     {"on_lost", x_on_lost},
                                     {"abort", x_abort},
                                     {"upgrade", x_upgrade},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", x_tostring}, {"__gc", x_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_H2EXCHANGE, "http.Exchange", methods, meta);
  luaL_setfuncs(L, ml__h2_respond_methods, 0);
  lua_setfield(L, -2, "Exchange2");
}
