-- ws.lua PORT: a WebSocket echo server. The row ws asks how much CPU a message costs.

local asyncio = require "asyncio"
local bench = dofile((arg[0]:match(".*/") or "") .. "bench.lua")
local http_core = require "http.core"
local web = require "http.web"

local echo = async(function(request)
  local ws = web.WebSocketResponse()
  await(ws:prepare(request))
  for msg in ws:messages() do
    if msg.type == web.WSMsgType.TEXT then
      await(ws:send_str(msg.data))
    else
      await(ws:send_bytes(msg.data))
    end
  end
  return ws
end)

local main = async(function()
  local app = web.Application()
  app:add_routes { web.get("/", echo) }
  local server <close> = await(asyncio.start_server(require("http.web.server").handler(app), "127.0.0.1",
    bench.arg(1, 9000), { backlog = 1024, http = http_core.settings {} }))
  await(server:serve_forever())
end)

asyncio.run(main())
