-- HTTP/2 with other people's clients: curl, nghttp, h2load.
local asyncio = require "asyncio"
local certs = require "spec.certs"
local core = require "http.core"
local helper = require "spec.helper"
local json = require "json"
local peers = require "spec.http.peers"

if not core.Exchange2 then return end -- built without nghttp2

local CURL = { "-s", "-S", "--max-time", "30" }

local function curl(...)
  local args = table.move(CURL, 1, #CURL, 1, {})
  return peers.run("curl", table.unpack(table.move({ ... }, 1, select("#", ...), #args + 1, args)))
end

describe("curl", function()
  it("speaks HTTP/2 over TLS, by ALPN", function()
    peers.serve(function(server)
      local base = ("https://localhost:%d"):format(server.port)
      local function get(path, ...)
        return (curl("--http2", "--cacert", certs.path "root.pem", base .. path, ...))
      end
      assert.equal("hello", get("/"))
      local about = json.decode(get("/about?q=a%20b", "-H", "Cookie: c=d"))
      assert.same({ "2.0", "https", "a b", "d" }, { about.version, about.scheme, about.query, about.cookies.c })
      assert.equal(peers.sum(peers.digits(1000000)), peers.sum(get("/digits/1000000")))
      assert.equal("line 1\nline 2\nline 3\n", get("/stream/3"))
      assert.same({ a = "1", b = { "2", "3" } }, json.decode(get("/form", "-d", "a=1&b=2&b=3")))
      assert.equal("404 2", get("/nothing", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"))
      assert.equal("500 2", get("/error", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"))
      assert.equal("1.1", json.decode(get("/about", "--http1.1")).version)
    end, { ssl = certs.server() })
  end)

  it("speaks HTTP/2 by prior knowledge, where others speak HTTP/1.1", function()
    peers.serve(function(server)
      local base = ("http://127.0.0.1:%d"):format(server.port)
      local function get(path, ...) return (curl("--http2-prior-knowledge", base .. path, ...)) end
      assert.equal("2.0", json.decode(get "/about").version)
      assert.equal("1.1", json.decode((curl(base .. "/about"))).version)
      -- an upgrade is not asked for by anybody but curl: it is answered by HTTP/1.1
      assert.equal("1.1", json.decode((curl("--http2", base .. "/about"))).version)
      local head = get("/digits/5", "-I")
      assert.truthy(head:find("content-length: 5", 1, true))
      assert.equal("HTTP/2 200", head:match("^[^\r\n]-%d%d%d"))
    end)
  end)

  it("uploads much, with Expect or without", function()
    local body = peers.digits(3000000)
    peers.serve(function(server)
      local base = ("http://127.0.0.1:%d"):format(server.port)
      for _, expect in ipairs { "Expect:", "Expect: 100-continue" } do
        local back = curl("--http2-prior-knowledge", "-H", expect, "--data-binary", "@-", base .. "/echo", { stdin = body })
        assert.is_true(back == body)
      end
      local status = curl("--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-",
        base .. "/echo", { stdin = peers.digits(9 << 20) })
      assert.equal("413", status)
    end)
  end)

  it("asks for files: whole, in part, and what it has already", function()
    local folder = os.tmpname()
    os.remove(folder)
    helper.sh("mkdir -p " .. folder)
    helper.finally(helper.sh, "rm -rf " .. folder)
    local f <close> = assert(io.open(folder .. "/a.txt", "wb"))
    f:write(peers.digits(700000))
    f:close()
    peers.serve(function(server)
      local url = ("http://127.0.0.1:%d/files/a.txt"):format(server.port)
      local function get(...) return (curl("--http2-prior-knowledge", url, ...)) end
      assert.is_true(get() == peers.digits(700000))
      assert.equal("3456", get("-r", "3-6"))
      local etag = get("-I"):lower():match("etag: ([^\r\n]+)")
      assert.equal("304", get("-o", "/dev/null", "-w", "%{http_code}", "-H", "If-None-Match: " .. etag))
    end, { folder = folder })
  end)
end)

if helper.sh("command -v nghttp h2load") == 0 then
  describe("nghttp", function()
    it("gets several at once on one connection", function()
      peers.serve(function(server)
        local urls = {}
        for i = 1, 40 do urls[i] = ("http://127.0.0.1:%d/digits/%d"):format(server.port, i) end
        urls[41] = ("http://127.0.0.1:%d/slow"):format(server.port)
        local out = peers.run("nghttp", table.unpack(urls))
        assert.equal(820 + 4, #out)
      end)
    end)

    it("uploads, and reads the trailers of others", function()
      peers.serve(function(server)
        local out = peers.run("nghttp", "-d", "/etc/services", ("http://127.0.0.1:%d/echo"):format(server.port))
        local f <close> = assert(io.open("/etc/services", "rb"))
        assert.equal(f:read("a"), out)
      end)
    end)
  end)

  describe("h2load", function()
    it("has thousands of requests answered, and settings of all kinds", function()
      peers.serve(function(server)
        local base = ("http://127.0.0.1:%d"):format(server.port)
        local function all(n, path, ...)
          local out = peers.run("h2load", "-n", n, "--connection-active-timeout", 60, ...)
          assert.equal(n, tonumber(out:match("(%d+) succeeded")), path)
        end
        all(3000, "/", "-c", 10, "-m", 32, base .. "/")
        all(300, "/", "-c", 1, "-m", 100, base .. "/slow")
        all(60, "/digits", "-c", 2, "-m", 10, "-w", 10, "-W", 12, base .. "/digits/100000") -- windows of 1 and 4 KiB
        all(200, "/echo", "-c", 4, "-m", 10, "-d", "/etc/services", base .. "/echo")
        all(200, "/", "-c", 5, "-m", 10, "--header-table-size", 0, "--encoder-header-table-size", 0, base .. "/about")
      end)
    end)

    it("over TLS", function()
      peers.serve(function(server)
        local out = peers.run("h2load", "-n", 1000, "-c", 5, "-m", 20, ("https://localhost:%d/"):format(server.port))
        assert.truthy(out:find("1000 succeeded, 0 failed", 1, true), out)
      end, { ssl = certs.server() })
    end)
  end)
else
  pending("nghttp and h2load: nghttp2-client is not installed")
end

describe("an access log", function()
  it("tells of HTTP/2", function()
    local lines = {}
    local testing = require "http.testing"
    asyncio.run(async(function()
      local server <close> = testing.TestServer(peers.application(), { access_log = function(line) lines[#lines + 1] = line end })
      await(server:start_server())
      curl("--http2-prior-knowledge", ("http://127.0.0.1:%d/digits/7"):format(server.port))
    end)())
    assert.equal(1, #lines)
    assert.truthy(lines[1]:find('"GET /digits/7 HTTP/2.0" 200 7 ', 1, true), lines[1])
  end)
end)
