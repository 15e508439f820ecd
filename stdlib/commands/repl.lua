--- moonloop without arguments, and moonloop -i [script.lua [args...]].

local core = require "asyncio.core"
local repl = require "repl"

local args = { ... }
local script = table.remove(args, 1)
local status = repl.run { script = script, args = args }
if status ~= 0 then error(core.SystemExit(status)) end
