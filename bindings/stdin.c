/* Standard input as a StreamReader that reads only while a task waits in it: what
** nobody asks for is left to others (a child, io.read), and input that nobody
** waits for keeps no loop alive.
*/
#include <stdio.h>
#include <string.h>

#include "stdfd.h"

#define FILE_PART (64 * 1024)

static const char input_key;

typedef struct input {
  ml_readsource source; /* first */
  ml_stdfd f;
  ml_reader *r; /* it holds this as its user value 3 */
  ml_net *net;
  bool opened;
  int error;
} input;

/* Bytes that C's stdin has read ahead. */
static size_t read_ahead(void) {
#ifdef __GLIBC__
  return (size_t)(stdin->_IO_read_end - stdin->_IO_read_ptr);
#else
  return 0;
#endif
}

static int take_ahead(input *in) {
  char part[4096];
  size_t n;
  int any = 0;
  while ((n = read_ahead()) > 0) {
    if (n > sizeof part) n = sizeof part;
    n = fread(part, 1, n, stdin);
    if (n == 0) break;
    if (ml__reader_feed(in->r, part, n) < 0) return UV_ENOMEM;
    any = 1;
  }
  return any;
}

/* ---- what comes ---- */

static void took(input *in, const char *p, ssize_t n) {
  int rc = n > 0 ? ml__reader_feed(in->r, p, (size_t)n) : (int)n;
  if (n > 0 && rc == 0) return;
  ml__stdfd_watch(&in->f, NULL, 0);
  if (n == 0) {
    ml__reader_end(in->r);
    return;
  }
  in->error = rc;
  ml__reader_fail(in->r);
}

static void on_ready(ml_stdfd *f, int status) {
  input *in = ml__containerof(f, input, f);
  char *p = ml__slab(in->net);
  ssize_t n = p == NULL ? UV_ENOMEM : ml__stdfd_read(f, p, ML_SLAB);
  if (n == UV_EAGAIN && status == 0) return;
  took(in, p, n);
}

static void on_read(ml_stdfd *f, const char *p, ssize_t n) {
  input *in = ml__containerof(f, input, f);
  ml_evloop *l;
  if (n == UV_ECANCELED) return;
  took(in, p, n);
  if (n <= 0 || in->r->waiter == NULL) return;
  l = ml__stdfd_loop(f->engine); /* it waits for more */
  if (l == NULL || ml__stdfd_start(f, l, NULL, FILE_PART) < 0) took(in, NULL, UV_ENOMEM);
}

/* ---- when it is wanted ---- */

static int want(ml_readsource *src, ml_evloop *loop) {
  input *in = (input *)src;
  int rc = 0;
  if (loop == NULL) {
    if (in->opened) ml__stdfd_watch(&in->f, NULL, 0);
    return 0;
  }
  if (!in->opened) {
    rc = ml__stdfd_open(&in->f);
    in->opened = rc == 0;
    src->again = in->f.tty;
  }
  if (rc == 0) rc = take_ahead(in);
  if (rc == 0 && ml__loop_uv(loop) == NULL) rc = UV_ENOMEM;
  if (rc == 0) {
    if (in->f.pollable)
      rc = ml__stdfd_watch(&in->f, loop, UV_READABLE);
    else if (in->f.work == NULL)
      rc = ml__stdfd_start(&in->f, loop, NULL, FILE_PART);
  }
  if (rc < 0) in->error = rc;
  return rc;
}

static void push_error(lua_State *L, ml_readsource *src) {
  input *in = (input *)src;
  ml__error_uv(L, in->error, "read from <stdin> failed");
}

ml_stdfd *ml__stdin_fd(lua_State *L) {
  input *in;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &input_key);
  in = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return in != NULL && in->opened ? &in->f : NULL;
}

static int input_gc(lua_State *L) {
  input *in = lua_touserdata(L, 1);
  if (in->opened) ml__stdfd_close(&in->f);
  in->opened = false;
  return 0;
}

void ml__stdin_open(lua_State *L) {
  input *in = lua_newuserdatauv(L, sizeof *in, 1);
  memset(in, 0, sizeof *in);
  in->f.engine = ml__engine(L);
  in->f.fd = -1;
  in->f.ready = on_ready;
  in->f.done = on_read;
  in->source.want = want;
  in->source.error = push_error;
  in->net = ml__net(L);
  in->r = ml__reader_push(L, in->net, NULL, ML_LIMIT);
  in->r->source = &in->source;
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, -3, 1);
  lua_setfield(L, -3, "stdin");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, input_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &input_key); /* both live as long as the engine */
  ml__finalized(L);
}
