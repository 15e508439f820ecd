/* asyncio.so: the engine as a C module for an interpreter of Lua 5.4: `require "asyncio"`.
**
** It attaches to the interpreter's state and carries no Lua of its own. Scripts there are
** main programs: their awaits drive the loop. While a loop runs, SIGINT (Ctrl-C) is the
** engine's; afterwards it is whose it was. The module is never unloaded (it is linked so):
** the state's last blocks are freed by it, and exit handlers call it.
**
** One thread: the first engine that loads it is the one that signals go to.
*/
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

__attribute__((visibility("default"))) int luaopen_asyncio(lua_State *L);

/* For signal and exit handlers, which can have it from nowhere else. */
static ml_engine *volatile interrupted; /* whose loop runs */
static ml_engine *volatile engine;      /* whose output is written out at the end */
static struct sigaction before;

static void on_sigint(int sig) {
  ml_engine *e = interrupted;
  (void)sig;
  if (e != NULL) ml_interrupt(e, ML_INTERRUPT_ASK);
}

/* A loop begins to run, or has ended. */
static void on_drive(ml_engine *e, bool begins) {
  struct sigaction sa;
  if (begins && interrupted == NULL) {
    memset(&sa, 0, sizeof sa);
    sigemptyset(&sa.sa_mask);
    sa.sa_handler = on_sigint;
    if (sigaction(SIGINT, NULL, &before) != 0 || before.sa_handler == SIG_IGN) return;
    interrupted = e;
    sigaction(SIGINT, &sa, NULL);
  } else if (!begins && interrupted == e) {
    sigaction(SIGINT, &before, NULL);
    interrupted = NULL;
  }
}

/* os.exit(status) does not close the state. */
static void on_exit_process(void) {
  ml_engine *e = engine;
  if (e == NULL || e->closing) return;
  ml_flush(e);
  ml_restore_terminal(e);
}

/* The engine's end, with the state's. */
static int engine_gc(lua_State *L) {
  ml_engine **e = lua_touserdata(L, 1);
  if (engine == *e) engine = NULL;
  if (interrupted == *e) interrupted = NULL;
  return 0;
}

static ml_engine *attach(lua_State *L) {
  static const char key = 'k';
  ml_engine *e = NULL, **watched;
  ml_config c;
  int rc;
  ml_config_init(&c);
  c.keep = ML_KEEP_GLOBALS;
  /* older than all that the engine makes: finalized after that */
  watched = lua_newuserdatauv(L, sizeof(ml_engine *), 0);
  *watched = NULL;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, engine_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
  rc = ml_attach(L, &c, &e);
  if (rc < 0) luaL_error(L, "asyncio: this state cannot be attached to: %s", ml_strerror(rc));
  *watched = e;
  e->host_mode = 0;
  if (engine == NULL) {
    engine = e;
    e->on_drive = on_drive;
    if (*watched == e) atexit(on_exit_process);
  }
  return e;
}

int luaopen_asyncio(lua_State *L) {
  if (!ml__attached(L) || ml__attached_engine(L) == NULL) attach(L);
  lua_settop(L, 0);
  ml__push_embedded(L, "asyncio"); /* loader, data */
  lua_pushliteral(L, "asyncio");
  lua_insert(L, -2);
  lua_call(L, 2, 1);
  return 1;
}
