--- moonloop ps: the tasks of a running process; or the processes that can be inspected.

local core = require "asyncio.core"
local folder = require "asyncio.inspector.folder"
local json = require "json"
local peers = require "commands.inspect.peer"
local tables = require "commands.inspect.tables"

local help = [[
Usage: moonloop ps [options] [PID]
Prints the tasks of a process that was started with --inspect (or with MOONLOOP_INSPECT=1): what each
waits for, and where. Without PID: the processes of this user that can be inspected.

  --json                 as JSON, with the whole stack of each task
  -h, --help             print this text

Exit status: 0; 1 if the process cannot be asked or its loop is blocked; 2 for misuse.
]]

local function list(given)
  local rows, found = { { "PID", "TASKS", "COMMAND" } }, {}
  peers.each(function(pid, peer)
    local ok, counts = pcall(peer.ask, peer, "counts")
    if not ok then return end
    local line = folder.command_line(pid)
    found[#found + 1] = { pid = pid, command = line, tasks = counts.tasks, blocked = counts.blocked }
    rows[#rows + 1] = { tostring(pid), counts.blocked and "blocked" or tostring(counts.tasks), line }
  end)
  if given.json then
    io.stdout:write(json.encode(json.array(found)), "\n")
  elseif #found == 0 then
    io.stderr:write("No process can be inspected (moonloop --inspect ...).\n")
  else
    io.stdout:write(tables.columns(rows), "\n")
  end
  return 0
end

local given, pid = peers.arguments("ps", { ... }, { json = "flag" }, help)
peers.run("ps", function()
  if not pid then return list(given) end
  local peer <close> = peers.open("ps", pid)
  local answer = peer:ask "tasks"
  if given.json then
    io.stdout:write(json.encode(answer), "\n")
    return answer.blocked and 1 or 0
  end
  if answer.blocked then
    error(core.OSError(peers.blocked_text(pid, answer)), 0)
  end
  local more = answer.total > #answer.tasks and (" (the first %d are shown)"):format(#answer.tasks) or ""
  io.stdout:write(("%d task%s%s"):format(answer.total, answer.total == 1 and "" or "s", more), "\n")
  local main = tables.main_line(answer)
  if main then io.stdout:write(main, "\n") end
  if #answer.tasks > 0 then io.stdout:write(tables.tasks(answer), "\n") end
  return 0
end)
