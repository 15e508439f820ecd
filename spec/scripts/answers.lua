-- What scripts/web_random.lua is to people, for specs: each answer takes a tenth of a second, and /random has its
-- answers in order, no two at the same moment. /hang never answers.

local asyncio = require "asyncio"
local web = require "http.web"

local answers, n = { 0.988, 0.333, 0.419 }, 0

local app = web.Application()
app:add_routes {
  web.get("/", function()
    await(asyncio.sleep(0.1))
    return web.json_response { msg = "ok" }
  end),
  web.get("/random", function()
    local i = n % #answers + 1
    n = n + 1
    await(asyncio.sleep(i * 0.15))
    return web.json_response { msg = answers[i] }
  end),
  web.get("/get", function(request)
    local a = request.query.a
    await(asyncio.sleep(a == "1" and 0.1 or 0.05)) -- the first one answers last
    return web.json_response { args = { a = a } }
  end),
  web.get("/hang", function() await(asyncio.sleep(1000)) end),
}
web.run_app(app, { host = "127.0.0.1", port = 0, access_log = false })
