/*
** processes N ROUNDS [pipe]: uv_spawn of N processes of `true` at once, until all
** have ended; or of `echo`, whose output is read through a pipe.
*/

#include "bench.h"

#include <string.h>
#include <uv.h>

typedef struct process {
  uv_process_t uv;
  uv_pipe_t out;
  char text[64];
  size_t len;
} process;

static long ended, closed;

static void on_closed(uv_handle_t *h) {
  (void)h;
  closed++;
}

static void on_ended(uv_process_t *p, int64_t status, int signal) {
  if (status != 0 || signal != 0) exit(1);
  ended++;
  uv_close((uv_handle_t *)p, on_closed);
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf) {
  process *p = h->data;
  (void)hint;
  *buf = uv_buf_init(p->text + p->len, sizeof p->text - (unsigned)p->len);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
  process *p = s->data;
  (void)buf;
  if (n > 0) {
    p->len += (size_t)n;
    return;
  }
  if (n != UV_EOF || p->len != 2 || memcmp(p->text, "x\n", 2) != 0) exit(1);
  uv_close((uv_handle_t *)s, on_closed);
}

static void start(uv_loop_t *loop, process *p, int piped) {
  static char *quiet[] = {"/bin/true", NULL}, *loud[] = {"/bin/echo", "x", NULL};
  uv_stdio_container_t io[3];
  uv_process_options_t o;
  memset(p, 0, sizeof *p);
  memset(&o, 0, sizeof o);
  for (int i = 0; i < 3; i++) {
    io[i].flags = UV_INHERIT_FD;
    io[i].data.fd = i;
  }
  if (piped) {
    uv_pipe_init(loop, &p->out, 0);
    p->out.data = p;
    io[1].flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE;
    io[1].data.stream = (uv_stream_t *)&p->out;
  }
  o.args = piped ? loud : quiet;
  o.file = o.args[0];
  o.exit_cb = on_ended;
  o.stdio = io;
  o.stdio_count = 3;
  if (uv_spawn(loop, &p->uv, &o) < 0) bench_die("uv_spawn");
  if (piped) uv_read_start((uv_stream_t *)&p->out, on_alloc, on_read);
}

int main(int argc, char **argv) {
  long n = bench_arg(argc, argv, 1, 200), rounds = bench_arg(argc, argv, 2, 5);
  int piped = argc > 3 && strcmp(argv[3], "pipe") == 0;
  process *all = calloc((size_t)n, sizeof *all);
  uv_loop_t *loop = uv_default_loop();
  double started = bench_now();
  for (long r = 0; r < rounds; r++) {
    for (long i = 0; i < n; i++) start(loop, &all[i], piped);
    uv_run(loop, UV_RUN_DEFAULT);
  }
  bench_figure("us", (bench_now() - started) * 1e6 / (double)(n * rounds));
  free(all);
  return ended == n * rounds && closed == n * rounds * (piped ? 2 : 1) ? 0 : 1;
}
