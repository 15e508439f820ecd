/* A switchboard of lines on poll(2): the console, a listening socket and its clients are the
** host's, in one table of descriptors with the engine's own beside them. Who speaks is client
** number N (the console is 0); what happens then is the script's: on_open, on_line and on_close
** are called as tasks, so they may sleep and wait while others speak.
**
**   build/hosts/poll [-p PORT] [scripts/hosts/poll.lua]
**
** PORT 0 (the default) is any; the console is told which. SIGINT and SIGTERM end it.
*/
#define _GNU_SOURCE /* pipe2 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"

enum { CLIENTS = 64, LINE = 4096, QUEUED = 256 * 1024 };

typedef struct client {
  int in, out;  /* descriptors; -1: this place is free */
  int dropped;  /* the script has had enough of it: gone when what it was sent is out */
  size_t nline; /* bytes of a line that is not complete */
  char *queue;  /* malloc'd: what the client has not taken yet */
  size_t nqueue;
  char line[LINE];
} client;

typedef struct board {
  ml_engine *engine;
  int listener, quit;
  client clients[CLIENTS];
} board;

static int signalled[2]; /* a pipe: a signal handler may write, and poll sees it */

static void on_signal(int sig) {
  int saved = errno;
  char byte = (char)sig;
  ssize_t n = write(signalled[1], &byte, 1); /* if the pipe is full it is known already */
  (void)n;
  errno = saved;
}

/* ---- clients ---- */

/* Calls the script's function, if it has one, as a task. */
static void tell(board *b, const char *fn, int id, const char *text, size_t n) {
  ml_value args[2] = {host_int(id), host_bytes(text, n)};
  int err = ml_spawn(b->engine, fn, args, text != NULL ? 2 : 1, NULL);
  if (err < 0) host_complain("poll", fn, b->engine, err);
}

static void forget(board *b, int id) {
  client *c = &b->clients[id];
  if (c->in < 0) return;
  close(c->in);
  free(c->queue);
  memset(c, 0, sizeof *c);
  c->in = c->out = -1;
  tell(b, "on_close", id, NULL, 0);
}

static int welcome(board *b, int in, int out) {
  for (int id = 0; id < CLIENTS; id++) {
    client *c = &b->clients[id];
    if (c->in >= 0) continue;
    c->in = in;
    c->out = out;
    tell(b, "on_open", id, NULL, 0);
    return id;
  }
  close(in);
  return -1;
}

/* Writes as much as the client takes now. */
static void flush(board *b, int id) {
  client *c = &b->clients[id];
  while (c->nqueue > 0) {
    ssize_t n = write(c->out, c->queue, c->nqueue);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) {
      forget(b, id);
      return;
    }
    c->nqueue -= (size_t)n;
    memmove(c->queue, c->queue + n, c->nqueue);
  }
  if (c->dropped) forget(b, id);
}

/* Each whole line is a task of the script. */
static void hear(board *b, int id) {
  client *c = &b->clients[id];
  ssize_t n = read(c->in, c->line + c->nline, sizeof c->line - c->nline);
  char *start = c->line, *end;
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n <= 0) {
    if (c->nline > 0) tell(b, "on_line", id, c->line, c->nline);
    forget(b, id);
    return;
  }
  c->nline += (size_t)n;
  while ((end = memchr(start, '\n', c->nline)) != NULL) {
    size_t length = (size_t)(end - start);
    c->nline -= length + 1;
    if (length > 0 && start[length - 1] == '\r') length--;
    tell(b, "on_line", id, start, length);
    start = end + 1;
  }
  memmove(c->line, start, c->nline);
  if (c->nline == sizeof c->line) forget(b, id); /* that is no line */
}

/* ---- what scripts may do ---- */

static client *client_arg(board *b, ml_call *call, int *id) {
  double n;
  if (host_arg_number(call, 0, &n) < 0 || n < 0 || n >= CLIENTS) return NULL;
  *id = (int)n;
  return b->clients[*id].in >= 0 && !b->clients[*id].dropped ? &b->clients[*id] : NULL;
}

/* board.send(id, text): false if it is gone, or too slow a reader */
static int board_send(ml_call *call, void *ud) {
  board *b = ud;
  int id;
  ml_value text, yes = host_bool(1), no = host_bool(0);
  client *c = client_arg(b, call, &id);
  char *grown;
  if (host_arg_text(call, 1, &text) < 0)
    return host_refuse(call, "a number and a text were expected");
  if (c == NULL || c->nqueue + text.u.str.len > QUEUED) return ml_return(call, &no, 1);
  grown = realloc(c->queue, c->nqueue + text.u.str.len + 1);
  if (grown == NULL) return ML_ENOMEM;
  c->queue = grown;
  memcpy(c->queue + c->nqueue, text.u.str.s, text.u.str.len);
  c->nqueue += text.u.str.len;
  c->queue[c->nqueue++] = '\n';
  return ml_return(call, &yes, 1);
}

/* board.drop(id): false if it is gone already */
static int board_drop(ml_call *call, void *ud) {
  int id;
  client *c = client_arg(ud, call, &id);
  ml_value known = host_bool(c != NULL);
  if (c != NULL) c->dropped = 1;
  return ml_return(call, &known, 1);
}

/* board.clients(): the number of each one */
static int board_clients(ml_call *call, void *ud) {
  board *b = ud;
  ml_value ids[CLIENTS];
  size_t n = 0;
  for (int id = 0; id < CLIENTS; id++)
    if (b->clients[id].in >= 0 && !b->clients[id].dropped) ids[n++] = host_int(id);
  return ml_return(call, ids, n);
}

static int board_port(ml_call *call, void *ud) {
  board *b = ud;
  struct sockaddr_in a;
  socklen_t size = sizeof a;
  ml_value port;
  if (getsockname(b->listener, (struct sockaddr *)&a, &size) < 0) return -errno;
  port = host_int(ntohs(a.sin_port));
  return ml_return(call, &port, 1);
}

static int board_quit(ml_call *call, void *ud) {
  (void)call;
  ((board *)ud)->quit = 1;
  return 0;
}

static const host_function functions[] = {
    {"board.send", board_send, NULL},       {"board.drop", board_drop, NULL},
    {"board.clients", board_clients, NULL}, {"board.port", board_port, NULL},
    {"board.quit", board_quit, NULL},       {NULL, NULL, NULL}};

/* ---- the loop ---- */

static void accept_one(board *b) {
  int fd = accept(b->listener, NULL, NULL);
  if (fd < 0) return; /* it has thought better of it */
  fcntl(fd, F_SETFL, O_NONBLOCK);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  welcome(b, fd, fd);
}

/* One turn: waits for the engine's descriptor beside the host's own, then lets scripts run. */
static int turn(board *b) {
  struct pollfd fds[3 + 2 * CLIENTS];
  int ids[CLIENTS], n = 0, timeout, err = ml_poll_info(b->engine, &fds[0].fd, &timeout);
  if (err < 0) return err;
  fds[0].events = POLLIN;
  fds[1] = (struct pollfd){.fd = signalled[0], .events = POLLIN};
  fds[2] = (struct pollfd){.fd = b->listener, .events = POLLIN};
  for (int id = 0; id < CLIENTS; id++) {
    client *c = &b->clients[id];
    if (c->in < 0) continue;
    ids[n] = id;
    fds[3 + 2 * n] = (struct pollfd){.fd = c->in, .events = POLLIN};
    fds[4 + 2 * n++] = (struct pollfd){.fd = c->out,
                                       .events = c->nqueue > 0 || c->dropped ? POLLOUT : 0};
  }
  if (poll(fds, (nfds_t)(3 + 2 * n), timeout) < 0) return errno == EINTR ? 0 : -errno;
  if (fds[1].revents != 0) b->quit = 1;
  if (fds[2].revents != 0) accept_one(b);
  for (int i = 0; i < n; i++) {
    if (fds[3 + 2 * i].revents != 0) hear(b, ids[i]);
    if (fds[4 + 2 * i].revents != 0 && b->clients[ids[i]].in >= 0) flush(b, ids[i]);
  }
  err = ml_step(b->engine, 5000); /* nobody waits longer than 5 ms for his line to be read */
  return err < 0 ? err : 0;
}

static int open_listener(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0) return -errno;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 64) == 0) return fd;
  on = -errno;
  close(fd);
  return on;
}

/* The script's main chunk has to run first: it defines what is called. */
static int start(board *b, const char *script) {
  ml_task *t;
  int err = host_define(b->engine, functions, b), bad;
  if (err == 0) err = ml_load_file(b->engine, script, &t);
  if (err < 0) {
    host_complain("poll", script, b->engine, err);
    return 1;
  }
  while (ml_task_status(t) == ML_PENDING && ml_step(b->engine, 0) > 0) continue;
  bad = host_verdict("poll", t);
  ml_task_release(t);
  return bad;
}

static int run(board *b, const char *script) {
  ml_config config;
  int err, bad;
  ml_config_init(&config);
  err = ml_new(&config, &b->engine);
  if (err < 0) {
    host_complain("poll", "no engine", NULL, err);
    return 1;
  }
  bad = start(b, script);
  if (!bad) welcome(b, STDIN_FILENO, STDOUT_FILENO);
  while (!bad && !b->quit) {
    err = turn(b);
    bad = err < 0 && err != ML_ESCRIPT; /* that was one task's: SystemExit */
    if (bad) host_complain("poll", "the engine stopped", b->engine, err);
  }
  for (int id = 0; id < CLIENTS; id++) /* the last words */
    if (b->clients[id].in >= 0) flush(b, id);
  ml_close(b->engine, 100);
  for (int id = 0; id < CLIENTS; id++) {
    if (b->clients[id].in >= 0) close(b->clients[id].in);
    free(b->clients[id].queue);
  }
  return bad;
}

static int usage(void) {
  fputs("usage: poll [-p PORT] [SCRIPT]\n", stderr);
  return 2;
}

int main(int argc, char **argv) {
  static board b;
  struct sigaction action = {.sa_handler = on_signal};
  int option, port = 0, bad;
  while ((option = getopt(argc, argv, "p:")) != -1) {
    char *end = NULL;
    if (option == 'p') port = (int)strtol(optarg, &end, 10);
    if (end == NULL || *end != '\0' || end == optarg || port < 0 || port > 65535) return usage();
  }
  if (argc - optind > 1) return usage();
  for (int id = 0; id < CLIENTS; id++) b.clients[id].in = b.clients[id].out = -1;
  b.listener = open_listener(port);
  if (b.listener < 0) {
    fprintf(stderr, "poll: cannot listen on port %d: %s\n", port, strerror(-b.listener));
    return 1;
  }
  if (pipe2(signalled, O_CLOEXEC | O_NONBLOCK) < 0) {
    perror("poll: pipe");
    return 1;
  }
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  signal(SIGPIPE, SIG_IGN); /* a client that is gone is told by write */
  bad = run(&b, optind < argc ? argv[optind] : "scripts/hosts/poll.lua");
  close(b.listener);
  close(signalled[0]);
  close(signalled[1]);
  return bad;
}
