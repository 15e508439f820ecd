local helper = require "spec.helper"

-- Starts a script that serves. Gives its URL without the slash, and the file where what it prints goes.
local function serve(command)
  local _, log = helper.background(helper.quote(helper.moonloop) .. " scripts/" .. command)
  for _ = 1, 1200 * helper.slow do
    local f <close> = assert(io.open(log))
    local url = f:read("a"):match("Running on (http://127%.0%.0%.1:%d+)")
    if url then return url, log end
    os.execute("sleep 0.05")
  end
  local f <close> = assert(io.open(log))
  error("it does not serve: " .. f:read("a"))
end

-- What curl prints.
local function curl(args)
  local status, out, err = helper.sh("curl -s -S --max-time 60 " .. args)
  assert(status == 0, err)
  return out
end

local function read(path)
  local f <close> = assert(io.open(path))
  return f:read("a")
end

describe("the script", function()
  it("web_server greets, and answers a form that is posted to a name", function()
    local url, log = serve "web_server.lua 0"
    assert.equal("Hello, world", curl(url .. "/"))
    assert.equal('{"key":"value","name":"jane"}', (curl("-d key=value " .. url .. "/demo1/jane"):gsub('{"name":"jane","key":"value"}', '{"key":"value","name":"jane"}')))
    assert.equal("405", curl("-o /dev/null -w '%{http_code}' " .. url .. "/demo1/jane"))
    assert.equal("404", curl("-o /dev/null -w '%{http_code}' " .. url .. "/none"))
    assert.equal("welcome", curl("-X POST " .. url .. "/demo2"))
    local printed = read(log)
    assert(printed:find("^server start\n"))
    assert(printed:find("request of jane\n.-its form is there\n.-detect request start\n.-detect request finish\n"))
  end)

  it("web_server ends gracefully", function()
    local port = helper.unused_port()
    local status, out = helper.sh(([[
      %s scripts/web_server.lua %d & pid=$!
      for i in $(seq 1000); do curl -s -o /dev/null http://127.0.0.1:%d/ && break; sleep 0.05; done
      kill -INT $pid; wait $pid]]):format(helper.quote(helper.moonloop), port, port))
    assert.equal(0, status)
    assert(out:find("server close\n$"), out)
  end)

  it("web_static serves folders, with an index and without", function()
    local url = serve "web_static.lua 0"
    assert(curl(url .. "/"):find("<h1>Static files</h1>", 1, true))
    local css = read("scripts/static/css/base.css")
    assert.equal(css, curl(url .. "/css/base.css"))
    assert.equal(css, curl(url .. "/css2017/base.css"))
    assert(curl(url .. "/css2017/"):find("base.css", 1, true))
    assert.equal("403", curl("-o /dev/null -w '%{http_code}' " .. url .. "/css/"))
    assert.equal("403", curl("-o /dev/null -w '%{http_code}' " .. url .. "/font/"))
    assert.equal("404", curl("-o /dev/null -w '%{http_code}' --path-as-is " .. url .. "/css/../index.html"))
    assert.equal("body", curl("-r 0-3 " .. url .. "/css/base.css"))
    assert(curl("-I " .. url .. "/css/base.css"):find("Content%-Type: text/css"))
  end)

  it("web_random answers many at once in the time of one", function()
    local url = serve "web_random.lua 0"
    local started = os.time()
    local out = curl(("--parallel --parallel-max 21 %s %s"):format((url .. "/random "):rep(20), url .. "/"))
    local n, seen = 0, {}
    for number in out:gmatch('{"msg":([%d.e-]+)}') do
      n, seen[number] = n + 1, true
      assert(tonumber(number) < 1)
    end
    assert.equal(20, n)
    assert(next(seen, next(seen)), "the numbers are all the same")
    assert(os.time() - started < 15 * helper.slow)
    assert(out:find('{"msg":"ok"}', 1, true))
  end)

  it("web_mvc shows pages, takes notes, escapes, and logs", function()
    local log = helper.tmpfile()
    local url = serve("web_mvc.lua 0 " .. helper.quote(log))
    local page = curl(url .. "/")
    assert(page:find("<title>Notes</title>", 1, true))
    assert(page:find('<a href="/notes/1">Hello</a>', 1, true))
    page = curl(url .. "/notes/1")
    assert(page:find("&lt;b&gt;Tags&lt;/b&gt;", 1, true))
    assert.is_nil(page:find("<b>", 1, true))
    assert.equal("303 " .. url .. "/notes/2",
      curl("-o /dev/null -w '%{http_code} %{redirect_url}' --data-urlencode 'title=<script>\"x\"' -d text=y " .. url .. "/new/"))
    page = curl(url .. "/notes/2")
    assert(page:find("<title>&lt;script&gt;&quot;x&quot;</title>", 1, true), page)
    page = curl("-w ' %{http_code}' -d 'title=+&text=<i>' " .. url .. "/new/")
    assert(page:find("A note needs a title.", 1, true))
    assert(page:find("<textarea name=\"text\">&lt;i&gt;</textarea>", 1, true))
    assert(page:find(" 422$"))
    assert.equal("308 " .. url .. "/new/", curl("-o /dev/null -w '%{http_code} %{redirect_url}' " .. url .. "/new"))
    page = curl("-w ' %{http_code}' " .. url .. "/notes/99")
    assert(page:find("There is no such page", 1, true) and page:find(" 404$"), page)
    page = curl("-w ' %{http_code}' " .. url .. "/broken")
    assert(page:find("Something went wrong", 1, true) and page:find(" 500$"), page)
    assert(curl(url .. "/static/css/base.css"):find("font%-family"))
    local lines = read(log)
    assert(lines:find('127.0.0.1 - - [', 1, true))
    assert(lines:find('"POST /new/ HTTP/1.1" 303 ', 1, true))
    assert(lines:find('"GET /notes/99 HTTP/1.1" 404 ', 1, true))
  end)
end)
