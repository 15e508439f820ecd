--- What the specs of this folder ask Markdown files for: their fenced blocks, the names in their code spans.

local M = {}

--- The whole text of a file.
function M.read(path)
  local f <close> = assert(io.open(path, "rb"))
  return f:read("a")
end

--- The blocks of a file: {language, flags, text, line, output}. `flags` is what follows the language; `output` is
--- the text of a ```text block that comes right after a block, else nil.
---@param path string
---@return { language: string, flags: string, text: string, line: integer, output: string? }[]
function M.of(path)
  local blocks, block, body, number, gap = {}, nil, nil, 0, nil
  for line in (M.read(path) .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    if block then
      if line:match("^```%s*$") then
        block.text = table.concat(body, "\n") .. "\n"
        local last = blocks[#blocks]
        if block.language == "text" and last and gap == last then
          last.output = block.text
        else
          blocks[#blocks + 1] = block
        end
        gap, block = blocks[#blocks], nil
      else
        body[#body + 1] = line
      end
    else
      local language, flags = line:match("^```(%S*)%s*(.-)%s*$")
      if language then
        block, body = { language = language, flags = flags, line = number + 1 }, {}
      elseif line:match("%S") then
        gap = nil
      end
    end
  end
  assert(not block, path .. ": a block is not closed")
  return blocks
end

--- The blocks of one language in several files, each with `name` = "FILE:LINE".
function M.all(paths, language)
  local list = {}
  for _, path in ipairs(paths) do
    for _, block in ipairs(M.of(path)) do
      if block.language == language then
        block.name = path .. ":" .. block.line
        list[#list + 1] = block
      end
    end
  end
  return list
end

--- The names in code spans: what the pattern captures of each, as a set.
---@param text string
---@param pattern string
---@return table<string, true>
function M.named(text, pattern)
  local names = {}
  for span in text:gmatch("`([^`\n]+)`") do
    local name = span:match(pattern)
    if name then names[name] = true end
  end
  return names
end

--- The names for whose values `is` holds (a function of value and name), as a set. Names that begin with _ are private.
---@param t table
---@param is? fun(value: any, name: string): any
---@return table<string, true>
function M.public(t, is)
  local names = {}
  for name, value in pairs(t) do
    if type(name) == "string" and name:sub(1, 1) ~= "_" and (not is or is(value, name)) then names[name] = true end
  end
  return names
end

--- The functions among the public names.
---@param t table
---@return table<string, true>
function M.functions(t)
  return M.public(t, function(value) return type(value) == "function" end)
end

--- The names of a that b does not have, in order.
---@param a table<string, any>
---@param b table<string, any>
---@return string[]
function M.missing(a, b)
  local list = {}
  for name in pairs(M.public(a)) do
    if not b[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

return M
