--- run_app in processes of its own, and moonloop run: signals, workers, files that change.

local helper = require "spec.helper"
local processes = require "spec.commands.processes"

local get, signal, eventually, read, write = processes.get, processes.signal, processes.eventually, processes.read,
  processes.write

local APP = [[
local asyncio, web = require "asyncio", require "http.web"
local app = web.Application()
local pid = require("socket.core").getpid()
app:add_routes {
  web.get("/", function() return web.Response { text = "VERSION " .. pid } end),
  web.get("/slow", function()
    print("slow")
    io.stdout:flush()
    await(asyncio.sleep(0.5))
    return web.Response { text = "slow" }
  end),
  web.get("/hang", function()
    print("hang")
    io.stdout:flush()
    await(asyncio.sleep(1000))
  end),
  web.get("/stream", function(request)
    local response = web.StreamResponse()
    await(response:prepare(request))
    while true do
      await(response:write("tick\n"))
      await(asyncio.sleep(0.05))
    end
  end),
  web.get("/die", function() os.exit(7) end),
}
app.on_cleanup:append(function()
  print("cleanup")
  io.stdout:flush()
end)
]]

local function app_file(ending, version)
  local dir = helper.tmpdir()
  local path = dir .. "/app.lua"
  write(path, APP:gsub("VERSION", version or "one") .. ending)
  return path, dir
end

local function count(text, what) return select(2, text:gsub(what, "")) end

describe("run_app", function()
  it("ends gracefully on SIGTERM and SIGINT", function()
    for _, name in ipairs { "TERM", "INT" } do
      local path = app_file("web.run_app(app, { host = '127.0.0.1', port = 0 })\nprint('returned')\n")
      local pid, log, port = processes.start(path)
      assert.truthy(get(port, "/").body:find("^one %d+$"))
      local slow = helper.tmpfile()
      os.execute(("curl -s http://127.0.0.1:%d/slow > %s &"):format(port, slow))
      eventually("the slow request", function() return read(log):find("slow\n", 1, true) end)
      signal(pid, name)
      processes.gone(pid)
      eventually("the slow answer", function() return read(slow) == "slow" end)
      assert.truthy(read(log):find("cleanup\nreturned\n", 1, true), read(log))
    end
  end)

  it("waits no longer at the second signal", function()
    local path = app_file("web.run_app(app, { host = '127.0.0.1', port = 0 })\n")
    local pid, log, port = processes.start(path)
    os.execute(("curl -s http://127.0.0.1:%d/hang > /dev/null &"):format(port))
    eventually("the request", function() return read(log):find("hang\n", 1, true) end)
    signal(pid, "TERM")
    os.execute("sleep 0.1")
    signal(pid, "TERM")
    processes.gone(pid)
    assert.truthy(read(log):find("cleanup\n", 1, true))
  end)

  it("says that an address is taken", function()
    local path = app_file("web.run_app(app, { host = '127.0.0.1', port = tonumber(arg[1]) })\n")
    local pid, _, port = processes.start(path .. " 0")
    local status, _, err = helper.cli { path, tostring(port) }
    assert.equal(1, status)
    assert.truthy(err:find("address already in use", 1, true), err)
    signal(pid, "TERM")
  end)

  it("refuses misuse", function()
    local web = require "http.web"
    local asyncio = require "asyncio"
    helper.raises(asyncio.TypeError, web.run_app, nil)
    helper.raises(asyncio.TypeError, web.run_app, web.Application(), { ports = 1 })
    helper.raises(asyncio.ValueError, web.run_app, web.Application(), { workers = 0 })
    helper.raises(asyncio.TypeError, web.run_app, web.Application(), { reload = 5 })
    helper.raises(asyncio.TypeError, web.run_app, web.Application(), { port = {} })
  end)
end)

describe("workers", function()
  it("share connections out, are replaced when they die, and end together", function()
    local path = app_file("web.run_app(app, { host = '127.0.0.1', port = 0, workers = 2 })\n")
    local pid, log, port = processes.start(path)
    local seen, n = {}, 0
    eventually("both workers", function()
      local body = get(port, "/").body
      if not seen[body] then
        seen[body] = true
        n = n + 1
      end
      return n == 2
    end)
    pcall(get, port, "/die")
    eventually("another one", function() return read(log):find("ended with status 7; starting another", 1, true) end)
    eventually("a third process", function() return not seen[get(port, "/").body] end)
    signal(pid, "TERM")
    processes.gone(pid)
    assert.is_true(count(read(log), "cleanup\n") >= 2, read(log))
    assert.equal(1, count(read(log), "Running on"))
    local left = 0
    for body in pairs(seen) do
      if os.execute("kill -0 " .. body:match("%d+$") .. " 2>/dev/null") then left = left + 1 end
    end
    assert.equal(0, left)
  end)

  it("end when their supervisor is killed", function()
    local path = app_file("web.run_app(app, { host = '127.0.0.1', port = 0, workers = 2 })\n")
    local pid, _, port = processes.start(path)
    local worker = math.tointeger(tonumber(get(port, "/").body:match("%d+$")))
    signal(pid, "KILL")
    processes.gone(worker)
  end)

  it("that do not come up end it all", function()
    local path = app_file([[
app.on_startup:append(function() error("no database") end)
web.run_app(app, { host = '127.0.0.1', port = 0, workers = 2 })
]])
    local status, _, err = helper.cli { path }
    assert.equal(1, status)
    assert.truthy(err:find("no database", 1, true), err)
    assert.truthy(err:find("ended with status 1 before it served", 1, true), err)
  end)

  it("share a unix socket, too", function()
    local path, dir = app_file("web.run_app(app, { path = arg[1], workers = 2, print = print })\n")
    local pid, log = helper.background(helper.quote(helper.moonloop) .. " " .. path .. " " .. dir .. "/s")
    eventually("the server", function() return read(log):find("Running on http://unix:", 1, true) end)
    local status, out = helper.sh("curl -s --unix-socket " .. dir .. "/s http://x/")
    assert.same({ 0, "one" }, { status, out:match("%a+") })
    signal(pid, "TERM")
    processes.gone(pid)
    assert.is_nil(io.open(dir .. "/s"))
  end)
end)

describe("moonloop run", function()
  it("runs what a script returns, has in app, or runs by itself", function()
    for _, ending in ipairs { "return app\n", "_G.app = app\n", "return function() return app end\n",
      "web.run_app(app, { port = 1, host = '192.0.2.1' })\n" } do
      local path = app_file(ending)
      local pid, log, port = processes.start(("run --host 127.0.0.1 %s --port=0"):format(path))
      assert.truthy(get(port, "/").body:find("^one"), ending)
      signal(pid, "TERM")
      processes.gone(pid)
      assert.equal(1, count(read(log), "cleanup\n"))
    end
  end)

  it("starts anew when a file changes, though a stream is open, and refuses nobody meanwhile", function()
    local path = app_file("return app\n", "old")
    local pid, log, port = processes.start(("run %s --host 127.0.0.1 --port 0 --reload"):format(path))
    assert.truthy(get(port, "/").body:find("^old"))
    local stream = helper.tmpfile()
    os.execute(("curl -s -N http://127.0.0.1:%d/stream > %s &"):format(port, stream))
    eventually("the stream", function() return #read(stream) > 0 end)
    write(path, APP:gsub("VERSION", "new") .. "return app\n")
    eventually("the new version", function()
      local body = get(port, "/").body -- an error here would fail the spec: connections wait
      return body:find("^new")
    end)
    write(path, "this is no Lua")
    eventually("its error", function() return read(log):find("waiting for a change", 1, true) end)
    write(path, APP:gsub("VERSION", "third") .. "return app\n")
    eventually("the third version", function() return get(port, "/").body:find("^third") end)
    signal(pid, "TERM")
    processes.gone(pid)
  end)

  it("says what is wrong with its arguments", function()
    helper.refuses("run", {
      [""] = "a script is missing", ["a.lua b.lua"] = "one script was expected", ["a.lua --workers"] = "a value is missing",
      ["a.lua --workers x"] = "a number was expected, got 'x'", ["a.lua --workers 0"] = "1 or more",
      ["a.lua --port 70000"] = "0 to 65535", ["a.lua --nonsense"] = "unknown option '--nonsense'",
      ["a.lua -x"] = "unknown option '-x'", ["a.lua --reload=yes"] = "takes no value", ["a.lua --key k"] = "without --cert",
    })
    local status, _, err = helper.cli("run /no/such/file.lua")
    assert.equal(1, status)
    assert.truthy(err:find("cannot open /no/such/file.lua", 1, true), err)
    status, _, err = helper.cli { "run", helper.tmpfile("return 5") }
    assert.equal(1, status)
    assert.truthy(err:find("gives no application", 1, true), err)
    status, _, err = helper.cli { "run", (app_file("return app\n")), "--port", "0", "--reload-dir", "/no/such/folder" }
    assert.equal(1, status)
    assert.truthy(err:find("/no/such/folder cannot be watched", 1, true), err)
    local out
    status, out = helper.cli("run --help")
    assert.equal(0, status)
    assert.truthy(out:find("^Usage: moonloop run"))
  end)
end)
