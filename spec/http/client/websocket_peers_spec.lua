-- ws_connect and other people's servers: Python's aiohttp, Node's ws, and nginx in between. Each echoes messages of all
-- kinds and sizes, compressed and not, and closes.
local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local has, http = pcall(require, "http")
if not has or not pcall(require, "http.client.core") then return pending("built without HTTP") end
local T = http.WSMsgType

local AIOHTTP = [[
import asyncio
from aiohttp import web, WSMsgType
async def echo(r):
    ws = web.WebSocketResponse(protocols=["echo"], max_msg_size=1 << 24, compress=True); await ws.prepare(r)
    await ws.ping(b"are you there?")
    async for m in ws:
        if m.type == WSMsgType.TEXT: await ws.send_str(m.data)
        else: await ws.send_bytes(m.data)
    return ws
async def closes(r):
    ws = web.WebSocketResponse(); await ws.prepare(r)
    await ws.close(code=4321, message="schön war's".encode()); return ws
async def main():
    app = web.Application(); app.router.add_get("/echo", echo); app.router.add_get("/closes", closes)
    runner = web.AppRunner(app); await runner.setup(); site = web.TCPSite(runner, "127.0.0.1", 0); await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(1e6)
asyncio.run(main())
]]

local NODE = [[
const http = require('node:http'), { WebSocketServer } = require('/usr/share/nodejs/ws');
const server = http.createServer((req, res) => res.writeHead(404).end());
const wss = new WebSocketServer({ server, maxPayload: 1 << 24, handleProtocols: (p) => (p.has('echo') ? 'echo' : false),
  perMessageDeflate: { threshold: 0 } });
wss.on('connection', (ws, req) => {
  if (req.url === '/closes') return ws.close(4321, "schön war's");
  ws.ping('are you there?');
  ws.on('message', (data, binary) => ws.send(data, { binary }));
  ws.on('error', () => {});
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
]]

--- Runs f(port) while the program runs, which prints its port first.
local function with_server(program, flag, code, f)
  asyncio.run(async(function()
    local server <close> = await(asyncio.create_subprocess_exec(program, flag, code,
      { stdout = asyncio.PIPE, stderr = asyncio.subprocess.DEVNULL }))
    local _ <close> = asyncio.timeout(60 * helper.slow)
    local port = math.tointeger(tonumber(await(server.stdout:readline())))
    f(port)
    server:kill()
    await(server:wait())
  end))
end

local sizes = { 0, 1, 125, 126, 65535, 65536, 300000 }

local function echo(session, url)
  for _, compress in ipairs { false, true } do
    local ws <close> = await(session:ws_connect(url .. "/echo", { protocols = { "no", "echo" }, compress = compress, max_msg_size = 0 }))
    assert.equal("echo", ws.protocol)
    assert.equal(compress and 15, ws.compress)
    for _, n in ipairs(sizes) do
      local text = ("täglich "):rep(n // 9 + 1):sub(1, n):gsub("[\195]$", "x")
      await(ws:send_str(text))
      assert.is_true(await(ws:receive_str()) == text)
      local bytes = ("\0\255\1"):rep(n // 3 + 1):sub(1, n)
      await(ws:send_bytes(bytes))
      assert.is_true(await(ws:receive_bytes()) == bytes)
    end
    await(ws:ping("hello"))
    local many = {}
    for i = 1, 200 do many[i] = ws:send_str("message " .. i) end
    await(asyncio.gather(many))
    for i = 1, 200 do assert.equal("message " .. i, await(ws:receive_str())) end
    assert.is_true(await(ws:close { code = 1000, message = "bye" }))
    assert.equal(1000, ws.close_code)
  end
end

local function closes(session, url)
  local ws <close> = await(session:ws_connect(url .. "/closes"))
  local msg = await(ws:receive())
  assert.same({ T.CLOSE, 4321, "schön war's" }, { msg.type, msg.data, msg.extra })
end

local function refuses(session, url)
  local e = helper.raises(http.WSServerHandshakeError, await, session:ws_connect(url .. "/nothing"))
  assert.equal(404, e.status)
end

describe("ws_connect", function()
  it("talks to Python's aiohttp", function()
    with_server("/usr/bin/python3", "-c", AIOHTTP, function(port)
      local session <close> = http.ClientSession()
      local url = "ws://127.0.0.1:" .. port
      echo(session, url)
      closes(session, url)
      refuses(session, url)
    end)
  end)

  it("talks to Node's ws", function()
    with_server("node", "-e", NODE, function(port)
      local session <close> = http.ClientSession()
      local url = "ws://127.0.0.1:" .. port
      echo(session, url)
      closes(session, url)
    end)
  end)

  it("talks through nginx", function()
    with_server("/usr/bin/python3", "-c", AIOHTTP, function(port)
      local dir <close> = await(fs.TemporaryDirectory())
      local conf = [[
worker_processes 1; daemon off; master_process off; pid DIR/pid; error_log DIR/error;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path DIR/t; proxy_temp_path DIR/t; fastcgi_temp_path DIR/t;
  uwsgi_temp_path DIR/t; scgi_temp_path DIR/t;
  server {
    listen unix:DIR/socket;
    location / { proxy_pass http://127.0.0.1:TO; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; }
  }
}
]]
      await(fs.write_file(dir.path .. "/conf", (conf:gsub("DIR", dir.path):gsub("TO", tostring(port)))))
      local nginx <close> = await(asyncio.create_subprocess_exec("nginx", "-c", dir.path .. "/conf", "-p", dir.path,
        { stderr = asyncio.subprocess.DEVNULL, add_env = { PATH = os.getenv("PATH") .. ":/usr/sbin" } }))
      helper.wait_unix(dir.path .. "/socket")
      local session <close> = http.ClientSession { connector = http.UnixConnector(dir.path .. "/socket") }
      echo(session, "ws://localhost")
      closes(session, "ws://localhost")
      await(session:close())
      nginx:terminate()
      await(nginx:wait())
    end)
  end)
end)
