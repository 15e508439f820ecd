/* The host's functions call back into the engine, from wherever it calls them: what drives or
** ends it is refused, what adds to it works, or says why not. */
#include "expect.h"
#include <lua.h>

static ml_engine *the_engine;
static int poked[9], added;
enum { AT_FN, AT_ASYNC_FN, AT_CANCEL, AT_DONE, AT_PRINT, AT_LOG, AT_RESOLVE, AT_LOAD, AT_GARBAGE };

static int nothing(ml_call *c, void *ud) {
  (void)c;
  (void)ud;
  return 0;
}

static int count(ml_call *c, void *ud) {
  (void)c;
  (void)ud;
  added++;
  return 0;
}

/* What drives or ends the engine is refused wherever the engine runs. */
static void drive(ml_engine *e, int refusal) {
  ml_engine *other;
  int fd, timeout;
  expect(ml_step(e, 0) == ML_EBUSY);
  expect(ml_step(e, 1000) == ML_EBUSY);
  expect(ml_run(e) == ML_EBUSY);
  expect(ml_close(e, 0) == ML_EBUSY);
  expect(ml_close(e, 1000) == ML_EBUSY);
  expect(ml_poll_info(e, &fd, &timeout) == ML_EBUSY);
  expect(ml_main(e, "=x", "", 0, 0, NULL) == refusal);
  expect(ml_main_module(e, "string", 0, NULL) == refusal);
  expect(ml_main_file(e, "/dev/null", 0, NULL) == refusal);
  /* other engines are other engines, and any thread is this thread too */
  expect_ok(ml_new(NULL, &other));
  expect_ok(ml_load(other, "=other", "await(require('asyncio').sleep(0))", 34, NULL));
  expect_ok(ml_run(other));
  expect_ok(ml_close(other, 0));
  expect_ok(ml_wakeup(e));
  expect(ml_memory(e) > 0 && ml_alive(e) >= 0);
}

/* What adds to it: `refusal` 0 where that works. */
static void add(ml_engine *e, int refusal) {
  static const char source[] = "count() await(require('asyncio').sleep(0)) count()";
  ml_value v = {.type = ML_INT, .u.i = 7}, back;
  ml_buf b = {0};
  ml_task *t;
  double now;
  expect(ml_load(e, "=added", source, sizeof source - 1, NULL) == refusal);
  expect(ml_load(e, "=added", "await(require('asyncio').sleep(1e6))", 36, &t) == refusal);
  expect((t == NULL) == (refusal != 0));
  if (t != NULL) expect(ml_task_cancel(t, "at once") == 1);
  ml_task_release(t);
  expect(ml_spawn(e, "count", NULL, 0, NULL) == refusal);
  expect(ml_def(e, "added.later", nothing, NULL) == refusal);
  expect(ml_def_async(e, "added.later_still", nothing, NULL) == refusal);
  expect(ml_load(e, "=added", "=", 1, NULL) == (refusal != 0 ? refusal : ML_ESYNTAX));
  expect(ml_pack(e, &v, &b) == refusal);
  if (refusal == 0) {
    expect_ok(ml_unpack(e, b.data, b.len, &back));
    expect(back.type == ML_INT && back.u.i == 7);
    ml_value_free(e, &back);
  }
  ml_buf_free(&b);
  expect(ml_set(e, "added.value", &v) == refusal);
  expect(ml_get(e, "count", &back) == refusal);
  if (refusal == 0) ml_value_free(e, &back);
  expect(ml_reload(e, "no.such.module") == (refusal != 0 ? refusal : ML_EINVAL));
  if (refusal == 0) expect_ok(ml_time(e, &now));
}

static void poke(int where) {
  static int depth;
  if (the_engine == NULL || depth > 0) return; /* its own prints and logs */
  depth++;
  poked[where]++;
  drive(the_engine, ML_EBUSY);
  add(the_engine, where == AT_GARBAGE ? ML_EBUSY : 0);
  depth--;
}

/* ---- what the engine calls ---- */

static int fn(ml_call *c, void *ud) {
  ml_value v = {.type = ML_INT, .u.i = 1};
  (void)ud;
  poke(AT_FN);
  return ml_return(c, &v, 1);
}

static int async_fn(ml_call *c, void *ud) {
  (void)ud;
  poke(AT_ASYNC_FN);
  expect(ml_return(c, NULL, 0) == ML_EINVAL); /* that is for the other kind */
  return ml_call_finish(c, 0, NULL, 0);
}

/* Fails, after it has called back. */
static int failing(ml_call *c, void *ud) {
  (void)c;
  (void)ud;
  poke(AT_ASYNC_FN);
  return ML_ELIMIT;
}

static void cancelled(ml_call *c, void *ud) {
  (void)ud;
  poke(AT_CANCEL);
  expect_ok(ml_call_finish(c, 0, NULL, 0));
}

static int waiting(ml_call *c, void *ud) {
  (void)ud;
  return ml_call_on_cancel(c, cancelled, NULL);
}

static void done(ml_task *t, void *ud) {
  (void)ud;
  poke(AT_DONE);
  ml_task_release(t);
}

static void on_print(void *ud, const char *text, size_t n) {
  (void)ud;
  (void)text;
  (void)n;
  poke(AT_PRINT);
}

static void on_log(void *ud, const char *text, size_t n) {
  (void)ud;
  (void)n;
  poke(strstr(text, "was never awaited") != NULL ? AT_GARBAGE : AT_LOG);
}

static int on_resolve(void *ud, const char *name, ml_buf *out) {
  (void)ud;
  if (strncmp(name, "virtual", 7) != 0) return 0;
  poke(AT_RESOLVE);
  expect_ok(ml_buf_add(out, name, strlen(name)));
  return 1;
}

static int on_load(void *ud, const char *id, ml_buf *out) {
  (void)ud;
  (void)id;
  poke(AT_LOAD);
  expect_ok(ml_buf_add(out, "return 5", 8));
  return 1;
}

static ml_engine *engine(void) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.log = on_log;
  c.print = on_print;
  c.resolve = on_resolve;
  c.load = on_load;
  the_engine = NULL;
  expect_ok(ml_new(&c, &e));
  expect_ok(ml_def(e, "count", count, NULL));
  expect_ok(ml_def(e, "fn", fn, NULL));
  expect_ok(ml_def_async(e, "async_fn", async_fn, NULL));
  expect_ok(ml_def_async(e, "failing", failing, NULL));
  expect_ok(ml_def_async(e, "waiting", waiting, NULL));
  the_engine = e;
  memset(poked, 0, sizeof poked);
  added = 0;
  return e;
}

static const char script[] = "local asyncio = require 'asyncio'\n"
                             "assert(fn() == 1)\n"
                             "await(async_fn())\n"
                             "local ok, err = pcall(await, failing())\n"
                             "assert(not ok and tostring(err):find('a limit was reached'))\n"
                             "assert(coroutine.wrap(fn)() == 1)\n"
                             "assert(await(asyncio.gather(async(fn)(), async_fn()))[1] == 1)\n"
                             "table.sort({3, 1, 2}, function(a, b) fn() return a < b end)\n"
                             "setmetatable({}, {__gc = fn}) collectgarbage()\n"
                             "asyncio.get_event_loop():call_soon(fn)\n"
                             "assert(not pcall(await, asyncio.wait_for(waiting(), 0.001)))\n"
                             "print('text')\n"
                             "warn('@on') warn('a warning')\n"
                             "assert(require 'virtual' == 5)\n"
                             "do local never = asyncio.sleep(1) end collectgarbage()\n"
                             "await(asyncio.sleep(0.001))\n"
                             "return 'end'\n";

/* The same where no loop runs: inside the host's own calls. */
static void outside(void) {
  static const char source[] =
      "function by_lua() fn() coroutine.wrap(fn)() end\n"
      "text = setmetatable({}, {__tostring = function() fn() return 'text' end, __gc = fn})\n"
      "setmetatable(_G, {__index = function() fn() end})\n";
  ml_engine *e = engine();
  lua_State *L = ml_lua(e);
  ml_value f, out;
  ml_task *t;
  expect_ok(ml_load(e, "=outside", source, sizeof source - 1, NULL));
  expect_ok(ml_run(e));
  expect_ok(ml_get(e, "fn", &f));
  expect(ml_call_value(e, &f, NULL, 0, &out, 1) == 1 && poked[AT_FN] == 1);
  ml_value_free(e, &f);
  expect_ok(ml_get(e, "by_lua", &f));
  expect(ml_call_value(e, &f, NULL, 0, &out, 1) == 0 && poked[AT_FN] == 3);
  ml_value_free(e, &f);
  expect_ok(ml_get(e, "text", &f));
  expect_ok(ml_tostring(e, &f, &out));
  expect(strcmp(out.u.str.s, "text") == 0 && poked[AT_FN] == 4);
  ml_value_free(e, &f);
  ml_value_free(e, &out);
  expect(ml_spawn(e, "none", NULL, 0, NULL) == ML_EINVAL && poked[AT_FN] > 4);
  poked[AT_FN] = 0;
  lua_getglobal(L, "by_lua"); /* by Lua's own means */
  expect(lua_pcall(L, 0, 0, 0) == LUA_OK && poked[AT_FN] == 2);
  poked[AT_LOG] = 0;
  lua_gc(L, LUA_GCSTOP);
  for (int i = 0; i < 100; i++) { /* what collects garbage runs finalizers */
    expect_ok(ml_load(e, "=s", "warn('@on') setmetatable({}, {__gc = error})", 44, NULL));
    expect_ok(ml_run(e));
  }
  lua_gc(L, LUA_GCRESTART);
  for (int i = 0; i < 100000 && poked[AT_LOG] == 0; i++) {
    expect_ok(ml_table_new(e, &out));
    ml_value_free(e, &out);
  }
  expect(poked[AT_LOG] > 0);
  t = load(e, "await(waiting())");
  expect_ok(ml_step(e, 0));
  expect(ml_task_cancel(t, "by the host") == 1 && poked[AT_CANCEL] == 1);
  ml_task_release(t);
  expect_ok(ml_run(e));
  the_engine = NULL;
  expect_ok(ml_close(e, 0));
}

/* A host's function in C that Lua protects is no script. */
static int step_protected(lua_State *L) {
  ml_engine *e = lua_touserdata(L, 1);
  expect_ok(ml_load(e, "=s", "stepped = true", 14, NULL));
  expect_ok(ml_step(e, 0));
  expect_ok(ml_run(e));
  return 0;
}

static void protected(void) {
  ml_engine *e;
  expect_ok(ml_new(NULL, &e));
  lua_pushcfunction(ml_lua(e), step_protected);
  lua_pushlightuserdata(ml_lua(e), e);
  expect(lua_pcall(ml_lua(e), 1, 0, 0) == LUA_OK);
  lua_getglobal(ml_lua(e), "stepped");
  expect(lua_toboolean(ml_lua(e), -1));
  expect_ok(ml_close(e, 0));
}

int main(void) {
  ml_engine *e = engine();
  ml_task *t = load(e, script);
  expect_ok(ml_task_on_done(t, done, NULL));
  expect_ok(ml_run(e));
  for (int i = 0; i < 9; i++) expect(poked[i] > 0);
  expect(poked[AT_DONE] == 1 && added > 0);
  expect_ok(ml_close(e, 0));

  /* the same as a main program, whose awaits drive the loop */
  e = engine();
  expect_ok(ml_main(e, "=main", script, sizeof script - 1, 0, NULL));
  expect(poked[AT_FN] > 0 && poked[AT_CANCEL] > 0 && poked[AT_GARBAGE] > 0);
  expect_ok(ml_run(e));
  the_engine = NULL; /* closing is another matter: see closing.c, misuse.c */
  expect_ok(ml_close(e, 0));
  outside();
  protected();
  return 0;
}
