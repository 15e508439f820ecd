--- Frames of HTTP/2, well made and badly, in any order and in random pieces, against handlers that do anything at any
--- time. The server must never fall; what comes from a peer that keeps to the rules is echoed whole; and after each
--- peer the next one is served.
---   build/moonloop spec/fuzz/http2_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local core = require "http.core"
local frames = require "spec.fuzz.http2_frames"
local fuzz = require "spec.fuzz.fuzz"
local h2 = require "spec.http.http2peer"

if not core.Exchange2 then return print("http2_fuzz: built without nghttp2") end

local bytes, pick, random = fuzz.bytes, fuzz.pick, math.random

-- ---- handlers ----

local function echo(x) x:respond(200, nil, { "x", "y" }, await(x:read())) end

local kept = {} -- luacheck: ignore 241 (keeps things alive)

--- Anything that a handler may do, in any order.
local deeds = {
  function(x) x:respond(pick { 200, 204, 304, 500 }, nil, nil, ("x"):rep(random(0, 3) * 50000)) end,
  function(x) x:start(200, nil, { "a", "b" }, random(3) == 1 and random(0, 5) or nil) end,
  function(x) await(x:write(("y"):rep(random(0, 2) * 40000)) or asyncio.sleep(0)) end,
  function(x) await(x:finish(random(2) == 1 and { "t", "r" } or nil) or asyncio.sleep(0)) end,
  function(x) x:inform(pick { 100, 103 }) end,
  function(x) await(x:read(random(3) == 1 and 10 or nil)) end,
  function(x) await(x:content():read(random(0, 100000))) end,
  function(x) await(x:content():readline()) end,
  function(x) await(asyncio.wait_for(x:read(), 0.01)) end,
  function(x) x:abort() end,
  function(x) x:on_lost(random(2) == 1 and asyncio.current_task() or nil) end,
  function(x) kept[random(20)] = random(2) == 1 and x or x:content() end,
  function() collectgarbage(random(2) == 1 and "collect" or "step") end,
  function() await(asyncio.sleep(random() / 50)) end,
  function() asyncio.current_task():cancel() end,
  function(x) x:set_keep_alive(random(30) > 1) end,
  function(x) return x:headers(), x:peername(), tostring(x), x:lost(), x:keep_alive() end,
}

local function wild(x)
  for _ = 1, random(0, 6) do asyncio.catch(pick(deeds), x) end
end

-- ---- peers ----

local fields = {
  { "cookie", "a=b" }, { "expect", "100-continue" }, { "content-length", "5" }, { "host", "example.com" }, { "Upper", "x" },
  { "connection", "close" }, { ":path", "/b" }, { "x", ("z"):rep(5000) }, { "te", "trailers" }, { "", "" }, { "x", "a\0b" },
}

local function request(id)
  return frames.head(id, h2.request(pick { "GET", "POST", "HEAD", "OPTIONS", "CONNECT", "" }, pick { "/", "/a?b", "*", "", "x" }), fields)
end

local function frame(last)
  local id = random(3) > 1 and last or random(0, last + 4)
  local how = random(14)
  if how <= 4 then return request(last), 2 end
  return how <= 7 and frames.data(id) or frames.control(id), 0
end

local function harm(port)
  local p <close> = h2.connect(port, random(3) == 1 and { [4] = random(0, 100000) } or nil, random(20) == 1)
  local last = 1
  frames.write(p, function()
    local s, step = frame(last)
    last = last + step
    return s
  end)
  if random(4) == 1 then p.w.transport:abort() end
end

--- Bodies of all sizes, in frames of all sizes, several at once, within the windows.
local function keep_rules(port)
  local p <close> = h2.connect(port)
  local bodies, n = {}, random(1, 4)
  for i = 1, n do
    local id = 2 * i - 1
    bodies[id] = bytes(random(3) == 1 and 0 or random(0, 9000))
    p:request(id, "POST", "/", nil, true)
  end
  for id, body in pairs(bodies) do
    local at = 1
    while at <= #body do
      local size = random(1, 4000)
      p:data(id, body:sub(at, at + size - 1), true)
      at = at + size
    end
    p:data(id, "")
  end
  local got, ended = {}, 0
  while ended < n do
    local f = assert(p:next(), "the connection ended")
    assert(f.type ~= "RST_STREAM" and f.type ~= "GOAWAY", f.error)
    if f.type == "DATA" then got[f.id] = (got[f.id] or "") .. f.payload end
    if (f.type == "DATA" or f.type == "HEADERS") and f.flags & 1 ~= 0 then ended = ended + 1 end
  end
  for id, body in pairs(bodies) do assert((got[id] or "") == body, "another body came back") end
end

-- ---- rounds ----

local function serve(handler, f, settings)
  local one = async(handler)
  asyncio.run(async(function()
    asyncio.get_running_loop():set_exception_handler(function() end)
    local server <close> = await(asyncio.start_server(async(function(conn)
      for x in conn do
        if x.multiplexed and x:multiplexed() then asyncio.create_task(one(x)) else x:respond(400) end
      end
    end), "127.0.0.1", 0, { http = core.settings(settings or {}) }))
    local _ <close> = asyncio.timeout(60)
    f(server.sockets[1].port)
    server:close()
    server:abort_clients()
    for _, task in ipairs(asyncio.all_tasks()) do
      if task ~= asyncio.current_task() then task:cancel() end
    end
  end)())
end

local rounds = fuzz.rounds(function()
  serve(echo, function(port)
    for _ = 1, 5 do keep_rules(port) end
  end)
  serve(wild, function(port)
    for _ = 1, 10 do harm(port) end
    local p <close> = h2.connect(port) -- still there
    p:send("PING", 0, 0, "are you?")
    assert(p:expect("PING"), "not served after a bad peer")
  end, {
    body_timeout = 0.05, send_timeout = 0.05, header_timeout = 0.2, keepalive_timeout = 0.3,
    lingering_time = random(3) == 1 and 0 or 0.05,
  })
  kept = {}
  collectgarbage()
end)
print(("http2_fuzz: %d rounds from seed %d"):format(rounds, fuzz.seed))
