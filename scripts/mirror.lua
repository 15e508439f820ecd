#!/usr/bin/env moonloop
-- Copies a site, or the part of it below a page, into a folder. The next time only what has changed is fetched; what
-- was cut off or interrupted goes on where it was.
--   moonloop scripts/mirror.lua [OPTIONS] URL FOLDER

local asyncio = require "asyncio"
local fs = require "fs"
local http = require "http"
local json = require "json"
local url = require "url"

package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local links = require "site.links"

local usage = [[
usage: mirror.lua [OPTIONS] URL FOLDER

  -n, --concurrency N  requests at a time (4)
      --delay SECONDS  between two requests (0.05; robots.txt may ask for more)
      --retry N        how often a file that was cut off is gone on with at once (3)
      --timeout S      how long nothing may come (30)
  -q, --quiet          no progress bar
  -h, --help           this text

Only what is below URL's folder is copied. A page "a" becomes "a/index.html". What the folder is in step with stands in
.mirror.json in it. Status: 0; 1 if something could not be copied; 2 for misuse.
]]

local AGENT = "moonloop-mirror"

---- files

-- The file for a URL: below the folder in any case, since the segments of a URL are neither ".." nor have a "/".
local file_of = function(prefix, address)
  local path, query = address:sub(#prefix + 1):match("^([^?]*)(.*)$")
  if path == "" or path:sub(-1) == "/" then
    path = path .. "index.html"
  elseif not path:match("[^/]*$"):find(".", 1, true) then
    path = path .. "/index.html"
  end
  path = path:gsub("^%.mirror", "_mirror") -- not the file with what is known
  return path .. query:gsub("[/?]", { ["/"] = "%2F", ["?"] = "%3F" })
end

local Mirror = {}
Mirror.__index = Mirror

-- What is known from the last time: by URL { file, etag, modified, complete }.
function Mirror:load()
  local ok, text = pcall(function() return await fs.read_file(self.folder .. "/.mirror.json") end)
  local state
  if ok then
    ok, state = pcall(json.decode, text)
  end
  self.state = ok and type(state) == "table" and state or {}
end

function Mirror:save()
  await fs.write_file(self.folder .. "/.mirror.json", json.encode(json.object(self.state)), { atomic = true })
end

local size_of = function(path)
  local ok, stat = pcall(function() return await fs.stat(path) end)
  return ok and stat.is_file and stat.size or nil
end

---- one file

-- A weak ETag stands for the meaning, not for the bytes: a rest is not asked for by it.
local strong = function(known)
  if known.etag then return known.etag:sub(1, 2) ~= "W/" and known.etag or nil end
  return known.modified
end

-- The headers of a request for what is known of the file, and how much of it is there.
function Mirror:conditions(known, path)
  local size = size_of(path .. ".part")
  if known and not known.complete and size and size > 0 and strong(known) then
    return { Range = ("bytes=%d-"):format(size), ["If-Range"] = strong(known), ["Accept-Encoding"] = "identity" }, size
  elseif known and known.complete and size_of(path) then
    return { ["If-None-Match"] = known.etag, ["If-Modified-Since"] = not known.etag and known.modified or nil }, 0
  end
  return { ["Accept-Encoding"] = "identity" }, 0
end

-- Fetches a URL into its file. Gives what came of it: "same", "new", "missing" (it is not there any more).
function Mirror:fetch(address, found)
  local known, path = self.state[address], self.folder .. "/" .. found.file
  local headers, size = self:conditions(known, path)
  local resp <close> = await self.session:get(address, { headers = headers })
  local target = tostring(resp.url)
  if target:sub(1, #self.prefix) ~= self.prefix then return "outside" end
  found.base, found.html = target, resp.content_type == "text/html"
  if resp.status == 304 then
    found.html = known.html
    return "same"
  elseif resp.status == 416 then -- what there is is no part of it
    await fs.unlink(path .. ".part")
    self.state[address] = nil
    return self:fetch(address, found)
  elseif resp.status >= 400 then
    resp:raise_for_status()
  end
  local first = resp.status == 206 and tonumber((resp.headers["Content-Range"] or ""):match("^bytes (%d+)%-")) or 0
  if first ~= (resp.status == 206 and size or 0) then
    error(asyncio.ValueError("another part was sent than asked for"), 0)
  end
  await fs.mkdir(path:match("^(.*)/"), { parents = true, exist_ok = true })
  self.state[address] = {
    file = found.file, etag = resp.headers.ETag, modified = resp.headers["Last-Modified"], complete = false,
    html = found.html,
  }
  local file <close> = await fs.open(path .. ".part", fs.O_WRONLY | fs.O_CREAT)
  await file:truncate(first)
  await file:seek("set", first)
  for data in resp.content:iter_any() do
    await file:write(data)
    self.bytes = self.bytes + #data
  end
  await file:close()
  await fs.rename(path .. ".part", path)
  self.state[address].complete = true
  return "new"
end

-- The same, and again when a body was cut off.
function Mirror:persist(address, found)
  for attempt = 0, self.options.retry do
    self:turn()
    local ok, outcome = pcall(self.fetch, self, address, found)
    if ok then return outcome end
    local again = asyncio.isinstance(outcome, http.ClientPayloadError)
      or asyncio.isinstance(outcome, http.ClientConnectionError)
    if not again or attempt == self.options.retry then error(outcome, 0) end
  end
end

---- all of them

-- Waits until the server may be asked again.
function Mirror:turn()
  local loop = asyncio.get_running_loop()
  local at = math.max(loop:time(), self.next)
  self.next = at + self.options.delay
  await asyncio.sleep(at - loop:time())
end

function Mirror:note(address)
  if self.found[address] or address:sub(1, #self.prefix) ~= self.prefix then return end
  if not self.allowed(url.parse(address).path_qs) then return end
  local found = { file = file_of(self.prefix, address) }
  self.found[address] = found
  self.queue:put_nowait(address)
  self.bar.total = self.bar.total + 1
end

function Mirror:visit(address)
  local found = self.found[address]
  local ok, outcome = pcall(self.persist, self, address, found)
  if not ok then
    if type(outcome) ~= "table" then error(outcome, 0) end
    self.failed = self.failed + 1
    self.bar:write(("%s: %s"):format(address, tostring(outcome.message):gsub("^%u+ %S+: ", "")))
    return
  end
  self.counts[outcome] = (self.counts[outcome] or 0) + 1
  if outcome ~= "outside" and found.html then
    local html = await fs.read_file(self.folder .. "/" .. found.file)
    for _, link in ipairs((links.of(html, found.base))) do
      if not link.bad then self:note(link.url) end
    end
  end
end

-- Every second what is known is written down, for the case that the program is killed.
local async function keep(self)
  while true do
    await asyncio.sleep(1)
    self:save()
  end
end

function Mirror:robots(origin)
  local text = ""
  local resp <close> = await self.session:get(origin .. "/robots.txt")
  if resp.status == 200 then text = await resp:text() end
  local delay
  self.allowed, delay = links.robots(text, AGENT)
  self.options.delay = math.max(self.options.delay, math.min(delay or 0, 60))
end

function Mirror:run(address)
  await fs.mkdir(self.folder, { parents = true, exist_ok = true })
  self:load()
  local bar <close> = asyncio.progress(0, { unit = "file", leave = false, disable = self.options.quiet })
  local session <close> = http.ClientSession {
    headers = { ["User-Agent"] = AGENT }, limit = self.options.concurrency,
    timeout = http.ClientTimeout { sock_connect = self.options.timeout, sock_read = self.options.timeout },
  }
  self.bar, self.session = bar, session
  local _ <close> = setmetatable({}, { __close = function() self:save() end })
  self:robots(tostring(url.parse(address):origin()))
  self:note(address)
  local keeper = asyncio.create_task(keep(self))
  do
    local workers <close> = asyncio.TaskGroup()
    for _ = 1, self.options.concurrency do
      workers:create_task((async function()
        for one in self.queue:items() do
          self:visit(one)
          bar:update()
          bar:set_postfix(("%d bytes"):format(self.bytes))
          self.queue:task_done()
        end
      end)())
    end
    local _ <close> = setmetatable({}, { __close = function() keeper:cancel() end })
    await self.queue:join()
    self.queue:shutdown()
  end
end

---- the command

local misuse = function(...)
  io.stderr:write("mirror.lua: ", string.format(...), "\n(--help shows how to use it)\n")
  os.exit(2)
end

local kinds = { ["--concurrency"] = 1, ["--delay"] = 0, ["--retry"] = 0, ["--timeout"] = 0.001 } -- with the least value
local short = { ["-n"] = "--concurrency", ["-q"] = "--quiet", ["-h"] = "--help" }

local parse_arguments = function(args)
  local options, words = { concurrency = 4, delay = 0.05, retry = 3, timeout = 30 }, {}
  local i = 1
  while i <= #args do
    local name, value = args[i]:match("^(%-%-[^=]+)=(.*)$")
    name = name or short[args[i]] or args[i]
    if kinds[name] then
      if not value then
        i = i + 1
        value = args[i] or misuse("%s needs a value", name)
      end
      local n = tonumber(value)
      if not n or n ~= n or n < kinds[name] or n == math.huge then
        misuse("%s: a number of %g or more expected, got '%s'", name, kinds[name], value)
      end
      options[name:sub(3)] = name == "--delay" and n or name == "--timeout" and n or math.floor(n)
    elseif name == "--quiet" then
      options.quiet = true
    elseif name == "--help" then
      io.write(usage)
      os.exit(0)
    elseif name:sub(1, 1) == "-" then
      misuse("unknown option '%s'", name)
    else
      table.insert(words, name)
    end
    i = i + 1
  end
  if #words ~= 2 then misuse("a URL and a folder expected") end
  local ok, parsed = pcall(url.parse, words[1])
  if not ok or (parsed.scheme ~= "http" and parsed.scheme ~= "https") then
    misuse("'%s' is no URL of http or https", words[1])
  end
  return tostring(parsed:with_fragment(nil)), words[2], options
end

local async function main(args)
  local address, folder, options = parse_arguments(args)
  local mirror = setmetatable({
    folder = folder:gsub("(.)/+$", "%1"), options = options, prefix = address:match("^[^?]*/"), found = {}, counts = {},
    queue = asyncio.Queue(), next = 0, bytes = 0, failed = 0,
  }, Mirror)
  mirror:run(address)
  print(("%d new, %d unchanged, %d failed, %d bytes"):format(
    mirror.counts.new or 0, mirror.counts.same or 0, mirror.failed, mirror.bytes))
  return mirror.failed == 0 and 0 or 1
end

os.exit(asyncio.run(main(arg)), true)
