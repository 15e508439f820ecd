--- Options of the command's subcommands: "--name VALUE", "--name=VALUE", "--flag", in front of and behind what is no
--- option; "--" ends them.

local core = require "asyncio.core"

local M = {}

--- Ends the command with a line about what is wrong: status 2.
---@param command string
---@param format string
function M.misuse(command, format, ...)
  io.stderr:write(("moonloop %s: %s\nTry 'moonloop %s --help'.\n"):format(command, format:format(...), command))
  error(core.SystemExit(2), 0)
end

local seconds_of = { ms = 0.001, s = 1, m = 60, h = 3600, [""] = 1 }
local bytes_of = { K = 1 << 10, M = 1 << 20, G = 1 << 30, T = 1 << 40, [""] = 1 }

-- The kinds that are numbers: what is expected, and the value of a text, or nil.
local numbers = {
  number = { "a number", tonumber },
  integer = { "a number", function(text) return math.tointeger(tonumber(text)) end },
  duration = { "seconds, or a time such as 500ms, 10s, 2m, 1h", function(text)
    local n, unit = text:match("^([%d.]+)(%l*)$")
    n = tonumber(n)
    return n and seconds_of[unit] and n * seconds_of[unit]
  end },
  size = { "bytes, or a size such as 64K, 10M, 1G", function(text)
    local n, unit = text:match("^(%d+)([KMGT]?)$")
    n = math.tointeger(tonumber(n))
    return n and n < 1 << 20 and n * bytes_of[unit] or n and unit == "" and n or nil
  end },
}

--- The value of a text of a kind that is a number; nil if it is none.
---@param kind "number"|"integer"|"duration"|"size"
---@param text string
---@return number?
function M.value(kind, text)
  local value = numbers[kind][2](text)
  if value and value == value and value >= 0 and value < math.huge then return value end
end

local function convert(command, name, kind, text)
  if not numbers[kind] then return text end
  return M.value(kind, text) or M.misuse(command, "%s: %s was expected, got '%s'", name, numbers[kind][1], text)
end

--- One option: its name in messages, its kind, and how its value is got (nil: it has one already).
local function take(self, label, name, value)
  local kind, key = self.kinds[name], name:gsub("-", "_")
  if kind == "flag" then
    if value then M.misuse(self.command, "%s takes no value", label) end
    self.options[key] = true
    return
  end
  if not value then
    self.i = self.i + 1
    value = self.args[self.i]
    if not value then M.misuse(self.command, "%s: a value is missing", label) end
  end
  if kind == "list" then
    local list = self.options[key] or {}
    self.options[key] = list
    list[#list + 1] = value
    self.order[#self.order + 1] = { key, value }
  else
    self.options[key] = convert(self.command, label, kind, value)
  end
end

local function take_help(self)
  io.stdout:write(self.help)
  error(core.SystemExit(0), 0)
end

local function take_long(self, a)
  if a == "--help" then take_help(self) end
  local name, value = a:match("^%-%-([^=]+)=(.*)$")
  name = name or a:sub(3)
  if not self.kinds[name] then M.misuse(self.command, "unknown option '--%s'", name) end
  take(self, "--" .. name, name, value)
end

--- "-k", "-n 5", "-n5", "-sk": a letter that takes a value ends the row.
local function take_short(self, a)
  local i = 2
  while i <= #a do
    local letter = a:sub(i, i)
    local name = self.short[letter]
    if not name and letter == "h" then take_help(self) end
    if not name then M.misuse(self.command, "unknown option '%s'", i == 2 and a or "-" .. letter) end
    local rest
    if self.kinds[name] ~= "flag" and i < #a then
      rest = a:sub(i + 1)
      i = #a
    end
    take(self, "-" .. letter, name, rest)
    i = i + 1
  end
end

--- Reads arguments by the kinds of the options: "flag", "string", "list" (may come again), and numbers: "integer",
--- "number", "duration" (seconds; "10s", "500ms"), "size" (bytes; "10M"). Gives the options by name (dashes are "_"),
--- what is none, and what stands behind "--"; options[1], [2], ...: {name, value} of the lists' in the order they came.
--- With --help or -h prints the text and ends.
---@param command string its name
---@param args string[]
---@param kinds table<string, string>
---@param help string
---@param short? table<string, string> letters that stand for options
---@return table options, string[] words, string[] rest
function M.read(command, args, kinds, help, short)
  local words, rest = {}, {}
  local self = {
    command = command, args = args, kinds = kinds, help = help, short = short or {}, options = {}, order = {}, i = 1,
  }
  while self.i <= #args do
    local a = args[self.i]
    if a == "--" then
      table.move(args, self.i + 1, #args, 1, rest)
      break
    elseif a:sub(1, 2) == "--" then
      take_long(self, a)
    elseif a:sub(1, 1) == "-" and a ~= "-" then
      take_short(self, a)
    else
      words[#words + 1] = a
    end
    self.i = self.i + 1
  end
  table.move(self.order, 1, #self.order, 1, self.options)
  return self.options, words, rest
end

--- 'NAME: VALUE' as a pair; "NAME;" is one with an empty value.
---@return string name, string value
function M.header(command, text)
  local name, value = text:match("^([%w!#$%%&'*+.^_`|~-]+):[ \t]*([^\r\n%z]*)$")
  if not name then
    name, value = text:match("^([%w!#$%%&'*+.^_`|~-]+);$"), ""
  end
  if not name then M.misuse(command, "--header: 'NAME: VALUE' was expected, got '%s'", text) end
  return name, value
end

--- The context of --cert and --key; nil without them.
function M.tls(command, options)
  if not options.cert then
    if options.key then M.misuse(command, "--key is of no use without --cert") end
    return nil
  end
  local ssl = require "ssl"
  local context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
  context:load_cert_chain(options.cert, options.key)
  return context
end

--- --port as TCP has them.
function M.check_port(command, port)
  if port and port > 65535 then M.misuse(command, "--port: 0 to 65535 was expected, got '%d'", port) end
  return port
end

return M
