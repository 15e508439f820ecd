/* Values that the host holds: global names, tables, functions. */
#include "expect.h"

static captured out;

static void run(ml_engine *e, const char *source) {
  ml_task *t = load(e, source);
  expect_ok(ml_run(e));
  if (ml_task_error(t) != NULL) fprintf(stderr, "%s\n", ml_task_error(t)->message);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
}

static ml_value integer(int64_t i) { return (ml_value){.type = ML_INT, .u.i = i}; }
static ml_value string(const char *s) {
  return (ml_value){.type = ML_STRING, .u.str = {s, strlen(s), 0}};
}

static void globals(void) {
  ml_engine *e = captured_engine(&out);
  ml_value v = integer(7), got;
  expect_ok(ml_set(e, "game.level.number", &v));
  v = string("Ada");
  expect_ok(ml_set(e, "player", &v));
  run(e, "print(game.level.number, player) game.level.name = 'cave' game.on = true");
  expect(strcmp(out.text, "7\tAda\n") == 0);
  expect_ok(ml_get(e, "game.level.name", &got));
  expect(got.type == ML_STRING && strcmp(got.u.str.s, "cave") == 0);
  run(e, "game.level.name = nil collectgarbage()");
  expect(strcmp(got.u.str.s, "cave") == 0); /* kept */
  ml_value_free(e, &got);
  expect(got.type == ML_NIL);
  expect_ok(ml_get(e, "game.on", &got));
  expect(got.type == ML_BOOL && got.u.b == 1);
  expect_ok(ml_get(e, "game.level.none", &got));
  expect(got.type == ML_NIL);
  expect_ok(ml_get(e, "nothing.at.all", &got));
  expect(got.type == ML_NIL);
  expect(ml_set(e, "player.name", &v) == ML_EINVAL);
  expect(strstr(ml_last_error(e, NULL)->message,
                "'player.name' cannot be defined: 'player' is no table") != NULL);
  expect(ml_set(e, "no name", &v) == ML_EINVAL && ml_get(e, "a..b", &got) == ML_EINVAL);
  v = (ml_value){ML_NIL, {0}};
  expect_ok(ml_set(e, "player", &v));
  run(e, "assert(player == nil)");
  expect(ml_set(NULL, "x", &v) == ML_EINVAL && ml_get(e, "x", NULL) == ML_EINVAL);
  expect_ok(ml_close(e, 0));
}

static void tables(void) {
  ml_engine *e = captured_engine(&out);
  ml_value t, inner, v, key, got, nan = {.type = ML_FLOAT, .u.n = 0};
  size_t n;
  int64_t sum = 0;
  int pairs = 0;
  expect_ok(ml_table_new(e, &t));
  expect(t.type == ML_TABLE && strcmp(t.u.str.s, "table") == 0);
  for (int i = 1; i <= 3; i++) {
    key = integer(i), v = integer(i * 10);
    expect_ok(ml_table_set(e, &t, &key, &v));
  }
  expect_ok(ml_table_new(e, &inner));
  v = string("deep");
  expect_ok(ml_table_set_field(e, &inner, "name", &v));
  expect_ok(ml_table_set_field(e, &t, "inner", &inner));
  expect_ok(ml_set(e, "t", &t));
  run(e, "print(#t, t[3], t.inner.name) t[4] = 40 t.inner.self = t.inner");
  expect(strcmp(out.text, "3\t30\tdeep\n") == 0);
  expect_ok(ml_table_len(e, &t, &n));
  expect(n == 4);
  key = integer(4);
  expect_ok(ml_table_get(e, &t, &key, &got));
  expect(got.type == ML_INT && got.u.i == 40);
  expect_ok(ml_table_field(e, &inner, "self", &got)); /* the same table, another handle */
  expect(got.type == ML_TABLE);
  expect_ok(ml_table_field(e, &got, "name", &v));
  expect(strcmp(v.u.str.s, "deep") == 0);
  ml_value_free(e, &v);
  ml_value_free(e, &got);
  memset(&key, 0, sizeof key);
  while (ml_table_next(e, &t, &key, &v) > 0) {
    if (v.type == ML_INT) sum += v.u.i;
    pairs++;
    ml_value_free(e, &v);
  }
  expect(sum == 100 && pairs == 5 && key.type == ML_NIL);
  nan.u.n = nan.u.n / nan.u.n;
  expect(ml_table_set(e, &t, &nan, &key) == ML_EINVAL);
  expect(ml_table_set(e, &t, &key, &t) == ML_EINVAL); /* nil */
  expect(strstr(ml_last_error(e, NULL)->message, "nil cannot be a key") != NULL);
  key = string("unknown");
  expect(ml_table_next(e, &t, &key, &v) == ML_EINVAL);
  v = integer(1);
  expect(ml_table_get(e, &v, &key, &got) == ML_EINVAL);
  /* no metamethod runs */
  run(e, "setmetatable(t, {__index = error, __newindex = error, __len = error})");
  expect_ok(ml_table_field(e, &t, "missing", &got));
  expect(got.type == ML_NIL);
  expect_ok(ml_table_set_field(e, &t, "more", &v));
  /* the handle keeps it */
  run(e, "t = nil collectgarbage()");
  expect_ok(ml_table_len(e, &t, &n));
  expect(n == 4);
  ml_value_free(e, &t);
  ml_value_free(e, &inner);
  ml_value_free(e, &inner);
  expect_ok(ml_close(e, 0));
}

static void functions(void) {
  ml_engine *e = captured_engine(&out);
  ml_value f, slow, bad, args[2], res[3], text;
  const ml_value *v;
  ml_task *t;
  size_t n;
  run(e, "function add(a, b) return a + b, 'sum', {} end "
         "slow = async(function(x) await(require('asyncio').sleep(60)) return x end) "
         "function bad() error('oh no', 0) end "
         "thing = setmetatable({}, {__tostring = function() return 'a thing' end})");
  expect_ok(ml_get(e, "add", &f));
  expect_ok(ml_get(e, "slow", &slow));
  expect_ok(ml_get(e, "bad", &bad));
  expect(f.type == ML_FUNCTION && slow.type == ML_FUNCTION);
  run(e, "add, bad = nil collectgarbage()");
  args[0] = integer(3), args[1] = integer(4);
  expect(ml_call_value(e, &f, args, 2, res, 3) == 3);
  expect(res[0].u.i == 7 && strcmp(res[1].u.str.s, "sum") == 0 && res[2].type == ML_TABLE);
  for (int i = 0; i < 3; i++) ml_value_free(e, &res[i]);
  expect(ml_call_value(e, &f, args, 2, res, 1) == 1 && res[0].u.i == 7);
  expect(ml_call_value(e, &f, args, 2, NULL, 0) == 0);
  expect(ml_call_value(e, &bad, NULL, 0, NULL, 0) == ML_ESCRIPT);
  expect(strcmp(ml_last_error(e, NULL)->message, "oh no") == 0);
  expect(ml_call_value(e, &args[0], NULL, 0, NULL, 0) == ML_EINVAL);
  expect_ok(ml_spawn_value(e, &slow, args, 1, &t));
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 1 && v[0].u.i == 3);
  ml_task_release(t);
  expect(ml_spawn_value(e, &args[0], NULL, 0, &t) == ML_EINVAL && t == NULL);
  ml_value_free(e, &f), ml_value_free(e, &slow), ml_value_free(e, &bad);
  expect_ok(ml_get(e, "thing", &f));
  expect_ok(ml_tostring(e, &f, &text));
  expect(strcmp(text.u.str.s, "a thing") == 0);
  ml_value_free(e, &text);
  ml_value_free(e, &f);
  expect_ok(ml_close(e, 0));
}

/* Handles cross with calls: arguments, results, asynchronous results, tasks' results. */
static ml_value kept;

static int keep(ml_call *c, void *ud) {
  (void)ud;
  return ml_arg(c, 0, &kept);
}

static int later(ml_call *c, void *ud) {
  (void)ud;
  return ml_call_finish(c, 0, &kept, 1);
}

static int give(ml_call *c, void *ud) {
  (void)ud;
  return ml_return(c, &kept, 1);
}

static void crossing(void) {
  ml_engine *e = captured_engine(&out);
  ml_task *t;
  const ml_value *v;
  ml_value name;
  size_t n;
  expect_ok(ml_def(e, "keep", keep, NULL));
  expect_ok(ml_def(e, "give", give, NULL));
  expect_ok(ml_def_async(e, "later", later, NULL));
  t = load(e, "local a = {name = 'a'} keep(a) assert(give() == a) assert(await(later()) == a) "
              "return a, print");
  expect_ok(ml_run(e));
  expect_ok(ml_task_result(t, &v, &n));
  expect(n == 2 && v[0].type == ML_TABLE && v[1].type == ML_FUNCTION);
  expect_ok(ml_table_field(e, &v[0], "name", &name));
  expect(strcmp(name.u.str.s, "a") == 0);
  ml_value_free(e, &name);
  expect(ml_call_value(e, &v[1], &kept, 1, NULL, 0) == 0);
  expect(strncmp(out.text, "table: ", 7) == 0);
  ml_task_release(t);
  ml_value_free(e, &kept);
  run(e, "keep(coroutine.create(print)) assert(coroutine.status(give()) == 'suspended')");
  expect(kept.type == ML_OTHER && strncmp(kept.u.str.s, "thread: ", 8) == 0);
  /* never given back: goes with the engine */
  expect_ok(ml_close(e, 0));
}

int main(void) {
  globals();
  tables();
  functions();
  crossing();
  return 0;
}
