--- Lines that stay at the bottom of a terminal while the program prints above them: what progress bars are shown in.
---
--- The cursor is kept behind the last of these lines. Before something else is printed to the terminal they are taken
--- away, and painted again afterwards: `print`, `io.write` and writing to io's and asyncio's stdout and stderr are
--- replaced for as long as there are lines. On what is no terminal (or a "dumb" one) nothing is shown.

local terminal = require "asyncio.terminal"
local time = require "time"

local M = {}

---@class tty.Status
---@field private file file*
---@field private device any which terminal
---@field private sources function[] what gives the lines, each: source(columns)
---@field private lines string[] as they were rendered last
---@field private rows integer how many of them are on the screen
---@field private open boolean the terminal's line was begun by somebody and not ended
---@field private footer? { hide: fun(), show: fun() } what stands below the lines and is drawn by somebody else
---@field private below boolean? the footer is on the screen, with the cursor in it
---@field private held boolean? hooks stay without lines
---@field painted number real time of the last rendering
local Status = {}
Status.__index = Status
Status.__name = "tty.Status"

-- By file: those with lines.
local shown = {}

local function env(name)
  local ok, value = pcall(os.getenv, name) -- a sandbox may refuse
  return ok and value or nil
end

--- The terminal that a file is, or nil.
local function device_of(file)
  local ok, device = pcall(function() return terminal.device(terminal.fileno(file)) end)
  return ok and device or nil
end

-- ---- what else is printed ----

--- What was in the place of each hook: { table, key, hook, original }.
local hooks = {}

local function before(device)
  for _, status in next, shown do
    if status.device == device then status:hide() end
  end
end

local function after(device, open)
  for _, status in next, shown do
    if status.device == device then
      status.open = open
      if open and status.footer then status:finish_line() end
      status:paint()
    end
  end
end

--- Does the last of the strings leave its line open?
local function leaves_open(n, ...)
  for i = n, 1, -1 do
    local text = select(i, ...)
    if text ~= "" then return type(text) ~= "string" or text:sub(-1) ~= "\n" end
  end
  return false
end

local function written(file, device, open, ok, ...)
  if open and io.type(file) == "file" then file:flush() end -- else the line's end has done so
  after(device, open)
  if not ok then error((...), 0) end
  return ...
end

--- `writer` as it is when lines stand in the way: calls of it are told by target(...), which gives the file and where
--- its text begins among the arguments, or nil.
local function hooked(original, target)
  return function(...)
    local file, first = target(...)
    local device = file and device_of(file)
    if not device then return original(...) end
    before(device)
    local open = first ~= nil and leaves_open(select("#", ...) - first + 1, select(first, ...))
    return written(file, device, open, pcall(original, ...))
  end
end

local function put_hook(place, key, target, of_files)
  local original = rawget(place, key)
  if type(original) ~= "function" then return end
  local hook = hooked(original, target)
  hooks[#hooks + 1] = { place, key, hook, original, of_files = of_files }
  rawset(place, key, hook)
end

local put_hooks, take_hooks

--- Methods of asyncio.stdout and asyncio.stderr. The first write to asyncio.stdout puts a function of its own in the
--- place of print: the hooks go out of its way.
local function put_stream_hook(place, key, stdout, stderr)
  local original = place[key]
  local function direct(...)
    take_hooks()
    local results = table.pack(pcall(original, ...))
    if next(shown) ~= nil then put_hooks() end
    if not results[1] then error(results[2], 0) end
    return table.unpack(results, 2, results.n)
  end
  local hook = hooked(direct, function(writer)
    local stream = require "asyncio.stdstreams"
    return writer == stream.stdout and stdout or writer == stream.stderr and stderr or nil, 2
  end)
  hooks[#hooks + 1] = { place, key, hook, original }
  place[key] = hook
end

function put_hooks()
  if #hooks > 0 then return end
  local library = rawget(_G, "io")
  if type(library) ~= "table" then return end
  local stdout, stderr = library.stdout, library.stderr
  put_hook(_G, "print", function() return stdout end)
  put_hook(library, "write", function()
    local file = library.output()
    return file == stdout and file or nil, 1
  end)
  local mt = getmetatable(stdout)
  if type(mt) == "table" and type(mt.__index) == "table" then
    put_hook(mt.__index, "write", function(file)
      if file == stdout or file == stderr then return file, 2 end
    end, true)
  end
  put_stream_hook(require("asyncio.stdstreams").metatable.__index, "write", stdout, stderr)
end

function take_hooks()
  for i = #hooks, 1, -1 do
    local place, key, hook, original = table.unpack(hooks[i])
    if rawget(place, key) == hook then rawset(place, key, original) end
    hooks[i] = nil
  end
end

--- What is not hooked.
local function original_write()
  for _, hook in ipairs(hooks) do
    if hook.of_files then return hook[4] end
  end
  return io.stderr.write
end

-- ---- lines ----

--- Columns and rows; 80 x 24 for a terminal that does not know.
---@return integer columns, integer rows
function Status:size()
  local ok, columns, rows = pcall(function() return terminal.size(terminal.fileno(self.file)) end)
  if not ok or columns < 1 then columns = math.tointeger(tonumber(env("COLUMNS"))) or 80 end
  if not ok or rows < 1 then rows = math.tointeger(tonumber(env("LINES"))) or 24 end
  return columns, rows
end

--- The cursor goes to the beginning of the first line.
local function home(self) return self.rows > 1 and ("\r\27[%dA"):format(self.rows - 1) or "\r" end

--- Ends a line that somebody has begun.
function Status:finish_line()
  if not self.open then return end
  self.open = false
  original_write()(self.file, "\n")
end

--- Takes the footer off the screen. Gives what brings the cursor to the beginning of the first line.
---@return string
function Status:lift()
  if not self.below then return home(self) end
  self.below = false
  self.footer.hide() -- and leaves the cursor at the left
  return self.rows > 0 and ("\27[%dA"):format(self.rows) or ""
end

--- Takes the lines off the screen.
function Status:hide()
  local up = self:lift()
  if self.rows == 0 then return end
  original_write()(self.file, up .. "\27[J")
  self.rows = 0
end

--- Puts them there as they were rendered last. A line that somebody has begun is let be.
function Status:paint()
  local n, footer = #self.lines, self.footer
  if self.open or n == 0 and not footer then return end
  if n > 0 then
    local text = table.concat(self.lines, "\27[K\n")
    local write = original_write()
    write(self.file, self:lift() .. text .. "\27[K" .. (self.rows > n and "\27[J" or "") .. (footer and "\n" or ""))
    self.rows = n
  end
  if footer and not self.below then
    self.file:flush()
    footer.show()
    self.below = true
  end
end

--- From now on the file's lines are followed, so that it is known whether one was begun.
function Status:hold()
  self.held = true
  shown[self.file] = self
  put_hooks()
end

--- Ends hold().
function Status:release()
  self.held = nil
  if #self.sources > 0 then return end
  shown[self.file] = nil
  if next(shown) == nil then take_hooks() end
end

--- A line of input is below the lines from now on: what is printed comes above it. The cursor is where it may begin.
---@param footer { hide: fun(), show: fun() } takes it off the screen, and draws it again where the cursor is
function Status:open_footer(footer)
  self:hide()
  self:finish_line()
  self:paint()
  if self.rows > 0 then original_write()(self.file, "\n") end
  self.file:flush()
  self.footer, self.below = footer, true
end

--- The line was entered: it stays where it is, and so do the lines above it.
function Status:close_footer()
  self.footer, self.below = nil, false
  self.rows = 0
  self:paint()
end

--- Renders the lines and shows them.
function Status:draw()
  self.painted = time.monotonic()
  local columns, rows = self:size()
  local lines = {}
  for i, source in ipairs(self.sources) do
    if i == rows - 1 and #self.sources > i then
      lines[i] = ("(%d more)"):format(#self.sources - i + 1)
      break
    end
    lines[i] = source(columns - 1) -- a line that fills the last column is different on every terminal
  end
  self:finish_line()
  self.lines = lines
  self:paint()
end

--- Adds a line below the others. `source(columns)` gives its text.
---@param source fun(columns: integer): string
function Status:add(source)
  table.insert(self.sources, source)
  shown[self.file] = self
  put_hooks()
end

--- Is it the first line?
---@return boolean
function Status:is_first(source) return self.sources[1] == source end

--- Removes a line; `last` stays behind as printed text.
---@param source fun(columns: integer): string
---@param last? string
function Status:remove(source, last)
  for i, other in ipairs(self.sources) do
    if other == source then
      table.remove(self.sources, i)
      break
    end
  end
  self:hide()
  if last then
    if self.open then last = "\n" .. last end
    self.open = false
    original_write()(self.file, last .. "\n")
  end
  if #self.sources > 0 then return self:draw() end
  self.lines = {}
  if self.footer then self:paint() end
  if self.held then return end
  shown[self.file] = nil
  if next(shown) == nil then take_hooks() end
end

--- Prints text above the lines.
---@param text string
function Status:print(text)
  self:hide()
  if self.open then text = "\n" .. text end
  self.open = false
  original_write()(self.file, text .. "\n")
  self:paint()
end

--- The lines of a terminal; nil if the file is none.
---@param file file* io.stdout or io.stderr
---@return tty.Status?
function M.of(file)
  if shown[file] then return shown[file] end
  local device = device_of(file)
  local ok, is = pcall(function() return terminal.isatty(terminal.fileno(file)) end)
  if not ok or not is or env("TERM") == "dumb" then return nil end
  return setmetatable({
    file = file, device = device, sources = {}, lines = {}, rows = 0, open = false, painted = -math.huge,
  }, Status)
end

--- May text be coloured? Not with NO_COLOR in the environment.
---@return boolean
function M.colours()
  local no = env("NO_COLOR")
  return not no or no == ""
end

--- Does the terminal take UTF-8, by the environment?
---@return boolean
function M.utf8()
  local locale
  for _, name in ipairs { "LC_ALL", "LC_CTYPE", "LANG" } do
    locale = env(name)
    if locale and locale ~= "" then break end
  end
  return locale ~= nil and locale:lower():find("utf%-?8") ~= nil
end

-- A program that ends while lines are shown leaves the prompt a line of its own.
M.sentinel = setmetatable({}, {
  __gc = function()
    for file, status in next, shown do
      if status.rows > 0 then pcall(original_write(), file, "\n") end
    end
  end,
})

return M
