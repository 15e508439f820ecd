-- A dashboard that draws itself: the server measures itself several times a second and pushes the figures as
-- server-sent events; the page plots them as they come. A browser that has lost its connection comes back by itself and
-- says which event it saw last: it is sent what it has missed.
--   moonloop scripts/web_dashboard.lua [PORT]     and open http://127.0.0.1:8080/

local asyncio = require "asyncio"
local json = require "json"
local time = require "time"
local web = require "http.web"

local PERIOD = 0.25 -- seconds between measurements
local KEPT = 480 -- two minutes

local samples = {} -- id -> JSON; the last KEPT of them
local newest = 0
local changed = asyncio.Condition()
local watching = 0

-- How late the loop is, how much processor it takes, what it keeps in memory, who watches.
local async function measure()
  local loop = asyncio.get_running_loop()
  local due, cpu = loop:time(), os.clock()
  while true do
    due = due + PERIOD
    await asyncio.sleep(due - loop:time())
    local now, used = loop:time(), os.clock()
    newest = newest + 1
    samples[newest] = json.encode {
      time = time.time(),
      lag = math.max(0, now - due) * 1000,
      cpu = (used - cpu) / PERIOD * 100,
      memory = collectgarbage("count") / 1024,
      watching = watching,
    }
    samples[newest - KEPT] = nil
    cpu = used
    if now - due > 10 * PERIOD then due = now end -- it was suspended
    async with changed do changed:notify_all() end
  end
end

local async function events(request)
  local stream <close> = await web.EventSourceResponse():prepare(request)
  local seen = math.tointeger(tonumber(stream.last_event_id)) or 0
  if seen > newest then seen = 0 end -- of an earlier run of this server
  watching = watching + 1
  local _leave <close> = setmetatable({}, { __close = function() watching = watching - 1 end })
  while stream:is_connected() do
    seen = math.max(seen, newest - KEPT)
    while seen < newest do
      seen = seen + 1
      await stream:send(samples[seen], { id = tostring(seen), event = "sample" })
    end
    async with changed do await changed:wait() end
  end
  return stream
end

local async function page() return web.FileResponse((arg[0]:gsub("%.lua$", ".html"))) end

local app = web.Application()
app:add_routes { web.get("/", page), web.get("/events", events) }
app.cleanup_ctx:append(function()
  local task = asyncio.create_task(measure())
  coroutine.yield()
  task:cancel()
end)
web.run_app(app, {
  host = "127.0.0.1", port = tonumber(arg[1]) or 8080, handler_cancellation = true, shutdown_timeout = 1,
})
