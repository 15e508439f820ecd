--- Errors as the REPL shows them: what is wrong, the line it is in, and the stack without the REPL's own frames.

local core = require "asyncio.core"
local print = require "repl.print"

local M = {}

--- The text of an error value, whatever it is.
local function message_of(err)
  if type(err) == "table" then
    local mt = debug.getmetatable(err)
    if not (type(mt) == "table" and rawget(mt, "__tostring")) then return "error object: " .. print.format(err) end
  end
  local ok, s = pcall(tostring, err)
  return ok and s or ("(error object is a %s value)"):format(type(err))
end

local function nth_line(source, n)
  for line in (source .. "\n"):gmatch "([^\n]*)\n" do
    n = n - 1
    if n == 0 then return line end
  end
end

--- The stack without what is the same for every input: C's `error`, the main chunk of the input alone.
local function stack_of(traceback)
  local s = traceback:gsub("^stack traceback:\n\t%[C%]: in function 'error'", "stack traceback:")
  s = s:gsub("\n\tmoonloop/repl/[^\n]*", ""):gsub("\nawaited at:$", "")
  s = s:gsub("\n\t%(%.%.%.tail calls%.%.%.%)$", "")
  s = s:gsub("(\n\t<input %d+>:%d+: in )upvalue 'f'$", "%1main chunk") -- as it is called
  if s:find "^stack traceback:$" or s:find "^stack traceback:\n\t<input %d+>:%d+: in [^\n]*$" then return "" end
  return s
end

--- An error as text. `source(chunk)` gives the text of an input by its chunk's name, or nil.
---@param err any
---@param source fun(chunk: string): string?
---@param colours boolean
---@return string
function M.format(err, source, colours)
  local message = message_of(err)
  local traceback = core.traceback(err)
  if type(traceback) ~= "string" then traceback = "" end
  local parts = { print.paint("error", message:match "^[^\n]*", colours) .. (message:match "\n.*" or "") }
  local chunk, n = core.error_place(message, traceback)
  local line = chunk and source(chunk) and nth_line(source(chunk), n)
  if line and line:find "%S" then
    parts[#parts + 1] = print.paint("faint", ("  %d |"):format(n), colours) .. " " .. line
    local caret = core.error_mark(message, line)
    if caret then
      parts[#parts + 1] = print.paint("faint", ("  %s |"):format((" "):rep(#tostring(n))), colours) .. " "
        .. print.paint("error", caret, colours)
    end
  end
  local stack = stack_of(traceback)
  if stack ~= "" then parts[#parts + 1] = print.paint("faint", stack, colours) end
  parts[#parts] = parts[#parts] .. core.subexceptions(err)
  return table.concat(parts, "\n")
end

return M
