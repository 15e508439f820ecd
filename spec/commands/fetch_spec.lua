--- moonloop fetch: against a server in a process of its own.

local helper = require "spec.helper"
local json = require "json"
local processes = require "spec.commands.processes"

local server -- its port, for one spec

local function url(path)
  if not server then
    local _, _, port = processes.start("spec/commands/server.lua")
    server = port
  end
  return ("http://127.0.0.1:%d%s"):format(server, path)
end

local function fetch(path, args, opts)
  return helper.cli(("fetch %s %s"):format(args or "", helper.quote(url(path))), opts)
end

--- What the server got: method, path, headers by name, body.
local function echo(args, opts, path)
  local status, out, err = fetch(path or "/echo", args, opts)
  assert.same({ 0, "" }, { status, err })
  local got = json.decode(out)
  for _, line in ipairs(got.headers) do
    local name, value = line:match("^(.-): (.*)$")
    got.headers[name:lower()] = value
  end
  return got
end

local function long()
  local list = {}
  for i = 1, 30000 do list[i] = ("%09d\n"):format(i) end
  return table.concat(list)
end

--- Status and standard error.
local function pick(status, _, err) return status, err end

local function exists(path)
  local f = io.open(path)
  if f then f:close() end
  return f ~= nil
end

describe("moonloop fetch", function()
  after_each(function() server = nil end)

  it("prints what a server answers", function()
    assert.same({ 0, "hello", "" }, { fetch("/") })
    assert.same({ 0, "hello", "" }, { helper.cli("fetch " .. url("/"):gsub("^http://", "")) })
    assert.same({ 0, "as you like", "" }, { fetch("/status/404") })
    local status, out, err = fetch("/status/404", "--fail")
    assert.same({ 1, "" }, { status, out })
    assert.equal(("moonloop fetch: GET %s: 404 Not Found\n"):format(url("/status/404")), err)
    assert.same({ 1, "", "" }, { fetch("/status/404", "-sf") })
    status, out = helper.cli(("fetch %s %s"):format(url("/"), url("/name.txt")))
    assert.same({ 0, "hellonamed" }, { status, out })
    assert.equal(3 << 20, #select(2, fetch("/big")))
  end)

  it("shows headers, with the body and alone", function()
    local _, out = fetch("/", "-i")
    assert.truthy(out:find("^HTTP/1.1 200 OK\r\n.*Content%-Length: 5\r\n.*\r\n\r\nhello$"), out)
    _, out = fetch("/", "-I")
    assert.truthy(out:find("^HTTP/1.1 200 OK\r\n.*Content%-Length: 5\r\n.*\r\n\r\n$"), out)
  end)

  it("sends headers, methods and credentials", function()
    local got = echo("-X PURGE -H 'X-A: b: c' -H 'Accept:' -H 'X-Empty;' -A me -e http://x/ -u user:secret -b 'a=1; b=2'")
    assert.same({ "PURGE", "b: c", "", "me", "http://x/", "Basic dXNlcjpzZWNyZXQ=", "a=1; b=2" }, {
      got.method, got.headers["x-a"], got.headers["x-empty"], got.headers["user-agent"], got.headers.referer,
      got.headers.authorization, got.headers.cookie,
    })
    assert.is_nil(got.headers.accept)
    assert.equal("gzip, deflate, br", echo("").headers["accept-encoding"]:gsub("%s*$", ""))
    assert.equal("identity", echo("--no-compressed").headers["accept-encoding"])
    assert.equal("bytes=5-9", echo("-r 5-9").headers.range)
  end)

  it("sends data of every kind", function()
    local file = helper.tmpfile("line 1\nline 2\n", ".txt")
    local form = "application/x-www-form-urlencoded"
    for args, want in pairs {
      ["-d a=b -d c"] = { "POST", form, "a=b&c" },
      ["-d @" .. file] = { "POST", form, "line 1line 2" },
      ["--data-binary @" .. file] = { "POST", form, "line 1\nline 2\n" },
      ["--data-raw @x"] = { "POST", form, "@x" },
      ["--data-urlencode 'a=b c&d' --data-urlencode x@" .. file] = { "POST", form, "a=b+c%26d&x=line+1%0Aline+2%0A" },
      ["-d x -H 'content-type: text/plain' -X PUT"] = { "PUT", "text/plain", "x" },
      ["--json '{\"a\":' --json 1}"] = { "POST", "application/json", '{"a":1}' },
      ["-T " .. file] = { "PUT", "text/plain", "line 1\nline 2\n" },
    } do
      local got = echo(args)
      assert.same(want, { got.method, got.headers["content-type"], got.body }, args)
    end
    local got = echo("-G -d a=b --data-urlencode 'c=d e'", nil, "/echo?x#y")
    assert.same({ "GET", "/echo?x&a=b&c=d+e", "" }, { got.method, got.path, got.body })
    got = echo("-d @-", { stdin = "from\nstdin" })
    assert.equal("fromstdin", got.body)
    got = echo("-T -", { stdin = ("x"):rep(100000) })
    assert.same({ "PUT", "chunked", 100000 }, { got.method, got.headers["transfer-encoding"], #got.body })
  end)

  it("posts forms with files", function()
    local file = helper.tmpfile("the file", ".png")
    local got = echo(("-F a=b -F 'f=@%s' -F 'g=@%s;type=text/x;filename=other' -F 'h=<%s' --form-string 'i=@x;type=y'"):format(
      file, file, file))
    local boundary = got.headers["content-type"]:match("^multipart/form%-data; boundary=\"?([^\"]+)\"?$")
    assert(boundary, got.headers["content-type"])
    local parts = {}
    for head, body in got.body:gmatch("\r?\n?%-%-" .. boundary:gsub("%p", "%%%0") .. "\r\n(.-)\r\n\r\n(.-)%f[\r]") do
      local name = head:match('name="([^"]*)"')
      parts[name] = { head:match('filename="([^"]*)"') or false, head:match("Content%-Type: ([^\r\n]*)") or false, body }
    end
    assert.same({
      a = { false, false, "b" }, f = { file:match("[^/]*$"), "image/png", "the file" }, g = { "other", "text/x", "the file" },
      h = { false, false, "the file" }, i = { false, false, "@x;type=y" },
    }, parts)
  end)

  it("goes to a unix socket, to addresses of one kind, through a proxy", function()
    local socket = helper.tmpdir() .. "/socket"
    helper.background(("%s %s %s"):format(helper.quote(helper.moonloop), "spec/commands/server.lua", socket))
    processes.eventually("a server on a unix socket", function()
      return helper.sh("test -S " .. socket) == 0
    end)
    local _
    local status, out, err = helper.cli(("fetch --retry 9 --unix-socket %s -k http://name/echo"):format(socket))
    assert.same({ 0, "name" }, { status, json.decode(out).headers[1]:match("^Host: (.*)$") }, err)
    local at = "http://localhost:" .. url(""):match("%d+$")
    assert.same({ 0, "hello", "" }, { helper.cli("fetch -4 --connect-timeout 20 " .. at) })
    status, _, err = helper.cli("fetch -6 " .. at)
    assert.equal(1, status)
    assert.truthy(err:find("Cannot connect", 1, true), err)
    local env = { http_proxy = "http://127.0.0.1:1" }
    assert.same({ 0, "hello", "" }, { fetch("/", "--noproxy", { env = env }) })
    status, _, err = fetch("/", "", { env = env })
    assert.equal(1, status)
    assert.truthy(err:find("Cannot connect to proxy 127.0.0.1:1", 1, true), err)
    out = select(2, fetch("/", "-x " .. url(""))) -- a server that is asked for a whole URL, as a proxy is
    assert.equal("hello", out)
    err = select(3, fetch("/", "-v --proxy-user me:secret -x " .. url("")))
    assert.truthy(err:find("> Proxy-Authorization: Basic ...", 1, true), err)
  end)

  it("follows redirects, or not", function()
    assert.equal("GET", echo("-L", nil, "/moved").method)
    local _, out = fetch("/moved", "-i --no-location")
    assert.truthy(out:find("^HTTP/1.1 302 Found\r\n"), out)
    assert.same({ out:match("^[^\n]*\n") }, { select(2, fetch("/moved", "-i --max-redirs 0")):match("^[^\n]*\n") })
  end)

  it("keeps cookies in a file", function()
    local jar = helper.tmpdir() .. "/jar"
    assert.same({ 0, "none", "" }, { fetch("/cookie", "-c " .. jar) })
    assert.same({ 0, "seen=yes", "" }, { fetch("/cookie", "-b " .. jar) })
    local status, _, err = fetch("/cookie", "-b /no/such/jar")
    assert.equal(2, status)
    assert.truthy(err:find("--cookie: ", 1, true), err)
    status, _, err = fetch("/cookie", "-c /no/such/jar")
    assert.same({ 1, "moonloop fetch: --cookie-jar: " }, { status, err:sub(1, 30) }, err)
    assert.falsy(err:find("traceback", 1, true), err)
  end)

  it("downloads into files, named by -o, by the URL, by the server", function()
    local dir = helper.tmpdir()
    local program = helper.program()
    local function run(args) return helper.sh(("exec %s fetch %s"):format(program, args), { cwd = dir }) end
    assert.same({ 0, "", "" }, { run("-o x " .. url("/long")) })
    assert.equal(long(), processes.read(dir .. "/x"))
    assert.falsy(exists(dir .. "/x.fetch"))
    assert.same({ 0, "", "" }, { run("-O " .. url("/name.txt?query")) })
    assert.equal("named", processes.read(dir .. "/name.txt"))
    assert.same({ 0, "", "" }, { run("-J " .. url("/attachment")) })
    assert.equal("attached", processes.read(dir .. "/evil_name.txt"))
    local status, _, err = run("-J " .. url("/attachment"))
    assert.equal(1, status)
    assert.truthy(err:find("there is a file 'evil_name.txt' already", 1, true), err)
    status, _, err = run(("-J --parallel 2 --output-dir c %s %s"):format(url("/attachment"), url("/attachment")))
    assert.equal(1, status)
    assert.truthy(err:find("there is a file 'c/evil_name.txt' already", 1, true), err)
    assert.equal("attached", processes.read(dir .. "/c/evil_name.txt"))
    assert.same({ 0, "", "" }, { run(("--output-dir a/b -o 1 -o 2 --parallel 2 %s %s"):format(url("/"), url("/dated"))) })
    assert.equal("hello" .. "old", processes.read(dir .. "/a/b/1") .. processes.read(dir .. "/a/b/2"))
    assert.same({ 0, "", "" }, { run("-R -o old " .. url("/dated")) })
    local _, when = helper.sh("stat -c %Y " .. dir .. "/old")
    assert.equal("784111777\n", when)
    status, _, err = run("-O " .. url("/"))
    assert.equal(2, status)
    assert.truthy(err:find("does not end with a file's name", 1, true), err)
    status = run("-o x " .. url("/status/404"))
    assert.equal(1, status)
    assert.equal(long(), processes.read(dir .. "/x")) -- an error's page is no file
    status, _, err = run("-o /no/such/folder/x " .. url("/"))
    assert.equal(1, status)
    assert.truthy(err:find("/no/such/folder/x", 1, true), err)
    status, _, err = run("--output-dir x/below -O " .. url("/name.txt"))
    assert.same({ 1, "moonloop fetch: --output-dir: " }, { status, err:sub(1, 30) }, err)
  end)

  it("undoes encodings", function()
    assert.equal(("compressible "):rep(1000), select(2, fetch("/gzip")))
    local path = helper.tmpdir() .. "/x"
    fetch("/gzip", "--compressed -o " .. path)
    assert.equal(("compressible "):rep(1000), processes.read(path))
  end)

  it("goes on with a download that was cut off, if the server still has the same", function()
    local path = helper.tmpdir() .. "/x"
    local status, _, err = fetch("/flaky", "-o " .. path)
    assert.equal(1, status)
    assert.truthy(err:find(" of 300000 bytes", 1, true), err)
    local size = #processes.read(path)
    assert(size > 0 and size <= 120000, size)
    assert.equal('"v1"', json.decode(processes.read(path .. ".fetch")).validator)
    status = fetch("/flaky", "-C - -o " .. path)
    assert.equal(1, status)
    assert(#processes.read(path) > size)
    assert.same({ 0, "", "" }, { fetch("/long", "--continue -o " .. path) })
    assert.equal(long(), processes.read(path))
    assert.falsy(exists(path .. ".fetch"))
    assert.same({ 0, "", "" }, { fetch("/flaky", "--continue -o " .. path) }) -- all of it is there
    assert.equal(long(), processes.read(path))
  end)

  it("begins anew when the server has something else, and never glues together", function()
    local path = helper.tmpdir() .. "/x"
    fetch("/changing", "-o " .. path)
    local status, _, err = fetch("/changing", "-C - -o " .. path)
    assert.equal(1, status)
    assert.truthy(err:find("is downloaded from the beginning", 1, true), err)
    assert.equal(long():sub(1, 60000), processes.read(path):sub(1, 60000))
    assert(#processes.read(path) <= 120000)
    assert.equal(0, (fetch("/changing", "-C - -o " .. path)))
    assert.equal(long(), processes.read(path))
    processes.write(path, ("y"):rep(400000)) -- longer than what there is
    status, err = pick(fetch("/long", "-C - -o " .. path))
    assert.equal(0, status)
    assert.truthy(err:find("from the beginning", 1, true), err)
    assert.equal(long(), processes.read(path))
    processes.write(path, "12345678")
    status, err = pick(fetch("/wrong", "-C - -o " .. path))
    assert.equal(1, status)
    assert.truthy(err:find("another part than it was asked for", 1, true), err)
    assert.equal("12345678", processes.read(path))
    status = fetch("/status/500", "-C - -o " .. path)
    assert.equal(1, status)
    assert.equal("12345678", processes.read(path))
  end)

  it("tries again, and goes on where it was", function()
    local path = helper.tmpdir() .. "/x"
    local status, out, err = fetch("/flaky", "--retry 9 --retry-delay 0 -o " .. path)
    assert.same({ 0, "" }, { status, out })
    assert.equal(long(), processes.read(path))
    assert(select(2, err:gsub("; again in 0 s %(%d of 9%)\n", "")) >= 2)
    status, out, err = fetch("/busy", "--retry 2")
    assert.same({ 0, "at last" }, { status, out })
    assert.truthy(err:find("503 Service Unavailable; again in 0 s (1 of 2)", 1, true), err)
    status, err = pick(fetch("/status/404", "--retry 2 -f"))
    assert.equal(1, status)
    assert.falsy(err:find("again", 1, true), err)
    local refused = helper.unused_port()
    status, err = pick(helper.cli(("fetch --retry 1 --retry-delay 1ms http://127.0.0.1:%d/"):format(refused)))
    assert.equal(1, status)
    assert.truthy(err:find("again in 0.001 s (1 of 1)", 1, true), err)
    processes.write(path, "something else") -- no part of it: it was not this run that has written it
    status = helper.cli(("fetch --retry 1 --retry-delay 0 -o %s http://127.0.0.1:%d/"):format(path, refused))
    assert.equal(1, status)
    assert.equal("something else", processes.read(path))
  end)

  it("gives up in time", function()
    local status, _, err = fetch("/hang", "-m 100ms")
    assert.equal(1, status)
    assert.truthy(err:find("timeout of 0.1 s", 1, true), err)
    status, _, err = fetch("/hang", "--read-timeout 100ms")
    assert.equal(1, status)
    assert.truthy(err:find("0.1 s on reading", 1, true), err)
  end)

  it("keeps to a rate", function()
    local begun = require("time").monotonic()
    local status, out = fetch("/long", "--limit-rate 1M")
    assert.same({ 0, 300000 }, { status, #out })
    assert(require("time").monotonic() - begun >= 0.28)
    local limited, _, why = fetch("/long", "--limit-rate 100 -m 300ms -o /dev/null")
    assert.equal(1, limited)
    assert.truthy(why:find("timeout of 0.3 s for the whole request (total)", 1, true), why)
  end)

  it("shows what it does with -v, but no secrets", function()
    local status, out, err = fetch("/moved", "-v -u user:secret")
    assert.equal(0, status)
    assert.equal("{", out:sub(1, 1))
    for _, text in ipairs { "* connecting\n", "> GET /moved\n", "> Authorization: Basic ...\n", "< HTTP/1.1 302 Found\n",
      "< Location: /echo\n", "> GET /echo\n", "< HTTP/1.1 200 OK\n" } do
      assert.truthy(err:find(text, 1, true), text .. " in " .. err)
    end
    assert.falsy(err:find("dXNlcjpz", 1, true))
  end)

  it("draws a bar while it downloads, and keeps binary data off the terminal", function()
    local path = helper.tmpdir() .. "/x"
    local function on_terminal(args)
      local _, out = helper.sh("TERM=xterm script -qec " .. helper.quote(helper.moonloop .. " fetch " .. args) .. " /dev/null")
      return out
    end
    local out = on_terminal(("--limit-rate 1M -o %s %s"):format(path, url("/long")))
    assert.truthy(out:find("\rx: +%d+%%|.*/293k %[%d%d:%d%d<.*B/s%]"), out)
    assert.truthy(out:find("x: 100%%|[^\r]*| 293k/293k [^\r]*\r?\n$"), out)
    assert.falsy(on_terminal(("-s -o %s %s"):format(path, url("/long"))):find("293k", 1, true))
    assert.truthy(on_terminal(url("/binary")):find("it is not shown on a terminal", 1, true))
    assert.equal("a\0b", on_terminal("-o - " .. url("/binary")))
    assert.equal("hello", on_terminal(url("/")))
  end)

  it("writes out what a script wants to know", function()
    local function told(path, format, args)
      return fetch(path, ("-s -o /dev/null %s -w %s"):format(args or "", helper.quote(format)))
    end
    assert.same({ 0, "200 5 0\n", "" }, { told("/", "%{http_code} %{size_download} %{num_redirects}\\n") })
    assert.same({ 1, "404 1 100%\tGET|", "" }, { told("/status/404", "%{response_code} %{exitcode} 100%%\\t%{method}|%header{none}") })
    local status, out = told("/", "%{time_total} %header{Content-Type} %{url_effective} %{http_version}")
    assert.equal(0, status)
    assert.matches("^0%.%d+ text/plain; charset=utf%-8 " .. url("/"):gsub("%p", "%%%0") .. " 1%.1$", out)
    status, out = helper.cli("fetch -s -w '%{http_code} %{errormsg}' http://127.0.0.1:1/")
    assert.equal(1, status)
    assert.matches("^000 GET http://127%.0%.0%.1:1/: Cannot connect", out)
    local _, err
    status, _, err = told("/", "%{http_cod}")
    assert.equal(2, status)
    assert.matches("there is no %%{http_cod}", err)
  end)

  it("shows errors alone with -sS", function()
    local status, out, err = helper.cli("fetch -sS http://127.0.0.1:1/")
    assert.same({ 1, "" }, { status, out })
    assert.matches("connection refused", err)
  end)

  it("ends quietly when nobody reads what it prints", function()
    local status, out, err = helper.sh(("bash -c '%s fetch %s | head -c 3; echo ${PIPESTATUS[0]}'"):format(
      helper.moonloop, url("/big")))
    assert.same({ 0, "xxx141\n", "" }, { status, out, err })
  end)

  it("keeps what has come when it is interrupted, and goes on with it", function()
    local path = helper.tmpdir() .. "/x"
    local status, _, err = helper.sh(("%s fetch --limit-rate 30K -o %s %s & pid=$!; until [ -e %s.fetch ]; do sleep 0.05; done; "
      .. "sleep 0.4; kill -INT $pid; wait $pid"):format(helper.moonloop, path, url("/long"), path))
    assert.same({ 130, "KeyboardInterrupt\n" }, { status, err })
    local size = #processes.read(path)
    assert(size > 0 and size < 300000, size)
    assert.same({ 0, "", "" }, { fetch("/long", "-C - -o " .. path) })
    assert.equal(long(), processes.read(path))
  end)

  it("goes on with a file of nginx", function()
    local dir, port = helper.tmpdir(), helper.unused_port()
    os.execute("chmod 755 " .. dir)
    local content = {}
    for i = 1, 400000 do content[i] = ("%09d\n"):format(i) end
    content = table.concat(content)
    processes.write(dir .. "/big.bin", content)
    local conf = helper.tmpfile(([[
pid %s/pid; error_log stderr; events {}
http {
  access_log off; map $http_range $rate { "" 100k; default 0; } limit_rate $rate;
  client_body_temp_path %s/1; proxy_temp_path %s/2; fastcgi_temp_path %s/3; uwsgi_temp_path %s/4; scgi_temp_path %s/5;
  server { listen 127.0.0.1:%d; root %s; }
}
]]):format(dir, dir, dir, dir, dir, dir, port, dir))
    helper.background("nginx -g 'daemon off; master_process off;' -c " .. conf)
    helper.wait_port(port)
    local path, address = dir .. "/copy", ("http://127.0.0.1:%d/big.bin"):format(port)
    local status = helper.sh(("%s fetch -o %s %s & pid=$!; until [ -e %s.fetch ]; do sleep 0.05; done; sleep 0.5; "
      .. "kill -INT $pid; wait $pid"):format(helper.moonloop, path, address, path))
    assert.equal(130, status)
    local size = #processes.read(path)
    assert(size > 0 and size < #content, size)
    local _, _, err = helper.cli(("fetch -v -C - -o %s %s"):format(path, address))
    assert.truthy(err:find(("> Range: bytes=%d-\n"):format(size), 1, true), err)
    assert.truthy(err:find("< HTTP/1.1 206 Partial Content\n", 1, true), err)
    assert.equal(content, processes.read(path))
    processes.write(dir .. "/big.bin", "another one")
    processes.write(path, content:sub(1, 5))
    processes.write(path .. ".fetch", '{"validator":"\\"0-0\\""}')
    status, _, err = helper.cli(("fetch -C - -o %s %s"):format(path, address))
    assert.equal(0, status)
    assert.truthy(err:find("from the beginning", 1, true), err)
    assert.equal("another one", processes.read(path))
  end)

  if helper.has_tls() then
    it("verifies certificates, unless it is told not to", function()
      local certs = require "spec.certs"
      local dir = helper.tmpdir()
      processes.write(dir .. "/index.html", "secure")
      local _, _, port = processes.start(("serve %s --port 0 --quiet --cert %s --key %s"):format(
        dir, certs.path("good.pem"), certs.path("good.key")))
      local function run(args) return helper.cli(("fetch %s https://localhost:%d/"):format(args, port)) end
      local status, out, err = run("")
      assert.same({ 1, "" }, { status, out })
      assert.truthy(err:find("certificate", 1, true), err)
      assert.same({ 0, "secure", "" }, { run("--cacert " .. certs.path("root.pem")) })
      assert.same({ 0, "secure", "" }, { run("-k") })
      assert.same({ 0, "secure", "" }, { run("-k --http1.1") })
      local flags = io.open((helper.moonloop:match("^(.*)/") or "build") .. "/flags")
      local http2 = not flags or flags:read("a"):find("ML_WITH_HTTP2", 1, true)
      if flags then flags:close() end
      err = select(3, run("-k -v"))
      assert.truthy(err:find(http2 and "< HTTP/2 200" or "< HTTP/1.1 200", 1, true), err)
    end)
  end

  it("says what is wrong with its arguments", function()
    helper.refuses("fetch", {
      [""] = "a URL is missing", ["gopher://a"] = "http and https can be requested, not 'gopher'",
      ["http://a:99999/"] = "port", ["-C 5 http://a"] = "-C: '-' was expected, got '5'",
      ["-C - http://a"] = "--continue is for files", ["-r x http://a"] = "--range: '0-499' was expected",
      ["-d a -F b=c http://a"] = "one of --data", ["-G http://a"] = "--get is of no use without --data",
      ["-F nonsense http://a"] = "--form: 'NAME=VALUE' was expected", ["-F 'a=@/no/such' http://a"] = "cannot read '/no/such'",
      ["-d @/no/such http://a"] = "cannot read '/no/such'", ["-T /no/such http://a"] = "cannot read '/no/such'",
      ["--unix-socket '' http://a"] = "--unix-socket: UnixConnector: path must be a string",
      ["-O http://a/x http://b/x"] = "two URLs are for the same file, 'x'",
      ["-u me http://a"] = "USER:PASSWORD", ["-H x http://a"] = "'NAME: VALUE' was expected",
      ["--parallel 2 http://a"] = "--parallel is for files", ["-I -O http://a/b"] = "--head is not for files",
      ["-X 'A B' http://a"] = "is no method", ["--digest http://a"] = "--digest is of no use",
      ["--proxy-digest -x http://b http://a"] = "--proxy-digest is of no use",
    })
    local path = helper.tmpfile("x") -- which is closed, whatever is wrong with what comes behind it
    local _, _, err = helper.cli(("fetch -F f=@%s -F nonsense http://a"):format(path))
    assert.equal("moonloop fetch: --form: 'NAME=VALUE' was expected, got 'nonsense'\nTry 'moonloop fetch --help'.\n", err)
  end)
end)
