--- TLS records in odd pieces: a proxy between our client and our server cuts what it hands on at random places, holds it
--- back, alters bytes, drops some, ends or resets a side. Without alterations every byte must arrive; with them each side
--- must end with its bytes or an error, and the engine must live on.
---   build/moonloop spec/fuzz/tls_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local fuzz = require "spec.fuzz.fuzz"
local certs = require "spec.certs"
local ssl = require "ssl"

local random, catch = math.random, asyncio.catch

local contexts = { server = certs.server(), clients = { certs.client(), certs.client() } }
contexts.clients[1].maximum_version = ssl.TLSVersion.TLSv1_2
contexts.server.verify_mode = ssl.CERT_OPTIONAL
contexts.server:load_verify_locations(certs.path "root.pem")

-- ---- the proxy ------------------------------------------------------------------------

--- How one connection is treated: its largest piece, and what is done to bytes (per 100,000 of them).
local function treatment()
  local t = { piece = ({ 1, 2, 5, 6, 16, 100, 1500, 16500 })[random(8)], pause = random(3) == 1 }
  if random(2) == 1 then
    t.harm = ({ "flip", "drop", "end", "reset", "insert" })[random(5)]
    t.after = random(0, ({ 10, 300, 3000, 100000 })[random(4)])
    t.side = random(2)
  end
  return t
end

--- The piece as it is handed on; nil: the connection is to end.
local function harmed(t, piece)
  local at = random(#piece)
  if t.harm == "flip" then
    return piece:sub(1, at - 1) .. string.char(piece:byte(at) ~ (1 << random(0, 7))) .. piece:sub(at + 1)
  elseif t.harm == "drop" then
    return piece:sub(1, at - 1) .. piece:sub(at + 1)
  elseif t.harm == "insert" then
    return piece:sub(1, at) .. ("\23"):rep(random(40)) .. piece:sub(at + 1)
  end
end

local copy = async(function(t, side, from, to, both)
  local n = 0
  while true do
    local data = await(from:read(65536))
    if not data then break end
    local i = 1
    while i <= #data do
      local piece = data:sub(i, i + random(t.piece) - 1)
      i, n = i + #piece, n + #piece
      if t.harm and t.side == side and n > t.after then
        t.side = 0
        piece = harmed(t, piece)
        if not piece then
          if t.harm == "end" then return to:write_eof() end
          for _, w in ipairs(both) do w.transport:abort() end
          return
        end
      end
      if piece ~= "" then to:write(piece) end
      if t.pause and random(20) == 1 then await(asyncio.sleep(random() / 2000)) end
    end
    await(to:drain())
  end
  to:write_eof()
end)

local function proxy(t, port)
  return asyncio.start_server(async(function(r, w)
    local sr, sw = await(asyncio.open_connection("127.0.0.1", port))
    local both = { w, sw }
    await(asyncio.gather({ copy(t, 1, r, sw, both), copy(t, 2, sr, w, both) }, { return_exceptions = true }))
    for _, writer in ipairs(both) do writer:close() end
  end), "127.0.0.1", 0)
end

-- ---- the two sides --------------------------------------------------------------------

local function bytes(n)
  local parts = {}
  while n > 0 do
    local part = string.char(random(0, 255)):rep(math.min(n, random(5000)))
    parts[#parts + 1], n = part, n - #part
  end
  return table.concat(parts)
end

-- Where no harm is done the handshake has the time that a busy machine takes.
local function patience(t) return t.harm and 1 or 15 end

local function client(port, sent, t)
  local r, w = await(asyncio.open_connection("127.0.0.1", port, {
    ssl = contexts.clients[random(2)], server_hostname = "localhost", ssl_handshake_timeout = patience(t), ssl_shutdown_timeout = 0.2,
  }))
  local writing = asyncio.create_task(async(function()
    local i = 1
    while i <= #sent do
      local piece = sent:sub(i, i + random(30000) - 1)
      w:write(piece)
      i = i + #piece
      await(w:drain())
    end
    w:write_eof()
  end)())
  local parts = {}
  local ok, err = catch(function()
    while true do
      local data = await(r:read(random(100000)))
      if not data then break end
      parts[#parts + 1] = data
    end
  end)
  writing:cancel()
  catch(await, writing)
  w:close()
  catch(await, w:wait_closed())
  if not ok then error(err, 0) end
  return table.concat(parts)
end

local one = async(function()
  local t, sent = treatment(), bytes(random(({ 10, 1000, 20000, 200000 })[random(4)]))
  if t.piece < 6 then sent = sent:sub(1, 3000) end
  local server = await(asyncio.start_server(async(function(r, w)
    catch(function()
      while true do
        local data = await(r:read(random(70000)))
        if not data then break end
        w:write(data)
        await(w:drain())
      end
      w:write_eof()
    end)
    w:close()
    catch(await, w:wait_closed())
  end), "127.0.0.1", 0, { ssl = contexts.server, ssl_handshake_timeout = patience(t), ssl_shutdown_timeout = 0.2 }))
  local front = await(proxy(t, server.sockets[1].port))
  local ok, got = catch(await, asyncio.wait_for(async(client)(front.sockets[1].port, sent, t), 40))
  if ok then
    -- a server that meets a false end closes properly
    assert(got == (t.harm == "end" and sent:sub(1, #got) or sent),
      ("other bytes than were sent: %d of %d"):format(#got, #sent))
  else
    assert(asyncio.isinstance(got, asyncio.OSError), tostring(got))
    assert(not asyncio.isinstance(got, asyncio.TimeoutError), "a side hangs")
    assert(t.harm, "no harm was done, and yet: " .. tostring(got))
  end
  front:abort_clients()
  server:abort_clients()
  for _, s in ipairs { front, server } do
    s:close()
    await(s:wait_closed())
  end
end)

local AT_ONCE = 8
local function several()
  local list = {}
  for i = 1, AT_ONCE do list[i] = one() end
  await(asyncio.gather(list))
end

local rounds = fuzz.rounds(function() asyncio.run(several) end)
print(("tls: %d connections, no fault (first seed %d)"):format(rounds * AT_ONCE, fuzz.seed))
