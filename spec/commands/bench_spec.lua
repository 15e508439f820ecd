--- moonloop bench: against a server in a process of its own.

local helper = require "spec.helper"
local json = require "json"
local processes = require "spec.commands.processes"

local server -- its port, for all specs of this file

local function url(path)
  if not server then
    local _, _, port = processes.start("spec/commands/server.lua")
    server = port
  end
  return ("http://127.0.0.1:%d%s"):format(server, path)
end

local function bench(path, args, opts)
  return helper.cli(("bench -q %s %s"):format(args, helper.quote(url(path))), opts)
end

local function report(path, args)
  local status, out, err = bench(path, "--json " .. args)
  assert.equal("", err)
  return json.decode(out), status
end

describe("moonloop bench", function()
  after_each(function() server = nil end)

  it("sends so many requests and says how it went", function()
    local status, out, err = bench("/", "-c 4 -n 200", { env = { LC_ALL = "C" } })
    assert.same({ 0, "" }, { status, err })
    assert.truthy(out:find("^Requests    200 in %d+%.%d%d s\n            by 4 clients of HTTP/1.1\n"), out)
    for _, line in ipairs {
      "\nLatency      corrected     measured\n", "\n      50%%  +[%d.]+ %l+  +[%d.]+ %l+\n", "\n   99.99%%", "\n     mean",
      "\n +[%d.]+ %l+ %- [%d.]+ %l+ +%d+  #+\n", "\nStatus      200: 200\n$",
    } do
      assert.truthy(out:find(line), line .. "\nin\n" .. out)
    end
  end)

  it("gives the report as JSON", function()
    local r, status = report("/", "--connections=3 -n 100")
    assert.equal(0, status)
    assert.same({ "GET", 3, 100, 500, "1.1", 0, 0, false },
      { r.method, r.connections, r.requests, r.bytes, r.http_version, r.error_count, r.unfinished, r.interrupted })
    assert.same({ ["200"] = 100 }, r.status)
    assert.same({}, r.errors)
    assert.equal(url("/"), r.url)
    local p = r.latency_measured.percentiles
    assert(p["50"] <= p["90"] and p["90"] <= p["99.9"] and p["100"] == r.latency_measured.max)
    assert(math.abs(r.requests / r.duration - r.requests_per_second) < 1e-6)
    local requests, counted = 0, 0
    for _, s in ipairs(r.series) do requests = requests + s.requests end
    for _, b in ipairs(r.histogram) do counted = counted + b.count end
    assert.equal(100, requests)
    assert(counted >= 100)
    assert.equal(100, r.curve[#r.curve].percent)
  end)

  it("goes on for so long, and leaves hanging requests behind", function()
    local r, status = report("/slow", "-c 5 -d 1s")
    assert.equal(0, status)
    assert(r.requests >= 1 and r.requests <= 105, r.requests)
    assert.equal(1, r.duration)
    local begun = os.time()
    r, status = report("/hang", "-c 3 -d 0.1")
    assert.same({ 0, 3, 1 }, { r.requests, r.unfinished, status })
    assert(r.latency.min >= 0.1 and os.time() - begun < 10 * helper.slow)
  end)

  it("keeps a rate, and counts from when a request was to be sent", function()
    local r = report("/", "-c 5 -r 100 -d 500ms")
    assert.equal(50, r.requests + r.unsent + r.unfinished)
    assert(r.duration >= 0.49, r.duration)
    r = report("/slow", "-c 2 --rate 200 -d 500ms") -- two clients manage some 40 a second
    assert(r.requests <= 24, r.requests)
    assert.equal(100, r.requests + r.unsent + r.unfinished)
    assert(r.latency.max > 0.4 and r.latency_measured.percentiles["50"] < r.latency.percentiles["50"])
  end)

  it("makes up for what could not be sent while a server stalled", function()
    local r = report("/stall", "-c 1 -n 100")
    assert.equal(100, r.requests)
    local answered, due = r.latency_measured.percentiles["95"], r.latency.percentiles["95"]
    assert(due >= 0.1, "it stalled for most of the time")
    assert(answered < due, "but two requests in a hundred were slow")
  end)

  it("counts statuses and errors by kind", function()
    local r, status = report("/status/503", "-n 10 -c 2")
    assert.same({ { ["503"] = 10 }, 0, 0 }, { r.status, r.error_count, status })
    r, status = report("/cut", "-n 6 -c 2")
    assert.same({ 6, 1, 0 }, { r.error_count, status, r.requests })
    local kind, n = next(r.errors)
    assert.truthy(kind:find("^ClientPayloadError: "), kind)
    assert.equal(6, n)
    r = report("/hang", "-n 2 -c 2 --timeout 100ms")
    assert.same({ timeout = 2 }, r.errors)
    local _, out = bench("/cut", "-n 6 -c 2")
    assert.truthy(out:find("\nErrors      6\n +6  ClientPayloadError: "), out)
    local refused = helper.unused_port()
    local code, text = helper.cli(("bench -q -n 3 http://127.0.0.1:%d/"):format(refused))
    assert.equal(1, code)
    assert.truthy(text:find("3  ClientConnectorError: .*127.0.0.1:" .. refused), text)
    assert.falsy(text:find("Latency", 1, true))
    _, out = helper.cli("bench -q --json -n 4 -c 2 --unix-socket /no/such http://name/")
    kind, n = next(json.decode(out).errors)
    assert.same({ "UnixClientConnectorError: ", 4 }, { kind:match("^.-: "), n })
  end)

  it("reads bodies, long ones and streams", function()
    assert.equal(3 * (3 << 20), report("/big", "-n 3 -c 2").bytes)
    assert.equal(4 * 40, report("/stream", "-n 4 -c 2").bytes)
  end)

  it("sends what it is told: method, headers, a body, a new connection each time", function()
    local seen = helper.tmpfile()
    local port = helper.unused_port()
    local python = helper.tmpfile([[
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[2], "a") as f:
            print(self.command, self.path, self.headers["X-A"], self.headers["User-Agent"], self.headers["Authorization"],
                  self.headers["Accept"], self.headers["Content-Type"], body, file=f)
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
]], ".py")
    helper.background(("python3 %s %d %s"):format(python, port, seen))
    helper.wait_port(port)
    local data = helper.tmpfile("from a file")
    local status, _, err = helper.cli(("bench -q -n 2 -c 1 -X put -H 'X-A: b c' -A me -u user:secret -H Accept: --data @%s "
      .. "--content-type text/plain --no-keepalive 127.0.0.1:%d/p?q=1"):format(data, port))
    assert.same({ 0, "" }, { status, err })
    local line = "PUT /p?q=1 b c me Basic dXNlcjpzZWNyZXQ= None text/plain b'from a file'\n"
    assert.equal(line .. line, processes.read(seen))
  end)

  it("reports what there is on Ctrl-C", function()
    for _, workers in ipairs { "", " --workers 2" } do
      local command = ("%s bench -q -d 60s -c 2%s %s & pid=$!; sleep 0.3; until kill -0 $pid && %s fetch -s %s | grep -q many; "
        .. "do sleep 0.1; done; kill -INT $pid; wait $pid"):format(
        helper.moonloop, workers, url("/slow?count"), helper.moonloop, url("/slow/count"))
      local status, out, err = helper.sh(command)
      assert.same({ 130, "" }, { status, err })
      assert.truthy(out:find(" s (interrupted)\n", 1, true), out)
      assert.truthy(out:find("\nStatus      200: %d+\n"), out)
    end
  end)

  it("shows how it goes on a terminal, and clears that", function()
    local _, out = helper.sh("TERM=xterm script -qec " .. helper.quote(("%s bench -d 1500ms -c 2 %s"):format(
      helper.moonloop, url("/slow"))) .. " /dev/null")
    assert.truthy(out:find("%d+ requests/s, median %d+%.?%d* ms, 99%% %d+%.?%d* ms%]"), out)
    assert.truthy(out:find("\r\27[JRequests ", 1, true), out)
  end)

  it("says what is wrong with its arguments", function()
    helper.refuses("bench", {
      [""] = "a URL is missing", ["http://a http://b"] = "one URL was expected, got 'http://b' too",
      ["-n 0 http://a"] = "--requests: more than 0", ["-c 0 http://a"] = "--connections: more than 0",
      ["-d x http://a"] = "-d: seconds, or a time such as", ["-r 0 http://a"] = "--rate: more than 0",
      ["ftp://a"] = "http and https can be requested, not 'ftp'", ["http://"] = "host",
      ["-H nonsense http://a"] = "'NAME: VALUE' was expected", ["-u me http://a"] = "--user: USER:PASSWORD was expected",
      ["--data @/no/such/file http://a"] = "cannot read '/no/such/file'", ["-X 'A B' http://a"] = "'A B' is no method",
      ["--cacert /no/such/file https://a"] = "--cacert: ", ["--key x https://a"] = "--key is of no use",
      ["--http2 --http1.1 http://a"] = "exclude each other", ["-46 http://a"] = "exclude each other",
      ["-x nonsense://b http://a"] = "--proxy: proxy must be a URL of http",
      ["-c 2 --workers 3 http://a"] = "each has one connection", ["--workers 0 http://a"] = "--workers: more than 0",
    })
  end)

  it("shares its work among processes", function()
    local r, status = report("/", "-c 5 -n 103 --workers 3")
    assert.equal(0, status)
    assert.same({ 5, 103, 515, "1.1", 0, false }, { r.connections, r.requests, r.bytes, r.http_version, r.error_count, r.interrupted })
    assert.same({ ["200"] = 103 }, r.status)
    local requests = 0
    for _, s in ipairs(r.series) do requests = requests + s.requests end
    assert.equal(103, requests)
  end)

  it("tells when the page cannot be written", function()
    local status, out, err = bench("/", "-n 1 --html /no/such/folder/x.html")
    assert.equal(1, status)
    assert.truthy(out:find("Requests    1 in", 1, true))
    assert.truthy(err:find("cannot write '/no/such/folder/x.html'", 1, true), err)
  end)

  local browser = require "spec.browser"
  if browser.command() then
    it("draws a page that a browser shows", function()
      local path = helper.tmpdir() .. "/report.html"
      local status = bench("/slow", "-c 4 -d 1s -H 'X: </script><b>' --html " .. path)
      assert.equal(0, status)
      local cut = path:gsub("report", "cut")
      bench("/cut?</script><script>document.title=1</script>", "-c 2 -n 4 --html " .. cut)
      require("asyncio").run(async(function()
        local page <close> = browser.open("file://" .. path)
        page:wait("document.body.dataset.drawn == 'yes'")
        assert.equal("GET " .. url("/slow"), page:eval("document.querySelector('h1').textContent"))
        for _, id in ipairs { "curve", "bins", "series" } do
          assert(page:eval(("document.querySelectorAll('#%s path, #%s rect').length"):format(id, id)) > 0, id)
        end
        assert.equal(true, page:eval("[...document.querySelectorAll('svg [d], svg rect')].every(e => !/NaN|Infinity/.test(e.outerHTML))"))
        assert.equal("0", page:eval("[...document.querySelectorAll('.cards div')].find(e => /errors/.test(e.textContent)).querySelector('b').textContent"))
        assert.truthy(page:eval("document.querySelector('#latency').textContent"):find("99.9 %%[%d.]+ ms"))
        page:eval("document.querySelector('#bins rect').dispatchEvent(new MouseEvent('mousemove', { clientX: 5, clientY: 5 }))")
        assert.truthy(page:eval("document.querySelector('#tip').textContent"):find(" to .*: %d+"))
        assert.same({}, page:errors())
        page:call("Page.navigate", { url = "file://" .. cut })
        page:wait("location.pathname.endsWith('cut.html') && document.body?.dataset.drawn == 'yes'")
        assert.equal("moonloop bench", page:eval("document.title"))
        assert.truthy(page:eval("document.querySelector('#answers').textContent"):find("ClientPayloadError.*4"))
        assert.same({}, page:errors())
      end)())
    end)
  end
end)
