--- run_app: runs an application until the process is told to end, in this process or in several.

local AppRunner = require("http.web.runner").AppRunner
local asyncio = require "asyncio"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local runner_options = require("http.web.runner").option_names
local sites = require "http.web.sites"

local async, await, catch = core.async, core.await, core.catch

local M = {}

local site_names = { "ssl_context", "backlog", "reuse_address", "reuse_port" }
local option_names = { "host", "port", "path", "sock", "print", "workers", "reload" }
table.move(site_names, 1, #site_names, #option_names + 1, option_names)
table.move(runner_options, 1, #runner_options, #option_names + 1, option_names)

--- What the command line says (moonloop run): it has precedence over what the script says.
local overrides

--- For `moonloop run`: calls f; what run_app is called with in it is overridden.
---@return boolean ran was it called?
---@return any what f gives
function M.overriding(options, f, ...)
  local mine = { options = options, ran = false }
  overrides = mine
  local r = table.pack(catch(f, ...))
  overrides = nil
  if not r[1] then error(r[2], 0) end
  return mine.ran, table.unpack(r, 2, r.n)
end

-- A list of what was given once, or in an array.
local function each(value, kind)
  if value == nil then return {} end
  if type(value) == kind or kind ~= "table" and type(value) ~= "table" then return { value } end
  return value
end

local function check(options)
  local workers = options.workers
  if workers ~= nil and (math.type(workers) ~= "integer" or workers < 1) then
    misuse.blame(core.ValueError, "run_app: workers: a number of processes was expected, got " .. tostring(workers))
  end
  if options.reload ~= nil and type(options.reload) ~= "boolean" and type(options.reload) ~= "table" then
    misuse.blame(core.TypeError,
      "run_app: reload: a boolean or a table was expected, got " .. misuse.describe(options.reload))
  end
end

local function site_options(options, tcp)
  return {
    ssl_context = options.ssl_context, backlog = options.backlog,
    reuse_address = tcp and options.reuse_address or nil, reuse_port = tcp and options.reuse_port or nil,
  }
end

-- The sites that the options name: TCP unless it is a path or a socket alone.
local function make_sites(runner, options)
  local list = {}
  local host, port, path, sock = options.host, options.port, options.path, options.sock
  if host ~= nil or port ~= nil or path == nil and sock == nil then
    for _, h in ipairs(host ~= nil and each(host, "string") or { "0.0.0.0" }) do
      list[#list + 1] = sites.TCPSite(runner, h, port, site_options(options, true))
    end
  end
  for _, p in ipairs(each(path, "string")) do list[#list + 1] = sites.UnixSite(runner, p, site_options(options)) end
  if sock ~= nil then
    for _, s in ipairs(type(sock) == "table" and sock or { sock }) do
      list[#list + 1] = sites.SockSite(runner, s, site_options(options))
    end
  end
  return list
end

local function pick(options, names)
  local picked = {}
  for _, name in ipairs(names) do picked[name] = options[name] end
  return picked
end

--- The lines that tell where it runs.
---@param names string[]
function M.banner(names)
  return "======== Running on " .. table.concat(names, ", ") .. " ========\n(Press CTRL+C to quit)"
end

local function tell(options, names)
  if options.print == false then return end
  local write = options.print or print
  write(M.banner(names))
  if write == print then io.stdout:flush() end
end

-- SIGINT and SIGTERM: the first ends it gracefully, the next at once.
local function watch_signals(stop, runner)
  local loop = core.get_running_loop()
  local watched, again = {}, false
  for _, name in ipairs { "SIGINT", "SIGTERM" } do
    loop:add_signal_handler(name, function()
      if again then runner:_hurry() end
      again = true
      stop:set()
    end)
    watched[#watched + 1] = name
  end
  return function()
    for _, name in ipairs(watched) do pcall(loop.remove_signal_handler, loop, name) end
  end
end

-- Serves until `stop` is set.
local function serve(runner, options, worker, stop)
  await(runner:setup())
  local names = {}
  for i, site in ipairs(make_sites(runner, options)) do
    await(site:start())
    names[i] = site.name
  end
  if worker then
    worker:ready(stop)
  else
    tell(options, names)
  end
  await(stop:wait())
end

local run = async(function(app, options, worker)
  if core.isawaitable(app) then
    app = await(app)
  elseif type(app) == "function" then
    app = app()
  end
  local chosen = pick(options, runner_options)
  chosen.handle_signals = nil
  if worker then worker:adapt(options, chosen) end
  local runner = AppRunner(app, chosen)
  local stop = asyncio.Event()
  local unwatch = options.handle_signals ~= false and watch_signals(stop, runner)
  local ok, err = catch(serve, runner, options, worker, stop)
  local clean, why = catch(await, runner:cleanup())
  if unwatch then unwatch() end
  if not ok then error(err, 0) end
  if not clean then error(why, 0) end
end, "run_app")

--- Runs an application until SIGINT or SIGTERM comes, then ends it gracefully: it stops listening, closes idle
--- connections, runs on_shutdown, gives requests under way shutdown_timeout (60 s), cancels the rest, runs on_cleanup.
--- A second signal waits no longer.
---
--- Options: `host` (a name, an address, or several; default 0.0.0.0), `port` (8080; with TLS 8443), `path` (of a unix
--- socket, or several), `sock` (a bound socket, or several), `ssl_context`, `backlog` (128), `reuse_address`,
--- `reuse_port`, `print` (a function of the text that tells where it runs; false: none), `workers` (so many processes,
--- which run this program again; those that die are replaced), `reload` (true, or {dirs, include}: the processes are
--- started anew when a file of Lua changes), and those of AppRunner.
---@param app http.web.Application|any or a function or coroutine that gives it
---@param options? table
function M.run_app(app, options)
  core.options(options, option_names, "run_app")
  local all = {}
  for key, value in pairs(options or {}) do all[key] = value end
  if overrides then
    overrides.ran = true
    for key, value in pairs(overrides.options) do all[key] = value end
  end
  check(all)
  local worker
  if (all.workers or 1) > 1 or all.reload then
    local processes = require "http.web.workers"
    worker = processes.current()
    if not worker then return processes.supervise(all, M.banner) end
  end
  return asyncio.run(run(app, all, worker), { debug = all.debug })
end

return M
