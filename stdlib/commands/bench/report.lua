--- What a load test has found: as text for a terminal, and as a table for JSON and for the page.

local status = require "tty.status"
local text = require "tty.text"

local M = {}

M.PERCENTILES = { 50, 75, 90, 95, 99, 99.9, 99.99, 100 }

--- Seconds as people read latencies: "850 us", "1.23 ms", "2.50 s".
---@param seconds number?
---@return string
function M.span(seconds)
  if not seconds then return "-" end
  if seconds < 0.001 then return ("%.0f us"):format(seconds * 1e6) end
  local n, unit = seconds * 1000, "ms"
  if seconds >= 1 then n, unit = seconds, "s" end
  return (n < 9.995 and "%.2f %s" or n < 99.95 and "%.1f %s" or "%.0f %s"):format(n, unit)
end

local function latency_table(h)
  local t = { mean = h:mean(), stdev = h:stdev(), min = h:min(), max = h:max(), percentiles = {} }
  for _, percent in ipairs(M.PERCENTILES) do
    t.percentiles[("%g"):format(percent)] = h:percentile(percent)
  end
  return t
end

--- The time slots of the run, so many put together that there are 200 at most.
local function series(result)
  local list, n = {}, math.ceil(result.duration / result.slot)
  local step = math.max(1, math.ceil(n / 200))
  for first = 0, n - 1, step do
    local point = { time = first * result.slot, requests = 0, errors = 0, max = 0.0 }
    for i = first, math.min(first + step, n) - 1 do
      local slot = result.slots[i]
      if slot then
        point.requests, point.errors = point.requests + slot[1], point.errors + slot[2]
        point.max = math.max(point.max, slot[3])
      end
    end
    point.seconds = math.min(step * result.slot, result.duration - point.time)
    list[#list + 1] = point
  end
  return list
end

local function named_counts(counts)
  local t = {}
  for key, n in next, counts do t[tostring(key)] = n end
  return t
end

local function bins_of(h, n)
  local list = {}
  for i, bin in ipairs(h:bins(n)) do list[i] = { low = bin.low, high = bin.high, count = bin.count } end
  return list
end

--- Everything as a plain table: what --json prints. Times are seconds.
---@param result table what load.run gives
---@return table
function M.table_of(result)
  local json = require "json"
  local seconds = math.max(result.duration, 1e-9)
  return {
    url = result.url, method = result.method, http_version = result.version, started = result.started,
    connections = result.connections, rate = result.rate, duration = result.duration,
    interrupted = result.interrupted or false, unfinished = result.unfinished, unsent = result.unsent,
    requests = result.requests, requests_per_second = result.requests / seconds,
    bytes = result.bytes, bytes_per_second = result.bytes / seconds,
    latency = latency_table(result.latency), latency_measured = latency_table(result.service),
    histogram = json.array(bins_of(result.latency, 40)), curve = json.array(result.latency:curve()),
    series = json.array(series(result)),
    status = json.object(named_counts(result.status)), errors = json.object(named_counts(result.errors)),
    error_count = result.error_count,
  }
end

--- name -> n, the most frequent first.
local function sorted(counts)
  local list = {}
  for key, n in next, counts do list[#list + 1] = { key, n } end
  table.sort(list, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return tostring(a[1]) < tostring(b[1])
  end)
  return list
end

local function histogram_lines(add, h, columns)
  local bins, most = h:bins(12), 0
  for _, bin in ipairs(bins) do most = math.max(most, bin.count) end
  local sign = status.utf8() and "█" or "#"
  local room = math.max(10, math.min(columns, 100) - 40)
  add("")
  for _, bin in ipairs(bins) do
    local length = math.ceil(bin.count / most * room)
    add(("  %9s - %-9s %8s  %s"):format(M.span(bin.low), M.span(bin.high), text.scaled(bin.count), sign:rep(length)))
  end
end

--- The report for people.
---@param result table what load.run gives
---@param columns integer the terminal's
---@return string
function M.text(result, columns)
  local lines = {}
  local function add(...) lines[#lines + 1] = select("#", ...) > 1 and string.format(...) or (...) end
  local seconds = math.max(result.duration, 1e-9)
  add("Requests    %d in %.2f s%s", result.requests, result.duration, result.interrupted and " (interrupted)" or "")
  local version = result.version and " of HTTP/" .. result.version:gsub("^2%.0$", "2") or ""
  add("            by %d client%s%s", result.connections, result.connections == 1 and "" or "s", version)
  add("            %s each second, %sB/s", text.scaled(result.requests / seconds),
    text.scaled(result.bytes / seconds, 1024))
  if result.rate then
    local share = result.requests / seconds / result.rate
    add("            %s each second were asked for%s", text.scaled(result.rate),
      share < 0.97 and (", %.0f%% were reached"):format(share * 100) or "")
  end
  if (result.unsent or 0) > 0 then add("            %d could not be sent in time", result.unsent) end
  if result.unfinished > 0 then
    add("            %d had not been answered when the time was up", result.unfinished)
  end
  local latency, service = result.latency, result.service
  if latency.count > 0 then
    add("")
    add("Latency      corrected     measured")
    for _, percent in ipairs(M.PERCENTILES) do
      add("  %6s%%  %11s  %11s", ("%g"):format(percent), M.span(latency:percentile(percent)),
        M.span(service:percentile(percent)))
    end
    add("  %7s  %11s  %11s", "mean", M.span(latency:mean()), M.span(service:mean()))
    add("  %7s  %11s  %11s", "stdev", M.span(latency:stdev()), M.span(service:stdev()))
    histogram_lines(add, latency, columns)
    add("")
  end
  local parts = {}
  for _, entry in ipairs(sorted(result.status)) do parts[#parts + 1] = ("%s: %d"):format(entry[1], entry[2]) end
  if #parts > 0 then add("Status      %s", table.concat(parts, ", ")) end
  if result.error_count > 0 then
    add("Errors      %d", result.error_count)
    for _, entry in ipairs(sorted(result.errors)) do add("  %8d  %s", entry[2], text.printable(entry[1])) end
  end
  return table.concat(lines, "\n") .. "\n"
end

return M
