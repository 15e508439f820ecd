--- Which bytes a Range header asks for (RFC 9110, 14), and whether the conditions of a request hold (13).

local M = {}

--- More than that in one header is nobody's honest wish: the whole is sent, as RFC 9110, 14.2 allows.
local MAX_RANGES = 32
--- What a part of a multipart/byteranges body costs beside its bytes: a smaller gap is rather sent along.
local GAP = 80

local byte, find, match, sub = string.byte, string.find, string.match, string.sub

-- ---- ranges ----

--- A position in a file, of digits without zeros in front; more than a file can have bytes are the end of any file.
local function number(digits)
  if #digits > 18 then return math.maxinteger end
  return math.tointeger(tonumber(digits)) or 0
end

--- One element: first and last byte, counted from 0; false: there are no such bytes; nil: it is no range.
local function element(text, size)
  local first, last = match(text, "^(%d*)%-(%d*)$")
  if not first or first == "" and last == "" then return nil end
  if first == "" then
    local n = number(match(last, "^0*(.*)$"))
    if n == 0 or size == 0 then return false end
    return n < size and size - n or 0, size - 1
  end
  local open = last == ""
  -- of any number of digits
  first, last = match(first, "^0*(.*)$"), match(last, "^0*(.*)$")
  if not open and (#last < #first or #last == #first and last < first) then return nil end
  first, last = number(first), not open and number(last) or nil
  if first >= size then return false end
  return first, last and last < size and last or size - 1
end

--- Overlapping ones, and such with small gaps between them, become one. They are sorted then; else they stay as asked.
local function coalesce(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted, function(a, b) return a[1] < b[1] end)
  local out = { sorted[1] }
  for i = 2, #sorted do
    local last, r = out[#out], sorted[i]
    if r[1] <= last[2] + GAP then
      if r[2] > last[2] then out[#out] = { last[1], r[2] } end
    else
      out[#out + 1] = r
    end
  end
  return #out < #list and out or list
end

--- What a Range header asks of so many bytes: an array of { first, last }, counted from 0; false if none of it is there
--- (the answer is 416); nil if the header is to be ignored: it is none, of another unit, malformed, or has too many
--- elements.
---@param header string?
---@param size integer
---@return integer[][]|false|nil
function M.parse(header, size)
  local spec = header and match(header, "^[ \t]*[bB][yY][tT][eE][sS]=(.*)$")
  if not spec then return nil end
  local list, count, at = {}, 0, 1
  repeat
    local comma = find(spec, ",", at, true)
    local first = find(spec, "[^ \t]", at)
    local text = ""
    if first and first < (comma or #spec + 1) then
      local stop = (comma or #spec + 1) - 1
      while byte(spec, stop) == 32 or byte(spec, stop) == 9 do stop = stop - 1 end
      text = sub(spec, first, stop)
    end
    at = comma and comma + 1
    if text ~= "" then -- empty elements of a list are none: 5.6.1
      count = count + 1
      if count > MAX_RANGES then return nil end
      local a, b = element(text, size)
      if a == nil then return nil end
      if a then list[#list + 1] = { a, b } end
    end
  until not at
  if count == 0 then return nil end
  if #list == 0 then
    if size == 0 then return nil end
    return false
  end
  return #list > 1 and coalesce(list) or list
end

-- ---- conditions ----

--- The entity tags of an If-Match or If-None-Match: an array of { tag, weak }, "*", or nil if it is malformed.
local function tags(header)
  if match(header, "^[ \t]*%*[ \t]*$") then return "*" end
  local list, at = {}, 1
  while true do
    at = find(header, "[^ \t,]", at)
    if not at then return list end
    local weak, tag, stop = match(header, '^(W?/?)"([!#-~\128-\255]*)"()', at)
    if not tag or weak ~= "" and weak ~= "W/" then return nil end
    list[#list + 1] = { tag, weak == "W/" }
    at = find(header, "[^ \t]", stop)
    if not at then return list end
    if byte(header, at) ~= 44 then return nil end
  end
end

--- Does the list have the tag? Strong comparison wants both to be strong (8.8.3.2).
local function matches(header, tag, weak, strong)
  local list = tags(header)
  if list == "*" then return true end
  if not list or strong and weak then return false end
  for _, t in ipairs(list) do
    if t[1] == tag and not (strong and t[2]) then return true end
  end
  return false
end

--- `"x"` or `W/"x"`: the text in it, and whether it is weak.
local function split(etag)
  local weak, tag = match(etag, '^(W?/?)"(.*)"$')
  return tag, weak == "W/"
end

--- What the request's conditions make of the answer, in the order of RFC 9110, 13.2.2: 304, 412, or nil: it is answered
--- as if there were none. What there is has an entity tag and a date of its last change.
---@param get fun(name: string): string? a request's header; of several with one name all, joined by ", "
---@param method string
---@param etag? string with its quotes
---@param mtime? integer seconds since 1970
---@return integer?
function M.condition(get, method, etag, mtime)
  local dates
  local function date(name)
    local text = get(name)
    if not text then return nil end
    dates = dates or require "http.dates"
    return dates.parse(text)
  end
  local tag, weak
  if etag then tag, weak = split(etag) end
  local if_match = get("If-Match")
  if if_match then
    if not matches(if_match, tag, weak, true) then return 412 end
  elseif mtime then
    local at = date("If-Unmodified-Since")
    if at and mtime > at then return 412 end
  end
  local safe = method == "GET" or method == "HEAD"
  local if_none_match = get("If-None-Match")
  if if_none_match then
    if matches(if_none_match, tag, weak, false) then return safe and 304 or 412 end
  elseif mtime and safe then
    local at = date("If-Modified-Since")
    if at and mtime <= at then return 304 end
  end
  return nil
end

--- Does a Range header count, by what If-Range says (13.1.5)? An entity tag must be the same and strong; a date the
--- very one that was sent as Last-Modified.
---@param header string?
---@param etag? string
---@param last_modified? string as it is sent
---@return boolean
function M.if_range(header, etag, last_modified)
  if not header then return true end
  header = match(header, "^[ \t]*(.-)[ \t]*$")
  if find(header, '"', 1, true) then return etag ~= nil and header == etag and byte(etag) ~= 87 end
  return last_modified ~= nil and header == last_modified
end

return M
