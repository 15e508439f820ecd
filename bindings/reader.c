/* StreamReader. Semantics of CPython 3.13's Lib/asyncio/streams.py, but that the end of
** a stream is nil and that a task is resumed once, when what it asked for is there.
**
** Bytes that come while a task waits in read(n) are read by that task when it
** runs, straight from the socket. All others are read by libuv and kept here.
**
** A reader keeps the last operation that it made, and uses it again when that
** is done with: a loop that reads allocates nothing but its strings.
*/
#include <string.h>

#include "stream.h"

typedef struct separator {
  const char *p;
  size_t n;
} separator;

enum { READ, INTO, READ_ALL, EXACTLY, LINE, UNTIL };

struct ml_readop {
  ml_op op;    /* obj.n: not 0 while it is handed out and not done */
  size_t n;    /* bytes asked for; UNTIL: number of separators */
  size_t from; /* no separator begins before this offset */
  ml_reader *r;
  separator seps[];
};
/* User values: 1: the reader; UNTIL: 2: a table that holds the separators; INTO: 2: the intake. */

enum { MORE = -10, AGAIN = -11 };
enum { WAITED = 4 }; /* obj.flags: it has waited */

static const ml_opclass classes[UNTIL + 1];
static inline int kind_of(const ml_readop *op) { return (int)(op->op.cls - classes); }
static inline bool has_waited(const ml_readop *op) { return (op->op.obj.flags & WAITED) != 0; }
static inline void not_waited(ml_readop *op) { op->op.obj.flags &= (uint16_t)~WAITED; }

static const separator line_break = {"\n", 1};
static const char *const names[] = {"read", "read", "read", "readexactly", "readline", "readuntil"};

/* ---- searching ---- */

typedef struct found {
  size_t start, end;
} found;

/* Looks for the separators from op->from on: 1: found; 0: not there; -1: not
** there, and the bytes without any are over the limit. */
static int search(const ml_reader *r, ml_readop *op, found *f) {
  bool line = kind_of(op) == LINE;
  const separator *seps = line ? &line_break : op->seps;
  size_t n = line ? 1 : op->n, len = r->in.len;
  const char *base = r->in.base + r->in.start;
  bool any = false;
  if (len < op->from + seps[0].n) return 0;
  for (size_t i = 0; i < n; i++) {
    const char *p = seps[i].n == 1 ? memchr(base + op->from, seps[i].p[0], len - op->from)
                                   : memmem(base + op->from, len - op->from, seps[i].p, seps[i].n);
    if (p == NULL) continue;
    size_t end = (size_t)(p - base) + seps[i].n;
    if (!any || end < f->end) {
      f->start = (size_t)(p - base);
      f->end = end;
    }
    any = true;
  }
  if (any) return 1;
  op->from = len + 1 > seps[n - 1].n ? len + 1 - seps[n - 1].n : 0;
  return op->from > r->limit ? -1 : 0;
}

/* Would the waiting operation end with what is there? */
static bool answered(ml_reader *r, ml_readop *op) {
  found f;
  if (r->obj.flags & (ML_RD_EOF | ML_RD_FAILED | ML_RD_ERROR)) return true;
  switch (kind_of(op)) {
  case READ:
  case INTO: return r->in.len > 0;
  case READ_ALL: return false;
  case EXACTLY: return r->in.len >= op->n;
  default: return search(r, op, &f) != 0;
  }
}

/* ---- waking and backpressure ---- */

static void wait_over(ml_reader *r) {
  r->waiter = NULL;
  if (r->source != NULL) r->source->want(r->source, NULL);
}

void ml__reader_wake(ml_reader *r) {
  ml_readop *op = r->waiter;
  if (op == NULL) return;
  wait_over(r);
  ml__op_wake(&op->op);
}

static void set_paused(ml_reader *r, bool paused) {
  if (paused == !!(r->obj.flags & ML_RD_PAUSED) || r->s == NULL) return;
  if (paused) {
    r->obj.flags |= ML_RD_PAUSED;
    r->s->flags |= ML_S_PAUSED;
  } else {
    r->obj.flags &= (uint16_t)~ML_RD_PAUSED;
    r->s->flags &= ~(uint32_t)(ML_S_PAUSED | ML_S_HALTED); /* resume_reading */
  }
  ml__stream_reading(r->s);
}

static void fed(ml_reader *r) {
  if (r->waiter != NULL && answered(r, r->waiter)) ml__reader_wake(r);
  if (r->in.len > r->limit && r->in.len - r->limit > r->limit && r->waiter == NULL)
    set_paused(r, true);
}

static void taken(ml_reader *r) {
  if (r->source != NULL && r->source->taken != NULL) r->source->taken(r->source);
  if ((r->obj.flags & ML_RD_PAUSED) && r->in.len <= r->limit) set_paused(r, false);
}

/* ---- as a sink ---- */

bool ml__reader_offer(ml_reader *r) {
  if (r->waiter == NULL || kind_of(r->waiter) > INTO || r->in.len > 0) return false;
  ml__reader_wake(r);
  return true;
}

static bool sink_reads(ml_stream *s) { return s->target != NULL && ml__reader_offer(s->target); }

static void sink_data(ml_stream *s, const char *p, size_t n) {
  ml_reader *r = s->target;
  if (r == NULL) return;
  if (ml__bytes_add(r->net, &r->in, p, n) < 0)
    ml__stream_fail(s, UV_ENOMEM);
  else
    fed(r);
}

static void sink_eof(ml_stream *s) {
  ml_reader *r = s->target;
  if (r == NULL) return;
  r->obj.flags |= ML_RD_EOF;
  ml__reader_wake(r);
}

static void sink_pause(lua_State *L, ml_stream *s) {
  (void)L;
  (void)s;
}
static void sink_resume(ml_stream *s) { (void)s; }

static void sink_lost(lua_State *L, ml_stream *s) {
  ml_reader *r = s->target;
  (void)L;
  if (r == NULL) return;
  r->obj.flags |= s->error == 0 ? ML_RD_EOF : ML_RD_FAILED;
  ml__reader_wake(r);
}

static void sink_forget(ml_stream *s) {
  ml_reader *r = s->target;
  r->obj.flags |= ML_RD_EOF;
}

static void sink_yield(ml_stream *s, ml_bytes *to) {
  ml_reader *r = s->target;
  memset(to, 0, sizeof *to);
  if (r == NULL) return;
  *to = r->in;
  memset(&r->in, 0, sizeof r->in);
  taken(r);
}

const ml_sink ml__reader_sink = {sink_data, sink_eof,    sink_pause, sink_resume,
                                 sink_lost, sink_forget, sink_yield, sink_reads};

/* ---- fed by a source, or by hand ---- */

int ml__reader_feed(ml_reader *r, const char *p, size_t n) {
  int rc = ml__bytes_add(r->net, &r->in, p, n);
  if (rc == 0) fed(r);
  return rc;
}

void ml__reader_end(ml_reader *r) {
  r->obj.flags |= ML_RD_EOF;
  ml__reader_wake(r);
}

void ml__reader_fail(ml_reader *r) {
  r->obj.flags |= ML_RD_FAILED;
  ml__reader_wake(r);
}

/* ---- errors ---- */

void ml__reader_set_error(lua_State *L, int idx) {
  ml_reader *r = lua_touserdata(L, idx);
  r->obj.flags |= ML_RD_ERROR;
  lua_setiuservalue(L, idx, 1);
}

bool ml__reader_failed(lua_State *L, int idx) {
  ml_reader *r = lua_touserdata(L, idx);
  idx = lua_absindex(L, idx);
  if (!(r->obj.flags & (ML_RD_FAILED | ML_RD_ERROR))) return false;
  if (!(r->obj.flags & ML_RD_ERROR)) { /* of the connection; made once */
    if (r->source != NULL)
      r->source->error(L, r->source);
    else if (r->s != NULL)
      ml__stream_error(L, r->s);
    else
      ml__error_new(L, "RuntimeError", "what the reader was fed by is gone");
    ml__reader_set_error(L, idx);
  }
  lua_getiuservalue(L, idx, 1);
  return true;
}

static int incomplete(lua_State *L, ml_reader *r, lua_Integer expected) {
  size_t n = r->in.len;
  if (expected >= 0)
    ml__error_new(L, "IncompleteReadError", "%I bytes read on a total of %I expected bytes",
                  (LUAI_UACINT)n, (LUAI_UACINT)expected);
  else
    ml__error_new(L, "IncompleteReadError", "%I bytes read on a total of undefined expected bytes",
                  (LUAI_UACINT)n);
  lua_pushlstring(L, n > 0 ? r->in.base + r->in.start : "", n);
  lua_setfield(L, -2, "partial");
  if (expected >= 0) {
    lua_pushinteger(L, expected);
    lua_setfield(L, -2, "expected");
  }
  ml__bytes_free(r->net, &r->in);
  return ML_RAISE;
}

/* A line that is too long is dropped, with its break if that is there. */
static int overrun(lua_State *L, ml_reader *r, ml_readop *op, bool is_found, size_t consumed) {
  const char *text = is_found ? "Separator is found, but chunk is longer than limit"
                              : "Separator is not found, and chunk exceed the limit";
  if (kind_of(op) == UNTIL) {
    ml__error_new(L, "LimitOverrunError", "%s", text);
    lua_pushinteger(L, (lua_Integer)consumed);
    lua_setfield(L, -2, "consumed");
    return ML_RAISE;
  }
  ml__error_new(L, "ValueError", "%s", text);
  ml__bytes_drop(r->net, &r->in, is_found ? consumed + 1 : r->in.len);
  taken(r);
  return ML_RAISE;
}

/* ---- the operations ---- */

static int take(lua_State *L, ml_reader *r, size_t n) {
  ml__bytes_take(L, r->net, &r->in, n);
  taken(r);
  return 1;
}

/* The end: nil, unless it came against the rules (a TLS peer that just went). */
static int nothing(lua_State *L, const ml_reader *r) {
  if (r->s != NULL && (r->s->flags & ML_S_RAGGED)) {
    ml__stream_error(L, r->s);
    return ML_RAISE;
  }
  lua_pushnil(L);
  return 1;
}

/* All that came before the end, or the error that stands for a false end. */
static int everything(lua_State *L, ml_reader *r) {
  if (r->s == NULL || !(r->s->flags & ML_S_RAGGED)) return take(L, r, r->in.len);
  nothing(L, r);
  take(L, r, r->in.len);
  lua_setfield(L, -2, "partial");
  return ML_RAISE;
}

static int try_until(lua_State *L, ml_reader *r, ml_readop *op) {
  found f;
  int rc = search(r, op, &f);
  if (rc < 0) return overrun(L, r, op, false, op->from);
  if (rc > 0) return f.start > r->limit ? overrun(L, r, op, true, f.start) : take(L, r, f.end);
  if (!(r->obj.flags & ML_RD_EOF)) return MORE;
  if (kind_of(op) == UNTIL) return incomplete(L, r, -1);
  return r->in.len == 0 ? nothing(L, r) : take(L, r, r->in.len);
}

/* Reads what the task was woken for. */
static int read_now(lua_State *L, ml_reader *r, ml_readop *op) {
  ml_stream *s = r->s;
  char *p = ml__slab(s->net);
  ssize_t n;
  if (p == NULL) return luaL_error(L, "not enough memory");
  n = ml__stream_read(s, p, ML_SLAB);
  if (n == UV_EAGAIN) return MORE;
  if (n == 0) {
    r->obj.flags |= ML_RD_EOF;
    return nothing(L, r);
  }
  if (n < 0) {
    r->obj.flags |= ML_RD_FAILED;
    lua_getiuservalue(L, 1, 1);
    ml__reader_failed(L, lua_gettop(L));
    return ML_RAISE;
  }
  if ((size_t)n > op->n) {
    if (ml__bytes_add(r->net, &r->in, p, (size_t)n) < 0) {
      ml__stream_fail(s, UV_ENOMEM);
      return luaL_error(L, "not enough memory");
    }
    n = take(L, r, op->n);
    fed(r);
    return (int)n;
  }
  ml__slab_push(L, r->net, (size_t)n);
  return 1;
}

/* There was nothing to be read: is there something now, or an end? */
static int looked(const ml_reader *r) {
  return (r->obj.flags & (ML_RD_EOF | ML_RD_FAILED)) || r->in.len > 0 ? AGAIN : MORE;
}

static int read_source(lua_State *L, ml_reader *r, ml_readop *op) {
  char *p = ml__slab(r->net);
  size_t n = op->n < ML_SLAB ? op->n : ML_SLAB - 1;
  not_waited(op);
  if (p == NULL) return luaL_error(L, "not enough memory");
  n = r->source->read(r->source, p, n);
  if (n == 0) return looked(r);
  ml__slab_push(L, r->net, n);
  return 1;
}

static bool source_has(const ml_reader *r, const ml_readop *op) {
  return r->source != NULL && r->source->read != NULL && (has_waited(op) || r->source->ready);
}

/* To p, past the reader. 0: nothing, but it may have ended or failed. */
static size_t read_past(ml_reader *r, ml_readop *op, char *p, size_t n) {
  ssize_t got;
  if (source_has(r, op)) {
    not_waited(op);
    return r->source->read(r->source, p, n);
  }
  if (r->s == NULL || !has_waited(op) || !(r->s->flags & ML_S_READING)) return 0;
  not_waited(op);
  got = ml__stream_read(r->s, p, n);
  if (got == 0) r->obj.flags |= ML_RD_EOF;
  if (got < 0 && got != UV_EAGAIN) r->obj.flags |= ML_RD_FAILED;
  return got > 0 ? (size_t)got : 0;
}

static int try_into(lua_State *L, ml_reader *r, ml_readop *op) {
  ml_intake *in;
  size_t n = op->n;
  char *p;
  lua_getiuservalue(L, 1, 2);
  in = lua_touserdata(L, -1);
  lua_pop(L, 1);
  p = in->room(in, &n);
  if (n > 0 && r->in.len > 0) {
    if (n > r->in.len) n = r->in.len;
    memcpy(p, r->in.base + r->in.start, n);
    in->add(in, n);
    ml__bytes_drop(r->net, &r->in, n);
    taken(r);
  } else if (n > 0) {
    if (r->obj.flags & ML_RD_EOF) return nothing(L, r);
    n = read_past(r, op, p, n);
    if (n == 0) return looked(r);
    in->add(in, n);
  }
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

static int try_read(lua_State *L, ml_reader *r, ml_readop *op) {
  bool eof = r->obj.flags & ML_RD_EOF;
  switch (kind_of(op)) {
  case READ:
    if (r->in.len == 0 && !eof && has_waited(op) && r->s != NULL && (r->s->flags & ML_S_READING))
      return read_now(L, r, op);
    if (r->in.len == 0 && !eof && source_has(r, op)) return read_source(L, r, op);
    if (r->in.len == 0) return eof ? nothing(L, r) : MORE;
    return take(L, r, op->n < r->in.len ? op->n : r->in.len);
  case INTO: return try_into(L, r, op);
  case READ_ALL: return eof ? everything(L, r) : MORE;
  case EXACTLY:
    if (r->in.len >= op->n) return take(L, r, op->n);
    return eof ? incomplete(L, r, (lua_Integer)op->n) : MORE;
  default: return try_until(L, r, op);
  }
}

/* Does it fail? What has come of a body that was cut off is read first. */
static bool fails(const ml_reader *r, const ml_readop *op) {
  if (!(r->obj.flags & (ML_RD_FAILED | ML_RD_ERROR))) return false;
  return r->source == NULL || kind_of(op) > INTO || r->in.len == 0;
}

/* The operation is at index 1. */
static int step(lua_State *L, ml_readop *op) {
  ml_reader *r = op->r;
  int n;
  if (fails(r, op)) {
    lua_getiuservalue(L, 1, 1);
    ml__reader_failed(L, -1);
    op->op.obj.n = 0;
    return ML_RAISE;
  }
  if (op->n == 0 && (kind_of(op) == READ || kind_of(op) == EXACTLY)) {
    lua_pushliteral(L, "");
    op->op.obj.n = 0;
    return 1;
  }
  n = try_read(L, r, op);
  if (n == AGAIN) return step(L, op);
  if (n != MORE) {
    if ((r->obj.flags & ML_RD_EOF) && r->in.len == 0) r->obj.flags |= ML_RD_TOLD;
    op->op.obj.n = 0;
    return n;
  }
  if (r->waiter != NULL) {
    op->op.obj.n = 0;
    ml__error_new(L, "RuntimeError",
                  "%s() called while another coroutine is already waiting for incoming data",
                  names[kind_of(op)]);
    return ML_RAISE;
  }
  if (r->s != NULL && r->s->loop != ml__engine(L)->running) {
    op->op.obj.n = 0;
    ml__error_new(L, "RuntimeError", "%s(): the reader belongs to a different loop",
                  names[kind_of(op)]);
    return ML_RAISE;
  }
  if (r->source != NULL) {
    int rc = r->source->want(r->source, ml__engine(L)->running);
    if (rc < 0) r->obj.flags |= ML_RD_FAILED;
    if (rc != 0) return step(L, op);
  }
  r->waiter = op;
  if (r->s != NULL) ml__stream_unread(r->s);
  if (r->obj.flags & ML_RD_PAUSED) set_paused(r, false);
  return ML_PARK;
}

static void op_cancel(ml_op *o) {
  ml_readop *op = (ml_readop *)o;
  if (op->r->waiter == op) wait_over(op->r);
}

static int op_begin(lua_State *L, ml_op *o) {
  ml_readop *op = (ml_readop *)o;
  ml_reader *r = op->r;
  op->from = 0;
  not_waited(op);
  if ((r->obj.flags & ML_RD_TOLD) && r->source != NULL && r->source->again)
    r->obj.flags &= (uint16_t) ~(ML_RD_EOF | ML_RD_TOLD); /* Ctrl-D ends one read */
  return step(L, op);
}

static int op_wake(lua_State *L, ml_op *o) {
  ml_readop *op = (ml_readop *)o;
  if (o->obj.state == ML_OP_CANCELLED) {
    op_cancel(o);
    if (op->r->s != NULL) ml__stream_unread(op->r->s);
    op->op.obj.n = 0;
    return 0;
  }
  op->from = 0;
  op->op.obj.flags |= WAITED;
  return step(L, op);
}

static const ml_opclass classes[] = {
    {"StreamReader.read", op_begin, op_wake, op_cancel},
    {"StreamReader.read", op_begin, op_wake, op_cancel},
    {"StreamReader.read", op_begin, op_wake, op_cancel},
    {"StreamReader.readexactly", op_begin, op_wake, op_cancel},
    {"StreamReader.readline", op_begin, op_wake, op_cancel},
    {"StreamReader.readuntil", op_begin, op_wake, op_cancel},
};

static inline ml_reader *check(lua_State *L) {
  ml_object *o = lua_touserdata(L, 1);
  if (o != NULL && lua_rawlen(L, 1) == sizeof(ml_reader) && o->magic == &ml__magic &&
      o->type == ML_T_READER)
    return (ml_reader *)(void *)o;
  return ml__checkobject(L, 1, ML_T_READER);
}

/* Pushes an operation on the reader at index 1: the last one if it is done with. */
static int push_op(lua_State *L, int kind, size_t n) {
  ml_readop *op = NULL;
  ml_reader *r = lua_touserdata(L, 1);
  bool keeps = !(r->obj.flags & ML_RD_ERROR); /* else the error has its place */
  if (keeps && lua_getiuservalue(L, 1, 1) == LUA_TUSERDATA) op = lua_touserdata(L, -1);
  if (op != NULL && op->op.obj.n == 0 && op->op.obj.state == ML_CO_AWAITED) {
    op->op.obj.state = ML_CO_NEW;
    op->op.obj.flags = 0;
    op->op.cls = &classes[kind];
  } else {
    op = ml__op_new(L, &classes[kind], sizeof *op, 1);
    op->r = r;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    if (keeps) {
      lua_pushvalue(L, -1);
      lua_setiuservalue(L, 1, 1);
    }
  }
  op->op.obj.n = 1;
  op->n = n;
  return 1;
}

static lua_Integer check_count(lua_State *L, const char *fname) {
  int ok;
  lua_Integer n = lua_tointegerx(L, 2, &ok);
  if (!ok || lua_type(L, 2) != LUA_TNUMBER)
    ml__misuse(L, "TypeError", "%s: a number of bytes (an integer) was expected, got %s", fname,
               lua_type(L, 2) == LUA_TNUMBER ? lua_tostring(L, 2) : luaL_typename(L, 2));
  return n;
}

static int r_read(lua_State *L) {
  lua_Integer n;
  check(L);
  n = lua_isinteger(L, 2)     ? lua_tointeger(L, 2)
      : lua_isnoneornil(L, 2) ? -1
                              : check_count(L, "read");
  return n < 0 ? push_op(L, READ_ALL, 0) : push_op(L, READ, (size_t)n);
}

static int r_readexactly(lua_State *L) {
  check(L);
  lua_Integer n = check_count(L, "readexactly");
  if (n < 0) return ml__misuse(L, "ValueError", "readexactly size can not be less than zero");
  return push_op(L, EXACTLY, (size_t)n);
}

static int r_readline(lua_State *L) {
  check(L);
  return push_op(L, LINE, 0);
}

static void check_separator(lua_State *L, int idx) {
  if (lua_type(L, idx) != LUA_TSTRING)
    ml__misuse(L, "TypeError", "readuntil: a separator must be a string, got %s",
               luaL_typename(L, idx));
  if (lua_rawlen(L, idx) == 0)
    ml__misuse(L, "ValueError", "Separator should be at least one-byte string");
}

/* readuntil([separator or array of separators]) */
static int r_readuntil(lua_State *L) {
  ml_reader *r = check(L);
  ml_readop *op;
  lua_Integer n = 1;
  if (lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    lua_pushliteral(L, "\n");
  }
  lua_settop(L, 2);
  if (lua_istable(L, 2)) {
    n = luaL_len(L, 2);
    if (n < 1) return ml__misuse(L, "ValueError", "Separator should contain at least one element");
    if (n > 1000) return ml__misuse(L, "ValueError", "readuntil: too many separators (%d)", (int)n);
    lua_createtable(L, (int)n, 0);
    for (int i = 1; i <= n; i++) {
      lua_geti(L, 2, i);
      check_separator(L, -1);
      lua_rawseti(L, 3, i);
    }
  } else {
    check_separator(L, 2);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 2);
    lua_rawseti(L, 3, 1);
  }
  op = ml__op_new(L, &classes[UNTIL], sizeof *op + (size_t)n * sizeof(separator), 2);
  op->r = r;
  op->op.obj.n = 1;
  op->n = (size_t)n;
  for (int i = 0; i < n; i++) { /* shortest first */
    separator s;
    int k = i;
    lua_rawgeti(L, 3, i + 1);
    s.p = lua_tolstring(L, -1, &s.n);
    lua_pop(L, 1);
    for (; k > 0 && op->seps[k - 1].n > s.n; k--) op->seps[k] = op->seps[k - 1];
    op->seps[k] = s;
  }
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, 2);
  return 1;
}

void ml__reader_into(lua_State *L, int reader, int intake, size_t n) {
  ml_reader *r = ml__checkobject(L, reader, ML_T_READER);
  ml_readop *op;
  reader = lua_absindex(L, reader);
  intake = lua_absindex(L, intake);
  op = ml__op_new(L, &classes[INTO], sizeof *op, 2);
  op->r = r;
  op->op.obj.n = 1;
  op->n = n;
  lua_pushvalue(L, reader);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, intake);
  lua_setiuservalue(L, -2, 2);
}

const luaL_Reg ml__reader_operations[] = {{"read", r_read},
                                          {"readexactly", r_readexactly},
                                          {"readline", r_readline},
                                          {"readuntil", r_readuntil},
                                          {NULL, NULL}};
