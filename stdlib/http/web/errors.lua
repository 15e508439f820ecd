--- HTTP errors: error classes whose objects are responses too. They are raised (`error(web.HTTPNotFound())`), caught
--- by class (`asyncio.isinstance(e, web.HTTPClientError)`), or returned by a handler.

local Response = require("http.web.response").Response
local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local phrases = require("http.status").phrases

local BODY <const>, TYPE <const>, HEADERS <const> = 2, 3, 4

local M = {}

local fill = Response._fill

---@class http.web.HTTPException
local HTTPException = core.Exception:extend("HTTPException")
M.HTTPException = HTTPException

HTTPException.is_response = true
HTTPException.is_http_exception = true
HTTPException.empty_body = false

-- What Response has and the error's class has not: its methods, and the fields that are computed.
local function lookup(cls)
  local get = Response.__get
  return function(self, key)
    local value = cls[key]
    if value ~= nil then return value end
    value = Response[key]
    if value ~= nil then return value end
    local getter = get[key]
    if getter then return getter(self) end
  end
end

local function assign(self, key, value)
  local setter = Response.__set[key]
  if setter then return setter(self, value) end
  rawset(self, key, value)
end

-- Makes the object: `first` are the arguments that a class takes before the options.
local function make(cls, opts)
  local name = cls.name
  if opts ~= nil and type(opts) ~= "table" then
    misuse.blame(core.TypeError, name .. ": a table of keyword arguments was expected, got " .. misuse.describe(opts))
  end
  local status = cls.status_code
  if not status then misuse.blame(core.TypeError, name .. " has no status: take a class derived from it") end
  local self = setmetatable({ status, "", false, false, false, false, false }, cls)
  if opts then
    if opts.status ~= nil then misuse.blame(core.TypeError, name .. ": its status is " .. status) end
    fill(self, opts, name)
  end
  self.message = self.reason
  if not (opts and (opts.text or opts.body)) and not cls.empty_body then
    self[BODY] = ("%d: %s"):format(status, self.reason)
    if not self[TYPE] and not (self[HEADERS] and self[HEADERS]["Content-Type"]) then
      self[TYPE] = "text/plain; charset=utf-8"
    end
  end
  return self
end

local extend = core.Exception.extend

-- Classes of scripts are made like ours.
function HTTPException.extend(base, name)
  local cls = extend(base, name)
  cls.__index, cls.__newindex, cls.extend = lookup(cls), assign, nil
  getmetatable(cls).__call = function(c, ...) return c._make(c, ...) end
  return cls
end

HTTPException.__index, HTTPException.__newindex = lookup(HTTPException), assign
getmetatable(HTTPException).__call = function(c, ...) return c._make(c, ...) end
HTTPException._make = make

-- A location, an allowed list...: text before the options, or in them.
local function with_text(opts, name, text)
  local all = { text = text }
  for key, value in next, opts or {} do
    if key ~= name then all[key] = value end
  end
  if all.body ~= nil and (opts == nil or opts.text == nil) then all.text = nil end
  return all
end

local function make_move(cls, location, opts)
  if type(location) == "table" and opts == nil and getmetatable(location) == nil then
    location, opts = location.location, location
  end
  if location == nil or location == "" then misuse.blame(core.ValueError, cls.name .. ": a location was expected") end
  if type(location) ~= "string" then
    local tostr = type(location) == "table" or type(location) == "userdata"
    if not tostr then
      misuse.blame(core.TypeError, cls.name .. ": a location was expected, got " .. misuse.describe(location))
    end
    location = tostring(location)
  end
  if location:find("[%c\127]") then
    misuse.blame(core.ValueError, cls.name .. ": a control character in the location")
  end
  local all = {}
  for key, value in next, opts or {} do
    if key ~= "location" then all[key] = value end
  end
  local self = make(cls, all)
  self.headers["Location"] = location:gsub("[\128-\255 ]", function(c) return ("%%%02X"):format(c:byte()) end)
  self.location = location
  return self
end

local function make_not_allowed(cls, method, allowed, opts)
  local list = {}
  for _, name in ipairs(allowed or {}) do list[#list + 1] = name end
  table.sort(list)
  local self = make(cls, opts)
  self.headers["Allow"] = table.concat(list, ",")
  self.method, self.allowed_methods = tostring(method):upper(), list
  return self
end

local function make_too_large(cls, max_size, actual_size, opts)
  if type(max_size) == "table" and opts == nil then max_size, opts = nil, max_size end
  local text = max_size and ("Maximum request body size %d exceeded%s"):format(
    max_size, actual_size and (", actual body size %d"):format(actual_size) or "")
  return make(cls, with_text(opts, nil, opts and opts.text or text))
end

local function make_unavailable(cls, link, opts)
  if type(link) == "table" then link, opts = nil, link end
  local self = make(cls, opts)
  if link then self.headers["Link"] = ('<%s>; rel="blocked-by"'):format(link) end
  self.link = link
  return self
end

-- ---- the tree ----

local function group(name, base)
  local cls = HTTPException.extend(base, name)
  M[name] = cls
  return cls
end

local function define(base, list)
  for status, name in pairs(list) do
    local cls = group("HTTP" .. name, base)
    cls.status_code, cls.default_reason = status, phrases[status]
    cls.empty_body = status == 204 or status == 205 or status == 304 or nil
  end
end

local HTTPError = group("HTTPError", HTTPException)
local HTTPRedirection = group("HTTPRedirection", HTTPException)
local HTTPSuccessful = group("HTTPSuccessful", HTTPException)
local HTTPClientError = group("HTTPClientError", HTTPError)
local HTTPServerError = group("HTTPServerError", HTTPError)
local HTTPMove = group("HTTPMove", HTTPRedirection)
HTTPMove._make = make_move

define(HTTPSuccessful, {
  [200] = "Ok",
  [201] = "Created",
  [202] = "Accepted",
  [203] = "NonAuthoritativeInformation",
  [204] = "NoContent",
  [205] = "ResetContent",
  [206] = "PartialContent",
})

define(HTTPMove, {
  [300] = "MultipleChoices",
  [301] = "MovedPermanently",
  [302] = "Found",
  [303] = "SeeOther",
  [305] = "UseProxy",
  [307] = "TemporaryRedirect",
  [308] = "PermanentRedirect",
})
define(HTTPRedirection, { [304] = "NotModified" })

define(HTTPClientError, {
  [400] = "BadRequest",
  [401] = "Unauthorized",
  [402] = "PaymentRequired",
  [403] = "Forbidden",
  [404] = "NotFound",
  [405] = "MethodNotAllowed",
  [406] = "NotAcceptable",
  [407] = "ProxyAuthenticationRequired",
  [408] = "RequestTimeout",
  [409] = "Conflict",
  [410] = "Gone",
  [411] = "LengthRequired",
  [412] = "PreconditionFailed",
  [413] = "RequestEntityTooLarge",
  [414] = "RequestURITooLong",
  [415] = "UnsupportedMediaType",
  [416] = "RequestRangeNotSatisfiable",
  [417] = "ExpectationFailed",
  [421] = "MisdirectedRequest",
  [422] = "UnprocessableEntity",
  [424] = "FailedDependency",
  [426] = "UpgradeRequired",
  [428] = "PreconditionRequired",
  [429] = "TooManyRequests",
  [431] = "RequestHeaderFieldsTooLarge",
  [451] = "UnavailableForLegalReasons",
})

define(HTTPServerError, {
  [500] = "InternalServerError",
  [501] = "NotImplemented",
  [502] = "BadGateway",
  [503] = "ServiceUnavailable",
  [504] = "GatewayTimeout",
  [505] = "VersionNotSupported",
  [506] = "VariantAlsoNegotiates",
  [507] = "InsufficientStorage",
  [510] = "NotExtended",
  [511] = "NetworkAuthenticationRequired",
})

M.HTTPMethodNotAllowed._make = make_not_allowed
M.HTTPRequestEntityTooLarge._make = make_too_large
M.HTTPUnavailableForLegalReasons._make = make_unavailable

return M
