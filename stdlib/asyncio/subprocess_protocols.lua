--- The loop's methods subprocess_exec and subprocess_shell: a protocol table whose methods connection_made,
--- pipe_data_received, pipe_connection_lost, process_exited, pause_writing, resume_writing and connection_lost are
--- called as things happen to a process. The order of events is that of CPython's base_subprocess.py.

local connections = require "asyncio.connections"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local net = require "asyncio.net"
local process = require "asyncio.process"
local spawning = require "asyncio.spawning"

local async, await = core.async, core.await
local Loop = core.Loop.methods

local M = {}

--- Calls a method of the protocol, if it has it.
local function tell(self, name, ...)
  local protocol = self._protocol
  local method = protocol[name]
  if method then return method(protocol, ...) end
end

-- ---- SubprocessTransport ----

---@class asyncio.SubprocessTransport
local Transport = {}
Transport.__index = Transport
Transport.__name = "SubprocessTransport"

function Transport:get_pid()
  return self._pid
end

--- nil while the process runs; negative: the signal that has ended it.
---@return integer?
function Transport:get_returncode()
  return self._child:returncode()
end

--- The Transport of a pipe: 0, 1, 2 with PIPE, those of `pipes`, or "pty".
---@param fd integer|string
function Transport:get_pipe_transport(fd)
  return self._pipes[fd]
end

function Transport:get_protocol()
  return self._protocol
end

function Transport:set_protocol(protocol)
  self._protocol = protocol
end

function Transport:get_extra_info(name, default)
  if name == "subprocess" then return self._child end
  return default
end

--- Raises OSError (ESRCH) after the end.
---@param signal integer|string
function Transport:send_signal(signal)
  self._child:kill(signal)
end

function Transport:terminate()
  self._child:kill("SIGTERM")
end

function Transport:kill()
  self._child:kill("SIGKILL")
end

function Transport:is_closing()
  return self._closed
end

--- Closes the pipes and kills the process if it runs. Idempotent.
function Transport:close()
  if self._closed then return end
  self._closed = true
  self._child:close()
end

Transport.__close = Transport.close

function Transport:__tostring()
  local code = self:get_returncode()
  return ("<SubprocessTransport%s pid=%d %s>"):format(self._closed and " closed" or "", self._pid,
    code and "returncode=" .. code or "running")
end

--- When the process has ended and all its pipes are closed.
local function try_finish(self)
  if self._exited and self._open == 0 and not self._finished then
    self._finished = true
    core.get_running_loop():call_soon(function()
      tell(self, "connection_lost", nil)
      self._closed = true
    end)
  end
end

local function on_exit(self)
  self._exited = true
  tell(self, "process_exited")
  try_finish(self)
end

-- ---- the pipes' protocols ----

local Pipe = {}
Pipe.__index = Pipe

function Pipe:data_received(data)
  tell(self.owner, "pipe_data_received", self.fd, data)
end

function Pipe:pause_writing()
  tell(self.owner, "pause_writing")
end

function Pipe:resume_writing()
  tell(self.owner, "resume_writing")
end

function Pipe:connection_lost(err)
  if self.fd == "pty" and err and err.code == "EIO" then err = nil end -- its end
  local owner = self.owner
  owner._open = owner._open - 1
  tell(owner, "pipe_connection_lost", self.fd, err)
  try_finish(owner)
end

local function make(factory)
  local protocol = factory()
  if type(protocol) ~= "table" then
    error(core.TypeError("protocol_factory must give a table, got " .. misuse.describe(protocol)), 0)
  end
  return protocol
end

local start = async(function(factory, request)
  local loop = core.get_running_loop()
  local protocol = make(factory)
  local child, transports = process.spawn(request)
  local self = setmetatable({
    _child = child, _pid = child:pid(), _pipes = transports, _protocol = protocol, _open = 0, _closed = false,
  }, Transport)
  child:keep(self)
  local made = loop:create_future()
  loop:call_soon(function()
    if not made:done() then made:set_result(nil) end
    tell(self, "connection_made", self)
  end)
  local directions = { pty = "rw" }
  for _, entry in ipairs(request.fds) do directions[entry[1]] = entry[2] end
  for fd, transport in pairs(transports) do
    self._open = self._open + 1
    net.protocol(transport, setmetatable({ owner = self, fd = fd }, Pipe), directions[fd] == "w")
  end
  if request.input then
    transports[0]:write(request.input)
    transports[0]:close()
  end
  child:on_exit(on_exit, self)
  local ok, err = core.catch(await, made)
  if not ok then -- cancelled
    self:close()
    pcall(await, child:wait())
    error(err, 0)
  end
  return self, protocol
end, "subprocess_exec")

local function check_options(opts, fname)
  if opts ~= nil and type(opts) ~= "table" then
    misuse.raise(core.TypeError, ("%s(): options must be a table, got %s"):format(fname, misuse.describe(opts)), 3)
  end
  return opts or {}
end

--- Starts a program. Awaits to a SubprocessTransport and the protocol.
---@param factory fun(): table
---@param program string
---@param ... any arguments, then options: as asyncio.create_subprocess_exec has them
function Loop:subprocess_exec(factory, program, ...) -- luacheck: ignore self
  connections.check_callback(factory, "protocol_factory", "subprocess_exec")
  local args = table.pack(program, ...)
  local opts = {}
  if args.n > 1 and type(args[args.n]) == "table" then
    opts = args[args.n]
    args.n = args.n - 1
  end
  local request = spawning.request(args, opts, {}, "subprocess_exec")
  return start(factory, request)
end

--- Starts a command of the shell.
---@param factory fun(): table
---@param command string
---@param opts? table
function Loop:subprocess_shell(factory, command, opts) -- luacheck: ignore self
  connections.check_callback(factory, "protocol_factory", "subprocess_shell")
  opts = check_options(opts, "subprocess_shell")
  if type(command) ~= "string" then
    misuse.raise(core.TypeError,
      "subprocess_shell(): the command must be a string, got " .. misuse.describe(command))
  end
  local request = spawning.request({ "/bin/sh", "-c", command }, opts, {}, "subprocess_shell")
  return start(factory, request)
end

M.SubprocessTransport = setmetatable({ methods = Transport }, { __name = "class SubprocessTransport" })

return M
