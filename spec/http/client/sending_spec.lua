--- What requests send and remember, through sessions and against servers: bodies of every kind, cookies, credentials.

local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"
local http = require "http"
local peer = require "spec.http.client.peer"
local web = require "http.web"

local async, await = asyncio.async, asyncio.await

local function sum(s) return ("%d:%q"):format(#s, s:sub(1, 20) .. s:sub(-20)):gsub("[\128-\255]", "?") .. "" end

-- What came: its type, its length header, its coding, and the body.
local echo = web.post("/echo", async(function(request)
  local body = await(request:read())
  return web.json_response {
    type = request.headers["Content-Type"] or "", length = request.headers["Content-Length"] or "",
    transfer = request.headers["Transfer-Encoding"] or "", sum = sum(body),
  }
end))

local form = web.post("/form", async(function(request)
  local fields = {}
  for name, value in pairs(await(request:post())) do
    if type(value) == "table" then
      local file <close> = value
      value = { file.filename, file.content_type, file.size, sum(await(file:read())) }
    end
    fields[#fields + 1] = { name, value }
  end
  return web.json_response(fields)
end))

local function post(session, url, data, opts)
  opts = opts or {}
  opts.data = data
  local resp <close> = await(session:post(url, opts))
  assert.equal(200, resp.status)
  return await(resp:json())
end

describe("a request's data", function()
  it("is sent with its length when that is known", function()
    peer.serve({ echo }, nil, function(session, url)
      local path = helper.tmpfile(("file"):rep(100000))
      local file <close> = await(fs.open(path))
      for _, case in ipairs {
        { "hello", "text/plain; charset=utf-8", 5, "hello" }, { "\xFF", "application/octet-stream", 1, "\xFF" }, { "", "text/plain; charset=utf-8", 0, "" },
        { { a = "1", b = "x y" }, "application/x-www-form-urlencoded", 9, "a=1&b=x+y" }, { file, "application/octet-stream", 400000, ("file"):rep(100000) },
        { ("long"):rep(500000), "text/plain; charset=utf-8", 2000000, ("long"):rep(500000) },
      } do
        local got = post(session, url "/echo", case[1])
        assert.same({ case[2], tostring(case[3]), "", sum(case[4]) }, { got.type, got.length, got.transfer, got.sum })
      end
    end)
  end)

  it("is sent in chunks when it is not", function()
    peer.serve({ echo }, nil, function(session, url)
      local n = 0
      local function iterator()
        n = n + 1
        await(asyncio.sleep(0))
        return n <= 100 and ("line %d\n"):format(n) or nil
      end
      local all = {}
      for i = 1, 100 do all[i] = ("line %d\n"):format(i) end
      local expected = sum(table.concat(all))
      local got = post(session, url "/echo", iterator)
      assert.same({ "application/octet-stream", "", "chunked", expected }, { got.type, got.length, got.transfer, got.sum })
      got = post(session, url "/echo", coroutine.create(function()
        for i = 1, 100 do coroutine.yield(all[i]) end
      end), { headers = { ["Content-Type"] = "x/y" } })
      assert.same({ "x/y", expected }, { got.type, got.sum })
      local reader = asyncio.StreamReader()
      local feeding = asyncio.create_task(function()
        for i = 1, 100 do
          reader:feed_data(all[i])
          await(asyncio.sleep(0))
        end
        reader:feed_eof()
      end)
      assert.equal(expected, post(session, url "/echo", reader).sum)
      await(feeding)
    end)
  end)

  it("may be what another response gives, as it comes", function()
    local source = web.get("/source", async(function(request)
      local response = web.StreamResponse()
      await(response:prepare(request))
      for _ = 1, 50 do await(response:write(("x"):rep(10000))) end
      return response
    end))
    peer.serve({ echo, source }, nil, function(session, url)
      local from <close> = await(session:get(url "/source"))
      assert.equal(sum(("x"):rep(500000)), post(session, url "/echo", from.content).sum)
    end)
  end)

  it("may be compressed", function()
    peer.serve({ web.post("/plain", async(function(request)
      local body = await(request:read())
      return web.Response { text = (request.headers["Content-Encoding"] or "none") .. " " .. sum(body) }
    end)) }, nil, function(session, url)
      local path = helper.tmpfile(("file"):rep(100000))
      local file <close> = await(fs.open(path))
      for _, coding in ipairs { "gzip", "deflate", "br" } do
        for i, data in ipairs { ("text"):rep(10000), file } do
          local resp <close> = await(session:post(url "/plain", { data = data, compress = coding }))
          local coded = await(resp:text())
          assert.equal(coding, coded:match("^%S+"))
          assert.truthy(coded:find(sum(i == 1 and ("text"):rep(10000) or ("file"):rep(100000)), 1, true) or tonumber(coded:match(" (%d+):")) < 5000)
        end
      end
    end)
  end)

  it("fails as its source does, and the session goes on", function()
    peer.serve({ echo }, nil, function(session, url)
      for _ = 1, 3 do
        local n = 0
        local function iterator()
          n = n + 1
          if n == 3 then error("burst") end
          return ("x"):rep(1000)
        end
        helper.raises("burst", await, session:post(url "/echo", { data = iterator }))
        helper.raises(asyncio.TypeError, await, session:post(url "/echo", { data = function() return 5 end }))
        assert.equal(sum "ok", post(session, url "/echo", "ok").sum)
      end
      local path = helper.tmpdir() .. "/unreadable"
      local file <close> = await(fs.open(path, "w"))
      await(file:write("text"))
      await(file:seek("set", 0))
      for _, opts in ipairs { { data = file }, { data = file, compress = "gzip" }, { data = { file = file } } } do
        local failed = helper.raises(http.ClientOSError, await, session:post(url "/echo", opts))
        assert.same({ "EBADF", "POST" }, { failed.code, failed.method })
        assert.truthy(failed.message:find(path, 1, true), failed.message)
        assert.equal(sum "ok", post(session, url "/echo", "ok").sum)
      end
      local e = helper.raises(asyncio.TypeError, function() session:post(url "/echo", { data = 5 }) end)
      assert.truthy(e.message:find("sending_spec.lua:%d+: data: "), e.message)
    end)
  end)

  it("is left where it stands when the request is cancelled, and the session goes on", function()
    peer.serve({ echo }, nil, function(session, url)
      local path = helper.tmpfile(("file"):rep(1000000))
      local file <close> = await(fs.open(path))
      local closed = 0
      local function generator()
        local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
        while true do
          await(asyncio.sleep(0))
          coroutine.yield(("x"):rep(10000))
        end
      end
      for turns = 0, 12 do
        local thread = coroutine.create(generator)
        for i, data in ipairs { thread, file, http.FormData { f = file }, function()
          await(asyncio.sleep(0))
          return "x"
        end } do
          local task = asyncio.create_task(session:post(url "/echo", { data = data }))
          helper.turn(turns)
          task:cancel()
          local ok, resp = asyncio.catch(await, task)
          if ok then
            assert.truthy(i == 2 or i == 3) -- it was quicker
            resp:close()
          end
        end
        assert.truthy(coroutine.status(thread) == "dead" or turns < 4, turns)
        assert.equal(sum "ok", post(session, url "/echo", "ok").sum)
      end
      assert.truthy(closed > 5)
      await(asyncio.sleep(0))
    end)
  end)

  it("is sent again where a redirect wants it, if it can be had", function()
    peer.serve({ echo, web.post("/moved", async(function() return web.Response { status = 307, headers = { Location = "/echo" } } end)) }, nil, function(session, url)
      local path = helper.tmpfile(("file"):rep(1000))
      local file <close> = await(fs.open(path))
      assert.equal(sum(("file"):rep(1000)), post(session, url "/moved", file).sum)
      assert.equal(sum("text"), post(session, url "/moved", "text").sum)
      helper.raises(http.ClientError, await, session:post(url "/moved", { data = function() return nil end }))
    end)
  end)
end)

describe("a form", function()
  it("arrives as it was filled in", function()
    peer.serve({ form }, nil, function(session, url)
      local path = helper.tmpfile(("picture"):rep(100000))
      local file <close> = await(fs.open(path))
      local data = http.FormData()
      data:add_field("title", "A \u{20ac} & b"):add_field("n", 5)
      data:add_field("photo", file, { filename = "my \"pic\".png", content_type = "image/png" })
      data:add_field("note", "text", { filename = "note.txt" })
      for _ = 1, 2 do
        assert.same({
          { "title", "A \u{20ac} & b" }, { "n", "5" },
          { "photo", { "my %22pic%22.png", "image/png", 700000, sum(("picture"):rep(100000)) } },
          { "note", { "note.txt", "text/plain", 4, sum("text") } },
        }, post(session, url "/form", data))
      end
      assert.same({ { "a", "1" }, { "b", "x y" } }, post(session, url "/form", { a = 1, b = "x y" }))
      assert.same({ { "f", { path:match("[^/]*$"), "application/octet-stream", 700000, sum(("picture"):rep(100000)) } } }, post(session, url "/form", { f = file }))
      local n = 0
      assert.same({ { "s", "xxx" } }, post(session, url "/form", http.FormData():add_field("s", function()
        n = n + 1
        return n <= 3 and "x" or nil
      end)))
    end)
  end)

  it("is read by aiohttp and by curl's way of writing alike", function()
    local server = helper.tmpfile([[
import sys
from aiohttp import web
async def form(request):
    out = []
    reader = await request.multipart()
    async for part in reader:
        data = await part.read(decode=True)
        out.append([part.name, part.filename, part.headers.get("Content-Type"), len(data), data[:10].decode()])
    return web.json_response(out)
async def ready(app):
    pass
app = web.Application(client_max_size=0)
app.router.add_post("/form", form)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
]])
    local port = helper.unused_port()
    helper.background(("/usr/bin/python3 %s %d"):format(server, port))
    helper.wait_port(port)
    asyncio.run(function()
      local session <close> = http.ClientSession()
      local path = helper.tmpfile(("picture"):rep(30000))
      local file <close> = await(fs.open(path))
      local data = http.FormData { a = "1" }
      data:add_field("photo", file, { filename = "pic \u{fc}.png", content_type = "image/png" })
      data:add_field("coded", "caf\u{e9}=", { content_transfer_encoding = "quoted-printable" })
      data:add_field("b64", ("b"):rep(100), { content_transfer_encoding = "base64" })
      local null = require("json").null
      assert.same({
        { "a", null, null, 1, "1" }, { "photo", "pic \u{fc}.png", "image/png", 210000, "picturepic" }, { "coded", null, null, 6, "caf\u{e9}=" }, { "b64", null, null, 100, ("b"):rep(10) },
      }, post(session, ("http://127.0.0.1:%d/form"):format(port), data))
    end)
  end)
end)

describe("a multipart response", function()
  it("is read part by part, as it comes", function()
    peer.serve({ web.get("/parts", async(function(request)
      local writer = http.MultipartWriter("mixed")
      writer:append("first", { ["X-N"] = "1" })
      writer:append_json { n = 2 }
      local inner = http.MultipartWriter("alternative")
      inner:append(("third"):rep(30000))
      writer:append(inner)
      local response = web.StreamResponse { headers = { ["Content-Type"] = writer.content_type } }
      await(response:prepare(request))
      writer:prepare()
      await(writer:write { write = function(_, data) return response:write(data) end })
      await(response:write_eof())
      return response
    end)) }, nil, function(session, url)
      local resp <close> = await(session:get(url "/parts"))
      local reader = http.MultipartReader(resp.headers, resp.content)
      local first = await(reader:next())
      assert.same({ "1", "first" }, { first.headers["X-N"], await(first:text()) })
      assert.equal(2, await(await(reader:next()):json()).n)
      local inner = await(reader:next())
      assert.equal(150000, #await(await(inner:next()):read(0)))
      assert.is_nil(await(reader:next()))
    end)
  end)
end)

describe("a coded response", function()
  it("may have something behind its end, but must have that", function()
    local encodings = require "http.encodings"
    if not encodings.available("gzip") then return end
    peer.raw(function(request)
      local path, text = request.line:match(" /(%a+) "), ("text "):rep(50000)
      local body = await(encodings.encode(path:find("short") and "short" or text, "gzip"))
      body = path:find("cut") and body:sub(1, -9) or path:find("padded") and body .. ("\0"):rep(1000) or body
      return ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"):format(#body) .. body
    end, nil, function(session, url)
      for _, path in ipairs { "short", "shortpadded", "long", "longpadded" } do
        local n = path:find("short") and 5 or 250000
        local resp <close> = await(session:get(url("/" .. path)))
        assert.equal(n, #await(resp:read()))
        local stream <close> = await(session:get(url("/" .. path)))
        local got = 0
        for piece in stream.content:iter_chunked(1000) do got = got + #piece end
        assert.equal(n, got)
      end
      for _, path in ipairs { "shortcut", "longcut" } do
        local resp <close> = await(session:get(url("/" .. path)))
        local e = helper.raises(http.ClientPayloadError, function() await(resp:read()) end)
        assert.truthy(e.message:find("cut off", 1, true), e.message)
      end
      local resp <close> = await(session:get(url "/long", { auto_decompress = false }))
      assert.truthy(#await(resp:read()) < 5000)
      local limited <close> = await(session:get(url "/long", { max_body_size = 100000 }))
      helper.raises(http.ClientPayloadError, function() await(limited:read()) end)
    end)
  end)
end)

describe("a session's cookies", function()
  local function cookie_server(f, opts)
    opts = opts or { cookie_jar = http.CookieJar { unsafe = true } }
    return peer.serve({
      web.get("/set", async(function(request)
        local response = web.Response { text = "set" }
        for name, value in pairs(request.query) do response.headers:add("Set-Cookie", name .. "=" .. value) end
        return response
      end)),
      web.get("/away", async(function()
        local response = web.Response { status = 302, headers = { Location = "/show" } }
        response.headers:add("Set-Cookie", "on=way; Path=/")
        return response
      end)),
      web.get("/show", async(function(request) return web.Response { text = request.headers["Cookie"] or "none" } end)),
      web.get("/a/show", async(function(request) return web.Response { text = request.headers["Cookie"] or "none" } end)),
    }, opts, f)
  end

  local function get(session, url, opts)
    local resp <close> = await(session:get(url, opts))
    return await(resp:text()), resp
  end

  it("go back to where they came from", function()
    cookie_server(function(session, url)
      assert.equal("none", (get(session, url "/show")))
      local _, resp = get(session, url "/set?a=1&b=2;+Path=/a&c=3;+Max-Age=0")
      assert.same({ "1", "/a" }, { resp.cookies.a.value, resp.cookies.b.path })
      assert.equal("a=1", (get(session, url "/show")))
      assert.equal("b=2; a=1", (get(session, url "/a/show")))
      assert.equal("b=2; a=x; z=9", (get(session, url "/a/show", { cookies = { z = "9", a = "x" } })))
      assert.equal("b=2; a=1", (get(session, url "/a/show")))
      assert.equal("on=way", (get(session, url "/away")):match("on=way"))
      get(session, url "/set?a=0;+Max-Age=0")
      assert.equal("on=way", (get(session, url "/show")))
      session.cookie_jar:clear()
      assert.equal("none", (get(session, url "/show")))
    end)
  end)

  it("are not kept for addresses unless that is said to be safe", function()
    cookie_server(function(session, url)
      get(session, url "/set?a=1")
      assert.equal("none", (get(session, url "/show")))
      assert.equal("own=1", (get(session, url "/show", { cookies = { own = "1" } })))
    end, {})
    cookie_server(function(session, url)
      get(session, url "/set?a=1")
      assert.equal("given=1", (get(session, url "/show")))
    end, { cookies = { given = "1" } })
    cookie_server(function(session, url)
      get(session, url "/set?a=1")
      assert.equal("none", (get(session, url "/show")))
    end, { cookie_jar = http.DummyCookieJar() })
  end)

  it("survive in a file", function()
    local path = helper.tmpfile()
    cookie_server(function(session, url, server)
      get(session, url "/set?a=1;+Max-Age=1000&b=%22x%22")
      await(session.cookie_jar:save(path))
      local jar = http.CookieJar { unsafe = true }
      await(jar:load(path))
      local other <close> = http.ClientSession { cookie_jar = jar }
      assert.equal('a=1; b="x"', (get(other, url "/show")))
      assert.truthy(server)
    end)
  end)

  it("are refused at the call if they cannot be sent", function()
    cookie_server(function(session, url)
      for _, bad in ipairs { { ["a b"] = "1" }, { a = "x\r\nX: y" } } do
        helper.raises(asyncio.ValueError, function() await(session:get(url "/show", { cookies = bad })) end)
      end
      helper.raises(asyncio.TypeError, function() await(session:get(url "/show", { cookies = "a=1" })) end)
      assert.equal("none", (get(session, url "/show")))
    end)
  end)
end)

-- lighttpd with a user "user" whose password is "secret": folders md5 and sha want digests, basic the password.
local function lighttpd()
  local dir, port, hash = helper.tmpdir(), helper.unused_port(), require("asyncio.digest")
  local function write(name, text)
    local f <close> = assert(io.open(dir .. "/" .. name, "w"))
    f:write(text)
  end
  assert(os.execute("mkdir -p " .. dir .. "/md5 " .. dir .. "/sha " .. dir .. "/basic"))
  for _, folder in ipairs { "md5", "sha", "basic" } do write(folder .. "/page.html", folder) end
  write("md5.users", ("user:realm:%s\n"):format(hash.md5("user:realm:secret")))
  write("sha.users", ("user:realm:%s\n"):format(hash.sha256("user:realm:secret")))
  write("plain.users", "user:secret\n")
  write("conf", (([[
server.document-root = "DIR"
server.port = %d
server.bind = "127.0.0.1"
server.modules = ("mod_auth", "mod_authn_file")
auth.backend.plain.userfile = "DIR/plain.users"
$HTTP["url"] =~ "^/md5/" {
  auth.backend = "htdigest"
  auth.backend.htdigest.userfile = "DIR/md5.users"
  auth.require = ("" => ("method" => "digest", "algorithm" => "MD5", "realm" => "realm", "require" => "valid-user"))
}
$HTTP["url"] =~ "^/sha/" {
  auth.backend = "htdigest"
  auth.backend.htdigest.userfile = "DIR/sha.users"
  auth.require = ("" => ("method" => "digest", "algorithm" => "SHA-256", "realm" => "realm", "require" => "valid-user"))
}
$HTTP["url"] =~ "^/basic/" {
  auth.backend = "plain"
  auth.require = ("" => ("method" => "basic", "realm" => "realm", "require" => "valid-user"))
}
]]):format(port):gsub("DIR", dir)))
  helper.background("lighttpd -D -f " .. dir .. "/conf")
  helper.wait_port(port)
  return function(folder) return ("http://127.0.0.1:%d/%s/page.html"):format(port, folder) end
end

describe("credentials", function()
  it("are what lighttpd wants", function()
    if not pcall(require, "asyncio.digest") then return end
    local page = lighttpd()
    asyncio.run(function()
      for _, folder in ipairs { "md5", "sha", "basic" } do
        local make = folder == "basic" and http.BasicAuth or http.DigestAuth
        local session <close> = http.ClientSession { auth = make("user", "secret") }
        for _ = 1, 3 do
          local resp <close> = await(session:get(page(folder)))
          assert.same({ 200, folder }, { resp.status, await(resp:text()) })
        end
        local none <close> = await(http.request("GET", page(folder)))
        assert.equal(401, none.status)
        if folder == "md5" then -- lighttpd takes a second for that
          local wrong <close> = await(session:get(page(folder), { auth = make("user", "wrong") }))
          assert.equal(401, wrong.status)
        end
      end
    end)
  end)

  it("are asked for once, then sent beforehand", function()
    if not pcall(require, "asyncio.digest") then return end
    local nonce, left = 0, 0
    peer.raw(function(request)
      local sent = request.headers.authorization
      if sent and left > 0 and sent:find(('nonce="n%d"'):format(nonce), 1, true) then
        left = left - 1
        return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
      end
      nonce, left = nonce + 1, 2
      return ('HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", nonce="n%d", qop="auth"\r\nContent-Length: 4\r\n\r\nnope'):format(nonce)
    end, { auth = http.DigestAuth("u", "p") }, function(session, url, log)
      for i, requests in ipairs { 2, 3, 5, 6, 8 } do -- each nonce is good for two
        local resp <close> = await(session:post(url "/", { data = "body" }))
        assert.same({ i, 200, "ok" }, { i, resp.status, await(resp:text()) })
        assert.equal(requests, #log)
      end
      for _, request in ipairs(log) do assert.equal("body", request.body) end
    end)
  end)

  it("may be a middleware, as in aiohttp", function()
    if not pcall(require, "asyncio.digest") then return end
    local page = lighttpd()
    asyncio.run(function()
      local session <close> = http.ClientSession { middlewares = { http.DigestAuthMiddleware("user", "secret") } }
      for _ = 1, 2 do
        local resp <close> = await(session:get(page "sha"))
        assert.same({ 200, "sha" }, { resp.status, await(resp:text()) })
      end
      local basic <close> = await(session:get(page "basic"))
      assert.equal(401, basic.status)
    end)
    peer.raw(function(request)
      assert.is_nil(request.headers.authorization)
      return 'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\nContent-Length: 0\r\n\r\n'
    end, nil, function(_, target, log)
      peer.raw(function() return ("HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"):format(target "/x") end, { middlewares = { http.DigestAuth("u", "p") } }, function(session, url)
        local resp <close> = await(session:get(url "/"))
        assert.same({ 401, 1 }, { resp.status, #log })
      end)
    end)
  end)

  it("are given up when they are refused", function()
    if not pcall(require, "asyncio.digest") then return end
    local n = 0
    peer.raw(function()
      n = n + 1
      return ('HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", nonce="n%d", qop="auth"%s\r\nContent-Length: 4\r\n\r\nnope'):format(n, n > 10 and ", stale=true" or "")
    end, { auth = http.DigestAuth("u", "p") }, function(session, url, log)
      local resp <close> = await(session:get(url "/"))
      assert.same({ 401, "nope", 2 }, { resp.status, await(resp:text()), #log })
      n = 20 -- always stale: not for ever
      local stale <close> = await(session:get(url "/"))
      assert.equal(401, stale.status)
      assert.truthy(#log <= 6, #log)
      local stream <close> = await(session:post(url "/", { data = function() return nil end })) -- cannot be sent again
      assert.equal(401, stream.status)
    end)
  end)

  it("do not follow to another origin", function()
    if not pcall(require, "asyncio.digest") then return end
    for _, auth in ipairs { http.BasicAuth("u", "p"), http.DigestAuth("u", "p") } do
      peer.raw(function(request)
        return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#(request.headers.authorization or "none"), request.headers.authorization or "none")
      end, nil, function(_, target)
        peer.raw(function() return ("HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"):format(target "/x") end, { auth = auth }, function(session, url)
          local resp <close> = await(session:get(url "/"))
          assert.equal("none", await(resp:text()))
        end)
      end)
    end
  end)
end)

-- A session for which every name is this machine.
local function local_session(asked)
  local Resolver = {}
  Resolver.__index = Resolver
  Resolver.resolve = async(function(_, host, port)
    if asked then asked[#asked + 1] = host end
    return { { hostname = host, host = "127.0.0.1", port = port, family = 2, proto = 6, flags = 0 } }
  end)
  Resolver.close = async(function() end)
  return http.ClientSession { connector = http.TCPConnector { resolver = setmetatable({}, Resolver) } }
end

describe("cookies of many hosts", function()
  local function answer(request)
    local host, path = request.headers.host:match("^[^:]+"), request.line:match(" (%S+) ")
    local port = request.headers.host:match(":(%d+)$")
    local function go(to, ...)
      local lines = { "HTTP/1.1 302 Found", "Location: http://" .. to .. ":" .. port .. "/next", "Content-Length: 0" }
      for _, cookie in ipairs { ... } do lines[#lines + 1] = "Set-Cookie: " .. cookie end
      return table.concat(lines, "\r\n") .. "\r\n\r\n"
    end
    if host == "login.example.com" and path == "/" then
      return go("www.example.com", "sid=1; Domain=example.com; HttpOnly", "own=2", "wide=3; Domain=com", "foreign=4; Domain=evil.test", "secure=5; Secure", "deep=6; Path=/deep; Domain=example.com")
    elseif host == "www.example.com" then
      return go("evil.test", "www=7")
    elseif host == "evil.test" then
      return go("login.example.com", "sid=stolen; Domain=example.com", "evil=8")
    end
    return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
  end

  it("go to those that they are for, along redirects too", function()
    peer.raw(answer, nil, function(_, url, log)
      local port = url("/"):match(":(%d+)/")
      local session <close> = local_session()
      for round = 1, 2 do
        local resp <close> = await(session:get("http://login.example.com:" .. port .. "/"))
        assert.same({ 200, 3 }, { resp.status, #resp.history })
        local seen = {}
        for i = #log - 3, #log do
          local names = {}
          for pair in (log[i].headers.cookie or ""):gmatch("[^; ]+") do names[#names + 1] = pair end
          table.sort(names)
          seen[#seen + 1] = table.concat(names, " ")
        end
        assert.same(round == 1 and { "", "sid=1", "", "own=2 sid=1" } or { "own=2 sid=1", "sid=1 www=7", "evil=8", "own=2 sid=1" }, seen)
      end
      local deep <close> = await(session:get("http://www.example.com:" .. port .. "/deep/x", { allow_redirects = false }))
      assert.equal(302, deep.status)
      assert.truthy(log[#log].headers.cookie:find("^deep=6; "))
    end)
  end)
end)

describe("a host in another script", function()
  it("is asked for by its DNS name", function()
    if not pcall(require, "url.idna") then return end
    peer.raw(function(request)
      return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#request.headers.host, request.headers.host)
    end, nil, function(_, url)
      local port = url("/"):match(":(%d+)/")
      local asked = {}
      local session <close> = local_session(asked)
      local resp <close> = await(session:get("http://b\u{fc}cher.example:" .. port .. "/"))
      assert.equal("xn--bcher-kva.example:" .. port, await(resp:text()))
      assert.same({ "xn--bcher-kva.example" }, asked)
      assert.equal("b\u{fc}cher.example", resp.url.host)
    end)
  end)
end)
