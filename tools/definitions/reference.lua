--- What the reference pages say: of each function and method its parameters and what it does, of each option what it
--- is.

local read = require("tools.files").read

local M = {}

local several = { Give = "Gives ", Await = "Awaits ", Wait = "Waits ", Call = "Calls ", Wake = "Wakes ", End = "Ends " }

--- As editors show it: without links, a sentence, of one function.
local function sentence(text)
  text = text:gsub("%[([^%]]*)%]%([^)]*%)", "%1"):gsub("%s+", " "):match("^[%s,;:]*(.-)[%s,;]*$")
  text = text:gsub(" ?`opts`:$", "")
  if text == "" then return nil end
  text = text:gsub("^%l", string.upper)
  text = text:gsub("^(%u%l+) ", several)
  return text:find("[.!?:]$") and text or text .. "."
end

-- The items of a page: a bullet with the lines that go on with it, without blocks of code and tables.
local function items(text)
  local list, item, fenced = {}, nil, false
  for line in (text .. "\n"):gmatch("(.-)\n") do
    if line:find("^%s*```") then
      fenced, item = not fenced, nil
    elseif fenced or line:find("^%s*|") or line == "" or line:find("^#") then
      item = nil
    elseif line:find("^%s*%- ") or not item then
      item = { line:gsub("^%s*%- ", "") .. "" }
      list[#list + 1] = item
    else
      item[#item + 1] = line:match("^%s*(.*)$")
    end
  end
  for i = 1, #list do list[i] = table.concat(list[i], " ") end
  return list
end

-- The spans of an item: {from, to, text}.
local function spans(item)
  local list, at = {}, 1
  while true do
    local from, to, text = item:find("`([^`]+)`", at)
    if not from then return list end
    list[#list + 1] = { from = from, to = to, text = text }
    at = to + 1
  end
end

local function define(page, span, text)
  local name, params = span:match("^([%a_][%w_.:]*)%(([^)]*)%)$")
  name = name or span:match("^([%a_][%w_.]*)$")
  if not name then return end
  local entry = page[name] or {}
  page[name] = entry
  if params and not params:gsub("%.%.%.", ""):find("[\"'{.]") and params ~= "..." and params ~= "false" then
    params = params:gsub("[%[%]]", "")
    if #params >= #(entry.params or "") then entry.params = params end
  end
  entry.text = entry.text or text
end

-- A dash says of the spans right before it what they are, up to the next ones that are followed by a dash.
local function index(page, item)
  local list, groups = spans(item), {}
  for i = 1, #list do
    local behind = item:sub(list[i].to + 1)
    if behind:find("^ — ") or behind:find("^ %([^)`]*%) — ") then
      local first = i
      local function between() return item:sub(list[first - 1].to + 1, list[first].from - 1) end
      while first > 1 and between():find("^,? ?%(?[^`.]*%)?, $") do first = first - 1 end
      groups[#groups + 1] = { first = first, last = i }
    end
  end
  for g, group in ipairs(groups) do
    local _, from = item:find("— ", list[group.last].to, true)
    local to = groups[g + 1] and list[groups[g + 1].first].from - 1 or #item
    local text = sentence(item:sub(from + 1, to))
    for i = group.first, group.last do define(page, list[i].text, text) end
  end
  for i = 1, #list do
    if list[i].text:find("%)$") then define(page, list[i].text) end
  end
end

--- A page: names as they stand there ("loop:time", "asyncio.sleep") -> {params, text}.
---@param path string
---@return table<string, { params: string?, text: string? }>
function M.page(path)
  local page = {}
  for _, item in ipairs(items(read(path))) do index(page, item) end
  return page
end

--- The options that the tables below a heading name -> what they are.
---@param path string
---@param heading string a part of it
---@return table<string, string>
function M.options(path, heading)
  local text = read(path)
  local _, at = text:find("\n#+ [^\n]*" .. heading:gsub("%p", "%%%0") .. "[^\n]*")
  local rest, options = text:sub((at or 0) + 1), {}
  local section = at and rest:match("^(.-)\n## ") or rest
  for row in section:gmatch("\n|([^\n]*)|") do
    local cells = {}
    for cell in (row .. "|"):gmatch("%s*(.-)%s*|") do cells[#cells + 1] = cell end
    local names, said = {}, cells[#cells]
    for name in cells[1]:gmatch("`([%w_]+)`") do names[#names + 1] = name end
    local default = #cells == 3 and cells[2] or ""
    if #names > 1 and default:find(",") then default = "" end
    if default ~= "" and default ~= "none" then
      said = (said == "" and "default: " or said .. "; default: ") .. default
    end
    said = said:gsub("%[([^%]]*)%]%([^)]*%)", "%1")
    for _, name in ipairs(names) do options[name] = options[name] or said end
  end
  return options
end

return M
