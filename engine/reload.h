/* What the two halves of hot reload share: reload.c, which runs the new code and writes, and
** reload_walk.c, which finds out what is to be written.
*/
#ifndef ML_RELOAD_H
#define ML_RELOAD_H

#include "core.h"

/* A walk's tables, at these indices of its stack. */
enum {
  W_NAME = 1,
  W_NEW,
  W_OLD,
  W_GLOBALS, /* a copy of the global variables, before the chunk ran; or nil */
  W_FOREIGN, /* tables that are not the module's own */
  W_BASE_T,  /* of the old module: table -> field -> value */
  W_BASE_U,  /* upvalue's id -> value */
  W_NEXT_T,  /* the same of the new one */
  W_NEXT_U,
  W_SEEN,   /* new tables and functions, ids of new upvalues */
  W_WRITES, /* table, key, value, ... */
  W_JOINS,  /* id of a new upvalue -> {old function, index} */
  W_NAMES,  /* name of an old upvalue -> {function, index}, or false: there are several */
  W_FNS,    /* new functions */
  W_QUEUE,  /* new, old, ...: to be visited */
  W_TOP = W_QUEUE
};

typedef struct ml_walk {
  lua_State *L;
  lua_Integer writes, fns, fns_done, queued, visited;
  int budget;
} ml_walk;

/* In the list of writes: the key that means a table's metatable. */
extern const char ml__walk_metatable;

/* [name, new, old, globals]: fills the stack up to W_TOP. */
void ml__walk_start(ml_walk *w, lua_State *L);
/* The values at nv (new) and ov (old; 0: none) are to be compared. */
void ml__walk_enqueue(ml_walk *w, int nv, int ov);
/* t[k] = v is to be written. */
void ml__walk_write(ml_walk *w, int t, int k, int v);
/* Is the value at idx in the set at `set`? */
bool ml__walk_has(lua_State *L, int set, int idx);
/* Compares what is in the queue, and what that leads to. */
void ml__walk_run(ml_walk *w);
/* What is new and stays refers to old tables where it referred to those in their place. */
void ml__walk_forward(ml_walk *w);
/* New functions get the old variables that are kept. */
void ml__walk_join(ml_walk *w);
/* Pushes the base that the walk has found. */
void ml__walk_base(lua_State *L);

#endif
