--- docs/reference/websocket.md names every function of http.websocket and every method of WebSockets and event streams,
--- and nothing else.

local blocks = require "spec.docs.blocks"

local has, websocket = pcall(require, "http.websocket")
if not has then return pending("built without HTTP") end
local web = require "http.web"

local text = blocks.read("docs/reference/websocket.md")

local function named(pattern)
  local names = {}
  for span in text:gmatch("`([^`\n]+)`") do
    local name = span:match(pattern)
    if name then names[name] = true end
  end
  return names
end

local function same(there, documented, what)
  for name in pairs(there) do
    if type(name) == "string" and not name:find("^_") then assert(documented[name], what .. name .. " is not documented") end
  end
  for name in pairs(documented) do assert(there[name] ~= nil, "there is no " .. what .. name) end
end

describe("docs/reference/websocket.md", function()
  it("names what http.websocket has", function() same(websocket, named("^websocket%.([%a_]+)"), "websocket.") end)

  it("names the methods of a WebSocket", function()
    local documented = named("^ws:([%a_]+)%(")
    for name in pairs(websocket.methods) do assert(documented[name] or name:find("^_"), "ws:" .. name .. " is not documented") end
    for name in pairs(documented) do assert(web.WebSocketResponse[name], "there is no ws:" .. name) end
  end)

  it("names the methods of an event stream", function()
    for name in pairs(named("^events:([%a_]+)%(")) do assert(web.EventSourceResponse[name], "there is no events:" .. name) end
    for name in pairs(web.EventSourceResponse) do
      if type(name) == "string" and type(web.EventSourceResponse[name]) == "function" and not name:find("^_")
        and rawget(web.EventSourceResponse, name) and name ~= "new" and name ~= "extend" and name ~= "write_eof" then
        assert(named("^events:([%a_]+)%(")[name], "events:" .. name .. " is not documented")
      end
    end
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
