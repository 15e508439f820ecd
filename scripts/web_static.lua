-- Static files: folders below prefixes of their own, with and without an index of what is in them.
--   moonloop scripts/web_static.lua [PORT]
-- Then see http://127.0.0.1:8080/, /css/base.css, /css2017/ (an index) and /font/ (403: no index).

local web = require "http.web"

local here = arg[0]:match("^(.*)/") or "."
local app = web.Application()

app.router:add_get("/", function() return web.FileResponse(here .. "/static/index.html") end)
app.router:add_static("/css/", here .. "/static/css", { name = "css" })
app.router:add_static("/font/", here .. "/static/font", { name = "font" })
app.router:add_static("/css2017/", here .. "/static/css", { name = "css2017", show_index = true })

web.run_app(app, { host = "127.0.0.1", port = tonumber(arg[1]) or 8080 })
