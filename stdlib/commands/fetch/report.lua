--- moonloop fetch --write-out: a line about each URL when it is done, in curl's notation.

local core = require "asyncio.core"

local M = {}

--- What %{NAME} may be: from the job, which has `response` (nil: there was none), `size`, `begun`, `attempts`, `path`.
local variables = {
  http_code = function(_, response) return ("%03d"):format(response and response.status or 0) end,
  http_version = function(_, response) return response and (response.version:gsub("%.0$", "")) or "0" end,
  method = function(_, response) return response and response.method end,
  content_type = function(_, response) return response and response.headers:get("Content-Type") end,
  url = function(job) return job.url end,
  url_effective = function(job, response) return response and tostring(response.real_url) or job.url end,
  redirect_url = function(_, response)
    local to = response and response.headers:get("Location")
    return to and require("url").join(response.url, to)
  end,
  num_redirects = function(_, response) return response and #response.history or 0 end,
  num_retries = function(job) return job.attempts - 1 end,
  num_headers = function(_, response) return response and #response.raw_headers or 0 end,
  size_download = function(job) return job.size or 0 end,
  speed_download = function(job, _, seconds) return ("%d"):format((job.size or 0) // math.max(seconds, 1e-6)) end,
  time_total = function(_, _, seconds) return ("%.6f"):format(seconds) end,
  filename_effective = function(job) return job.path end,
  errormsg = function(job) return job.wrong end,
  exitcode = function(job) return job.wrong and 1 or 0 end,
}
variables.response_code = variables.http_code

local escapes = { n = "\n", r = "\r", t = "\t" }

--- The name of the first variable that is none; nil if all is well.
---@param format string
---@return string?
function M.unknown(format)
  for name in format:gsub("%%%%", ""):gmatch("%%{(.-)}") do
    if not variables[name] then return name end
  end
end

--- The text for a job that is done.
---@param format string
---@param job commands.fetch.Job
---@return string
function M.text(format, job)
  local response, seconds = job.response, core.get_running_loop():time() - job.begun
  format = format:gsub("\\(.)", escapes)
  local out, at = {}, 1
  while at <= #format do
    local start, stop, kind, name = format:find("%%(%a*){(.-)}", at)
    local percent = format:find("%%", at, true) -- two of them stand for one
    if percent and (not start or percent < start) then
      out[#out + 1], at = format:sub(at, percent), percent + 2
    elseif not start then
      out[#out + 1], at = format:sub(at), #format + 1
    else
      out[#out + 1] = format:sub(at, start - 1)
      local value
      if kind == "header" then
        value = response and response.headers:get(name)
      else
        value = variables[name] and variables[name](job, response, seconds)
      end
      out[#out + 1] = tostring(value or "")
      at = stop + 1
    end
  end
  return table.concat(out)
end

--- To standard output. Awaits by itself.
---@param job commands.fetch.Job
function M.write(job)
  local stdout = require("asyncio").stdout
  stdout:write(M.text(job.given.write_out, job))
  core.await(stdout:drain())
end

return M
