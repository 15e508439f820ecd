local helper = require "spec.helper"
local asyncio = require "asyncio"

describe("asyncio's names for streams", function()
  it("are there, and the loop's methods too", function()
    for _, name in ipairs {
      "open_connection", "start_server", "open_unix_connection", "start_unix_server", "StreamReader", "StreamWriter",
      "StreamReaderProtocol", "Server",
    } do
      assert.is_not_nil(asyncio[name], name)
    end
    local loop <close> = asyncio.new_event_loop()
    for _, name in ipairs {
      "create_connection", "create_server", "create_unix_connection", "create_unix_server", "connect_read_pipe",
      "connect_write_pipe", "connect_accepted_socket", "getaddrinfo", "getnameinfo",
    } do
      assert.is_function(loop[name], name)
    end
    assert.is_nil(loop.no_such_method)
  end)
end)

describe("streams", function()
  it("work with the virtual clock: time stands still while bytes are on their way", function()
    helper.run(async(function()
      local loop = asyncio.get_running_loop()
      local server = await(asyncio.start_server(function(r, w)
        for line in r:lines() do
          await(asyncio.sleep(3600))
          w:write(line:upper() .. "\n")
        end
        w:close()
      end, "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      local start = loop:time()
      for i = 1, 3 do
        w:write("hour " .. i .. "\n")
        assert.equal("HOUR " .. i .. "\n", await(r:readline()))
      end
      assert.equal(3 * 3600, math.floor(loop:time() - start + 0.5))
      w:close()
      server:close()
      await(server:wait_closed())
    end))
  end)

  it("are used at top level", function()
    local _, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local server = await(asyncio.start_server(function(r, w)
        for line in r:lines() do w:write(line:reverse() .. "\n") end
        w:close()
      end, "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      w:write("abc\ndef\n")
      w:write_eof()
      for line in r:lines() do print(line) end
      w:close()
      server:close()]] })
    assert.equal("cba\nfed\n", out)
    assert.equal("", err)
  end)

  it("end with their loop", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local loop = asyncio.new_event_loop()
      local s, r, w
      loop:run_until_complete(async(function()
        s = await(asyncio.start_server(function(reader) await(reader:read()) end, "127.0.0.1", 0))
        r, w = await(asyncio.open_connection("127.0.0.1", s.sockets[1].port))
        asyncio.create_task(r:readline())
        w:write(("x"):rep(10000000))
        await(asyncio.sleep(0.01))
      end)())
      loop:close()
      print(w:is_closing(), s:is_serving(), r:at_eof())
      w:write("more")
      w:close()
      s:close()
      print(pcall(await, asyncio.open_connection("127.0.0.1", 1)))]] })
    assert.equal(0, status, err)
    assert.matches("^true\tfalse\ttrue\nfalse\tOSError", out)
    assert.matches("Task was destroyed but it is pending", err, 1, true)
  end)

  it("that a handler forgot are closed before the loop gives up", function()
    local _, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      asyncio.run(async(function()
        local server = await(asyncio.start_server(function(r) await(r:read()) end, "127.0.0.1", 0))
        local _, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
        w:close()
        server:close()
        await(server:wait_closed())
        print("closed")
      end)())]] })
    assert.equal("closed\n", out)
    assert.matches("unclosed <StreamWriter", err, 1, true)
  end)

  it("belong to one loop", function()
    local _, out = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local server = await(asyncio.start_server(function(r) await(r:read()) end, "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      local other = asyncio.new_event_loop()
      print(pcall(other.run_until_complete, other, r:read(1)))
      other:close() w:close() server:close()]] })
    assert.equal("false\tRuntimeError: read(): the reader belongs to a different loop\n", out)
  end)
end)

-- ---- a reader against a model ------------------------------------------------------

--- What CPython's StreamReader gives, over a string that is all there.
local Model = {}
Model.__index = Model

function Model:take(n)
  local data = self.data:sub(1, n)
  self.data = self.data:sub(n + 1)
  return data
end

function Model:read(n)
  if n == 0 then return "" end
  if #self.data == 0 then return nil end
  return self:take(n)
end

function Model:readexactly(n)
  if #self.data >= n then return self:take(n) end
  return "IncompleteReadError " .. self:take(#self.data)
end

--- The separator that ends first.
function Model:find(seps)
  local first, last
  for _, sep in ipairs(seps) do
    local i, j = self.data:find(sep, 1, true)
    if i and (not last or j < last or j == last and i > first) then first, last = i, j end
  end
  return first, last
end

function Model:readline()
  local first, last = self:find { "\n" }
  if first and first - 1 > self.limit then
    self:take(last)
    return "ValueError"
  elseif first then
    return self:take(last)
  elseif #self.data > self.limit then
    self.data = ""
    return "ValueError"
  end
  return #self.data > 0 and self:take(#self.data) or nil
end

function Model:readuntil(seps)
  local first, last = self:find(seps)
  if first and first - 1 > self.limit then return "LimitOverrunError" end
  if first then return self:take(last) end
  local longest = 0
  for _, sep in ipairs(seps) do longest = math.max(longest, #sep) end
  if #self.data + 1 - longest > self.limit then return "LimitOverrunError" end
  return "IncompleteReadError " .. self:take(#self.data)
end

local function outcome(ok, result)
  if ok then return result end
  if result.name == "IncompleteReadError" then return result.name .. " " .. result.partial end
  return result.name
end

describe("a StreamReader", function()
  it("gives what a model gives, for random calls on random data", function()
    helper.run(async(function()
      math.randomseed(42)
      local letters = { "a", "b", "ab", "\n", "\r\n", "AAA", "A" }
      for _ = 1, 400 do
        local parts = {}
        for i = 1, math.random(0, 40) do parts[i] = letters[math.random(#letters)] end
        local limit = math.random(1, 30)
        local model = setmetatable({ data = table.concat(parts), limit = limit }, Model)
        local reader = asyncio.StreamReader { limit = limit }
        reader:feed_data(model.data)
        reader:feed_eof()
        for _ = 1, math.random(1, 15) do
          local name = ({ "read", "readexactly", "readline", "readuntil" })[math.random(4)]
          local argument
          if name == "readuntil" then
            argument = ({ { "\n" }, { "AAA" }, { "\r\n", "b" }, { "ab", "a" }, { "AAAA", "A" } })[math.random(5)]
          elseif name ~= "readline" then
            argument = math.random(0, 20)
          end
          local expected = model[name](model, argument)
          local got = outcome(pcall(await, reader[name](reader, argument)))
          assert.equal(expected, got, name)
          if got == "LimitOverrunError" then break end
        end
        assert.equal(model.data, await(reader:read()))
      end
    end))
  end)

  it("gives the same, however its data is cut", function()
    helper.run(async(function()
      math.randomseed(43)
      for _ = 1, 100 do
        local bytes = {}
        for i = 1, math.random(1, 3000) do bytes[i] = string.char(math.random(0, 255) & 0x1f) end
        local data = table.concat(bytes)
        local reader = asyncio.StreamReader { limit = 100000 }
        local feeding = asyncio.create_task(async(function()
          local i = 1
          while i <= #data do
            local n = math.random(1, 300)
            reader:feed_data(data:sub(i, i + n - 1))
            i = i + n
            if math.random(3) > 1 then await(asyncio.sleep(0)) end
          end
          reader:feed_eof()
        end)())
        local got = {}
        while true do
          local kind = math.random(4)
          local piece
          if kind == 1 then
            piece = await(reader:read(math.random(1, 200)))
          elseif kind == 2 then
            piece = await(reader:readline())
          else
            local ok, result
            if kind == 3 then
              ok, result = pcall(await, reader:readexactly(math.random(1, 200)))
            else
              ok, result = pcall(await, reader:readuntil { "\n\1", "\2" })
            end
            piece = ok and result or result.partial
            if piece == "" then piece = nil end
          end
          if not piece then break end
          got[#got + 1] = piece
        end
        assert.equal(data, table.concat(got))
        await(feeding)
      end
    end))
  end)
end)
