--- x:sendfile of exchanges: a file as (a part of) a response's body.

local core = require "asyncio.core"
local http_core = require "http.core"

local async, await, catch = core.async, core.await, core.catch
local Exchange = http_core.Exchange

--- What is read at a time where the kernel cannot send it.
local PIECE = 64 * 1024

-- By reading and writing.
local function copy(x, file, offset, count)
  local data = await(file:pread(math.min(PIECE, count), offset))
  if not data then return 0 end
  local drain = x:write(data)
  if drain then await(drain) end
  return #data
end

-- By a thread, that waits for the disk and for the peer.
local function lend(x, file, offset, count)
  local socket_core = require "socket.core"
  require "socket"
  local sock <close> = x:_lend()
  local source <close> = socket_core.source(file)
  local ok, sent = catch(await, sock:_sendfile(source, offset, count))
  while not ok and socket_core.busy(sock) do catch(await, core.sleep(0.001)) end -- a thread finishes its last call
  x:_unlend(ok and sent or 0)
  if ok then return sent end
  x:abort() -- how much was sent is not known
  error(sent, 0)
end

local function check(value, name)
  if math.type(value) ~= "integer" or value < 0 then
    require("asyncio.misuse").blame(core.ValueError,
      ("sendfile: %s: a number of bytes was expected, got %s"):format(name, tostring(value)))
  end
  return value
end

local send = async(function(x, file, offset, count)
  local sent, slow = 0, false
  while sent < count do
    local n, why = 0, "copy"
    if not slow then n, why = x:_sendfile(file, offset + sent, count - sent) end
    sent = sent + n
    if why == "turn" then
      await(core.sleep(0))
    elseif why == "short" then
      break
    elseif why == "full" or why == "cold" then
      n = lend(x, file, offset + sent, count - sent)
      sent = sent + n
      if n == 0 then break end
    elseif why then -- something else is on its way, or the bytes are encrypted
      slow = slow or why == "copy"
      n = copy(x, file, offset + sent, math.min(count - sent, slow and PIECE or 4096))
      sent = sent + n
      if n == 0 then break end
    end
  end
  return sent
end, "Exchange.sendfile")

--- Sends bytes of a file as a part of the body that was begun: of a plain connection by the kernel, else by reading and
--- writing. Fewer are sent if the file ends before.
---@param file any a File
---@param offset integer
---@param count integer
---@return any awaitable of the number of bytes sent; OSError if the peer goes away
function Exchange:sendfile(file, offset, count)
  return send(self, file, check(offset or 0, "offset"), check(count, "count"))
end

-- HTTP/2's frames are made of what was read.
local Exchange2 = http_core.Exchange2
if Exchange2 then
  local send2 = async(function(x, file, offset, count)
    local sent = 0
    while sent < count do
      local n = copy(x, file, offset + sent, count - sent)
      if n == 0 then break end
      sent = sent + n
    end
    return sent
  end, "Exchange.sendfile")

  function Exchange2:sendfile(file, offset, count)
    return send2(self, file, check(offset or 0, "offset"), check(count, "count"))
  end
end

return Exchange
