--- Runners: what serves an application on any number of sites, and ends it gracefully: AppRunner, ServerRunner.

local class = require "http.web.class"
local core = require "asyncio.core"
local http_core = require "http.core"
local misuse = require "asyncio.misuse"

local async, await, catch = core.async, core.await, core.catch

local M = {}

--- How long a handler that was cancelled may take to end.
local CANCEL_GRACE = 5
--- How long a peer that has its answer, but does not close its side, is waited for at the end.
local LINGER = 1
--- How often is looked at what is left.
local STEP = 0.1

--- Options of a runner that are settings of its connections.
local settings_names = {
  "keepalive_timeout", "header_timeout", "body_timeout", "send_timeout", "lingering_time", "max_line", "max_head",
  "max_headers", "max_discard", "server", "on_bad",
}
local handler_names = { "access_log", "access_log_format", "handler_cancellation", "debug" }
local option_names = { "handle_signals", "shutdown_timeout" }
for _, list in ipairs { settings_names, handler_names } do
  table.move(list, 1, #list, #option_names + 1, option_names)
end
M.option_names = option_names

-- ---- what could not be served ----

-- What a peer wrote must not end the line.
local function clean(text)
  return (tostring(text):gsub("[%c\127]", function(c) return ("\\x%02x"):format(c:byte()) end))
end

--- The line for the log about a request that was refused before anybody could handle it.
---@param status integer
---@param why string
---@param peer any
---@return string
function M.bad_line(status, why, peer)
  local from = tostring(peer or "a unix socket")
  if type(peer) == "table" and peer[1] then from = ("%s:%s"):format(peer[1], peer[2]) end
  return ("moonloop: request from %s refused: %d %s"):format(clean(from), status, clean(why))
end

local function log_bad(status, why, peer)
  io.stderr:write(M.bad_line(status, why, peer), "\n")
end

-- ---- runners ----

---@class http.web.ServerRunner
---@field sites http.web.Site[] in the order they were started
---@field addresses any[] where they listen
---@field server any the settings of the connections, once it is set up
local ServerRunner = class.define("ServerRunner")
ServerRunner.__open = true
M.ServerRunner = ServerRunner

local function pick(options, names)
  local picked
  for _, name in ipairs(names) do
    if options[name] ~= nil then
      picked = picked or {}
      picked[name] = options[name]
    end
  end
  return picked
end

-- What every runner has.
local function new(cls, options, name)
  core.options(options, option_names, name)
  options = options or {}
  local timeout = options.shutdown_timeout
  if timeout ~= nil and (type(timeout) ~= "number" or timeout ~= timeout or timeout < 0) then
    misuse.blame(core.ValueError, name .. ": shutdown_timeout: a number of seconds was expected, got "
      .. misuse.describe(timeout))
  end
  local self = setmetatable({}, cls)
  rawset(self, "_options", options)
  rawset(self, "shutdown_timeout", timeout or 60)
  rawset(self, "_sites", {})
  rawset(self, "_tasks", {})
  rawset(self, "_state", "new")
  return self
end

--- A runner of a function of the request, without an application.
---@param handler fun(request: http.web.Request): http.web.StreamResponse
---@param options? table as AppRunner
function ServerRunner.new(cls, handler, options)
  if type(handler) ~= "function" then
    misuse.blame(core.TypeError,
      "ServerRunner: a function of the request was expected, got " .. misuse.describe(handler))
  end
  local self = new(cls, options, "ServerRunner")
  local app = require("http.web.application").Application { client_max_size = 0 }
  app.router:add_route("*", "/{path:.*}", handler)
  rawset(self, "_app", app)
  return self
end

---@class http.web.AppRunner : http.web.ServerRunner
---@field app http.web.Application
local AppRunner = class.define("AppRunner", ServerRunner)
AppRunner.__open = true
M.AppRunner = AppRunner

--- A runner of an application. Options: `handle_signals` (SIGINT and SIGTERM end the loop with GracefulExit),
--- `shutdown_timeout` (60: seconds that requests under way may take when it ends), `access_log`, `access_log_format`,
--- `handler_cancellation`, `debug`, and settings of connections: `keepalive_timeout` (75),
--- `header_timeout`, `body_timeout`, `send_timeout`, `lingering_time`, `max_line`, `max_head`, `max_headers`, `server`,
--- `on_bad`.
---@param app http.web.Application
---@param options? table
function AppRunner.new(cls, app, options)
  local Application = require("http.web.application").Application
  if not class.is(app, Application) then
    misuse.blame(core.TypeError, "AppRunner: an Application was expected, got " .. misuse.describe(app))
  elseif app._parent then
    misuse.blame(core.RuntimeError, "AppRunner: the application is part of another one: run that")
  end
  local self = new(cls, options, "AppRunner")
  rawset(self, "_app", app)
  rawset(self, "app", app)
  return self
end

function ServerRunner.__get.sites(self) return table.move(self._sites, 1, #self._sites, 1, {}) end

function ServerRunner.__get.server(self) return rawget(self, "_settings") end

function ServerRunner.__get.addresses(self)
  local list = {}
  for _, site in ipairs(self._sites) do
    for _, socket in ipairs(site._server and site._server.sockets or {}) do list[#list + 1] = socket.address end
  end
  return list
end

-- The handler of connections, which knows the tasks that there are.
local function counted(self, serve)
  local tasks, current_task = self._tasks, core.current_task
  local run = core.coroutinebody(serve)
  return async(function(conn)
    local task = current_task()
    tasks[task] = conn
    local ok, err = catch(run, conn)
    tasks[task] = nil
    if not next(tasks) then
      local idle = rawget(self, "_idle")
      if idle and not idle:done() then idle:set_result(nil) end
    end
    if not ok then error(err, 0) end
  end, "serve_connection")
end

-- ---- signals ----

--- What SIGINT and SIGTERM raise with handle_signals, out of the run of the loop; `signal` is the signal's name.
M.GracefulExit = core.SystemExit:extend("GracefulExit")

local function watch_signals(self)
  local loop = core.get_running_loop()
  rawset(self, "_loop", loop)
  for _, name in ipairs { "SIGINT", "SIGTERM" } do
    loop:add_signal_handler(name, function() error(M.GracefulExit(name, { signal = name }), 0) end)
  end
end

local function unwatch_signals(self)
  local loop = rawget(self, "_loop")
  if not loop then return end
  rawset(self, "_loop", nil)
  for _, name in ipairs { "SIGINT", "SIGTERM" } do pcall(loop.remove_signal_handler, loop, name) end
end

-- ---- life ----

--- Runs the application's startup; then sites may be started. RuntimeError if it is set up already.
---@return any awaitable
ServerRunner.setup = async(function(self)
  if self._state ~= "new" then
    error(core.RuntimeError(("setup: the runner is %s already"):format(self._state == "up" and "set up" or "over")), 0)
  end
  rawset(self, "_state", "up")
  local options = self._options
  local settings = pick(options, settings_names) or {}
  if settings.on_bad == nil then settings.on_bad = log_bad end
  settings.release_after = 1
  rawset(self, "_settings", http_core.settings(settings))
  if options.handle_signals then watch_signals(self) end
  await(self._app:startup())
  local serve = require("http.web.server").handler(self._app, pick(options, handler_names))
  rawset(self, "_handler", counted(self, serve))
end, "setup")

--- Runs the application's on_shutdown. Part of cleanup.
---@return any awaitable
ServerRunner.shutdown = async(function(self) await(self._app:shutdown()) end, "shutdown")

-- Is all that is left of the connections that peers have not closed their side?
local function lingering(self)
  for _, conn in pairs(self._tasks) do
    if not conn:is_closing() then return false end
  end
  return true
end

-- Waits until no connection is left; false: there are some after so many seconds, or `hurried`. Peers that have their
-- answers and do not close are not waited for as long.
local function quiet(self, seconds, hurried)
  local loop = core.get_running_loop()
  local deadline, since = loop:time() + seconds, nil
  while next(self._tasks) do
    local now = loop:time()
    if now >= deadline or hurried and rawget(self, "_hurried") then return false end
    since = lingering(self) and (since or now) or nil
    if since and now - since >= LINGER then
      for _, conn in pairs(self._tasks) do conn:abort() end
    end
    local idle = loop:create_future()
    rawset(self, "_idle", idle)
    local ok, err = pcall(await, require("asyncio").wait_for(idle, math.min(STEP, deadline - now)))
    rawset(self, "_idle", nil)
    if not ok and not core.isinstance(err, core.TimeoutError) then error(err, 0) end
  end
  return true
end

-- Cancels what has not ended in time, and drops what does not end then.
local function drop(self)
  for task in pairs(self._tasks) do task:cancel("the server is shut down") end
  if quiet(self, CANCEL_GRACE) then return end
  for _, conn in pairs(self._tasks) do conn:abort() end
end

-- The first error of several steps, each of which is done.
local function step(failed, f, ...)
  local ok, err = pcall(f, ...)
  if not ok then failed[#failed + 1] = err end
end

--- Ends it gracefully: sites stop listening, idle connections are closed, on_shutdown runs, requests under way have
--- shutdown_timeout to end and are cancelled then, on_cleanup runs. A second time nothing happens. Raises what
--- on_shutdown and on_cleanup raise, after all is done.
---@return any awaitable
ServerRunner.cleanup = async(function(self)
  if self._state ~= "up" then
    rawset(self, "_state", "over")
    return
  end
  rawset(self, "_state", "over")
  local failed = {}
  for i = #self._sites, 1, -1 do self._sites[i]:_close() end
  local settings = self._settings
  if settings then
    await(core.sleep(0))
    settings:shutdown()
    step(failed, function() await(self:shutdown()) end)
    settings:shutdown() -- what on_shutdown has made idle
    if not quiet(self, self.shutdown_timeout, true) then drop(self) end
  end
  rawset(self, "_sites", {})
  step(failed, function() await(self._app:cleanup()) end)
  unwatch_signals(self)
  if #failed > 0 then error(failed[1], 0) end
end, "cleanup")

--- For run_app: what waits for requests under way waits no longer.
function ServerRunner:_hurry()
  rawset(self, "_hurried", true)
  local idle = rawget(self, "_idle")
  if idle and not idle:done() then idle:set_result(nil) end
end

function ServerRunner:__close()
  if self._state == "up" then await(self:cleanup()) end
end

function ServerRunner:__tostring() return ("<%s %s sites=%d>"):format(self.__name, self._state, #self._sites) end

AppRunner.__close, AppRunner.__tostring = ServerRunner.__close, ServerRunner.__tostring

return M
