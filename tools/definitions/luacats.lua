--- Reads types of LuaCATS annotations: where one ends, which names it mentions. What it cannot read raises an error.

local M = {}

local Parser = {}
Parser.__index = Parser

function Parser:fail(what)
  error(("%s was expected at %d of: %s"):format(what, self.at, self.text), 0)
end

--- Takes what the pattern matches from here on, with blanks before it; nil: it is not there.
function Parser:take(pattern)
  local from, to, capture = self.text:find("^%s*(" .. pattern .. ")", self.at)
  if not from then return nil end
  self.at = to + 1
  return capture
end

function Parser:need(pattern, what) return self:take(pattern) or self:fail(what) end

-- One after the other, with commas between them, up to what closes them.
function Parser:list(close, item)
  if self:take(close) then return end
  repeat item(self) until not self:take(",")
  self:need(close, close:gsub("%%", ""))
end

-- What stands in { }: named fields, or [key]: value.
function Parser:field()
  if self:take("%[") then
    if not self:take("%d+") then self:union() end
    self:need("%]", "]")
  else
    self:need("[%a_][%w_]*%??", "a field's name")
  end
  self:need(":", "':'")
  self:union()
end

function Parser:parameter()
  if not self:take("%.%.%.") then self:need("[%a_][%w_]*%??", "a parameter's name") end
  if self:take(":") then self:union() end
end

function Parser:fun()
  self:need("%(", "(")
  self:list("%)", Parser.parameter)
  if self:take(":") then
    repeat
      self:take("%.%.%.")
      self:union()
    until not self:take(",")
  end
end

function Parser:primary()
  if self:take("%(") then
    self:union()
    self:need("%)", ")")
  elseif self:take("{") then
    self:list("}", Parser.field)
  elseif not (self:take('"[^"]*"') or self:take("%-?%d+")) then
    local name = self:need("[%a_][%w_.]*%*?", "a type")
    if name == "fun" and self.text:sub(self.at, self.at) == "(" then return self:fun() end
    self.names[#self.names + 1] = name
    if self.text:sub(self.at, self.at) == "<" then
      self.at = self.at + 1
      self:list(">", Parser.union)
    end
  end
end

function Parser:union()
  repeat
    self:primary()
    while true do
      local two, one = self.text:sub(self.at, self.at + 1), self.text:sub(self.at, self.at)
      if two == "[]" then
        self.at = self.at + 2
      elseif one == "?" then
        self.at = self.at + 1
      else
        break
      end
    end
  until not self:take("|")
end

--- A type at the beginning of a text.
---@param text string
---@return string[] names that it mentions
---@return integer last where it ends
function M.type(text)
  local parser = setmetatable({ text = text, at = 1, names = {} }, Parser)
  parser:union()
  return parser.names, parser.at - 1
end

--- Splits at the separator where it stands in no bracket.
---@param text string
---@param separator string one character
---@return string[]
function M.split(text, separator)
  local list, depth, from = {}, 0, 1
  for i = 1, #text do
    local c = text:sub(i, i)
    if c:find("[%(<{%[]") then
      depth = depth + 1
    elseif c:find("[%)>}%]]") then
      depth = depth - 1
    elseif c == separator and depth == 0 then
      list[#list + 1] = text:sub(from, i - 1):match("^%s*(.-)%s*$")
      from = i + 1
    end
  end
  if text:find("%S") then list[#list + 1] = text:sub(from):match("^%s*(.-)%s*$") end
  return list
end

return M
