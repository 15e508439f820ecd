/* What host programs of spec/embed share: a check that says where it failed. */
#ifndef EXPECT_H
#define EXPECT_H

#include <moonloop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define expect(cond)                                                     \
  do {                                                                   \
    if (!(cond)) {                                                       \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
      exit(1);                                                           \
    }                                                                    \
  } while (0)

/* expect_ok(call): says which code and what it means. */
#define expect_ok(call)                                                            \
  do {                                                                             \
    int code_ = (call);                                                            \
    if (code_ < 0) {                                                               \
      fprintf(stderr, "%s:%d: %s gave %d: %s\n", __FILE__, __LINE__, #call, code_, \
              ml_strerror(code_));                                                 \
      exit(1);                                                                     \
    }                                                                              \
  } while (0)

/* ThreadSanitizer holds signals back until a system call, and a script that computes makes none. */
#ifdef __SANITIZE_THREAD__
#define HELD_BACK 1
#else
#define HELD_BACK 0
#endif

/* What an engine logged or printed, with a NUL at the end. */
typedef struct captured {
  char text[8192];
  size_t n;
} captured;

static inline void capture(void *ud, const char *text, size_t n) {
  captured *c = (captured *)ud;
  if (n > sizeof c->text - 1 - c->n) n = sizeof c->text - 1 - c->n;
  memcpy(c->text + c->n, text, n);
  c->n += n;
  c->text[c->n] = '\0';
}

/* An engine on a virtual clock that prints to *out, which is emptied. */
static inline ml_engine *captured_engine(captured *out) {
  ml_engine *e = NULL;
  ml_config c;
  ml_config_init(&c);
  c.clock = ML_CLOCK_VIRTUAL;
  c.print = capture;
  c.ud = out;
  out->n = 0;
  out->text[0] = '\0';
  expect_ok(ml_new(&c, &e));
  return e;
}

/* Loads a script as a task. */
static inline ml_task *load(ml_engine *e, const char *source) {
  ml_task *t = NULL;
  expect_ok(ml_load(e, "=script", source, strlen(source), &t));
  expect(t != NULL);
  return t;
}

#endif
