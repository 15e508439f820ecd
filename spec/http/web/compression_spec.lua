--- Compressed responses, and requests whose bodies are.

local client = require "spec.http.client"
local helper = require "spec.helper"
local testing = require "http.testing"
local web = require "http.web"

if not pcall(require, "zlib") or not pcall(require, "brotli") then return end
local zlib, brotli = require "zlib", require "brotli"

local TEXT = ("some text that is worth it; "):rep(200)

local function with(routes, f, opts)
  helper.run_with_loop(function()
    local app = web.Application(opts)
    app:add_routes(routes)
    local server <close> = testing.TestServer(app)
    await(server:start_server())
    f(function(method, target, headers, body) return client.request(server.port, method, target, headers, body) end)
  end)
end

local function decoded(r)
  local coding = r.headers["content-encoding"]
  if coding == "gzip" then return zlib.decompress(r.body, 31) end
  if coding == "deflate" then return zlib.decompress(r.body, 15) end
  if coding == "br" then return brotli.decompress(r.body) end
  return r.body
end

describe("enable_compression", function()
  it("encodes a body as the client likes it, and says so", function()
    with({ web.get("/", function()
      local r = web.Response { text = TEXT }
      r:enable_compression()
      return r
    end) }, function(request)
      for accept, coding in pairs { gzip = "gzip", deflate = "deflate", ["gzip, br"] = "br", ["br;q=0.1, gzip;q=0.5"] = "gzip" } do
        local r = request("GET", "/", { ["Accept-Encoding"] = accept })
        assert.equal(coding, r.headers["content-encoding"])
        assert.equal(TEXT, decoded(r))
        assert.equal("Accept-Encoding", r.headers.vary)
        assert.equal(tostring(#r.body), r.headers["content-length"])
      end
      for _, accept in ipairs { "identity", "gzip;q=0", "zstd" } do
        local r = request("GET", "/", { ["Accept-Encoding"] = accept })
        assert.same({ nil, TEXT, "Accept-Encoding" }, { r.headers["content-encoding"], r.body, r.headers.vary })
      end
      assert.equal(TEXT, request("GET", "/").body)
    end)
  end)

  it("can be forced, and left", function()
    with({ web.get("/{how}", function(request)
      local r = web.Response { text = TEXT, headers = { Vary = "Origin", ETag = '"v1"' } }
      r:enable_compression(request.match_info.how ~= "any" and request.match_info.how or nil)
      return r
    end) }, function(request)
      for _, coding in ipairs { "gzip", "deflate", "br" } do
        local r = request("GET", "/" .. coding)
        assert.equal(coding, r.headers["content-encoding"])
        assert.equal(TEXT, decoded(r))
        assert.equal('W/"v1"', r.headers.etag)
      end
      local r = request("GET", "/identity", { ["Accept-Encoding"] = "gzip" })
      assert.same({ nil, '"v1"' }, { r.headers["content-encoding"], r.headers.etag })
      r = request("GET", "/any", { ["Accept-Encoding"] = "gzip" })
      assert.equal("Origin, Accept-Encoding", r.headers.vary)
    end)
    for name, coding in pairs(web.ContentCoding) do
      assert.equal(name, coding)
      web.Response {}:enable_compression(coding)
    end
    helper.raises("gzip, deflate, br or identity", function() web.Response {}:enable_compression("lzma") end)
  end)

  it("leaves alone what is encoded, partial, short, or not to be transformed", function()
    with({ web.get("/{what}", function(request)
      local what = request.match_info.what
      local r = web.Response { text = what == "short" and "hi" or TEXT, headers = what == "coded" and { ["Content-Encoding"] = "zstd" }
        or what == "part" and { ["Content-Range"] = "bytes 0-1/2" } or what == "kept" and { ["Cache-Control"] = "no-transform" } or nil }
      if what == "part" then r.status = 206 end
      if what == "empty" then r.text = "" end
      r:enable_compression()
      return r
    end) }, function(request)
      for _, what in ipairs { "coded", "part", "kept", "short", "empty" } do
        local r = request("GET", "/" .. what, { ["Accept-Encoding"] = "gzip" })
        assert.equal(what == "coded" and "zstd" or nil, r.headers["content-encoding"])
        assert.equal(what == "short" and "hi" or what == "empty" and "" or TEXT, r.body)
      end
    end)
  end)

  it("encodes each answer anew where a response is returned many times", function()
    local kept = web.Response { text = TEXT }
    kept:enable_compression()
    with({ web.get("/", function() return kept end) }, function(request)
      for _, accept in ipairs { "gzip", "br", "identity", "gzip" } do
        local r = request("GET", "/", { ["Accept-Encoding"] = accept })
        assert.equal(accept ~= "identity" and accept or nil, r.headers["content-encoding"])
        assert.equal(TEXT, decoded(r))
      end
    end)
  end)

  it("encodes streams, each piece of which arrives", function()
    with({ web.get("/", function(request)
      local r = web.StreamResponse()
      r.content_length = 7
      r:enable_compression()
      await(r:prepare(request))
      for i = 1, 3 do await(r:write("piece " .. i .. ";")) end
      return r
    end) }, function(request)
      for _, accept in ipairs { "gzip", "br" } do
        local r = request("GET", "/", { ["Accept-Encoding"] = accept })
        assert.equal("piece 1;piece 2;piece 3;", decoded(r))
        assert.equal("chunked", r.headers["transfer-encoding"])
        assert.is_nil(r.headers["content-length"])
      end
    end)
  end)
end)

describe("a request's body", function()
  local routes = {
    web.post("/text", function(request) return web.Response { text = await(request:text()) } end),
    web.post("/form", function(request) return web.Response { text = await(request:post()).name or "nothing" } end),
    web.post("/stream", function(request)
      local n = 0
      while true do
        local data = await(request.content:read(1000))
        if not data then break end
        n = n + #data
      end
      return web.Response { text = tostring(n) }
    end),
  }

  it("is decoded", function()
    with(routes, function(request)
      for coding, data in pairs { gzip = zlib.compress(TEXT, { wbits = 31 }), deflate = zlib.compress(TEXT), br = brotli.compress(TEXT, { quality = 3 }),
        ["gzip, br"] = brotli.compress(zlib.compress(TEXT, { wbits = 31 }), { quality = 3 }), identity = TEXT, ["GZIP"] = zlib.compress(TEXT, { wbits = 31 }) } do
        assert.equal(TEXT, request("POST", "/text", { ["Content-Encoding"] = coding }, data).body, coding)
        assert.equal(tostring(#TEXT), request("POST", "/stream", { ["Content-Encoding"] = coding }, data).body)
      end
      local form = { ["Content-Encoding"] = "gzip", ["Content-Type"] = "application/x-www-form-urlencoded" }
      assert.equal("moon loop", request("POST", "/form", form, zlib.compress("name=moon+loop", { wbits = 31 })).body)
    end)
  end)

  it("is refused if it is no such coding, or one that nobody knows", function()
    with(routes, function(request)
      assert.equal(400, request("POST", "/text", { ["Content-Encoding"] = "gzip" }, "no gzip").status)
      assert.equal(400, request("POST", "/text", { ["Content-Encoding"] = "gzip" }, zlib.compress(TEXT, { wbits = 31 }):sub(1, -2)).status)
      local r = request("POST", "/text", { ["Content-Encoding"] = "zstd" }, "x")
      assert.equal(415, r.status)
      assert.equal("gzip, deflate, br", r.headers["accept-encoding"])
    end)
  end)

  it("is refused if it is too long when it is decoded: bombs cost nothing", function()
    with(routes, function(request)
      local bomb = zlib.compress(("\0"):rep(5000000), { wbits = 31 })
      assert.equal(413, request("POST", "/text", { ["Content-Encoding"] = "gzip" }, bomb).status)
      assert.equal(413, request("POST", "/text", { ["Content-Encoding"] = "gzip, gzip" }, zlib.compress(bomb, { wbits = 31 })).status)
      assert.equal("5000000", request("POST", "/stream", { ["Content-Encoding"] = "gzip" }, bomb).body)
      local empty = ("\0\0\0\255\255"):rep(40000) -- blocks of deflate that have nothing in them
      assert.equal(413, request("POST", "/text", { ["Content-Encoding"] = "deflate" }, "\120\156" .. empty).status)
    end, { client_max_size = 100000 })
  end)
end)
