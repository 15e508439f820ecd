local helper = require "spec.helper"

-- A server that answers each path in its own way; /most tells how many /page were under way at once.
local odd_server = [=[
import socketserver, sys, time, threading
lock, together = threading.Lock(), threading.Barrier(3)
now = most = 0
ok = b"HTTP/1.1 200 OK\r\n"
answers = {
    "/chunked": ok + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: 1\r\n\r\n",
    "/close": ok + b"\r\nuntil the end",
    "/interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok + b"Content-Length: 2\r\n\r\nok",
    "/nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/redirect": b"HTTP/1.1 302 Found\r\nLocation: /a/./b/../moved\r\nContent-Length: 0\r\n\r\n",
    "/a/moved": b"HTTP/1.1 307 Temporary Redirect\r\nLocation: ../close?x#y\r\nContent-Length: 0\r\n\r\n",
    "/loop": b"HTTP/1.1 301 Moved\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n",
    "/away": b"HTTP/1.1 301 Moved\r\nLocation: gopher://example.invalid/\r\nContent-Length: 0\r\n\r\n",
    "/short": ok + b"Content-Length: 100\r\n\r\n0123456789",
    "/big": ok + b"Content-Length: 99999999\r\n\r\n",
    "/bigger": ok + b"\r\n" + b"x" * 300000,
    "/cut": ok + b"Content-Len",
    "/empty": b"",
    "/garbage": b"SSH-2.0-OpenSSH\r\n\r\n",
    "/field": ok + b"no colon here\r\n\r\n",
    "/length": ok + b"Content-Length: ten\r\n\r\n0123456789",
    "/lengths": ok + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n01",
    "/chunk": ok + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "/overlong": ok + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    "/gzip": ok + b"Transfer-Encoding: gzip\r\n\r\n",
    "/longline": ok + b"X: " + b"x" * 70000 + b"\r\n\r\n",
    "/head": ok + b"X: 0123456789\r\n" * 10000 + b"\r\n",
    "/status": b"HTTP/1.1 503 Oh no\x1b[31m\r\nContent-Length: 3\r\n\r\nbad",
}
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        global now, most
        line = self.rfile.readline().decode()
        if not line: return
        fields = {}
        while (field := self.rfile.readline().decode().strip()):
            name, _, value = field.partition(": ")
            fields[name.lower()] = value
        path = line.split(" ")[1].split("?")[0]
        try:
            if path == "/slow":
                print("slow", flush=True)
                time.sleep(1000)
            elif path == "/drip":
                self.wfile.write(ok + b"\r\n")
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            elif path == "/page":
                with lock:
                    now += 1
                    most = max(most, now)
                together.wait(60)  # no page is over before three are there
                time.sleep(0.05)
                with lock: now -= 1  # before the other side can know that it is over
                self.wfile.write(ok + b"Content-Length: 4\r\n\r\npage")
            elif path == "/most": self.wfile.write(ok + b"\r\n" + b"." * most)
            elif path == "/request":
                good = line == "GET /request?a=b HTTP/1.1\r\n" and fields["user-agent"] == "moonloop-crawler" \
                    and fields["host"] == "127.0.0.1:%d" % self.server.server_address[1]
                self.wfile.write(ok + b"\r\n" + (b"good" if good else b"bad request"))
            else: self.wfile.write(answers[path])
        except OSError: pass
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True
    request_queue_size = 100
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
]=]

-- What the crawler prints, times taken out.
local crawl = function(args, opts)
  local status, out, err = helper.cli("scripts/crawler.lua " .. args, opts)
  out = out:gsub("(\n *%S+ +%S+ )( *%d+)  ", function(before, ms)
    return before .. ("%" .. #ms .. "s"):format("MS") .. "  "
  end)
  return status, out:gsub(" in %d+%.%d+ s\n", "\n"), err
end

-- The lines of the table as a list {status .. " " .. bytes .. " " .. path .. error}.
local lines_of = function(out)
  local list = {}
  for status, bytes, path, err in out:gmatch("\n *(%S+) +(%S+) +MS  http://127%.0%.0%.1:%d+(%S*)([^\n]*)") do
    list[#list + 1] = ("%s %s %s%s"):format(status, bytes, path, err)
  end
  return list
end

-- Starts the server. Gives a function that makes URLs of paths, and the server's log.
local odd = function()
  local port = helper.unused_port()
  local _, log = helper.background(("python3 %s %d"):format(helper.tmpfile(odd_server, ".py"), port))
  helper.wait_port(port)
  return function(paths)
    return (paths:gsub("/%S+", ("http://127.0.0.1:%d%%0"):format(port)))
  end, log
end

describe("scripts: crawler.lua", function()
  it("downloads from python3 -m http.server: pages, a 404, a refused port, bad URLs", function()
    local dir, port, refused = helper.tmpdir(), helper.unused_port(), helper.unused_port()
    for name, size in pairs { ["a.html"] = 10, ["b.html"] = 70000, ["empty.html"] = 0 } do
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write(("x"):rep(size))
    end
    helper.background(("python3 -m http.server --bind 127.0.0.1 --directory %s %d"):format(dir, port))
    helper.wait_port(port)
    local base = ("http://127.0.0.1:%d/"):format(port)
    local urls = {
      base .. "a.html",
      base .. "b.html",
      base .. "empty.html",
      base .. "missing.html",
      ("http://127.0.0.1:%d/"):format(refused),
      "nonsense",
      "gopher://x/",
      "http://127.0.0.1:70000/",
      "http:///x",
    }
    local status, out, err = crawl(table.concat(urls, " "))
    local missing = out:match("404 +(%d+)")
    assert.equal(([[
status      bytes       ms  URL
   200         10       MS  %sa.html
   200      70000       MS  %sb.html
   200          0       MS  %sempty.html
   404 %10d       MS  %smissing.html
 error          -       MS  http://127.0.0.1:%d/  (Cannot connect to host 127.0.0.1:%d [connection refused])
 error          -       MS  nonsense  (the URL has no scheme, and the session no base_url)
 error          -       MS  gopher://x/  (the scheme is 'gopher': http and https can be requested)
 error          -       MS  http://127.0.0.1:70000/  (not a URL: the port is '70000')
 error          -       MS  http:///x  (not a URL: no host: 'http:///x')
9 pages: 3 fetched, 6 failed, %d bytes
]]):format(base, base, base, missing, base, refused, refused, 70010 + missing), out)
    assert.equal("", err)
    assert.equal(1, status)

    status, out = crawl("-q -n 1 " .. base .. "a.html " .. base .. "b.html")
    assert.equal(0, status)
    assert.truthy(out:find("2 pages: 2 fetched, 0 failed, 70010 bytes\n", 1, true))
  end)

  it("downloads from nginx", function()
    local dir, port = helper.tmpdir(), helper.unused_port()
    os.execute(("mkdir %s/sub && chmod 755 %s %s/sub"):format(dir, dir, dir))
    for name, size in pairs { ["index.html"] = 25, ["sub/index.html"] = 200000 } do
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write(("x"):rep(size))
    end
    local conf = helper.tmpfile(([[
pid %s/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %s/1; proxy_temp_path %s/2; fastcgi_temp_path %s/3; uwsgi_temp_path %s/4; scgi_temp_path %s/5;
  server {
    listen 127.0.0.1:%d;
    root %s;
    default_type text/html;
    ssi on;
  }
}
]]):format(dir, dir, dir, dir, dir, dir, port, dir))
    helper.background("nginx -g 'daemon off; master_process off;' -c " .. conf)
    helper.wait_port(port)
    local base = "http://127.0.0.1:" .. port
    local status, out, err = crawl(("%s %s/sub %s/none"):format(base, base, base))
    local lines = lines_of(out)
    assert.equal("200 25 ", lines[1])
    assert.equal("200 200000 /sub", lines[2])
    assert.truthy(lines[3]:find("^404 %d+ /none$"))
    assert.same({ 1, "" }, { status, err })
  end)

  it("reads bodies of every kind, and follows redirects", function()
    local at = odd()
    local paths = "/chunked /close /interim /nothing /redirect /request?a=b /status"
    local status, out, err = crawl(at(paths))
    assert.same({
      "200 11 /chunked",
      "200 13 /close",
      "200 2 /interim",
      "204 0 /nothing",
      "200 13 /redirect",
      "200 4 /request?a=b",
      "503 3 /status",
    }, lines_of(out))
    assert.same({ 1, "" }, { status, err })
  end)

  it("says of each page what went wrong with it, and goes on", function()
    local at = odd()
    local paths = "/loop /away /short /big /bigger /cut /empty /garbage /field /length /lengths /chunk /overlong "
      .. "/gzip /longline /head /close"
    local status, out, err = crawl("--max-size 250000 " .. at(paths))
    local lines = lines_of(out)
    for i = 8, 16 do -- the words are the client's
      assert.truthy(lines[i]:find("  %(%w[%w ':%-]+%)$"), lines[i])
      lines[i] = lines[i]:gsub("%(.*%)", "(...)")
    end
    assert.same({
      "error - /loop  (more than 5 redirects)",
      'error - /away  (a redirect to "gopher://example.invalid/", which is not http or https)',
      "error - /short  (Response payload is not completed: the response is incomplete: 10 of 100 bytes have come when the "
        .. "connection ended)",
      "error - /big  (the page is longer than 250000 bytes)",
      "error - /bigger  (the page is longer than 250000 bytes)",
      "error - /cut  (Server disconnected)",
      "error - /empty  (Server disconnected)",
      "error - /garbage  (...)",
      "error - /field  (...)",
      "error - /length  (...)",
      "error - /lengths  (...)",
      "error - /chunk  (...)",
      "error - /overlong  (...)",
      "error - /gzip  (...)",
      "error - /longline  (...)",
      "error - /head  (...)",
      "200 13 /close",
    }, lines)
    assert.same({ 1, "" }, { status, err })
  end)

  it("gives up a page after the timeout, and goes on", function()
    local at = odd()
    local status, out, err = crawl(("--timeout=%d "):format(2 * helper.slow) .. at("/slow /drip /close"))
    local late = ("  (timed out after %d s)"):format(2 * helper.slow)
    assert.same({
      "error - /slow" .. late,
      "error - /drip" .. late,
      "200 13 /close",
    }, lines_of(out))
    assert.same({ 1, "" }, { status, err })
  end)

  it("has as many pages at a time as it is told, and no more", function()
    local at = odd()
    local status, out = crawl("-n3 " .. at(("/page "):rep(9)))
    assert.equal(0, status)
    assert.truthy(out:find("9 pages: 9 fetched, 0 failed, 36 bytes\n", 1, true))
    status, out = crawl(at("/most"))
    assert.same({ 0, { "200 3 /most" } }, { status, lines_of(out) })
  end)

  it("reads URLs from standard input", function()
    local at = odd()
    local status, out = crawl("-n 2 -", "\n" .. at("/close") .. "\n  " .. at("/chunked") .. "  \r\n\n")
    assert.same({ 0, { "200 13 /close", "200 11 /chunked" } }, { status, lines_of(out) })
    status, out = crawl("-", "")
    assert.same({ 0, "0 pages: 0 fetched, 0 failed, 0 bytes\n" }, { status, out })
  end)

  it("passes no control characters on to the terminal", function()
    local status, out = crawl("-", "http://\27[31m/\nhttp://127.0.0.1:x\194\155/\n")
    assert.equal(1, status)
    assert.falsy(out:find("[\27\194]"))
  end)

  it("shows how far it is on a terminal, and clears that", function()
    local at = odd()
    local command = ("%s scripts/crawler.lua %%s%s"):format(helper.moonloop, at("/close /chunked"))
    local on_terminal = function(options)
      local _, out = helper.sh("TERM=xterm script -qec " .. helper.quote(command:format(options)) .. " /dev/null")
      return out
    end
    local out = on_terminal("")
    assert.truthy(out:find("\r%s*0%%|[^\r]*| 0/2 [^\r]*\27%[K"), out)
    assert.truthy(out:find("\r\27[J", 1, true), out) -- and the table where the bar was
    assert.falsy(out:match("pages: .*$"):find("\27", 1, true), out)
    assert.falsy(on_terminal("-q "):find("0/2", 1, true))
  end)

  it("ends with status 130 on Ctrl-C, whatever it waits for", function()
    local at, log = odd()
    local status, out, err = helper.sh(("%s scripts/crawler.lua %s & p=$!; until grep -q slow %s || ! kill -0 $p; do sleep 0.01; done; kill -INT $p; wait $p")
      :format(helper.program(), at("/slow /drip"), log))
    assert.same({ 130, "", "KeyboardInterrupt\n" }, { status, out, err })
  end)

  it("refuses what it does not know with status 2", function()
    for args, message in pairs {
      [""] = "no URLs",
      ["-x http://a/"] = "unknown option '-x'",
      ["--quiet=1 http://a/"] = "unknown option '--quiet=1'",
      ["-n"] = "--concurrency needs a value",
      ["-n 0 http://a/"] = "--concurrency: a whole number of 1 or more expected, got '0'",
      ["-n 1.5 http://a/"] = "--concurrency: a whole number of 1 or more expected, got '1.5'",
      ["--timeout nan http://a/"] = "--timeout: seconds above 0 expected, got 'nan'",
      ["--timeout=0 http://a/"] = "--timeout: seconds above 0 expected, got '0'",
    } do
      local status, out, err = helper.cli("scripts/crawler.lua " .. args)
      assert.same({ 2, "", "crawler.lua: " .. message .. "\n(--help shows how to use it)\n" }, { status, out, err })
    end
    local status, out, err = helper.cli("scripts/crawler.lua --help")
    assert.same({ 0, "" }, { status, err })
    assert.truthy(out:find("usage: crawler.lua", 1, true))
  end)
end)
