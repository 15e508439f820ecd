-- A web service to try clients on: each answer takes a second, however many are asked for at once.
--   moonloop scripts/web_random.lua [PORT]
--   curl http://127.0.0.1:8000/ http://127.0.0.1:8000/random

local asyncio = require "asyncio"
local web = require "http.web"

local routes = web.RouteTableDef()

routes:get("/")(async(function()
  await(asyncio.sleep(1))
  return web.json_response { msg = "ok" }
end))

routes:get("/random")(async(function()
  await(asyncio.sleep(1))
  return web.json_response { msg = math.random() }
end))

local app = web.Application()
app:add_routes(routes)
web.run_app(app, { host = "127.0.0.1", port = tonumber(arg[1]) or 8000 })
