--- What the runner prints of tests: failures with their source line, and counts. On a terminal nothing that tests have
--- given steers it.

local printable = require("tty.text").printable
local terminal = require "asyncio.terminal"

local core = require "asyncio.core"

local M = {}

---@class asyncio.testing.Report
---@field passed integer
---@field failed integer
---@field skipped integer
local Report = {}
Report.__index = Report

local codes = { red = "\27[1;31m", green = "\27[1;32m", yellow = "\27[33m", faint = "\27[2m", strong = "\27[1m" }

local function colours(on)
  return function(colour, text) return on and codes[colour] .. text .. "\27[0m" or text end
end

-- What a line shows.
function Report:line(text)
  return self.terminal and printable((text:gsub("\t", "        "))) or text
end

--- The names of a test and of what it stands in.
function Report:full_name(element)
  local names, context = {}, self.busted.context
  while element and element.descriptor ~= "file" and element.descriptor ~= "suite" do
    local name = element.name or element.descriptor
    if name then table.insert(names, 1, tostring(name)) end
    element = context.parent(element)
  end
  return self:line(table.concat(names, " "))
end

--- "spec/a_spec.lua:12: " of an element, or of the trace of what happened outside of all.
function Report.place(element, trace)
  trace = element.trace or trace
  return trace and trace.short_src and trace.currentline and trace.short_src .. ":" .. trace.currentline .. ": " or ""
end

--- The line that the message, or else the trace, names, and what of it the message is about.
function Report:show_line(message, trace)
  local path, number = core.error_place(tostring(message), "")
  if not path and trace and trace.currentline then path, number = trace.short_src, trace.currentline end
  local line = path and core.source_line(path, number)
  if not line then return end
  line = line:gsub("^%s+", "")
  self.out:write(self.paint("faint", ("  %d |"):format(number)), " ", line, "\n")
  local mark = core.error_mark(tostring(message), line)
  if mark then
    local gutter = ("  %s |"):format((" "):rep(#tostring(number)))
    self.out:write(self.paint("faint", gutter), " ", self.paint("red", mark), "\n")
  end
end

function Report:failure(element, message, trace)
  local out = self.out
  local name = self.paint("strong", self:full_name(element))
  out:write("\n", self.paint("red", "FAILED"), " ", self.place(element, trace), name, "\n")
  for line in (tostring(message) .. "\n"):gmatch("(.-)\n") do out:write("    ", self:line(line), "\n") end
  self:show_line(message, trace)
  local stack = trace and trace.traceback
  if stack and stack:find("%S") then
    for line in stack:gmatch("[^\n]+") do out:write(self.paint("faint", self:line("  " .. line)), "\n") end
  end
  out:flush()
end

function Report:test_end(element, status, took)
  local out = self.out
  if status == "pending" then
    if self.suppress_pending then return end
    self.skipped = self.skipped + 1
    if self.verbose then out:write(self.paint("yellow", "skip   "), self:full_name(element), "\n") end
    return
  end
  local ok = status == "success"
  self[ok and "passed" or "failed"] = self[ok and "passed" or "failed"] + 1
  if self.verbose then
    out:write(ok and self.paint("green", "ok     ") or self.paint("red", "FAILED "), self:full_name(element),
      (" (%.0f ms)\n"):format(took * 1000))
  elseif self.slow and took > self.slow then
    out:write(("slow: %s took %.1f s\n"):format(self:full_name(element), took))
  end
  out:flush()
end

--- "3 passed, 1 failed, 1 skipped".
---@return string
function Report:counts()
  local text = ("%d passed, %d failed"):format(self.passed, self.failed)
  return self.skipped > 0 and ("%s, %d skipped"):format(text, self.skipped) or text
end

--- Prints the counts, and what the order of the tests was made of if that was random.
---@param seconds? number
---@param seed? integer
function Report:finish(seconds, seed)
  local text = self:counts()
  if seconds then text = ("%s in %.2f s"):format(text, seconds) end
  if seed then self.out:write("\nshuffled by the seed ", seed) end
  self.out:write("\n", self.paint(self.failed > 0 and "red" or "green", text), "\n")
  self.out:flush()
end

--- Counts what busted tells of, and prints it unless it is `silent`.
---@param busted table
---@param opts table {verbose, slow (seconds), silent, colours, progress (a file for the name of the running test),
--- suppress_pending}
---@return asyncio.testing.Report
function M.new(busted, opts)
  local self = setmetatable({
    busted = busted, verbose = opts.verbose, slow = opts.slow, out = io.stdout, paint = colours(opts.colours),
    suppress_pending = opts.suppress_pending, terminal = terminal.isatty(1),
    passed = 0, failed = 0, skipped = 0, at = 0,
  }, Report)
  if opts.silent then
    self.out = { write = function() end, flush = function() end }
  end
  busted.subscribe({ "test", "start" }, function(element)
    self.at = busted.monotime()
    if opts.progress then
      local f <close> = assert(io.open(opts.progress, "w"))
      f:write(self.place(element), self:full_name(element), "\n")
    end
    return nil, true
  end)
  busted.subscribe({ "test", "end" }, function(element, _, status)
    self:test_end(element, status, busted.monotime() - self.at)
    return nil, true
  end)
  -- A failure in `it` is counted when the test ends; one outside of any counts by itself.
  local function on_error(element, _, message, trace)
    self:failure(element, message, trace)
    if element.descriptor ~= "it" then self.failed = self.failed + 1 end
    return nil, true
  end
  busted.subscribe({ "failure" }, on_error)
  busted.subscribe({ "error" }, on_error)
  return self
end

return M
