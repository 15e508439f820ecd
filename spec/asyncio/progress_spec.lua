local asyncio = require "asyncio"
local helper = require "spec.helper"
local terminal = require "spec.terminal"

local progress = asyncio.progress

--- The parts of a line: what stands before the bar, and behind it.
local function parts(bar)
  local before, behind = tostring(bar):match("^(.-|)[^|]*(|.*)$")
  return before, behind
end

describe("asyncio.progress", function()
  it("shows how far it is, how long it took and will take, and the rate, by the loop's clock", function()
    helper.run(async(function()
      local bar <close> = progress(200, { desc = "pages", ascii = true })
      assert.equal("pages:   0%|" .. (" "):rep(37) .. "| 0/200 [00:00<?, ?it/s]", (tostring(bar):gsub("  +|", (" "):rep(37) .. "|")))
      for _ = 1, 50 do
        await(asyncio.sleep(2))
        bar:update()
      end
      assert.same({ "pages:  25%|", "| 50/200 [01:40<05:00, 2.00s/it]" }, { parts(bar) })
      assert.equal(100, bar:elapsed())
      assert.equal(0.5, bar:rate())
      assert.equal(300, bar:remaining())
      bar:update(150)
      assert.same({ "pages: 100%|", "| 200/200 [01:40<00:00, 2.00it/s]" }, { parts(bar) })
      assert.equal(80, #tostring(bar))
    end))
  end)

  it("iterates over an array, and counts what is done", function()
    local seen = {}
    local bar = progress { "a", "b", "c" }
    for x in bar do
      seen[#seen + 1] = x .. bar.n .. "/" .. bar.total
    end
    assert.same({ "a0/3", "b1/3", "c2/3" }, seen)
    assert.equal(3, bar.n)
    for _ in progress {} do error("nothing is in it") end
  end)

  it("iterates over the numbers up to a total", function()
    local sum = 0
    for i in progress(4) do sum = sum + i end
    assert.equal(10, sum)
    for _ in progress(0) do error("nothing is in it") end
  end)

  it("iterates over iterators: functions, pairs, ipairs, objects, asynchronous ones", function()
    local list = {}
    for word, number in progress(("a1 b2"):gmatch("(%a)(%d)")) do list[#list + 1] = word .. number end
    for key, value in progress(pairs { k = "v" }) do list[#list + 1] = key .. value end
    for i, value in progress(ipairs { "x", "y" }) do list[#list + 1] = i .. value end
    assert.same({ "a1", "b2", "kv", "1x", "2y" }, list)
    helper.run(async(function()
      local queue = asyncio.Queue()
      for i = 1, 3 do queue:put_nowait(i) end
      queue:shutdown()
      local n = 0
      for item in progress(queue:items()) do n = n + item end
      assert.equal(6, n)
      local squares = progress(3, { desc = "squares" })
      for i, value in squares:over(ipairs { 1, 4, 9 }) do n = n + i * value end
      assert.same({ 42, 3, 3 }, { n, squares.n, squares.total })
      local closed
      local counter = setmetatable({ i = 0 }, { __index = {
        __aiter = function(self) return self end,
        __anext = async(function(self)
          await(asyncio.sleep(1))
          self.i = self.i + 1
          return self.i
        end),
        aclose = function() closed = true end,
      } })
      for i in progress(counter) do
        if i == 3 then break end
      end
      assert.equal(true, closed)
      for task in progress(asyncio.as_completed { asyncio.sleep(2, "b"), asyncio.sleep(1, "a") }, { total = 2 }) do
        list[#list + 1] = await(task)
      end
      assert.same({ "a", "b" }, { list[6], list[7] })
    end))
  end)

  it("counts bytes: in strings that are iterated over, by 1024", function()
    local bar = progress(("x"):rep(3000):gmatch(("."):rep(1000)), { bytes = true, total = 4096, ascii = true })
    for _ in bar do end
    assert.equal(3000, bar.n)
    assert.equal(" 73%|", (parts(bar)))
    assert.truthy(tostring(bar):find("| 2.93k/4.00k [", 1, true))
    assert.truthy(tostring(bar):find("B/s]", 1, true))
  end)

  it("does without a total, and with one that was wrong", function()
    helper.run(async(function()
      local bar <close> = progress(nil, { unit = "rows" })
      await(asyncio.sleep(60))
      bar:update(7)
      assert.equal("7rows [01:00, 8.57s/rows]", tostring(bar))
      bar.total = 5
      assert.equal("7rows [01:00, 8.57s/rows]", tostring(bar))
      bar.total = 14
      assert.equal(" 50%|", (parts(bar)))
      bar:reset(3)
      assert.same({ 0, 3, 0 }, { bar.n, bar.total, bar:elapsed() })
    end))
  end)

  it("says what it is told to, without what would steer the terminal", function()
    local bar <close> = progress(10, { desc = "\27[2Jx\n", postfix = { b = 0.12345, a = "\u{9b}" }, ncols = 60, ascii = true })
    assert.equal("?[2Jx?:   0%|", (parts(bar)))
    assert.truthy(tostring(bar):find(", a=?, b=0.123]", 1, true))
    bar:set_postfix("done")
    bar:set_description(nil)
    assert.equal("  0%|", (parts(bar)))
    assert.truthy(tostring(bar):find(", done]", 1, true))
    assert.equal(60, #tostring(bar))
    bar.ncols = 20
    assert.equal("  0% 0/10 [00:00<?, ", tostring(bar))
  end)

  it("survives fields that are no numbers, and numbers that are too large", function()
    local bar <close> = progress(10, { ascii = true, rate = false })
    for _, value in ipairs { "x", {}, 0 / 0, math.huge, -math.huge, 1e300, -5 } do
      bar.n, bar.total = value, 10
      assert.equal("string", type(tostring(bar)))
      bar.n, bar.total = 5, value
      assert.equal("string", type(tostring(bar)))
    end
    bar.n, bar.total = "x", 10
    bar:update(3)
    assert.equal(" 30%|", (parts(bar)))
    assert.equal("", bar:line(-3))
    assert.equal(80, #bar:line(0.5))
  end)

  it("leaves the rate out on demand", function()
    local bar <close> = progress(10, { rate = false, ascii = true })
    assert.truthy(tostring(bar):find("| 0/10 [00:00<?]", 1, true))
  end)

  it("starts from what there was already, and leaves that out of the rate", function()
    helper.run(async(function()
      local bar <close> = progress(100, { initial = 50, ascii = true })
      await(asyncio.sleep(10))
      bar:update(10)
      assert.equal(1, bar:rate())
      assert.equal(40, bar:remaining())
    end))
  end)

  it("draws fractions of a column, in blocks or digits", function()
    local bar <close> = progress(100, { ncols = 36, ascii = false })
    bar.loop = { time = function() return bar.started end }
    bar:update(26)
    assert.equal(" 26%|██▌       | 26/100 [00:00<?, ?it/s]", (tostring(bar):gsub("|.-|", "|██▌       |")))
    local width = require("tty.text").width(tostring(bar))
    assert.equal(36, width)
    bar.ascii = true
    assert.equal(36, #tostring(bar))
  end)

  it("ends by close, a block's end, a break; a second time, and updates after it, do no harm", function()
    local bar = progress(3)
    for i in bar do
      if i == 2 then break end
    end
    bar:close()
    bar:close()
    bar:update()
    bar:refresh()
    bar:set_postfix("x")
    assert.equal(2, bar.n)
    local kept
    do
      local b <close> = progress(5)
      kept = b
    end
    local elapsed = kept:elapsed()
    assert.equal(elapsed, kept:elapsed())
  end)

  it("refuses what makes no sense, with the caller's position", function()
    for _, case in ipairs {
      { asyncio.TypeError, "an array, an iterator or a total, not a string", "text" },
      { asyncio.TypeError, "not a boolean", true },
      { asyncio.ValueError, "must be 0 or more, got -1", -1 },
      { asyncio.ValueError, "must be 0 or more, got ", 0 / 0 },
      { asyncio.TypeError, "unit expects a string, not a table", 1, { unit = {} } },
      { asyncio.ValueError, "ncols must be a number of 0 or more, got wide", 1, { ncols = "wide" } },
      { asyncio.ValueError, "unknown colour 'pink'", 1, { colour = "pink" } },
      { asyncio.TypeError, "file to be an open file, not a string", 1, { file = "x" } },
      { asyncio.TypeError, "total to be a number, not a string", {}, { total = "x" } },
    } do
      local e = helper.raises(case[1], function() progress(case[3], case[4]) end)
      assert.truthy(tostring(e):find(case[2], 1, true), tostring(e))
      assert.truthy(tostring(e):find("progress_spec.lua:", 1, true), tostring(e))
    end
    helper.raises("unexpected keyword argument 'colours'", progress, 1, { colours = 1 })
    local bar <close> = progress(1)
    helper.raises("update() expects a number, not a string", bar.update, bar, "x")
    helper.raises("update() expects a number", bar.update, bar, math.huge)
    helper.raises("set_description() expects a string, not a table", bar.set_description, bar, {})
    helper.raises("nothing to iterate over", function() for _ in progress() do end end)
  end)

  it("passes the errors of what it iterates over on, and closes it", function()
    local bar = progress(function() error("broken", 0) end)
    assert.equal("broken", helper.raises("broken", function() for _ in bar do end end))
    assert.truthy(bar.ended == nil)
    helper.raises("in the body", function()
      for _ in progress { 1 } do error("in the body") end
    end)
  end)

  it("prints nothing on what is no terminal, or when it is told so", function()
    local status, out, err = helper.cli { "-e", [[
      local asyncio = require "asyncio"
      for i in asyncio.progress(3) do print(i) end
      local bar <close> = asyncio.progress(2)
      bar:write("a", 1)
      bar:update()]] }
    assert.same({ 0, "1\n2\n3\na\t1\n", "" }, { status, out, err })
    out = terminal.run({ "-e", [[
      local asyncio = require "asyncio"
      for i in asyncio.progress(3, { disable = true }) do end
      print "end"]] }, { { "expect", "end" } })
    assert.equal("\n[0 restored]\n", out)
  end)

  it("costs a script that computes little", function()
    local bar = progress(1e6)
    for _ in bar do end
    assert.equal(1000000, bar.n)
  end)
end)
