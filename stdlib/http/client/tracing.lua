--- Tracing: a TraceConfig has a signal for each step of a request; its handlers are called with the session, a context
--- of the request's own, and what there is to tell.

local Signal = require("http.web.signals").Signal
local class = require "http.web.class"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local await, isawaitable = core.await, core.isawaitable

local M = {}

--- The steps, in aiohttp's order.
M.events = {
  "request_start", "request_chunk_sent", "response_chunk_received", "request_end", "request_exception",
  "request_redirect", "connection_queued_start", "connection_queued_end", "connection_create_start",
  "connection_create_end", "connection_reuseconn", "dns_resolvehost_start", "dns_resolvehost_end", "dns_cache_hit",
  "dns_cache_miss", "request_headers_sent",
}

---@class http.TraceConfig
---@field on_request_start http.web.Signal of method, url, headers
---@field on_request_headers_sent http.web.Signal of method, url, headers
---@field on_request_chunk_sent http.web.Signal of method, url, chunk
---@field on_request_redirect http.web.Signal of method, url, headers, response
---@field on_request_end http.web.Signal of method, url, headers, response
---@field on_request_exception http.web.Signal of method, url, headers, exception
---@field on_response_chunk_received http.web.Signal of method, url, chunk
---@field on_connection_queued_start http.web.Signal
---@field on_connection_queued_end http.web.Signal
---@field on_connection_create_start http.web.Signal
---@field on_connection_create_end http.web.Signal
---@field on_connection_reuseconn http.web.Signal
---@field on_dns_resolvehost_start http.web.Signal of host
---@field on_dns_resolvehost_end http.web.Signal of host
---@field on_dns_cache_hit http.web.Signal of host
---@field on_dns_cache_miss http.web.Signal of host
local TraceConfig = class.define("TraceConfig")
TraceConfig.__open = true
M.TraceConfig = TraceConfig

local function plain_context(opts) return { trace_request_ctx = opts.trace_request_ctx } end

---@param opts? { trace_config_ctx_factory: fun(opts: { trace_request_ctx: any }): any }
function TraceConfig.new(cls, opts)
  core.options(opts, { "trace_config_ctx_factory" }, "TraceConfig")
  local factory = opts and opts.trace_config_ctx_factory
  if factory ~= nil and type(factory) ~= "function" then
    misuse.blame(core.TypeError, "TraceConfig: trace_config_ctx_factory: a function was expected, got "
      .. misuse.describe(factory))
  end
  local self = setmetatable({ _factory = factory or plain_context }, cls)
  for _, event in ipairs(M.events) do self["on_" .. event] = Signal("on_" .. event) end
  return self
end

--- What handlers of one request get as their context.
---@param opts? { trace_request_ctx: any }
---@return any
function TraceConfig:trace_config_ctx(opts) return self._factory(opts or {}) end

--- No further handlers: done by the session that takes it.
function TraceConfig:freeze()
  for _, event in ipairs(M.events) do self["on_" .. event]:freeze() end
end

--- A list of them as a session's option; raises TypeError.
---@param list any
---@return http.TraceConfig[]
function M.check(list)
  if type(list) ~= "table" then
    local got = misuse.describe(list)
    misuse.blame(core.TypeError, "ClientSession: trace_configs: a list of TraceConfigs was expected, got " .. got)
  end
  local configs = {}
  for i, config in ipairs(list) do
    if not class.is(config, TraceConfig) then
      local got = misuse.describe(config)
      local text = "ClientSession: trace_configs[%d]: a TraceConfig was expected, got %s"
      misuse.blame(core.TypeError, text:format(i, got))
    end
    config:freeze()
    configs[i] = config
  end
  return configs
end

-- ---- those of one request ----

---@class http.client.Traces
local Traces = {}
Traces.__index = Traces
Traces.__name = "Traces"

--- For the session: nil when nobody traces.
---@param session http.ClientSession
---@param configs http.TraceConfig[]
---@param context any the request's trace_request_ctx
---@return http.client.Traces?
function M.of(session, configs, context)
  if #configs == 0 then return nil end
  local self = setmetatable({ session = session }, Traces)
  for i, config in ipairs(configs) do
    self[i] = { config, config:trace_config_ctx { trace_request_ctx = context } }
  end
  return self
end

--- Is anybody told of it?
---@param event string
---@return boolean
function Traces:hears(event)
  for i = 1, #self do
    if #self[i][1]["on_" .. event] > 0 then return true end
  end
  return false
end

--- Tells the handlers, one after the other, and awaits what they give. Awaits by itself.
---@param event string one of `events`
---@param params? table
function Traces:send(event, params)
  params = params or {}
  for i = 1, #self do
    local one = self[i]
    local signal = one[1]["on_" .. event]
    for j = 1, #signal do
      local result = signal[j](self.session, one[2], params)
      if isawaitable(result) then await(result) end
    end
  end
end

return M
