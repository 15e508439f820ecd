--- Requests of HTTP/1, well made and then spoiled, against the server: whole and in random pieces they must get the same
--- answers; what is well made gets its own; no connection hangs; handlers that do anything at any time harm nothing.
---   build/moonloop spec/fuzz/http_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local fuzz = require "spec.fuzz.fuzz"
local raw = require "spec.bindings.http_raw"

local bytes, pick, random = fuzz.bytes, fuzz.pick, math.random

-- ---- requests ----

local methods = { "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "REPORT", "M-SEARCH" }
local targets = { "/", "/a", "/a/b?c=d", "/%00?%", "http://h/x", "/..//..", "/?", "*" }
local fields = {
  "Accept: */*", "X-Empty:", "Cookie: a=b; c=d", "X-Long: " .. ("x"):rep(300), "Connection: keep-alive", "Connection: close",
  "Upgrade: x\r\nConnection: upgrade", "Expect: 100-continue", "TE: trailers", "X: \t y \t", "A: 1\r\nA: 2",
}

local function in_chunks(body)
  local parts, at = {}, 1
  while at <= #body do
    local n = random(1, 20)
    local piece = body:sub(at, at + n - 1)
    parts[#parts + 1] = ("%x%s\r\n%s\r\n"):format(#piece, random(5) == 1 and ";ext=1" or "", piece)
    at = at + n
  end
  parts[#parts + 1] = "0\r\n" .. (random(5) == 1 and "T: r\r\n" or "") .. "\r\n"
  return table.concat(parts)
end

--- A request, its body, and whether another may follow.
local function request()
  local lines = { ("%s %s HTTP/1.%d"):format(pick(methods), pick(targets), random(6) > 1 and 1 or 0), "Host: a" }
  for _ = 1, random(0, 4) do lines[#lines + 1] = pick(fields) end
  local body, sent = "", ""
  if random(2) == 1 then
    body = bytes(random(4) == 1 and random(0, 3000) or random(0, 40))
    if random(2) == 1 and not lines[1]:find("1.0", 1, true) then
      lines[#lines + 1] = "Transfer-Encoding: chunked"
      sent = in_chunks(body)
    else
      lines[#lines + 1] = "Content-Length: " .. #body
      sent = body
    end
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. sent, body
end

local nasty = {
  "\r", "\n", "\0", " ", "\t", ":", "\r\n", "\r\n\r\n", "\r\n ", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Host: b\r\n",
  "HTTP/1.1", "0\r\n\r\n", "ffffffffffffffff\r\n", ";", "\xff", "Transfer-Encoding: identity\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "Content-Length: 99999999999999999999\r\n", ("x"):rep(9000), ("Y: z\r\n"):rep(200),
}

local function spoil(s)
  for _ = 1, random(1, 3) do
    local at = random(0, #s)
    local how = random(4)
    if how == 1 then s = s:sub(1, at) .. pick(nasty) .. s:sub(at + 1)
    elseif how == 2 then s = s:sub(1, at) .. s:sub(at + 1 + random(1, 10))
    elseif how == 3 then s = s:sub(1, at) .. string.char(random(0, 255)) .. s:sub(at + 2)
    else s = s:sub(1, at) end
  end
  return s
end

-- ---- handlers ----

--- The same for the same bytes.
local function echo(x, method, path)
  local ok, body = pcall(function() return await(x:read(2500)) end)
  if not ok then return x:respond(body.status or 500, nil, nil, "") end
  return x:respond(200, nil, nil, ("%s %s %d %s"):format(method, path, #x:headers(), body))
end

--- Anything.
local function wild(x)
  local todo = {
    function() return await(x:read(random(0, 2000))) end,
    function() return await(x:content():read(random(1, 100))) end,
    function() return await(x:content():readline()) end,
    function() x:respond(random(200, 599), nil, { "A", "b" }, bytes(random(0, 100))) end,
    function() x:respond(200, nil, nil, ("x"):rep(200000)) end,
    function() x:start(200, nil, nil, random(3) == 1 and random(0, 20) or nil) end,
    function() x:write(bytes(random(0, 100))) end,
    function() x:write(("y"):rep(100000)) end,
    function() x:finish() end,
    function() x:inform(103) end,
    function() x:abort() end,
    function() x:set_keep_alive(random(2) == 1) end,
    function() x:on_lost(asyncio.create_task(asyncio.sleep(random()))) end,
    function() await(asyncio.sleep(random())) end,
    function() asyncio.create_task(function() await(asyncio.sleep(random())) pcall(x.respond, x, 200) end) end,
    function() asyncio.create_task(function() pcall(await, x:read()) end) end,
    function() await(asyncio.wait_for(x:read(), 0.01)) end,
    function() collectgarbage() end,
    function() return x:headers(), x:query(), x:authority(), x:lost(), tostring(x) end,
    function() local _, writer = x:upgrade({}) writer:write("z") writer:close() end,
    function() error("on purpose") end,
  }
  for _ = 1, random(1, 6) do pcall(pick(todo)) end
  if random(3) > 1 then pcall(x.respond, x, 200) end
end

-- ---- the comparison ----

local function pieces_of(s) return fuzz.pieces(s, pick { 1, 3, 30, 300, 3000 }, 300) end

local function plain(ok, text)
  if not ok then return nil end
  return (text:gsub("\r\nDate: [^\r]*", ""):gsub("HTTP/1.1 100 Continue\r\n\r\n", ""))
end

local function compare(peer)
  local all, bodies = {}, {}
  for i = 1, random(1, 4) do all[i], bodies[i] = request() end
  local text = table.concat(all)
  local spoiled = random(3) > 1
  if spoiled then text = spoil(text) end
  local whole = plain(pcall(peer.talk, text))
  local parts = plain(pcall(peer.talk, table.unpack(pieces_of(text))))
  if not (whole and parts) then -- who says that no more comes, and sends it, may be reset
    assert(spoiled or text:find("HTTP/1.0", 1, true) or text:find("Connection: close", 1, true), "reset: " .. text)
    return
  end
  -- what is wrong with a body may be known before its request is handed out, or after
  local first_line = "^HTTP/1.1 (%d%d%d)"
  if whole ~= parts and not (spoiled and (whole:match(first_line) == parts:match(first_line) or whole:find(" 400 ") or whole:find(" 431 "))) then
    error(("answers differ: %q\nwhole: %q\nparts: %q"):format(text, whole, parts))
  end
  if not spoiled then
    local answered = raw.statuses(whole, (function()
      local m = {}
      for i, r in ipairs(all) do m[i] = r:match("^%S+") end
      return m
    end)())
    assert(#answered >= 1, whole)
    for i, status in ipairs(answered) do
      assert(status == (#bodies[i] > 2500 and 413 or 200) or status == 400, ("%d for %q"):format(status, all[i]))
    end
  end
end

local function harm(peer)
  local all = {}
  for i = 1, random(1, 4) do all[i] = request() end
  local text = table.concat(all)
  if random(2) == 1 then text = spoil(text) end
  local reader, writer = peer.connect()
  for _, piece in ipairs(pieces_of(text)) do
    if writer:is_closing() then break end
    writer:write(piece)
    if random(4) == 1 then await(asyncio.sleep(0)) end
    if random(60) == 1 then break end
  end
  local how = random(4)
  if how == 1 then writer.transport:abort()
  elseif how == 2 then writer:close()
  elseif how == 3 then
    writer:write_eof()
    pcall(await, asyncio.wait_for(reader:read(), 1000))
  else
    await(asyncio.sleep(random() * 3))
  end
  writer:close()
end

local rounds = fuzz.rounds(function()
  raw.serve(echo, function(peer)
    for _ = 1, 10 do compare(peer) end
  end)
  raw.serve(wild, function(peer)
    asyncio.get_running_loop():set_exception_handler(function() end)
    for _ = 1, 10 do harm(peer) end
    if random(2) == 1 then peer.server:abort_clients() end
  end, { body_timeout = 2, send_timeout = 2, lingering_time = random(3) == 1 and 0 or 1, header_timeout = 3, keepalive_timeout = 3 })
end)
print(("http_fuzz: %d rounds from seed %d"):format(rounds, fuzz.seed))
