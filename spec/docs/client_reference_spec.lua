--- docs/reference/client.md names what http has, the methods of sessions and responses, their options, and nothing else.

local blocks = require "spec.docs.blocks"

local has, http = pcall(require, "http")
if not has or not pcall(require, "http.client.core") then return pending("built without HTTP") end

local text = blocks.read("docs/reference/client.md")
local missing = blocks.missing

local function named(pattern) return blocks.named(text, pattern) end

local function fields(class) return blocks.public(class.__get) end

local function rows(text_part)
  local names = {}
  for row in text_part:gmatch("\n| (`[^|]*)|") do
    for name in row:gmatch("`([%w_]+)`") do names[name] = true end
  end
  return names
end

describe("docs/reference/client.md", function()
  it("names every export of http", function()
    local documented = named("^http%.([%a_]+)")
    assert.same({}, missing(documented, http))
    local exports = {}
    for name in pairs(http) do exports[name] = true end
    for name in pairs(named("^http%.websocket%.([%a_]+)")) do exports[name] = nil end
    -- these have pages of their own
    for _, name in ipairs { "WSMsgType", "WSCloseCode", "WSMessage", "WebSocketError", "MultiDict", "Headers" } do
      exports[name] = nil
    end
    assert.same({}, missing(exports, documented))
  end)

  it("names the methods and fields of sessions and responses", function()
    local session, response = http.ClientSession, http.ClientResponse
    for object, class in pairs { session = session, resp = response } do
      local methods, documented = blocks.functions(class), named("^" .. object .. ":([%a_]+)%(")
      methods.new, methods.extend = nil, nil
      assert.same({}, missing(methods, documented))
      assert.same({}, missing(documented, methods))
      for name in pairs(fields(class)) do
        assert(text:find("`" .. name .. "`", 1, true) or text:find("`" .. object .. "." .. name .. "`", 1, true), name)
      end
    end
  end)

  it("names every option", function()
    local options = rows(text:match("## ClientSession(.-)### A request's options"))
    for _, name in ipairs(http.ClientSession.OPTIONS) do assert(options[name], name) end
    assert.same({}, missing(options, (function()
      local all = {}
      for _, name in ipairs(http.ClientSession.OPTIONS) do all[name] = true end
      return all
    end)()))
    options = rows(text:match("### A request's options(.-)\n## "))
    local known = {}
    for _, name in ipairs(require("http.client.request").OPTIONS) do known[name] = true end
    assert.same({}, missing(known, options))
    assert.same({}, missing(options, known))
  end)

  it("names every option of connectors", function()
    local known = {}
    for _, name in ipairs(require("http.client.connector").OPTIONS) do known[name] = true end
    local options = rows(text:match("## Connections(.-)\n### TLS"))
    assert.same({}, missing(known, options))
    assert.same({}, missing(options, known))
  end)
end)
