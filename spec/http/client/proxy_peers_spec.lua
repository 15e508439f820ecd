--- Proxies as people run them: tinyproxy (HTTP and CONNECT) and microsocks (SOCKS 5), both from Debian.

local helper = require "spec.helper"

local asyncio = require "asyncio"
local http = require "http"
local proxies = require "spec.http.client.proxies"

local has_tls = helper.has_tls()
local certs = has_tls and require "spec.certs"

local function found(program) return (helper.sh("command -v " .. program)) == 0 end

local serve = proxies.origin

local function get(session, url, opts)
  local resp <close> = await(session:get(url, opts))
  return resp.status, await(resp:text())
end

describe("tinyproxy", function()
  if not found("tinyproxy") then return pending("tinyproxy is not installed") end

  local function proxied(lines, f)
    local port = helper.unused_port()
    local config = helper.tmpfile(("Port %d\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\n%s\n"):format(port, lines))
    helper.background(("tinyproxy -d -c %s"):format(config))
    helper.wait_port(port)
    asyncio.run(function() f(("127.0.0.1:%d"):format(port)) end)
  end

  it("passes on requests, and tunnels", function()
    proxied("BasicAuth user secret", function(proxy)
      local _plain <close>, port = serve()
      local _secret <close>, sport = serve(has_tls and { ssl = certs.server() } or nil)
      local session <close> = http.ClientSession { ssl = has_tls and certs.client() or nil }
      local with = { proxy = "http://user:secret@" .. proxy }
      local url = ("http://127.0.0.1:%d/a?b"):format(port)
      for _ = 1, 3 do
        local status, text = get(session, url, with)
        assert.equal(200, status)
        assert.truthy(text:find("^GET /a%?b HTTP/1%.[01]$"), text)
      end
      local refused = { [401] = true, [407] = true } -- which one depends on whether it was asked for a tunnel
      assert.truthy(refused[get(session, url, { proxy = "http://" .. proxy })])
      assert.truthy(refused[get(session, url, { proxy = "http://user:wrong@" .. proxy })])
      assert.truthy((get(session, ("http://127.0.0.1:%d/"):format(helper.unused_port()), with)) >= 500)
      if not has_tls then return end
      url = ("https://localhost:%d/x"):format(sport)
      for _ = 1, 2 do assert.same({ 200, "GET /x HTTP/1.1" }, { get(session, url, with) }) end
      local e = helper.raises(http.ClientHttpProxyError, get, session, url, { proxy = "http://" .. proxy })
      assert.truthy(refused[e.status], e.status)
      e = helper.raises(http.ClientError, get, session, ("https://localhost:%d/"):format(helper.unused_port()), with)
      assert.truthy(tostring(e):find("GET https://localhost", 1, true), tostring(e))
    end)
  end)

  it("may not let us connect to a port", function()
    if not has_tls then return end
    proxied("ConnectPort 1", function(proxy)
      local session <close> = http.ClientSession()
      local e = helper.raises(http.ClientHttpProxyError, get, session, "https://localhost:2/", { proxy = "http://" .. proxy })
      assert.equal(403, e.status)
    end)
  end)
end)

describe("microsocks", function()
  if not found("microsocks") then return pending("microsocks is not installed") end

  it("leads to servers, with user and password or without", function()
    for _, login in ipairs { "", "user:secret@" } do
      local pport = helper.unused_port()
      helper.background(("microsocks -i 127.0.0.1 -p %d %s"):format(pport, login ~= "" and "-u user -P secret" or ""))
      helper.wait_port(pport)
      asyncio.run(function()
        local _plain <close>, port = serve()
        local _secret <close>, sport = serve(has_tls and { ssl = certs.server() } or nil)
        local session <close> = http.ClientSession { ssl = has_tls and certs.client() or nil }
        -- microsocks goes to the first address of a name alone, where the servers may not be
        local first = await(asyncio.get_running_loop():getaddrinfo("localhost", 80, { type = "stream" }))[1].address[1]
        for _, scheme in ipairs(first == "127.0.0.1" and { "socks5", "socks5h" } or { "socks5" }) do
          local with = { proxy = ("%s://%s127.0.0.1:%d"):format(scheme, login, pport) }
          assert.same({ 200, "GET / HTTP/1.1" }, { get(session, ("http://localhost:%d/"):format(port), with) })
          local e = helper.raises(http.ClientProxyConnectionError, get, session,
            ("http://127.0.0.1:%d/"):format(helper.unused_port()), with)
          assert.truthy(e.message:find("connection refused", 1, true), e.message)
          if has_tls then
            assert.same({ 200, "GET / HTTP/1.1" }, { get(session, ("https://localhost:%d/"):format(sport), with) })
          end
        end
        if login == "" then return end
        local bare = { proxy = "socks5://127.0.0.1:" .. pport }
        local e = helper.raises(http.ClientProxyConnectionError, get, session, ("http://localhost:%d/"):format(port), bare)
        assert.truthy(e.message:find("wants a user and a password", 1, true), e.message)
        bare.proxy_auth = http.BasicAuth("user", "wrong")
        e = helper.raises(http.ClientProxyConnectionError, get, session, ("http://localhost:%d/"):format(port), bare)
        assert.truthy(e.message:find("did not accept", 1, true), e.message)
      end)
    end
  end)
end)
