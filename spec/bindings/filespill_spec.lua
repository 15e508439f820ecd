--- Bytes that a file takes from a reader, without strings.

local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local BLOCK <const> = 512 * 1024

local function run(f) return asyncio.run(async(f)) end

local function slurp(path)
  local f <close> = assert(io.open(path, "rb"))
  return f:read("a")
end

-- A FIFO, opened for both sides so that nobody waits for the other.
local function fifo()
  local path = helper.tmpdir() .. "/fifo"
  assert(os.execute("mkfifo " .. path))
  return path
end

-- n bytes of which none is where another could be.
local function bytes(n)
  local list = {}
  for i = 1, n // 8 do list[i] = ("%08x"):format(i) end
  return table.concat(list)
end

local function reader_of(...)
  local reader = asyncio.StreamReader()
  for _, data in ipairs { ... } do reader:feed_data(data) end
  return reader
end

-- Two ends of a connection: a reader and who writes to it.
local function connected(f)
  local got = asyncio.Future()
  local server <close> = await(asyncio.start_server(function(reader, writer)
    got:set_result({ reader, writer })
    await(writer:wait_closed())
  end, "127.0.0.1", 0))
  local _, writer = await(asyncio.open_connection("127.0.0.1", server.sockets[1]:getsockname()[2]))
  local reader, other = table.unpack(await(got))
  f(reader, writer)
  writer:close()
  other:close()
end

-- All of a reader into the file. Gives the number of bytes, and how often there was no room.
local function receive_all(file, reader, n)
  local sum, full = 0, 0
  while true do
    local got = await(file:_receive(reader, n))
    if not got then break end
    sum = sum + got
    if got == 0 then
      full = full + 1
      await(file:_spill())
    end
  end
  await(file:_spill())
  await(file:_spill())
  return sum, full
end

describe("a file that takes bytes of a reader", function()
  it("has them written when they are spilled", function()
    local path = helper.tmpfile("")
    run(function()
      local file <close> = await(fs.open(path, "r+"))
      local reader = reader_of("hello ", "world")
      assert.equal(3, await(file:_receive(reader, 3)))
      assert.equal(8, await(file:_receive(reader, 100)))
      assert.equal("", slurp(path))
      await(file:_spill())
      await(file:_spill())
      assert.equal("hello world", slurp(path))
      assert.equal(11, await(file:tell()))
      assert.equal(1, file:_add("!?", 1))
      await(file:_spill())
      assert.equal(12, await(file:tell()))
      assert.equal(2, await(file:write("..")))
      await(file:seek("set", 6))
      assert.equal("world?..", await(file:read("a")))
      reader:feed_eof()
      assert.is_nil(await(file:_receive(reader, 1)))
    end)
    assert.equal("hello world?..", slurp(path))
  end)

  it("takes what comes over a connection, whoever is faster", function()
    local path, text = helper.tmpfile(""), bytes(3 * BLOCK)
    for _, n in ipairs { 1000, 70000, 1 << 20 } do
      run(function()
        connected(function(reader, writer)
          local file <close> = await(fs.open(path, "w"))
          local sending = asyncio.create_task(async(function()
            for at = 1, #text, 200000 do
              writer:write(text:sub(at, at + 199999))
              await(writer:drain())
              await(asyncio.sleep(0))
            end
            writer:close()
          end)())
          local sum, full = receive_all(file, reader, n)
          assert.equal(#text, sum)
          assert.is_true(full >= 2, full)
          await(sending)
        end)
      end)
      assert.is_true(slurp(path) == text, "another text")
    end
  end)

  it("has no room when a block is full, until that is spilled", function()
    local path, text = helper.tmpfile(""), bytes(BLOCK)
    run(function()
      local file <close> = await(fs.open(path, "w"))
      local reader = reader_of("abc")
      assert.equal(#text, file:_add(text, 0))
      assert.equal(0, file:_add(text, 0))
      assert.equal(0, await(file:_receive(reader, 1)))
      await(file:_spill())
      assert.equal(3, await(file:_receive(reader, 10)))
      assert.equal(BLOCK - 3, file:_add(text .. "0123456789", 8))
      assert.equal(0, await(file:_receive(reader_of("x"), 1)))
      await(file:_spill())
      await(file:_spill())
    end)
    local expected = text .. "abc" .. (text .. "0123456789"):sub(9, 8 + BLOCK - 3)
    assert.is_true(slurp(path) == expected, "another text")
  end)

  it("raises what the reader failed with, and keeps what came before", function()
    local path = helper.tmpfile("")
    run(function()
      local file <close> = await(fs.open(path, "w"))
      local reader = reader_of("abc")
      assert.equal(3, await(file:_receive(reader, 10)))
      reader:set_exception(asyncio.ValueError("broken"))
      helper.raises("broken", function() await(file:_receive(reader, 10)) end)
      await(file:_spill())
    end)
    assert.equal("abc", slurp(path))
  end)

  it("says at the next spill what became of the one before", function()
    run(function()
      local file <close> = await(fs.open("/dev/full", "w"))
      assert.equal(3, file:_add("abc", 0))
      await(file:_spill())
      for _ = 1, 2 do
        local e = helper.raises(asyncio.OSError, function() await(file:_spill()) end)
        assert.equal("ENOSPC", e.code)
      end
    end)
  end)

  it("takes nothing when it is closed, or open for reading alone", function()
    local path = helper.tmpfile("text")
    run(function()
      local file = await(fs.open(path))
      file:_add("abc", 0)
      assert.equal("EBADF", helper.raises(asyncio.OSError, function() await(file:_spill()) end).code)
      await(file:close())
      assert.equal(0, file:_add("abc", 0))
      assert.equal(0, await(file:_receive(reader_of("abc"), 1)))
      assert.equal("EBADF", helper.raises(asyncio.OSError, function() await(file:_spill()) end).code)
      helper.raises("StreamReader expected", file._receive, file, {}, 1)
      helper.raises("a number of bytes expected", file._receive, file, reader_of(), 0)
      helper.raises("an offset in the string", file._add, file, "abc", 4)
    end)
    assert.equal("text", slurp(path))
  end)

  it("that is cancelled while it waits has lost nothing", function()
    local path = helper.tmpfile("")
    run(function()
      local file <close> = await(fs.open(path, "w"))
      local reader = reader_of("abc")
      await(file:_receive(reader, 10))
      local task = asyncio.create_task(async(function() await(file:_receive(reader, 10)) end)())
      await(asyncio.sleep(0))
      helper.raises("already waiting", function() await(file:_receive(reader, 10)) end)
      task:cancel()
      helper.raises(asyncio.CancelledError, function() await(task) end)
      reader:feed_data("def")
      assert.equal(3, await(file:_receive(reader, 10)))
      await(file:_spill())
    end)
    assert.equal("abcdef", slurp(path))
  end)

  it("can be closed, or dropped, while a pipe takes no more", function()
    local path, text = fifo(), bytes(BLOCK)
    run(function()
      local _ <close> = await(fs.open(path, fs.O_RDWR))
      for _, how in ipairs { "close", "drop" } do
        local file = await(fs.open(path, "w"))
        assert.equal(#text, file:_add(text, 0))
        await(file:_spill())
        local waits = asyncio.create_task(async(function() await(file:_spill()) end)())
        await(asyncio.sleep(0.001))
        assert.is_false(waits:done())
        waits:cancel()
        helper.raises(asyncio.CancelledError, function() await(waits) end)
        if how == "close" then
          await(file:close())
        else
          file:_close()
        end
        waits, file = nil, nil
        collectgarbage()
        collectgarbage()
      end
    end)
  end)

  it("goes on when a pipe is read", function()
    local path, text = fifo(), bytes(2 * BLOCK)
    run(function()
      local other <close> = await(fs.open(path, fs.O_RDWR))
      local file <close> = await(fs.open(path, "w"))
      local reading = asyncio.create_task(async(function()
        local got = {}
        while #table.concat(got) < #text do got[#got + 1] = await(other:read(8 * 1024)) end
        return table.concat(got)
      end)())
      local at = 0
      while at < #text do
        local n = file:_add(text, at)
        at = at + n
        if n == 0 then await(file:_spill()) end
      end
      await(file:_spill())
      await(file:_spill())
      assert.is_true(await(reading) == text, "another text")
    end)
  end)
end)
