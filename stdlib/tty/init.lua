--- Terminals: raw mode that ends with a block or at the latest with the process, window size, keys.
--- A terminal is given as a standard stream (asyncio.stdin), a file of io, an object with fileno(), or a descriptor.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local stdio = require "asyncio.stdio"
local terminal = require "asyncio.terminal"

local M = {}

--- The descriptor of what stands for a terminal; raises TypeError.
local function descriptor(stream, fname)
  if stream == nil or stream == stdio.stdin then return 0 end
  local fd = math.type(stream) == "integer" and stream or io.type(stream) and terminal.fileno(stream)
  if not fd and (type(stream) == "table" or type(stream) == "userdata") and not io.type(stream) then
    local ok, method = pcall(function() return stream.fileno end)
    fd = ok and type(method) == "function" and method(stream)
  end
  if math.type(fd) == "integer" then return fd end
  misuse.raise(core.TypeError, ("%s(): a stream, file or descriptor was expected, got %s")
    :format(fname, misuse.describe(stream)), 3)
end

--- Is it a terminal?
---@param stream any standard input unless given
---@return boolean
function M.isatty(stream)
  return terminal.isatty(descriptor(stream, "isatty"))
end

--- The size of the window. Without an argument that of the first standard stream that is a terminal.
--- Raises OSError (ENOTTY).
---@return integer columns
---@return integer rows
function M.size(stream)
  if stream == nil then
    for fd = 1, 2 do
      if terminal.isatty(fd) then return terminal.size(fd) end
    end
  end
  return terminal.size(descriptor(stream, "size"))
end

-- ---- modes ----

--- By device: the modes that were asked for, one over the other. [0]: what setraw and setcbreak have set.
local stacks = {}

local function apply(fd, stack)
  local top = stack[#stack]
  terminal.mode(fd, top and top.mode or stack[0] or "normal")
end

local function stack_of(fd)
  local device = terminal.device(fd)
  if not device then terminal.mode(fd, "normal") end -- raises why not
  local stack = stacks[device] or {}
  stacks[device] = stack
  return stack
end

local Mode = {}
Mode.__index = Mode
Mode.__name = "tty.Mode"

--- Sets the terminal to what it was before. The second time nothing happens.
function Mode:close()
  local stack = self.stack
  self.stack = nil
  if not stack then return end
  for i = #stack, 1, -1 do
    if stack[i] == self then table.remove(stack, i) end
  end
  pcall(apply, self.fd, stack) -- it may be gone
end

Mode.__close = Mode.close

local function enter(stream, mode)
  local fd = descriptor(stream, mode)
  local stack = stack_of(fd)
  local self = setmetatable({ fd = fd, mode = mode, stack = stack }, Mode)
  stack[#stack + 1] = self
  local ok, err = pcall(apply, fd, stack)
  if not ok then
    stack[#stack] = nil
    error(err, 0)
  end
  return self
end

local function set(stream, mode, fname)
  local fd = descriptor(stream, fname)
  local stack = stack_of(fd)
  local before = stack[0]
  stack[0] = mode
  local ok, err = pcall(apply, fd, stack)
  if not ok then
    stack[0] = before
    error(err, 0)
  end
end

--- Raw mode until it is closed: `local raw <close> = tty.raw()`. Every key comes at once and unechoed, Ctrl-C too.
---@param stream any standard input unless given
function M.raw(stream)
  return enter(stream, "raw")
end

--- The same, but Ctrl-C and the like are signals still.
function M.cbreak(stream)
  return enter(stream, "cbreak")
end

--- Raw mode until tty.reset, or the end of the process.
function M.setraw(stream)
  set(stream, "raw", "setraw")
end

--- The same, but Ctrl-C and the like are signals still.
function M.setcbreak(stream)
  set(stream, "cbreak", "setcbreak")
end

--- Takes setraw or setcbreak back.
function M.reset(stream)
  set(stream, nil, "reset")
end

-- ---- what comes ----

--- Waits until the size is another one than that; what changes before it watches is seen, too.
local changed = core.async(function(fd, columns, rows)
  local next, signals = require("asyncio").signals { "SIGWINCH" }
  local _ <close> = signals
  while true do
    local c, r = M.size(fd)
    if c ~= columns or r ~= rows then return c, r end
    next(signals)
  end
end, "tty.resizes")

--- `for columns, rows in tty.resizes() do`: the size whenever the window's has changed.
function M.resizes(stream)
  local fd = stream ~= nil and descriptor(stream, "resizes") or nil
  local columns, rows = M.size(fd)
  return function()
    columns, rows = core.await(changed(fd, columns, rows))
    return columns, rows
  end
end

--- `for key, bytes in tty.keys() do`: the keys that are pressed, by name ("a", "é", "enter", "up", "ctrl-c", "alt-x",
--- "shift-f5") with their bytes. Standard input is in raw mode until the loop is left.
---@param opts? { mode?: "raw"|"cbreak", escape?: number } escape: seconds after which an Esc is one by itself
function M.keys(opts)
  core.options(opts, { "mode", "escape" }, "keys")
  local mode = opts and opts.mode or "raw"
  if mode ~= "raw" and mode ~= "cbreak" then
    misuse.raise(core.ValueError, ("keys(): mode must be 'raw' or 'cbreak', got '%s'"):format(tostring(mode)))
  end
  local escape = opts and opts.escape or 0.05
  if type(escape) ~= "number" or escape ~= escape or escape < 0 then
    misuse.raise(core.ValueError, "keys(): escape must be a number of seconds")
  end
  local guard = enter(stdio.stdin, mode)
  return require("tty.keys").reader(stdio.stdin, escape), nil, nil, guard
end

return M
