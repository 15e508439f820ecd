local asyncio = require "asyncio"
local frames = require "spec.http.frames"
local helper = require "spec.helper"

local has, websocket = pcall(require, "http.websocket")
if not has then return pending("built without HTTP") end
local zlib = require("http.ws").deflate
local T = websocket.WSMsgType
local text, binary, more, ping, close = frames.text, frames.binary, frames.continuation, frames.ping, frames.close
local part = { fin = false }

--- A server's end without a connection.
local function server(options)
  options = options or {}
  if options.server == nil then options.server = true end
  return websocket.connect(nil, options)
end

--- Runs f(new) on a virtual clock; new makes servers.
local function run(f) helper.run(async(function() f() end)) end

--- What a server receives of these bytes, until it has to wait: "TYPE:DATA", ...; and the frames that it sends.
local function received(bytes, options, step)
  local got, sent
  run(function()
    local ws = server(options)
    got = {}
    for i = 1, #bytes, step or #bytes do ws:feed(bytes:sub(i, i + (step or #bytes) - 1)) end
    while true do
      local ok, msg = asyncio.catch(await, ws:receive(0.001))
      if not ok then break end
      local data = msg.data
      if msg.type == T.CLOSED then break end
      if msg.type == T.ERROR then data = data.code .. " " .. data.message end
      got[#got + 1] = msg.type .. ":" .. tostring(data) .. (msg.extra or "")
    end
    sent = frames.list(ws:output())
  end)
  return got, sent
end

--- The close code that a server answers these bytes with.
local function refused(bytes, options)
  for _, step in ipairs { #bytes, 1 } do
    local _, sent = received(bytes, options, step)
    local code = sent[#sent] and sent[#sent]:match("^8:(%d%d%d%d)")
    if step == 1 then return code and tonumber(code) end
  end
end

describe("WebSocket frames", function()
  it("of every size come as one message, whatever pieces they come in", function()
    for _, n in ipairs { 0, 1, 125, 126, 127, 128, 1000, 65535, 65536, 70000 } do
      local data = ("x"):rep(n)
      for _, step in ipairs { 1 + n // 7, 4096, n + 20 } do
        assert.same({ "1:" .. data }, (received(text(data), nil, step)))
        assert.same({ "2:" .. data }, (received(binary(data), nil, step)))
      end
    end
    assert.same({ "1:byte by byte" }, (received(text("byte by byte"), nil, 1)))
  end)

  it("are unmasked with any key at any place", function()
    for _, key in ipairs { "\0\0\0\0", "\xff\xff\xff\xff", "abcd" } do
      local data = ""
      for i = 0, 299 do data = data .. string.char(i % 256) end
      for step = 1, 17 do
        assert.same({ "2:" .. data }, (received(binary(data, { mask = key }), nil, step)))
      end
    end
  end)

  it("of one message may be interleaved with control frames", function()
    local got, sent = received(text("a", part) .. ping("1") .. more("b", part) .. frames.pong("unasked")
      .. more("", part) .. ping("2") .. more("c") .. text("d"), nil, 3)
    assert.same({ "1:abc", "1:d" }, got)
    assert.same({ "10:1", "10:2" }, sent)
  end)

  it("that break a rule end the connection with 1002", function()
    for name, bytes in pairs {
      ["reserved bit 1"] = text("x", { rsv = 4 }),
      ["reserved bit 2"] = text("x", { rsv = 2 }),
      ["reserved bit 3"] = ping("x", { rsv = 1 }),
      ["opcode 3"] = frames.frame(3, "x"),
      ["opcode 7"] = frames.frame(7),
      ["opcode 11"] = frames.frame(11, "x"),
      ["opcode 15"] = frames.frame(15),
      ["no mask"] = text("x", { mask = false }),
      ["fragmented ping"] = ping("x", part),
      ["fragmented close"] = close(1000, "", part),
      ["ping of 126 bytes"] = ping(("x"):rep(126)),
      ["continuation of nothing"] = more("x"),
      ["continuation after the end"] = text("x") .. more("y"),
      ["a message in a message"] = text("x", part) .. text("y"),
      ["the same in bytes"] = binary("x", part) .. binary("y", part),
      ["length in 16 bits that fits 7"] = text("x", { form = 16 }),
      ["length in 64 bits that fits 16"] = text(("x"):rep(1000), { form = 64 }),
      ["negative length"] = binary("x", { form = 64, length = math.mininteger }),
      ["close of one byte"] = frames.frame(8, "x"),
    } do
      assert.equal(1002, refused(bytes), name)
    end
  end)

  it("tell the receiver what was wrong, after the messages before it, and nothing after it", function()
    local got = received(text("a") .. text("b") .. frames.frame(5) .. text("c"))
    assert.same({ "1:a", "1:b", T.ERROR .. ":1002 unknown opcode" }, got)
  end)

  it("of the peer's own side are refused by a client", function()
    run(function()
      local client = server { server = false }
      client:feed(text("x"))
      assert.equal(T.ERROR, await(client:receive()).type)
      local f = frames.parse(client:output())
      assert.is_true(f.masked)
      assert.equal(1002, (">I2"):unpack(f.payload))
    end)
  end)
end)

describe("WebSocket text", function()
  local good = {
    "", "plain", "κόσμε", "\u{0}", "\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}", "\u{fffd}", "\u{ffff}",
    "\u{10000}", "\u{10ffff}", "\u{fdd0}", "\u{1fffe}", ("ä€𐍈a"):rep(50),
  }
  local bad = {
    "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
    "\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff", "\xc3\x28", "\xe2\x82\x28",
    "\xf0\x9f\x98\x28", "κόσμε\xed\xa0\x80edited", "\xc3", "\xe2\x82", "\xf0\x9f\x98", ("a"):rep(20) .. "\xc3",
  }

  it("may be cut anywhere", function()
    for _, s in ipairs(good) do
      for cut = 0, math.min(#s, 20) do
        assert.same({ "1:" .. s }, (received(text(s:sub(1, cut), part) .. more(s:sub(cut + 1)), nil, 1)))
      end
      assert.same({ "1:" .. s }, (received(text(s))))
    end
  end)

  it("that is not UTF-8 is refused with 1007, wherever it is cut", function()
    for _, s in ipairs(bad) do
      assert.equal(1007, refused(text(s)), ("%q"):format(s))
      assert.equal(1007, refused(text(s:sub(1, 1), part) .. more(s:sub(2))), ("%q"):format(s))
    end
    assert.same({ "2:\xff\xfe" }, (received(binary("\xff\xfe"))))
  end)

  it("is refused at its first wrong byte, not at its end", function()
    run(function()
      local ws = server()
      ws:feed(text("ok \xff and", { fin = false, length = 100 }))
      assert.equal(1007, ws:close_code())
    end)
    run(function()
      local ws = server()
      ws:feed(text("\xf4", part))
      assert.is_nil(ws:close_code())
      ws:feed(more("\x90", part))
      assert.equal(1007, ws:close_code())
    end)
  end)
end)

describe("The size of WebSocket messages", function()
  it("is limited to 4 MiB, or to what is asked for; one more ends the connection with 1009", function()
    assert.equal(1009, refused(binary("", { length = 4 * 1024 * 1024 + 1, form = 64 })))
    assert.is_nil(refused(binary("", { length = 4 * 1024 * 1024, form = 64 })))
    local options = { max_msg_size = 100 }
    assert.same({ "1:" .. ("x"):rep(100) }, (received(text(("x"):rep(100)), options)))
    assert.equal(1009, refused(text(("x"):rep(101)), options))
    assert.equal(1009, refused(text(("x"):rep(60), part) .. more(("x"):rep(41)), options))
    assert.same({ "1:" .. ("x"):rep(200) }, (received(text(("x"):rep(200)), { max_msg_size = 0 })))
  end)

  it("counts as memory only when bytes have come", function()
    run(function()
      local list = {}
      collectgarbage()
      local before = collectgarbage("count")
      for i = 1, 100 do
        list[i] = server()
        list[i]:feed(binary("", { length = 4000000, form = 64 }))
      end
      assert.is_true(collectgarbage("count") - before < 100 * 16, "16 KiB each at most")
    end)
  end)
end)

describe("Closing a WebSocket", function()
  it("is answered with the peer's code", function()
    for _, case in ipairs {
      { close(), "8:", T.CLOSE .. ":1005" },
      { close(1000), "8:1000", T.CLOSE .. ":1000" },
      { close(1001, "going"), "8:1001going", T.CLOSE .. ":1001going" },
      { close(3000), "8:3000", T.CLOSE .. ":3000" },
      { close(4999, ("x"):rep(123)), "8:4999" .. ("x"):rep(123), T.CLOSE .. ":4999" .. ("x"):rep(123) },
    } do
      local got, sent = received(text("before") .. case[1] .. text("after"))
      assert.same({ "1:before", case[3] }, got)
      assert.same({ case[2] }, sent)
    end
  end)

  it("takes the codes that may be sent and no others", function()
    for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999 } do
      assert.equal(code, refused(close(code)))
    end
    for _, code in ipairs { 0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535 } do
      local _, sent = received(close(code))
      assert.same("8:1002", sent[1]:sub(1, 6))
    end
    assert.equal(1007, refused(close(1000, "\xc3\x28")))
  end)

  it("gives the code and the reason, then CLOSED, and raises when that is not looked at", function()
    run(function()
      local ws = server()
      ws:feed(close(1001, "bye"))
      local msg = await(ws:receive())
      assert.same({ T.CLOSE, 1001, "bye" }, { msg.type, msg.data, msg.extra })
      assert.equal(1001, ws:close_code())
      assert.is_true(ws:closed())
      for _ = 1, 4 do assert.equal(T.CLOSED, await(ws:receive()).type) end
      helper.raises("RuntimeError: WebSocket connection is closed.", await, ws:receive())
    end)
  end)

  it("is answered when it is received, so that messages before it are; but not later than its time-out", function()
    run(function()
      local ws = server { timeout = 7 }
      ws:feed(text("question") .. close(1000))
      await(asyncio.sleep(6))
      assert.equal("question", await(ws:receive_str()))
      await(ws:send_str("answer"))
      assert.equal(T.CLOSE, await(ws:receive()).type)
      assert.same({ "1:answer", "8:1000" }, frames.list(ws:output()))
      ws = server { timeout = 7 }
      ws:feed(text("question") .. close(1000))
      await(asyncio.sleep(8))
      assert.same({ "8:1000" }, frames.list(ws:output()))
      assert.is_true(ws:closed())
      assert.equal("question", await(ws:receive_str()))
      assert.equal(T.CLOSE, await(ws:receive()).type)
    end)
  end)

  it("waits for the peer's answer", function()
    run(function()
      local ws = server()
      local task = asyncio.create_task(ws:close(1001, "bye"))
      await(asyncio.sleep(1))
      assert.same({ "8:1001bye" }, frames.list(ws:output()))
      assert.is_false(task:done())
      assert.is_true(ws:closed())
      ws:feed(text("dropped") .. close(1001))
      assert.is_true(await(task))
      assert.equal(1001, ws:close_code())
      assert.equal("", ws:output())
      assert.is_false(await(ws:close()))
      assert.equal(T.CLOSED, await(ws:receive()).type)
    end)
  end)

  it("does not wait for ever", function()
    run(function()
      local ws = server { timeout = 7 }
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      assert.is_true(await(ws:close()))
      assert.equal(7, loop:time() - start)
      assert.equal(1006, ws:close_code())
    end)
  end)

  it("that is cancelled ends the connection", function()
    run(function()
      local ws = server()
      local task = asyncio.create_task(ws:close())
      await(asyncio.sleep(1))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      assert.equal(1006, ws:close_code())
    end)
  end)

  it("wakes who receives, with CLOSING", function()
    run(function()
      local ws = server()
      local receiving = asyncio.create_task(ws:receive())
      local iterating = server()
      local n = asyncio.create_task(function() return iterating:next() end)
      await(asyncio.sleep(1))
      local closing = asyncio.gather(ws:close(), iterating:close())
      assert.equal(T.CLOSING, await(receiving).type)
      assert.is_nil(await(n))
      ws:feed(close(1000))
      iterating:feed(close(1000))
      await(closing)
    end)
  end)

  it("is left to the script without autoclose", function()
    run(function()
      local ws = server { autoclose = false }
      ws:feed(close(4000))
      assert.equal(4000, await(ws:receive()).data)
      assert.equal("", ws:output())
      await(ws:send_str("last words"))
      assert.is_true(await(ws:close(4001)))
      assert.same({ "1:last words", "8:4001" }, frames.list(ws:output()))
    end)
  end)

  it("refuses what cannot be sent", function()
    run(function()
      local ws = server()
      for _, code in ipairs { 0, 999, 1005, 1006, 5000, -1, 1 << 40 } do
        helper.raises(asyncio.ValueError, ws.close, ws, code)
      end
      helper.raises(asyncio.ValueError, ws.close, ws, 1000, ("x"):rep(124))
      helper.raises(asyncio.ValueError, ws.close, ws, 1000, "\xff")
    end)
  end)

  it("is found out when the peer just goes", function()
    run(function()
      local ws = server()
      ws:feed(text("last") .. text("cut off", { length = 100 }))
      ws:feed_eof()
      assert.equal("last", await(ws:receive_str()))
      assert.equal(T.CLOSED, await(ws:receive()).type)
      assert.equal(1006, ws:close_code())
      local e = helper.raises(asyncio.OSError, await, ws:send_str("x"))
      assert.equal("ECONNRESET", e.code)
    end)
  end)
end)

describe("Receiving from a WebSocket", function()
  it("ends an iteration at the close, without an error", function()
    run(function()
      local ws = server()
      ws:feed(text("a") .. binary("b") .. close(1000))
      local got = {}
      for msg in ws.next, ws do got[#got + 1] = msg.data end
      assert.same({ "a", "b" }, got)
    end)
  end)

  it("waits, is timed out, cancelled, and goes on", function()
    run(function()
      local ws = server()
      helper.raises(asyncio.TimeoutError, await, ws:receive(5))
      helper.raises(asyncio.TimeoutError, await, ws:receive { timeout = 5 })
      local task = asyncio.create_task(ws:receive())
      await(asyncio.sleep(1))
      helper.raises("Concurrent call to receive() is not allowed", await, ws:receive())
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      task = asyncio.create_task(ws:receive_str())
      await(asyncio.sleep(1))
      ws:feed(text("now"))
      assert.equal("now", await(task))
    end)
  end)

  it("loses no message to a cancel", function()
    run(function()
      local ws = server()
      local task = asyncio.create_task(ws:receive_str())
      await(asyncio.sleep(1))
      ws:feed(text("kept"))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      assert.equal("kept", await(ws:receive_str()))
    end)
  end)

  it("has a time-out of its own for all of them", function()
    run(function()
      local ws = server { receive_timeout = 3 }
      helper.raises(asyncio.TimeoutError, await, ws:receive_bytes())
      helper.raises(asyncio.TimeoutError, function() return ws:next() end)
    end)
  end)

  it("of one type refuses the others", function()
    run(function()
      local ws = server()
      ws:feed(text("a") .. binary("b") .. text("c"))
      helper.raises("received a message of type TEXT, not BINARY", await, ws:receive_bytes())
      helper.raises("received a message of type BINARY, not TEXT", await, ws:receive_str())
      assert.equal("c", await(ws:receive_str()))
      ws:feed(close(1000))
      helper.raises(asyncio.TypeError, await, ws:receive_str())
      helper.raises(asyncio.TypeError, await, ws:receive_str())
      ws = server()
      ws:feed(frames.frame(3))
      local e = helper.raises(websocket.WebSocketError, await, ws:receive_str())
      assert.equal(1002, e.code)
      assert.equal(e, ws:exception())
    end)
  end)

  it("shows pings and pongs without autoping", function()
    local got, sent = received(ping("a") .. frames.pong("b"), { autoping = false })
    assert.same({ "9:a", "10:b" }, got)
    assert.same({}, sent)
  end)

  it("checks its arguments", function()
    run(function()
      local ws = server()
      helper.raises("unexpected keyword argument 'timeut'", ws.receive, ws, { timeut = 1 })
      helper.raises("NaN", ws.receive, ws, 0 / 0)
      helper.raises("WebSocket expected", ws.receive, {})
      helper.raises("WebSocket expected", ws.receive)
    end)
  end)
end)

describe("Sending by a WebSocket", function()
  it("writes whole frames, of every size", function()
    run(function()
      for _, side in ipairs { true, false } do
        local ws = server { server = side }
        for _, n in ipairs { 0, 1, 125, 126, 490, 500, 65535, 65536 } do
          local data = ("y"):rep(n)
          await(ws:send_bytes(data))
          local f, rest = frames.parse(ws:output())
          assert.same({ 2, true, 0, not side, data, "" }, { f.opcode, f.fin, f.rsv, f.masked, f.payload, rest })
        end
        await(ws:send_str("é"))
        await(ws:ping())
        await(ws:pong("p"))
        assert.same({ "1:é", "9:", "10:p" }, frames.list(ws:output()))
      end
    end)
  end)

  it("masks every frame of a client with another key", function()
    run(function()
      local client, keys = server { server = false }, {}
      for _ = 1, 50 do
        await(client:send_bytes("\0\0\0\0"))
        keys[client:output()] = true
      end
      local n = 0
      for _ in pairs(keys) do n = n + 1 end
      assert.is_true(n > 45)
    end)
  end)

  it("happens when it is awaited, in any number of tasks", function()
    run(function()
      local ws = server()
      await(asyncio.gather(ws:send_str("a"), ws:send_bytes("b"), ws:ping("c"), ws:send_str("d")))
      assert.same({ "1:a", "2:b", "9:c", "1:d" }, frames.list(ws:output()))
      local late = ws:send_str("once")
      await(late)
      helper.raises("cannot reuse already awaited coroutine", await, late)
    end)
  end)

  it("refuses what is no data", function()
    run(function()
      local ws = server()
      helper.raises(asyncio.TypeError, ws.send_str, ws, 5)
      helper.raises(asyncio.TypeError, ws.send_bytes, ws)
      helper.raises(asyncio.ValueError, ws.send_str, ws, "\xff")
      helper.raises(asyncio.ValueError, ws.ping, ws, ("x"):rep(126))
      helper.raises("options must be a table", ws.send_str, ws, "x", true)
      helper.raises("unexpected keyword argument 'compres'", ws.send_str, ws, "x", { compres = true })
    end)
  end)

  it("is over once the close frame has been sent", function()
    run(function()
      local ws = server()
      ws:feed(close(1000))
      assert.equal(T.CLOSE, await(ws:receive()).type)
      helper.raises(asyncio.OSError, await, ws:send_str("x"))
      helper.raises(asyncio.OSError, await, ws:ping())
    end)
  end)
end)

describe("on_end of a WebSocket", function()
  it("tells of the end once: after both close frames, an abort, the peer's end", function()
    for _, finish in ipairs {
      function(ws) ws:feed(close(1000)) return await(ws:receive()) end,
      function(ws) ws:abort() end,
      function(ws) ws:feed_eof() end,
      function(ws) ws:feed(text("\xff")) end,
    } do
      run(function()
        local ws, told = server(), {}
        ws:on_end(function(...) told[#told + 1] = table.concat({ ... }, " ") end, "a", "b")
        finish(ws)
        assert.same({}, told) -- by the loop, not by whoever ended it
        await(asyncio.sleep(0))
        ws:abort()
        await(asyncio.sleep(0))
        assert.same({ "a b" }, told)
      end)
    end
  end)

  it("tells at once of a connection that is over, and of one that was collected", function()
    run(function()
      local told, over = 0, server()
      over:abort()
      over:on_end(function() told = told + 1 end)
      do server():on_end(function() told = told + 10 end) end
      collectgarbage()
      collectgarbage()
      await(asyncio.sleep(0))
      assert.equal(11, told)
    end)
  end)

  it("is asked for once, with a function", function()
    run(function()
      local ws = server()
      helper.raises("function expected", ws.on_end, ws, 1)
      ws:on_end(print)
      helper.raises(asyncio.RuntimeError, ws.on_end, ws, print)
    end)
  end)
end)

describe("The heartbeat of a WebSocket", function()
  it("pings who is silent, and goes on when there is an answer", function()
    run(function()
      local ws = server { heartbeat = 10 }
      await(asyncio.sleep(9))
      assert.equal("", ws:output())
      ws:feed(text("alive"))
      await(asyncio.sleep(9))
      assert.equal("", ws:output())
      await(asyncio.sleep(2))
      assert.same({ "9:" }, frames.list(ws:output()))
      ws:feed(frames.pong())
      await(asyncio.sleep(9))
      assert.equal("", ws:output())
      await(asyncio.sleep(2))
      assert.same({ "9:" }, frames.list(ws:output()))
      ws:abort()
    end)
  end)

  it("ends the connection when there is no answer for half of its time", function()
    run(function()
      local ws = server { heartbeat = 10 }
      local loop = asyncio.get_running_loop()
      local start = loop:time()
      local msg = await(ws:receive())
      assert.equal(15, loop:time() - start)
      assert.equal(T.ERROR, msg.type)
      assert.is_true(asyncio.isinstance(msg.data, asyncio.TimeoutError))
      assert.equal(1006, ws:close_code())
      assert.equal(T.CLOSED, await(ws:receive()).type)
    end)
  end)

  it("does not take a late loop for a silent peer", function()
    run(function()
      local ws = server { heartbeat = 10 }
      await(asyncio.sleep(11))
      assert.same({ "9:" }, frames.list(ws:output()))
      -- the answer has come, and is read in the very moment it is due
      asyncio.get_running_loop():call_later(4, function() ws:feed(frames.pong()) end)
      await(asyncio.sleep(8))
      assert.is_false(ws:closed())
      ws:abort()
    end)
  end)

  it("keeps nothing alive that is forgotten", function()
    run(function()
      do
        local ws = server { heartbeat = 10 }
        assert.is_false(ws:closed())
      end
      collectgarbage()
      collectgarbage()
    end)
  end)
end)

if zlib then
  describe("permessage-deflate", function()
    local plain = { in_bits = 15, out_bits = 15 }

    local function pair(deflate, other)
      return server { deflate = deflate }, server { server = false, deflate = other or deflate }
    end

    it("gives messages back as they were, of every window and both ways of taking over", function()
      run(function()
        for _, bits in ipairs { 9, 10, 15 } do
          for _, reset in ipairs { false, true } do
            local d = { in_bits = bits, out_bits = bits, in_reset = reset, out_reset = reset }
            local a, b = pair(d)
            for i = 1, 20 do
              local data = ("message %d, "):format(i):rep(i * i)
              await(a:send_str(data, { compress = true }))
              local bytes = a:output()
              assert.equal(4, frames.parse(bytes).rsv)
              for k = 1, #bytes, 7 do b:feed(bytes:sub(k, k + 6)) end
              assert.equal(data, await(b:receive_str()))
              await(b:send_bytes(data, { compress = true }))
              a:feed(b:output())
              assert.equal(data, await(a:receive_bytes()))
            end
          end
        end
      end)
    end)

    it("is used where it pays, or as asked for", function()
      run(function()
        local ws = pair(plain)
        local function rsv(data, options)
          await(ws:send_str(data, options))
          return frames.parse(ws:output()).rsv
        end
        assert.equal(0, rsv("short"))
        assert.equal(4, rsv(("long"):rep(100)))
        assert.equal(4, rsv("short", { compress = true }))
        assert.equal(0, rsv(("long"):rep(100), { compress = false }))
        assert.equal(4, rsv("", { compress = true }))
      end)
    end)

    it("reads RFC 7692's examples", function()
      -- section 7.2.3: one frame; two; the second message with the first one's context; stored; final; two blocks
      local options = { deflate = plain }
      local c = { rsv = 4 }
      assert.same({ "1:Hello" }, (received(text("\xf2\x48\xcd\xc9\xc9\x07\x00", c), options)))
      assert.same({ "1:Hello" },
        (received(text("\xf2\x48\xcd", { rsv = 4, fin = false }) .. more("\xc9\xc9\x07\x00"), options)))
      assert.same({ "1:Hello", "1:Hello" },
        (received(text("\xf2\x48\xcd\xc9\xc9\x07\x00", c) .. text("\xf2\x00\x11\x00\x00", c), options)))
      assert.same({ "1:Hello" }, (received(text("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", c), options)))
      assert.same({ "1:Hello" }, (received(text("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", c), options)))
      assert.same({ "1:Hello" },
        (received(text("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", c), options)))
    end)

    it("refuses what is none, and reserved bits elsewhere", function()
      local options = function() return { deflate = plain } end
      assert.equal(1007, refused(text("\xff\xff\xff", { rsv = 4 }), options()))
      assert.equal(1002, refused(ping("x", { rsv = 4 }), options()))
      assert.equal(1002, refused(text("x", part) .. more("y", { rsv = 4 }), options()))
      assert.equal(1002, refused(text("x", { rsv = 6 }), options()))
      -- "\xff" as a text
      assert.equal(1007, refused(text("\xfa\x0f\x00", { rsv = 4 }), options()))
      assert.same({ "1:plain" }, (received(text("plain"), options())))
    end)

    it("does not let a small message become a large one", function()
      run(function()
        local sender = server { server = false, deflate = plain }
        await(sender:send_bytes(("\0"):rep(10 * 1024 * 1024)))
        local bomb = sender:output()
        assert.is_true(#bomb < 100000)
        local ws = server { deflate = plain, max_msg_size = 100000 }
        ws:feed(bomb)
        collectgarbage()
        local before = collectgarbage("count")
        local msg = await(ws:receive())
        assert.equal(T.ERROR, msg.type)
        assert.equal(1009, msg.data.code)
        assert.is_true(collectgarbage("count") - before < 400)
        assert.same("8:1009", frames.list(ws:output())[1]:sub(1, 6))
        ws = server { deflate = plain, max_msg_size = 0 }
        ws:feed(bomb)
        assert.equal(10 * 1024 * 1024, #await(ws:receive_bytes()))
      end)
    end)

    it("costs nothing until it is used, and is inflated only when it is received", function()
      run(function()
        local sender = server { server = false, deflate = plain }
        await(sender:send_bytes(("\0"):rep(1024 * 1024)))
        local bytes = sender:output()
        local ws = server { deflate = plain }
        collectgarbage()
        local before = collectgarbage("count")
        for _ = 1, 20 do ws:feed(bytes) end
        assert.is_true(collectgarbage("count") - before < 64)
        assert.equal(1024 * 1024, #await(ws:receive_bytes()))
      end)
    end)
  end)
end
