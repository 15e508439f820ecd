--- docs/reference/websocket.md names every function of http.websocket and every method of WebSockets and event streams,
--- and nothing else.

local blocks = require "spec.docs.blocks"

local has, websocket = pcall(require, "http.websocket")
if not has then return pending("built without HTTP") end
local web = require "http.web"

local text = blocks.read("docs/reference/websocket.md")

local missing = blocks.missing

local function named(pattern) return blocks.named(text, pattern) end

describe("docs/reference/websocket.md", function()
  it("names what http.websocket has", function()
    assert.same({}, missing(websocket, named("^websocket%.([%a_]+)")))
    assert.same({}, missing(named("^websocket%.([%a_]+)"), websocket))
  end)

  it("names the methods of a WebSocket", function()
    local documented = named("^ws:([%a_]+)%(")
    assert.same({}, missing(websocket.methods, documented))
    assert.same({}, missing(documented, web.WebSocketResponse))
  end)

  it("names what a client's WebSocket has", function()
    for name in pairs(websocket.methods) do
      if not name:find("^__") then assert(text:find("`" .. name .. "`", 1, true), name) end
    end
    for name in pairs(require("http").ClientWebSocketResponse.__get) do assert(text:find("`" .. name .. "`", 1, true), name) end
  end)

  it("names the methods of an event stream", function()
    local methods, documented = blocks.functions(web.EventSourceResponse), named("^events:([%a_]+)%(")
    assert.same({}, missing(documented, web.EventSourceResponse))
    methods.new, methods.extend, methods.write_eof = nil, nil, nil
    assert.same({}, missing(methods, documented))
  end)

  it("names every message type and close code", function()
    for name in pairs(websocket.WSMsgType) do assert(text:find(name, 1, true), name) end
    for name in pairs(websocket.WSCloseCode) do assert(text:find(name, 1, true), name) end
  end)

  it("names every option", function()
    for _, name in ipairs {
      "timeout", "receive_timeout", "autoclose", "autoping", "heartbeat", "protocols", "compress", "max_msg_size", "headers",
    } do
      assert(text:find("| `" .. name .. "` |", 1, true), name)
    end
  end)
end)
