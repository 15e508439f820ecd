--- http.request: one request by a session that lives as long as its response.

local core = require "asyncio.core"

local M = {}

local of_session = {
  "connector", "cookie_jar", "trust_env", "trace_configs", "read_bufsize", "max_line_size", "max_field_size",
  "max_headers", "http2", "json_serialize",
}

local go = core.async(function(session, coroutine)
  local ok, resp = core.catch(core.await, coroutine)
  if not ok then
    core.await(session:close())
    error(resp, 0)
  end
  if not resp.closed then
    rawset(resp, "_owned", session)
  else
    core.await(session:close())
  end
  return resp
end, "http.request")

--- `local resp <close> = await(http.request("GET", url))`: a request on a connection of its own, which ends with the
--- response. Takes what `session:request` and, of a session's options, those of `of_session` take.
---@param method string
---@param url string|url.URL
---@param opts? table
---@return any awaitable of a ClientResponse
function M.request(method, url, opts)
  local given = type(opts) == "table"
  local session_opts, rest = { connector_owner = not given or opts.connector == nil }, opts
  if given then
    rest = {}
    for key, value in next, opts do rest[key] = value end
    for _, name in ipairs(of_session) do
      session_opts[name], rest[name] = opts[name], nil
    end
  end
  if session_opts.connector == nil then
    session_opts.connector = require("http.client.connector").TCPConnector {
      force_close = true, http2 = session_opts.http2,
    }
    session_opts.http2 = nil
  end
  local session = require("http.client.session").ClientSession(session_opts)
  local ok, coroutine = pcall(session.request, session, method, url, rest)
  if not ok then
    session._closed = true
    error(coroutine, 0)
  end
  return go(session, coroutine)
end

return M
