--- Link headers (RFC 8288).

local multidict = require "http.multidict"
local parameters = require "http.parameters"

local M = {}

--- The links by their relation, or by their target when they have none; each has its parameters and `url`, absolute.
--- What is malformed is left out.
---@param values string[] of the headers
---@param base url.URL
---@return http.MultiDict
function M.parse(values, base)
  local links = multidict.MultiDict()
  local text, at = table.concat(values, ", "), 1
  while true do
    local target, stop = text:match("^[ \t,]*<([^>]*)>()", at)
    if not target then break end
    local finish = text:find(",[ \t]*<", stop) or #text + 1
    local _, list = parameters.parse(text:sub(stop, finish - 1))
    local link = multidict.MultiDict()
    for name, value in next, list do link:add(name, value) end
    local ok, url = pcall(base.join, base, target)
    if ok then
      link:add("url", url)
      links:add(list.rel or target, link)
    end
    at = finish
  end
  return links
end

return M
