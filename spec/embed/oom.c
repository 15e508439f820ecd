/* Fails each allocation in turn while an engine is made, runs a script and is
** closed. Whatever fails: no crash, an error code (or a script that coped), and
** in the end every block given back. `make oom` builds the library so that it
** asks before each small block too, not only when it needs a new chunk.
*/
#include "expect.h"
#include <time.h>

static const char script[] = "local asyncio = require 'asyncio'\n"
                             "local work = async(function(n)\n"
                             "  local t <close> = asyncio.timeout(5)\n"
                             "  await(asyncio.sleep(0.001 * n))\n"
                             "  return ('x'):rep(n)\n"
                             "end)\n"
                             "local lock, queue = asyncio.Lock(), asyncio.Queue(1)\n"
                             "local producer = asyncio.create_task(async(function()\n"
                             "  for i = 1, 3 do await(queue:put(i)) end\n"
                             "end)())\n"
                             "local sum = 0\n"
                             "for _ = 1, 3 do\n"
                             "  await(lock:acquire())\n"
                             "  sum = sum + await(queue:get())\n"
                             "  lock:release()\n"
                             "end\n"
                             "await(producer)\n"
                             "local r = await(asyncio.gather(work(1), work(2), work(3)))\n"
                             "local victim = asyncio.create_task(asyncio.sleep(10))\n"
                             "await(asyncio.sleep(0))\n"
                             "victim:cancel('enough')\n"
                             "local ok = pcall(await, victim)\n"
                             "local failed = pcall(function()\n"
                             "  await(asyncio.wait_for(asyncio.sleep(10), 0.001))\n"
                             "end)\n"
                             "assert(not ok and not failed and sum == 6)\n"
                             "return table.concat(r, ',')\n";

typedef struct budget {
  long left;   /* allocations until the failure */
  long asked;  /* for all that was asked */
  int forever; /* after the first failure everything fails */
  long blocks; /* not given back */
} budget;

static void *limited(void *ud, void *p, size_t osize, size_t nsize) {
  budget *b = ud;
  (void)osize;
  if (nsize == 0) {
    if (p != NULL) b->blocks--;
    free(p);
    return NULL;
  }
  b->asked++;
  if (b->left >= 0) {
    if (b->left == 0) {
      if (!b->forever) b->left = -1;
      return NULL;
    }
    b->left--;
  }
  void *q = realloc(p, nsize);
  if (q != NULL && p == NULL) b->blocks++;
  return q;
}

static void quiet(void *ud, const char *text, size_t n) { (void)ud, (void)text, (void)n; }

/* 1 if the script ran to its end with its result. */
static int attempt(budget *b) {
  ml_config c;
  ml_engine *e = NULL;
  ml_task *t = NULL;
  int done = 0, err;
  ml_config_init(&c);
  c.alloc = limited;
  c.alloc_ud = b;
  c.clock = ML_CLOCK_VIRTUAL;
  c.log = quiet;
  c.print = quiet;
  err = ml_new(&c, &e);
  if (err < 0) {
    expect(e == NULL);
    return 0;
  }
  if (ml_load(e, "=script", script, sizeof script - 1, &t) == 0) {
    const ml_value *v;
    size_t n;
    ml_run(e);
    if (ml_task_status(t) == ML_DONE && ml_task_result(t, &v, &n) == 0 && n == 1)
      done = strcmp(v[0].u.str.s, "x,xx,xxx") == 0;
    if (ml_task_status(t) == ML_FAILED) (void)ml_task_error(t);
    ml_task_release(t);
  }
  ml_close(e, 1000);
  return done;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  double limit = argc > 1 ? atof(argv[1]) : 40; /* seconds for each sweep */
  budget whole = {-1, 0, 0, 0};
  double start = seconds();
  expect(attempt(&whole));
  expect(whole.blocks == 0);
  double each = seconds() - start;
  for (int forever = 0; forever <= 1; forever++) {
    long step = 1 + (long)((double)whole.asked * each / limit), failed = 0, tried = 0;
    for (long n = 0; n < whole.asked; n += step, tried++) {
      budget b = {n, 0, forever, 0};
      if (!attempt(&b)) failed++;
      if (b.blocks != 0) {
        fprintf(stderr, "%ld blocks leaked when allocation %ld failed\n", b.blocks, n);
        return 1;
      }
    }
    printf("%ld allocations, every %ldth failed%s: %ld runs, %ld of them ended early\n",
           whole.asked, step, forever ? " and all after it" : "", tried, failed);
    expect(failed > 0);
  }
  return 0;
}
