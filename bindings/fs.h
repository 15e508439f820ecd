/* What the units of fs.core share: jobs on libuv's threads, and open files.
**
** A job (ml_fsjob) is a block of its own, outside the Lua heap: it owns copies
** of its arguments and what the thread writes to, and outlives the operation
** that started it, the loop's tasks, and on a host's loop the engine too.
** Threads touch nothing but their job. None waits for others: what would block answers
** UV_EAGAIN, and the loop sends it again when it is worth a try.
*/
#ifndef ML_FS_H
#define ML_FS_H

#include "sandbox.h"

typedef struct ml_fs ml_fs;
typedef struct ml_fsjob ml_fsjob;
typedef struct ml_fsop ml_fsop;
typedef struct ml_file ml_file;
typedef struct ml_fswait ml_fswait;

/* The engine's part: one userdata in the registry. */
struct ml_fs {
  ml_engine *engine;
  ml_link jobs;  /* every ml_fsjob */
  ml_link files; /* every ml_file */
  ml_counter counter;
  size_t dirs;      /* folders that are open between two parts of a list */
  ml_link watchers; /* every handle on an inotify descriptor, see fswatch.c */
  void (*close_next)(lua_State *L, ml_evloop *l); /* what closed handles before */
};

ml_fs *ml__fs(lua_State *L);

/* One kind of operation on paths. */
typedef struct ml_fsclass {
  ml_opclass op;                          /* first */
  void (*run)(ml_fsjob *j);               /* on a thread: sets status */
  int (*push)(lua_State *L, ml_fsjob *j); /* pushes the results of status >= 0; protected */
  void (*undo)(ml_fsjob *j); /* on a thread: it succeeded, and nobody wants it; or NULL */
  bool (*answers)(lua_State *L, ml_fsjob *j); /* turns a failure into a result, or NULL */
  unsigned how, how_dest; /* ML_PATH_*: what it needs of path and dest; how 0: the operation's */
} ml_fsclass;

/* What a job that answered UV_EAGAIN waits for. */
typedef enum { ML_FSJOB_GOES, ML_FSJOB_READS, ML_FSJOB_TRIES } ml_fsjobwait;

struct ml_fsjob {
  uv_work_t work; /* first */
  ml_link link;
  ml_engine *engine; /* NULL: closed */
  ml_fs *fs;         /* this and the loop: as long as the engine is not closed */
  ml_evloop *loop;
  ml_fsop *op; /* NULL: cancelled */
  const ml_fsclass *cls;
  atomic_bool cancelled; /* for threads that work in steps */
  bool counted, undoing;
  bool has_dir;        /* dir came with it, and is one of fs->dirs */
  ml_sandbox *sandbox; /* NULL: none */
  ml_pathpin *pins;    /* in a sandbox, where path and dest are held; or NULL */
  unsigned how;
  signed char denied; /* 1: path, 2: dest is not allowed */
  ml_fsjobwait waits; /* READS: fd can be read; TRIES: some time */
  ml_fswait *wait;
  bool waiting; /* the loop waits; no thread has the job */
  unsigned tries;
  ssize_t status; /* >= 0, or UV_E* */
  /* what was asked */
  char *path, *dest; /* in `text`; in a sandbox, while it runs, those of the pins */
  int64_t a, b;
  double atime, mtime;
  union { /* what came */
    uv_stat_t st;
    uv_statfs_t statfs;
  } u;
  char *out;        /* malloc'd */
  size_t nout, got; /* got: bytes in out while more are waited for */
  void *dir;        /* DIR* */
  int fd;           /* -1: none; closed with the job */
  char text[];
};

/* User values: 1: path, 2: dest, 3: of the class. */
struct ml_fsop {
  ml_op op;
  ml_fsjob *job;
  int fd; /* the job gets a duplicate; -1: none */
  unsigned how;
  int64_t a, b;
  double atime, mtime;
  void **dir; /* what the job takes with it, or NULL; in user value 3 */
};

/* For ml_fsclass.op: starts the job on a thread; takes its outcome. */
int ml__fsop_begin(lua_State *L, ml_op *o);
int ml__fsop_wake(lua_State *L, ml_op *o);
void ml__fsop_cancel(ml_op *o);

/* Pushes a new operation on the path at idx, and on the one at dest (0: none). All that
** scripts do to paths passes here. In a sandbox the thread looks the paths up, and the job
** works on what was found. */
ml_fsop *ml__fsop_new(lua_State *L, const ml_fsclass *cls, int idx, int dest);

/* Pushes the OSError "CODE: text: what 'path' -> 'dest'" (path, dest: NULL: none). */
void ml__fs_error(lua_State *L, int status, const char *what, const char *path, const char *dest);
/* The path to show for one that run() has found: below the pinned one it is below the script's. */
const char *ml__fsjob_shown(lua_State *L, const ml_fsjob *j, const char *path);
/* "fs.open" -> "open" */
const char *ml__fs_verb(const char *name);
/* Pushes the table that fs.stat gives. */
void ml__fs_pushstat(lua_State *L, const uv_stat_t *st);
/* The argument as a time of a file, seconds since 1970. */
double ml__fs_checktime(lua_State *L, int idx, const char *fname);
struct timespec ml__fs_timespec(double t);
lua_Integer ml__fs_checkint(lua_State *L, int idx, const char *fname, const char *what);

/* ---- whole contents: blocks that become strings ---- */

/* Bytes in a malloc'd block, behind room for a string's head. */
typedef struct ml_block {
  char *base;
  size_t len, cap;
} ml_block;
#define ML_BLOCK_HEAD ML_STRING_HEAD

/* On a thread: reads from fd at `offset` (< 0: where it stands) at most n bytes, until the
** end. Leaves `front` bytes free before them; goes on behind b->len, if that is more. Status
** as a job's; UV_EAGAIN: b has what there was. */
ssize_t ml__fs_gather(int fd, int64_t offset, uint64_t n, size_t front, ml_block *b,
                      atomic_bool *cancelled);
/* Pushes the block's bytes as a string, which takes the block over if it can. Frees it
** in any case; protected calls only. */
void ml__fs_pushblock(lua_State *L, ml_block *b);

/* One read or write at `offset` (< 0: where it stands). UV_EAGAIN: it is not ready. */
ssize_t ml__fs_read(int fd, char *p, size_t n, int64_t offset);
ssize_t ml__fs_write(int fd, const char *p, size_t n, int64_t offset);

/* ---- waiting on the loop, see fswait.c ---- */

/* status < 0: UV_ECANCELED: the loop is closed, as is the wait; else of the descriptor, which
** is not polled any more: a try will tell. */
typedef void (*ml_fswait_cb)(void *owner, int status);

/* Tells whenever fd is ready for `events` (UV_READABLE, UV_WRITABLE), until it is stopped or
** closed. A wait that is in the slot is used again. UV_EPERM: it is always ready. */
int ml__fswait_poll(ml_fswait **slot, uv_loop_t *uv, int fd, int events, ml_fswait_cb ready,
                    void *owner);
void ml__fswait_stop(ml_fswait *w);
/* Tells once, when it is time for another try; the wait is closed by then. */
int ml__fswait_again(ml_fswait **slot, uv_loop_t *uv, unsigned tries, ml_fswait_cb ready,
                     void *owner);
void ml__fswait_close(ml_fswait **slot); /* no-op when the slot is empty */
bool ml__fswait_on(const ml_fswait *w, const uv_loop_t *uv);

/* ---- open files ---- */

/* Pushes a File of the descriptor, which it owns then. `flags`: of open(2). */
void ml__file_push(lua_State *L, int fd, int flags, const uv_stat_t *st, const char *path,
                   const char *mode);
void ml__files_orphan(ml_fs *fs, ml_evloop *l); /* NULL: of all loops */
void ml__watchers_close(ml_fs *fs, ml_evloop *l);

/* units' openers: add functions to the table on top */
void ml__open_fspaths(lua_State *L);
void ml__open_fswhole(lua_State *L);
void ml__open_file(lua_State *L);
void ml__open_fswatch(lua_State *L);
void ml__open_fsbelow(lua_State *L);
int ml__open_fs(lua_State *L); /* module fs.core */

#endif
