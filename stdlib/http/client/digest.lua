--- DigestAuth (RFC 7616; RFC 2617 and RFC 2069 of older servers): the password is never sent, but a digest of it and of
--- what the server's challenge said. What a challenge holds for (an origin, or the paths that it names) is remembered,
--- so that the next request there brings its answer along; no other origin sees any.

local core = require "asyncio.core"
local auth = require "http.client.auth"
local misuse = require "asyncio.misuse"

local await = core.await

local M = {}

local format, lower = string.format, string.lower

-- Challenges that are remembered; the oldest goes.
local MAX_SPACES = 100

--- Algorithm, in small letters -> function of asyncio.digest, is it a -sess.
local algorithms = {
  ["md5"] = { "md5" }, ["md5-sess"] = { "md5", true },
  ["sha-256"] = { "sha256" }, ["sha-256-sess"] = { "sha256", true },
  ["sha-512-256"] = { "sha512_256" }, ["sha-512-256-sess"] = { "sha512_256", true },
  ["sha-512"] = { "sha512" }, ["sha-512-sess"] = { "sha512", true },
  ["sha"] = { "sha1" }, ["sha-sess"] = { "sha1", true },
  -- as some servers write it
  ["sha256"] = { "sha256" }, ["sha256-sess"] = { "sha256", true }, ["sha512-256"] = { "sha512_256" },
}

---@class http.DigestAuth
---@field login string
local DigestAuth = {}
DigestAuth.__index = DigestAuth
DigestAuth.__name = "DigestAuth"
DigestAuth.__auth = true

function DigestAuth:__tostring() return ("DigestAuth(%q, ...)"):format(self.login) end

-- ---- challenges ----

-- What is needed of a challenge; nil if it cannot be answered here.
local function usable(params)
  local algorithm = algorithms[lower(params.algorithm or "MD5")]
  if not algorithm or not params.realm or (params.nonce or "") == "" then return nil end
  local qop
  if params.qop then
    for token in params.qop:gmatch("[^%s,]+") do
      token = lower(token)
      if token == "auth" or token == "auth-int" and not qop then qop = token end
    end
    if not qop then return nil end
  end
  return {
    realm = params.realm, nonce = params.nonce, opaque = params.opaque, algorithm = params.algorithm, qop = qop,
    session = algorithm[2], hash = require("asyncio.digest")[algorithm[1]], domain = params.domain,
    userhash = lower(params.userhash or "") == "true", utf8 = lower(params.charset or "") == "utf-8",
    stale = lower(params.stale or "") == "true", nc = 0,
  }
end

-- The first one that can be answered: servers name the one that they like best first (RFC 7616, 3.7).
local function find_challenge(values)
  for _, value in ipairs(values) do
    for _, challenge in ipairs(auth.challenges(value)) do
      local space = challenge.scheme == "digest" and usable(challenge.params)
      if space then return space end
    end
  end
end

-- ---- what a challenge holds for ----

local function origin_of(url) return format("%s://%s:%s", url.scheme, url.raw_host, url.port) end

-- The paths that `domain` names on the same origin; nil: all of it.
local function paths_of(space, url)
  if not space.domain then return nil end
  local paths, others = {}, false
  for text in space.domain:gmatch("%S+") do
    local ok, named = pcall(url.join, url, text)
    if ok and origin_of(named) == origin_of(url) then
      paths[#paths + 1] = named.raw_path
    else
      others = true
    end
  end
  return (#paths > 0 or others) and paths or nil
end

local function covers(space, path)
  if not space.paths then return true end
  for _, prefix in ipairs(space.paths) do
    if path:sub(1, #prefix) == prefix then
      local next = path:sub(#prefix + 1, #prefix + 1)
      if next == "" or next == "/" or prefix:sub(-1) == "/" then return true end
    end
  end
  return false
end

local function remember(self, url, space)
  local origin = origin_of(url)
  if not self._spaces[origin] then
    self._order[#self._order + 1] = origin
    if #self._order > MAX_SPACES then self._spaces[table.remove(self._order, 1)] = nil end
  end
  space.paths = paths_of(space, url)
  -- the page that was refused is of it, whatever `domain` says
  space.first = url.raw_path
  self._spaces[origin] = space
end

local function space_of(self, url)
  local space = self._spaces[origin_of(url)]
  if space and (covers(space, url.raw_path) or space.first == url.raw_path) then return space end
end

-- ---- answers ----

local function quote(text) return '"' .. text:gsub('["\\]', "\\%0") .. '"' end

local function body_text(body, p)
  if type(body) == "string" then return body end
  if not p then return "" end
  if not p.replayable then
    error(core.ValueError("DigestAuth: the server wants the body to be signed (qop=auth-int), and this one cannot be "
      .. "read twice"), 0)
  end
  return await(p:as_bytes())
end

-- RFC 7616, 3.4.1 to 3.4.3
local function response(self, space, method, uri, body)
  local hash = space.hash
  local a1 = self.login .. ":" .. space.realm .. ":" .. self._password
  if space.session then a1 = hash(a1) .. ":" .. space.nonce .. ":" .. space.cnonce end
  local a2 = method .. ":" .. uri
  if space.qop == "auth-int" then a2 = a2 .. ":" .. hash(body) end
  local middle = space.nonce
  if space.qop then
    middle = format("%s:%08x:%s:%s", space.nonce, space.nc, space.cnonce, space.qop)
  end
  return hash(hash(a1) .. ":" .. middle .. ":" .. hash(a2))
end

local function username(self, space)
  local login = self.login
  if space.userhash then return "username=" .. quote(space.hash(login .. ":" .. space.realm)) end
  if space.utf8 and login:find("[\128-\255]") then
    return "username*=UTF-8''" .. require("url.quoting").quote(login, "")
  end
  return "username=" .. quote(login)
end

--- The value of the Authorization header; nil as long as there was no challenge. Awaits by itself if the body is to be
--- signed and is none in memory.
---@param method string
---@param url url.URL
---@param body any what the request sends, if it is a string
---@param p http.Payload?
---@param target string? of the request, if that is not of the URL: for proxies, of whom `url` is
---@return string?
function DigestAuth:authorize(method, url, body, p, target)
  local space = space_of(self, url)
  if not space then return nil end
  local uri = target or url.path_qs
  if space.qop == "auth-int" then body = body_text(body, p) end
  space.nc = space.nc + 1
  -- of a -sess the first one holds
  if not space.cnonce or not space.session then space.cnonce = require("http.ws").key() end
  local list = {
    username(self, space), "realm=" .. quote(space.realm), "nonce=" .. quote(space.nonce), "uri=" .. quote(uri),
  }
  if space.qop then
    list[#list + 1] = format('qop=%s, nc=%08x, cnonce="%s"', space.qop, space.nc, space.cnonce)
  elseif space.session then
    list[#list + 1] = format('cnonce="%s"', space.cnonce)
  end
  if space.algorithm then list[#list + 1] = "algorithm=" .. space.algorithm end
  if space.opaque then list[#list + 1] = "opaque=" .. quote(space.opaque) end
  if space.userhash then list[#list + 1] = "userhash=true" end
  list[#list + 1] = 'response="' .. response(self, space, method, uri, body) .. '"'
  return "Digest " .. table.concat(list, ", ")
end

-- Was this the first answer to its challenge? Then it is the password that is wrong.
local function was_fresh(sent)
  local challenge = sent and auth.challenges(sent)[1]
  if not challenge or challenge.scheme ~= "digest" then return false end
  local nc = challenge.params.nc
  return nc == nil or tonumber(nc, 16) == 1
end

--- A request was refused with 401, or 407: is it to be sent once more?
---@param url url.URL
---@param values string[] of WWW-Authenticate, or Proxy-Authenticate
---@param sent string? the Authorization, or Proxy-Authorization, that it had
---@return boolean
function DigestAuth:challenged(url, values, sent)
  local space = find_challenge(values)
  if not space then return false end
  local again = space.stale or not was_fresh(sent)
  if again then
    remember(self, url, space)
  else
    self._spaces[origin_of(url)] = nil
  end
  return again
end

--- What an answer said in Authentication-Info: the nonce that comes next (RFC 7616, 3.5).
---@param url url.URL
---@param value string
function DigestAuth:informed(url, value)
  local space, info = self._spaces[origin_of(url)], auth.challenges(value)[1]
  local nonce = info and info.scheme == "" and info.params.nextnonce
  if not space or not nonce or nonce == "" then return end
  space.nonce, space.nc, space.cnonce = nonce, 0, nil
end

--- As a middleware, which aiohttp has it as: `middlewares = { auth }`. Awaits by itself.
---@param request http.client.Request
---@param handler fun(request: http.client.Request): any
---@return http.ClientResponse
function DigestAuth:__call(request, handler)
  local from = request.history[1]
  if from and not require("http.client.redirects").trusts(from.url, request.url) then
    return await(handler(request)) -- a redirect led to others: they get no answers
  end
  local payload = request.payload
  local body = type(request.body) == "string" and request.body or nil
  for attempt = 1, 3 do
    local sent = self:authorize(request.method, request.url, body, payload)
    request.headers["Authorization"] = sent
    local resp = await(handler(request))
    local info = resp.headers["Authentication-Info"]
    if info then self:informed(request.url, info) end
    if attempt == 3 or resp.status ~= 401 or payload and not payload.replayable
      or not self:challenged(request.url, resp.headers:getall("WWW-Authenticate"), sent) then
      return resp
    end
    resp:release()
  end
end

--- User and password. Raises TypeError, ValueError; RuntimeError in a build without OpenSSL.
---@param login string
---@param password? string ""
---@return http.DigestAuth
local function new(login, password)
  if password == nil then password = "" end
  auth.check_text(login, "login", "DigestAuth")
  auth.check_text(password, "password", "DigestAuth")
  if login:find("%c") then misuse.blame(core.ValueError, "DigestAuth: the login has control characters") end
  if login:find(":", 1, true) then
    misuse.blame(core.ValueError, "DigestAuth: a ':' is not allowed in login (RFC 7616, 3.4.2)")
  end
  if not pcall(require, "asyncio.digest") then
    misuse.blame(core.RuntimeError, "DigestAuth: this build has no OpenSSL (WITH_TLS=0)")
  end
  return setmetatable({ login = login, _password = password, _spaces = {}, _order = {} }, DigestAuth)
end

M.DigestAuth = setmetatable(DigestAuth, { __call = function(_, ...) return new(...) end, __name = "class DigestAuth" })
M.DigestAuthMiddleware = M.DigestAuth

return M
