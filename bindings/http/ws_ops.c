/* What tasks do with a WebSocket: operations that receive, send and close.
**
** A connection keeps the last operation of each kind and uses it again when that is done with:
** a message costs its string, its table and nothing else. A message is sent whole or not at
** all, so that any number of tasks may send; one may receive.
*/
#include <string.h>

#include "ws.h"

/* User values of operations: 1: the connection; 2: what is sent. */

enum { MESSAGE, NEXT, STR, BYTES };

/* How often a closed connection may be received from: a loop that does not look at what it
** gets would never end. As aiohttp's THRESHOLD_CONNLOST_ACCESS. */
#define MAX_OVERDUE 5
#define LEAST_COMPRESSED 128 /* bytes, below which it does not pay */

static ml_ws *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_WEBSOCKET); }

/* ---- operations ---- */

void ml__wsop_wake(ml_wsop *op) { ml__op_wake(&op->op); }

static int done(ml_wsop *op, int n) {
  op->op.obj.n = 0;
  return n;
}

static void op_timeout(ml_evloop *loop, ml_job *job) {
  ml_wsop *op = ml__containerof(job, ml_wsop, timer.job);
  (void)loop;
  op->late = true;
  ml__op_wake(&op->op);
}

/* Out of every list that it may be in. */
static void op_leave(ml_wsop *op) {
  ml_ws *ws = op->ws;
  if (ws->receiver == op) ws->receiver = NULL;
  ml__list_remove(&op->link);
  ml__timer_stop(ws->loop, &op->timer);
  ml__list_remove(&op->timer.job.link);
}

static void op_cancel(ml_op *o) { op_leave((ml_wsop *)o); }

static int park(lua_State *L, ml_wsop *op) {
  ml_ws *ws = op->ws;
  if (op->timeout >= 0 && op->timer.index == 0 &&
      ml__timer_start(ws->loop, &op->timer, ml__loop_time(ws->loop) + op->timeout) < 0) {
    op_leave(op);
    op->op.obj.n = 0;
    return luaL_error(L, "not enough memory");
  }
  return ML_PARK;
}

/* Is another loop running? Then the error is pushed. */
static bool wrong_loop(lua_State *L, const ml_wsop *op) {
  if (op->ws->loop == ml__engine(L)->running) return false;
  ml__error_new(L, "RuntimeError", "%s(): the WebSocket belongs to a different loop", op->name);
  return true;
}

/* Pushes an operation on the connection at index 1: the one at that place if it is done with. */
static ml_wsop *push_op(lua_State *L, int place, const ml_opclass *cls) {
  ml_wsop *op = NULL;
  if (lua_getiuservalue(L, 1, place) == LUA_TUSERDATA) op = lua_touserdata(L, -1);
  if (op != NULL && op->op.obj.n == 0 && op->op.obj.state == ML_CO_AWAITED) {
    op->op.obj.state = ML_CO_NEW;
    op->op.obj.flags = 0;
    op->op.cls = cls;
  } else {
    op = ml__op_new(L, cls, sizeof *op, 2);
    op->ws = lua_touserdata(L, 1);
    ml__list_init(&op->link);
    ml__timer_init(&op->timer, op_timeout);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, place);
  }
  op->op.obj.n = 1;
  op->late = false;
  op->timeout = -1;
  op->name = cls->name;
  return op;
}

/* ---- receiving ---- */

/* Pushes a message with the value on top (popped) as its data, of the connection at `at`. */
static void push_message(lua_State *L, int at, unsigned type) {
  lua_createtable(L, 0, 2);
  lua_insert(L, -2);
  lua_setfield(L, -2, "data");
  lua_pushinteger(L, type);
  lua_setfield(L, -2, "type");
  if (lua_getiuservalue(L, at, ML_WSUV_MESSAGE) == LUA_TTABLE)
    lua_setmetatable(L, -2);
  else
    lua_pop(L, 1);
}

/* Pushes the error object for a code and its reason; it is what exception() gives. */
static void push_failure(lua_State *L, int at, const char *text, size_t n) {
  unsigned code = (unsigned)(uint8_t)text[0] << 8 | (uint8_t)text[1];
  if (lua_getiuservalue(L, at, ML_WSUV_FAILURE) == LUA_TFUNCTION) {
    lua_pushinteger(L, code);
    lua_pushlstring(L, text + 2, n - 2);
    lua_call(L, 2, 1);
  } else {
    lua_pop(L, 1);
    lua_pushlstring(L, text + 2, n - 2);
  }
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, at, ML_WSUV_ERROR);
}

/* Pushes the text of the first message. False: it was no such thing, and the connection
** has failed for it. */
static bool push_data(lua_State *L, ml_ws *ws) {
  ml_wsmsg *m = ws->first;
  char *p = NULL;
  size_t n = 0;
  int code;
  if (!m->compressed) {
    lua_pushlstring(L, m->data, m->len);
    return true;
  }
  code = ml__wszip_inflate(ws->zip, m->data, m->len, ws->max, &p, &n);
  if (code == 0 && m->type == ML_WS_TEXT && !ml__utf8_valid(p, n)) code = ML_WSC_INVALID;
  if (code == 0) lua_pushlstring(L, p, n);
  ml__wszip_done(ws->zip);
  if (code == 0) return true;
  ml__ws_drop_messages(ws);
  ml__ws_fail(ws, code,
              code == ML_WSC_TOO_BIG    ? "message is too big"
              : code == ML_WSC_INTERNAL ? "not enough memory"
              : n > 0                   ? "text is not UTF-8"
                                        : "message cannot be inflated");
  return false;
}

/* Pushes the end: a message, or nil to end an iteration. */
static int push_closed(lua_State *L, const ml_wsop *op, int at, unsigned type) {
  if (op->kind == STR || op->kind == BYTES) {
    ml__error_new(L, "TypeError", "%s(): the WebSocket is closed", op->name);
    return ML_RAISE;
  }
  lua_pushnil(L);
  if (op->kind == MESSAGE) push_message(L, at, type);
  return 1;
}

/* The first message, with its data on top, has another type than was asked for. */
static int wrong_type(lua_State *L, const ml_wsop *op, unsigned type) {
  const char *name = type == ML_WS_TEXT     ? "TEXT"
                     : type == ML_WS_BINARY ? "BINARY"
                     : type == ML_WS_PING   ? "PING"
                     : type == ML_WS_PONG   ? "PONG"
                     : type == ML_WS_CLOSE  ? "CLOSE"
                                            : "ERROR";
  ml__error_new(L, "TypeError", "%s(): received a message of type %s, not %s", op->name, name,
                op->kind == STR ? "TEXT" : "BINARY");
  return ML_RAISE;
}

/* Gives the first message. The connection is at index `at`. */
static int give(lua_State *L, ml_wsop *op, int at) {
  ml_ws *ws = op->ws;
  ml_wsmsg *m = ws->first;
  unsigned type = m->type;
  if (type == ML_WS_CLOSE) {
    if (ws->obj.flags & ML_WS_AUTOCLOSE)
      ml__ws_send_close(ws, ws->close_code, m->data + 2, m->len - 2);
    lua_pushinteger(L, (lua_Integer)(uint8_t)m->data[0] << 8 | (uint8_t)m->data[1]);
    if (op->kind == NEXT) lua_pushnil(L);
    if (op->kind == MESSAGE) {
      push_message(L, at, type);
      lua_pushlstring(L, m->data + 2, m->len - 2);
      lua_setfield(L, -2, "extra");
    }
  } else if (type == ML_WS_ERROR) {
    push_failure(L, at, m->data, m->len);
    ml__ws_send_close(ws, ws->close_code, m->data + 2, m->len - 2);
    if (op->kind == STR || op->kind == BYTES) { /* the error itself */
      ml__ws_took(ws);
      return ML_RAISE;
    }
    push_message(L, at, type);
  } else {
    if (!push_data(L, ws))
      return ws->first != NULL ? give(L, op, at) : push_closed(L, op, at, ML_WS_CLOSED);
    if (op->kind == MESSAGE || op->kind == NEXT) push_message(L, at, type);
  }
  ml__ws_took(ws);
  if ((op->kind == STR && type != ML_WS_TEXT) || (op->kind == BYTES && type != ML_WS_BINARY))
    return wrong_type(L, op, type);
  return 1;
}

static int receive_step(lua_State *L, ml_wsop *op, bool waited) {
  ml_ws *ws = op->ws;
  if (ws->first != NULL) {
    lua_getiuservalue(L, 1, 1);
    return done(op, give(L, op, lua_gettop(L)));
  }
  if (ws->obj.flags & (ML_WS_GOT | ML_WS_FAILED | ML_WS_GONE | ML_WS_LOCAL)) {
    if (!waited && ++ws->overdue >= MAX_OVERDUE) {
      ml__error_new(L, "RuntimeError", "WebSocket connection is closed.");
      return done(op, ML_RAISE);
    }
    lua_getiuservalue(L, 1, 1);
    return done(
        op, push_closed(L, op, lua_gettop(L),
                        waited && (ws->obj.flags & ML_WS_LOCAL) ? ML_WS_CLOSING : ML_WS_CLOSED));
  }
  if (op->late) {
    ml__error_new(L, "TimeoutError", "%s(): no message within %f seconds", op->name, op->timeout);
    return done(op, ML_RAISE);
  }
  if (ws->receiver != NULL) {
    ml__error_new(L, "RuntimeError", "Concurrent call to receive() is not allowed");
    return done(op, ML_RAISE);
  }
  if (wrong_loop(L, op)) return done(op, ML_RAISE);
  ws->receiver = op;
  return park(L, op);
}

static int receive_begin(lua_State *L, ml_op *o) { return receive_step(L, (ml_wsop *)o, false); }

static int receive_wake(lua_State *L, ml_op *o) {
  ml_wsop *op = (ml_wsop *)o;
  op_leave(op);
  if (o->obj.state == ML_OP_CANCELLED) return done(op, 0);
  return receive_step(L, op, true);
}

static const ml_opclass receive_classes[] = {
    {"receive", receive_begin, receive_wake, op_cancel},
    {"messages", receive_begin, receive_wake, op_cancel},
    {"receive_str", receive_begin, receive_wake, op_cancel},
    {"receive_bytes", receive_begin, receive_wake, op_cancel},
};

/* (connection [, timeout or {timeout = }]) */
static int push_receive(lua_State *L, int kind) {
  static const char *const keys[] = {"timeout", NULL};
  const char *fname = receive_classes[kind].name;
  ml_ws *ws = check(L);
  double timeout = ws->receive_timeout;
  ml_wsop *op;
  if (lua_gettop(L) > 1) {
    lua_settop(L, 2);
    if (lua_istable(L, 2)) {
      ml__checkoptions(L, 2, keys, fname);
      lua_getfield(L, 2, "timeout");
      lua_replace(L, 2);
    }
    if (!lua_isnil(L, 2)) timeout = ml__checkdelay(L, 2, fname);
  }
  op = push_op(L, ML_WSUV_RECEIVE, &receive_classes[kind]);
  op->kind = (uint8_t)kind;
  op->timeout = timeout;
  return 1;
}

static int ws_receive(lua_State *L) { return push_receive(L, MESSAGE); }
static int ws_receive_str(lua_State *L) { return push_receive(L, STR); }
static int ws_receive_bytes(lua_State *L) { return push_receive(L, BYTES); }

/* next(connection): awaits by itself; nil at the end */
static int ws_next(lua_State *L) {
  lua_settop(L, 1);
  push_receive(L, NEXT);
  lua_replace(L, 1);
  lua_settop(L, 1);
  return ml__await(L);
}

/* ---- sending ---- */

static int lost(lua_State *L, ml_wsop *op) {
  ml__error_new(L, "OSError", "%s(): cannot write to a closing WebSocket", op->name);
  lua_pushliteral(L, "ECONNRESET");
  lua_setfield(L, -2, "code");
  return done(op, ML_RAISE);
}

static int send_frame(ml_wsop *op, const char *p, size_t n) {
  ml_ws *ws = op->ws;
  char *z;
  size_t size;
  int rc;
  if (op->opcode >= 8 || !op->compress || (n < LEAST_COMPRESSED && !op->forced))
    return ml__ws_send(ws, 0x80u | op->opcode, p, n);
  rc = ml__wszip_deflate(ws->zip, p, n, &z, &size);
  if (rc == 0) rc = ml__ws_send(ws, 0xC0u | op->opcode, z, size);
  ml__wszip_done(ws->zip);
  return rc == 0 ? 0 : UV_ENOMEM;
}

static int send_begin(lua_State *L, ml_op *o) {
  ml_wsop *op = (ml_wsop *)o;
  ml_ws *ws = op->ws;
  size_t n;
  const char *p;
  int rc;
  if (ws->obj.flags & (ML_WS_SENT | ML_WS_GONE)) return lost(L, op);
  if (wrong_loop(L, op)) return done(op, ML_RAISE);
  lua_getiuservalue(L, 1, 2);
  p = lua_tolstring(L, -1, &n);
  rc = send_frame(op, p, n);
  lua_pushnil(L);
  lua_setiuservalue(L, 1, 2);
  if (rc < 0) {
    op->op.obj.n = 0;
    return luaL_error(L, "not enough memory");
  }
  if (!ml__ws_full(ws)) return done(op, 0);
  ml__list_append(&ws->senders, &op->link);
  return ML_PARK;
}

static int send_wake(lua_State *L, ml_op *o) {
  ml_wsop *op = (ml_wsop *)o;
  op_leave(op);
  if (o->obj.state == ML_OP_CANCELLED) return done(op, 0);
  if (op->ws->obj.flags & ML_WS_GONE) return lost(L, op);
  if (!ml__ws_full(op->ws)) return done(op, 0);
  ml__list_append(&op->ws->senders, &op->link);
  return ML_PARK;
}

static const ml_opclass send_classes[] = {
    {"send_str", send_begin, send_wake, op_cancel},
    {"send_bytes", send_begin, send_wake, op_cancel},
    {"ping", send_begin, send_wake, op_cancel},
    {"pong", send_begin, send_wake, op_cancel},
};

static const char *check_data(lua_State *L, const char *fname, size_t *n) {
  if (lua_type(L, 2) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "%s: data must be a string, got %s", fname, luaL_typename(L, 2));
  return lua_tolstring(L, 2, n);
}

/* (connection, data [, {compress = }]) */
static int push_send(lua_State *L, int which, unsigned opcode) {
  static const char *const keys[] = {"compress", NULL};
  ml_ws *ws = check(L);
  const char *fname = send_classes[which].name;
  bool given = false, compress = true;
  ml_wsop *op;
  size_t n;
  const char *p;
  if (!lua_isnoneornil(L, 3)) {
    if (!lua_istable(L, 3))
      return ml__misuse(L, "TypeError", "%s: options must be a table, got %s", fname,
                        luaL_typename(L, 3));
    ml__checkoptions(L, 3, keys, fname);
    given = lua_getfield(L, 3, "compress") != LUA_TNIL;
    compress = !given || lua_toboolean(L, -1);
  }
  if (opcode >= 8 && lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    lua_pushliteral(L, "");
  }
  p = check_data(L, fname, &n);
  if (opcode >= 8 && n > ML_WS_CONTROL)
    return ml__misuse(L, "ValueError", "%s: at most 125 bytes expected, got %d", fname, (int)n);
  if (opcode == ML_WS_TEXT && !ml__utf8_valid(p, n))
    return ml__misuse(L, "ValueError", "%s: data is not valid UTF-8; use send_bytes", fname);
  op = push_op(L, ML_WSUV_SEND, &send_classes[which]);
  op->opcode = (uint16_t)opcode;
  op->compress = compress && ws->zip != NULL;
  op->forced = given;
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 2);
  return 1;
}

static int ws_send_str(lua_State *L) { return push_send(L, 0, ML_WS_TEXT); }
static int ws_send_bytes(lua_State *L) { return push_send(L, 1, ML_WS_BINARY); }
static int ws_ping(lua_State *L) { return push_send(L, 2, ML_WS_PING); }
static int ws_pong(lua_State *L) { return push_send(L, 3, ML_WS_PONG); }

/* ---- closing ---- */

static int close_end(lua_State *L, ml_wsop *op, bool was_open) {
  lua_pushboolean(L, was_open);
  return done(op, 1);
}

/* This side closes: nobody receives any more. */
static void close_here(ml_ws *ws) {
  ml_wsop *r = ws->receiver;
  ws->obj.flags |= ML_WS_LOCAL;
  ml__ws_drop_messages(ws);
  ws->receiver = NULL;
  if (r != NULL) ml__wsop_wake(r);
}

static int close_begin(lua_State *L, ml_op *o) {
  ml_wsop *op = (ml_wsop *)o;
  ml_ws *ws = op->ws;
  size_t n;
  const char *reason;
  if (ws->obj.flags & (ML_WS_SENT | ML_WS_GONE)) return close_end(L, op, false);
  if (wrong_loop(L, op)) return done(op, ML_RAISE);
  lua_getiuservalue(L, 1, 2);
  reason = lua_tolstring(L, -1, &n);
  close_here(ws);
  ml__ws_send_close(ws, op->opcode, reason, n);
  if (ws->obj.flags & (ML_WS_GOT | ML_WS_FAILED | ML_WS_GONE)) return close_end(L, op, true);
  ml__list_append(&ws->closers, &op->link);
  return park(L, op);
}

static int close_wake(lua_State *L, ml_op *o) {
  ml_wsop *op = (ml_wsop *)o;
  ml_ws *ws = op->ws;
  bool answered = ws->obj.flags & (ML_WS_GOT | ML_WS_FAILED | ML_WS_GONE);
  op_leave(op);
  if (o->obj.state == ML_OP_CANCELLED) {
    if (!answered) ml__ws_ended(ws);
    return done(op, 0);
  }
  if (!answered) { /* late */
    ml__ws_abort(ws);
    lua_getiuservalue(L, 1, 1);
    ml__error_new(L, "TimeoutError", "close(): no answer within %f seconds", op->timeout);
    lua_setiuservalue(L, -2, ML_WSUV_ERROR);
  }
  return close_end(L, op, true);
}

static const ml_opclass close_class = {"close", close_begin, close_wake, op_cancel};

/* close(connection, code, reason) -> was it open? */
static int ws_close(lua_State *L) {
  ml_ws *ws = check(L);
  lua_Integer code = luaL_optinteger(L, 2, ML_WSC_OK);
  size_t n;
  const char *reason = luaL_optlstring(L, 3, "", &n);
  ml_wsop *op;
  if (!ml__ws_code_valid(code < 0 || code > 4999 ? 0 : (unsigned)code))
    return ml__misuse(L, "ValueError", "close: %I is no close code that can be sent",
                      (LUAI_UACINT)code);
  if (n > ML_WS_CONTROL - 2)
    return ml__misuse(L, "ValueError", "close: the message must have at most 123 bytes, got %I",
                      (LUAI_UACINT)n);
  if (!ml__utf8_valid(reason, n))
    return ml__misuse(L, "ValueError", "close: the message is not valid UTF-8");
  op = ml__op_new(L, &close_class, sizeof *op, 2);
  op->ws = ws;
  op->name = close_class.name;
  op->opcode = (uint16_t)code;
  op->timeout = ws->timeout;
  op->op.obj.n = 1;
  ml__list_init(&op->link);
  ml__timer_init(&op->timer, op_timeout);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushlstring(L, reason, n);
  lua_setiuservalue(L, -2, 2);
  return 1;
}

/* fail(connection, code, reason): closes it without waiting for anything */
static int ws_fail(lua_State *L) {
  ml_ws *ws = check(L);
  lua_Integer code = luaL_checkinteger(L, 2);
  const char *reason = luaL_checkstring(L, 3);
  luaL_argcheck(L, code >= 1000 && ml__ws_code_valid((unsigned)(code & 0xFFFF)), 2,
                "a close code expected");
  if (ws->obj.flags & (ML_WS_SENT | ML_WS_GONE)) return 0;
  close_here(ws);
  ml__ws_fail(ws, (int)code, reason);
  return 0;
}

const luaL_Reg ml__ws_operations[] = {{"receive", ws_receive},
                                      {"receive_str", ws_receive_str},
                                      {"receive_bytes", ws_receive_bytes},
                                      {"next", ws_next},
                                      {"send_str", ws_send_str},
                                      {"send_bytes", ws_send_bytes},
                                      {"ping", ws_ping},
                                      {"pong", ws_pong},
                                      {"close", ws_close},
                                      {"fail", ws_fail},
                                      {NULL, NULL}};
