-- A small site in parts: what there is (scripts/mvc/model.lua), what is done (controllers.lua), how it looks (views/,
-- templates that escape by themselves), static files, pages for errors, and a log.
--   moonloop scripts/web_mvc.lua [PORT [LOGFILE]]

local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/mvc/?.lua;" .. package.path

local controllers = require "controllers"
local template = require "template"
local web = require "http.web"

local views = template.folder(here .. "/mvc/views")

local function page(status, title)
  return function(request)
    return views:response("error.html", { status = status, title = title, path = request.path }, status)
  end
end

local app = web.Application {
  middlewares = {
    web.error_pages { [404] = page(404, "There is no such page"), [500] = page(500, "Something went wrong") },
    web.normalize_path_middleware(),
  },
}
app.views = views

-- The model lives as long as the application.
app.cleanup_ctx:append(function(a)
  a.notes = require("model").Notes()
  a.notes:add("Hello", "The first note. <b>Tags</b> are shown, and do nothing.")
  coroutine.yield()
  a.notes:close()
end)

app:add_routes(controllers)
app.router:add_static("/static/", here .. "/static")

local log = arg[2] and assert(io.open(arg[2], "a")) or true
if log ~= true then log:setvbuf("line") end
web.run_app(app, { host = "127.0.0.1", port = tonumber(arg[1]) or 8080, access_log = log })
