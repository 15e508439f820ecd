-- Routes: a greeting, a form that is posted to a path with a name in it, and a handler that waits for something.
--   moonloop scripts/web_server.lua [PORT]
--   curl http://127.0.0.1:8080/
--   curl -d key=value http://127.0.0.1:8080/demo1/jane
--   curl -X POST http://127.0.0.1:8080/demo2

local asyncio = require "asyncio"
local web = require "http.web"

local function now() return os.date("%Y-%m-%d %H:%M:%S") end

local routes = web.RouteTableDef()

routes:get("/")(async function()
  return web.Response { text = "Hello, world" }
end)

-- A parameter of the path, and a form. The handler begins as soon as the request's head is there: the name is known
-- then, the form may still be on its way.
routes:post("/demo1/{name}")(async function(request)
  local name = request.match_info:get("name", "Anonymous")
  print(now(), "request of " .. name)
  local data = await request:post()
  print(now(), "its form is there")
  local result = { name = name, key = data.key }
  return web.json_response(result)
end)

-- What waits lets others go on. (A sleep stands for a request to somebody else.)
routes:post("/demo2")(async function()
  print(now(), "safety detect request start")
  await asyncio.sleep(1)
  print(now(), "safety detect request finish")
  return web.Response { text = "welcome" }
end)

print("server start")
local app = web.Application()
app:add_routes(routes)
web.run_app(app, { host = "127.0.0.1", port = tonumber(arg[1]) or 8080 })
print("server close")
