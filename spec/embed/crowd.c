/* Eight threads, each with an engine of its own, that finish each other's calls, wake and
** interrupt each other's engines while those run, and close their own under the others' hands:
** what ANY THREAD in moonloop.h promises. `make tsan` watches. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "expect.h"

enum { THREADS = 8, LIVES = 6, MOST = 4096 };

/* A host must not use an engine that is closed: whoever wakes or interrupts one of another
** thread holds its place. */
static struct {
  pthread_rwlock_t lock;
  ml_engine *e;
} places[THREADS];

/* Calls that wait for an answer, of all engines. */
static pthread_mutex_t box_lock = PTHREAD_MUTEX_INITIALIZER;
static ml_call *box[MOST];
static int boxed;
static atomic_int asked, answered, closed, cancelled, interrupted;
static atomic_bool over;

static int ask(ml_call *c, void *ud) {
  int rc = -105; /* UV_ENOBUFS on Linux */
  (void)ud;
  pthread_mutex_lock(&box_lock);
  if (boxed < MOST) {
    box[boxed++] = c;
    asked++;
    rc = 0;
  }
  pthread_mutex_unlock(&box_lock);
  return rc;
}

static void on_cancel(ml_call *c, void *ud) {
  (void)c;
  (void)ud;
  cancelled++; /* who has it in the box finishes it all the same */
}

static int ask_watched(ml_call *c, void *ud) {
  ml_call_on_cancel(c, on_cancel, NULL);
  return ask(c, ud);
}

/* Finishes some calls, of whatever engines. */
static void answer(unsigned *seed, int most) {
  static const char text[] = "a text that is copied, and longer than what a call has room for in "
                             "itself, which is about a hundred bytes";
  const ml_value v[2] = {{.type = ML_INT, .u.i = 1},
                         {.type = ML_STRING, .u.str = {text, sizeof text - 1, 0}}};
  while (most-- > 0) {
    ml_call *c;
    int rc;
    pthread_mutex_lock(&box_lock);
    c = boxed > 0 ? box[--boxed] : NULL;
    pthread_mutex_unlock(&box_lock);
    if (c == NULL) return;
    rc = rand_r(seed) % 8 == 0 ? ml_call_finish(c, -110, NULL, 0) /* UV_ETIMEDOUT */
                               : ml_call_finish(c, 0, v, rand_r(seed) % 2 ? 1 : 2);
    expect(rc == 0 || rc == ML_ECLOSED);
    answered++;
    if (rc == ML_ECLOSED) closed++;
  }
}

/* Disturbs the engine of some thread. */
static void disturb(unsigned *seed) {
  int i = rand_r(seed) % THREADS;
  if (pthread_rwlock_tryrdlock(&places[i].lock) != 0) return;
  if (places[i].e != NULL) {
    int what = rand_r(seed) % 32, rc;
    expect_ok(ml_wakeup(places[i].e));
    if (what < 2) {
      rc = ml_interrupt(places[i].e, what == 0 ? ML_INTERRUPT_ASK : ML_INTERRUPT_KILL);
      expect_ok(rc);
      interrupted++;
    }
  }
  pthread_rwlock_unlock(&places[i].lock);
}

static const char script[] =
    "local asyncio = require 'asyncio'\n"
    "local one = async(function(i)\n"
    "  for n = 1, 10 do\n"
    "    local ok, got = pcall(await, i % 3 == 0 and asyncio.wait_for(ask_watched(), 0.0005)\n"
    "      or i % 3 == 1 and ask() or asyncio.sleep(0.0001 * i, 1))\n"
    "    assert(not ok or got == nil or got == 1)\n"
    "    for _ = 1, 1000 do end\n"
    "  end\n"
    "end)\n"
    "for i = 1, 24 do asyncio.create_task(one(i)) end\n";

static void quiet(void *ud, const char *text, size_t n) {
  (void)ud;
  (void)text;
  (void)n;
}

static void live(int place, int life, unsigned *seed) {
  ml_engine *e;
  ml_config c;
  bool runs = life % 3 == 2; /* or it is closed in the middle */
  ml_config_init(&c);
  c.log = quiet;
  c.meter = life % 2 == 0 ? ML_METER_WATCHDOG : ML_METER_COUNTED;
  c.slice_us = 1000000;
  expect_ok(ml_new(&c, &e));
  expect_ok(ml_def_async(e, "ask", ask, NULL));
  expect_ok(ml_def_async(e, "ask_watched", ask_watched, NULL));
  expect_ok(ml_load(e, "=crowd", script, sizeof script - 1, NULL));
  pthread_rwlock_wrlock(&places[place].lock);
  places[place].e = e;
  pthread_rwlock_unlock(&places[place].lock);
  if (runs) {
    int rc;
    while ((rc = ml_run(e)) == ML_ESCRIPT) continue; /* KeyboardInterrupt */
    expect_ok(rc);
  } else
    for (int i = 0; i < 60; i++) {
      int rc = ml_step(e, 200);
      expect(rc >= 0 || rc == ML_ESCRIPT);
      answer(seed, 1);
      disturb(seed);
    }
  pthread_rwlock_wrlock(&places[place].lock);
  places[place].e = NULL;
  pthread_rwlock_unlock(&places[place].lock);
  expect_ok(ml_close(e, life % 4)); /* while others finish its calls */
}

static void *work(void *ud) {
  int place = *(int *)ud;
  unsigned seed = (unsigned)place + 1;
  for (int i = 0; i < LIVES; i++) live(place, i + place, &seed);
  return NULL;
}

/* Those who wait in ml_run need somebody who answers. */
static void *serve(void *ud) {
  unsigned seed = 99;
  (void)ud;
  while (!over) {
    answer(&seed, 3);
    disturb(&seed);
    usleep(200);
  }
  answer(&seed, MOST);
  return NULL;
}

int main(void) {
  pthread_t threads[THREADS], server;
  int numbers[THREADS];
  for (int i = 0; i < THREADS; i++) pthread_rwlock_init(&places[i].lock, NULL);
  expect(pthread_create(&server, NULL, serve, NULL) == 0);
  for (int i = 0; i < THREADS; i++) {
    numbers[i] = i;
    expect(pthread_create(&threads[i], NULL, work, &numbers[i]) == 0);
  }
  for (int i = 0; i < THREADS; i++) expect(pthread_join(threads[i], NULL) == 0);
  over = true;
  expect(pthread_join(server, NULL) == 0);
  if (closed == 0 || cancelled == 0 || interrupted == 0)
    fprintf(stderr, "%d answered, %d closed, %d cancelled, %d interrupted\n", answered, closed,
            cancelled, interrupted);
  expect(asked == answered && boxed == 0);
  expect(closed > 0 && closed < answered && cancelled > 0 && interrupted > 0);
  return 0;
}
