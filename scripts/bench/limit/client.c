/*
** client MODE URL ...: the limit of the client rows: libcurl's multi interface.
**
**   get URL REQUESTS AT_ONCE          GETs on kept connections     `us` CPU of a request, `rate` requests a second
**   tls URL REQUESTS AT_ONCE CA       the same, each on a connection of its own, sessions resumed
**   download URL BYTES                one body, dropped            `ms` wall, `us` CPU of a MiB
**   upload URL FILE                   one file                     the same
**   memory URL REQUESTS               `memory` KB of a request that is in flight
**
** With the word by-sockets before MODE, get is driven by curl_multi_socket_action on libuv's loop, as a binding would do it.
*/

#include "bench.h"

#include <curl/curl.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define ANSWER 13 /* bytes of each small answer */

typedef struct run {
  CURLM *multi;
  const char *url, *ca;
  long total, started, done, at_once;
  size_t bytes; /* that came */
} run;

static size_t on_bytes(char *bytes, size_t one, size_t n, void *total) {
  (void)bytes, (void)one;
  *(size_t *)total += n;
  return n;
}

static void check(int failed, const char *what) {
  if (!failed) return;
  fprintf(stderr, "client: %s\n", what);
  exit(1);
}

/* A handle that asks for the URL; the caller adds it. */
static CURL *new_request(run *r, const char *url) {
  CURL *e = curl_easy_init();
  check(e == NULL, "no handle");
  curl_easy_setopt(e, CURLOPT_URL, url);
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, &r->bytes);
  curl_easy_setopt(e, CURLOPT_FAILONERROR, 1L);
  if (r->ca != NULL) curl_easy_setopt(e, CURLOPT_CAINFO, r->ca);
  return e;
}

/* Takes what is done; asks again with the same handles, until all requests have been made. */
static void take_answers(run *r) {
  CURLMsg *message;
  int more;
  while ((message = curl_multi_info_read(r->multi, &more)) != NULL) {
    if (message->msg != CURLMSG_DONE) continue;
    CURL *e = message->easy_handle;
    check(message->data.result != CURLE_OK, curl_easy_strerror(message->data.result));
    r->done++;
    curl_multi_remove_handle(r->multi, e);
    if (r->started < r->total) {
      r->started++;
      curl_multi_add_handle(r->multi, e);
    } else
      curl_easy_cleanup(e);
  }
}

static void start(run *r) {
  for (long i = 0; i < r->at_once && r->started < r->total; i++, r->started++)
    curl_multi_add_handle(r->multi, new_request(r, r->url));
}

/* Until so many requests are done. What is done makes no timer: curl_multi_poll comes when nothing is. */
static void drive(run *r, long n) {
  int running;
  while (r->done < n) {
    long before = r->done;
    check(curl_multi_perform(r->multi, &running) != CURLM_OK, "perform");
    take_answers(r);
    if (r->done == before) curl_multi_poll(r->multi, NULL, 0, 1000, NULL);
  }
}

/* By sockets: libuv tells what is ready. */

static uv_timer_t timer;

static void on_poll(uv_poll_t *poll, int status, int events) {
  run *r = poll->loop->data;
  uv_os_fd_t fd;
  int running, flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
                       (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0) |
                       (status < 0 ? CURL_CSELECT_ERR : 0);
  uv_fileno((uv_handle_t *)poll, &fd);
  curl_multi_socket_action(r->multi, fd, flags, &running);
  take_answers(r);
}

static void on_timer(uv_timer_t *t) {
  run *r = t->loop->data;
  int running;
  curl_multi_socket_action(r->multi, CURL_SOCKET_TIMEOUT, 0, &running);
  take_answers(r);
}

static int on_timeout(CURLM *multi, long ms, void *user) {
  (void)multi, (void)user;
  if (ms < 0)
    uv_timer_stop(&timer);
  else
    uv_timer_start(&timer, on_timer, (uint64_t)ms, 0);
  return 0;
}

static void on_closed(uv_handle_t *h) { free(h); }

static int on_socket(CURL *e, curl_socket_t fd, int what, void *user, void *data) {
  run *r = user;
  uv_poll_t *poll = data;
  (void)e;
  if (what == CURL_POLL_REMOVE) {
    if (poll != NULL) uv_close((uv_handle_t *)poll, on_closed);
    curl_multi_assign(r->multi, fd, NULL);
    return 0;
  }
  if (poll == NULL) {
    poll = malloc(sizeof *poll);
    uv_poll_init(uv_default_loop(), poll, fd);
    curl_multi_assign(r->multi, fd, poll);
  }
  uv_poll_start(poll,
                (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0),
                on_poll);
  return 0;
}

static void drive_by_sockets(run *r) {
  uv_loop_t *loop = uv_default_loop();
  loop->data = r;
  uv_timer_init(loop, &timer);
  curl_multi_setopt(r->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(r->multi, CURLMOPT_SOCKETDATA, r);
  curl_multi_setopt(r->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
  start(r);
  while (r->done < r->total) uv_run(loop, UV_RUN_ONCE);
}

/* The modes. */

static void get(run *r, void (*how)(run *)) {
  double cpu = bench_cpu(), started = bench_now();
  how(r);
  double elapsed = bench_now() - started;
  bench_figure("us", (bench_cpu() - cpu) * 1e6 / (double)r->total);
  bench_figure("each", elapsed * 1e6 / (double)r->total);
  bench_figure("rate", (double)r->total / elapsed);
  check(r->bytes != (size_t)r->total * ANSWER, "other answers");
}

static void start_and_drive(run *r) {
  start(r);
  drive(r, r->total);
}

/* The server says how many sessions have been resumed: all but the first of each handle. */
static void check_resumption(run *r) {
  char url[256];
  FILE *text = tmpfile();
  long resumed = 0;
  snprintf(url, sizeof url, "%s/resumed", r->url);
  CURL *e = new_request(r, url);
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, NULL);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, text);
  check(curl_easy_perform(e) != CURLE_OK, "no count");
  curl_easy_cleanup(e);
  rewind(text);
  check(fscanf(text, "%ld", &resumed) != 1, "no count");
  check(resumed < r->total - r->at_once, "sessions were not resumed");
  fclose(text);
}

/* One body, in either direction. */
static void transfer(CURL *e, double mib) {
  double cpu = bench_cpu(), started = bench_now();
  CURLcode code = curl_easy_perform(e);
  bench_figure("ms", (bench_now() - started) * 1e3);
  bench_figure("us", (bench_cpu() - cpu) * 1e6 / mib);
  check(code != CURLE_OK, curl_easy_strerror(code));
  curl_easy_cleanup(e);
}

static void download(run *r, long n) {
  char url[256];
  snprintf(url, sizeof url, "%s/bytes/%ld", r->url, n);
  transfer(new_request(r, url), (double)n / (1 << 20));
  check(r->bytes != (size_t)n, "a body of another length");
}

static void upload(run *r, const char *path) {
  struct stat info;
  FILE *file = fopen(path, "rb");
  if (file == NULL || stat(path, &info) < 0) bench_die(path);
  CURL *e = new_request(r, r->url);
  curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
  curl_easy_setopt(e, CURLOPT_READDATA, file);
  curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)info.st_size);
  transfer(e, (double)info.st_size / (1 << 20));
}

static void ask(run *r, const char *format, long n) {
  char path[64], url[256];
  snprintf(path, sizeof path, format, n);
  snprintf(url, sizeof url, "%s%s", r->url, path);
  curl_multi_add_handle(r->multi, new_request(r, url));
}

/* The first request pays for what the session has once. */
static void memory(run *r, long n) {
  r->total = r->started = n + 3;
  ask(r, "/", 0);
  drive(r, 1);
  double before = bench_resident();
  for (long i = 0; i < n; i++) ask(r, "/hold", 0);
  ask(r, "/held/%ld", n);
  drive(r, 2);
  bench_figure("memory", (bench_resident() - before) / 1024 / (double)n);
  ask(r, "/go", 0);
  drive(r, n + 3);
}

int main(int argc, char **argv) {
  int by_sockets = argc > 1 && strcmp(argv[1], "by-sockets") == 0;
  argc -= by_sockets;
  argv += by_sockets;
  if (argc < 4) {
    fprintf(stderr, "usage: client [by-sockets] MODE URL ...\n");
    return 2;
  }
  const char *mode = argv[1];
  run r = {
      .url = argv[2], .total = bench_arg(argc, argv, 3, 0), .at_once = bench_arg(argc, argv, 4, 1)};
  curl_global_init(CURL_GLOBAL_ALL);
  r.multi = curl_multi_init();
  curl_multi_setopt(r.multi, CURLMOPT_MAXCONNECTS, r.at_once + 10);
  if (strcmp(mode, "get") == 0)
    get(&r, by_sockets ? drive_by_sockets : start_and_drive);
  else if (strcmp(mode, "tls") == 0 && argc > 5) {
    r.ca = argv[5];
    get(&r, start_and_drive);
    check_resumption(&r);
  } else if (strcmp(mode, "download") == 0)
    download(&r, r.total);
  else if (strcmp(mode, "upload") == 0)
    upload(&r, argv[3]);
  else if (strcmp(mode, "memory") == 0)
    memory(&r, r.total);
  else
    return 2;
  curl_multi_cleanup(r.multi);
  return 0;
}
