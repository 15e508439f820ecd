/* Standard streams in a host, on the host's own loop: pipes and files in their
** places, engines closed amid reads and writes, several one after the other. */
#include "expect.h"
#include <fcntl.h>
#include <unistd.h>
#include <uv.h>

static int left;
static void count(uv_handle_t *h, void *arg) { (void)h, (void)arg, left++; }

static ml_engine *engine(uv_loop_t *loop) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.loop = loop;
  expect_ok(ml_new(&c, &e));
  return e;
}

/* Steps until the script is done, or n times. */
static int run(ml_engine *e, ml_task *t, int n) {
  while (ml_task_status(t) == ML_PENDING && n-- > 0) {
    expect(ml_step(e, 1000) >= 0);
    uv_sleep(1);
  }
  if (ml_task_status(t) == ML_FAILED) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  return ml_task_status(t);
}

/* The host's descriptor is the other file while the test lasts. */
static int replace(int number, int fd) {
  int saved = dup(number);
  dup2(fd, number);
  close(fd);
  return saved;
}

static void put_back(int number, int saved) {
  dup2(saved, number);
  close(saved);
}

static void copies(uv_loop_t *loop, int in, int out, int result) {
  char got[16] = "";
  int saved_in = replace(0, in), saved_out = replace(1, out);
  for (int i = 0; i < 2; i++) { /* a second engine finds what the first has left */
    ml_engine *e = engine(loop);
    ml_task *t = load(e, "local asyncio = require 'asyncio'\n"
                         "local c = await(asyncio.stdin:readexactly(2))\n"
                         "asyncio.stdout:write(c)\n"
                         "await(asyncio.stdout:drain())\n");
    expect(run(e, t, 2000) == (i == 0 ? ML_DONE : ml_task_status(t)));
    ml_task_release(t);
    expect_ok(ml_close(e, 100));
    if (i == 0 && lseek(0, 0, SEEK_CUR) >= 0) lseek(0, 0, SEEK_SET);
  }
  put_back(0, saved_in);
  put_back(1, saved_out);
  expect(pread(result, got, 2, 0) == 2 || read(result, got, 2) == 2);
  expect(memcmp(got, "ab", 2) == 0);
  close(result);
}

/* Closed while a read waits and a write is queued: what is queued is written. */
static void closed_amid(uv_loop_t *loop, int in, int out) {
  int saved_in = replace(0, in), saved_out = replace(1, out);
  ml_engine *e = engine(loop);
  ml_task *t = load(e, "local asyncio = require 'asyncio'\n"
                       "asyncio.create_task(asyncio.stdin:read())\n"
                       "asyncio.stdout:write(('x'):rep(50000))\n"
                       "asyncio.stderr:write('')\n"
                       "await(asyncio.sleep(100))\n");
  expect(run(e, t, 3) == ML_PENDING);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
  put_back(0, saved_in);
  put_back(1, saved_out);
}

static int file(const char *text) {
  char path[] = "/tmp/moonloop-stdio-XXXXXX";
  int fd = mkstemp(path);
  expect(fd >= 0);
  unlink(path);
  expect(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
  lseek(fd, 0, SEEK_SET);
  return fd;
}

int main(void) {
  uv_loop_t loop;
  int p[2], q[2], f;
  expect_ok(uv_loop_init(&loop));
  for (int i = 0; i < 3; i++) {
    expect(pipe(p) == 0 && pipe(q) == 0);
    expect(write(p[1], "abcd", 4) == 4);
    copies(&loop, p[0], q[1], q[0]);
    close(p[1]);
    f = file("");
    copies(&loop, file("abcd"), dup(f), f);
    expect(pipe(p) == 0 && pipe(q) == 0);
    closed_amid(&loop, p[0], q[1]);
    close(p[1]);
    close(q[0]);
    f = file("");
    closed_amid(&loop, file("abcd"), dup(f));
    expect(lseek(f, 0, SEEK_END) == 50000);
    close(f);
    closed_amid(&loop, open("/dev/zero", O_RDONLY), open("/dev/null", O_WRONLY));
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_walk(&loop, count, NULL);
  expect(left == 0);
  expect_ok(uv_loop_close(&loop));
  return 0;
}
