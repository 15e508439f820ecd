--- moonloop test: busted inside the engine.

local core = require "asyncio.core"
local options = require "commands.options"

local help = [[
Usage: moonloop test [options] [FILE|FOLDER...]
Runs busted's tests inside the engine: of folders ("spec" unless given) all *_spec.lua in them and
below. Each test is a task of a loop of its own, in virtual time; it may await, and so may its
hooks. A test fails if it leaves something behind: tasks that are not done, handles that are open,
coroutines that nobody has awaited, errors that nobody has seen.

  --filter PATTERN       tests whose names match alone; may come again
  --filter-out PATTERN   not those
  -t, --tags TAG         tests that are tagged #TAG alone; may come again
  --exclude-tags TAG     not those
  -p, --pattern PATTERN  names of the files in folders: _spec%.lua$; may come again
  --exclude-pattern PATTERN  not those
  -l, --list             print the names of the tests, and run none
  -v, --verbose          a line for every test
  -o, --output FORM      plain, tap, junit, json, gtest
  --fail-fast            end with the first failure
  --repeat N             all of it so many times
  --shuffle SEED         run tests, and ready tasks in them, in an order that SEED decides
  --real-time            clocks are real
  --timeout T            for each test and each hook, by its clock: 24h, in real time 60s
  --no-leaks             nothing is looked for after a test
  --no-loop              tests make their loops themselves, with asyncio.run
  -h, --help             print this text

Exit status: 0; 1 if a test has failed, or none was found; 2 for misuse.
]]

local kinds = {
  filter = "list", ["filter-out"] = "list", tags = "list", ["exclude-tags"] = "list", pattern = "list",
  ["exclude-pattern"] = "list", list = "flag", verbose = "flag", output = "string", ["fail-fast"] = "flag",
  ["repeat"] = "integer", shuffle = "integer", ["real-time"] = "flag", timeout = "duration", ["no-leaks"] = "flag",
  ["no-loop"] = "flag",
}

local forms = { plain = false, tap = "TAP", junit = "junit", json = "json", gtest = "gtest" }

local function check(given)
  if given.output and forms[given.output] == nil then
    options.misuse("test", "--output: plain, tap, junit, json or gtest was expected, got '%s'", given.output)
  elseif given["repeat"] == 0 then
    options.misuse("test", "--repeat: a positive number was expected, got '0'")
  elseif given.shuffle == 0 then
    options.misuse("test", "--shuffle: a positive number was expected, got '0'")
  elseif given.timeout == 0 then
    options.misuse("test", "--timeout: a positive time was expected, got '0'")
  end
  for _, pair in ipairs(given) do
    local ok, why = pcall(string.find, "", pair[2])
    if not ok then options.misuse("test", "--%s: '%s' is no pattern: %s", pair[1]:gsub("_", "-"), pair[2], why) end
  end
end

local function coloured()
  local term, no = os.getenv "TERM", os.getenv "NO_COLOR"
  return not (no and no ~= "") and term ~= nil and term ~= "dumb" and require("tty").isatty(1)
end

local function main(args)
  local given, words = options.read("test", args, kinds, help, {
    t = "tags", p = "pattern", l = "list", v = "verbose", o = "output",
  })
  check(given)
  local runner = require "asyncio.testing.runner"
  local found, why = runner.find()
  if not found then
    io.stderr:write("moonloop test: ", why, "\n")
    error(core.SystemExit(2), 0)
  end
  package.path = "./src/?.lua;./src/?/init.lua;./lib/?.lua;" .. package.path
  arg = { [0] = "moonloop test" } -- luacheck: ignore (tests may look at it)
  local report = runner.run {
    roots = #words > 0 and words or { "spec" }, patterns = given.pattern, excludes = given.exclude_pattern,
    tags = given.tags, exclude_tags = given.exclude_tags, filter = given.filter, filter_out = given.filter_out,
    list = given.list, output = forms[given.output] or nil, verbose = given.verbose, colours = coloured(), timed = true,
    times = given["repeat"], order = given.shuffle, fail_fast = given.fail_fast,
    defaults = {
      clock = given.real_time and "real" or "virtual", timeout = given.timeout, shuffle = given.shuffle,
      leaks = not given.no_leaks, loop = not given.no_loop,
    },
  }
  if report.failed > 0 then error(core.SystemExit(1), 0) end
end

return main({ ... })
