--- Random multipart bodies, in random pieces: what was written is read, whatever the pieces; a body that was changed gives
--- parts or a ValueError, and the same ones for any pieces.
---   moonloop spec/fuzz/multipart_fuzz.lua [SECONDS] [SEED]

local asyncio = require "asyncio"
local multipart = require "http.multipart"
local forms = require "http.forms"
local fuzz = require "spec.fuzz.fuzz"

local die, random = fuzz.die, math.random
local async, await = asyncio.async, asyncio.await

local pieces = {
  "\r\n", "\r", "\n", "--", "-", "b", "--b", "\r\n--b", "\r\n--b--", "\r\n--b\r\n", "--bb", " ", "x", "\0", "\255", "data", ":", "A: 1\r\n", "\r\n\r\n",
  "Content-Disposition: form-data; name=\"a\"", "; filename=\"f\"", "Content-Type: multipart/mixed; boundary=bb", "Content-Transfer-Encoding: base64",
}

local function noise(n) return fuzz.noise(pieces, n) end

local function body()
  local list, parts = {}, {}
  for i = 1, random(0, 5) do
    local data = noise(10)
    if ("\r\n" .. data):find("\r\n--b", 1, true) then data = "x" end
    parts[i] = data
    list[#list + 1] = (i == 1 and "" or "\r\n") .. "--b\r\n" .. (random(2) == 1 and "A: 1\r\n" or "") .. "\r\n" .. data
  end
  list[#list + 1] = (#parts > 0 and "\r\n" or "") .. "--b--" .. (random(2) == 1 and "\r\n" .. noise(3) or "")
  return table.concat(list), parts
end

local function stream(text)
  local at, most = 1, ({ 1, 2, 5, 50, 100000 })[random(5)]
  return {
    read = async(function()
      if at > #text then return nil end
      local piece = text:sub(at, at + random(most) - 1)
      at = at + #piece
      return piece
    end),
  }
end

local function read(text)
  local list = {}
  local function go(reader)
    for part in reader:parts() do
      if part.boundary then
        list[#list + 1] = "["
        go(part)
        list[#list + 1] = "]"
      else
        list[#list + 1] = await(part:read())
      end
    end
  end
  local ok, err = pcall(go, multipart.MultipartReader("multipart/form-data; boundary=b", stream(text)))
  if not ok and not asyncio.isinstance(err, asyncio.ValueError) then die(tostring(err), text) end
  return list, ok
end

local function equal(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i] ~= b[i] then return false end
  end
  return true
end

local function read_form(text)
  local ok, form = pcall(await, forms.read("multipart/form-data; boundary=b", stream(text)))
  if ok then return await(forms.close(form)) end
  if not asyncio.isinstance(form, asyncio.ValueError) then die(tostring(form), text) end
end

local function change(text)
  local how, at = random(4), random(#text)
  if how == 1 then return text:sub(1, at - 1) end
  if how == 2 then return text:sub(1, at - 1) .. text:sub(at + 1) end
  if how == 3 then return text:sub(1, at - 1) .. string.char(random(0, 255)) .. text:sub(at + 1) end
  return text:sub(1, at) .. pieces[random(#pieces)] .. text:sub(at + 1)
end

local tries, whole = 0, 0
asyncio.run(async(function()
  while fuzz.going() do
    local text, parts = body()
    if not equal(parts, read(text)) then die("other parts", text) end
    for _ = 1, 10 do
      local changed = random(4) == 1 and noise(30) or change(text)
      if random(2) == 1 and #changed > 0 then changed = change(changed) end
      tries = tries + 1
      local first, ok = read(changed)
      local second, again = read(changed)
      if ok ~= again or ok and not equal(first, second) then die("other parts in other pieces", changed) end
      if ok then whole = whole + 1 end
      if random(20) == 1 then read_form(changed) end
    end
  end
end)())
print(("multipart: %d bodies, %d of them whole, seed %d"):format(tries, whole, fuzz.seed))
