--- docs/reference/forms.md and url.md name every function of their modules and classes, and nothing else.

local blocks = require "spec.docs.blocks"

local functions, missing = blocks.functions, blocks.missing

local function named(page, pattern) return blocks.named(blocks.read("docs/reference/" .. page .. ".md"), pattern) end

local multipart = require "http.multipart"
local reader = multipart.MultipartReader("multipart/mixed; boundary=b", { read = print })

describe("docs/reference/forms.md", function()
  for pattern, there in pairs {
    ["^multidict%.([%a_]+)"] = require "http.multidict",
    ["^d:([%a_]+)"] = functions(getmetatable(require("http.multidict").MultiDict())),
    ["^forms%.([%a_]+)"] = require "http.forms",
    ["^field:([%a_]+)"] = functions(require("http.forms").FileField),
    ["^multipart%.([%a_]+)"] = multipart,
    ["^reader:([%a_]+)"] = functions(getmetatable(reader)),
    ["^part:([%a_]+)"] = functions(multipart.BodyPartReader),
    ["^cookies%.([%a_]+)"] = require "http.cookies",
  } do
    it("names what there is: " .. pattern, function()
      local names = named("forms", pattern)
      assert.same({}, missing(there, names))
      assert.same({}, missing(names, there))
    end)
  end
end)

describe("docs/reference/url.md", function()
  it("names the methods of a URL", function()
    local there, names = functions(require("url").URL), named("url", "^u:([%a_]+)")
    there.build = nil
    assert.same({}, missing(there, names))
    assert.same({}, missing(names, there))
  end)

  it("names fields that are there", function()
    local u = require("url").URL("http://u:p@a:1/b.c?d=e#f")
    for line in blocks.read("docs/reference/url.md"):match("\n%- Fields:(.-)\n%- "):gmatch("`([%a_]+)`") do
      assert(u[line] ~= nil, line)
    end
  end)
end)
