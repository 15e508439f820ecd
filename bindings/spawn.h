/* Starting a program: what process.c asks for, and spawn.c does. No Lua here. */
#ifndef ML_SPAWN_H
#define ML_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A descriptor of the child's: `source` is ours, or -1 for the one of the same number,
** if there is one. */
typedef struct ml_childfd {
  int target, source;
} ml_childfd;

enum {
  ML_SPAWN_FORK,
  ML_SPAWN_FDS,
  ML_SPAWN_TTY,
  ML_SPAWN_GROUP,
  ML_SPAWN_CWD,
  ML_SPAWN_USER,
  ML_SPAWN_EXEC
};

typedef struct ml_spawning {
  char *const *paths; /* what to execute: tried in turn */
  char *const *argv, *const *envp;
  const char *cwd; /* or NULL */
  ml_childfd *fds; /* altered, perhaps */
  size_t nfds;     /* by target, rising; with 0, 1 and 2 */
  bool session;
  bool close_fds;
  int tty;       /* a descriptor of ours: the controlling terminal, or -1 */
  long group;    /* process group; 0: its own; -1: ours */
  long umask;    /* or -1 */
  long uid, gid; /* or -1 */
  const gid_t *groups;
  long ngroups; /* -1: as they are */
} ml_spawning;

/* 0, or a negative code of libuv's, and at which step (ML_SPAWN_*) in *stage. */
int ml__spawn(const ml_spawning *r, pid_t *pid, int *stage);

#endif
