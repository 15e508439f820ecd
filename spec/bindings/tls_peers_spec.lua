--- TLS with the programs that users have at the other end: openssl s_client and s_server, curl, nginx, CPython.

if not require("spec.helper").has_tls() then return end

local asyncio = require "asyncio"
local certs = require "spec.certs"
local helper = require "spec.helper"
local ssl = require "ssl"

local run, path = asyncio.run, certs.path

--- Runs a shell command without holding the loop up. Gives its status and output. In the command `await TEXT [N]` waits
--- until N lines of the output (1) match.
local function shell(command)
  local file = helper.tmpfile("")
  command = ("await() { until [ $(grep -ac \"$1\" %s.out) -ge ${2:-1} ]; do sleep 0.01; done; }\n%s"):format(file, command)
  os.execute(("{ timeout %d sh -c %s >%s.out 2>&1 </dev/null; echo $? >%s.rc; } &"):format(60 * helper.slow, helper.quote(command), file, file))
  helper.finally(os.remove, file .. ".out")
  helper.finally(os.remove, file .. ".rc")
  local deadline = asyncio.get_running_loop():time() + 90 * helper.slow
  while true do
    local f = io.open(file .. ".rc")
    local status = f and f:read("n")
    if f then f:close() end
    if status then
      local out <close> = io.open(file .. ".out")
      return status, out:read("a")
    end
    assert(asyncio.get_running_loop():time() < deadline, "no end: " .. command)
    await(asyncio.sleep(0.005))
  end
end

local function reply(text)
  return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"):format(#text, text)
end

--- Answers each request with what f gives of its head.
local function http(f)
  return async(function(r, w)
    local head = await(r:readuntil("\r\n\r\n"))
    w:write(reply(f(head, w)))
    await(w:drain())
    w:close()
  end)
end

local function serve(cb, context)
  local server = await(asyncio.start_server(cb, "127.0.0.1", 0, { ssl = context or certs.server() }))
  return server, server.sockets[1].port
end

local function open(port, context, opts)
  opts = opts or {}
  opts.ssl, opts.server_hostname = context or certs.client(), opts.server_hostname or "localhost"
  return await(asyncio.open_connection("127.0.0.1", port, opts))
end

local function get(port, context)
  local r, w = open(port, context)
  w:write("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
  local all = await(r:read())
  w:close()
  await(w:wait_closed())
  return all
end

describe("our server", function()
  it("serves curl", function()
    run(function()
      local big = ("0123456789"):rep(100000)
      local _server <close>, port = serve(http(function(head) return head:find("/big") and big or "hello curl" end))
      local curl = ("curl -sS --cacert %s --resolve localhost:%d:127.0.0.1 "):format(path "root.pem", port)
      for _, version in ipairs { "--tlsv1.3", "--tls-max 1.2", "" } do
        local status, out = shell(("%s %s https://localhost:%d/"):format(curl, version, port))
        assert.same({ 0, "hello curl" }, { status, out })
      end
      local status, out = shell(("%s https://localhost:%d/big"):format(curl, port))
      assert.same({ 0, true }, { status, out == big })
      -- whom curl does not trust
      assert.equal(60, (shell(("curl -sS https://127.0.0.1:%d/"):format(port))))
      assert.equal(35, (shell(("%s --tls-max 1.1 https://localhost:%d/"):format(curl, port))))
    end)
  end)

  it("offers curl protocols, and asks it for a certificate", function()
    run(function()
      local context = certs.server()
      context:set_alpn_protocols { "http/1.1" }
      context.verify_mode = ssl.CERT_REQUIRED
      context:load_verify_locations(path "root.pem")
      local _server <close>, port = serve(http(function(_, w)
        return w:get_extra_info("alpn") .. " " .. w:get_extra_info("peercert").subject[2][1][2]
      end), context)
      local curl = ("curl -sS --cacert %s --resolve localhost:%d:127.0.0.1 https://localhost:%d/ "):format(path "root.pem", port, port)
      local status, out = shell(("%s --cert %s --key %s"):format(curl, path "client.pem", path "client.key"))
      assert.same({ 0, "http/1.1 client" }, { status, out })
      assert.is_true(shell(curl) ~= 0)
      assert.is_true(shell(("%s --cert %s --key %s"):format(curl, path "selfsigned.pem", path "selfsigned.key")) ~= 0)
    end)
  end)

  it("serves openssl s_client", function()
    run(function()
      local _server <close>, port = serve(async(function(r, w)
        local line = await(r:readline())
        w:write("you said " .. line)
        w:close()
      end))
      for _, version in ipairs { "-tls1_2", "-tls1_3" } do
        local status, out = shell(("{ echo hello; await 'you said hello'; } | openssl s_client -quiet -verify_return_error -verify_hostname localhost -servername localhost -CAfile %s -connect 127.0.0.1:%d %s")
          :format(path "root.pem", port, version))
        assert.equal(0, status, out)
        assert.truthy(out:find("you said hello", 1, true), out)
      end
      local _, out = shell(("echo | openssl s_client -tls1_1 -connect 127.0.0.1:%d"):format(port))
      assert.truthy(out:find("Cipher is %(NONE%)"), out)
    end)
  end)

  it("resumes sessions of s_client", function()
    run(function()
      local _server <close>, port = serve(async(function(r, w)
        w:write(("again %s\n"):format(w:get_extra_info("ssl_object").session_reused))
        await(r:read())
        w:close()
      end))
      local file = helper.tmpfile("")
      for _, version in ipairs { "-tls1_2", "-tls1_3" } do
        local command = "await again | openssl s_client -CAfile %s -connect 127.0.0.1:%d %s -sess_%s %s"
        local _, out = shell(command:format(path "root.pem", port, version, "out", file))
        assert.truthy(out:find("again false", 1, true), out)
        _, out = shell(command:format(path "root.pem", port, version, "in", file))
        assert.truthy(out:find("again true", 1, true), out)
      end
    end)
  end)

  it("refuses to renegotiate", function()
    run(function()
      local got
      local _server <close>, port = serve(async(function(r, w)
        got = await(r:readline())
        w:write("heard\n")
        asyncio.catch(await, r:read())
        w:close()
      end))
      local _, out = shell(("{ echo hello; await heard; echo R; await 'no renegotiation'; } | openssl s_client -tls1_2 -CAfile %s -connect 127.0.0.1:%d")
        :format(path "root.pem", port))
      assert.equal("hello\n", got)
      assert.truthy(out:find("RENEGOTIATING", 1, true), out)
      assert.truthy(out:find("no renegotiation", 1, true), out)
    end)
  end)

  it("survives updates of keys", function()
    run(function()
      local all = asyncio.get_running_loop():create_future()
      local _server <close>, port = serve(async(function(r, w)
        local lines = {}
        for line in r:lines() do
          lines[#lines + 1] = line
          w:write(line .. "\n")
        end
        w:close()
        all:set_result(table.concat(lines, " "))
      end))
      local _, out = shell(("{ echo one; await '^one$'; echo K; await KEYUPDATE; echo two; await '^two$'; echo k; await KEYUPDATE 2; echo three; await '^three$'; } | openssl s_client -tls1_3 -CAfile %s -connect 127.0.0.1:%d")
        :format(path "root.pem", port))
      assert.equal("one two three", await(all))
      assert.truthy(out:find("KEYUPDATE", 1, true), out)
      assert.truthy(out:find("\nthree\n", 1, true), out)
    end)
  end)

  it("serves CPython", function()
    run(function()
      local _server <close>, port = serve(async(function(r, w)
        w:write((await(r:readexactly(120001)):upper()))
        assert(await(r:read(1)) == nil)
        w:close()
      end))
      local script = helper.tmpfile(([[
import socket, ssl
c = ssl.create_default_context(cafile=%q)
with socket.create_connection(("127.0.0.1", %d)) as s, c.wrap_socket(s, server_hostname="localhost") as t:
    t.sendall(b"hello python" * 10000 + b"\n")
    got = b""
    while not got.endswith(b"\n"):
        got += t.recv(65536)
    t.unwrap()
print(got == b"HELLO PYTHON" * 10000 + b"\n", t.version())
]]):format(path "root.pem", port), ".py")
      local status, out = shell("python3 " .. script)
      assert.same({ 0, "True None\n" }, { status, out })
    end)
  end)
end)

describe("our client", function()
  local function s_server(args)
    local port = helper.unused_port()
    helper.background(("openssl s_server -accept 127.0.0.1:%d -www -cert_chain %s -cert %s -key %s %s"):format(port,
      path "inter.pem", path "good.pem", path "good.key", args or ""))
    helper.wait_port(port)
    return port
  end

  it("asks openssl s_server", function()
    local port = s_server()
    run(function()
      for _, version in ipairs { "TLSv1_2", "TLSv1_3" } do
        local context = certs.client()
        context.maximum_version, context.minimum_version = ssl.TLSVersion[version], ssl.TLSVersion[version]
        local page = get(port, context)
        local name = version:gsub("_", ".")
        assert.truthy(page:find("Protocol *: " .. name) or page:find(name, 1, true), page)
      end
      helper.raises(ssl.SSLCertVerificationError, open, port, ssl.create_default_context())
    end)
  end)

  it("shows s_server its certificate", function()
    local port = s_server(("-Verify 3 -verify_return_error -CAfile %s"):format(path "root.pem"))
    run(function()
      local context = certs.client()
      context:load_cert_chain(path "client.pem", path "client.key")
      assert.truthy(get(port, context):find("CN ?= ?client"))
      helper.raises(ssl.SSLError, get, port)
    end)
  end)

  it("asks nginx", function()
    local folder, port = helper.tmpdir(), helper.unused_port()
    local function write(name, text)
      local f <close> = assert(io.open(folder .. "/" .. name, "w"))
      f:write(text)
    end
    write("big.txt", ("0123456789"):rep(200000))
    write("nginx.conf", ([[
daemon off; master_process off; pid %s/pid; error_log %s/error.log;
events {}
http {
  access_log off; client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;
  server {
    listen 127.0.0.1:%d ssl; ssl_certificate "%s"; ssl_certificate_key "%s"; ssl_protocols TLSv1.2 TLSv1.3;
    root %s;
    location = / { return 200 "hello $ssl_protocol"; }
  }
}]]):format(folder, folder, folder, folder, folder, folder, folder, port,
      helper.pwd() .. "/" .. path "good.pem", helper.pwd() .. "/" .. path "good.key", folder))
    helper.background(("nginx -p %s -e %s/error.log -c %s/nginx.conf"):format(folder, folder, folder))
    helper.wait_port(port)
    run(function()
      assert.truthy(get(port):find("hello TLSv1.3", 1, true))
      local context = certs.client()
      context.maximum_version = ssl.TLSVersion.TLSv1_2
      assert.truthy(get(port, context):find("hello TLSv1.2", 1, true))
      local r, w = open(port)
      w:write("GET /big.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
      await(r:readuntil("\r\n\r\n"))
      local n = 0
      while true do
        local data = await(r:read(65536))
        if not data then break end
        n = n + #data
      end
      assert.equal(2000000, n)
      w:close()
      await(w:wait_closed())
    end)
  end)

  it("is served through nginx too", function()
    local folder, port = helper.tmpdir(), helper.unused_port()
    run(function()
      local _server <close>, ours = serve(http(function(head) return "behind nginx: " .. head:match("^%S+ %S+") end))
      local f <close> = assert(io.open(folder .. "/nginx.conf", "w"))
      f:write(([[
daemon off; master_process off; pid %s/pid; error_log %s/error.log;
events {}
http {
  access_log off; client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;
  server {
    listen 127.0.0.1:%d;
    location / {
      proxy_pass https://127.0.0.1:%d; proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on;
      proxy_ssl_trusted_certificate "%s"; proxy_ssl_verify_depth 3; proxy_ssl_session_reuse on;
    }
  }
}]]):format(folder, folder, folder, folder, folder, folder, folder, port, ours, helper.pwd() .. "/" .. path "root.pem"))
      f:close()
      helper.background(("nginx -p %s -e %s/error.log -c %s/nginx.conf"):format(folder, folder, folder))
      helper.wait_port(port)
      for _ = 1, 3 do
        local status, out = shell(("curl -sS http://127.0.0.1:%d/x"):format(port))
        assert.same({ 0, "behind nginx: GET /x" }, { status, out })
      end
    end)
  end)

  it("talks with CPython's asyncio", function()
    local port = helper.unused_port()
    local script = helper.tmpfile(([[
import asyncio, ssl
async def echo(r, w):
    while data := await r.read(65536):
        w.write(data)
        await w.drain()
    w.close()
async def main():
    c = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    c.load_cert_chain(%q, %q)
    async with await asyncio.start_server(echo, "127.0.0.1", %d, ssl=c) as s:
        await s.serve_forever()
asyncio.run(main())
]]):format(path "good.pem", path "good.key", port), ".py")
    helper.background("python3 " .. script)
    helper.wait_port(port)
    run(function()
      local r, w = open(port)
      local text = ("abc"):rep(100000)
      w:write(text)
      assert.equal(text, await(r:readexactly(#text)))
      w:close()
      await(w:wait_closed())
    end)
  end)
end)
