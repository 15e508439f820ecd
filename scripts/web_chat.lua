-- A chat in the browser, over WebSocket: everyone sees who comes, who goes and what is said, and who has just come sees
-- what was said before. A client that has fallen silent is found out by the heartbeat, one that reads too slowly is
-- disconnected and holds nobody up.
--   moonloop scripts/web_chat.lua [PORT]         and open http://127.0.0.1:8080/
--
-- Messages are JSON. From a browser: {type = "join", name}, then {type = "say", text}. To it: {type = "welcome", name,
-- people, history}, {type = "joined" | "left", name, people}, {type = "said", name, text, time}, {type = "error",
-- text}.

local asyncio = require "asyncio"
local json = require "json"
local web = require "http.web"

local HISTORY = 50 -- messages that a newcomer is shown
local BACKLOG = 100 -- messages that may wait for a slow reader

local room = { members = {}, history = {} } -- name -> the queue of what is to be sent to it

local function people()
  local names = {}
  for name in pairs(room.members) do names[#names + 1] = name end
  table.sort(names)
  return json.array(names)
end

-- Puts the message into everyone's queue, and waits for nobody.
local function broadcast(message)
  local text = json.encode(message)
  for name, member in pairs(room.members) do
    if not pcall(member.queue.put_nowait, member.queue, text) then
      room.members[name] = nil
      member.sender:cancel()
      asyncio.create_task(member.ws:close { code = web.WSCloseCode.POLICY_VIOLATION, message = "too slow" })
    end
  end
end

-- The task of a member that sends: one for each, so that nobody waits for another's network.
local async function send_from(ws, queue)
  for text in queue:items() do await ws:send_str(text) end
end

-- What was sent as JSON, or nil.
local function decode(msg)
  local ok, value = pcall(msg.json, msg)
  return ok and type(value) == "table" and value or nil
end

-- Waits for a name that nobody has yet.
local function join(ws)
  for msg in ws:messages() do
    local hello = decode(msg)
    local name = hello and hello.type == "join" and type(hello.name) == "string" and hello.name:match("^%s*(.-)%s*$")
    if not name or name == "" or utf8.len(name) > 20 then
      await ws:send_json { type = "error", text = "a name of 1 to 20 characters, please" }
    elseif room.members[name] then
      await ws:send_json { type = "error", text = name .. " is here already" }
    else
      return name
    end
  end
end

local function converse(ws, name)
  for msg in ws:messages() do
    local said = decode(msg)
    if said and said.type == "say" and type(said.text) == "string" and said.text:find("%S") then
      local message = { type = "said", name = name, text = said.text, time = os.time() }
      table.insert(room.history, message)
      if #room.history > HISTORY then table.remove(room.history, 1) end
      broadcast(message)
    end
  end
end

local async function chat(request)
  local ws <close> = web.WebSocketResponse { heartbeat = 20, max_msg_size = 10000 }
  await ws:prepare(request)
  local name = join(ws)
  if not name then return ws end

  local queue = asyncio.Queue(BACKLOG)
  local member = { ws = ws, queue = queue, sender = asyncio.create_task(send_from(ws, queue)) }
  room.members[name] = member
  queue:put_nowait(json.encode { type = "welcome", name = name, people = people(), history = json.array(room.history) })
  broadcast { type = "joined", name = name, people = people() }

  local _leave <close> = setmetatable({}, { __close = function()
    member.sender:cancel()
    if room.members[name] == member then room.members[name] = nil end
    broadcast { type = "left", name = name, people = people() }
  end })
  converse(ws, name)
  return ws
end

local async function page() return web.FileResponse((arg[0]:gsub("%.lua$", ".html"))) end

local async function goodbye()
  local closing = {}
  for _, member in pairs(room.members) do
    closing[#closing + 1] = member.ws:close { code = web.WSCloseCode.GOING_AWAY, message = "the server is closing" }
  end
  await asyncio.gather(closing)
end

local app = web.Application()
app:add_routes { web.get("/", page), web.get("/chat", chat) }
app.on_shutdown:append(goodbye)
web.run_app(app, { host = "127.0.0.1", port = tonumber(arg[1]) or 8080 })
