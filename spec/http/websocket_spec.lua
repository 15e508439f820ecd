local asyncio = require "asyncio"
local helper = require "spec.helper"

local has, websocket = pcall(require, "http.websocket")
if not has then return pending("built without HTTP") end
local zlib = require("http.ws").deflate
local W = websocket

describe("http.websocket", function()
  it("answers keys as RFC 6455 does", function()
    assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", W.accept_key("dGhlIHNhbXBsZSBub25jZQ=="))
    -- lengths around SHA-1's blocks, from Python
    local expected = helper.python([[
import hashlib, base64
for n in (0, 19, 20, 24, 27, 28, 83, 91, 92, 200):
    print(base64.b64encode(hashlib.sha1(b"k" * n + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode())
]])
    local got = ""
    for _, n in ipairs { 0, 19, 20, 24, 27, 28, 83, 91, 92, 200 } do got = got .. W.accept_key(("k"):rep(n)) .. "\n" end
    assert.equal(expected, got)
  end)

  it("makes keys of 16 random bytes", function()
    local a, b = W.new_key(), W.new_key()
    assert.is_true(a ~= b)
    for _, key in ipairs { a, b } do assert.is_truthy(key:find("^[%w+/]+==$") and #key == 24) end
  end)

  it("takes extension headers apart", function()
    assert.same({}, W.parse_extensions(nil))
    assert.same({}, W.parse_extensions(" , ;;"))
    assert.same({
      { name = "permessage-deflate", params = { client_max_window_bits = true } },
      { name = "foo", params = { a = "1", b = "two" } },
    }, W.parse_extensions('permessage-deflate; Client_Max_Window_Bits, foo ; a=1; b="two"'))
    assert.same({ { name = "good", params = {} } }, W.parse_extensions("bad; a; a, good, x=y"))
    local blanks = (" "):rep(200000) -- in no time: what is quadratic takes minutes
    assert.same({ { name = "good", params = {} } }, W.parse_extensions(blanks .. "," .. blanks .. "x" .. blanks .. "y, good"))
    assert.same({ { name = "good", params = { a = "1" } } }, W.parse_extensions("good;" .. blanks .. "a" .. blanks .. "=1"))
  end)

  if zlib then
    it("chooses among a client's offers of compression", function()
      local function choose(header)
        local deflate, answer = W.choose_deflate(header)
        return answer or "none", deflate
      end
      assert.equal("none", choose(nil))
      assert.equal("none", choose("x-webkit-deflate-frame"))
      assert.equal("permessage-deflate", choose("permessage-deflate"))
      local answer, deflate = choose("permessage-deflate; client_max_window_bits")
      assert.equal("permessage-deflate", answer)
      assert.same({ in_bits = 15, out_bits = 15 }, deflate)
      answer, deflate = choose("permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        .. "server_max_window_bits=10; client_max_window_bits=12")
      assert.equal("permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        .. "server_max_window_bits=10; client_max_window_bits=12", answer)
      assert.same({ in_bits = 12, out_bits = 10, in_reset = true, out_reset = true }, deflate)
      -- what is malformed or cannot be had is passed over
      for _, bad in ipairs {
        "server_max_window_bits", "server_max_window_bits=7", "server_max_window_bits=16", "server_max_window_bits=08",
        "server_max_window_bits=8", "client_max_window_bits=99", "server_no_context_takeover=1", "unknown", "unknown=5",
      } do
        assert.equal("none", choose("permessage-deflate; " .. bad), bad)
        assert.equal("permessage-deflate", choose("permessage-deflate; " .. bad .. ", permessage-deflate"), bad)
      end
    end)

    it("accepts a server's choice", function()
      assert.equal("permessage-deflate; client_max_window_bits", W.offer_deflate())
      assert.equal("permessage-deflate; client_max_window_bits=10", W.offer_deflate(10))
      assert.is_nil(W.accept_deflate(nil))
      assert.is_nil(W.accept_deflate(" "))
      assert.same({ in_bits = 15, out_bits = 15 }, W.accept_deflate("permessage-deflate"))
      assert.same({ in_bits = 9, out_bits = 10, in_reset = true, out_reset = true }, W.accept_deflate(
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10; server_no_context_takeover; client_no_context_takeover"))
      for _, bad in ipairs {
        "permessage-deflate; client_max_window_bits", "permessage-deflate; x", "other", "permessage-deflate, permessage-deflate",
        "permessage-deflate; server_max_window_bits=20",
      } do
        helper.raises(W.WebSocketError, W.accept_deflate, bad)
      end
    end)
  end

  local good = {
    upgrade = "websocket", connection = "keep-alive, Upgrade", ["sec-websocket-version"] = "13",
    ["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ==", ["sec-websocket-protocol"] = "chat, superchat",
  }
  local function examine(changes, protocols)
    local headers = {}
    for k, v in pairs(good) do headers[k] = v end
    for k, v in pairs(changes or {}) do headers[k] = v or nil end
    return W.check_request(function(name) return headers[name] end, protocols)
  end

  it("sees whether a request asks for a WebSocket", function()
    assert.equal(good["sec-websocket-key"], (examine()))
    assert.equal(good["sec-websocket-key"], (examine { upgrade = "foo, WebSocket", connection = "upgrade" }))
    for name, wrong in pairs {
      upgrade = { "h2c", false, "websockets" }, connection = { "close", false, "upgrades" },
      ["sec-websocket-version"] = { "12", "13.0", false },
      ["sec-websocket-key"] = { "short==", "dGhlIHNhbXBsZSBub25jZQ=!", false },
    } do
      for _, value in ipairs(wrong) do
        local key, why = examine { [name] = value }
        assert.is_nil(key, name)
        assert.equal("string", type(why))
      end
    end
  end)

  it("chooses the server's first subprotocol that the client knows", function()
    assert.equal("superchat", select(2, examine(nil, { "v2", "superchat", "chat" })))
    assert.is_nil((select(2, examine(nil, { "v2" }))))
    assert.is_nil((select(2, examine({ ["sec-websocket-protocol"] = false }, { "chat" }))))
  end)

  it("shows and decodes messages", function()
    local msg = setmetatable({ type = 1, data = '{"a":[1]}' }, W.WSMessage)
    assert.equal('WSMessage(type=TEXT, data="{\\"a\\":[1]}")', tostring(msg))
    assert.equal("loaded", msg:json(function() return "loaded" end))
    assert.equal("WSMessage(type=CLOSED, data=nil)", tostring(setmetatable({ type = 0x101 }, W.WSMessage)))
  end)

  it("has methods that want a connection first", function()
    local ws = setmetatable({}, { __index = W.methods })
    for _, name in ipairs { "send_str", "send_bytes", "ping", "receive", "messages", "close" } do
      helper.raises("RuntimeError: ", ws[name], ws, name ~= "close" and "x" or nil)
    end
    helper.run(async(function() helper.raises(asyncio.RuntimeError, await, ws:receive_json()) end))
    assert.is_nil(ws:exception())
    assert.equal("none", ws:get_extra_info("peername", "none"))
  end)
end)
