--- Making connections: what a sandbox has to say, what errors say, and that nothing is left of what fails.

local asyncio = require "asyncio"
local core = require "asyncio.core"
local helper = require "spec.helper"
local http = require "http"
local proxies = require "spec.http.client.proxies"

local function failed(session, url, opts)
  return helper.raises(asyncio.Exception, function() await(session:get(url, opts)) end)
end

describe("in a sandbox", function()
  local script = [[
    local asyncio = require "asyncio"
    local http = require "http"
    local session <close> = http.ClientSession { trust_env = true }
    local unix <close> = http.ClientSession { connector = http.UnixConnector "/tmp/no.sock" }
    for _, row in ipairs {
      { session, "http://127.0.0.1:9/" }, { session, "http://localhost:9/" }, { session, "http://a.test/", "http://127.0.0.1:9" },
      { session, "http://a.test/", "socks5h://127.0.0.2:9" }, { unix, "http://a.test/" },
    } do
      local ok, err = pcall(function() await(row[1]:get(row[2], { proxy = row[3] })) end)
      print(err.name, err.permission)
    end]]

  it("connections and look-ups are refused, as those of streams are", function()
    local path = helper.tmpfile(script, ".lua")
    local status, out, err = helper.cli({ "--sandbox", path })
    assert.same({ 0, "" }, { status, err })
    assert.equal([[
PermissionError	net=127.0.0.1:9
PermissionError	net=localhost
PermissionError	net=127.0.0.1:9
PermissionError	net=127.0.0.2:9
PermissionError	net=unix:/tmp/no.sock
]], out)
    status, out = helper.cli({ "--allow-net=127.0.0.1:9", path })
    assert.equal(0, status)
    assert.truthy(out:find("^ClientConnectorError"), out)
    assert.truthy(out:find("\nClientProxyConnectionError.*\nPermissionError\tnet=127.0.0.2:9\n"), out)
  end)
end)

describe("a connection that cannot be made", function()
  it("says where to and why", function()
    asyncio.run(function()
      local port = helper.unused_port()
      local session <close> = http.ClientSession()
      local e = failed(session, ("http://user:secret@127.0.0.1:%d/path?q"):format(port))
      assert.equal(("ClientConnectorError: GET http://127.0.0.1:%d/path?q: Cannot connect to host 127.0.0.1:%d " ..
        "[connection refused]"):format(port, port), tostring(e))
      assert.same({ "127.0.0.1", port, "ECONNREFUSED", "connection refused" }, { e.host, e.port, e.code, e.reason })
      assert.is_true(asyncio.isinstance(e.os_error, asyncio.OSError))
      e = failed(session, ("http://[::1]:%d/"):format(port))
      assert.truthy(tostring(e):find(("Cannot connect to host [::1]:%d ["):format(port), 1, true), tostring(e))
      e = failed(session, ("https://127.0.0.1:%d/"):format(port), { ssl = false })
      assert.truthy(tostring(e):find(("127.0.0.1:%d ssl:False [connection refused]"):format(port), 1, true), tostring(e))
      e = failed(session, "http://a.test/", { proxy = ("http://user:secret@127.0.0.1:%d"):format(port) })
      assert.is_nil(tostring(e):find("secret", 1, true))
      assert.truthy(tostring(e):find(("Cannot connect to proxy 127.0.0.1:%d [connection refused]"):format(port), 1, true))
    end)
  end)

  it("leaves no handle", function()
    asyncio.run(function()
      local _proxy <close>, port = proxies.socks { status = 5 }
      local session <close> = http.ClientSession()
      local dead = helper.unused_port()
      failed(session, ("http://127.0.0.1:%d/"):format(dead))
      helper.turn(5)
      local before = core.stats().handles
      for _ = 1, 30 do
        failed(session, ("http://127.0.0.1:%d/"):format(dead))
        failed(session, "http://a.test/", { proxy = "socks5h://127.0.0.1:" .. port })
      end
      assert.is_true(helper.eventually(function() return core.stats().handles <= before + 1 end))
    end)
  end)
end)
