--- docs/reference.md names what there is: every export of asyncio and time, every method of their objects, and
--- nothing else.

local asyncio = require "asyncio"
local blocks = require "spec.docs.blocks"
local helper = require "spec.helper"

local text = blocks.read("docs/reference.md")

--- The names that stand in code spans as `asyncio.NAME...`.
local function named(prefix) return blocks.named(text, "^" .. prefix .. "%.([%a_][%w_]*)") end

--- The methods that are defined for an object of that name: "- `task:cancel(msg)`".
local function methods_of(object)
  local names = {}
  for line in text:gmatch("\n%- (`[^\n]+)") do
    line = line:match("^(.-) — ") or line
    for name in line:gmatch("`" .. object .. ":([%a_][%w_]*)%(") do names[name] = true end
  end
  return names
end

local functions, missing = blocks.functions, blocks.missing

describe("docs/reference.md", function()
  it("names every export of asyncio", function()
    local exports = {}
    for name in pairs(asyncio) do exports[name] = true end
    assert.same({}, missing(exports, named("asyncio")))
  end)

  it("names nothing that asyncio does not export", function()
    for name in pairs(named("asyncio")) do assert(asyncio[name] ~= nil, "asyncio." .. name) end
  end)

  it("names every function of time", function()
    local time = functions(require("time"))
    assert.same({}, missing(time, named("time")))
    assert.same({}, missing(named("time"), time))
  end)

  it("names every function of tty", function()
    local tty = functions(require("tty"))
    assert.same({}, missing(tty, named("tty")))
    assert.same({}, missing(named("tty"), tty))
  end)

  it("names every function of socket", function()
    local socket = functions(require("socket"))
    assert.same({}, missing(socket, named("socket")))
    for name in pairs(named("socket")) do assert(require("socket")[name] ~= nil, "socket." .. name) end
  end)

  it("names every function of asyncio.context", function()
    for name in pairs(functions(asyncio.context)) do
      assert(text:find("`asyncio.context." .. name .. "(", 1, true), name)
    end
  end)

  it("names every function of signal", function()
    local signal, listed = functions(require("signal")), named("signal")
    assert.same({}, missing(signal, listed))
    for name in pairs(listed) do assert(require("signal")[name], "signal." .. name) end
  end)

  local metatable = debug.getmetatable
  local net = require("asyncio.net")
  local function index(object)
    local i = metatable(object).__index
    if type(i) == "function" then
      local _, methods = debug.getupvalue(i, 1)
      return methods
    end
    return i
  end
  local make = {
    loop = function()
      require("asyncio.subprocess_protocols")
      return require("asyncio.core").Loop.methods
    end,
    future = function() return index(asyncio.get_running_loop():create_future()) end,
    task = function()
      local all, shared = index(asyncio.current_task()), index(asyncio.get_running_loop():create_future())
      local own = {}
      for name, f in pairs(all) do
        if not shared[name] then own[name] = f end
      end
      return own
    end,
    handle = function() return index(asyncio.get_running_loop():call_later(0, print)) end,
    runner = function() return metatable(asyncio.Runner()) end,
    lock = function() return index(asyncio.Lock()) end,
    event = function() return index(asyncio.Event()) end,
    semaphore = function() return index(asyncio.Semaphore()) end,
    queue = function() return require("asyncio.core").Queue.methods end,
    condition = function() return index(asyncio.Condition()) end,
    barrier = function() return index(asyncio.Barrier(2)) end,
    timeout = function() return index(asyncio.timeout(nil)) end,
    group = function() return index(asyncio.TaskGroup()) end,
    reader = function() return net.StreamReader end,
    writer = function() return net.StreamWriter end,
    transport = function() return net.Transport end,
    server = function() return net.Server end,
    endpoint = function() return net.DatagramEndpoint end,
    datagram = function() return net.DatagramTransport end,
    process = function() return asyncio.subprocess.Process.methods end,
    terminal = function() return asyncio.subprocess.Terminal.methods end,
    process_transport = function() return require("asyncio.subprocess_protocols").SubprocessTransport.methods end,
    sock = function()
      require("socket")
      return require("socket.core").Socket
    end,
    bar = function() return require("asyncio.progress").Progress end,
    buffer = function() return require("socket.core").Buffer end,
  }
  for object, methods in pairs(make) do
    it("names every method of a " .. object .. ", and no other", function()
      helper.run(async(function()
        require("asyncio.streams")
        require("asyncio.datagrams")
        require("asyncio.sockets")
        local there = functions(methods())
        if object == "handle" then there = { cancel = true, cancelled = true, when = true } end
        assert.same({}, missing(there, methods_of(object)))
        assert.same({}, missing(methods_of(object), there))
      end))
    end)
  end
end)
