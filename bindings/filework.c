/* The threads' part of File: reading, writing and the rest, on one descriptor. A thread
** touches the job's fields of ml_file, the buffer that it fills or empties, and
** nothing of Lua. What would wait for others answers UV_EAGAIN.
*/
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

/* The most that is written in one call. For more, file systems take large folios: cold memory, that
** costs a virtual machine up to three times as much as small ones that were in use before. */
#define STEP (64 * 1024)

static int last_error(void) { return uv_translate_sys_error(errno); }

/* All of n bytes, or up to the end; of what is no regular file, what there is. */
static ssize_t fill(ml_file *f) {
  size_t got = 0;
  while (got < f->n) {
    ssize_t rc = ml__fs_read(f->fd, f->next.base + got, f->n - got,
                             f->seekable ? f->a + (int64_t)got : -1);
    if (rc < 0) return got > 0 ? (ssize_t)got : rc;
    if (rc == 0) break;
    got += (size_t)rc;
    if (!f->regular) break;
  }
  return (ssize_t)got;
}

/* status: bytes written, and in b the error that ended it. Goes on behind f->put. */
static ssize_t write_out(ml_file *f, bool by_position) {
  f->b = 0;
  while (f->put < f->n) {
    size_t n = f->n - f->put < STEP ? f->n - f->put : STEP;
    ssize_t rc = ml__fs_write(f->fd, f->out.base + f->put, n,
                              by_position ? f->a + (int64_t)f->put : -1);
    if (rc == UV_EAGAIN && f->polled) return rc;
    if (rc < 0) {
      f->b = rc;
      if (f->put == 0) return rc;
      break;
    }
    f->put += (size_t)rc;
  }
  if ((f->flags & O_APPEND) && f->seekable) {
    off_t end = lseek(f->fd, 0, SEEK_CUR);
    f->a = end < 0 ? f->a : (int64_t)end;
  }
  return (ssize_t)f->put;
}

ssize_t ml__file_try(ml_file *f) {
  return f->kind == ML_FILE_FILLING ? fill(f) : write_out(f, false);
}

/* a: LOCK_SH or LOCK_EX or LOCK_UN; b: do not wait. UV_EAGAIN: others have it. */
static ssize_t lock(ml_file *f) {
  int rc;
  do rc = flock(f->fd, (int)f->a | LOCK_NB);
  while (rc < 0 && errno == EINTR);
  if (rc == 0) return 1;
  return f->b && errno == EWOULDBLOCK ? 0 : last_error();
}

static ssize_t stat_file(ml_file *f) {
  uv_fs_t r;
  int rc = uv_fs_fstat(NULL, &r, f->fd, NULL);
  f->st = r.statbuf;
  uv_fs_req_cleanup(&r);
  return rc;
}

static ssize_t other_work(ml_file *f) {
  struct timespec ts[2];
  int rc;
  switch (f->kind) {
  case ML_FILE_SEEK: {
    off_t end = lseek(f->fd, 0, SEEK_END);
    return end < 0 ? last_error() : (ssize_t)end;
  }
  case ML_FILE_TRUNCATE: rc = ftruncate(f->fd, (off_t)f->a); break;
  case ML_FILE_SYNC: rc = fsync(f->fd); break;
  case ML_FILE_DATASYNC: rc = fdatasync(f->fd); break;
  case ML_FILE_STAT: return stat_file(f);
  case ML_FILE_CHMOD: rc = fchmod(f->fd, (mode_t)f->a); break;
  case ML_FILE_UTIME:
    ts[0] = ml__fs_timespec(f->atime);
    ts[1] = ml__fs_timespec(f->mtime);
    rc = futimens(f->fd, ts);
    break;
  case ML_FILE_LOCK: return lock(f);
  default: /* ML_FILE_CLOSE */
    rc = close(f->fd);
    f->fd = -1;
    if (rc < 0 && errno == EINTR) rc = 0;
    break;
  }
  return rc < 0 ? last_error() : 0;
}

void ml__file_work(uv_work_t *w) {
  ml_file *f = ml__containerof(w, ml_file, work);
  switch (f->kind) {
  case ML_FILE_FILLING: f->status = fill(f); break;
  case ML_FILE_READ:
  case ML_FILE_READ_ALL: {
    size_t front = f->cur.len + f->next.len;
    f->status = ml__fs_gather(f->fd, f->a + (int64_t)front, f->n, front, &f->block, &f->cancelled);
    break;
  }
  case ML_FILE_PREAD:
    f->status = ml__fs_gather(f->fd, f->a, f->n, 0, &f->block, &f->cancelled);
    break;
  case ML_FILE_SPILL:
  case ML_FILE_WRITE: f->status = write_out(f, f->seekable && !(f->flags & O_APPEND)); break;
  case ML_FILE_PWRITE: f->status = write_out(f, true); break;
  default: f->status = other_work(f); break;
  }
}
