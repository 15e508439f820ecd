--- The server that specs of fetch and bench ask, in a process of its own: spec/commands/processes.start runs it.

local asyncio = require "asyncio"
local web = require "http.web"

local slow = 0

local routes = {
  web.get("/", function() return web.Response { text = "hello" } end),
  web.get("/slow", function()
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
web.run_app(app, { host = "127.0.0.1", port = 0, access_log = false })
