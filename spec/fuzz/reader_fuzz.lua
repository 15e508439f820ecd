--- A StreamReader against a model of it: random pieces, limits and calls, some of which wait for what comes later. Some
--- of what is read goes into a file.
---   build/moonloop spec/fuzz/reader_fuzz.lua [SECONDS [SEED]]

local asyncio = require "asyncio"
local fs = require "fs"
local fuzz = require "spec.fuzz.fuzz"

local random = math.random

-- ---- the model: what CPython's StreamReader documents, on a plain string --------------

--- What a call gives once `buffer` is there and the stream has ended or not; nil: it waits.
local model = {}

function model.read(m, n)
  if n == 0 then return "" end
  if n == nil or n < 0 then
    if not m.eof then return nil end
    return m:take(#m.buffer)
  end
  if #m.buffer == 0 then return m.eof and "nil" or nil end
  return m:take(math.min(n, #m.buffer))
end

function model.readexactly(m, n)
  if n == 0 then return "" end
  if #m.buffer >= n then return m:take(n) end
  if m.eof then return "IncompleteReadError:" .. m:take(#m.buffer) end
end

--- Into the file: how many bytes.
function model.into(m, n)
  if #m.buffer == 0 then return m.eof and "nil" or nil end
  local data = m:take(math.min(n, #m.buffer))
  m.filed = m.filed .. data
  return #data
end

--- The separators by length, the shortest first; the one that ends first wins.
function model.readuntil(m, seps)
  local shortest, longest = math.huge, 0
  local best, best_start
  for _, sep in ipairs(seps) do
    shortest, longest = math.min(shortest, #sep), math.max(longest, #sep)
    local from, to = m.buffer:find(sep, 1, true)
    if to and (not best or to < best) then best, best_start = to, from - 1 end
  end
  if best then
    if best_start > m.limit then return "LimitOverrunError" end
    return m:take(best)
  end
  if #m.buffer >= shortest and #m.buffer + 1 - longest > m.limit then return "LimitOverrunError" end
  if m.eof then return "IncompleteReadError:" .. m:take(#m.buffer) end
end

local Model = { __index = model }
function model.take(m, n)
  local s = m.buffer:sub(1, n)
  m.buffer = m.buffer:sub(n + 1)
  return s
end

-- ---- the comparison -------------------------------------------------------------------

local function outcome(ok, v)
  if ok then return v == nil and "nil" or v end
  if asyncio.isinstance(v, asyncio.IncompleteReadError) then return "IncompleteReadError:" .. v.partial end
  if asyncio.isinstance(v, asyncio.LimitOverrunError) then return "LimitOverrunError" end
  return tostring(v)
end

local alphabet = { "a", "b", "\n", "\r", "\0" }
local function bytes(n)
  local t = {}
  for i = 1, n do t[i] = alphabet[random(#alphabet)] end
  return table.concat(t)
end

-- by length, as the reader looks for them
local separators = { { "\n" }, { "\r\n" }, { "b", "ab" }, { "\n", "aa" }, { "\0", "bb", "abab" } }

local names = { "read", "readexactly", "readuntil", "into" }
local least = { read = -1, readexactly = 0, into = 1 }
local file

local function call(reader, name, argument)
  if name == "into" then return await(file:_receive(reader, argument)) end
  return await(reader[name](reader, argument))
end

--- What has been put into the file is there.
local function check_file(m)
  await(file:_spill())
  await(file:_spill())
  await(file:seek("set"))
  local text = await(file:read("a"))
  if text ~= m.filed then error(("the file has %q, the model %q"):format(text, m.filed), 0) end
  await(file:truncate(0))
  await(file:seek("set"))
end

local function round()
  local limit = random(1, 40)
  local m = setmetatable({ buffer = "", filed = "", limit = limit, eof = false }, Model)
  local reader = asyncio.StreamReader { limit = limit }
  for step = 1, 40 do
    if not m.eof and random() < 0.6 then
      local piece = bytes(random(0, 30))
      m.buffer = m.buffer .. piece
      reader:feed_data(piece)
    elseif not m.eof and random() < 0.1 then
      m.eof = true
      reader:feed_eof()
    end
    local name = names[random(#names)]
    local argument = name == "readuntil" and separators[random(#separators)] or random(least[name] or 0, 40)
    local task = asyncio.create_task(async(function()
      return outcome(pcall(call, reader, name, argument))
    end)())
    local expected = m[name](m, argument)
    await(asyncio.sleep(0))
    while expected == nil do -- it waits: more comes, the end, or a cancel
      if task:done() then error(("step %d: %s did not wait but gave %q"):format(step, name, task:result()), 0) end
      local r = random()
      if r < 0.2 then
        task:cancel()
        break
      elseif r < 0.3 then
        m.eof = true
        reader:feed_eof()
      else
        local piece = bytes(random(1, 30))
        m.buffer = m.buffer .. piece
        reader:feed_data(piece)
      end
      expected = m[name](m, argument)
      if expected == nil then await(asyncio.sleep(0)) end
    end
    local ok, got = asyncio.catch(await, task)
    if expected ~= nil and (not ok or got ~= expected) then
      error(("step %d: %s(%s) gave %q, the model %q"):format(step, name, tostring(argument), tostring(got), expected), 0)
    end
    if expected == "LimitOverrunError" then -- nothing is lost: all that was there can be read
      assert(await(reader:readexactly(#m.buffer)) == m.buffer, "bytes were lost")
      m.buffer = ""
    end
  end
  if m.filed ~= "" then check_file(m) end
end

local rounds
asyncio.run(async(function()
  local path = os.tmpname()
  file = await(fs.open(path, "w+"))
  os.remove(path)
  rounds = fuzz.rounds(round)
  await(file:close())
end)(), { clock = "virtual" })
print(rounds .. " readers did as the model does")
