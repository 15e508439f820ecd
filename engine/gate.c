/* What tests look at when they end: coroutines that nobody awaited, and handles that are open.
**
** The engine tells of lost coroutines while blocks are freed, where no Lua may run; kept as text
** they wait here until somebody takes them. On the engine's thread.
*/
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "core.h"

/* core.keep_lost(on): from now on core.take_lost gives what else would be logged */
static int core_keep_lost(lua_State *L) {
  ml_engine *e = ml__engine(L);
  bool on = lua_toboolean(L, 1);
  if (on && e->lost == NULL) {
    e->lost = ml__alloc(e->alloc, NULL, 0, ML_LOST_SIZE);
    if (e->lost == NULL) return luaL_error(L, "not enough memory");
  } else if (!on && e->lost != NULL) {
    ml__alloc(e->alloc, e->lost, ML_LOST_SIZE, 0);
    e->lost = NULL;
  }
  e->nlost = 0;
  return 0;
}

/* core.take_lost() -> a line for each coroutine that was lost since the last time */
static int core_take_lost(lua_State *L) {
  ml_engine *e = ml__engine(L);
  char text[ML_LOST_SIZE];
  size_t n = e->lost != NULL ? e->nlost : 0;
  memcpy(text, e->lost != NULL ? e->lost : "", n); /* a string that is made may collect others */
  e->nlost = 0;
  lua_pushlstring(L, text, n);
  return 1;
}

typedef struct walk {
  char text[2048];
  size_t len;
} walk;

const char *ml__handle_kind(const uv_handle_t *h) {
  const char *kind = uv_handle_type_name(uv_handle_get_type(h));
  struct sockaddr_storage sa;
  socklen_t len = sizeof sa;
  int type = 0;
  uv_os_fd_t fd;
  memset(&sa, 0, sizeof sa);
  if (uv_handle_get_type(h) == UV_POLL && uv_fileno(h, &fd) == 0 &&
      getsockname(fd, (struct sockaddr *)&sa, &len) == 0) {
    len = sizeof type;
    if (sa.ss_family == AF_UNIX) return "pipe"; /* as libuv calls it */
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM) return "tcp";
  }
  return kind != NULL ? kind : "handle";
}

/* "127.0.0.1:8080", or "" */
static void put_address(const uv_handle_t *h, bool peer, char *out, size_t size) {
  struct sockaddr_storage sa;
  socklen_t len = sizeof sa;
  char ip[INET6_ADDRSTRLEN];
  unsigned port;
  uv_os_fd_t fd;
  *out = '\0';
  memset(&sa, 0, sizeof sa);
  if (uv_fileno(h, &fd) < 0 ||
      (peer ? getpeername : getsockname)(fd, (struct sockaddr *)&sa, &len) < 0)
    return;
  if (sa.ss_family == AF_INET) {
    struct sockaddr_in in;
    memcpy(&in, &sa, sizeof in);
    uv_ip4_name(&in, ip, sizeof ip);
    port = ntohs(in.sin_port);
  } else {
    struct sockaddr_in6 in;
    memcpy(&in, &sa, sizeof in);
    uv_ip6_name(&in, ip, sizeof ip);
    port = ntohs(in.sin6_port);
  }
  snprintf(out, size, " %s:%u", ip, port);
}

/* Those that keep the loop alive, closing ones among them not. */
static void on_handle(uv_handle_t *h, void *arg) {
  walk *w = arg;
  const char *kind = ml__handle_kind(h);
  char here[80] = "", there[80] = "";
  size_t left = sizeof w->text - w->len;
  int n;
  if (!uv_is_active(h) || !uv_has_ref(h) || uv_is_closing(h)) return;
  if (strcmp(kind, "tcp") == 0) {
    put_address(h, false, here, sizeof here);
    put_address(h, true, there, sizeof there);
  }
  n = snprintf(w->text + w->len, left, "%s%s%s%s\n", kind, here, there[0] != '\0' ? " to" : "",
               there);
  if (n > 0 && (size_t)n < left) w->len += (size_t)n;
}

/* core.handles() -> a line for each of libuv's handles that the current loop waits for */
static int core_handles(lua_State *L) {
  ml_engine *e = ml__engine(L);
  walk w;
  w.len = 0;
  if (e->current != NULL && !e->current->closed && e->current->uv_ready)
    uv_walk(e->current->uv, on_handle, &w);
  lua_pushlstring(L, w.text, w.len);
  return 1;
}

void ml__open_gate(lua_State *L) {
  static const luaL_Reg fns[] = {{"keep_lost", core_keep_lost},
                                 {"take_lost", core_take_lost},
                                 {"handles", core_handles},
                                 {NULL, NULL}};
  luaL_setfuncs(L, fns, 0);
}
