-- A client of scripts/tls_echo_server.lua: says a few lines and prints what comes back, and who answers.
--   moonloop scripts/tls_echo_client.lua [HOST [PORT [CAFILE]]]
-- CAFILE is the certificate to trust: the server's own.

local asyncio = require "asyncio"
local ssl = require "ssl"

local async function main(host, port, cafile)
  local context = ssl.create_default_context { cafile = cafile }
  local reader, writer <close> = await asyncio.open_connection(host, port, { ssl = context })
  local certificate = writer:get_extra_info("peercert")
  local cipher = table.concat(writer:get_extra_info("cipher"), " ")
  print(("connected to %s, %s"):format(certificate.subject[1][1][2], cipher))
  for _, line in ipairs { "hello", "is anybody listening?", "bye" } do
    writer:write(line .. "\n")
    await writer:drain()
    print((await reader:readline()):sub(1, -2))
  end
end

local ok, err = pcall(asyncio.run, main(arg[1] or "localhost", arg[2] or 8443, arg[3] or "certificate/cert.pem"))
if not ok then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
