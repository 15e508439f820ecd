--- An inspected process, asked through its socket; for ps, pstree and top.

local asyncio = require "asyncio"
local core = require "asyncio.core"
local folder = require "asyncio.inspector.folder"
local json = require "json"
local options = require "commands.options"
local text = require "tty.text"

local await = core.await

local M = {}

--- The inspector itself answers when the program does not: it takes a second, or two, to say so.
local TIMEOUT = 5

---@class commands.inspect.Peer
---@field pid integer
local Peer = {}
Peer.__index = Peer

function Peer:__close()
  if self.writer then self.writer:close() end
end

--- Asks "tasks", "counts", "all" or "info". Raises EOFError-like OSErrors when the process has gone.
---@return table answer has the field `blocked` (seconds) if the program's loop does not turn
function Peer:ask(question)
  self.writer:write(question .. "\n")
  local line = await(asyncio.wait_for(self.reader:readline(), TIMEOUT))
  if not line or line:sub(-1) ~= "\n" then error(core.OSError(("process %d has ended"):format(self.pid)), 0) end
  local answer = json.decode(line)
  if answer.error then error(core.OSError(answer.error), 0) end
  return answer
end

local function open(pid, path)
  local reader, writer = await(asyncio.open_unix_connection(path, { limit = 1 << 28 }))
  return setmetatable({ pid = pid, reader = reader, writer = writer }, Peer)
end

--- Connects to a process, or ends the command with what is wrong.
---@param command string
---@param pid integer
---@return commands.inspect.Peer
function M.open(command, pid)
  local path, why = folder.find(pid)
  if path then
    local ok, peer = pcall(open, pid, path)
    if ok then return peer end
    why = ("process %d does not listen (%s)"):format(pid, peer.code or tostring(peer))
  end
  io.stderr:write(("moonloop %s: %s\n"):format(command, text.printable(why)))
  error(core.SystemExit(1), 0)
end

--- Every process of the user that can be inspected: calls f(pid, peer). Sockets of processes that are gone are removed.
function M.each(f)
  folder.sweep()
  for _, entry in ipairs(folder.list()) do
    local ok, peer = pcall(open, entry.pid, entry.path)
    if ok then
      local closing <close> = peer
      f(entry.pid, closing)
    end
  end
end

--- What to say of a loop that does not turn.
---@return string
function M.blocked_text(pid, answer)
  local lines = {
    ("the loop of process %d does not turn: blocked for %.1f s or longer"):format(pid, answer.blocked),
  }
  if answer.place then
    lines[1] = lines[1] .. (answer.task and ", in task " .. answer.task or "") .. ", at"
    for line in answer.place:gmatch("[^\n]+") do lines[#lines + 1] = "  " .. text.printable(line) end
  else
    lines[1] = lines[1] .. ", in a function of C or a system call (a sleep, a program that is waited for, ...)"
  end
  return table.concat(lines, "\n")
end

--- Reads the arguments of a command that wants a PID; pid is nil if there is none.
---@return table given, integer? pid
function M.arguments(command, args, kinds, help, short)
  local given, words, rest = options.read(command, args, kinds, help, short)
  table.move(rest, 1, #rest, #words + 1, words)
  if words[2] then options.misuse(command, "one PID was expected, got '%s' too", words[2]) end
  local pid = words[1] and math.tointeger(tonumber(words[1]))
  if words[1] and (not pid or pid < 1 or pid > 1 << 31) then
    options.misuse(command, "a PID was expected, got '%s'", words[1])
  end
  return given, pid
end

--- Runs the command's main; errors of the connection are told in a line, status 1.
function M.run(command, main)
  require("commands.client").run(core.async(function()
    local ok, status = pcall(main)
    if ok then return status end
    if not core.isinstance(status, core.OSError) and not core.isinstance(status, core.TimeoutError) then
      error(status, 0)
    end
    local why = core.isinstance(status, core.TimeoutError) and "no answer" or tostring(status.message or status)
    if not why:find("\n", 1, true) then why = text.printable(why) end -- who writes lines has seen to it
    io.stderr:write(("moonloop %s: %s\n"):format(command, why))
    return 1
  end, command)())
end

return M
