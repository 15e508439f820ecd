--- The load of a test: so many clients that each send a request, read the answer, and go on; or requests that are sent
--- when it is their time, whatever has become of those before.
---
--- Latencies at a rate are counted from the moment when a request was to be sent: a server that stalls is not let off
--- the waiting of those who came meanwhile ("coordinated omission"). Without a rate that is made up for afterwards.

local asyncio = require "asyncio"
local core = require "asyncio.core"
local client = require "commands.client"
local histogram = require "commands.histogram"

local await, catch = core.await, core.catch

local M = {}

local SLOT = 0.1 -- seconds of a part of the run
local WHOLE = 1 << 20 -- bodies up to here are read at once
local MAX_KINDS = 50 -- of errors
local LATE = 0.002 -- seconds that a timer may be late: that is not the server's
local PAUSE = 0.01 -- seconds after an error: a server that is down is not asked a million times

---@class commands.bench.State
---@field requests integer answers that have come in full
---@field begun integer requests that were begun
---@field error_count integer
---@field stopping boolean

--- Reads the answer: status, bytes of the body, the response.
local function take(resp)
  local length = resp.closed and 0 or resp.content_length
  if length and length <= WHOLE then return resp.status, #await(resp:read()), resp end
  local n = 0
  for piece in resp.content:iter_any() do n = n + #piece end
  return resp.status, n, resp
end

--- One request and its answer.
local function ask(job)
  local resp <close> = await(job.session:request(job.method, job.url, job.options))
  return take(resp)
end

--- The same for a plain GET, which sessions are quick with.
local function get(job)
  local resp <close> = await(job.session:get(job.url))
  return take(resp)
end

local function slot_of(self, now)
  local i = (now - self.start) // SLOT | 0
  local slot = self.slots[i]
  if not slot then
    slot = { 0, 0, 0.0 }
    self.slots[i] = slot
  end
  return slot
end

local function note_error(self, err, now)
  local kind, reason = client.reason(err)
  local key = core.isinstance(err, core.TimeoutError) and "timeout" or kind .. (reason ~= "" and ": " .. reason or "")
  if not self.errors[key] then
    if self.kinds == MAX_KINDS then key = "others" else self.kinds = self.kinds + 1 end
  end
  self.errors[key] = (self.errors[key] or 0) + 1
  self.error_count = self.error_count + 1
  local slot = slot_of(self, now)
  slot[2] = slot[2] + 1
end

local function note_answer(self, status, bytes, latency, now)
  self.requests = self.requests + 1
  self.bytes = self.bytes + bytes
  self.status[status] = (self.status[status] or 0) + 1
  local slot = slot_of(self, now)
  slot[1] = slot[1] + 1
  if latency > slot[3] then slot[3] = latency end
end

--- One request of a client. `due`: when it was to be sent; `begun`: now. Gives the time when it is over.
local function send(self, me, due, begun)
  local loop, one = self.loop, self.one
  self.begun = self.begun + 1
  me.due = due
  local ok, status, bytes, resp = pcall(one, self.job)
  me.due = nil
  local now = loop:time()
  if not ok then
    note_error(self, status, now)
    await(core.sleep(PAUSE))
    return loop:time()
  end
  if not self.version then self.version = resp.version end
  self.service:record(now - begun)
  if self.latency then self.latency:record(now - due) end
  note_answer(self, status, bytes, now - due, now)
  return now
end

--- A client that asks again as soon as it has been answered.
local function steady(self, me)
  local now = self.loop:time()
  while not self.stopping and now < self.stop and self.begun < self.limit do
    now = send(self, me, now, now)
  end
end

--- A client that sends what is due next, of all of them.
local function paced(self, me)
  local loop = self.loop
  while not self.stopping do
    local i = self.next
    local due = self.start + i * self.interval
    if i >= self.limit or due >= self.stop or loop:time() >= self.stop then return end
    self.next = i + 1
    local wait = due - loop:time()
    if wait > 0 then await(core.sleep(wait)) end
    local now = loop:time()
    if wait > 0 and now - due < LATE then due = now end
    send(self, me, due, now)
  end
end

local function make(opts, loop)
  local start = loop:time()
  return {
    loop = loop, job = opts, one = opts.method == "GET" and not opts.options and get or ask, start = start,
    stop = opts.duration and start + opts.duration or math.huge, limit = opts.requests or math.huge,
    interval = opts.rate and 1 / opts.rate, next = 0, begun = 0, requests = 0, bytes = 0, error_count = 0, kinds = 0,
    status = {}, errors = {}, slots = {}, service = histogram.new(), latency = opts.rate and histogram.new() or nil,
    stopping = false, late = {},
  }
end

--- What the run has come to.
local function outcome(self, opts, duration)
  local latency = self.latency
  if not latency then
    local each = self.requests / opts.connections
    latency = self.service:corrected(each > 0 and duration / each or 0)
  end
  local unsent = 0
  if opts.rate then
    local due = math.min(self.limit, math.ceil(duration * opts.rate - 1e-9))
    for i = self.next, due - 1 do -- has waited so long already
      latency:record(duration - i * self.interval)
      unsent = unsent + 1
    end
  end
  for _, late in ipairs(self.late) do latency:record(late) end
  return {
    url = opts.url, method = opts.method, connections = opts.connections, rate = opts.rate, version = self.version,
    duration = duration, requests = self.requests, bytes = self.bytes, latency = latency, service = self.service,
    status = self.status, errors = self.errors, error_count = self.error_count, slots = self.slots, slot = SLOT,
    unfinished = #self.late, unsent = unsent, interrupted = self.interrupted,
  }
end

--- Runs the test. Awaits by itself. `opts`: session, url, method, options (of the request), connections, requests,
--- duration, rate (requests a second), grace (seconds that the last answers have after the duration);
--- begun(state): called when it begins, with what changes as it runs; state.stop_now() ends it early.
---@param opts table
---@return table result
function M.run(opts)
  local loop = core.get_running_loop()
  local self = make(opts, loop)
  local step = opts.rate and paced or steady
  local tasks, clients = {}, {}
  for i = 1, math.min(opts.connections, opts.requests or math.huge) do
    clients[i] = {}
    tasks[i] = core.create_task(core.async(step, "client")(self, clients[i]))
  end
  function self.stop_now()
    self.stopping, self.interrupted = true, true
    for _, task in ipairs(tasks) do task:cancel() end
  end
  if opts.begun then opts.begun(self) end
  local ok, err = catch(await, asyncio.wait(tasks, { timeout = opts.duration and opts.duration + (opts.grace or 1) }))
  local over = loop:time()
  self.stopping = true
  for _, task in ipairs(tasks) do task:cancel() end
  await(asyncio.gather(tasks, { return_exceptions = true }))
  if not ok then error(err, 0) end
  for i, task in ipairs(tasks) do
    if not task:cancelled() and task:exception() then error(task:exception(), 0) end
    if clients[i].due then self.late[#self.late + 1] = over - clients[i].due end
  end
  local duration = over - self.start
  if not self.interrupted and opts.duration then duration = math.min(duration, opts.duration) end
  return outcome(self, opts, duration)
end

return M
