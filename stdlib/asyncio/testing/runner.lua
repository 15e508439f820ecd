--- Runs busted inside the engine: files are found and loaded, tests run as asyncio.testing.session has them, a report
--- is printed. `moonloop test` is this with options, the project's own spec/run.lua another user.

local report = require "asyncio.testing.report"
local session = require "asyncio.testing.session"

local M = {}

--- Is busted there? nil and why, if not.
---@return boolean?, string? why
function M.find()
  local found, why = pcall(require, "busted.core")
  if found then return true end
  if tostring(why):find("module 'busted.core' not found", 1, true) then
    return nil, "busted is not installed (Debian and Ubuntu: apt install lua-busted; LuaRocks: luarocks install busted)"
  end
  return nil, "busted does not load: " .. tostring(why)
end

-- busted takes back what a file requires. All parts of asyncio stay: one that were loaded twice would have two states.
local function keep_loaded()
  for _ in pairs(require "asyncio") do end
  require "asyncio.testing"
end

-- A handler of busted's for output: one that comes with it, a module, or a file. nil and why, if there is none.
local function find_handler(name)
  if name:find("%.lua$") then
    local chunk, why = loadfile(name)
    if not chunk then return nil, why end
    return chunk()
  end
  warn "@off" -- Penlight's, of parts that busted's handlers use
  local found, handler = pcall(require, "busted.outputHandlers." .. name)
  warn "@on"
  if not found then found, handler = pcall(require, name) end
  if found then return handler end
  return nil, ("there is no output handler '%s'"):format(name)
end

-- Output in a form that is not ours.
local function output_handler(busted, opts)
  local handler, why = find_handler(opts.output)
  if not handler then return nil, why end
  local options = {
    verbose = opts.verbose, suppressPending = opts.suppress_pending or false, language = opts.lang or "en",
    deferPrint = opts.defer_print or false, arguments = opts.output_arguments or {}, defaultOutput = "plainTerminal",
  }
  require("busted.utils").copy_interpreter_args(options.arguments)
  handler(options):subscribe(options)
  busted.subscribe({ "test", "start" }, function(element)
    if element.descriptor == "pending" then element.attributes = {} end -- a function in it is no JSON
    return nil, true
  end, { priority = 1 })
  busted.subscribe({ "error" }, function(element, _, _, trace) -- handlers take it that there is a place
    if not element.trace and not (trace and trace.currentline) then
      element.trace = { short_src = "moonloop test", currentline = 0, traceback = "" }
    end
    return nil, true
  end, { priority = 1 })
  return true
end

-- Ends the run with the first failure.
local function stop_at_failure(busted)
  local function stop()
    busted.skipAll = true
    return nil, true
  end
  busted.subscribe({ "failure" }, stop)
  busted.subscribe({ "error" }, stop)
end

-- What of busted is set before files are loaded; nil and why, if it cannot be.
local function set_up(busted, opts)
  if opts.insulate == false then busted.register("file", "file", {}) end
  if opts.lazy then
    busted.register("setup", "lazy_setup")
    busted.register("teardown", "lazy_teardown")
  end
  for _, language in ipairs { "en", opts.lang } do
    local found = pcall(require, "busted.languages." .. language)
    if not found then return nil, ("busted has no language '%s'"):format(language) end
  end
  busted.sort, busted.randomize = opts.sort_tests, opts.shuffle_tests
  busted.randomseed = opts.seed or require("busted.utils").urandom() or os.time()
  if opts.output then
    local ok, why = output_handler(busted, opts)
    if not ok then return nil, why end
  end
  if opts.fail_fast then stop_at_failure(busted) end
  if opts.helper then
    local ok, why = require "busted.modules.helper_loader"()(busted, opts.helper, {
      verbose = opts.verbose, language = opts.lang or "en", arguments = opts.helper_arguments or {},
    })
    if not ok then return nil, ("the helper '%s' has failed: %s"):format(opts.helper, tostring(why)) end
  end
  return true
end

-- Finds files, and has busted take them in.
local function load_files(busted, opts)
  require "busted.modules.filter_loader"()(busted, {
    tags = opts.tags or {}, excludeTags = opts.exclude_tags or {}, filter = opts.filter or {},
    filterOut = opts.filter_out or {}, list = opts.list, nokeepgoing = opts.fail_fast or nil,
    suppressPending = opts.suppress_pending,
  })
  local found, loader = pcall(require "busted.modules.test_file_loader", busted, opts.loaders or { "lua" })
  if not found then return nil, tostring(loader) end
  loader(opts.roots, opts.patterns or { "_spec%.lua$" }, {
    excludes = opts.excludes or {}, recursive = opts.recursive ~= false,
  })
  return true
end

--- Runs tests and prints a report; nil and why, if something it was told is not there.
---@param opts table {roots, patterns, excludes, recursive, loaders, tags, exclude_tags, filter, filter_out, list,
--- output (a handler of busted's: its name, a module or a file), output_arguments, defer_print, suppress_pending, lang,
--- helper, helper_arguments, lazy, insulate (true: files are), verbose, colours, slow, progress, quiet, timed, times,
--- seed, shuffle_files, shuffle_tests, sort_files, sort_tests, fail_fast, defaults (the session's)}
---@return asyncio.testing.Report?, string? why
function M.run(opts)
  keep_loaded()
  local busted = require "busted.core"()
  require "busted"(busted)
  local defaults = {}
  for key, value in next, opts.defaults or {} do defaults[key] = value end
  local running = session.install(busted, defaults)
  local own = report.new(busted, {
    verbose = opts.verbose, slow = opts.slow, silent = opts.output or opts.list, colours = opts.colours,
    progress = opts.progress, suppress_pending = opts.suppress_pending,
  })
  local ok, why = set_up(busted, opts)
  if ok then ok, why = load_files(busted, opts) end
  if not ok then return nil, why end
  local at = busted.monotime()
  require "busted.execute"(busted)(opts.times or 1, {
    seed = busted.randomseed, shuffle = opts.shuffle_files, sort = opts.sort_files,
  })
  busted.publish({ "exit" })
  if running.stopped then error(running.stopped[1], 0) end
  if not opts.output and not opts.list and not opts.quiet then
    local shuffled = opts.shuffle_files or opts.shuffle_tests
    own:finish(opts.timed and busted.monotime() - at or nil, shuffled and busted.randomseed)
  end
  return own
end

return M
