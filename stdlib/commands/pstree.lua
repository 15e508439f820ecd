--- moonloop pstree: who waits for whom in a running process.

local core = require "asyncio.core"
local options = require "commands.options"
local peers = require "commands.inspect.peer"
local tables = require "commands.inspect.tables"

local help = [[
Usage: moonloop pstree PID
Prints the tasks of a process that was started with --inspect (or with MOONLOOP_INSPECT=1) as a tree: under
each task its coroutines, from outside in, and below the tasks that it awaits.

  -h, --help             print this text

Exit status: 0; 1 if the process cannot be asked or its loop is blocked; 2 for misuse.
]]

local _, pid = peers.arguments("pstree", { ... }, {}, help)
if not pid then options.misuse("pstree", "a PID is missing") end
peers.run("pstree", function()
  local peer <close> = peers.open("pstree", pid)
  local answer = peer:ask "tasks"
  if answer.blocked then error(core.OSError(peers.blocked_text(pid, answer)), 0) end
  local main, tree = tables.main_line(answer), tables.tree(answer)
  if main then io.stdout:write(main, "\n") end
  if tree ~= "" then io.stdout:write(tree, "\n") end
  return 0
end)
