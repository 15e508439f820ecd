local helper = require "spec.helper"

local found, psl = pcall(require, "http.psl")
if not found then return end

describe("http.psl", function()
  -- publicsuffix.org's own examples of each kind of rule
  local suffixes = { "com", "co.uk", "github.io", "kawasaki.jp", "x.kawasaki.jp", "xn--p1ai", "no-such-tld", "local" }
  local others = { "example.com", "a.b.example.com", "city.kawasaki.jp", "example.co.uk", "me.github.io", "a.no-such-tld", "www.ck" }

  it("knows what anybody can register below", function()
    for _, domain in ipairs(suffixes) do assert.is_true(psl.is_public_suffix(domain), domain) end
    for _, domain in ipairs(others) do assert.is_false(psl.is_public_suffix(domain), domain) end
  end)

  it("takes any text", function()
    for _, text in ipairs { "", ".", "..", ".com", "\xFF", ("a."):rep(5000), ("a"):rep(5000) } do
      assert.equal("boolean", type(psl.is_public_suffix(text)))
    end
    helper.raises("string expected", psl.is_public_suffix)
  end)
end)
