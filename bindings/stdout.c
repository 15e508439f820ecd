/* Standard output and error as StreamWriters. A write is tried at once, the rest is
** queued; what is queued keeps the loop alive, and is written out, blocking,
** when the process ends before (ml_flush).
**
** What C's stdio holds (print, io.write) leaves before what is written here. The
** other way round print and io.write, once this is in use, wait for the queue.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lualib.h>

#include "stdfd.h"

#define HIGH_WATER ((size_t)64 * 1024)
#define LOW_WATER ((size_t)16 * 1024)
#define FILE_PART ((size_t)256 * 1024)

enum {
  O_OPEN = 1,
  O_FULL = 2,
  O_ENDED = 4,
  O_CLOSING = 8,
  O_CLOSED = 16,
  O_TOLD = 32,
  O_CUT = 64,
  O_FLUSH = 128
};

typedef struct output {
  ml_object obj; /* flags: O_* */
  ml_stdfd f;
  ml_chunk *first, *last; /* waiting to be written */
  size_t queued;
  int error;
  ml_link waiters;        /* ml_waitop: drain, wait_closed */
  struct output *sibling; /* the other one */
} output;

static const char outputs_key[2]; /* addresses for the registry */

static output *check(lua_State *L) { return ml__checkobject(L, 1, ML_T_OUTPUT); }

/* ---- the queue ---- */

static void drop(output *o, size_t n) {
  o->queued -= n;
  while (n > 0) {
    ml_chunk *c = o->first;
    if (n < c->len) {
      c->off += n;
      c->len -= n;
      return;
    }
    n -= c->len;
    o->first = c->next;
    ml__alloc(o->f.engine->alloc, c, c->size, 0);
  }
  if (o->first == NULL) o->last = NULL;
}

static int enqueue(output *o, const char *p, size_t n) {
  ml_chunk *c = o->last;
  size_t size;
  if (c != NULL && c->size - offsetof(ml_chunk, data) - c->off - c->len >= n) {
    memcpy(c->data + c->off + c->len, p, n);
    c->len += n;
    o->queued += n;
    return 0;
  }
  size = offsetof(ml_chunk, data) + (n < 4096 ? 4096 : n); /* room for more small ones */
  c = ml__alloc(o->f.engine->alloc, NULL, 0, size);
  if (c == NULL) return UV_ENOMEM;
  c->next = NULL;
  c->size = size;
  c->off = 0;
  c->len = n;
  memcpy(c->data, p, n);
  if (o->last != NULL)
    o->last->next = c;
  else
    o->first = c;
  o->last = c;
  o->queued += n;
  return 0;
}

/* ---- the end ---- */

/* The main program has said that no more comes: who reads it sees the end. The
** descriptor stays taken, so that nothing else gets its number. */
static void cut(const output *o) {
  int null;
  if (o->f.socket) {
    shutdown(o->f.fd, SHUT_WR);
    return;
  }
  if (o->f.engine->host_mode) return; /* the process is the host's */
  null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null < 0) return;
  dup2(null, o->f.number);
  close(null);
}

/* Nothing is queued: what has waited for that. */
static void emptied(output *o) {
  ml__stdfd_watch(&o->f, NULL, 0);
  if ((o->obj.flags & (O_ENDED | O_CUT)) == O_ENDED) {
    o->obj.flags |= O_CUT;
    cut(o);
    if (!o->f.socket) ml__stdfd_close(&o->f);
  }
  if (o->obj.flags & O_CLOSING) {
    o->obj.flags |= O_CLOSED;
    ml__stdfd_close(&o->f);
    ml__wake_all(&o->waiters, NULL);
  }
}

static void failed(output *o, int error) {
  o->error = error;
  drop(o, o->queued);
  o->obj.flags &= (uint16_t)~O_FULL;
  ml__wake_all(&o->waiters, NULL);
  emptied(o);
}

/* ---- writing ---- */

static void wrote(output *o) {
  if ((o->obj.flags & O_FULL) && o->queued <= LOW_WATER) {
    o->obj.flags &= (uint16_t)~O_FULL;
    ml__wake_all(&o->waiters, NULL);
  }
  if (o->queued == 0) emptied(o);
}

/* As much of the queue as goes. */
static void on_ready(ml_stdfd *f, int status) {
  output *o = ml__containerof(f, output, f);
  ssize_t n = 0;
  while (o->first != NULL) {
    n = ml__stdfd_write(f, o->first->data + o->first->off, o->first->len);
    if (n <= 0) break;
    drop(o, (size_t)n);
  }
  if (n == UV_EAGAIN && status < 0) n = UV_EPIPE;
  if (n < 0 && n != UV_EAGAIN)
    failed(o, (int)n);
  else
    wrote(o);
}

/* Gets what is queued under way on the loop; without one it waits for ml_flush. */
static int go_on(output *o) {
  ml_evloop *l;
  if (o->first == NULL || o->error != 0 || (o->obj.flags & O_FLUSH)) return 0;
  l = ml__stdfd_loop(o->f.engine);
  if (l == NULL) return 0;
  if (o->f.pollable) return ml__stdfd_watch(&o->f, l, UV_WRITABLE);
  if (o->f.work != NULL) return 0;
  return ml__stdfd_start(&o->f, l, o->first->data + o->first->off,
                         o->first->len < FILE_PART ? o->first->len : FILE_PART);
}

static void on_written(ml_stdfd *f, const char *p, ssize_t n) {
  output *o = ml__containerof(f, output, f);
  int rc = n > 0 || n == UV_ECANCELED ? 0 : n == 0 ? UV_EIO : (int)n;
  (void)p;
  if (n > 0) drop(o, (size_t)n);
  if (rc == 0 && n > 0) rc = go_on(o);
  if (rc < 0)
    failed(o, rc);
  else
    wrote(o);
}

/* Writes out all that is queued, blocking. */
static void flush(output *o) {
  if (!(o->obj.flags & O_OPEN)) return;
  o->obj.flags |= O_FLUSH;
  ml__stdfd_settle(&o->f);
  while (o->first != NULL) {
    ssize_t n = ml__stdfd_write(&o->f, o->first->data + o->first->off, o->first->len);
    if (n > 0)
      drop(o, (size_t)n);
    else if (n != UV_EAGAIN)
      failed(o, n < 0 ? (int)n : UV_EIO);
    else if (o->f.pollable && !ml__stdfd_wait(&o->f))
      break; /* Ctrl-C */
  }
  o->obj.flags &= (uint16_t)~O_FLUSH;
  wrote(o);
}

static int open_once(output *o) {
  int rc;
  if (o->obj.flags & O_OPEN) return 0;
  rc = ml__stdfd_open(&o->f);
  if (rc == 0) o->obj.flags |= O_OPEN;
  return rc;
}

static int write_bytes(output *o, const char *p, size_t n) {
  output *s = o->sibling;
  ssize_t sent = UV_EAGAIN;
  int rc = open_once(o);
  if (rc < 0) {
    o->error = rc;
    return 0;
  }
  if (n == 0) return 0;
  if (o->f.number == STDOUT_FILENO) fflush(stdout);
  if (s->first != NULL && s->f.dev == o->f.dev && s->f.ino == o->f.ino) flush(s);
  if (o->first == NULL && o->f.pollable) sent = ml__stdfd_write(&o->f, p, n);
  if (sent < 0 && sent != UV_EAGAIN) {
    failed(o, (int)sent);
    return 0;
  }
  if (sent == (ssize_t)n) return 0;
  if (sent < 0) sent = 0;
  if (enqueue(o, p + sent, n - (size_t)sent) < 0) return UV_ENOMEM;
  if (o->queued > HIGH_WATER) o->obj.flags |= O_FULL;
  rc = go_on(o);
  if (rc < 0) failed(o, rc);
  return 0;
}

/* Pushes what it has failed with. */
static void push_error(lua_State *L, output *o) {
  o->obj.flags |= O_TOLD;
  ml__error_uv(L, o->error, "write to %s failed", ml__stdfd_name(&o->f));
}

/* ---- methods ---- */

static void use_stdout(lua_State *L);

static output *check_writable(lua_State *L, const char *fname) {
  output *o = check(L);
  if (o->f.number == STDOUT_FILENO && !(o->obj.flags & O_OPEN)) use_stdout(L);
  if (o->obj.flags & O_ENDED)
    ml__misuse(L, "RuntimeError", "Cannot call %s() after write_eof()", fname);
  if (o->obj.flags & O_CLOSING)
    ml__misuse(L, "RuntimeError", "Cannot call %s() after close()", fname);
  if (o->error != 0) { /* the first time drain tells it; who does not look ends here */
    push_error(L, o);
    lua_error(L);
  }
  return o;
}

static int out_write(lua_State *L) {
  output *o;
  size_t n;
  const char *p;
  check(L);
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "write: data must be a string, got %s", luaL_typename(L, 2));
  o = check_writable(L, "write");
  p = lua_tolstring(L, 2, &n);
  ml__check_output(L, n);
  if (write_bytes(o, p, n) < 0) return luaL_error(L, "not enough memory");
  return 0;
}

static int out_writelines(lua_State *L) {
  output *o;
  lua_Integer n;
  check(L);
  if (!lua_istable(L, 2))
    return ml__misuse(L, "TypeError", "writelines: an array of strings was expected, got %s",
                      luaL_typename(L, 2));
  o = check_writable(L, "writelines");
  n = (lua_Integer)lua_rawlen(L, 2);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 2, i);
    if (lua_type(L, -1) != LUA_TSTRING)
      return ml__misuse(L, "TypeError", "writelines: item %d must be a string, got %s", (int)i,
                        luaL_typename(L, -1));
    lua_pop(L, 1);
  }
  for (lua_Integer i = 1; i <= n && o->error == 0; i++) {
    size_t len;
    const char *p;
    lua_rawgeti(L, 2, i);
    p = lua_tolstring(L, -1, &len);
    ml__check_output(L, len);
    if (write_bytes(o, p, len) < 0) return luaL_error(L, "not enough memory");
    lua_pop(L, 1);
  }
  return 0;
}

static int out_write_eof(lua_State *L) {
  output *o = check(L);
  if (o->obj.flags & (O_ENDED | O_CLOSING)) return 0;
  if (open_once(o) < 0) return 0;
  if (o->f.number == STDOUT_FILENO) fflush(stdout);
  o->obj.flags |= O_ENDED;
  if (o->queued == 0) emptied(o);
  return 0;
}

static int out_can_write_eof(lua_State *L) {
  check(L);
  lua_pushboolean(L, 1);
  return 1;
}

static int out_close(lua_State *L) {
  output *o = check(L);
  if (o->obj.flags & O_CLOSING) return 0;
  o->obj.flags |= O_CLOSING;
  if (o->queued == 0) emptied(o);
  return 0;
}

static int out_is_closing(lua_State *L) {
  lua_pushboolean(L, (check(L)->obj.flags & O_CLOSING) != 0);
  return 1;
}

static int out_fileno(lua_State *L) {
  lua_pushinteger(L, check(L)->f.number);
  return 1;
}

/* get_extra_info(name [, default]): "pipe": the file of the io library */
static int out_get_extra_info(lua_State *L) {
  output *o = check(L);
  lua_settop(L, 3);
  if (lua_type(L, 2) != LUA_TSTRING)
    return ml__misuse(L, "TypeError", "get_extra_info: a name was expected, got %s",
                      luaL_typename(L, 2));
  if (strcmp(lua_tostring(L, 2), "pipe") != 0) return 1;
  lua_getglobal(L, "io");
  lua_getfield(L, -1, o->f.number == STDOUT_FILENO ? "stdout" : "stderr");
  return 1;
}

static int out_tostring(lua_State *L) {
  output *o = check(L);
  const char *state = (o->obj.flags & O_CLOSED)    ? "closed"
                      : (o->obj.flags & O_CLOSING) ? "closing"
                                                   : "open";
  lua_pushfstring(L, "<StreamWriter %s peer=%s bufsize=%I>", state, ml__stdfd_name(&o->f),
                  (LUAI_UACINT)o->queued);
  return 1;
}

/* ---- drain and wait_closed ---- */

static int outcome(lua_State *L, output *o) {
  if (o->error == 0) return 0;
  push_error(L, o);
  return ML_RAISE;
}

static int wait_begin(lua_State *L, ml_op *op, bool over) {
  ml_waitop *w = (ml_waitop *)op;
  output *o = w->on;
  int rc;
  if (over || o->error != 0) return outcome(L, o);
  rc = go_on(o); /* it may have been under way on another loop */
  if (rc < 0) failed(o, rc);
  if (rc < 0) return outcome(L, o);
  ml__list_append(&o->waiters, &w->link);
  return ML_PARK;
}

static int drain_begin(lua_State *L, ml_op *op) {
  const output *o = ((ml_waitop *)op)->on;
  return wait_begin(L, op, !(o->obj.flags & O_FULL));
}

static int closed_begin(lua_State *L, ml_op *op) {
  const output *o = ((ml_waitop *)op)->on;
  return wait_begin(L, op, (o->obj.flags & O_CLOSED) != 0);
}

static int wait_wake(lua_State *L, ml_op *op) {
  ml_waitop *w = (ml_waitop *)op;
  ml__list_remove(&w->link);
  return op->obj.state == ML_OP_CANCELLED ? 0 : outcome(L, w->on);
}

static int closed_wake(lua_State *L, ml_op *op) {
  const output *o = ((ml_waitop *)op)->on;
  if (op->obj.state == ML_OP_CANCELLED || o->error != 0 || (o->obj.flags & O_CLOSED))
    return wait_wake(L, op);
  ml__list_remove(&((ml_waitop *)op)->link); /* woken by a drain's end */
  return closed_begin(L, op);
}

static const ml_opclass drain_class = {"StreamWriter.drain", drain_begin, wait_wake,
                                       ml__waitop_cancel};
static const ml_opclass closed_class = {"StreamWriter.wait_closed", closed_begin, closed_wake,
                                        ml__waitop_cancel};

static int new_wait(lua_State *L, const ml_opclass *cls) {
  output *o = check(L);
  lua_pushvalue(L, 1);
  ml__waitop_push(L, cls, o);
  return 1;
}

static int out_drain(lua_State *L) { return new_wait(L, &drain_class); }
static int out_wait_closed(lua_State *L) { return new_wait(L, &closed_class); }

/* ---- with C's stdio ---- */

static output *output_of(lua_State *L, int i) {
  output *o;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &outputs_key[i]);
  o = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return o;
}

/* Upvalue 1: the function that it stands for; 2: it is a file's method. */
static int in_order(lua_State *L) {
  output *o = output_of(L, 0);
  bool ours = true;
  if (lua_toboolean(L, lua_upvalueindex(2))) {
    const luaL_Stream *file = luaL_testudata(L, 1, LUA_FILEHANDLE);
    ours = file != NULL && file->closef != NULL && file->f == stdout;
  }
  if (ours && o->first != NULL) flush(o);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

/* Replaces the field of the table on top, but not a function of the script's. */
static void put_in_order(lua_State *L, const char *name, bool method) {
  lua_getfield(L, -1, name);
  if (!lua_iscfunction(L, -1) || lua_tocfunction(L, -1) == in_order) {
    lua_pop(L, 1);
    return;
  }
  lua_pushboolean(L, method);
  lua_pushcclosure(L, in_order, 2);
  lua_setfield(L, -2, name);
}

/* From now on print, io.write and io.stdout:write keep the order. */
static void use_stdout(lua_State *L) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 8, "stdout");
  lua_pushglobaltable(L);
  if (ml__engine(L)->config.print == NULL) put_in_order(L, "print", false);
  if (lua_getfield(L, -1, LUA_IOLIBNAME) == LUA_TTABLE) put_in_order(L, "write", false);
  if (luaL_getmetatable(L, LUA_FILEHANDLE) == LUA_TTABLE &&
      lua_getfield(L, -1, "__index") == LUA_TTABLE)
    put_in_order(L, "write", true);
  lua_settop(L, top);
}

/* ---- life ---- */

ml_stdfd *ml__stdout_fd(lua_State *L, int number) {
  output *o = output_of(L, number - STDOUT_FILENO);
  return o != NULL && (o->obj.flags & O_OPEN) ? &o->f : NULL;
}

static int flush_all(ml_engine *e) {
  int rc = 0;
  for (int i = 0; i < 2; i++) {
    output *o = output_of(e->L, i);
    if (o == NULL) continue;
    flush(o);
    if (i == 0 && !(o->obj.flags & O_TOLD)) rc = o->error;
  }
  return rc;
}

static int out_gc(lua_State *L) {
  output *o = lua_touserdata(L, 1);
  o->f.engine->flush_output = NULL;
  if (o->obj.flags & O_OPEN) {
    flush(o);
    ml__stdfd_close(&o->f);
  }
  drop(o, o->queued);
  o->obj.flags |= O_ENDED | O_CLOSING | O_CLOSED;
  return 0;
}

static output *new_output(lua_State *L, int i) {
  output *o = ml__newobject(L, ML_T_OUTPUT, sizeof *o, 0);
  o->f.engine = ml__engine(L);
  o->f.number = STDOUT_FILENO + i;
  o->f.fd = -1;
  o->f.ready = on_ready;
  o->f.done = on_written;
  ml__list_init(&o->waiters);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &outputs_key[i]);
  return o;
}

void ml__stdout_open(lua_State *L) {
  static const luaL_Reg methods[] = {{"write", out_write},
                                     {"writelines", out_writelines},
                                     {"write_eof", out_write_eof},
                                     {"can_write_eof", out_can_write_eof},
                                     {"drain", out_drain},
                                     {"close", out_close},
                                     {"wait_closed", out_wait_closed},
                                     {"is_closing", out_is_closing},
                                     {"fileno", out_fileno},
                                     {"get_extra_info", out_get_extra_info},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", out_tostring}, {"__gc", out_gc}, {NULL, NULL}};
  output *out, *err;
  ml__newtype(L, ML_T_OUTPUT, "StreamWriter", methods, meta);
  lua_setfield(L, -2, "Output");
  out = new_output(L, 0);
  lua_setfield(L, -2, "stdout");
  err = new_output(L, 1);
  lua_setfield(L, -2, "stderr");
  out->sibling = err;
  err->sibling = out;
  ml__engine(L)->flush_output = flush_all;
  ml__ref_get(L, ML_R_TYPES + ML_T_OUTPUT);
  lua_getfield(L, -1, "__metatable");
  lua_remove(L, -2);
  lua_setfield(L, -2, "metatable");
}
