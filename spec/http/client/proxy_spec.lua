--- Which proxy the environment asks for.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local proxies = require "spec.http.client.proxies"
local proxy = require "http.client.proxy"

describe("no_proxy", function()
  it("names hosts with all below them, addresses, networks and ports", function()
    for _, row in ipairs {
      { "example.com", "example.com", 80, true }, { "example.com", "www.example.com", 80, true },
      { "example.com", "notexample.com", 80, false }, { ".example.com", "example.com", 80, true },
      { "*.example.com", "a.b.example.com", 80, true }, { "www.example.com", "example.com", 80, false },
      { "EXAMPLE.com.", "Example.COM", 80, true }, { "example.com", "example.com.", 80, true },
      { "a, b  ,c", "b", 80, true }, { "a b", "b", 80, true }, { "*", "anything", 80, true }, { "", "a", 80, false },
      { "example.com:8080", "example.com", 8080, true }, { "example.com:8080", "example.com", 80, false },
      { "127.0.0.1", "127.0.0.1", 80, true }, { "0.0.1", "127.0.0.1", 80, false }, { "127.0.0.1:81", "127.0.0.1", 81, true },
      { "10.0.0.0/8", "10.200.3.4", 80, true }, { "10.0.0.0/8", "11.0.0.1", 80, false }, { "10.0.0.0/8", "10.example", 80, false },
      { "192.168.4.0/23", "192.168.5.9", 80, true }, { "192.168.4.0/23", "192.168.6.9", 80, false },
      { "0.0.0.0/0", "9.9.9.9", 80, true }, { "10.0.0.0/33", "10.0.0.0", 80, false }, { "10.0.0.0/x", "10.0.0.0", 80, false },
      { "::1", "::1", 80, true }, { "[::1]", "::1", 80, true }, { "[::1]:80", "::1", 81, false }, { "0:0::1", "::1", 80, true },
      { "fd00::/8", "fd12::1", 80, true }, { "fd00::/8", "10.0.0.1", 80, false }, { "fd00::/8", "fe00::1", 80, false },
      { ".", "a", 80, false }, { ":80", "a", 80, false }, { "/8", "10.0.0.1", 80, false },
    } do
      assert.equal(row[4], proxy.bypassed(row[1], row[2], row[3]), ("%s %s:%d"):format(row[1], row[2], row[3]))
    end
    assert.is_false(proxy.bypassed(nil, "a", 80))
  end)
end)

describe("the environment's proxy", function()
  --- What from_environment gives for the URL: "PROXY AUTH" or "nil".
  local function found(url, env)
    local program = [[local url, auth = require("http.client.proxy").from_environment(require("url").parse(arg[1]))
      print(tostring(url), auth and auth:encode() or "")]]
    local path = helper.tmpfile(program, ".lua")
    local all = { http_proxy = "", https_proxy = "", all_proxy = "", no_proxy = "", HTTP_PROXY = "", HTTPS_PROXY = "",
      ALL_PROXY = "", NO_PROXY = "", REQUEST_METHOD = "" }
    for k, v in pairs(env) do all[k] = v end
    local status, out, err = helper.cli({ path, url }, { env = all })
    return status == 0 and out:gsub("%s+$", "") or err
  end

  it("is chosen by the URL's scheme", function()
    local env = { http_proxy = "http://h:1", https_proxy = "http://s:2", all_proxy = "socks5://a:3" }
    assert.equal("http://h:1/", (found("http://x/", env)))
    assert.equal("http://s:2/", (found("https://x/", env)))
    assert.equal("http://s:2/", (found("wss://x/", env)))
    assert.equal("socks5://a:3/", (found("https://x/", { ALL_PROXY = "socks5://a:3" })))
    assert.equal("http://h:1/", (found("http://x/", { HTTP_PROXY = "h:1" })))
    assert.equal("nil", (found("http://x/", { https_proxy = "http://s:2" })))
  end)

  it("is not asked for hosts of no_proxy, nor of a CGI program's client", function()
    assert.equal("nil", (found("http://a.x/", { http_proxy = "http://h:1", no_proxy = "x" })))
    assert.equal("nil", (found("http://a.x/", { http_proxy = "http://h:1", NO_PROXY = "*" })))
    assert.equal("nil", (found("http://x/", { HTTP_PROXY = "http://h:1", REQUEST_METHOD = "GET" })))
    assert.equal("http://h:1/", (found("http://x/", { http_proxy = "http://h:1", REQUEST_METHOD = "GET" })))
  end)

  it("may have a user, and is told if it is none", function()
    assert.equal("http://h:1/\tBasic dTpw", (found("http://x/", { http_proxy = "http://u:p@h:1/" })))
    local e = found("http://x/", { http_proxy = "gopher://u:secret@h" })
    assert.truthy(e:find("http_proxy is no proxy's URL: 'gopher://h'", 1, true), e)
    assert.is_nil(e:find("secret", 1, true))
    assert.truthy(found("http://x/", { http_proxy = "http://[" }):find("http_proxy", 1, true))
  end)

  it("is used by sessions with trust_env, and by them alone", function()
    asyncio.run(function()
      local _proxy <close>, port = proxies.http()
      local path = helper.tmpfile([[
        local http = require "http"
        local s <close> = http.ClientSession { trust_env = arg[1] == "yes" }
        local ok, text = pcall(function()
          local r <close> = await(s:get("http://127.0.0.1:1/x"))
          return await(r:text())
        end)
        print(ok and text or text.name)]], ".lua")
      local env = {
        http_proxy = "http://127.0.0.1:" .. port, no_proxy = "", PATH = os.getenv("PATH"),
        MOONLOOP_STDLIB = os.getenv("MOONLOOP_STDLIB"),
      }
      for how, expected in pairs { yes = "GET http://127.0.0.1:1/x\n", no = "ClientConnectorError\n" } do
        local proc = await(asyncio.create_subprocess_exec(helper.moonloop, path, how, {
          stdout = asyncio.subprocess.PIPE, env = env,
        }))
        local out = await(proc:communicate())
        assert.equal(expected, out)
      end
    end)
  end)
end)
