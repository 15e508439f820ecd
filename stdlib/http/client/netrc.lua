--- The file .netrc: users and passwords by host, for sessions with trust_env. Read as Python's netrc and curl do:
--- tokens with white space between them, quoted or not, comments, and macros, which are passed over.

local core = require "asyncio.core"

local await, catch = core.await, core.catch

local M = {}

local SIZE = 1 << 20

-- ---- reading ----

--- The next token behind `i`, and where it ends; nil at the end of the text.
local function token(text, i)
  while true do
    i = text:find("%S", i)
    if not i then return nil end
    if text:byte(i) ~= 35 then break end -- a comment, to the end of its line
    i = text:find("\n", i, true)
    if not i then return nil end
  end
  local quoted = text:byte(i) == 34
  local out = {}
  if quoted then i = i + 1 end
  while i <= #text do
    local c = text:sub(i, i)
    if quoted and c == '"' then return table.concat(out), i + 1 end
    if not quoted and c:find("%s") then break end
    if c == "\\" and i < #text then
      i = i + 1
      c = text:sub(i, i)
    end
    out[#out + 1] = c
    i = i + 1
  end
  return table.concat(out), i
end

--- What the text of a .netrc says: hosts in small letters, and `default`, each {login =, password =}. What cannot be
--- understood is passed over, as nobody but its owner can mend it.
---@param text string
---@return table<string, {login: string, password: string}> hosts
---@return {login: string, password: string}? default
function M.parse(text)
  local hosts, default, current = {}, nil, nil
  local i = 1
  while true do
    local word, value
    word, i = token(text, i)
    if not word then return hosts, default end
    if word == "machine" then
      value, i = token(text, i)
      if not value then return hosts, default end
      current = { login = "", password = "" }
      hosts[value:lower()] = hosts[value:lower()] or current -- the first one counts
    elseif word == "default" then
      current = { login = "", password = "" }
      default = default or current
    elseif word == "macdef" then
      i = select(2, text:find("\r?\n\r?\n", i)) or #text + 1
    elseif word == "login" or word == "user" or word == "password" or word == "account" then
      value, i = token(text, i)
      if not value then return hosts, default end
      if current then current[word == "user" and "login" or word] = value end
    end
  end
end

-- ---- the file ----

---@class http.client.Netrc
local Netrc = {}
Netrc.__index = Netrc

--- User and password for a host, as a BasicAuth; nil if there are none.
---@param host string
---@return any
function Netrc:auth(host)
  local found = self.hosts[host:lower()] or self.default
  if not found or found.login == "" and found.password == "" then return nil end
  found.auth = found.auth or require("http.client.auth").BasicAuth(found.login, found.password)
  return found.auth
end

local function getenv(name)
  local ok, value = pcall(os.getenv, name) -- a sandbox may refuse
  return ok and value ~= "" and value or nil
end

--- The file that NETRC names, or .netrc of the home directory. Awaits by itself, reading on a thread. A file that is
--- not there, or cannot be read, has nothing.
---@return http.client.Netrc
function M.load()
  local home = getenv("HOME")
  local name = getenv("NETRC") or home and home .. "/.netrc"
  local hosts, default = {}, nil
  local ok, text = catch(function()
    local fs = require "fs"
    if not name or await(fs.stat(name)).size > SIZE then return nil end
    return await(fs.read_file(name))
  end)
  if ok and text then
    hosts, default = M.parse(text)
  elseif not ok and not core.isinstance(text, core.OSError) then
    error(text, 0)
  end
  return setmetatable({ hosts = hosts, default = default }, Netrc)
end

return M
