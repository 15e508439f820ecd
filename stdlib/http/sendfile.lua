--- x:sendfile of exchanges: a file as (a part of) a response's body.

local core = require "asyncio.core"
local http_core = require "http.core"

local async, await, catch = core.async, core.await, core.catch
local Exchange = http_core.Exchange

--- What is read at a time where the kernel cannot send it: little by servers, which may have many who take their time;
--- by clients as much as they have to send, since each time is a way to a thread and back.
local PIECE, CLIENTS = 64 * 1024, 512 * 1024
--- What a thread sends at a time; then the rest may be in memory.
local COLD = 1024 * 1024

-- By reading and writing.
local function copy(x, file, offset, count)
  local data = await(file:pread(math.min(x.over and CLIENTS or PIECE, count), offset))
  if not data then return 0 end
  local drain = x:write(data)
  if drain then await(drain) end
  return #data
end

-- A duplicate of the connection's descriptor, while a file goes out: nobody else writes then.
local Loan = {}

function Loan.__close(loan)
  local sock = loan.sock
  if not sock then return end
  local socket_core = require "socket.core"
  while socket_core.busy(sock) do catch(await, core.sleep(0.001)) end -- a thread finishes its last call
  loan.x:_unlend(loan.sent)
  sock:close()
end

local function borrow(loan)
  if loan.sock then return end
  require "socket"
  loan.sock, loan.timeout = loan.x:_lend()
end

-- What reading fails with; a socket has other errors.
local of_files = { EBADF = true, EIO = true, EISDIR = true, ENODATA = true, ESTALE = true, EUCLEAN = true }

-- The disk has to be waited for: by a thread, a piece at a time.
local function by_thread(loan, file, offset, count)
  borrow(loan)
  local source <close> = require("socket.core").source(file)
  local ok, sent = catch(await, loan.sock:_sendfile(source, offset, math.min(count, COLD)))
  if not ok then
    if not core.isinstance(sent, core.OSError) or not of_files[sent.code] then error(sent, 0) end
    local fields = { code = sent.code, errno = sent.errno, path = file.path }
    error(core.OSError(("%s '%s'"):format(sent.message, file.path), fields), 0)
  end
  loan.sent = loan.sent + sent
  return sent
end

-- Waits until the peer has read some. TimeoutError if it does not in send_timeout.
local function wait_for_peer(loan)
  borrow(loan)
  local asyncio = require "asyncio"
  local loop = core.get_running_loop()
  local future = loop:create_future()
  loop:add_writer(loan.sock, function()
    if not future:done() then future:set_result(nil) end
  end)
  local waiting = loan.timeout > 0 and asyncio.wait_for(future, loan.timeout) or future
  local ok, err = catch(await, waiting)
  loop:remove_writer(loan.sock)
  if not ok then error(err, 0) end
end

local function check(value, name)
  if math.type(value) ~= "integer" or value < 0 then
    require("asyncio.misuse").blame(core.ValueError,
      ("sendfile: %s: a number of bytes was expected, got %s"):format(name, tostring(value)))
  end
  return value
end

local function send_all(x, file, offset, count)
  local loan <close> = setmetatable({ x = x, sent = 0 }, Loan)
  local sent, slow = 0, false
  while sent < count do
    local n, why = 0, "copy"
    if not slow then n, why = x:_sendfile(file, offset + sent, count - sent, loan.sock ~= nil) end
    sent = sent + n
    if why == "turn" then
      await(core.sleep(0))
    elseif why == "short" then
      break
    elseif why == "full" then
      wait_for_peer(loan)
    elseif why == "cold" then
      n = by_thread(loan, file, offset + sent, count - sent)
      sent = sent + n
      if n == 0 then break end
    elseif why then -- something else is on its way, or the bytes are encrypted
      slow = slow or why == "copy"
      n = copy(x, file, offset + sent, slow and count - sent or math.min(count - sent, 4096))
      sent = sent + n
      if n == 0 then break end
    end
  end
  return sent
end

local send = async(function(x, file, offset, count)
  local ok, sent = catch(send_all, x, file, offset, count)
  if ok then return sent end
  if core.isinstance(sent, core.OSError) or core.isinstance(sent, core.CancelledError) then
    pcall(x.abort, x) -- how much was sent is not known
  end
  error(sent, 0)
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
    while sent < count and not (x.over and x:over()) do -- a server that has answered may need no more
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
