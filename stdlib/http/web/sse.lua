--- EventSourceResponse: server-sent events (the HTML standard, section 9.2), for a browser's EventSource.

local StreamResponse = require "http.web.stream"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

---@class http.web.EventSourceResponse: http.web.StreamResponse
---@field last_event_id string? what a client that comes back has seen last
---@field ping_interval number seconds between comments that keep the connection alive; 0: none
local EventSourceResponse = StreamResponse:extend("EventSourceResponse")

local get = EventSourceResponse.__get
function get.last_event_id(self)
  local request = rawget(self, "_request")
  return request and request.headers["Last-Event-ID"] or nil
end
function get.ping_interval(self) return rawget(self, "_interval") end
EventSourceResponse.__set.ping_interval = function(self, seconds)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds < 1e9) then
    misuse.blame(core.ValueError, "ping_interval: a number of seconds was expected, got " .. misuse.describe(seconds))
  end
  rawset(self, "_interval", seconds)
end

--- `EventSourceResponse{...}`. Options: `status`, `reason`, `headers`, `ping_interval` (15 seconds).
function EventSourceResponse.new(cls, opts)
  core.options(opts, { "status", "reason", "headers", "ping_interval" }, "EventSourceResponse")
  opts = opts or {}
  local self = StreamResponse.new(cls, { status = opts.status, reason = opts.reason, headers = opts.headers })
  self.ping_interval = opts.ping_interval or 15
  rawset(self, "_stopped", false)
  return self
end

-- Who waits for the end is told.
local function wake(self)
  for _, future in ipairs(rawget(self, "_waiters") or {}) do
    if not future:done() then future:set_result(nil) end
  end
  rawset(self, "_waiters", nil)
end

-- Looks every second whether the client is there, and sends pings, until the response is over.
local watch = async(function(self)
  local silent = 0
  while not self._eof and not self._x:lost() do
    local step = self._interval > 0 and math.min(1, self._interval - silent) or 1
    await(core.sleep(step))
    silent = silent + step
    if self._interval > 0 and silent >= self._interval then
      silent = 0
      if self._eof or not pcall(await, StreamResponse.write(self, ": ping\n\n")) then break end
    end
  end
  wake(self)
end, "EventSourceResponse.watch")

local function stop(self)
  local task = rawget(self, "_watching")
  rawset(self, "_watching", nil)
  if task then task:cancel() end
  wake(self)
end

EventSourceResponse._prepare = async(function(self, request)
  if self._x then return self end
  local headers = self.headers
  headers["Content-Type"] = "text/event-stream"
  if not headers["Cache-Control"] then headers["Cache-Control"] = "no-cache" end
  if not headers["X-Accel-Buffering"] then headers["X-Accel-Buffering"] = "no" end -- nginx, do not collect
  StreamResponse._start(self, request, nil)
  rawset(self, "_watching", core.create_task(watch(self)))
  return self
end, "EventSourceResponse.prepare")

-- Text that may not break its line.
local function line(name, value)
  if type(value) ~= "string" or value:find("[\r\n%z]") then
    misuse.blame(core.ValueError,
      ("send: %s: text without line breaks was expected, got %s"):format(name, misuse.describe(value)))
  end
  return name .. ": " .. value .. "\n"
end

--- An event as bytes.
local function event(data, opts)
  local parts = {}
  if opts.id ~= nil then parts[#parts + 1] = line("id", opts.id) end
  if opts.event ~= nil then parts[#parts + 1] = line("event", opts.event) end
  if data ~= nil then
    if type(data) ~= "string" then
      misuse.blame(core.TypeError, "send: data: a string was expected, got " .. misuse.describe(data))
    end
    for text in (data:gsub("\r\n?", "\n") .. "\n"):gmatch("(.-)\n") do parts[#parts + 1] = "data: " .. text .. "\n" end
  end
  if opts.retry ~= nil then
    if math.type(opts.retry) ~= "integer" or opts.retry < 0 then
      misuse.blame(core.TypeError,
        "send: retry: a number of milliseconds was expected, got " .. misuse.describe(opts.retry))
    end
    parts[#parts + 1] = ("retry: %d\n"):format(opts.retry)
  end
  parts[#parts + 1] = "\n"
  return table.concat(parts)
end

local write_event = async(function(self, bytes)
  if self._stopped or self._x and self._x:lost() then
    stop(self)
    error(core.OSError("send: the client has gone", { code = "ECONNRESET" }), 0)
  end
  await(StreamResponse.write(self, bytes))
end, "EventSourceResponse.send")

--- Sends an event. Waits while the client is slow; raises OSError (ECONNRESET) when it has gone.
---@param data string? several lines are several `data:` fields
---@param opts? {event: string?, id: string?, retry: integer?} retry: milliseconds until the client comes back
---@return any awaitable
function EventSourceResponse:send(data, opts)
  core.options(opts, { "event", "id", "retry" }, "send")
  return write_event(self, event(data, opts or {}))
end

--- Sends a value as JSON.
---@param data any
---@param opts? {event: string?, id: string?, retry: integer?}
---@return any awaitable
function EventSourceResponse:send_json(data, opts) return self:send(require("json").encode(data), opts) end

--- Is there somebody to send to?
function EventSourceResponse:is_connected()
  return self._x ~= false and not self._stopped and not self._eof and not self._x:lost()
end

--- Waits until the client has gone, or stop_streaming is called.
---@return any awaitable
EventSourceResponse.wait = async(function(self)
  if not self:is_connected() then return end
  local waiters = rawget(self, "_waiters") or {}
  local future = core.get_running_loop():create_future()
  waiters[#waiters + 1] = future
  rawset(self, "_waiters", waiters)
  await(future)
end, "EventSourceResponse.wait")

--- Ends the stream: `wait` returns, and nothing more is sent.
function EventSourceResponse:stop_streaming()
  rawset(self, "_stopped", true)
  stop(self)
end

--- Ends the response.
---@return any awaitable
EventSourceResponse.write_eof = async(function(self)
  stop(self)
  await(StreamResponse.write_eof(self))
end, "EventSourceResponse.write_eof")

--- `local events <close> = await(response:prepare(request))`: ends the pings.
function EventSourceResponse:__close()
  stop(self)
end

return { EventSourceResponse = EventSourceResponse }
