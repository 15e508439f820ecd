/* A server that had no memory for a connection turns that one away, and accepts the next. */
#include "expect.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#define CROWD 400 /* connections at once: more than there are blocks of a connection's size left */

static bool empty; /* there is no memory */

static void *my_alloc(void *ud, void *p, size_t osize, size_t nsize) {
  (void)ud;
  if (nsize == 0) {
    free(p);
    return NULL;
  }
  if (empty && (p == NULL || nsize > osize)) return NULL;
  return realloc(p, nsize);
}

static void ignore(void *ud, const char *text, size_t n) {
  (void)ud;
  (void)text;
  (void)n;
}

static int connected(const struct sockaddr *to, socklen_t len) {
  int fd = socket(to->sa_family, SOCK_STREAM, 0);
  expect(fd >= 0 && connect(fd, to, len) == 0);
  expect(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  return fd;
}

static void steps(ml_engine *e, int n) {
  while (n-- > 0) expect(ml_step(e, 0) >= 0);
}

/* On the engine's loop, or the host's. */
static void serve(uv_loop_t *loop, const char *script, const struct sockaddr *to, socklen_t len) {
  ml_config c;
  ml_engine *e;
  int crowd[CROWD], fd, turned_away = 0;
  char got[8];
  ml_config_init(&c);
  c.alloc = my_alloc;
  c.log = ignore;
  c.loop = loop;
  expect_ok(ml_new(&c, &e));
  ml_task_release(load(e, script));
  steps(e, 20);
  for (int round = 0; round < 3; round++) {
    empty = true;
    for (int i = 0; i < CROWD; i++) crowd[i] = connected(to, len);
    for (int i = 0; i < 50; i++) ml_step(e, 0); /* an error is no wonder */
    empty = false;
    steps(e, 50);
    for (int i = 0; i < CROWD; i++) {
      if (recv(crowd[i], got, sizeof got, 0) == 0) turned_away++;
      close(crowd[i]);
    }
    steps(e, 50);
    fd = connected(to, len);
    steps(e, 50);
    expect(recv(fd, got, sizeof got, 0) == 2 && memcmp(got, "hi", 2) == 0);
    close(fd);
  }
  expect(turned_away > 0);
  empty = true; /* some are being turned away when the engine ends */
  for (int i = 0; i < CROWD; i++) crowd[i] = connected(to, len);
  ml_step(e, 0);
  empty = false;
  ml_close(e, 0);
  for (int i = 0; i < CROWD; i++) close(crowd[i]);
}

static void on_both(const char *script, const struct sockaddr *to, socklen_t len) {
  uv_loop_t loop;
  serve(NULL, script, to, len);
  expect(uv_loop_init(&loop) == 0);
  serve(&loop, script, to, len);
  uv_run(&loop, UV_RUN_DEFAULT);
  expect(uv_loop_close(&loop) == 0);
}

#define HANDLER \
  "function(r, w) asyncio.catch(function() w:write('hi') await(w:drain()) end) w:close() end"

int main(void) {
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  struct sockaddr_in in = {.sin_family = AF_INET};
  socklen_t len = sizeof in;
  char script[400];
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  expect(bind(fd, (struct sockaddr *)&in, len) == 0); /* a port that is free */
  expect(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
  close(fd);
  snprintf(script, sizeof script,
           "asyncio = require 'asyncio'\n"
           "server = await(asyncio.start_server(" HANDLER
           ", '127.0.0.1', %d, { backlog = 1000 }))\n"
           "await(asyncio.Future())",
           ntohs(in.sin_port));
  on_both(script, (struct sockaddr *)&in, len);
  snprintf(un.sun_path, sizeof un.sun_path, "/tmp/ml-accepting-%ld", (long)getpid());
  snprintf(script, sizeof script,
           "asyncio = require 'asyncio'\n"
           "server = await(asyncio.start_unix_server(" HANDLER ", '%s', { backlog = 1000 }))\n"
           "await(asyncio.Future())",
           un.sun_path);
  on_both(script, (struct sockaddr *)&un, sizeof un);
  unlink(un.sun_path);
  return 0;
}
