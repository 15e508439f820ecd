/* What the standard streams share: a descriptor of the process, watched or
** worked on without ever altering it for the others who have it.
**
** Pipes and terminals are opened anew (by /proc/self/fd), so that they can be
** non-blocking for us alone; what cannot be is polled, and then asked for no
** more than it has. Files go to libuv's threads, one operation at a time.
**
** None of it belongs to a loop: it moves to the one that runs when it is used.
*/
#ifndef ML_STDIO_H
#define ML_STDIO_H

#include <sys/stat.h>

#include "stream.h"

typedef struct ml_stdfd ml_stdfd;

struct ml_stdfd {
  ml_engine *engine;
  int number; /* 0, 1, 2: standard input, output, error */
  int fd;     /* ours, or -1: not open */
  bool pollable, tty, socket, regular;
  bool shared; /* it blocks: the open file is others' too */
  dev_t dev;
  ino_t ino;
  struct stdpoll *poll; /* or NULL */
  struct stdwork *work; /* under way in a thread, or NULL */
  /* It can be read or written, or status says why not. */
  void (*ready)(ml_stdfd *f, int status);
  /* A thread has read n bytes, or written them; or UV_E*. */
  void (*done)(ml_stdfd *f, const char *p, ssize_t n);
};

/* The pipe or terminal opened anew, non-blocking for us alone; -1: it cannot be. */
int ml__fd_reopen(int fd, const struct stat *st, bool writes);
bool ml__fd_pollable(int fd);
/* Opens it for number; 0 or UV_E*. */
int ml__stdfd_open(ml_stdfd *f);
void ml__stdfd_close(ml_stdfd *f);
/* UV_READABLE or UV_WRITABLE: `ready` is called on the loop; 0: no more. */
int ml__stdfd_watch(ml_stdfd *f, ml_evloop *loop, int events);
/* Reads n bytes, or writes those at p, in a thread of the loop; then `done`. */
int ml__stdfd_start(ml_stdfd *f, ml_evloop *loop, const char *p, size_t n);
/* Waits for what a thread is doing, if it has begun, and calls `done`. */
void ml__stdfd_settle(ml_stdfd *f);
/* At once: bytes, 0 at the end, UV_EAGAIN, or why not. */
ssize_t ml__stdfd_read(ml_stdfd *f, char *p, size_t n);
ssize_t ml__stdfd_write(ml_stdfd *f, const char *p, size_t n);
/* Blocks until it can be written; false: interrupted. */
bool ml__stdfd_wait(const ml_stdfd *f);
/* The loop that runs, or the current one; NULL if there can be none. */
ml_evloop *ml__stdfd_loop(ml_engine *e);
/* "<stdin>", "<stdout>", "<stderr>" */
const char *ml__stdfd_name(const ml_stdfd *f);

/* That of standard input, output, error; NULL before its first use. */
ml_stdfd *ml__stdin_fd(lua_State *L);
ml_stdfd *ml__stdout_fd(lua_State *L, int number);

void ml__stdin_open(lua_State *L);  /* adds to the table on top: stdin */
void ml__stdout_open(lua_State *L); /* stdout, stderr */

#endif
