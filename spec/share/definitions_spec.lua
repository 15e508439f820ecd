--- share/luals/library: what lua-language-server is told of the library is what the library has, in both directions.

local asyncio = require "asyncio"
local blocks = require "spec.docs.blocks"
local helper = require "spec.helper"
local luacats = require "tools.definitions.luacats"
local reference = require "tools.definitions.reference"

if not pcall(require, "http.client.core") or not pcall(require, "ssl") or not pcall(require, "brotli") then
  return pending("built without a part")
end

local FOLDER = "share/luals/library/"

-- ---- the definitions ----

-- class -> {bases, fields, functions = {name = {params, said}}}; file -> {class = the module's, exports}
local classes, aliases, files, mentioned = {}, {}, {}, {}

local function mention(text, where)
  local names, last = luacats.type(text)
  for _, name in ipairs(names) do mentioned[#mentioned + 1] = { name = name, where = where } end
  return text:sub(last + 1)
end

local tags = {}

function tags.class(file, rest, where)
  local name, bases = rest:match("^([%w_.]+):?%s*(.*)$")
  file.class = classes[name] or { name = name, fields = {}, functions = {}, bases = {} }
  assert(not classes[name], where .. ": defined twice: " .. name)
  classes[name] = file.class
  for base in bases:gmatch("[%w_.]+") do
    mention(base, where)
    file.class.bases[#file.class.bases + 1] = base
  end
end

function tags.field(file, rest, where)
  local name, kind = rest:match("^([%w_]+)%??%s+(.*)$")
  if name then
    assert(not file.class.fields[name], where .. ": a field twice")
    file.class.fields[name] = true
  else
    kind = assert(rest:match("^%[[%w_.]+%]%s+(.*)$"), where)
  end
  mention(kind, where)
end

function tags.param(file, rest, where)
  local name, optional, kind = rest:match("^([%w_.]+)(%??)%s+(.*)$")
  assert(name, where)
  assert(not mention(kind, where):find("%S"), where .. ": text behind a type")
  file.params[#file.params + 1] = name
  assert(not (file.optional and optional == "" and name ~= "..."), where .. ": what must be given follows what need not")
  file.optional = file.optional or optional == "?"
end

function tags.generic(file, rest, where)
  local name, base = rest:match("^(%u)%s*:?%s*(.*)$")
  assert(name, where)
  file.generic = name
  if base ~= "" then mention(base, where) end
end

tags["return"] = function(_, rest, where)
  local behind = mention(rest, where)
  assert(behind == "" or behind == " ...", where .. ": " .. rest)
end

function tags.alias(_, rest, where)
  local name, kind = rest:match("^([%w_.]+) (.*)$")
  aliases[name] = true
  mention(kind, where)
end

function tags.overload(_, rest, where) assert(mention(rest, where) == "", where .. ": " .. rest) end
function tags.operator(_, rest, where) assert(rest:match("^%l+%b(): [%w_.]+$"), where) end
function tags.async() end
function tags.meta(file, rest) file.meta = rest end

local function read(name)
  local path = FOLDER .. name
  local file = { params = {}, exports = {}, locals = {}, name = name:match("^(.*)%.lua$") }
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    local where = path .. ":" .. number
    local tag, rest = line:match("^%-%-%-@(%l+)%s*(.*)$")
    if tag then
      assert(tags[tag], where)(file, rest, where)
    elseif line:find("^%-%-%- %S") then
      file.said = true
    else
      local owner, separator, f, params = line:match("^function ([%w_]+)([.:])([%w_]+)(%b()) end$")
      if not f then
        owner, f, params = "", line:match("^function ([%w_]+)(%b()) end$")
      end
      if f then
        local listed = params:sub(2, -2)
        local own = owner == "" and file.exports or assert(file.locals[owner], where).functions
        assert(listed == table.concat(file.params, ", "), where .. ": ---@param and parameters differ")
        assert(file.said, where .. ": what it does is not said")
        assert(not own[f], where .. ": defined twice")
        own[f] = { params = file.params, where = where, method = separator == ":" }
      elseif line:find("^local ") then
        file.locals[line:match("^local ([%w_]+) = {}$")] = file.class
        file.last = file.class
      elseif line:find("^[%w_]+%.[%w_]+ = ") then
        file.last.fields[line:match("^[%w_]+%.([%w_]+)")] = true
      end
      file.params, file.optional, file.said = {}, nil, nil
    end
  end
  files[file.name] = file
end

local list <close> = assert(io.popen("cd " .. FOLDER .. " && ls *.lua"))
for name in list:lines() do read(name) end

local function functions_of(name)
  local all, class = {}, classes[name]
  for _, base in ipairs(class.bases) do
    for f, def in pairs(functions_of(base)) do all[f] = def end
  end
  for f, def in pairs(class.functions) do all[f] = def end
  return all
end

-- ---- the library ----

local function inherited(t)
  local mt = getmetatable(t)
  return rawget(t, "__base") or type(mt) == "table" and type(rawget(mt, "__index")) == "table" and rawget(mt, "__index") or nil
end

-- The functions of a class, and of those that it is derived from.
local function real(t)
  local all, depth = {}, 0
  while type(t) == "table" and depth < 8 do
    for name in next, blocks.functions(t) do all[name] = true end
    t, depth = inherited(t), depth + 1
  end
  all.new, all.init = nil, nil
  return all
end

local function index(object)
  local mt = debug.getmetatable(object)
  local i = mt.__index
  if type(i) == "function" then
    local n, found = 1, nil
    repeat
      local name, value = debug.getupvalue(i, n)
      if type(value) == "table" and next(blocks.functions(value)) then found = value end
      n = n + 1
    until not name or found
    return found
  end
  return i or mt
end

local http, web, net = require "http", require "http.web", require "asyncio.net"
local loop = asyncio.get_running_loop
local tls = require "ssl"

-- class -> its object in the reference ("page/object"), and what gives its methods
local made = {
  ["asyncio.Loop"] = { "reference/loop", function()
    for _, part in ipairs { "subprocess_protocols", "sockets", "streams", "datagrams", "executors", "signals" } do require("asyncio." .. part) end
    return require("asyncio.core").Loop.methods
  end },
  ["asyncio.Future"] = { "reference/future", function() return index(loop():create_future()) end },
  ["asyncio.Task"] = { "reference/task", function() return index(asyncio.current_task()) end },
  ["asyncio.Runner"] = { "reference/runner", function() return debug.getmetatable(asyncio.Runner()) end },
  ["asyncio.Lock"] = { "reference/lock", function() return index(asyncio.Lock()) end },
  ["asyncio.Event"] = { "reference/event", function() return index(asyncio.Event()) end },
  ["asyncio.Semaphore"] = { "reference/semaphore", function() return index(asyncio.Semaphore()) end },
  ["asyncio.Condition"] = { "reference/condition", function() return index(asyncio.Condition()) end },
  ["asyncio.Barrier"] = { "reference/barrier", function() return index(asyncio.Barrier(2)) end },
  ["asyncio.Queue"] = { "reference/queue", function() return require("asyncio.core").Queue.methods end },
  ["asyncio.Timeout"] = { "reference/timeout", function() return index(asyncio.timeout(nil)) end },
  ["asyncio.TaskGroup"] = { "reference/group", function() return index(asyncio.TaskGroup()) end },
  ["asyncio.CancelScope"] = { "", function() return index(asyncio.CancelScope()) end },
  ["asyncio.StreamReader"] = { "reference/reader", function() return net.StreamReader end },
  ["asyncio.StreamWriter"] = { "reference/writer", function() return net.StreamWriter end },
  ["asyncio.Transport"] = { "reference/transport", function() return net.Transport end },
  ["asyncio.Server"] = { "reference/server", function() return net.Server end },
  ["asyncio.DatagramEndpoint"] = { "reference/endpoint", function() return net.DatagramEndpoint end },
  ["asyncio.DatagramTransport"] = { "reference/datagram", function() return net.DatagramTransport end },
  ["asyncio.Process"] = { "reference/process", function() return asyncio.subprocess.Process.methods end },
  ["asyncio.Terminal"] = { "reference/terminal", function() return asyncio.subprocess.Terminal.methods end },
  ["asyncio.SubprocessTransport"] = { "reference/process_transport", function()
    return require("asyncio.subprocess_protocols").SubprocessTransport.methods
  end },
  ["asyncio.Progress"] = { "reference/bar", function() return require("asyncio.progress").Progress end },
  ["asyncio.context"] = { "reference/asyncio.context", function() return asyncio.context end },
  ["socket.Socket"] = { "reference/sock", function()
    require("socket")
    return require("socket.core").Socket
  end },
  ["socket.Buffer"] = { "reference/buffer", function() return require("socket.core").Buffer end },
  ["ssl.SSLContext"] = { "reference/context", function() return index(tls.create_default_context()) end },
  ["ssl.SSLObject"] = { "reference/object", function() return tls.SSLObject.methods end },
  ["fs.File"] = { "fs/file", function() return require("fs").File end },
  ["fs.path"] = { "fs/fs.path", function()
    local path = {}
    for name, f in pairs(require("fs").path) do path[name] = name ~= "check" and f or nil end
    return path
  end },
  ["url.URL"] = { "url/u", function() return require("url").URL end },
  ["zlib.Compress"] = { "zlib/c", function() return require("zlib").Compress end },
  ["zlib.Decompress"] = { "zlib/d", function() return require("zlib").Decompress end },
  ["brotli.Compressor"] = { "brotli/c", function() return index(require("brotli").Compressor()) end },
  ["multiprocessing.PoolResult"] = { "", function() return require("multiprocessing").PoolResult end },
  ["http.ClientSession"] = { "client/session", function() return http.ClientSession end },
  ["http.ClientResponse"] = { "client/resp", function() return http.ClientResponse end },
  ["http.ClientWebSocketResponse"] = { "websocket/ws", function() return http.ClientWebSocketResponse end },
  ["http.WSMessage"] = { "websocket/msg", function() return http.WSMessage end },
  ["http.Fingerprint"] = { "", function() return http.Fingerprint end },
  ["http.CookieJar"] = { "client/jar", function() return http.CookieJar end },
  ["http.FormData"] = { "client/form", function() return debug.getmetatable(http.FormData()) end },
  ["http.MultiDict"] = { "forms/d", function() return getmetatable(http.MultiDict()) end },
  ["http.MultipartReader"] = { "forms/reader", function()
    return debug.getmetatable(http.MultipartReader("multipart/mixed; boundary=b", { read = print }))
  end },
  ["http.BodyPartReader"] = { "forms/part", function() return http.BodyPartReader end },
  ["http.TraceConfig"] = { "", function() return http.TraceConfig end },
  ["http.Headers"] = { "http/h", function() return http.Headers.methods end },
  ["http.web.Application"] = { "web/app", function() return web.Application end },
  ["http.web.UrlDispatcher"] = { "web/router", function() return web.UrlDispatcher end },
  ["http.web.RouteTableDef"] = { "", function() return web.RouteTableDef end },
  ["http.web.Request"] = { "web/request", function() return web.Request end },
  ["http.web.StreamResponse"] = { "web/response", function() return web.StreamResponse end },
  ["http.web.Response"] = { "web/response", function() return web.Response end },
  ["http.web.FileResponse"] = { "", function() return web.FileResponse end },
  ["http.web.WebSocketResponse"] = { "websocket/ws", function() return web.WebSocketResponse end },
  ["http.web.EventSourceResponse"] = { "websocket/events", function() return web.EventSourceResponse end },
  ["http.web.AppRunner"] = { "serving/runner", function() return web.AppRunner end },
  ["http.web.TCPSite"] = { "serving/site", function() return web.TCPSite end },
  ["http.web.FileField"] = { "forms/field", function() return web.FileField end },
  ["http.testing.TestServer"] = { "", function() return require("http.testing").TestServer end },
  ["http.testing.TestClient"] = { "", function() return require("http.testing").TestClient end },
}

local pages = {}

local function page(name)
  pages[name] = pages[name] or reference.page(name == "reference" and "docs/reference.md" or "docs/reference/" .. name .. ".md")
  return pages[name]
end

-- Parameters of definitions and of the reference have the same names; what the reference leaves out at the end may be there.
local function agree(functions, entries, prefix)
  for name, def in pairs(functions) do
    local entry = entries[prefix .. ":" .. name] or entries[prefix .. "." .. name]
    if entry and entry.params then
      local names = table.concat(def.params, ", ")
      assert(names == entry.params:gsub("%.%.%., opts$", "..."), ("%s: the reference has %s(%s)"):format(def.where, name, entry.params))
    end
  end
end

describe("share/luals/library", function()
  it("is what the tool writes", function()
    local dir = helper.tmpdir()
    helper.sh("build/moonloop tools/definitions.lua " .. dir .. " && diff -r " .. dir .. " share/luals/library")
  end)

  for name in pairs(files) do
    it("is Lua: " .. name, function() assert(loadfile(FOLDER .. name .. ".lua")) end)
  end

  it("mentions no type that is not defined", function()
    local known = { ["file*"] = true, T = true, F = true }
    for name in ("any nil boolean string number integer function table userdata thread true false"):gmatch("%a+") do known[name] = true end
    for _, one in ipairs(mentioned) do
      assert(known[one.name] or classes[one.name] or aliases[one.name], one.where .. ": " .. one.name)
    end
    assert(#mentioned > 1500)
  end)

  it("has the globals", function()
    assert.same({}, blocks.missing(files.globals.exports, _G))
    assert(files.globals.exports.async and files.globals.exports.await)
  end)

  for name, file in pairs(files) do
    if name ~= "globals" then
      it("has what module " .. name .. " has", function()
        local there, class = {}, assert(classes[name])
        for key, value in pairs(require(name)) do there[key] = value end
        local defined = {}
        for key in pairs(class.functions) do
          defined[key] = true
          local value = require(name)[key]
          assert(type(value) == "function" or type(value) == "table", key)
        end
        for key in pairs(class.fields) do defined[key] = true end
        assert.equal(name, file.meta)
        assert.same({}, blocks.missing(there, defined))
        for key in pairs(defined) do assert(require(name)[key] ~= nil, key) end
      end)
    end
  end

  for name, about in pairs(made) do
    it("has the methods of " .. name .. ", and no other", function()
      helper.run(async(function()
        local there, defined = real(about[2]()), functions_of(name)
        assert.same({}, blocks.missing(there, defined))
        assert.same({}, blocks.missing(defined, there))
      end))
    end)
  end

  it("has the methods of brotli.Decompressor", function()
    local object = require("brotli").Decompressor()
    for name in pairs(functions_of("brotli.Decompressor")) do assert.equal("function", type(object[name])) end
  end)

  it("names parameters as the reference does", function()
    for name, about in pairs(made) do
      local of, object = about[1]:match("^(%w+)/(.*)$")
      if of then agree(functions_of(name), page(of), object) end
    end
    for name in pairs(files) do
      local short = name == "http.web" and "web" or name == "http.websocket" and "websocket" or name
      for _, of in ipairs { "reference", "client", "web", "serving", "websocket", "fs", "json", "zlib", "brotli", "mime", "task", "reload", "url" } do
        if classes[name] and (name ~= "asyncio" or of == "reference") then agree(classes[name].functions, page(of), short) end
      end
    end
  end)

  local function options(class)
    local all = {}
    for _, base in ipairs(classes[class].bases) do
      for key in pairs(options(base)) do all[key] = true end
    end
    for key in pairs(classes[class].fields) do all[key] = true end
    return all
  end

  for class, names in pairs {
    ["http.SessionOptions"] = http.ClientSession.OPTIONS, ["http.RequestOptions"] = require("http.client.request").OPTIONS,
    ["http.TCPConnectorOptions"] = require("http.client.connector").OPTIONS,
  } do
    it("has the options of " .. class, function()
      local there = {}
      for _, key in ipairs(names) do there[key] = true end
      assert.same(there, options(class))
    end)
  end

  -- What is said of an option that is none names those that are.
  local refuse = {
    ["asyncio.RunOptions"] = function(wrong) asyncio.run(async(function() end), wrong) end,
    ["asyncio.WaitOptions"] = function(wrong) asyncio.wait({ loop():create_future() }, wrong) end,
    ["asyncio.ConnectionOptions"] = function(wrong) asyncio.open_connection("localhost", 1, wrong) end,
    ["asyncio.ServerOptions"] = function(wrong) asyncio.start_server(print, nil, 0, wrong) end,
    ["asyncio.DatagramOptions"] = function(wrong) asyncio.open_datagram(wrong) end,
    ["asyncio.SubprocessOptions"] = function(wrong) asyncio.create_subprocess_exec("true", wrong) end,
    ["asyncio.ProgressOptions"] = function(wrong) asyncio.progress({}, wrong) end,
    ["asyncio.TaskOptions"] = function(wrong) asyncio.create_task(asyncio.sleep(0), wrong) end,
    ["asyncio.testing.MockOptions"] = function(wrong) require("asyncio.testing").mock(wrong) end,
    ["json.EncodeOptions"] = function(wrong) require("json").encode({}, wrong) end,
    ["json.DecodeOptions"] = function(wrong) require("json").decode("1", wrong) end,
    ["zlib.CompressOptions"] = function(wrong) require("zlib").compressobj(wrong) end,
    ["brotli.Options"] = function(wrong) require("brotli").compress("", wrong) end,
    ["fs.WriteOptions"] = function(wrong) require("fs").write_file("/dev/null", "", wrong) end,
    ["fs.WalkOptions"] = function(wrong) require("fs").walk(".", wrong) end,
    ["tty.KeysOptions"] = function(wrong) require("tty").keys(wrong) end,
    ["multiprocessing.PoolOptions"] = function(wrong) require("multiprocessing").Pool(wrong) end,
    ["concurrent.futures.ThreadPoolOptions"] = function(wrong) require("concurrent.futures").ThreadPoolExecutor(wrong) end,
    ["concurrent.futures.ProcessPoolOptions"] = function(wrong) require("concurrent.futures").ProcessPoolExecutor(wrong) end,
    ["http.TimeoutOptions"] = function(wrong) http.ClientTimeout(wrong) end,
    ["http.ConnectorOptions"] = function(wrong) http.UnixConnector("/x", wrong) end,
    ["http.CookieJarOptions"] = function(wrong) http.CookieJar(wrong) end,
    ["http.web.RunAppOptions"] = function(wrong) web.run_app(web.Application(), wrong) end,
    ["http.web.RunnerOptions"] = function(wrong) web.AppRunner(web.Application(), wrong) end,
    ["http.web.StaticOptions"] = function(wrong) web.Application().router:add_static("/x", ".", wrong) end,
    ["http.web.WebSocketOptions"] = function(wrong) web.WebSocketResponse(wrong) end,
    ["http.web.RouteOptions"] = function(wrong) web.Application().router:add_get("/", print, wrong) end,
    ["http.testing.ServerOptions"] = function(wrong) require("http.testing").TestServer(web.Application(), wrong) end,
    ["http.testing.MockOptions"] = function(wrong) require("http.testing").make_mocked_request("GET", "/", wrong) end,
  }
  for class, f in pairs(refuse) do
    it("has the options of " .. class, function()
      helper.run(async(function()
        local ok, err = pcall(f, { nonsense = true })
        assert.is_false(ok)
        local there = {}
        for key in assert(tostring(err):match("expected: ([^)]+)"), tostring(err)):gmatch("[%a_][%w_]*") do there[key] = true end
        there.name = there.name or class == "http.web.StaticOptions" or nil -- the resource's
        assert.same({}, blocks.missing(there, options(class)))
        assert.same({}, blocks.missing(options(class), there))
      end))
    end)
  end
end)
