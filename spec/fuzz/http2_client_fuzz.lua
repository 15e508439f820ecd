--- Clients of HTTP/2 against servers that send frames well made and badly, in any order and in random pieces, while
--- scripts do anything with their exchanges. The client must never fall, no wait may last, and what a server that keeps
--- to the rules echoes comes back whole.
---   build/moonloop spec/fuzz/http2_client_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local client = require "http.client.core"
local core = require "http.core"
local frames = require "spec.fuzz.http2_frames"
local fuzz = require "spec.fuzz.fuzz"
local h2 = require "spec.http.http2peer"

if not client.Connection2 then return print("http2_client_fuzz: built without nghttp2") end

local bytes, pick, random = fuzz.bytes, fuzz.pick, math.random

-- ---- scripts ----

local kept = {} -- luacheck: ignore 241 (keeps things alive)

local function soon(seconds) return asyncio.get_running_loop():time() + seconds end

--- Anything that a script may do with an exchange, in any order.
local deeds = {
  function(x) await(x:response()) end,
  function(x) await(x:response()) end,
  function(x) await(x:continued()) end,
  function(x) await(x:read(random(3) == 1 and 10 or nil)) end,
  function(x) await(x:content():read(random(0, 100000))) end,
  function(x) await(x:content():readline()) end,
  function(x) await(asyncio.wait_for(x:response(), 0.005)) end,
  function(x) await(asyncio.wait_for(x:read(), 0.005)) end,
  function(x) await(x:write(("y"):rep(random(0, 2) * 40000)) or asyncio.sleep(0)) end,
  function(x) await(x:finish(random(2) == 1 and { "t", "r" } or nil) or asyncio.sleep(0)) end,
  function(x) x:take() end,
  function(x) x:discard() end,
  function(x) x:abort() end,
  function(x) x:deadline(random(2) == 1 and soon(random() / 20) or nil, random(2) == 1 and random() / 20 or nil) end,
  function(x) kept[random(20)] = random(2) == 1 and x or x:content() end,
  function() collectgarbage(random(2) == 1 and "collect" or "step") end,
  function() await(asyncio.sleep(random() / 50)) end,
  function() asyncio.current_task():cancel() end,
  function(x) return x:over(), x:request_finished(), tostring(x), x:peername(), x:trailers(), x:multiplexed() end,
  function(x) return x:status(), x:reason(), x:headers(), x:header("x"), x:content_length(), x:has_body() end,
  function(x) return x:connection():free() end,
  function(x) if random(5) == 1 then x:connection():close() end end,
}

local function ask(conn)
  local body = pick { false, "data", ("x"):rep(100000), true, 5, 0 } or nil
  local headers = random(20) == 1 and { "a" } or { "Host", "example.com", "x", bytes(random(0, 5)):gsub("%c", "") }
  return conn:request(pick { "GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PUT" }, pick { "/", "/a?b", "*" }, headers, body)
end

local wild = async(function(conn)
  for _ = 1, random(1, 3) do
    local ok, x = pcall(ask, conn)
    if ok then
      for _ = 1, random(0, 6) do asyncio.catch(pick(deeds), x) end
    end
  end
end)

-- ---- servers that are bad ----

local fields = {
  { "cookie", "a=b" }, { "content-length", "5" }, { "content-length", "0" }, { "set-cookie", "a" }, { "Upper", "x" },
  { "connection", "close" }, { ":status", "200" }, { "x", ("z"):rep(5000) }, { "te", "trailers" }, { "", "" }, { "x", "a\0b" },
}

local function head(id)
  local list = random(6) == 1 and {} or { ":status", pick { "200", "200", "204", "304", "500", "100", "103", "101", "0", "x", "" } }
  return frames.head(id, list, fields)
end

local function frame()
  local id = random(8) == 1 and random(0, 40) or 2 * random(1, 8) - 1
  local how = random(60)
  if how == 1 then return "HTTP/1.1 200 OK\r\n\r\n" end
  if how <= 20 then return head(id) end
  if how <= 32 then return frames.data(id) end
  if how <= 35 then return h2.frame("PUSH_PROMISE", 4, id, "\0\0\0\2" .. h2.block(h2.request("GET", "/"))) end
  return frames.control(id)
end

local function harm(r, w)
  local p <close> = h2.accept(r, w, random(3) == 1 and { [random(1, 6)] = random(0, 100000) } or nil)
  local reading = asyncio.create_task(function()
    while await(p.r:read(65536)) do end
  end)
  frames.write(p, frame)
  reading:cancel()
  if random(4) == 1 then p.w.transport:abort() end
end

-- ---- a server that is good ----

local echo = async(function(x)
  local drain = x:respond(200, nil, { "x", "y" }, await(x:read()))
  if drain then await(drain) end
end)

--- Bodies of all sizes and kinds, several at once.
local keep_rules = async(function(conn)
  local body = bytes(random(3) == 1 and 0 or random(0, 90)):rep(random(1, 3000))
  local kind = pick { "whole", "length", "parts" }
  local x = conn:request("POST", "/", { "Host", "a" }, kind == "whole" and body or kind == "parts" or #body)
  if kind ~= "whole" and not (kind == "length" and body == "") then
    local at = 1
    while at <= #body do
      local size = random(1, 40000)
      await(x:write(body:sub(at, at + size - 1)) or asyncio.sleep(0))
      at = at + size
    end
    await(x:finish() or asyncio.sleep(0))
  end
  assert(await(x:response()) == 200)
  local back
  if random(2) == 1 then
    back = x:take() or await(x:read())
  else
    local list = {}
    for data in function() return await(x:content():read(random(1, 30000))) end do list[#list + 1] = data end
    back = table.concat(list)
  end
  assert(back == body, "another body came back")
end)

-- ---- rounds ----

local function connect(port, keepalive, unsteady)
  local r, w = await(asyncio.open_connection("127.0.0.1", port))
  return client.connection(r, w, client.settings {
    http2 = true, max_head = random(2) == 1 and 2000 or nil, on_free = function(conn)
      conn:free()
      if unsteady and random(20) == 1 then conn:close() end
    end,
    keepalive_timeout = keepalive,
  })
end

local function run(handler, f, options)
  asyncio.run(async(function()
    asyncio.get_running_loop():set_exception_handler(function() end)
    local server <close> = await(asyncio.start_server(async(handler), "127.0.0.1", 0, options))
    local _ <close> = asyncio.timeout(60)
    f(server.sockets[1].port)
    kept = {}
    server:close()
    server:abort_clients()
    for _, task in ipairs(asyncio.all_tasks()) do
      if task ~= asyncio.current_task() then task:cancel() end
    end
  end)())
end

local function all(conn, n, what)
  local tasks = {}
  for i = 1, n do tasks[i] = asyncio.create_task(what(conn)) end
  for _, task in ipairs(tasks) do
    local ok, e = asyncio.catch(await, task)
    if not ok and what == keep_rules then error(e, 0) end
  end
end

local rounds = fuzz.rounds(function()
  run(function(conn)
    for x in conn do asyncio.create_task(echo(x)) end
  end, function(port)
    local conn <close> = connect(port)
    for _ = 1, 3 do all(conn, random(1, 6), keep_rules) end
  end, { http = core.settings {} })
  run(harm, function(port)
    for _ = 1, 10 do
      local conn = connect(port, random(3) == 1 and 0.01 or nil, true)
      all(conn, random(1, 4), wild)
      if random(3) > 1 then conn:close() end
    end
  end)
  collectgarbage()
end)
print(("http2_client_fuzz: %d rounds from seed %d"):format(rounds, fuzz.seed))
