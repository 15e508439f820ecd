/* The meter: what keeps one script from having the engine for ever.
**
** A slice is what runs without a suspension: a task's step, a callback, the main program
** between two awaits. When it takes too long, or the host wants it stopped, a hook is set
** on the Lua thread that runs, and the hook suspends the task or raises an error that no
** pcall keeps. `hot` is that thread; `serial` numbers the slices.
**
** Owner: the engine. Its thread, but for what is atomic.
*/
#ifndef ML_METER_H
#define ML_METER_H

#include <lua.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* ns: what a stamp's processor time may be behind it */
#define ML_METER_STALE 100000

typedef enum {
  ML_M_FREE,  /* nothing is wrong                                                  */
  ML_M_DUE,   /* the next instruction suspends or stops what runs                  */
  ML_M_GRACE, /* it is being stopped: `<close>` has a little time                  */
  ML_M_DEAD   /* that is over: whatever runs in this slice fails at once           */
} ml_meterphase;

typedef struct ml_meter {
  lua_State *_Atomic hot;       /* the Lua thread that runs a script now; NULL: none does */
  _Atomic uint64_t serial;      /* of the slice; never 0 */
  _Atomic uint64_t kill_serial; /* of the slice that ml_interrupt stops; 0: none */
  struct ml_stamp {             /* for the watchdog: when a slice began */
    _Atomic uint32_t in;        /* slices until the next */
    uint32_t stride;            /* between two of them, while slices are short */
    _Atomic uint64_t serial;    /* which slice; 0: it is being written */
    _Atomic uint64_t at;        /* ns */
    _Atomic uint64_t cpu;       /* the thread's processor time then or up to that before, ns */
    uint64_t cpu_at;            /* when that was read */
  } stamp;
  _Atomic sig_atomic_t armed;   /* the phase is not FREE, or a kill is wanted: hooks are set */
  volatile sig_atomic_t phase;  /* ml_meterphase */
  volatile sig_atomic_t killed; /* not the slice but the host is why */
  bool counted, preempt;
  bool preempting; /* a hook has suspended the task: resume_on passes it on */
  bool reported;   /* counted in `overruns` */
  uint64_t since_serial;
  uint64_t since; /* when the slice began (counted), or when it was seen to be over, ns */
  uint64_t since_cpu;
  uint64_t until; /* the end of the grace, ns */
  uint64_t slice_ns;
  struct ml_dog *dog; /* watchdog.c; NULL: none */
  int bad_finalizers; /* that were too long */
  uint64_t overruns, preemptions, kills;
} ml_meter;

struct ml_engine;

/* A slice is processor time of the engine's thread, and so many times that of real time. */
#define ML_REAL_SLICES 20

/* The thread that runs has an interest in hooks: sets what it needs. */
void ml__meter_arm(struct ml_engine *e, lua_State *L);
/* The slice has ended: the next one begins without hooks. */
void ml__meter_settle(struct ml_engine *e, lua_State *L);
/* Raises the error that stops the slice. */
int ml__meter_raise(lua_State *L);
/* Must the error at idx, which a protected call has caught, go on? */
bool ml__meter_passes(lua_State *L, int idx);
/* The slice was stopped: the error at the top becomes the one that says so. */
void ml__meter_outcome(lua_State *L);
/* For loops in C: raises when the slice is over. */
void ml__meter_check(lua_State *L);
/* Is co suspended by a hook? */
bool ml__meter_preempted(lua_State *co);
/* For calls of the host's that run scripts outside of the loop: what lies between is a slice. */
typedef struct ml_metered {
  lua_State *prev;
  bool watched;
} ml_metered;
ml_metered ml__meter_open(struct ml_engine *e, lua_State *L);
void ml__meter_close(struct ml_engine *e, lua_State *L, ml_metered was);
/* The clock is read for the watchdog. */
void ml__meter_stamp(ml_meter *m);
/* What ml_new does of it. 0, or a code. */
int ml__meter_init(struct ml_engine *e);
/* From a handler of signals on the engine's thread. */
void ml__meter_due(struct ml_engine *e, bool kill);
void ml__interrupt_now(struct ml_engine *e);

/* watchdog.c */
/* 0, or UV_E*. A dog that is never on notices nothing by itself. */
int ml__dog_new(struct ml_engine *e, int sig, struct ml_dog **out);
void ml__dog_free(struct ml_dog *d);
/* ANY THREAD: makes the engine's thread look at what is asked of it. */
void ml__dog_poke(struct ml_dog *d, bool interrupt);
/* ANY THREAD: has the engine's thread call this from a handler of signals. */
void ml__dog_show(struct ml_dog *d, void (*show)(struct ml_engine *e));
/* Scripts may run from now on, or not for a while; answers how it was. */
bool ml__dog_on(struct ml_dog *d);
void ml__dog_off(struct ml_dog *d);

#endif
