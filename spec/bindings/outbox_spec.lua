local asyncio = require "asyncio"
local helper = require "spec.helper"
local socket = require "socket"

local run = helper.run_with_loop

--- A connection's writer, and the Socket at its other end.
local function pair()
  local a, b = socket.socketpair()
  local _, w = await(asyncio.open_connection(nil, nil, { sock = a }))
  return w, b
end

local function finish(w, peer)
  w:close()
  pcall(await, w:wait_closed())
  peer:close()
end

--- Runs functions as tasks of one round, in order; gives what `log` was called with.
local function round(...)
  local said = {}
  local function log(text) said[#said + 1] = text end
  local tasks = {}
  for i, f in ipairs { ... } do tasks[i] = asyncio.create_task(async(f)(log)) end
  await(asyncio.gather(table.unpack(tasks)))
  return table.concat(said, " ")
end

local function nothing(log) log "other" end

--- Reads all that comes until the end.
local function drink(peer)
  local parts = {}
  repeat
    local data = await(peer:recv(100000))
    parts[#parts + 1] = data
  until not data
  return table.concat(parts)
end

describe("what a task writes", function()
  it("is sent at once when no other job of the round waits", function()
    run(function()
      local w, peer = pair()
      assert.equal("hello other", round(function(log)
        w:write("hello")
        asyncio.get_running_loop():call_soon(log, "other")
        log(await(peer:recv(100)))
      end))
      finish(w, peer)
    end)
  end)

  it("is sent when the others have run", function()
    run(function()
      local w, peer = pair()
      assert.equal("other hello, world", round(function()
        w:write("hello")
        w:writelines { ", ", "world" }
      end, function(log) log(await(peer:recv(100))) end, nothing))
      finish(w, peer)
    end)
  end)

  it("is sent at once if it is large, behind what waits", function()
    run(function()
      local w, peer = pair()
      local large = ("x"):rep(5000)
      assert.equal("5002 other", round(function()
        w:write("a")
        w:write(large)
        w:write("b")
      end, function(log)
        local text = ""
        while #text < 5001 do text = text .. await(peer:recv(5001 - #text)) end
        assert.equal("a" .. large, text)
        log(#text + 1)
      end, nothing))
      assert.equal("b", await(peer:recv(100)))
      finish(w, peer)
    end)
  end)

  it("is sent before whoever asks is told what was not", function()
    run(function()
      local w, peer = pair()
      assert.equal("0 hello other", round(function(log)
        w:write("hello")
        log(w.transport:get_write_buffer_size())
        log(await(peer:recv(100)))
      end, nothing))
      finish(w, peer)
    end)
  end)

  it("is sent at once where the high-water mark is low: drain is to tell", function()
    run(function()
      local w, peer = pair()
      w.transport:set_write_buffer_limits { high = 0 }
      assert.equal("hello other", round(function(log)
        w:write("hello")
        log(await(peer:recv(100)))
      end, nothing))
      finish(w, peer)
    end)
  end)

  for _, how in ipairs { "close", "write_eof", "abort" } do
    it("has left before " .. how, function()
      run(function()
        local w, peer = pair()
        round(function()
          w:write("hello")
          if how == "abort" then w.transport:abort() else w[how](w) end
        end, nothing)
        assert.equal("hello", drink(peer))
        finish(w, peer)
      end)
    end)
  end

  it("arrives in order, of hundreds of connections in one round", function()
    run(function()
      local writers, peers, jobs = {}, {}, {}
      for i = 1, 200 do
        writers[i], peers[i] = pair()
        jobs[i] = function()
          writers[i]:write("one ")
          writers[i]:write(("x"):rep(i * 20))
        end
      end
      for i = 1, 200 do
        jobs[200 + i] = function()
          writers[i]:write(" three")
          writers[201 - i]:write(" four")
        end
      end
      round(table.unpack(jobs))
      for i = 1, 200 do
        writers[i]:close()
        local got = drink(peers[i])
        local first = "one " .. ("x"):rep(i * 20)
        assert.equal(first, got:sub(1, #first))
        local rest = got:sub(#first + 1)
        assert.is_true(rest == " three four" or rest == " four three", rest)
        finish(writers[i], peers[i])
      end
    end)
  end)

  it("is kept when the peer takes no more, and nothing is lost", function()
    run(function()
      local w, peer = pair()
      local n, piece = 0, ("0123456789"):rep(100)
      while w.transport:get_write_buffer_size() == 0 do
        round(function()
          for _ = 1, 50 do
            w:write(piece)
            n = n + 1
          end
        end, nothing)
      end
      local closing = asyncio.create_task(async(function()
        w:close()
        await(w:wait_closed())
      end)())
      assert.equal(piece:rep(n), drink(peer))
      await(closing)
      finish(w, peer)
    end)
  end)

  it("is lost with its connection alone: the others' letters arrive", function()
    run(function()
      local w, peer = pair()
      local gone, gone_peer = pair()
      gone_peer:close()
      round(function() gone:write("x") end, function() w:write("hello") end, function() gone:write("y") end, nothing)
      assert.equal("hello", await(peer:recv(100)))
      helper.raises(asyncio.OSError, function()
        await(gone:drain())
        await(gone:wait_closed())
      end)
      finish(gone, gone_peer)
      finish(w, peer)
    end)
  end)

  it("leaves when the process ends by os.exit", function()
    run(function()
      local path = helper.tmpdir() .. "/s"
      local got = asyncio.get_running_loop():create_future()
      local server <close> = await(asyncio.start_unix_server(function(r, w)
        got:set_result(await(r:read()))
        w:close()
      end, path))
      local p = await(asyncio.create_subprocess_exec(helper.moonloop, "-e", [[
        local asyncio = require "asyncio"
        asyncio.run(async(function()
          local _, w = await(asyncio.open_unix_connection(arg[1]))
          asyncio.create_task(async(function()
            w:write("bye")
            os.exit(3)
          end)())
          asyncio.create_task(async(function() end)())
          await(asyncio.sleep(60))
        end)())
      ]], path))
      assert.equal(3, await(p:wait()))
      assert.equal("bye", await(got))
      server:close()
    end)
  end)
end)
