--- Application: routes, middlewares, signals and state. Sub-applications have their own, below a prefix or for a host.

local FrozenList, Signal = require("http.web.signals").FrozenList, require("http.web.signals").Signal
local UrlDispatcher = require "http.web.dispatcher"
local chains = require "http.web.chains"
local class = require "http.web.class"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

--- What `cleanup` raises when more than one thing has failed; `exceptions` has them.
local CleanupError = core.ExceptionGroup:extend("CleanupError")

---@class http.web.Application
---@field router http.web.UrlDispatcher
---@field middlewares http.web.FrozenList the first is the outermost
---@field on_startup http.web.Signal handlers get the application
---@field on_shutdown http.web.Signal
---@field on_cleanup http.web.Signal
---@field on_response_prepare http.web.Signal handlers get request and response
---@field cleanup_ctx http.web.FrozenList functions of the application that yield once, between startup and cleanup
---@field client_max_size integer bytes of a request's body; 0: as many as come
---@field debug boolean? pages of errors show tracebacks
local Application = class.define("Application")

local known = { "middlewares", "client_max_size", "debug" }

---@param opts? { middlewares: function[], client_max_size: integer, debug: boolean }
function Application.new(cls, opts)
  core.options(opts, known, "Application")
  opts = opts or {}
  local size = opts.client_max_size
  if size ~= nil and (math.type(size) ~= "integer" or size < 0) then
    misuse.blame(
      core.ValueError, "Application: client_max_size: a number of bytes was expected, got " .. tostring(size)
    )
  end
  if opts.middlewares ~= nil and type(opts.middlewares) ~= "table" then
    misuse.blame(
      core.TypeError, "Application: middlewares: an array was expected, got " .. misuse.describe(opts.middlewares)
    )
  end
  local self = setmetatable({}, cls)
  rawset(self, "router", UrlDispatcher._make(self))
  rawset(self, "middlewares", FrozenList("middlewares", opts.middlewares))
  for _, name in ipairs { "on_startup", "on_shutdown", "on_cleanup", "on_response_prepare" } do
    rawset(self, name, Signal(name))
  end
  rawset(self, "cleanup_ctx", FrozenList("cleanup_ctx"))
  rawset(self, "client_max_size", size or 1024 * 1024)
  rawset(self, "debug", opts.debug)
  rawset(self, "_subapps", {})
  rawset(self, "_has_prepare", false)
  return self
end

--- Adds what web.get, web.post, web.static, ... give, or a RouteTableDef.
---@param routes table
function Application:add_routes(routes) self.router:add_routes(routes) end

-- ---- sub-applications ----

local function check_sub(self, sub, name)
  if not class.is(sub, Application) then
    misuse.blame(core.TypeError, name .. ": an Application was expected, got " .. misuse.describe(sub))
  elseif self.frozen then
    misuse.blame(core.RuntimeError, name .. ": the application is frozen")
  elseif sub == self or sub._parent then
    misuse.blame(core.RuntimeError, name .. ": the application is part of another one already")
  end
end

local function join(self, sub)
  rawset(sub, "_parent", self)
  self._subapps[#self._subapps + 1] = sub
  sub.router:freeze()
  sub.middlewares:freeze()
end

--- Puts another application's routes below a prefix. Its routes must be complete. RuntimeError: routes conflict, or it
--- is part of an application already.
---@param prefix string
---@param sub http.web.Application
function Application:add_subapp(prefix, sub)
  if type(prefix) ~= "string" then
    misuse.blame(core.TypeError, "add_subapp: a prefix was expected, got " .. misuse.describe(prefix))
  end
  local bare = prefix:gsub("/+$", "")
  if bare == "" or bare:sub(1, 1) ~= "/" or bare:find("[{}]") then
    misuse.blame(core.ValueError, ("add_subapp: a prefix such as /admin was expected, got %q"):format(prefix))
  end
  check_sub(self, sub, "add_subapp")
  self.router:_mount(bare, sub)
  join(self, sub)
end

-- "*.example.com" as a Lua pattern for a host with or without a port; a star stands for any number of names, as in
-- aiohttp. Hosts are compared in lower case and in their ASCII form.
local function host_pattern(domain)
  domain = domain:gsub("%.+$", ""):gsub(":80$", "")
  if domain:find("[\128-\255]") then
    local name, port = domain:match("^(.-)(:?%d*)$")
    domain = require("url").URL("http://" .. name).raw_host .. port
  end
  local text = domain:lower():gsub("[%^$().%[%]+?%-%%]", "%%%0"):gsub("%*", "[^:]*")
  if domain:find(":%d+$") then return "^" .. text .. "$" end
  return "^" .. text .. "$", "^" .. text .. ":%d+$"
end

--- Puts another application's routes there for one host ("api.example.com", "*.example.com"); asked after those that
--- stand here for every host.
---@param domain string
---@param sub http.web.Application
function Application:add_domain(domain, sub)
  if type(domain) ~= "string" then
    misuse.blame(core.TypeError, "add_domain: a host was expected, got " .. misuse.describe(domain))
  elseif domain == "" or domain:find("://", 1, true) or not domain:find("^[%w%-.*:%[%]\128-\255]+$") then
    misuse.blame(core.ValueError, ("add_domain: a host such as api.example.com was expected, got %q"):format(domain))
  end
  check_sub(self, sub, "add_domain")
  local bare, with_port = host_pattern(domain)
  local domains = self.router._domains
  domains[#domains + 1] = { pattern = bare, app = sub }
  if with_port then domains[#domains + 1] = { pattern = with_port, app = sub } end
  self.router:_adopt(sub, self)
  join(self, sub)
end

-- ---- life ----

function Application.__get.frozen(self) return rawget(self, "_frozen") or false end

function Application.__get.pre_frozen(self) return rawget(self, "_frozen") or false end

local signals = { "on_startup", "on_shutdown", "on_cleanup", "on_response_prepare", "middlewares", "cleanup_ctx" }

-- `above`: the applications around it.
local function freeze(self, above, has_prepare)
  rawset(self, "_frozen", true)
  self.router:freeze()
  for _, name in ipairs(signals) do self[name]:freeze() end
  local apps = table.move(above, 1, #above, 1, {})
  apps[#apps + 1] = self
  rawset(self, "_has_prepare", has_prepare or #self.on_response_prepare > 0)
  rawset(self, "_missing", chains.missing(self, apps))
  for _, sub in ipairs(self._subapps) do freeze(sub, apps, self._has_prepare) end
end

--- Routes, middlewares and signals are complete. Done by itself before the application runs.
function Application:freeze()
  if rawget(self, "_frozen") then return end
  freeze(self, {}, false)
  for _, route in ipairs(self.router._routes) do route.call = chains.compile(route) end
end

-- What cleanup_ctx has: generators, as far as they have come.
local function enter(self, f)
  local generator = coroutine.create(function(app)
    local result = f(app)
    if core.iscoroutine(result) then await(result) end
  end)
  local ok, err = coroutine.resume(generator, self)
  if not ok then error(err, 0) end
  if coroutine.status(generator) == "dead" then
    error(core.RuntimeError("a function of cleanup_ctx returned without a coroutine.yield()"), 0)
  end
  local open = rawget(self, "_contexts")
  open[#open + 1] = generator
end

local function leave(generator)
  local ok, err = coroutine.resume(generator)
  if not ok then error(err, 0) end
  if coroutine.status(generator) ~= "dead" then
    coroutine.close(generator)
    error(core.RuntimeError("a function of cleanup_ctx yields more than once"), 0)
  end
end

local function startup(self)
  rawset(self, "_contexts", rawget(self, "_contexts") or {})
  for _, f in ipairs(self.cleanup_ctx) do enter(self, f) end
  await(self.on_startup:send(self))
  for _, sub in ipairs(self._subapps) do startup(sub) end
end

local function shutdown(self)
  await(self.on_shutdown:send(self))
  for _, sub in ipairs(self._subapps) do shutdown(sub) end
end

-- All is cleaned up, whatever fails; the errors are gathered. In aiohttp's order.
local function cleanup(self, failed)
  local open = rawget(self, "_contexts") or {}
  while #open > 0 do
    local ok, err = pcall(leave, table.remove(open))
    if not ok then failed[#failed + 1] = err end
  end
  for _, handler in ipairs(self.on_cleanup) do
    local ok, err = pcall(function()
      local result = handler(self)
      if core.isawaitable(result) then await(result) end
    end)
    if not ok then failed[#failed + 1] = err end
  end
  for _, sub in ipairs(self._subapps) do cleanup(sub, failed) end
end

--- Freezes the application, enters cleanup_ctx and sends on_startup. If something fails, what has begun is cleaned up
--- by `cleanup`.
---@return any awaitable
Application.startup = async(function(self)
  self:freeze()
  startup(self)
end, "Application.startup")

--- Sends on_shutdown.
---@return any awaitable
Application.shutdown = async(shutdown, "Application.shutdown")

--- Leaves cleanup_ctx, the last first, and sends on_cleanup; then the same of sub-applications. Raises the
--- error of one, a CleanupError (an ExceptionGroup) of several.
---@return any awaitable
Application.cleanup = async(function(self)
  local failed = {}
  cleanup(self, failed)
  if #failed == 1 then error(failed[1], 0) end
  if #failed > 1 then error(CleanupError("errors of cleanup", failed), 0) end
end, "Application.cleanup")

function Application:__tostring() return "<Application>" end

--- A key for an application's state that no other is equal to: `app[key] = value`.
local AppKey = class.define("AppKey")

function AppKey.new(cls, name)
  if type(name) ~= "string" then
    misuse.blame(core.TypeError, "AppKey: a name was expected, got " .. misuse.describe(name))
  end
  return setmetatable({ name = name, place = misuse.place() }, cls)
end

function AppKey:__tostring() return ("<AppKey(%s)>"):format(self.name) end

return { Application = Application, AppKey = AppKey, CleanupError = CleanupError }
