--- A module that only names its parts: a name is looked up in the part that has it when it is first used.

---@param M table what the module has of itself
---@param parts table<string, string> the parts' names, each with the list of what it has, a space around every name
---@param name string the module's, for errors
---@return table M
return function(M, parts, name)
  local function lookup(t, key)
    if type(key) ~= "string" then return nil end
    for part, names in next, parts do
      if names:find(" " .. key .. " ", 1, true) then
        local value = require(part)[key]
        rawset(t, key, value)
        return value
      end
    end
  end

  --- Goes over every name, so that a REPL can complete them.
  local function names(t)
    for _, list in next, parts do
      for key in list:gmatch("%S+") do lookup(t, key) end
    end
    return next, t
  end

  return setmetatable(M, { __index = lookup, __pairs = names, __name = name })
end
