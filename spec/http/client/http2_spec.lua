-- The client's HTTP/2 as scripts meet it: a session with our own server, nginx, Node and nghttpd.
local asyncio = require "asyncio"
local helper = require "spec.helper"
local has, http = pcall(require, "http")
if not has or not http.ClientSession or not pcall(require, "asyncio.tls") then
  return pending("built without HTTP or TLS")
end
local certs = require "spec.certs"
local fs = require "fs"
local json = require "json"
local peers = require "spec.http.peers"

local digits = peers.digits

local function text(session, url, opts)
  local resp <close> = await(session:get(url, opts))
  return await(resp:text()), resp
end

if not require("http.client.core").Connection2 then
  it("a session does not offer HTTP/2 where it is not built in", function()
    local context = certs.server()
    context:set_alpn_protocols { "h2", "http/1.1" }
    peers.serve(function(server)
      local session <close> = http.ClientSession { ssl = certs.client() }
      local body = text(session, ("https://localhost:%d/about"):format(server.port))
      assert.equal("1.1", json.decode(body).version)
    end, { ssl = context })
  end)
  return
end

--- Runs f(session, base, server) with a session that trusts the server's certificate. opts: of the session.
local function with_session(f, opts, server_opts)
  peers.serve(function(server)
    local all = { ssl = certs.client() }
    for k, v in pairs(opts or {}) do all[k] = v end
    local session <close> = http.ClientSession(all)
    f(session, ("https://localhost:%d"):format(server.port), server)
  end, server_opts or { ssl = certs.server() })
end

describe("a session and a server with TLS", function()
  it("(or without) that ends connections after a few requests meet again, and each request is answered once", function()
    local h2 = require "spec.http.http2peer"
    local seen, connections = {}, 0
    asyncio.run(async(function()
      local server <close> = await(asyncio.start_server(async(function(r, w)
        connections = connections + 1
        local peer <close> = h2.accept(r, w)
        for n = 1, 2 do
          local id, whole = peer:asked()
          if not id then return end
          if not whole then peer:expect("DATA", id) end
          if n == 2 then peer:send("GOAWAY", 0, 0, string.pack(">I4I4", id, 0)) end
          seen[#seen + 1] = id
          peer:head(id, 200, nil, true)
          peer:data(id, "ok")
        end
      end), "127.0.0.1", 0))
      local session <close> = http.ClientSession { http2 = "prior", timeout = 60 * helper.slow }
      local url, asking = ("http://127.0.0.1:%d/"):format(server.sockets[1].port), {}
      for i = 1, 40 do
        asking[i] = async(function()
          local resp <close> = await(i % 2 == 0 and session:get(url) or session:post(url, { data = "x" }))
          return await(resp:text())
        end)()
      end
      for _, body in ipairs(await(asyncio.gather(asking))) do assert.equal("ok", body) end
    end))
    assert.same({ 40, 20 }, { #seen, connections })
  end)

  it("agree on HTTP/2, or on HTTP/1.1 where http2 = false", function()
    with_session(function(session, base)
      local body, resp = text(session, base .. "/about")
      assert.equal("2.0", json.decode(body).version)
      assert.equal("2.0", resp.version)
      assert.same({ 200, "OK" }, { resp.status, resp.reason })
    end)
    with_session(function(session, base)
      assert.equal("1.1", json.decode((text(session, base .. "/about"))).version)
    end, { http2 = false })
  end)

  it("share one connection among requests at once", function()
    with_session(function(session, base, server)
      local tasks = {}
      for i = 1, 60 do
        tasks[i] = asyncio.create_task(function()
          return (text(session, base .. "/about?q=" .. i, { headers = { Cookie = "n=" .. i } }))
        end)
      end
      for i, body in ipairs(await(asyncio.gather(tasks))) do
        local about = json.decode(body)
        assert.same({ tostring(i), tostring(i), "2.0" }, { about.query, about.cookies.n, about.version })
      end
      assert.equal(1, server.settings:connections())
    end)
  end)

  it("need no more of them than the server's limit, however many ask", function()
    with_session(function(session, base, server)
      local tasks = {}
      for i = 1, 400 do
        tasks[i] = asyncio.create_task(function() return #text(session, base .. "/digits/" .. i) end)
      end
      for i, n in ipairs(await(asyncio.gather(tasks))) do assert.equal(i, n) end
      assert.is_true(server.settings:connections() <= 4)
    end)
  end)

  it("use a new connection for each request if the connector says so", function()
    with_session(function(session, base, server)
      local tasks = {}
      for i = 1, 8 do
        tasks[i] = asyncio.create_task(function()
          local resp <close> = await(session:get(base .. "/slow"))
          assert.equal("2.0", resp.version)
          return resp._x:sockname().port
        end)
      end
      local ports = {}
      for _, port in ipairs(await(asyncio.gather(tasks))) do
        assert.is_nil(ports[port])
        ports[port] = true
      end
      while server.settings:connections() > 0 do await(asyncio.sleep(0.005)) end
    end, { connector = http.TCPConnector { force_close = true } })
  end)

  it("exchange bodies of all kinds", function()
    local path = os.tmpname()
    helper.finally(os.remove, path)
    local f <close> = assert(io.open(path, "wb"))
    f:write(digits(2000000))
    f:close()
    with_session(function(session, base)
      local function post(data)
        local resp <close> = await(session:post(base .. "/echo", { data = data }))
        assert.equal(200, resp.status)
        return await(resp:read())
      end
      assert.equal("abc", post("abc"))
      assert.is_true(digits(3000000) == post(digits(3000000)))
      do
        local file <close> = await(fs.open(path, "rb"))
        assert.is_true(digits(2000000) == post(file))
      end
      assert.is_true(digits(700000) == post(coroutine.wrap(function()
        for i = 1, 700000, 70000 do coroutine.yield(digits(i + 69999):sub(i)) end
      end)))
      local resp <close> = await(session:get(base .. "/digits/3000000"))
      local n = 0
      for chunk in resp.content:iter_chunked(100000) do n = n + #chunk end
      assert.equal(3000000, n)
      local form <close> = await(session:post(base .. "/form", { data = { a = "1", b = { "2", "3" } } }))
      assert.same({ a = "1", b = { "2", "3" } }, await(form:json()))
    end)
  end)

  it("lose one request alone by a time-out, a break or a cancellation", function()
    with_session(function(session, base, server)
      assert.equal("hello", (text(session, base .. "/")))
      local e = select(2, pcall(text, session, base .. "/slow", { timeout = 0.01 }))
      assert.is_true(asyncio.isinstance(e, asyncio.TimeoutError))
      local task = asyncio.create_task(function() return text(session, base .. "/slow") end)
      await(asyncio.sleep(0.01))
      task:cancel()
      asyncio.catch(await, task)
      do
        local resp <close> = await(session:get(base .. "/digits/5000000"))
        await(resp.content:read(10))
      end
      for _ = 1, 3 do assert.equal("slow", (text(session, base .. "/slow"))) end
      assert.equal(1, server.settings:connections())
    end)
  end)
end)

it("responses that are dropped do not count against limit", function()
  peers.serve(function(server)
    local other <close> = require("http.testing").TestServer(peers.application())
    await(other:start_server())
    local session <close> = http.ClientSession { http2 = "prior", limit = 1, timeout = 60 * helper.slow }
    for _ = 1, 3 do
      for _, port in ipairs { server.port, other.port } do
        local url = ("http://127.0.0.1:%d/digits/%d"):format(port, 100000)
        for _ = 1, 3 do await(session:get(url)) end
        local waiting = asyncio.create_task(function() return (text(session, url)) end)
        repeat
          await(asyncio.sleep(0.001))
          collectgarbage()
        until waiting:done()
        assert.equal(100000, #await(waiting))
      end
      collectgarbage()
    end
  end)
end)

it("a session speaks HTTP/2 by prior knowledge where that is asked for", function()
  peers.serve(function(server)
    local session <close> = http.ClientSession { http2 = "prior" }
    assert.equal("2.0", json.decode((text(session, ("http://127.0.0.1:%d/about"):format(server.port)))).version)
  end)
end)

-- ---- other people's servers ----

local function run(...)
  local args = { ... }
  args[#args + 1] = { stdout = asyncio.subprocess.PIPE, stderr = asyncio.subprocess.DEVNULL }
  return asyncio.create_subprocess_exec(table.unpack(args))
end

--- The server's certificate and key, but for the ends of their names.
local CERT = await(fs.realpath(certs.path "good.pem")):gsub("%.pem$", "")

local NGINX = [[
worker_processes 1; daemon off; master_process off; pid DIR/pid; error_log DIR/error;
events { worker_connections 512; }
http {
  access_log off; client_max_body_size 20m; client_body_temp_path DIR/t; proxy_temp_path DIR/t; fastcgi_temp_path DIR/t;
  uwsgi_temp_path DIR/t; scgi_temp_path DIR/t; http2_max_concurrent_streams 10; keepalive_requests 50;
  ssl_certificate "CERT.pem"; ssl_certificate_key "CERT.key";
  server {
    listen unix:DIR/tls ssl http2; root DIR;
    location /moved { return 302 /a.txt; }
    location /early { return 413; }
    location /gzip { gzip on; gzip_types text/plain; gzip_min_length 0; default_type text/plain; alias DIR/; }
  }
}
]]

if helper.sh("PATH=$PATH:/usr/sbin nginx -v") == 0 then
  it("nginx serves files, redirects, early answers, more requests than it allows on a connection", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(helper.sh(("mkdir -p %s && chmod 755 %s"):format(dir, dir)) == 0)
    helper.finally(helper.sh, "rm -rf " .. dir)
    asyncio.run(async(function()
      await(fs.write_file(dir .. "/conf", (NGINX:gsub("DIR", dir):gsub("CERT", CERT))))
      await(fs.write_file(dir .. "/a.txt", digits(300000)))
      local _ <close> = asyncio.timeout(60 * helper.slow)
      local nginx <close> = await(run("sh", "-c", ("PATH=$PATH:/usr/sbin exec nginx -c %s/conf -p %s"):format(dir, dir)))
      helper.wait_unix(dir .. "/tls")
      local session <close> = http.ClientSession { connector = http.UnixConnector(dir .. "/tls"), ssl = certs.client() }
      local body, resp = text(session, "https://localhost/a.txt")
      assert.is_true(body == digits(300000))
      assert.equal("2.0", resp.version)
      body, resp = text(session, "https://localhost/moved")
      assert.is_true(body == digits(300000))
      assert.equal(302, resp.history[1].status)
      assert.is_true(text(session, "https://localhost/gzip/a.txt") == digits(300000))
      assert.equal("789", (text(session, "https://localhost/a.txt", { headers = { Range = "bytes=7-9" } })))
      do
        local early <close> = await(session:post("https://localhost/early", { data = digits(5000000) }))
        assert.equal(413, early.status)
      end
      local tasks = {}
      for i = 1, 150 do
        tasks[i] = asyncio.create_task(function()
          return (text(session, "https://localhost/a.txt", { headers = { Range = "bytes=0-" .. i } }))
        end)
      end
      for i, part in ipairs(await(asyncio.gather(tasks))) do assert.equal(i + 1, #part) end
      nginx:terminate()
      await(nginx:wait())
    end))
  end)
else
  pending("nginx is not installed")
end

local NODE = [[
const http2 = require("http2"), fs = require("fs");
const server = http2.createSecureServer({ key: fs.readFileSync("CERT.key"), cert: fs.readFileSync("CERT.pem"), allowHTTP1: true });
server.on("request", (request, response) => { response.write(request.method + " "); request.pipe(response); });
server.removeAllListeners("stream"); // for HTTP/1 alone
server.on("stream", (stream, headers) => {
  const path = headers[":path"];
  stream.on("error", () => {});
  if (path == "/hints") stream.additionalHeaders({ ":status": 103, link: "</a>" });
  if (path == "/reset") return stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  if (path == "/refuse") return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
  if (path == "/old") return stream.close(http2.constants.NGHTTP2_HTTP_1_1_REQUIRED);
  if (path == "/goaway") stream.session.goaway();
  if (path == "/trailers") {
    stream.respond({ ":status": 200 }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "17" }));
    return stream.end("with trailers");
  }
  if (path == "/cut") { stream.respond({ ":status": 200 }); stream.write("part"); return setTimeout(() => stream.session.destroy(), 10); }
  stream.respond({ ":status": 200, "x-method": headers[":method"], "x-authority": headers[":authority"], "set-cookie": ["a=1", "b=2"] });
  stream.pipe(stream);
  if (headers[":method"] == "GET") stream.end("hello");
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
]]

if helper.sh "node --version" == 0 then
  it("Node answers, hints, sends trailers, resets, refuses, says goodbye", function()
    asyncio.run(async(function()
      local _ <close> = asyncio.timeout(60 * helper.slow)
      local node <close> = await(run("node", "-e", (NODE:gsub("CERT", CERT))))
      local base = "https://localhost:" .. await(node.stdout:readline()):match("%d+")
      local session <close> = http.ClientSession { ssl = certs.client() }
      local body, resp = text(session, base .. "/hints")
      assert.same({ "hello", "GET", base:sub(9), "1", "2" }, {
        body, resp.headers["x-method"], resp.headers["x-authority"], resp.cookies.a.value, resp.cookies.b.value,
      })
      for _, data in ipairs { digits(5), digits(1000000) } do
        local echo <close> = await(session:post(base .. "/echo", { data = data }))
        assert.is_true(data == await(echo:read()))
      end
      assert.equal("with trailers", (text(session, base .. "/trailers")))
      local e = select(2, pcall(text, session, base .. "/reset"))
      assert.equal("ServerDisconnectedError", e.name)
      assert.matches("INTERNAL_ERROR", e.message)
      e = select(2, pcall(text, session, base .. "/refuse"))
      assert.equal("ServerDisconnectedError", e.name)
      e = select(2, pcall(text, session, base .. "/cut"))
      assert.equal("ClientPayloadError", e.name)
      body, resp = text(session, base .. "/old") -- HTTP_1_1_REQUIRED
      assert.same({ "GET ", "1.1" }, { body, resp.version })
      do
        local posted <close> = await(session:post(base .. "/old", { data = "not for HTTP/2" }))
        assert.equal("POST not for HTTP/2", await(posted:text()))
        local function once() coroutine.yield("piece") end
        e = helper.raises(http.ClientError, await, session:post(base .. "/old", { data = coroutine.wrap(once) }))
        assert.matches("HTTP_1_1_REQUIRED", e.message)
      end
      assert.equal("2.0", select(2, text(session, base .. "/")).version)
      assert.equal("hello", (text(session, base .. "/goaway")))
      assert.equal("hello", (text(session, base .. "/")))
      node:terminate()
      await(node:wait())
    end))
  end)
else
  pending("Node is not installed")
end
