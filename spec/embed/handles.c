/* Handles that are none, were given back or are another engine's are answered with a code; what
** is given back twice harms nobody else. */
#include "expect.h"

static const ml_value one = {.type = ML_INT, .u.i = 1};

/* Everything that takes a handle; `code` is what tables get, or 1 for whatever. */
static void use(ml_engine *e, const ml_value *v, int code) {
  ml_value out, key = {.type = ML_NIL}, copy = *v, good;
  ml_buf b = {NULL, 0, 0};
  size_t n;
  int rc[5];
  rc[0] = ml_table_get(e, v, &one, &out);
  ml_value_free(e, &out);
  rc[1] = ml_table_set(e, v, &one, &one);
  rc[2] = ml_table_field(e, v, "x", &out);
  ml_value_free(e, &out);
  rc[3] = ml_table_len(e, v, &n);
  rc[4] = ml_table_next(e, v, &key, &out);
  ml_value_free(e, &key);
  ml_value_free(e, &out);
  for (int i = 0; code <= 0 && i < 5; i++) expect(rc[i] == code);
  expect(ml_tostring(e, v, &out) <= 0);
  ml_value_free(e, &out);
  expect(ml_call_value(e, v, NULL, 0, &out, 1) < 0);
  expect(ml_spawn_value(e, v, NULL, 0, NULL) < 0);
  if (ml_pack(e, v, &b) < 0) expect(b.data == NULL);
  ml_buf_free(&b);
  expect_ok(ml_set(e, "global", v));
  expect_ok(ml_table_new(e, &good));
  ml_table_set(e, &good, v, &one);
  ml_table_set(e, &good, &one, v);
  ml_table_next(e, &good, &copy, &out);
  ml_value_free(e, &copy);
  ml_value_free(e, &out);
  ml_value_free(e, &good);
}

static void none(ml_engine *e) {
  static const ml_value values[] = {
      {.type = ML_TABLE},
      {.type = ML_TABLE, .u.str = {"table", 5, 7777}},
      {.type = ML_TABLE, .u.str = {"table", 5, -5}},
      {.type = ML_OTHER},
      {.type = ML_OTHER, .u.str = {"thread", 6, 99}},
      {.type = ML_FUNCTION},
      {.type = (ml_type)77},
      {.type = ML_USERDATA},
      {.type = ML_STRING},
  };
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) use(e, &values[i], ML_EINVAL);
}

static void given_back(ml_engine *e) {
  ml_value t, u, again;
  ml_task *task;
  const ml_value *v;
  size_t n;
  for (int i = 0; i < 40; i++) {
    expect_ok(ml_table_new(e, &t));
    again = t;
    ml_value_free(e, &t);
    use(e, &again, ML_EINVAL);
    for (int j = 0; j < 3; j++) {
      ml_value copy = again;
      ml_value_free(e, &copy);
    }
  }
  expect_ok(ml_table_new(e, &t));
  expect_ok(ml_table_new(e, &u));
  expect_ok(ml_table_set_field(e, &t, "x", &one)); /* two tables */
  expect_ok(ml_table_field(e, &u, "x", &again));
  expect(again.type == ML_NIL);
  task = load(e, "return {1}, {2}, print");
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(task, &v, &n));
  expect(n == 3);
  for (size_t i = 0; i < n; i++) { /* copies of what goes with the task */
    again = v[i];
    ml_value_free(e, &again);
  }
  ml_task_release(task);
  ml_value_free(e, &t);
  ml_value_free(e, &u);
}

static void of_another(ml_engine *e) {
  ml_engine *other;
  ml_value tables[8];
  expect_ok(ml_new(NULL, &other));
  expect_ok(ml_load(other, "=s", "await(require('asyncio').sleep(100))", 36, NULL));
  expect_ok(ml_step(other, 0));
  for (int i = 0; i < 8; i++) expect_ok(ml_table_new(e, &tables[i]));
  for (int i = 0; i < 8; i++) use(other, &tables[i], 1);
  expect_ok(ml_close(other, 0));
  for (int i = 0; i < 8; i++) ml_value_free(e, &tables[i]);
}

/* ---- strings of no length, of which C++ may have no pointer ---- */

static int give(ml_call *c, void *ud) {
  ml_value v = {.type = ML_STRING};
  (void)ud;
  return ml_return(c, &v, 1);
}

static int give_later(ml_call *c, void *ud) {
  ml_value v[8] = {{.type = ML_STRING}, {.type = ML_STRING}};
  (void)ud;
  return ml_call_finish(c, 0, v, 8);
}

static void empty(ml_engine *e) {
  ml_value v = {.type = ML_STRING}, back;
  ml_buf b = {NULL, 0, 0};
  ml_task *t;
  expect_ok(ml_def(e, "give", give, NULL));
  expect_ok(ml_def_async(e, "give_later", give_later, NULL));
  t = load(e, "assert(give() == '' and await(give_later()) == '')");
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
  expect_ok(ml_buf_add(&b, NULL, 0));
  expect_ok(ml_pack(e, &v, &b));
  expect_ok(ml_unpack(e, b.data, b.len, &back));
  expect(back.type == ML_STRING && back.u.str.len == 0);
  ml_value_free(e, &back);
  ml_buf_free(&b);
}

int main(void) {
  ml_engine *e;
  expect_ok(ml_new(NULL, &e));
  none(e);
  given_back(e);
  of_another(e);
  empty(e);
  expect_ok(ml_close(e, 0));
  return 0;
}
