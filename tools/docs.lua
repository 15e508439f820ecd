--- Writes the reference from the annotations in stdlib and from moonloop.h.
---   build/moonloop tools/docs.lua FOLDER
--- One Markdown page per module and one for the C API; tools/site.lua renders them with the rest.

local files = require "tools.files"

local out = assert(arg[1], "usage: tools/docs.lua FOLDER")

local function write(name, text) files.write(out .. "/" .. name, text) end

--- The public functions of a module's source: name with arguments, and comment.
local function functions_of(path)
  local entries, comment = {}, {}
  local about
  for line in io.lines(path) do
    local text = line:match("^%s*%-%-%-%s?(.*)$")
    if text then
      comment[#comment + 1] = text
    else
      local owner, name, rest = line:match("^function%s+([%w_]+)([.:][%w_]+)%s*(%b())")
      if not owner then
        owner, name, rest = line:match("^([%w_]+)(%.[%w_]+)%s*=%s*async%s*%(%s*function%s*(%b())")
      end
      if owner and name:sub(2, 2) ~= "_" and #comment > 0 then
        entries[#entries + 1] = { title = owner .. name .. rest, comment = comment }
      elseif not about and #comment > 0 then
        about = comment
      end
      comment = {}
    end
  end
  return about, entries
end

local function prose(comment)
  local text, tags = {}, {}
  for _, line in ipairs(comment) do
    if line:match("^@") then tags[#tags + 1] = "- `" .. line .. "`" else text[#text + 1] = line end
  end
  local blocks = {}
  if #text > 0 then blocks[1] = table.concat(text, "\n") end
  if #tags > 0 then blocks[#blocks + 1] = table.concat(tags, "\n") end
  return table.concat(blocks, "\n\n")
end

local index = { "# Reference\n" }
for _, path in ipairs(files.list("find stdlib -name '*.lua' | sort")) do
  local module = path:gsub("^stdlib/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  local about, entries = functions_of(path)
  if about or #entries > 0 then
    local page = { "# " .. module .. "\n" }
    if about then page[#page + 1] = prose(about) .. "\n" end
    for _, e in ipairs(entries) do
      page[#page + 1] = "## `" .. e.title .. "`\n\n" .. prose(e.comment) .. "\n"
    end
    write(module .. ".md", table.concat(page, "\n"))
    index[#index + 1] = ("- [%s](%s.md)"):format(module, module)
  end
end
write("moonloop.h.md", "# The C API\n\n```c\n" .. files.read("engine/moonloop.h") .. "```\n")
index[#index + 1] = "- [The C API](moonloop.h.md)"
write("index.md", table.concat(index, "\n") .. "\n")

print("reference in " .. out .. "/index.md")
