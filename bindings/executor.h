/* What the two sides of thread executors share: the loop's (executor.c: pools,
** executor_calls.c: calls) and the workers' (executor_thread.c).
**
** A pool is a queue of calls and threads that take them. Each thread has an engine of its
** own; a call comes to it as bytes and goes back as bytes. What is finished waits in
** the port of the loop that asked: one wake-up of the loop takes all of it.
**
** Locks: the pool's, for what stands below it; the port's. Neither is held while the other
** is taken, nor while Lua runs.
*/
#ifndef ML_EXECUTOR_H
#define ML_EXECUTOR_H

#include <pthread.h>
#include <signal.h>

#include "pack.h"
#include "sandbox.h"

/* A lock that is held for some dozens of instructions: worth waiting for. */
static inline void ml__lock_soon(pthread_mutex_t *m) {
  for (int i = 0; i < 200; i++)
    if (pthread_mutex_trylock(m) == 0) return;
  pthread_mutex_lock(m);
}

typedef struct ml_pool ml_pool;

/* What a loop and the threads that work for it share. Counted: the loop's state and every
** call in flight. */
typedef struct ml_port {
  ml_closer closer; /* the loop's thread */
  ml_link all;      /* in the state's ports */
  ml_link inflight; /* ml_work.mine; the loop's thread */
  ml_link spare;    /* ml_work.link: to be used again; the loop's thread */
  int nspare;
  ml_engine *engine;
  atomic_int refs;
  pthread_mutex_t lock;
  ml_evloop *loop; /* NULL: closed */
  ml_link done;    /* ml_work.link: finished, not yet seen by the loop */
  ml_job drain;    /* posted while `done` has any */
  ml_job look;     /* in the next round: are there calls that wait for a thread? */
} ml_port;

enum { WORK_QUEUED, WORK_RUNNING }; /* or finished */
enum {
  OUT_VALUES, /* the results */
  OUT_ERROR,  /* the error and its traceback or nil */
  OUT_MEMORY, /* there was none for either */
  OUT_BROKEN, /* the pool can run nothing */
  OUT_ENDED   /* no call: the pool's threads have ended */
};

#define ML_LINE 64  /* bytes of a cache line */
#define ML_ROOM 128 /* bytes that a call has for its message and that of its outcome */

/* A call on its way. Two threads pass it to and fro: what both use is together, and apart from
** what is the loop's alone. In whole cache lines. */
typedef struct ml_work {
  ml_link link; /* in pool->queue, pool->enders or port->done */
  ml_pool *pool;
  ml_port *port;
  char *data; /* the call, then its outcome; room, or malloc'd */
  char *log;  /* what it logged and printed for the host's functions, or NULL */
  size_t loglen;
  int state, outcome;
  size_t len, cap;
  char room[ML_ROOM - 2 * sizeof(size_t)];
  /* the loop's */
  ml_link mine;      /* in port->inflight */
  bool held;         /* in pool->held, not in its queue yet */
  ml_future *future; /* NULL: nobody waits any more */
  int pin;           /* of it */
  ml_job watch;      /* in the future's callbacks: cancelled? */
} ml_work;

/* The other thread has it in its cache: here it will be wanted soon. */
static inline void ml__work_fetch(const ml_work *w) {
  __builtin_prefetch(w, 1);
  __builtin_prefetch((const char *)w + ML_LINE, 1);
}

typedef struct ml_worker {
  ml_link all; /* in pool->workers */
  ml_pool *pool;
  pthread_t thread;
  ml_engine *engine; /* locked: other threads may interrupt it while it is there */
  bool running;      /* a call */
  bool ended;
  uint64_t began; /* uv_hrtime, when the call was taken */
  uint64_t usual; /* ns that calls take: the average of the last few */
  char *log;      /* see ml_work.log */
  size_t loglen, logcap;
  ml_buf out;
  int number;
} ml_worker;

typedef struct ml_entry { /* of the codebook */
  size_t n;
  char data[1];
} ml_entry;

struct ml_pool {
  ml_link all; /* in the state's pools; the loop's thread */
  ml_engine *engine;
  ml_port *port;    /* of the loop that used it last, or NULL */
  ml_evloop *owner; /* shut when that loop closes; or NULL */
  bool orphan;      /* its object was collected */
  ml_link held;     /* calls that the loop's thread has not queued yet: see enqueue */
  int nheld;
  ml_lastkept last; /* called last, kept by the object */
  ml_codebook book;
  sigset_t signals; /* those of the thread that made it */
  ml_config config; /* for the workers' engines */
  ml_sandbox *sandbox;
  ml_buf start; /* package.path, package.cpath, initializer, its arguments; or empty */
  char name[48];
  size_t limit; /* bytes for all states together; 0: none */
  int max;
  atomic_size_t used;
  pthread_mutex_t lock;
  pthread_cond_t work;  /* there is a call, or the end has come */
  pthread_cond_t ended; /* a thread has ended */
  ml_link queue, enders, workers;
  atomic_int queued; /* changed with the lock held only */
  int idle, threads, made;
  int calls;         /* made so far, as long as that matters */
  int spin;          /* ns that one thread looks for the next call before it sleeps */
  bool spinning;     /* one does */
  atomic_bool quick; /* calls have been short lately */
  bool burst;     /* calls have come many at a time: threads that are awake take PATIENT of them */
  bool eager;     /* nobody will look again whether those are enough: sleeping ones are woken */
  bool waking;    /* somebody was signalled and has not come yet */
  bool sentry;    /* an idle thread looks now and then whether quick calls go on */
  bool wanted;    /* one is to do so */
  unsigned taken; /* calls so far */
  bool shut;      /* no more calls; threads end when the queue is empty */
  bool broken;
  ml_entry **code;
  uint32_t ncode, maxcode;
};

/* With the pool locked, after a call has come or was taken: wakes a thread for the next
** one, unless those that are awake will do. */
#define ML_PATIENT 8
#define ML_PATIENT_QUICK 64
static inline bool ml__pool_wakes(ml_pool *p, int waiting) {
  if (waiting <= 0 || p->idle == 0 || p->waking) return false;
  if (p->burst && !p->eager && p->idle < p->threads &&
      waiting <= (p->quick ? ML_PATIENT_QUICK : ML_PATIENT))
    return false;
  p->waking = true;
  pthread_cond_signal(&p->work);
  return true;
}

/* With the pool locked, calls are left to threads that are awake: an idle one, if there is any,
** is to look after them, or none would come if those that are awake block. So whenever calls wait
** and a thread is idle one of these holds: somebody is on the way, a sentry is there, or the loop
** will look in its next round. */
static inline void ml__pool_guards(ml_pool *p) {
  if (p->queued == 0 || p->idle == 0 || p->waking || p->sentry || p->wanted) return;
  p->wanted = true;
  pthread_cond_signal(&p->work);
}

/* Bytes and functions that a codebook may keep. */
#define ML_CODE_MAX 4096
#define ML_CODE_BYTES (1u << 20)

/* The engine's part: one userdata in the registry. */
typedef struct ml_workers {
  ml_engine *engine;
  ml_link pools, ports;
  ml_buf out;  /* what is being packed */
  bool closed; /* the engine is closing, there are no pools */
} ml_workers;

/* executor.c */
ml_workers *ml__workers_of(lua_State *L);
/* No more calls; threads end when there is none left. */
void ml__pool_shut(ml_pool *p);
/* One more thread. With the pool locked; false: none could be made. */
bool ml__pool_add_worker(ml_pool *p);
/* Frees what is left of threads that have ended. */
void ml__pool_join(ml_pool *p);

/* executor_calls.c: the loop's thread. */

/* The port of the loop for this pool; NULL: no memory. */
ml_port *ml__port_of(lua_State *L, ml_pool *pool, ml_evloop *l);
/* A new call of n bytes, with its future on top. Raises memory errors. */
ml_work *ml__work_new(lua_State *L, ml_pool *pool, const char *data, size_t n);
/* Puts the call into the queue. NULL; or the class of the error that it is, with what it
** says in *text. */
const char *ml__work_enqueue(ml_pool *p, ml_work *w, const char **text);
/* The call is over for the loop: its future is let go. */
void ml__work_forget(lua_State *L, ml_work *w);
/* What is held goes into the queue. */
void ml__pool_release(ml_pool *p);
/* Withdraws the calls that have not begun; cancels their futures or forgets them. */
void ml__pool_drop(lua_State *L, ml_pool *p, bool cancel);

/* executor_thread.c. ANY THREAD but the loop's waits in it. */
void *ml__worker_main(void *worker);
/* ANY THREAD: the port gets what is finished; or it is freed, if nobody is there. */
void ml__work_deliver(ml_work *w);
void ml__work_free(ml_work *w);
void ml__port_unref(ml_port *p);

/* channel.c: adds functions to the table on top. */
void ml__open_channel(lua_State *L);

#endif
