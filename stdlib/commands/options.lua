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

local function convert(command, name, kind, text)
  if kind == "string" then return text end
  local value = tonumber(text)
  if kind == "integer" then value = value and math.tointeger(value) end
  if not value or value ~= value or value < 0 then
    M.misuse(command, "--%s: a number was expected, got '%s'", name, text)
  end
  return value
end

--- Reads arguments by the kinds of the options: "flag", "string", "integer", "number", "list" (may come again). Gives
--- the options by name (dashes are "_"), what is none, and what stands behind "--". With --help prints the text and
--- ends.
---@param command string its name
---@param args string[]
---@param kinds table<string, string>
---@param help string
---@return table options, string[] words, string[] rest
function M.read(command, args, kinds, help)
  local options, words, rest, i = {}, {}, {}, 1
  while i <= #args do
    local a = args[i]
    if a == "--" then
      table.move(args, i + 1, #args, 1, rest)
      break
    elseif a == "--help" or a == "-h" then
      io.stdout:write(help)
      error(core.SystemExit(0), 0)
    elseif a:sub(1, 2) == "--" then
      local name, value = a:match("^%-%-([^=]+)=(.*)$")
      name = name or a:sub(3)
      local kind, key = kinds[name], name:gsub("-", "_")
      if not kind then M.misuse(command, "unknown option '--%s'", name) end
      if kind == "flag" then
        if value then M.misuse(command, "--%s takes no value", name) end
        options[key] = true
      else
        if not value then
          i = i + 1
          value = args[i]
          if not value then M.misuse(command, "--%s: a value is missing", name) end
        end
        if kind == "list" then
          options[key] = options[key] or {}
          table.insert(options[key], value)
        else
          options[key] = convert(command, name, kind, value)
        end
      end
    elseif a:sub(1, 1) == "-" and a ~= "-" then
      M.misuse(command, "unknown option '%s'", a)
    else
      words[#words + 1] = a
    end
    i = i + 1
  end
  return options, words, rest
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
