local helper = require "spec.helper"

--- What a session without a terminal prints.
local function session(text, ...)
  local status, out, err = helper.cli({ ... }, text)
  return out, err, status
end

describe("a command of the REPL", function()
  it(".help lists them all", function()
    local out = session ".help\n"
    for name in pairs(require("repl.commands").list) do assert(out:find("\n  ." .. name, 1, true), name) end
  end)

  it("that there is not is told, and is no success", function()
    local out, err, status = session ".nothing\n'next'\n"
    assert.same({ '"next"\n', "there is no command .nothing: .help lists them\n", 1 }, { out, err, status })
  end)

  it(".exit leaves", function()
    assert.equal("1\n", (session "1\n.exit\n2\n"))
  end)

  it(".tasks shows who waits for whom", function()
    local out = session [[
async function inner() await asyncio.sleep(100) end
async function outer() await asyncio.create_task(inner(), { name = "inner" }) end
t = asyncio.create_task(outer(), { name = "outer" })
.tasks
]]
    assert.match("^outer  <input 2>:1 in [^\n]*\n    inner  <input 1>:1 in [^\n]*\n$", out)
    assert.equal("no tasks\n", (session ".tasks\n"))
  end)

  it(".time tells how long it took", function()
    local out = session ".time await asyncio.sleep(0.05, 'x')\n"
    assert.match('^"x"\n%d[%d.]* m?s, %d[%d.]* [mu]?s of it computing\n$', out)
  end)

  it(".load runs a file, .save writes what was entered", function()
    local file = helper.tmpfile("loaded = 7 return 'done'\n", ".lua")
    local saved = helper.tmpfile()
    local out, err = session((".load %s\nx = loaded + 1\nx\nno lua\n.save %s\n.load /no/such/file\n"):format(file, saved))
    assert.equal('"done"\n8\n2 inputs saved to ' .. saved .. "\n", out)
    assert(err:find("cannot open /no/such/file", 1, true), err)
    local f <close> = assert(io.open(saved))
    assert.equal("x = loaded + 1\nx\n", f:read "a")
  end)

  it(".doc finds annotations of the library, by the function itself", function()
    local out = session "limit = asyncio.timeout\n.doc limit\n"
    assert.match("^function limit%(delay%)\nLimits what follows .*\n@param delay number%? seconds\n@return asyncio.Timeout\n$", out)
  end)

  it(".doc finds the reference's entries of what is written in C, of methods too", function()
    assert.match("^`asyncio.sleep%(delay, result%)` — awaits to `result`", (session "asyncio.sleep?\n"))
    assert.match("^`loop:call_soon%(f, ...%)` — ", (session "l = asyncio.get_running_loop()\n.doc l:call_soon\n"))
    assert.match("Lua's own: .*#pdf%-string.format\n", (session ".doc string.format\n"))
  end)

  it(".doc finds the annotations of files, and says what it can of the rest", function()
    local file = helper.tmpfile("--- Adds.\n---@param a number\nfunction add(a, b) return a + b end\n", ".lua")
    assert.equal("function add(a, b) return a + b end\nAdds.\n@param a number\n", (session(".load " .. file .. "\n.doc add\n")))
    assert.match("^function%(a, ...%)  <input 1>:1\n$", (session "function f(a, ...) end\n.doc f\n"))
    local _, err = session ".doc nothing\n.doc 1 + 1\n"
    assert.match("^nothing is written of nothing\n%.doc: a name was expected", err)
  end)
end)
