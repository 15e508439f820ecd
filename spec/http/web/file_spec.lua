--- FileResponse: content, conditions, ranges, compressed siblings, what cannot be opened.

local asyncio = require "asyncio"
local client = require "spec.http.client"
local helper = require "spec.helper"
local testing = require "http.testing"
local web = require "http.web"

local function write(path, data)
  local f <close> = assert(io.open(path, "wb"))
  f:write(data)
end

local big = {}
for i = 1, 30000 do big[i] = ("%08d\n"):format(i) end
big = table.concat(big) -- 270,000 bytes: more than is read at once

--- Runs f(get, dir) with a server that sends dir's files; get(name, headers, method).
local function with_files(f, respond)
  local dir = helper.tmpdir()
  write(dir .. "/a.txt", "0123456789")
  write(dir .. "/big.txt", big)
  write(dir .. "/empty", "")
  helper.run_with_loop(function()
    local app = web.Application()
    local function handler(request)
      local response = web.FileResponse(dir .. "/" .. request.match_info.name)
      return respond and respond(response, request) or response
    end
    app:add_routes { web.get("/{name}", handler), web.post("/{name}", handler) }
    local server <close> = testing.TestServer(app)
    await(server:start_server())
    f(function(name, headers, method) return client.request(server.port, method or "GET", "/" .. name, headers) end, dir)
  end)
end

describe("FileResponse", function()
  it("sends a file with its type, its tag and its date", function()
    with_files(function(get)
      for name, content in pairs { ["a.txt"] = "0123456789", ["big.txt"] = big, ["empty"] = "" } do
        local r = get(name)
        assert.equal(200, r.status)
        assert.equal(content, r.body)
        assert.equal(tostring(#content), r.headers["content-length"])
        assert.equal("bytes", r.headers["accept-ranges"])
        assert.equal(name == "empty" and "application/octet-stream" or "text/plain; charset=utf-8", r.headers["content-type"])
        assert.truthy(r.headers["etag"]:find('^"%x+%-%x+"$'))
        assert.truthy(r.headers["last-modified"]:find(" GMT$"))
        local head = get(name, nil, "HEAD")
        assert.equal("", head.body)
        assert.equal(200, head.status)
        for _, field in ipairs { "content-length", "content-type", "etag", "last-modified" } do
          assert.equal(r.headers[field], head.headers[field])
        end
      end
    end)
  end)

  it("answers conditions with 304 and 412", function()
    with_files(function(get)
      local r = get("a.txt")
      local etag, date = r.headers.etag, r.headers["last-modified"]
      for _, name in ipairs { "GET", "HEAD" } do
        r = get("a.txt", { ["If-None-Match"] = etag }, name)
        assert.equal(304, r.status)
        assert.equal("", r.body)
        assert.equal(etag, r.headers.etag)
        assert.is_nil(r.headers["content-length"])
        assert.equal(304, get("a.txt", { ["If-Modified-Since"] = date }, name).status)
      end
      assert.equal(200, get("a.txt", { ["If-None-Match"] = '"other"', ["If-Modified-Since"] = date }).status)
      assert.equal("0123456789", get("a.txt", { ["If-None-Match"] = '"other"' }).body)
      assert.equal(412, get("a.txt", { ["If-Match"] = '"other"' }).status)
      assert.equal(200, get("a.txt", { ["If-Match"] = etag }).status)
      assert.equal(412, get("a.txt", { ["If-Unmodified-Since"] = "Sun, 06 Nov 1994 08:49:37 GMT" }).status)
      assert.equal(412, get("a.txt", { ["If-None-Match"] = "*" }, "POST").status)
      assert.equal(304, get("a.txt", { ["If-None-Match"] = '"x"\r\nIf-None-Match: ' .. etag }).status)
      assert.equal(200, get("a.txt", { Range = "bytes=0-1\r\nRange: bytes=2-3" }).status)
    end)
  end)

  it("sends one range", function()
    with_files(function(get)
      for range, want in pairs { ["0-0"] = { "0", "0-0" }, ["2-4"] = { "234", "2-4" }, ["7-"] = { "789", "7-9" }, ["-2"] = { "89", "8-9" },
        ["5-100"] = { "56789", "5-9" } } do
        local r = get("a.txt", { Range = "bytes=" .. range })
        assert.equal(206, r.status)
        assert.equal(want[1], r.body)
        assert.equal("bytes " .. want[2] .. "/10", r.headers["content-range"])
        assert.equal(tostring(#want[1]), r.headers["content-length"])
      end
      local r = get("big.txt", { Range = "bytes=100000-200000" })
      assert.equal(big:sub(100001, 200001), r.body)
      r = get("a.txt", { Range = "bytes=2-4" }, "HEAD")
      assert.equal(200, r.status)
      assert.equal("10", r.headers["content-length"])
      assert.equal(200, get("a.txt", { Range = "bytes=2-4" }, "POST").status)
    end)
  end)

  it("refuses ranges that there are not with 416, and ignores what is no range", function()
    with_files(function(get)
      local r = get("a.txt", { Range = "bytes=10-" })
      assert.equal(416, r.status)
      assert.equal("bytes */10", r.headers["content-range"])
      assert.equal("", r.body)
      assert.equal(200, get("a.txt", { Range = "bytes=5-2" }).status)
      assert.equal(200, get("a.txt", { Range = "lines=1-2" }).status)
      assert.equal(200, get("empty", { Range = "bytes=0-" }).status)
    end)
  end)

  it("sends several ranges as parts", function()
    with_files(function(get)
      for name, list in pairs { ["a.txt"] = { { 0, 0 } }, ["big.txt"] = { { 200000, 200009 }, { 5, 9 }, { 269990, 269999 } } } do
        local specs = {}
        for i, r in ipairs(list) do specs[i] = r[1] .. "-" .. r[2] end
        local r = get(name, { Range = "bytes=" .. table.concat(specs, ", ") })
        assert.equal(206, r.status)
        assert.equal(#r.body, tonumber(r.headers["content-length"]))
        if #list > 1 then
          local boundary = r.headers["content-type"]:match("^multipart/byteranges; boundary=(%x+)$")
          local rest = r.body
          for _, range in ipairs(list) do
            local head, from = rest:match("^\r?\n?%-%-" .. boundary .. "\r\n(.-)\r\n\r\n()")
            assert.truthy(head:find(("Content-Range: bytes %d-%d/270000"):format(range[1], range[2]), 1, true))
            assert.truthy(head:find("Content-Type: text/plain; charset=utf-8", 1, true))
            local n = range[2] - range[1] + 1
            assert.equal(big:sub(range[1] + 1, range[2] + 1), rest:sub(from, from + n - 1))
            rest = rest:sub(from + n)
          end
          assert.equal("\r\n--" .. boundary .. "--\r\n", rest)
        end
      end
    end)
  end)

  it("looks at If-Range before it sends a part", function()
    with_files(function(get)
      local r = get("a.txt")
      local etag, date = r.headers.etag, r.headers["last-modified"]
      assert.equal(206, get("a.txt", { Range = "bytes=0-1", ["If-Range"] = etag }).status)
      assert.equal(206, get("a.txt", { Range = "bytes=0-1", ["If-Range"] = date }).status)
      assert.equal(200, get("a.txt", { Range = "bytes=0-1", ["If-Range"] = '"old"' }).status)
      assert.equal(200, get("a.txt", { Range = "bytes=0-1", ["If-Range"] = "W/" .. etag }).status)
      assert.equal("0123456789", get("a.txt", { Range = "bytes=50-", ["If-Range"] = '"old"' }).body)
    end)
  end)

  it("prefers a compressed sibling that is not older", function()
    with_files(function(get, dir)
      write(dir .. "/a.txt.gz", "gzipped")
      write(dir .. "/a.txt.br", "brotlied")
      local r = get("a.txt", { ["Accept-Encoding"] = "gzip" })
      assert.same({ "gzipped", "gzip", "Accept-Encoding" }, { r.body, r.headers["content-encoding"], r.headers.vary })
      assert.equal("text/plain; charset=utf-8", r.headers["content-type"])
      local etag = r.headers.etag
      r = get("a.txt", { ["Accept-Encoding"] = "gzip, br" })
      assert.same({ "brotlied", "br" }, { r.body, r.headers["content-encoding"] })
      assert.are_not.equal(etag, r.headers.etag)
      r = get("a.txt", { ["Accept-Encoding"] = "br;q=0.1, gzip;q=0.2" })
      assert.equal("gzipped", r.body)
      r = get("a.txt")
      assert.same({ "0123456789", nil, "Accept-Encoding" }, { r.body, r.headers["content-encoding"], r.headers.vary })
      assert.equal(304, get("a.txt", { ["Accept-Encoding"] = "gzip", ["If-None-Match"] = etag }).status)
      assert.equal("zip", get("a.txt", { ["Accept-Encoding"] = "gzip", Range = "bytes=1-3" }).body)
      os.execute("touch -d '2001-01-01' " .. helper.quote(dir .. "/a.txt.gz"))
      r = get("a.txt", { ["Accept-Encoding"] = "gzip" })
      assert.equal("0123456789", r.body)
      os.remove(dir .. "/a.txt")
      assert.equal(404, get("a.txt", { ["Accept-Encoding"] = "gzip, br" }).status)
    end)
  end)

  it("keeps what the script has set", function()
    with_files(function(get)
      local r = get("a.txt")
      assert.equal("text/x-mine", r.headers["content-type"])
      assert.equal('"mine"', r.headers.etag)
      assert.equal("no-store", r.headers["cache-control"])
      assert.equal("c=1; Path=/", r.headers["set-cookie"])
      assert.equal(304, get("a.txt", { ["If-None-Match"] = '"mine"' }).status)
      r = get("big.txt", { Range = "bytes=0-3" })
      assert.same({ 206, "text/x-mine", "0000" }, { r.status, r.headers["content-type"], r.body })
    end, function(response)
      response.content_type = "text/x-mine"
      response.headers["ETag"] = '"mine"'
      response.headers["Cache-Control"] = "no-store"
      response:set_cookie("c", "1")
    end)
  end)

  it("has no ranges and conditions with another status", function()
    with_files(function(get)
      local r = get("a.txt", { Range = "bytes=0-1", ["If-None-Match"] = "*" })
      assert.same({ 404, "Gone Fishing", "0123456789" }, { r.status, r.reason, r.body })
    end, function(response)
      response.status = 404
      response.reason = "Gone Fishing"
    end)
  end)

  it("is compressed on its way where that is enabled", function()
    if not pcall(require, "zlib") then return end
    local zlib = require "zlib"
    with_files(function(get)
      local r = get("big.txt", { ["Accept-Encoding"] = "gzip" })
      assert.equal("gzip", r.headers["content-encoding"])
      assert.equal(big, zlib.decompress(r.body, 31))
      assert.truthy(r.headers.etag:find('^W/"'))
      assert.equal("Accept-Encoding", r.headers.vary)
      assert.is_nil(r.headers["content-length"])
      assert.equal(304, get("big.txt", { ["Accept-Encoding"] = "gzip", ["If-None-Match"] = r.headers.etag }).status)
      r = get("a.txt", { ["Accept-Encoding"] = "gzip" })
      assert.equal("0123456789", zlib.decompress(r.body, 31))
      r = get("big.txt", { ["Accept-Encoding"] = "gzip", Range = "bytes=0-7" })
      assert.same({ 206, nil, "00000001" }, { r.status, r.headers["content-encoding"], r.body })
      r = get("big.txt")
      assert.same({ nil, "Accept-Encoding", big }, { r.headers["content-encoding"], r.headers.vary, r.body })
      r = get("big.txt", { ["Accept-Encoding"] = "gzip" }, "HEAD")
      assert.same({ "gzip", "" }, { r.headers["content-encoding"], r.body })
    end, function(response) response:enable_compression() end)
  end)

  it("can be prepared by the handler, and returned for more than one request", function()
    local kept
    with_files(function(get)
      assert.equal("0123456789", get("a.txt").body)
      assert.equal("234", get("a.txt", { Range = "bytes=2-4" }).body)
      local r = get("a.txt")
      assert.same({ 200, "0123456789" }, { r.status, r.body })
    end, function(response, request)
      kept = kept or response
      await(kept:prepare(request))
      return kept
    end)
  end)

  it("says 404 and 403 for what cannot be opened", function()
    with_files(function(get, dir)
      assert.equal(404, get("none").status)
      os.execute("mkdir " .. helper.quote(dir .. "/folder") .. "; mkfifo " .. helper.quote(dir .. "/fifo"))
      assert.equal(403, get("folder").status)
      assert.equal(403, get("fifo").status)
      assert.equal(404, get(("n"):rep(300)).status)
    end)
  end)

  it("refuses misuse", function()
    helper.raises(asyncio.TypeError, web.FileResponse)
    helper.raises(asyncio.ValueError, web.FileResponse, "a\0b")
    helper.raises(asyncio.TypeError, web.FileResponse, "a", { size = 1 })
    helper.raises(asyncio.ValueError, web.FileResponse, "a", { chunk_size = 0 })
    helper.raises(asyncio.ValueError, web.FileResponse, "a", { status = 42 })
  end)
end)
