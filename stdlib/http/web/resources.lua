--- Resources (what one path leads to) and their routes (what handles a method of it).

local class = require "http.web.class"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local patterns = require "http.web.patterns"

local PARAM <const>, META <const> = 1, 2 -- of a route, for bindings/http/http_web.c

local M = {}

local RuntimeError, ValueError, TypeError = core.RuntimeError, core.ValueError, core.TypeError

--- Methods that views and `web.route` know; "*" is any.
M.methods = {
  CONNECT = true, HEAD = true, GET = true, DELETE = true, OPTIONS = true, PATCH = true, POST = true, PUT = true,
  TRACE = true,
}

-- ---- routes ----

---@class http.web.Route
---@field method string
---@field handler any
---@field resource http.web.Resource?
---@field name string? the resource's
---@field place string? where it was registered
local Route = class.define("Route")
M.Route = Route
Route.__open = true

local match_methods = {
  get = function(self, name, default)
    local value = rawget(self, name)
    if value == nil then return default end
    return value
  end,
}

--- For resources and applications.
function Route._make(method, handler, resource, app, place)
  local route = {
    method = method, handler = handler, resource = resource, app = app, apps = { app }, place = place, call = false,
  }
  route.match_meta = { __index = setmetatable({ route = route, handler = handler }, { __index = match_methods }) }
  route[PARAM], route[META] = resource and resource.parsed.names[1] or false, route.match_meta
  return setmetatable(route, Route)
end

function Route.__get.name(self) return self.resource and self.resource.name end

--- The path of the route's resource, with parameters in their places.
---@param params? table<string, string>
---@return string
function Route:url_for(params) return self.resource:url_for(params) end

function Route:__tostring()
  return ("<Route %s %s>"):format(self.method, self.resource and self.resource.canonical or "(system)")
end

-- ---- resources ----

---@class http.web.Resource
---@field canonical string the path as it was registered
---@field name string?
---@field routes table<string, http.web.Route> by method
local Resource = class.define("Resource")
M.Resource = Resource
Resource.__open = true

--- For dispatchers.
function Resource._make(parsed, router, place)
  local resource = { canonical = parsed.path, parsed = parsed, router = router, routes = {}, place = place }
  return setmetatable(resource, Resource)
end

function Resource:__len()
  local n = 0
  for _ in next, self.routes do n = n + 1 end
  return n
end

local function described(method, resource, place)
  return ("%s %s%s"):format(method, resource.canonical, place and " (" .. place .. ")" or "")
end

--- Raises RuntimeError if one of the two routes would never run.
function M.check_conflict(resource, method, canonical, place)
  local other = resource.routes[method] or resource.routes["*"] or method == "*" and select(2, next(resource.routes))
  if not other then return end
  misuse.blame(RuntimeError, ("%s %s%s conflicts with %s"):format(
    method, canonical, place and " (" .. place .. ")" or "", described(other.method, other.resource, other.place)))
end

local function check_handler(handler, what)
  if type(handler) == "function" then return end
  local mt = (type(handler) == "table" or type(handler) == "userdata") and getmetatable(handler)
  if type(handler) == "table" and rawget(handler, "__view") ~= nil then return end
  if type(mt) == "table" and mt.__call then return end
  misuse.blame(
    TypeError, ("the handler of %s: a function or a View was expected, got %s"):format(what, misuse.describe(handler))
  )
end

--- Adds the handler of a method ("*": of all that have none).
---@param method string
---@param handler any function of the request, coroutine function, or View
---@param place? string
---@return http.web.Route
function Resource:add_route(method, handler, place)
  if type(method) ~= "string" or not method:find("^[%w!#$%%&'*+.^_`|~-]+$") then
    misuse.blame(
      ValueError,
      "a method's name was expected, got "
        .. (type(method) == "string" and ("%q"):format(method) or misuse.describe(method))
    )
  end
  method = method:upper()
  check_handler(handler, method .. " " .. self.canonical)
  self.router:_check_open()
  M.check_conflict(self, method, self.canonical, place or misuse.place())
  local route = Route._make(method, handler, self, self.router.app, place or misuse.place())
  self.routes[method] = route
  self.router:_added(route)
  return route
end

--- The path, with the parameters in their places. ValueError for one that is missing, TypeError for one too many.
---@param params? table<string, string|number>
---@return string
function Resource:url_for(params)
  local pieces, used = {}, 0
  for _, part in ipairs(self.parsed.parts) do
    if type(part) == "string" then
      pieces[#pieces + 1] = patterns.encode_literal(part)
    else
      local value = params and params[part.name]
      if value == nil then
        misuse.blame(ValueError, ("url_for %s: the parameter %q is missing"):format(self.canonical, part.name))
      elseif type(value) ~= "string" and type(value) ~= "number" then
        misuse.blame(
          TypeError,
          ("url_for %s: %s: a string was expected, got %s"):format(self.canonical, part.name, misuse.describe(value))
        )
      end
      used = used + 1
      pieces[#pieces + 1] = patterns.encode(tostring(value), part.pattern ~= "[^/]+")
    end
  end
  for key in next, params or {} do
    local known = false
    for _, name in ipairs(self.parsed.names) do known = known or name == key end
    if not known then
      misuse.blame(TypeError, ("url_for %s: there is no parameter %q"):format(self.canonical, tostring(key)))
    end
  end
  return table.concat(pieces)
end

function Resource:__tostring()
  return ("<Resource %s%s>"):format(self.name and self.name .. " " or "", self.canonical)
end

-- ---- views ----

---@class http.web.View
---@field request http.web.Request
local View = class.define("View")
M.View = View
View.__open = true
View.__view = true

--- For the server: a view's methods are named as those of HTTP, in lower case.
function View.new(cls, request) return setmetatable({ request = request }, cls) end

local extend = View.extend

--- A class of views: `local Users = web.View:extend("Users"); function Users:get() ... end`.
---@param name string
function View.extend(parent, name)
  local cls = extend(parent, name)
  cls.__view, cls.extend = true, View.extend
  return cls
end

--- The methods that a view has.
---@return string[]
function M.view_methods(view)
  local list = {}
  for method in next, M.methods do
    if view[method:lower()] then list[#list + 1] = method end
  end
  table.sort(list)
  return list
end

return M
