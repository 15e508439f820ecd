#!/usr/bin/env moonloop
-- Downloads pages over HTTP/1.1, several at a time, and prints what came of each.
--   moonloop scripts/crawler.lua [-n N] [--timeout SECONDS] [-q] URL... | -
-- HTTP is spoken right here, on a TCP stream: a page is fetched in `fetch`, the tasks are in `crawl`.

local asyncio = require "asyncio"

local usage = [[
usage: crawler.lua [OPTIONS] URL...
       crawler.lua [OPTIONS] -        read URLs from standard input, one a line

  -n, --concurrency N   how many pages at a time (8)
      --timeout SECONDS how long one page may take, redirects included (10)
      --max-size BYTES  how long a page may be (16777216)
  -q, --quiet           no progress line
  -h, --help            this text

Status: 0 if all pages were fetched, 1 if some failed (an error, or an answer of
400 and above), 2 for misuse.
]]

local MAX_HEAD = 64 * 1024 -- bytes: status line, header fields; trailers likewise
local MAX_REDIRECTS = 5

-- An error of a page: it ends the page, not the run.
local PageError = asyncio.Exception:extend("PageError")
local fail = function(...) error(PageError(string.format(...))) end

---- URLs

-- The parts of an http URL: host, port, target (path and query), authority (for the Host field).
local parse_url = function(url)
  if url:find("[%c ]") then fail("bad URL: it has a space or a control character") end
  local scheme, rest = url:match("^(%a[%w+.-]*)://(.*)$")
  if not scheme then fail("bad URL: http://HOST/... expected") end
  if scheme:lower() ~= "http" then fail("bad URL: only http is spoken here, not %s", scheme) end
  local authority, target = rest:match("^([^/?#]*)([^#]*)")
  if authority:find("@", 1, true) then fail("bad URL: user names are not supported") end
  local host, port = authority:match("^%[([%x:.]+)%](.*)$")
  if not host then
    host, port = authority:match("^([^:%[%]]*)(.*)$")
  end
  if host == nil or host == "" then fail("bad URL: no host in it") end
  local digits = port:match("^:(%d*)$")
  if port ~= "" and not digits then fail("bad URL: bad port '%s'", port:gsub("^:", "")) end
  local number = digits and digits ~= "" and math.tointeger(tonumber(digits)) or 80
  if not number or number < 1 or number > 65535 then fail("bad URL: port %s is not in 1..65535", digits) end
  if target:sub(1, 1) ~= "/" then target = "/" .. target end
  return {
    host = host,
    port = number,
    target = target,
    authority = (host:find(":") and "[" .. host .. "]" or host) .. (number ~= 80 and ":" .. number or ""),
  }
end

-- A path without "." and ".." (RFC 3986, section 5.2.4).
local remove_dots = function(path)
  local out, last = {}, nil
  for part in path:sub(2):gmatch("[^/]*") do
    last = part
    if part == ".." then
      table.remove(out)
    elseif part ~= "." then
      table.insert(out, part)
    end
  end
  if last == "." or last == ".." then table.insert(out, "") end
  return "/" .. table.concat(out, "/")
end

-- Where a Location leads to, seen from the page that it came with.
local join_url = function(base, location)
  if location:find("^%a[%w+.-]*:") then return location end
  if location:sub(1, 2) == "//" then return "http:" .. location end
  local path, query = location:gsub("#.*", ""):match("^([^?]*)(.*)$")
  local base_path = base.target:match("^[^?]*")
  if path == "" then
    path = base_path
    if query == "" then query = base.target:match("%?.*") or "" end
  elseif path:sub(1, 1) ~= "/" then
    path = base_path:match("^.*/") .. path
  end
  return "http://" .. base.authority .. remove_dots(path) .. query
end

---- HTTP

-- A line without its end, and how many bytes of the head are left after it.
local read_line = function(reader, left)
  local line = await(reader:readuntil("\n"))
  left = left - #line
  if left < 0 then fail("the head is longer than %d bytes", MAX_HEAD) end
  return line:gsub("\r?\n$", ""), left
end

-- Header fields up to the empty line: lower-case name -> value, values of one name joined with ", ".
local read_fields = function(reader, left)
  local fields = {}
  local line
  while true do
    line, left = read_line(reader, left)
    if line == "" then return fields end
    local name, value = line:match("^([^%s:]+):[ \t]*(.-)[ \t]*$")
    if not name then fail("bad header field: %s", line:sub(1, 40)) end
    name = name:lower()
    fields[name] = fields[name] and fields[name] .. ", " .. value or value
  end
end

-- Status and header fields. An interim answer (1xx) is skipped.
local read_head = function(reader)
  while true do
    local line, left = read_line(reader, MAX_HEAD)
    local status = line:match("^HTTP/1%.%d (%d%d%d)%f[\0 ]")
    if not status then fail("not HTTP/1: %s", line:sub(1, 40)) end
    status = math.tointeger(tonumber(status))
    local fields = read_fields(reader, left)
    if status >= 200 or status == 101 then return status, fields end
  end
end

-- Counts the bytes of a body that have come.
local counter = function(max_size)
  local size = 0
  return function(n)
    size = size + n
    if size > max_size then fail("the page is longer than %d bytes", max_size) end
    return size
  end
end

-- Reads n bytes (all there are, if n is nil) and drops them.
local read_bytes = function(reader, n, count)
  local left = n or math.huge
  while left > 0 do
    local data = await(reader:read(math.tointeger(math.min(left, 65536))))
    if not data then
      if n then fail("connection closed %d bytes before the end of the page", left) end
      return
    end
    left = left - #data
    count(#data)
  end
end

local read_chunks = function(reader, count)
  while true do
    local line = read_line(reader, MAX_HEAD)
    local digits = line:match("^(%x+)[ \t]*$") or line:match("^(%x+)[ \t]*;")
    if not digits or #digits > 12 then fail("bad chunk size: %s", line:sub(1, 40)) end
    local n = tonumber(digits, 16)
    if n == 0 then break end
    read_bytes(reader, n, count)
    if read_line(reader, MAX_HEAD) ~= "" then fail("a chunk is longer than it says") end
  end
  read_fields(reader, MAX_HEAD) -- the trailers
end

local content_length = function(value)
  local first = value:match("^%d+")
  if not first or #first > 15 then fail("bad Content-Length: %s", value:sub(1, 40)) end
  for length in value:gmatch("[^,]+") do -- sent twice, it must be the same (RFC 9110, section 8.6)
    if length:match("^%s*(%d+)%s*$") ~= first then fail("bad Content-Length: %s", value:sub(1, 40)) end
  end
  return math.tointeger(tonumber(first))
end

-- Reads the body by what the head says of its length (RFC 9112, section 6.3). Gives the number of bytes.
local read_body = function(reader, status, fields, max_size)
  local count = counter(max_size)
  local encoding, length = fields["transfer-encoding"], fields["content-length"]
  if status == 204 or status == 304 then
    return 0
  elseif encoding then
    if not encoding:lower():find("chunked%s*$") then fail("unknown Transfer-Encoding: %s", encoding:sub(1, 40)) end
    read_chunks(reader, count)
  elseif length then
    length = content_length(length)
    if length > max_size then fail("the page is longer than %d bytes", max_size) end
    read_bytes(reader, length, count)
  else
    read_bytes(reader, nil, count)
  end
  return count(0)
end

local request = table.concat({
  "GET %s HTTP/1.1",
  "Host: %s",
  "User-Agent: moonloop-crawler",
  "Accept: */*",
  "Accept-Encoding: identity",
  "Connection: close",
}, "\r\n") .. "\r\n\r\n"

-- One request and its answer: status, number of bytes, and where it redirects to, if it does.
local get = async(function(url, max_size)
  local at = parse_url(url)
  local reader, writer <close> = await(asyncio.open_connection(at.host, at.port))
  writer:write(request:format(at.target, at.authority))
  await(writer:drain())
  local status, fields = read_head(reader)
  local size = read_body(reader, status, fields, max_size)
  local location = fields.location
  local redirects = status == 301 or status == 302 or status == 303 or status == 307 or status == 308
  return status, size, redirects and location and join_url(at, location) or nil
end)

-- A page, redirects followed: status and number of bytes.
local fetch = async(function(url, max_size)
  local status, size
  for _ = 0, MAX_REDIRECTS do
    status, size, url = await(get(url, max_size))
    if not url then return status, size end
  end
  fail("more than %d redirects", MAX_REDIRECTS)
end)

---- the crawl

-- The line on standard error that says how far it is; nothing if that is not a terminal.
local progress_line = function(total, quiet)
  local shown = not quiet and os.execute("test -t 2") == true
  local done, failed, bytes = 0, 0, 0
  local progress = {}
  function progress.add(result)
    done, bytes = done + 1, bytes + (result.bytes or 0)
    if not result.ok then failed = failed + 1 end
    if shown then
      io.stderr:write(("\r%d of %d pages, %d failed, %d bytes\27[K"):format(done, total, failed, bytes))
    end
  end
  return setmetatable(progress, {
    __close = function()
      if shown then io.stderr:write("\r\27[K") end
    end,
  })
end

local reasons = {
  ECONNREFUSED = "connection refused",
  ECONNRESET = "connection reset",
  ENOTFOUND = "host not found",
  EAI_NONAME = "host not found",
  EAI_AGAIN = "host not found (for now)",
  EHOSTUNREACH = "host unreachable",
  ENETUNREACH = "network unreachable",
  ETIMEDOUT = "connection timed out",
}

local reason = function(err, options)
  if asyncio.isinstance(err, asyncio.TimeoutError) then return ("timed out after %g s"):format(options.timeout) end
  if asyncio.isinstance(err, asyncio.LimitOverrunError) then return "a line of the head is too long" end
  if asyncio.isinstance(err, asyncio.IncompleteReadError) then return "connection closed in the middle of the head" end
  if asyncio.isinstance(err, asyncio.OSError) then return reasons[err.code] or err.message end
  if asyncio.isinstance(err, PageError) then return err.message end
  return tostring(err)
end

-- What came of one URL: {url, status, bytes, ms, ok, error}.
local visit = async(function(url, options)
  local loop = asyncio.get_running_loop()
  local start = loop:time()
  local ok, status, bytes = pcall(await, asyncio.wait_for(fetch(url, options.max_size), options.timeout))
  local result = { url = url, ms = (loop:time() - start) * 1000 }
  if ok then
    result.status, result.bytes, result.ok = status, bytes, status < 400
  else
    result.error = reason(status, options)
  end
  return result
end)

-- Visits all URLs, a worker for each of the pages at a time. Gives the results in the order of the URLs.
local crawl = async(function(urls, options)
  local results = {}
  local progress <close> = progress_line(#urls, options.quiet)
  local queue = asyncio.Queue()
  for i = 1, #urls do queue:put_nowait(i) end

  local worker = async(function()
    while not queue:empty() do
      local i = queue:get_nowait()
      results[i] = await(visit(urls[i], options))
      progress.add(results[i])
    end
  end)

  local group <close> = asyncio.TaskGroup()
  for _ = 1, math.min(options.concurrency, #urls) do group:create_task(worker()) end
  return results
end)

---- the command

-- Text from elsewhere goes to the terminal without its control characters.
local printable = function(s) return (s:gsub("%c", "?"):gsub("\194[\128-\159]", "?")) end

-- Prints the table and the total. Gives the number of pages that failed.
local report = function(results, seconds)
  local fetched, failed, bytes = 0, 0, 0
  if #results > 0 then print(("%6s %10s %8s  %s"):format("status", "bytes", "ms", "URL")) end
  for _, r in ipairs(results) do
    print(("%6s %10s %8.0f  %s%s"):format(r.status or "error", r.bytes or "-", r.ms, printable(r.url),
      r.error and "  (" .. printable(r.error) .. ")" or ""))
    bytes = bytes + (r.bytes or 0)
    if r.ok then fetched = fetched + 1 else failed = failed + 1 end
  end
  print(("%d page%s: %d fetched, %d failed, %d bytes in %.2f s"):format(
    #results, #results == 1 and "" or "s", fetched, failed, bytes, seconds))
  return failed
end

local misuse = function(...)
  io.stderr:write("crawler.lua: ", string.format(...), "\n(--help shows how to use it)\n")
  os.exit(2)
end

local number = function(name, value, least, integer)
  local n = tonumber(value)
  if n and integer then n = math.tointeger(n) end
  if not n or n ~= n or n == math.huge or n < least or n == 0 then
    misuse("%s: %s expected, got '%s'", name, integer and "a whole number of 1 or more" or "seconds above 0", value)
  end
  return n
end

local short = { ["-n"] = "--concurrency", ["-q"] = "--quiet", ["-h"] = "--help" }

-- Options and URLs of the command line.
local parse_arguments = function(args)
  local options, urls = { concurrency = 8, timeout = 10, max_size = 16 * 1024 * 1024 }, {}
  local i = 1
  local take = function(name, value)
    if value then return value end
    i = i + 1
    return args[i] or misuse("%s needs a value", name)
  end
  local only_urls = false
  while i <= #args do
    local a = args[i]
    local name, value = a, nil
    if a:find("^%-%-.+=") then
      name, value = a:match("^(.-)=(.*)$")
    elseif a:find("^%-n.") then
      name, value = "-n", a:sub(3)
    end
    name = short[name] or name
    if only_urls or a:sub(1, 1) ~= "-" then
      table.insert(urls, a)
    elseif a == "-" then
      for line in io.lines() do
        line = line:match("^%s*(.-)%s*$")
        if line ~= "" then table.insert(urls, line) end
      end
      options.stdin = true
    elseif a == "--" then
      only_urls = true
    elseif name == "--concurrency" then
      options.concurrency = number(name, take(name, value), 1, true)
    elseif name == "--timeout" then
      options.timeout = number(name, take(name, value), 0, false)
    elseif name == "--max-size" then
      options.max_size = number(name, take(name, value), 1, true)
    elseif name == "--quiet" and not value then
      options.quiet = true
    elseif name == "--help" and not value then
      io.write(usage)
      os.exit(0)
    else
      misuse("unknown option '%s'", a)
    end
    i = i + 1
  end
  if #urls == 0 and not options.stdin then misuse("no URLs") end
  return options, urls
end

local main = async(function(args)
  local options, urls = parse_arguments(args)
  local loop = asyncio.get_running_loop()
  local start = loop:time()
  local results = await(crawl(urls, options))
  return report(results, loop:time() - start) == 0 and 0 or 1
end)

os.exit(asyncio.run(main(arg)), true)
