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

local function refuse(why, who)
  io.stderr:write(who or "moonloop translate: ", tostring(why), "\n")
  error(core.SystemExit(1), 0)
end

local function main(args)
  local given, words = options.read("translate", args, { output = "string" }, help, { o = "output" })
  if #words == 0 then options.misuse("translate", "a file is missing") end
  local out = {}
  for _, path in ipairs(words) do
    local source, first = sources.read(path)
    if not source then refuse(first) end
    local name = path == "-" and "stdin" or path
    local chunk, why = load(source, (path == "-" and "=" or "@") .. name, "t")
    if not chunk then refuse(why, "") end
    out[#out + 1] = first .. core.translate(source)
  end
  if not given.output then
    io.stdout:write(table.concat(out))
    return
  end
  local f, why = io.open(given.output, "wb")
  if not f then refuse(why) end
  local ok
  ok, why = f:write(table.concat(out))
  if ok then
    ok, why = f:close()
  end
  if not ok then refuse(given.output .. ": " .. why) end
end

return main({ ... })
