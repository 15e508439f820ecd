--- Responses of HTTP/1, well made and then spoiled, to the client: whole and in random pieces they must give the same; what is
--- well made gives what was sent; servers and scripts that do anything at any time harm nothing, and nobody waits for ever.
---   build/moonloop spec/fuzz/client_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local core = require "http.client.core"
local fuzz = require "spec.fuzz.fuzz"
local hc = require "spec.bindings.hc_raw"

local bytes, pick, random = fuzz.bytes, fuzz.pick, math.random

-- ---- responses ----

local methods = { "GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS" }
local fields = {
  "Server: x", "X-Empty:", "Set-Cookie: a=b; Path=/", "X-Long: " .. ("x"):rep(300), "Connection: keep-alive", "X: \t y \t",
  "A: 1\r\nA: 2", "Folded: a\r\n b", "Link: <x>; rel=y", "Content-Type: text/plain", "Date: now", "\xc3\xa4: no",
}
local statuses = { 200, 200, 200, 201, 204, 206, 301, 304, 400, 404, 416, 500, 599, 999 }

local function in_chunks(body, trailers)
  local parts, at = {}, 1
  while at <= #body do
    local piece = body:sub(at, at + random(1, 20) - 1)
    parts[#parts + 1] = ("%x%s\r\n%s\r\n"):format(#piece, pick { "", "", "", ";ext=1", " " }, piece)
    at = at + #piece
  end
  parts[#parts + 1] = "0\r\n" .. trailers .. "\r\n"
  return table.concat(parts)
end

--- A response to the method: its text, and what it is: {status, body, trailers, does its end close the connection}.
local function response(method)
  local status = pick(statuses)
  local lines = { ("HTTP/1.%d %d %s"):format(random(8) > 1 and 1 or 0, status, pick { "OK", "", "Not really" }) }
  for _ = 1, random(0, 4) do
    local field = pick(fields)
    if not field:find("^\xc3") then lines[#lines + 1] = field end
  end
  local body = bytes(random(4) == 1 and random(0, 100000) or random(0, 40))
  local trailers = random(5) == 1 and "T: r\r\n" or ""
  local how = random(3)
  local sent
  if how == 1 then
    lines[#lines + 1] = "Content-Length: " .. #body
    sent = body
  elseif how == 2 then
    lines[#lines + 1] = "Transfer-Encoding: chunked"
    sent = in_chunks(body, trailers)
  else
    sent = body
  end
  local none = method == "HEAD" or status == 204 or status == 304
  local before = random(5) == 1 and "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" or ""
  return before .. table.concat(lines, "\r\n") .. "\r\n\r\n" .. (none and "" or sent),
    { status, none and "" or body, not none and how == 2 and trailers ~= "" and "r" or nil, how == 3 and not none }
end

local nasty = {
  "\r", "\n", "\0", " ", "\t", ":", "\r\n", "\r\n\r\n", "\r\n ", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "HTTP/1.1",
  "0\r\n\r\n", "ffffffffffffffff\r\n", ";", "\xff", "Transfer-Encoding: identity\r\n", "HTTP/1.1 101 Switching\r\n\r\n", "-1",
  "Content-Length: 99999999999999999999\r\n", ("x"):rep(9000), ("Y: z\r\n"):rep(300), "HTTP/1.1 100 Continue\r\n\r\n",
}

local function spoil(s)
  for _ = 1, random(1, 3) do
    local at = random(2) == 1 and random(0, #s) or random(0, math.min(#s, 200))
    local how = random(4)
    if how == 1 then s = s:sub(1, at) .. pick(nasty) .. s:sub(at + 1)
    elseif how == 2 then s = s:sub(1, at) .. s:sub(at + 1 + random(1, 10))
    elseif how == 3 then s = s:sub(1, at) .. string.char(random(0, 255)) .. s:sub(at + 2)
    else s = s:sub(1, at) end
  end
  return s
end

local function pieces_of(s) return fuzz.pieces(s, pick { 1, 3, 30, 300, 30000 }, 200) end

-- ---- the comparison ----

local function ask(conn, method)
  local ok, status, body, trailer = pcall(function()
    local x = conn:request(method, "/", { "Host", "h" })
    local status = await(asyncio.wait_for(x:response(), 1000))
    if status == 101 then return status, "" end
    local body
    local how = random(3)
    if how == 1 then
      body = await(asyncio.wait_for(x:read(), 1000))
    elseif how == 2 then
      body = await(asyncio.wait_for(x:content():read(), 1000))
    else -- from the socket itself
      local got, size = {}, pick { 10, 1000, 65536, 1 << 20 }
      for i = 1, math.maxinteger do
        got[i] = await(asyncio.wait_for(x:content():read(size), 1000))
        if not got[i] then break end
      end
      body = table.concat(got)
    end
    local trailers = x:trailers()
    return status, body, trailers and trailers["T"]
  end)
  if ok then return status, body, trailer end
  assert(type(status) == "table", status)
  return status.name, status.why or "", nil, tostring(status)
end

--- What the client makes of answers to GETs, each in these pieces.
local function exchange(all, asked)
  local results = {}
  hc.answers(all, function(peer)
    local conn = peer.connect()
    for i, method in ipairs(asked) do
      if i > 1 then await(asyncio.sleep(0.01)) end
      if conn:free() == 0 then
        results[i] = { "closed", tostring(conn) }
        break
      end
      results[i] = { ask(conn, method) }
    end
  end)
  return results
end

local function told(result) return tostring(result[4] or result[1]) .. " " .. tostring(result[2]) end

local function compare()
  local texts, expected, asked = {}, {}, {}
  for i = 1, random(1, 3) do
    asked[i] = pick(methods)
    texts[i], expected[i] = response(asked[i])
    if expected[i][4] then break end
  end
  local spoiled = random(3) > 1
  if spoiled then texts[1] = spoil(texts[1]) end
  local more = not spoiled and random(3) == 1 and #texts > 1 and not expected[1][4]
  if more then texts[1] = texts[1] .. "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" end
  local cut = {}
  for i, text in ipairs(texts) do cut[i] = pieces_of(text) end
  local whole, parts = exchange(texts, asked), exchange(cut, asked)
  for i = 1, spoiled and 1 or #texts do
    local a, b = whole[i] or {}, parts[i] or {}
    if a[1] == "closed" and b[1] == "closed" then break end
    if more and i == 2 then fuzz.die("a connection is used again though more has come", texts[1], told(a), told(b)) end
    if a[1] ~= b[1] or (type(a[1]) == "number" and a[2] ~= b[2]) or a[3] ~= b[3] then
      fuzz.die("answers differ", texts[i], told(a), told(b))
    end
    if not spoiled and a[1] and (a[1] ~= expected[i][1] or a[2] ~= expected[i][2] or a[3] ~= expected[i][3]) then
      fuzz.die("another answer than was sent", texts[i], told(a))
    end
  end
end

-- ---- harm ----

--- A server that says anything at any time.
local function wild_server(reader, writer)
  for _ = 1, random(1, 4) do
    if random(4) > 1 then pcall(await, asyncio.wait_for(reader:read(random(1, 100000)), random())) end
    local text = response(pick(methods))
    if random(3) == 1 then text = spoil(text) end
    if random(6) == 1 then text = "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n" .. bytes(random(0, 100)) end
    for _, piece in ipairs(pieces_of(text)) do
      if writer:is_closing() then break end
      writer:write(piece)
      if random(4) == 1 then await(asyncio.sleep(0)) end
      if random(300) == 1 then break end
    end
    if random(4) == 1 then await(asyncio.sleep(random() * 3)) end
  end
  local how = random(4)
  if how == 1 then writer.transport:abort()
  elseif how == 2 then pcall(writer.write_eof, writer)
  elseif how == 3 then await(asyncio.sleep(random() * 10)) end
end

local function wild_task(f)
  asyncio.create_task(function() pcall(f) end)
end

local function wild(conn, loop)
  local x
  local todo = {
    function() x = conn:request(pick(methods), "/", { "Host", "h" }, pick { "", "abc", 5, true }) end,
    function() x = conn:request("POST", "/", nil, ("x"):rep(3000000), random(3) > 1) end,
    function() return await(x:response()) end,
    function() return await(x:continued()) end,
    function() return await(x:read(random(0, 2000))) end,
    function() return x:take() end,
    function() return await(x:content():read(random(1, 100))) end,
    function() return await(x:content():read()) end,
    function() return x:discard() end,
    function() return x:abort() end,
    function() x:deadline(loop:time() + random(), random(2) == 1 and random() or nil) end,
    function()
      local drain = x:write(bytes(random(0, 5)))
      if drain then await(drain) end
    end,
    function() x:write(("y"):rep(1000000)) end,
    function() x:finish(random(2) == 1 and { "T", "r" } or nil) end,
    function()
      local reader, writer <close> = x:upgrade()
      writer:write("z")
      await(reader:read(10))
    end,
    function() return x:trailers(), x:headers(), x:status(), x:reason(), x:header("a"), tostring(x) end,
    function() return x:over(), x:request_finished(), x:content_length(), x:has_body() end,
    function() return conn:free(), conn:is_closing(), conn:peername(), tostring(conn) end,
    function() await(asyncio.sleep(random())) end,
    function() wild_task(function() await(x:response()) end) end,
    function() wild_task(function() await(x:read()) end) end,
    function() wild_task(function() await(asyncio.sleep(random())) conn:close() end) end,
    function() await(asyncio.wait_for(x:read(), 0.01)) end,
    function() await(asyncio.wait_for(x:response(), 0.01)) end,
    function() collectgarbage() end,
    function() error("on purpose") end,
  }
  pcall(todo[random(2)])
  for _ = 1, random(1, 10) do pcall(await, asyncio.wait_for(function() return pick(todo)() end, 20)) end
  if random(3) == 1 then conn:close() end
end

local function harm()
  hc.serve(wild_server, function(peer)
    local loop = asyncio.get_running_loop()
    loop:set_exception_handler(function() end)
    for _ = 1, 5 do
      local ok, conn = pcall(function()
        local reader, writer = await(asyncio.open_connection("127.0.0.1", peer.port))
        if random(5) == 1 then await(asyncio.sleep(random())) end
        return core.connection(reader, writer, peer.settings)
      end)
      if ok then wild(conn, loop) end
      if random(4) == 1 then collectgarbage() end
    end
  end, { on_free = function(conn) if random(5) == 1 then conn:close() end end, read_bufsize = pick { 0, 10, 65536 },
    max_discard = pick { 0, 1000, 65536 }, keepalive_timeout = pick { 0, 1, 15 } })
end

local rounds = fuzz.rounds(function()
  for _ = 1, 5 do compare() end
  harm()
end)
print(("client_fuzz: %d rounds from seed %d"):format(rounds, fuzz.seed))
