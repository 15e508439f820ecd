-- Other people's clients: Python's aiohttp, Node's ws, Chromium; and nginx in between. Each echoes messages of all kinds and sizes, compressed
-- and not, and closes; the server closes, too.
local asyncio = require "asyncio"
local browser = require "spec.browser"
local helper = require "spec.helper"

local has, web = pcall(require, "http.web")
if not has or not pcall(require, "http.core") then return pending("built without HTTP") end
local testing = require "http.testing"
local wsclient = require "spec.http.wsclient"
local T = web.WSMsgType

--- Runs f(port, seen) while there are /echo, /server-closes and /page.
local function serve(f, page)
  asyncio.run(async(function()
    local seen = { codes = {} }
    local app = web.Application()
    app:add_routes {
      web.get("/echo", async(function(request)
        local ws = web.WebSocketResponse { protocols = { "echo" }, heartbeat = 10 }
        await(ws:prepare(request))
        await(ws:ping("are you there?"))
        seen.compress = ws.compress
        for msg in ws:messages() do
          if msg.type == T.TEXT then
            await(ws:send_str(msg.data))
          else
            await(ws:send_bytes(msg.data))
          end
        end
        seen.codes[#seen.codes + 1] = ws.close_code
        return ws
      end)),
      web.get("/server-closes", async(function(request)
        local ws = web.WebSocketResponse()
        await(ws:prepare(request))
        await(ws:close { code = 4321, message = "schön war's" })
        return ws
      end)),
      web.get("/events", async(function(request)
        local events <close> = await(web.EventSourceResponse():prepare(request))
        await(events:send("one", { id = "1" }))
        await(events:wait())
        seen.left = true
        return events
      end)),
      web.get("/page", async(function() return web.Response { text = page, content_type = "text/html", charset = "utf-8" } end)),
    }
    local server <close> = testing.TestServer(app)
    await(server:start_server())
    f(server.port, seen)
  end))
end

--- What a program prints; it must succeed.
local function run(program, code, arg)
  local process = await(asyncio.create_subprocess_exec(program, arg, { stdin = asyncio.PIPE, stdout = asyncio.PIPE, stderr = asyncio.PIPE }))
  local late = asyncio.get_running_loop():call_later(60 * helper.slow, function() process:kill() end)
  local out, err = await(process:communicate(code))
  late:cancel()
  assert.equal(0, process.returncode, err)
  return out
end

describe("web.WebSocketResponse and others' clients", function()
  if helper.sh("/usr/bin/python3 -c 'import aiohttp'") == 0 then
    it("talks to Python's aiohttp", function()
      serve(function(port, seen)
        local out = run("/usr/bin/python3", ([[
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession() as session:
        for compress in (0, 15, 9):
            async with session.ws_connect("http://127.0.0.1:%d/echo", protocols=("echo",), compress=compress, max_msg_size=0) as ws:
                assert ws.protocol == "echo", ws.protocol
                assert bool(ws.compress) == bool(compress), ws.compress
                for n in (0, 1, 125, 126, 65535, 65536, 1000000):
                    text = ("ä" * n)[:n]
                    await ws.send_str(text)
                    assert (await ws.receive_str()) == text
                    await ws.send_bytes(bytes(n))
                    assert (await ws.receive_bytes()) == bytes(n)
                await ws.send_json({"a": [1, None]})
                assert (await ws.receive_json()) == {"a": [1, None]}
                await ws.ping(b"p")
                await ws.close(code=4000 + compress)
        ws = await session.ws_connect("http://127.0.0.1:%d/server-closes")
        msg = await ws.receive()
        assert msg.type == aiohttp.WSMsgType.CLOSE and msg.data == 4321 and msg.extra == "schön war's", msg
        print("fine")
asyncio.run(main())
]]):format(port, port), "-")
        assert.equal("fine\n", out)
        assert.same({ 4000, 4015, 4009 }, seen.codes)
      end)
    end)
  else
    pending("talks to Python's aiohttp: python3-aiohttp is not installed")
  end

  if helper.sh("NODE_PATH=/usr/share/nodejs node -e 'require(\"ws\")'") == 0 then
    it("talks to Node's ws", function()
      serve(function(port, seen)
        local out = run("node", ([[
const WebSocket = require("/usr/share/nodejs/ws");
const assert = require("assert");
const { once } = require("events");
let step = "start";
process.on("exit", () => { if (step != "fine") { console.error("ended at " + step); process.exitCode = 3; } });
async function main() {
  for (const deflate of [false, { threshold: 0 }, { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: 10, clientMaxWindowBits: 10 }]) {
    const ws = new WebSocket("ws://127.0.0.1:%d/echo", ["other", "echo"], { perMessageDeflate: deflate });
    await once(ws, "open");
    assert.equal(ws.protocol, "echo");
    assert.equal(ws.extensions != "", !!deflate);
    for (const n of [0, 1, 125, 126, 65535, 65536, 1000000]) {
      step = "echo of " + n;
      let reply = once(ws, "message");
      ws.send("é".repeat(n));
      let [data, binary] = await reply;
      assert(!binary && data.toString() == "é".repeat(n));
      reply = once(ws, "message");
      ws.send(Buffer.alloc(n, 255));
      [data, binary] = await reply;
      assert(binary && data.equals(Buffer.alloc(n, 255)));
    }
    step = "fragments";
    const reply = once(ws, "message");
    ws.send("fr", { fin: false });
    ws.send("ag", { fin: false });
    ws.ping("between");
    ws.send("ment", { fin: true });
    assert.equal((await reply)[0].toString(), "fragment");
    step = "close";
    const closed = once(ws, "close");
    ws.close(4001, "bye");
    const [code, reason] = await closed;
    assert.equal(code + reason.toString(), "4001bye");
  }
  step = "closed by the server";
  const ws = new WebSocket("ws://127.0.0.1:%d/server-closes");
  const [code, reason] = await once(ws, "close");
  assert.equal(code + reason.toString(), "4321schön war's");
  step = "refused";
  const wrong = new WebSocket("ws://127.0.0.1:%d/page");
  const [err] = await once(wrong, "error");
  assert.equal(err.message, "Unexpected server response: 200");
  step = "fine";
  console.log("fine");
}
main().catch(e => { console.error(e); process.exit(1); });
]]):format(port, port, port), "-")
        assert.equal("fine\n", out)
        assert.same({ 4001, 4001, 4001 }, seen.codes)
      end)
    end)
  else
    pending("talks to Node's ws: node-ws is not installed")
  end

  it("goes through nginx, which is in front of it", function()
    serve(function(port, seen)
      local folder, front = helper.tmpdir(), helper.unused_port()
      local f <close> = assert(io.open(folder .. "/nginx.conf", "w"))
      f:write((([[
daemon off; master_process off; pid D/pid; error_log D/error.log;
events {}
http {
  access_log off; client_body_temp_path D; proxy_temp_path D; fastcgi_temp_path D; uwsgi_temp_path D; scgi_temp_path D;
  map $http_upgrade $connection_upgrade { default upgrade; "" close; }
  server {
    listen 127.0.0.1:%d;
    location / {
      proxy_pass http://127.0.0.1:%d; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }
  }
}]]):format(front, port):gsub("%f[%w]D%f[^%w]", folder)))
      f:close()
      helper.background(("nginx -p %s -e %s/error.log -c %s/nginx.conf"):format(folder, folder, folder))
      helper.wait_port(front)
      local ws <close> = wsclient.connect(front, "/echo", {
        headers = { ["Sec-WebSocket-Protocol"] = "echo", ["Sec-WebSocket-Extensions"] = "permessage-deflate" },
      })
      for _, n in ipairs { 1, 1000, 200000 } do
        await(ws:send_str(("through "):rep(n)))
        assert.equal(("through "):rep(n), await(ws:receive_str(60 * helper.slow)))
      end
      assert.is_true(await(ws:close { code = 4002 }))
      assert.equal(4002, ws.conn:close_code())
      -- an event is passed on as it comes, and the end is noticed
      local reader, writer = await(asyncio.open_connection("127.0.0.1", front))
      writer:write("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
      assert.is_truthy(await(asyncio.wait_for(reader:readuntil("id: 1\ndata: one\n\n"), 60 * helper.slow)))
      writer:close()
      assert.is_true(helper.eventually(function() return seen.left end))
      assert.same({ 4002 }, seen.codes)
    end)
  end)

  if browser.command() then
    it("talks to Chromium", function()
      serve(function(port, seen)
        local page <close> = browser.open(("http://127.0.0.1:%d/page"):format(port))
        assert.equal("fine", page:wait("document.title != 'busy' && document.title"))
        assert.same({ 3999 }, seen.codes)
        assert.is_true(seen.compress)
        assert.same({}, page:errors())
      end, [[<!doctype html><title>busy</title><script>
function once(ws, name) { return new Promise(yes => ws.addEventListener(name, yes, { once: true })); }
async function main() {
  const ws = new WebSocket("ws://" + location.host + "/echo", ["echo"]);
  ws.binaryType = "arraybuffer";
  await once(ws, "open");
  if (ws.protocol != "echo") throw "protocol " + ws.protocol;
  for (const n of [0, 1, 125, 126, 65536, 300000]) {
    let reply = once(ws, "message");
    ws.send("€".repeat(n));
    if ((await reply).data != "€".repeat(n)) throw "text " + n;
    reply = once(ws, "message");
    ws.send(new Uint8Array(n).fill(200));
    const data = new Uint8Array((await reply).data);
    if (data.length != n || data.some(b => b != 200)) throw "bytes " + n;
  }
  let closed = once(ws, "close");
  ws.close(3999, "bye");
  let event = await closed;
  if (!event.wasClean || event.code != 3999) throw "close " + event.code;
  const other = new WebSocket("ws://" + location.host + "/server-closes");
  event = await once(other, "close");
  if (!event.wasClean || event.code != 4321 || event.reason != "schön war's") throw "closed " + event.code;
  return "fine";
}
main().then(x => document.title = x, e => document.title = "failed: " + e);
</script>]])
    end)
  else
    pending("talks to Chromium: it is not installed")
  end
end)
