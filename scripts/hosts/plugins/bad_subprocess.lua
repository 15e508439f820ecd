-- Runs a program, beside itself.
local process = await require "asyncio".create_subprocess_exec "id"
return "pid " .. process.pid
