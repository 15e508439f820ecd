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

-- Output in a form of busted's own.
local function output_handler(busted, name, opts)
  local handler = require("busted.outputHandlers." .. name)
  local options = {
    verbose = opts.verbose, suppressPending = false, language = "en", deferPrint = false, arguments = {},
    defaultOutput = "plainTerminal",
  }
  local made = handler(options)
  made:subscribe(options)
  busted.subscribe({ "test", "start" }, function(element)
    if element.descriptor == "pending" then element.attributes = {} end -- a function in it is no JSON
    return nil, true
  end, { priority = 1 })
  return made, busted
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

--- Runs tests and prints a report.
---@param opts table {roots, patterns, excludes, tags, exclude_tags, filter, filter_out, list, output (a handler of
--- busted's), verbose, colours, slow, progress, quiet, timed, times, order (a seed for the order of tests), fail_fast,
--- defaults (the session's)}
---@return asyncio.testing.Report
function M.run(opts)
  keep_loaded()
  local busted = require "busted.core"()
  require "busted"(busted)
  require "busted.languages.en"
  local defaults = {}
  for key, value in next, opts.defaults or {} do defaults[key] = value end
  local running = session.install(busted, defaults)
  if opts.order then
    busted.randomize, busted.randomseed = true, opts.order
  end
  local own = report.new(busted, {
    verbose = opts.verbose, slow = opts.slow, silent = opts.output ~= nil or opts.list, colours = opts.colours,
    progress = opts.progress,
  })
  if opts.output then output_handler(busted, opts.output, opts) end
  if opts.fail_fast then stop_at_failure(busted) end
  require "busted.modules.filter_loader"()(busted, {
    tags = opts.tags or {}, excludeTags = opts.exclude_tags or {}, filter = opts.filter or {},
    filterOut = opts.filter_out or {}, list = opts.list, nokeepgoing = opts.fail_fast or nil,
  })
  local load_files = require "busted.modules.test_file_loader"(busted, { "lua" })
  load_files(opts.roots, opts.patterns or { "_spec%.lua$" }, { excludes = opts.excludes or {}, recursive = true })
  local at = busted.monotime()
  require "busted.execute"(busted)(opts.times or 1, { seed = opts.order, shuffle = opts.order ~= nil })
  busted.publish({ "exit" })
  if running.stopped then error(running.stopped[1], 0) end
  if not opts.output and not opts.list and not opts.quiet then
    own:finish(opts.timed and busted.monotime() - at or nil)
  end
  return own
end

return M
