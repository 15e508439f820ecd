/* Terminals: module asyncio.terminal, which module tty is made of.
**
** What a terminal was before a script altered it is kept with the engine, and
** set again by ml_restore_terminal, on any way out: that runs in signal
** handlers too, so it allocates nothing and calls only what is safe there.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "stream.h"

#define MAX_TERMINALS 8

typedef struct terminal {
  int fd; /* a duplicate */
  dev_t device;
  struct termios was;
  atomic_bool altered;
} terminal;

typedef struct ml_terminals {
  atomic_int n;
  terminal list[MAX_TERMINALS];
} ml_terminals;

static const char terminals_key;

/* Setting a terminal from the background would stop the process, and the shell has set
** its own modes by then. */
static bool in_background(int fd) {
  pid_t front = tcgetpgrp(fd);
  return front > 0 && front != getpgrp();
}

static void restore_all(ml_engine *e) {
  ml_terminals *all = e->terminals;
  int saved = errno;
  for (int i = 0; i < all->n; i++) {
    terminal *t = &all->list[i];
    if (atomic_exchange(&t->altered, false) && !in_background(t->fd))
      tcsetattr(t->fd, TCSANOW, &t->was);
  }
  errno = saved;
}

static int terminals_gc(lua_State *L) {
  ml_terminals *all = lua_touserdata(L, 1);
  ml_engine *e = ml__engine(L);
  restore_all(e);
  e->restore_terminal = NULL;
  while (all->n > 0) close(all->list[--all->n].fd);
  return 0;
}

static ml_terminals *terminals(lua_State *L) {
  ml_engine *e = ml__engine(L);
  ml_terminals *all = e->terminals;
  if (all != NULL) return all;
  all = lua_newuserdatauv(L, sizeof *all, 0);
  memset(all, 0, sizeof *all);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, terminals_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &terminals_key);
  ml__finalized(L);
  e->terminals = all;
  e->restore_terminal = restore_all;
  return all;
}

static int failed(lua_State *L, const char *what, int fd) {
  ml__error_uv(L, uv_translate_sys_error(errno), "%s of descriptor %d failed", what, fd);
  return lua_error(L);
}

/* The terminal of the descriptor, with what it is like now if it is new. */
static terminal *find(lua_State *L, int fd) {
  ml_terminals *all = terminals(L);
  struct stat st;
  terminal *t;
  int i;
  if (fstat(fd, &st) < 0) failed(L, "terminal mode", fd);
  for (i = 0; i < all->n; i++)
    if (all->list[i].device == st.st_rdev && isatty(all->list[i].fd)) break;
  if (i == MAX_TERMINALS) ml__error(L, "RuntimeError", "too many terminals");
  t = &all->list[i];
  if (i < all->n && t->altered) return t;
  if (tcgetattr(fd, &t->was) < 0) failed(L, "terminal mode", fd);
  if (i == all->n) {
    t->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (t->fd < 0) failed(L, "terminal mode", fd);
    t->device = st.st_rdev;
    all->n++;
  }
  return t;
}

static int check_fd(lua_State *L) {
  lua_Integer fd = luaL_checkinteger(L, 1);
  if (fd < 0 || fd > INT32_MAX) return -1;
  ml__check_fd(L, "terminal", (int)fd);
  return (int)fd;
}

static int f_isatty(lua_State *L) {
  lua_pushboolean(L, isatty(check_fd(L)));
  return 1;
}

/* size(fd) -> columns, rows */
static int f_size(lua_State *L) {
  struct winsize size;
  int fd = check_fd(L);
  if (ioctl(fd, TIOCGWINSZ, &size) < 0) return failed(L, "terminal size", fd);
  lua_pushinteger(L, size.ws_col);
  lua_pushinteger(L, size.ws_row);
  return 2;
}

/* mode(fd, "raw" | "cbreak" | "kept" | "normal"). Raw: as Node's, output is still processed, so
** that print begins its lines at the left. Kept: as it is, but somebody else will alter it, and
** "normal" sets it back. */
static int f_mode(lua_State *L) {
  static const char *const modes[] = {"raw", "cbreak", "normal", "kept", NULL};
  int fd = check_fd(L), mode = luaL_checkoption(L, 2, NULL, modes);
  terminal *t = find(L, fd);
  struct termios now = t->was;
  if (mode == 3) {
    t->altered = true;
    return 0;
  }
  if (mode == 0) {
    now.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    now.c_cflag |= CS8;
    now.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
  } else if (mode == 1)
    now.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
  if (mode < 2) {
    now.c_cc[VMIN] = 1;
    now.c_cc[VTIME] = 0;
    t->altered = true;
  }
  if (mode == 2 && !t->altered) return 0;
  if (in_background(t->fd) && mode == 2) return 0;
  if (tcsetattr(t->fd, TCSANOW, &now) < 0) return failed(L, "terminal mode", fd);
  t->altered = mode < 2;
  return 0;
}

/* device(fd) -> a number for its terminal, or nil */
static int f_device(lua_State *L) {
  struct stat st;
  int fd = check_fd(L);
  if (fstat(fd, &st) < 0 || !isatty(fd)) return 0;
  lua_pushinteger(L, (lua_Integer)st.st_rdev);
  return 1;
}

/* fileno(file of the io library) -> descriptor, or nil */
static int f_fileno(lua_State *L) {
  const luaL_Stream *file = luaL_testudata(L, 1, LUA_FILEHANDLE);
  if (file == NULL || file->closef == NULL) return 0;
  lua_pushinteger(L, fileno(file->f));
  return 1;
}

int ml__open_terminal(lua_State *L) {
  static const luaL_Reg functions[] = {{"isatty", f_isatty}, {"size", f_size},     {"mode", f_mode},
                                       {"device", f_device}, {"fileno", f_fileno}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
