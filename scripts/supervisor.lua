#!/usr/bin/env moonloop
-- Keeps programs running: one that ends is started again, after a pause that grows while it fails.
--   moonloop scripts/supervisor.lua CONFIG
-- CONFIG is a Lua file that gives a table:
--   return {
--     backoff = { first = 0.5, factor = 2, max = 30, reset = 10 }, -- seconds; a run of `reset` seconds was a good one
--     grace = 5, -- seconds between SIGTERM and SIGKILL
--     programs = {
--       { name = "web", command = { "python3", "-m", "http.server" }, cwd = "/srv", output = "/tmp/web.log" },
--       { name = "job", command = { "sh", "-c", "sleep 3; exit 1" }, restart = "on-failure", env = { N = 1 } },
--     },
--   }
-- A program may have its own `backoff` and `grace`; `restart` is "always" (the default), "on-failure" or "never";
-- `env` adds to the environment; `output` is a file that gets what it prints. SIGTERM and SIGINT stop everything (a
-- second one at once), SIGUSR1 prints how things are.

local asyncio = require "asyncio"
local signal = require "signal"

local DEFAULTS = { first = 0.5, factor = 2, max = 30, reset = 10 }

local function log(format, ...)
  print(os.date("%H:%M:%S ") .. format:format(...))
  io.stdout:flush()
end

---------------------------------------------------------------------------------------------------
-- One program

local Program = {}
Program.__index = Program

local function new_program(spec, config)
  assert(type(spec.command) == "table", "a program needs its `command`: an array of strings")
  local backoff = {}
  for key, default in pairs(DEFAULTS) do
    backoff[key] = (spec.backoff or {})[key] or (config.backoff or {})[key] or default
  end
  return setmetatable({
    name = spec.name or spec.command[1], spec = spec, backoff = backoff, grace = spec.grace or config.grace or 5,
    state = "new", starts = 0, failures = 0, stop_asked = asyncio.Event(),
  }, Program)
end

function Program:open_output()
  if not self.spec.output then return nil end
  return assert(io.open(self.spec.output, "a"))
end

--- Starts it once and waits for its end. Returns what has happened, and whether that was a failure.
function Program:run_once()
  local output <close> = self:open_output()
  local words = table.move(self.spec.command, 1, #self.spec.command, 1, {})
  words[#words + 1] = {
    cwd = self.spec.cwd, add_env = self.spec.env, stdin = asyncio.DEVNULL, stdout = output, stderr = output,
    process_group = 0, kill_on_close = "group", -- a Ctrl-C is for us; what the program has started goes with it
  }
  local process <close> = await asyncio.create_subprocess_exec(table.unpack(words))
  self.process, self.state, self.starts = process, "running", self.starts + 1
  log("%s: started, pid %d", self.name, process.pid)
  local code = await process:wait()
  self.process = nil
  if code < 0 then return "killed by " .. (signal.signame(-code) or "signal " .. -code), true end
  return "ended with status " .. code, code ~= 0
end

--- Seconds to wait after so many failures in a row.
function Program:delay()
  local b = self.backoff
  return math.min(b.max, b.first * b.factor ^ (self.failures - 1))
end

--- Runs it until it is to run no more.
function Program:supervise()
  local loop = asyncio.get_running_loop()
  while not self.stop_asked:is_set() do
    local started = loop:time()
    local ok, how, failed = pcall(self.run_once, self)
    self.process = nil
    if not ok then how, failed = tostring(how), true end -- it could not be started
    if self.stop_asked:is_set() then
      log("%s: %s", self.name, how)
      break
    end
    local restart = self.spec.restart or "always"
    if restart == "never" or restart == "on-failure" and not failed then
      log("%s: %s, not started again", self.name, how)
      break
    end
    if loop:time() - started >= self.backoff.reset then self.failures = 0 end
    self.failures = self.failures + 1
    self.state = "waiting"
    log("%s: %s, next start in %.3g s", self.name, how, self:delay())
    pcall(await, asyncio.wait_for(self.stop_asked:wait(), self:delay()))
  end
  self.state = "stopped"
end

--- Sends a signal to the program and to what it has started.
function Program:signal(name)
  if self.process and not self.process.returncode then pcall(signal.killpg, self.process.pid, name) end
end

--- Asks it to end, and ends it if it does not within its time of grace.
function Program:stop(done)
  self.stop_asked:set()
  self:signal "SIGTERM"
  if not pcall(await, asyncio.wait_for(asyncio.shield(done), self.grace)) then
    log("%s: still runs after %g s, killed", self.name, self.grace)
    self:signal "SIGKILL"
    await done
  end
end

---------------------------------------------------------------------------------------------------
-- All of them

local function print_status(programs)
  for _, p in ipairs(programs) do
    log("%-12s %-8s pid %-7s starts %d, failures in a row %d", p.name, p.state, p.process and p.process.pid or "-",
      p.starts, p.failures)
  end
end

--- Waits for SIGTERM or SIGINT.
local async function watch(programs)
  for sig in asyncio.signals { "SIGTERM", "SIGINT", "SIGUSR1" } do
    if sig ~= "SIGUSR1" then return sig end
    print_status(programs)
  end
end

local function stop_all(programs, tasks)
  local stops = {}
  for i, p in ipairs(programs) do stops[i] = function() p:stop(tasks[i]) end end
  local stopping = asyncio.gather(stops)
  local impatient = asyncio.create_task(function()
    await asyncio.signal("SIGTERM", "SIGINT")
    for _, p in ipairs(programs) do p:signal "SIGKILL" end
  end)
  await stopping
  impatient:cancel()
end

local async function main(config)
  local programs, tasks = {}, {}
  for i, spec in ipairs(config.programs) do
    programs[i] = new_program(spec, config)
    tasks[i] = asyncio.create_task(function() programs[i]:supervise() end, { name = programs[i].name })
  end
  log("supervisor %d: %d programs", signal.getpid(), #programs)
  local watching = asyncio.create_task(watch(programs))
  local finished = asyncio.create_task(asyncio.wait(tasks)) -- nothing is left to supervise
  await asyncio.wait({ watching, finished }, { return_when = asyncio.FIRST_COMPLETED })
  if watching:done() then
    log("%s: stopping", watching:result())
    stop_all(programs, tasks)
  end
  watching:cancel()
  log("done")
end

local path = arg[1]
if not path then
  io.stderr:write("usage: supervisor.lua CONFIG\n")
  os.exit(2)
end
asyncio.run(main(assert(loadfile(path, "t"))()))
