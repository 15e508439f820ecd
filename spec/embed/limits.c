/* How much scripts may have at a time: each limit is an error that names it. */
#include "expect.h"
#include <unistd.h>

static captured logged, printed;

static void to_log(void *ud, const char *text, size_t n) { (void)ud, capture(&logged, text, n); }
static void to_print(void *ud, const char *text, size_t n) { (void)ud, capture(&printed, text, n); }

static ml_engine *engine(size_t tasks, size_t handles, uint64_t output) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.log = to_log;
  c.print = to_print;
  c.max_tasks = tasks;
  c.max_handles = handles;
  c.max_output = output;
  logged.n = printed.n = 0;
  logged.text[0] = '\0';
  expect_ok(ml_new(&c, &e));
  return e;
}

static void start(ml_engine *e, const char *source) {
  expect_ok(ml_load(e, "=script", source, strlen(source), NULL));
}

static void runs(ml_engine *e, const char *source) {
  ml_task *t = load(e, source);
  expect_ok(ml_run(e));
  if (ml_task_error(t) != NULL)
    fprintf(stderr, "%s\n%s\n", ml_task_error(t)->message, ml_task_error(t)->traceback);
  expect(ml_task_status(t) == ML_DONE);
  ml_task_release(t);
}

static ml_usage_info usage(ml_engine *e) {
  ml_usage_info u;
  expect_ok(ml_usage(e, &u, sizeof u));
  return u;
}

static void tasks(void) {
  ml_engine *e = engine(5, 0, 0);
  ml_task *t;
  runs(e,
       "local asyncio = require 'asyncio'\n"
       "local wait = async(function(event) await(event:wait()) end)\n"
       "local event, all = asyncio.Event(), {}\n"
       "for i = 1, 4 do all[i] = asyncio.create_task(wait(event)) end\n"
       "local late = wait(event)\n"
       "local ok, err = pcall(asyncio.create_task, late)\n"
       "late:close()\n"
       "assert(not ok and asyncio.isinstance(err, asyncio.LimitError))\n"
       "assert(tostring(err):find('too many tasks: the host allows 5 at a time', 1, true), err)\n"
       "event:set()\n"
       "for _, t in ipairs(all) do await(t) end\n"
       "await(asyncio.create_task(wait(event)))\n");
  expect(usage(e).tasks == 0);
  for (int i = 0; i < 5; i++) start(e, "await(require('asyncio').sleep(0.001))");
  expect(ml_load(e, "=s", "", 0, &t) == ML_ELIMIT && t == NULL);
  expect(usage(e).tasks == 5);
  expect_ok(ml_run(e));
  expect_ok(ml_close(e, 0));
}

static void handles(void) {
  ml_engine *e = engine(0, 3, 0);
  char path[] = "/tmp/moonloop-limits-XXXXXX";
  int fd = mkstemp(path);
  char script[4096];
  expect(fd >= 0);
  close(fd);
  snprintf(
      script, sizeof script,
      "asyncio, fs, socket = require 'asyncio', require 'fs', require 'socket'\n"
      "local loop = asyncio.get_running_loop()\n"
      "path = '%s'\n"
      "function refused(f, ...)\n"
      "  local ok, err = pcall(f, ...)\n"
      "  assert(not ok and asyncio.isinstance(err, asyncio.LimitError), err)\n"
      "  assert(tostring(err):find('the host allows 3 at a time (max_handles)', 1, true), err)\n"
      "end\n"
      "function kinds()\n"
      "  refused(loop.call_later, loop, 1, print)\n"
      "  refused(function() await(asyncio.sleep(1)) end)\n"
      "  refused(function() await(fs.open(path)) end)\n"
      "  refused(socket.socket)\n"
      "  refused(function() await(asyncio.open_connection('127.0.0.1', 9)) end)\n"
      "  refused(function() await(asyncio.start_server(print, '127.0.0.1', 0)) end)\n"
      "  refused(function() await(asyncio.open_datagram{local_addr = {'127.0.0.1', 0}}) end)\n"
      "  refused(function() await(asyncio.create_subprocess_exec('true')) end)\n"
      "  refused(asyncio.new_event_loop)\n"
      "  refused(io.open, path) refused(io.lines, path) refused(io.input, path)\n"
      "  refused(io.popen, 'true') refused(io.tmpfile)\n"
      "end\n"
      "local a, b, c = await(fs.open(path)), await(fs.open(path)), await(fs.open(path))\n"
      "kinds()\n"
      "await(a:close()) await(b:close()) await(c:close())\n"
      "local x, y, z = socket.socket(), socket.socket(), socket.socket()\n"
      "kinds()\n"
      "x:close() y:close() z:close()\n"
      "local theirs = loop:create_future()\n"
      "local s = await(asyncio.start_server(function(_, w) theirs:set_result(w) end,\n"
      "  '127.0.0.1', 0))\n"
      "local r, w = await(asyncio.open_connection('127.0.0.1', s.sockets[1].port))\n"
      "local other = await(theirs)\n"
      "kinds()\n"
      "w:close() other:close() s:close() await(s:wait_closed())\n"
      "local p = await(asyncio.create_subprocess_exec('true')) await(p:wait())\n",
      path);
  runs(e, script);
  runs(e, "local f, p, t = io.open(path, 'w'), io.popen('echo x; exit 3'), io.tmpfile()\n"
          "kinds()\n"
          "assert(p:read('a') == 'x\\n')\n"
          "local ok, what, code = p:close()\n"
          "assert(ok == nil and what == 'exit' and code == 3, what)\n"
          "assert(f:write('line\\n') and f:close() == true and io.type(f) == 'closed file')\n"
          "assert(io.input(path) == io.input() and io.read() == 'line')\n"
          "local lines = io.lines(path)\n"
          "kinds()\n"
          "assert(lines() == 'line' and lines() == nil)\n" /* closed at its end */
          "assert(io.open('/nowhere/x') == nil and not pcall(io.lines, '/nowhere/x'))\n"
          "io.input():close() t = nil collectgarbage()\n"
          "io.input(io.stdin) io.output(io.stdout) assert(io.lines)\n"
          "os.execute('mkdir ' .. path .. '.d; cd ' .. path .. '.d; touch $(seq 1200)')\n"
          "local a, b = await(fs.open(path)), await(fs.open(path))\n"
          "local n = 0\n"
          "for _ in fs.scandir(path .. '.d') do\n" /* in three parts */
          "  n = n + 1\n"
          "  if n == 1 or n == 600 then kinds() end\n"
          "end\n"
          "assert(n == 1200)\n"
          "local c = await(fs.open(path))\n"
          "refused(function() for _ in fs.scandir(path .. '.d') do end end)\n"
          "await(a:close()) await(b:close()) await(c:close())\n"
          "for _ = 1, 4 do for _ in fs.scandir(path .. '.d') do break end end\n"
          "collectgarbage()\n"
          "os.execute('rm -r ' .. path .. '.d')\n");
  expect(usage(e).handles == 0);
  unlink(path);
  expect_ok(ml_close(e, 0));
}

static void output(void) {
  ml_engine *e = engine(0, 0, 100);
  ml_task *t;
  runs(e, "local asyncio = require 'asyncio'\n"
          "local function refused(f, ...)\n"
          "  local ok, err = pcall(f, ...)\n"
          "  assert(not ok and asyncio.isinstance(err, asyncio.LimitError), err)\n"
          "  assert(tostring(err):find('the host allows 100 bytes (max_output)', 1, true), err)\n"
          "end\n"
          "print(('x'):rep(88)) print('abcdefghi')\n"
          "refused(print, 'x')\n"
          "refused(io.write, 'xy') refused(io.write, 12)\n"
          "refused(io.stdout.write, io.stdout, 'xy')\n"
          "refused(function() io.stderr:write('a', 'b') end)\n"
          "refused(asyncio.stdout.write, asyncio.stdout, 'xy')\n"
          "refused(asyncio.stderr.writelines, asyncio.stderr, {'xy'})\n"
          "io.write('\\n')\n"
          "local f <close> = io.tmpfile()\n"
          "assert(f:write(('x'):rep(1000)))\n");
  expect(printed.n == 99 && usage(e).output == 100);
  start(e, "error('nobody sees this')");
  t = load(e, "error('but here')");
  expect_ok(ml_run(e));
  expect(strstr(ml_task_error(t)->message, "but here") != NULL);
  ml_task_release(t);
  expect(strcmp(logged.text,
                "the host's limit of output is reached: no more is logged (max_output)") == 0);
  expect_ok(ml_close(e, 0));
}

/* An engine whose rounds have no end, at its limit of memory, can be closed all the same. */
static void floods(void) {
  static const char source[] =
      "local loop = require('asyncio').get_running_loop()\n"
      "local function more() loop:call_soon(more) loop:call_soon(more) end\n"
      "more() await(require('asyncio').sleep(100))";
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.log = to_log;
  c.memory_limit = 4 << 20;
  logged.n = 0;
  expect_ok(ml_new(&c, &e));
  start(e, source);
  while (strstr(logged.text, "not enough memory") == NULL) expect_ok(ml_step(e, 1000));
  expect_ok(ml_close(e, 0));
}

int main(void) {
  floods();
  tasks();
  handles();
  output();
  expect(ml_usage(NULL, NULL, 0) == ML_EINVAL);
  return 0;
}
