--- Random routes and requests. A path leads where a model says that goes through the routes one by one; patterns of all
--- kinds are taken or refused with ValueError; a request, whatever its bytes are, is answered, and everything that can be
--- asked of it answers or raises an HTTP error.
---   moonloop spec/fuzz/web_fuzz.lua [SECONDS] [SEED]

local asyncio = require "asyncio"
local mock = require "http.mock"
local patterns = require "http.web.patterns"
local testing = require "http.testing"
local fuzz = require "spec.fuzz.fuzz"
local web = require "http.web"

local die, random = fuzz.die, math.random
local pick = fuzz.pick

local route_pieces = { "/a", "/b", "/a b", "/{x}", "/{y}", "/{n:%d+}", "/{t:.*}", "/", "/%2F", "/c.d", "/{x}.{y}", "/ü" }
local path_pieces = { "/a", "/b", "/a%20b", "/12", "/x", "/", "/%2F", "/%2f", "/c.d", "/%C3%BC", "//", "/%25", "/%", "/%zz", "/a%2Fb" }
local odd = { "{", "}", "{x", "x}", ":", "[", "]", "%", "(", ")", "%b", "%f", "-", "^", "$", "{n:", "{1}", "\0", "a", "/" }

local function joined(list, n)
  local parts = {}
  for i = 1, random(n) do parts[i] = pick(list) end
  return table.concat(parts)
end

local function handler() return web.Response() end

-- The routes as a list: what a path leads to is found by trying all of them.
local function model(list, path)
  path = patterns.normalise(path)
  local best
  for _, route in ipairs(list) do
    local parsed = route.parsed
    local fits = parsed.plain and parsed.plain == path or parsed.pattern and path:match(parsed.pattern)
    local rank = parsed.plain and math.huge or #parsed.prefix
    if fits and (not best or rank > best.rank) then best = { rank = rank, shape = parsed.shape } end
  end
  return best and best.shape
end

local function try_routes()
  local app, list = web.Application(), {}
  for _ = 1, random(8) do
    local path = joined(route_pieces, 3)
    local ok, err = pcall(app.router.add_get, app.router, path, handler, { allow_head = false })
    if ok then
      list[#list + 1] = { parsed = patterns.parse(path) }
    elseif not asyncio.isinstance(err, { asyncio.ValueError, asyncio.RuntimeError }) then
      die(tostring(err), path)
    end
  end
  for _ = 1, 20 do
    local path = joined(path_pieces, 4)
    local route, params = app.router:_resolve("GET", path)
    local found, expected = route and route.resource.parsed.shape, model(list, path)
    if found ~= expected then die(("leads to %s, not %s"):format(found, expected), path) end
    for _, name in ipairs(route and route.resource.parsed.names or {}) do
      if type(params[name]) ~= "string" then die("a parameter is missing", path) end
    end
  end
end

local function try_pattern()
  local path = "/" .. joined(odd, 8)
  local ok, parsed = pcall(patterns.parse, path)
  if ok then
    if parsed.pattern then string.find(joined(path_pieces, 4), parsed.pattern) end
  elseif not asyncio.isinstance(parsed, asyncio.ValueError) then
    die(tostring(parsed), path)
  end
end

-- ---- requests ----

local fields = {}
for name in next, web.Request.__get do
  if name:sub(1, 1) ~= "_" then fields[#fields + 1] = name end
end

local names = { "Content-Type", "Cookie", "Forwarded", "If-Match", "If-Modified-Since", "Host", "Accept", "X-A", "Content-Length" }
local values = { "a", "=", ";", ",", '"', "\\", " ", "text/plain", "; charset=", "utf-8", "klingon", "multipart/form-data", "; boundary=x",
  "application/x-www-form-urlencoded", "for=", "W/", "*", "Sun, 06 Nov 1994 08:49:37 GMT", "localhost:80", "\xC3\xA9", "\xFF", "[::1]", "%" }
local bodies = { "--x\r\n", "--x--", "\r\n", 'Content-Disposition: form-data; name="a"', "; filename=f", "a=1&b", "{", "}", '"', "\0", "\xFF", "x" }

local app = web.Application { client_max_size = 64, debug = true }
app.router:add_route("*", "/{tail:.*}", async(function(request)
  for _ = 1, random(6) do
    local name = pick(fields)
    local ok, err = pcall(function() return request[name] end)
    if not ok and not asyncio.isinstance(err, web.HTTPException) then die(name .. ": " .. tostring(err), request.raw_path) end
  end
  local method = pick { "read", "text", "json", "post", "multipart", "release" }
  local ok, err = pcall(function() return await(request[method](request)) end)
  if not ok and not asyncio.isinstance(err, { web.HTTPException, asyncio.ValueError, asyncio.RuntimeError }) then
    die(method .. ": " .. tostring(err), request.raw_path)
  end
  if not ok and random(2) == 1 then error(err, 0) end
  return pick { web.Response { text = "x" }, web.HTTPFound("/" .. request.path:gsub("%c", "")), 1, false }
end))

local function try_request()
  local headers = {}
  for i = 1, random(0, 5) do headers[i] = { pick(names), (joined(values, 4):gsub("^%s+", "")) } end
  local body = random(2) == 1 and joined(bodies, 12) or nil
  local target = joined(path_pieces, 4) .. (random(2) == 1 and "?" .. joined(values, 4) or "")
  local x = mock.exchange(pick { "GET", "POST", "PUT", "HEAD", "BREW" }, target, { headers = headers, body = body })
  await(testing.answer(app, x, { access_log = function(line)
    if line:find("%c") then die("a line of the log has control characters", line) end
  end }))
  if not x.status or x.status < 200 or x.status > 599 then die("no answer", target) end
end

local tries = 0
asyncio.run(function()
  asyncio.get_running_loop():set_exception_handler(function() end) -- what handlers raise is wanted here
  while fuzz.going() do
    for _ = 1, 20 do
      tries = tries + 1
      try_routes()
      try_pattern()
      try_request()
    end
    await(asyncio.sleep(0))
  end
end)
print(("web_fuzz: %d rounds, seed %d"):format(tries, fuzz.seed))
