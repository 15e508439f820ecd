/* An inspector: a thread with an engine of its own that asks the one that is inspected.
**
** What both sides know: a list of questions under a lock. The inspected engine answers
** between two rounds of its loop, outside of any task, by a Lua function; a loop that does
** not turn answers nothing, and says by a hook at most where it is.
**
** Owner: the inspected engine, which joins the thread before it is closed.
*/
#ifndef ML_INSPECTOR_H
#define ML_INSPECTOR_H

#include <stdio.h>

#include "core.h"

#define ML_PLACE_MAX 2048

typedef struct ml_question ml_question;

typedef struct ml_inspector {
  pthread_mutex_t lock;
  pthread_cond_t told; /* state has changed */
  pthread_t thread;
  enum { ML_I_STARTING, ML_I_READY, ML_I_FAILED } state;
  char report[600]; /* what the thread says of its start */
  char *options;    /* for the thread */
  bool ended;       /* the inspected engine has gone */
  ml_engine *target;
  struct ml_dog *dog; /* to be shown where the target is; NULL: cannot be had */
  int fn;             /* in the target's registry: what answers */
  ml_evloop *loop;    /* the thread's; NULL: not yet, or no more */
  ml_job drain;       /* there: `done` is not empty, or it has ended */
  ml_op *waiter;      /* the thread's operation that waits for the end */
  ml_link asked, done;
  uint64_t turns; /* of the target's loop that have found questions; under the lock */
  char path[128]; /* of the socket; "": none */
  /* where the target was seen computing, and in which slice; under the lock */
  char place[ML_PLACE_MAX];
  const void *place_task;
  bool place_known;
  uint64_t place_serial;
  /* the target's own: what its hook replaces */
  lua_State *_Atomic hooked;
  lua_Hook hook;
  int hook_mask, hook_count;
} ml_inspector;

/* inspected.c: on the target's thread. */
extern const luaL_Reg ml__inspected_functions[];
/* From a handler of signals. */
void ml__inspect_show(ml_engine *e);
/* ANY THREAD: what the process has open, but for what belongs to the inspector. */
int ml__inspect_descriptors(lua_State *L);

#endif
