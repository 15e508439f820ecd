--- What waits for others holds no thread: FIFOs, terminals and locks wait on the loop.

local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local MANY = 24 -- more than there are threads
local SOON = 20 * helper.slow -- seconds; long enough for a busy machine

local function run(f) return asyncio.run(async(f)) end

local function fifos(n)
  local dir, paths = helper.tmpdir(), {}
  for i = 1, n do paths[i] = ("%s/%d"):format(dir, i) end
  assert(os.execute("mkfifo " .. table.concat(paths, " ")))
  return table.unpack(paths)
end

--- Tasks of MANY operations, which are given some rounds to reach their threads.
local function crowd(operation)
  local tasks = {}
  for i = 1, MANY do tasks[i] = asyncio.create_task(operation(i)) end
  for _ = 1, 20 do await(asyncio.sleep(0.001)) end
  for _, t in ipairs(tasks) do assert.is_false(t:done()) end
  return tasks
end

--- Threads are there for others: files are read and names looked up.
local function others_go_on(path)
  local function both()
    assert.equal("text", await(fs.read_file(path)))
    await(asyncio.get_running_loop():getaddrinfo("localhost", 80))
  end
  await(asyncio.wait_for(async(both)(), SOON))
end

local function cancel(tasks)
  for _, t in ipairs(tasks) do t:cancel() end
  for _, t in ipairs(tasks) do helper.raises(asyncio.CancelledError, await, t) end
end

local function descriptors() return #await(fs.listdir("/proc/self/fd")) end

describe("threads are not held", function()
  it("by reads of FIFOs", function()
    local paths, text = { fifos(MANY) }, helper.tmpfile("text")
    run(function()
      local files = {}
      for i = 1, MANY do files[i] = await(fs.open(paths[i])) end
      local tasks = crowd(function(i) return files[i]:read(i) end)
      others_go_on(text)
      for i = 1, MANY, 2 do
        await(fs.write_file(paths[i], ("x"):rep(i)))
        assert.equal(i, #await(tasks[i]))
      end
      for i = 1, MANY, 2 do table.remove(tasks, i // 2 + 1) end
      cancel(tasks)
      for i = 1, MANY do await(files[i]:close()) end
    end)
  end)

  it("by reads of whole FIFOs", function()
    local paths, text = { fifos(MANY) }, helper.tmpfile("text")
    run(function()
      local before = descriptors()
      local tasks = crowd(function(i) return fs.read_file(paths[i]) end)
      others_go_on(text)
      do
        local f <close> = await(fs.open(paths[1], "w"))
        await(f:write("one"))
        await(asyncio.sleep(0.005))
        others_go_on(text)
        await(f:write("two"))
      end
      assert.equal("onetwo", await(table.remove(tasks, 1)))
      cancel(tasks)
      assert.equal(before, descriptors())
    end)
  end)

  it("by openings of FIFOs that nobody reads", function()
    local paths, text = { fifos(MANY) }, helper.tmpfile("text")
    run(function()
      local before = descriptors()
      local tasks = crowd(function(i) return fs.open(paths[i], "w") end)
      others_go_on(text)
      do
        local r <close> = await(fs.open(paths[1]))
        local w <close> = await(table.remove(tasks, 1))
        await(w:write("x"))
        assert.equal("x", await(r:read(1)))
      end
      cancel(tasks)
      assert.equal(before, descriptors())
    end)
  end)

  it("by writes to FIFOs that are full", function()
    local paths, text = { fifos(MANY) }, helper.tmpfile("text")
    run(function()
      local keep, files = {}, {}
      for i = 1, MANY do
        keep[i] = await(fs.open(paths[i]))
        files[i] = await(fs.open(paths[i], "w"))
      end
      local tasks = crowd(function(i) return files[i]:write(("x"):rep(300000)) end)
      others_go_on(text)
      assert.equal(300000, #await(keep[1]:read(300000)))
      assert.equal(300000, await(table.remove(tasks, 1)))
      cancel(tasks)
      for i = 1, MANY do
        await(files[i]:close())
        await(keep[i]:close())
      end
    end)
  end)

  it("by locks", function()
    local path = helper.tmpfile("text")
    run(function()
      local first <close> = await(fs.open(path))
      await(first:lock())
      local files = {}
      for i = 1, MANY do files[i] = await(fs.open(path)) end
      local tasks = crowd(function(i) return files[i]:lock { shared = true } end)
      others_go_on(path)
      local given_up = { table.remove(tasks), table.remove(tasks) }
      cancel(given_up)
      await(first:unlock())
      for _, t in ipairs(tasks) do assert.is_true(await(t)) end
      assert.is_false(await(first:lock { nowait = true }))
      for i = 1, MANY do await(files[i]:close()) end
      assert.is_true(await(first:lock { nowait = true })) -- nobody who gave up has it
    end)
  end)
end)

describe("a wait for a file", function()
  it("carries whatever comes, in order", function()
    local path = fifos(1)
    local parts = {}
    for i = 1, 3000 do parts[i] = ("%d\n"):format(i):rep(i % 100) end
    local text = table.concat(parts)
    run(function()
      local reader = asyncio.create_task(fs.read_file(path))
      local got = {}
      local lines = asyncio.create_task(async(function()
        await(reader)
        local f <close> = await(fs.open(path))
        for line in f:lines() do got[#got + 1] = line .. "\n" end
      end)())
      await(fs.write_file(path, text))
      assert.truthy(text == await(reader))
      do
        local f <close> = await(fs.open(path, "w"))
        for _, part in ipairs(parts) do await(f:write(part)) end
      end
      await(lines)
      assert.truthy(text == table.concat(got))
    end)
  end)

  it("can be cancelled at each stage", function()
    local path, silent, full = fifos(3)
    local lock = helper.tmpfile("")
    run(function()
      local before = descriptors()
      local f, r, other = await(fs.open(lock)), await(fs.open(path)), await(fs.open(lock))
      local w = await(fs.open(full, "r+"))
      await(f:lock())
      for i = 1, 40 do
        local tasks = {
          asyncio.create_task(r:read(1 << 20)), asyncio.create_task(other:lock()), asyncio.create_task(fs.open(silent, "w")),
          asyncio.create_task(w:write(("x"):rep(1 << 20))),
        }
        for _ = 1, i // 4 do await(asyncio.sleep(i % 4 * 0.0005)) end
        cancel(tasks)
      end
      for _, file in ipairs { f, r, w, other } do await(file:close()) end
      assert.equal(before, descriptors())
    end)
  end)

  it("leaves the file to who waits behind it when it is cancelled", function()
    local path = fifos(1)
    run(function()
      local f <close> = await(fs.open(path, "r+"))
      local first, second = asyncio.create_task(f:read(1)), asyncio.create_task(f:readline())
      local size = asyncio.create_task(f:stat())
      await(asyncio.sleep(0.002))
      first:cancel()
      await(asyncio.sleep(0.002))
      assert.is_false(second:done())
      assert(os.execute("echo line >" .. path))
      assert.equal("line\n", await(second))
      assert.equal("fifo", await(size).type)
    end)
  end)

  it("ends with the reader of what is written", function()
    local path = fifos(1)
    run(function()
      local r = await(fs.open(path))
      local w <close> = await(fs.open(path, "w"))
      local t = asyncio.create_task(w:write(("x"):rep(1 << 20)))
      await(asyncio.sleep(0.005))
      await(r:close())
      assert.equal("EPIPE", helper.raises(asyncio.OSError, await, t).code)
    end)
  end)

  it("shows the end to the other side when the file is closed", function()
    local path = fifos(1)
    run(function()
      local r, w = await(fs.open(path)), await(fs.open(path, "w"))
      await(w:write("x"))
      assert.equal("x", await(r:read(1)))
      local t = asyncio.create_task(r:read(1))
      await(w:close())
      assert.is_nil(await(t))
      await(r:close())
      local again, late = await(fs.open(path, "r+")), await(fs.open(path, "w"))
      await(late:write("y"))
      await(again:read(1))
      again:_close()
      assert.equal("EPIPE", helper.raises(asyncio.OSError, await, late:write("z")).code)
      await(late:close())
    end)
  end)

  it("goes on on another loop", function()
    local path = fifos(1)
    local f
    run(function()
      f = await(fs.open(path, "r+"))
      await(f:write("a"))
      assert.equal("a", await(f:read(1)))
    end)
    run(function()
      local t = asyncio.create_task(f:read(2))
      await(asyncio.sleep(0.001))
      await(fs.write_file(path, "bc"))
      assert.equal("bc", await(t))
    end)
    local loop = asyncio.new_event_loop()
    loop:set_exception_handler(function() end)
    loop:create_task(f:read(1))
    local g = await(fs.open(path))
    loop:create_task(fs.open(path .. "none", "x"))
    loop:create_task(g:lock())
    loop:call_later(0.005, loop.stop, loop)
    loop:run_forever()
    loop:close()
    run(function()
      await(f:write("d"))
      assert.equal("d", await(f:read(1)))
      await(f:close())
      await(g:close())
    end)
  end)

  it("does not stop a virtual clock", function()
    local path = fifos(1)
    asyncio.run(async(function()
      local f <close> = await(fs.open(path))
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(f:read(1), 3600))
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(fs.read_file(path), 3600))
    end), { clock = "virtual" })
  end)

  it("survives that its descriptor is closed behind it", function()
    local status, out, err = helper.cli({ "-e", ([[
      local asyncio, fs = require "asyncio", require "fs"
      os.execute("mkfifo PATH")
      local f = await(fs.open("PATH", "r+"))
      local t = asyncio.create_task(f:read(1))
      await(asyncio.sleep(0.002))
      await(asyncio.connect_write_pipe(f:fileno())):close() -- it is taken over
      await(asyncio.sleep(0.002))
      await(fs.write_file("PATH", "x"))
      print(select(2, asyncio.catch(await, t)).code)
      asyncio.catch(await, f:close())
    ]]):gsub("PATH", helper.tmpdir() .. "/fifo") })
    assert.same({ 0, "EBADF\n" }, { status, out }, err)
  end)

  it("is for a terminal, too", function()
    run(function()
      local f <close> = await(fs.open("/dev/ptmx", "r+"))
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(f:read(1), 0.005))
      await(f:write("hi\n")) -- echoed
      assert.equal("hi\r\n", await(f:read(4)))
    end)
  end)

  it("is not for a device that is always ready", function()
    run(function()
      local zero <close> = await(fs.open("/dev/zero"))
      local null <close> = await(fs.open("/dev/null", "r+"))
      assert.equal(("\0"):rep(1 << 20), await(zero:read(1 << 20)))
      assert.equal(1 << 20, await(null:write(("x"):rep(1 << 20))))
      assert.is_nil(await(null:read(1)))
      assert.equal(4, #await(zero:pread(4, 0)))
    end)
  end)
end)

it("copyfile refuses FIFOs, which it would wait for", function()
  local path, file = fifos(1), helper.tmpfile("x")
  run(function()
    for _, pair in ipairs { { path, file .. "2" }, { file, path } } do
      assert.equal("EINVAL", helper.raises(asyncio.OSError, await, fs.copyfile(pair[1], pair[2])).code)
    end
  end)
end)
