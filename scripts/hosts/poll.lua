-- Reacts to the lines of a switchboard: people on a socket talk to each other, the console is client 0 and rules.
--   build/hosts/poll scripts/hosts/poll.lua
-- The host calls on_open(id), on_line(id, line) and on_close(id), each as a task. /help tells what can be said.

local asyncio = require "asyncio"

local CONSOLE = 0
local names = {} -- of clients, by number

local function broadcast(format, ...)
  local text = format:format(...)
  for _, id in ipairs { board.clients() } do board.send(id, text) end
end

local commands = {}

--- /name NAME: what others see
function commands.name(id, name)
  if not name:match "^%w+$" then return board.send(id, "a name is made of letters and digits") end
  broadcast("* %s is %s now", names[id], name)
  names[id] = name
end

--- /remind SECONDS TEXT: while it waits, everything else goes on
function commands.remind(id, rest)
  local seconds, text = rest:match "^(%d+%.?%d*)%s+(.+)$"
  if not seconds then return board.send(id, "/remind SECONDS TEXT") end
  await asyncio.sleep(tonumber(seconds))
  board.send(id, "remember: " .. text)
end

--- /who: everybody
function commands.who(id)
  for _, other in ipairs { board.clients() } do board.send(id, ("%d %s"):format(other, names[other])) end
end

--- /bye: leave; from the console it ends the host
function commands.bye(id)
  if id == CONSOLE then return board.quit() end
  board.send(id, "bye")
  board.drop(id)
end

--- /kick NUMBER: the console's
function commands.kick(id, number)
  if id ~= CONSOLE then return board.send(id, "only the console may") end
  if not board.drop(tonumber(number) or -1) then board.send(id, "nobody has that number") end
end

function commands.help(id)
  board.send(id, "/name NAME, /remind SECONDS TEXT, /who, /bye, /kick NUMBER; anything else is said to all")
end

function on_open(id)
  names[id] = id == CONSOLE and "console" or "guest" .. id
  if id == CONSOLE then return board.send(id, "port " .. board.port()) end
  broadcast("* %s is here", names[id])
end

function on_line(id, line)
  local command, rest = line:match "^/(%a+)%s*(.*)$"
  if not command then return broadcast("<%s> %s", names[id], line) end
  local f = commands[command]
  if not f then return board.send(id, "what is /" .. command .. "? see /help") end
  f(id, rest)
end

function on_close(id)
  local name = names[id]
  names[id] = nil
  if name then broadcast("* %s is gone", name) end
end
