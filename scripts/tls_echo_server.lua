-- A TLS server that sends back every line, with a certificate that scripts/make_certificate.sh makes if there is none.
--   moonloop scripts/tls_echo_server.lua [HOST [PORT [FOLDER]]]
-- FOLDER has cert.pem and key.pem. The client is scripts/tls_echo_client.lua.

local asyncio = require "asyncio"
local ssl = require "ssl"

local function certificate(folder)
  local there = io.open(folder .. "/cert.pem")
  if there then return there:close() end
  local script = (arg[0]:match("^.*/") or "") .. "make_certificate.sh"
  assert(os.execute(("sh '%s' '%s'"):format(script, folder)), "no certificate: is openssl there?")
end

local async function echo(reader, writer)
  local peer = tostring(writer:get_extra_info("peername"))
  print(("%s is here, %s"):format(peer, writer:get_extra_info("ssl_object"):version()))
  for line in reader:lines() do
    writer:write(line .. "\n")
    await writer:drain()
  end
  print(peer .. " has gone")
  writer:close()
end

local async function main(host, port, folder)
  certificate(folder)
  local context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
  context:load_cert_chain(folder .. "/cert.pem", folder .. "/key.pem")
  local server <close> = await asyncio.start_server(echo, host, port, { ssl = context })
  print("listening on " .. tostring(server.sockets[1].address))
  io.stdout:flush()
  await server:serve_forever()
end

asyncio.run(main(arg[1] or "127.0.0.1", arg[2] or 8443, arg[3] or "certificate"))
