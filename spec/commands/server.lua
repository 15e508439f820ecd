--- The server that specs of fetch and bench ask, in a process of its own: spec/commands/processes.start runs it.
--- With an argument it listens on a unix socket of that path.

local asyncio = require "asyncio"
local web = require "http.web"

local slow, busy, version, asked = 0, 0, 0, 0

-- 300,000 bytes that tell where they stand.
local long = {}
for i = 1, 30000 do long[i] = ("%09d\n"):format(i) end
long = table.concat(long)

--- The rest of `long` from where it is asked for, under that ETag; at most so many bytes before the connection ends.
local function part(request, etag, most)
  local range, condition = request.headers.Range, request.headers["If-Range"]
  local first = range and (not condition or condition == etag) and math.tointeger(range:match("^bytes=(%d+)%-$")) or 0
  local headers = { ETag = etag, ["Accept-Ranges"] = "bytes", ["Content-Length"] = #long - first }
  if first >= #long then
    return web.Response { status = 416, headers = { ["Content-Range"] = "bytes */" .. #long } }
  end
  if first > 0 then headers["Content-Range"] = ("bytes %d-%d/%d"):format(first, #long - 1, #long) end
  local response = web.StreamResponse { status = first > 0 and 206 or 200, headers = headers }
  await(response:prepare(request))
  await(response:write(long:sub(first + 1, first + most)))
  return response
end

local routes = {
  web.get("/", function() return web.Response { text = "hello" } end),
  web.get("/slow/count", function()
    if asked <= 3 then return web.Response { text = "few" } end
    asked = 0 -- for who asks next
    return web.Response { text = "many" }
  end),
  web.get("/slow", function()
    asked = asked + 1
    await(asyncio.sleep(0.05))
    return web.Response { text = "slow" }
  end),
  web.get("/stall", function() -- every 50th answer holds all up
    slow = slow + 1
    if slow % 50 == 0 then require("time").sleep(0.2) end
    return web.Response { text = "ok" }
  end),
  web.get("/hang", function() await(asyncio.sleep(1000)) end),
  web.get("/status/{status}", function(request)
    return web.Response { status = tonumber(request.match_info.status), text = "as you like" }
  end),
  web.get("/cut", function(request)
    local response = web.StreamResponse { headers = { ["Content-Length"] = "100" } }
    await(response:prepare(request))
    await(response:write("too little"))
    return response
  end),
  web.get("/long", function(request) return part(request, '"v1"', #long) end),
  web.get("/flaky", function(request) return part(request, '"v1"', 120000) end),
  web.get("/changing", function(request)
    version = version + 1
    return part(request, ('"v%d"'):format(version), version > 2 and #long or 120000)
  end),
  web.get("/wrong", function(request) -- another part than was asked for
    if not request.headers.Range then return part(request, '"v1"', 120000) end
    local headers = { ["Content-Range"] = ("bytes 5-9/%d"):format(#long) }
    return web.Response { status = 206, text = "12345", headers = headers }
  end),
  web.get("/busy", function()
    busy = busy + 1
    if busy % 3 ~= 0 then return web.Response { status = 503, headers = { ["Retry-After"] = "0" } } end
    return web.Response { text = "at last" }
  end),
  web.get("/attachment", function()
    local headers = { ["Content-Disposition"] = "attachment; filename*=UTF-8''..%2F..%2Fevil%0Aname.txt" }
    return web.Response { text = "attached", headers = headers }
  end),
  web.get("/gzip", function()
    local response = web.Response { text = ("compressible "):rep(1000) }
    response:enable_compression("gzip")
    return response
  end),
  web.get("/binary", function() return web.Response { body = "a\0b" } end),
  web.get("/cookie", function(request)
    local response = web.Response { text = request.headers.Cookie or "none" }
    response:set_cookie("seen", "yes", { max_age = 1000 })
    return response
  end),
  web.get("/moved", function() error(web.HTTPFound("/echo")) end),
  web.get("/dated", function()
    return web.Response { text = "old", headers = { ["Last-Modified"] = "Sun, 06 Nov 1994 08:49:37 GMT" } }
  end),
  web.get("/name.txt", function() return web.Response { text = "named" } end),
  web.get("/big", function() return web.Response { body = ("x"):rep(3 << 20) } end),
  web.get("/stream", function(request)
    local response = web.StreamResponse()
    await(response:prepare(request))
    for i = 1, 5 do await(response:write(("piece %d\n"):format(i))) end
    return response
  end),
  web.route("*", "/echo", function(request)
    local headers = {}
    local lines = request.headers:array()
    for i = 1, #lines, 2 do headers[#headers + 1] = lines[i] .. ": " .. lines[i + 1] end
    return web.json_response {
      method = request.method, path = request.path_qs, headers = headers, body = await(request:text()),
      version = request.version,
    }
  end),
}

local app = web.Application { client_max_size = 1 << 30 }
app:add_routes(routes)
local place = arg[1] and { path = arg[1] } or { host = "127.0.0.1", port = 0 }
place.access_log = false
web.run_app(app, place)
