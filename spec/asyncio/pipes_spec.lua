--- connect_read_pipe and connect_write_pipe: streams over what is open already.

local asyncio = require "asyncio"
local helper = require "spec.helper"

describe("asyncio.connect_read_pipe", function()
  it("reads a program's output", function()
    asyncio.run(async(function()
      local file <close> = assert(io.popen("echo one; sleep 0.05; echo two"))
      local reader, transport = await(asyncio.connect_read_pipe(file))
      local lines = {}
      for line in reader:lines() do lines[#lines + 1] = line end
      assert.same({ "one", "two" }, lines)
      transport:close()
    end))
  end)

  it("takes what has a fileno()", function()
    asyncio.run(async(function()
      local file <close> = assert(io.popen("echo one"))
      local fd = require("asyncio.terminal").fileno(file)
      local owner = { fileno = function() return fd end }
      local reader, transport = await(asyncio.connect_read_pipe(owner, { limit = 10 }))
      assert.equal("one\n", await(reader:readline()))
      transport:close()
      await(asyncio.sleep(0.001))
      assert.is_nil(file:read()) -- it is still its owner's
    end))
  end)

  it("takes none of the descriptors that the event loop lives on", function()
    local status, out, err = helper.sh(helper.moonloop .. [[ -e '
      local asyncio = require "asyncio"
      local function spawn() await(await(asyncio.create_subprocess_exec("true")):wait()) end
      spawn() -- what signals need is open from here on
      local refused = 0
      for fd = 3, 40 do
        local ok, e = pcall(function() select(2, await(asyncio.connect_read_pipe(fd))):close() end)
        assert(not ok, fd)
        if e.message:find("event loop") then refused = refused + 1 end
      end
      spawn()
      print(refused >= 6)
    ']])
    assert.same({ 0, "true\n", "" }, { status, out, err })
  end)

  it("can be cancelled and read on", function()
    asyncio.run(async(function()
      local path, open = helper.latch()
      local file <close> = assert(io.popen("until [ -e " .. path .. " ]; do sleep 0.01; done; echo late"))
      local reader, transport = await(asyncio.connect_read_pipe(file))
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(reader:readline(), 0.01))
      open()
      assert.equal("late\n", await(reader:readline()))
      transport:close()
    end))
  end)

  it("refuses what it cannot watch", function()
    asyncio.run(async(function()
      local file <close> = assert(io.open(helper.tmpfile("x")))
      helper.raises(asyncio.ValueError, await, asyncio.connect_read_pipe(file))
      local null <close> = assert(io.open("/dev/null"))
      assert.equal("EPERM", helper.raises(asyncio.OSError, await, asyncio.connect_read_pipe(null)).code)
      assert.equal("EBADF", helper.raises(asyncio.OSError, await, asyncio.connect_read_pipe(9999)).code)
      assert.equal("EBADF", helper.raises(asyncio.OSError, await, asyncio.connect_write_pipe(-1)).code)
      helper.raises(asyncio.TypeError, await, asyncio.connect_read_pipe({}))
      helper.raises(asyncio.TypeError, await, asyncio.connect_read_pipe(nil))
      helper.raises(asyncio.TypeError, asyncio.connect_read_pipe, 0, { speed = 1 })
      helper.raises(asyncio.ValueError, asyncio.connect_read_pipe, 0, { limit = 0 })
      file:close()
      helper.raises(asyncio.ValueError, await, asyncio.connect_read_pipe(file))
    end))
  end)
end)

describe("asyncio.connect_write_pipe", function()
  it("writes to a program, with backpressure", function()
    asyncio.run(async(function()
      local path = helper.tmpfile()
      local file <close> = assert(io.popen("sleep 0.05; cat >" .. path, "w"))
      local writer = await(asyncio.connect_write_pipe(file))
      writer:write(("x"):rep(300000))
      await(writer:drain())
      writer:close()
      await(writer:wait_closed())
      file:close()
      local f <close> = assert(io.open(path))
      assert.equal(300000, f:seek("end"))
    end))
  end)

  it("says that nobody reads", function()
    local status, out = helper.cli({ "-e", [[local asyncio = require "asyncio"
      local file = io.popen("true", "w")
      local writer = await(asyncio.connect_write_pipe(file))
      local ok, e
      repeat
        await(asyncio.sleep(0.01))
        writer:write("x")
        ok, e = pcall(await, writer:drain())
      until not ok
      print(e.code)]] })
    assert.equal("EPIPE\n", out)
    assert.equal(0, status)
  end)

  it("leaves a shared descriptor blocking", function()
    local _, out = helper.sh("exec python3 " .. helper.tmpfile([=[
import fcntl, os, subprocess, sys
code = """local asyncio = require "asyncio"
local reader = await(asyncio.connect_read_pipe(0))
local writer = await(asyncio.connect_write_pipe(io.stdout))
writer:write(await(reader:readline()))
await(reader:readline())"""
r, w = os.pipe(); r2, w2 = os.pipe()
p = subprocess.Popen([sys.argv[1], "-e", code], stdin=r, stdout=w2)
os.write(w, b"line\n")
got = os.read(r2, 100)
print(got, [bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK) for fd in (r, w2)])
os.close(w)
print(p.wait())
]=], ".py") .. " " .. helper.moonloop)
    assert.equal("b'line\\n' [False, False]\n0\n", out)
  end)
end)
