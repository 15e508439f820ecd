local asyncio = require "asyncio"
local helper = require "spec.helper"
local socket = require "socket"

--- A chat server of its own; gives its port.
local function serve()
  local port = helper.unused_port()
  local _, log = helper.background(("%s scripts/chat_server.lua --port %d"):format(helper.moonloop, port))
  helper.wait_port(port)
  return port, log
end

local Client = {}
Client.__index = Client

local function join(port, name)
  local reader, writer = await(asyncio.open_connection("127.0.0.1", port))
  helper.finally(writer.close, writer)
  local client = setmetatable({ reader = reader, writer = writer }, Client)
  assert.equal("* Your name?", client:hear())
  if name then
    client:say(name)
    assert.truthy(client:hear():find("^%* Welcome, " .. name .. "!"))
  end
  return client
end

function Client:say(line) self.writer:write(line .. "\n") end

function Client:hear()
  local line = await(asyncio.wait_for(self.reader:readline(), 60 * helper.slow))
  return line and line:sub(1, -2)
end

local function run(f, ...)
  return asyncio.run(async(f)(...))
end

describe("scripts: chat_server.lua", function()
  it("passes on what each says to all others, and who comes and goes", function()
    local port = serve()
    run(function()
      local ann = join(port, "ann")
      local bob = join(port, "bob")
      assert.equal("* bob has come", ann:hear())
      local eve = join(port, "eve")
      assert.equal("* eve has come", ann:hear())
      assert.equal("* eve has come", bob:hear())
      ann:say("  hello\tall\27[31m ")
      assert.equal("ann: hello all [31m", bob:hear())
      assert.equal("ann: hello all [31m", eve:hear())
      bob:say("/who")
      assert.equal("* here: ann, bob, eve", bob:hear())
      bob:say("/me waves")
      assert.equal("* bob waves", ann:hear())
      assert.equal("* bob waves", bob:hear())
      bob:say("/nick rob")
      assert.equal("* bob is now rob", ann:hear())
      assert.equal("* bob is now rob", bob:hear())
      bob:say("/dance")
      assert.equal("* /dance is not known here: /help", bob:hear())
      bob:say("/help")
      assert.equal("/who          who is here", bob:hear())
      for _ = 1, 3 do bob:hear() end
      bob:say("/quit see you")
      assert.equal("* rob has gone (see you)", ann:hear())
      assert.equal("* Good-bye!", bob:hear())
      assert.is_nil(bob:hear())
      for _ = 1, 3 do eve:hear() end
      eve.writer.transport:abort()
      assert.truthy(ann:hear():find("^%* eve has gone %("))
    end)
  end)

  it("wants proper names", function()
    local port = serve()
    run(function()
      local ann = join(port, "ann")
      local who = join(port)
      for name, answer in pairs {
        ann = "* ann is here already", [""] = "* a name, please", ["a b"] = "* a name has no spaces, / or * in it",
        [("x"):rep(21)] = "* at most 20 characters, please",
      } do
        who:say(name)
        assert.equal(answer, who:hear())
      end
      who:say("who")
      assert.equal("* Welcome, who! Here: ann, who. /help shows what there is.", who:hear())
      assert.equal("* who has come", ann:hear())
      who:say("/nick ann")
      assert.equal("* ann is here already", who:hear())
      who:say(("x"):rep(5000))
      assert.equal("* who has gone (talks too long)", ann:hear())
    end)
  end)

  it("lets nobody who does not read hold up the others", function()
    local port = serve()
    run(function()
      local slow = socket.socket()
      helper.finally(slow.close, slow)
      slow:set { rcvbuf = 4096 }
      await(slow:connect("127.0.0.1", port))
      await(slow:sendall("slow\n"))
      local talker, listener = join(port, "talker"), join(port, "listener")
      local n, line = 12000, ("x"):rep(900)
      local heard = asyncio.create_task(async(function()
        local count, gone = 0, false
        while count < n do
          local text = listener:hear()
          if text:find("^talker: ") then count = count + 1 end
          gone = gone or text == "* slow has gone (does not read)"
        end
        return gone
      end)())
      for i = 1, n do
        talker:say(line)
        if i % 50 == 0 then await(talker.writer:drain()) end
      end
      assert.is_true(await(heard))
    end)
  end)

  it("says good-bye when it is told to end", function()
    local port = helper.unused_port()
    local pid, log = helper.background(("%s scripts/chat_server.lua --port %d"):format(helper.moonloop, port))
    helper.wait_port(port)
    run(function()
      local ann = join(port, "ann")
      os.execute("kill -TERM " .. pid)
      assert.equal("* The chat closes. Good-bye!", ann:hear())
      while ann:hear() do end
    end)
    local f <close> = assert(io.open(log))
    local text = f:read("a")
    assert.truthy(text:find("^chat on 127.0.0.1:" .. port .. "\nann has come from 127.0.0.1:%d+\nSIGTERM: closing\n"), text)
    local status = helper.cli("scripts/chat_server.lua --colour red")
    assert.equal(2, status)
  end)
end)

describe("scripts: chat_client.lua", function()
  it("says what comes on its input, and shows what others say", function()
    local port = serve()
    run(function()
      local ann = join(port, "ann")
      local out = helper.tmpfile()
      local p = assert(io.popen(("exec %s scripts/chat_client.lua --port %d bob >%s"):format(helper.moonloop, port, out), "w"))
      assert.equal("* bob has come", ann:hear())
      p:write("hello\n")
      p:flush()
      assert.equal("bob: hello", ann:hear())
      ann:say("good evening\27")
      ann:say("/who")
      ann:hear()
      p:write("/who\n")
      p:close()
      assert.equal("* bob has gone (good-bye)", ann:hear())
      local f <close> = assert(io.open(out))
      local text = f:read("a")
      assert.truthy(text:find("ann: good evening\n* here: ann, bob\n* Good-bye!\n", 1, true), text)
    end)
  end)

  it("says that there is no server, or none any more", function()
    local port = helper.unused_port()
    local status, out, err = helper.cli("scripts/chat_client.lua --port " .. port)
    assert.same({ 1, "" }, { status, out })
    assert.truthy(err:find("^chat_client.lua: connect to 127.0.0.1:%d+ failed: connection refused\n$"), err)
    assert.equal(2, (helper.cli("scripts/chat_client.lua --nonsense")))
    run(function()
      local server = await(asyncio.start_server(function(_, w) w:close() end, "127.0.0.1", 0))
      local client = await(asyncio.create_subprocess_exec(helper.moonloop, "scripts/chat_client.lua", "--port",
        server.sockets[1].port, { stdin = asyncio.PIPE, stderr = asyncio.PIPE }))
      assert.equal("chat_client.lua: the server has hung up\n", await(client.stderr:read()))
      assert.equal(1, await(client:wait()))
      client:close()
      server:close()
      await(server:wait_closed())
    end)
  end)
end)
