-- A time server on UDP (RFC 868): every datagram is answered with the seconds since 1900, as four bytes.
--   moonloop scripts/udp_time_server.lua [HOST [PORT]]

local asyncio = require "asyncio"

local FROM_1900_TO_1970 = 2208988800

local async function main(host, port)
  local server <close> = await asyncio.open_datagram { local_addr = { host, port } }
  print("listening on " .. tostring(server:get_extra_info("sockname")))
  io.stdout:flush()
  for _, addr in server:datagrams() do
    server:send(string.pack(">I4", os.time() + FROM_1900_TO_1970), addr)
  end
end

asyncio.run(main(arg[1] or "127.0.0.1", arg[2] or 3700))
