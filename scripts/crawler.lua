#!/usr/bin/env moonloop
-- Downloads pages, several at a time, and prints what came of each.
--   moonloop scripts/crawler.lua [-n N] [--timeout SECONDS] [-q] URL... | -
-- A page is fetched in `fetch`, the tasks are in `crawl`.

local asyncio = require "asyncio"
local http = require "http"

local usage = [[
usage: crawler.lua [OPTIONS] URL...
       crawler.lua [OPTIONS] -        read URLs from standard input, one a line

  -n, --concurrency N   how many pages at a time (8)
      --timeout SECONDS how long one page may take, redirects included (10)
      --max-size BYTES  how long a page may be (16777216)
  -q, --quiet           no progress bar
  -h, --help            this text

Status: 0 if all pages were fetched, 1 if some failed (an error, or an answer of
400 and above), 2 for misuse.
]]

local MAX_REDIRECTS = 5

---- pages

-- An error of a page: it ends the page, not the run.
local PageError = asyncio.Exception:extend("PageError")

-- A page: status and number of bytes.
local async function fetch(session, url, options)
  local resp <close> = await session:get(url, { max_redirects = MAX_REDIRECTS })
  local size = resp.content_length or 0
  local check = function()
    if size > options.max_size then error(PageError(("the page is longer than %d bytes"):format(options.max_size))) end
  end
  check()
  size = 0
  for data in resp.content:iter_any() do
    size = size + #data
    check()
  end
  return resp.status, size
end

-- Why a page could not be fetched, without the URL, which stands beside it.
local reason = function(err, options)
  if asyncio.isinstance(err, asyncio.TimeoutError) then return ("timed out after %g s"):format(options.timeout) end
  if asyncio.isinstance(err, http.TooManyRedirects) then return ("more than %d redirects"):format(MAX_REDIRECTS) end
  local text = err.message or tostring(err)
  return err.url and text:gsub("^%u+ " .. err.url:gsub("%p", "%%%0") .. ": ", "") or text
end

-- What came of one URL: {url, status, bytes, ms, ok, error}.
local async function visit(session, url, options)
  local loop = asyncio.get_running_loop()
  local start = loop:time()
  local ok, status, bytes = pcall(function() return await fetch(session, url, options) end)
  local result = { url = url, ms = (loop:time() - start) * 1000 }
  if ok then
    result.status, result.bytes, result.ok = status, bytes, status < 400
  elseif type(status) == "table" then
    result.error = reason(status, options)
  else
    error(status, 0) -- a mistake in here
  end
  return result
end

---- the crawl

-- Visits all URLs, a worker for each of the pages at a time. Gives the results in the order of the URLs.
local async function crawl(urls, options)
  local results = {}
  local failed, bytes = 0, 0
  local session <close> = http.ClientSession {
    timeout = options.timeout, limit = options.concurrency, headers = { ["User-Agent"] = "moonloop-crawler" },
  }
  local progress <close> = asyncio.progress(#urls, { unit = "page", leave = false, disable = options.quiet })
  local queue = asyncio.Queue()
  for i = 1, #urls do queue:put_nowait(i) end

  local async function worker()
    while not queue:empty() do
      local i = queue:get_nowait()
      local result = await visit(session, urls[i], options)
      results[i] = result
      bytes = bytes + (result.bytes or 0)
      if not result.ok then failed = failed + 1 end
      progress:update()
      progress:set_postfix(("%d failed, %d bytes"):format(failed, bytes))
    end
  end

  local group <close> = asyncio.TaskGroup()
  for _ = 1, math.min(options.concurrency, #urls) do group:create_task(worker()) end
  return results
end

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

local async function main(args)
  local options, urls = parse_arguments(args)
  local loop = asyncio.get_running_loop()
  local start = loop:time()
  local results = await crawl(urls, options)
  return report(results, loop:time() - start) == 0 and 0 or 1
end

os.exit(asyncio.run(main(arg)), true)
