/* Loops and what they wait for: timers, watched descriptors, frames. core.h includes it.
**
** A job that is to be run is in one of a loop's lists: ready (for the next round), batch (of this
** one), inbox (from other threads). What libuv's callbacks find out becomes a job, as do timers
** that are due.
*/
#ifndef ML_LOOP_H
#define ML_LOOP_H

#include "base.h"

/* ---- timers ---- */

typedef struct ml_timer {
  double when;       /* loop time, seconds */
  uint64_t seq : 63; /* order of making: breaks ties */
  uint64_t weak : 1; /* no reason for the loop to go on */
  size_t index;      /* place in the heap + 1; 0: not scheduled */
  ml_job job;        /* made ready when it is due */
} ml_timer;

void ml__timer_init(ml_timer *t, void (*run)(ml_evloop *, ml_job *));
/* UV_ENOMEM if the heap cannot grow; t is then unaltered. */
int ml__timer_start(ml_evloop *l, ml_timer *t, double when);
void ml__timer_stop(ml_evloop *l, ml_timer *t);              /* no-op when not scheduled */
void ml__timer_weaken(ml_evloop *l, ml_timer *t, bool weak); /* scheduled or not */

/* ---- watches ---- */

/* Tells when there are bytes to read: once, until they were read to the last one
** (a read gave less than it asked for) or ml__watch_again was called. For descriptors
** on which such a short read means that: TCP sockets. */
typedef struct ml_watch {
  /* From libuv's callback: no Lua. It may stop this watch, and no other. more: a short read
  ** is not the last one: the peer has ended, or it failed, or there is urgent data. */
  void (*ready)(struct ml_watch *w, bool more);
  int fd;    /* < 0: not watched */
  bool weak; /* no reason for the loop to go on */
} ml_watch;

/* 0, or UV_ENOSYS where there is no such thing, or UV_E*. */
int ml__watch_start(ml_evloop *l, ml_watch *w, int fd);
void ml__watch_again(ml_evloop *l, ml_watch *w);
void ml__watch_stop(ml_evloop *l, ml_watch *w);              /* before the descriptor is closed */
void ml__watch_weaken(ml_evloop *l, ml_watch *w, bool weak); /* watched or not */
void ml__watches_close(ml_evloop *l);

/* ---- loops ---- */

/* What handle->data of every uv handle but the loop's own points to begins
** like this, so that a closing loop can close it. */
typedef struct ml_handlehead {
  void (*close)(uv_handle_t *h);
} ml_handlehead;

/* Told, on the loop's thread, when the loop closes; unlinked before. */
typedef struct ml_closer {
  ml_link link; /* in loop->closers */
  void (*close)(lua_State *L, struct ml_closer *c);
} ml_closer;

/* frame.c. What tasks that await the next frame are parked in, and when it comes. */
typedef struct ml_frames {
  ml_link waiting; /* jobs of tasks, in the order they began to wait */
  uint64_t n;      /* frames so far */
  double dt;       /* seconds of loop time between the last two */
  double last;     /* loop time of the last one */
  double given;    /* what ml_frame said of the next one's dt; < 0: nothing */
  double period;   /* of frames that the loop paces */
  double due;      /* the next of them, while armed; and where the beat is */
  double paced_at;
  bool used;    /* somebody has waited: times are kept */
  bool pending; /* a step is to begin one */
  bool hosted;  /* by ml_frame alone */
  bool polled;  /* the host polls: paced by the loop */
  bool paced;   /* in this run */
  bool armed;
  bool idle; /* since the last one the loop had nothing to do, and nobody waited for one */
} ml_frames;

struct ml_evloop {
  ml_engine *engine;
  ml_link link;    /* in engine->loops */
  lua_State *L;    /* the thread that runs the loop, while it runs */
  ml_link ready;   /* jobs for the next round */
  ml_link batch;   /* jobs of this round that are still to run */
  ml_link tasks;   /* fibers not done, in the order they were made */
  ml_link gathers; /* those with children that are not done */
  size_t ntasks;
  struct {
    double when;
    ml_timer *timer;
  } * heap; /* 4-ary */
  size_t ntimers, heapcap;
  size_t nweak; /* of them, that are weak */
  uint64_t timer_seq;
  uv_loop_t *uv;              /* made at first use: ml__loop_uv */
  uv_timer_t uvtimer;         /* the one uv timer under the heap; unref'd */
  struct ml_gate *gate;       /* call.c; NULL: not needed yet */
  struct ml_watches *watches; /* watch.c; NULL: not needed yet */
  uv_async_t async;           /* wakes a blocked poll from other threads; unref'd */
  bool own_uv, uv_ready;
  atomic_bool wakeable; /* other threads may use async */
  atomic_int wakers;    /* and so many do */
  ml_clock clock;
  double vnow; /* virtual clock; a host's: the latest it has shown */
  bool scaled; /* time is scale_time + (clock - scale_base) * scale: frame.c */
  double scale, scale_time, scale_base;
  ml_frames frames;
  uint64_t quiet_since; /* virtual clock: since when steps find nothing, uv_hrtime; 0: they do */
  bool stopping, closed, debug;
  bool watched; /* jobs are looked at: debug, or the engine counts them */
  bool raise;   /* an error in ML_R_PENDINGERR must leave the loop now */
  int depth;    /* > 0 while it runs */
  bool stirred; /* virtual clock: something has come that made no job ready */
  int patient;  /* requests to libuv that may take for ever: the virtual clock goes on */
  int holds;    /* work in flight outside libuv: keeps it alive, virtual time waits for it */
  ml_link closers;
  /* watches of signals: what tasks may wait for, but no reason to run on without them */
  int soft;
  int idle;    /* connections that are no reason to run on, but may have something to say */
  int lasting; /* runs that do not end by themselves, like run_forever */
  bool has_factory, has_handler;
  double slow;  /* slow_callback_duration, seconds */
  uint64_t rng; /* as the engine's, for this loop alone; 0: it has none */
  uint64_t rounds;
  /* call_soon_threadsafe's inbox: locked, but for `posted`: is there something in it? */
  pthread_mutex_t inbox_lock;
  ml_link inbox;
  atomic_bool posted;
};

ml_evloop *ml__loop_new(ml_engine *e, ml_clock clock); /* NULL: no memory */
/* Closes handles and frees all but the struct, which lives as long as the engine. */
void ml__loop_close(lua_State *L, ml_evloop *l);
void ml__loop_destroy(ml_evloop *l);
uv_loop_t *ml__loop_uv(ml_evloop *l); /* NULL: cannot be made */
double ml__loop_time(ml_evloop *l);
/* frame.c. What the clock under a scaled time shows at that loop time: INFINITY if paused. */
double ml__loop_base(ml_evloop *l, double when);
void ml__loop_set_scale(ml_evloop *l, double scale);
void ml__frames_init(ml_evloop *l);
/* When the loop is to begin a frame that it paces (uv_hrtime in seconds, or virtual time),
** and how many seconds are left. */
double ml__frame_due(ml_evloop *l);
double ml__frame_left(ml_evloop *l);
void ml__frame_begin(ml_evloop *l); /* readies who waits for it */
void ml__frame_first(ml_evloop *l); /* somebody waits for the first time */
void ml__frame_cancel(ml_fiber *t); /* parked in ml_frames.waiting: readies it */
void ml__open_frames(lua_State *L);
extern const luaL_Reg ml__frame_methods[];
/* The running loop, or the current one (made if there is none). For operations
** that need a loop. Raises an error if it is closed. */
ml_evloop *ml__loop_get(lua_State *L);
ml_evloop *ml__checkopenloop(lua_State *L, int idx); /* and an error if it is closed */
ml_evloop *ml__checkloop(lua_State *L, int idx);     /* argument error unless a Loop */
/* Debug mode, or what is counted, has changed. */
static inline void ml__loop_watched(ml_evloop *l) { l->watched = l->debug || l->engine->counting; }
bool ml__loop_alive(ml_evloop *l); /* anything ready, asleep, or a live handle */
/* ANY THREAD. */
void ml__loop_wake(ml_evloop *l);
/* ANY THREAD, as long as the loop is not closed: readies the job and wakes the loop, if it
** has a uv loop already (ml__loop_uv). */
void ml__loop_post(ml_evloop *l, ml_job *j);
/* Takes it back, wherever it is. */
void ml__loop_unpost(ml_evloop *l, ml_job *j);
static inline void ml__ready(ml_evloop *l, ml_job *j) { ml__list_append(&l->ready, &j->link); }

enum { ML_RUN_STOPPED, ML_RUN_IDLE, ML_RUN_RAISE, ML_RUN_BUDGET };
/* Runs rounds on L until stop was asked for (STOPPED), nothing is left that
** could ever happen (IDLE), an error must leave the loop (RAISE: it is in
** ML_R_PENDINGERR) or deadline_ns (uv_hrtime; 0: none) has passed (BUDGET).
** nowait: never block. */
int ml__loop_run(lua_State *L, ml_evloop *l, bool nowait, uint64_t deadline_ns);

/* For a host's own poll: the descriptor to wait for, and for how long (-1: for ever). */
int ml__loop_poll_info(ml_evloop *l, int *fd, int *timeout_ms);
/* Says what a job is, for the report of a slow one. */
void ml__job_describe(ml_evloop *l, ml_job *j, char *buf, size_t n);
/* Ctrl-C has come: tell the runner's handler, or raise KeyboardInterrupt. */
void ml__interrupt_deliver(ml_evloop *l);

/* A lua_CFunction: begins to watch the collector's cycles. */
void ml__gc_watch(lua_State *L);
/* Lua says that a finalizer failed: is it perhaps the watch's, for want of stack or memory? Then the
** end of the round or the engine finds out, and passes the warning on if it was another's. */
bool ml__gc_doubt(ml_engine *e, const char *warning);
void ml__gc_settle(ml_engine *e, lua_State *L);
int ml__push_interrupt(lua_State *L); /* a lua_CFunction: a KeyboardInterrupt */
/* The Lua thread for calls of the host: the one that runs the loop, if one does. */
static inline lua_State *ml__state(const ml_engine *e) {
  return e->running != NULL ? e->running->L : e->L;
}
/* Destroys pending tasks (with a report), drops jobs, closes the loop. */
void ml__loop_shut(lua_State *L, ml_evloop *l);
/* Logs the tasks that wait for what cannot come; returns their number. */
int ml__loop_report_stuck(lua_State *L, ml_evloop *l);

#endif
