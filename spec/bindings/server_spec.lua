local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f)
  return asyncio.run(async(f)())
end

local function connect(server)
  return await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
end

--- Reads to the end, then closes.
local function serve(r, w)
  await(r:read())
  w:close()
  await(w:wait_closed())
end

local function turn(n)
  for _ = 1, n or 1 do await(asyncio.sleep(0)) end
end

describe("Server", function()
  it("has sockets with address and port until it is closed", function()
    run(function()
      local server = await(asyncio.start_server(serve, "127.0.0.1", 0))
      assert.equal(1, #server.sockets)
      local socket = server.sockets[1]
      local address, port = socket:getsockname()
      assert.equal("127.0.0.1", socket.host)
      assert.equal("inet", socket.family)
      assert.equal(socket.port, port)
      assert.equal(port, address[2])
      assert.equal(port, address.port)
      assert.equal("127.0.0.1:" .. port, address .. ":" .. port)
      assert.equal("127.0.0.1 " .. port, ("%s %d"):format(socket:getsockname()))
      assert.is_true(server:is_serving())
      assert.equal(asyncio.get_running_loop(), server:get_loop())
      server:close()
      assert.same({}, server.sockets)
      assert.is_false(server:is_serving())
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("listens on several hosts, on all interfaces, once on each", function()
    run(function()
      local server = await(asyncio.start_server(serve, { "127.0.0.1", "127.0.0.2", "127.0.0.1" }, 0))
      assert.equal(2, #server.sockets)
      assert.equal("127.0.0.2", server.sockets[2].host)
      server:close()
      for _, any in ipairs { false, "" } do
        server = await(asyncio.start_server(serve, any or nil, 0))
        local families = {}
        for _, s in ipairs(server.sockets) do families[s.family] = s.host end
        assert.equal("0.0.0.0", families.inet)
        local _, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
        w:close()
        server:close()
        await(server:wait_closed())
      end
    end)
  end)

  it("starts to serve when it is told to", function()
    run(function()
      local server = await(asyncio.start_server(serve, "127.0.0.1", 0, { start_serving = false }))
      assert.is_false(server:is_serving())
      helper.raises(asyncio.OSError, connect, server)
      await(server:start_serving())
      await(server:start_serving())
      assert.is_true(server:is_serving())
      local _, w = connect(server)
      w:close()
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("serves until it is cancelled, and then closes", function()
    run(function()
      local main
      local server = await(asyncio.start_server(function(r, w)
        await(r:readline())
        main:cancel()
        w:write("1")
        w:close()
        await(w:wait_closed())
      end, "127.0.0.1", 0, { start_serving = false }))
      main = asyncio.create_task(async(function()
        local _ <close> = server
        await(server:serve_forever())
      end)())
      turn(2)
      assert.is_true(server:is_serving())
      local e = helper.raises(asyncio.RuntimeError, await, server:serve_forever())
      assert.matches("already being awaited on serve_forever()", e.message, 1, true)
      local r, w = connect(server)
      w:write(("1"):rep(5000) .. "\n")
      assert.equal("1", await(r:read()))
      w:close()
      helper.raises(asyncio.CancelledError, await, main)
      assert.is_true(main:cancelled())
      assert.is_false(server:is_serving())
      e = helper.raises(asyncio.RuntimeError, await, server:serve_forever())
      assert.matches("is closed", e.message, 1, true)
    end)
  end)

  it("ends serve_forever with CancelledError when it is closed elsewhere", function()
    run(function()
      local server = await(asyncio.start_server(serve, "127.0.0.1", 0))
      local task = asyncio.create_task(server:serve_forever())
      turn(2)
      server:close()
      helper.raises(asyncio.CancelledError, await, task)
    end)
  end)

  it("waits in wait_closed until it is closed and its connections are", function()
    run(function()
      local server = await(asyncio.start_server(serve, "127.0.0.1", 0))
      local function waiting() return asyncio.create_task(server:wait_closed()) end
      local tasks = { waiting() }
      turn()
      local _, w = connect(server)
      tasks[2] = waiting()
      helper.settle()
      server:close()
      tasks[3] = waiting()
      turn(3)
      for i = 1, 3 do assert.is_false(tasks[i]:done()) end
      w:close()
      await(w:wait_closed())
      await(asyncio.wait_for(asyncio.gather(tasks), 60 * helper.slow))
      await(server:wait_closed())
    end)
  end)

  it("closes its clients", function()
    run(function()
      local server = await(asyncio.start_server(serve, "127.0.0.1", 0))
      local r, w = connect(server)
      local task = asyncio.create_task(server:wait_closed())
      helper.settle()
      assert.is_false(task:done())
      server:close()
      server:close_clients()
      turn(2)
      assert.is_true(task:done())
      assert.is_nil(await(r:read(1)))
      w:close()
    end)
  end)

  it("aborts its clients, whatever they still have to send", function()
    run(function()
      local got = asyncio.get_running_loop():create_future()
      local server = await(asyncio.start_server(function(_, w)
        got:set_result(w)
        pcall(await, w:wait_closed())
      end, "127.0.0.1", 0))
      local _, w = connect(server)
      local sw = await(got)
      repeat sw:write(("a"):rep(65536)) until sw.transport:get_write_buffer_size() > 0
      local task = asyncio.create_task(server:wait_closed())
      turn()
      server:close()
      turn(2)
      assert.is_false(task:done())
      server:abort_clients()
      turn(2)
      assert.is_true(task:done())
      w:close()
    end)
  end)

  it("is closed while a connection comes in", function()
    run(function()
      local server = await(asyncio.start_server(serve, "127.0.0.1", 0))
      local port = server.sockets[1].port
      local task = asyncio.create_task(asyncio.open_connection("127.0.0.1", port))
      turn(4)
      server:close()
      local ok, _, w = asyncio.catch(await, task)
      if ok then w:close() end
      await(asyncio.wait_for(server:wait_closed(), 60 * helper.slow))
    end)
  end)

  it("is closed by <close>, which waits for its connections", function()
    run(function()
      local ended = false
      do
        local server <close> = await(asyncio.start_server(function(_, w)
          await(asyncio.sleep(0.02))
          ended = true
          w:close()
        end, "127.0.0.1", 0))
        local _, w = connect(server)
        await(asyncio.sleep(0.005))
        w:close()
      end
      assert.is_true(ended)
    end)
  end)

  it("keeps the loop alive by itself while nobody holds it", function()
    run(function()
      local port
      do
        local server = await(asyncio.start_server(function(_, w)
          w:write("here")
          w:close()
        end, "127.0.0.1", 0))
        port = server.sockets[1].port
      end
      collectgarbage()
      collectgarbage()
      local r, w = await(asyncio.open_connection("127.0.0.1", port))
      assert.equal("here", await(r:read()))
      w:close()
    end)
  end)

  it("prints its state", function()
    run(function()
      local server = await(asyncio.start_server(serve, "127.0.0.1", 0))
      assert.equal("<Server serving connections=0>", tostring(server))
      server:close()
      assert.equal("<Server closed connections=0>", tostring(server))
    end)
  end)
end)

describe("the handler of a connection", function()
  it("may be a coroutine function, a plain function, or a function that gives a coroutine", function()
    run(function()
      local answer = async(function(r, w)
        w:write(await(r:readline()))
        w:close()
      end)
      for _, handler in ipairs {
        answer,
        function(r, w)
          w:write(await(r:readline()))
          w:close()
        end,
        function(r, w) return answer(r, w) end,
        setmetatable({}, { __call = function(_, r, w) await(answer(r, w)) end }),
      } do
        local server = await(asyncio.start_server(handler, "127.0.0.1", 0))
        local r, w = connect(server)
        w:write("hello world!\n")
        assert.equal("hello world!\n", await(r:read()))
        w:close()
        server:close()
        await(server:wait_closed())
      end
    end)
  end)

  it("fails: the loop is told, the connection closed, the server goes on", function()
    run(function()
      local told = {}
      asyncio.get_running_loop():set_exception_handler(function(_, context) told[#told + 1] = context end)
      local server = await(asyncio.start_server(function(r)
        error(asyncio.ValueError(await(r:readline())))
      end, "127.0.0.1", 0))
      for i = 1, 2 do
        local r, w = connect(server)
        w:write(i .. "\n")
        assert.equal("", await(r:read()))
        w:close()
        assert.equal("Unhandled exception in client_connected_cb", told[i].message)
        assert.equal(i .. "\n", told[i].exception.message)
        assert.is_true(told[i].transport:is_closing())
      end
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("is cancelled: the connection is closed", function()
    run(function()
      local task
      local server = await(asyncio.start_server(function(r)
        task = asyncio.current_task()
        await(r:readline())
      end, "127.0.0.1", 0))
      local r, w = connect(server)
      helper.settle()
      task:cancel()
      assert.is_nil(await(r:read(1)))
      w:close()
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("has returned: the connection is closed when its writer is collected", function()
    local _, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local s = await(asyncio.start_server(function(r, w) w:write("hi") end, "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", s.sockets[1].port))
      print(await(r:read(2)))
      collectgarbage() collectgarbage()
      print(await(r:read(2)))
      w:close()
      s:close()]] })
    assert.equal("hi\nnil\n", out)
    assert.matches("unclosed <StreamWriter", err, 1, true)
  end)
end)

describe("the task of a connection", function()
  --- Serves one connection; gives what look(task) gave while its handler waited.
  local function look_at(look)
    local found
    run(function()
      local before = asyncio.all_tasks()
      local server <close> = await(asyncio.start_server(async(function(r, w)
        await(r:read())
        w:close()
      end), "127.0.0.1", 0))
      local _, w = connect(server)
      local task, ok
      repeat
        for _, t in ipairs(asyncio.all_tasks()) do
          local old = t == asyncio.current_task()
          for _, b in ipairs(before) do old = old or b == t end
          if not old then task = t end
        end
        if not task then turn() end
      until task -- before its first step, as it is looked for in each round
      ok, found = pcall(look, task)
      w:close()
      await(asyncio.wait({ task }))
      assert(ok, found)
    end)
    return found
  end

  it("shows its coroutine, one and the same, which has been awaited", function()
    look_at(function(task)
      local co = task:get_coro()
      assert.is_true(asyncio.iscoroutine(co))
      assert.is_true(rawequal(co, task:get_coro()))
      assert.matches("server_spec.lua:%d+", tostring(co))
      assert.matches("server_spec.lua:%d+", tostring(task))
      local e = helper.raises(asyncio.RuntimeError, await, co)
      assert.matches("already awaited", e.message)
    end)
  end)

  it("may be cancelled before its first step", function()
    local task = look_at(function(t)
      assert.same({}, t:get_stack()) -- it has not begun
      t:cancel("no")
      return t
    end)
    assert.is_true(task:cancelled())
    assert.is_true(asyncio.iscoroutine(task:get_coro()))
  end)

  it("is let go of when it has ended, with its loop too", function()
    local stats = require "asyncio.core".stats
    local before = stats().pins
    look_at(function() end)
    assert.equal(before, stats().pins)
    local loop = asyncio.new_event_loop()
    loop:create_task(async(function()
      local server = await(asyncio.start_server(function() await(asyncio.Event():wait()) end, "127.0.0.1", 0))
      await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      turn(3)
      loop:stop()
    end)())
    loop:set_exception_handler(function() end)
    loop:run_forever()
    loop:close()
    assert.equal(before, stats().pins)
  end)
end)

describe("a loop that is closed", function()
  it("closes connections that came in, whatever has become of them", function()
    local function open() -- of this process
      local p <close> = assert(io.popen("ls /proc/$PPID/fd | wc -l"))
      return p:read("n")
    end
    collectgarbage()
    collectgarbage()
    local before = open()
    local loop = asyncio.new_event_loop()
    local keep, started = {}, 0
    loop:set_exception_handler(function() end)
    loop:run_until_complete(async(function()
      local server = await(asyncio.start_server(function(r, w)
        started = started + 1
        keep[#keep + 1] = w
        if started == 2 then return end -- its task has ended
        if started == 3 then await(r:read()) end -- it reads
        await(asyncio.Event():wait())
      end, "127.0.0.1", 0))
      local quiet = await(loop:create_server(function() return {} end, "127.0.0.1", 0))
      for _ = 1, 4 do keep[#keep + 1] = select(2, connect(server)) end
      keep[#keep + 1] = select(2, connect(quiet))
      while started < 4 do turn() end
      turn(3)
      keep[#keep + 1] = select(2, connect(server)) -- it may not have been accepted yet
    end)())
    loop:close()
    local left = open() -- what others have left may have been closed meanwhile, or a thread be looking up a name
    for _ = 1, 200 do
      if left <= before then break end
      os.execute "sleep 0.05"
      left = open()
    end
    assert.is_true(left <= before, left .. " descriptors, there were " .. before)
    for _, w in ipairs(keep) do w:close() end
  end)
end)

describe("a server without descriptors", function()
  it("turns connections away, says so, and goes on when there are some again", function()
    local path = os.tmpname()
    local f <close> = assert(io.open(path, "w"))
    f:write [[
      local asyncio = require "asyncio"
      asyncio.run(async(function()
        local told = false
        asyncio.get_running_loop():set_exception_handler(function(_, context)
          if not told then print(context.message, context.exception.code) end
          told = true
        end)
        local server <close> = await(asyncio.start_server(function(r, w)
          w:write(await(r:read(1)))
          await(r:read())
          w:close()
        end, "127.0.0.1", 0))
        print(server.sockets[1].port)
        await(server:serve_forever())
      end)())
    ]]
    f:close()
    run(function()
      local limited = ("ulimit -n 40; exec %s %s"):format(helper.program(), path)
      local p <close> = await(asyncio.create_subprocess_exec("sh", "-c", limited, { stdout = asyncio.subprocess.PIPE }))
      local port = tonumber((await(p.stdout:readline())))
      local writers, away = {}, 0
      for i = 1, 60 do
        local r, w = await(asyncio.open_connection("127.0.0.1", port))
        w:write("x")
        local ok, answer = pcall(await, r:read(1))
        if not (ok and answer == "x") then away = away + 1 end
        writers[i] = w
      end
      assert.is_true(away > 10 and away < 60)
      assert.equal("socket.accept() failed\tEMFILE\n", await(p.stdout:readline()))
      for _, w in ipairs(writers) do
        w:close()
        pcall(await, w:wait_closed())
      end
      local answer
      repeat -- until it has closed its sides
        local r, w = await(asyncio.open_connection("127.0.0.1", port))
        w:write("y")
        answer = select(2, pcall(await, r:read(1)))
        w:close()
        pcall(await, w:wait_closed())
      until answer == "y"
      p:kill()
      await(p:wait())
    end)
    os.remove(path)
  end)
end)

describe("a port in use", function()
  it("is an OSError with code, host and port", function()
    run(function()
      local server = await(asyncio.start_server(serve, "127.0.0.1", 0))
      local port = server.sockets[1].port
      local e = helper.raises(asyncio.OSError, await, asyncio.start_server(serve, "127.0.0.1", port))
      assert.equal("EADDRINUSE", e.code)
      assert.equal(("bind to 127.0.0.1:%d failed: address already in use"):format(port), e.message)
      assert.equal("127.0.0.1", e.host)
      assert.equal(port, e.port)
      server:close()
    end)
  end)

  it("is shared with reuse_port", function()
    run(function()
      local a = await(asyncio.start_server(serve, "127.0.0.1", 0, { reuse_port = true }))
      local b = await(asyncio.start_server(serve, "127.0.0.1", a.sockets[1].port, { reuse_port = true }))
      assert.equal(a.sockets[1].port, b.sockets[1].port)
      a:close()
      b:close()
    end)
  end)
end)

describe("start_server", function()
  it("says what was expected", function()
    local start = asyncio.start_server
    for _, case in ipairs {
      { asyncio.TypeError, "client_connected_cb must be a function, got nil", nil, "127.0.0.1", 0 },
      { asyncio.TypeError, "host must be a string, got a number", serve, 5, 0 },
      { asyncio.TypeError, "port must be an integer, got a table", serve, "127.0.0.1", {} },
      { asyncio.ValueError, "port must be 0-65535, got 65536", serve, "127.0.0.1", 65536 },
      { asyncio.ValueError, "port must be 0-65535, got -1", serve, "127.0.0.1", -1 },
      { asyncio.TypeError, "unexpected keyword argument 'limitt'", serve, "127.0.0.1", 0, { limitt = 1 } },
      { asyncio.TypeError, "options must be a table, got a string", serve, "127.0.0.1", 0, "x" },
      { asyncio.ValueError, "Limit cannot be <= 0", serve, "127.0.0.1", 0, { limit = 0 } },
      { asyncio.ValueError, "backlog must be", serve, "127.0.0.1", 0, { backlog = -5 } },
      { asyncio.ValueError, "family must be", serve, "127.0.0.1", 0, { family = "ipx" } },
      { asyncio.ValueError, "only meaningful with ssl", serve, "127.0.0.1", 0, { server_hostname = "x" } },
      { helper.has_tls() and asyncio.TypeError or asyncio.RuntimeError, " ssl", serve, "127.0.0.1", 0, { ssl = true } },
    } do
      local e = helper.raises(case[1], function() start(table.unpack(case, 3, 6)) end)
      assert.matches(case[2], e.message, 1, true)
      assert.matches("^spec/bindings/server_spec.lua:%d+: ", (e.message:gsub("^.*(spec/bindings)", "%1")))
    end
  end)
end)

describe("a unix server", function()
  local function path()
    return helper.tmpdir() .. "/socket"
  end

  it("serves at a path, which is removed when it is closed", function()
    run(function()
      local where = path()
      local server = await(asyncio.start_unix_server(function(r, w)
        w:write(await(r:readline()))
        w:close()
        await(w:wait_closed())
      end, where))
      assert.equal(where, (server.sockets[1]:getsockname()))
      local r, w = await(asyncio.open_unix_connection(where))
      w:write("hello world!\n")
      assert.equal("hello world!\n", await(r:readline()))
      assert.equal(where, w:get_extra_info("peername"))
      assert.equal("", w:get_extra_info("sockname"))
      w:close()
      server:close()
      await(server:wait_closed())
      assert.is_nil(io.open(where))
      local e = helper.raises(asyncio.OSError, await, asyncio.open_unix_connection(where))
      assert.equal("ENOENT", e.code)
      assert.equal(where, e.path)
      assert.matches("no such file or directory", e.message, 1, true)
    end)
  end)

  it("takes the place of a socket that was left behind", function()
    run(function()
      local where = path()
      local a = await(asyncio.start_unix_server(serve, where, { cleanup_socket = false }))
      a:close()
      assert.equal(0, (helper.sh("test -S " .. where)))
      local b = await(asyncio.start_unix_server(serve, where))
      local _, w = await(asyncio.open_unix_connection(where))
      w:close()
      b:close()
      await(b:wait_closed())
      assert.equal(1, (helper.sh("test -e " .. where)))
    end)
  end)

  it("removes the socket that it was given, unless that is not wanted", function()
    run(function()
      local where = path()
      for _, wanted in ipairs { true, false } do
        local sock = require("socket").socket("unix", "stream")
        sock:bind(where)
        local server = await(asyncio.start_unix_server(serve, { sock = sock, cleanup_socket = wanted }))
        assert.equal(0, (helper.sh("test -S " .. where)))
        server:close()
        assert.equal(wanted and 1 or 0, (helper.sh("test -e " .. where)))
      end
      os.remove(where)
    end)
  end)

  it("leaves a socket alone that has taken its place, and one that is gone", function()
    run(function()
      local where = path()
      local a = await(asyncio.start_unix_server(serve, where))
      local b = await(asyncio.start_unix_server(serve, where))
      a:close()
      assert.equal(0, (helper.sh("test -S " .. where)))
      os.remove(where)
      b:close()
    end)
  end)

  it("takes abstract names", function()
    run(function()
      local name = "\0moonloop-spec-" .. helper.unused_port()
      local server = await(asyncio.start_unix_server(function(_, w)
        w:write("abstract")
        w:close()
      end, name))
      local r, w = await(asyncio.open_unix_connection(name))
      assert.equal("abstract", await(r:read()))
      w:close()
      server:close()
      await(server:wait_closed())
    end)
  end)

  it("refuses what is no path", function()
    helper.raises(asyncio.TypeError, asyncio.start_unix_server, serve)
    helper.raises(asyncio.TypeError, asyncio.open_unix_connection, 5)
    helper.raises(asyncio.ValueError, asyncio.open_unix_connection, "")
    helper.raises(asyncio.ValueError, asyncio.open_unix_connection, ("x"):rep(200))
    run(function()
      local e = helper.raises(asyncio.OSError, await, asyncio.start_unix_server(serve, "/no/such/socket"))
      assert.equal("ENOENT", e.code)
    end)
  end)

  it("lets go of a handler that ended in the last round of its loop", function()
    local core = require "asyncio.core"
    local before = core.stats().pins
    local loop = asyncio.new_event_loop()
    loop:create_task(async(function()
      local server = await(asyncio.start_server(async(function(r, w)
        await(r:read(1))
        w:close()
        await(w:wait_closed())
        loop:stop()
      end), "127.0.0.1", 0))
      local _, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      w:write("x")
      w:close()
      await(w:wait_closed())
      server:close()
    end)())
    loop:run_forever()
    loop:close()
    assert.equal(before, core.stats().pins)
  end)
end)
