/* The watchdog: one thread for all engines of the process that want one.
**
** An engine's thread counts its slices, and notes now and then when one began
** (ml__meter_stamp). The watchdog looks at the counts about once in a slice while scripts
** run: one that begins after a look is not over before the next. It sleeps while none
** runs. When a count has stood still for a slice (of the thread's processor time: a
** machine that is busy with something else is not the script's fault), it sends the
** engine's thread a signal, whose handler sets the hook: on that thread, which is the only
** one that may.
**
** The handler of a signal belongs to the process, so what is known of it does, too: the one
** mutable global of the library. `lock` guards it. A thread's own engines are listed
** in a variable of the thread, where its handler finds them.
*/
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "core.h"

/* ns. With the time that a thread takes to wake, a slice's end is seen within 1 ms. */
#define INTERVAL 850000 /* the least between two looks that find nothing wrong */
#define CLOSE 400000    /* a stamp as young tells well enough when a slice began */
/* Looks at idle engines before the watchdog sleeps until one runs. */
#define IDLE_LOOKS 4
#define MAX_SIGNALS 8

struct ml_dog {
  struct ml_dog *next; /* of all; under the lock */
  struct ml_dog *mine; /* next of the thread */
  ml_engine *e;
  pthread_t thread;
  int sig;
  atomic_bool busy;                   /* scripts may run */
  _Atomic uint64_t due;               /* the slice that is over; 0: none */
  atomic_bool poked;                  /* ml_interrupt wants the thread to look */
  atomic_bool ask;                    /* and to raise KeyboardInterrupt */
  void (*_Atomic show)(ml_engine *e); /* called by the handler, once */
  /* the watchdog's own */
  uint64_t seen;  /* the slice that it saw last; 0: none */
  uint64_t began; /* when that began, ns; UINT64_MAX: told */
  uint64_t cpu;   /* the thread's processor time then, ns */
  clockid_t clock;
};

typedef struct ml_dog ml_dog;

static struct {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool ready; /* wake is made */
  ml_dog *dogs;
  pthread_t thread;
  unsigned epoch; /* a watchdog thread of an older one ends */
  atomic_bool asleep;
  struct {
    int sig, users;
    struct sigaction old;
  } signals[MAX_SIGNALS];
} ml__watchdog = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local ml_dog *my_dogs;

/* ---- on the engine's thread ---- */

static void chain(int sig, siginfo_t *info, void *context) {
  for (int i = 0; i < MAX_SIGNALS; i++) {
    const struct sigaction *old = &ml__watchdog.signals[i].old;
    if (ml__watchdog.signals[i].sig != sig) continue;
    if (old->sa_flags & SA_SIGINFO)
      old->sa_sigaction(sig, info, context);
    else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN)
      old->sa_handler(sig);
    return;
  }
}

static void on_signal(int sig, siginfo_t *info, void *context) {
  int saved = errno;
  bool ours = false;
  for (ml_dog *d = my_dogs; d != NULL; d = d->mine) {
    uint64_t due = atomic_exchange(&d->due, 0), now = d->e->meter.serial;
    void (*show)(ml_engine *) = atomic_exchange(&d->show, NULL);
    if (show != NULL) show(d->e);
    if (due != 0 || show != NULL) ours = true;
    if (due == now) ml__meter_due(d->e, false);
    if (!atomic_exchange(&d->poked, false)) continue;
    ours = true;
    if (d->e->meter.kill_serial == now) ml__meter_due(d->e, true);
    if (atomic_exchange(&d->ask, false)) ml__interrupt_now(d->e);
  }
  if (!ours) chain(sig, info, context);
  errno = saved;
}

bool ml__dog_on(ml_dog *d) {
  bool was = atomic_exchange(&d->busy, true);
  if (!was && ml__watchdog.asleep) {
    ml__meter_paused(d->e);
    pthread_mutex_lock(&ml__watchdog.lock);
    pthread_cond_broadcast(&ml__watchdog.wake);
    pthread_mutex_unlock(&ml__watchdog.lock);
  }
  return was;
}

void ml__dog_off(ml_dog *d) { atomic_store_explicit(&d->busy, false, memory_order_relaxed); }

void ml__dog_poke(ml_dog *d, bool interrupt) {
  if (interrupt) d->ask = true;
  d->poked = true;
  pthread_kill(d->thread, d->sig);
}

void ml__dog_show(ml_dog *d, void (*show)(ml_engine *e)) {
  d->show = show;
  pthread_kill(d->thread, d->sig);
}

/* ---- the watchdog's thread ---- */

static uint64_t cpu_time(const ml_dog *d) {
  struct timespec t;
  if (clock_gettime(d->clock, &t) != 0) return 0;
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* When did this slice begin? By its stamp, or by one that is not much older; else it counts
** from now, and the next slice is to get a stamp: false. */
static bool first_seen(ml_dog *d, uint64_t serial, uint64_t now) {
  struct ml_stamp *s = &d->e->meter.stamp;
  uint64_t of = atomic_load_explicit(&s->serial, memory_order_acquire);
  uint64_t at = atomic_load_explicit(&s->at,
                                     memory_order_acquire); /* before the serial is read again */
  uint64_t cpu = atomic_load_explicit(&s->cpu, memory_order_acquire);
  d->seen = serial;
  if (of == serial && of == atomic_load_explicit(&s->serial, memory_order_relaxed)) {
    d->began = at;
    d->cpu = cpu + ML_METER_STALE;
    return true;
  }
  d->began = now;
  d->cpu = cpu_time(d);
  if (now - at < CLOSE) return true;
  ml__meter_paused(d->e);
  return false;
}

/* No slice that begins now is over before this. */
static uint64_t soonest(const ml_dog *d, uint64_t now) {
  return now + (d->e->meter.slice_ns > INTERVAL ? d->e->meter.slice_ns : INTERVAL);
}

/* When to look at the engine next. */
static uint64_t look(ml_dog *d, uint64_t now) {
  ml_meter *m = &d->e->meter;
  uint64_t serial = atomic_load_explicit(&m->serial, memory_order_relaxed);
  uint64_t later = soonest(d, now), end;
  if (atomic_load_explicit(&m->hot, memory_order_relaxed) == NULL) {
    d->seen = 0;
    return later;
  }
  if (serial != d->seen && !first_seen(d, serial, now)) return now + INTERVAL;
  if (d->began == UINT64_MAX) return later;
  end = d->began + m->slice_ns;
  if (now >= end && now < d->began + ML_REAL_SLICES * m->slice_ns) {
    uint64_t used = cpu_time(d) - d->cpu;
    if ((int64_t)used < (int64_t)m->slice_ns) end = now + m->slice_ns - used;
  }
  if (now < end) return end < later ? end : later;
  d->began = UINT64_MAX;
  d->due = serial;
  pthread_kill(d->thread, d->sig);
  return later;
}

static bool any_busy(void) {
  for (const ml_dog *d = ml__watchdog.dogs; d != NULL; d = d->next)
    if (d->busy) return true;
  return false;
}

static void wait_until(uint64_t when) {
  struct timespec t = {(time_t)(when / 1000000000), (long)(when % 1000000000)};
  pthread_cond_timedwait(&ml__watchdog.wake, &ml__watchdog.lock, &t);
}

static void *watch(void *arg) {
  unsigned epoch = (unsigned)(uintptr_t)arg;
  int idle = 0;
  pthread_mutex_lock(&ml__watchdog.lock);
  if (epoch == ml__watchdog.epoch) ml__watchdog.asleep = false;
  while (epoch == ml__watchdog.epoch) {
    uint64_t now = uv_hrtime(), next = UINT64_MAX;
    bool any = false;
    for (ml_dog *d = ml__watchdog.dogs; d != NULL; d = d->next) {
      bool busy = atomic_load_explicit(&d->busy, memory_order_relaxed);
      uint64_t at = busy ? look(d, now) : soonest(d, now);
      if (busy) any = true;
      if (at < next) next = at;
    }
    idle = any ? 0 : idle + 1;
    if (idle < IDLE_LOOKS) {
      wait_until(next);
      continue;
    }
    ml__watchdog.asleep = true;
    if (!any_busy()) pthread_cond_wait(&ml__watchdog.wake, &ml__watchdog.lock);
    ml__watchdog.asleep = false;
    idle = 0;
  }
  pthread_mutex_unlock(&ml__watchdog.lock);
  return NULL;
}

/* ---- beginning and ending ---- */

/* Under the lock. 0, or UV_E*. */
static int take_signal(int sig) {
  struct sigaction sa;
  int at = -1;
  for (int i = 0; i < MAX_SIGNALS; i++) {
    if (ml__watchdog.signals[i].users == 0 && at < 0) at = i;
    if (ml__watchdog.signals[i].users == 0 || ml__watchdog.signals[i].sig != sig) continue;
    ml__watchdog.signals[i].users++;
    return 0;
  }
  if (at < 0) return UV_EMFILE;
  memset(&sa, 0, sizeof sa);
  sigemptyset(&sa.sa_mask);
  sa.sa_flags = SA_SIGINFO | SA_RESTART;
  sa.sa_sigaction = on_signal;
  ml__watchdog.signals[at].sig = sig;
  if (sigaction(sig, NULL, &ml__watchdog.signals[at].old) != 0 || sigaction(sig, &sa, NULL) != 0)
    return uv_translate_sys_error(errno);
  ml__watchdog.signals[at].users = 1;
  return 0;
}

/* Under the lock. A handler that somebody else has set since stays. */
static void give_signal(int sig) {
  struct sigaction now;
  for (int i = 0; i < MAX_SIGNALS; i++) {
    if (ml__watchdog.signals[i].sig != sig || ml__watchdog.signals[i].users == 0) continue;
    if (--ml__watchdog.signals[i].users > 0) return;
    if (sigaction(sig, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
        now.sa_sigaction == on_signal)
      sigaction(sig, &ml__watchdog.signals[i].old, NULL);
  }
}

/* Under the lock: starts the thread. No signal is delivered to it. */
static int start_thread(void) {
  pthread_condattr_t monotonic;
  sigset_t all, old;
  int err;
  if (!ml__watchdog.ready) {
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&ml__watchdog.wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    ml__watchdog.ready = true;
  }
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  ml__watchdog.asleep = true; /* until it runs: that takes a while, too */
  err = pthread_create(&ml__watchdog.thread, NULL, watch, (void *)(uintptr_t)ml__watchdog.epoch);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return err == 0 ? 0 : uv_translate_sys_error(err);
}

int ml__dog_new(ml_engine *e, int sig, ml_dog **out) {
  ml_dog *d = ml__alloc(e->alloc, NULL, 0, sizeof *d);
  sigset_t set;
  int err = 0;
  if (d == NULL) return ML_ENOMEM;
  memset(d, 0, sizeof *d);
  d->e = e;
  d->sig = sig != 0 ? sig : SIGURG;
  d->thread = pthread_self();
  if (pthread_getcpuclockid(d->thread, &d->clock) != 0) d->clock = CLOCK_MONOTONIC;
  sigemptyset(&set);
  if (sigaddset(&set, d->sig) != 0) err = ML_EINVAL;
  pthread_mutex_lock(&ml__watchdog.lock);
  if (err == 0) err = take_signal(d->sig);
  if (err == 0 && ml__watchdog.dogs == NULL && (err = start_thread()) != 0) give_signal(d->sig);
  if (err == 0) {
    d->next = ml__watchdog.dogs;
    ml__watchdog.dogs = d;
    d->mine = my_dogs;
    my_dogs = d;
    pthread_cond_broadcast(&ml__watchdog.wake); /* its slices may be shorter than the others' */
  }
  pthread_mutex_unlock(&ml__watchdog.lock);
  if (err != 0) {
    ml__alloc(e->alloc, d, sizeof *d, 0);
    return err;
  }
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  *out = d;
  return 0;
}

static void unlink_dog(ml_dog *d) {
  ml_dog **p;
  for (p = &ml__watchdog.dogs; *p != d; p = &(*p)->next) continue;
  *p = d->next;
  for (p = &my_dogs; *p != d; p = &(*p)->mine) continue;
  *p = d->mine;
}

void ml__dog_free(ml_dog *d) {
  pthread_t thread;
  bool last;
  pthread_mutex_lock(&ml__watchdog.lock);
  unlink_dog(d);
  give_signal(d->sig);
  last = ml__watchdog.dogs == NULL;
  thread = ml__watchdog.thread;
  if (last) {
    ml__watchdog.epoch++;
    pthread_cond_broadcast(&ml__watchdog.wake);
  }
  pthread_mutex_unlock(&ml__watchdog.lock);
  if (last) pthread_join(thread, NULL);
  ml__alloc(d->e->alloc, d, sizeof *d, 0);
}
