/* A key-value server with one engine per thread: each has a Lua state and a loop of its own and
** runs the same script; the kernel spreads connections over their sockets (SO_REUSEPORT). What
** they share is the host's: the store, behind a lock, which scripts reach by host functions.
**
**   build/hosts/threads [-t THREADS] [-p PORT] [scripts/hosts/threads.lua]
**
** SIGINT and SIGTERM end it cleanly: each script awaits server.stopping(), an asynchronous call
** that the main thread finishes for all of them.
*/
#define _GNU_SOURCE /* getopt, sigwait */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

enum { THREADS = 64, BUCKETS = 1024, GRACE = 3 };

typedef struct entry entry;
struct entry {
  entry *next;
  size_t nkey, nvalue;
  char *value; /* malloc'd */
  char key[];
};

/* What all threads share; all of it under the lock. */
typedef struct server {
  pthread_mutex_t lock;
  entry *buckets[BUCKETS];
  size_t entries;
  int port, threads, ready, ended, stopping, failed;
  ml_call *waiting[THREADS]; /* the call of server.stopping of each thread */
} server;

typedef struct worker {
  server *s;
  int number;
  const char *script;
  pthread_t thread;
} worker;

/* ---- the store ---- */

static entry **find(server *s, const char *key, size_t n) {
  uint32_t hash = 2166136261u; /* FNV-1a */
  entry **at;
  for (size_t i = 0; i < n; i++) hash = (hash ^ (unsigned char)key[i]) * 16777619u;
  for (at = &s->buckets[hash % BUCKETS]; *at != NULL; at = &(*at)->next)
    if ((*at)->nkey == n && memcmp((*at)->key, key, n) == 0) break;
  return at;
}

static void remove_at(server *s, entry **at) {
  entry *e = *at;
  if (e == NULL) return;
  *at = e->next;
  free(e->value);
  free(e);
  s->entries--;
}

static int replace(server *s, entry **at, const ml_value *key, const char *value, size_t n) {
  char *copy = malloc(n > 0 ? n : 1);
  if (copy == NULL) return ML_ENOMEM;
  memcpy(copy, value, n);
  if (*at == NULL) {
    *at = calloc(1, sizeof **at + key->u.str.len);
    if (*at == NULL) {
      free(copy);
      return ML_ENOMEM;
    }
    (*at)->nkey = key->u.str.len;
    memcpy((*at)->key, key->u.str.s, key->u.str.len);
    s->entries++;
  }
  free((*at)->value);
  (*at)->value = copy;
  (*at)->nvalue = n;
  return 0;
}

/* ---- what scripts may do ---- */

/* store.get(key): the value, or nil */
static int store_get(ml_call *c, void *ud) {
  server *s = ((worker *)ud)->s;
  ml_value key, value = {.type = ML_NIL};
  entry *e;
  int err;
  if (host_arg_text(c, 0, &key) < 0) return host_refuse(c, "a key was expected");
  pthread_mutex_lock(&s->lock);
  e = *find(s, key.u.str.s, key.u.str.len);
  if (e != NULL) value = host_bytes(e->value, e->nvalue);
  err = ml_return(c, &value, 1); /* copies */
  pthread_mutex_unlock(&s->lock);
  return err;
}

/* store.set(key, value): value nil removes it */
static int store_set(ml_call *c, void *ud) {
  server *s = ((worker *)ud)->s;
  ml_value key, value;
  int err = 0, remove = ml_arg(c, 1, &value) < 0 || value.type == ML_NIL;
  if (host_arg_text(c, 0, &key) < 0 || (!remove && host_arg_text(c, 1, &value) < 0))
    return host_refuse(c, "a key and a text or nil were expected");
  pthread_mutex_lock(&s->lock);
  if (remove)
    remove_at(s, find(s, key.u.str.s, key.u.str.len));
  else
    err = replace(s, find(s, key.u.str.s, key.u.str.len), &key, value.u.str.s, value.u.str.len);
  pthread_mutex_unlock(&s->lock);
  return err;
}

/* store.add(key, n): adds to the number that is there, in one piece for all threads. Returns it. */
static int store_add(ml_call *c, void *ud) {
  server *s = ((worker *)ud)->s;
  ml_value key, sum;
  double n;
  char text[32];
  entry **at;
  int err;
  if (host_arg_text(c, 0, &key) < 0 || host_arg_number(c, 1, &n) < 0)
    return host_refuse(c, "a key and a number were expected");
  pthread_mutex_lock(&s->lock);
  at = find(s, key.u.str.s, key.u.str.len);
  if (*at != NULL) {
    snprintf(text, sizeof text, "%.*s", (int)(*at)->nvalue, (*at)->value);
    n += strtod(text, NULL);
  }
  snprintf(text, sizeof text, "%.14g", n);
  err = replace(s, at, &key, text, strlen(text));
  pthread_mutex_unlock(&s->lock);
  sum = host_text(text);
  return err < 0 ? err : ml_return(c, &sum, 1);
}

/* server.info(): the port, this thread's number, how many there are, how many keys */
static int server_info(ml_call *c, void *ud) {
  worker *w = ud;
  ml_value v[4];
  pthread_mutex_lock(&w->s->lock);
  v[0] = host_int(w->s->port);
  v[1] = host_int(w->number);
  v[2] = host_int(w->s->threads);
  v[3] = host_int((int64_t)w->s->entries);
  pthread_mutex_unlock(&w->s->lock);
  return ml_return(c, v, 4);
}

/* server.ready(): this thread listens */
static int server_ready(ml_call *c, void *ud) {
  server *s = ((worker *)ud)->s;
  (void)c;
  pthread_mutex_lock(&s->lock);
  if (++s->ready == s->threads) {
    printf("127.0.0.1:%d, %d threads\n", s->port, s->threads);
    fflush(stdout);
  }
  pthread_mutex_unlock(&s->lock);
  return 0;
}

/* await(server.stopping()): when the process is asked to end */
static int server_stopping(ml_call *c, void *ud) {
  worker *w = ud;
  int err = 0, now;
  pthread_mutex_lock(&w->s->lock);
  now = w->s->stopping;
  if (!now && w->s->waiting[w->number] != NULL)
    err = ML_EBUSY; /* one task of each script waits */
  else if (!now)
    w->s->waiting[w->number] = c;
  pthread_mutex_unlock(&w->s->lock);
  return now ? ml_call_finish(c, 0, NULL, 0) : err;
}

static const host_function functions[] = {{"store.get", store_get, NULL},
                                          {"store.set", store_set, NULL},
                                          {"store.add", store_add, NULL},
                                          {"server.info", server_info, NULL},
                                          {"server.ready", server_ready, NULL},
                                          {"server.stopping", NULL, server_stopping},
                                          {NULL, NULL, NULL}};

/* ---- threads ---- */

/* Tells every script; none can begin to wait afterwards. */
static void stop(server *s) {
  pthread_mutex_lock(&s->lock);
  s->stopping = 1;
  for (int i = 0; i < THREADS; i++) {
    if (s->waiting[i] != NULL) ml_call_finish(s->waiting[i], 0, NULL, 0);
    s->waiting[i] = NULL;
  }
  pthread_mutex_unlock(&s->lock);
}

static int is_stopping(server *s) {
  int stopping;
  pthread_mutex_lock(&s->lock);
  stopping = s->stopping;
  pthread_mutex_unlock(&s->lock);
  return stopping;
}

/* Until the script has ended; what it leaves open is closed with the engine. A script that is told
** to stop has GRACE seconds. */
static int drive(worker *w, ml_engine *e, ml_task *t) {
  time_t told = 0;
  while (ml_task_status(t) == ML_PENDING) {
    struct pollfd p = {.events = POLLIN};
    int timeout, err = ml_step(e, 0);
    if (err < 0 && err != ML_ESCRIPT) return err; /* that is SystemExit of one connection */
    err = ml_poll_info(e, &p.fd, &timeout);
    if (err < 0) return err;
    if (told == 0 && is_stopping(w->s)) told = time(NULL);
    if (told != 0 && time(NULL) - told > GRACE) return 0;
    if (timeout < 0 || timeout > 500) timeout = 500; /* to see whether it is to stop */
    if (ml_task_status(t) == ML_PENDING) poll(&p, 1, timeout);
  }
  return 0;
}

static int serve(worker *w) {
  ml_config config;
  ml_engine *e = NULL;
  ml_task *t = NULL;
  int err, bad = 1;
  ml_config_init(&config);
  err = ml_new(&config, &e);
  if (err == 0) err = host_define(e, functions, w);
  if (err == 0) err = ml_load_file(e, w->script, &t);
  if (err < 0) host_complain("threads", w->script, e, err);
  if (err == 0) {
    err = drive(w, e, t);
    if (err < 0) host_complain("threads", "the engine stopped", e, err);
    bad = host_verdict("threads", t);
  }
  ml_task_release(t);
  ml_close(e, 500);
  pthread_mutex_lock(&w->s->lock);
  if (w->s->waiting[w->number] != NULL) /* never finished: it is released here */
    ml_call_finish(w->s->waiting[w->number], 0, NULL, 0);
  w->s->waiting[w->number] = NULL;
  pthread_mutex_unlock(&w->s->lock);
  return bad;
}

/* A thread that fails takes the others with it: a server that half works is worse than none. When
** all scripts have ended by themselves the server has, too. */
static void *work(void *ud) {
  worker *w = ud;
  int failed = serve(w), over;
  pthread_mutex_lock(&w->s->lock);
  if (failed) w->s->failed = 1;
  over = ++w->s->ended == w->s->threads || failed;
  pthread_mutex_unlock(&w->s->lock);
  if (over) kill(getpid(), SIGTERM);
  return NULL;
}

/* Keeps the port for the threads: bound, but not listening, it takes no connection. */
static int reserve(server *s, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  socklen_t size = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0) return -1;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 &&
      bind(fd, (struct sockaddr *)&a, size) == 0 &&
      getsockname(fd, (struct sockaddr *)&a, &size) == 0) {
    s->port = ntohs(a.sin_port);
    return fd;
  }
  close(fd);
  return -1;
}

static int run(server *s, const char *script) {
  worker workers[THREADS];
  sigset_t set;
  int sig, started = 0;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, NULL); /* the threads inherit it */
  for (; started < s->threads; started++) {
    workers[started] = (worker){.s = s, .number = started, .script = script};
    if (pthread_create(&workers[started].thread, NULL, work, &workers[started]) != 0) break;
  }
  if (started == s->threads) {
    sigwait(&set, &sig);
  } else {
    fprintf(stderr, "threads: only %d of %d threads\n", started, s->threads);
    s->failed = 1;
  }
  stop(s);
  for (int i = 0; i < started; i++) pthread_join(workers[i].thread, NULL);
  printf("%zu keys at the end\n", s->entries);
  return s->failed;
}

static int usage(void) {
  fprintf(stderr, "usage: threads [-t THREADS (1 to %d)] [-p PORT] [SCRIPT]\n", THREADS);
  return 2;
}

int main(int argc, char **argv) {
  static server s = {.lock = PTHREAD_MUTEX_INITIALIZER, .threads = 4};
  int option, port = 0, fd, failed;
  while ((option = getopt(argc, argv, "p:t:")) != -1) {
    char *end;
    long n = option != '?' ? strtol(optarg, &end, 10) : -1;
    if (n < 0 || *end != '\0' || end == optarg) return usage();
    if (option == 'p') port = (int)n;
    if (option == 't') s.threads = (int)n;
  }
  if (argc - optind > 1 || s.threads < 1 || s.threads > THREADS || port > 65535) return usage();
  signal(SIGPIPE, SIG_IGN);
  fd = reserve(&s, port);
  if (fd < 0) {
    fprintf(stderr, "threads: port %d: %s\n", port, strerror(errno));
    return 1;
  }
  failed = run(&s, optind < argc ? argv[optind] : "scripts/hosts/threads.lua");
  close(fd);
  for (int i = 0; i < BUCKETS; i++)
    while (s.buckets[i] != NULL) remove_at(&s, &s.buckets[i]);
  return failed;
}
