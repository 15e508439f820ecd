/*
** executor N BATCH: N trivial calls on libuv's thread pool, BATCH of them under way
** at a time. Each call gets a copy of its argument (a block of 64 bytes) and
** gives a copy of its result, as it must when the two sides share nothing.
*/

#include "bench.h"

#include <string.h>

#include <uv.h>

enum { SIZE = 64 };

typedef struct call {
  uv_work_t req;
  char *argument, *result;
} call;

static long left, under_way;
static long long sum;

static void work(uv_work_t *req) {
  call *c = (call *)req;
  char local[SIZE];
  long x;
  memcpy(local, c->argument, SIZE);
  memcpy(&x, local, sizeof x);
  c->result = malloc(SIZE);
  memcpy(c->result, &x, sizeof x);
}

static void done(uv_work_t *req, int status) {
  call *c = (call *)req;
  long x;
  if (status != 0) exit(1);
  memcpy(&x, c->result, sizeof x);
  sum += x;
  free(c->argument);
  free(c->result);
  free(c);
  under_way--;
}

static void submit(uv_loop_t *loop, long x) {
  call *c = malloc(sizeof *c);
  c->argument = calloc(1, SIZE);
  memcpy(c->argument, &x, sizeof x);
  under_way++;
  if (uv_queue_work(loop, &c->req, work, done) != 0) exit(1);
}

int main(int argc, char **argv) {
  long n = bench_arg(argc, argv, 1, 20000), batch = bench_arg(argc, argv, 2, 1);
  uv_loop_t *loop = uv_default_loop();
  submit(loop, 0); /* starts the threads */
  uv_run(loop, UV_RUN_DEFAULT);
  sum = 0;

  double started = bench_now();
  for (left = n; left > 0; left -= batch) {
    for (long i = 0; i < batch; i++) submit(loop, i);
    while (under_way > 0) uv_run(loop, UV_RUN_ONCE);
  }
  bench_figure("ns", (bench_now() - started) * 1e9 / (double)n);
  if (sum != n * (batch - 1) / 2) return 1;
  return 0;
}
