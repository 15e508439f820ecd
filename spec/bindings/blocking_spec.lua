--- Nothing blocks the loop: each kind of I/O is stopped on purpose, by what never comes or what no thread is free for. It
--- is let go by the loop itself, after some rounds of it: were the loop blocked, it would never be. All of it in debug
--- mode, which must have no slow callback to tell of.

local certs = require "spec.certs"
local helper = require "spec.helper"

local SLOW = 10 * helper.slow -- seconds; long enough for a machine that is busy with other things

-- What each program begins with. stopped(f, release) starts f as a task, lets the loop turn, sees that f has not ended, and
-- calls release(task); it gives what the task gave, or its error.
local PRELUDE = [[
local asyncio, fs, socket = require "asyncio", require "fs", require "socket"
local DIR, SLOW, MOONLOOP = "%s", %f, "%s"
local ROUNDS = 20

local function fifo(name)
  os.execute("mkfifo " .. DIR .. "/" .. name)
  return DIR .. "/" .. name
end

local function put(path, text)
  local f <close> = assert(io.open(path, "w"))
  f:write(text)
end

local function stopped(f, release)
  local task = asyncio.create_task(f, { name = "stopped" })
  for _ = 1, ROUNDS do await(asyncio.sleep(0.001)) end
  if task:done() then error("it was not stopped: " .. tostring(await(task))) end
  release(task)
  local r = table.pack(asyncio.catch(await, task))
  return asyncio.isinstance(r[2], asyncio.CancelledError) and "cancelled" or select(2, table.unpack(r, 1, r.n))
end

-- Beside what debug mode says.
local function print(...) asyncio.stderr:write(table.concat({ ... })) end

local function cancel(task) task:cancel() end

local function main()
  local loop = asyncio.get_running_loop()
  loop.slow_callback_duration = SLOW
%s
end

asyncio.run(main, { debug = true })
]]

--- Runs the program, in a folder of its own; gives what it printed (on standard error, where debug mode talks, too).
local function run(code, opts)
  opts = opts or {}
  local dir = helper.tmpdir()
  local path = dir .. "/program.lua"
  local f <close> = assert(io.open(path, "w"))
  f:write(PRELUDE:format(dir, SLOW, helper.moonloop, code))
  f:close()
  local command = ("cd %s; exec %s %s %s"):format(helper.quote(helper.pwd()), helper.quote(helper.moonloop), helper.quote(path),
    (opts.redirect or ""):gsub("DIR", dir))
  if opts.before then command = opts.before:gsub("DIR", dir) .. "; " .. command end
  local status, out, err = helper.sh(command, { env = opts.env })
  assert.equal("", out)
  return err, status
end

local function expect(expected, code, opts)
  local err, status = run(code, opts)
  assert.equal(expected, err)
  assert.equal(0, status)
end

describe("debug mode", function()
  it("tells of what does block", function()
    local err = run [[
      loop.slow_callback_duration = 1 -- second
      loop:call_soon(function() os.execute("sleep 1.2") end)
      await(asyncio.sleep(0))
      loop.slow_callback_duration = SLOW
    ]]
    assert.matches("^Executing <Handle .-program.lua:%d+> took %d+%.%d+ seconds\n$", err)
  end)
end)

describe("the loop goes on", function()
  describe("while files wait:", function()
    it("for what a FIFO brings", function()
      expect("text", [[
        local path = fifo "f"
        print(stopped(function() return await(fs.read_file(path)) end, function() put(path, "text") end))
      ]])
      expect("line", [[
        local path = fifo "f"
        local file <close> = await(fs.open(path))
        local keep <close> = io.open(path, "r+")
        print(stopped(function() return await(file:read("l")) end, function() put(path, "line\n") end))
      ]])
    end)

    it("for a FIFO that nobody reads", function()
      expect("true", [[
        local path, other = fifo "f", nil
        local file <close> = stopped(function() return await(fs.open(path, "w")) end, function()
          other = io.open(path, "r+")
        end)
        print(tostring(file ~= nil and other ~= nil))
      ]])
    end)

    it("for a FIFO that is full", function()
      expect("done", [[
        local path = fifo "f"
        local keep <close>, reader = io.open(path, "r+"), nil
        local file <close> = await(fs.open(path, "w"))
        print(stopped(function()
          await(file:write(("x"):rep(300000)))
          return "done"
        end, function() reader = io.popen("head -c 300000 <" .. path .. " >/dev/null") end))
        reader:close()
      ]])
    end)

    it("for a lock", function()
      expect("true", [[
        local path = DIR .. "/f"
        local a <close> = await(fs.open(path, "w"))
        local b <close> = await(fs.open(path, "w"))
        await(a:lock())
        print(tostring(stopped(function() return await(b:lock()) end, function() await(a:unlock()) end)))
      ]])
    end)

    -- The only thread that works on files is busy: what the loop did itself would be done at once.
    it("for a thread", function()
      local operations = {
        "fs.read_file(DIR .. '/x')", "fs.write_file(DIR .. '/w', 'x')", "fs.write_file(DIR .. '/w', 'x', { atomic = true })",
        "fs.open(DIR .. '/x')", "file:read(1)", "file:write('x')", "file:fsync()", "file:truncate(1)", "file:stat()",
        "fs.stat(DIR)", "fs.lstat(DIR)", "fs.exists(DIR)", "fs.access(DIR)", "fs.statfs(DIR)", "fs.listdir(DIR)", "fs.mkdir(DIR .. '/m')",
        "fs.mkdir(DIR .. '/p/q', { parents = true })", "fs.rmtree(DIR .. '/tree')", "fs.rmdir(DIR .. '/m')",
        "fs.rename(DIR .. '/x', DIR .. '/y')", "fs.copyfile(DIR .. '/x', DIR .. '/z')", "fs.link(DIR .. '/x', DIR .. '/l')",
        "fs.symlink('x', DIR .. '/s')", "fs.readlink(DIR .. '/s')", "fs.realpath(DIR)", "fs.chmod(DIR .. '/x', 384)", "fs.unlink(DIR .. '/x')",
        "fs.utime(DIR, 1, 1)", "fs.mkdtemp({ dir = DIR })", "fs.mkstemp({ dir = DIR })", "walk()", "scandir()", "loop:getaddrinfo('localhost', 80)",
        "loop:getnameinfo({ '127.0.0.1', 80 })", "asyncio.open_connection('localhost', 1)",
      }
      local code = {}
      for i, operation in ipairs(operations) do
        code[i] = ("tasks[%d] = asyncio.create_task(function() return await(%s) end, { name = [=[%s]=] })"):format(i, operation, operation)
      end
      expect("not stopped: ", ([[
        put(DIR .. "/x", "text")
        os.execute("mkdir -p %s/tree/a/b; touch %s/tree/a/b/c")
        local file <close> = await(fs.open(DIR .. "/other", "w+"))
        local walk = async(function() for _ in fs.walk(DIR) do end end)
        local scandir = async(function() for _ in fs.scandir(DIR) do end end)
        local noise <close> = await(fs.open("/dev/urandom"))
        local busy = asyncio.create_task(noise:pread(1 << 29, 0)) -- a device is not waited for: it takes a second or two
        await(asyncio.sleep(0))
        local tasks, early = {}, {}
        TASKS
        stopped(function() return await(busy) end, function()
          for _, task in ipairs(tasks) do
            if task:done() then early[#early + 1] = task:get_name() end
          end
          busy:cancel()
        end)
        await(asyncio.wait(tasks))
        for _, task in ipairs(tasks) do
          local ok, result = asyncio.catch(task.result, task)
          if ok and type(result) == "userdata" then await(result:close()) end
        end
        print("not stopped: " .. table.concat(early, ", "))
      ]]):gsub("%%s", "\" .. DIR .. \""):gsub("TASKS", function() return table.concat(code, "\n") end), { env = { UV_THREADPOOL_SIZE = "1" } })
    end)

    it("for a change", function()
      expect("created", [[
        local w <close> = fs.watch(DIR, { debounce = 0.01 })
        print(stopped(function() return w().type end, function() put(DIR .. "/new", "") end))
      ]])
    end)
  end)

  describe("while the network is silent:", function()
    it("connecting, and waiting for a connection", function()
      expect("cancelled cancelled", [[
        local full = socket.socket()
        full:bind({ "127.0.0.2", 0 })
        full:listen(0)
        local address, others = full:getsockname(), {}
        for i = 1, 8 do others[i] = asyncio.create_task(asyncio.open_connection(address[1], address[2])) end
        local server = socket.socket()
        server:bind({ "127.0.0.1", 0 })
        server:listen(5)
        print(stopped(function() return await(asyncio.open_connection(address[1], address[2])) end, cancel), " ",
          stopped(function() return await(server:accept()) end, cancel))
        for _, task in ipairs(others) do
          task:cancel()
          local ok, _, w = asyncio.catch(await, task)
          if ok then w:close() end
        end
        full:close()
        server:close()
      ]])
    end)

    it("reading, and writing to who does not read", function()
      expect("line done data", [[
        local accepted = loop:create_future()
        local server <close> = await(asyncio.start_server(function(r, w) accepted:set_result({ r, w }) end, "127.0.0.1", 0))
        local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
        local peer = await(accepted)
        local line = stopped(function() return (await(r:readline())) end, function() peer[2]:write("line\n") end)
        local piece, enough, gone = ("x"):rep(65536), false, nil
        local done = stopped(function()
          repeat
            w:write(piece)
            await(w:drain())
          until enough
          return "done"
        end, function()
          enough = true
          gone = asyncio.create_task(peer[1]:read(-1))
        end)
        w:close()
        await(gone)
        peer[2]:close()
        local a, b = socket.socketpair()
        local data = stopped(function() return (await(a:recv(10))) end, function() await(b:send("data")) end)
        a:close()
        b:close()
        print((line:gsub("%s", "")), " ", done, " ", data)
      ]])
    end)

    it("for a datagram", function()
      expect("datagram", [[
        local a <close> = await(asyncio.open_datagram({ local_addr = { "127.0.0.1", 0 } }))
        local b <close> = await(asyncio.open_datagram({ remote_addr = a:get_extra_info("sockname") }))
        print(stopped(function() return (await(a:recv())) end, function() b:send("datagram") end))
      ]])
    end)

    it("in a handshake, on both sides", function()
      if not helper.has_tls() then return end
      expect("cancelled cancelled", ([[
        local ssl = require "ssl"
        local server <close> = await(asyncio.start_server(function(r, w)
          await(r:read(-1))
          w:close()
        end, "127.0.0.1", 0))
        local port = server.sockets[1].port
        local context = ssl.create_default_context({ cafile = "%s" })
        local client = stopped(function()
          return await(asyncio.open_connection("127.0.0.1", port, { ssl = context, server_hostname = "localhost" }))
        end, cancel)
        local own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        own:load_cert_chain("%s", "%s")
        local silent
        local listener <close> = await(asyncio.start_server(function(_, w)
          silent = asyncio.create_task(function() return await(w:start_tls(own)) end)
        end, "127.0.0.1", 0))
        local _, w = await(asyncio.open_connection("127.0.0.1", listener.sockets[1].port))
        while not silent do await(asyncio.sleep(0)) end
        print(client, " ", stopped(function() return await(silent) end, cancel))
        w:close()
      ]]):format(certs.path "root.pem", certs.path "good.pem", certs.path "good.key"))
    end)
  end)

  describe("while others work:", function()
    it("a process, from its start to its end", function()
      expect("0 out", [[
        local p = await(asyncio.create_subprocess_exec("cat", { stdin = asyncio.subprocess.PIPE, stdout = asyncio.subprocess.PIPE }))
        local text = stopped(function() return await(p.stdout:read(-1)) end, function()
          p.stdin:write("out")
          p.stdin:close()
        end)
        await(p:wait())
        p = await(asyncio.create_subprocess_exec("cat", { stdin = asyncio.subprocess.PIPE }))
        print(tostring(stopped(function() return await(p:wait()) end, function() p.stdin:close() end)), " ", text)
      ]])
    end)

    it("a thread, and another process's function", function()
      expect("thread process", [[
        require("multiprocessing").set_executable(MOONLOOP)
        local path = fifo "f"
        local function read(name)
          local f <close> = assert(io.open(name))
          return f:read("a")
        end
        local text = stopped(function() return await(asyncio.to_thread(read, path)) end, function() put(path, "thread") end)
        local pool <close> = require("concurrent.futures").ProcessPoolExecutor(1)
        print(text, " ", stopped(function() return await(pool:submit(read, path)) end, function() put(path, "process") end))
      ]])
    end)

    it("a signal that somebody may send", function()
      expect("SIGUSR1", [[
        print(stopped(function() return await(asyncio.signal("SIGUSR1")) end, function() os.execute("kill -USR1 $PPID") end))
      ]])
    end)
  end)

  describe("while standard streams wait:", function()
    it("for input", function()
      expect("line", [[
        print(stopped(function() return (await(asyncio.stdin:readline()):gsub("%s", "")) end,
          function() put(DIR .. "/in", "line\n") end))
      ]], { before = "mkfifo DIR/in", redirect = "<>DIR/in" })
    end)

    it("for who reads the output", function()
      expect("done", [[
        print(stopped(function()
          asyncio.stdout:write(("x"):rep(1000000))
          await(asyncio.stdout:drain())
          return "done"
        end, function() os.execute("head -c 1000000 <" .. DIR .. "/out >/dev/null &") end))
      ]], { before = "mkfifo DIR/out; exec 9<>DIR/out", redirect = ">DIR/out" })
    end)
  end)
end)
