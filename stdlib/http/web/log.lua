--- The access log: a line for each request, by default as Apache's "combined" format has it.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local M = {}

--- aiohttp's and Apache's: address, time, request line, status, bytes, referrer, agent.
M.default_format = '%a - - %t "%r" %s %b "%{Referer}i" "%{User-Agent}i"'

local months = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

-- [21/Nov/2026:17:06:12 +0000], made once a second
local stamp_time, stamp
local function time_stamp()
  local now = os.time()
  if now ~= stamp_time then
    local t = os.date("*t", now)
    stamp_time = now
    stamp = ("[%02d/%s/%04d:%02d:%02d:%02d %s]"):format(
      t.day, months[t.month], t.year, t.hour, t.min, t.sec, os.date("%z", now))
  end
  return stamp
end

-- What a client wrote must not end the line, nor its field.
local function clean(text)
  return (text:gsub("[%c\127\"\\]", function(c)
    return (c == '"' or c == "\\") and "\\" .. c or ("\\x%02x"):format(c:byte())
  end))
end

local directives = {
  a = function(request) return request.remote or "-" end,
  t = function() return time_stamp() end,
  P = function() return ("<%d>"):format(require("signal").getpid()) end,
  r = function(request) return clean(("%s %s HTTP/%s"):format(request.method, request.raw_path, request.version)) end,
  s = function(_, status) return tostring(status) end,
  b = function(_, _, bytes) return tostring(bytes) end,
  T = function(_, _, _, seconds) return ("%d"):format(seconds // 1) end,
  D = function(_, _, _, seconds) return ("%d"):format(seconds * 1e6 // 1) end,
  F = function(_, _, _, seconds) return ("%.6f"):format(seconds) end,
}
directives.Tf = directives.F

local function header_in(name)
  return function(request)
    local value = request.headers[name]
    return value and clean(value) or "-"
  end
end

local function header_out(name)
  local length = name:lower() == "content-length"
  return function(_, _, _, _, response)
    local value = response and response.headers and response.headers[name]
    if not value and response and length then value = response.content_length end -- it was told, however
    return value and clean(tostring(value)) or "-"
  end
end

-- A format as an array of strings and functions.
local function compile(format)
  local parts, i = {}, 1
  while true do
    local at = format:find("%", i, true)
    parts[#parts + 1] = format:sub(i, (at or 0) - 1)
    if not at then return parts end
    local name, kind = format:match("^{([^}]+)}([io])", at + 1)
    if name then
      parts[#parts + 1] = (kind == "i" and header_in or header_out)(name)
      i = at + #name + 4
    elseif format:sub(at + 1, at + 1) == "%" then
      parts[#parts + 1] = "%"
      i = at + 2
    else
      name = directives[format:sub(at + 1, at + 2)] and format:sub(at + 1, at + 2) or format:sub(at + 1, at + 1)
      if not directives[name] then
        misuse.blame(core.ValueError, ("access_log_format: %%%s is not known"):format(name))
      end
      parts[#parts + 1] = directives[name]
      i = at + #name + 1
    end
  end
end

local function writer(target)
  if target == true then
    return function(line)
      io.stderr:write(line, "\n")
    end
  elseif type(target) == "function" then
    return target
  elseif io.type(target) == "file" then
    return function(line)
      target:write(line, "\n")
    end
  end
  misuse.blame(
    core.TypeError, "access_log: true, a function of the line, or a file was expected, got " .. misuse.describe(target)
  )
end

--- A function that logs a request.
---@param target true|function|file* standard error; gets each line; gets each line and a line break
---@param format? string %a %t %P %r %s %b %T %Tf %D %{Name}i %{Name}o %%
---@return fun(request: http.web.Request, status: integer, bytes: integer, seconds: number, response: table?)
function M.logger(target, format)
  if format ~= nil and type(format) ~= "string" then
    misuse.blame(core.TypeError, "access_log_format: a string was expected, got " .. misuse.describe(format))
  end
  local parts, write = compile(format or M.default_format), writer(target)
  return function(request, status, bytes, seconds, response)
    local line = {}
    for i = 1, #parts do
      local part = parts[i]
      line[i] = type(part) == "string" and part or part(request, status, bytes, seconds, response)
    end
    write(table.concat(line))
  end
end

--- A line for what was refused before there was a request.
function M.refused(target, status, reason, peer)
  writer(target)(("%s - - %s \"-\" %d 0 \"-\" \"-\" (%s)"):format(peer or "-", time_stamp(), status, clean(reason)))
end

return M
