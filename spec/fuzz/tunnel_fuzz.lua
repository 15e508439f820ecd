--- What proxies say to clients, by any protocol, whole or in pieces: a request goes through or fails with an error of the
--- client's that names it, and nothing is left. And texts of .netrc and no_proxy: anything is read to some end.
---   moonloop spec/fuzz/tunnel_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local core = require "asyncio.core"
local fuzz = require "spec.fuzz.fuzz"
local http = require "http"
local netrc = require "http.client.netrc"
local proxy = require "http.client.proxy"

local random = math.random

local ANSWERS = {
  "\5\0", "\5\2", "\5\255", "\1\0", "\1\1", "\5\0\0\1\0\0\0\0\0\0", "\5\5\0\1\0\0\0\0\0\0", "\5\0\0\3\4host\0\80", "\5\0\0\4",
  ("\0"):rep(16) .. "\0\80", "\0\90\0\0\0\0\0\0", "\0\91\0\0\0\0\0\0", "\4", "\5", "\0",
  "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.0 407 No\r\nContent-Length: 5\r\n\r\nno",
  "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 403\r\n", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "HTTP/9", "\r\n", "\n",
  "\22\3\3\0\5hello", "\21\3\3\0\2\2\40",
}

local WORDS = {
  "machine ", "default ", "login ", "user ", "password ", "account ", "macdef ", "a.test", '"', "\\", "#", "\n", "\n\n", " ", "\0",
  "\255", "x", "*", ".", ",", ":", "/", "8", "[", "]", "::1", "10.0.0.0/8", "%",
}

local function texts()
  local text = fuzz.noise(WORDS, 20)
  local hosts = netrc.parse(text)
  for _, found in pairs(hosts) do assert(type(found.login) == "string" and type(found.password) == "string") end
  for _, host in ipairs { "a.test", "10.1.2.3", "::1" } do assert(type(proxy.bypassed(text, host, 80)) == "boolean") end
end

local said -- what the proxy says to the connection that comes next

local function serve(reader, writer)
  asyncio.catch(function()
    local text, i = said, 1
    if random(4) > 1 then await(reader:read(100)) end
    while i <= #text do
      local n = random(3) == 1 and random(#text) or #text
      writer:write(text:sub(i, i + n - 1))
      i = i + n
      await(asyncio.sleep(0))
    end
    if random(2) == 1 then await(reader:read(100)) end
  end)
  writer:close()
end

local SCHEMES = { "http", "socks5", "socks5h", "socks4", "socks4a" }
local URLS = { "http://127.0.0.1:9/", "https://127.0.0.1:9/", "http://a.test/", "https://a.test/", "http://[::1]:9/" }

local resolver = { resolve = async(function() return { "127.0.0.1" } end) }

local function request(port)
  said = random(20) == 1 and fuzz.bytes(random(40)) or fuzz.noise(ANSWERS, 5)
  local connector = http.TCPConnector { ssl = false, resolver = resolver }
  local session <close> = http.ClientSession { connector = connector }
  local user = random(2) == 1 and "u:p@" or ""
  local ok, err = asyncio.catch(function()
    local resp <close> = await(session:get(fuzz.pick(URLS), {
      proxy = ("%s://%s127.0.0.1:%d"):format(fuzz.pick(SCHEMES), user, port), timeout = 0.05,
    }))
    await(resp:read())
  end)
  if ok then return end
  if not (asyncio.isinstance(err, http.ClientError) or asyncio.isinstance(err, asyncio.TimeoutError)) then
    fuzz.die("another error than the client's: " .. tostring(err), said)
  end
  if tostring(connector) ~= "<TCPConnector acquired=0 limit=100>" then fuzz.die(tostring(connector), said) end
  if not tostring(err):find("GET http", 1, true) then fuzz.die("an error that names no request: " .. tostring(err), said) end
end

local rounds
asyncio.run(function()
  asyncio.get_running_loop():set_exception_handler(function() end)
  local server = await(asyncio.start_server(async(serve), "127.0.0.1", 0))
  local port, before = server.sockets[1].port, nil
  rounds = fuzz.rounds(function()
    texts()
    request(port)
    if not before then
      collectgarbage()
      before = core.stats()
    end
  end)
  for _ = 1, 50 do
    await(asyncio.sleep(0.01))
    collectgarbage()
  end
  local now = core.stats()
  for _, name in ipairs { "handles", "tasks", "pins", "timers" } do
    if (now[name] or 0) > (before[name] or 0) + 1 then
      fuzz.die(("%s: %d before, %d after"):format(name, before[name], now[name]))
    end
  end
  server:close()
end)
print(("tunnel_fuzz: %d rounds, seed %d"):format(rounds, fuzz.seed))
