/* What only engines with a meter have: finalizers, patterns and loops in C that can be
** stopped, and that are otherwise as Lua's own. */
#include "expect.h"

static captured logged;

static ml_engine *engine(ml_meter_mode meter) {
  ml_engine *e;
  ml_config c;
  ml_config_init(&c);
  c.log = capture;
  c.ud = &logged;
  c.meter = meter;
  c.slice_us = 5000;
  c.memory_limit = 64 << 20;
  logged.n = 0;
  expect_ok(ml_new(&c, &e));
  return e;
}

/* What the script returns, a string; or its error. */
static void run(ml_engine *e, const char *source, char *out, size_t size) {
  ml_task *t = load(e, source);
  const ml_value *v;
  size_t n;
  expect_ok(ml_run(e));
  if (ml_task_result(t, &v, &n) == 0 && n > 0 && v[0].type == ML_STRING)
    snprintf(out, size, "%s", v[0].u.str.s);
  else
    snprintf(out, size, "%s", ml_task_error(t) != NULL ? ml_task_error(t)->message : "nothing");
  ml_task_release(t);
}

static const char *const endless[] = {
    "(('a'):rep(40)):find(('a*'):rep(40) .. 'b')",
    "(('a'):rep(40)):match(('a-'):rep(40) .. 'b')",
    "for x in (('a'):rep(40)):gmatch(('a?'):rep(40) .. 'b') do end",
    "(('a'):rep(40)):gsub('^' .. ('(a*)'):rep(30) .. 'b', '')",
    "(('a'):rep(1e6)):find(('a'):rep(5e5) .. 'b', 1, true)",
    "(('('):rep(1e6)):gsub('%b()', '')",
    "(''):rep(math.maxinteger) while true do end",
    "table.move({}, 1, math.maxinteger - 1, 2)",
    "table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)",
    "table.remove(setmetatable({}, {__len = function() return 1 << 60 end}), 1)",
    "table.concat(setmetatable({}, {__index = rawlen, __len = function() return 1 << 60 end}))",
    "local t = {} for i = 1, 1e5 do t[i] = i % 7 end while true do table.sort(t) end",
    "local s, t = ('x'):rep(1e7), {} for i = 1, 500 do t[i] = s end table.sort(t)",
    "local t = {} for i = 1, 30000 do t[i] = 1 end while true do table.sort(t, math.ult) end",
    "local t = setmetatable({}, {__index = function() return 'x' end})\n"
    "table.concat(t, '', 1, math.maxinteger)",
};

static void contained(ml_meter_mode meter) {
  char out[512], source[512];
  ml_engine *e = engine(meter);
  for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
    snprintf(source, sizeof source, "local s = %s", endless[i]);
    if (strchr("(t", endless[i][0]) == NULL) snprintf(source, sizeof source, "%s", endless[i]);
    run(e, source, out, sizeof out);
    if (strstr(out, "TimeSliceError: ") != out) {
      fprintf(stderr, "%s\n  gave %s\n", source, out);
      exit(1);
    }
  }
  expect_ok(ml_close(e, 0));
}

/* Three finalizers that do not end are stopped, then no more are run; who made the garbage, and who
** collects it, goes on. */
static void finalizers(ml_meter_mode meter) {
  char out[512];
  ml_engine *e = engine(meter);
  run(e,
      "local log = {}\n"
      "setmetatable({}, {__gc = function(o) log[#log + 1] = type(o) end})\n"
      "local mt = {__gc = true}\n"
      "setmetatable({}, mt)\n"
      "mt.__gc = function() log[#log + 1] = 'late' end\n"
      "assert(getmetatable(setmetatable({}, mt)) == mt)\n"
      "local twice = setmetatable({}, mt) setmetatable(twice, mt) twice = nil\n"
      "saved = nil\n"
      "setmetatable({}, {__gc = function(o) saved = o end})\n"
      "setmetatable({}, {__gc = function() error('in gc') end})\n"
      "setmetatable({}, {__gc = function() coroutine.yield() end})\n"
      "assert(not pcall(setmetatable, setmetatable({}, {__metatable = 1}), {__gc = print}))\n"
      "assert(not pcall(setmetatable, 1, {__gc = print}))\n"
      "assert(not pcall(setmetatable, {}, 1))\n"
      "collectgarbage() collectgarbage()\n"
      "assert(type(saved) == 'table')\n"
      "table.sort(log)\n"
      "return table.concat(log, ' ')",
      out, sizeof out);
  expect(strcmp(out, "late late late table") == 0);
  expect(strstr(logged.text, "in gc") != NULL && strstr(logged.text, "yield") != NULL);
  logged.n = 0;
  run(e,
      "for i = 1, 100 do setmetatable({}, {__gc = function() while true do pcall(error) end end}) "
      "end\n"
      "for i = 1, 3 do collectgarbage() end\n"
      "return 'still here'",
      out, sizeof out);
  expect(strcmp(out, "still here") == 0);
  expect(strstr(logged.text, "TimeSliceError") != NULL);
  expect_ok(ml_close(e, 0));
}

static void at_the_end(ml_meter_mode meter) {
  char out[512];
  ml_engine *e = engine(meter);
  run(e,
      "kept = {}\n"
      "for i = 1, 100 do kept[i] = setmetatable({}, {__gc = function() while true do end end}) "
      "end\n"
      "return 'over'",
      out, sizeof out);
  expect(strcmp(out, "over") == 0);
  expect_ok(ml_close(e, 0));
}

/* The metatables of C code's userdata are shown, and cannot be given a finalizer that nobody stops. */
static void c_metatables(ml_engine *e, const char *registry) {
  char out[512], source[2048];
  snprintf(source, sizeof source,
           "local function refused(mt)\n"
           "  assert(mt.__name == 'FILE*' and mt.__index.write == io.stdout.write)\n"
           "  assert(mt.__gc == nil and rawget(mt, '__name') == nil and next(mt) == nil)\n"
           "  assert(getmetatable(mt) == false)\n"
           "  local ok, e = pcall(function() mt.__gc = function() while true do end end end)\n"
           "  assert(not ok and e:find('cannot be altered', 1, true), e)\n"
           "  rawset(mt, '__gc', function() while true do end end)\n" /* which alters nothing */
           "  mt = nil\n"
           "end\n"
           "local mt = getmetatable(io.stdout)\n"
           "assert(mt == getmetatable(io.stderr))\n"
           "assert(mt == debug.getmetatable(io.stdout))\n"
           "assert(getmetatable('').__index == string and getmetatable({}) == nil)\n"
           "assert(getmetatable(print) == nil and not pcall(getmetatable))\n"
           "assert(getmetatable(setmetatable({}, {__metatable = 7})) == 7)\n"
           "%s\n"
           "refused(mt)\n"
           "for i = 1, 10 do local f = io.open('/dev/null') end\n"
           "collectgarbage()\n"
           "return 'whole'",
           registry);
  run(e, source, out, sizeof out);
  if (strcmp(out, "whole") != 0) fprintf(stderr, "%s\n", out);
  expect(strcmp(out, "whole") == 0);
  expect_ok(ml_close(e, 0));
}

static void finalizers_of_c(void) {
  static const char registry[] =
      "local r = debug.getregistry()\n"
      "assert(r['FILE*'] == mt and r._CLIBS == true and type(r._LOADED) == 'table')\n"
      "local seen\n"
      "for k, v in pairs(r) do if k == 'FILE*' then seen = v end end\n"
      "assert(seen == mt)";
  ml_config c;
  ml_engine *e;
  c_metatables(engine(ML_METER_WATCHDOG), registry);
  c_metatables(engine(ML_METER_COUNTED), registry);
  ml_config_init(&c);
  c.profile = ML_PROFILE_NO_NET;
  expect_ok(ml_new(&c, &e));
  c_metatables(e, "");
}

/* Random patterns on random texts have the results and errors that they have in Lua. */
static const char alike[] =
    "math.randomseed(SEED)\n"
    "local out = {}\n"
    "local function pick(t) return t[math.random(#t)] end\n"
    "local items = {'a', 'b', '.', '%a', '%d', '%s', '%W', '[ab]', '[^a]', '[a-c]', '[%d_]', "
    "'[]]',\n"
    "  '[^]]', '(', ')', '()', '%1', '%2', '%b()', '%bab', '%f[%w]', '%f[^a]', '$', '^', '%', '[', "
    "'%%',\n"
    "  '-', '*', '+', '?', '\\0', '%f', '%b', '[a', '[%', '%.', ']', '[a-]', '[-a]', '[%a-z]'}\n"
    "local suffix = {'', '', '', '*', '+', '-', '?'}\n"
    "local chars = {'a', 'b', 'c', '(', ')', ' ', '1', '_', ']', '-', '\\0', '%', '.', 'A'}\n"
    "local repl = {'<%0>', '%1', '%2', '%%', 'x%', '%x', '', {a = 'A', b = false, [1] = 'n', [''] "
    "= 'e'},\n"
    "  function(...) if select('#', ...) > 1 then return (select(2, ...)) end end, 7}\n"
    "local function note(...)\n"
    "  local t = table.pack(...)\n"
    "  for i = 1, t.n do t[i] = tostring(t[i]) end\n"
    "  out[#out + 1] = table.concat(t, ',', 1, t.n)\n"
    "end\n"
    "for i = 1, 800 do\n"
    "  local p, s = {}, {}\n"
    "  for j = 1, math.random(0, 5) do p[j] = pick(items) .. pick(suffix) end\n"
    "  for j = 1, math.random(0, 12) do s[j] = pick(chars) end\n"
    "  p, s = table.concat(p), table.concat(s)\n"
    "  local init = pick{1, 1, 2, 0, -1, -3, 20, -20}\n"
    "  note(pcall(string.find, s, p, init, math.random(5) == 1))\n"
    "  note(pcall(string.match, s, p, init))\n"
    "  note(pcall(string.gsub, s, p, pick(repl), pick{100, 1, 0, -1, nil}))\n"
    "  note(pcall(function()\n"
    "    local n = 0\n"
    "    for a, b in s:gmatch(p, init) do note(a, b) n = n + 1 if n > 50 then break end end\n"
    "  end))\n"
    "end\n"
    "note(pcall(string.find, ('a'):rep(300), ('a?'):rep(300)))\n"
    "note(pcall(string.find, ('a'):rep(40), ('('):rep(40)))\n"
    "note(pcall(string.gsub, 'x', 'x', function() return {} end))\n"
    "note(pcall(string.gsub, 'x', 'x', true)) note(pcall(string.gsub, 'x')) "
    "note(pcall(string.find))\n"
    "note(pcall(string.gmatch, 'x')) note(('x'):rep(3, ',')) note((''):rep(1e5)) note((''):rep(3, "
    "'-'))\n"
    "note(pcall(string.rep)) note(pcall(string.rep, 'x', 'y')) note(pcall(string.rep, 'x', 1 << "
    "62))\n"
    "local function proxy(t)\n"
    "  return setmetatable({}, {__index = t, __newindex = t, __len = function() return #t end}), "
    "t\n"
    "end\n"
    "for _, f in ipairs{function(t) return t end, proxy} do\n"
    "  local t, raw = f{3, 1, 2}\n"
    "  raw = raw or t\n"
    "  table.insert(t, 9) table.insert(t, 1, 8) table.insert(t, 3, 7)\n"
    "  note(table.concat(raw, ' ')) note(table.remove(t)) note(table.remove(t, 1)) "
    "note(table.remove(t, 2))\n"
    "  note(table.concat(t, '-')) note(table.concat(t, '-', 2)) note(table.concat(t, '-', 2, 3))\n"
    "  note(table.concat(t, '-', 4)) table.sort(t) note(table.concat(t, ','))\n"
    "  table.sort(t, function(a, b) return a > b end) note(table.concat(t, ','))\n"
    "  note(pcall(table.insert, t, 9, 1)) note(pcall(table.insert, t)) note(pcall(table.insert, t, "
    "1, 2, 3))\n"
    "  note(pcall(table.remove, t, 9)) note(table.remove(t, #t + 1)) note(pcall(table.insert, t, "
    "'x', 1))\n"
    "  note(pcall(table.concat, t, 1, 1, 9)) note(pcall(table.sort, t, 1))\n"
    "  note(table.concat(table.move(raw, 1, #raw, 2), ' ')) note(table.concat(table.move(raw, 2, "
    "#raw, 1), ' '))\n"
    "  note(#table.move(t, 1, 2, 1, {})) note(pcall(table.move, t, 1, math.maxinteger, 2))\n"
    "  note(pcall(table.move, t, math.mininteger, 0, 2)) note(pcall(table.move, t, 1)) "
    "note(#table.move(t, 1, 0, 5))\n"
    "end\n"
    "local x = setmetatable({}, {__index = function(_, k) return k .. ';' end, __len = function()\n"
    "  return math.maxinteger end, __newindex = function(_, k) note(k) end})\n"
    "note(table.concat(x, ',', math.maxinteger - 1)) note(table.concat(x, ',', math.maxinteger))\n"
    "note(pcall(table.insert, x, 1)) note(pcall(table.insert, x, 1, 1)) note(table.remove(x))\n"
    "local y = {} for i = 1, 20000 do y[i] = i % 3 end\n"
    "note(pcall(table.sort, y, math.ult)) note(table.concat(y, ' ', 1, 50))\n"
    "note(pcall(table.insert, 1, 2)) note(pcall(table.concat)) note(pcall(table.concat, {{}}))\n"
    "local big = {} for i = 1, 20000 do big[i] = (i * 7919) % 20011 end table.sort(big)\n"
    "note(table.concat(big, ' ', 1, 50)) note(pcall(table.sort, {1, 'x', 2}))\n"
    "local s = table.concat(out, '\\n'):gsub('0x%x+', 'PTR'):gsub('\\0', 'NUL')\n"
    "return s";

static void same_as_lua(void) {
  static char own[1 << 20], metered[1 << 20], source[8192];
  for (int seed = 1; seed <= 2; seed++) {
    ml_config c;
    ml_engine *plain, *e;
    char *p = source;
    snprintf(source, sizeof source, "%s", alike);
    p = strstr(source, "SEED");
    memcpy(p, "   0", 4);
    p[3] = (char)('0' + seed);
    expect_ok(ml_new(NULL, &plain));
    run(plain, source, own, sizeof own);
    expect_ok(ml_close(plain, 0));
    ml_config_init(&c);
    c.meter = ML_METER_WATCHDOG;
    c.slice_us = 30000000;
    expect_ok(ml_new(&c, &e));
    run(e, source, metered, sizeof metered);
    expect_ok(ml_close(e, 0));
    if (strcmp(own, metered) != 0) {
      size_t i = 0, from;
      while (own[i] == metered[i]) i++;
      from = i > 80 ? i - 80 : 0;
      fprintf(stderr, "seed %d: Lua's own:\n%.240s\n\nhere:\n%.240s\n", seed, own + from,
              metered + from);
      exit(1);
    }
    expect(strlen(own) > 10000);
  }
}

int main(void) {
  if (HELD_BACK) return 0; /* nothing in here has a second thread */
  same_as_lua();
  contained(ML_METER_WATCHDOG);
  contained(ML_METER_COUNTED);
  finalizers(ML_METER_WATCHDOG);
  finalizers(ML_METER_COUNTED);
  at_the_end(ML_METER_WATCHDOG);
  at_the_end(ML_METER_COUNTED);
  finalizers_of_c();
  return 0;
}
