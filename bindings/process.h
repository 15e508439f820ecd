/* What process.c (the end of children) and launch.c (their beginning) share. */
#ifndef ML_PROCESS_H
#define ML_PROCESS_H

#include "stream.h"

/* Of a loop that has children: collects those that have ended. */
typedef struct ml_reaper {
  ml_handlehead head; /* first */
  ml_net *net;
  ml_evloop *loop;
  ml_link all;      /* in net->reapers */
  ml_link children; /* that run */
  ml_link ended;    /* that have been collected, but nobody told yet */
  uv_signal_t uv;   /* of SIGCHLD; started while there are children */
} ml_reaper;

/* User values: 1: what lives as long as the process; 2: the Handle of on_exit. */
typedef struct ml_child {
  ml_object obj; /* flags: C_* */
  ml_net *net;
  ml_reaper *reaper; /* NULL: not running, or its loop is gone */
  ml_evloop *loop;
  ml_link link; /* in reaper->children */
  ml_link waiters;
  ml_job ended;
  ml_job *call; /* on_exit's, or NULL */
  pid_t pid;
  int status, pin;
  unsigned nstreams;
  ml_stream *streams[];
} ml_child;
enum {
  C_KILL = 1,   /* close() kills it */
  C_GROUP = 2,  /* with its process group */
  C_EXITED = 4, /* collected: its status is known */
  C_LOST = 8,   /* its loop is gone, or it was never started */
  C_KILLED = 16 /* by close() */
};

/* The loop's reaper, made at need; NULL and *err. */
ml_reaper *ml__reaper_get(ml_net *net, ml_evloop *l, int *err);
void ml__on_sigchld(uv_signal_t *h, int signum);
void ml__orphans_reap(ml_net *net);
/* Pushes a child that has not been started, with room for so many streams. */
ml_child *ml__child_new(lua_State *L, ml_evloop *l, size_t nstreams);
void ml__child_close_streams(ml_child *c);
int ml__os_failed(lua_State *L, int err, const char *what); /* raises */
/* The size in the table {rows, cols} at idx. */
void ml__tty_resize(lua_State *L, int fd, int idx);
int ml__process_spawn(lua_State *L); /* asyncio.process.spawn */

#endif
