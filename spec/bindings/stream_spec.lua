--- How a connection is told of bytes: once, until they are read.
local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(main) return asyncio.run(async(main)()) end

--- A server that hands its reader and writer to the spec, and a client of it.
local function pair()
  local loop = asyncio.get_running_loop()
  local accepted = loop:create_future()
  local server = await(asyncio.start_server(function(r, w) accepted:set_result({ r, w }) end, "127.0.0.1", 0))
  local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
  local peer = await(accepted)
  server:close()
  return r, w, peer[1], peer[2]
end

local function finish(...)
  for _, w in ipairs { ... } do w:close() end
  for _, w in ipairs { ... } do await(w:wait_closed()) end
end

describe("a connection's bytes", function()
  it("are there for the next read when the one that was woken is cancelled", function()
    run(function()
      local r, w, _, pw = pair()
      for _ = 1, 3 do
        local task = asyncio.create_task(r:read(100))
        await(asyncio.sleep(0))
        pw:write("hello")
        -- the task is cancelled in every moment between the bytes' coming and its run
        asyncio.get_running_loop():call_later(0.01, function() task:cancel() end)
        local ok, got = asyncio.catch(await, task)
        if not ok then got = await(asyncio.wait_for(r:read(100), 60 * helper.slow)) end
        assert.equal("hello", got)
      end
      -- woken and cancelled in one round: data first
      local task = asyncio.create_task(r:read(100))
      await(asyncio.sleep(0))
      pw:write("again")
      require("time").sleep(0.02)
      asyncio.get_running_loop():call_soon(function() task:cancel() end)
      local ok, got = asyncio.catch(await, task)
      if not ok then got = await(asyncio.wait_for(r:read(100), 60 * helper.slow)) end
      assert.equal("again", got)
      finish(w, pw)
    end)
  end)

  it("are not forgotten when a woken read is answered by something else", function()
    run(function()
      local r, w, _, pw = pair()
      local task = asyncio.create_task(r:read(100))
      await(asyncio.sleep(0))
      pw:write("from the socket")
      asyncio.get_running_loop():call_later(0, function() r:feed_data("fed ") end)
      local all = await(task)
      while #all < #"fed from the socket" do all = all .. await(asyncio.wait_for(r:read(100), 60 * helper.slow)) end
      assert.equal(#"fed from the socket", #all)
      finish(w, pw)
    end)
  end)

  it("end with the peer's end, in one piece with it or not", function()
    run(function()
      for _, waits in ipairs { true, false } do
        local r, w, _, pw = pair()
        local task = waits and asyncio.create_task(r:read(100))
        await(asyncio.sleep(0))
        pw:write("last words")
        pw:close()
        await(asyncio.sleep(0.01))
        local got = await(asyncio.wait_for(task or r:read(100), 60 * helper.slow))
        assert.equal("last words", got)
        assert.is_nil(await(asyncio.wait_for(r:read(100), 60 * helper.slow)))
        finish(w, pw)
      end
    end)
  end)

  it("may be more than one read can take", function()
    run(function()
      local r, w, _, pw = pair()
      local size = 69536 -- what one read of the socket asks for
      local total = 20 * size
      pw:write(("x"):rep(total))
      pw:close()
      await(asyncio.sleep(0.01))
      local got = 0
      while true do
        local data = await(asyncio.wait_for(r:read(got % 3 == 0 and 2 * size or 100000), 60 * helper.slow))
        if not data then break end
        got = got + #data
      end
      assert.equal(total, got)
      finish(w, pw)
    end)
  end)

  it("come through pauses of a reader that is full", function()
    run(function()
      local r, w, _, pw = pair()
      local total = 4 * 1024 * 1024
      pw:write(("y"):rep(total))
      await(asyncio.sleep(0.02)) -- paused by now
      local got = 0
      while got < total do
        local data = await(asyncio.wait_for(r:read(7000), 60 * helper.slow))
        got = got + #data
      end
      assert.equal(total, got)
      finish(w, pw)
    end)
  end)

  it("come past urgent ones", function()
    run(function()
      local port = helper.unused_port()
      local _server <close> = await(asyncio.start_server(async(function(r, w)
        local all = ""
        while #all < 8 do
          local data = await(asyncio.wait_for(r:read(100), 60 * helper.slow))
          if not data then break end
          all = all .. data
        end
        w:write(all)
        w:close()
      end), "127.0.0.1", port))
      local _, log = helper.background("python3 -c " .. helper.quote(([[
import socket
s = socket.create_connection(("127.0.0.1", %d))
s.send(b"aaaa")
s.send(b"!", socket.MSG_OOB)
s.send(b"bbbb")
print(s.makefile("rb").read().decode(), flush=True)
]]):format(port)))
      local text
      helper.eventually(function()
        local f <close> = io.open(log)
        text = f:read("a")
        return text:find("\n", 1, true)
      end)
      assert.equal("aaaabbbb\n", text)
    end)
  end)
end)
