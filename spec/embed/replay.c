/* Engines with a seed do the same, side by side in one process, too. */
#include "expect.h"
#include <lauxlib.h>
#include <lua.h>
#include <uv.h>

static const char program[] =
    "local asyncio = require 'asyncio'\n"
    "local log = {}\n"
    "for i = 1, 20 do asyncio.create_task(function()\n"
    "  while true do\n"
    "    local dt, n = await(asyncio.next_frame())\n"
    "    local t = {}\n"
    "    for k = 1, 5 do t[{}], t['k' .. math.random(1000)] = k, -k end\n"
    "    for _, v in pairs(t) do print(i, n, dt, v) end\n"
    "    if math.random(3) == 1 then await(asyncio.sleep(math.random())) end\n"
    "  end\n"
    "end) end\n";

typedef struct trace {
  char *text;
  size_t n, cap;
} trace;

static void add(void *ud, const char *text, size_t n) {
  trace *t = ud;
  if (t->n + n > t->cap) {
    t->cap = 2 * (t->n + n);
    t->text = realloc(t->text, t->cap);
    expect(t->text != NULL);
  }
  memcpy(t->text + t->n, text, n);
  t->n += n;
}

static ml_engine *engine(uint64_t seed, trace *t) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.clock = ML_CLOCK_HOST;
  c.seed = seed;
  c.print = add;
  c.ud = t;
  expect_ok(ml_new(&c, &e));
  ml_task_release(load(e, program));
  return e;
}

static void frame(ml_engine *e, double dt) {
  expect_ok(ml_frame(e, dt));
  while (ml_step(e, 0) > 0) continue;
}

static void side_by_side(void) {
  trace t[3] = {{0}};
  ml_engine *a = engine(11, &t[0]), *b = engine(11, &t[1]), *c = engine(12, &t[2]);
  for (int i = 0; i < 100; i++) {
    double dt = i % 7 == 0 ? 0 : 0.01 * (i % 5); /* the input */
    frame(a, dt);
    frame(b, dt);
    frame(c, dt);
  }
  expect(t[0].n > 10000);
  expect(t[0].n == t[1].n && memcmp(t[0].text, t[1].text, t[0].n) == 0);
  expect(t[0].n != t[2].n || memcmp(t[0].text, t[2].text, t[0].n) != 0);
  expect_ok(ml_close(a, 0));
  expect_ok(ml_close(b, 0));
  expect_ok(ml_close(c, 0));
  for (int i = 0; i < 3; i++) free(t[i].text);
}

/* A host's allocator stays in use: strings and random numbers alone are alike. */
static size_t calls;
static void *counting(void *ud, void *p, size_t osize, size_t nsize) {
  (void)ud, (void)osize;
  calls++;
  if (nsize != 0) return realloc(p, nsize);
  free(p);
  return NULL;
}

static void with_allocator(void) {
  static const char *const script = "local t, s = {}, ''\n"
                                    "for i = 1, 50 do t['k' .. i] = i end\n"
                                    "for _, v in pairs(t) do s = s .. ' ' .. v end\n"
                                    "print(s, math.random(1 << 40))\n";
  captured out[2];
  for (int i = 0; i < 2; i++) {
    ml_engine *e;
    ml_config c;
    out[i].n = 0;
    ml_config_init(&c);
    c.alloc = counting;
    c.seed = 99;
    c.print = capture;
    c.ud = &out[i];
    expect_ok(ml_new(&c, &e));
    ml_task_release(load(e, script));
    expect_ok(ml_run(e));
    expect_ok(ml_close(e, 0));
  }
  expect(calls > 0);
  expect(out[0].n > 100 && strcmp(out[0].text, out[1].text) == 0);
}

/* A limit holds, and a state that the host has made has its seed already. */
static void limits(void) {
  ml_engine *e;
  ml_config c;
  lua_State *L = luaL_newstate();
  ml_config_init(&c);
  c.seed = 1;
  c.memory_limit = 4 << 20;
  expect_ok(ml_new(&c, &e));
  ml_task *t = load(e, "return ('x'):rep(1 << 24)");
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_FAILED);
  ml_task_release(t);
  expect_ok(ml_close(e, 0));
  c.memory_limit = 0;
  expect(ml_attach(L, &c, &e) == ML_EINVAL);
  lua_close(L);
}

int main(void) {
  side_by_side();
  with_allocator();
  limits();
  return 0;
}
