--- WebSocket frames: random messages, cut into random fragments with control frames between them, masked, compressed and
--- delivered in random pieces, arrive as they were sent; and whatever is changed in the bytes, the connection ends with a
--- close code or goes on, but never crashes and never keeps more than its limit.
---   moonloop spec/fuzz/ws_fuzz.lua [SECONDS] [SEED]

local asyncio = require "asyncio"
local fuzz = require "spec.fuzz.fuzz"
local frames = require "spec.http.frames"
local websocket = require "http.websocket"

local bytes, random = fuzz.bytes, math.random
local T = websocket.WSMsgType
local LIMIT = 5000

local characters = { "a", " ", "ä", "€", "𐍈", "\0", "\u{10ffff}" }

local function text(n)
  local t = {}
  for i = 1, n do t[i] = characters[random(#characters)] end
  return table.concat(t)
end

local function size()
  local kind = random(10)
  return kind == 1 and 0 or kind <= 6 and random(0, 130) or random(0, 1000)
end

--- A message as frames, with pings between them; what they answer goes behind `pongs`.
local function fragments(opcode, data, pongs)
  local list, first = {}, true
  repeat
    local n = random(3) == 1 and random(0, #data) or #data
    local piece = data:sub(1, n)
    data = data:sub(n + 1)
    if random(4) == 1 then
      local payload = bytes(random(0, 125))
      pongs[#pongs + 1] = payload
      list[#list + 1] = frames.ping(payload, { mask = bytes(4) })
    end
    local last = #data == 0 and random(3) > 1
    list[#list + 1] = frames.frame(first and opcode or 0, piece, { mask = bytes(4), fin = last })
    first = false
  until last
  return table.concat(list)
end

local function feed(ws, data)
  while #data > 0 do
    local n = random(4) == 1 and random(1, 3) or random(1, #data)
    ws:feed(data:sub(1, n))
    data = data:sub(n + 1)
  end
end

local deflates = {}
for i = 1, 40 do
  deflates[i] = {
    in_bits = random(9, 15), out_bits = random(9, 15), in_reset = random(2) == 1, out_reset = random(2) == 1,
  }
end

--- Well-formed messages arrive.
local function faithful()
  local ws = websocket.connect(nil, { server = true, max_msg_size = 10000 })
  local sent, pongs, stream = {}, {}, {}
  for i = 1, random(1, 6) do
    local opcode = random(2)
    local data = opcode == 1 and text(size()) or bytes(size())
    sent[i] = { opcode, data }
    stream[i] = fragments(opcode, data, pongs)
  end
  feed(ws, table.concat(stream))
  for i, message in ipairs(sent) do
    local msg = await(ws:receive(0.001))
    assert(msg.type == message[1] and msg.data == message[2], ("message %d is another one"):format(i))
  end
  for i, f in ipairs(frames.list(ws:output())) do assert(f == "10:" .. pongs[i], "another pong") end
  assert(not ws:closed())
  ws:abort()
end

--- Compressed ones, too, in both directions.
local function squeezed()
  local d = deflates[random(#deflates)]
  local back = { in_bits = d.out_bits, out_bits = d.in_bits, in_reset = d.out_reset, out_reset = d.in_reset }
  local a = websocket.connect(nil, { server = true, deflate = d })
  local b = websocket.connect(nil, { deflate = back })
  for _ = 1, random(1, 8) do
    local from, to = a, b
    if random(2) == 1 then from, to = b, a end
    local data = text(size() * random(1, 8))
    await(from:send_str(data, { compress = random(4) > 1 }))
    feed(to, from:output())
    assert(await(to:receive_str(0.001)) == data, "inflated to something else")
  end
  a:abort()
  b:abort()
end

local function change(s)
  local how, at = random(6), random(#s)
  if how == 1 then return s:sub(1, at - 1) .. s:sub(at + 1) end
  if how == 2 then return s:sub(1, at) .. s:sub(at) end
  if how == 3 then return s:sub(1, at - 1) .. bytes(random(1, 8)) .. s:sub(at) end
  return s:sub(1, at - 1) .. string.char(s:byte(at) ~ (1 << random(0, 7))) .. s:sub(at + 1)
end

--- Anything at all: it ends, with a code that a peer can be told, or waits for more.
local function hostile()
  local server = random(2) == 1
  local ws = websocket.connect(nil, {
    server = server, max_msg_size = LIMIT, autoping = random(2) == 1, autoclose = random(2) == 1,
    deflate = random(2) == 1 and deflates[random(#deflates)] or nil, heartbeat = random(3) == 1 and 1 or nil,
  })
  local stream = {}
  for i = 1, random(1, 5) do
    local kind = random(6)
    local opts = { mask = server and bytes(4) or false, rsv = random(5) == 1 and 4 or 0, fin = random(4) > 1 }
    if kind == 1 then
      stream[i] = bytes(random(1, 60))
    elseif kind == 2 then
      stream[i] = frames.close(random(900, 5100), text(random(0, 20)), opts)
    else
      stream[i] = frames.frame(random(10) == 1 and random(0, 15) or random(0, 2), bytes(size()), opts)
    end
  end
  local data = table.concat(stream)
  for _ = 1, random(0, 4) do
    if #data > 0 then data = change(data) end
  end
  feed(ws, data)
  if random(3) == 1 then ws:feed_eof() end
  for _ = 1, 30 do
    local ok, msg = pcall(await, ws:receive(0.001))
    if not ok then break end
    if msg.type == T.TEXT then assert(utf8.len(msg.data), "a text that is not UTF-8") end
    if msg.type <= T.BINARY then assert(#msg.data <= LIMIT, "a message over the limit") end
    if msg.type == T.CLOSED then break end
  end
  local code = ws:close_code()
  assert(not code or code >= 1000 and code < 5000, "a close code that is none")
  local out = frames.list(ws:output())
  for i, f in ipairs(out) do assert(not f:find("^8:") or i == #out, "something was sent after the close frame") end
  if random(2) == 1 then pcall(await, ws:send_str("x")) end
  if random(2) == 1 then ws:abort() end
end

local rounds
asyncio.run(async(function()
  rounds = fuzz.rounds(function()
    for _, f in ipairs { faithful, squeezed, hostile, hostile, hostile } do f() end
  end)
end), { clock = "virtual" })
print(("ws_fuzz: %d rounds, seed %d"):format(rounds, fuzz.seed))
