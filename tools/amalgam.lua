--- Writes the library as one C file and its header, for hosts that would rather add a file to their build than a
--- library:
---   build/moonloop tools/amalgam.lua FOLDER
---   cc -std=c11 host.c FOLDER/moonloop.c -llua5.4 -luv -lpthread -lm    (with -I for lua.h)
--- Every header comes once, in front; then each file of engine/ and bindings/. In one translation unit their static
--- names would meet: one that any other file uses too is preceded by its own file's name; a file's macros end with it.
--- What TLS needs is left out unless ML_WITH_TLS is defined (and -lssl -lcrypto given). The standard library is in it
--- as Lua source, so any Lua 5.4 will do.

local files = require "tools.files"

local read, list = files.read, files.list

-- ---- tokens -------------------------------------------------------------------

--- Splits C into {kind, text}: "word", "space" (comments too), "string", "number", "line" (a preprocessor's, with
--- its continuations) and "mark" (one character). Joined again they are the text.
local function tokens(text)
  local all, at, fresh = {}, 1, true
  while at <= #text do
    local c, kind, stop = text:sub(at, at), "mark", at
    if text:find("^%s", at) then
      kind, stop = "space", select(2, text:find("^%s+", at))
    elseif text:find("^/%*", at) then
      kind, stop = "space", select(2, assert(text:find("*/", at, true)))
    elseif text:find("^//", at) then
      kind, stop = "space", (text:find("\n", at, true) or #text + 1) - 1
    elseif c == "#" and fresh then
      kind, stop = "line", at
      repeat
        stop = (text:find("\n", stop + 1, true) or #text + 1)
      until text:sub(stop - 1, stop - 1) ~= "\\"
      local comment = text:sub(at, stop - 1):find("/%*")
      if comment and not text:sub(at + comment, stop - 1):find("*/", 1, true) then
        stop = at + comment - 2 -- a comment that goes on is no part of it
      else
        stop = stop - 1
      end
    elseif c == '"' or c == "'" then
      kind, stop = "string", at
      repeat
        stop = stop + 1
        if text:sub(stop, stop) == "\\" then stop = stop + 2 end
      until text:sub(stop, stop) == c
    elseif text:find("^[%a_]", at) then
      kind, stop = "word", select(2, text:find("^[%w_]+", at))
    elseif text:find("^%.?%d", at) then
      kind, stop = "number", select(2, text:find("^%.?%d[%w_.]*", at))
    elseif text:find("^%->", at) then
      stop = at + 1
    end
    all[#all + 1] = { kind = kind, text = text:sub(at, stop) }
    if kind == "space" then fresh = fresh or all[#all].text:find("\n", 1, true) ~= nil else fresh = false end
    at = stop + 1
  end
  return all
end

--- Calls f(text) for each word, also those of preprocessor lines; what it returns takes the word's place.
local function each_word(all, f)
  for _, t in ipairs(all) do
    if t.kind == "word" then
      t.text = f(t.text, t) or t.text
    elseif t.kind == "line" and not t.text:find("^#%s*include") then
      local directive, rest = t.text:match("^(#%s*%a+)(.*)$")
      local out = {}
      for i, u in ipairs(tokens(rest)) do
        out[i] = u.kind == "word" and f(u.text, u) or u.text
      end
      t.text = directive .. table.concat(out)
    end
  end
end

-- ---- what a file has to itself --------------------------------------------------

--- Links each token to the next and previous one that is code.
local function link(all)
  local code = {}
  for _, t in ipairs(all) do
    if t.kind ~= "space" and t.kind ~= "line" then
      t.previous = code[#code]
      if t.previous then t.previous.next = t end
      code[#code + 1] = t
    end
  end
  return code
end

local function is(t, text) return t and t.text == text end

--- Marks members of structs: words that are not names of the file's own. Pasted and stringized arguments likewise.
local function mark_members(all, code)
  local quoting = { offsetof = true, ml__containerof = true } -- macros whose last argument is a member
  local pasting = {}
  for _, t in ipairs(all) do
    local name, body = t.text:match("^#%s*define%s+([%a_][%w_]*)%b()(.*)$")
    if t.kind == "line" and name and body:find("#", 1, true) then pasting[name] = true end
  end
  local stack = {} -- what each open brace belongs to
  for _, t in ipairs(code) do
    if is(t, "{") then
      local head = t.previous
      if head and head.kind == "word" and head.text ~= "struct" and head.text ~= "union" then head = head.previous end
      stack[#stack + 1] = head and (head.text == "struct" or head.text == "union") and "struct" or "other"
    elseif is(t, "}") then
      stack[#stack] = nil
    elseif t.kind == "word" then
      local before, after = t.previous, t.next
      if is(before, ".") or is(before, "->") then t.member = true end
      if stack[#stack] == "struct" and after then
        if after.text:find("^[;,%[:]$") or (is(after, ")") and is(before, "*") and is(before.previous, "(")) then
          t.member = true
        end
      end
      if (quoting[t.text] or pasting[t.text]) and is(after, "(") then
        local depth, u, last = 0, after, nil
        repeat
          if is(u, "(") then depth = depth + 1 elseif is(u, ")") then depth = depth - 1 end
          if u.kind == "word" then
            last = u
            if pasting[t.text] then u.member = true end
          end
          u = u.next
        until depth == 0
        if last and quoting[t.text] then last.member = true end
      end
    end
  end
end

--- The names that a file declares at its outermost level and does not share: functions and objects that are static,
--- types, enumerators.
local function own_names(code)
  local names = {}
  local function add(t)
    if t and t.kind == "word" and not t.text:find("^ml__?%l") then names[t.text] = true end
  end
  local t = code[1]
  while t do
    -- one declaration, to its semicolon or the end of its body
    local first, depth, static, named, body, last_word = t, 0, false, false, false, nil
    while t do
      if is(t, "{") then
        local head = t.previous
        body = body or depth == 0 and is(head, ")")
        local tag = head.kind == "word" and head.previous or nil
        if tag and (tag.text == "struct" or tag.text == "union" or tag.text == "enum") then add(head) end
        if depth == 0 and (is(head, "enum") or is(tag, "enum")) then
          local u, inner, expect = t.next, 0, true
          while not (is(u, "}") and inner == 0) do
            if expect then add(u) end
            if u.text == "(" then inner = inner + 1 elseif u.text == ")" then inner = inner - 1 end
            expect = is(u, ",") and inner == 0
            u = u.next
          end
        end
      end
      if is(t, "static") then static = true end
      if t.text == "(" or t.text == "{" or t.text == "[" then
        if is(last_word, "__attribute__") then last_word = nil end
        if depth == 0 and static and not named and last_word and t.text ~= "{" then
          add(last_word)
          named = true
        elseif depth == 0 and first.text == "typedef" and is(t, "(") and is(t.next, "*") then
          add(t.next.next)
          named = true
        end
        depth = depth + 1
      elseif t.text == ")" or t.text == "}" or t.text == "]" then
        depth = depth - 1
      elseif depth == 0 and static and t.text:find("^[=;,]$") then
        if not named then add(last_word) end
        named = not is(t, ",") -- behind a comma is one more
      end
      if depth == 0 then
        if t.kind == "word" then last_word = t end
        if is(t, ";") then
          if first.text == "typedef" and not named then add(last_word) end
          break
        end
        if is(t, "}") and body then break end
      end
      t = t.next
    end
    t = t and t.next
  end
  return names
end

-- ---- the parts ------------------------------------------------------------------

local output = {}
local function emit(...)
  for _, text in ipairs { ... } do output[#output + 1] = text end
end
local function banner(path) emit("\n/* ---- ", path, " ", ("-"):rep(math.max(4, 84 - #path)), " */\n\n") end

local hidden = "#ifdef __GNUC__\n#pragma GCC visibility push(hidden)\n#endif\n"
local shown = "#ifdef __GNUC__\n#pragma GCC visibility pop\n#endif\n"

--- The text without the includes that stand in front of all: the project's own and the system's. One that depends on
--- a condition stays where it is. In `system`, if given, the system's are noted.
local function without_includes(path, system)
  local text, depth, least = read(path), 0, path:find("%.h$") and 1 or 0 -- a header is one condition by itself
  return (text:gsub("[^\n]*\n", function(line)
    local directive = line:match("^%s*#%s*(%a+)")
    if directive == "if" or directive == "ifdef" or directive == "ifndef" then depth = depth + 1 end
    if directive == "endif" then depth = depth - 1 end
    if directive ~= "include" then return nil end
    if line:find('"', 1, true) then return "" end
    if depth > least or line:find("openssl", 1, true) then return shown .. line .. hidden end
    if system then system[line] = true end
    return ""
  end))
end

local header_done = {}
local function header(name)
  if header_done[name] or name == "moonloop.h" then return end
  header_done[name] = true
  local path = "engine/" .. name
  local f = io.open(path)
  if f then f:close() else path = "bindings/" .. name end
  local text = read(path)
  for wanted in text:gmatch('#%s*include%s+"([%w_.]+)"') do header(wanted) end
  banner(path)
  emit((without_includes(path)))
end

local escapes = { ["\n"] = "\\n", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\", ["?"] = "\\?" }
local function literal(line)
  local function escape(c) return escapes[c] or ("\\%03o"):format(c:byte()) end
  return '  "' .. line:gsub('[%c"\\?\127-\255]', escape) .. '"\n'
end

--- The standard library, as tools/embed.c writes it, but as source.
local function standard_library(paths)
  banner("stdlib")
  local rows = {}
  for i, path in ipairs(paths) do
    local name = path:match("^stdlib/(.*)%.lua$")
    emit(("\nstatic const unsigned char ml__source%d[] = /* %s */\n"):format(i, name))
    for line in read(path):gmatch("[^\n]*\n?") do
      if line ~= "" then emit(literal(line)) end
    end
    emit("  ;\n")
    rows[i] = ('  {"%s", "@moonloop/%s.lua", ml__source%d, sizeof ml__source%d - 1},\n'):format(
      name:gsub("/init$", ""):gsub("/", "."), name, i, i)
  end
  emit("\nconst ml_source ml__stdlib[] = {\n", table.concat(rows), "  {NULL, NULL, NULL, 0},\n};\n",
    'const char ml__docs[] = "";\nconst size_t ml__docs_size = 0;\n')
end

local function units(paths)
  local all, users = {}, {}
  for i, path in ipairs(paths) do
    local unit = { path = path, name = path:match("([%w_]+)%.c$"), words = {} }
    unit.tokens = tokens(without_includes(path))
    unit.code = link(unit.tokens)
    each_word(unit.tokens, function(word) unit.words[word] = true end)
    for word in pairs(unit.words) do users[word] = (users[word] or 0) + 1 end
    mark_members(unit.tokens, unit.code)
    unit.own = own_names(unit.code)
    all[i] = unit
  end
  return all, users
end

--- Renames what of a unit's names others use too, and ends its macros with it.
local function unit_text(unit, users)
  local renamed = {}
  for name in pairs(unit.own) do
    if users[name] > 1 then
      renamed[name] = unit.name .. "__" .. name
      assert(not users[renamed[name]], renamed[name])
    end
  end
  each_word(unit.tokens, function(word, t) return not t.member and renamed[word] or nil end)
  local macros, out = {}, {}
  for i, t in ipairs(unit.tokens) do
    out[i] = t.text
    local macro = t.kind == "line" and t.text:match("^#%s*define%s+([%a_][%w_]*)")
    if macro and not macros[macro] then
      macros[#macros + 1] = macro
      macros[macro] = true
    end
  end
  for _, macro in ipairs(macros) do out[#out + 1] = "#undef " .. macro .. "\n" end
  return table.concat(out)
end

local folder = assert(arg[1], "usage: amalgam.lua FOLDER")
local moonloop_h = read("engine/moonloop.h")
local system = {}
for _, path in ipairs(list("ls engine/*.[ch] bindings/*.[ch]")) do without_includes(path, system) end

emit("/* moonloop ", moonloop_h:match('ML_VERSION_STRING "(.-)"'), [[
: Lua 5.4 with async/await on libuv, as one file. Made by `make amalgam`.
**
**   cc -std=c11 host.c moonloop.c -llua5.4 -luv -lpthread -lm
**
** with -I for lua.h. -DML_WITH_TLS -lssl -lcrypto adds TLS. What it is linked into exports
** nothing of it unless ML_BUILD is defined: then the functions of moonloop.h.
*/
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
]])
local includes = {}
for line in pairs(system) do includes[#includes + 1] = line end
table.sort(includes)
emit(table.concat(includes), "\n", hidden, '#include "moonloop.h"\n')
for _, path in ipairs(list("ls engine/*.h bindings/*.h | grep -v 'moonloop.h\\|bindings/tls'")) do
  header(path:match("[^/]+$"))
end

local all, users = units(list("ls engine/*.c bindings/*.c"))
for _, path in ipairs(list("ls engine/*.h bindings/*.h")) do
  local text = read(path)
  each_word(tokens(text), function(word) users[word] = (users[word] or 0) + 1 end)
  for tag in text:gmatch("struct%s+([%w_]+)") do -- defined by a file, but spoken of by others
    for _, unit in ipairs(all) do unit.own[tag] = nil end
  end
end
local function emit_units(tls)
  for _, unit in ipairs(all) do
    if (unit.name:find("^tls") ~= nil) == tls then
      banner(unit.path)
      emit(unit_text(unit, users))
    end
  end
end
emit_units(false)
emit("\n#ifdef ML_WITH_TLS\n")
header("tls.h")
emit_units(true)
emit("\n#endif /* ML_WITH_TLS */\n")
standard_library(list("find stdlib -name '*.lua' | LC_ALL=C sort"))
emit("\n", shown)

files.write(folder .. "/moonloop.c", table.concat(output))
files.write(folder .. "/moonloop.h", moonloop_h)
