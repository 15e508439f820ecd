--- moonloop run: runs the web application that a script gives.

local core = require "asyncio.core"
local options = require "commands.options"

local help = [[
Usage: moonloop run [options] app.lua [options] [-- arguments]
Runs the web application that a script returns (an Application, or a function that gives one), has
in its global variable app, or runs by itself with web.run_app: what is said here has precedence.

  --host HOST            where to listen (may come again; default 0.0.0.0)
  --port PORT            (default 8080; with --cert 8443; 0: a free one)
  --path PATH            a unix socket to listen on
  --workers N            so many processes; those that die are replaced
  --reload               start anew when a Lua file in the script's folder changes
  --reload-dir DIR       look there instead (may come again)
  --reload-include GLOB  other files that count, e.g. '*.html' (may come again)
  --cert FILE            TLS with this certificate (PEM, with its chain)
  --key FILE             its private key, if it is not in the same file
  --access-log           a line for each request on standard error
  --shutdown-timeout S   seconds that requests have when it ends (60)
  --keepalive-timeout S  seconds that an idle connection is kept (75)
  --debug                pages of errors show tracebacks; asyncio's debug mode
  -h, --help             print this text

Ends gracefully on Ctrl-C and SIGTERM; the second time at once.
]]

local kinds = {
  host = "list", port = "integer", path = "list", workers = "integer", reload = "flag", ["reload-dir"] = "list",
  ["reload-include"] = "list", cert = "string", key = "string", ["access-log"] = "flag",
  ["shutdown-timeout"] = "number", ["keepalive-timeout"] = "number", debug = "flag",
}

-- The options of run_app.
local function translate(given)
  if given.workers and given.workers < 1 then options.misuse("run", "--workers: 1 or more was expected") end
  local reload = given.reload
  if given.reload_dir or given.reload_include then
    reload = { dirs = given.reload_dir, include = given.reload_include }
  end
  return {
    host = given.host, port = options.check_port("run", given.port), path = given.path, workers = given.workers,
    reload = reload, ssl_context = options.tls("run", given), access_log = given.access_log,
    shutdown_timeout = given.shutdown_timeout, keepalive_timeout = given.keepalive_timeout, debug = given.debug,
  }
end

local function is_app(value)
  local class = require "http.web.class"
  return class.is(value, require("http.web.application").Application)
end

local function main(args)
  local given, words, rest = options.read("run", args, kinds, help)
  local script = words[1]
  if not script then options.misuse("run", "a script is missing") end
  if words[2] then
    options.misuse("run", "one script was expected, got '%s' too (arguments for it stand behind --)", words[2])
  end
  local all = translate(given)
  local chunk, why = loadfile(script)
  if not chunk then error(why, 0) end
  rest[0] = script
  rawset(_G, "arg", rest)
  local run = require "http.web.run"
  local ran, app = run.overriding(all, chunk, table.unpack(rest))
  if ran then return end
  if app == nil or app == true then app = rawget(_G, "app") end
  if not is_app(app) and type(app) ~= "function" and not core.isawaitable(app) then
    error(core.TypeError(script .. " gives no application: it should return an Application, or set the global app"), 0)
  end
  run.overriding(all, run.run_app, app)
end

return main({ ... })
