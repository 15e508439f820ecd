--- Random URLs: parsing gives a URL whose text is read as the same URL, or a ValueError. What is quoted comes back; a
--- host is never one that its text does not name.
---   moonloop spec/fuzz/url_fuzz.lua [SECONDS] [SEED]

local asyncio = require "asyncio"
local fuzz = require "spec.fuzz.fuzz"
local url = require "url"

local die, random = fuzz.die, math.random

local pieces = {
  "http", "https", "://", ":", "//", "/", "?", "#", "@", "[", "]", "::1", "127.0.0.1", "example.org", "a", "b.c", "%", "%41", "%2f",
  "%2e%2e", "%zz", "..", ".", "./", "../", "+", "&", "=", "\\", " ", "\xC3\xA9", "\xFF", "80", "65536", "user", ";", "~", "|", "\r\n", "\0",
  "b\u{fc}cher", "\u{2100}", "\u{3002}", "\u{130}", "\u{df}", "\u{200d}", "\u{ff0f}", "xn--", "xn--bcher-kva", "%C3%BC", "-",
}

local function noise(n) return fuzz.noise(pieces, n) end

local function text() return fuzz.bytes(random(0, 20)) end

local function attempt(what, f, ...)
  local ok, result = pcall(f, ...)
  if ok then return result end
  if not asyncio.isinstance(result, asyncio.ValueError) then die(tostring(result), what) end
end

local fields = {
  "scheme", "user", "password", "host", "port", "path", "query", "query_string", "fragment", "authority", "path_qs", "parts",
  "name", "suffix", "parent", "raw_host",
}

local function check(source)
  local u = attempt(source, url.URL, source)
  if not u then return false end
  local shown = tostring(u)
  if shown:find("[%c \\\127-\255]") then die("not fit to be sent: " .. shown, source) end
  local again = attempt(shown, url.URL, shown)
  if not again or tostring(again) ~= shown then die("another text: " .. shown .. " and " .. tostring(again), source) end
  for _, field in ipairs(fields) do
    local a, b = u[field], again[field]
    if type(a) ~= "table" and a ~= b then die(("another %s: %s, %s"):format(field, a, b), source) end
  end
  local host = u.raw_host
  if host and not source:find("[\128-\255]") and not source:find("%%[89A-Fa-f]%x") and not source:lower():find(host, 1, true) then
    die("a host from nowhere: " .. host, source)
  end
  local read = attempt(shown, url.URL, u:human_repr())
  if not read or read.raw_host ~= host then die("another host when people have read it: " .. u:human_repr(), source) end
  attempt(shown, u.join, u, noise(6))
  attempt(shown, u.joinpath, u, noise(4))
  attempt(shown, u.with_path, u, text())
  attempt(shown, u.with_name, u, text())
  attempt(shown, u.with_host, u, noise(3))
  local query = { [text()] = text(), b = { text(), text() } }
  local with = attempt(shown, u.with_query, u, query)
  for name, value in pairs(query) do
    if type(value) == "string" and with.query[name] ~= value then die("another field", tostring(with)) end
  end
  return true
end

local tries, whole = 0, 0
while fuzz.going() do
  for _ = 1, 100 do
    tries = tries + 1
    local source = random(2) == 1 and "http://" .. noise(8) or noise(12)
    if check(source) then whole = whole + 1 end
    local bytes = text()
    if url.unquote(url.quote(bytes)) ~= bytes then die("quote", bytes) end
    if url.unquote_plus(url.quote_plus(bytes)) ~= bytes then die("quote_plus", bytes) end
    local list = url.parse_qsl(noise(12))
    local again = url.parse_qsl(url.urlencode(url.parse_qs(url.urlencode(url.parse_qs(noise(12))))))
    if #list % 2 ~= 0 or #again % 2 ~= 0 then die("half a field", "") end
  end
end
print(("url: %d texts, %d of them URLs, seed %d"):format(tries, whole, fuzz.seed))
