--- fs.path: paths as text, after Python's posixpath. Nothing is looked up.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local M = {}

--- Raises unless `name` is a path; for functions that scripts call.
function M.check(name, fname)
  if type(name) ~= "string" then
    misuse.raise(core.TypeError,
      ("%s: a path (a string) was expected, got %s"):format(fname, misuse.describe(name)), 3)
  elseif name:find("\0", 1, true) then
    misuse.raise(core.ValueError, fname .. ": the path contains a zero byte", 3)
  end
end

--- Does it begin at the root?
function M.isabs(p)
  return p:sub(1, 1) == "/"
end

--- One path of several: an absolute one drops those before it.
---@param first string
---@param ... string
---@return string
function M.join(first, ...)
  local all = first
  for _, p in ipairs { ... } do
    if p:sub(1, 1) == "/" then
      all = p
    elseif all == "" or all:sub(-1) == "/" then
      all = all .. p
    else
      all = all .. "/" .. p
    end
  end
  return all
end

--- What is before the last slash, and what is behind it.
---@return string folder, string name
function M.split(p)
  local folder, name = p:match("^(.*/)([^/]*)$")
  if not folder then return "", p end
  if folder:find("[^/]") then folder = folder:gsub("/+$", "") end
  return folder, name
end

function M.dirname(p)
  return (M.split(p))
end

function M.basename(p)
  return p:match("[^/]*$")
end

--- "a/b.tar.gz" gives "a/b.tar" and ".gz". Dots at the beginning of a name begin no ending.
---@return string root, string ending
function M.splitext(p)
  local name = M.basename(p)
  local dots = name:match("^%.*")
  local ending = name:sub(#dots + 1):match("%.[^.]*$") or ""
  return p:sub(1, #p - #ending), ending
end

--- Without "." and "x/..", without double slashes.
function M.normpath(p)
  if p == "" then return "." end
  local root = p:match("^//[^/]") and "//" or p:sub(1, 1) == "/" and "/" or ""
  if p == "//" then root = "//" end
  local parts = {}
  for part in p:gmatch("[^/]+") do
    if part == ".." and (#parts > 0 and parts[#parts] ~= ".." or root ~= "") then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  local all = root .. table.concat(parts, "/")
  return all == "" and "." or all
end

--- The way from the folder `start` to p. Both are absolute, or both are relative to the same folder.
---@param p string
---@param start? string default "."
---@return string
function M.relpath(p, start)
  start = start or "."
  if M.isabs(p) ~= M.isabs(start) then
    misuse.raise(core.ValueError, "relpath: one path is absolute and the other is not")
  end
  local to, from = {}, {}
  for part in M.normpath(p):gmatch("[^/]+") do if part ~= "." then to[#to + 1] = part end end
  for part in M.normpath(start):gmatch("[^/]+") do if part ~= "." then from[#from + 1] = part end end
  local same = 0
  while same < #to and same < #from and to[same + 1] == from[same + 1] do same = same + 1 end
  local parts = {}
  for _ = same + 1, #from do parts[#parts + 1] = ".." end
  for i = same + 1, #to do parts[#parts + 1] = to[i] end
  return #parts > 0 and table.concat(parts, "/") or "."
end

return M
