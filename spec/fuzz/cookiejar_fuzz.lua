--- Random Set-Cookie headers from hosts that know and do not know each other, and random challenges: a jar never raises,
--- keeps its limits, gives no host a cookie that it must not have, and what it sends is one header.
---   moonloop spec/fuzz/cookiejar_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local auth = require "http.client.auth"
local CookieJar = require("http.client.cookiejar").CookieJar
local fuzz = require "spec.fuzz.fuzz"
local url = require "url"

local die, pick, random = fuzz.die, fuzz.pick, math.random
local has_digest, digest = pcall(require, "http.client.digest")
if not pcall(require, "asyncio.digest") then has_digest = false end

-- Hosts by who may share cookies: those of one word do.
local hosts = {
  { "example.com", "one" }, { "www.example.com", "one" }, { "a.b.example.com", "one" }, { "example.co.uk", "two" }, { "x.example.co.uk", "two" }, { "other.co.uk", "three" },
  { "badexample.com", "four" }, { "me.github.io", "five" }, { "you.github.io", "six" }, { "127.0.0.1", "seven" }, { "9.0.0.1", "eight" }, { "[::1]", "nine" }, { "localhost", "ten" },
  { "b\u{fc}cher.example", "eleven" }, { "www.xn--bcher-kva.example", "eleven" },
}
if not pcall(require, "url.idna") then table.remove(hosts, 14) end
local schemes, paths = { "http", "https", "ws", "wss" }, { "/", "/a", "/a/", "/a/b", "/ab/c", "/a%20b/c", "//" }

local pieces = {
  "a", "b", "=", "=", ";", "; ", " ", '"', "\\", ",", "\t", "\u{fc}", "\0", "\r\n", "Domain=", "domain=.", "example.com", "www.", "co.uk", "com", "github.io", "xn--bcher-kva.example", "b\u{fc}cher.example",
  "127.0.0.1", "0.0.1", "Path=", "/", "/a", "/a/b", "Max-Age=", "0", "-1", "10", "99999999999999999999", "Expires=", "Wed, 21 Oct 2015 07:28:00 GMT", "Secure", "HttpOnly", "SameSite=", "None",
  "__Host-", "__Secure-", "__host-", ("x"):rep(1500), "; Secure", "; Path=/", "; Domain=example.com", "a=1", "b=2",
}

local function page()
  local host = pick(hosts)
  return url.URL(("%s://%s%s"):format(pick(schemes), host[1], pick(paths))), host[2]
end

-- What every cookie of a jar is like.
local function check_cookie(name, cookie, now)
  local text = name .. "=" .. cookie.coded_value .. cookie.path .. cookie.domain
  if name == "" or name:find("[=;]") or cookie.coded_value:find(";", 1, true) or text:find("[%z\1-\8\10-\31\127]") then die("a cookie that is none", text) end
  if cookie.path:sub(1, 1) ~= "/" then die("a path that is none", text) end
  if cookie.expires and cookie.expires <= now then die("an expired cookie", text) end
  local prefix = name:lower()
  if prefix:find("^__host%-") and not (cookie.secure and cookie.host_only and cookie.path == "/") then die("a broken promise", text) end
  if prefix:find("^__secure%-") and not cookie.secure then die("a broken promise", text) end
end

-- The marks that cookies of one group of hosts carry in their values.
local function marks(header)
  local found = {}
  for mark in header:gmatch("mark%-(%a+)") do found[mark] = true end
  return found
end

local function one_jar(unsafe)
  local jar = CookieJar { unsafe = unsafe }
  local now = 1e9
  jar._time = function() return now end
  for _ = 1, random(1, 60) do
    local from, group = page()
    local values = {}
    for i = 1, random(1, 4) do
      values[i] = random(2) == 1 and fuzz.noise(pieces, 12) or ("n%d=mark-%s;%s"):format(random(5), group, fuzz.noise(pieces, 6))
      -- a mark counts as the group's own only where that group's host said it
      if not values[i]:find("^n%d=mark") then values[i] = values[i]:gsub("mark", "") end
    end
    jar:update_from(from, values)
    if random(10) == 1 then now = now + random(0, 20) end
    local to, wanted = page()
    local header = jar:cookie_header(to)
    if header then
      if header == "" or header:find("[\r\n%z]") then die("not one header", header) end
      for mark in pairs(marks(header)) do
        if mark ~= wanted then die(("%s got a cookie of %s"):format(tostring(to), mark), header) end
      end
    end
    if header ~= jar:cookie_header(to) or header ~= jar:cookie_header(url.URL(tostring(to))) then die("another header", header or "") end
    for name, value in pairs(jar:filter_cookies(to)) do
      if not header or not header:find(name, 1, true) or type(value) ~= "string" then die("another cookie", header or "") end
    end
  end
  local n = 0
  for name, cookie in pairs(jar) do
    n = n + 1
    check_cookie(name, cookie, now)
  end
  if n ~= #jar or n > 180 * 2 * #hosts then die("the count is wrong", tostring(n)) end
  jar:clear_domain("example.com")
  for _, cookie in pairs(jar) do
    if ("." .. cookie.domain):find("%.example%.com$") then die("not cleared", cookie.domain) end
  end
  return jar
end

-- Files that are nearly right.
local path = os.tmpname()
local function one_file(jar)
  asyncio.await(jar:save(path))
  local f <close> = assert(io.open(path, "rb"))
  local text = f:read("a")
  local count = #jar
  for _ = 1, 5 do
    local broken, i = text, random(#text)
    if random(3) > 1 then broken = text:sub(1, i - 1) .. pick { "", "\\n", "\0", "0", "null", "{}", '"', ";", "]" } .. text:sub(i + random(0, 3)) end
    local out <close> = assert(io.open(path, "wb"))
    out:write(broken)
    out:close()
    local other = CookieJar()
    local ok, err = pcall(asyncio.await, other:load(path))
    if not ok and not asyncio.isinstance(err, asyncio.ValueError) then die(tostring(err), broken) end
    if ok then
      for name, cookie in pairs(other) do check_cookie(name, cookie, -1) end
      for _, host in ipairs(hosts) do
        local header = other:cookie_header(url.URL("https://" .. host[1] .. "/"))
        if header and header:find("[\r\n%z]") then die("not one header", header) end
      end
    end
    if broken == text and (not ok or #other > count) then die("not read back: " .. tostring(err), text) end
  end
end

local words = {
  "Digest ", "Basic ", "Negotiate ", "realm=", "nonce=", "qop=", "auth", "auth-int", ",", ", ", '"', '"r"', '"n"', "\\", "algorithm=", "MD5", "SHA-256", "MD5-sess", "stale=true", "opaque=", "=", "==",
  "domain=", '"/a /b"', '"http://example.com/"', '"http:// "', "userhash=true", "charset=UTF-8", " ", "\t", "\u{fc}", "nextnonce=", "\127",
}

local function one_challenge()
  local text = fuzz.noise(words, 14)
  for _, challenge in ipairs(auth.challenges(text)) do
    if challenge.scheme:find("[^%w!#$%%&'*+.^_`|~-]") then die("a scheme that is none", text) end
  end
  if not has_digest then return end
  local a = digest.DigestAuth("us\"er", "p")
  local from = page()
  if a:challenged(from, { text, fuzz.noise(words, 10) }) then
    local value = a:authorize("GET", from, "body")
    if not value or value:find("[\r\n%z]") then die("no answer: " .. tostring(value), text) end
    local read = auth.challenges(value)
    if #read ~= 1 or read[1].params.response == nil or read[1].params.username ~= "us\"er" and not read[1].params.userhash then die("an answer that is none: " .. value, text) end
    local to = page()
    if a:authorize("GET", to) and to:origin() ~= from:origin() then die("an answer for " .. tostring(to), tostring(from), text) end
    a:informed(from, text)
  end
end

local jars, files = 0, 0
while fuzz.going() do
  local jar = one_jar(random(2) == 1)
  jars = jars + 1
  for _ = 1, 50 do one_challenge() end
  if jars % 20 == 0 then
    one_file(jar)
    files = files + 1
  end
end
os.remove(path)
print(("cookie jars: %d, %d of them saved, seed %d"):format(jars, files, fuzz.seed))
