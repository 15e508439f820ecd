--- What `moonloop --inspect` starts: a thread that answers `moonloop ps`, `pstree` and `top` for this program, and
--- serves a page with its tasks if it is given a port.

local core = require "asyncio.core"

local M = {}

local keys = { "host", "port" }

--- Starts it; until the program ends it cannot be stopped. Raises OSError (the port is taken, there is no folder for
--- the socket that only this user can open), RuntimeError if it runs already, PermissionError in a sandbox that
--- may not listen.
---@param opts? { port?: integer, host?: string } port: of the page, 0 for a free one; none: there is no page.
---host: where it listens, "127.0.0.1" unless given
---@return { path: string, url: string? } started the socket, and the page's address, which has the token that opens it
function M.start(opts)
  if opts ~= nil then core.options(opts, keys, "start") end
  local misuse = require "asyncio.misuse"
  local host, port = opts and opts.host, opts and opts.port
  if port ~= nil and (math.type(port) ~= "integer" or port < 0 or port > 65535) then
    misuse.raise(core.ValueError, "start(): port must be 0 to 65535, got " .. misuse.describe(port))
  end
  if host ~= nil and type(host) ~= "string" then
    misuse.raise(core.TypeError, "start(): host: a string was expected, got " .. misuse.describe(host))
  end
  local json = require "json"
  local probe = require "asyncio.inspector.probe"
  local options = json.encode { host = host or "127.0.0.1", port = port or -1 }
  return json.decode(require("asyncio.inspector.core").start(probe.answer, options))
end

return M
