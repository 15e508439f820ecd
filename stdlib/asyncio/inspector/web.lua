--- The inspector's page: one document, and a stream of events with what it shows. In the inspector's thread.
---
--- Who may see it: whoever has the token of its address. A name that was made to point at this machine (DNS rebinding)
--- is refused by the Host header: it must be a number, localhost, or the host that was given.

local core = require "asyncio.core"
local folder = require "asyncio.inspector.folder"
local inspector = require "asyncio.inspector.core"
local json = require "json"
local page = require "asyncio.inspector.page"
local time = require "time"
local web = require "http.web"

local async, await = core.async, core.await

local M = {}

local INTERVAL = 1 -- seconds between two samples
local SAMPLES = 60
local SILENCE = 5 -- seconds after which a page that takes nothing is dropped

local function secret()
  local f <close> = assert(io.open("/dev/urandom", "rb"))
  return (f:read(16):gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

--- Is that Host header one that a name which somebody else owns cannot have?
local function known_host(header, given)
  local host = header:match "^%[([%x:.]+)%]:?%d*$"
  if host then return true end
  host = header:match "^([^:]+):?%d*$"
  if not host then return false end
  host = host:lower()
  return host == "localhost" or host == given:lower() or host:match "^%d+%.%d+%.%d+%.%d+$" ~= nil
end

-- ---- samples ----

---@class asyncio.inspector.Web
---@field points string[] the samples of the last minute, JSON
---@field listeners table<any, boolean> futures that wait for the next sample
local Web = {}
Web.__index = Web

--- What the process has open, but for the inspector's own.
local function descriptors(self)
  local list = {}
  for _, d in ipairs(inspector.descriptors()) do
    local own = d.name == self.state.path and d.name ~= nil
      or d.type == "tcp" and d.name:match ":(%d+)$" == tostring(self.port)
    if not own then list[#list + 1] = d end
  end
  table.sort(list, function(a, b) return a.fd < b.fd end)
  for _, d in ipairs(list) do
    if not utf8.len(d.name or "") then d.name = "?" end
    if not utf8.len(d.peer or "") then d.peer = "?" end
  end
  return json.encode(json.array(list))
end

--- One sample: the point for the timeline, and for who looks on all there is.
local function sample(self, loop)
  local began = loop:time()
  local answer, alive = self.state:ask "counts"
  if not answer then return false end
  local counts = alive and not answer:find('^{"error"') and answer or "null"
  local lag = alive and loop:time() - began or loop:time() - (self.state.since or began)
  local point = ('{"at":%.3f,"lag":%.6f,"blocked":%s,"counts":%s}'):format(time.time(),
    lag, alive and "null" or answer, counts)
  self.n = self.n + 1
  self.points[self.n] = point
  self.points[self.n - SAMPLES] = nil
  if next(self.listeners) then
    local all, answered = "null", false
    if alive then all, answered = self.state:ask "all" end
    if not all then return false end
    self.event = ('{"point":%s,"all":%s,"descriptors":%s}'):format(point, answered and all or "null", descriptors(self))
  end
  for future in pairs(self.listeners) do
    if not future:done() then future:set_result(self.event) end
  end
  return true
end

local function run(self)
  local loop = core.get_running_loop()
  local due = loop:time()
  while sample(self, loop) do
    due = math.max(due + INTERVAL, loop:time())
    await(core.sleep(due - loop:time()))
  end
end

-- ---- what is served ----

local function headers(self)
  return {
    ["Cache-Control"] = "no-store", ["X-Content-Type-Options"] = "nosniff", ["Referrer-Policy"] = "no-referrer",
    ["X-Frame-Options"] = "DENY", ["Cross-Origin-Resource-Policy"] = "same-origin",
    ["Content-Security-Policy"] = ("default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; connect-src "
      .. "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"):format(self.nonce, self.nonce),
  }
end

local function document(self)
  return web.Response { body = self.page, content_type = "text/html", charset = "utf-8", headers = headers(self) }
end

local function events(self, request)
  local response = web.EventSourceResponse { headers = headers(self) }
  local stream <close> = await(response:prepare(request))
  local first, loop = {}, core.get_running_loop()
  for i = math.max(1, self.n - SAMPLES + 1), self.n do first[#first + 1] = self.points[i] end
  await(stream:send(("[%s]"):format(table.concat(first, ",")), { event = "timeline" }))
  while true do
    local future = loop:create_future()
    self.listeners[future] = true
    local ok, event = pcall(await, future)
    self.listeners[future] = nil
    if not ok then error(event, 0) end
    await(require("asyncio").wait_for(stream:send(event, { event = "sample" }), SILENCE))
  end
end

local function serve(self, request)
  if not known_host(request.headers.Host or "", self.host) then
    return web.Response { status = 421, text = "This address is not served under that name.\n" }
  end
  if request.method ~= "GET" then return web.Response { status = 405, headers = { Allow = "GET" } } end
  local token, rest = request.path:match "^/(%x+)(/.*)$"
  if token ~= self.token then
    return web.Response { status = 403, text = "The address with the token was printed when the program began.\n" }
  end
  if rest == "/" then return document(self) end
  if rest == "/events" then return events(self, request) end
  return web.Response { status = 404 }
end

--- Ends what is served.
function Web:close()
  self.sampler:cancel()
  pcall(await, self.runner:cleanup())
end

--- Serves the page. Raises OSError if the address cannot be had.
---@param state asyncio.inspector.State
---@param host string
---@param port integer 0: a free one
---@return asyncio.inspector.Web
function M.start(state, host, port)
  local self = setmetatable({
    state = state, host = host, token = secret(), nonce = secret(), points = {}, n = 0, listeners = {},
  }, Web)
  self.runner = web.ServerRunner(async(function(request) return serve(self, request) end, "inspector.serve"), {
    shutdown_timeout = 0, on_bad = function() end, handler_cancellation = true,
  })
  await(self.runner:setup())
  await(web.TCPSite(self.runner, host, port):start())
  local address = self.runner.addresses[1]
  self.port = type(address) == "table" and address[2] or port
  self.url = ("http://%s:%d/%s/"):format(host:find(":", 1, true) and "[" .. host .. "]" or host, self.port, self.token)
  self.page = page.html(self.nonce, state.pid, folder.command_line(state.pid))
  self.sampler = core.create_task(core.async(function() run(self) end, "inspector.sample")())
  return self
end

return M
