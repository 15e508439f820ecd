--- What app:add_routes takes: web.get(path, handler) and the like, and RouteTableDef.

local class = require "http.web.class"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local M = {}

---@class http.web.RouteDef
local RouteDef = class.define("RouteDef")
RouteDef.__open = true

local register = {
  route = function(router, def) router:_add(def.method, def.path, def.handler, def.options, def.place) end,
  get = function(router, def) router:_add_get(def.path, def.handler, def.options, def.place) end,
  static = function(router, def) router:_add_static(def.path, def.directory, def.options, def.place) end,
}

--- For UrlDispatcher:add_routes.
function RouteDef:register(router) register[self.kind](router, self) end

function RouteDef:__tostring() return ("<RouteDef %s %s>"):format(self.method or "static", self.path) end

local function define(kind, method, path, handler, options, known, name)
  core.options(options, known, name)
  return setmetatable(
    { kind = kind, method = method, path = path, handler = handler, options = options, place = misuse.place() },
    RouteDef
  )
end

local route_options = { "name", "expect_handler" }

--- A route for any method; "*" stands for all.
---@param method string
---@param path string
---@param handler any
---@param opts? { name: string, expect_handler: function }
---@return http.web.RouteDef
function M.route(method, path, handler, opts)
  return define("route", method, path, handler, opts, route_options, "web.route")
end

--- A route for GET, and for HEAD unless allow_head is false.
---@param path string
---@param handler any
---@param opts? { name: string, allow_head: boolean, expect_handler: function }
---@return http.web.RouteDef
function M.get(path, handler, opts)
  return define("get", "GET", path, handler, opts, { "name", "allow_head", "expect_handler" }, "web.get")
end

for _, method in ipairs { "head", "post", "put", "patch", "delete", "options" } do
  M[method] = function(path, handler, opts)
    return define("route", method:upper(), path, handler, opts, route_options, "web." .. method)
  end
end

--- A view, for all methods that it has.
---@param path string
---@param view table
---@param opts? { name: string, expect_handler: function }
---@return http.web.RouteDef
function M.view(path, view, opts) return define("route", "*", path, view, opts, route_options, "web.view") end

--- The files below a directory.
---@param prefix string
---@param directory string
---@param opts? table as add_static
---@return http.web.RouteDef
function M.static(prefix, directory, opts)
  return setmetatable(
    { kind = "static", path = prefix, directory = directory, options = opts, place = misuse.place() }, RouteDef
  )
end

--- Routes that are collected where their handlers are defined: `routes:get("/")(async(function(request) ... end))`. It
--- is an array, for app:add_routes.
---@class http.web.RouteTableDef
local RouteTableDef = class.define("RouteTableDef")
M.RouteTableDef = RouteTableDef

function RouteTableDef.new(cls) return setmetatable({}, cls) end

local function collect(self, def)
  return function(handler)
    def.handler = handler
    rawset(self, #self + 1, def)
    return handler
  end
end

--- Gives a function that takes the handler, and gives it back.
---@param method string
---@param path string
---@param opts? { name: string, expect_handler: function }
function RouteTableDef:route(method, path, opts) return collect(self, M.route(method, path, nil, opts)) end

for _, method in ipairs { "get", "head", "post", "put", "patch", "delete", "options", "view" } do
  RouteTableDef[method] = function(self, path, opts) return collect(self, M[method](path, nil, opts)) end
end

--- The files below a directory.
---@param prefix string
---@param directory string
---@param opts? table as add_static
function RouteTableDef:static(prefix, directory, opts) rawset(self, #self + 1, M.static(prefix, directory, opts)) end

return M
