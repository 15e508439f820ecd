--- asyncio.stdin, asyncio.stdout and asyncio.stderr: the standard streams of the process, whatever they are.

local core = require "asyncio.core"
require "asyncio.streams" -- StreamReader:lines() and the like
local standard = require "asyncio.stdstreams"

local await = core.await

--- Writes what is queued and lets go; errors are not raised.
function standard.metatable.__close(self)
  self:close()
  pcall(await, self:wait_closed())
end

return { stdin = standard.stdin, stdout = standard.stdout, stderr = standard.stderr }
