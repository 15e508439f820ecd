local function read(path)
  local f <close> = assert(io.open(path))
  return f:read("a")
end

local function files(pattern)
  local list = {}
  local p <close> = assert(io.popen("ls " .. pattern))
  for path in p:lines() do list[#list + 1] = path end
  return list
end

describe("scripts", function()
  it("are all listed in scripts/README.md, and nothing else is", function()
    local readme, listed, there = read("scripts/README.md"), {}, {}
    for name in readme:gmatch("%(([%w_]+%.lua)%)") do listed[#listed + 1] = name end
    for _, path in ipairs(files("scripts/*.lua")) do there[#there + 1] = path:match("[^/]+$") end
    table.sort(listed)
    table.sort(there)
    assert.same(there, listed)
  end)

  it("of hosts, and the hosts, are listed in scripts/README.md and in docs/embedding.md, and have specs", function()
    local readme, embedding = read("scripts/README.md"), read("docs/embedding.md")
    local names = read("scripts/hosts/Makefile"):match("C_HOSTS = ([^\n]+)") .. " agents game window"
    for name in names:gmatch "%a+" do
      assert(readme:find("| [" .. name .. "](hosts/", 1, true), name .. " is not in scripts/README.md")
      assert(io.open("spec/scripts/hosts_" .. name .. "_spec.lua"), name .. " has no spec"):close()
    end
    for _, path in ipairs(files("scripts/hosts/*.c* scripts/hosts/game/*.c")) do
      assert(embedding:find("](../" .. path .. ")", 1, true), path .. " is not in docs/embedding.md")
    end
    for _, path in ipairs(files("scripts/hosts/*.lua")) do
      assert(readme:find("](" .. path:sub(9) .. ")", 1, true), path .. " is not in scripts/README.md")
    end
  end)

  it("each have a spec", function()
    local specs = ""
    for _, path in ipairs(files("spec/scripts/*_spec.lua")) do specs = specs .. read(path) end
    for _, path in ipairs(files("scripts/*.lua")) do
      local name = path:match("([^/]+)%.lua$")
      local found = specs:find('"' .. name .. ".lua ", 1, true) or specs:find(": " .. name .. '.lua"', 1, true)
      assert(found, name .. ".lua has no spec")
    end
  end)

  it("each say at the top what they show and how to run them", function()
    for _, path in ipairs(files("scripts/*.lua")) do
      local text = read(path):gsub("^#![^\n]*\n", "")
      assert(text:find("^%-%- %S"), path .. " does not begin with what it shows")
      assert(text:match("^.-\n\n"):find("--   moonloop " .. path, 1, true), path .. " does not say how to run it")
    end
  end)
end)
