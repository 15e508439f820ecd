-- The links of an HTML page, and what can be linked to in it. For link_checker.lua and mirror.lua.

local url = require "url"

local M = {}

-- Elements with the attributes that name something else; true: a page one may go to.
local linking = {
  a = { href = true }, area = { href = true }, iframe = { src = true }, frame = { src = true },
  link = { href = false }, img = { src = false }, script = { src = false }, source = { src = false },
  video = { src = false, poster = false }, audio = { src = false }, track = { src = false }, embed = { src = false },
  object = { data = false }, input = { src = false },
}

local entities = { amp = "&", lt = "<", gt = ">", quot = '"', apos = "'", nbsp = "\u{a0}" }

local decode = function(text)
  text = text:gsub("&#[xX](%x+);", function(digits)
    local code = tonumber(digits, 16)
    return code < 0x110000 and utf8.char(code) or ""
  end)
  text = text:gsub("&#(%d+);", function(digits)
    local code = tonumber(digits)
    return code < 0x110000 and utf8.char(math.tointeger(code)) or ""
  end)
  return (text:gsub("&(%a+);", entities))
end

-- Name and value of each attribute in a tag.
local attributes = function(text)
  local list = {}
  local at = 1
  while true do
    local name, after = text:match("^[%s/]*([^%s=/>]+)()", at)
    if not name then return list end
    local value, past = text:match('^%s*=%s*"([^"]*)"()', after)
    if not value then value, past = text:match("^%s*=%s*'([^']*)'()", after) end
    if not value then value, past = text:match("^%s*=%s*([^%s>]+)()", after) end
    list[name:lower()] = list[name:lower()] or decode(value or "")
    at = past or after
  end
end

-- Each start tag outside of comments, scripts and styles: its name and its attributes.
local tags = function(html)
  html = html:gsub("<!%-%-.-%-%->", "")
  for _, name in ipairs { "script", "style" } do
    local any = name:gsub("%a", function(c) return "[" .. c .. c:upper() .. "]" end)
    html = html:gsub("(<" .. any .. "[^>]*>).-</" .. any, "%1</" .. name)
  end
  return coroutine.wrap(function()
    for name, rest in html:gmatch("<(%a[%w]*)([^<>]*)>") do
      coroutine.yield(name:lower(), attributes(rest))
    end
  end)
end

-- The links of a page, in the order in which they stand there: { url (without fragment), fragment, page }; and the
-- names that fragments can be. What is no http is left out; what is no URL has the field `bad`.
function M.of(html, address)
  local links, names, base = {}, {}, address
  for tag, list in tags(html) do
    if tag == "base" and list.href then
      local ok, joined = pcall(url.join, address, list.href)
      base = ok and joined or base
    end
    if list.id then names[list.id] = true end
    if tag == "a" and list.name then names[list.name] = true end
    for attribute, page in pairs(linking[tag] or {}) do
      local target = list[attribute] and list[attribute]:match("^%s*(.-)%s*$")
      local scheme = target and target:match("^(%a[%w+.-]*):")
      if target and target ~= "" and (not scheme or scheme:lower():find("^https?$")) then
        local ok, joined = pcall(function() return url.parse(base):join(target) end)
        if ok then
          table.insert(links, { url = tostring(joined:with_fragment(nil)), fragment = joined.fragment, page = page })
        else
          table.insert(links, { url = target, bad = joined.message, page = page })
        end
      end
    end
  end
  return links, names
end

-- robots.txt (RFC 9309): a function that says whether a path may be fetched, and the seconds between requests that it
-- asks for.
function M.robots(text, agent)
  local groups, current, open = {}, nil, false
  for line in (text:gsub("^\u{feff}", "") .. "\n"):gmatch("([^\r\n]*)[\r\n]") do
    local name, value = line:gsub("#.*", ""):match("^%s*([%a-]+)%s*:%s*(.-)%s*$")
    name = name and name:lower()
    if name == "user-agent" then
      if not open then current = { agents = {}, rules = {} } end
      current.agents[value:lower()] = true
      groups[value:lower()], open = groups[value:lower()] or current, true
    elseif current and name then
      open = false
      if (name == "allow" or name == "disallow") and value ~= "" then
        local pattern = value:gsub("[%^%%%(%)%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*")
        if pattern:sub(-1) ~= "$" then pattern = pattern:gsub("%$", "%%$") end
        table.insert(current.rules, { allow = name == "allow", pattern = "^" .. pattern, length = #value })
      elseif name == "crawl-delay" then
        current.delay = tonumber(value)
      end
    end
  end
  local group = groups[agent:lower()] or groups["*"] or { rules = {} }
  local allowed = function(path)
    local best
    for _, rule in ipairs(group.rules) do
      if path:find(rule.pattern) then
        local better = not best or rule.length > best.length or rule.length == best.length and rule.allow
        if better then best = rule end
      end
    end
    return not best or best.allow
  end
  return allowed, group.delay
end

return M
