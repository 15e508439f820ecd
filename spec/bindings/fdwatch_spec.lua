local asyncio = require "asyncio"
local helper = require "spec.helper"
local socket = require "socket"

local function run(f)
  return asyncio.run(async(function() return f(asyncio.get_running_loop()) end)())
end

local function turn(n)
  for _ = 1, n or 3 do await(asyncio.sleep(0)) end
end

local function pair()
  local a, b = socket.socketpair()
  helper.finally(a.close, a)
  helper.finally(b.close, b)
  return a, b
end

describe("loop:add_reader", function()
  it("calls the function with its arguments as long as there is something to read", function()
    run(function(loop)
      local a, b = pair()
      local done, calls = loop:create_future(), 0
      loop:add_reader(b, function(...)
        calls = calls + 1
        assert.same({ 1, nil, 3, n = 3 }, table.pack(...))
        if calls == 3 then done:set_result(true) end
      end, 1, nil, 3)
      turn(5)
      assert.equal(0, calls)
      await(a:sendall("x"))
      await(done)
      assert.is_true(loop:remove_reader(b))
      turn(5)
      assert.equal(3, calls)
      assert.is_false(loop:remove_reader(b))
    end)
  end)

  it("takes numbers, sockets and what has a method fileno", function()
    run(function(loop)
      local a, b = pair()
      await(a:sendall("x"))
      local object = setmetatable({}, { __index = { fileno = function() return b:fileno() end } })
      for _, thing in ipairs { b, b:fileno(), object } do
        local called = asyncio.Event()
        loop:add_reader(thing, called.set, called)
        await(called:wait())
        assert.is_true(loop:remove_reader(b:fileno()))
      end
      for _, wrong in ipairs { "x", {}, 1.5, false } do
        helper.raises(asyncio.TypeError, loop.add_reader, loop, wrong, print)
      end
      helper.raises(asyncio.TypeError, loop.add_reader, loop)
      helper.raises("add_reader: invalid file descriptor: -1", loop.add_reader, loop, -1, print)
      helper.raises("a function was expected, got nil", loop.add_reader, loop, b, nil)
      helper.raises("coroutines cannot be used with add_writer()", loop.add_writer, loop, b, async(print))
      local e = helper.raises(asyncio.OSError, loop.add_reader, loop, 9999, print)
      assert.equal("EBADF: bad file descriptor: add_reader 9999", e.message)
      b:close()
      helper.raises("invalid file descriptor", loop.add_reader, loop, b, print)
      assert.is_false(loop:remove_reader(b))
    end)
  end)

  it("replaces what was there, and what was on its way does not run", function()
    run(function(loop)
      local a, b = pair()
      await(a:sendall("x"))
      local calls = {}
      loop:add_reader(b, function() calls.first = true end)
      loop:call_soon(function()
        loop:add_reader(b, function()
          calls.second = true
          loop:remove_reader(b)
        end)
      end)
      turn(6)
      assert.same({ second = true }, calls)
    end)
  end)

  it("may be removed in the call itself, with others waiting", function()
    run(function(loop)
      local a, b = pair()
      local n = 0
      local task = asyncio.create_task(b:recv(1))
      turn()
      loop:add_reader(b, function()
        n = n + 1
        loop:remove_reader(b)
        collectgarbage()
      end)
      await(a:sendall("x"))
      assert.equal("x", await(task))
      turn()
      assert.equal(1, n)
    end)
  end)

  it("refuses regular files, as epoll does", function()
    run(function(loop)
      local path = helper.tmpfile("text")
      local a, b = pair()
      local status, out = helper.cli({ "-e", [[
        local loop = require("asyncio").get_event_loop()
        local ok, err = pcall(loop.add_reader, loop, 0, print)
        print(err)
      ]] }, { stdin = "text" })
      assert.same({ 0, "OSError: EPERM: operation not permitted: add_reader 0\n" }, { status, out })
      assert.truthy(path and a and b and loop)
    end)
  end)

  it("leaves a descriptor's mode as it was", function()
    local status, out = helper.sh(("printf x | %s -e %s; true"):format(helper.moonloop, helper.quote [[
      local asyncio = require "asyncio"
      local loop = asyncio.get_event_loop()
      local done = loop:create_future()
      loop:add_reader(0, function() loop:remove_reader(0) done:set_result(io.read("a")) end)
      print(await(done))
      os.execute("exec grep flags /proc/self/fdinfo/0")
    ]]))
    assert.equal(0, status)
    assert.truthy(out:find("^x\nflags:%s+0?[0-3]?[0-3]?[0-3]?[0-3]?0?0\n"), out)
  end)

  it("refuses the descriptor of a connection", function()
    run(function(loop)
      local server = await(asyncio.start_server(function(_, w) w:close() end, "127.0.0.1", 0))
      local _, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      local fd = w:get_extra_info("socket"):fileno()
      local text = ("file descriptor %d is used by a transport"):format(fd)
      helper.raises(text, loop.add_reader, loop, fd, print)
      helper.raises("is used by a transport", socket.socket, { fileno = fd })
      w:close()
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("goes on after an error in the function, which is reported", function()
    run(function(loop)
      local a, b = pair()
      local errors = {}
      loop:set_exception_handler(function(_, context) errors[#errors + 1] = tostring(context.exception) end)
      local n = 0
      await(a:sendall("x"))
      loop:add_reader(b, function()
        n = n + 1
        if n == 2 then loop:remove_reader(b) end
        error("call " .. n, 0)
      end)
      turn(6)
      assert.same({ "call 1", "call 2" }, errors)
    end)
  end)

  it("keeps the loop alive, until it is removed or the socket is closed", function()
    local status, out = helper.cli { "-e", [[
      local asyncio, socket = require "asyncio", require "socket"
      local loop = asyncio.get_event_loop()
      local a, b = socket.socketpair()
      loop:add_reader(b, function()
        print(await and "read")
        loop:remove_reader(b)
        loop:add_writer(b, function() print("write") b:close() a:close() end)
      end)
      loop:call_later(0.01, function() asyncio.create_task(a:sendall("x")) end)
    ]] }
    assert.same({ 0, "read\nwrite\n" }, { status, out })
  end)

  it("ends with the socket, whatever is on its way", function()
    run(function(loop)
      local a, b = pair()
      await(a:sendall("x"))
      local called = false
      loop:add_reader(b, function() called = true end)
      loop:add_reader(b:fileno(), function() called = true end)
      loop:call_soon(b.close, b)
      await(asyncio.sleep(0))
      turn(5)
      assert.is_false(called)
    end)
  end)

  it("survives a descriptor that was closed behind its back", function()
    local status, out, err = helper.cli { "-e", [[
      local asyncio, socket = require "asyncio", require "socket"
      local loop = asyncio.get_event_loop()
      local a, b = socket.socketpair()
      local fd = b:fileno()
      loop:add_reader(fd, print)
      local other = socket.socket { fileno = fd } -- two owners: not allowed, but no crash
      loop:add_writer(other, print)
      other:detach()
      b:close()
      print(loop:remove_reader(fd))
      loop:add_reader(a, function() print(await and "end") loop:remove_reader(a) end)
    ]] }
    assert.same({ 0, "false\nend\n" }, { status, out }, err)
  end)

  it("is forgotten when the loop is closed", function()
    local a, b = pair()
    local loop = asyncio.new_event_loop()
    loop:add_reader(a, print)
    loop:add_writer(b, print)
    loop:add_reader(b:fileno(), print)
    loop:close()
    helper.raises("Event loop is closed", loop.add_reader, loop, a, print)
    assert.is_false(loop:remove_reader(a))
    run(function(other)
      local called = asyncio.Event()
      other:add_writer(a, called.set, called)
      await(called:wait())
      assert.is_true(other:remove_writer(a))
    end)
  end)
end)

describe("loop:add_writer", function()
  it("calls the function when there is room", function()
    run(function(loop)
      local a, b = pair()
      a:set { sndbuf = 4096 }
      local big = asyncio.create_task(a:sendall(("x"):rep(1000000)))
      turn()
      local written = asyncio.Event()
      loop:add_writer(a, written.set, written)
      turn(5)
      assert.is_false(written:is_set())
      big:cancel()
      turn()
      await(b:recv(1000000))
      await(written:wait())
      assert.is_true(loop:remove_writer(a))
    end)
  end)

  it("and a reader live side by side, and with operations", function()
    run(function(loop)
      local a, b = pair()
      local seen = {}
      loop:add_reader(b, function()
        seen.read = true
        loop:remove_reader(b)
      end)
      loop:add_writer(b, function()
        seen.write = true
        loop:remove_writer(b)
      end)
      local task = asyncio.create_task(b:recv(10))
      turn()
      assert.same({ write = true }, seen)
      await(a:sendall("x"))
      assert.equal("x", await(task))
      turn()
      assert.is_true(seen.read)
    end)
  end)
end)
