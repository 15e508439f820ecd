--- The REPL: reads statements and expressions, runs each as a task, prints what it gives. The loop goes on all the
--- time.

local asyncio = require "asyncio"
local core = require "asyncio.core"
local commands = require "repl.commands"
local complete = require "repl.complete"
local errors = require "repl.errors"
local history = require "repl.history"
local print_values = require "repl.print"
local runners = require "asyncio.runners"
local terminals = require "repl.terminal"
local status = require "tty.status"

local await, catch, isinstance = core.await, core.catch, core.isinstance

---@class repl.Session
---@field loop any
---@field reader repl.Terminal|repl.Plain
---@field history repl.History
---@field inputs string[] what was run
---@field colours boolean
---@field failed boolean an input raised an error
---@field leaving boolean
---@field main any the task that reads
---@field foreground any the task that runs an input, or nil
---@field context table? what inputs have set of context variables
---@field private statement string? the lines so far of one that is not complete
---@field private chunks table<string, string> by the chunk's name: the text of an input
local Session = {}
Session.__index = Session
Session.__name = "repl.Session"

-- ---- reading ----

--- Is that the message for source that only lacks its end?
local function is_incomplete(message) return type(message) == "string" and message:sub(-5) == "<eof>" end

--- The function of an input: as an expression if it is one. Gives nil and the message if it is neither.
---@param source string
---@param name string
---@return function?, string?
function Session:compile(source, name) -- luacheck: no self
  local f = load("return " .. source, "=" .. name, "t")
  if f then return f end
  return load(source, "=" .. name, "t")
end

local function prompt_of(self, name, default)
  local own = rawget(_G, name)
  local ok, s = pcall(tostring, own)
  if own == nil or not ok then s = default end
  s = s:gsub("[%c]", " ")
  if not self.edits or not self.colours then return s end
  -- libedit loses what is for the terminal alone if it is the last thing
  return (s:gsub("^(.+)([%z\1-\127\194-\244][\128-\191]*)$", "\1\27[1m\1%1\1\27[0m\1%2"))
end

--- Awaits to the next statement and its function, or to its text and nil and what is wrong with it; nil at the end.
function Session:read()
  self.statement = nil
  while true do
    local prompt = self.statement and prompt_of(self, "_PROMPT2", ">> ") or prompt_of(self, "_PROMPT", "> ")
    local line = self.reader:read(prompt)
    if not line then
      if self.statement and not self.edits then return self.statement, self:compile(self.statement, "stdin") end
      return nil
    end
    if not self.statement and (line:find "^%s*%.%a" or line:find "^%s*[%a_][%w_.:]*%s*%?%s*$") then return line end
    local text = self.statement and self.statement .. "\n" .. line or line
    if text:find "%S" then
      local f, why = self:compile(text, ("<input %d>"):format(#self.inputs + 1))
      if f or not is_incomplete(why) then return text, f, why end
      self.statement = text
    end
  end
end

-- ---- running ----

--- Runs a function as a task; Ctrl-C cancels it. Gives whether it ended well, and its values or the error.
---@param f function
---@param name string
---@return boolean, ...
function Session:run(f, name, ...)
  local body = core.async(function(...) return table.pack(f(...)) end)
  local task = self.loop:create_task(body(...), { name = name, context = self.context })
  runners.is_script(task)
  local done = core.Future()
  task:add_done_callback(function()
    if not done:done() then done:set_result(true) end
  end)
  self.foreground, self.interrupted = task, false
  await(done)
  self.foreground = nil
  self.context = task:get_context()
  if task:cancelled() then return false, core.CancelledError() end
  local ok, results = catch(task.result, task) -- an error may be nil
  if not ok then return false, results end
  return true, table.unpack(results, 1, results.n)
end

--- Tells an error.
function Session:show_error(err)
  self.failed = true
  if isinstance(err, core.KeyboardInterrupt) or isinstance(err, core.CancelledError) and self.interrupted then
    io.stderr:write(self.shown and "\n" or "", print_values.paint("error", "KeyboardInterrupt", self.colours), "\n")
  else
    io.stderr:write(errors.format(err, function(chunk) return self.chunks[chunk] end, self.colours), "\n")
  end
end

--- Prints values and keeps the first.
function Session:show(...)
  local n = select("#", ...)
  if n == 0 then return end
  local parts, total, lines = {}, 0, false
  local opts = { width = self.reader:width(), colours = self.colours }
  for i = 1, n do
    parts[i] = print_values.format((select(i, ...)), opts)
    total = total + #parts[i]
    lines = lines or parts[i]:find("\n", 1, true) ~= nil
  end
  local between = (lines or total > opts.width) and "\n" or "\t"
  io.stdout:write(table.concat(parts, between), "\n")
  rawset(_G, "___", rawget(_G, "__"))
  rawset(_G, "__", rawget(_G, "_"))
  rawset(_G, "_", (...))
end

local function finish(self, ok, ...)
  self.reader:settle()
  if ok then
    self:show(...)
  else
    self:show_error((...))
  end
  return ok
end

--- Runs what was entered.
---@param text string
---@param f function?
---@param why string?
function Session:evaluate(text, f, why)
  local name = ("<input %d>"):format(#self.inputs + 1)
  self.chunks[name] = text
  if not f then return finish(self, false, why) end
  self.inputs[#self.inputs + 1] = text
  return finish(self, self:run(f, ("input %d"):format(#self.inputs)))
end

--- The commands: those with a point, and `name?`.
function Session:command(line)
  local name, rest = line:match "^%s*%.(%a+)%s*(.-)%s*$"
  if not name then name, rest = "doc", line:match "^%s*(.-)%s*%?" end
  local ok, err = catch(commands.run, self, name, rest)
  self.reader:settle()
  if not ok then self:show_error(err) end
end

-- ---- the session ----

--- Ctrl-C, outside of all tasks.
local function on_interrupt(self)
  core.on_sigint(self.handler)
  if self.foreground then
    self.interrupted = true
    self.foreground:cancel()
  elseif self.reader:restart(prompt_of(self, "_PROMPT", "> ")) then
    self.statement = nil
  end
end

local function watch(self, name, fn)
  local ok = pcall(self.loop.add_signal_handler, self.loop, name, fn)
  if ok then self.signals[#self.signals + 1] = name end
end

--- Which tasks end with the session.
local function tell_tasks(self)
  local names = {}
  for _, task in ipairs(core.all_tasks(self.loop)) do
    if task ~= self.main then names[#names + 1] = task:get_name() end
  end
  if #names == 0 then return end
  table.sort(names)
  local text = table.concat(names, ", ", 1, math.min(#names, 10)) .. (#names > 10 and ", ..." or "")
  io.stderr:write(("%d task%s cancelled: %s\n"):format(#names, #names == 1 and "" or "s", text))
end

local function run_script(self, script, args)
  rawset(_G, "arg", table.move(args, 1, #args, 1, { [0] = script }))
  local f, why = loadfile(script)
  if not f then return finish(self, false, why) end
  finish(self, self:run(f, script, table.unpack(args)))
end

local function read_inputs(self)
  self.foreground = nil
  while not self.leaving do
    local text, f, why = self:read()
    if not text then break end
    if self.history and self.history:add(text) then self.reader:remember(text) end
    if f or why then
      self:evaluate(text, f, why)
    else
      self:command(text)
    end
  end
  tell_tasks(self)
end

local function main(self, opts)
  if self.edits then
    watch(self, "SIGWINCH", function() self.reader:resized() end)
    watch(self, "SIGCONT", function() self.reader:resumed() end)
    self.history = await(history.open(history.path()))
    for _, entry in ipairs(self.history.entries) do self.reader:remember(entry) end
  end
  if self.shown then
    io.stdout:write(("moonloop, %s with async and await. .help tells more, Ctrl-D leaves.\n"):format(_VERSION))
  end
  if opts.script then run_script(self, opts.script, opts.args) end
  read_inputs(self)
end

-- What loop:stop() makes of run_until_complete.
local function is_stop(err)
  return isinstance(err, core.RuntimeError) and tostring(err):find("stopped before", 1, true) ~= nil
end

--- Drives the loop until the session ends. Errors that end a program end it, but for Ctrl-C. An input that stops the
--- loop, or cancels all tasks, does not.
local function drive(self)
  while true do
    local ok, err = catch(self.loop.run_until_complete, self.loop, self.main)
    if ok then return end
    if self.main:cancelled() then
      self.main = self.loop:create_task(core.async(read_inputs)(self), { name = "repl" })
    elseif self.main:done() or not (isinstance(err, core.KeyboardInterrupt) or is_stop(err)) then
      error(err, 0)
    end
    core.on_sigint(self.handler)
  end
end

local M = {}

--- Runs a session until its end: Ctrl-D, .exit, the end of standard input, os.exit. Gives the exit status.
---@param opts? { script?: string, args?: string[] } script: run before the first prompt
---@return integer
function M.run(opts)
  opts = opts or {}
  local runner <close> = asyncio.Runner()
  local editor = terminals.editor()
  local reader <close> = setmetatable({}, { __close = function(t) t.reader:close() end })
  reader.reader = editor or terminals.plain()
  local self = setmetatable({
    loop = runner:get_loop(), reader = reader.reader, edits = editor ~= nil,
    shown = editor ~= nil or reader.reader.shown, colours = editor ~= nil and status.colours(),
    inputs = {}, chunks = {}, signals = {}, failed = false, leaving = false,
  }, Session)
  if editor then editor.completer = function(line, cursor) return complete.complete(line, cursor, _G) end end
  if rawget(_G, "asyncio") == nil then rawset(_G, "asyncio", asyncio) end
  self.handler = function() on_interrupt(self) end
  local outer = core.on_sigint(self.handler)
  self.main = self.loop:create_task(core.async(main)(self, opts), { name = "repl" })
  local ok, err = catch(drive, self)
  core.on_sigint(outer)
  for _, name in ipairs(self.signals) do self.loop:remove_signal_handler(name) end
  if not ok then error(err, 0) end
  return not self.shown and self.failed and 1 or 0
end

return M
