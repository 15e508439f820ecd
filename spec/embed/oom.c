/* Fails each allocation in turn while an engine is made, runs a script and is
** closed. Whatever fails: no crash, no hang, an error (or a script that coped),
** and in the end every byte given back. `make oom` builds the library so that
** every block comes from here, not only large ones and chunks.
**
** Three sweeps for each script. "collect": one refusal, after which Lua
** collects garbage and asks again (the engine, for its own few blocks, gives
** up). "once": two in a row, an allocation that fails. "from there on":
** everything fails.
*/
#include "expect.h"
#include "limited.h"
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* STEPS: see drive. HOSTED: the host defines classes and values. ATTACHED: in a state of its own. */
enum { STEPS = 1, HOSTED = 2, ATTACHED = 4 };

static const struct {
  const char *name, *text;
  int how; /* STEPS, ... */
} scripts[] = {
    {"nothing", "return 'ok'", 0},
    {"tasks",
     "local asyncio = require 'asyncio'\n"
     "local work = async(function(n) await(asyncio.sleep(n)) return ('x'):rep(n), n end)\n"
     "local r = await(asyncio.gather(work(1), work(2), work(3)))\n"
     "assert(table.concat(r, ',') == 'x,xx,xxx')\n"
     "local t = asyncio.create_task(work(5), {name = 'five'})\n"
     "local seen\n"
     "t:add_done_callback(function(f) seen = f end)\n"
     "local s, n = await(t)\n"
     "await(asyncio.sleep(0))\n"
     "assert(s == 'xxxxx' and n == 5 and seen == t and tostring(t):find('five'))\n"
     "local f = asyncio.get_running_loop():create_future()\n"
     "asyncio.get_running_loop():call_later(1, function() f:set_result(7) end)\n"
     "asyncio.get_running_loop():call_later(2, error):cancel()\n"
     "assert(await(f) == 7)\n"
     "return 'ok'\n",
     0},
    {"errors",
     "local asyncio = require 'asyncio'\n"
     "local Mine = asyncio.Exception:extend('Mine')\n"
     "local fail = async(function(e) await(asyncio.sleep(1)) error(e, 0) end)\n"
     "local inner = async(function(e) await(fail(e)) end)\n"
     "local ok, e = pcall(await, inner(Mine('no', {code = 7})))\n"
     "assert(not ok and asyncio.isinstance(e, Mine) and e.code == 7)\n"
     "ok, e = pcall(await, asyncio.create_task(inner('text')))\n"
     "assert(not ok and e == 'text')\n"
     "local r = await(asyncio.gather(inner('a'), asyncio.sleep(1, 'b'), {return_exceptions = "
     "true}))\n"
     "assert(r[1] == 'a' and r[2] == 'b')\n"
     "ok, e = xpcall(function() await(fail(Mine())) end, function(x) return {x} end)\n"
     "assert(not ok and asyncio.isinstance(e[1], Mine))\n"
     "asyncio.create_task(inner('unseen'))\n"
     "local c = inner('never awaited') c = nil\n"
     "await(asyncio.sleep(3))\n"
     "collectgarbage()\n"
     "return 'ok'\n",
     0},
    {"cancelling",
     "local asyncio = require 'asyncio'\n"
     "local closed = 0\n"
     "local guard = {__close = function() await(asyncio.sleep(1)) closed = closed + 1 end}\n"
     "local sleeper = async(function()\n"
     "  local _ <close> = setmetatable({}, guard)\n"
     "  await(asyncio.sleep(100))\n"
     "end)\n"
     "local t = asyncio.create_task(sleeper())\n"
     "local outer = asyncio.create_task(async(function() await(t) end)())\n"
     "await(asyncio.sleep(1))\n"
     "outer:cancel('enough')\n"
     "local ok, e = pcall(await, outer)\n"
     "assert(not ok and asyncio.isinstance(e, asyncio.CancelledError) and closed == 1)\n"
     "ok, e = pcall(await, asyncio.wait_for(asyncio.sleep(10), 1))\n"
     "assert(not ok and asyncio.isinstance(e, asyncio.TimeoutError))\n"
     "ok = pcall(function()\n"
     "  local _ <close> = asyncio.timeout(1)\n"
     "  await(asyncio.sleep(10))\n"
     "end)\n"
     "assert(not ok)\n"
     "ok, e = pcall(asyncio.with, asyncio.TaskGroup(), function(g)\n"
     "  g:create_task(sleeper())\n"
     "  g:create_task(async(function() await(asyncio.sleep(2)) error('bad', 0) end)())\n"
     "end)\n"
     "assert(not ok and e.exceptions[1] == 'bad' and closed == 2)\n"
     "return 'ok'\n",
     0},
    {"keywords",
     "local asyncio = require 'asyncio'\n"
     "local async function double(x) await asyncio.sleep(0) return 2 * x end\n"
     "local M = {}\n"
     "async function M:sum(list)\n"
     "  local sum = 0\n"
     "  async for i, x in ipairs(list) do sum = sum + await double(x) * i end\n"
     "  return sum\n"
     "end\n"
     "local lock = asyncio.Lock()\n"
     "async with lock, asyncio.Lock() as other do\n"
     "  assert(lock:locked() and other == nil or other:locked())\n"
     "end\n"
     "assert(not lock:locked())\n"
     "local f = load('local async function g(x) return x end return await g(...)')\n"
     "assert(f(5) == 5 and await M:sum({1, 2}) == 10)\n"
     "assert(load(function() return nil end) and not load('await f('))\n"
     "local ok, e = pcall(function() return double(1).x end)\n"
     "assert(not ok and e:find('forgot to await'))\n"
     "collectgarbage()\n"
     "return 'ok'\n",
     0},
    {"locks and queues",
     "local asyncio = require 'asyncio'\n"
     "local lock, q, sem, ev = asyncio.Lock(), asyncio.Queue(1), asyncio.Semaphore(2), "
     "asyncio.Event()\n"
     "local sum = 0\n"
     "local put = async(function() for i = 1, 12 do await(q:put(i)) end q:shutdown() end)\n"
     "local get = async(function()\n"
     "  for item in q:items() do\n"
     "    local _ <close> = await(lock:guard())\n"
     "    await(asyncio.sleep(0.1))\n"
     "    sum = sum + item\n"
     "  end\n"
     "end)\n"
     "local hold = async(function() await(ev:wait()) await(sem:acquire()) sem:release() end)\n"
     "local all = asyncio.gather(put(), get(), get(), hold(), hold(), hold())\n"
     "await(asyncio.sleep(0)) ev:set()\n"
     "await(all)\n"
     "assert(sum == 78)\n"
     "local pq = asyncio.PriorityQueue()\n"
     "for _, v in ipairs {5, 1, 4, 2, 3} do pq:put_nowait(v) end\n"
     "for i = 1, 5 do assert(await(pq:get()) == i) end\n"
     "return 'ok'\n",
     0},
    {"coroutines",
     "local asyncio = require 'asyncio'\n"
     "local gen = function() return coroutine.wrap(function()\n"
     "  for i = 1, 3 do await(asyncio.sleep(1)) coroutine.yield(i) end\n"
     "end) end\n"
     "local n = 0\n"
     "for v in gen() do n = n + v end\n"
     "assert(n == 6)\n"
     "local co = coroutine.create(function() await(asyncio.sleep(1)) error('x', 0) end)\n"
     "local ok, e = coroutine.resume(co)\n"
     "assert(not ok and e == 'x')\n"
     "local function deep(k) if k == 0 then return await(asyncio.sleep(1, 'end')) end return "
     "await(async(deep)(k - 1)) end\n"
     "assert(deep(150) == 'end')\n"
     "local mt = setmetatable({}, {__index = function(_, k) return await(asyncio.sleep(1, k)) "
     "end})\n"
     "assert(mt.abc == 'abc')\n"
     "package.preload.late = function() await(asyncio.sleep(1)) return {} end\n"
     "local a, b = asyncio.create_task(async(require)('late')), "
     "asyncio.create_task(async(require)('late'))\n"
     "assert(await(a) == await(b))\n"
     "return 'ok'\n",
     0},
    {"frames and threads",
     "local asyncio, task = require 'asyncio', require 'task'\n"
     "local frames, log = 0, {}\n"
     "local entity = async(function() for i = 1, 5 do await(asyncio.next_frame()) frames = frames "
     "+ "
     "1 end end)\n"
     "local all = asyncio.gather(entity(), entity(), asyncio.wait_for(asyncio.next_frame(), 9))\n"
     "local t = task.spawn(function(...) log[#log + 1] = coroutine.yield() task.wait(1) end, 1)\n"
     "task.delay(0.5, t, 'resumed')\n"
     "local gone = task.defer(error, 'never')\n"
     "task.cancel(gone)\n"
     "await(all)\n"
     "assert(frames == 10)\n"
     "asyncio.get_running_loop():set_time_scale(0.5)\n"
     "task.wait(2)\n"
     "assert(log[1] == 'resumed' and coroutine.status(t) == 'dead')\n"
     "return 'ok'\n",
     0},
    {"reload",
     "local reload = require 'reload'\n"
     "local function version(v, fails) package.preload.m = function()\n"
     "  local count, list, M = 0, {1, v}, {}\n"
     "  M.v, M.list, M.new = v, list, {M = M}\n"
     "  function M.f() count = count + 1 return M.v, count, list end\n"
     "  M.run = async(function() return M.f() end)\n"
     "  M.on_reload = function(old) M.old = old.v if fails then error('no', 0) end end\n"
     "  made_by = v\n"
     "  return setmetatable(M, {__index = list, v = v})\n"
     "end end\n"
     "version(1)\n"
     "local m, first = require 'm'\n"
     "assert(m.f() == 1)\n"
     "version(2)\n"
     "local ok, e = pcall(reload.module, 'm')\n"
     "local v = ok and 2 or 1\n"
     "assert(m.v == v and made_by == v and m.list[2] == v and getmetatable(m).v == v)\n"
     "local got, count, list = m.f()\n"
     "assert(got == v and count == 2 and list == m.list and m.old == (ok and 1 or nil))\n"
     "version(3, true)\n"
     "local ok3, e3 = pcall(reload.module, 'm')\n"
     "assert(not ok3 and m.v == v and m.f() == v and select(2, m.f()) == 4 and made_by == v)\n"
     "if not ok then error(e, 0) end\n"
     "if e3 ~= 'no' then error(e3, 0) end\n"
     "return 'ok'\n",
     0},
    {"streams",
     "local asyncio = require 'asyncio'\n"
     "local path = os.tmpname()\n"
     "os.remove(path)\n"
     "local _ <close> = asyncio.timeout(5)\n"
     "local server <close> = await(asyncio.start_unix_server(function(r, w)\n"
     "  local _ <close> = w\n"
     "  for line in r:lines() do w:write(line .. ('x'):rep(3000) .. '\\n') await(w:drain()) end\n"
     "end, path))\n"
     "local r, w = await(asyncio.open_unix_connection(path))\n"
     "w:write('a\\nb\\n')\n"
     "assert(#await(r:readline()) == 3002 and #await(r:readexactly(3002)) == 3002)\n"
     "w:write_eof()\n"
     "assert(await(r:read()) == '')\n"
     "w:close()\n"
     "await(w:wait_closed())\n"
     "return 'ok'\n",
     1},
    {"processes",
     "local asyncio = require 'asyncio'\n"
     "local _ <close> = asyncio.timeout(5)\n"
     "local loop = asyncio.get_running_loop()\n"
     "loop:add_signal_handler('SIGUSR1', print, 1, 2)\n"
     "local p <close> = await(asyncio.create_subprocess_exec('cat', {stdin = 'some text', stdout = "
     "asyncio.PIPE, pipes = {[3] = 'rw'}, env = {A = 1}, pty = {2, 3}}))\n"
     "assert(await(p.stdout:read()) == 'some text')\n"
     "assert(await(p:wait()) == 0)\n"
     "assert(loop:remove_signal_handler('SIGUSR1'))\n"
     "assert(not pcall(await, asyncio.create_subprocess_exec('/no/where')))\n"
     "return 'ok'\n",
     1},
    {"websockets",
     "local has, websocket = pcall(require, 'http.websocket')\n"
     "if not has then return 'ok' end\n"
     "local deflate = require('http.ws').deflate and {} or nil\n"
     "local a = websocket.connect(nil, {server = true, deflate = deflate, heartbeat = 10})\n"
     "local b = websocket.connect(nil, {deflate = deflate, timeout = 1})\n"
     "local asyncio = require 'asyncio'\n"
     "local got = asyncio.create_task(function() return await(a:receive(100)) end)\n"
     "await(asyncio.sleep(1))\n"
     "local text = ('text '):rep(1000)\n"
     "await(b:send_str(text)) await(b:send_bytes(text, {compress = false})) await(b:ping('p'))\n"
     "local bytes = b:output()\n"
     "for i = 1, #bytes, 999 do a:feed(bytes:sub(i, i + 998)) end\n"
     "assert(await(got).data == text and await(a:receive_bytes()) == text)\n"
     "b:feed(a:output() .. '\\x81\\x01x')\n"
     "assert(await(b:receive_str()) == 'x')\n"
     "await(b:close(nil, 'bye'))\n"
     "a:feed(b:output() .. '\\xff')\n"
     "assert(await(a:receive()).data == 1000 and a:close_code() == 1000)\n"
     "b:feed('\\xff\\xff')\n"
     "b:abort()\n"
     "return 'ok'\n",
     0},
    {"http/2",
     "local has, core = pcall(require, 'http.core')\n"
     "if not has or not core.Exchange2 then return 'ok' end\n"
     "local asyncio = require 'asyncio'\n"
     "local path = os.tmpname()\n"
     "os.remove(path)\n"
     "local _ <close> = asyncio.timeout(5)\n"
     "local function frame(kind, flags, id, s) return string.pack('>I3BBI4', #s, kind, flags, id) "
     ".. s end\n"
     "local head = '\\0\\7:method\\4POST\\0\\7:scheme\\4http\\0\\5:path\\1/\\0\\10:authority\\1a'\n"
     "local server <close> = await(asyncio.start_unix_server(function(conn)\n"
     "  for x in conn do\n"
     "    local body = await(x:read())\n"
     "    x:start(200, nil, {'a', 'b'})\n"
     "    x:write(body .. ('x'):rep(9000))\n"
     "    x:finish({'t', 'u'})\n"
     "  end\n"
     "end, path, {http = core.settings {}}))\n"
     "local r, w = await(asyncio.open_unix_connection(path))\n"
     "w:write('PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' .. frame(4, 0, 0, '') .. frame(1, 4, 1, "
     "head) ..\n"
     "  frame(0, 1, 1, 'body'))\n"
     "local seen = ''\n"
     "while not seen:find('bodyxxx', 1, true) do seen = seen .. assert(await(r:read(65536)), "
     "'ended') end\n"
     "w:close()\n"
     "await(w:wait_closed())\n"
     "return 'ok'\n",
     STEPS},
    {"http client",
     "local has, client = pcall(require, 'http.client.core')\n"
     "if not has then return 'ok' end\n"
     "local asyncio = require 'asyncio'\n"
     "local path = os.tmpname()\n"
     "os.remove(path)\n"
     "local _ <close> = asyncio.timeout(5)\n"
     "local head = 'HTTP/1.1 200 OK\\r\\nA: b\\r\\n'\n"
     "local answers = {head .. 'Content-Length: 5\\r\\n\\r\\nhello', head .. 'Transfer-Encoding: "
     "chunked\\r\\n\\r\\n', head ..\n"
     "  'Content-Length: 100000\\r\\n\\r\\n' .. ('x'):rep(100000), 'HTTP/1.1 204 No\\r\\n\\r\\n', "
     "'HTTP/1.1 101 Up\\r\\n\\r\\nup'}\n"
     "local server <close> = await(asyncio.start_unix_server(function(reader, writer)\n"
     "  for i, answer in ipairs(answers) do\n"
     "    if not pcall(await, reader:readuntil('\\r\\n\\r\\n')) then break end\n"
     "    writer:write(answer)\n"
     "    if i == 2 then\n"
     "      await(reader:readuntil('0\\r\\n\\r\\n'))\n"
     "      writer:write('2\\r\\nhe\\r\\n3\\r\\nllo\\r\\n0\\r\\nT: u\\r\\n\\r\\n')\n"
     "    end\n"
     "  end\n"
     "  pcall(await, reader:read())\n"
     "  writer:close()\n"
     "end, path))\n"
     "local freed = 0\n"
     "local set = client.settings {on_free = function() freed = freed + 1 end}\n"
     "local r, w = await(asyncio.open_unix_connection(path))\n"
     "local conn <close> = client.connection(r, w, set)\n"
     "local x = conn:request('GET', '/', {'Host', 'a'})\n"
     "x:deadline(asyncio.get_running_loop():time() + 3, 2)\n"
     "assert(await(x:response()) == 200 and x:headers().a == 'b' and await(x:read()) == 'hello')\n"
     "x = conn:request('POST', '/', {'Host', 'a'}, true)\n"
     "x:finish()\n"
     "assert(await(x:response()) == 200 and await(x:content():read()) == 'hello' and "
     "x:trailers().t == 'u')\n"
     "await(asyncio.sleep(0))\n"
     "x = conn:request('GET', '/')\n"
     "assert(await(x:response()) == 200)\n"
     "local n, content = 0, x:content()\n"
     "while true do\n"
     "  local data = await(content:read(70000))\n"
     "  if not data then break end\n"
     "  n = n + #data\n"
     "end\n"
     "assert(n == 100000)\n"
     "await(asyncio.sleep(0))\n"
     "x = conn:request('GET', '/')\n"
     "await(asyncio.sleep(0.001))\n"
     "assert(await(x:response()) == 204 and x:take() == '')\n"
     "x = conn:request('GET', '/')\n"
     "assert(await(x:response()) == 101)\n"
     "r, w = x:upgrade()\n"
     "assert(await(r:readexactly(2)) == 'up')\n"
     "w:close()\n"
     "r, w = await(asyncio.open_unix_connection(path))\n"
     "x = client.connection(r, w, set):request('GET', '/')\n"
     "r, w, x = nil, nil, nil\n"
     "collectgarbage()\n"
     "await(asyncio.sleep(0.001))\n"
     "return 'ok'\n",
     STEPS},
    {"http/2 client",
     "local has, client = pcall(require, 'http.client.core')\n"
     "if not has or not client.Connection2 then return 'ok' end\n"
     "local core, asyncio = require 'http.core', require 'asyncio'\n"
     "local path = os.tmpname()\n"
     "os.remove(path)\n"
     "local _ <close> = asyncio.timeout(5)\n"
     "local server <close> = await(asyncio.start_unix_server(function(conn)\n"
     "  for x in conn do\n"
     "    local body = await(x:read())\n"
     "    x:inform(103)\n"
     "    x:start(200, nil, {'a', 'b'})\n"
     "    x:write(body .. ('x'):rep(9000))\n"
     "    x:finish({'t', 'u'})\n"
     "  end\n"
     "end, path, {http = core.settings {}}))\n"
     "local set = client.settings {http2 = true, on_free = function() end}\n"
     "local r, w = await(asyncio.open_unix_connection(path))\n"
     "local conn <close> = client.connection(r, w, set)\n"
     "local one = conn:request('POST', '/', {'Host', 'a'}, 'body')\n"
     "local two = conn:request('POST', '/', {'Host', 'a'}, true)\n"
     "two:write('bo')\n"
     "two:finish({'dy', 'x'})\n"
     "assert(await(one:response()) == 200 and one:headers().a == 'b')\n"
     "assert(#await(one:read()) == 9004 and one:trailers().t == 'u')\n"
     "two:deadline(asyncio.get_running_loop():time() + 3, 2)\n"
     "assert(await(two:response()) == 200 and #await(two:content():read()) == 9002)\n"
     "return 'ok'\n",
     STEPS},
    {"a host's values and classes",
     "local o, t = host.object, host.table\n"
     "assert(o.n == 7 and o:ping('pong') == 'pong' and await(o:answer()) == 5)\n"
     "assert(not pcall(o.ping, o, {}) and t.name == 'value')\n"
     "o, host.object = nil\n"
     "collectgarbage()\n"
     "return 'ok'\n",
     HOSTED},
    {"a state of the host's",
     "local asyncio = require 'asyncio'\n"
     "local work = async(function(n) await(asyncio.sleep(n)) return n end)\n"
     "assert(await(asyncio.gather(work(1), work(2)))[2] == 2)\n"
     "assert(host.object.n == 7 and await(host.object:answer()) == 5)\n"
     "assert(coroutine.wrap(function() return await(asyncio.sleep(1, 'x')) end)() == 'x')\n"
     "local c = work('never awaited') c = nil\n"
     "asyncio.create_task(work(1000))\n"
     "local gone = asyncio.sleep(0)\n"
     "collectgarbage()\n"
     "return 'ok'\n",
     STEPS | HOSTED | ATTACHED},
};

static void quiet(void *ud, const char *text, size_t n) { (void)ud, (void)text, (void)n; }

enum { ENDED_WELL, ENDED_WITH_ERROR, ENDED_WRONG };

static const char *why = "";
static char why_buf[512];

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A server that could not be closed is a live handle: where there may be one, the
** script is driven until it has ended, and not until nothing is left. */
static double patience = 0.2; /* seconds */

static int drive(ml_engine *e, ml_task *t, int steps) {
  int rc;
  if (!steps) {
    while ((rc = ml_run(e)) == ML_ESCRIPT) continue;
    return rc;
  }
  for (double end = seconds() + patience; ml_task_status(t) == ML_PENDING;) {
    rc = ml_step(e, 0);
    if (rc < 0 && rc != ML_ESCRIPT) return rc;
    if (seconds() > end) return ML_ESTUCK;
  }
  return 0;
}

/* ---- what a host does: classes, values ---- */

static int ping(ml_call *c, void *ud) {
  const char *text;
  ml_value v = {.type = ML_STRING};
  int err = ml_args(c, "S", &text, &v.u.str.len);
  (void)ud;
  v.u.str.s = text;
  return err < 0 ? err : ml_return(c, &v, 1);
}

static int answer(ml_call *c, void *ud) {
  ml_value v = {.type = ML_INT, .u.i = 5};
  (void)ud;
  return ml_call_finish(c, 0, &v, 1);
}

static int get(ml_call *c, void *ud) {
  ml_value v = {.type = ML_INT, .u.i = *(int *)ml_self(c)};
  (void)ud;
  return ml_return(c, &v, 1);
}

static int finals;
static void on_final(void *object, void *ud) { (void)object, (void)ud, finals++; }

static const ml_method methods[] = {{"ping", ping, 0}, {"answer", answer, 1}, {NULL, NULL, 0}};
static const ml_property properties[] = {{"n", get, NULL}, {NULL, NULL, NULL}};
static const ml_class base = {.size = sizeof(ml_class),
                              .name = "host.Base",
                              .methods = methods,
                              .properties = properties,
                              .finalize = on_final};
static const ml_class derived = {.size = sizeof(ml_class), .name = "host.Derived", .parent = &base};

/* Fails at the first thing that does. */
static int prepare(ml_engine *e) {
  static int object = 7;
  ml_value t = {ML_NIL, {0}}, v = {ML_NIL, {0}}, key = {ML_NIL, {0}}, f = {ML_NIL, {0}};
  int err = ml_def_class(e, &base);
  finals = 0;
  if (err == 0) err = ml_def_class(e, &derived);
  if (err == 0) err = ml_object_new(e, &derived, &object, &v);
  if (err == 0) err = ml_set(e, "host.object", &v);
  ml_value_free(e, &v);
  if (err == 0) err = ml_table_new(e, &t);
  v = (ml_value){.type = ML_STRING, .u.str = {"value", 5, 0}};
  if (err == 0) err = ml_table_set_field(e, &t, "name", &v);
  if (err == 0) err = ml_set(e, "host.table", &t);
  memset(&v, 0, sizeof v);
  if (err == 0) err = ml_table_next(e, &t, &key, &v);
  ml_value_free(e, &key);
  ml_value_free(e, &v);
  if (err >= 0) err = ml_get(e, "string.len", &f);
  if (err == 0) err = ml_tostring(e, &t, &v);
  if (err == 0) {
    ml_value n;
    err = ml_call_value(e, &f, &v, 1, &n, 1);
    if (err == 1) expect(n.type == ML_INT && n.u.i > 0);
    if (err == 1) err = ml_spawn_value(e, &f, &v, 1, NULL);
  }
  ml_value_free(e, &v);
  ml_value_free(e, &f);
  ml_value_free(e, &t);
  return err < 0 ? err : 0;
}

static int open_libs(lua_State *L) {
  luaL_openlibs(L);
  return 0;
}

/* The host's own state, or NULL. */
static lua_State *open_state(limits *b) {
  lua_State *L = lua_newstate(limited, b);
  if (L == NULL) return NULL;
  lua_pushcfunction(L, open_libs);
  if (lua_pcall(L, 0, 0, 0) == LUA_OK) return L;
  lua_close(L);
  return NULL;
}

static int attempt(limits *b, int which) {
  const char *script = scripts[which].text;
  int how = scripts[which].how;
  lua_State *L = NULL;
  ml_config c;
  ml_engine *e = NULL;
  ml_task *t = NULL;
  int end = ENDED_WITH_ERROR, err;
  why = "";
  ml_config_init(&c);
  c.alloc = limited;
  c.alloc_ud = b;
  c.clock = ML_CLOCK_VIRTUAL;
  c.log = quiet;
  c.print = quiet;
  if (how & ATTACHED) {
    L = open_state(b);
    if (L == NULL) return ENDED_WITH_ERROR;
  }
  err = L != NULL ? ml_attach(L, &c, &e) : ml_new(&c, &e);
  if (err < 0) {
    expect(e == NULL);
    if (L != NULL) lua_close(L);
    return ENDED_WITH_ERROR;
  }
  err = how & HOSTED ? prepare(e) : 0;
  if (err == 0) err = ml_load(e, "=script", script, strlen(script), &t);
  if (err == 0) {
    const ml_value *v;
    size_t n;
    int rc;
    rc = drive(e, t, how & STEPS);
    switch (ml_task_status(t)) {
    case ML_DONE:
      expect_ok(ml_task_result(t, &v, &n));
      end = n == 1 && v[0].type == ML_STRING && strcmp(v[0].u.str.s, "ok") == 0 ? ENDED_WELL
                                                                                : ENDED_WRONG;
      break;
    case ML_PENDING: end = rc < 0 ? ENDED_WITH_ERROR : ENDED_WRONG; break;
    default:
      expect(ml_task_error(t) != NULL && ml_task_error(t)->message != NULL);
      snprintf(why_buf, sizeof why_buf, "%s", ml_task_error(t)->message);
      why = why_buf;
    }
    ml_task_release(t);
  } else
    expect(t == NULL);
  if (L == NULL || b->asked % 2 == 0) ml_close(e, 20); /* or the state alone is closed */
  if (L != NULL) lua_close(L);
  return end;
}

static char doing[256];
static void too_long(int sig) {
  (void)sig;
  static const char text[] = " took too long: a hang\n";
  if (write(2, doing, strlen(doing)) < 0 || write(2, text, sizeof text - 1) < 0) _exit(2);
  _exit(1);
}

enum { COLLECT = 1, ONCE = 2, ON = -1 };

static int check(int which, int refusals, long n, int *ended) {
  limits b = {n, refusals, 0, 0, 0};
  alarm(60);
  *ended = attempt(&b, which);
  alarm(0);
  if (b.blocks != 0 || b.bytes != 0)
    fprintf(stderr, "%s: %ld blocks (%ld bytes) leaked\n", doing, b.blocks, b.bytes);
  else if (*ended == ENDED_WRONG)
    fprintf(stderr, "%s: no error, but a wrong result\n", doing);
  else
    return 0;
  return 1;
}

/* With all memory. On a busy machine the virtual clock may jump to a script's timeout before another
** process has answered: then it is run again. */
static void whole_run(int which, limits *whole) {
  patience = 20;
  for (int tries = 0;; tries++) {
    *whole = (limits){-1, 0, 0, 0, 0};
    int ended = attempt(whole, which);
    expect(whole->blocks == 0 && whole->bytes == 0);
    if (ended == ENDED_WELL) break;
    fprintf(stderr, "%s does not run even with memory: %s\n", doing, why);
    if (tries >= 50 || !(scripts[which].how & STEPS)) exit(1);
  }
  patience = 0.2;
}

/* oom [SECONDS for all sweeps [SCRIPT [MODE N]]] */
int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int refusals;
  } modes[] = {{"collect", COLLECT}, {"once", ONCE}, {"from there on", ON}};
  enum { SCRIPTS = sizeof scripts / sizeof *scripts, MODES = 3 };
  double limit = (argc > 1 ? atof(argv[1]) : 90) / (SCRIPTS * MODES);
  long base = 0, failures = 0;
  int ended;
  signal(SIGALRM, too_long);
  for (int s = 0; s < SCRIPTS; s++) {
    limits whole;
    /* what comes before the script is swept once, with the first; and attaching */
    long from = scripts[s].how & ATTACHED ? 0 : base;
    double start = seconds(), each;
    snprintf(doing, sizeof doing, "%s", scripts[s].name);
    whole_run(s, &whole);
    each = seconds() - start;
    for (int m = 0; m < MODES; m++) {
      long step = 1 + (long)((double)(whole.asked - from) * each / limit), early = 0, tried = 0;
      if (argc > 2 && strcmp(argv[2], scripts[s].name) != 0) continue;
      if (argc > 3 && strcmp(argv[3], modes[m].name) != 0) continue;
      for (long n = argc > 4 ? atol(argv[4]) : from; n < whole.asked; n += step, tried++) {
        snprintf(doing, sizeof doing, "oom 1 '%s' '%s' %ld", scripts[s].name, modes[m].name, n);
        failures += check(s, modes[m].refusals, n, &ended);
        if (ended != ENDED_WELL) early++;
        if (argc > 4) break;
      }
      printf("%-16s %-13s %5ld allocations, every %ldth: %5ld runs, %5ld ended early\n",
             scripts[s].name, modes[m].name, whole.asked - from, step, tried, early);
      fflush(stdout);
    }
    if (s == 0) base = whole.asked * 9 / 10;
  }
  return failures > 0;
}
