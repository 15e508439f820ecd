-- The web application of http.lua with what applications do: three middlewares, five headers read, a cookie set.
--
--   moonloop http_middlewares.lua PORT
local bench = dofile((arg[0]:match("^(.*)/") or ".") .. "/bench.lua")
local web = require "http.web"

local passing = async(function(request, handler) return await(handler(request)) end)

local app = web.Application { middlewares = { passing, passing, passing } }
app.router:add_get("/", async(function(request)
  local headers = request.headers
  local host, agent, accept = headers["Host"], headers["User-Agent"], headers["Accept"]
  local encoding, cookie = headers["Accept-Encoding"], headers["Cookie"]
  local known = host or agent or accept or encoding or cookie
  local response = web.Response { text = known and "Hello, World!" or "" }
  response:set_cookie("session", "0123456789abcdef")
  return response
end))

web.run_app(app, {
  host = "127.0.0.1",
  port = bench.arg(1, 8000),
  backlog = 4096,
  access_log = false,
  keepalive_timeout = 3600,
  print = false,
})
