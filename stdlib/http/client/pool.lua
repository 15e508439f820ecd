--- What connectors do: connections to one place are kept while they are idle; no more than `limit` are in use at a
--- time, and who comes then waits, first come first served. A connection of HTTP/2 is shared by many requests and
--- counts once.

local core = require "asyncio.core"
local dial = require "http.client.dial"
local errors = require "http.client.errors"
local timeouts = require "asyncio.timeouts"
local new_turns = require "http.client.turns"

local await, catch, isinstance = core.await, core.catch, core.isinstance
local get_running_loop = core.get_running_loop
local huge = math.huge

--- How many pools there are before those that nobody uses are thrown out.
local POOLS = 256
--- How long after a collection the last one follows, seconds; the first comes after one.
local RESCUES <const> = 32

-- ---- pools ----

--- What there is of one place. `waiting`: a list of those who wait, in both directions.
---@class http.client.Pool
---@field place http.client.Place
---@field ssl any the option that is good here
---@field idle any[] connections, the one used last at the end
---@field n integer how many those are
---@field acquired integer connections in use or being made
---@field shared any a connection of HTTP/2 that takes more requests; or nil
---@field plain boolean? the server speaks HTTP/1 alone
---@field opening boolean? the connection is being made that will tell
---@field first table?
---@field last table?

local function enqueue(pool, waiter)
  waiter.before = pool.last
  if pool.last then pool.last.after = waiter else pool.first = waiter end
  pool.last = waiter
end

local function unlink(pool, waiter)
  local before, after = waiter.before, waiter.after
  if before then before.after = after else pool.first = after end
  if after then after.before = before else pool.last = before end
  waiter.before, waiter.after = nil, nil
end

--- Is nothing there that would be missed?
local function unused(pool)
  if pool.acquired > 0 or pool.first or pool.opening then return false end
  if pool.shared and not pool.shared:is_closing() then return false end
  for i = 1, pool.n do
    if not pool.idle[i]:is_closing() then return false end
  end
  return true
end

local function new_pool(self, place)
  if self._count >= self._most then
    local left = 0
    for key, pool in pairs(self._pools) do
      if unused(pool) then self._pools[key] = nil else left = left + 1 end
    end
    self._count, self._most = left, math.max(POOLS, 2 * left)
  end
  local ssl = place.ssl
  if (ssl == nil or ssl == true) and self._ssl ~= nil then ssl = self._ssl end
  local pool = { place = place, ssl = ssl, idle = {}, n = 0, acquired = 0 }
  self._pools[place.key] = pool
  self._count = self._count + 1
  return pool
end

-- ---- connectors ----

---@class http.client.BaseConnector
---@field limit integer how many connections may be in use; 0: any number
---@field limit_per_host integer the same for one place
---@field force_close boolean is a connection closed after each request?
---@field keepalive_timeout number? seconds that an idle one is kept; nil: for ever
---@field closed boolean
---@field http2 boolean|string is HTTP/2 offered over TLS ("prior": and spoken without asking in the clear)?
local Connector = { __name = "BaseConnector" }
Connector.__index = Connector

local function available(self, pool)
  return self._acquired < self._limit and pool.acquired < self._per_host
end

local function reserve(self, pool)
  self._acquired, pool.acquired = self._acquired + 1, pool.acquired + 1
end

--- One more request has the shared connection.
local function claim(self, pool, conn)
  local claims = self._claims[conn]
  if claims == 0 then reserve(self, pool) end
  self._claims[conn] = claims + 1
  return conn
end

--- A connection of HTTP/2 has gone: it counts no more, and who still has a request in it gives nothing back.
local function retire(self, pool, conn)
  if pool.shared == conn then pool.shared = nil end
  local claims = self._claims[conn]
  self._claims[conn], self._owners[conn], self._promised[conn] = nil, nil, nil
  if claims and claims > 0 then self._acquired, pool.acquired = self._acquired - 1, pool.acquired - 1 end
end

--- A stream of a shared connection is given to somebody who has not begun it yet: so the connection does not know.
local function promise(self, conn)
  self._promised[conn] = (self._promised[conn] or 0) + 1
end

--- The connection of HTTP/2 if it can take one more; forgets one that has gone.
local function sharable(self, pool)
  local conn = pool.shared
  if conn:is_closing() then
    retire(self, pool, conn)
    return nil
  end
  if conn:free() <= (self._promised[conn] or 0) then return nil end
  if self._claims[conn] == 0 and not available(self, pool) then return nil end
  return conn
end

--- A connection that is ready for a request, without waiting; nil if there is none, or others come first.
---@param place http.client.Place
---@return any conn
function Connector:take(place)
  local pool = self._pools[place.key]
  if not pool or pool.first then return nil end
  if pool.shared then
    local conn = sharable(self, pool)
    return conn and claim(self, pool, conn)
  end
  local n = pool.n
  if n == 0 or self._acquired >= self._limit or pool.acquired >= self._per_host then return nil end
  local idle = pool.idle
  repeat
    local conn = idle[n]
    idle[n] = nil
    n = n - 1
    if conn:free() > 0 then
      pool.n = n
      self._acquired, pool.acquired = self._acquired + 1, pool.acquired + 1
      self._owners[conn] = pool
      return conn
    end
  until n == 0
  pool.n = 0
  return nil
end

-- ---- who waits ----

--- Must the next connection be made alone, since it may turn out to be one for all?
local function probing(self, pool)
  if pool.plain or pool.place.http1 then return false end
  return self._http2 == "prior" or self._http2 and pool.place.secure
end

--- What the first who waits for this pool can have: a connection, or true for the right to make one. Taken already.
local function offer(self, pool)
  if pool.shared then
    local conn = sharable(self, pool)
    if conn then
      promise(self, conn)
      return claim(self, pool, conn)
    end
    if pool.shared then return nil end
  end
  if pool.opening or not available(self, pool) then return nil end
  local n = pool.n
  while n > 0 do
    local conn = pool.idle[n]
    pool.idle[n] = nil
    n = n - 1
    pool.n = n
    if conn:free() > 0 then
      reserve(self, pool)
      self._owners[conn] = pool
      return conn
    end
  end
  reserve(self, pool)
  if probing(self, pool) then pool.opening = true end
  return true
end

local function forget(self, pool, waiter)
  if not waiter.queued then return end
  waiter.queued = false
  unlink(pool, waiter)
  if pool.first then return end
  self._waiting[pool] = nil
  if next(self._waiting) then return end
  for _, name in ipairs { "_rescue", "_alarm" } do
    if self[name] then self[name]:cancel() end
    self[name] = nil
  end
end

--- Who waits may wait for responses that nobody holds any more: when nobody got anything for a while they are
--- collected. Ever more seldom, and not for ever: what holds the connections may as well be slow.
local function rescue(self, after, given)
  self._rescue = get_running_loop():call_later(after, function()
    self._rescue = nil
    local stuck = self._given == given
    if stuck then collectgarbage() end
    if after < RESCUES or not stuck then rescue(self, stuck and 2 * after or 1, self._given) end
  end)
end

--- The first who waits has not been cancelled: those are forgotten.
local function living(self, pool)
  while pool.first and pool.first.future:done() do forget(self, pool, pool.first) end
end

local function serve(self, pool, given)
  local waiter = pool.first
  forget(self, pool, waiter)
  waiter.given = given
  self._given = self._given + 1
  waiter.future:set_result(true)
end

--- Something has changed in a pool, or for all: gives what there is to those who wait, in the order they came.
local function dispatch(self, pool)
  local turns = self._turns
  turns:add(pool)
  while pool.shared do -- its streams need no right of their own
    living(self, pool)
    local given = pool.first and offer(self, pool)
    if not given then break end
    serve(self, pool, given)
  end
  while self._acquired < self._limit do
    local best = turns:take()
    if not best then return end
    living(self, best)
    if best.first and best.first.ticket == best.ticket then
      local given = offer(self, best)
      if given then
        serve(self, best, given)
        turns:add(best)
      end -- else it waits for something of its own, and is added by that
    else
      turns:add(best)
    end
  end
end

--- The right to a connection is given back.
local function unreserve(self, pool)
  if self.closed then return end
  self._acquired, pool.acquired = self._acquired - 1, pool.acquired - 1
  dispatch(self, pool)
end

--- The request comes next.
local function redeem(self, given)
  local promised = self._promised[given]
  if promised then self._promised[given] = promised > 1 and promised - 1 or nil end
end

--- What was given to somebody who cannot use it.
local function give_back(self, pool, given)
  redeem(self, given)
  if given == true then
    pool.opening = nil
    unreserve(self, pool)
  else
    self:release(given, true)
  end
end

local function closed_error(asked) return errors.make(errors.ClientConnectionError, asked, "Connector is closed") end

--- Ends the waiting of those whose time is up. One timer for all: they may be many, and seldom wait that long.
local function set_alarm(self, loop, when)
  if self._alarm then self._alarm:cancel() end
  self._alarm = loop:call_at(when, function()
    self._alarm = nil
    local now, soonest = loop:time() + 1e-3, huge
    for pool in pairs(self._waiting) do
      local waiter = pool.first
      while waiter do
        local after = waiter.after
        if waiter.when > now then
          soonest = math.min(soonest, waiter.when)
        elseif not waiter.future:done() then
          waiter.future:set_exception(errors.timeout(waiter.kind, waiter.asked, waiter.limit))
          forget(self, pool, waiter)
        end
        waiter = after
      end
    end
    if soonest < huge then set_alarm(self, loop, soonest) end
  end)
end

--- Waits for a turn: gives a connection, or true. Awaits by itself.
local function wait(self, pool, asked, when, kind, limit)
  local loop = get_running_loop()
  local waiter = {
    ticket = self._tickets, future = loop:create_future(), asked = asked, queued = true, when = when, kind = kind,
    limit = limit,
  }
  self._tickets = self._tickets + 1
  enqueue(pool, waiter)
  if pool.first == waiter then self._turns:add(pool) end
  if not next(self._waiting) then rescue(self, 1, self._given) end
  self._waiting[pool] = true
  if when < huge and (not self._alarm or when < self._alarm:when()) then set_alarm(self, loop, when) end
  local ok, err = catch(await, waiter.future)
  local given = waiter.given
  if ok and not self.closed then return given end
  if given then
    give_back(self, pool, given)
  else
    forget(self, pool, waiter)
  end
  error(ok and closed_error(asked) or err, 0)
end

-- ---- deadlines ----

--- Calls f until a moment of the loop's clock; then raises the error of that deadline.
local function before(when, kind, limit, asked, f, ...)
  if when == huge then return f(...) end
  local scope
  local results = table.pack(catch(function(...)
    local guard <close> = timeouts.timeout_at(when)
    scope = guard
    return f(...)
  end, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local err = results[2]
  if scope:expired() and isinstance(err, core.TimeoutError) then err = errors.timeout(kind, asked, limit) end
  error(err, 0)
end

--- The first of the deadlines, which one it is, and its seconds.
local function first_of(timeout, start, sock_start)
  if not timeout then return huge end
  local when, kind, limit = huge, nil, nil
  if timeout.deadline then when, kind, limit = timeout.deadline, "total", timeout.total end
  local connect, sock_connect = timeout.connect, sock_start and timeout.sock_connect
  if connect and start + connect < when then when, kind, limit = start + connect, "connect", connect end
  if sock_connect and sock_start + sock_connect < when then
    when, kind, limit = sock_start + sock_connect, "sock_connect", sock_connect
  end
  return when, kind, limit
end

-- ---- connections ----

--- Settings of connections, with what the pool has to know.
local function settings_of(self, values)
  local key = values or self._defaults
  local settings = self._settings[key]
  if settings then return settings end
  local all = {}
  for name, value in pairs(key) do all[name] = value end
  all.keepalive_timeout = self.keepalive_timeout or false
  all.http2 = self._http2 == "prior"
local weak = setmetatable({ self }, { __mode = "v" }) -- connections keep their settings, not their pool
  all.on_free = function(...)
    if weak[1] then weak[1]:_freed(...) end
  end
  settings = require("http.client.core").settings(all)
  self._settings[key] = settings
  return settings
end

--- A new connection of the pool, for whom there is a right to one.
local function establish(self, pool, asked, traces, when, kind, limit)
  if traces then traces:send("connection_create_start", {}) end
  local settings = settings_of(self, asked.settings)
  local conn = before(when, kind, limit, asked, dial.dial, self, asked, pool, settings, traces)
  if self.closed then
    conn:close()
    error(closed_error(asked), 0)
  end
  self._owners[conn] = pool
  if conn:multiplexed() and not self.force_close then
    self._claims[conn] = 1
    pool.shared = conn -- another one has gone meanwhile
  else
    pool.plain = true
  end
  return conn
end

--- Tells of what was given; if that fails nobody has it.
local function told(self, pool, given, traces, event)
  if not traces then return end
  local ok, err = catch(traces.send, traces, event, {})
  if ok then return end
  give_back(self, pool, given)
  error(err, 0)
end

--- A connection for one request: one that is there, or a new one. Awaits by itself; who comes first is served first.
---@param place http.client.Place
---@param asked table method and url, for errors; settings of http.client.core
---@param traces any nil, or what is told of it
---@param timeout? {deadline: number?, total: number?, connect: number?, sock_connect: number?}
---@return any conn raises errors of http.client.errors
---@return boolean reused
function Connector:connect(place, asked, traces, timeout)
  if self.closed then error(closed_error(asked), 0) end
  local conn = self:take(place)
  if conn then return conn, true end
  local loop = get_running_loop()
  local start = loop:time()
  local pool = self._pools[place.key] or new_pool(self, place)
  local given = not pool.first and offer(self, pool)
  if not given then
    if traces then traces:send("connection_queued_start", {}) end
    given = wait(self, pool, asked, first_of(timeout, start))
    told(self, pool, given, traces, "connection_queued_end")
  end
  redeem(self, given)
  if given ~= true then
    if given:free() > 0 then return given, true end
    -- it has gone, or was filled up, while the task was woken
    self:release(given, true)
    return self:connect(place, asked, traces, timeout)
  end
  local ok, made = catch(establish, self, pool, asked, traces, first_of(timeout, start, loop:time()))
  pool.opening = nil
  if not ok then
    unreserve(self, pool)
    if self.closed and not isinstance(made, core.CancelledError) then made = closed_error(asked) end
    error(made, 0)
  end
  if pool.shared == made then promise(self, made) end
  dispatch(self, pool)
  told(self, pool, made, traces, "connection_create_end")
  redeem(self, made)
  return made, false
end

--- Gives back what take or connect gave, when its exchange is over. Does nothing if that has been done.
---@param conn any
---@param keep boolean may it serve another request? HTTP/2: it does in any case, as long as it can
function Connector:release(conn, keep)
  local pool = self._owners[conn]
  if not pool then return end
  local claims = self._claims[conn]
  if claims then
    if conn:is_closing() then
      retire(self, pool, conn)
    elseif claims > 0 then
      self._claims[conn] = claims - 1
      if claims == 1 then self._acquired, pool.acquired = self._acquired - 1, pool.acquired - 1 end
    end
  else
    self._owners[conn] = nil
    self._acquired, pool.acquired = self._acquired - 1, pool.acquired - 1
    if keep and not self.force_close and conn:free() > 0 and not self.closed then
      local n = pool.n + 1
      pool.idle[n], pool.n = conn, n
    else
      conn:close()
    end
  end
  if next(self._waiting) then dispatch(self, pool) end
end

--- A response has the connection for as long as its exchange takes. If that ends with nobody looking it is told: what
--- it would give back later is another one's then.
---@param conn any
---@param response http.ClientResponse
function Connector:hold(conn, response) self._holders[conn] = response end

--- From the loop: an exchange is over and nobody has seen it, or a connection of HTTP/2 has room again or is gone;
--- `dropped` of its exchanges are in nobody's hands any more.
function Connector:_freed(conn, dropped)
  local pool = self._owners[conn]
  if not pool then return end
  if not self._claims[conn] then
    local holder = self._holders[conn]
    if holder then holder:_lost_connection() end
    self:release(conn, true)
  else
    for _ = 1, dropped do self:release(conn, true) end
    if conn:is_closing() then retire(self, pool, conn) end
    dispatch(self, pool)
  end
end

-- ---- the end ----

local Done = { __await = function() return core.sleep(0) end }

--- Closes all connections, those in use too; who waits for one gets ClientConnectionError.
---@return any awaitable that need not be awaited
function Connector:close()
  if self.closed then return setmetatable({}, Done) end
  self.closed = true
  for pool in pairs(self._waiting) do
    while pool.first do
      local waiter = pool.first
      forget(self, pool, waiter)
      if not waiter.future:done() then waiter.future:set_exception(closed_error(waiter.asked)) end
    end
  end
  for _, pool in pairs(self._pools) do
    for i = 1, pool.n do pool.idle[i]:close() end
    if pool.shared then pool.shared:close() end
  end
  for conn in pairs(self._owners) do conn:close() end
  self._pools, self._owners, self._claims, self._promised, self._count, self._acquired = {}, {}, {}, {}, 0, 0
  self._turns = new_turns()
  if self.names then self.names:close() end
  return setmetatable({}, Done)
end

function Connector:__close() self:close() end

function Connector:__tostring()
  return ("<%s acquired=%d limit=%d%s>"):format(getmetatable(self).__name, self._acquired, self.limit,
    self.closed and " closed" or "")
end

--- The state of a connector whose fields limit, limit_per_host, force_close, keepalive_timeout and http2 are set.
---@param self table
---@return http.client.BaseConnector
function Connector.init(self)
  self.closed = false
  self._limit = self.limit > 0 and self.limit or huge
  self._per_host = self.limit_per_host > 0 and self.limit_per_host or huge
  self._http2 = self.http2
  self._pools, self._count, self._most = {}, 0, POOLS
  -- connection -> pool, of those in use: one that is dropped with its response tells on_free; -> requests in it
  self._promised = {} -- connection of HTTP/2 -> how many will begin a request in it
  self._owners, self._claims, self._acquired = setmetatable({}, { __mode = "k" }), {}, 0
  self._holders = setmetatable({}, { __mode = "kv" }) -- connection of HTTP/1 -> response that has it
  self._given = 0 -- turns that were given to those who waited
  self._waiting, self._tickets, self._turns = {}, 0, new_turns() -- pools in which somebody waits
  self._settings, self._defaults = setmetatable({}, { __mode = "k" }), {}
  return self
end

return Connector
