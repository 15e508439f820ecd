#!/usr/bin/env moonloop
-- Walks a site from a page on, and writes a report of the links that lead nowhere. It is polite: it keeps to
-- robots.txt, and there is a pause between two requests to the same host.
--   moonloop scripts/link_checker.lua [OPTIONS] URL

local asyncio = require "asyncio"
local http = require "http"
local url = require "url"

package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local links = require "site.links"

local usage = [[
usage: link_checker.lua [OPTIONS] URL

  -n, --concurrency N  requests at a time (4)
      --delay SECONDS  between two requests to one host (0.1; robots.txt may ask for more)
      --max-pages N    pages of the site that are read (1000)
      --timeout S      for one request (10)
      --no-external    do not ask other hosts
      --report FILE    the report: FILE.json is JSON, else it is Markdown; default: standard output
  -q, --quiet          no progress bar
  -h, --help           this text

Status: 0 if all links lead somewhere, 1 if some do not, 2 for misuse.
]]

local AGENT = "moonloop-link-checker"
local MAX_SIZE = 4 * 1024 * 1024 -- bytes of a page that are looked at

---- requests, politely

local Checker = {}
Checker.__index = Checker

-- What is known of a host: when it may be asked again, and what robots.txt says.
function Checker:host(origin)
  local host = self.hosts[origin]
  if not host then
    host = { next = 0, delay = self.options.delay, lock = asyncio.Lock() }
    self.hosts[origin] = host
  end
  return host
end

-- Waits until the host may be asked again.
function Checker:turn(origin)
  local host, loop = self:host(origin), asyncio.get_running_loop()
  local at = math.max(loop:time(), host.next)
  host.next = at + host.delay
  await asyncio.sleep(at - loop:time())
end

-- May the site's page be read, by its robots.txt?
function Checker:allowed(address)
  local u = url.parse(address)
  local origin = tostring(u:origin())
  local host = self:host(origin)
  local _ <close> = await host.lock:guard()
  if not host.allowed then
    self:turn(origin)
    local text = ""
    pcall(function()
      local resp <close> = await self.session:get(origin .. "/robots.txt")
      if resp.status == 200 then text = await resp:text() end
    end)
    local delay
    host.allowed, delay = links.robots(text, AGENT)
    host.delay = math.max(host.delay, math.min(delay or 0, 60))
  end
  return host.allowed(u.path_qs)
end

-- A page of the site: what it says, and its text if it is HTML.
function Checker:get(found)
  local resp <close> = await self.session:get(found.url)
  found.status, found.reason = resp.status, resp.reason
  found.moved = #resp.history > 0 and tostring(resp.url) or nil
  if resp.status >= 400 or resp.content_type ~= "text/html" then return nil end
  if not self:inside(tostring(resp.url)) then return nil end
  local parts, size = {}, 0
  for data in resp.content:iter_any() do
    table.insert(parts, data)
    size = size + #data
    if size > MAX_SIZE then break end
  end
  return table.concat(parts), tostring(resp.url)
end

-- Is something there? HEAD, or GET for those who do not know it.
function Checker:ask(found)
  for _, method in ipairs { "HEAD", "GET" } do
    local resp <close> = await self.session:request(method, found.url)
    found.status, found.reason = resp.status, resp.reason
    found.moved = #resp.history > 0 and tostring(resp.url) or nil
    if resp.status < 400 then return end
    self:turn(tostring(url.parse(found.url):origin()))
  end
end

---- the walk

function Checker:inside(address)
  return address:sub(1, #self.prefix) == self.prefix
end

-- Notes a link; what is new is put into the queue.
function Checker:note(link, page)
  local found = self.found[link.url]
  if not found then
    found = { url = link.url, from = {}, fragments = {}, error = link.bad }
    self.found[link.url] = found
    table.insert(self.order, found)
    local wanted = self:inside(link.url) or self.options.external
    if not link.bad and wanted then
      self.queue:put_nowait(found)
      self.bar.total = self.bar.total + 1
    elseif not link.bad then
      found.skipped = true
    end
  end
  if page then found.from[page] = true end
  if link.fragment and link.fragment ~= "" and page then
    found.fragments[link.fragment] = found.fragments[link.fragment] or page
  end
end

-- Looks at what a link leads to; a page of the site has links itself.
function Checker:visit(found)
  local inside = self:inside(found.url)
  local ok, err = pcall(function()
    if inside and not self:allowed(found.url) then
      found.skipped = true
      return
    end
    self:turn(tostring(url.parse(found.url):origin()))
    if not inside then return self:ask(found) end
    if self.pages >= self.options.max_pages then
      found.skipped = true
      return
    end
    self.pages = self.pages + 1
    local html, address = self:get(found)
    if not html then return end
    local list
    list, found.names = links.of(html, address)
    for _, link in ipairs(list) do self:note(link, found.url) end
  end)
  if ok then return end
  if type(err) ~= "table" then error(err, 0) end
  found.error = asyncio.isinstance(err, asyncio.TimeoutError) and "timed out" or tostring(err.message)
  if err.url then found.error = found.error:gsub("^%u+ %S+: ", "") end
end

function Checker:walk(address)
  local bar <close> = asyncio.progress(0, { unit = "link", leave = false, disable = self.options.quiet })
  local session <close> = http.ClientSession {
    timeout = self.options.timeout, headers = { ["User-Agent"] = AGENT }, limit_per_host = self.options.concurrency,
  }
  self.bar, self.session = bar, session
  self:note { url = address, page = true }
  local workers <close> = asyncio.TaskGroup()
  for _ = 1, self.options.concurrency do
    workers:create_task((async function()
      for found in self.queue:items() do
        self:visit(found)
        bar:update()
        self.queue:task_done()
      end
    end)())
  end
  await self.queue:join()
  self.queue:shutdown()
end

---- the report

local sorted = function(set)
  local list = {}
  for key in pairs(set) do table.insert(list, key) end
  table.sort(list)
  return list
end

-- The links that lead nowhere: { url, problem, pages }.
function Checker:broken()
  local list = {}
  for _, found in ipairs(self.order) do
    local problem = found.error
    if not problem and (found.status or 0) >= 400 then problem = ("%d %s"):format(found.status, found.reason) end
    if problem then
      table.insert(list, { url = found.url, problem = problem, pages = sorted(found.from) })
    elseif found.names then
      for _, fragment in ipairs(sorted(found.fragments)) do
        if not found.names[fragment] then
          local entry = { url = found.url .. "#" .. fragment, problem = "nothing there has that id" }
          entry.pages = { found.fragments[fragment] }
          table.insert(list, entry)
        end
      end
    end
  end
  return list
end

function Checker:moved()
  local list = {}
  for _, found in ipairs(self.order) do
    if found.moved then table.insert(list, { url = found.url, to = found.moved, pages = sorted(found.from) }) end
  end
  return list
end

local markdown = function(summary)
  local lines = {
    "# Links of " .. summary.site, "",
    ("%d pages, %d links: %d broken, %d moved, %d not looked at."):format(
      summary.pages, summary.links, #summary.broken, #summary.moved, summary.skipped),
  }
  local list = function(title, entries, text)
    if #entries == 0 then return end
    table.insert(lines, "\n## " .. title .. "\n")
    for _, entry in ipairs(entries) do
      table.insert(lines, ("- <%s>: %s"):format(entry.url, text(entry)))
      for _, page in ipairs(entry.pages) do table.insert(lines, ("  - on <%s>"):format(page)) end
    end
  end
  list("Broken", summary.broken, function(entry) return entry.problem end)
  list("Moved", summary.moved, function(entry) return "is at <" .. entry.to .. ">" end)
  return (table.concat(lines, "\n"):gsub("[%c\127]", function(c) return c == "\n" and c or "?" end)) .. "\n"
end

local check = function(address, options)
  local start = url.parse(address)
  local self = setmetatable({
    options = options, prefix = tostring(start:origin()) .. "/", hosts = {}, found = {}, order = {}, pages = 0,
    queue = asyncio.Queue(),
  }, Checker)
  self:walk(tostring(start:with_fragment(nil)))
  local skipped = 0
  for _, found in ipairs(self.order) do
    if found.skipped then skipped = skipped + 1 end
  end
  return {
    site = address, pages = self.pages, links = #self.order, skipped = skipped, broken = self:broken(),
    moved = self:moved(),
  }
end

---- the command

local misuse = function(...)
  io.stderr:write("link_checker.lua: ", string.format(...), "\n(--help shows how to use it)\n")
  os.exit(2)
end

local number = function(name, value, least)
  local n = tonumber(value)
  if not n or n ~= n or n < least or n == math.huge then
    misuse("%s: a number of %g or more expected, got '%s'", name, least, tostring(value))
  end
  return n
end

local parse_arguments = function(args)
  local options = { concurrency = 4, delay = 0.1, max_pages = 1000, timeout = 10, external = true }
  local short = { ["-n"] = "--concurrency", ["-q"] = "--quiet", ["-h"] = "--help" }
  local address
  local i = 1
  while i <= #args do
    local name, value = args[i]:match("^(%-%-[^=]+)=(.*)$")
    name = name or short[args[i]] or args[i]
    local take = function()
      if not value then
        i = i + 1
        value = args[i] or misuse("%s needs a value", name)
      end
      return value
    end
    if name == "--concurrency" then
      options.concurrency = math.floor(number(name, take(), 1))
    elseif name == "--delay" then
      options.delay = number(name, take(), 0)
    elseif name == "--max-pages" then
      options.max_pages = number(name, take(), 1)
    elseif name == "--timeout" then
      options.timeout = number(name, take(), 0.001)
    elseif name == "--report" then
      options.report = take()
    elseif name == "--no-external" then
      options.external = false
    elseif name == "--quiet" then
      options.quiet = true
    elseif name == "--help" then
      io.write(usage)
      os.exit(0)
    elseif name:sub(1, 1) == "-" then
      misuse("unknown option '%s'", name)
    elseif address then
      misuse("one URL expected, got '%s' too", name)
    else
      address = name
    end
    i = i + 1
  end
  if not address then misuse("no URL") end
  local ok, parsed = pcall(url.parse, address)
  if not ok or (parsed.scheme ~= "http" and parsed.scheme ~= "https") then
    misuse("'%s' is no URL of http or https", address)
  end
  return address, options
end

local async function main(args)
  local address, options = parse_arguments(args)
  local summary = check(address, options)
  local json = options.report and options.report:find("%.json$")
  local text = json and require("json").encode(summary) .. "\n" or markdown(summary)
  if options.report then
    await require("fs").write_file(options.report, text, { atomic = true })
    print(("%d pages, %d links, %d broken"):format(summary.pages, summary.links, #summary.broken))
  else
    io.write(text)
  end
  return #summary.broken == 0 and 0 or 1
end

os.exit(asyncio.run(main(arg)), true)
