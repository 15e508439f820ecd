--- Happy eyeballs, with what the loopback has to offer: addresses of 127.0.0.0/8 that refuse, that answer, and one
--- whose queue of connections is full, so that it never says anything.

local helper = require "spec.helper"
local asyncio = require "asyncio"

--- A port that drops what connects to 127.0.0.2, and an awaitable-free way to know it.
local function black_hole()
  local _, log = helper.background("python3 -c " .. helper.quote([[
import select, socket, time
s = socket.socket()
s.bind(("127.0.0.2", 0))
s.listen(0)
port, clients = s.getsockname()[1], []
for i in range(8):
    c = socket.socket()
    c.setblocking(False)
    c.connect_ex(("127.0.0.2", port))
    clients.append(c)
time.sleep(0.05)
print(port, flush=True)
time.sleep(1000)
]]))
  for _ = 1, 3000 * helper.slow do
    local f <close> = assert(io.open(log))
    local port = math.tointeger(tonumber(f:read("l")))
    if port then return port end
    os.execute("sleep 0.02")
  end
  error("no black hole")
end

--- Everything that connects to the name gets these addresses.
local function resolve_to(...)
  local list = { ... }
  asyncio.get_running_loop():set_resolver(function() return list end)
end

local function listen(host, port)
  local accepted = { n = 0 }
  local server = await(asyncio.start_server(function(_, w)
    accepted.n = accepted.n + 1
    w:close()
  end, host, port or 0))
  return server, server.sockets[1].port, accepted
end

local HOLE, GOOD, OTHER = "127.0.0.2", "127.0.0.3", "127.0.0.4"

describe("connecting to several addresses", function()
  it("goes on at once when one refuses", function()
    helper.run(function()
      local loop = asyncio.get_running_loop()
      local server <close>, port = listen(GOOD)
      resolve_to(OTHER, "127.0.0.5", GOOD)
      local start = loop:time()
      local _, w = await(asyncio.open_connection("a.test", port))
      assert.equal(GOOD, w:get_extra_info("peername").host)
      assert.equal(start, loop:time())
      w:close()
      server:close()
    end)
  end)

  it("begins the next attempt after 0.25 s when one does not answer; the first to connect wins", function()
    local port = black_hole()
    helper.run(function()
      local loop = asyncio.get_running_loop()
      local server <close>, _, accepted = listen(GOOD, port)
      resolve_to(HOLE, GOOD, OTHER)
      local start = loop:time()
      local _, w = await(asyncio.open_connection("a.test", port))
      assert.equal(GOOD, w:get_extra_info("peername").host)
      assert.equal(0.25, loop:time() - start)
      w:close()
      await(asyncio.sleep(1))
      assert.equal(1, accepted.n)
      server:close()
    end)
  end)

  it("counts the delay from the newest attempt, and takes it as given", function()
    local port = black_hole()
    helper.run(function()
      local loop = asyncio.get_running_loop()
      local server <close> = listen(GOOD, port)
      resolve_to(HOLE, HOLE, OTHER, GOOD) -- OTHER refuses at once
      local start = loop:time()
      local _, w = await(asyncio.open_connection("a.test", port, { happy_eyeballs_delay = 10, interleave = 0 }))
      assert.equal(20, loop:time() - start)
      w:close()
      server:close()
    end)
  end)

  it("tries one after the other with happy_eyeballs_delay = false", function()
    local port = black_hole()
    helper.run(function()
      local server <close> = listen(GOOD, port)
      for _, delay in ipairs { false, math.huge } do
        resolve_to(HOLE, GOOD)
        helper.raises(asyncio.TimeoutError, await,
          asyncio.wait_for(asyncio.open_connection("a.test", port, { happy_eyeballs_delay = delay }), 30))
        resolve_to(OTHER, GOOD)
        local _, w = await(asyncio.open_connection("a.test", port, { happy_eyeballs_delay = delay }))
        w:close()
      end
      server:close()
    end)
  end)

  it("takes families in turn", function()
    helper.run(function()
      local port = helper.unused_port()
      local function tried(opts, ...)
        resolve_to(...)
        opts.all_errors = true
        local group = helper.raises(asyncio.ExceptionGroup, await, asyncio.open_connection("a.test", port, opts))
        local hosts = {}
        for i, e in ipairs(group.exceptions) do hosts[i] = e.host end
        return table.concat(hosts, " ")
      end
      local all = { "127.0.0.1", "127.0.0.2", "127.0.0.3", "::1", "::ffff:127.0.0.9" }
      assert.equal("127.0.0.1 ::1 127.0.0.2 ::ffff:127.0.0.9 127.0.0.3", tried({}, table.unpack(all)))
      assert.equal("127.0.0.1 127.0.0.2 ::1 127.0.0.3 ::ffff:127.0.0.9", tried({ interleave = 2 }, table.unpack(all)))
      assert.equal(table.concat(all, " "), tried({ interleave = 0 }, table.unpack(all)))
      -- more than there are: all of the first family, then the others
      assert.equal(tried({ interleave = 100 }, table.unpack(all)), tried({ interleave = math.maxinteger }, table.unpack(all)))
      assert.equal(table.concat(all, " "), tried({ happy_eyeballs_delay = false }, table.unpack(all)))
      assert.equal("::1 ::ffff:127.0.0.9", tried({ family = "inet6" }, table.unpack(all)))
    end)
  end)

  it("names each address and its reason when all fail", function()
    helper.run(function()
      local port = helper.unused_port()
      resolve_to(GOOD, OTHER)
      local e = helper.raises(asyncio.OSError, await, asyncio.open_connection("a.test", port))
      assert.equal(("connect to a.test:%d failed: 127.0.0.3: connection refused; 127.0.0.4: connection refused")
        :format(port), e.message)
      assert.same({ "ECONNREFUSED", "a.test", port }, { e.code, e.host, e.port })
      assert.same({ GOOD, OTHER }, { e.errors[1].host, e.errors[2].host })
      local group = helper.raises(asyncio.ExceptionGroup, await,
        asyncio.get_running_loop():create_connection(function() return {} end, "a.test", port, { all_errors = true }))
      assert.equal(2, #group.exceptions)
      assert.equal(("connect to 127.0.0.4:%d failed: connection refused"):format(port), group.exceptions[2].message)
    end)
  end)

  it("binds each attempt to a local address of its family, the first that can be had", function()
    helper.run(function()
      local loop = asyncio.get_running_loop()
      local server <close>, port = listen(GOOD)
      loop:set_resolver(function(host)
        return host == "local.test" and { "192.0.2.1", "::1", "127.0.0.7" } or { "::1", GOOD }
      end)
      local _, w = await(asyncio.open_connection("a.test", port, { local_addr = { "local.test", 0 } }))
      assert.equal("127.0.0.7", w:get_extra_info("sockname").host)
      w:close()
      loop:set_resolver(function(host)
        return host == "local.test" and { "192.0.2.1" } or { "::1", GOOD }
      end)
      local e = helper.raises(asyncio.OSError, await,
        asyncio.open_connection("a.test", port, { local_addr = { "local.test", 0 } }))
      assert.matches("::1: no matching local address with family inet6 found; 127.0.0.3: bind to 192.0.2.1:0 failed: "
        .. "address not available", e.message, 1, true)
      server:close()
    end)
  end)

  it("is cancelled in each stage, and leaves nothing", function()
    local port = black_hole()
    helper.run(function()
      local loop = asyncio.get_running_loop()
      local looking = loop:create_future()
      local stages = {
        function() loop:set_resolver(function() return looking end) end, -- while the name is looked up
        function() resolve_to(HOLE, GOOD) end, -- in the first attempt
        function() resolve_to(HOLE, HOLE, HOLE) end, -- with several under way
      }
      for stage, prepare in ipairs(stages) do
        prepare()
        local task = asyncio.create_task(asyncio.open_connection("a.test", port))
        await(asyncio.sleep(stage == 2 and 0.1 or 2))
        task:cancel("enough")
        assert.equal("enough", helper.raises(asyncio.CancelledError, await, task).message)
      end
    end)
  end)

  it("is cancelled in any round of connecting that succeeds", function()
    helper.run(function()
      local server <close>, port = listen(GOOD)
      resolve_to(OTHER, GOOD, "127.0.0.5")
      for rounds = 0, 8 do
        local task = asyncio.create_task(asyncio.open_connection("a.test", port))
        for _ = 1, rounds do await(asyncio.sleep(0)) end
        task:cancel()
        local ok, _, w = asyncio.catch(await, task)
        if ok then w:close() end
      end
      server:close()
    end)
  end)

  it("may be left under way when the loop closes", function()
    local port = black_hole()
    local status, out, err = helper.cli({ "-e", ([[
      local asyncio = require "asyncio"
      local loop = asyncio.new_event_loop()
      loop:set_resolver(function() return { "127.0.0.2", "127.0.0.2" } end)
      loop:create_task(function()
        pcall(await, asyncio.open_connection("a.test", %d, { happy_eyeballs_delay = 0 }))
      end)
      loop:call_later(0.05, loop.stop, loop)
      loop:run_forever()
      loop:close()
      print("closed")
    ]]):format(port) })
    assert.equal("closed\n", out)
    assert.equal(0, status)
    assert.matches("destroyed", err)
  end)

  it("lets a timeout pass on the virtual clock when nothing answers", function()
    local port = black_hole()
    helper.run(function()
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(asyncio.open_connection(HOLE, port), 3600))
    end)
  end)

  it("says which options are wrong", function()
    for _, case in ipairs {
      { { happy_eyeballs_delay = -1 }, "happy_eyeballs_delay must be a number of seconds or false, got -1" },
      { { happy_eyeballs_delay = 0 / 0 }, "happy_eyeballs_delay must be" },
      { { happy_eyeballs_delay = "x" }, "happy_eyeballs_delay must be" },
      { { interleave = -1 }, "interleave must be a non-negative integer, got -1" },
      { { interleave = 1.5 }, "interleave must be" },
    } do
      local e = helper.raises(asyncio.ValueError, function() asyncio.open_connection("x", 1, case[1]) end)
      assert.matches(case[2], e.message, 1, true)
      assert.matches("eyeballs_spec.lua:%d+: open_connection", e.message)
    end
  end)
end)
