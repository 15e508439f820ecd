--- Servers that others have written, and ours, with the same paths: what a client has to get along with.
---
---   GET /hello                 13 bytes with their length      GET /stream         "line 1\n" ... "line 9\n", length unknown
---   ANY /echo                  JSON: method, body, type, length, coding (of Transfer-Encoding), expect
---   GET /headers               JSON: the request's headers     GET /cookie?name=   sets one, for the path /
---   GET /gzip, /deflate, /br   10,000 digits, compressed       GET /empty, /unchanged   204, 304
---   ANY /to/STATUS?to=URL      a redirect                      GET /loop           a redirect to itself
---   GET /slow                  five pieces, some time between them
---   GET /cut                   promises 100 bytes, sends 10, goes away
---   GET /early                 103 before the answer           GET /trailers       a trailer X-Sum behind chunks
---
--- Not every server can do everything: `can` says so.

local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local M = {}

---@class spec.Server
---@field name string
---@field url string without a path
---@field can table<string, boolean>

local function set(names)
  local t = {}
  for name in names:gmatch("%S+") do t[name] = true end
  return t
end

-- What they say of clients that go away is of no interest.
local quiet = { stdout = asyncio.PIPE, stderr = asyncio.subprocess.DEVNULL }

-- Runs f(server) while a program runs that says its port in the first line it prints.
local function program(name, can, command, f)
  local process <close> = await(asyncio.create_subprocess_exec(command[1], table.unpack(command, 2)))
  local line = await(asyncio.wait_for(process.stdout:readline(), 60 * helper.slow))
  local port = line and line:match("(%d+)")
  assert(port, name .. " does not start")
  f { name = name, url = "http://127.0.0.1:" .. port, can = set(can) }
  process:kill()
  await(process:wait())
end

local NODE = [[
const http = require('node:http'), zlib = require('node:zlib');
const digits = '0123456789'.repeat(1000);
const pause = () => new Promise((f) => setTimeout(f, 5));
const server = http.createServer(async (req, res) => {
  const url = new URL(req.url, 'http://x'), path = url.pathname, status = /^\/to\/(\d+)$/.exec(path);
  const body = await new Promise((f) => { const b = []; req.on('data', (d) => b.push(d)); req.on('end', () => f(Buffer.concat(b))); });
  if (path === '/hello') res.writeHead(200, { 'Content-Length': 13, 'Content-Type': 'text/plain' }).end('Hello, World!');
  else if (path === '/stream') { for (let i = 1; i < 10; i++) res.write(`line ${i}\n`); res.end(); }
  else if (path === '/echo') {
    res.setHeader('Content-Type', 'application/json');
    res.end(JSON.stringify({ method: req.method, body: body.toString('latin1'), type: req.headers['content-type'],
      length: req.headers['content-length'], coding: req.headers['transfer-encoding'], expect: req.headers.expect }));
  } else if (path === '/headers') res.setHeader('Content-Type', 'application/json').end(JSON.stringify(req.headers));
  else if (path === '/cookie') res.setHeader('Set-Cookie', `${url.searchParams.get('name')}=1; Path=/`).end('ok');
  else if (path === '/gzip') res.setHeader('Content-Encoding', 'gzip').end(zlib.gzipSync(digits));
  else if (path === '/deflate') res.setHeader('Content-Encoding', 'deflate').end(zlib.deflateSync(digits));
  else if (path === '/br') res.setHeader('Content-Encoding', 'br').end(zlib.brotliCompressSync(digits));
  else if (path === '/empty') res.writeHead(204).end();
  else if (path === '/unchanged') res.writeHead(304, { ETag: '"x"' }).end();
  else if (path === '/loop') res.writeHead(302, { Location: '/loop' }).end();
  else if (status) res.writeHead(Number(status[1]), { Location: url.searchParams.get('to') }).end('elsewhere');
  else if (path === '/slow') { for (let i = 0; i < 5; i++) { res.write(`${i}`); await pause(); } res.end(); }
  else if (path === '/cut') { res.setHeader('Content-Length', 100); res.write('0123456789'); await pause(); req.socket.destroy(); }
  else if (path === '/early') { res.writeEarlyHints({ link: '</a.css>; rel=preload' }); await pause(); res.end('Hello, World!'); }
  else if (path === '/trailers') { res.setHeader('Trailer', 'X-Sum'); res.write('Hello, '); res.addTrailers({ 'X-Sum': '42' }); res.end('World!'); }
  else res.writeHead(404).end();
});
server.keepAliveTimeout = 60000;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
]]

local AIOHTTP = [[
import asyncio, gzip, zlib
from aiohttp import web
digits = b"0123456789" * 1000
async def hello(r): return web.Response(text="Hello, World!")
async def stream(r):
    s = web.StreamResponse(); await s.prepare(r)
    for i in range(1, 10): await s.write(b"line %d\n" % i)
    return s
async def echo(r):
    b = await r.read(); h = r.headers
    return web.json_response(dict(method=r.method, body=b.decode("latin1"), type=h.get("Content-Type"),
        length=h.get("Content-Length"), coding=h.get("Transfer-Encoding"), expect=h.get("Expect")))
async def headers(r): return web.json_response({k.lower(): v for k, v in r.headers.items()})
async def cookie(r):
    s = web.Response(text="ok"); s.set_cookie(r.query["name"], "1"); return s
def packed(name, data):
    async def f(r): return web.Response(body=data, headers={"Content-Encoding": name})
    return f
async def empty(r): return web.Response(status=204)
async def unchanged(r): return web.Response(status=304, headers={"ETag": '"x"'})
async def to(r): return web.Response(status=int(r.match_info["status"]), headers={"Location": r.query["to"]}, text="elsewhere")
async def loop(r): return web.Response(status=302, headers={"Location": "/loop"})
async def slow(r):
    s = web.StreamResponse(); await s.prepare(r)
    for i in range(5): await s.write(b"%d" % i); await asyncio.sleep(0.005)
    return s
async def cut(r):
    s = web.StreamResponse(); s.content_length = 100; await s.prepare(r)
    await s.write(b"0123456789"); await asyncio.sleep(0.005); r.transport.close(); return s
async def main():
    app = web.Application(client_max_size=1 << 30)
    app.router.add_get("/hello", hello); app.router.add_get("/stream", stream); app.router.add_route("*", "/echo", echo)
    app.router.add_get("/headers", headers); app.router.add_get("/cookie", cookie)
    app.router.add_get("/gzip", packed("gzip", gzip.compress(digits)))
    app.router.add_get("/deflate", packed("deflate", zlib.compress(digits)))
    app.router.add_get("/empty", empty); app.router.add_get("/unchanged", unchanged)
    app.router.add_route("*", "/to/{status}", to); app.router.add_get("/slow", slow); app.router.add_get("/loop", loop); app.router.add_get("/cut", cut)
    runner = web.AppRunner(app); await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0); await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(1e6)
asyncio.run(main())
]]

-- HTTP/1.0 as http.server speaks it by default: no lengths but those it is told, a connection for each request.
local PYTHON = [[
import json, gzip
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit, parse_qs
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def answer(self, body, status=200, length=True, **headers):
        self.send_response(status)
        if length: self.send_header("Content-Length", str(len(body)))
        for k, v in headers.items(): self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)
    def do_GET(self):
        u = urlsplit(self.path); q = parse_qs(u.query); p = u.path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if p == "/hello": self.answer(b"Hello, World!", Content_Type="text/plain")
        elif p == "/stream": self.answer(b"".join(b"line %d\n" % i for i in range(1, 10)), length=False)
        elif p == "/echo": self.answer(json.dumps(dict(method=self.command, body=body.decode("latin1"),
            type=self.headers.get("Content-Type"), length=self.headers.get("Content-Length"))).encode(), Content_Type="application/json")
        elif p == "/headers": self.answer(json.dumps({k.lower(): v for k, v in self.headers.items()}).encode(), Content_Type="application/json")
        elif p == "/cookie": self.answer(b"ok", Set_Cookie=q["name"][0] + "=1; Path=/")
        elif p == "/gzip": self.answer(gzip.compress(b"0123456789" * 1000), Content_Encoding="gzip")
        elif p == "/empty": self.answer(b"", 204, length=False)
        elif p == "/unchanged": self.answer(b"", 304, length=False, ETag='"x"')
        elif p == "/loop": self.answer(b"", 302, Location="/loop")
        elif p.startswith("/to/"): self.answer(b"elsewhere", int(p[4:]), Location=q["to"][0])
        elif p == "/cut":
            self.send_response(200); self.send_header("Content-Length", "100"); self.end_headers(); self.wfile.write(b"0123456789")
        else: self.answer(b"", 404)
    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET
s = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(s.server_address[1], flush=True)
s.serve_forever()
]]

local NGINX = [[
worker_processes 1; daemon off; master_process off; pid DIR/pid; error_log DIR/error;
events { worker_connections 512; }
http {
  access_log off; client_max_body_size 0; default_type application/json;
  client_body_temp_path DIR/t; proxy_temp_path DIR/t; fastcgi_temp_path DIR/t; uwsgi_temp_path DIR/t; scgi_temp_path DIR/t;
  server {
    listen 127.0.0.1:PORT; root DIR/files;
    location = /hello { default_type text/plain; return 200 "Hello, World!"; }
    location = /gzip { gzip on; gzip_min_length 1; gzip_types *; default_type text/plain; try_files /digits =404; }
    location = /headers { return 200 '{"host":"$http_host","accept":"$http_accept","user-agent":"$http_user_agent","x-a":"$http_x_a","cookie":"$http_cookie"}'; }
    location = /cookie { add_header Set-Cookie "$arg_name=1; Path=/"; return 200 "ok"; }
    location = /loop { return 302 /loop; }
    location = /empty { return 204; }
REDIRECTS
  }
}
]]

for _, status in ipairs { 301, 302, 303, 307, 308 } do
  NGINX = NGINX:gsub("REDIRECTS", ("    location = /to/%d { return %d $arg_to; }\nREDIRECTS"):format(status, status))
end
NGINX = NGINX:gsub("REDIRECTS", "")

local function nginx(f)
  local dir = helper.tmpdir()
  await(fs.mkdir(dir .. "/files"))
  await(fs.write_file(dir .. "/files/digits", ("0123456789"):rep(1000)))
  await(fs.chmod(dir, tonumber("755", 8)))
  local port = helper.unused_port()
  await(fs.write_file(dir .. "/conf", (NGINX:gsub("DIR", dir):gsub("PORT", tostring(port)))))
  local process <close> = await(asyncio.create_subprocess_exec("nginx", "-c", dir .. "/conf", "-p", dir,
    { stderr = asyncio.subprocess.DEVNULL, add_env = { PATH = os.getenv("PATH") .. ":/usr/sbin" } }))
  assert(helper.eventually(function()
    local ok, _, writer = pcall(await, asyncio.open_connection("127.0.0.1", port))
    if ok then writer:close() end
    return ok
  end), "nginx does not listen")
  f { name = "nginx", url = "http://127.0.0.1:" .. port, can = set "keep HEAD gzip cookie redirect empty headers" }
  process:terminate()
  await(process:wait())
end

-- ---- ours ----

local function ours_application()
  local encodings, json, web = require "http.encodings", require "json", require "http.web"
  local app, digits = web.Application { client_max_size = 1 << 30 }, ("0123456789"):rep(1000)
  local function pieces(list, pause)
    return async(function(request)
      local response = web.StreamResponse()
      await(response:prepare(request))
      for _, piece in ipairs(list) do
        await(response:write(piece))
        if pause then await(asyncio.sleep(pause)) end
      end
      return response
    end)
  end
  local lines = {}
  for i = 1, 9 do lines[i] = ("line %d\n"):format(i) end
  local function packed(coding)
    return async(function()
      return web.Response { body = await(encodings.encode(digits, coding)), headers = { ["Content-Encoding"] = coding } }
    end)
  end
  app:add_routes {
    web.get("/hello", async(function() return web.Response { text = "Hello, World!" } end)),
    web.get("/stream", pieces(lines)),
    web.route("*", "/echo", async(function(request)
      local h = request.headers
      return web.json_response {
        method = request.method, body = await(request:read()), type = h["Content-Type"], length = h["Content-Length"],
        coding = h["Transfer-Encoding"], expect = h.Expect,
      }
    end)),
    web.get("/headers", async(function(request)
      local all = {}
      for name, value in pairs(request.headers) do all[name:lower()] = value end
      return web.Response { text = json.encode(all), content_type = "application/json" }
    end)),
    web.get("/cookie", async(function(request)
      local response = web.Response { text = "ok" }
      response:set_cookie(request.query.name, "1")
      return response
    end)),
    web.get("/empty", async(function() return web.Response { status = 204 } end)),
    web.get("/unchanged", async(function() return web.Response { status = 304, headers = { ETag = '"x"' } } end)),
    web.route("*", "/to/{status}", async(function(request)
      local status = math.tointeger(tonumber(request.match_info.status))
      return web.Response { status = status, headers = { Location = request.query.to }, text = "elsewhere" }
    end)),
    web.get("/loop", async(function() return web.Response { status = 302, headers = { Location = "/loop" } } end)),
    web.get("/slow", pieces({ "0", "1", "2", "3", "4" }, 0.005)),
  }
  for _, coding in ipairs { "gzip", "deflate", "br" } do app:add_routes { web.get("/" .. coding, packed(coding)) } end
  return app
end

local function ours(f)
  local server <close> = await(require("http.testing").TestServer(ours_application()):start_server())
  f {
    name = "http.web", url = server:make_url(""):gsub("/$", ""),
    can = set "keep HEAD stream echo chunked-upload gzip deflate br cookie redirect empty unchanged headers slow continue",
  }
end

--- What runs f(server) with a server, by name.
---@type table<string, fun(f: fun(server: spec.Server))>
M.servers = {
  ["http.web"] = ours,
  nginx = nginx,
  ["Node"] = function(f)
    program("Node", [[keep HEAD stream echo chunked-upload gzip deflate br cookie redirect empty unchanged headers slow cut
      early trailers continue]], { "node", "-e", NODE, quiet }, f)
  end,
  ["Python's aiohttp"] = function(f)
    program("aiohttp", [[keep HEAD stream echo chunked-upload gzip deflate cookie redirect empty unchanged headers slow cut
      continue]], { "/usr/bin/python3", "-c", AIOHTTP, quiet }, f)
  end,
  ["Python's http.server"] = function(f)
    program("http.server", "HEAD stream echo gzip cookie redirect empty unchanged headers cut",
      { "/usr/bin/python3", "-c", PYTHON, quiet }, f)
  end,
}

return M
