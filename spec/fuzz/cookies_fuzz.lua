--- Random Cookie and Set-Cookie headers: reading never fails and takes time in proportion; what is written is read back
--- as it was, and never as more than one cookie.
---   moonloop spec/fuzz/cookies_fuzz.lua [SECONDS] [SEED]

local asyncio = require "asyncio"
local cookies = require "http.cookies"
local fuzz = require "spec.fuzz.fuzz"

local die, random = fuzz.die, math.random

local pieces = {
  "a", "b", "name", "=", ";", "; ", " ", "\t", '"', "\\", "\\073", "\\\"", ",", "%20", "$Version", "path=/", "Max-Age=", "-1", "99999999999999999999",
  "expires=", "Wed, 21 Oct 2015 07:28:00 GMT", "domain=.x.org", "SameSite=lax", "HttpOnly", "\xC3\xA9", "\0", "\r\n", "Oct", "1994", "8:49:37",
}

local function noise(n) return fuzz.noise(pieces, n) end

local function check(name, value, options)
  local ok, text = pcall(cookies.serialize, name, value, options)
  if not ok then
    if not asyncio.isinstance(text, asyncio.ValueError) then die(tostring(text), name .. value) end
    return false
  end
  if text:find("%c") then die("control characters", text) end
  local read = cookies.parse_set_cookie(text)
  if #name + #text < 2000 and (not read or read.name ~= name or read.value ~= value) then die("another cookie", text) end
  local pair = text:match("^[^;]*")
  local sent = cookies.parse("first=1; " .. pair .. "; last=2")
  if name ~= "first" and name ~= "last" and (sent[name] ~= value or sent.first ~= "1" or sent.last ~= "2") then
    die("another value", pair)
  end
  return true
end

local tries, whole = 0, 0
while fuzz.going() do
  for _ = 1, 100 do
    tries = tries + 1
    local text = noise(30)
    for name, value in pairs(cookies.parse(text)) do
      if name == "" or type(value) ~= "string" then die("no cookie", text) end
    end
    local read = cookies.parse_set_cookie(text)
    if read then
      whole = whole + 1
      if read.name == "" or read.max_age and math.type(read.max_age) ~= "integer" then die("no cookie", text) end
    end
    cookies.parse_date(text)
    local options = { path = random(2) == 1 and noise(3) or nil, domain = random(3) == 1 and noise(2) or nil, secure = random(2) == 1 }
    if check(random(2) == 1 and noise(2) or "name", noise(8), options) then whole = whole + 1 end
  end
end
print(("cookies: %d texts, %d of them cookies, seed %d"):format(tries, whole, fuzz.seed))
