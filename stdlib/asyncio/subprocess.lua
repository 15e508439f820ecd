--- Subprocesses: programs that run beside this one, with their pipes as streams.

local connections = require "asyncio.connections"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local net = require "asyncio.net"
local process = require "asyncio.process"
local spawning = require "asyncio.spawning"
require "asyncio.streams" -- what readers and writers have beside what net gives them

local async, await = core.async, core.await
local isinstance = core.isinstance

local M = { PIPE = spawning.PIPE, STDOUT = spawning.STDOUT, DEVNULL = spawning.DEVNULL }

-- ---- both directions in one ----

---@class asyncio.subprocess.Duplex
---@field reader any StreamReader
---@field writer any StreamWriter
local Duplex = {}
Duplex.__index = Duplex
Duplex.__name = "Duplex"

for _, name in ipairs { "read", "readline", "readexactly", "readuntil", "lines", "at_eof" } do
  Duplex[name] = function(self, ...) return self.reader[name](self.reader, ...) end
end
for _, name in ipairs {
  "write", "writelines", "drain", "write_eof", "can_write_eof", "close", "wait_closed", "is_closing", "get_extra_info",
} do
  Duplex[name] = function(self, ...) return self.writer[name](self.writer, ...) end
end

function Duplex:__close()
  self:close()
  pcall(await, self:wait_closed())
end

---@class asyncio.subprocess.Terminal: asyncio.subprocess.Duplex
local Terminal = setmetatable({ __name = "Terminal", __close = Duplex.__close }, { __index = Duplex })
Terminal.__index = Terminal

--- Tells the programs in the terminal of its new size (SIGWINCH). Raises OSError when it is closed.
---@param rows integer
---@param cols integer
function Terminal:resize(rows, cols)
  local size = spawning.check_size(rows, cols, function(class, message)
    misuse.raise(class, "resize(): " .. message, 4)
  end)
  process.resize(self.writer, size)
end

--- Rows and columns.
---@return integer rows, integer cols
function Terminal:size()
  return process.size(self.writer)
end

-- ---- Process ----

---@class asyncio.subprocess.Process
---@field pid integer
---@field returncode integer? nil while it runs; -N when signal N has ended it
---@field stdin any? StreamWriter, with PIPE
---@field stdout any? StreamReader, with PIPE
---@field stderr any? StreamReader, with PIPE
---@field pipes table<integer, any> StreamReader for "r", StreamWriter for "w", Duplex for "rw"
---@field pty asyncio.subprocess.Terminal?
local Process = {}

local children = setmetatable({}, { __mode = "k" })

local meta = { __name = "Process" }
function meta.__index(self, key)
  if key == "returncode" then
    local child = children[self]
    return child and child:returncode()
  end
  return Process[key]
end

local function child_of(self, fname)
  local child = type(self) == "table" and children[self]
  if not child then
    misuse.raise(core.TypeError, ("%s: a Process was expected, got %s"):format(fname, misuse.describe(self)), 3)
  end
  return child
end

--- Awaits the end of the process and gives its return code. May be cancelled and awaited again. The pipes may still
--- hold output, which must be read for a process that writes much to end at all: see communicate.
function Process:wait()
  local child = child_of(self, "wait")
  return child:wait()
end

--- Sends a signal, by number or name. Raises OSError (ESRCH) after the end.
---@param signal integer|string
function Process:send_signal(signal)
  child_of(self, "send_signal"):kill(signal)
end

--- SIGTERM: asks it to end.
function Process:terminate()
  child_of(self, "terminate"):kill("SIGTERM")
end

--- SIGKILL: ends it.
function Process:kill()
  child_of(self, "kill"):kill("SIGKILL")
end

--- Closes the pipes and kills the process if it runs (with kill_on_close = false: leaves it alone). Idempotent.
function Process:close()
  child_of(self, "close"):close()
end

function meta.__close(self)
  local child = children[self]
  child:close()
  if self._kills then pcall(await, child:wait()) end
end

function meta.__tostring(self)
  local code = self.returncode
  return ("<Process %d %s>"):format(self.pid, code and "returncode=" .. code or "running")
end

local function is_gone(err)
  return isinstance(err, core.OSError) and (err.code == "EPIPE" or err.code == "ECONNRESET")
end

local feed = async(function(writer, input)
  if writer:is_closing() then return end
  if input then writer:write(input) end
  local ok, err = pcall(await, writer:drain())
  if not ok and not is_gone(err) then error(err, 0) end
  writer:close()
end, "communicate")

--- What is to be awaited, and which of it gives stdout and stderr.
local function jobs_of(self, input)
  local jobs, out, err = {}, nil, nil
  if self.stdin then jobs[#jobs + 1] = feed(self.stdin, input) end
  local first = self.stdout or self.pty
  if first then
    out = #jobs + 1
    jobs[out] = first:read()
  end
  if self.stderr then
    err = #jobs + 1
    jobs[err] = self.stderr:read()
  end
  return jobs, out, err
end

local communicate = async(function(self, input)
  if self.pty and input then self.pty:write(input) end
  local jobs, out, err = jobs_of(self, input)
  local results = {}
  if #jobs == 1 then
    results[1] = await(jobs[1])
  elseif #jobs > 1 then
    results = await(core.gather(jobs))
  end
  await(children[self]:wait())
  return out and results[out], err and results[err]
end, "communicate")

--- Writes input to stdin and closes it, reads stdout and stderr to their ends, awaits the end of the process. Awaits to
--- stdout and stderr, each a string, or nil without PIPE; of a process in a terminal to what it has shown. A process
--- that does not read its input is no error.
---@param input? string
---@return any awaitable of string?, string?
function Process:communicate(input)
  child_of(self, "communicate")
  if input ~= nil and type(input) ~= "string" then
    misuse.raise(core.TypeError, "communicate(): input must be a string, got " .. misuse.describe(input))
  end
  if input and not self.stdin and not self.pty then
    misuse.raise(core.ValueError, "communicate(): input was given, but stdin is not PIPE")
  end
  return communicate(self, input)
end

-- ---- making them ----

local function duplex(class, reader, writer)
  return setmetatable({ reader = reader, writer = writer }, class)
end

--- The streams of a pipe, by its direction.
local function open(transport, how, limit)
  if how == "r" then return process.reader(transport, limit, false) end
  if how == "w" then return net.new_writer(transport) end
  return duplex(Duplex, net.streams(transport, limit))
end

local names = { [0] = "stdin", "stdout", "stderr" }

local start = async(function(request, limit)
  local child, transports = process.spawn(request)
  local self = { pid = child:pid(), pipes = {}, args = request.args, _kills = request.kill }
  for _, entry in ipairs(request.fds) do
    local fd, how = entry[1], entry[2]
    local transport = transports[fd]
    if transport then
      local stream = open(transport, how, limit)
      if names[fd] then
        self[names[fd]] = stream
      else
        self.pipes[fd] = stream
      end
    end
  end
  if transports.pty then
    local reader = process.reader(transports.pty, limit, true)
    self.pty = duplex(Terminal, reader, net.new_writer(transports.pty, reader))
  end
  if request.input then
    local stdin = self.stdin
    self.stdin = nil
    stdin:write(request.input)
    stdin:close()
  end
  children[self] = child
  child:keep(self)
  return setmetatable(self, meta)
end, "create_subprocess")

--- Separates the options, a table in the last place, from the words.
local function split(...)
  local args = table.pack(...)
  local opts = args[args.n]
  if type(opts) ~= "table" or args.n == 1 then return args, {} end
  args.n = args.n - 1
  return args, opts
end

--- Starts a program with its arguments. Awaits to a Process; raises OSError with code, path and syscall when that
--- fails.
---@param program string a path, or a name that is looked for in PATH
---@param ... any arguments (strings, numbers), then options: see the reference
---@return any awaitable of a Process
function M.create_subprocess_exec(program, ...)
  local args, opts = split(program, ...)
  local request = spawning.request(args, opts, { "limit" }, "create_subprocess_exec")
  local limit = connections.check_limit(opts.limit, "create_subprocess_exec")
  return start(request, limit)
end

--- Starts a command of the shell (/bin/sh -c). What comes from outside must be quoted in it: better use
--- create_subprocess_exec.
---@param command string
---@param opts? table see the reference
---@return any awaitable of a Process
function M.create_subprocess_shell(command, opts)
  if type(command) ~= "string" then
    misuse.raise(core.TypeError,
      "create_subprocess_shell(): the command must be a string, got " .. misuse.describe(command))
  end
  if opts ~= nil and type(opts) ~= "table" then
    misuse.raise(core.TypeError,
      "create_subprocess_shell(): options must be a table, got " .. misuse.describe(opts))
  end
  opts = opts or {}
  local request = spawning.request({ "/bin/sh", "-c", command }, opts, { "limit" }, "create_subprocess_shell")
  local limit = connections.check_limit(opts.limit, "create_subprocess_shell")
  return start(request, limit)
end

M.Process = setmetatable({ methods = Process }, { __name = "class Process" })
M.Duplex = setmetatable({ methods = Duplex }, { __name = "class Duplex" })
M.Terminal = setmetatable({ methods = Terminal }, { __name = "class Terminal" })

return M
