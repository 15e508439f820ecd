/*
** readfile MEGABYTES PIECE: a file of that size read in pieces by uv_fs_read, one after the
** other into one buffer. The file is made, and read once, before the clock runs.
*/

#include "bench.h"

#include <fcntl.h>
#include <unistd.h>
#include <uv.h>

static uv_fs_t req;
static uv_buf_t buf;
static uv_file file;
static long long total;

static void on_read(uv_fs_t *r) {
  ssize_t n = r->result;
  uv_fs_req_cleanup(r);
  if (n < 0) exit(1);
  total += n;
  if (n > 0 && uv_fs_read(uv_default_loop(), r, file, &buf, 1, total, on_read) != 0) exit(1);
}

static int make_file(long long size) {
  char name[] = "/tmp/bench-readfile-XXXXXX", block[65536] = {0};
  int fd = mkstemp(name);
  if (fd < 0) bench_die(name);
  unlink(name);
  for (long long done = 0; done < size; done += (long long)sizeof block)
    if (write(fd, block, sizeof block) != (ssize_t)sizeof block) bench_die("write");
  return fd;
}

int main(int argc, char **argv) {
  long long size = (long long)bench_arg(argc, argv, 1, 1024) << 20;
  long piece = bench_arg(argc, argv, 2, 65536);
  file = make_file(size);
  buf = uv_buf_init(malloc((size_t)piece), (unsigned)piece);

  double started = bench_now();
  if (uv_fs_read(uv_default_loop(), &req, file, &buf, 1, 0, on_read) != 0) return 1;
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  if (total != size) return 1;
  bench_figure("us", (bench_now() - started) * 1e6 / ((double)size / (double)piece));
  return 0;
}
