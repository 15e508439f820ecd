--- A load test by several processes (--workers): each has its share of connections, requests and rate, and gives what
--- it has found as plain values; here they become one result. SIGTERM tells a worker to stop, and to say what there is.

local core = require "asyncio.core"
local histogram = require "commands.histogram"

local await = core.await

local M = {}

-- ---- in a worker ----

--- Runs the load. Awaits by itself.
---@param given table the command's options
---@param opts table of commands.bench.load, without a session
---@param session_opts table of commands.client, without a jar for cookies
---@return table # what load.run gives, of plain values
function M.work(given, opts, session_opts)
  local loop = core.get_running_loop()
  session_opts.cookie_jar = require("http").DummyCookieJar()
  local session <close> = require("commands.client").session("bench", given, session_opts)
  opts.session = session
  function opts.begun(state) loop:add_signal_handler("SIGTERM", state.stop_now) end
  local result = require("commands.bench.load").run(opts)
  loop:remove_signal_handler("SIGTERM")
  result.latency, result.service = result.latency:plain(), result.service:plain()
  return result
end

-- ---- all of them ----

--- n in as many whole numbers as there are workers, the i-th of them; nil for nil.
local function share(n, workers, i) return n and n // workers + (i <= n % workers and 1 or 0) end

local function add_counts(to, from)
  for key, n in next, from do to[key] = (to[key] or 0) + n end
end

local function add_slots(to, from)
  for i, slot in next, from do
    local sum = to[i] or { 0, 0, 0.0 }
    sum[1], sum[2], sum[3] = sum[1] + slot[1], sum[2] + slot[2], math.max(sum[3], slot[3])
    to[i] = sum
  end
end

local summed = { "requests", "bytes", "error_count", "unfinished", "unsent" }

--- One result of many.
---@param results table[] what `work` has given
---@param opts table of commands.bench.load
---@return table
function M.merge(results, opts)
  local all = {
    url = opts.url, method = opts.method, connections = opts.connections, rate = opts.rate, duration = 0.0,
    latency = histogram.new(), service = histogram.new(), status = {}, errors = {}, slots = {}, slot = results[1].slot,
    interrupted = false,
  }
  for _, name in ipairs(summed) do all[name] = 0 end
  for _, result in ipairs(results) do
    for _, name in ipairs(summed) do all[name] = all[name] + result[name] end
    all.version = all.version or result.version
    all.interrupted = all.interrupted or result.interrupted or false
    all.duration = math.max(all.duration, result.duration)
    all.latency:merge(histogram.restore(result.latency))
    all.service:merge(histogram.restore(result.service))
    add_counts(all.status, result.status)
    add_counts(all.errors, result.errors)
    add_slots(all.slots, result.slots)
  end
  return all
end

--- Runs the load in `opts.workers` processes. Awaits by itself; a task that is cancelled leaves none behind.
---@param given table the command's options
---@param opts table of commands.bench.load
---@param session_opts table of commands.client
---@return table # as load.run
function M.run(given, opts, session_opts)
  local loop, n = core.get_running_loop(), opts.workers
  local crew = {}
  local _ <close> = setmetatable({}, { __close = function()
    for _, worker in ipairs(crew) do worker:kill() end
  end })
  for i = 1, n do
    local part = {}
    for key, value in next, opts do part[key] = value end
    part.connections, part.requests = share(opts.connections, n, i), share(opts.requests, n, i)
    part.rate = opts.rate and opts.rate / n
    crew[i] = require("multiprocessing").Worker {
      target = function(...) return require("commands.bench.crew").work(...) end, args = { given, part, session_opts },
    }
    crew[i]:start()
  end
  local interrupted = false
  loop:add_signal_handler("SIGINT", function()
    loop:remove_signal_handler("SIGINT")
    interrupted = true
    for _, worker in ipairs(crew) do worker:terminate() end
  end)
  local all, results = await(require("asyncio").gather(crew, { return_exceptions = true })), {}
  loop:remove_signal_handler("SIGINT")
  for _, result in ipairs(all) do
    if not core.isinstance(result, core.Exception) then
      results[#results + 1] = result
    elseif not interrupted then
      error(result, 0)
    end
  end
  if #results == 0 then error(core.SystemExit(130), 0) end -- they ended before they had begun
  return M.merge(results, opts)
end

return M
