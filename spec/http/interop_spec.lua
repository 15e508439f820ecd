-- The server and others: nginx as a proxy before it, the HTTP clients of Python's aiohttp and of Node, curl; and many
-- connections at once.
local asyncio = require "asyncio"
local helper = require "spec.helper"
local has, web = pcall(require, "http.web")
if not has or not web.Application then return pending("built without HTTP") end
local fs = require "fs"
local json = require "json"
local peers = require "spec.http.peers"

local digits = peers.digits

--- A folder that goes with the spec, with a file of 300,000 digits in it.
local function folder()
  local path = os.tmpname()
  os.remove(path)
  assert(helper.sh(("mkdir -p %s && chmod 755 %s"):format(path, path)) == 0)
  helper.finally(helper.sh, "rm -rf " .. path)
  local f <close> = assert(io.open(path .. "/a.txt", "wb"))
  f:write(digits(300000))
  return path
end

describe("curl", function()
  local function curl(...)
    return (peers.run("curl", "-s", "-S", "--max-time", "30", ...))
  end

  it("speaks HTTP/1.1 and 1.0, keeps connections, uploads in chunks, asks for parts", function()
    local path = folder()
    peers.serve(function(server)
      local base = ("http://127.0.0.1:%d"):format(server.port)
      assert.equal("hello", curl(base .. "/"))
      assert.equal("1.0", json.decode(curl("--http1.0", base .. "/about")).version)
      assert.equal("line 1\nline 2\n", curl("--http1.0", base .. "/stream/2"))
      assert.equal("hellohelloslow", curl(base .. "/", base .. "/", base .. "/slow"))
      assert.equal("1", curl("-o", "/dev/null", base .. "/", "-o", "/dev/null", "-w", "%{num_connects}", base .. "/"):sub(1, 1))
      assert.is_true(curl("-T", path .. "/a.txt", "-X", "POST", "-H", "Transfer-Encoding: chunked", base .. "/echo") == digits(300000))
      assert.is_true(curl("--data-binary", "@" .. path .. "/a.txt", "-H", "Expect: 100-continue", base .. "/echo") == digits(300000))
      assert.same({ a = "1", b = { "x y", "ä" } },
        json.decode(curl("-F", "a=1", "-F", "b=x y", "-F", "b=ä", base .. "/form")))
      assert.equal("56789", curl("-r", "5-9", base .. "/files/a.txt"))
      assert.equal("416", curl("-o", "/dev/null", "-w", "%{http_code}", "-r", "300000-", base .. "/files/a.txt"))
      assert.equal("405", curl("-o", "/dev/null", "-w", "%{http_code}", "-X", "DELETE", base .. "/"))
      assert.equal("413", curl("-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-", base .. "/echo", { stdin = digits(9 << 20) }))
    end, { folder = path })
  end)
end)

-- ---- nginx before it ----

local CONF = [[
worker_processes 1; daemon off; master_process off; pid DIR/pid; error_log DIR/error;
events { worker_connections 512; }
http {
  access_log off; client_max_body_size 20m;
  client_body_temp_path DIR/t; proxy_temp_path DIR/t; fastcgi_temp_path DIR/t; uwsgi_temp_path DIR/t; scgi_temp_path DIR/t;
  upstream app { server 127.0.0.1:TO; keepalive 8; }
  server {
    listen unix:DIR/http; listen unix:DIR/h2 http2;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    location / { proxy_pass http://app; }
    location /unbuffered/ { proxy_pass http://app/; proxy_buffering off; proxy_request_buffering off; }
    location /one/ { proxy_pass http://app/; proxy_http_version 1.0; proxy_set_header Connection close; }
  }
}
]]

local NGINX = "PATH=$PATH:/usr/sbin nginx"

if helper.sh(NGINX .. " -v") == 0 then
  describe("behind nginx", function()
    --- Runs f(ask) with nginx between; ask(path, ...) is curl by HTTP/1.1, ask of "h2" by HTTP/2.
    local function behind(f, path)
      local dir = folder()
      peers.serve(function(server)
        await(fs.write_file(dir .. "/conf", (CONF:gsub("DIR", dir):gsub("TO", tostring(server.port)))))
        local nginx <close> = await(asyncio.create_subprocess_exec("sh", "-c",
          ("exec env %s -c %s/conf -p %s"):format(NGINX, dir, dir), { stderr = asyncio.subprocess.DEVNULL }))
        helper.wait_unix(dir .. "/h2") -- the last one that it listens on
        f(function(what, ...)
          local socket, more = "/http", "--http1.1"
          if what:find "^h2:" then
            socket, more, what = "/h2", "--http2-prior-knowledge", what:sub(4)
          end
          return (peers.run("curl", "-s", "-S", "--max-time", "30", more, "--unix-socket", dir .. socket, "http://front.example" .. what, ...))
        end, server)
        nginx:terminate()
        await(nginx:wait())
      end, { folder = path })
    end

    it("answers, and is told who asks", function()
      behind(function(ask)
        assert.equal("hello", ask "/")
        local about = json.decode(ask("/about?q=1", "-H", "X-Forwarded-For: 192.0.2.1", "-b", "c=d"))
        assert.same({ "1.1", "1", "d" }, { about.version, about.query, about.cookies.c })
        assert.truthy(about.forwarded:find("192.0.2.1", 1, true))
        assert.equal("1.0", json.decode(ask "/one/about").version)
        assert.equal("1.1", json.decode(ask "h2:/about").version)
        assert.equal("500", ask("/error", "-o", "/dev/null", "-w", "%{http_code}"))
      end)
    end)

    it("passes bodies of all framings both ways", function()
      local path = folder()
      behind(function(ask)
        for _, prefix in ipairs { "", "/unbuffered", "/one", "h2:", "h2:/unbuffered" } do
          assert.is_true(ask(prefix .. "/digits/2000000") == digits(2000000), prefix)
          assert.equal("line 1\nline 2\nline 3\n", ask(prefix .. "/stream/3"))
          assert.is_true(ask(prefix .. "/echo", "--data-binary", "@" .. path .. "/a.txt") == digits(300000), prefix)
          assert.is_true(ask(prefix .. "/echo", "-X", "POST", "-H", "Transfer-Encoding: chunked", "-T", path .. "/a.txt")
            == digits(300000), prefix)
          assert.is_true(ask(prefix .. "/files/a.txt") == digits(300000), prefix)
          assert.equal("789", ask(prefix .. "/files/a.txt", "-r", "7-9"))
        end
      end, path)
    end)

    it("keeps its connections", function()
      behind(function(ask, server)
        for _ = 1, 20 do assert.equal("hello", ask "/") end
        assert.equal(1, server.settings:connections())
      end)
    end)
  end)
else
  pending("behind nginx: nginx is not installed")
end

-- ---- other languages' clients ----

if helper.sh("/usr/bin/python3 -c 'import aiohttp'") == 0 then
  it("talks to the client of Python's aiohttp", function()
    peers.serve(function(server)
      local out = peers.run("/usr/bin/python3", "-", { stdin = ([[
import aiohttp, asyncio
digits = lambda n: ("0123456789" * (n // 10 + 1))[:n].encode()
async def main():
    async with aiohttp.ClientSession("http://127.0.0.1:%d", timeout=aiohttp.ClientTimeout(30)) as s:
        async with s.get("/") as r:
            assert r.status == 200 and await r.text() == "hello" and r.headers["Content-Type"].startswith("text/plain"), r
        async with s.get("/about", params={"q": "\u00e4 b"}, cookies={"c": "d"}) as r:
            about = await r.json()
            assert about["query"] == "\u00e4 b" and about["version"] == "1.1" and about["cookies"]["c"] == "d", about
        async with s.post("/form", data={"a": "1", "b": "2"}) as r:
            assert await r.json() == {"a": "1", "b": ["2"]}
        form = aiohttp.FormData()
        form.add_field("a", "1")
        form.add_field("b", "x", content_type="text/plain")
        form.add_field("b", "y" * 100000)
        async with s.post("/form", data=aiohttp.MultipartWriter("form-data") and form) as r:
            got = await r.json()
            assert got["a"] == "1" and got["b"] == ["x", "y" * 100000], got
        async def chunks():
            for i in range(100):
                yield digits(5000)
        async with s.post("/echo", data=chunks()) as r:
            assert await r.read() == digits(5000) * 100
        async with s.post("/echo", data=digits(1000000), expect100=True) as r:
            assert await r.read() == digits(1000000)
        async with s.get("/stream/1000") as r:
            lines = [line async for line in r.content]
            assert len(lines) == 1000 and lines[999] == b"line 1000\n"
        async with s.head("/digits/77") as r:
            assert r.headers["Content-Length"] == "77" and await r.read() == b""
        async with s.get("/error") as r:
            assert r.status == 500
        many = await asyncio.gather(*[s.get("/digits/%%d" %% n) for n in range(200)])
        assert [len(await r.read()) for r in many] == list(range(200))
        try:
            async with s.get("/slow", timeout=aiohttp.ClientTimeout(0.01)) as r:
                await r.read()
        except asyncio.TimeoutError:
            pass
        async with s.get("/") as r:
            assert await r.text() == "hello"
    print("fine")
asyncio.run(main())
]]):format(server.port) })
      assert.equal("fine\n", out)
    end)
  end)
else
  pending("talks to the client of Python's aiohttp: python3-aiohttp is not installed")
end

if helper.sh("command -v node") == 0 then
  it("talks to the clients of Node: http, http2, fetch", function()
    peers.serve(function(server)
      local out = peers.run("node", "-", { stdin = ([[
const http = require("http"), http2 = require("http2"), assert = require("assert");
const port = %d, base = "http://127.0.0.1:" + port;
const digits = n => "0123456789".repeat(n / 10 + 1).slice(0, n);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
function ask(method, path, body, headers) {
  return new Promise((done, fail) => {
    const req = http.request({ port, host: "127.0.0.1", method, path, agent, headers }, res => {
      let text = "";
      res.setEncoding("utf8");
      res.on("data", d => text += d).on("end", () => done([res.statusCode, text, res.headers])).on("error", fail);
    }).on("error", fail);
    if (Array.isArray(body)) { for (const part of body) req.write(part); req.end(); } else req.end(body);
  });
}
function ask2(session, method, path, body) {
  return new Promise((done, fail) => {
    const s = session.request({ ":method": method, ":path": path }, { endStream: body === undefined });
    let text = "", status;
    s.setEncoding("utf8");
    s.on("response", h => status = h[":status"]).on("data", d => text += d).on("end", () => done([status, text])).on("error", fail);
    if (body !== undefined) s.end(body);
  });
}
(async () => {
  assert.deepEqual((await ask("GET", "/")).slice(0, 2), [200, "hello"]);
  assert.equal((await ask("POST", "/echo", digits(500000)))[1], digits(500000));
  assert.equal((await ask("POST", "/echo", ["a".repeat(50000), "b", "c".repeat(9)]))[1], "a".repeat(50000) + "bccccccccc");
  assert.equal((await ask("GET", "/stream/500"))[1].split("\n").length, 501);
  assert.equal((await ask("HEAD", "/digits/5"))[2]["content-length"], "5");
  assert.equal((await ask("GET", "/nothing"))[0], 404);
  const all = await Promise.all([...Array(100).keys()].map(n => ask("GET", "/digits/" + n)));
  assert.deepEqual(all.map(a => a[1].length), [...Array(100).keys()]);
  const session = http2.connect(base);
  assert.deepEqual(await ask2(session, "GET", "/"), [200, "hello"]);
  assert.equal((await ask2(session, "POST", "/echo", digits(500000)))[1], digits(500000));
  assert.equal((await ask2(session, "GET", "/stream/500"))[1].split("\n").length, 501);
  const both = await Promise.all([...Array(100).keys()].map(n => ask2(session, "GET", n %% 10 ? "/digits/" + n : "/slow")));
  assert.deepEqual(both.map(a => a[1].length), [...Array(100).keys()].map(n => n %% 10 ? n : 4));
  session.close();
  if (globalThis.fetch) {
    assert.equal(await (await fetch(base + "/echo", { method: "POST", body: digits(100000) })).text(), digits(100000));
    assert.equal((await (await fetch(base + "/about?q=1")).json()).query, "1");
  }
  agent.destroy();
  console.log("fine");
  process.exit(0);
})().catch(e => { console.error(e); process.exit(1); });
]]):format(server.port) })
      assert.equal("fine\n", out)
    end)
  end)
else
  pending("talks to the clients of Node: node is not installed")
end

-- ---- many connections ----

describe("many connections", function()
  --- `n` of them, all open at once, each asking twice; by hand with more: SPEC_CONNECTIONS=10000.
  it("are kept, and all are served", function()
    local n = tonumber(os.getenv("SPEC_CONNECTIONS")) or 200
    peers.serve(function(server)
      local open = {}
      for i = 1, n do
        local r, w = await(asyncio.open_connection("127.0.0.1", server.port))
        open[i] = { r = r, w = w }
        w:write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert.truthy(await(r:readuntil("hello")):find("^HTTP/1.1 200"))
      end
      assert.equal(n, server.settings:connections())
      for i = n, 1, -1 do open[i].w:write("GET /digits/3 HTTP/1.1\r\nHost: a\r\n\r\n") end
      for i = 1, n do assert.truthy(await(open[i].r:readuntil("012")):find("^HTTP/1.1 200")) end
      for i = 1, n do open[i].w:close() end
      while server.settings:connections() > 0 do await(asyncio.sleep(0.01)) end
    end)
  end)

  it("that bring nothing are dropped while others are served", function()
    peers.serve(function(server)
      local slow = {}
      for i = 1, 50 do
        local r, w = await(asyncio.open_connection("127.0.0.1", server.port))
        w:write("GET / HTTP/1.1\r\nHos")
        slow[i] = { r = r, w = w }
      end
      local r, w = await(asyncio.open_connection("127.0.0.1", server.port))
      local served = 0
      while server.settings:connections() > 1 do
        for i = 1, 50 do
          if not slow[i].w:is_closing() then slow[i].w:write("t") end
        end
        w:write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await(r:readuntil("hello"))
        served = served + 1
        await(asyncio.sleep(0.01))
      end
      assert.is_true(served > 5)
      for i = 1, 50 do slow[i].w:close() end
      w:close()
    end, { settings = { header_timeout = 0.2, lingering_time = 0.05 } })
  end)
end)
