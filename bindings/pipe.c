/* Transports of descriptors that are there already: pipes, sockets, terminals.
**
** Their open file may be others' too, who would be surprised to find it
** non-blocking: what can be is opened anew.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stdfd.h"

static int failed(lua_State *L, int fd, int error) {
  ml__error_uv(L, error, "opening descriptor %d failed", fd);
  return lua_error(L);
}

/* The descriptor of the file or number at index 1. */
static int check_descriptor(lua_State *L, bool *owned) {
  luaL_Stream *file = luaL_testudata(L, 1, LUA_FILEHANDLE);
  lua_Integer fd;
  int ok;
  *owned = file == NULL && !lua_toboolean(L, 3);
  if (file != NULL) {
    if (file->closef == NULL) return ml__error(L, "ValueError", "the file is closed");
    fflush(file->f);
    return fileno(file->f);
  }
  fd = lua_tointegerx(L, 1, &ok);
  if (!ok)
    return ml__error(L, "TypeError", "a file or a descriptor was expected, got %s",
                     luaL_typename(L, 1));
  if (fd < 0 || fd > INT32_MAX) return -1;
  ml__check_fd(L, "opening a descriptor", (int)fd);
  return (int)fd;
}

/* A descriptor of our own for it, or UV_E*. */
static int own(int fd, const struct stat *st, bool writes, bool owned) {
  int mine = ml__fd_reopen(fd, st, writes);
  if (mine < 0 && owned && fd > STDERR_FILENO) return fd;
  if (mine < 0) mine = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (mine < 0) return uv_translate_sys_error(errno);
  if (owned && fd > STDERR_FILENO) close(fd);
  return mine;
}

/* open_pipe(descriptor or file, writes, keep) -> Transport. A number is taken over,
** unless `keep`; a file's, and those of standard streams, are not. */
static int f_open_pipe(lua_State *L) {
  ml_evloop *loop = ml__loop_get(L);
  bool owned, socket;
  int fd = check_descriptor(L, &owned), mine, rc;
  ml_stream *s;
  struct stat st;
  ml__check_handles(L);
  if (fstat(fd, &st) < 0) return failed(L, fd, uv_translate_sys_error(errno));
  socket = S_ISSOCK(st.st_mode);
  if (!S_ISFIFO(st.st_mode) && !socket && !S_ISCHR(st.st_mode))
    return ml__error(L, "ValueError", "Pipe transport is for pipes/sockets only.");
  if (!ml__fd_pollable(fd)) return failed(L, fd, UV_EPERM); /* /dev/null and the like */
  s = ml__stream_new(L, loop, ML_S_PIPE, 0, &rc);
  if (s == NULL) return failed(L, fd, rc);
  s->watch.weak = fd <= STDERR_FILENO;
  mine = own(fd, &st, lua_toboolean(L, 2), owned);
  rc = mine < 0 ? mine : uv_pipe_open(&s->uv->pipe, mine);
  if (rc == 0) {
    ml__transport_push(L, s);
    return 1;
  }
  if (mine >= 0) close(mine);
  ml__stream_discard(s);
  return failed(L, fd, rc);
}

void ml__open_pipes(lua_State *L) {
  lua_pushcfunction(L, f_open_pipe);
  lua_setfield(L, -2, "open_pipe");
}
