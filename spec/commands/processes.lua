--- Servers as processes, for the specs of commands: started in the background, found by what they print.

local client = require "spec.http.client"
local helper = require "spec.helper"

local M = {}

function M.read(path)
  local f <close> = assert(io.open(path, "rb"))
  return f:read("a")
end

function M.write(path, text)
  local f <close> = assert(io.open(path, "wb"))
  f:write(text)
end

--- Calls f until it gives something; the value, or an error after so many seconds.
function M.eventually(what, f, seconds)
  local stop = os.time() + math.ceil((seconds or 60) * helper.slow) + 1
  repeat
    local ok, value = pcall(f)
    if ok and value then return value end
    os.execute("sleep 0.02")
  until os.time() > stop
  error("it did not come to that: " .. what, 2)
end

--- Starts the command with arguments. Gives its process, its log, and the port that it tells of.
function M.start(args)
  local program = helper.moonloop
  local pid, log = helper.background(helper.quote(program) .. " " .. args)
  local port = M.eventually("a server that tells where it runs", function()
    return math.tointeger(tonumber(M.read(log):match("Running on https?://[^\n]-:(%d+)[ ,]")))
  end)
  return pid, log, port
end

function M.signal(pid, name) os.execute(("kill -%s %d 2>/dev/null"):format(name, pid)) end

--- Waits until the process has ended, with its last thread: until then its sockets and files are open.
function M.gone(pid)
  M.eventually("the end of the process", function()
    return not os.execute(("kill -0 %d 2>/dev/null && ! { grep -q '^State:.*zombie' /proc/%d/status && [ $(ls /proc/%d/task | wc -l) = 1 ]; } 2>/dev/null")
      :format(pid, pid, pid))
  end)
end

M.get = function(port, target, headers)
  local asyncio = require "asyncio"
  return asyncio.run(async(function() return client.request(port, "GET", target, headers) end)())
end

return M
