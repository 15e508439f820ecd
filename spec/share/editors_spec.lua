--- share/: what editors know of the keywords.

local helper = require "spec.helper"
local json = require "json"

local function read(path)
  local f <close> = assert(io.open(path, "rb"))
  return f:read("a")
end

describe("share/luals/plugin.lua", function()
  local env = setmetatable({}, { __index = _G })
  assert(loadfile("share/luals/plugin.lua", "t", env))()

  local function shown(text)
    local out, at = {}, 1
    for _, diff in ipairs(env.OnSetText("file:///x.lua", text) or {}) do
      out[#out + 1] = text:sub(at, diff.start - 1) .. diff.text
      at = diff.finish + 1
    end
    return table.concat(out) .. text:sub(at)
  end

  for _, pair in ipairs {
    { "local r = await session:get(url)", "local r = session:get(url)" },
    { "await task", "await(task)" },
    { "if x then await t.task end", "if x then await(t.task) end" },
    { "return await task", "return await(task)" },
    { "x = 1 + await task", "x = 1 + await(task)" },
    { "return await await f(await g())", "return f(g())" },
    { "x = 'a' ..await f()", "x = 'a' ..f()" },
    { "local x = await t", "local x = await(t)" },
    { "-- Ends so.\nasync function f() end", "-- Ends so.\nfunction f() end" },
    { "x = 'a' .. await t", "x = 'a' .. await(t)" },
    { "goto a ::a:: await f()", "goto a ::a:: f()" },
    { "return await self.task.inner, await t:wait()", "return await(self.task.inner), t:wait()" },
    { "f(await t, await g 'x', await h{}, await t[1]())", "f(await(t), g 'x', h{}, t[1]())" },
    { "async function f(x) end", "function f(x) end" },
    { "local async function f() end", "local function f() end" },
    { "async function M.a:b() end", "function M.a:b() end" },
    { "x = async function() end", "x = function() end" },
    { "async for a, b in e do end", "for a, b in e do end" },
    { "async with e as x do f(x) end", "do local _with = e local x = _with  f(x) end" },
    { "async with f(1, 2), g{3, 4} as y do end", "do local _with = f(1, 2) local _with = g{3, 4} local y = _with  end" },
    { "async with f(function() do end end) do end", "do local _with = f(function() do end end)  end" },
  } do
    it("shows the server plain Lua: " .. pair[1], function()
      assert.equal(pair[2], shown(pair[1]))
      assert(load(pair[2]))
    end)
  end

  for _, text in ipairs {
    "await(f())", "x = 'await y' .. [[async for]] -- await z", "--[==[ await x ]==] local await = 1", "asyncio.await x = 1", "asyncio. -- of it\n await x = 1", "x.async = await",
    "local s = \"a\\\" await b\"", "async(function() end)",
  } do
    it("leaves alone: " .. text, function() assert.equal(text, shown(text)) end)
  end

  it("shows every example as Lua", function()
    local list <close> = io.popen("find scripts -name '*.lua'")
    for path in list:lines() do
      local text = read(path):gsub("^#[^\n]*", "")
      local ok, why = load(shown(text), "=" .. path)
      assert(ok, why)
    end
  end)
end)

describe("share/vscode", function()
  local package = json.decode(read "share/vscode/package.json")
  local path = package.contributes.grammars[1].path

  it("has a grammar whose patterns compile", function()
    local grammar = json.decode(read("share/vscode/" .. path:gsub("^%./", "")))
    assert.equal(package.contributes.grammars[1].scopeName, grammar.scopeName)
    assert(#grammar.patterns >= 3)
    for _, pattern in ipairs(grammar.patterns) do assert.equal("string", type(pattern.match)) end
  end)

  it("finds the keywords, and no names", function()
    local grammar = json.decode(read("share/vscode/" .. path:gsub("^%./", "")))
    local matches = {}
    for _, pattern in ipairs(grammar.patterns) do matches[#matches + 1] = pattern.match end
    -- the patterns are of the kind that JavaScript has, too
    local program = "const m = " .. json.encode(matches) .. [[;
      const lines = ["async function f() end", "local x = await f()", "async with e as x do", "async for a in b do",
        "await(f())", "x.await = 1", "local async = 1", "await = async", "async(function() end)"];
      console.log(lines.map(l => m.filter(p => new RegExp(p).test(l)).length > 0 ? 1 : 0).join(""))]]
    local node <close> = io.popen("node -e " .. "'" .. program:gsub("'", "'\\''") .. "'")
    assert.equal("111100000\n", node:read("a"))
  end)
end)

describe("share/vim", function()
  it("marks the keywords, and no names", function()
    local dir, here = helper.tmpdir(), helper.pwd()
    local function write(name, text)
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write(text)
    end
    local lines = {
      "async function f(x)", "  local r = await session:get(url)", "  async with e as y do", "    if x then await g() end", "  end", "  async for a in b do end",
      "  await(f()) x.await = 1", "  -- await x", "  local async = 1", "end",
    }
    write("a.lua", table.concat(lines, "\n") .. "\n")
    write("v.vim", ([[
set nocompatible
let here = escape('%s', '\ ,')
let &rtp = here . '/share/vim,' . &rtp . ',' . here . '/share/vim/after'

syntax on
edit %s/a.lua
let out = []
for l in range(1, line('$'))
  for w in ['async', 'await', 'with', 'as']
    let c = match(getline(l), '\<' . w . '\>')
    if c >= 0
      call add(out, l . ' ' . w . ' ' . synIDattr(synID(l, c + 1, 1), 'name'))
    endif
  endfor
endfor
call writefile(out, '%s/out')
qa!
]]):format(here, dir, dir))
    helper.sh("vim -u NONE -es -S " .. dir .. "/v.vim")
    local f <close> = assert(io.open(dir .. "/out"))
    assert.equal("1 async luaAsync\n2 await luaAwait\n3 async luaAsync\n3 with luaAsyncWith\n3 as luaAsyncAs\n4 await luaAwait\n"
      .. "6 async luaAsync\n7 await \n8 await luaComment\n9 async \n", f:read("a"))
  end)
end)
