--- moonloop test: busted inside the engine.

local config = require "commands.test.config"
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
  -t, --tags TAG,...     tests that are tagged #TAG alone; may come again
  --exclude-tags TAG,... not those
  -p, --pattern PATTERN  names of the files in folders: _spec%.lua$; may come again
  --exclude-pattern PATTERN  not those
  --no-recursive         not of folders in folders
  -l, --list             print the names of the tests, and run none
  -v, --verbose          a line for every test
  --suppress-pending     nothing of pending tests
  -o, --output FORM      plain, tap, junit, json, gtest, or a handler of busted's: a module or a file
  -f, --config-file FILE another file than .busted
  -r, --run TASK         the task of .busted: default
  -C, --directory DIR    go there first
  --helper FILE          a file, or a module, that is run before the tests
  -e, --execute CODE     run before the tests, too
  -m, --lpath PATH       where modules are looked for first: ./src/?.lua;./src/?/init.lua;./lib/?.lua
  --cpath PATH           the same for those in C
  --lazy                 setup and teardown are lazy_setup and lazy_teardown
  --no-auto-insulate     what a file puts into _G stays
  --coverage             by LuaCov
  --fail-fast            end with the first failure
  --repeat N             all of it so many times
  --sort                 files and tests by their names
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
  ["no-loop"] = "flag", ["config-file"] = "string", run = "string", directory = "string", helper = "string",
  execute = "list", lpath = "string", cpath = "string", lazy = "flag", ["no-auto-insulate"] = "flag",
  ["no-recursive"] = "flag", ["suppress-pending"] = "flag", sort = "flag", coverage = "flag",
}

local short = {
  t = "tags", p = "pattern", l = "list", v = "verbose", o = "output", f = "config-file", r = "run", C = "directory",
  e = "execute", m = "lpath",
}

-- busted's output handlers by our names; false: the report is our own.
local forms = {
  plain = false, utfTerminal = false, plainTerminal = false, tap = "TAP", junit = "junit",
  json = "json", gtest = "gtest",
}

local function misuse(...) return options.misuse("test", ...) end

local function check(given)
  if given["repeat"] == 0 then
    misuse("--repeat: a positive number was expected, got '0'")
  elseif given.shuffle == 0 then
    misuse("--shuffle: a positive number was expected, got '0'")
  elseif given.timeout == 0 then
    misuse("--timeout: a positive time was expected, got '0'")
  end
end

local function check_patterns(all)
  for _, name in ipairs { "filter", "filter_out", "tags", "exclude_tags", "pattern", "exclude_pattern" } do
    for _, pattern in ipairs(all[name] or {}) do
      local ok, why = pcall(string.find, "", pattern)
      if not ok then misuse("--%s: '%s' is no pattern: %s", name:gsub("_", "-"), pattern, why) end
    end
  end
  for _, tag in ipairs(all.tags or {}) do
    for _, other in ipairs(all.exclude_tags or {}) do
      if tag == other then misuse("--tags and --exclude-tags: both have '%s'", tag) end
    end
  end
end

-- What the command's options are in terms of .busted's.
local function translated(given, words)
  given.e, given.ROOT = given.execute, words[1] and words
  given.auto_insulate = not given.no_auto_insulate and nil
  given.recursive = not given.no_recursive and nil
  for _, name in ipairs { "tags", "exclude_tags" } do
    local list = given[name] and {}
    for _, tags in ipairs(given[name] or {}) do
      for tag in tags:gmatch("[^,]+") do list[#list + 1] = tag end
    end
    given[name] = list
  end
  if given.sort then given.sort_files, given.sort_tests = true, true end
  if given.shuffle then given.shuffle_files, given.shuffle_tests, given.seed = true, true, given.shuffle end
  return given
end

-- All options: the command's before the file's.
local function all_of(given, words)
  if given.directory then
    if not require("pl.path").chdir(given.directory) then
      misuse("--directory: '%s' is no folder that can be entered", given.directory)
    end
  end
  local all = config.read(given.config_file, given.run)
  for name, value in next, translated(given, words) do
    if type(name) == "string" then all[name] = value end
  end
  check_patterns(all)
  return all
end

local function coloured()
  local term, no = os.getenv "TERM", os.getenv "NO_COLOR"
  return not (no and no ~= "") and term ~= nil and term ~= "dumb" and require("tty").isatty(1)
end

-- What is set before anything of the project is loaded.
local function prepare(all)
  package.path = (all.lpath or "./src/?.lua;./src/?/init.lua;./lib/?.lua") .. ";" .. package.path
  if all.cpath then package.cpath = all.cpath .. ";" .. package.cpath end
  arg = { [0] = "moonloop test" } -- luacheck: ignore (tests may look at it)
  if all.coverage then
    local ok, why = require "busted.modules.luacov"()(all.coverage_config_file)
    if not ok then misuse("--coverage: %s", why) end
  end
  for _, code in ipairs(all.e or {}) do
    local chunk, why = load(code, "=(-e)")
    if not chunk then misuse("--execute: %s", why) end
    chunk()
  end
end

local function main(args)
  local given, words, rest = options.read("test", args, kinds, help, short)
  table.move(rest, 1, #rest, #words + 1, words)
  check(given)
  local runner = require "asyncio.testing.runner"
  local found, why = runner.find()
  if not found then
    io.stderr:write("moonloop test: ", why, "\n")
    error(core.SystemExit(2), 0)
  end
  local all = all_of(given, words)
  prepare(all)
  local output = all.output or "plain"
  if forms[output] ~= nil then output = forms[output] end
  local report
  report, why = runner.run {
    roots = all.ROOT or { "spec" }, patterns = all.pattern, excludes = all.exclude_pattern,
    recursive = all.recursive ~= false, loaders = all.loaders, tags = all.tags, exclude_tags = all.exclude_tags,
    filter = all.filter, filter_out = all.filter_out, list = all.list, output = output, output_arguments = all.Xoutput,
    defer_print = all.defer_print, suppress_pending = all.suppress_pending, lang = all.lang, helper = all.helper,
    helper_arguments = all.Xhelper, lazy = all.lazy, insulate = all.auto_insulate ~= false, verbose = all.verbose,
    colours = coloured(), timed = true, times = all["repeat"], seed = all.seed, shuffle_files = all.shuffle_files,
    shuffle_tests = all.shuffle_tests, sort_files = all.sort_files, sort_tests = all.sort_tests,
    fail_fast = all.fail_fast or all.keep_going == false,
    defaults = {
      clock = all.real_time and "real" or "virtual", timeout = all.timeout, shuffle = given.shuffle,
      leaks = not all.no_leaks, loop = not all.no_loop,
    },
  }
  if not report then misuse("%s", why) end
  if report.failed > 0 then error(core.SystemExit(1), 0) end
end

return main({ ... })
