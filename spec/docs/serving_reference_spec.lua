--- docs/reference/serving.md names what runs applications and serves files: classes, methods, every option.

local blocks = require "spec.docs.blocks"
local web = require "http.web"

local text = blocks.read("docs/reference/serving.md")

local function span(name) return text:find("`" .. name, 1, true) ~= nil end

describe("docs/reference/serving.md", function()
  it("names every export", function()
    for _, part in ipairs { "runner", "sites", "run", "file" } do
      for name in pairs(require("http.web." .. part)) do
        if web[name] ~= nil then assert(span("web." .. name), name) end
      end
    end
    for name in text:gmatch("`web%.([%a_]+)") do assert(web[name] ~= nil, "web." .. name) end
  end)

  it("names the methods of runners and sites", function()
    for _, name in ipairs { "runner:setup()", "runner:cleanup()", "runner:shutdown()", "site:start()", "site:stop()" } do
      assert(span(name), name)
    end
    for name in text:gmatch("`runner:([%a_]+)") do assert(web.AppRunner[name], name) end
    for name in text:gmatch("`site:([%a_]+)") do assert(web.TCPSite[name], name) end
  end)

  it("names every option of runners", function()
    for _, name in ipairs(require("http.web.runner").option_names) do assert(span(name .. "`"), name) end
  end)

  it("names every option of run_app and add_static", function()
    local _, err = pcall(web.run_app, web.Application(), { nonsense = true })
    for name in tostring(err):match("expected: ([^)]+)"):gmatch("[%a_]+") do assert(span(name .. "`"), name) end
    local router = web.Application().router
    _, err = pcall(router.add_static, router, "/x", ".", { nonsense = true })
    for name in tostring(err):match("expected: ([^)]+)"):gmatch("[%a_]+") do assert(span(name .. "`"), name) end
  end)
end)
