---@meta tty

-- Module tty. Written by tools/definitions.lua.

---@class tty.KeysOptions
---@field mode? "raw"|"cbreak"
---@field escape? number seconds after which an Esc stands for itself, 0.05

---@class tty.Mode
local Mode = {}

--- Sets the terminal back to what it was.
function Mode:close() end

---@class tty
local tty = {}

--- Is it a terminal?
---@param stream? any
---@return boolean
function tty.isatty(stream) end

--- Columns and rows; without `stream` of the first standard stream that is a terminal. OSError (ENOTTY).
---@param stream? any
---@return integer
---@return integer
function tty.size(stream) end

--- Modes with `<close>` and `close()`: every key comes at once and is not echoed; in cbreak mode Ctrl-C and Ctrl-Z
--- are still signals. Output is processed as before. They nest.
---@param stream? any
---@return tty.Mode
function tty.raw(stream) end

--- Modes with `<close>` and `close()`: every key comes at once and is not echoed; in cbreak mode Ctrl-C and Ctrl-Z
--- are still signals. Output is processed as before. They nest.
---@param stream? any
---@return tty.Mode
function tty.cbreak(stream) end

--- The same until `tty.reset(stream)`.
---@param stream? any
function tty.setraw(stream) end

--- The same until `tty.reset(stream)`.
---@param stream? any
function tty.setcbreak(stream) end

--- Sets the terminal back to what it was.
---@param stream? any
function tty.reset(stream) end

--- `for columns, rows in tty.resizes() do`: the new size whenever it has changed.
---@param stream? any
---@return fun(): integer, integer
function tty.resizes(stream) end

--- `for key, bytes in tty.keys() do`: keys by name, with standard input in raw mode until the loop is left. Names:
--- what is typed ("a", "é"), "space", "enter", "tab", "backspace", "escape", "up", "down", "left", "right", "home",
--- "end", "pageup", "pagedown", "insert", "delete", "f1" to "f12", with "ctrl-", "alt-", "shift-" in front in this
--- order ("ctrl-c", "alt-x", "shift-tab"); "unknown". `opts`: `mode` ("raw" or "cbreak"), `escape` (seconds after
--- which an Esc stands for itself, 0.05).
---@param opts? tty.KeysOptions
---@return fun(): string?, string?
function tty.keys(opts) end

return tty
