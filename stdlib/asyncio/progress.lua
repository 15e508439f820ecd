--- progress: a bar for long work, as tqdm's: how far it is, how long it took and will take, how fast it goes.
---
---   for url in asyncio.progress(urls, { desc = "pages" }) do ... end
---   local bar <close> = asyncio.progress(size, { bytes = true })
---
--- Figures go by the loop's clock (also a virtual one), drawing by the real one.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local status = require "tty.status"
local text = require "tty.text"
local time = require "time"

local M = {}

---@class asyncio.Progress
---@field n number how far it is
---@field total number? how much there is to do; nil if nobody knows
---@field desc string? what stands in front
---@field disable boolean nothing is shown
---@field private counted any what the iteration has given and not counted yet
local Progress = {}
Progress.__index = Progress
Progress.__name = "Progress"

local option_names = {
  "desc", "total", "unit", "unit_scale", "unit_divisor", "bytes", "initial", "leave", "file", "ncols", "mininterval",
  "smoothing", "rate", "ascii", "colour", "disable", "postfix",
}

local colours = { black = 30, red = 31, green = 32, yellow = 33, blue = 34, magenta = 35, cyan = 36, white = 37 }

-- Eighths of a column, and what stands for them where there is ASCII alone.
local blocks = { "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█" }
local digits = { "1", "2", "3", "4", "5", "6", "7", "8", "9", "#" }

-- ---- one line ----

--- The bar itself, of that many columns.
local function bar_of(fraction, columns, signs)
  local steps = math.floor(fraction * columns * #signs)
  local full, rest = steps // #signs, steps % #signs
  local part = rest > 0 and signs[rest] or ""
  return (signs[#signs]):rep(full) .. part .. (" "):rep(columns - full - (rest > 0 and 1 or 0))
end

local function number(self, n)
  if self.unit_scale then return text.scaled(n, self.unit_divisor) end
  return math.tointeger(n) and ("%d"):format(n) or ("%g"):format(n)
end

local function rate_text(self, rate)
  if not rate then return "?" .. self.unit .. "/s" end
  if rate > 0 and rate < 1 then
    return ("%.2fs/%s"):format(1 / rate, self.unit)
  end
  local n = self.unit_scale and text.scaled(rate + 0.0, self.unit_divisor) or ("%.2f"):format(rate)
  return n .. self.unit .. "/s"
end

-- The fields are the script's, too: what is no number counts as none.
local function counts(self)
  local n, total = self.n, self.total
  return type(n) == "number" and n == n and n or 0, type(total) == "number" and total == total and total or nil
end

local function figures(self)
  local n, total = counts(self)
  local elapsed, rate = self:elapsed(), self:rate()
  local tail = self.postfix and self.postfix ~= "" and ", " .. self.postfix or ""
  if self.show_rate then tail = ", " .. rate_text(self, rate) .. tail end
  if not total or n > total then
    local done = number(self, n) .. self.unit
    return nil, ("%s [%s%s]"):format(done, text.clock(elapsed), tail)
  end
  local left = self:remaining()
  local fraction = total > 0 and math.max(0, n / total) or 1
  return ("%3.0f%%"):format(math.floor(fraction * 100)),
    ("%s/%s [%s<%s%s]"):format(number(self, n), number(self, total), text.clock(elapsed),
      left and text.clock(left) or "?", tail), fraction
end

--- The line as it is shown in so many columns.
---@param columns integer
---@return string
function Progress:line(columns)
  columns = math.max(0, math.min(math.tointeger(columns) or 80, self.ncols or 1000))
  local head = self.desc and self.desc ~= "" and self.desc .. ": " or ""
  local percent, tail, fraction = figures(self)
  if not percent then return text.fit(head .. tail, columns) end
  head, tail = head .. percent .. "|", "| " .. tail
  local room = columns - text.width(head) - text.width(tail)
  if room < 4 then return text.fit(head:sub(1, -2) .. " " .. tail:sub(3), columns) end
  local bar = bar_of(math.min(1, fraction), room, self.ascii and digits or blocks)
  if self.colour then bar = ("\27[%dm%s\27[0m"):format(self.colour, bar) end
  return head .. bar .. tail
end

-- ---- figures ----

--- Seconds since it was made.
---@return number
function Progress:elapsed()
  return (self.ended or self.loop:time()) - self.started
end

--- How many a second: those of late rather than those of long ago; of all once it is closed. It falls while nothing
--- comes. nil as long as nobody can know.
---@return number?
function Progress:rate()
  local late = self.late_time
  if not self.ended and late > 0 then
    local stalled = self.loop:time() - self.drawn_at - math.max(3 * late, 1)
    return self.late_n / (late + math.max(stalled, 0))
  end
  local elapsed = self:elapsed()
  local done = counts(self) - self.initial
  if elapsed <= 0 or done <= 0 then return nil end
  return done / elapsed
end

--- The seconds that it will take, by the rate; nil if nobody can know.
---@return number?
function Progress:remaining()
  local n, total = counts(self)
  local rate = self:rate()
  if not total or not rate or rate <= 0 then return nil end
  return math.max(0, total - n) / rate
end

--- Takes what was done since the last time into the rate (an exponential moving average).
local function smooth(self)
  local now = self.loop:time()
  local n = counts(self)
  local passed, done = now - self.drawn_at, n - self.drawn_n
  if passed <= 0 or done == 0 then return end
  local keep = self.late_time > 0 and 1 - self.smoothing or 0
  self.late_time = keep * self.late_time + (1 - keep) * passed
  self.late_n = keep * self.late_n + (1 - keep) * done
  self.drawn_at, self.drawn_n = now, n
end

-- ---- what scripts do with it ----

local function finite(n) return type(n) == "number" and n == n and n ~= math.huge and n ~= -math.huge end

--- Shows it, unless that was done just now.
local function show(self)
  local screen = self.screen
  if screen and time.monotonic() - screen.painted >= self.mininterval then screen:draw() end
end

--- Counts n (1) more as done.
---@param n? number
function Progress:update(n)
  if n == nil then
    n = 1
  elseif not finite(n) then
    misuse.blame(core.TypeError, "update() expects a number, not " .. misuse.describe(n))
  end
  self.n = counts(self) + n
  show(self)
end

--- Shows it as it is now, whenever it was shown last.
function Progress:refresh()
  if self.screen then self.screen:draw() end
end

local function check_text(value, what)
  if value ~= nil and type(value) ~= "string" and type(value) ~= "number" then
    misuse.blame(core.TypeError, ("%s expects a string, not %s"):format(what, misuse.describe(value)))
  end
  return value and text.printable(tostring(value))
end

--- What stands in front.
---@param desc string?
function Progress:set_description(desc)
  self.desc = check_text(desc, "set_description()")
  show(self)
end

local function postfix_text(value, what)
  if type(value) ~= "table" then return check_text(value, what) end
  local keys, list = {}, {}
  for key in next, value do keys[#keys + 1] = tostring(key) end
  table.sort(keys)
  for i, key in ipairs(keys) do
    local v = value[key]
    if math.type(v) == "float" then v = ("%.3g"):format(v) end
    list[i] = text.printable(key .. "=" .. tostring(v))
  end
  return table.concat(list, ", ")
end

--- What stands behind: a string, or a table whose fields are shown as "name=value".
---@param postfix string|table|nil
function Progress:set_postfix(postfix)
  self.postfix = postfix_text(postfix, "set_postfix()")
  show(self)
end

local function check_total(total)
  if total == nil or total == math.huge then return nil end
  if type(total) ~= "number" then
    misuse.blame(core.TypeError, "progress() expects total to be a number, not " .. misuse.describe(total))
  elseif total ~= total or total < 0 then
    misuse.blame(core.ValueError, ("progress(): the total must be 0 or more, got %s"):format(total))
  end
  return total
end

local function start(self)
  local now = self.loop:time()
  self.started, self.drawn_at, self.drawn_n = now, now, self.n
  self.late_time, self.late_n = 0, 0
end

--- Begins again, with another total if one is given.
---@param total? number
function Progress:reset(total)
  if total ~= nil then self.total = check_total(total) end
  self.n, self.initial = 0, 0
  start(self)
  self:refresh()
end

--- Prints a line above the bars, as print does.
function Progress:write(...)
  local screen = self.screen
  if not screen then return print(...) end
  local list = table.pack(...)
  for i = 1, list.n do list[i] = tostring(list[i]) end
  screen:print(table.concat(list, "\t"))
end

--- Ends it: the line is left behind (`leave`), or taken away. The second time nothing happens.
function Progress:close()
  if self.ended then return end
  self.ended = self.loop:time()
  local screen = self.screen
  self.screen = nil
  if screen then
    local leave = self.leave
    if leave == nil then leave = screen:is_first(self.source) end
    screen:remove(self.source, leave and self:line(screen:size() - 1) or nil)
  end
  local _ <close> = self.closing -- of what is iterated over
  self.closing = nil
end

Progress.__close = Progress.close

function Progress:__tostring() return self:line(80) end

-- ---- iteration ----

--- What the iteration has given last is done when the next one is asked for.
local function count(self)
  local given = self.counted
  self.counted = nil
  if given ~= nil then self:update(self.bytes and type(given) == "string" and #given or 1) end
end

local function given(self, first, ...)
  if first == nil then
    self:close()
    return nil
  end
  self.counted = first
  self.control = first
  return first, ...
end

--- For `for`: the next of what is iterated over; of a mere total the numbers from 1 on.
function Progress:__call()
  count(self)
  if self.ended then return nil end
  local step = self.step
  if not step then
    misuse.blame(core.TypeError, "this progress has nothing to iterate over")
  end
  return given(self, step(self.state, self.control))
end

--- Has an object the method or metamethod?
local function has(object, name)
  local mt = getmetatable(object)
  return type(mt) == "table" and rawget(mt, name) ~= nil or type(object) == "table" and object[name] ~= nil
end

--- How the values of what is iterated over are got: step, state, control, what is to be closed; then its length.
local function iteration(what, state, control, closing)
  local kind = type(what)
  if kind == "function" then return what, state, control, closing end
  if kind == "table" or kind == "userdata" then
    if has(what, "__anext") or has(what, "__aiter") then
      local step, s, c, closer = require("asyncio.aio").aiter(what)
      return step, s, c, closer
    end
    local mt = getmetatable(what)
    if type(mt) == "table" and mt.__call then return what, state, control, closing end
    if kind == "table" then
      local i = 0
      return function()
        i = i + 1
        return what[i]
      end, nil, nil, nil, #what
    end
  end
  misuse.blame(core.TypeError, "progress() expects an array, an iterator or a total, not " .. misuse.describe(what))
end

--- What is iterated over instead: `for k, v in asyncio.progress(n, { desc = "keys" }):over(pairs(t)) do`.
--- Raises TypeError.
---@param what any an array, or an iterator with all that came with it
---@return asyncio.Progress self
function Progress:over(what, ...)
  local length
  self.step, self.state, self.control, self.closing, length = iteration(what, ...)
  self.total = self.total or length
  return self, nil, nil, self
end

--- Is that a table of options (rather than what an iterator goes by)?
local function is_options(value) return type(value) == "table" and getmetatable(value) == nil end

--- The options as fields of the object; raises for what they cannot be.
local function take_options(self, opts)
  for _, name in ipairs { "ncols", "mininterval", "smoothing", "initial", "unit_divisor" } do
    local value = opts[name]
    if value ~= nil and (not finite(value) or value < 0) then
      local message = "progress(): %s must be a number of 0 or more, got %s"
      misuse.blame(core.ValueError, message:format(name, tostring(value)))
    end
  end
  local bytes = opts.bytes
  self.bytes = bytes
  self.unit = check_text(opts.unit, "progress(): unit") or bytes and "B" or "it"
  self.unit_scale = bytes or opts.unit_scale
  self.unit_divisor = math.max(opts.unit_divisor or bytes and 1024 or 1000, 2)
  self.desc = check_text(opts.desc, "progress(): desc")
  self.postfix = postfix_text(opts.postfix, "progress(): postfix")
  self.initial = opts.initial or 0
  self.n = self.initial
  self.show_rate = opts.rate ~= false
  self.leave, self.ncols = opts.leave, opts.ncols and math.tointeger(opts.ncols // 1)
  self.mininterval, self.smoothing = opts.mininterval or 0.1, math.min(opts.smoothing or 0.3, 1)
  local colour = opts.colour
  if colour ~= nil and not colours[colour] then
    misuse.blame(core.ValueError, ("progress(): unknown colour '%s'"):format(tostring(colour)))
  end
  self.colour = colour and status.colours() and colours[colour]
  self.ascii = opts.ascii
  if self.ascii == nil then self.ascii = not status.utf8() end
  local file = opts.file or io.stderr
  if io.type(file) ~= "file" then
    misuse.blame(core.TypeError, "progress() expects file to be an open file, not " .. misuse.describe(file))
  end
  return file
end

--- A progress bar. `what` is an array or an iterator (then the bar is iterated over in its place, with the same values
--- of an iterator, and the elements of an array), a number (how much there is to do: `bar:update(n)` counts), or nil
--- (nobody knows). Options: `desc`; `total`; `unit` ("it"), `unit_scale` (k, M, G), `unit_divisor`; `bytes` (all three,
--- by 1024; strings that are iterated over count as long as they are); `initial`; `leave` (what is left behind at the
--- end: by default the outermost bar's line); `file` (io.stderr); `ncols`; `mininterval` (0.1 s between drawings);
--- `smoothing` (0.3); `rate` (false: not shown); `ascii`; `colour`; `disable`; `postfix`. On what is no terminal
--- nothing is shown. Raises TypeError and ValueError.
---@param what any
---@param ... any options; or what the iterator came with: `asyncio.progress(pairs(t))` (see `over` for both)
---@return asyncio.Progress bar
function M.progress(what, ...)
  local opts = ...
  local state, control, closing
  if type(what) == "function" and (select("#", ...) >= 2 or opts ~= nil and not is_options(opts)) then
    opts, state, control, closing = nil, ...
  end
  core.options(opts, option_names, "progress")
  opts = opts or {}
  local self = setmetatable({ loop = core.get_event_loop() }, Progress)
  local length
  if type(what) == "number" then
    length = check_total(what)
    local i = 0
    self.step = function()
      if self.total and i >= self.total then return nil end
      i = i + 1
      return i
    end
  elseif what ~= nil then
    self.step, self.state, self.control, self.closing, length = iteration(what, state, control, closing)
  end
  self.total = check_total(opts.total) or length
  local file = take_options(self, opts)
  start(self)
  self.disable = opts.disable or false
  self.screen = not self.disable and status.of(file) or nil
  if self.screen then
    self.source = function(columns)
      smooth(self)
      return self:line(columns)
    end
    self.screen:add(self.source)
    self:refresh()
  else
    self.disable = true
  end
  return self, nil, nil, self
end

M.Progress = Progress

return M
