-- What servers answer that is odd or wrong: what becomes of it, whole and in pieces, and that the next request on the
-- session has its own answer. The catalogue is curl's and aiohttp's.
local asyncio = require "asyncio"
local helper = require "spec.helper"

local has, http = pcall(require, "http")
if not has or not pcall(require, "http.client.core") then return pending("built without HTTP") end

local OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

-- A server that answers /N with the N-th text: `step` bytes at a time; then, if `closes`, it closes. Other paths: OK.
local function serve(answers, step, f)
  asyncio.run(async(function()
    local connections = 0
    local server <close> = await(asyncio.start_server(async(function(reader, writer)
      local _ <close> = writer
      connections = connections + 1
      while true do
        local ok, head = asyncio.catch(await, reader:readuntil("\r\n\r\n"))
        if not ok then return end
        local answer = answers[tonumber(head:match("^%u+ /(%d+)"))]
        local text = answer and answer.text or OK
        for i = 1, #text, step do
          writer:write(text:sub(i, i + step - 1))
          if step < #text then await(asyncio.sleep(0)) end
          if writer:is_closing() then return end
        end
        if answer and answer.closes then return end
      end
    end), "127.0.0.1", 0))
    local _ <close> = asyncio.timeout(60 * helper.slow)
    local url = ("http://127.0.0.1:%d"):format(server.sockets[1]:getsockname()[2])
    f(url, function() return connections end)
  end))
end

-- Bytes behind an answer are seen with its last ones or not at all: then they are what the next request gets.
local extra = { kept = false, whole = true }

--- { what, text, expected: body | {error class}, closes =, method =, status =, kept = is the connection used again?,
--- whole = in one piece alone }
local cases = {}
local function case(what, text, expected, more)
  local c = { what = what, text = text, expected = expected, method = "GET" }
  for key, value in pairs(more or {}) do c[key] = value end
  cases[#cases + 1] = c
end

local closes = { closes = true, kept = false }

-- how long a body is
case("a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello")
case("no length: until the end", "HTTP/1.1 200 OK\r\n\r\nhello", "hello", closes)
case("HTTP/1.0, no length", "HTTP/1.0 200 OK\r\n\r\nhello", "hello", closes)
case("HTTP/1.0 that keeps its connection", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", "hello")
case("HTTP/1.0 that does not", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", { kept = false })
case("Connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "hello", closes)
case("the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", { http.ClientResponseError })
case("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", { http.ClientResponseError })
case("a length below 0", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", { http.ClientResponseError })
case("a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", { http.ClientResponseError })
case("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello", { http.ClientResponseError })
case("a length beyond all", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello", { http.ClientResponseError })
case("a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", { http.ClientResponseError })
case("less than promised", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", { http.ClientPayloadError }, closes)
case("more than promised", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more", "hello", extra)
case("another answer that nobody asked for", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" .. OK:gsub("ok$", "no"), "hello", extra)

-- chunks
local chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
case("chunks", chunked .. "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!")
case("chunks with extensions", chunked .. "5;a=b\r\nhello\r\n0;x\r\n\r\n", "hello")
case("sizes in capitals, with zeros before them", chunked .. "00A\r\n0123456789\r\n0\r\n\r\n", "0123456789")
case("trailers", chunked .. "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "hello")
case("chunks that end early", chunked .. "5\r\nhello\r\n", { http.ClientPayloadError }, closes)
case("a chunk that ends early", chunked .. "50\r\nhello", { http.ClientPayloadError }, closes)
case("no size", chunked .. "\r\nhello\r\n0\r\n\r\n", { http.ClientPayloadError })
case("a size that is none", chunked .. "five\r\nhello\r\n0\r\n\r\n", { http.ClientPayloadError })
case("a size beyond all", chunked .. "fffffffffffffffff\r\nhello\r\n0\r\n\r\n", { http.ClientPayloadError })
case("a chunk that is longer than its size", chunked .. "3\r\nhello\r\n0\r\n\r\n", { http.ClientPayloadError })
case("chunked, in capitals", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x")

-- statuses
case("204", "HTTP/1.1 204 No Content\r\n\r\n", "", { status = 204 })
case("304, with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", "", { status = 304 })
case("HEAD, with a length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "", { method = "HEAD" })
case("HEAD, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", { method = "HEAD" })
case("HEAD, with a body all the same", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "", { method = "HEAD", kept = false, whole = true })
case("204 with a body all the same", "HTTP/1.1 204 No Content\r\n\r\nhello", "", { status = 204, kept = false, whole = true })
case("100 before", "HTTP/1.1 100 Continue\r\n\r\n" .. OK, "ok")
case("102 and 103 before", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" .. OK, "ok")
case("100 and nothing more", "HTTP/1.1 100 Continue\r\n\r\n", { http.ServerDisconnectedError }, closes)
case("101, though nobody asked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", { http.ClientResponseError })
case("lines that end with LF alone", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "ok")
case("a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", "ok")
case("an empty line before", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok")
case("a status that nobody knows", "HTTP/1.1 299 Odd\r\nContent-Length: 1\r\n\r\nx", "x", { status = 299 })
case("999", "HTTP/1.1 999 Odd\r\nContent-Length: 1\r\n\r\nx", "x", { status = 999 })
case("no reason", "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", "x")
case("no reason, with a blank", "HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx", "x")
case("a reason in UTF-8", "HTTP/1.1 200 schön\r\nContent-Length: 1\r\n\r\nx", "x")

-- heads
case("nothing", "", { http.ServerDisconnectedError }, closes)
case("a head that ends early", "HTTP/1.1 200 OK\r\nContent-", { http.ClientError }, closes)
case("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", { http.ClientResponseError })
case("HTTP/0.9", "hello", { http.ClientError }, closes)
case("a version that is none", "HTTP/x.y 200 OK\r\n\r\n", { http.ClientResponseError })
case("a status that is none", "HTTP/1.1 abc OK\r\n\r\n", { http.ClientResponseError })
case("a status with two digits", "HTTP/1.1 20 OK\r\n\r\n", { http.ClientResponseError })
case("a header without a colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n", { http.ClientResponseError })
case("a name with a blank", "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 0\r\n\r\n", { http.ClientResponseError })
case("a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", { http.ClientResponseError })
case("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", { http.ClientResponseError })
case("empty values", "HTTP/1.1 200 OK\r\nX:\r\nY: \r\nContent-Length: 1\r\n\r\nx", "x")
case("a line of 100 KB", "HTTP/1.1 200 OK\r\nX: " .. ("x"):rep(100000) .. "\r\n\r\n", { http.ClientResponseError })
case("ten thousand headers", "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(10000) .. "\r\n", { http.ClientResponseError })

-- codings
local function coded(coding, body)
  return ("HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s"):format(coding, #body, body)
end
local gzip
if pcall(require, "zlib") then
  local encodings = require "http.encodings"
  gzip = await(encodings.encode("hello", "gzip"))
  case("gzip", coded("gzip", gzip), "hello")
  case("x-gzip", coded("x-gzip", gzip), "hello")
  case("gzip twice", coded("gzip, gzip", await(encodings.encode(gzip, "gzip"))), "hello")
  case("gzip of two members", coded("gzip", gzip .. gzip), "hellohello")
  case("gzip that ends early", coded("gzip", gzip:sub(1, -9)), { http.ClientPayloadError }, { kept = "any" })
  case("no gzip", coded("gzip", "this is not gzip"), { http.ClientPayloadError }, { kept = "any" })
  case("gzip of nothing", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "")
  case("a coding that nobody knows", coded("snappy", "hello"), "hello")
  case("identity", coded("identity", "hello"), "hello")
end

-- redirects
local function moved(to) return ("HTTP/1.1 302 Found\r\n%sContent-Length: 4\r\n\r\nthere"):format(to):sub(1, -2) end
case("a redirect to nowhere", moved "", "ther", { status = 302 })
case("a redirect", moved "Location: /\r\n", "ok", { kept = "any" })
case("a redirect with blanks around it", moved "Location:   /   \r\n", "ok", { kept = "any" })
case("a redirect to no URL", moved "Location: http://\r\n", { http.InvalidUrlRedirectClientError }, { kept = "any" })
case("a redirect to another scheme", moved "Location: file:///etc/passwd\r\n", { http.NonHttpUrlRedirectClientError }, { kept = "any" })
case("a redirect to a port that is none", moved "Location: http://a:99999/\r\n", { http.InvalidUrlRedirectClientError }, { kept = "any" })

local function check(c, i, session, url)
  local ok, result, status = asyncio.catch(function()
    local resp <close> = await(session:request(c.method, ("%s/%d"):format(url, i)))
    return await(resp:text()), resp.status
  end)
  if type(c.expected) == "string" then
    assert(ok, ("%s: %s"):format(c.what, tostring(result)))
    assert.equal(c.expected, result, c.what)
    assert.equal(c.status or 200, status, c.what)
  else
    assert(not ok, c.what .. ": an error was expected, got " .. tostring(result))
    assert(asyncio.isinstance(result, c.expected[1]), c.what .. ": " .. tostring(result))
    assert(tostring(result):find(c.method .. " " .. url, 1, true), c.what .. ": " .. tostring(result))
  end
  return ok
end

describe("odd answers", function()
  for _, step in ipairs { 1 << 30, 7, 1 } do
    it(("are what they are, %s"):format(step > 100 and "in one piece" or step .. " bytes at a time"), function()
      serve(cases, step, function(url, connections)
        for i, c in ipairs(cases) do
          if step > 100 or #c.text < 1000 and not c.whole then
            local session <close> = http.ClientSession()
            local before = connections()
            local ok = check(c, i, session, url)
            if ok and c.kept == nil then check(c, i, session, url) end -- by the session's shorter way
            local fine, next_body = pcall(function()
              local resp <close> = await(session:get(url .. "/next"))
              return await(resp:text())
            end)
            assert(fine and next_body == "ok", ("%s: the next request: %s"):format(c.what, tostring(next_body)))
            local kept = c.kept
            if kept == nil then kept = ok end
            if kept ~= "any" then assert.equal(kept and 1 or 2, connections() - before, c.what .. ": connections") end
          end
        end
      end)
    end)
  end
end)
