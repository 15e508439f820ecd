-- What the programs of the benchmark share: arguments, a clock, figures on standard output.
-- A figure is a line `NAME VALUE`; the runner collects them.

local time = require "time"

local M = {}

M.now = time.perf_counter

---The script's argument i as an integer.
---@param i integer
---@param default integer
---@return integer
function M.arg(i, default)
  return math.tointeger(tonumber(arg[i])) or default
end

---Prints one figure.
---@param name string
---@param value number
function M.figure(name, value)
  print(("%s %.9g"):format(name, value))
end

---Prints the nanoseconds that each of n operations took since started.
---@param started number a time from M.now
---@param n integer
---@param name string? the figure's name, "ns" by default
function M.each(started, n, name)
  M.figure(name or "ns", (M.now() - started) * 1e9 / n)
end

return M
