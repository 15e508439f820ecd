-- A web service to try clients on: each answer takes a second (or as many as the second argument says), however many
-- are asked for at once. /get and /put tell what they were asked: {"args": {...}, "url": ...}.
--   moonloop scripts/web_random.lua [PORT [SECONDS]]
--   curl http://127.0.0.1:8000/ http://127.0.0.1:8000/random http://127.0.0.1:8000/get?a=1

local asyncio = require "asyncio"
local web = require "http.web"

local port, seconds = tonumber(arg[1]) or 8000, tonumber(arg[2]) or 1
local routes = web.RouteTableDef()

routes:get("/")(async function()
  await asyncio.sleep(seconds)
  return web.json_response { msg = "ok" }
end)

routes:get("/random")(async function()
  await asyncio.sleep(seconds)
  return web.json_response { msg = math.random() }
end)

local async function echo(request)
  await asyncio.sleep(seconds)
  local args = {}
  for name, value in pairs(request.query) do args[name] = value end
  return web.json_response { args = args, url = tostring(request.url) }
end
routes:get("/get")(echo)
routes:put("/put")(echo)

local app = web.Application()
app:add_routes(routes)
web.run_app(app, { host = "127.0.0.1", port = port })
