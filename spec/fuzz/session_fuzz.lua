--- Sessions against servers that do anything: answers whole, in pieces, cut off, too long, late, redirected, malformed;
--- tasks that read, stream, drop, close, cancel and run out of time, on few connections. An answer that a task gets must
--- be the one to its own request, the pool must count to nothing in the end, and nothing may crash or hang.
---   moonloop spec/fuzz/session_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local fuzz = require "spec.fuzz.fuzz"
local http = require "http"
local testing = require "http.testing"
local web = require "http.web"

local random, pick = math.random, fuzz.pick

local function text_of(id, n) return (id .. ","):rep(n) end

-- ---- the server ----

local function chunked(body)
  local out, at = {}, 1
  while at <= #body do
    local n = random(1, 400)
    local piece = body:sub(at, at + n - 1)
    out[#out + 1] = ("%x%s\r\n%s\r\n"):format(#piece, random(5) == 1 and ";ext=1" or "", piece)
    at = at + n
  end
  out[#out + 1] = random(3) == 1 and "0\r\nX-End: 1\r\n\r\n" or "0\r\n\r\n"
  return table.concat(out)
end

-- The bytes of an answer, whether the connection goes on, and whether they go out in one piece.
local function answer(id, method)
  local body = text_of(id, pick { 0, 1, 5, 200, 3000 })
  local head = ("HTTP/1.1 200 OK\r\nX-Id: %s\r\n"):format(id)
  local kind = random(14)
  if random(6) == 1 then head = "HTTP/1.1 103 Early Hints\r\nX-Id: none\r\n\r\n" .. head end
  if method == "HEAD" then return head .. ("Content-Length: %d\r\n\r\n"):format(#body), true end
  if kind <= 5 then
    return head .. ("Content-Length: %d\r\n\r\n%s"):format(#body, body), true
  elseif kind <= 8 then
    return head .. "Transfer-Encoding: chunked\r\n\r\n" .. chunked(body), true
  elseif kind == 9 then
    return head .. "Connection: close\r\n\r\n" .. body, false
  elseif kind == 10 then -- cut off
    local whole = head .. ("Content-Length: %d\r\n\r\n%s"):format(#body + random(50), body)
    return whole:sub(1, random(1, #whole)), false
  elseif kind == 11 then -- more than was told, in one piece
    return head .. "Content-Length: 2\r\n\r\n" .. id:sub(1, 2) .. "HTTP/1.1 200 OK\r\nX-Id: evil\r\n\r\n", false, true
  elseif kind == 12 then
    return pick { "", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", "\0\0\0", "HTTP/1.1 200 OK\r\n" }, false
  elseif kind == 13 then
    return ("HTTP/1.1 %d Moved\r\nLocation: /%s\r\nContent-Length: 5\r\n\r\nmoved"):format(
      pick { 301, 302, 303, 307, 308 }, id), true
  end
  return ("HTTP/1.1 %d No\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n%s"):format(pick { 404, 500 }, id, #body, body), true
end

local function send(writer, bytes, whole)
  local at = 1
  local step = pick { #bytes, #bytes, 1000, 7 }
  if whole or #bytes / math.max(step, 1) > 300 then step = #bytes end
  while at <= #bytes do
    writer:write(bytes:sub(at, at + step - 1))
    await(writer:drain())
    at = at + step
    if at <= #bytes then await(asyncio.sleep(pick { 0, 0, 0.01, 1 })) end
  end
end

local function serve(reader, writer)
  local _ <close> = writer
  while true do
    local head = await(reader:readuntil("\r\n\r\n"))
    local method, id = head:match("^(%u+) /(%w*)")
    if random(12) == 1 then return end -- as one that was idle for too long
    local length = tonumber(head:match("\r\nContent%-Length: (%d+)") or 0)
    if length > 0 and random(8) > 1 then await(reader:readexactly(length)) end
    await(asyncio.sleep(pick { 0, 0, 0, 0.1, 3 }))
    local bytes, goes_on, whole = answer(id, method)
    send(writer, bytes, whole)
    if not goes_on or random(15) == 1 then return end
    if random(20) == 1 then await(asyncio.sleep(pick { 0.1, 20 })) end
  end
end

-- ---- the client ----

local made = 0

local function check(resp, id)
  if resp.headers["X-Id"] ~= id then fuzz.die("the answer to another request", resp.headers["X-Id"] or "", id) end
end

local function check_body(id, body)
  if body:sub(1, #id + 1) ~= (id .. ","):sub(1, #body) or #body % (#id + 1) ~= 0 and #body ~= 2 then
    fuzz.die("the body of another request", body:sub(1, 100), id)
  end
end

local reads = {
  function(resp) return await(resp:read()) end,
  function(resp)
    local list = {}
    for piece in resp.content:iter_chunked(pick { 1000, 70000 }) do list[#list + 1] = piece end
    return table.concat(list)
  end,
  function(resp)
    local list = {}
    for piece in resp.content:iter_any() do list[#list + 1] = piece end
    return table.concat(list)
  end,
  function(resp) -- a part, then all
    local first = await(resp.content:read(3)) or ""
    return first .. await(resp:read())
  end,
  function(resp) -- all may have come before anybody looks, and the connection be another's
    local content = resp.content
    await(asyncio.sleep(pick { 0, 0.05, 0.3 }))
    if random(2) == 1 then resp:close() end
    if random(2) == 1 then return await(content:read()) end
  end,
  function() end,
  function(resp) resp:close() end,
  function(resp) resp:release() end,
}

local function request(session, base)
  made = made + 1
  local id = "a" .. made .. "z"
  local method = pick { "GET", "GET", "GET", "HEAD", "POST", "PUT" }
  local opts = pick {
    false, false, { timeout = pick { 0.05, 1, 5 } }, { timeout = { sock_read = 0.5 } }, { max_redirects = 3 },
    { allow_redirects = false }, { max_body_size = 500 }, { read_until_eof = false },
  } or nil
  if method == "POST" or method == "PUT" then
    opts = opts or {}
    local n = random(0, 3)
    opts.data = pick { "body", ("x"):rep(200000), function()
      n = n - 1
      await(asyncio.sleep(pick { 0, 0.1 }))
      return n > 0 and ("y"):rep(1000) or nil
    end }
    opts.expect100 = random(6) == 1 or nil
  end
  local url = base .. id
  local resp = method == "GET" and opts == nil and await(session:get(url)) or await(session:request(method, url, opts))
  local _closing <close> = random(5) > 1 and resp or nil -- else the collector's
  if resp.status == 200 or resp.status == 404 or resp.status == 500 then check(resp, id) end
  local body = pick(reads)(resp)
  if body and resp.status == 200 and method ~= "HEAD" and body ~= "" then check_body(id, body) end
end

local function allowed(err)
  return asyncio.isinstance(err, { http.ClientError, asyncio.TimeoutError, asyncio.CancelledError })
end

local function worker(session, base)
  for _ = 1, random(1, 6) do
    local ok, err = asyncio.catch(function()
      if random(6) == 1 then return await(asyncio.wait_for(function() request(session, base) end, pick { 0, 0.05, 2 })) end
      request(session, base)
    end)
    if not ok and session.closed then return end
    if not ok and tostring(err):find("by session or connector", 1, true) then
      fuzz.die("a connection was closed under a request: " .. tostring(err))
    end
    if not ok and not allowed(err) then fuzz.die("an error that is none of the client's: " .. tostring(err)) end
    if not ok and asyncio.isinstance(err, asyncio.CancelledError) then error(err, 0) end
    if random(10) == 1 then collectgarbage() end
  end
end

-- What tasks do with a session on a server at `base`; then all must be given back.
local function play(session, base)
  local tasks = {}
  for i = 1, random(1, 8) do tasks[i] = asyncio.create_task(function() worker(session, base) end) end
  if random(3) == 1 then
    await(asyncio.sleep(pick { 0, 0.1, 2 }))
    pick(tasks):cancel()
  end
  if random(15) == 1 then
    await(asyncio.sleep(pick { 0, 0.1 }))
    await(session:close())
    for _, task in ipairs(tasks) do task:cancel() end
  end
  await(asyncio.gather(tasks, { return_exceptions = true }))
  for _ = 1, 3 do
    collectgarbage()
    await(asyncio.sleep(3))
  end
  if not session.closed and session.connector._acquired ~= 0 then
    fuzz.die(("%d connections are in use when all is over"):format(session.connector._acquired))
  end
end

local function round()
  asyncio.run(async(function()
    local server <close> = await(asyncio.start_server(async(function(reader, writer)
      pcall(serve, reader, writer)
    end), "127.0.0.1", 0))
    local base = ("http://127.0.0.1:%d/"):format(select(2, server.sockets[1]:getsockname()))
    local session <close> = http.ClientSession { limit = random(1, 5), timeout = pick { 30, 300 } }
    play(session, base)
    server:close_clients()
  end), { clock = "virtual" })
end

-- ---- the same over HTTP/2 ----

local function handler(asked)
  local id = asked.match_info.id
  if random(3) == 1 then await(asked:read()) end
  await(asyncio.sleep(pick { 0, 0, 0, 0.1, 3 }))
  local body, kind = text_of(id, pick { 0, 1, 5, 200, 3000, 30000 }), random(7)
  local headers = { ["X-Id"] = id }
  if kind <= 3 then return web.Response { text = body, headers = headers } end
  if kind == 4 then return web.Response { status = pick { 404, 500 }, text = body, headers = headers } end
  if kind == 5 then error(web.HTTPFound("/" .. id)) end
  local response = web.StreamResponse { headers = headers }
  await(response:prepare(asked))
  for at = 1, #body, 5000 do
    await(response:write(body:sub(at, at + 4999)))
    await(asyncio.sleep(pick { 0, 0.1 }))
  end
  if kind == 6 then error("in the middle") end
  return response
end

local function round2()
  asyncio.run(async(function()
    asyncio.get_running_loop():set_exception_handler(function() end)
    local app = web.Application { client_max_size = 0 }
    app.router:add_route("*", "/{id}", async(handler))
    local server <close> = await(testing.TestServer(app):start_server())
    local session <close> = http.ClientSession { limit = random(1, 3), timeout = pick { 30, 300 }, http2 = "prior" }
    play(session, server:make_url("/"))
    await(session:close())
  end), { clock = "virtual" })
end

local has_http2 = require("http.core").Exchange2 ~= nil
local rounds = fuzz.rounds(function()
  if has_http2 and random(3) == 1 then round2() else round() end
end)
print(("session_fuzz: %d rounds, %d requests, seed %d"):format(rounds, made, fuzz.seed))
