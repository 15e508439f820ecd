/* Profiles and rules of a host's; modules that it gives. */
#include "expect.h"
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <unistd.h>
#include <uv.h>

static captured out;
static int asked; /* times that the host was asked for a module */

static ml_engine *engine(ml_profile profile, const char *const *allow) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.profile = profile;
  c.allow = allow;
  c.print = capture;
  c.log = capture;
  c.ud = &out;
  out.n = 0;
  out.text[0] = '\0';
  expect_ok(ml_new(&c, &e));
  return e;
}

static int run(ml_engine *e, const char *source) {
  int rc = ml_main(e, "=main", source, strlen(source), 0, NULL);
  if (rc < 0) fprintf(stderr, "%s\n", ml_last_error(e, NULL)->message);
  return rc;
}

/* Runs the script; true if it has printed just that. */
static bool prints(ml_engine *e, const char *source, const char *text) {
  out.n = 0;
  out.text[0] = '\0';
  expect_ok(run(e, source));
  if (strcmp(out.text, text) != 0) fprintf(stderr, "printed: %s", out.text);
  return strcmp(out.text, text) == 0;
}

/* What is refused, by the permission that the error names; "" if it is not. */
static const char helpers[] =
    "asyncio, fs = require 'asyncio', require 'fs'\n"
    "function refused(f, ...)\n"
    "  local r = table.pack(pcall(f, ...))\n"
    "  if r[1] and require('asyncio.core').isawaitable(r[2]) then r = table.pack(pcall(await, "
    "r[2])) end\n"
    "  for i = 1, r.n do\n"
    "    local e = r[i]\n"
    "    if asyncio.isinstance(e, asyncio.PermissionError) then return e.permission end\n"
    "    if type(e) == 'string' and e:find('permission denied', 1, true) then return e:match "
    "'allow%-([^)]*)' end\n"
    "  end\n"
    "  return ''\n"
    "end\n";

static void profiles(void) {
  static const char all[] =
      "print(refused(fs.stat, '/') ~= '', refused(io.open, '/etc/hosts') ~= '',\n"
      "  refused(asyncio.open_connection, '127.0.0.1', 9) ~= '', refused(os.getenv, 'HOME') ~= "
      "'',\n"
      "  refused(os.execute, 'true') ~= '', refused(os.exit, 0) ~= '',\n"
      "  pcall(io.write, '') == false, load(string.dump(print and function() end)) == nil,\n"
      "  refused(require('signal').raise_signal, 'SIGUSR1') ~= '', pcall(require, 'asyncio.stdio') "
      "== false)";
  static const struct {
    ml_profile profile;
    const char *answer;
  } table[] = {
      {ML_PROFILE_NO_FS, "true\ttrue\tfalse\ttrue\ttrue\ttrue\tfalse\ttrue\ttrue\tfalse\n"},
      {ML_PROFILE_NO_NET, "false\tfalse\ttrue\ttrue\ttrue\ttrue\tfalse\ttrue\ttrue\tfalse\n"},
      {ML_PROFILE_PURE, "true\ttrue\ttrue\ttrue\ttrue\ttrue\ttrue\ttrue\ttrue\ttrue\n"},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    ml_engine *e = engine(table[i].profile, NULL);
    expect_ok(run(e, helpers));
    expect(prints(e, all, table[i].answer));
    expect_ok(ml_close(e, 0));
  }
}

/* What the host does is not limited, and what it has defined is there. */
static int answer(ml_call *c, void *ud) {
  ml_value v = {.type = ML_INT};
  v.u.i = 42;
  (void)ud;
  return ml_return(c, &v, 1);
}

static int dump(lua_State *L, const void *p, size_t n, void *ud) {
  (void)L;
  capture(ud, p, n);
  return 0;
}

static void pure(void) {
  static captured code;
  char path[] = "/tmp/moonloop-sandbox-XXXXXX";
  const char *source = "print('from a file', game.answer())";
  ml_engine *e = engine(ML_PROFILE_PURE, NULL);
  ml_task *t = NULL;
  int fd = mkstemp(path);
  lua_State *L = ml_lua(e);
  expect(fd >= 0 && write(fd, source, strlen(source)) > 0);
  close(fd);
  expect_ok(ml_def(e, "game.answer", answer, NULL));
  expect_ok(ml_load_file(e, path, &t));
  unlink(path);
  expect_ok(ml_run(e));
  expect(ml_task_status(t) == ML_DONE && strcmp(out.text, "from a file\t42\n") == 0);
  ml_task_release(t);
  /* precompiled scripts are refused, from the host too */
  expect(luaL_loadstring(L, "print 'no'") == LUA_OK);
  code.n = 0;
  lua_dump(L, dump, &code, 0);
  lua_pop(L, 1);
  expect(ml_load(e, "=x", code.text, code.n, NULL) == ML_ESYNTAX);
  expect(strstr(ml_last_error(e, NULL)->message, "binary chunk") != NULL);
  expect(ml_main(e, "=x", code.text, code.n, 0, NULL) == ML_ESYNTAX);
  /* computing and waiting is free */
  expect(prints(
      e, "local a = require 'asyncio' print(await(a.gather{a.sleep(0, 1), a.sleep(0, 2)})[2])",
      "2\n"));
  expect_ok(ml_close(e, 0));
}

static void rules(void) {
  static const char *const good[] = {"read=/tmp",   "write=.", "net", "net=*:443",
                                     "net=a.b:1-2", "exit",    NULL};
  static const char *const bad[] = {"read=", "reed=/tmp", "net=a:b",  "exit=1",
                                    "",      "=",         "net=[::1", NULL};
  static const char *const pair[] = {"exit", "net=a:b", NULL};
  char why[100];
  ml_config c;
  ml_engine *e = (ml_engine *)&c;
  for (int i = 0; good[i] != NULL; i++) expect_ok(ml_rule_check(good[i], why, sizeof why));
  for (int i = 0; bad[i] != NULL; i++) {
    expect(ml_rule_check(bad[i], why, sizeof why) == ML_EINVAL && why[0] != '\0');
    expect(ml_rule_check(bad[i], NULL, 0) == ML_EINVAL);
  }
  expect(ml_rule_check(NULL, why, sizeof why) == ML_EINVAL);
  expect(ml_rule_check("exit", NULL, 3) == ML_EINVAL);
  ml_config_init(&c);
  c.allow = pair;
  expect(ml_new(&c, &e) == ML_EINVAL && e == NULL);
  c.allow = NULL;
  c.profile = (ml_profile)9;
  expect(ml_new(&c, &e) == ML_EINVAL && e == NULL);
}

/* Rules add to a profile; they are copied; with ML_PROFILE_FULL they are all there is. */
static void allowed(void) {
  char dir[64] = "read=/usr/share";
  const char *allow[] = {dir, "env=HOME", "stdio", NULL};
  ml_engine *e = engine(ML_PROFILE_FULL, allow);
  memset(dir, 'x', 15);
  allow[0] = NULL;
  expect_ok(run(e, helpers));
  expect(prints(e,
                "print(refused(fs.stat, '/usr/share'), refused(fs.stat, '/usr'),\n"
                "  refused(os.getenv, 'HOME'), refused(os.getenv, 'PATH'), (pcall(io.write, '')))",
                "\tread=/usr\t\tenv=PATH\ttrue\n"));
  expect_ok(ml_close(e, 0));
}

/* Worker threads have no more, whatever they are sent. */
static void workers(void) {
  ml_engine *e = engine(ML_PROFILE_PURE, NULL);
  expect(prints(e,
                "local asyncio = require 'asyncio'\n"
                "local function f() return io.open('/etc/hosts') == nil, (pcall(os.exit, 1)),\n"
                "  (pcall(os.getenv, 'HOME')) end\n"
                "print(await(asyncio.to_thread(f)))\n",
                "true\tfalse\tfalse\n"));
  expect_ok(ml_close(e, 0));
}

/* ---- what the host is told ---- */

static captured refusals;
static int times;
static size_t longest;   /* of the subjects */
static ml_engine *stops; /* the engine whose script a refusal ends; NULL: it goes on */

static void on_refused(void *ud, const ml_refusal *what) {
  char line[256];
  int n = snprintf(line, sizeof line, "%s|%.60s|%s|%.60s\n", what->permission, what->rule,
                   what->doing, what->subject);
  expect(ud == &out);
  times++;
  if (strlen(what->subject) > longest) longest = strlen(what->subject);
  capture(&refusals, line, (size_t)n);
  if (stops != NULL) expect(ml_interrupt(stops, ML_INTERRUPT_KILL) == 1);
}

/* Runs the script; true if the host was told just that. */
static bool tells(ml_engine *e, const char *source, const char *text) {
  refusals.n = 0;
  refusals.text[0] = '\0';
  run(e, source);
  if (strcmp(refusals.text, text) != 0) fprintf(stderr, "told: %s", refusals.text);
  return strcmp(refusals.text, text) == 0;
}

/* Each refusal, caught or not, also of a worker thread's; nothing else. */
static void told(void) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.profile = ML_PROFILE_PURE;
  c.print = c.log = capture;
  c.on_refused = on_refused;
  c.ud = &out;
  expect_ok(ml_new(&c, &e));
  expect(tells(e, helpers, ""));
  expect(tells(e, "require 'fs' require 'socket' print(pcall(require, 'nothing'), load 'return 1')",
               ""));
  expect(tells(e, "io.open '/etc/hosts'", "read|/etc/hosts|open|/etc/hosts\n"));
  expect(tells(e, "pcall(await, fs.unlink '/etc/hosts')", "write|/etc/hosts|unlink|/etc/hosts\n"));
  expect(
      tells(e, "pcall(os.getenv, 'HOME') pcall(os.exit)", "env|HOME|getenv|HOME\nexit||exit|\n"));
  expect(tells(e, "pcall(os.execute, 'id')", "run|/bin/sh|execute|id\n"));
  expect(tells(e, "pcall(await, asyncio.open_connection('127.0.0.1', 9))",
               "net|127.0.0.1:9|connect|127.0.0.1:9\n"));
  expect(tells(e, "pcall(debug.getregistry)", "full||debug.getregistry|\n"));
  expect(tells(e, "load('', 'x', 'b')", "bytecode||load|\n"));
  expect(tells(
      e, "await(asyncio.to_thread(function() io.open '/etc/hosts' pcall(os.getenv, 'A') end))",
      "read|/etc/hosts|open|/etc/hosts\nenv|A|getenv|A\n"));
  /* a long text is whole; a worker thread's is cut, and of too many the first are told */
  times = 0, longest = 0;
  expect_ok(run(e, "pcall(os.getenv, ('x'):rep(1e5))"));
  expect(times == 1 && longest == 100000);
  times = 0, longest = 0;
  expect_ok(run(e, "await(asyncio.to_thread(function()\n"
                   "  for i = 1, 1000 do pcall(os.getenv, ('x'):rep(1e4)) end end))"));
  expect(times > 50 && times < 100 && longest == 500);
  /* the host may end it there */
  stops = e;
  expect(ml_main(e, "=x", "pcall(os.exit) while true do end", 32, 0, NULL) == ML_EKILLED);
  stops = NULL;
  expect(prints(e, "print 'goes on'", "goes on\n"));
  expect_ok(ml_close(e, 0));
}

/* ---- modules ---- */

static int resolve(void *ud, const char *name, ml_buf *to) {
  (void)ud;
  asked++;
  if (strcmp(name, "broken") == 0) return UV_EIO;
  if (strncmp(name, "game.", 5) != 0) return 0;
  expect_ok(ml_buf_add(to, "pack:", 5));
  expect_ok(ml_buf_add(to, name + 5, strlen(name + 5)));
  return 1;
}

static int load_module(void *ud, const char *id, ml_buf *to) {
  const char *source = strcmp(id, "pack:rules") == 0 ? "return {lives = 3, id = select(2, ...)}"
                       : strcmp(id, "pack:waits") == 0
                           ? "await(require 'asyncio'.sleep(0)) return 'waited'"
                       : strcmp(id, "pack:wrong") == 0 ? "return ="
                       : strcmp(id, "pack:empty") == 0 ? ""
                                                       : NULL;
  (void)ud;
  if (strcmp(id, "pack:ill") == 0) return ML_ENOMEM;
  if (strcmp(id, "pack:binary") == 0) {
    expect_ok(ml_buf_add(to, "\x1bLua", 4));
    return 1;
  }
  if (source == NULL) return 0;
  return ml_buf_add(to, source, strlen(source)) == 0 ? 1 : ML_ENOMEM;
}

static void modules(ml_profile profile) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.profile = profile;
  c.print = capture;
  c.ud = &out;
  c.resolve = resolve;
  c.load = load_module;
  asked = 0;
  expect_ok(ml_new(&c, &e));
  expect(prints(
      e,
      "local r = require 'game.rules' print(r.lives, r.id, select(2, require 'game.rules') == nil)",
      "3\tpack:rules\ttrue\n"));
  expect(asked == 1); /* once, and not for what moonloop has */
  expect(prints(e, "require 'asyncio' print((require 'game.waits'), (require 'game.empty'))",
                "waited\ttrue\n"));
  expect(asked == 3);
  expect(prints(e,
                "for _, n in ipairs {'game.none', 'other', 'broken', 'game.wrong', 'game.ill'} do\n"
                "  local ok, e = pcall(require, n)\n"
                "  e = tostring(e)\n"
                "  print(ok, e:find('in the host', 1, true) and 'none'\n"
                "    or e:find('cannot give', 1, true) and 'error'\n"
                "    or e:find('pack:wrong:1:', 1, true) and 'syntax' or e)\n"
                "end",
                "false\tnone\nfalse\tnone\nfalse\terror\nfalse\tsyntax\nfalse\terror\n"));
  expect(prints(e, "print(select(2, pcall(require, 'game.binary')):match 'a binary' ~= nil)",
                profile == ML_PROFILE_PURE ? "true\n" : "false\n"));
  if (profile == ML_PROFILE_PURE) { /* the disk is not even looked at */
    expect(prints(e,
                  "package.path = '/etc/hosts' local _, e = pcall(require, 'other')\n"
                  "print(e:find(\"no permission to read '/etc/hosts'\", 1, true) ~= nil)",
                  "true\n"));
  }
  expect_ok(ml_close(e, 0));
}

static void buffers(void) {
  ml_buf b = {0};
  char big[10000];
  memset(big, 'x', sizeof big);
  expect(ml_buf_add(NULL, "x", 1) == ML_EINVAL && ml_buf_add(&b, NULL, 1) == ML_EINVAL);
  expect(ml_buf_add(&b, NULL, 0) == 0 && b.len == 0);
  for (int i = 0; i < 10; i++) expect_ok(ml_buf_add(&b, big, sizeof big));
  expect(b.len == 10 * sizeof big && b.data[b.len - 1] == 'x');
  expect(ml_buf_add(&b, "x", SIZE_MAX) == ML_ENOMEM && b.len == 10 * sizeof big);
  ml_buf_free(&b);
}

/* A state that was the host's before has given out what no rule can take back. */
static void attached(void) {
  lua_State *L = luaL_newstate();
  ml_engine *e = (ml_engine *)&L;
  ml_config c;
  ml_config_init(&c);
  c.profile = ML_PROFILE_PURE;
  expect(ml_attach(L, &c, &e) == ML_EINVAL);
  lua_close(L);
}

int main(void) {
  profiles();
  pure();
  rules();
  allowed();
  workers();
  told();
  modules(ML_PROFILE_PURE);
  modules(ML_PROFILE_FULL);
  buffers();
  attached();
  return 0;
}
