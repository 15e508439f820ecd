--- moonloop check: syntax errors, and awaitables that nobody awaits.

local core = require "asyncio.core"
local options = require "commands.options"
local sources = require "commands.sources"

local help = [[
Usage: moonloop check [options] FILE|FOLDER...
Reads Lua files (of folders, all *.lua in them and below) without running them. Prints syntax
errors, and warns of calls of coroutine functions whose coroutine is dropped: they do nothing
without await. Known are the async functions of the file, and those of the library that it
requires by name.

  --strict               warnings count as errors
  -q, --quiet            no line at the end
  -h, --help             print this text

Exit status: 0; 1 for errors.
]]

-- What requires no more than to be looked at.
local libraries = { asyncio = true, http = true, ["http.web"] = true, fs = true, socket = true, ssl = true }

local function field(value, name)
  local ok, result = pcall(function() return value[name] end)
  return ok and result or nil
end

-- What names of the file stand for in the library: `local fs = require "fs"`, `local sleep = asyncio.sleep`.
local function known_names(source)
  local names = {}
  for name, module in source:gmatch("local%s+([%a_][%w_]*)%s*=%s*require%s*%(?%s*[\"']([%w_.]+)[\"']") do
    if libraries[module] then names[name] = require(module) end
  end
  for list, modules in source:gmatch("local%s+([%a_][%w_, ]*)=([^\n]+)") do
    local i, targets = 0, {}
    for name in list:gmatch("[%a_][%w_]*") do targets[#targets + 1] = name end
    for value in (modules .. ","):gmatch("%s*([^,]*),") do
      i = i + 1
      local module = value:match("^require%s*%(?%s*[\"']([%w_.]+)[\"']")
      local base, name = value:match("^([%a_][%w_]*)%.([%a_][%w_]*)%s*;?%s*$")
      if module and libraries[module] and targets[i] then names[targets[i]] = require(module) end
      if base and names[base] and targets[i] then names[targets[i]] = field(names[base], name) end
    end
  end
  for name in source:gmatch("([%a_][%w_.:]*)%s*=%s*async%s*%(") do names[name] = core.async(function() end) end
  return names
end

-- Is what is called by this text a coroutine function?
local function is_async(callee, names)
  if names[callee] then return core.iscoroutinefunction(names[callee]) end
  local base, rest = callee:match("^([%a_][%w_]*)%.([%a_][%w_.]*)$")
  local value = base and names[base]
  if not value or type(value) == "function" then return false end
  for name in rest:gmatch("[^.]+") do
    value = field(value, name)
    if value == nil then return false end
  end
  return core.iscoroutinefunction(value)
end

-- Gives errors and warnings.
local function check(path, report)
  local source, first = sources.read(path)
  if not source then
    report(first)
    return 1, 0
  end
  local chunk, why = load(source, (path == "-" and "=stdin" or "@" .. path), "t")
  if not chunk then
    report(why:find(path, 1, true) and why or path .. ": " .. why)
    return 1, 0
  end
  local _, calls = core.translate(source, true)
  local names, warnings
  for i = 1, #calls, 3 do
    local line, callee, known = calls[i], calls[i + 1]:gsub("%s", ""), calls[i + 2]
    names = names or known_names(source)
    if known or is_async(callee, names) then
      warnings = (warnings or 0) + 1
      report(("%s:%d: warning: the coroutine that %s() gives is dropped: await it"):format(path, line, callee))
    end
  end
  return 0, warnings or 0
end

local function main(args)
  local given, words = options.read("check", args, { strict = "flag", quiet = "flag" }, help, { q = "quiet" })
  if #words == 0 then options.misuse("check", "a file or a folder is missing") end
  local files = sources.all(words)
  local errors, warnings = 0, 0
  for _, path in ipairs(files) do
    local e, w = check(path, function(line) print(line) end)
    errors, warnings = errors + e, warnings + w
  end
  if not given.quiet then
    io.stderr:write(("%d files, %d errors, %d warnings\n"):format(#files, errors, warnings))
  end
  if errors > 0 or given.strict and warnings > 0 then error(core.SystemExit(1), 0) end
end

return main({ ... })
