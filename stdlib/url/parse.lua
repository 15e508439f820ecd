--- URLs taken apart and put together (RFC 3986). Parts are kept as they are sent ("raw"): what has to be escaped is,
--- escapes of unreserved characters are undone, the others are in capitals; scheme and host are in small letters. What
--- a browser would silently mend or drop (control characters, backslashes in an authority) is refused: programs that
--- read it differently disagree about whose address it is.

local core = require "asyncio.core"

local M = {}

local char, find, gsub, lower, match, sub =
  string.char, string.find, string.gsub, string.lower, string.match, string.sub

M.default_ports = { http = 80, https = 443, ws = 80, wss = 443, ftp = 21 }

---@param text string
---@param ... any
function M.fail(text, ...)
  error(core.ValueError("not a URL: " .. text:format(...)), 0)
end
local fail = M.fail

-- ---- escapes ----

-- Besides letters, digits and _.~-
local allowed = {
  user = "!$&'()*+,;=",
  path = "!$&'()*+,;=:@/",
  query = "!$&'()*+,;=:@/?",
}
allowed.fragment = allowed.query

local strange, escapes, kept = {}, {}, {}
for part, more in pairs(allowed) do strange[part] = "[^%w_.~%-" .. gsub(more, "%W", "%%%0") .. "]" end
for i = 0, 255 do
  local c = char(i)
  escapes[c] = ("%%%02X"):format(i)
  kept[c] = find(c, "[%w_.~%-]") and c or escapes[c]
end

local function one_escape(hex)
  if #hex < 2 then return "%25" .. hex end
  return kept[char(tonumber(hex, 16))]
end

--- The text with escapes where it needs them, and no others.
---@param text string
---@param part "user"|"path"|"query"|"fragment"
---@return string
function M.requote(text, part)
  local pattern = strange[part]
  if not find(text, pattern) then return text end
  if not find(text, "%", 1, true) then return (gsub(text, pattern, escapes)) end
  text = gsub(text, "%%(%x?%x?)", one_escape)
  return (gsub(text, pattern, function(c) return c ~= "%" and escapes[c] or nil end))
end

-- ---- paths ----

--- Without "." and ".." (RFC 3986, 5.2.4).
---@param path string
---@return string
function M.normalize(path)
  if not find(path, ".", 1, true) or not find("/" .. path .. "/", "/%.%.?/") then return path end
  local absolute, list, n = sub(path, 1, 1) == "/", {}, 0
  local last = ""
  for segment in string.gmatch(absolute and sub(path, 2) or path, "[^/]*") do
    last = segment
    if segment == ".." then
      if n > 0 then list[n], n = nil, n - 1 end
    elseif segment ~= "." then
      n = n + 1
      list[n] = segment
    end
  end
  if last == "." or last == ".." then list[n + 1] = "" end
  return (absolute and "/" or "") .. table.concat(list, "/")
end

-- ---- hosts ----

local function check_ipv6(text)
  local address, zone = match(text, "^([%x:.]+)(.*)$")
  if not address or not find(address, ":", 1, true) or (zone ~= "" and not find(zone, "^%%[%w_.~%%-]+$")) then
    fail("'[%s]' is no address", text)
  end
  return lower(address) .. zone
end

--- What DNS calls a host that is written in any script (IDNA). What its characters stand for is looked at again: "℀"
--- is "a/c", which would make another URL.
local function encoded(text)
  local known, idna = pcall(require, "url.idna")
  if not known then fail("the host is not ASCII: write it in its IDNA form (xn--...): '%s'", text) end
  if #text > 1000 then fail("a host of more than 255 characters") end
  -- escapes stand for UTF-8: RFC 3986, 3.2.2
  local plain = gsub(text, "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end)
  if not utf8.len(plain) then fail("the host is not UTF-8: %q", text) end
  if find(plain, "%c") then fail("the host has a control character: %q", text) end
  local host, why = idna.encode(plain)
  if not host then fail("the host '%s' has no IDNA form: %s", text, why) end
  if find(host, "[^%w_.-]") or host == "" or find(host, "..", 1, true) then fail("the host is '%s'", text) end
  return lower(host)
end

--- A host as people read it, if it is in an IDNA form that would be read back as the same.
---@param host string
---@return string
function M.decoded_host(host)
  if not find(host, "xn--", 1, true) or find(host, "[^%w_.-]") or find(host, "..", 1, true) then return host end
  local known, idna = pcall(require, "url.idna")
  local text = known and idna.decode(host)
  local again = text and not find(text, "[%c /?#@:\\%%%[%]<>^|]") and idna.encode(text)
  return again == host and text or host
end

--- A host in small letters, as DNS has it; an IPv6 address without its brackets.
---@param text string
---@return string
function M.host(text)
  if sub(text, 1, 1) == "[" then
    if sub(text, -1) ~= "]" then fail("the host is '%s'", text) end
    return check_ipv6(sub(text, 2, -2))
  end
  if find(text, ":", 1, true) then return check_ipv6(text) end
  if find(text, "[\128-\255]") or find(text, "%%[89A-Fa-f]%x") then return encoded(text) end
  if find(text, "[^%w_.~!$&'()*+,;=-]") then fail("the host is '%s'", text) end
  if #text > 255 then fail("a host of more than 255 characters") end
  return lower(text)
end

local function port_of(text)
  if text == "" then return nil end
  local port = find(text, "^%d+$") and #text <= 10 and tonumber(text)
  if not port or port > 65535 then fail("the port is '%s'", text) end
  return math.tointeger(port)
end

local function authority(parts, text)
  if find(text, "\\", 1, true) then fail("a backslash in front of the path: '%s'", text) end
  local at = find(text, "@[^@]*$")
  if at then
    local user, colon, password = match(sub(text, 1, at - 1), "^([^:]*)(:?)(.*)$")
    if user ~= "" or colon ~= "" then parts.user = M.requote(user, "user") end
    if colon ~= "" then parts.password = M.requote(password, "user") end
    text = sub(text, at + 1)
  end
  local host, port = match(text, "^(%[[^%]]*%]):?(%d*)$")
  if not host then host, port = match(text, "^([^:]*):?(.*)$") end
  parts.host = M.host(host)
  parts.port = port_of(port)
end

-- ---- whole URLs ----

---@class url.Parts
---@field scheme string?
---@field user string?
---@field password string?
---@field host string?
---@field port integer? as it was written
---@field path string
---@field query string?
---@field fragment string?

-- What is encoded already stays as it is.
local function as_is(text)
  if find(text, "[ \127-\255]") then fail("encoded: a space or a byte beyond ASCII: %q", text) end
  return text
end

--- Takes a URL, or a reference relative to one, apart. Raises ValueError.
---@param text string
---@param literal? boolean path, query and fragment stay as they are written
---@return url.Parts
function M.split(text, literal)
  if find(text, "%c") then fail("it has a control character: %q", text) end
  local parts, rest = {}, text
  local requote = literal and as_is or M.requote
  local scheme, behind = match(rest, "^(%a[%w+.-]*):(.*)$")
  if scheme then
    parts.scheme, rest = lower(scheme), behind
  elseif find(rest, "^[^/?#]*:") then
    fail("the scheme is '%s'", match(rest, "^[^:]*"))
  end
  local hash = find(rest, "#", 1, true)
  if hash then
    parts.fragment = requote(sub(rest, hash + 1), "fragment")
    rest = sub(rest, 1, hash - 1)
  end
  local question = find(rest, "?", 1, true)
  if question then
    parts.query = requote(sub(rest, question + 1), "query")
    rest = sub(rest, 1, question - 1)
  end
  if sub(rest, 1, 2) == "//" then
    local slash = find(rest, "/", 3, true) or #rest + 1
    authority(parts, sub(rest, 3, slash - 1))
    rest = sub(rest, slash)
  end
  if M.default_ports[parts.scheme] and (parts.host or "") == "" then fail("no host: '%s'", text) end
  parts.path = requote(rest, "path")
  if parts.host then
    parts.path = parts.path == "" and "/" or literal and parts.path or M.normalize(parts.path)
  end
  return parts
end

--- A host as it stands in a URL.
---@param host string
---@return string
function M.bracketed(host)
  return find(host, ":", 1, true) and "[" .. host .. "]" or host
end

--- user:password@host:port
---@param parts url.Parts
---@return string
function M.authority(parts)
  local text = M.bracketed(parts.host)
  local port = parts.port
  if port and port ~= M.default_ports[parts.scheme] then text = text .. ":" .. port end
  if parts.user or parts.password then
    text = (parts.user or "") .. (parts.password and ":" .. parts.password or "") .. "@" .. text
  end
  return text
end

--- The text of a URL.
---@param parts url.Parts
---@return string
function M.unsplit(parts)
  local text = parts.scheme and parts.scheme .. ":" or ""
  local path = parts.path
  if parts.host then
    text = text .. "//" .. M.authority(parts)
  elseif sub(path, 1, 2) == "//" then
    text = text .. "/." -- else its first segment would be a host
  elseif not parts.scheme and find(path, "^[^/]*:") then
    text = "./" -- or a scheme
  end
  text = text .. path
  if parts.query then text = text .. "?" .. parts.query end
  if parts.fragment then text = text .. "#" .. parts.fragment end
  return text
end

local function merge(base, path)
  if base.host and base.path == "" then return "/" .. path end
  return (match(base.path, "^.*/") or "") .. path
end

--- What a reference means where `base` is (RFC 3986, 5.2.2).
---@param base url.Parts
---@param ref url.Parts
---@return url.Parts
function M.resolve(base, ref)
  local t = { scheme = ref.scheme or base.scheme, fragment = ref.fragment }
  local from = (ref.scheme or ref.host) and ref or base
  t.user, t.password, t.host, t.port = from.user, from.password, from.host, from.port
  if from == ref then
    t.path, t.query = ref.path, ref.query
  elseif ref.path == "" then
    t.path, t.query = base.path, ref.query or base.query
  else
    t.path = sub(ref.path, 1, 1) == "/" and ref.path or merge(base, ref.path)
    t.query = ref.query
  end
  if t.scheme or t.host then t.path = M.normalize(t.path) end
  if M.default_ports[t.scheme] and (t.host or "") == "" then fail("no host: '%s'", M.unsplit(t)) end
  return t
end

return M
