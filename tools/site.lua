--- Renders the project's Markdown to HTML: the pages of docs/, what stands beside them, and the reference of functions
--- that tools/docs.lua has written.
---   build/moonloop tools/site.lua FOLDER
--- In FOLDER: the pages in html/, index.html the README. Each has the list of all pages. A link that leads nowhere,
--- or to a heading that is not there, is an error. Needs cmark-gfm.

local here = arg[0]:match("^(.*)/")
local files = dofile(here .. "/files.lua")
local read, write, lines_of = files.read, files.write, files.list

local out = assert(arg[1], "usage: tools/site.lua FOLDER")
local html = out .. "/html"

-- ---- the pages: {source, target, section, title} --------------------------------------

local sections = {
  { "moonloop", {
    "README.md", "docs/guide.md", "docs/embedding.md", "docs/editors.md", "scripts/README.md", "CHANGELOG.md",
  } },
  { "Coming from", lines_of("ls docs/from/*.md 2>/dev/null") },
  { "Reference", lines_of("ls docs/reference.md docs/reference/*.md") },
  { "Functions", lines_of("ls " .. out .. "/*.md | grep -v '/index.md$'") },
  { "Inside", lines_of("ls ARCHITECTURE.md CONTRIBUTING.md docs/internals/*.md scripts/bench/README.md") },
}

local pages, by_source = {}, {}
for _, section in ipairs(sections) do
  for _, source in ipairs(section[2]) do
    local text = read(source)
    local inner = source:sub(1, #out + 1) == out .. "/"
    local target = (inner and "functions/" .. source:sub(#out + 2) or source):gsub("%.md$", ".html")
    if source == "README.md" then target = "index.html" end
    local title = text:match("^#%s+([^\n]+)") or source
    local page = { source = source, target = target, section = section[1], title = title:gsub("`", ""), text = text }
    pages[#pages + 1] = page
    by_source[source] = page
  end
end

-- ---- links ----------------------------------------------------------------------------

-- a/b/../c -> a/c
local function normal(path)
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." then
      if #parts == 0 then return nil end
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return table.concat(parts, "/")
end

local function folder_of(path) return path:match("^(.*)/[^/]*$") or "" end

-- From one page to another path of the site.
local function relative(from, to)
  local up = select(2, from:gsub("/", ""))
  return ("../"):rep(up) .. to
end

--- The name that GitHub gives a heading.
local function slug(text, seen)
  local plain = text:gsub("<[^>]*>", ""):gsub("&%w+;", ""):lower()
  local name = plain:gsub("[^%w%- _\128-\255]", ""):gsub(" ", "-")
  local n = seen[name]
  seen[name] = (n or 0) + 1
  return n and name .. "-" .. n or name
end

local broken, wanted = 0, {}
local function complain(page, target)
  io.stderr:write(page.source, ": broken link to ", target, "\n")
  broken = broken + 1
end

local copied = {}
--- The address in the site of what a page links to.
local function resolve(page, target)
  if target:find("^%a[%w+.-]*:") then return target end
  local path, anchor = target:match("^([^#]*)(#?.*)$")
  if path == "" then
    wanted[#wanted + 1] = { page, page, anchor:sub(2), target }
    return anchor
  end
  local source = normal(folder_of(page.source) .. "/" .. path)
  local to = source and by_source[source]
  if to then
    if anchor ~= "" then wanted[#wanted + 1] = { page, to, anchor:sub(2), target } end
    return relative(page.target, to.target) .. anchor
  end
  local f = source and io.open(source, "rb")
  if not f then
    complain(page, target)
    return target
  end
  local text = f:read("a") -- nil: a folder
  f:close()
  if not text then
    local readme = by_source[source .. "/README.md"]
    if readme then return relative(page.target, readme.target) end
    local list = {}
    for _, name in ipairs(lines_of("ls -p '" .. source .. "'")) do list[#list + 1] = name end
    source, text = source .. "/index.txt", table.concat(list, "\n") .. "\n"
  elseif source:find("%.[%a]+$") and not source:find("%.html$") and not source:find("%.txt$") then
    source = source .. ".txt" -- browsers show it
  end
  if not copied[source] then
    copied[source] = true
    write(html .. "/" .. source, text)
  end
  return relative(page.target, source)
end

-- ---- rendering ------------------------------------------------------------------------

local style = read(here .. "/site.css")

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }
local function escape(text) return (text:gsub("[&<>\"]", entities)) end

local function navigation(page)
  local list = {}
  for _, section in ipairs(sections) do
    if #section[2] > 0 then
      list[#list + 1] = "<h2>" .. section[1] .. "</h2><ul>"
      for _, source in ipairs(section[2]) do
        local to = by_source[source]
        list[#list + 1] = ('<li%s><a href="%s">%s</a></li>'):format(to == page and ' class="here"' or "",
          relative(page.target, to.target), escape(to.title))
      end
      list[#list + 1] = "</ul>"
    end
  end
  return table.concat(list, "\n")
end

local function render(page)
  local source = os.tmpname()
  write(source, page.text)
  local p <close> = assert(io.popen("cmark-gfm --unsafe -e table -e autolink -e strikethrough '" .. source .. "'"))
  local body = p:read("a")
  os.remove(source)
  assert(body ~= "" or page.text == "", "cmark-gfm gave nothing for " .. page.source)
  local seen = {}
  page.anchors = {}
  body = body:gsub("<h(%d)>(.-)</h%d>", function(level, text)
    local id = slug(text, seen)
    page.anchors[id] = true
    return ('<h%s id="%s">%s<a class="to" href="#%s">#</a></h%s>'):format(level, id, text, id, level)
  end)
  for id in body:gmatch('<a [^>]*name="([^"]+)"') do page.anchors[id] = true end
  for id in body:gmatch('<a [^>]*id="([^"]+)"') do page.anchors[id] = true end
  body = body:gsub('<a href="([^"]*)"', function(target)
    if target:sub(1, 1) == "#" and page.anchors[target:sub(2)] then return nil end
    return '<a href="' .. escape(resolve(page, (target:gsub("&amp;", "&")))) .. '"'
  end)
  return table.concat({
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
    "<meta name=\"viewport\" content=\"width=device-width\">",
    "<title>" .. escape(page.title) .. "</title><style>" .. style .. "</style></head><body>",
    "<nav>" .. navigation(page) .. "</nav><main>", body, "</main></body></html>\n",
  }, "\n")
end

os.execute("rm -rf '" .. html .. "'")
for _, page in ipairs(pages) do write(html .. "/" .. page.target, render(page)) end
for _, w in ipairs(wanted) do
  if not w[2].anchors[w[3]] then complain(w[1], w[4]) end
end
print(("%d pages in %s/index.html"):format(#pages, html))
os.exit(broken == 0 and 0 or 1)
