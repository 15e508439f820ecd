--- The commands of the REPL: a line that begins with a point and a name.

local asyncio = require "asyncio"
local core = require "asyncio.core"
local time = require "time"

local await = core.await

local M = {}

--- By name: what it takes, what it does, and fn(session, rest).
---@type table<string, { [1]: string, [2]: string, [3]: fun(session: repl.Session, rest: string) }>
M.list = {}

--- What went wrong with a command is no error of anybody's program.
local function say(session, text, ...)
  session.failed = true
  io.stderr:write(text:format(...), "\n")
end

local help = [[
Type a statement or an expression; values are printed. await works, and tasks go on while you type.
  _, __, ___             the last value, the one before, the one before that
  local x = 1            lasts for one input: leave `local` out to keep a variable
  Tab                    completes names, fields, methods, modules in require "", files in strings
  Up, Down, Ctrl-R       earlier inputs; what begins with a space is not kept
  Ctrl-C                 cancels what is awaited (twice: stops what computes), or clears the line
  Ctrl-D                 leaves; tasks that are left are cancelled
  NAME?                  as .doc NAME
]]

M.list.help = { "", "this text", function()
  local names = {}
  for name in next, M.list do names[#names + 1] = name end
  table.sort(names)
  local lines = {}
  for i, name in ipairs(names) do
    local entry = M.list[name]
    lines[i] = ("  %-22s %s\n"):format("." .. name .. (entry[1] ~= "" and " " .. entry[1] or ""), entry[2])
  end
  io.stdout:write(help, table.concat(lines))
end }

M.list.exit = { "", "leaves, as Ctrl-D", function(session) session.leaving = true end }

-- ---- tasks ----

local function place_of(frame)
  return ("%s:%d in %s"):format(frame.source, frame.line, frame.name)
end

--- The tree from the tasks that nobody awaits down to what they wait for.
---@return string
function M.tasks(session)
  local tasks, awaited, lines = {}, {}, {}
  for _, task in ipairs(core.all_tasks(session.loop)) do
    if task ~= session.main and task ~= session.foreground then tasks[#tasks + 1] = task end
  end
  local graphs = {}
  for _, task in ipairs(tasks) do
    graphs[task] = asyncio.capture_call_graph(task)
    for _, waiting in ipairs(graphs[task].awaited_by) do
      local outer = waiting.future
      awaited[outer] = awaited[outer] or {}
      table.insert(awaited[outer], task)
    end
  end
  local function add(task, indent, path)
    local graph = graphs[task]
    local stack = graph and graph.call_stack or {}
    lines[#lines + 1] = ("%s%s%s"):format(indent, task.get_name and task:get_name() or "future",
      stack[1] and "  " .. place_of(stack[1]) or task.get_coro and "  " .. tostring(task:get_coro()) or "")
    for i = 2, #stack do lines[#lines + 1] = ("%s  called from %s"):format(indent, place_of(stack[i])) end
    if path[task] then
      lines[#lines + 1] = indent .. "  (a cycle: it waits for itself)"
      return
    end
    path[task] = true
    for _, inner in ipairs(awaited[task] or {}) do add(inner, indent .. "    ", path) end
    path[task] = nil
  end
  local shown = {}
  for _, task in ipairs(tasks) do
    local by = graphs[task].awaited_by
    local root = true
    for _, graph in ipairs(by) do
      if graphs[graph.future] then root = false end
    end
    if root then
      shown[#shown + 1] = task
      add(task, "", {})
    end
  end
  if #shown == 0 then -- all of them wait for each other
    for _, task in ipairs(tasks) do add(task, "", {}) end
  end
  return #lines > 0 and table.concat(lines, "\n") or "no tasks"
end

M.list.tasks = { "[SECONDS]", "the tasks, what they wait for and where; every so many seconds until Ctrl-C",
  function(session, rest)
    local every = tonumber(rest)
    if rest ~= "" and not (every and every > 0) then return say(session, ".tasks: a number of seconds was expected") end
    if not every then
      io.stdout:write(M.tasks(session), "\n")
      return
    end
    local ok, err = session:run(function()
      while true do
        io.stdout:write(session.edits and "\27[H\27[2J" or "", M.tasks(session), "\n")
        await(asyncio.sleep(every))
      end
    end, ".tasks")
    if session.interrupted then
      io.stdout:write "\n"
    elseif not ok then
      error(err, 0)
    end
  end }

-- ---- time ----

local function seconds(s)
  if s < 1e-3 then return ("%.1f us"):format(s * 1e6) end
  if s < 1 then return ("%.1f ms"):format(s * 1e3) end
  return ("%.3f s"):format(s)
end

M.list.time = { "EXPR", "runs it, prints its value and how long it took", function(session, rest)
  local f, why = session:compile(rest, "<time>")
  if not f then return session:show_error(why) end
  local begin, cpu = time.monotonic(), time.process_time()
  local result = table.pack(session:run(f, ".time"))
  local took, used = time.monotonic() - begin, time.process_time() - cpu
  session.reader:settle()
  if not result[1] then return session:show_error(result[2]) end
  session:show(table.unpack(result, 2, result.n))
  io.stdout:write(("%s, %s of it computing\n"):format(seconds(took), seconds(used)))
end }

-- ---- files ----

--- A path as it was typed: quotes and ~ taken away.
local function path_of(rest)
  local path = rest:match '^"(.*)"$' or rest:match "^'(.*)'$" or rest
  if path:sub(1, 2) == "~/" then path = (os.getenv "HOME" or "~") .. path:sub(2) end
  return path
end

M.list.load = { "FILE", "runs the file; what it makes global stays", function(session, rest)
  if rest == "" then return say(session, ".load: a file was expected") end
  local f, why = loadfile(path_of(rest))
  if not f then return session:show_error(why) end
  local result = table.pack(session:run(f, ".load"))
  session.reader:settle()
  if not result[1] then return session:show_error(result[2]) end
  session:show(table.unpack(result, 2, result.n))
end }

M.list.save = { "FILE", "writes the inputs of this session to the file", function(session, rest)
  if rest == "" then return say(session, ".save: a file was expected") end
  local path = path_of(rest)
  local text = table.concat(session.inputs, "\n")
  local ok, err = core.catch(await, require("fs").write_file(path, text ~= "" and text .. "\n" or ""))
  if not ok then return say(session, ".save: %s", tostring(err)) end
  io.stdout:write(("%d input%s saved to %s\n"):format(#session.inputs, #session.inputs == 1 and "" or "s", path))
end }

M.list.doc = { "NAME", "what is written of it", function(session, rest)
  local name = rest:gsub("%s", "")
  if not name:find "^[%a_][%w_.:]*$" then return say(session, ".doc: a name was expected, such as asyncio.sleep") end
  local text = require("repl.doc").find(name, _G)
  if not text then return say(session, "nothing is written of %s", name) end
  io.stdout:write(text, "\n")
end }

--- Runs a command.
---@param session repl.Session
---@param name string
---@param rest string what stands behind it
function M.run(session, name, rest)
  local entry = M.list[name]
  if not entry then return say(session, "there is no command .%s: .help lists them", name) end
  entry[3](session, rest)
end

return M
