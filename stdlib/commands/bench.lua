--- moonloop bench: a load test of an HTTP server.

local client = require "commands.client"
local core = require "asyncio.core"
local options = require "commands.options"

local help = [[
Usage: moonloop bench [options] URL
Sends requests from many connections at once, and reports how fast the answers were.

  -c, --connections N     connections, each with one request at a time (100)
  -n, --requests N        how many requests (without -d: 10000)
  -d, --duration T        how long: 10s, 2m
  -r, --rate N            requests a second to be sent, however long answers take; without it each
                          connection asks again as soon as it was answered
      --timeout T         for one request (30s)
      --data DATA         a body, for POST unless -X says otherwise; @FILE: a file's, @-: standard input's
      --content-type TYPE of the body (application/x-www-form-urlencoded)
      --no-keepalive      a new connection for each request
      --workers N         so many processes, which share connections, requests and rate: for servers
                          that are faster than one client (1)
]] .. client.help .. [[
      --json              the report as JSON
      --html FILE         the report as a page with plots
  -q, --quiet             no progress
  -h, --help              print this text

Latencies are "measured" from when a request was sent, and "corrected" for coordinated omission: at
a rate they count from when the request was to be sent; without one the requests that could not
be sent while an answer was waited for are made up. What was not sent, or not answered, when the
time was up counts with the time it had waited. Ctrl-C ends the test and reports what there is.
Exit status: 1 if a request failed (whatever status a server answers is an answer), 130 after Ctrl-C.
]]

local kinds = client.with(client.kinds, {
  connections = "integer", requests = "integer", duration = "duration", rate = "number", timeout = "duration",
  data = "string", ["content-type"] = "string", ["no-keepalive"] = "flag", json = "flag", html = "string",
  quiet = "flag", workers = "integer",
})
local short = client.with(client.short, { c = "connections", n = "requests", d = "duration", r = "rate", q = "quiet" })

local function misuse(...) options.misuse("bench", ...) end

local function positive(given, name)
  if given[name] and given[name] <= 0 then misuse("--%s: more than 0 was expected", name) end
end

--- The text of --data.
local function data_of(text)
  local path = text:match("^@(.+)$")
  if not path then return text end
  if path == "-" then return io.read("a") end
  local file <close> = io.open(path, "rb")
  local data = file and file:read("a")
  if not data then misuse("--data: cannot read '%s'", path) end
  return data
end

--- The method, and what is said of each request besides (nil: nothing).
local function request_of(given)
  local method = given.request and given.request:upper()
  if method and not method:find("^[%u%d!#$%%&'*+.^_`|~-]+$") then misuse("--request: '%s' is no method", method) end
  if not given.data then
    if given.content_type then misuse("--content-type is of no use without --data") end
    return method or "GET", nil
  end
  local kind = given.content_type or "application/x-www-form-urlencoded"
  local headers = { ["Content-Type"] = kind }
  return method or "POST", { data = data_of(given.data), headers = headers, allow_redirects = false }
end

-- ---- while it runs ----

--- The line that shows how far it is, drawn anew by a task of its own.
local function watch(state, opts)
  local asyncio, report = require "asyncio", require "commands.bench.report"
  local total = opts.requests or opts.duration
  local bar <close> = asyncio.progress(total, {
    unit = opts.requests and "" or "s", mininterval = 0, leave = false, rate = false,
  })
  local loop, last, last_n = core.get_running_loop(), state.start, 0
  while true do
    core.await(core.sleep(0.2))
    local now = loop:time()
    local done = state.requests + state.error_count
    bar.n = opts.requests and done or math.min(opts.duration, math.floor((now - state.start) * 10) / 10)
    local h = state.latency or state.service
    local errors = state.error_count > 0 and (", %d errors"):format(state.error_count) or ""
    bar:set_postfix(("%.0f requests/s, median %s, 99%% %s%s"):format((done - last_n) / (now - last),
      report.span(h:percentile(50)), report.span(h:percentile(99)), errors))
    last, last_n = now, done
  end
end

local function write_file(path, text)
  local file, why = io.open(path, "wb")
  local ok = file and file:write(text)
  if file then ok = file:close() and ok end
  if ok then return true end
  io.stderr:write(("moonloop bench: cannot write '%s'%s\n"):format(path, why and ": " .. why or ""))
  return false
end

--- What was found, as it was asked for. Gives whether all of it could be written.
local function tell(given, result)
  local report = require "commands.bench.report"
  local ok, summary = true, nil
  if given.json or given.html then summary = report.table_of(result) end
  if given.html then ok = write_file(given.html, require("commands.bench.page").html(summary)) end
  if given.json then
    io.stdout:write(require("json").encode(summary), "\n")
  else
    local columns = 80
    if require("tty").isatty(1) then columns = require("tty").size(1) end
    io.stdout:write(report.text(result, columns))
  end
  return ok
end

--- The load of this process, with a line that shows how far it is.
local function run_here(given, opts, session_opts)
  local asyncio = require "asyncio"
  local session <close> = client.session("bench", given, session_opts)
  local loop = core.get_running_loop()
  local watcher
  opts.session = session
  function opts.begun(state)
    loop:add_signal_handler("SIGINT", function()
      loop:remove_signal_handler("SIGINT")
      state.stop_now()
    end)
    if not given.quiet then watcher = asyncio.create_task(core.async(watch)(state, opts)) end
  end
  local result = require("commands.bench.load").run(opts)
  loop:remove_signal_handler("SIGINT")
  if watcher then
    watcher:cancel()
    core.await(asyncio.wait { watcher })
  end
  return result
end

local function run(given, opts, session_opts)
  local started = os.time()
  local result
  if opts.workers then
    core.await(client.session("bench", given, session_opts):close()) -- what is wrong with the options is told once
    session_opts.cookie_jar = nil
    result = require("commands.bench.crew").run(given, opts, session_opts)
  else
    result = run_here(given, opts, session_opts)
  end
  result.started = started
  local told = tell(given, result)
  if result.interrupted then return 130 end
  return (result.error_count > 0 or result.requests == 0 or not told) and 1 or 0
end

local function main(args)
  local given, words, rest = options.read("bench", args, kinds, help, short)
  table.move(rest, 1, #rest, #words + 1, words)
  if not words[1] then misuse("a URL is missing") end
  if words[2] then misuse("one URL was expected, got '%s' too", words[2]) end
  local counts = { "connections", "requests", "duration", "rate", "timeout", "workers" }
  for _, name in ipairs(counts) do positive(given, name) end
  local method, request = request_of(given)
  local connections = given.connections or 100
  local opts = {
    url = client.url("bench", words[1]), method = method, options = request, connections = connections,
    requests = given.requests or not given.duration and 10000 or nil, duration = given.duration, rate = given.rate,
    workers = given.workers and given.workers > 1 and given.workers or nil,
  }
  if opts.workers and opts.workers > math.min(connections, opts.requests or math.huge) then
    misuse("--workers: each has one connection and one request at least")
  end
  client.run(core.async(function()
    return run(given, opts, {
      limit = connections, force_close = given.no_keepalive, timeout = given.timeout or 30, auto_decompress = false,
      cookie_jar = require("http").DummyCookieJar(), url = opts.url,
    })
  end)())
end

return main({ ... })
