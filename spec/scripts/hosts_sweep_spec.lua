--- Whichever allocation of its engines fails, a host ends with a status of its own and says why, or goes on.
--- SWEEP_SECONDS: how long for each host (`make oom` takes its time). See hosts_sweep.h.

local helper = require "spec.helper"
local host = require "spec.scripts.host"

local seconds = tonumber(os.getenv "SWEEP_SECONDS") or 0.3

local function sweep(name, arguments, opts)
  opts = opts or {}
  local status, out, err = helper.sh(("%s %g %s -- %s"):format(host.build(name, true), seconds, opts.pty and "pty" or "",
    arguments), { stdin = opts.stdin, env = opts.env, timeout = 60 + 20 * seconds })
  assert(status == 0, ("status %d\n%s%s"):format(status, out, err))
  if os.getenv "SPEC_VERBOSE" == "1" then print(name, "\n" .. out) end
end

describe("when an allocation fails,", function()
  it("poll copes or says so", function()
    sweep("poll", "scripts/hosts/poll.lua", { stdin = "hello\n/name bob\n/who\n/remind 0.01 tea\n/nope\n/bye\n" })
  end)

  it("glib copes or says so", function()
    sweep("glib", "scripts/hosts/glib.lua", { stdin = "8\nnope\n42\n", env = { QUIZ_SECONDS = 0.02 } })
  end)

  it("jobs copes or says so", function() sweep("jobs", "scripts/hosts/jobs.lua LICENSE Makefile") end)

  it("threads copes or says so", function()
    local script = helper.tmpfile([[
local asyncio = require "asyncio"
local port = server.info()
local listener <close> = await(asyncio.start_server(function(r, w)
  local _ <close> = w
  for line in r:lines() do w:write(store.add(line, 1) .. "\n") end
end, "127.0.0.1", port, { reuse_port = true }))
local _ <close> = asyncio.timeout(2)
local r, w = await(asyncio.open_connection("127.0.0.1", port))
w:write("a\nb\n")
w:write_eof()
await(r:read())
w:close()
await(asyncio.sleep(0.01))
listener:close_clients()
]], ".lua")
    sweep("threads", "-t 2 " .. script)
  end)

  it("agents (C++) copes or says so", function() sweep("agents", "scripts/hosts/agents.lua 3") end)

  it("plugins copes or says so", function()
    sweep("plugins", "scripts/hosts/plugins/good_tasks.lua scripts/hosts/plugins/bad_error.lua")
  end)

  it("game copes or says so", function()
    sweep("game", "--fast --frames 70 --keys 20:x,30:right,31:right,32:space,33:down,34:down,50:x,51:x",
      { pty = true, env = { TERM = "xterm" } })
  end)

  it("window copes or says so", function()
    sweep("window", "--fast --frames 70 --keys 20:x,30:right,31:right,32:space,33:down,34:down,50:x,51:x",
      { env = { SDL_VIDEODRIVER = "dummy" } })
  end)
end)
