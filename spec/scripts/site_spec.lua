--- Scripts that walk a site: link_checker.lua and mirror.lua, against spec/scripts/site.lua.

local helper = require "spec.helper"
local json = require "json"
local processes = require "spec.commands.processes"

local function site(other)
  local _, _, port = processes.start("spec/scripts/site.lua " .. (other or ""))
  return ("http://127.0.0.1:%d"):format(port)
end

--- What the site was asked, in order.
local function asked(url)
  local _, out = helper.cli("fetch " .. url .. "/log")
  return out
end

local function count(text, pattern) return select(2, text:gsub(pattern, "")) end

describe("scripts: sites:", function()
  it("link_checker.lua finds the links that lead nowhere", function()
    local other = site()
    local url = site(other)
    local status, out, err = helper.cli(("scripts/link_checker.lua --delay 0 %s/"):format(url))
    assert.same({ 1, "" }, { status, err })
    local expected = ([[
# Links of URL/

9 pages, 14 links: 6 broken, 1 moved, 1 not looked at.

## Broken

- <URL/good.html#nowhere>: nothing there has that id
  - on <URL/>
- <URL/missing>: 404 Not Found
  - on <URL/>
- <http://127.0.0.1:1/>: Cannot connect to host 127.0.0.1:1 [connection refused]
  - on <URL/>
- <OTHER/status/500>: 500 Internal Server Error
  - on <URL/>
- <http://[bad/>: not a URL: the host is '[bad'
  - on <URL/>
- <URL/broken.png>: 404 Not Found
  - on <URL/good.html>
  - on <URL/moved>

## Moved

- <URL/moved>: is at <URL/good.html>
  - on <URL/>
]]):gsub("URL/", url .. "/"):gsub("OTHER", other)
    assert.equal(expected, out)
    local log = asked(url)
    assert.equal(0, count(log, "private"))
    assert.equal(0, count(log, "never"))
    assert.equal(1, count(log, "robots"))
    assert.equal("HEAD /\nHEAD /status/500\nGET /status/500", asked(other))
  end)

  it("link_checker.lua writes its report as JSON, keeps to limits, and leaves others alone", function()
    local other = site()
    local url = site(other)
    local path = helper.tmpdir() .. "/report.json"
    local status, out, err = helper.cli(("scripts/link_checker.lua --delay=0 --no-external --report %s -n 1 %s/"):format(path, url))
    assert.same({ 1, "9 pages, 14 links, 4 broken\n", "" }, { status, out, err })
    local report = json.decode(processes.read(path))
    assert.same({ url .. "/", 9, 14, 4 }, { report.site, report.pages, report.links, report.skipped })
    assert.same({ url = url .. "/missing", problem = "404 Not Found", pages = { url .. "/" } }, report.broken[2])
    assert.equal("", asked(other))
    status, out = helper.cli(("scripts/link_checker.lua --delay 0 --no-external --max-pages 1 --report %s %s/"):format(path, url))
    assert.same({ 1, "1 pages, 11 links, 1 broken\n" }, { status, out })
    status, out = helper.cli(("scripts/link_checker.lua --delay 0 %s/sub/page"):format(url))
    assert.equal(0, status)
    assert.truthy(out:find("1 pages, 1 links: 0 broken, 0 moved, 0 not looked at.", 1, true), out)
  end)

  it("link_checker.lua leaves a pause between requests", function()
    local url = site()
    local begun = require("time").monotonic()
    helper.cli(("scripts/link_checker.lua --delay 0.05 --no-external %s/"):format(url))
    assert(require("time").monotonic() - begun >= 0.05 * 9)
  end)

  it("mirror.lua copies a site, goes on with what was cut off, and later fetches what has changed", function()
    local url, folder = site(), helper.tmpdir() .. "/copy"
    local function mirror()
      local status, out, err = helper.cli(("scripts/mirror.lua --delay 0 -n 2 %s/ %s"):format(url, folder))
      assert.same({ 1, "" }, { status, err }) -- two pages are missing
      return (out:gsub("http%S+: Not Found\n", ""))
    end
    assert.equal("7 new, 0 unchanged, 2 failed, N bytes\n", (mirror():gsub("%d+ bytes", "N bytes")))
    local _, files = helper.sh("find . -type f | sort", { cwd = folder })
    assert.equal("./.mirror.json\n./data.bin\n./good.html\n./index.html\n./moved/index.html\n./pictures/a.png\n"
      .. "./sub/index.html\n./sub/page/index.html%3Fa=1&b=2\n", files)
    local lines = {}
    for i = 1, 30000 do lines[i] = ("%09d\n"):format(i) end
    assert.equal(table.concat(lines), processes.read(folder .. "/data.bin"))
    local log = asked(url)
    assert(count(log, "GET /data.bin") > 1, "it was not cut off")
    assert.equal(0, count(log, "private"))
    assert.equal("the page", processes.read(folder .. "/sub/page/index.html%3Fa=1&b=2"))
    assert.equal("1 new, 6 unchanged, 2 failed, 3 bytes\n", mirror()) -- the picture has no ETag
    helper.cli("fetch " .. url .. "/change")
    local before = processes.read(folder .. "/sub/index.html")
    assert.truthy(mirror():find("^2 new, 5 unchanged"))
    assert.equal(before:gsub("0$", "1"), processes.read(folder .. "/sub/index.html"))
  end)

  it("mirror.lua goes on where it was killed", function()
    local url, folder = site(), helper.tmpdir()
    local status, out = helper.cli(("scripts/mirror.lua --retry 0 --delay 0 %s/ %s"):format(url, folder))
    assert.equal(1, status)
    assert.truthy(out:find("data.bin: Response payload is not completed", 1, true), out)
    local size = tonumber((select(2, helper.sh("stat -c %s " .. folder .. "/data.bin.part"))))
    assert(size > 0 and size <= 150000, size)
    status, out = helper.cli(("scripts/mirror.lua --retry 0 --delay 0 %s/ %s"):format(url, folder))
    assert.equal(1, status)
    assert.truthy(out:find(("2 new, 5 unchanged, 2 failed, %d bytes\n"):format(300000 - size + 3), 1, true), out)
    local _, part = helper.sh("cd " .. folder .. " && tail -c 11 data.bin && ls data.bin.part 2>/dev/null")
    assert.equal("\n000030000\n", part)
  end)

  it("say what is wrong with their arguments", function()
    for command, text in pairs {
      ["link_checker.lua"] = "no URL", ["link_checker.lua ftp://x"] = "is no URL of http or https",
      ["link_checker.lua -n x http://a"] = "--concurrency: a number of 1 or more expected, got 'x'",
      ["link_checker.lua --nope http://a"] = "unknown option '--nope'", ["mirror.lua http://a"] = "a URL and a folder expected",
      ["mirror.lua nonsense x"] = "is no URL of http or https", ["mirror.lua --delay nan http://a x"] = "got 'nan'",
    } do
      local status, out, err = helper.cli("scripts/" .. command)
      assert.same({ 2, "" }, { status, out })
      assert.truthy(err:find(text, 1, true), err)
    end
    for _, name in ipairs { "link_checker", "mirror" } do
      local status, out = helper.cli("scripts/" .. name .. ".lua --help")
      assert.equal(0, status)
      assert.truthy(out:find("^usage: " .. name .. ".lua"), out)
    end
  end)
end)
