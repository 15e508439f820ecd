/* File: an open file, whose operations are done one after the other in the order in which
** they were awaited, each on a thread.
**
** The descriptor, the buffers and what a thread works on are in ml_file, a block of its
** own that outlives its userdata until the thread is done. No thread waits: pipes and
** terminals are polled by the loop, and locks tried for again by a timer. Of the operations in
** f->ops the first is the one that acts; at most one job is under way (f->busy), and it
** may belong to nobody: reading ahead, or left behind by a cancelled operation. What
** it reads stays in the buffers, so that a cancelled read loses nothing.
**
** pos is where the next read begins: buffered bytes are those at [pos, pos + cur.len)
** and, behind them, next. A regular file is read and written by position, everything
** else as it stands.
*/
#ifndef ML_FILE_H
#define ML_FILE_H

#include "fs.h"
#include "stream.h"

typedef enum {
  ML_FILE_READ,
  ML_FILE_READ_ALL,
  ML_FILE_LINE,
  ML_FILE_WRITE,
  ML_FILE_SEEK,
  ML_FILE_PREAD,
  ML_FILE_PWRITE,
  ML_FILE_TRUNCATE,
  ML_FILE_SYNC,
  ML_FILE_DATASYNC,
  ML_FILE_STAT,
  ML_FILE_CHMOD,
  ML_FILE_UTIME,
  ML_FILE_LOCK,
  ML_FILE_CLOSE,
  ML_FILE_SPILL,  /* as an operation it is over when its job has begun, which belongs to nobody */
  ML_FILE_FILLING /* no operation: a job that reads into `next` */
} ml_filekind;

typedef struct ml_filebuf {
  char *base;
  size_t start, len, cap;
} ml_filebuf;

struct ml_file {
  uv_work_t work;               /* first */
  ml_link link;                 /* in fs->files */
  ml_engine *engine;            /* NULL: closed */
  struct ml_fileobject *object; /* NULL: collected */
  ml_evloop *loop;              /* of the job under way */
  ml_link ops;                  /* ml_fileop, in order */
  int fd, flags;
  bool busy;     /* a job is under way */
  bool seekable; /* a regular file or the like: read by position */
  bool polled;   /* a pipe or terminal: read and written on the loop when it is ready */
  bool waiting;  /* the job under way is not a thread's: see wait and retry */
  bool regular, closing, closed;
  bool eof;      /* the last fill met the end */
  uint8_t fills; /* in sequence */
  int64_t pos;
  ml_filebuf cur, next, out; /* out: bytes to be written */
  ml_filebuf in;             /* what _receive and _add have put there; _spill has it written */
  int spilled;               /* 0, or what became of that: UV_E* */
  ml_block block;            /* what ML_FILE_READ_ALL and ML_FILE_PREAD have read */
  char *path;
  /* the job */
  ml_fswait *wait;  /* of a polled file: made once */
  ml_fswait *retry; /* of a lock that others have */
  unsigned tries;
  atomic_bool cancelled;
  ml_filekind kind;
  int64_t a, b;
  double atime, mtime;
  size_t n, put; /* put: bytes written of n */
  ssize_t status;
  uv_stat_t st;
};

/* User values: 1: the File; 2: what is to be written. */
typedef struct ml_fileop {
  ml_op op; /* obj.n: not 0 while it is handed out and not done */
  ml_link link;
  ml_file *f;
  ml_filekind kind;
  bool worked; /* its job is under way or done */
  int64_t a, b;
  double atime, mtime;
  size_t done; /* bytes written; ML_FILE_LINE: searched */
} ml_fileop;

/* User values: 1: the operation made last; 2: path; 3: mode. */
typedef struct ml_fileobject {
  ml_intake intake; /* first */
  ml_file *f;
} ml_fileobject;

/* On a thread: what f->kind says. */
void ml__file_work(uv_work_t *w);
/* On the loop: reads or writes what a polled file takes. Status as a job's. */
ssize_t ml__file_try(ml_file *f);
/* Nobody waits for the job under way any more, which is `waiting`. */
void ml__file_withdraw(ml_file *f);
/* Memory for what f->in lacks; false: there is none. */
bool ml__file_intake(ml_file *f);
extern const luaL_Reg ml__file_spilling[]; /* methods */
void ml__file_prepare(ml_fileobject *o);
/* Closes the descriptor if it is open, and frees all. Nothing is under way. */
void ml__file_destroy(ml_file *f);
extern const ml_opclass ml__file_classes[]; /* by ml_filekind */

#endif
