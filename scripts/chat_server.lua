#!/usr/bin/env moonloop
-- A chat for everybody who connects: what one says all others read. Spoken in lines of text, by chat_client.lua or nc.
--   moonloop scripts/chat_server.lua [--host ADDRESS] [--port N]
-- Each guest has a task that reads and a queue that a second task writes from: who reads slowly holds up nobody. Whose
-- queue is full is sent away.

local asyncio = require "asyncio"

local MAX_NAME, MAX_LINE, QUEUE = 20, 1000, 100
local IDLE = 600 -- seconds without a word

local help = [[
/who          who is here
/nick NAME    another name
/me TEXT      what you do
/quit [TEXT]  good-bye
]]

---- Guests

local guests = {} -- name -> guest

local function names()
  local list = {}
  for name in pairs(guests) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- What cannot be shown goes; so do the spaces around.
local function clean(line)
  return (line:gsub("[%c\127]", " "):gsub("^%s+", ""):gsub("%s+$", ""))
end

-- Puts a line into a guest's queue; who does not read is let go.
local function tell(guest, line)
  if guest.gone then return end
  local ok = pcall(guest.queue.put_nowait, guest.queue, line .. "\n")
  if not ok then
    guest.gone = "does not read"
    guest.writer.transport:abort()
  end
end

local function tell_all(line, but)
  for _, guest in pairs(guests) do
    if guest ~= but then tell(guest, line) end
  end
end

local function check_name(name)
  if name == "" then return "a name, please" end
  if #name > MAX_NAME then return ("at most %d characters, please"):format(MAX_NAME) end
  if name:find("[%s/*]") then return "a name has no spaces, / or * in it" end
  if guests[name] then return ("%s is here already"):format(name) end
end

---- What guests say

local commands = {}

function commands.who(guest)
  tell(guest, "* here: " .. table.concat(names(), ", "))
end

function commands.nick(guest, name)
  local wrong = check_name(name)
  if wrong then return tell(guest, "* " .. wrong) end
  guests[guest.name], guests[name] = nil, guest
  tell_all(("* %s is now %s"):format(guest.name, name))
  guest.name = name
end

function commands.me(guest, text)
  tell_all(("* %s %s"):format(guest.name, text))
end

function commands.quit(guest, text)
  guest.gone = text ~= "" and text or "good-bye"
end

function commands.help(guest)
  for line in help:gmatch("[^\n]+") do tell(guest, line) end
end

local function hear(guest, line)
  local name, rest = line:match("^/(%a+)%s*(.*)$")
  if not name then
    tell_all(("%s: %s"):format(guest.name, line), guest)
  elseif commands[name] then
    commands[name](guest, rest)
  else
    tell(guest, ("* /%s is not known here: /help"):format(name))
  end
end

---- Their tasks

-- A line, or nil and why there is none.
local function read_line(guest)
  local ok, line = pcall(await, asyncio.wait_for(guest.reader:readline(), IDLE))
  if ok and line then return clean(line) end
  if ok or guest.gone then return nil, guest.gone or "hung up" end
  if asyncio.isinstance(line, asyncio.TimeoutError) then return nil, "fell asleep" end
  if asyncio.isinstance(line, asyncio.ValueError) then return nil, "talks too long" end
  return nil, "lost the connection"
end

local async function write(guest)
  for line in guest.queue:items() do
    guest.writer:write(line)
    await guest.writer:drain()
  end
end

local function log(...) print(string.format(...)) io.stdout:flush() end

local function ask_name(guest)
  tell(guest, "* Your name?")
  while true do
    local name, why = read_line(guest)
    if not name then return nil, why end
    local wrong = check_name(name)
    if not wrong then return name end
    tell(guest, "* " .. wrong)
  end
end

-- From the name to the good-bye. Gives why it is over.
local function stay(guest)
  local name, why = ask_name(guest)
  if not name then return why end
  guest.name = name
  guests[name] = guest
  tell_all(("* %s has come"):format(name), guest)
  tell(guest, ("* Welcome, %s! Here: %s. /help shows what there is."):format(name, table.concat(names(), ", ")))
  log("%s has come from %s", name, guest.writer:get_extra_info("peername"))
  while not guest.gone do
    local line
    line, why = read_line(guest)
    if not line then return why end
    if line ~= "" then hear(guest, line) end
    await asyncio.sleep(0) -- first the others are told, however fast this one talks
  end
  return guest.gone
end

local async function serve(reader, writer)
  local guest = { reader = reader, writer = writer, queue = asyncio.Queue(QUEUE) }
  local writing = asyncio.create_task(write(guest))
  local _ <close> = setmetatable({}, { __close = function()
    if guest.name then guests[guest.name] = nil end
    writing:cancel()
    writer:close()
  end })
  local why = stay(guest)
  if guest.name then
    guests[guest.name] = nil
    tell_all(("* %s has gone (%s)"):format(guest.name, why))
    log("%s has gone (%s)", guest.name, why)
  end
  pcall(guest.queue.put_nowait, guest.queue, "* Good-bye!\n")
  guest.queue:shutdown() -- what is in it is still written
  pcall(await, asyncio.wait_for(asyncio.shield(writing), 1))
end

---- The command line

local function options(args)
  local opts, i = { host = "127.0.0.1", port = 7777 }, 1
  while args[i] do
    local name = args[i]:match("^%-%-(%a+)$")
    if not opts[name] or not args[i + 1] then
      io.stderr:write("usage: chat_server.lua [--host ADDRESS] [--port N]\n")
      os.exit(2)
    end
    opts[name] = name == "port" and (math.tointeger(tonumber(args[i + 1])) or args[i + 1]) or args[i + 1]
    i = i + 2
  end
  return opts
end

local async function main()
  local opts = options(arg)
  local server <close> = await asyncio.start_server(serve, opts.host, opts.port, { limit = MAX_LINE })
  for _, socket in ipairs(server.sockets) do log("chat on %s", socket.address) end
  local signal = await asyncio.signal("SIGINT", "SIGTERM")
  log("%s: closing", signal)
  tell_all("* The chat closes. Good-bye!")
  await asyncio.sleep(0.1)
  server:close_clients()
end

asyncio.run(main())
