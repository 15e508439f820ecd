--- docs/reference/web.md names what http.web and http.testing have, and nothing else.

local blocks = require "spec.docs.blocks"
local testing = require "http.testing"
local web = require "http.web"

local text = blocks.read("docs/reference/web.md")

local missing = blocks.missing

-- The names of code spans that begin so.
local function named(prefix) return blocks.named(text, "^" .. prefix .. "([%a_][%w_]*)") end

-- Of a class: its methods, without what all classes have.
local function methods(...)
  local names = {}
  for _, class in ipairs { ... } do
    for name in next, blocks.functions(class) do names[name] = true end
  end
  names.new, names.extend = nil, nil
  return names
end

local function getters(...)
  local names = {}
  for _, class in ipairs { ... } do
    for name in next, blocks.public(class.__get) do names[name] = true end
  end
  names.raw_query_string = nil
  return names
end

-- The parts of http.web that the page is about; the rest has pages of its own.
local parts = { "application", "routes", "response", "middlewares", "errors" }

describe("docs/reference/web.md", function()
  it("names every export of http.web", function()
    local exports = { View = true, StreamResponse = true, Request = true, UrlDispatcher = true, escape = true }
    for _, part in ipairs(parts) do
      for name, value in next, (require("http.web." .. part)) do
        assert.equal(value, web[name])
        exports[name] = true
      end
    end
    assert.same({}, missing(exports, named("web%.")))
    for name in pairs(named("web%.")) do assert(name == "run_app" or web[name] ~= nil, "web." .. name) end
  end)

  it("names every function of http.testing", function()
    assert.same({}, missing(testing, named("http%.testing%.")))
    assert.same({}, missing(named("http%.testing%."), testing))
  end)

  it("names every method", function()
    local router = methods(web.UrlDispatcher)
    for object, class in pairs {
      app = methods(web.Application), router = router, request = methods(web.Request),
      response = methods(web.StreamResponse, web.Response),
    } do
      assert.same({}, missing(class, named(object .. ":")), object)
      assert.same({}, missing(named(object .. ":"), class), object)
    end
  end)

  it("names every field", function()
    for name in pairs(getters(web.Request, web.StreamResponse, web.Response)) do
      assert(text:find("`" .. name .. "`", 1, true), name)
    end
  end)
end)
