local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"
local payload = require "http.client.payload"

local async, await = asyncio.async, asyncio.await

--- A sink as exchanges are: keeps what was written, and says how.
local function sink()
  local x = { pieces = {}, files = {} }
  function x:write(data)
    self.pieces[#self.pieces + 1] = data
    if #self.pieces % 2 == 0 then return asyncio.sleep(0) end
  end
  x.sendfile = async(function(self, file, offset, count)
    local data = await(file:pread(count, offset)) or ""
    self.files[#self.files + 1] = { offset, count }
    self.pieces[#self.pieces + 1] = data
    return #data
  end)
  function x:text() return table.concat(self.pieces) end
  return x
end

local function file_of(text, suffix)
  local path = helper.tmpfile(text)
  if suffix then
    os.rename(path, path .. suffix)
    path = path .. suffix
    helper.finally(os.remove, path)
  end
  return path
end

--- Body, type and all the bytes of what a request would send.
local function sent(value, content_type)
  local body, ctype, p = payload.of(value, content_type)
  if not p then return body, ctype, body end
  local n, x = p:prepare(), sink()
  await(p:write(x))
  return n, ctype, x:text()
end

local function all(...) return { n = select("#", ...), ... } end

describe("a payload", function()
  it("is a string itself: text if it is UTF-8", function()
    assert.same(all("abc", "text/plain; charset=utf-8", nil), all(payload.of("abc")))
    assert.same(all("", "text/plain; charset=utf-8", nil), all(payload.of("")))
    assert.equal("text/plain; charset=utf-8", select(2, payload.of("\u{20ac}")))
    assert.equal("application/octet-stream", select(2, payload.of("\xFF\0")))
    assert.equal("a/b", select(2, payload.of("x", "a/b")))
  end)

  it("looks at the beginning of a long string only, and never into a character", function()
    local long = ("a"):rep(1048575) .. ("\u{20ac}"):rep(10)
    assert.equal("text/plain; charset=utf-8", payload.type_of(long))
    assert.equal("text/plain; charset=utf-8", payload.type_of(("a"):rep(1048576) .. "\xFF"))
    assert.equal("application/octet-stream", payload.type_of(("a"):rep(1048000) .. "\xFF" .. ("a"):rep(1000)))
    assert.equal("application/octet-stream", payload.type_of(("\x80"):rep(2000000)))
  end)

  it("is a form for a table", function()
    assert.same({ "a=1&b=x+y", "application/x-www-form-urlencoded", "a=1&b=x+y" }, { sent { b = "x y", a = 1 } })
    assert.same({ "b=1&a=2&b=3" }, { (sent { { "b", "1" }, { "a", "2" }, { "b", "3" } }) })
    assert.same({ "a=1&a=2" }, { (sent(require("http.multidict").MultiDict { a = { "1", "2" } })) })
    assert.same({ "" }, { (sent {}) })
  end)

  it("is a file, from where it stands, as a file", function()
    local path = file_of("0123456789", ".html")
    local file <close> = await(fs.open(path))
    await(file:seek("set", 4))
    local body, ctype, p = payload.of(file)
    assert.same({ true, "text/html", path:match("[^/]*$"), true }, { body, ctype, p.filename, p.replayable })
    for _ = 1, 2 do -- it can be sent again
      local x = sink()
      assert.equal(6, p:prepare())
      await(p:write(x))
      assert.same({ "456789", { { 4, 6 } } }, { x:text(), x.files })
    end
    assert.equal("456789", await(p:as_bytes()))
    await(file:seek("end", 0))
    assert.same({ 0, "text/html", "" }, { sent(file) })
  end)

  it("says so when a file becomes shorter", function()
    local path = file_of(("x"):rep(100))
    local file <close> = await(fs.open(path))
    local _, _, p = payload.of(file)
    p:prepare()
    await(fs.truncate(path, 10))
    local e = helper.raises(asyncio.OSError, await, p:write(sink()))
    assert.truthy(e.message:find("10 bytes of 100", 1, true))
  end)

  it("is a pipe, once", function()
    local path = helper.tmpfile() .. ".fifo"
    assert.equal(0, (helper.sh("mkfifo " .. path)))
    helper.finally(os.remove, path)
    helper.background("sh -c 'echo hello > " .. path .. "'")
    local file <close> = await(fs.open(path))
    local _, _, p = payload.of(file)
    local x = sink()
    assert.is_true(p:prepare())
    await(p:write(x))
    assert.same({ "hello\n", false }, { x:text(), p.replayable })
    helper.raises(asyncio.RuntimeError, p.prepare, p)
  end)

  it("is what an iterator gives, which may await", function()
    local n = 0
    local function iterator()
      n = n + 1
      await(asyncio.sleep(0))
      return n <= 3 and ("%d,"):format(n) or nil
    end
    assert.same({ true, "application/octet-stream", "1,2,3," }, { sent(iterator) })
    n = 0
    assert.same({ true, "a/b", "1,2,3," }, { sent(async(iterator), "a/b") })
  end)

  it("is what a Lua coroutine yields", function()
    local thread = coroutine.create(function()
      for i = 1, 3 do
        await(asyncio.sleep(0))
        coroutine.yield(i .. ";")
      end
      return "not sent"
    end)
    assert.same({ true, "application/octet-stream", "1;2;3;" }, { sent(thread) })
    local function generate()
      coroutine.yield("a")
      coroutine.yield("b")
    end
    assert.equal("ab", select(3, sent(coroutine.wrap(generate))) or "")
  end)

  it("closes a coroutine that it leaves before its end", function()
    local closed = 0
    local function generator()
      local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
      for i = 1, 10 do coroutine.yield(tostring(i)) end
    end
    local thread = coroutine.create(generator)
    local _, _, p = payload.of(thread)
    p:prepare()
    helper.raises("full", await, p:write { write = function() error("full") end })
    assert.same({ 1, "dead" }, { closed, coroutine.status(thread) })
    helper.run(function() -- cancelled in the middle
      local waiting = coroutine.create(function()
        generator()
      end)
      _, _, p = payload.of(waiting)
      p:prepare()
      local task = asyncio.create_task(p:write { write = function() return asyncio.sleep(10) end })
      await(asyncio.sleep(15))
      task:cancel()
      asyncio.catch(await, task)
      assert.same({ 2, "dead" }, { closed, coroutine.status(waiting) })
      local inside = coroutine.create(function()
        local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
        await(asyncio.sleep(10))
      end)
      _, _, p = payload.of(inside)
      p:prepare()
      task = asyncio.create_task(p:write(sink()))
      await(asyncio.sleep(5))
      task:cancel()
      asyncio.catch(await, task)
      assert.same({ 3, "dead" }, { closed, coroutine.status(inside) })
    end)
  end)

  it("is what a stream gives", function()
    local reader = asyncio.StreamReader and asyncio.StreamReader() or nil
    if reader then
      reader:feed_data(("x"):rep(100000))
      reader:feed_eof()
      assert.same({ true, "application/octet-stream", ("x"):rep(100000) }, { sent(reader) })
    end
    local queue = { "a", "b", "" }
    local object = { read = async(function() return table.remove(queue, 1) end) }
    assert.equal("ab", select(3, sent(setmetatable({}, { __index = object }))))
    local chunks = { "c", "d" }
    local part = setmetatable({}, { __index = { read_chunk = async(function() return table.remove(chunks, 1) end) } })
    assert.equal("cd", select(3, sent(part)))
  end)

  it("is what an object with __aiter gives, or one that can be called", function()
    local Lines = { __aiter = function(self) return self end }
    Lines.__index = Lines
    Lines.__anext = async(function(self)
      self.n = self.n + 1
      if self.n <= 2 then return self.n .. "\n" end
    end)
    assert.equal("1\n2\n", select(3, sent(setmetatable({ n = 0 }, Lines))))
    local n = 0
    local callable = setmetatable({}, { __call = function()
      n = n + 1
      return n < 3 and "x" or nil
    end })
    assert.equal("xx", select(3, sent(callable)))
  end)

  it("cannot be had twice if it comes piece by piece", function()
    local _, _, p = payload.of(function() return nil end)
    assert.is_false(p.replayable)
    p:prepare()
    local e = helper.raises(asyncio.RuntimeError, p.prepare, p)
    assert.truthy(e.message:find("an iterator", 1, true))
  end)

  it("says what came when a piece is no string", function()
    for _, piece in ipairs { 1, true, { "a" } } do
      local _, _, p = payload.of(function() return piece end)
      p:prepare()
      local e = helper.raises(asyncio.TypeError, await, p:write(sink()))
      assert.truthy(e.message:find("made of strings, got a", 1, true))
    end
  end)

  it("hands on what its source raises", function()
    local _, _, p = payload.of(function() error("burst") end)
    p:prepare()
    helper.raises("burst", await, p:write(sink()))
    local _, _, q = payload.of(coroutine.create(function() error("split") end))
    q:prepare()
    helper.raises("split", await, q:write(sink()))
  end)

  it("refuses what is none, saying what to do", function()
    local open <close> = assert(io.open("/dev/null"))
    local cases = {
      { 1, "json = " }, { true, "tostring()" }, { open, "fs.open" }, { setmetatable({}, {}), "was expected, got a table" }, { asyncio.sleep(0), "await it" },
      { asyncio.Event and asyncio.Event() or setmetatable({}, {}), "got a" },
    }
    for _, case in ipairs(cases) do
      local e = helper.raises(asyncio.TypeError, function() payload.of(case[1]) end)
      assert.truthy(e.message:find(case[2], 1, true), e.message)
      assert.truthy(e.message:find("payload_spec.lua:", 1, true), e.message)
    end
    await(cases[5][1])
    local path = file_of("x")
    local file = await(fs.open(path))
    await(file:close())
    helper.raises(asyncio.ValueError, payload.of, file)
  end)
end)

describe("a compressed payload", function()
  it("decodes to the same, whatever it was", function()
    local path = file_of(("file "):rep(50000))
    for _, coding in ipairs { "gzip", "deflate", "br" } do
      local file <close> = await(fs.open(path))
      local n = 0
      local sources = { ("text "):rep(1000), file, function()
        n = n + 1
        return n < 100 and ("line %d\n"):format(n) or nil
      end }
      for i, source in ipairs(sources) do
        local expected = i == 1 and source or i == 2 and ("file "):rep(50000)
        local body, _, p = payload.of(source)
        body, p = payload.compressed(body, p, coding)
        assert.is_true(body)
        assert.is_true(p:prepare())
        local x = sink()
        await(p:write(x))
        local text = await(require("http.encodings").decode(x:text(), coding))
        if expected then assert.equal(expected, text) else assert.truthy(text:find("line 1\n.*line 99\n$")) end
        assert.equal(i ~= 3, p.replayable)
      end
    end
  end)

  it("refuses codings that are none", function()
    for _, coding in ipairs { "zip", "", 1, false } do
      helper.raises(asyncio.ValueError, payload.compressed, "x", nil, coding)
    end
  end)
end)
