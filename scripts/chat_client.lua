#!/usr/bin/env moonloop
-- Talks to chat_server.lua: lines of standard input go there, what others say comes to standard output.
--   moonloop scripts/chat_client.lua [--host NAME] [--port N] [NAME]
-- Ends at the end of the input (after a good-bye), or when the server hangs up: then with status 1.

local asyncio = require "asyncio"

local function options(args)
  local opts, i = { host = "127.0.0.1", port = 7777 }, 1
  while args[i] do
    local name = args[i]:match("^%-%-(%a+)$")
    if name and opts[name] and args[i + 1] then
      opts[name] = name == "port" and (math.tointeger(tonumber(args[i + 1])) or args[i + 1]) or args[i + 1]
      i = i + 2
    elseif not opts.name and args[i]:sub(1, 1) ~= "-" then
      opts.name = args[i]
      i = i + 1
    else
      io.stderr:write("usage: chat_client.lua [--host NAME] [--port N] [NAME]\n")
      os.exit(2)
    end
  end
  return opts
end

-- What the others say.
local async function listen(reader)
  for line in reader:lines() do
    print((line:gsub("[%c\127]", "?")))
    io.stdout:flush()
  end
end

-- What we say, until the input ends.
local async function talk(writer)
  for line in asyncio.stdin:lines() do
    writer:write(line .. "\n")
    await writer:drain()
  end
  writer:write("/quit\n")
end

local async function main()
  local opts = options(arg)
  local ok, reader, writer = pcall(await, asyncio.open_connection(opts.host, opts.port))
  if not ok then
    io.stderr:write("chat_client.lua: ", reader.message, "\n")
    return 1
  end
  local _ <close> = writer
  if opts.name then writer:write(opts.name .. "\n") end
  local listening, talking = asyncio.create_task(listen(reader)), asyncio.create_task(talk(writer))
  await asyncio.wait({ listening, talking }, { return_when = asyncio.FIRST_COMPLETED })
  if talking:done() then
    await asyncio.wait({ listening }, { timeout = 5 })
    return 0
  end
  talking:cancel()
  io.stderr:write("chat_client.lua: the server has hung up\n")
  return 1
end

os.exit(asyncio.run(main()), true)
