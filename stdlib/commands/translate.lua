--- moonloop translate: the keywords as plain Lua.

local core = require "asyncio.core"
local options = require "commands.options"
local sources = require "commands.sources"

local help = [[
Usage: moonloop translate [options] FILE...
Prints Lua files with the keywords async and await as plain Lua, line for line: what the engine
runs, and what any Lua 5.4 reads. - is standard input.

  -o, --output FILE      write to this file
  -h, --help             print this text

Exit status: 0; 1 for a file that cannot be read or is no Lua.
]]

local function main(args)
  local given, words = options.read("translate", args, { output = "string" }, help, { o = "output" })
  if #words == 0 then options.misuse("translate", "a file is missing") end
  local out = {}
  for _, path in ipairs(words) do
    local source, first = sources.read(path)
    if not source then error(("moonloop translate: %s"):format(first), 0) end
    local name = path == "-" and "stdin" or path
    local chunk, why = load(source, (path == "-" and "=" or "@") .. name, "t")
    if not chunk then
      io.stderr:write(why, "\n")
      error(core.SystemExit(1), 0)
    end
    out[#out + 1] = first .. core.translate(source)
  end
  local f = given.output and assert(io.open(given.output, "wb")) or io.stdout
  f:write(table.concat(out))
  if given.output then f:close() end
end

return main({ ... })
