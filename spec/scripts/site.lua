-- A site to walk, for specs of link_checker.lua and mirror.lua. /log tells what was asked: a line for each request.
-- /data.bin breaks off in the middle until it is asked for the rest of it. Each request of /change changes a page.

local web = require "http.web"

local log, changes = {}, 0

local pages = {
  ["/"] = [[<html><a href="good.html">good</a> <a href="/missing">missing</a> <a href="moved">moved</a>
    <a href="good.html#there">there</a> <a href="good.html#nowhere">nowhere</a> <a href="/private/x">private</a>
    <a href="http://127.0.0.1:1/">refused</a> <a href="OTHER/">other</a> <a href="OTHER/status/500">other</a>
    <a href="mailto:me@example.org">me</a> <img src="/pictures/a.png"> <a href="http://[bad/">bad</a>
    <a href="sub/"><b>sub</b></a> <!-- <a href="/never">no</a> --></html>]],
  ["/good.html"] = [[<h1 id="there">good</h1> <a href="/">home</a> <a href="/broken.png">broken</a> <a href="data.bin">data</a>]],
  ["/sub/"] = [[<a href="../good.html">up</a> <a href="page?a=1&amp;b=2">page</a>]],
  ["/sub/page"] = [[the page]],
}

local data = {}
for i = 1, 30000 do data[i] = ("%09d\n"):format(i) end
data = table.concat(data)

local function part(request)
  local range = request.headers.Range
  local first = range and request.headers["If-Range"] == '"data"' and tonumber(range:match("^bytes=(%d+)%-$"))
  local headers = { ETag = '"data"', ["Content-Length"] = #data - (first or 0) }
  if request.headers["If-None-Match"] == '"data"' then return web.Response { status = 304 } end
  if first then headers["Content-Range"] = ("bytes %d-%d/%d"):format(first, #data - 1, #data) end
  local response = web.StreamResponse { status = first and 206 or 200, headers = headers }
  response.content_type = "application/octet-stream"
  await(response:prepare(request))
  await(response:write(data:sub((first or 0) + 1, first and #data or 150000)))
  return response
end

local app = web.Application()
app:add_routes {
  web.get("/robots.txt", function() return web.Response { text = "User-agent: *\nDisallow: /private\n" } end),
  web.get("/log", function() return web.Response { text = table.concat(log, "\n") } end),
  web.get("/change", function()
    changes = changes + 1
    return web.Response { text = "changed" }
  end),
  web.get("/pictures/a.png", function() return web.Response { body = "png", content_type = "image/png" } end),
  web.get("/moved", function() error(web.HTTPMovedPermanently("/good.html")) end),
  web.get("/data.bin", part),
  web.get("/status/{status}", function(request)
    return web.Response { status = tonumber(request.match_info.status), text = "as you like" }
  end),
  web.get("/{tail:.*}", function(request)
    local page = pages[request.path]
    if not page then error(web.HTTPNotFound()) end
    local etag = ('"%d"'):format(request.path == "/sub/" and changes or 0)
    if request.headers["If-None-Match"] == etag then return web.Response { status = 304, headers = { ETag = etag } } end
    page = page:gsub("OTHER", arg[1] or "http://127.0.0.1:1")
    if request.path == "/sub/" then page = page .. changes end
    return web.Response { text = page, content_type = "text/html", headers = { ETag = etag } }
  end),
}
app.middlewares:append(async(function(request, handler)
  if request.path ~= "/log" then log[#log + 1] = request.method .. " " .. request.path_qs end
  return await(handler(request))
end))
web.run_app(app, { host = "127.0.0.1", port = 0, access_log = false })
