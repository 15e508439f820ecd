/* An engine in a state that the host has made: what is the host's stays so. */
#include "expect.h"
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static captured out, logged;

static void to_log(void *ud, const char *text, size_t n) { (void)ud, capture(&logged, text, n); }

/* The host's own allocator: it checks that blocks come back as they went out. */
typedef struct pool {
  size_t used, blocks;
} pool;

static void *pool_alloc(void *ud, void *p, size_t osize, size_t nsize) {
  pool *o = ud;
  size_t *head = p != NULL ? (size_t *)p - 2 : NULL;
  if (head != NULL) expect(*head == osize);
  if (nsize == 0) {
    if (head != NULL) o->used -= osize, o->blocks--;
    free(head);
    return NULL;
  }
  head = realloc(head, nsize + 2 * sizeof *head);
  if (head == NULL) return NULL;
  if (p == NULL) o->blocks++, osize = 0;
  o->used += nsize - osize;
  *head = nsize;
  return head + 2;
}

static void config_init(ml_config *c) {
  ml_config_init(c);
  c->clock = ML_CLOCK_VIRTUAL;
  c->log = to_log;
  c->print = capture;
  c->ud = &out;
  out.n = logged.n = 0;
  out.text[0] = logged.text[0] = '\0';
}

static ml_engine *attach(lua_State *L) {
  ml_config c;
  ml_engine *e = NULL;
  config_init(&c);
  expect_ok(ml_attach(L, &c, &e));
  return e;
}

static void run(lua_State *L, const char *source) {
  if (luaL_loadbuffer(L, source, strlen(source), "=host") != LUA_OK ||
      lua_pcall(L, 0, 0, 0) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
  }
}

static void says(const char *text) {
  if (strcmp(out.text, text) != 0) fprintf(stderr, "printed: %s\n", out.text);
  expect(strcmp(out.text, text) == 0);
  out.n = 0;
  out.text[0] = '\0';
}

#define SNAPSHOT                                                                             \
  "local t = {} "                                                                            \
  "local function copy(name, x) for k, v in pairs(x) do t[name .. tostring(k)] = v end end " \
  "copy('', _G) copy('c.', coroutine) copy('d.', debug) copy('l.', package.loaded) "         \
  "copy('p.', package.preload) copy('s.', package.searchers) "

/* Globals, modules, references, extra space, allocator: all as they were after ml_close. */
static void leaves_no_trace(void) {
  pool o = {0, 0};
  lua_State *L = lua_newstate(pool_alloc, &o);
  ml_engine *e;
  ml_task *t;
  void *ud;
  int refs[40], mark;
  luaL_openlibs(L);
  *(void **)lua_getextraspace(L) = &mark;
  for (int i = 0; i < 40; i++) {
    lua_pushfstring(L, "mine %d", i);
    refs[i] = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  run(L, "BEFORE = (function() " SNAPSHOT " return t end)()");
  e = attach(L);
  expect(ml_lua(e) == L);
  t = load(e, "local asyncio = require 'asyncio' "
              "local a, b = table.unpack(await(asyncio.gather(asyncio.sleep(2, 'a'), "
              "asyncio.sleep(1, 'b')))) "
              "print(a, b, coroutine.wrap(function() return await(asyncio.sleep(1, 'c')) end)()) "
              "print(pcall(function() error('oh', 0) end))");
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_DONE);
  says("a\tb\tc\nfalse\toh\n");
  ml_task_release(t);
  expect(*(void **)lua_getextraspace(L) == &mark);
  for (int i = 0; i < 40; i++) {
    char want[20];
    snprintf(want, sizeof want, "mine %d", i);
    lua_rawgeti(L, LUA_REGISTRYINDEX, refs[i]);
    expect(strcmp(lua_tostring(L, -1), want) == 0);
    lua_pop(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, refs[i]);
  }
  lua_pushliteral(L, "later");
  refs[0] = luaL_ref(L, LUA_REGISTRYINDEX);
  expect(refs[0] < 1000);
  expect_ok(ml_close(e, 0));
  expect(ml_close(e, 0) == ML_ECLOSED);
  expect(lua_getallocf(L, &ud) == pool_alloc && ud == &o);
  expect(*(void **)lua_getextraspace(L) == &mark);
  run(L, "local was = BEFORE BEFORE = nil " SNAPSHOT
         "for k, v in pairs(t) do assert(was[k] == v or k == 'BEFORE', 'new: ' .. k) end "
         "for k, v in pairs(was) do assert(t[k] == v or k == 'BEFORE', 'gone: ' .. k) end "
         "assert(coroutine.wrap(function() coroutine.yield(1) end)() == 1)");
  lua_rawgeti(L, LUA_REGISTRYINDEX, refs[0]);
  expect(strcmp(lua_tostring(L, -1), "later") == 0);
  lua_close(L);
  expect(o.used == 0 && o.blocks == 0);
}

/* Scripts may hold what is the engine's longer than the engine lives. */
static void what_scripts_keep(void) {
  lua_State *L = luaL_newstate();
  ml_engine *e;
  luaL_openlibs(L);
  e = attach(L);
  run(L, "asyncio = require 'asyncio' lock = asyncio.Lock() future "
         "= asyncio.Future() "
         "kept = asyncio.sleep(1) task = asyncio.create_task(asyncio.sleep(5)) "
         "local closed <close> = setmetatable({}, {__close = function() end}) "
         "await2 = await pending = asyncio.create_task(function() local x <close> = "
         "setmetatable({}, {__close = "
         "function() "
         "  await(asyncio.sleep(0)) cleaned = true end}) await(asyncio.sleep(100)) end) "
         "await(asyncio.sleep(1))");
  expect_ok(ml_close(e, 100));
  run(L, "assert(cleaned) assert(pending:cancelled() and task:cancelled()) "
         "assert(not pcall(asyncio.await, kept)) assert(not pcall(function() "
         "asyncio.run(function() end) end)) "
         "assert(not pcall(function() await2(asyncio.sleep(0)) end)) assert(not pcall(function() "
         "asyncio.create_task(asyncio.sleep(1)) end)) "
         "assert(tostring(lock) and tostring(future) and tostring(task)) "
         "assert(await == nil and async == nil) "
         "kept:close() collectgarbage() collectgarbage()");
  lua_close(L);
}

/* One engine at a time; then another one, with its own configuration. */
static void once_more(void) {
  lua_State *L = luaL_newstate();
  ml_engine *e, *other;
  ml_config c;
  luaL_openlibs(L);
  e = attach(L);
  expect(ml_attach(L, NULL, &other) == ML_EINVAL && other == NULL);
  run(L, "first = require 'asyncio' print(await(first.sleep(1, 'first')))");
  says("first\n");
  expect_ok(ml_close(e, 0));
  config_init(&c);
  expect_ok(ml_attach(L, &c, &e));
  run(L, "print(await(require('asyncio').sleep(1, 'second')), await(first.sleep(1, 'too')))");
  says("second\ttoo\n");
  expect_ok(ml_close(e, 0));
  lua_close(L);
  expect_ok(ml_new(NULL, &e));
  expect(ml_attach(ml_lua(e), NULL, &other) == ML_EINVAL);
  expect_ok(ml_close(e, 0));
  expect(ml_attach(NULL, NULL, &other) == ML_EINVAL);
}

/* lua_close without ml_close: clean-up runs, the engine's end is told. */
static int never_run(ml_call *c, void *ud) {
  (void)c, (void)ud;
  abort();
}

static void functions_after_close(void) {
  lua_State *L = luaL_newstate();
  ml_engine *e;
  luaL_openlibs(L);
  e = attach(L);
  expect_ok(ml_def(e, "host.fn", never_run, NULL));
  run(L, "KEPT = host.fn");
  expect_ok(ml_close(e, 0));
  run(L, "local ok, e = pcall(KEPT) assert(not ok)"
         "assert(tostring(e):find('host.fn: the engine is closed', 1, true), tostring(e))");
  lua_close(L);
}

static void state_closed_first(void) {
  pool o = {0, 0};
  lua_State *L = lua_newstate(pool_alloc, &o);
  ml_engine *e;
  ml_task *t;
  luaL_openlibs(L);
  e = attach(L);
  run(L, "local asyncio = require 'asyncio' "
         "local function body() local x <close> = setmetatable({}, {__close = function() "
         "  await(asyncio.sleep(0)) print 'cleaned' end}) await(asyncio.sleep(100)) end "
         "asyncio.create_task(body) "
         "setmetatable({}, {__gc = function() print 'finalizer' end}) await(asyncio.sleep(1)) "
         "lost = asyncio.sleep(3)");
  t = load(e, "await(require('asyncio').sleep(1000))");
  expect(ml_step(e, 0) >= 0);
  lua_close(L);
  says("finalizer\ncleaned\n");
  expect(o.used == 0 && o.blocks == 0);
  expect(strstr(logged.text, "coroutine 'sleep' was never awaited") != NULL);
  expect(ml_task_status(t) == ML_CANCELLED);
  ml_task_release(t);
}

/* Never awaited: told when it is collected, without the engine's allocator. */
static void never_awaited(void) {
  lua_State *L = luaL_newstate();
  ml_engine *e;
  luaL_openlibs(L);
  e = attach(L);
  run(L, "local asyncio = require 'asyncio' local function work() end "
         "for i = 1, 3 do asyncio.async(work)() end asyncio.sleep(1) "
         "for i = 1, 1000 do await(asyncio.async(work)()) end "
         "collectgarbage()");
  expect(strstr(logged.text, "coroutine 'function at host:1' was never awaited") != NULL);
  expect(strstr(logged.text, "coroutine 'sleep' was never awaited") != NULL);
  logged.n = 0;
  logged.text[0] = '\0';
  run(L, "local s = {} for i = 1, 20000 do s[i % 100] = ('x'):rep(i % 900) .. i end "
         "for i = 1, 2000 do local t = {i, i, i, i} end collectgarbage()");
  expect(logged.n == 0);
  expect_ok(ml_close(e, 0));
  lua_close(L);
}

static int step_inside(lua_State *L) {
  ml_engine *e = lua_touserdata(L, lua_upvalueindex(1));
  int fd, ms;
  lua_pushboolean(L, ml_step(e, 0) == ML_EBUSY && ml_run(e) == ML_EBUSY &&
                         ml_poll_info(e, &fd, &ms) == ML_EBUSY && ml_close(e, 0) == ML_EBUSY);
  return 1;
}

static int in_c(lua_State *L) {
  ml_engine *e = lua_touserdata(L, lua_upvalueindex(1));
  expect(ml_step(e, 0) == 0);
  return 0;
}

/* Driving from inside a script of the host's is refused, from its C functions not. */
static void inside_a_script(void) {
  lua_State *L = luaL_newstate();
  ml_engine *e;
  luaL_openlibs(L);
  e = attach(L);
  lua_pushlightuserdata(L, e);
  lua_pushcclosure(L, step_inside, 1);
  lua_setglobal(L, "inside");
  run(L, "assert(inside()) assert(coroutine.wrap(inside)())"
         "require('asyncio').run(function() assert(inside()) end)");
  lua_pushlightuserdata(L, e);
  lua_pushcclosure(L, in_c, 1);
  expect(lua_pcall(L, 0, 0, 0) == LUA_OK);
  expect_ok(ml_close(e, 0));
  lua_close(L);
}

static int attach_here(lua_State *L) {
  ml_engine **e = lua_touserdata(L, lua_upvalueindex(1));
  *e = attach(L);
  return 0;
}

/* Coroutines that are older than the engine, and attaching from inside one. */
static void older_coroutines(void) {
  lua_State *L = luaL_newstate();
  ml_engine *e = NULL;
  luaL_openlibs(L);
  run(L, "older = coroutine.wrap(function() coroutine.yield() "
         "  print(pcall(asyncio.await, asyncio.sleep(1))) return 1 end) older()");
  lua_pushlightuserdata(L, &e);
  lua_pushcclosure(L, attach_here, 1);
  lua_setglobal(L, "attach");
  run(L, "coroutine.wrap(function() attach() asyncio = require 'asyncio' "
         "print(asyncio.run(asyncio.sleep(1, 'inside'))) end)()");
  says("inside\n");
  expect(ml_lua(e) == L);
  run(L, "older()");
  says("true\tnil\n");
  /* one that was resumed by Lua's own resume, in a task: the rule is named */
  run(L, "task = asyncio.create_task(function() "
         "  local co = coroutine.create(function() return await(asyncio.sleep(1, 'ok')) end) "
         "  return select(2, coroutine.resume(co)) end) print(await(task))");
  says("ok\n");
  expect_ok(ml_close(e, 0));
  lua_close(L);
}

/* What the host wants to keep as it is. */
static void keeping(void) {
  static const char *const kept[] = {
      "async",          "await",   "pcall",         "xpcall",           "coroutine.resume",
      "coroutine.wrap", "require", "debug.getinfo", "debug.getregistry"};
  lua_State *L = luaL_newstate();
  ml_engine *e;
  ml_config c;
  luaL_openlibs(L);
  for (int pass = 0; pass < 2; pass++) {
    for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++) {
      char line[200];
      if (pass == 0)
        snprintf(line, sizeof line, "was = was or {} was[%u] = %s", i, kept[i]);
      else
        snprintf(line, sizeof line, "assert(was[%u] == %s, '%s')", i, kept[i], kept[i]);
      run(L, line);
    }
    if (pass == 1) break;
    config_init(&c);
    c.keep = ML_KEEP_GLOBALS | ML_KEEP_PCALL | ML_KEEP_COROUTINE | ML_KEEP_REQUIRE | ML_KEEP_DEBUG;
    expect_ok(ml_attach(L, &c, &e));
  }
  run(L,
      "local asyncio = require 'asyncio' local await = asyncio.await "
      "print(await(asyncio.sleep(1, 'slept'))) "
      "print(asyncio.run(function() return select('#', pcall(await, asyncio.sleep(1))) end)) "
      "print(asyncio.run(function() return select(2, coroutine.resume(coroutine.create(function() "
      "  return await(asyncio.sleep(1)) end))) end))");
  expect(strncmp(out.text, "slept\n1\n", 8) == 0 && strstr(out.text, "cannot await here") != NULL);
  out.n = 0;
  expect_ok(ml_close(e, 0));
  lua_close(L);
}

/* What the host has put into its libraries is called; what it has taken away stays away. */
static void altered_libraries(void) {
  lua_State *L = luaL_newstate();
  ml_engine *e;
  luaL_openlibs(L);
  run(L, "local own, info = debug.sethook, debug.getinfo hooked = 0 "
         "debug.sethook = function(...) hooked = hooked + 1 return own(...) end "
         "debug.getinfo = function(level, ...) return info(level + 1, ...) end "
         "debug.setupvalue, debug.getregistry = nil, nil");
  for (int i = 0; i < 3; i++) {
    e = attach(L);
    run(L, "debug.sethook(function() end, 'c') debug.sethook()\n"
           "print(debug.getinfo(1, 'l').currentline, hooked, debug.setupvalue, debug.getregistry) "
           "ours = debug.getinfo");
    says(i == 0 ? "2\t2\tnil\tnil\n" : i == 1 ? "2\t4\tnil\tnil\n" : "2\t6\tnil\tnil\n");
    expect_ok(ml_close(e, 0));
    if (i == 1) run(L, "debug.getinfo = ours"); /* one that was the engine's */
  }
  lua_close(L);
}

/* The limit holds while the engine runs; the host's own blocks are never refused. */
static void limits(void) {
  lua_State *L = luaL_newstate();
  ml_engine *e;
  ml_config c;
  luaL_openlibs(L);
  config_init(&c);
  c.memory_limit = 4 << 20;
  expect_ok(ml_attach(L, &c, &e));
  ml_task_release(
      load(e, "print(pcall(string.rep, 'x', 8 << 20)) print(#string.rep('x', 1 << 20))"));
  expect_ok(ml_run(e));
  says("false\tnot enough memory\n1048576\n");
  run(L, "big = ('x'):rep(8 << 20)");
  expect(ml_memory(e) > 8 << 20);
  expect_ok(ml_close(e, 0));
  lua_close(L);
}

int main(void) {
  leaves_no_trace();
  what_scripts_keep();
  once_more();
  functions_after_close();
  state_closed_first();
  never_awaited();
  inside_a_script();
  older_coroutines();
  keeping();
  altered_libraries();
  limits();
  return 0;
}
