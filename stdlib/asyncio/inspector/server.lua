--- The inspector's thread: listens on the socket of this process, and on the page's port if there is one. It runs in an
--- engine of its own; of the program it sees what the program's loop answers (asyncio.inspector.probe).

local asyncio = require "asyncio"
local core = require "asyncio.core"
local folder = require "asyncio.inspector.folder"
local fs = require "fs"
local inspector = require "asyncio.inspector.core"
local json = require "json"

local async, await = core.async, core.await

--- How long the program's loop may take to answer before it counts as blocked.
local PATIENCE = 1
--- How long a place is waited for that is asked for by a signal: a busy machine may not run the program sooner.
local PLACE = 0.3

local function now() return core.get_running_loop():time() end

---@class asyncio.inspector.State
---@field since number? when the oldest question was put that the loop has not answered
---@field turns integer? of the loop, then
local State = {}
State.__index = State

--- What blocks the loop, as JSON. Others may be asking, and be answered meanwhile: `since` is the asker's own.
local function blocked(self, since)
  local late = now() + PLACE
  inspector.show()
  local place, task
  repeat
    await(core.sleep(0.01))
    place, task = inspector.place()
  until place or now() > late
  return json.encode {
    blocked = now() - since, task = task, place = place, pid = self.pid,
  }
end

--- The program's answer, and true; or what is known of a loop that does not turn, and false. Nil: it has ended.
function State:ask(question)
  local began, turns = now(), inspector.turns()
  if not self.since or turns ~= self.turns then self.since, self.turns = began, turns end
  local ok, answer = pcall(await, asyncio.wait_for(inspector.ask(question), PATIENCE))
  if ok then
    self.since = nil
    return answer, true
  end
  if not core.isinstance(answer, core.TimeoutError) then error(answer, 0) end
  return blocked(self, self.since or began), false
end

--- One line, one question; the answer is a line. Questions: those of the probe, and "info".
local function converse(self, reader, writer)
  local peer = inspector.peer(writer:get_extra_info("socket"):fileno())
  if peer ~= self.uid and peer ~= 0 then return end
  while true do
    local line = await(reader:readline())
    if not line or line == "" then return end
    local question = line:match "^(%l+)\r?\n$" or ""
    local answer = question == "info" and json.encode { pid = self.pid, url = self.url } or self:ask(question)
    if not answer then return end
    writer:write(answer .. "\n")
    await(writer:drain())
  end
end

local function listen(self)
  local path = ("%s/%d.sock"):format(folder.prepare(), self.pid)
  pcall(await, fs.unlink(path)) -- of a process that had this number before
  self.server = await(asyncio.start_unix_server(async(function(reader, writer)
    pcall(converse, self, reader, writer)
    writer:close()
  end, "inspector.converse"), path))
  self.path = path
end

local function main(text)
  local options = json.decode(text)
  local uid, pid = inspector.whoami()
  local self = setmetatable({ uid = uid, pid = pid }, State)
  local page
  if options.port >= 0 then
    page = require("asyncio.inspector.web").start(self, options.host, options.port)
    self.url = page.url
  end
  local ok, err = pcall(listen, self)
  if not ok then
    if page then page:close() end
    error(err, 0)
  end
  inspector.ready(json.encode { path = self.path, url = self.url }, self.path)
  local sweeper = core.create_task(core.async(function() pcall(folder.sweep) end)())
  await(inspector.ended())
  sweeper:cancel()
  pcall(await, fs.unlink(self.path))
  self.server:close()
  if page then page:close() end
  for _, task in ipairs(core.all_tasks()) do
    if task ~= core.current_task() then task:cancel() end
  end
  await(core.sleep(0))
end

await(core.async(main)(...))
