-- The client and other people's servers: the same requests to each of them.
local asyncio = require "asyncio"
local fs = require "fs"
local helper = require "spec.helper"

local has, http = pcall(require, "http")
if not has or not pcall(require, "http.client.core") then return pending("built without HTTP") end
local servers = require("spec.http.client.servers").servers

local digits = ("0123456789"):rep(1000)
local lines = {}
for i = 1, 9 do lines[i] = ("line %d\n"):format(i) end
local all_lines = table.concat(lines)

--- What a response says, and all of its body.
local function text(awaitable)
  local resp <close> = await(awaitable)
  return await(resp:text()), resp
end

local function json(awaitable)
  local resp <close> = await(awaitable)
  return await(resp:json()), resp
end

-- What is checked with each server that can do it: name = {what it needs, f(session, url, server)}.
local checks = {}
local function check(name, needs, f) checks[#checks + 1] = { name = name, needs = needs, f = f } end

check("GET, with a length", "headers", function(session, url)
  local body, resp = text(session:get(url .. "/hello"))
  assert.equal("Hello, World!", body)
  assert.same({ 200, 13, true }, { resp.status, resp.content_length, resp.ok })
  assert.equal("text/plain", resp.content_type)
end)

check("GET of a body without a length", "stream", function(session, url)
  assert.equal(all_lines, (text(session:get(url .. "/stream"))))
  local resp <close> = await(session:get(url .. "/stream"))
  local n = 0
  for line in resp.content:lines() do
    n = n + 1
    assert.equal(lines[n], line .. "\n")
  end
  assert.equal(9, n)
end)

check("many requests at once, many on one connection", "keep", function(session, url)
  local all = {}
  for i = 1, 60 do all[i] = text(session:get(url .. "/hello")) end
  for i = 1, 60 do all[i] = async(text)(session:get(url .. "/hello")) end
  for _, body in ipairs(await(asyncio.gather(all))) do assert.equal("Hello, World!", body) end
end)

check("HEAD", "HEAD", function(session, url)
  for _ = 1, 2 do
    local body, resp = text(session:head(url .. "/hello"))
    assert.same({ "", 200, 13 }, { body, resp.status, resp.content_length })
  end
end)

check("every method, with a body and without", "echo", function(session, url, server)
  for _, method in ipairs { "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" } do
    local got = json(session:request(method, url .. "/echo"))
    assert.equal(method, got.method)
    assert.equal("", got.body)
    got = json(session:request(method, url .. "/echo", { data = "some text" }))
    assert.same({ method, "some text", "9" }, { got.method, got.body, got.length })
  end
  local got = json(session:post(url .. "/echo", { json = { a = { 1, 2 } } }))
  assert.same({ '{"a":[1,2]}', "application/json" }, { got.body, got.type })
  got = json(session:post(url .. "/echo", { data = { a = "b c", d = "ä&" } }))
  assert(got.body == "a=b+c&d=%C3%A4%26" or got.body == "d=%C3%A4%26&a=b+c", got.body)
  assert.equal("application/x-www-form-urlencoded", got.type)
  local large = digits:rep(100)
  got = json(session:post(url .. "/echo", { data = large }))
  assert.is_true(got.body == large)
  assert(server)
end)

check("files from the disk, alone and in forms", "echo", function(session, url)
  local path = helper.tmpfile(digits:rep(30), ".bin")
  for _ = 1, 2 do
    local file <close> = await(fs.open(path, "rb"))
    local got = json(session:put(url .. "/echo", { data = file }))
    assert.same({ "300000", "application/octet-stream" }, { got.length, got.type })
    assert.is_true(got.body == digits:rep(30))
  end
  local file <close> = await(fs.open(path, "rb"))
  local form = http.FormData()
  form:add_field("name", "value")
  form:add_field("file", file, { filename = "a.bin" })
  local got = json(session:post(url .. "/echo", { data = form }))
  assert(got.type:find("^multipart/form%-data; boundary="))
  assert(got.length, "the length is known when that of each part is")
  assert.is_true(got.body:find(digits:rep(30), 1, true) ~= nil)
  assert(got.body:find('name="file"; filename="a.bin"', 1, true))
end)

check("uploads whose length nobody knows", "chunked-upload", function(session, url)
  local function pieces()
    local i = 0
    return function()
      i = i + 1
      if i <= 50 then
        if i % 10 == 0 then await(asyncio.sleep(0)) end
        return ("%d,"):format(i):rep(100)
      end
    end
  end
  local expected = {}
  for piece in pieces() do expected[#expected + 1] = piece end
  for _ = 1, 2 do
    local got = json(session:post(url .. "/echo", { data = pieces() }))
    assert.equal("chunked", got.coding)
    assert.is_true(got.body == table.concat(expected))
  end
end)

check("100 Continue", "continue", function(session, url)
  for _ = 1, 2 do
    local got = json(session:post(url .. "/echo", { data = "when you are ready", expect100 = true }))
    assert.equal("when you are ready", got.body)
    assert.equal("100-continue", got.expect:lower())
  end
end)

for _, coding in ipairs { "gzip", "deflate", "br" } do
  check(coding, coding, function(session, url)
    if not require("http.encodings").available(coding) then return end
    local body, resp = text(session:get(url .. "/" .. coding))
    assert.is_true(body == digits)
    assert.equal(coding, resp.headers["Content-Encoding"])
    local streamed <close> = await(session:get(url .. "/" .. coding))
    local n = 0
    for piece in streamed.content:iter_chunked(1000) do n = n + #piece end
    assert.equal(#digits, n)
    local raw <close> = await(session:get(url .. "/" .. coding, { auto_decompress = false }))
    assert(#await(raw:read()) < #digits)
  end)
end

check("redirects of every kind", "redirect", function(session, url)
  for _, status in ipairs { 301, 302, 303, 307, 308 } do
    local to = url .. "/to/" .. status
    local body, resp = text(session:get(to .. "?to=/hello"))
    assert.equal("Hello, World!", body)
    assert.same({ 200, url .. "/hello", 1, status },
      { resp.status, tostring(resp.url), #resp.history, resp.history[1].status })
    local stays <close> = await(session:get(to .. "?to=/hello", { allow_redirects = false }))
    assert.same({ status, "/hello" }, { stays.status, (stays.headers.Location:gsub("^http://[^/]+", "")) })
  end
  local e = helper.raises(http.TooManyRedirects, await, session:get(url .. "/loop", { max_redirects = 3 }))
  assert.equal(3, #e.history)
end)

check("redirects of every method", "redirect echo", function(session, url)
  for _, status in ipairs { 301, 302, 303, 307, 308 } do
    for _, method in ipairs { "GET", "POST", "PUT", "DELETE" } do
      local got = json(session:request(method, url .. "/to/" .. status .. "?to=/echo", { data = "x" }))
      local to_get = status == 303 or (status < 303 and method == "POST")
      assert.same({ to_get and "GET" or method, to_get and "" or "x" }, { got.method, got.body },
        method .. " after " .. status)
    end
  end
end)

check("cookies", "cookie headers", function(session, url)
  for _, name in ipairs { "first", "second" } do
    local _, resp = text(session:get(url .. "/cookie?name=" .. name))
    assert.equal("1", resp.cookies[name].value)
  end
  local got = json(session:get(url .. "/headers"))
  assert(got.cookie == "first=1; second=1" or got.cookie == "second=1; first=1", got.cookie)
end)

check("headers of its own and of the caller", "headers", function(session, url)
  local got = json(session:get(url .. "/headers", { headers = { ["X-A"] = "b" } }))
  assert.equal("b", got["x-a"])
  assert.equal((url:gsub("^http://", "")), got.host)
  assert.equal("*/*", got.accept)
  assert(got["user-agent"]:find("moonloop", 1, true), got["user-agent"])
end)

check("204 and 304", "empty", function(session, url, server)
  for _ = 1, 3 do
    local body, resp = text(session:get(url .. "/empty"))
    assert.same({ "", 204 }, { body, resp.status })
    if server.can.unchanged then
      body, resp = text(session:get(url .. "/unchanged"))
      assert.same({ "", 304, '"x"' }, { body, resp.status, resp.headers.ETag })
    end
  end
end)

check("slow bodies", "slow", function(session, url)
  assert.equal("01234", (text(session:get(url .. "/slow"))))
  helper.raises(http.ServerTimeoutError, function()
    local resp <close> = await(session:get(url .. "/slow", { timeout = { sock_read = 0.001 } }))
    await(resp:read())
  end)
  helper.raises(asyncio.TimeoutError, function()
    local resp <close> = await(session:get(url .. "/slow", { timeout = { total = 0.008 } }))
    await(resp:read())
  end)
  assert.equal("01234", (text(session:get(url .. "/slow"))))
end)

check("bodies that are cut off", "cut", function(session, url)
  local resp <close> = await(session:get(url .. "/cut"))
  assert.equal(100, resp.content_length)
  local e = helper.raises(http.ClientPayloadError, await, resp:read())
  assert(tostring(e):find(url .. "/cut", 1, true), tostring(e))
  assert.equal("GET", e.method)
  local streamed <close> = await(session:get(url .. "/cut"))
  local got = ""
  helper.raises(http.ClientPayloadError, function()
    for piece in streamed.content:iter_any() do got = got .. piece end
  end)
  assert.equal(got, ("0123456789"):sub(1, #got))
  assert.equal("Hello, World!", (text(session:get(url .. "/hello"))))
end)

check("informational responses", "early", function(session, url)
  for _ = 1, 2 do assert.equal("Hello, World!", (text(session:get(url .. "/early")))) end
end)

check("trailers", "trailers", function(session, url)
  local body, resp = text(session:get(url .. "/trailers"))
  assert.equal("Hello, World!", body)
  assert.equal("42", resp.trailers["X-Sum"])
end)

check("what was cancelled or not read, without harm to what follows", "headers", function(session, url, server)
  local path = server.can.slow and "/slow" or server.can.gzip and "/gzip" or "/hello"
  for i = 1, 30 do
    local task = asyncio.create_task(function() return text(session:get(url .. path)) end)
    for _ = 1, i % 7 do await(asyncio.sleep(0.0005 * (i % 5))) end
    task:cancel()
    asyncio.catch(await, task)
    do local _ <close> = await(session:get(url .. path)) end -- left unread
    assert.equal("Hello, World!", (text(session:get(url .. "/hello"))))
  end
end)

local names = {}
for name in pairs(servers) do names[#names + 1] = name end
table.sort(names)

for _, name in ipairs(names) do
  describe("the client and " .. name, function()
    it("understand each other", function()
      local done = 0
      asyncio.run(async(function()
        servers[name](function(server)
          for _, c in ipairs(checks) do
            local able = true
            for need in c.needs:gmatch("%S+") do able = able and server.can[need] end
            if able then
              local session <close> = http.ClientSession { cookie_jar = http.CookieJar { unsafe = true } }
              local _ <close> = asyncio.timeout(60 * helper.slow)
              local ok, err = xpcall(c.f, debug.traceback, session, server.url, server)
              if not ok then error(("%s: %s"):format(c.name, tostring(err)), 0) end
              done = done + 1
            end
          end
        end)
      end))
      assert(done >= 5, "there was little to check")
    end)
  end)
end
