-- A web application: a line of text, and a route with a parameter whose answer is JSON.
--
--   moonloop http.lua PORT
local bench = dofile((arg[0]:match("^(.*)/") or ".") .. "/bench.lua")
local web = require "http.web"

local app = web.Application()
app.router:add_get("/", async(function() return web.Response { text = "Hello, World!" } end))
app.router:add_get("/user/{id}", async(function(request)
  local id = request.match_info.id
  return web.json_response { id = math.tointeger(tonumber(id)), name = "user" .. id }
end))

web.run_app(app, {
  host = "127.0.0.1",
  port = bench.arg(1, 8000),
  backlog = 4096,
  access_log = false,
  keepalive_timeout = 3600,
  print = false,
})
