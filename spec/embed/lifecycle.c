/* Engines come and go without a trace, in any state, many at a time. */
#include "expect.h"

static void thousand_times(void) {
  for (int i = 0; i < 1000; i++) {
    ml_config c;
    ml_engine *e = NULL;
    ml_config_init(&c);
    expect_ok(ml_new(&c, &e));
    expect(e != NULL);
    expect_ok(ml_close(e, 100));
  }
}

static void defaults(void) {
  ml_engine *e = NULL;
  ml_config c;
  ml_config_init(&c);
  expect(c.size == sizeof c);
  expect_ok(ml_new(&c, &e));
  expect(ml_lua(e) != NULL && ml_loop(e) != NULL);
  expect(ml_alive(e) == 0);
  expect_ok(ml_close(e, 0));
  expect_ok(ml_close(NULL, 0));
  expect(ml_new(&c, NULL) == ML_EINVAL);
  expect(ml_version() == ML_VERSION_MAJOR * 10000 + ML_VERSION_MINOR * 100 + ML_VERSION_PATCH);
}

/* Closing cancels what runs: clean-up is run, and may await. */
static void close_cleans_up(void) {
  static captured out;
  ml_config c;
  ml_engine *e;
  ml_config_init(&c);
  c.print = capture;
  c.ud = &out;
  expect_ok(ml_new(&c, &e));
  ml_task_release(load(e, "local asyncio = require 'asyncio'\n"
                          "local guard <close> = setmetatable({}, {__close = function()\n"
                          "  await(asyncio.sleep(0.001))\n"
                          "  print('cleaned up')\n"
                          "end})\n"
                          "await(asyncio.sleep(3600))\n"));
  expect(ml_step(e, 0) >= 0);
  expect(ml_step(e, 0) >= 0);
  expect(ml_alive(e) == 1);
  expect_ok(ml_close(e, 2000));
  expect(strcmp(out.text, "cleaned up\n") == 0);
}

static void side_by_side(void) {
  enum { N = 20 };
  ml_engine *e[N];
  ml_task *t[N];
  ml_config c;
  ml_config_init(&c);
  for (int i = 0; i < N; i++) {
    expect_ok(ml_new(&c, &e[i]));
    t[i] = load(e[i], "n = (n or 0) + 1; await(require('asyncio').sleep(0.001)); return n");
  }
  for (int i = N - 1; i >= 0; i--) {
    const ml_value *v;
    size_t n;
    expect_ok(ml_run(e[i]));
    expect(ml_task_status(t[i]) == ML_DONE);
    expect_ok(ml_task_result(t[i], &v, &n));
    expect(n == 1 && v[0].type == ML_INT && v[0].u.i == 1);
    ml_task_release(t[i]);
  }
  for (int i = 0; i < N; i++) expect_ok(ml_close(e[i], 100));
}

int main(void) {
  defaults();
  close_cleans_up();
  side_by_side();
  thousand_times();
  return 0;
}
