/* A limit on memory: an error for the script that would take more; the engine goes on. */
#include "expect.h"

int main(void) {
  ml_engine *e;
  ml_config c;
  ml_task *t;
  captured log = {"", 0};
  size_t before;
  ml_config_init(&c);
  c.log = capture;
  c.ud = &log;
  c.memory_limit = 1000;
  expect(ml_new(&c, &e) == ML_ELIMIT && e == NULL);
  c.memory_limit = 8 << 20;
  expect_ok(ml_new(&c, &e));
  before = ml_memory(e);
  expect(before > 0 && before < c.memory_limit);

  t = load(e, "local s = ('x'):rep(1e9)");
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_FAILED);
  expect(strstr(ml_task_error(t)->message, "not enough memory") != NULL);
  ml_task_release(t);

  t = load(e, "local t = {} for i = 1, 1e9 do t[i] = {i} end");
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_FAILED);
  ml_task_release(t);

  t = load(
      e,
      "local ok, err = pcall(function() local t = {} for i = 1, 1e9 do t[i] = 'n' .. i end end)\n"
      "assert(not ok)\n"
      "for i = 1, 200 do local s = ('y'):rep(1 << 20) end -- garbage is no harm\n"
      "await(require('asyncio').sleep(0))\n"
      "return err");
  expect_ok(ml_run(e));
  if (ml_task_status(t) != ML_DONE) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
  expect(ml_memory(e) <= c.memory_limit);
  expect_ok(ml_close(e, 0));
  return 0;
}
