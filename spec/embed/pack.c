/* ml_pack and ml_unpack: values from one engine to another, and bytes that are none. */
#include "expect.h"

static const ml_value *result(ml_engine *e, const char *source, ml_task **t) {
  const ml_value *v;
  size_t n;
  *t = load(e, source);
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(*t, &v, &n));
  expect(n == 1);
  return v;
}

static void plain(ml_engine *e) {
  ml_value in = {.type = ML_INT, .u.i = -5}, out;
  ml_buf b = {0};
  expect_ok(ml_pack(e, &in, &b));
  expect_ok(ml_unpack(e, b.data, b.len, &out));
  expect(out.type == ML_INT && out.u.i == -5);
  ml_value_free(e, &out);
  b.len = 0;
  in.type = ML_STRING;
  in.u.str.s = "a\0b";
  in.u.str.len = 3;
  expect_ok(ml_pack(e, &in, &b));
  expect_ok(ml_unpack(e, b.data, b.len, &out));
  expect(out.type == ML_STRING && out.u.str.len == 3 && memcmp(out.u.str.s, "a\0b", 4) == 0);
  ml_value_free(e, &out);
  for (size_t i = 0; i < b.len; i++) {
    expect(ml_unpack(e, b.data, i, &out) == ML_EINVAL);
    expect(out.type == ML_NIL);
  }
  ml_buf_free(&b);
  expect(b.data == NULL && b.len == 0);
  ml_buf_free(&b);
}

static void tables(ml_engine *from, ml_engine *to) {
  ml_task *t, *u;
  ml_value out, again;
  ml_buf b = {0};
  const ml_value *v = result(
      from, "local t = setmetatable({}, nil); t.self, t.list = t, {1, 2, 3}; return t", &t);
  expect(v->type == ML_TABLE);
  expect_ok(ml_pack(from, v, &b));
  expect_ok(ml_unpack(to, b.data, b.len, &out));
  expect(out.type == ML_TABLE);
  b.len = 0;
  expect_ok(ml_pack(to, &out, &b));
  expect_ok(ml_unpack(from, b.data, b.len, &again));
  ml_value_free(from, &again);
  ml_value_free(to, &out);
  ml_value_free(to, &out);
  b.len = 0;
  v = result(from, "return {a = {b = {1, 2, coroutine.create(print)}}}", &u);
  expect(ml_pack(from, v, &b) == ML_EINVAL);
  expect(b.len == 0);
  expect(strstr(ml_last_error(from, NULL)->message, "cannot copy field 'a.b[3]' (thread)") != NULL);
  ml_task_release(t);
  ml_task_release(u);
  ml_buf_free(&b);
}

int main(void) {
  ml_config c;
  ml_engine *a, *b;
  ml_value v = {0};
  ml_buf buf = {0};
  ml_config_init(&c);
  expect_ok(ml_new(&c, &a));
  expect_ok(ml_new(&c, &b));
  plain(a);
  tables(a, b);
  expect(ml_pack(NULL, &v, &buf) == ML_EINVAL && ml_pack(a, NULL, &buf) == ML_EINVAL);
  expect(ml_pack(a, &v, NULL) == ML_EINVAL && ml_unpack(a, NULL, 0, &v) == ML_EINVAL);
  expect(ml_unpack(a, "x", 1, NULL) == ML_EINVAL);
  ml_buf_free(NULL);
  ml_value_free(a, NULL);
  expect_ok(ml_close(a, 0));
  expect_ok(ml_close(b, 0));
  return 0;
}
