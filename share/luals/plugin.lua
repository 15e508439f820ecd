-- lua-language-server: reads moonloop's keywords. In .luarc.json:
--   { "runtime.plugin": "PATH/share/luals/plugin.lua", "runtime.version": "Lua 5.4" }
--
-- The server is shown plain Lua of the same meaning for types: `async function` is a function, `await f()` is f(),
-- `async with e as x do` a block with a local x, `async for` a for. So what a coroutine function returns is what its
-- await gives. What is no call (`await task`) is shown as await(task).

local reserved = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch("%a+") do
  reserved[word] = true
end

-- The end of a string, comment or long bracket that begins at i, or nil.
local function skip(text, i)
  local two = text:sub(i, i + 1)
  local at = two == "--" and i + 2 or i
  local level = text:match("^%[(=*)%[", at)
  if level and (two == "--" or text:sub(i, i) == "[") then
    local _, e = text:find("]" .. level .. "]", at, true)
    return e or #text
  end
  if two == "--" then return (text:find("\n", i, true) or #text + 1) - 1 end
  local quote = text:match("^[\"']", i)
  if not quote then return nil end
  local j = i + 1
  while j <= #text do
    local c = text:sub(j, j)
    if c == "\\" then
      j = j + 1
    elseif c == quote or c == "\n" then
      return j
    end
    j = j + 1
  end
  return #text
end

-- The word behind position i on the same line, and where it begins and ends.
local function word_behind(text, i)
  local from, word = text:match("^[ \t]+()([%a_][%w_]*)", i + 1)
  if word then return word, from, from + #word - 1 end
end

-- Where a name and its fields end that begin at i, when nothing of it is called; else nil.
local function plain(text, i)
  local last = select(2, text:find("^[%a_][%w_]*", i))
  while text:find("^%.[%a_]", last + 1) do last = select(2, text:find("^%.[%w_]+", last + 1)) end
  if not text:find("^%s*[%(%[{:\"']", last + 1) then return last end
end

-- What the server is to read otherwise: a list of {start, finish, text}.
function OnSetText(_, text) -- luacheck: ignore
  if not text:find("async", 1, true) and not text:find("await", 1, true) then return nil end
  local diffs = {}
  local function replace(from, to, with) diffs[#diffs + 1] = { start = from, finish = to, text = with } end

  local of_object = false -- does a point or colon stand before: is the word a field's name?
  local depth, heads = 0, {} -- open brackets; of each `async with` that has not come to its do: those around it
  -- A word at i; gives where to go on from.
  local function on_word(word, i)
    local last = i + #word - 1
    local head = heads[#heads] == depth
    if of_object then return last end
    local behind, from, to = word_behind(text, last)
    if word == "await" and behind and not reserved[behind] then
      local finish = behind ~= "await" and plain(text, from)
      if finish then
        replace(i, finish, "await(" .. text:sub(from, finish) .. ")")
        return finish
      end
      replace(i, from - 1, "")
    elseif word == "async" and (behind == "function" or behind == "for") then
      replace(i, from - 1, "")
    elseif word == "async" and behind == "with" then
      replace(i, to, "do local _with =")
      heads[#heads + 1] = depth
      return to
    elseif word == "as" and head and behind and behind ~= "do" then
      replace(i, to, "local " .. behind .. " = _with")
      return to
    elseif word == "do" and head then
      replace(i, last, "")
      heads[#heads] = nil
    end
    return last
  end

  local i = 1
  while i <= #text do
    local c = text:sub(i, i)
    local e = skip(text, i)
    if e then
      i = e
    elseif c:find("[%a_]") then
      i = on_word(text:match("^[%a_][%w_]*", i), i)
      of_object = false
    elseif c:find("%d") then
      i = i + #text:match("^%w+", i) - 1
    elseif c:find("[%(%[{]") then
      depth = depth + 1
    elseif c:find("[%)%]}]") then
      depth = depth - 1
    elseif c == "," and heads[#heads] == depth then
      replace(i, i, " local _with =")
    end
    if not e and c:find("[^%s%w_]") then
      of_object = c:find("[.:]") and text:sub(i - 1, i - 1) ~= c and text:sub(i + 1, i + 1) ~= c
    end
    i = i + 1
  end
  return diffs
end
