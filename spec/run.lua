--- Runs busted specs inside the engine, with a leak gate after each.
---   build/moonloop spec/run.lua [-v] [--filter PATTERN] [FILE or FOLDER...]
--- Prints what failed and closes with 'N passed, N failed'; status 1 if any did.
--- For tools/test.sh: SPEC_TALLY names a file for the counts, SPEC_PROGRESS one
--- that always holds the name of the spec that is running.

local root = arg[0]:match("^(.*)/spec/[^/]*$") or "."
package.path = root .. "/?.lua;" .. package.path

local verbose = os.getenv("SPEC_VERBOSE") == "1"
local filters, roots = {}, {}
do
  local i = 1
  while arg[i] do
    if arg[i] == "-v" then
      verbose = true
    elseif arg[i] == "--filter" and arg[i + 1] then
      i = i + 1
      filters[#filters + 1] = arg[i]
    elseif arg[i]:sub(1, 1) == "-" then
      io.stderr:write("spec/run.lua: unknown option '", arg[i], "'\n")
      os.exit(2)
    else
      roots[#roots + 1] = arg[i]
    end
    i = i + 1
  end
end
if #roots == 0 then roots[1] = root == "." and "spec" or root .. "/spec" end
arg = { [0] = arg[0] } -- luacheck: ignore (busted reads it)

-- What is loaded here stays loaded: busted takes back what a spec file requires.
-- All parts of asyncio: one that were loaded twice would have two states.
pcall(function()
  for _ in pairs(require("asyncio")) do end
end)
local helper = require("spec.helper")

local busted = require("busted.core")()
require("busted")(busted)
require("busted.modules.filter_loader")()(busted, {
  tags = {}, excludeTags = {}, filter = filters, filterOut = {},
})

local passed, failed, skipped = 0, 0, 0
local progress = os.getenv("SPEC_PROGRESS")
local current -- the spec that runs: {name=, stats=, failed=}

local function full_name(element)
  local names = {}
  while element and element.descriptor ~= "file" and element.descriptor ~= "suite" do
    table.insert(names, 1, tostring(element.name or element.descriptor))
    element = busted.context.parent(element)
  end
  return table.concat(names, " ")
end

local function place(element, trace)
  trace = element.trace or trace
  return trace and trace.short_src and trace.short_src .. ":" .. trace.currentline .. ": " or ""
end

local function report(element, message, trace)
  io.write("\nFAILED ", place(element, trace), full_name(element), "\n")
  for line in (tostring(message) .. "\n"):gmatch("(.-)\n") do io.write("    ", line, "\n") end
  local stack = trace and trace.traceback
  if stack and stack:find("%S") then
    for line in stack:gmatch("[^\n]+") do io.write("  ", line, "\n") end
  end
  io.flush()
end

busted.subscribe({ "test", "start" }, function(element)
  current = { name = full_name(element), stats = helper.stats(), at = busted.monotime() }
  if progress then
    local f <close> = assert(io.open(progress, "w"))
    f:write(place(element), current.name, "\n")
  end
  return nil, true
end)

busted.subscribe({ "test", "end" }, function(element, _, status)
  local this = current or {}
  current = nil
  helper.cleanup()
  if status == "pending" then
    skipped = skipped + 1
    if verbose then io.write("skip   ", full_name(element), "\n") end
    return nil, true
  end
  local leaks = helper.leaks(this.stats)
  if leaks then
    if status == "success" then report(element, "leak gate: " .. leaks) end
    status = "leak"
  end
  if status == "success" then
    passed = passed + 1
  else
    failed = failed + 1
  end
  local took = this.at and busted.monotime() - this.at or 0
  if verbose then
    io.write(status == "success" and "ok     " or "FAILED ", full_name(element),
      (" (%.0f ms)\n"):format(took * 1000))
  elseif took > 2 then
    io.write(("slow: %s took %.1f s\n"):format(full_name(element), took))
  end
  io.flush()
  return nil, true
end)

-- A failure in `it` is counted when the test ends; one outside of any counts by itself.
local function on_error(element, _, message, trace)
  report(element, message, trace)
  if element.descriptor ~= "it" then failed = failed + 1 end
  return nil, true
end
busted.subscribe({ "failure" }, on_error)
busted.subscribe({ "error" }, on_error)

local load_files = require("busted.modules.test_file_loader")(busted, { "lua" })
load_files(roots, { "_spec%.lua$" }, { excludes = {}, recursive = true })
require("busted.execute")(busted)(1, {})

local function counts(sep)
  return ("%d passed%s%d failed%s"):format(passed, sep, failed,
    skipped > 0 and ("%s%d skipped"):format(sep, skipped) or "")
end
local tally = os.getenv("SPEC_TALLY")
if tally then
  local f <close> = assert(io.open(tally, "w"))
  f:write(("%d %d %d\n"):format(passed, failed, skipped))
else
  io.write("\n", counts(", "), "\n")
end
io.flush()
if failed > 0 then os.exit(1, true) end
