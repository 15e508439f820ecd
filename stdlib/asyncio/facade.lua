--- A module that only names its parts: a name is looked up in the part that has it when it is first used.

---@param M table what the module has of itself
---@param parts table<string, string> the parts' names, each with the list of what it has, a space around every name
---@param name string the module's, for errors
---@return table M
return function(M, parts, name)
  local function lookup(t, key)
    if type(key) ~= "string" or not key:find("^[%w_]+$") then return nil end
    local pattern = "%s" .. key .. "%s"
    for part, names in next, parts do
      if names:find(pattern) then
        local module = require(part)
        local value = module[key]
        if value == nil and rawget(module, "__name") == key then value = module end -- a module that is a class
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
