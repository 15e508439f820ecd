/* Calls as scripts have them: a request of HTTP/2 and its response, with the methods that an
** exchange of HTTP/1's client has.
**
** Collected before its response has come, a call resets its stream; who reads the body as a
** stream keeps it. It can be asked as long as somebody has it.
*/
#include <math.h>

#include "h2_client.h"

static ml_h2stream *check(lua_State *L) {
  return ((ml_h2exchange *)ml__checkobject(L, 1, ML_T_H2CALL))->x;
}

/* ---- waiting ---- */

typedef struct callop { /* user value 1: the exchange */
  ml_op op;
  ml_h2call *k;
} callop;

static int push_callop(lua_State *L, const ml_opclass *cls) {
  ml_h2stream *x = check(L);
  callop *op = ml__op_new(L, cls, sizeof *op, 1);
  op->k = ml__h2_call(x);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* Parks in that place of the call. */
static int park(lua_State *L, callop *op, ml_op **place, const char *fname) {
  ml_h2stream *x = &op->k->x;
  if (*place != NULL || x->h->loop != ml__engine(L)->running) {
    ml__error_new(L, "RuntimeError",
                  *place != NULL ? "%s() called while another task waits in it"
                                 : "%s(): the connection belongs to a different loop",
                  fname);
    return ML_RAISE;
  }
  *place = &op->op;
  ml__h2_watch_stream(x);
  return ML_PARK;
}

static bool has_failed(const ml_h2call *k) {
  return k->fail != H2F_NONE || !(k->x.flags & H2S_OPEN);
}

/* ---- x:response() ---- */

static int response_step(lua_State *L, callop *op) {
  ml_h2call *k = op->k;
  if (k->x.head != NULL) {
    lua_pushinteger(L, k->x.head->status);
    return 1;
  }
  if (!has_failed(k)) return park(L, op, &k->answering, "response");
  ml__h2_call_failure(L, k);
  return ML_RAISE;
}

static int response_begin(lua_State *L, ml_op *o) { return response_step(L, (callop *)o); }

static void response_cancel(ml_op *o) {
  ml_h2call *k = ((callop *)o)->k;
  if (k->answering == o) k->answering = NULL;
}

static int response_wake(lua_State *L, ml_op *o) {
  response_cancel(o);
  return o->obj.state == ML_OP_CANCELLED ? 0 : response_step(L, (callop *)o);
}

static const ml_opclass response_class = {"Exchange.response", response_begin, response_wake,
                                          response_cancel};

/* x:response(): awaits the final head; its status */
static int x_response(lua_State *L) { return push_callop(L, &response_class); }

/* ---- x:continued() ---- */

static int continued_step(lua_State *L, callop *op) {
  ml_h2call *k = op->k;
  if (!k->continued && k->x.head == NULL) {
    if (!has_failed(k)) return park(L, op, &k->continuing, "continued");
    ml__h2_call_failure(L, k);
    return ML_RAISE;
  }
  lua_pushboolean(L, k->continued);
  return 1;
}

static int continued_begin(lua_State *L, ml_op *o) { return continued_step(L, (callop *)o); }

static void continued_cancel(ml_op *o) {
  ml_h2call *k = ((callop *)o)->k;
  if (k->continuing == o) k->continuing = NULL;
}

static int continued_wake(lua_State *L, ml_op *o) {
  continued_cancel(o);
  return o->obj.state == ML_OP_CANCELLED ? 0 : continued_step(L, (callop *)o);
}

static const ml_opclass continued_class = {"Exchange.continued", continued_begin, continued_wake,
                                           continued_cancel};

/* x:continued(): awaits 100 Continue, or a final answer: was it the former? */
static int x_continued(lua_State *L) { return push_callop(L, &continued_class); }

/* ---- what the response says ---- */

static int x_status(lua_State *L) {
  check(L);
  lua_pushinteger(L, ml__h2_check_head(L, "status")->status);
  return 1;
}

static int x_reason(lua_State *L) {
  check(L);
  lua_pushstring(L, ml__http_reason(ml__h2_check_head(L, "reason")->status));
  return 1;
}

static int x_version(lua_State *L) {
  check(L);
  lua_pushliteral(L, "2.0");
  return 1;
}

/* x:content_length(): nil if it is not known */
static int x_content_length(lua_State *L) {
  const ml_hhead *d;
  check(L);
  d = ml__h2_check_head(L, "content_length");
  if (d->flags & ML_HH_LENGTH)
    lua_pushinteger(L, (lua_Integer)d->length);
  else
    lua_pushnil(L);
  return 1;
}

static int x_has_body(lua_State *L) {
  const ml_h2stream *x = check(L);
  const ml_hhead *d = ml__h2_check_head(L, "has_body");
  lua_pushboolean(L, (x->flags & H2S_BODY) && !((d->flags & ML_HH_LENGTH) && d->length == 0));
  return 1;
}

/* x:trailers(): Headers of them, or nil */
static int x_trailers(lua_State *L) {
  const ml_h2call *k = ml__h2_call(check(L));
  if (k->trailers != NULL)
    ml__headers_of(L, k->trailers);
  else
    lua_pushnil(L);
  return 1;
}

/* ---- what has become of it ---- */

static int push_flag(lua_State *L, bool v) {
  lua_pushboolean(L, v);
  return 1;
}

/* x:over(): response and request are finished */
static int x_over(lua_State *L) {
  ml_h2stream *x = check(L);
  bool over = !(x->flags & H2S_OPEN);
  if (over) x->flags |= H2S_TOLD;
  return push_flag(L, over);
}

static int x_request_finished(lua_State *L) {
  return push_flag(L, (check(L)->flags & H2S_FINISHED) != 0);
}

/* x:take(): the body, if it has come in full and nobody reads it, and the request was sent; or nil */
static int x_take(lua_State *L) {
  ml_h2stream *x = check(L);
  if (!ml__h2_complete(x) || (x->flags & (H2S_OPEN | H2S_DISCARD)) || x->reader != NULL ||
      x->reading != NULL)
    lua_pushnil(L);
  else {
    ml__bytes_take(L, x->h->http->net, &x->in, x->in.len);
    x->flags |= H2S_TOLD;
  }
  return 1;
}

/* x:discard(): nobody wants what has not come. True: it is over. */
static int x_discard(lua_State *L) {
  ml_h2stream *x = check(L);
  x->flags |= H2S_TOLD;
  ml__h2_call_fail(ml__h2_call(x), H2F_CLOSED, NULL);
  ml__bytes_free(x->h->http->net, &x->in);
  return push_flag(L, true);
}

/* x:abort(): the stream is reset, the connection lives on */
static int x_abort(lua_State *L) {
  ml_h2stream *x = check(L);
  x->flags |= H2S_TOLD;
  ml__h2_call_fail(ml__h2_call(x), H2F_CLOSED, NULL);
  return 0;
}

/* x:deadline(total, read): when every wait of it fails, loop time; after how many seconds
** without a byte. nil: never. */
static int x_deadline(lua_State *L) {
  ml_h2stream *x = check(L);
  ml_h2call *k = ml__h2_call(x);
  lua_Number total = luaL_optnumber(L, 2, HUGE_VAL), silence = luaL_optnumber(L, 3, -1);
  k->total = total;
  k->silence = silence;
  if (silence >= 0) x->body_since = ml__loop_time(x->h->loop);
  ml__h2_watch_stream(x);
  return 0;
}

static int x_connection(lua_State *L) {
  check(L);
  lua_getiuservalue(L, 1, H2_UV_CONN);
  return 1;
}

static int x_upgrade(lua_State *L) {
  check(L);
  return ml__misuse(L, "RuntimeError", "upgrade(): HTTP/2 has no upgrade");
}

static int x_tostring(lua_State *L) {
  const ml_h2stream *x = check(L);
  if (x->head != NULL)
    lua_pushfstring(L, "<http.client.Exchange %d HTTP/2>", x->head->status);
  else
    lua_pushliteral(L, "<http.client.Exchange HTTP/2>");
  return 1;
}

static int x_gc(lua_State *L) {
  ml_h2exchange *e = lua_touserdata(L, 1);
  ml_h2stream *x = e->x;
  e->x = NULL;
  e->obj.magic = NULL; /* finalizers of scripts may still have it */
  if (x == NULL) return 0;
  if (!(x->flags & H2S_TOLD) && !ml__http2_over(x->h)) {
    ml__h2_client(x->h)->dropped++;
    ml__h2_schedule(x->h);
  }
  ml__h2_call_fail(ml__h2_call(x), H2F_CLOSED, NULL);
  ml__h2_stream_unref(x);
  return 0;
}

void ml__h2_open_calls(lua_State *L) {
  static const luaL_Reg methods[] = {{"response", x_response},
                                     {"continued", x_continued},
                                     {"status", x_status},
                                     {"reason", x_reason},
                                     {"version", x_version},
                                     {"content_length", x_content_length},
                                     {"has_body", x_has_body},
                                     {"trailers", x_trailers},
                                     {"over", x_over},
                                     {"request_finished", x_request_finished},
                                     {"take", x_take},
                                     {"discard", x_discard},
                                     {"abort", x_abort},
                                     {"deadline", x_deadline},
                                     {"connection", x_connection},
                                     {"upgrade", x_upgrade},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", x_tostring}, {"__gc", x_gc}, {NULL, NULL}};
  ml__newtype(L, ML_T_H2CALL, "http.client.Exchange", NULL, meta);
  luaL_setfuncs(L, ml__h2_body_methods, 0);
  luaL_setfuncs(L, ml__h2_message_methods, 0);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "Exchange2");
}
