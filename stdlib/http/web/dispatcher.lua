--- UrlDispatcher: from a request's method and path to a route. A plain path is one look-up in a table. Paths with
--- parameters stand in lists by their first piece; in a list, those whose literal beginning is longer come first, then
--- those that were added first.

local class = require "http.web.class"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local patterns = require "http.web.patterns"
local resources = require "http.web.resources"

local TAIL <const>, ROUTES <const> = 1, 2 -- of a resource, for bindings/http/http_web.c

local async = core.async
local Resource = resources.Resource
local find, match, sub = string.find, string.match, string.sub
local normalise, decode = patterns.normalise, patterns.decode

---@class http.web.UrlDispatcher
local UrlDispatcher = class.define("UrlDispatcher")

--- For applications.
function UrlDispatcher._make(app)
  return setmetatable({
    app = app,
    _plain = {}, -- path -> resource
    _pieces = {}, -- first piece -> sorted resources, the general ones among them
    _general = {}, -- sorted resources whose first piece has a parameter
    _shapes = {}, -- shape -> resource
    _spellings = {}, -- shape and names of parameters -> resource
    _aliases = {}, -- resources that are not in the index
    _folders = {}, -- resources of static files that have a prefix
    _list = {}, _routes = {}, _names = {}, _subapps = {}, _domains = {},
    _frozen = false,
  }, UrlDispatcher)
end

local index = UrlDispatcher.__index

-- A resource by its name, too: app.router["users"]:url_for{...}
function UrlDispatcher.__index(self, key)
  local value = index(self, key)
  if value == nil and type(key) == "string" and key:sub(1, 1) ~= "_" then value = self._names[key] end
  return value
end

function UrlDispatcher:_check_open()
  if self._frozen then
    misuse.blame(
      core.RuntimeError, "the router is frozen: routes are added before the application runs, or is added to another"
    )
  end
end

-- ---- the index ----

-- Longer literal beginnings first, then in the order of registration.
local function before(a, b)
  local n, m = #a.parsed.prefix, #b.parsed.prefix
  if n ~= m then return n > m end
  return a.order < b.order
end

local function insert_sorted(list, resource)
  local i = #list + 1
  while i > 1 and before(resource, list[i - 1]) do i = i - 1 end
  table.insert(list, i, resource)
end

local function insert_pattern(self, resource)
  local piece = match(resource.parsed.prefix, "^/[^/]*")
  if not piece then
    insert_sorted(self._general, resource)
    for _, list in next, self._pieces do insert_sorted(list, resource) end
    return
  end
  local list = self._pieces[piece]
  if not list then
    list = table.move(self._general, 1, #self._general, 1, {})
    self._pieces[piece] = list
  end
  insert_sorted(list, resource)
end

local function insert(self, resource)
  local parsed = resource.parsed
  resource.order = #self._list + 1
  resource[TAIL], resource[ROUTES] = parsed.tail or false, resource.routes
  self._list[resource.order] = resource
  self._shapes[parsed.shape] = resource
  if parsed.plain then
    self._plain[parsed.plain] = resource
  else
    insert_pattern(self, resource)
  end
end

-- ---- registration ----

local function check_name(self, name, resource)
  if name == nil then return end
  if type(name) ~= "string" or not name:find("^[%a_][%w_]*[%w_.:-]*$") then
    misuse.blame(core.ValueError, "name: letters, digits and _ with '.', ':' or '-' between were expected, got "
      .. (type(name) == "string" and ("%q"):format(name) or misuse.describe(name)))
  end
  local other = self._names[name]
  if other and other ~= resource then
    misuse.blame(core.ValueError, ("the name %q is that of %s%s already"):format(
      name, other.canonical, other.place and " (" .. other.place .. ")" or ""))
  end
end

--- The resource of a path, made if there is none.
---@param path string
---@param opts? { name: string }
---@return http.web.Resource
function UrlDispatcher:add_resource(path, opts)
  core.options(opts, { "name" }, "add_resource")
  return self:_resource(path, opts and opts.name)
end

-- Two resources may match the same paths and name their parameters differently: they share their routes, and the index
-- has the first of them.
local function spelling(parsed) return parsed.shape .. "\0" .. table.concat(parsed.names, ",") end

function UrlDispatcher:_resource(path, name, place)
  self:_check_open()
  local parsed = patterns.parse(path)
  local key = spelling(parsed)
  local resource = self._spellings[key]
  check_name(self, name, resource)
  if not resource then
    resource = Resource._make(parsed, self, place or misuse.place())
    local first = self._shapes[parsed.shape]
    if first then
      resource.routes = first.routes
      self._aliases[#self._aliases + 1] = resource
    else
      insert(self, resource)
    end
    self._spellings[key] = resource
  end
  if name then
    self._names[name] = resource
    resource.name = resource.name or name
  end
  return resource
end

function UrlDispatcher:_added(route) self._routes[#self._routes + 1] = route end

local route_options = { "name", "expect_handler" }
local get_options = { "name", "allow_head", "expect_handler" }

--- Adds a route. RuntimeError: another one stands in its way (both are named). `expect_handler`: a function of the
--- request, called first for requests that wait for 100 Continue; a response that it gives is the answer.
---@param method string "*": any
---@param path string "/users/{name}", "/users/{id:%d+}"
---@param handler any function of the request, coroutine function, or View
---@param opts? { name: string, expect_handler: function }
---@return http.web.Route
function UrlDispatcher:add_route(method, path, handler, opts)
  core.options(opts, route_options, "add_route")
  return self:_add(method, path, handler, opts)
end

function UrlDispatcher:_add(method, path, handler, opts, place)
  local expect = opts and opts.expect_handler
  if expect ~= nil and type(expect) ~= "function" and not core.iscoroutinefunction(expect) then
    misuse.blame(
      core.TypeError, "expect_handler: a function of the request was expected, got " .. misuse.describe(expect)
    )
  end
  local resource = self:_resource(path, opts and opts.name, place)
  local route = resource:add_route(method, handler, place)
  route.expect_handler = expect
  return route
end

function UrlDispatcher:_add_get(path, handler, opts, place)
  if not opts or opts.allow_head ~= false then self:_add("HEAD", path, handler, opts, place) end
  return self:_add("GET", path, handler, opts, place)
end

--- Adds a route for GET, and one for HEAD unless `allow_head` is false.
---@param path string
---@param handler any
---@param opts? { name: string, allow_head: boolean }
---@return http.web.Route
function UrlDispatcher:add_get(path, handler, opts)
  core.options(opts, get_options, "add_get")
  return self:_add_get(path, handler, opts)
end

for _, method in ipairs { "head", "post", "put", "patch", "delete", "options" } do
  UrlDispatcher["add_" .. method] = function(self, path, handler, opts)
    core.options(opts, route_options, "add_" .. method)
    return self:_add(method:upper(), path, handler, opts)
  end
end

--- Adds a view for all methods that it has.
---@param path string
---@param view table
---@param opts? { name: string }
function UrlDispatcher:add_view(path, view, opts)
  core.options(opts, route_options, "add_view")
  return self:_add("*", path, view, opts)
end

--- Serves the files below a directory.
---@param prefix string
---@param directory string
---@param opts? table {name, show_index, follow_symlinks, append_version, ...}
---@return http.web.Resource
function UrlDispatcher:add_static(prefix, directory, opts)
  return self:_add_static(prefix, directory, opts)
end

function UrlDispatcher:_add_static(prefix, directory, opts, place)
  if type(prefix) ~= "string" or not prefix:find("^/") then
    misuse.blame(core.ValueError, "add_static: a prefix that begins with / was expected, got " .. tostring(prefix))
  end
  prefix = prefix:gsub("/+$", "")
  local name, rest = nil, {}
  for key, value in next, opts or {} do
    if key == "name" then name = value else rest[key] = value end
  end
  local static = require("http.web.static").resource(prefix, directory, rest)
  local resource = self:_resource(prefix .. "/{filename:.*}", name, place)
  resource:add_route("HEAD", static.handler, place)
  resource:add_route("GET", static.handler, place)
  resource.static = static
  if static.url_for then
    -- The path has more before it once the application is part of another.
    resource.url_for = function(self_, params)
      return static:url_for(params, self_.canonical:sub(1, -#"/{filename:.*}" - 1))
    end
  end
  if prefix ~= "" then self._folders[#self._folders + 1] = resource end
  return resource
end

--- Takes an array of what web.get, web.post, ... give, or a RouteTableDef.
---@param routes table
function UrlDispatcher:add_routes(routes)
  if type(routes) ~= "table" then
    misuse.blame(core.TypeError, "add_routes: an array of routes was expected, got " .. misuse.describe(routes))
  end
  for i = 1, #routes do
    local route = routes[i]
    if type(route) ~= "table" or type(route.register) ~= "function" then
      misuse.blame(
        core.TypeError,
        ("add_routes: [%d]: what web.get and the like give was expected, got %s"):format(i, misuse.describe(route))
      )
    end
    route:register(self)
  end
end

-- ---- sub-applications ----

local function move(resource, prefix)
  resource.parsed = patterns.parse(prefix .. resource.canonical)
  resource.canonical = resource.parsed.path
end

-- Puts the routes of a sub-application into this index, below the prefix. All is checked before anything is changed.
function UrlDispatcher:_mount(prefix, other_app)
  self:_check_open()
  local list = other_app.router._list
  for _, resource in ipairs(list) do
    local parsed = patterns.parse(prefix .. resource.canonical)
    local other = self._shapes[parsed.shape]
    for method, route in next, other and resource.routes or {} do
      resources.check_conflict(other, method, parsed.path, route.place)
    end
  end
  for _, resource in ipairs(list) do
    move(resource, prefix)
    local other = self._shapes[resource.parsed.shape]
    if other then -- the path is there already, with other methods
      for method, route in next, resource.routes do other.routes[method] = route end
      self._aliases[#self._aliases + 1] = resource
    else
      insert(self, resource)
    end
  end
  for _, alias in ipairs(other_app.router._aliases) do
    move(alias, prefix)
    self._aliases[#self._aliases + 1] = alias
  end
  for _, folder in ipairs(other_app.router._folders) do self._folders[#self._folders + 1] = folder end
  self:_adopt(other_app, self.app)
  self._subapps[#self._subapps + 1] = { prefix = prefix, app = other_app }
end

-- The applications above learn of it: their middlewares and signals are for its routes, too.
function UrlDispatcher:_adopt(other_app, above)
  for _, route in ipairs(other_app.router._routes) do
    table.insert(route.apps, 1, above)
    self._routes[#self._routes + 1] = route
  end
end

-- ---- looking up ----

-- What the path's parameters are for a route: match_info. `first` is what the first one has matched.
local function params_of(route, first, path, parsed, escaped)
  local names = route.resource.parsed.names
  local params
  if #names == 1 then
    params = { [names[1]] = escaped and decode(first) or first }
  else
    local values = { match(path, parsed.pattern) }
    params = {}
    for i = 1, #names do params[names[i]] = escaped and decode(values[i]) or values[i] end
  end
  return setmetatable(params, route.match_meta)
end

local function allow(allowed, resource)
  allowed = allowed or {}
  for method in next, resource.routes do allowed[#allowed + 1] = method end
  return allowed
end

-- Of sub-applications with a domain of their own: those of which the host is that.
local function by_domain(self, method, path, host)
  if host ~= nil and type(host) ~= "string" then host = host:authority() end
  if host then host = host:lower() end
  for _, domain in ipairs(self._domains) do
    if host and match(host, domain.pattern) then
      local route, params, allowed, app = domain.app.router:_resolve(method, path, host)
      return route, params, allowed, app or domain.app
    end
  end
end

-- The route of a folder of static files that is asked for by its prefix alone, "/static" of "/static/...".
local function folder_of(self, method, path)
  for _, resource in ipairs(self._folders) do
    if match(path .. "/", resource.parsed.pattern) == "" then return resource.routes[method] end
  end
end

--- For the server. Gives the route and its parameters, or nil, nil, the methods that are allowed (nil if there is
--- nothing at the path), and the application whose prefix it is.
---@param method string
---@param path string as it was sent, without the query
---@param host any for sub-applications by domain: the host, or the exchange that has it
---@return http.web.Route?, table|false|nil, string[]?, table?
function UrlDispatcher:_resolve(method, path, host)
  local plain, escaped = self._plain, false
  local resource = plain[path]
  if not resource and find(path, "%", 1, true) then
    path, escaped = normalise(path), true
    resource = plain[path]
  end
  local allowed = nil
  if resource then
    local route = resource.routes[method] or resource.routes["*"]
    if route then return route, false end
    allowed = allow(allowed, resource)
  end
  local stop = find(path, "/", 2, true)
  local list = self._pieces[stop and sub(path, 1, stop - 1) or path] or self._general
  for i = 1, #list do
    resource = list[i]
    local parsed = resource.parsed
    local first = match(path, parsed.pattern)
    if first then
      local route = resource.routes[method] or resource.routes["*"]
      if route then return route, params_of(route, first, path, parsed, escaped) end
      allowed = allow(allowed, resource)
    end
  end
  if not allowed and self._folders[1] then
    local route = folder_of(self, method, path)
    if route then return route, params_of(route, "", path, route.resource.parsed) end
  end
  if not allowed and self._domains[1] then
    local route, params, others, app = by_domain(self, method, path, host)
    if app then return route, params, others, app end
  end
  return nil, nil, allowed, self:_owner(path)
end

--- The innermost sub-application below whose prefix a path is, or the application itself.
function UrlDispatcher:_owner(path)
  for _, part in ipairs(self._subapps) do
    local prefix = part.prefix
    if path:sub(1, #prefix) == prefix and (#path == #prefix or path:byte(#prefix + 1) == 47) then
      return part.app.router:_owner(path:sub(#prefix + 1))
    end
  end
  return self.app
end

local resolve = async(function(self, request)
  local method = request.method
  local route, params, allowed, app = self:_resolve(method, request._raw_path_only, request.host)
  if route then return params or setmetatable({}, route.match_meta) end
  local errors = require "http.web.errors"
  local err = allowed and errors.HTTPMethodNotAllowed(method, allowed) or errors.HTTPNotFound()
  route = resources.Route._make("*", function() error(err, 0) end, nil, app)
  route.system, route.match_meta.__index.http_exception = true, err
  return setmetatable({}, route.match_meta)
end, "UrlDispatcher.resolve")

--- The match_info that a request would have: the path's parameters, `route`, `handler`, and `http_exception` where
--- there is no route; the handler raises that then.
---@param request http.web.Request
---@return any awaitable of a table
function UrlDispatcher:resolve(request)
  if not class.is(request, require "http.web.request") then
    misuse.blame(core.TypeError, "resolve: a Request was expected, got " .. misuse.describe(request))
  end
  return resolve(self, request)
end

-- ---- looking inside ----

--- The resources, in the order in which they were added.
---@return http.web.Resource[]
function UrlDispatcher:resources() return table.move(self._list, 1, #self._list, 1, {}) end

--- The routes.
---@return http.web.Route[]
function UrlDispatcher:routes() return table.move(self._routes, 1, #self._routes, 1, {}) end

--- The resources that have a name, by name.
---@return table<string, http.web.Resource>
function UrlDispatcher:named_resources()
  local all = {}
  for name, resource in next, self._names do all[name] = resource end
  return all
end

--- No routes can be added any more.
function UrlDispatcher:freeze() rawset(self, "_frozen", true) end

return UrlDispatcher
