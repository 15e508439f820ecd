/* An engine on a loop that the host has, closed in the midst of what it does: it must leave
** nothing on the loop. For files.c and watches.c. */
#ifndef CLOSED_EARLY_H
#define CLOSED_EARLY_H

#include <unistd.h>
#include <uv.h>

#include "expect.h"

static inline void count_handle(uv_handle_t *h, void *arg) { (void)h, ++*(int *)arg; }

static inline void step_both(ml_engine *e, uv_loop_t *loop) {
  expect(ml_step(e, 0) >= 0);
  uv_run(loop, UV_RUN_NOWAIT);
}

static inline ml_engine *engine_on(uv_loop_t *loop, captured *logged) {
  ml_engine *e = NULL;
  ml_config c;
  ml_config_init(&c);
  c.loop = loop;
  c.log = capture;
  c.ud = logged;
  expect_ok(ml_new(&c, &e));
  return e;
}

static inline void close_early(ml_engine *e, uv_loop_t *loop, int steps) {
  int handles = 0;
  for (int i = 0; i < steps; i++) {
    step_both(e, loop);
    usleep(500);
  }
  expect_ok(ml_close(e, 0));
  uv_run(loop, UV_RUN_DEFAULT); /* what threads have still to give back */
  uv_walk(loop, count_handle, &handles);
  expect(handles == 0);
}

#endif
