/* The event loop: rounds as in asyncio's BaseEventLoop._run_once.
**
** A round polls libuv, makes due timers ready, then runs what was ready at its
** beginning; what becomes ready meanwhile waits for the next round, so that
** input is never starved. libuv's callbacks run no Lua: they ready jobs.
**
** libuv is asked only when it has something to watch: a loop of tasks and
** timers makes no system call but to sleep. All timers lie in one heap; one
** uv timer wakes the poll for the first.
*/
#include <math.h>
#include <string.h>

#include "core.h"

#define CLOCK_RESOLUTION 1e-9
/* How long a virtual clock waits for real input before it jumps, ms. */
#define VIRTUAL_GRACE 2

ml_evloop *ml__loop_new(ml_engine *e, ml_clock clock) {
  ml_evloop *l = e->closing > 1 ? NULL : ml__alloc(e->alloc, NULL, 0, sizeof *l);
  if (l == NULL) return NULL;
  memset(l, 0, sizeof *l);
  if (pthread_mutex_init(&l->inbox_lock, NULL) != 0) {
    ml__alloc(e->alloc, l, sizeof *l, 0);
    return NULL;
  }
  l->engine = e;
  l->L = e->L;
  l->clock = clock;
  l->slow = ML_SLOW;
  ml__frames_init(l);
  l->debug = e->config.debug != 0;
  ml__loop_watched(l);
  ml__list_init(&l->ready);
  ml__list_init(&l->batch);
  ml__list_init(&l->tasks);
  ml__list_init(&l->gathers);
  ml__list_init(&l->inbox);
  ml__list_init(&l->closers);
  ml__list_append(&e->loops, &l->link);
  return l;
}

/* ---- libuv under it ---- */

static void on_async(uv_async_t *h) { (void)h; }
static void on_uvtimer(uv_timer_t *h) { (void)h; }

uv_loop_t *ml__loop_uv(ml_evloop *l) {
  if (l->uv_ready) return l->uv;
  if (l->closed) return NULL;
  if (l->uv == NULL && l->engine->config.loop != NULL &&
      ml__list_empty(&l->engine->loops) == false && l->engine->loops.next == &l->link)
    l->uv = l->engine->config.loop; /* the engine's first loop is the host's */
  if (l->uv == NULL) {
    l->uv = ml__alloc(l->engine->alloc, NULL, 0, sizeof *l->uv);
    if (l->uv == NULL) return NULL;
    if (uv_loop_init(l->uv) != 0) {
      ml__alloc(l->engine->alloc, l->uv, sizeof *l->uv, 0);
      l->uv = NULL;
      return NULL;
    }
    l->own_uv = true;
  }
  uv_timer_init(l->uv, &l->uvtimer);
  uv_unref((uv_handle_t *)&l->uvtimer);
  l->uvtimer.data = NULL;
  l->uv_ready = true;
  if (uv_async_init(l->uv, &l->async, on_async) == 0) {
    uv_unref((uv_handle_t *)&l->async);
    l->async.data = NULL;
    l->wakeable = true;
  }
  return l->uv;
}

/* No lock: signal handlers call it too. Closing waits for those who are in here. */
void ml__loop_wake(ml_evloop *l) {
  l->wakers++;
  if (l->wakeable) uv_async_send(&l->async);
  l->wakers--;
}

void ml__loop_post(ml_evloop *l, ml_job *j) {
  bool first;
  pthread_mutex_lock(&l->inbox_lock);
  first = ml__list_empty(&l->inbox);
  ml__list_append(&l->inbox, &j->link);
  atomic_store_explicit(&l->posted, true, memory_order_release);
  pthread_mutex_unlock(&l->inbox_lock);
  if (first) ml__loop_wake(l);
}

void ml__loop_unpost(ml_evloop *l, ml_job *j) {
  pthread_mutex_lock(&l->inbox_lock);
  ml__list_remove(&j->link);
  pthread_mutex_unlock(&l->inbox_lock);
}

static void close_handle(uv_handle_t *h, void *arg) {
  (void)arg;
  if (uv_is_closing(h)) return;
  if (h->data != NULL)
    ((ml_handlehead *)h->data)->close(h);
  else
    uv_close(h, NULL);
}

void ml__loop_close(lua_State *L, ml_evloop *l) {
  ml_engine *e = l->engine;
  l->closed = true;
  while (!ml__list_empty(&l->closers)) {
    ml_closer *c = ml__containerof(l->closers.next, ml_closer, link);
    ml__list_remove(&c->link);
    c->close(L, c);
  }
  if (l->uv_ready) {
    bool async = l->wakeable;
    l->wakeable = false;
    while (l->wakers > 0) uv_sleep(0);
    if (l->own_uv) {
      uv_walk(l->uv, close_handle, NULL);
      while (uv_run(l->uv, UV_RUN_DEFAULT) != 0) uv_walk(l->uv, close_handle, NULL);
      uv_loop_close(l->uv);
      ml__alloc(e->alloc, l->uv, sizeof *l->uv, 0);
    } else {
      if (e->close_handles != NULL) e->close_handles(e->L, l);
      ml__watches_close(l);
      uv_close((uv_handle_t *)&l->uvtimer, NULL);
      if (async) uv_close((uv_handle_t *)&l->async, NULL);
      uv_run(l->uv, UV_RUN_NOWAIT);
    }
    l->uv_ready = false;
    l->uv = NULL;
  }
  while (l->ntimers > 0) l->heap[--l->ntimers].timer->index = 0;
  l->nweak = 0;
  ml__alloc(e->alloc, l->heap, l->heapcap * sizeof *l->heap, 0);
  l->heap = NULL;
  l->heapcap = 0;
  if (e->current == l) e->current = NULL;
}

void ml__loop_destroy(ml_evloop *l) {
  ml__loop_close(l->engine->L, l);
  ml__list_remove(&l->link);
  pthread_mutex_destroy(&l->inbox_lock);
  ml__alloc(l->engine->alloc, l, sizeof *l, 0);
}

/* ---- time ---- */

/* Are there timers that will be due by waiting? Not while time is paused, nor if it is
** ml_frame that makes it go on. */
static bool timers_run(const ml_evloop *l) {
  return l->ntimers > 0 && l->scale > 0 &&
         (l->clock != ML_CLOCK_HOST || l->engine->config.now != NULL);
}

/* Does the loop itself have a frame to begin? */
static bool frames_wait(const ml_evloop *l) {
  return l->frames.paced && !ml__list_empty(&l->frames.waiting);
}

/* What a virtual clock goes to next, which may be infinity; false: nothing. */
static bool next_virtual(ml_evloop *l, double *next) {
  *next = INFINITY;
  if (timers_run(l)) *next = ml__loop_base(l, l->heap[0].when);
  if (frames_wait(l) && ml__frame_due(l) < *next) *next = ml__frame_due(l);
  return timers_run(l) || frames_wait(l);
}

static void timers_due(ml_evloop *l) {
  double end;
  if (l->ntimers == 0) return;
  end = ml__loop_time(l) + CLOCK_RESOLUTION;
  while (l->ntimers > 0 && l->heap[0].when <= end) {
    ml_timer *t = l->heap[0].timer;
    ml__timer_stop(l, t);
    ml__ready(l, &t->job);
  }
}

/* ---- polling ---- */

static unsigned requests(const ml_evloop *l) { return l->uv->active_reqs.count; }

static bool uv_busy(ml_evloop *l) { return l->uv_ready && uv_loop_alive(l->uv); }

/* Is there somebody whom a signal may wake? */
static bool soft_alive(const ml_evloop *l) {
  return l->soft > 0 && (l->ntasks > 0 || l->lasting > 0);
}

/* A job that is posted right after the look at `posted` wakes the loop, and is taken then. */
static inline void take_inbox(ml_evloop *l) {
  if (!atomic_load_explicit(&l->posted, memory_order_acquire)) return;
  pthread_mutex_lock(&l->inbox_lock);
  atomic_store_explicit(&l->posted, false, memory_order_relaxed);
  ml__list_splice(&l->ready, &l->inbox);
  pthread_mutex_unlock(&l->inbox_lock);
}

bool ml__loop_alive(ml_evloop *l) {
  bool inbox;
  if (!ml__list_empty(&l->ready) || !ml__list_empty(&l->batch) || l->ntimers > l->nweak ||
      l->holds > 0 || !ml__list_empty(&l->frames.waiting))
    return true;
  inbox = atomic_load_explicit(&l->posted, memory_order_acquire);
  if (inbox) { /* what was posted may have been taken back */
    pthread_mutex_lock(&l->inbox_lock);
    inbox = !ml__list_empty(&l->inbox);
    pthread_mutex_unlock(&l->inbox_lock);
  }
  return inbox || uv_busy(l) || soft_alive(l);
}

/* Blocks in libuv for at most ms (< 0: until something happens). */
static void poll_uv(ml_evloop *l, double ms) {
  struct ml_dog *dog = l->engine->meter.dog;
  uint64_t before = uv_now(l->uv);
  if (ms == 0) {
    bool quiet = (l->soft > 0 || l->idle > 0) &&
                 !uv_loop_alive(l->uv); /* then libuv would not look */
    if (quiet) uv_ref((uv_handle_t *)&l->async);
    uv_run(l->uv, UV_RUN_NOWAIT);
    if (quiet) uv_unref((uv_handle_t *)&l->async);
    return;
  }
  if (dog != NULL) ml__dog_off(dog);
  if (ms > 0) {
    uv_update_time(l->uv);
    /* repeats: due before uv_run polls, it would be over and the poll endless */
    uv_timer_start(&l->uvtimer, on_uvtimer, (uint64_t)ceil(ms), 1);
  }
  /* what is waited for may be the unref'd async alone */
  if (ms > 0 || !uv_loop_alive(l->uv)) uv_ref((uv_handle_t *)&l->uvtimer);
  if (ms < 0 && !uv_loop_alive(l->uv)) {
    uv_ref((uv_handle_t *)&l->async);
    uv_run(l->uv, UV_RUN_ONCE);
    uv_unref((uv_handle_t *)&l->async);
  } else
    uv_run(l->uv, UV_RUN_ONCE);
  uv_unref((uv_handle_t *)&l->uvtimer);
  if (ms > 0) uv_timer_stop(&l->uvtimer);
  if (uv_now(l->uv) != before) ml__meter_paused(l->engine);
  if (dog != NULL) ml__dog_on(dog);
}

/* A step does not block: before the virtual clock jumps, live handles must have had
** nothing to say in all steps for the time that a blocking poll gives them. */
static void jump_in_step(ml_evloop *l) {
  uint64_t now, grace = VIRTUAL_GRACE;
  double next;
  if (l->frames.pending && !ml__list_empty(&l->frames.waiting)) { /* a step is a frame */
    if (!l->frames.hosted) l->vnow += l->frames.period;
    return;
  }
  if (!next_virtual(l, &next)) return;
  if (!ml__list_empty(&l->ready) || next <= l->vnow || l->stirred) {
    l->quiet_since = 0;
    l->stirred = false;
    return;
  }
  if (uv_busy(l) || l->soft > 0 || l->holds > 0) {
    now = uv_hrtime();
    if (l->holds > 0) return;
    if (l->uv_ready && requests(l) > 0) grace *= 10;
    if (l->quiet_since == 0) l->quiet_since = now;
    if (now - l->quiet_since < grace * 1000000) return;
  }
  l->quiet_since = 0;
  l->vnow = next;
}

/* Milliseconds to the first timer or frame, by a clock that goes by itself. */
static double next_real(ml_evloop *l) {
  double ms = 86400e3, left;
  if (timers_run(l)) {
    left = (l->heap[0].when - ml__loop_time(l)) * 1e3 / l->scale;
    if (left < ms) ms = left;
  }
  if (frames_wait(l)) {
    left = ml__frame_left(l) * 1e3;
    if (left < ms) ms = left;
  }
  return ms > 0 ? ms : 0;
}

/* Is there anything to wait for? */
static bool pending(ml_evloop *l) {
  return (timers_run(l) && l->ntimers > l->nweak) || frames_wait(l) || l->holds > 0 || uv_busy(l) ||
         soft_alive(l);
}

/* Does an inspector want something? */
static inline bool asked(ml_engine *e) {
  return atomic_load_explicit(&e->asked, memory_order_relaxed);
}

/* Waits for the next thing to do. False: there is none and never will be. */
static bool poll(ml_evloop *l, bool nowait) {
  bool busy = uv_busy(l) || l->soft > 0;
  double ms = -1, next;
  take_inbox(l);
  if (ml__list_empty(&l->ready) && ml__list_empty(&l->frames.waiting)) l->frames.idle = true;
  if (!ml__list_empty(&l->ready) || l->stopping || nowait) {
    if (l->uv_ready && (busy || (l->rounds & 63) == 0)) poll_uv(l, 0);
    if (nowait && l->clock == ML_CLOCK_VIRTUAL) jump_in_step(l);
    return true;
  }
  if (!pending(l)) return false;
  if (l->clock == ML_CLOCK_VIRTUAL && next_virtual(l, &next)) {
    if (busy || l->holds > 0) {
      bool slow, must;
      if (ml__loop_uv(l) == NULL) return false;
      slow = l->holds > 0 || requests(l) > 0;
      must = l->holds > 0 || requests(l) > (unsigned)l->patient;
      l->stirred = false;
      poll_uv(l, 0);
      take_inbox(l);
      if (!ml__list_empty(&l->ready)) return true;
      poll_uv(l, slow ? 10 * VIRTUAL_GRACE : VIRTUAL_GRACE);
      take_inbox(l);
      if (!ml__list_empty(&l->ready) || must || l->stirred) return true;
      if (asked(l->engine)) return true; /* which may be why the wait was over early */
    }
    if (next > l->vnow) l->vnow = next;
    return true;
  }
  if (timers_run(l) || frames_wait(l)) ms = next_real(l);
  if (ml__loop_uv(l) == NULL) return false;
  if (l->engine->sigints > 0) return true;
  poll_uv(l, ms);
  take_inbox(l);
  return true;
}

int ml__loop_poll_info(ml_evloop *l, int *fd, int *timeout_ms) {
  double ms = -1;
  if (ml__loop_uv(l) == NULL) return ML_ENOMEM;
  uv_ref((uv_handle_t *)&l->async); /* libuv looks at all it watches, and watches what is new */
  uv_run(l->uv, UV_RUN_NOWAIT);
  uv_unref((uv_handle_t *)&l->async);
  take_inbox(l);
  if (uv_loop_alive(l->uv)) ms = uv_backend_timeout(l->uv);
  l->frames.polled = true;
  l->frames.paced = !l->frames.hosted;
  if (timers_run(l) || frames_wait(l)) {
    double left = next_real(l);
    if (l->clock == ML_CLOCK_VIRTUAL && left > VIRTUAL_GRACE) left = VIRTUAL_GRACE; /* it jumps */
    if (ms < 0 || left < ms) ms = left;
  }
  if (l->frames.pending && !ml__list_empty(&l->frames.waiting)) ms = 0;
  if (!ml__list_empty(&l->ready) || !ml__list_empty(&l->batch)) ms = 0;
  *fd = uv_backend_fd(l->uv);
  *timeout_ms = ms < 0 ? -1 : ms > 86400e3 ? 86400000 : (int)ceil(ms);
  return 0;
}

/* ---- rounds ---- */

/* xorshift64*: the shuffle is the same on every machine. */
static uint64_t rng_next(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * UINT64_C(2685821657736338717);
}

/* Puts the batch into an order that the loop's seed decides, or else the engine's:
** each job goes to a random one of 16 lists, front or back, which are then joined. */
static void shuffle(ml_evloop *l) {
  uint64_t *state = l->rng != 0 ? &l->rng : &l->engine->rng;
  ml_link lists[16];
  for (int i = 0; i < 16; i++) ml__list_init(&lists[i]);
  while (!ml__list_empty(&l->batch)) {
    ml_link *n = l->batch.next;
    uint64_t r = rng_next(state) >> 32;
    ml_link *to = &lists[r & 15];
    ml__list_remove(n);
    ml__list_append((r & 16) ? to : to->next, n);
  }
  for (int i = 0; i < 16; i++) ml__list_splice(&l->batch, &lists[i]);
}

/* Lua's collector starts a cycle when the heap has doubled since the last one. A
** server's few hundred kilobytes would be marked again every other message: so
** a cycle does not begin before the heap has grown to GC_FLOOR. A finalizer
** tells when a cycle has ended; Lua allows no tuning there, the loop does it. */
#define GC_FLOOR ((size_t)4 << 20)

static int gc_cycled(lua_State *L);
static const char gc_watch = 'w'; /* its address: where ML_R_REPORTS has the watch */

static void arm_gc_watch(lua_State *L) {
  ml__ref_get(L, ML_R_REPORTS);
  lua_newuserdatauv(L, 0, 0);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, gc_cycled);
  lua_setfield(L, -2, "__gc");
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -4, &gc_watch);
  lua_setmetatable(L, -2);
  lua_pop(L, 2);
}

static int gc_cycled(lua_State *L) {
  ml_engine *e = ml__engine(L);
  e->gc_cycled = true;
  if (e->closing == 0) arm_gc_watch(L);
  return 0;
}

/* A finalizer that fails is not called again: a watch that Lua could not call, on a thread whose stack
** was full or without memory, is made anew. Who had finalizers of his own is told of those alone. */
static int rearm(lua_State *L) {
  ml_engine *e = ml__engine(L);
  ml__ref_get(L, ML_R_REPORTS);
  if (lua_rawgetp(L, -1, &gc_watch) == LUA_TNIL && e->closing == 0) {
    arm_gc_watch(L);
    e->ndoubted--;
  }
  if (e->warn_off) e->ndoubted = 0;
  for (; e->ndoubted > 0; e->ndoubted--) ml__log(e, "Lua warning: %s", e->doubted);
  return 0;
}

bool ml__gc_doubt(ml_engine *e, const char *warning) {
  if (strncmp(warning, "error in __gc", 13) != 0 || e->closing > 0) return false;
  if (strstr(warning, "stack overflow") == NULL && strstr(warning, "not enough memory") == NULL)
    return false;
  snprintf(e->doubted, sizeof e->doubted, "%s", warning);
  e->ndoubted++;
  e->gc_cycled = true;
  return true;
}

void ml__gc_settle(ml_engine *e, lua_State *L) {
  if (e->ndoubted == 0) return;
  lua_pushcfunction(L, rearm);
  if (lua_pcall(L, 0, 0, 0) != LUA_OK)
    lua_pop(L, 1); /* no memory: the next doubt or cycle tries again */
}

static void pace_collector(ml_engine *e, lua_State *L) {
  size_t used = ml__alloc_used(e->alloc), floor = GC_FLOOR, limit = e->config.memory_limit;
  if (limit != 0 && limit / 2 < floor) floor = limit / 2;
  ml__gc_settle(e, L);
  e->gc_cycled = false;
  if (used < floor) lua_gc(L, LUA_GCSTEP, -(int)((floor - used) >> 10));
}

void ml__gc_watch(lua_State *L) {
  pace_collector(ml__engine(L), L); /* a new engine has no garbage */
  arm_gc_watch(L);
}

/* Debug mode: a job that takes too long is reported. */
static void run_timed(ml_evloop *l, ml_job *j) {
  uint64_t t0 = uv_hrtime();
  double took;
  char what[256];
  ml__job_describe(l, j, what, sizeof what);
  j->run(l, j);
  took = (double)(uv_hrtime() - t0) / 1e9;
  if (took >= l->slow) ml__log(l->engine, "Executing %s took %.3f seconds", what, took);
}

/* Debug mode, or somebody wants to know how many there are. */
static void run_watched(ml_evloop *l, ml_job *j) {
  ml_engine *e = l->engine;
  if (ml__job_is_task(j))
    e->steps++;
  else
    e->calls++;
  if (l->debug)
    run_timed(l, j);
  else
    j->run(l, j);
}

/* A job is a slice of its own, unless it is a task's that ends inside another's. */
static inline void run_job(ml_evloop *l, ml_job *j) {
  ml_engine *e = l->engine;
  ml__meter_next(e);
  atomic_store_explicit(&e->meter.hot, l->L, memory_order_relaxed);
  if (l->watched)
    run_watched(l, j);
  else
    j->run(l, j);
  atomic_store_explicit(&e->meter.hot, NULL, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst);
  if (e->meter.armed) ml__meter_settle(e, l->L);
}

int ml__loop_run(lua_State *L, ml_evloop *l, bool nowait, uint64_t deadline_ns) {
  ml_engine *e = l->engine;
  lua_State *hot = e->meter.hot;
  bool watched = e->meter.dog == NULL || ml__dog_on(e->meter.dog);
  ml_evloop *outer = e->running;
  ml_fiber *task = e->task;
  lua_State *active = e->active, *outerL = l->L;
  int rc = ML_RUN_STOPPED;
  bool collected = false;
  e->running = l;
  ml__meter_paused(e);
  atomic_store_explicit(&e->live, l, memory_order_release);
  if (e->on_drive != NULL && outer == NULL) e->on_drive(e, true);
  e->task = NULL;
  e->active = NULL;
  l->L = L;
  l->frames.paced = !nowait || (l->frames.polled && !l->frames.hosted);
  l->depth++;
  atomic_store_explicit(&e->meter.hot, NULL, memory_order_relaxed);
  if (e->meter.armed) ml__meter_settle(e, L); /* who runs the loop waits: that slice is over */
  for (;;) {
    l->rounds++;
    if (ml__list_empty(&l->batch)) {
      if (!poll(l, nowait)) {
        /* what tasks wait for may be the end of something that is garbage */
        if (l->ntasks > 0 && !collected) {
          collected = true;
          lua_gc(L, LUA_GCCOLLECT);
          continue;
        }
        rc = ML_RUN_IDLE;
        break;
      }
      collected = false;
      timers_due(l);
      if (l->frames.pending || (frames_wait(l) && ml__frame_left(l) == 0)) ml__frame_begin(l);
      ml__list_splice(&l->batch, &l->ready);
      if ((e->rng | l->rng) != 0) shuffle(l);
    }
    while (!ml__list_empty(&l->batch)) {
      ml_link *n = l->batch.next;
      ml__list_remove(n);
      run_job(l, (ml_job *)(void *)n);
      if (deadline_ns != 0 && uv_hrtime() >= deadline_ns) break;
      if (l->raise) break;
    }
    if (e->round_over != NULL) e->round_over(e);
    if (e->gc_cycled) pace_collector(e, L);
    if (e->sigints > 0) ml__interrupt_deliver(l);
    if (asked(e)) e->inspect(e, L);
    if (l->raise) { /* the rest of the round and what was readied in it are one round of the next run */
      ml__list_splice(&l->batch, &l->ready);
      ml__list_splice(&l->ready, &l->batch);
      l->raise = l->stopping = false;
      rc = ML_RUN_RAISE;
      break;
    }
    if (l->stopping) {
      l->stopping = false;
      break;
    }
    if (nowait && (deadline_ns == 0 || uv_hrtime() >= deadline_ns || ml__list_empty(&l->ready))) {
      rc = ML_RUN_BUDGET;
      break;
    }
  }
  l->L = outerL;
  l->depth--;
  if (e->on_drive != NULL && outer == NULL) e->on_drive(e, false);
  e->running = outer;
  atomic_store_explicit(&e->live, outer, memory_order_release);
  e->task = task;
  e->active = active;
  ml__meter_next(e);
  atomic_store_explicit(&e->meter.hot, hot, memory_order_relaxed);
  if (!watched) ml__dog_off(e->meter.dog);
  return rc;
}

ml_evloop *ml__loop_get(lua_State *L) {
  ml_engine *e = ml__engine(L);
  ml_evloop *l = e->running;
  if (l == NULL) {
    if (e->current == NULL) e->current = ml__loop_new(e, e->config.clock);
    l = e->current;
    if (l == NULL) luaL_error(L, e->closing ? "the engine is closing" : "not enough memory");
  }
  if (l->closed) ml__error(L, "RuntimeError", "Event loop is closed");
  return l;
}
