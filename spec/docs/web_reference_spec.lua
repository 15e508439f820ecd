--- docs/reference/web.md names what http.web and http.testing have, and nothing else.

local blocks = require "spec.docs.blocks"
local testing = require "http.testing"
local web = require "http.web"

local text = blocks.read("docs/reference/web.md")

-- The names of code spans that begin so.
local function named(prefix)
  local names = {}
  for span in text:gmatch("`([^`\n]+)`") do
    local name = span:match("^" .. prefix .. "([%a_][%w_]*)")
    if name then names[name] = true end
  end
  return names
end

local function difference(a, b)
  local list = {}
  for name in pairs(a) do
    if not b[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

-- Of a class: its methods, without what all classes have.
local function methods(...)
  local names = {}
  for _, class in ipairs { ... } do
    for name, value in next, class do
      if type(value) == "function" and not name:find("^_") and name ~= "new" and name ~= "extend" then names[name] = true end
    end
  end
  return names
end

local function getters(...)
  local names = {}
  for _, class in ipairs { ... } do
    for name in next, class.__get do
      if not name:find("^_") and name ~= "raw_query_string" then names[name] = true end
    end
  end
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
    assert.same({}, difference(exports, named("web%.")))
    for name in pairs(named("web%.")) do assert(name == "run_app" or web[name] ~= nil, "web." .. name) end
  end)

  it("names every function of http.testing", function()
    local exports = {}
    for name in next, testing do exports[name] = true end
    assert.same({}, difference(exports, named("http%.testing%.")))
    assert.same({}, difference(named("http%.testing%."), exports))
  end)

  it("names every method", function()
    local router = methods(web.UrlDispatcher)
    for object, class in pairs {
      app = methods(web.Application), router = router, request = methods(web.Request),
      response = methods(web.StreamResponse, web.Response),
    } do
      assert.same({}, difference(class, named(object .. ":")), object)
      assert.same({}, difference(named(object .. ":"), class), object)
    end
  end)

  it("names every field", function()
    for name in pairs(getters(web.Request, web.StreamResponse, web.Response)) do
      assert(text:find("`" .. name .. "`", 1, true), name)
    end
  end)
end)
