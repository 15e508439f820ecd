--- ClientTimeout: how long a request may take, in four respects. nil and false mean no limit, 0 too.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local M = {}

local OPTIONS = { "total", "connect", "sock_connect", "sock_read" }

---@class http.ClientTimeout
---@field total number? seconds for all of it: waiting for a connection, redirects, reading the body
---@field connect number? seconds until there is a connection, with waiting for one of the pool
---@field sock_connect number? seconds for connecting to the peer, when the pool has none
---@field sock_read number? seconds without a byte of the response
local ClientTimeout = {}
ClientTimeout.__name = "ClientTimeout"
ClientTimeout.__index = ClientTimeout

function ClientTimeout:__tostring()
  local parts = {}
  for i, name in ipairs(OPTIONS) do parts[i] = ("%s=%s"):format(name, self[name]) end
  return "ClientTimeout(" .. table.concat(parts, ", ") .. ")"
end

function ClientTimeout.__eq(a, b)
  for _, name in ipairs(OPTIONS) do
    if a[name] ~= b[name] then return false end
  end
  return true
end

local function check(value, name)
  if value == nil or value == false then return nil end
  if type(value) ~= "number" then
    misuse.blame(core.TypeError, ("%s: a number of seconds was expected, got %s"):format(name, misuse.describe(value)))
  elseif value ~= value or value < 0 then
    misuse.blame(core.ValueError, ("%s: 0 or more seconds were expected, got %s"):format(name, value))
  end
  return value > 0 and value < math.huge and value or nil
end

local function make(opts, what)
  local self = {}
  for _, name in ipairs(OPTIONS) do self[name] = check(opts[name], what .. "." .. name) end
  return setmetatable(self, ClientTimeout)
end

setmetatable(ClientTimeout, {
  __name = "class ClientTimeout",
  --- Raises TypeError, ValueError.
  __call = function(_, opts)
    core.options(opts, OPTIONS, "ClientTimeout")
    return make(opts or {}, "ClientTimeout")
  end,
})

M.ClientTimeout = ClientTimeout

--- What a session has when it is told nothing.
M.default = make({ total = 300, sock_connect = 30 }, "")

--- What stands for a timeout: a ClientTimeout, its options, seconds in total, false for none.
---@param value any
---@param what string the argument's name, for errors
---@return http.ClientTimeout
function M.of(value, what)
  local kind = type(value)
  if kind == "table" then
    if getmetatable(value) == ClientTimeout then return value end
    core.options(value, OPTIONS, what)
    return make(value, what)
  elseif kind == "number" then
    return make({ total = value }, what)
  elseif value == false then
    return make({}, what)
  end
  local text = "%s: a ClientTimeout, a number of seconds or false was expected, got %s"
  misuse.blame(core.TypeError, text:format(what, misuse.describe(value)))
end

return M
