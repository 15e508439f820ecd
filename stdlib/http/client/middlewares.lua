--- Middlewares of the client: coroutine functions of a request and of what sends it on, as aiohttp has them. Each sees
--- every request that leaves, also those that redirects lead to, and may alter it, answer itself, or send it again.

local ClientResponse = require("http.client.response").ClientResponse
local class = require "http.web.class"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

local M = {}

--- A list of them as an option; raises TypeError.
---@param list any
---@param what string
---@return function[]
function M.check(list, what)
  if type(list) ~= "table" then
    misuse.blame(core.TypeError, what .. ": a list of functions was expected, got " .. misuse.describe(list))
  end
  for i, f in ipairs(list) do
    local mt = type(f) == "table" and getmetatable(f)
    if type(f) ~= "function" and not core.iscoroutinefunction(f) and not (type(mt) == "table" and mt.__call) then
      misuse.blame(core.TypeError, ("%s[%d]: a function was expected, got %s"):format(what, i, misuse.describe(f)))
    end
  end
  return list
end

local function call(f, ...)
  local result = f(...)
  if result ~= nil and not class.is(result, ClientResponse) and core.isawaitable(result) then return await(result) end
  return result
end

--- Sends a request by way of its middlewares. Awaits by itself.
---@param req http.client.Request
---@param send fun(req: http.client.Request): http.ClientResponse
---@return http.ClientResponse
function M.run(req, send)
  local list = req.middlewares
  req.headers = req.own:copy() -- theirs to alter
  local function handler(i)
    return async(function(request)
      if request ~= req then
        error(core.TypeError("a middleware's handler: the request was expected, got " .. misuse.describe(request)), 0)
      end
      local f = list[i]
      if f then
        local resp = call(f, req, handler(i + 1))
        if class.is(resp, ClientResponse) then return resp end
        error(core.TypeError("a middleware must give a ClientResponse, got " .. misuse.describe(resp)), 0)
      end
      req.own = req.headers
      return send(req)
    end, "middleware")
  end
  return await(handler(1)(req))
end

return M
