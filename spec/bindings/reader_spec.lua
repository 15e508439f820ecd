local helper = require "spec.helper"
local asyncio = require "asyncio"

local DATA = "line1\nline2\nline3\n"

local function run(f, ...)
  return helper.run(async(f)(...))
end

local function reader(limit)
  return asyncio.StreamReader(limit and { limit = limit } or nil)
end

--- What is left in a reader's buffer.
local function rest(r)
  r:feed_eof()
  return await(r:read())
end

describe("StreamReader", function()
  it("gives what is there, at most n bytes", function()
    run(function()
      local r = reader()
      r:feed_data("line1")
      r:feed_data("line2")
      assert.equal("line1", await(r:read(5)))
      assert.equal("line2", await(r:read(100)))
    end)
  end)

  it("waits for data", function()
    run(function()
      local r = reader()
      asyncio.get_running_loop():call_later(1, function() r:feed_data(DATA) end)
      assert.equal(DATA, await(r:read(30)))
    end)
  end)

  it("gives large pieces that do not share their memory", function()
    local size, count = 65536, 40
    local function piece(i) return string.char(65 + i % 26):rep(size - 8) .. ("%08d"):format(i) end
    asyncio.run(async(function()
      local server <close> = await(asyncio.start_server(async(function(_, w)
        for i = 1, count do
          w:write(piece(i))
          await(w:drain())
        end
        w:close()
      end), "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      local kept, wanted = {}, {}
      for i = 1, count do
        kept[i] = await(r:readexactly(size))
        wanted[i] = piece(i)
        if i % 10 == 0 then collectgarbage() end
      end
      assert.same(wanted, kept)
      assert.is_nil(await(r:read(1)))
      w:close()
      await(w:wait_closed())
    end)())
    local all = {}
    asyncio.run(async(function()
      local server <close> = await(asyncio.start_server(async(function(_, w)
        for i = 1, count do w:write(piece(i)) end
        w:close()
      end), "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      while true do
        local data = await(r:read(size))
        if not data then break end
        all[#all + 1] = data
      end
      w:close()
      await(w:wait_closed())
    end)())
    local wanted = {}
    for i = 1, count do wanted[i] = piece(i) end
    assert.is_true(table.concat(all) == table.concat(wanted))
  end)

  it("gives nil at the end", function()
    run(function()
      local r = reader()
      asyncio.get_running_loop():call_soon(r.feed_eof, r)
      assert.is_nil(await(r:read(1024)))
      assert.is_nil(await(r:readline()))
      assert.is_true(r:at_eof())
    end)
  end)

  it("reads all to the end, which may be nothing", function()
    run(function()
      local r = reader()
      local task = asyncio.create_task(r:read())
      await(asyncio.sleep(0))
      r:feed_data("chunk1\n")
      await(asyncio.sleep(0))
      r:feed_data("chunk2")
      r:feed_eof()
      assert.equal("chunk1\nchunk2", await(task))
      assert.equal("", await(r:read()))
      assert.equal("", await(r:read(-1)))
    end)
  end)

  it("gives an empty string for no bytes at all", function()
    run(function()
      local r = reader()
      r:feed_data(DATA)
      assert.equal("", await(r:read(0)))
      assert.equal("", await(r:readexactly(0)))
      assert.equal(DATA, rest(r))
    end)
  end)

  it("ignores the limit in read and readexactly", function()
    run(function()
      local r = reader(3)
      r:feed_data("chunkchunk")
      assert.equal("chunk", await(r:read(5)))
      assert.equal("chunk", await(r:readexactly(5)))
    end)
  end)

  it("refuses a limit that is not positive", function()
    for _, limit in ipairs { 0, -1 } do
      local e = helper.raises(asyncio.ValueError, reader, limit)
      assert.matches("Limit cannot be <= 0", e.message, 1, true)
    end
    helper.raises(asyncio.TypeError, reader, "x")
  end)

  it("tells when the end is reached", function()
    run(function()
      local r = reader()
      assert.is_false(r:at_eof())
      r:feed_data("some data\n")
      r:feed_eof()
      assert.is_false(r:at_eof())
      await(r:readline())
      assert.is_true(r:at_eof())
    end)
  end)

  it("takes no data after the end", function()
    local r = reader()
    r:feed_eof()
    local e = helper.raises(asyncio.RuntimeError, r.feed_data, r, "x")
    assert.matches("feed_data after feed_eof", e.message, 1, true)
    helper.raises(asyncio.TypeError, reader().feed_data, reader(), 12)
  end)

  it("lets one task wait at a time", function()
    run(function()
      for _, call in ipairs {
        { "read", 1 }, { "readline" }, { "readexactly", 1 }, { "readuntil", "x" },
      } do
        local r = reader()
        local first = asyncio.create_task(r:read(10))
        await(asyncio.sleep(0))
        local e = helper.raises(asyncio.RuntimeError, await, r[call[1]](r, call[2]))
        assert.equal(call[1] .. "() called while another coroutine is already waiting for incoming data", e.message)
        r:feed_data("data")
        assert.equal("data", await(first))
      end
    end)
  end)

  it("wakes the task that waits only when it has what it asked for", function()
    run(function()
      local r = reader()
      local task = asyncio.create_task(r:readexactly(4))
      for byte in ("abcd"):gmatch(".") do
        await(asyncio.sleep(1))
        assert.is_false(task:done())
        r:feed_data(byte)
      end
      assert.equal("abcd", await(task))
    end)
  end)

  it("loses no byte to a cancel", function()
    run(function()
      for _, call in ipairs {
        { "read", 100 }, { "read" }, { "readline" }, { "readexactly", 100 }, { "readuntil", "AAA" },
      } do
        for _, order in ipairs { "cancel first", "data first" } do
          local r = reader()
          r:feed_data("ab")
          if call[1] == "read" and call[2] then await(r:read(2)) end
          local task = asyncio.create_task(r[call[1]](r, call[2]))
          await(asyncio.sleep(0))
          if order == "cancel first" then task:cancel() end
          r:feed_data("cd")
          task:cancel()
          helper.raises(asyncio.CancelledError, await, task)
          assert.equal(call[1] == "read" and call[2] and "cd" or "abcd", rest(r), call[1] .. ", " .. order)
        end
      end
    end)
  end)

  it("is never awaited: says so", function()
    local status, _, err = helper.cli({ "-e", [[
      local r = require("asyncio").StreamReader()
      r:read(5) r = nil collectgarbage() collectgarbage()]] })
    assert.equal(0, status)
    assert.matches("StreamReader.read.*was never awaited", err)
  end)

  it("prints its state", function()
    assert.equal("<StreamReader>", tostring(reader()))
    assert.equal("<StreamReader limit=123>", tostring(reader(123)))
    local r = reader()
    r:feed_data("data")
    assert.equal("<StreamReader 4 bytes>", tostring(r))
    r:feed_eof()
    assert.equal("<StreamReader 4 bytes eof>", tostring(r))
    r:set_exception(asyncio.RuntimeError())
    assert.equal("<StreamReader 4 bytes eof exception>", tostring(r))
  end)

  it("is used wrongly: says how", function()
    local r = reader()
    helper.raises(asyncio.TypeError, r.read, r, "x")
    helper.raises(asyncio.TypeError, r.read, r, 1.5)
    helper.raises(asyncio.TypeError, r.readexactly, r)
    local e = helper.raises(asyncio.ValueError, r.readexactly, r, -1)
    assert.matches("readexactly size can not be less than zero", e.message, 1, true)
    e = helper.raises(asyncio.TypeError, asyncio.StreamReader, { limt = 1 })
    assert.matches("unexpected keyword argument 'limt'", e.message, 1, true)
    assert.error(function() r.read("x", 1) end)
  end)
end)

describe("StreamReader:readline", function()
  it("keeps the line break", function()
    run(function()
      local r = reader()
      r:feed_data("chunk1 ")
      asyncio.get_running_loop():call_soon(function()
        r:feed_data("chunk2 ")
        r:feed_data("chunk3 ")
        r:feed_data("\n chunk4")
      end)
      assert.equal("chunk1 chunk2 chunk3 \n", await(r:readline()))
      assert.equal(" chunk4", rest(r))
    end)
  end)

  it("gives what is there at the end", function()
    run(function()
      local r = reader()
      r:feed_data("some data")
      r:feed_eof()
      assert.equal("some data", await(r:readline()))
      assert.is_nil(await(r:readline()))
    end)
  end)

  it("drops a line that is over the limit, and keeps what follows", function()
    run(function()
      local r = reader(3)
      r:feed_data("li")
      r:feed_data("ne1\nline2\n")
      local e = helper.raises(asyncio.ValueError, await, r:readline())
      assert.equal("Separator is found, but chunk is longer than limit", e.message)
      assert.equal("line2\n", rest(r))
      r = reader(3)
      r:feed_data("li")
      r:feed_data("ne1")
      r:feed_data("li")
      e = helper.raises(asyncio.ValueError, await, r:readline())
      assert.equal("Separator is not found, and chunk exceed the limit", e.message)
      assert.equal("", rest(r))
    end)
  end)

  it("holds the limit strictly", function()
    run(function()
      local r = reader(7)
      r:feed_data("1234567\n")
      assert.equal("1234567\n", await(r:readline()))
      r:feed_data("12345678\n")
      helper.raises(asyncio.ValueError, await, r:readline())
      r:feed_data("12345678")
      helper.raises(asyncio.ValueError, await, r:readline())
      assert.equal("", rest(r))
    end)
  end)

  it("reads lines one by one, and bytes between", function()
    run(function()
      local r = reader()
      r:feed_data(DATA)
      assert.equal("line1\n", await(r:readline()))
      assert.equal("line2\nl", await(r:read(7)))
      assert.equal("ine3\n", rest(r))
    end)
  end)

  it("has an iterator without line breaks", function()
    run(function()
      local r = reader()
      r:feed_data("a\n\nb\r\nend")
      r:feed_eof()
      local lines = {}
      for line in r:lines() do lines[#lines + 1] = line end
      assert.same({ "a", "", "b\r", "end" }, lines)
    end)
  end)

  it("is what asyncio.aiter goes over", function()
    run(function()
      local r = reader()
      r:feed_data(DATA)
      r:feed_eof()
      local lines = {}
      for line in asyncio.aiter(r) do lines[#lines + 1] = line end
      assert.same({ "line1\n", "line2\n", "line3\n" }, lines)
    end)
  end)
end)

describe("StreamReader:readuntil", function()
  it("finds separators that come in pieces", function()
    run(function()
      local r = reader()
      for _, chunks in ipairs {
        { "lineAAA" }, { "QWEaa", "XYaa", "AA", "A" }, { "AAA" }, { "XAAA" }, { "XXX", "A", "A", "A" },
      } do
        local task = asyncio.create_task(r:readuntil("AAA"))
        for _, chunk in ipairs(chunks) do
          await(asyncio.sleep(0))
          r:feed_data(chunk)
        end
        assert.equal(table.concat(chunks), await(task))
      end
      r:feed_data("lineAAAxxx")
      assert.equal("lineAAA", await(r:readuntil("AAA")))
      assert.equal("xxx", rest(r))
    end)
  end)

  it("finds a separator that ends inside another's beginning", function()
    run(function()
      local r = reader()
      r:feed_data("aaaab")
      assert.equal("aaaab", await(r:readuntil("aaab")))
    end)
  end)

  it("takes the separator that ends first of several", function()
    run(function()
      local r = reader()
      r:feed_data("xy;ab||cd\r\n")
      assert.equal("xy;", await(r:readuntil { "\r\n", ";", "||" }))
      assert.equal("ab||", await(r:readuntil { "\r\n", ";", "||" }))
      assert.equal("cd\r\n", await(r:readuntil { "\r\n", ";", "||" }))
      r:feed_data("fooendend")
      assert.equal("fooend", await(r:readuntil { "endend", "end" }))
      assert.equal("end", rest(r))
    end)
  end)

  it("raises IncompleteReadError at the end", function()
    run(function()
      local r = reader()
      r:feed_data("some dataAA")
      r:feed_eof()
      local e = helper.raises(asyncio.IncompleteReadError, await, r:readuntil("AAA"))
      assert.equal("some dataAA", e.partial)
      assert.is_nil(e.expected)
      assert.equal("11 bytes read on a total of undefined expected bytes", e.message)
      assert.equal("", await(r:read()))
    end)
  end)

  it("keeps the buffer when the limit is overrun", function()
    run(function()
      local r = reader(3)
      r:feed_data("some dataAA")
      local e = helper.raises(asyncio.LimitOverrunError, await, r:readuntil("AAA"))
      assert.equal("Separator is not found, and chunk exceed the limit", e.message)
      assert.equal(9, e.consumed)
      r:feed_data("A")
      e = helper.raises(asyncio.LimitOverrunError, await, r:readuntil("AAA"))
      assert.equal("Separator is found, but chunk is longer than limit", e.message)
      assert.equal(9, e.consumed)
      assert.equal("some dataAAA", rest(r))
    end)
  end)

  it("refuses what is no separator", function()
    local r = reader()
    for _, bad in ipairs { "", { "" }, { "a", "" } } do
      local e = helper.raises(asyncio.ValueError, r.readuntil, r, bad)
      assert.matches("Separator should be at least one-byte string", e.message, 1, true)
    end
    assert.matches("at least one element", helper.raises(asyncio.ValueError, r.readuntil, r, {}).message, 1, true)
    helper.raises(asyncio.TypeError, r.readuntil, r, 5)
    helper.raises(asyncio.TypeError, r.readuntil, r, { 5 })
  end)
end)

describe("StreamReader:readexactly", function()
  it("gives exactly so many bytes", function()
    run(function()
      local r = reader()
      local task = asyncio.create_task(r:readexactly(2 * #DATA))
      await(asyncio.sleep(0))
      for _ = 1, 3 do r:feed_data(DATA) end
      assert.equal(DATA .. DATA, await(task))
      assert.equal(DATA, rest(r))
    end)
  end)

  it("raises IncompleteReadError with what came", function()
    run(function()
      local r = reader()
      local task = asyncio.create_task(r:readexactly(36))
      await(asyncio.sleep(0))
      r:feed_data(DATA)
      r:feed_eof()
      local e = helper.raises(asyncio.IncompleteReadError, await, task)
      assert.equal(DATA, e.partial)
      assert.equal(36, e.expected)
      assert.equal("18 bytes read on a total of 36 expected bytes", e.message)
      assert.equal("", await(r:read()))
    end)
  end)
end)

describe("StreamReader:set_exception", function()
  it("is raised by all that read, the same object", function()
    run(function()
      local r, e = reader(), asyncio.ValueError("broken")
      r:feed_data("line\n")
      assert.equal("li", await(r:read(2)))
      assert.is_nil(r:exception())
      r:set_exception(e)
      assert.equal(e, r:exception())
      for _, call in ipairs { { "read", 2 }, { "readline" }, { "readexactly", 2 }, { "readuntil", "x" } } do
        assert.equal(e, helper.raises(asyncio.ValueError, await, r[call[1]](r, call[2])))
      end
    end)
  end)

  it("wakes the task that waits", function()
    run(function()
      local r = reader()
      local task = asyncio.create_task(r:readline())
      await(asyncio.sleep(0))
      r:set_exception(asyncio.ValueError())
      helper.raises(asyncio.ValueError, await, task)
    end)
  end)

  it("may be any value, and may be taken back: what was there is read then", function()
    run(function()
      local r = reader()
      r:feed_data("line\n")
      assert.equal("li", await(r:read(2))) -- an operation that can be used again
      for _, e in ipairs { io.stdout, "text", 7, r } do
        r:set_exception(e)
        for _ = 1, 2 do
          local ok, got = pcall(await, r:read(2))
          assert.is_false(ok)
          assert.is_true(rawequal(e, got) or e == got or tostring(got):find("text") ~= nil)
        end
      end
      r:set_exception(nil)
      assert.is_nil(r:exception())
      assert.equal("ne\n", await(r:readline()))
    end)
  end)

  it("leaves a task alone that was cancelled", function()
    run(function()
      local r = reader()
      local task = asyncio.create_task(r:readline())
      await(asyncio.sleep(0))
      task:cancel()
      await(asyncio.sleep(0))
      r:set_exception(asyncio.RuntimeError("message"))
      await(asyncio.sleep(0))
      assert.is_true(task:cancelled())
    end)
  end)
end)
