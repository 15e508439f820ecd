--- Where statements come from: lines that are edited at the terminal, or plain lines of standard input.

local core = require "asyncio.core"
local stdio = require "asyncio.stdio"
local terminal = require "asyncio.terminal"
local status = require "tty.status"

local await = core.await

local M = {}

-- ---- edited lines ----

---@class repl.Terminal
---@field private editor any
---@field private status tty.Status
---@field private footer table
---@field private prompt? string of the line that is being edited
---@field private lines integer how many lines were given up
---@field private completer fun(line: string, cursor: integer): integer, string, string[]?
local Terminal = {}
Terminal.__index = Terminal
Terminal.__name = "repl.Terminal"

--- The terminal with an editor, or nil: standard input or output is none, it is a "dumb" one, or there is no libedit.
---@return repl.Terminal?
function M.editor()
  local ok, edit = pcall(require, "asyncio.edit")
  local lines = status.of(io.stdout)
  local _, term = pcall(os.getenv, "TERM")
  if not ok or not lines or not terminal.isatty(0) or not term or term == "" then return nil end
  local editrc = pcall(function() -- may it be read?
    local file = io.open((os.getenv "HOME" or "") .. "/.editrc")
    if file then file:close() end
  end)
  local editor
  ok, editor = pcall(edit.open, editrc)
  if not ok then return nil end
  local self = setmetatable({
    editor = editor, status = lines, lines = 0, footer = {
      hide = function() editor:hide() end,
      show = function() editor:show() end,
    },
  }, Terminal)
  lines:hold()
  return self
end

--- The window's width.
---@return integer
function Terminal:width()
  return (self.status:size())
end

--- Prints above the line.
---@param s string
function Terminal:print(s) self.status:print(s) end

--- An answer to Tab: completes, and lists what is possible if there is more than one thing.
local function complete(self, line, cursor)
  local lines = self.lines
  local ok, drop, insert, list = core.catch(self.completer, line, cursor)
  if self.lines ~= lines then return "more" end -- Ctrl-C has come meanwhile
  if not ok then return self.editor:complete(0, "") end
  if list and #list > 0 then self:print(M.columns(list, self:width())) end
  return self.editor:complete(drop, insert)
end

--- Names in columns, as many as fit.
---@param list string[]
---@param width integer
---@return string
function M.columns(list, width)
  local longest, left = 0, 0
  if #list > 200 then left = #list - 200 end
  for i = 1, #list - left do longest = math.max(longest, #list[i]) end
  local n = math.max(1, width // (longest + 2))
  local rows = math.ceil((#list - left) / n)
  local lines = {}
  for row = 1, rows do
    local cells = {}
    for i = row, #list - left, rows do cells[#cells + 1] = list[i] .. (" "):rep(longest + 2 - #list[i]) end
    lines[row] = table.concat(cells):gsub("%s+$", "")
  end
  if left > 0 then lines[#lines + 1] = ("... %d more"):format(left) end
  return table.concat(lines, "\n")
end

--- Awaits to a line that was entered, or nil: Ctrl-D, or the terminal has gone. The prompt may have parts that the
--- terminal obeys, each between two bytes \1.
---@param prompt string
---@return string?
function Terminal:read(prompt)
  local editor = self.editor
  self.prompt = prompt
  self.status:open_footer(self.footer)
  terminal.mode(0, "kept")
  local _ <close> = setmetatable({}, {
    __close = function()
      self.prompt = nil
      editor:abort()
      pcall(terminal.mode, 0, "normal")
      self.status:close_footer()
    end,
  })
  local event, line, cursor = editor:start(prompt)
  while true do
    if event == "more" then
      local bytes = await(stdio.stdin:read(4096))
      if bytes == "" then return nil end
      event, line, cursor = editor:feed(bytes)
    elseif event == "complete" then
      event, line, cursor = complete(self, line, cursor)
    else
      if event == "eof" then io.stdout:write "\n" end
      return event == "line" and line or nil
    end
  end
end

--- Gives up the line that is being edited and begins another. False: there is none.
---@param prompt string
---@return boolean
function Terminal:restart(prompt)
  if not self.prompt then return false end
  self.lines = self.lines + 1
  self.editor:abort()
  io.stdout:write "^C\n"
  io.stdout:flush()
  self.editor:start(prompt)
  return true
end

function Terminal:resized() self.editor:resized() end

function Terminal:resumed()
  if self.prompt then
    terminal.mode(0, "kept")
    self.editor:resumed()
  end
end

--- For the arrow keys and Ctrl-R.
---@param entry string
function Terminal:remember(entry) self.editor:remember(entry) end

--- Before what was entered is run, and after: its output must not leave a line open.
function Terminal:settle() self.status:finish_line() end

function Terminal:close()
  self.editor:close()
  self.status:release()
end

-- ---- plain lines ----

---@class repl.Plain
---@field private shown boolean there is somebody to see a prompt
---@field private line boolean a prompt was written
local Plain = {}
Plain.__index = Plain
Plain.__name = "repl.Plain"

---@return repl.Plain
function M.plain()
  return setmetatable({ shown = terminal.isatty(0) and terminal.isatty(1), reading = false }, Plain)
end

--- Awaits to a line, or nil at the end.
---@param prompt string
---@return string?
function Plain:read(prompt)
  if self.shown then
    io.stdout:write((prompt:gsub("\1[^\1]*\1", "")))
    io.stdout:flush()
  end
  self.reading = true
  local line = await(stdio.stdin:readline())
  self.reading = false
  if not line or line == "" then
    if self.shown then io.stdout:write "\n" end
    return nil
  end
  return (line:gsub("\r?\n$", ""))
end

function Plain:restart(prompt)
  if not self.reading then return false end
  io.stdout:write("\n", (prompt:gsub("\1[^\1]*\1", "")))
  io.stdout:flush()
  return true
end

function Plain:width() -- luacheck: no self
  local ok, columns = pcall(terminal.size, 1)
  return ok and columns > 0 and columns or 80
end

function Plain:print(s) io.stdout:write(s, "\n") end -- luacheck: no self
function Plain:remember() end
function Plain:settle() io.stdout:flush() end -- luacheck: no self
function Plain:resized() end
function Plain:resumed() end
function Plain:close() end

return M
