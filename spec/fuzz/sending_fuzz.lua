--- Random multipart bodies, written and read back, however they are cut: what comes out is what went in, and as long as
--- was said. Random Locations: a redirect leads to an http URL that is fit to be sent, or is refused.
---   moonloop spec/fuzz/sending_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local errors = require "http.client.errors"
local fuzz = require "spec.fuzz.fuzz"
local MultipartReader = require("http.multipart").MultipartReader
local MultipartWriter = require("http.client.multipart").MultipartWriter
local redirects = require "http.client.redirects"
local url = require "url"

local async, await = asyncio.async, asyncio.await
local die, pick, random = fuzz.die, fuzz.pick, math.random

-- ---- multipart ----

local bits = { "\r\n", "\r", "\n", "--", "\r\n--", "--\r\n", "Content-Type: x", "a", " ", "\0", "\xFF", "=", "=0D", "\r\n\r\n", ("x"):rep(70000), "b" }

local function content(boundary)
  local text = fuzz.noise(bits, 12)
  if random(4) == 1 then text = text .. "\r\n--" .. boundary:sub(1, -2) end -- nearly a delimiter
  if random(8) == 1 then text = fuzz.bytes(random(0, 300)) end
  return text
end

-- The same, in pieces, from an iterator.
local function pieces_of(text)
  local at = 1
  return function()
    if at > #text then return nil end
    local n = random(1, 1000)
    local piece = text:sub(at, at + n - 1)
    at = at + n
    return piece
  end
end

local encodings = { "base64", "quoted-printable", "binary", "8bit" }

-- A writer, and what a reader is to find: strings, or lists for nested ones.
local function make(depth)
  local writer, expected = MultipartWriter(pick { "mixed", "form-data", "related" }), {}
  for i = 1, random(depth == 1 and 1 or 0, 4) do
    if depth < 4 and random(5) == 1 then
      local inner, list = make(depth + 1)
      writer:append(inner)
      expected[i] = list
    else
      local text = content(writer.boundary)
      local headers = random(3) == 1 and { ["Content-Transfer-Encoding"] = pick(encodings) } or nil
      writer:append(random(3) == 1 and pieces_of(text) or text, headers)
      expected[i] = text
    end
  end
  return writer, expected
end

local function check(reader, expected, whole)
  for i, want in ipairs(expected) do
    local part = await(reader:next())
    if not part then die(("part %d is missing"):format(i), whole) end
    if type(want) == "table" then
      if not part.boundary then die("a part that is not nested", whole) end
      check(part, want, whole)
    else
      local got = await(part:read(0))
      if got ~= want then die("another part", want, got) end
    end
  end
  if await(reader:next()) ~= nil then die("a part too many", whole) end
end

local function one_body()
  local writer, expected = make(1)
  local out = {}
  local size = writer:prepare()
  await(writer:write { write = function(_, data)
    out[#out + 1] = data
    return random(3) == 1 and asyncio.sleep(0) or nil
  end })
  local whole = table.concat(out)
  if size ~= true and size ~= #whole then die(("%d bytes were promised, %d written"):format(size, #whole), whole) end
  local at, step = 1, pick { 1, 2, 7, 100, 65536 }
  if #whole > 20000 and step < 100 then step = 100 end
  local source = { read = async(function()
    local n = random(step)
    local piece = whole:sub(at, at + n - 1)
    at = at + n
    return piece ~= "" and piece or nil
  end) }
  check(MultipartReader(writer.content_type, source), expected, whole)
end

-- ---- redirects ----

local parts = {
  "http", "https", "HTTP", "ftp", "javascript", "file", "data", ":", "//", "/", "\\", "?", "#", "@", "user:pass@", "[::1]", "[", "]", "127.0.0.1", "example.org", "EXAMPLE.org", "b\u{fc}cher.example", "\u{2100}", "%2f", "%00",
  "%", "..", ".", " ", "\t", "\r\n", "\0", "\xFF", ":80", ":443", ":99999", "a", "a b", "<", '"', "|", "^",
}
local bases = { url.URL("http://example.org/a/b?q#f"), url.URL("https://user:pw@example.org:8443/"), url.URL("http://[::1]:81/x") }

local function one_redirect()
  local from, location = pick(bases), fuzz.noise(parts, 8)
  local ok, to = pcall(redirects.target, { method = "GET", url = from }, from, location)
  if not ok then
    if not asyncio.isinstance(to, errors.RedirectClientError) then die(tostring(to), location) end
    return
  end
  local text = tostring(to)
  if to.scheme ~= "http" and to.scheme ~= "https" or not to.raw_host or to.raw_host == "" then die("not to be asked for: " .. text, location) end
  if text:find("[%c \127-\255\\]") or to.path_qs:find("[%c \127-\255#]") then die("not fit to be sent: " .. text, location) end
  if tostring(url.URL(text)) ~= text then die("read as another: " .. text, location) end
  if redirects.trusts(from, to) and to.raw_host ~= from.raw_host then die("trusted: " .. text, location) end
end

local bodies, locations = 0, 0
asyncio.run(function()
  while fuzz.going() do
    for _ = 1, 5 do one_body() end
    for _ = 1, 100 do one_redirect() end
    bodies, locations = bodies + 5, locations + 100
  end
end)
print(("sending: %d multipart bodies, %d redirects, seed %d"):format(bodies, locations, fuzz.seed))
