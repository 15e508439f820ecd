--- Names to addresses for the HTTP client: resolvers, and a cache in front of one. A look-up that several requests wait
--- for is made once, and goes on if one of them is cancelled.

local connections = require "asyncio.connections"
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local net = require "asyncio.net"

local async, await, catch = core.async, core.await, core.catch
local shield = require("asyncio.shield").shield

local M = {}

--- How many names a cache holds before it throws out those that are out of date.
local CACHED = 1000

-- ---- resolvers ----

---@class http.client.Found what a resolver gives for each address
---@field host string an IP address
---@field port integer
---@field family string "inet" or "inet6"
---@field hostname string the name

--- The system's resolver, on a thread; or the loop's, if a script has set one (loop:set_resolver). A resolver of a
--- script's own is any table with these two methods.
---@class ThreadedResolver
local ThreadedResolver = { __name = "ThreadedResolver" }
ThreadedResolver.__index = ThreadedResolver

local look_up = async(function(host, port, family)
  -- who asks for a family gets it, also on a machine that has but its loopback
  local hints = { family = family, type = "stream", flags = family == "unspec" and { "addrconfig" } or nil }
  local infos = await(connections.getaddrinfo(host, port, hints))
  local found = {}
  for i, info in ipairs(infos) do
    local address = info.address
    found[i] = {
      hostname = host, host = address[1], port = port, family = info.family, proto = info.proto, address = address,
    }
  end
  return found
end, "ThreadedResolver.resolve")

---@param host string
---@param port? integer
---@param family? string "inet", "inet6" or "unspec"
---@return any awaitable of an array of http.client.Found; raises OSError
function ThreadedResolver:resolve(host, port, family)
  return look_up(host, port or 0, family or "unspec")
end

local nothing = async(function() end, "ThreadedResolver.close")

---@return any awaitable
function ThreadedResolver:close() return nothing() end

M.ThreadedResolver = setmetatable(ThreadedResolver, {
  __name = "class ThreadedResolver",
  __call = function(class) return setmetatable({}, class) end,
})
M.DefaultResolver = ThreadedResolver

-- ---- what connections take ----

--- The addresses of what a resolver gave: `ahead` of the first family, then one of each in turn (RFC 8305); 0: as they
--- are. `from`: which of a family's comes first, so that a name's addresses share the work.
local function arranged(found, from, ahead)
  if #found == 1 then return { found[1].address } end
  local groups, order = {}, {}
  for _, one in ipairs(found) do
    local group = groups[ahead > 0 and one.family or 1]
    if not group then
      group = {}
      groups[ahead > 0 and one.family or 1], order[#order + 1] = group, group
    end
    group[#group + 1] = one.address
  end
  local list, taken = {}, {}
  local function take(i)
    local group, n = order[i], taken[i] or 0
    if n == #group then return end
    list[#list + 1] = group[(from + n) % #group + 1]
    taken[i] = n + 1
  end
  for _ = 2, ahead do take(1) end
  while #list < #found do
    for i = 1, #order do take(i) end
  end
  return list
end

--- Checks what a resolver of a script's has given.
local function checked(found, host, port, family)
  if type(found) ~= "table" then
    error(core.TypeError("a resolver must give an array of addresses, got " .. misuse.describe(found)), 0)
  end
  local list = {}
  for _, one in ipairs(found) do
    if type(one) == "string" then one = { host = one } end
    local ip = type(one) == "table" and one.host
    if type(ip) ~= "string" or not net.isip(ip) then
      error(core.TypeError("a resolver must give tables with an IP address as `host`, got " .. misuse.describe(one)), 0)
    end
    local address = one.address or { ip, tonumber(one.port) or port }
    local kind = ip:find(":", 1, true) and "inet6" or "inet"
    if family == "unspec" or family == kind then list[#list + 1] = { address = address, family = kind } end
  end
  if #list == 0 then
    error(core.OSError(("getaddrinfo '%s' failed: the resolver knows no address of it"):format(host),
      { code = "EAI_NONAME", host = host }), 0)
  end
  return list
end

-- ---- the cache ----

---@class http.client.Names
---@field ttl number? seconds; nil: for ever
---@field caching boolean
local Names = {}
Names.__index = Names

--- What looks names up for a connector.
---@param resolver table
---@param caching boolean
---@param ttl number? seconds that an answer is good for; nil: for ever
---@param family string
---@param ahead? integer how many addresses of the first family are tried before one of the other; 0: as they come
---@return http.client.Names
function M.names(resolver, caching, ttl, family, ahead)
  return setmetatable({
    resolver = resolver, caching = caching, ttl = ttl, family = family, ahead = ahead or 1, entries = {}, count = 0,
    under_way = {},
  }, Names)
end

--- Looks one name up; `answer`, a future, gets {found = } or {err = }, never an error: nobody may wait for it any more.
local ask = async(function(self, host, port, key, answer)
  local ok, found = catch(function()
    return checked(await(self.resolver:resolve(host, port, self.family)), host, port, self.family)
  end)
  if self.under_way[key] and self.under_way[key].answer == answer then self.under_way[key] = nil end
  if answer:done() then return end
  if ok and self.caching then self:keep(key, found) end
  answer:set_result(ok and { found = found } or { err = found })
end, "http.client.resolve")

--- The future answer of a look-up, begun here unless one is under way.
local function asked(self, host, port, key)
  local lookup, loop = self.under_way[key], core.get_running_loop()
  if not lookup or lookup.task:done() or lookup.answer:get_loop() ~= loop then -- that one will never be answered
    local answer = loop:create_future()
    lookup = { answer = answer, task = core.create_task(ask(self, host, port, key, answer)) }
    self.under_way[key] = lookup
  end
  return lookup.answer
end

function Names:keep(key, found)
  local now = core.get_running_loop():time()
  if self.count >= CACHED then
    for name, entry in pairs(self.entries) do
      if entry.until_ <= now or self.count >= 2 * CACHED then
        self.entries[name] = nil
        self.count = self.count - 1
      end
    end
  end
  if not self.entries[key] then self.count = self.count + 1 end
  self.entries[key] = { found = found, turn = 0, until_ = self.ttl and now + self.ttl or math.huge }
end

--- Forgets one name, or all.
function Names:clear(host, port)
  if not host then
    self.entries, self.count = {}, 0
  elseif self.entries[host .. " " .. port] then
    self.entries[host .. " " .. port], self.count = nil, self.count - 1
  end
end

--- The addresses of a name, in the order to try them in. Awaits by itself.
---@param host string
---@param port integer
---@param traces any nil, or what is told of it: traces:send(event, params)
---@return table[] addresses raises what the resolver raises
function Names:addresses(host, port, traces)
  if net.isip(host) then return { { host, port } } end
  local key = host .. " " .. port
  local entry = self.entries[key]
  if entry and entry.until_ > core.get_running_loop():time() then
    if traces then traces:send("dns_cache_hit", { host = host }) end
    entry.turn = entry.turn + 1
    return arranged(entry.found, entry.turn - 1, self.ahead)
  end
  local first = not self.under_way[key]
  if traces then
    if self.caching then traces:send(first and "dns_cache_miss" or "dns_cache_hit", { host = host }) end
    if first then traces:send("dns_resolvehost_start", { host = host }) end
  end
  local answer = await(shield(asked(self, host, port, key)))
  if traces and first then traces:send("dns_resolvehost_end", { host = host }) end
  if answer.err then error(answer.err, 0) end
  return arranged(answer.found, 0, self.ahead)
end

--- Cancels what is under way; who waits for it gets an OSError.
function Names:close()
  for key, lookup in pairs(self.under_way) do
    self.under_way[key] = nil
    if not lookup.answer:done() then
      lookup.answer:set_result({ err = core.OSError("the look-up was cancelled", { code = "ECANCELED" }) })
    end
    lookup.task:cancel()
  end
end

return M
