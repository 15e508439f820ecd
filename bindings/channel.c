/* What executors of processes need of C: values as bytes with code in them, messages on a
** descriptor that block, facts about the machine. Part of module asyncio.workers.
*/
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "executor.h"

static const char buffer_key = 0;

/* The engine's buffer for what is being packed. */
static ml_buf *buffer(lua_State *L) {
  ml_buf *b;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &buffer_key);
  b = lua_touserdata(L, -1);
  lua_pop(L, 1);
  b->len = 0;
  return b;
}

static int buffer_gc(lua_State *L) {
  ml_buf_free(lua_touserdata(L, 1));
  return 0;
}

/* dumps(fname, what, unnamed, ...) -> bytes. What cannot be copied is a TypeError that begins
** with fname and calls the values after the first `unnamed` ones what they are. */
static int f_dumps(lua_State *L) {
  const char *fname = luaL_checkstring(L, 1);
  ml_packing how = {.flags = ML_PACK_CODE, .what = luaL_checkstring(L, 2)};
  ml_buf *b = buffer(L);
  how.unnamed = (int)luaL_checkinteger(L, 3);
  if (ml__pack(L, 4, lua_gettop(L) - 3, &how, b) < 0)
    return ml__misuse(L, "TypeError", "%s: cannot copy %s", fname, lua_tostring(L, -1));
  lua_pushlstring(L, b->data, b->len);
  if (b->cap > 1 << 20) ml_buf_free(b);
  return 1;
}

/* loads(bytes, position) -> values. In a sandbox without code, unless that is allowed. */
static int f_loads(lua_State *L) {
  const ml_packing how = {.flags = ml__may(ml__engine(L)->sandbox, ML_P_BYTECODE) ? ML_PACK_CODE
                                                                                  : 0};
  size_t n;
  const char *s = luaL_checklstring(L, 1, &n);
  lua_Integer at = luaL_optinteger(L, 2, 1);
  luaL_argcheck(L, at >= 1 && (size_t)at <= n + 1, 2, "position in the bytes expected");
  return ml__unpack(L, s + at - 1, n - (size_t)(at - 1), &how);
}

/* copyable(value): can it be sent to a worker? */
static int f_copyable(lua_State *L) {
  static const ml_packing how = {.flags = ML_PACK_CODE};
  luaL_checkany(L, 1);
  lua_pushboolean(L, ml__pack(L, 1, 1, &how, buffer(L)) == 0);
  return 1;
}

/* keep_traceback(err, text) */
static int f_keep_traceback(lua_State *L) {
  luaL_checkany(L, 1);
  luaL_checktype(L, 2, LUA_TSTRING);
  ml__traceback_keep(L, 1, 2);
  return 0;
}

/* ---- messages: four bytes of length, little endian, then the bytes ---- */

static int io_failed(lua_State *L, const char *what) {
  ml__error_uv(L, uv_translate_sys_error(errno), "%s", what);
  return lua_error(L);
}

/* True, or false at the end of what comes. */
static bool read_all(lua_State *L, int fd, char *p, size_t n) {
  while (n > 0) {
    ssize_t got = read(fd, p, n);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != ECONNRESET) io_failed(L, "reading from the parent process failed");
    if (got <= 0) return false;
    p += got;
    n -= (size_t)got;
  }
  return true;
}

static int check_fd(lua_State *L) {
  lua_Integer fd = luaL_checkinteger(L, 1);
  luaL_argcheck(L, fd >= 0 && fd <= INT32_MAX, 1, "a descriptor expected");
  ml__check_fd(L, "a message on a descriptor", (int)fd);
  return (int)fd;
}

/* recv(fd) -> bytes, or nil at the end. Blocks. */
static int f_recv(lua_State *L) {
  int fd = check_fd(L);
  unsigned char head[4];
  luaL_Buffer b;
  size_t n;
  if (!read_all(L, fd, (char *)head, 4)) return 0;
  n = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
  if (!read_all(L, fd, luaL_buffinitsize(L, &b, n), n)) return 0;
  luaL_pushresultsize(&b, n);
  return 1;
}

static void write_all(lua_State *L, int fd, const char *p, size_t n) {
  while (n > 0) {
    ssize_t put = write(fd, p, n);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) io_failed(L, "writing to the parent process failed");
    p += put;
    n -= (size_t)put;
  }
}

/* send(fd, bytes). Blocks. */
static int f_send(lua_State *L) {
  int fd = check_fd(L);
  size_t n;
  const char *s = luaL_checklstring(L, 2, &n);
  char head[4];
  for (int i = 0; i < 4; i++) head[i] = (char)(n >> (8 * i));
  write_all(L, fd, head, 4);
  write_all(L, fd, s, n);
  return 0;
}

/* ---- this process ---- */

/* ignore_interrupts(): Ctrl-C is the parent's business */
static int f_ignore_interrupts(lua_State *L) {
  struct sigaction sa;
  ml__check_may(L, ML_P_SIGNAL, "ignore interrupts", NULL);
  memset(&sa, 0, sizeof sa);
  sa.sa_handler = SIG_IGN;
  sigaction(SIGINT, &sa, NULL);
  return 0;
}

/* exepath(): the program that runs, as a path; or nil */
static int f_exepath(lua_State *L) {
  char path[4096];
  size_t n = sizeof path;
  if (uv_exepath(path, &n) < 0) return 0;
  lua_pushlstring(L, path, n);
  return 1;
}

/* sandbox() -> the arguments that give another process as much and as little as this one, or nil */
static int f_sandbox(lua_State *L) {
  const ml_sandbox *s = ml__engine(L)->sandbox;
  const char *profile, *rule;
  int n = 1;
  if (s == NULL) return 0;
  lua_newtable(L);
  for (int i = 0; (rule = ml__sandbox_rule(s, i, &profile)) != NULL; i++) {
    lua_pushfstring(L, "--allow-%s", rule);
    lua_rawseti(L, -2, ++n);
  }
  lua_pushfstring(L, "--profile=%s", profile);
  lua_rawseti(L, -2, 1);
  return 1;
}

/* virtual(): is time virtual here? */
static int f_virtual(lua_State *L) {
  lua_pushboolean(L, ml__engine(L)->config.clock == ML_CLOCK_VIRTUAL);
  return 1;
}

/* hold(loop, n): that many more (or fewer) calls are under way outside; the loop runs on and
** virtual time stands still while there are any */
static int f_hold(lua_State *L) {
  ml_evloop *l = ml__checkloop(L, 1);
  int n = (int)luaL_checkinteger(L, 2);
  if (l->holds + n >= 0) l->holds += n;
  return 0;
}

/* cpu_count(): how many threads can run at once */
static int f_cpu_count(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)uv_available_parallelism());
  return 1;
}

/* total_memory(): bytes that this program may have */
static int f_total_memory(lua_State *L) {
  uint64_t total = uv_get_total_memory(), limit = uv_get_constrained_memory();
  lua_pushinteger(L, (lua_Integer)(limit > 0 && limit < total ? limit : total));
  return 1;
}

void ml__open_channel(lua_State *L) {
  static const luaL_Reg functions[] = {{"dumps", f_dumps},
                                       {"loads", f_loads},
                                       {"copyable", f_copyable},
                                       {"keep_traceback", f_keep_traceback},
                                       {"recv", f_recv},
                                       {"send", f_send},
                                       {"ignore_interrupts", f_ignore_interrupts},
                                       {"exepath", f_exepath},
                                       {"sandbox", f_sandbox},
                                       {"virtual", f_virtual},
                                       {"hold", f_hold},
                                       {"cpu_count", f_cpu_count},
                                       {"total_memory", f_total_memory},
                                       {NULL, NULL}};
  ml_buf *b = lua_newuserdatauv(L, sizeof *b, 0);
  memset(b, 0, sizeof *b);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, buffer_gc);
  lua_setfield(L, -2, "__gc");
  ml__guard_metatable(L);
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &buffer_key);
  luaL_setfuncs(L, functions, 0);
}
