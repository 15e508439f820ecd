--- From a route to one function of the request: handlers of all kinds, with the middlewares around them. Built once,
--- when the application is frozen; what they give has been awaited.

local core = require "asyncio.core"
local errors = require "http.web.errors"
local resources = require "http.web.resources"

local async, await, isawaitable = core.async, core.await, core.isawaitable

local M = {}

-- What a plain function gave: a coroutine is awaited.
local function settle(value)
  if type(value) ~= "table" then
    if isawaitable(value) then return await(value) end
  elseif isawaitable(value) then
    return await(value)
  end
  return value
end

local function view_handler(view)
  return function(request)
    local method = request.method
    local name = resources.methods[method] and method:lower()
    local f = name and view[name] or method == "HEAD" and view.get
    if not f then error(errors.HTTPMethodNotAllowed(method, resources.view_methods(view)), 0) end
    return settle(f(view(request)))
  end
end

local function callable(handler)
  if type(handler) == "table" and rawget(handler, "__view") then return view_handler(handler) end
  local body = core.coroutinebody(handler)
  if type(body) == "function" then return body end
  return function(request) return settle(handler(request)) end
end

-- A middleware around what `handler` makes a coroutine of: as a function of the request, and as a coroutine function.
local function wrap(middleware, handler)
  local body = core.coroutinebody(middleware)
  if type(body) == "function" then
    return function(request) return body(request, handler) end, core.bindlast(body, handler)
  end
  local function call(request) return settle(middleware(request, handler)) end
  return call, async(call, "handler")
end

-- `request.app` is the inner application behind this, and the outer one again when that has answered.
local Within = { __close = function(self) rawset(self.request, "_app", self.outer) end }

local function within(app, outer, call)
  return function(request)
    local _guard <close> = setmetatable({ request = request, outer = outer }, Within)
    rawset(request, "_app", app)
    return (call(request))
  end
end

-- Where its requests ask for permission to send their body.
local function expecting(expect, call)
  return function(request)
    local header = request.headers["Expect"]
    if header and header:lower() == "100-continue" then
      local response = settle(expect(request))
      if response ~= nil then return response end
    end
    return call(request)
  end
end

--- The function that answers a route's requests: the middlewares of the outermost application first, of each
--- application the first of the list first.
---@param route http.web.Route
---@return fun(request: http.web.Request): any
function M.compile(route)
  local call, apps = callable(route.handler), route.apps
  local handler, inner = async(call, "handler"), route.app
  for i = #apps, 1, -1 do
    local list = apps[i].middlewares
    if #list > 0 and apps[i] ~= inner then
      call = within(inner, apps[i], call)
      handler, inner = async(call, "handler"), apps[i]
    end
    for k = #list, 1, -1 do call, handler = wrap(list[k], handler) end
  end
  if inner ~= route.app then call = within(inner, nil, call) end
  if route.expect_handler then call = expecting(route.expect_handler, call) end
  return call
end

-- A route that stands for the lack of one.
local function system(app, apps, handler)
  local route = resources.Route._make("*", handler, nil, app)
  route.apps, route.system = apps, true
  route.call = M.compile(route)
  return route
end

--- The routes of an application for requests that it has no route for.
---@return { not_found: http.web.Route, not_allowed: http.web.Route }
function M.missing(app, apps)
  return {
    not_found = system(app, apps, function() error(errors.HTTPNotFound(), 0) end),
    not_allowed = system(app, apps, function(request)
      error(errors.HTTPMethodNotAllowed(request.method, request._allowed), 0)
    end),
  }
end

return M
