--- asyncio.inspector: the page of --inspect=PORT, and what may see it.

local asyncio = require "asyncio"
local browser = require "spec.browser"
local helper = require "spec.helper"
local inspector = require "asyncio.inspector"
local json = require "json"
local processes = require "spec.commands.processes"

local program = [[
local asyncio = require "asyncio"
async function worker() while true do await asyncio.sleep(0.01) end end
local a = asyncio.create_task(worker(), { name = "<b>bold</b>" })
asyncio.create_task((async function() await asyncio.gather { a } end)(), { name = "parent" })
local server = await asyncio.start_server(function() end, "127.0.0.1", 0)
print("listens", server.sockets[1]:getsockname()[2])
local reader = await(asyncio.open_unix_connection(...))
local line = await reader:readline()
if line:find "^spin" then
  local clock, stop = os.time, os.time() + line:match "%d+" -- not the processor's time, which is long on a busy machine
  while clock() < stop and not io.open(... .. ".end") do for _ = 1, 1000000 do end end
end
await asyncio.sleep(1000)
]]

--- Starts it; gives its process, the page's port and token, and a functions that let it compute for some seconds, and stop that.
local function start(options)
  local folder = helper.tmpdir()
  local accepted
  local writers = {}
  local server = await(asyncio.start_unix_server(function(_, writer)
    writers[#writers + 1] = writer
    accepted = true
  end, folder .. "/control"))
  local pid, log = helper.background(("env XDG_RUNTIME_DIR=%s %s %s %s %s/control"):format(folder,
    helper.quote(helper.moonloop), options or "--inspect=0", helper.tmpfile(program, ".lua"), folder))
  while not accepted do await(asyncio.sleep(0.01)) end
  local text = processes.read(log)
  local port, token = text:match("moonloop: inspector at http://[%d.]+:(%d+)/(%x+)/\n")
  assert(port, text)
  helper.finally(function() server:close() end)
  return {
    stop = function() processes.write(folder .. "/control.end", "") end,
    pid = pid, port = math.tointeger(tonumber(port)), token = token, listens = text:match("listens\t(%d+)"),
    url = text:match("http://%S+"),
    spin = function(seconds) writers[1]:write(("spin %d\n"):format(seconds)) end,
    close = function()
      for _, w in ipairs(writers) do w:close() end
      server:close()
    end,
  }
end

local function real(f) asyncio.run(async(f)()) end

describe("asyncio.inspector.start", function()
  it("tells what is wrong with its arguments", function()
    helper.raises(asyncio.ValueError, inspector.start, { port = 65536 })
    helper.raises(asyncio.ValueError, inspector.start, { port = "80" })
    helper.raises(asyncio.TypeError, inspector.start, { port = 0, host = 1 })
    helper.raises(asyncio.TypeError, inspector.start, { token = "x" })
  end)

  it("starts once, from a script too, and says where", function()
    local folder = helper.tmpdir()
    local host, written = "::1", "%[::1%]"
    if not helper.ipv6() then host, written = "127.0.0.1", "127%.0%.0%.1" end
    local status, out, err = helper.cli({ "-e", [[
      local inspector = require "asyncio.inspector"
      local started = inspector.start { port = 0, host = arg[1] }
      print(started.path, started.url)
      print(select(2, pcall(inspector.start)))
      print(select(2, pcall(require("asyncio.inspector.core").ask, "tasks")))
      print(select(2, pcall(require("asyncio.inspector.core").descriptors)))
    ]], host }, { env = { XDG_RUNTIME_DIR = folder } })
    assert.same({ 0, "" }, { status, err })
    local escaped = folder:gsub("%p", "%%%0")
    assert.truthy(out:find(("^%s/moonloop/%%d+%%.sock\thttp://%s:%%d+/%%x+/\n"):format(escaped, written)), out)
    assert.truthy(out:find("RuntimeError: [^\n]*the inspector runs already\n[^\n]*this is no inspector\n[^\n]*this is no inspector\n$"), out)
  end)
end)

describe("the inspector's page", function()
  it("is for those who have its token, by names that cannot be made to point here", function()
    real(function()
      local p = start()
      local function status(target, host, method)
        local reader, writer = await(asyncio.open_connection("127.0.0.1", p.port))
        writer:write(("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(method or "GET", target,
          host or "127.0.0.1:" .. p.port))
        local answer = await(reader:read())
        writer:close()
        return tonumber(answer:match("^HTTP/1.1 (%d+)")), answer
      end
      local root = "/" .. p.token .. "/"
      local ok, page = status(root)
      assert.equal(200, ok)
      assert.falsy(page:find("src=", 1, true) or page:find("href=", 1, true) or page:find("@import", 1, true))
      assert.truthy(page:find("\r\nContent-Security-Policy: default-src 'none';", 1, true))
      assert.truthy(page:find("\r\nCache-Control: no-store\r\n", 1, true))
      for _, host in ipairs { "localhost", "LOCALHOST:" .. p.port, "[::1]:" .. p.port, "192.168.1.1" } do
        assert.equal(200, (status(root, host)), host)
      end
      for _, host in ipairs { "evil.example", "evil.example:" .. p.port, "127.0.0.1.evil.example", "localhost.evil", "" } do
        assert.equal(421, (status(root, host)), host)
      end
      assert.equal(403, (status("/")))
      assert.equal(403, (status("/" .. ("0"):rep(32) .. "/")))
      assert.equal(403, (status("/" .. p.token)))
      assert.equal(404, (status(root .. "x")))
      assert.equal(405, (status(root, nil, "POST")))
      p.close()
    end)
  end)

  it("listens on loopback unless told otherwise", function()
    real(function()
      local p = start()
      local _, out = helper.sh(("ss -Hltn sport = :%d 2>/dev/null || true"):format(p.port))
      assert.truthy(out == "" or out:find("127.0.0.1:" .. p.port, 1, true), out)
      assert.equal("127.0.0.1", p.url:match("//([%d.]+):"))
      p.close()
    end)
  end)

  it("streams the last minute, then a sample each second, also of a loop that is blocked", function()
    real(function()
      local p = start()
      local reader, writer = await(asyncio.open_connection("127.0.0.1", p.port))
      writer:write(("GET /%s/events HTTP/1.1\r\nHost: localhost\r\n\r\n"):format(p.token))
      assert.truthy(await(reader:readuntil("\r\n\r\n")):find("text/event-stream", 1, true))
      local text = ""
      local function event(name)
        while true do
          local before, data = text:match("event: " .. name .. "\ndata: ([^\n]+)\n\n()")
          if before then
            text = text:sub(data)
            return json.decode(before)
          end
          text = text .. assert(await(asyncio.wait_for(reader:read(65536), 60 * helper.slow)))
        end
      end
      local history = event "timeline"
      assert(#history <= 60)
      local sample = event "sample"
      assert(sample.point.counts.tasks >= 3 and sample.point.lag >= 0)
      local names = {}
      for i, task in ipairs(sample.all.tasks) do names[i] = task.name end
      assert.truthy(table.concat(names, " "):find("<b>bold</b> parent", 1, true))
      local found = {}
      for _, d in ipairs(sample.descriptors) do
        assert.not_equal(p.port, tonumber(tostring(d.name):match(":(%d+)$")))
        if d.listening then found[#found + 1] = d.name end
      end
      assert.same({ "127.0.0.1:" .. p.listens }, found)
      p.spin(20) -- its process is killed before that
      local blocked
      repeat blocked = event("sample").point.blocked until blocked and blocked.place
      assert(blocked.blocked >= 1)
      assert.truthy(blocked.place:find("%.lua:11: in"), blocked.place)
      writer:close()
      p.close()
    end)
  end)

  if browser.command() then
    it("shows the tree, timers, handles and the timeline in a browser, and when the program is blocked or ends", function()
      real(function()
        local p = start()
        local page <close> = browser.open(p.url)
        page:wait("document.querySelector('#state').textContent == 'running'")
        page:wait("document.querySelector('#tree [data-task=parent] > ul > li .task')?.textContent == '<b>bold</b>'")
        assert.equal(0, page:eval("document.querySelectorAll('#tree b').length"))
        assert.equal("sleep", page:eval("document.querySelector('#tree [data-task=parent] > ul > li .waits').textContent"))
        assert.equal(4, page:eval("document.querySelectorAll('#plots svg path').length"))
        page:wait("document.querySelectorAll('#plots path')[2].getAttribute('d').includes('L')")
        assert.equal(true, page:eval("[...document.querySelectorAll('svg *')].every(e => !/NaN|Infinity/.test(e.outerHTML))"))
        assert.truthy(page:eval("document.querySelector('#cards').textContent"):find("tasks.*steps/s.*loop lag.*memory"))
        assert.truthy(page:eval("document.querySelector('#timers').textContent"):find("sleep of <Task pending name='<b>bold</b>'", 1, true))
        assert.truthy(page:eval("document.querySelector('#handles').textContent"):find("tcp", 1, true))
        assert.truthy(page:eval("document.querySelector('#fds').textContent"):find("127.0.0.1:" .. p.listens .. " (listening)", 1, true))
        assert.truthy(page:eval("document.querySelector('#main').textContent"):find("main program: "))
        p.spin(60)
        page:wait("document.querySelector('#state').textContent.includes('blocked for')")
        assert.equal("bad", page:eval("document.querySelector('#state').className"))
        page:wait("document.querySelector('#plots .bad')?.tagName == 'rect'")
        p.stop()
        page:wait("document.querySelector('#state').textContent == 'running'")
        assert.same({}, page:errors())
        processes.signal(p.pid, "TERM")
        page:wait("document.querySelector('#state').textContent.includes('has ended')")
        p.close()
      end)
    end)
  end
end)
