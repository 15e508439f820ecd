--- The sandbox, by the command: what is allowed works, what is not is refused by every door, and an attacker who walks
--- over everything that can be reached finds no way out (sandbox_attack.lua).

local helper = require "spec.helper"

local SECRET = "the-crown-jewels-9137"

-- ---- running scripts in sandboxes ----

local function write(path, text)
  local f <close> = assert(io.open(path, "wb"))
  f:write(text)
end

local function read(path)
  local f = io.open(path, "rb")
  if not f then return nil end
  local text = f:read "a"
  f:close()
  return text
end

--- A folder with `secret.txt`, `in/` (readable, `in/ours.txt`), `out/` (writable) and `script/`.
local function house()
  local dir = helper.tmpdir()
  os.execute(("mkdir %s/in %s/out %s/script %s/private"):format(dir, dir, dir, dir))
  write(dir .. "/secret.txt", SECRET)
  write(dir .. "/private/secret.txt", SECRET)
  write(dir .. "/in/ours.txt", "ours")
  return dir
end

local prelude = [[
local asyncio = require "asyncio"
local fs = require "fs"
DIR, SECRET = ...
local function show(v)
  if type(v) == "table" and not asyncio.isinstance(v, asyncio.BaseException) then
    local parts = {}
    for k, x in pairs(v) do parts[#parts + 1] = tostring(k) .. "=" .. tostring(x) end
    return "{" .. table.concat(parts, " ") .. "}"
  end
  return tostring(v)
end
local function case(name, f)
  local r = table.pack(asyncio.catch(f))
  if r[1] and asyncio.core_isawaitable and asyncio.core_isawaitable(r[2]) then r = table.pack(asyncio.catch(await, r[2])) end
  local words = {}
  for i = 1, r.n do words[i] = show(r[i]):gsub("[\n\t]", " ") end
  print(name .. "\t" .. table.concat(words, "\t"))
end
asyncio.core_isawaitable = require("asyncio.core").isawaitable
]]

--- Runs each expression in one process with the options; gives what each came to, by its text: "true\t..." or
--- "false\tERROR".
local function try(dir, options, expressions, opts)
  local lines = { prelude }
  for i, text in ipairs(expressions) do
    lines[#lines + 1] = ("case(%d, function() %s%s end)"):format(i, text:find "^%s*return" and "" or
      (text:find "^%s*do " or text:find "^%s*local ") and "" or "return ", text)
  end
  write(dir .. "/script/case.lua", table.concat(lines, "\n"))
  local args = {}
  for _, option in ipairs(options) do args[#args + 1] = option end
  for _, word in ipairs { dir .. "/script/case.lua", dir, "SECRET" } do args[#args + 1] = word end
  local status, out, err = helper.cli(args, opts)
  local results = {}
  for line in out:gmatch("[^\n]+") do
    local i, rest = line:match("^(%d+)\t(.*)$")
    if i then results[expressions[tonumber(i)]] = rest end
  end
  for _, text in ipairs(expressions) do
    assert(results[text], ("no answer to %s\nstatus %s\n%s\n%s"):format(text, status, out, err))
  end
  assert.equal(0, status, err)
  return results
end

--- Every expression is refused, by an error or message that names the permission, and the secret is not in it.
local function refused(dir, options, expressions, opts)
  for text, got in pairs(try(dir, options, expressions, opts)) do
    assert(got:find("permission denied", 1, true) or got:find("refused", 1, true) or got:find("no permission", 1, true),
      text .. "\n  was not refused: " .. got)
    assert(not got:find(SECRET, 1, true), text .. "\n  told the secret: " .. got)
  end
end

local function allowed(dir, options, expressions, opts)
  local results = try(dir, options, expressions, opts)
  for text, got in pairs(results) do
    assert(got:find("^true"), text .. "\n  came to: " .. got)
    assert(not got:find("permission denied", 1, true), text .. "\n  came to: " .. got)
  end
  return results
end

local files = {
  "io.open(DIR .. '/secret.txt')", "io.open(DIR .. '/secret.txt', 'a')", "io.open(DIR .. '/new.txt', 'w')",
  "io.lines(DIR .. '/secret.txt')()", "io.input(DIR .. '/secret.txt'):read 'a'", "io.output(DIR .. '/new.txt')",
  "io.tmpfile()", "os.tmpname()", "os.remove(DIR .. '/secret.txt')", "os.rename(DIR .. '/secret.txt', DIR .. '/in/x')",
  "loadfile(DIR .. '/secret.txt')", "dofile(DIR .. '/secret.txt')",
  "package.searchpath('x', DIR .. '/secret.txt')",
  "do package.path = DIR .. '/private/?.txt' return require 'secret' end",
  "package.loadlib(DIR .. '/x.so', '*')", "package.loadlib('libc.so.6', 'system')",
  "fs.read_file(DIR .. '/secret.txt')", "fs.write_file(DIR .. '/new.txt', 'x')", "fs.open(DIR .. '/secret.txt')",
  "fs.open(DIR .. '/new.txt', 'w')", "fs.open(DIR .. '/new.txt', 'x')", "fs.open(DIR .. '/secret.txt', 'r+')",
  "fs.stat(DIR .. '/secret.txt')", "fs.lstat(DIR .. '/secret.txt')", "fs.exists(DIR .. '/secret.txt')",
  "fs.is_file(DIR .. '/secret.txt')", "fs.is_dir(DIR)", "fs.is_link(DIR .. '/secret.txt')", "fs.access(DIR .. '/secret.txt', 'r')",
  "fs.mkdir(DIR .. '/new')", "fs.mkdir(DIR .. '/new/deep', {parents = true})", "fs.rmdir(DIR .. '/private')",
  "fs.unlink(DIR .. '/secret.txt')", "fs.rename(DIR .. '/secret.txt', DIR .. '/x')", "fs.link(DIR .. '/secret.txt', DIR .. '/x')",
  "fs.symlink(DIR .. '/secret.txt', DIR .. '/x')", "fs.readlink(DIR .. '/secret.txt')", "fs.realpath(DIR .. '/secret.txt')",
  "fs.chmod(DIR .. '/secret.txt', 511)", "fs.chown(DIR .. '/secret.txt', -1, -1)", "fs.utime(DIR .. '/secret.txt', 1, 1)",
  "fs.truncate(DIR .. '/secret.txt', 0)", "fs.copyfile(DIR .. '/secret.txt', DIR .. '/x')", "fs.statfs(DIR)",
  "fs.listdir(DIR)", "fs.rmtree(DIR .. '/private')", "fs.mkstemp {dir = DIR}", "fs.mkdtemp {dir = DIR}", "fs.mkstemp()",
  "require('fs.core').open(DIR .. '/secret.txt', 'r', 0, 0)", "require('fs.core').scandir(DIR)",
  "require('fs.core').makedirs(DIR .. '/a/b', 511, true)", "require('fs.core').watcher():add(DIR, true)",
  "do local w <close> = fs.watch(DIR) for e in w do return e end end",
  "require('asyncio.net').open_source and require('asyncio.net').open_source(DIR .. '/secret.txt') or require('socket.core').open_source(DIR .. '/secret.txt')",
  "fs.read_file('/proc/self/environ')", "fs.read_file('/proc/self/mem')", "io.open('/proc/self/cwd')", "fs.listdir('/proc/self/fd')",
  "io.open('/dev/fd/0')", "io.open('/dev/stdin')",
}

local network = {
  "asyncio.open_connection('127.0.0.1', 9)", "asyncio.open_connection('localhost', 9)", "asyncio.open_connection('example.com', 443)",
  "asyncio.open_connection('::1', 9)", "asyncio.open_connection('0.0.0.0', 9)",
  "asyncio.open_unix_connection(DIR .. '/sock')", "asyncio.open_unix_connection('\\0abstract')",
  "asyncio.start_server(print, '127.0.0.1', 0)", "asyncio.start_server(print, nil, 0)", "asyncio.start_unix_server(print, DIR .. '/out/sock')",
  "asyncio.open_datagram {remote_addr = {'127.0.0.1', 9}}", "asyncio.open_datagram {local_addr = {'127.0.0.1', 0}}",
  "do local e <close> = await(asyncio.open_datagram {family = 'inet'}) return e:send('x', {'127.0.0.1', 9}) end",
  "asyncio.get_running_loop and asyncio.run(async(function() return await(asyncio.get_running_loop():getaddrinfo('example.com', 80)) end))",
  "asyncio.run(async(function() return await(asyncio.get_running_loop():getnameinfo({'127.0.0.1', 80})) end))",
  "do local s <close> = require('socket').socket() return await(s:connect('127.0.0.1', 9)) end",
  "do local s <close> = require('socket').socket() return await(s:connect('example.com', 9)) end",
  "do local s <close> = require('socket').socket() return s:bind('127.0.0.1', 0) end",
  "do local s <close> = require('socket').socket() return s:listen() end",
  "do local s <close> = require('socket').socket('inet', 'dgram') return await(s:sendto('x', '127.0.0.1', 9)) end",
  "do local s <close> = require('socket').socket('inet', 'dgram') return await(s:sendmsg({'x'}, {'127.0.0.1', 9})) end",
  "do local s <close> = require('socket').socket('unix', 'dgram') return await(s:sendto('x', DIR .. '/sock')) end",
  "do local s <close> = require('socket').socket('unix') return await(s:connect('\\0abstract')) end",
  "require('socket').socket('inet', 'raw', 1)", "require('socket').socket(16, 'raw', 0)", "require('socket').socket('inet', 'dgram', 1)",
  "require('socket').socket {fileno = 5}", "require('socket').fromfd(5)",
  "do local a, b = require('socket').socketpair() a:setsockopt(1, 26, ('x'):rep(16)) end",
  "do local a, b = require('socket').socketpair() return await(a:send_fds('x', {a})) end",
  "do local a, b = require('socket').socketpair() return await(a:recv_fds(1, 1)) end",
}

local process = {
  "os.execute('true')", "io.popen('true')", "os.getenv('HOME')", "os.getenv('LD_PRELOAD')", "os.setlocale('C')",
  "asyncio.create_subprocess_exec('true')", "asyncio.create_subprocess_shell('true')", "asyncio.create_subprocess_exec('/bin/sh', '-c', 'true')",
  "require('asyncio.process').spawn {program = 'true', paths = {'/bin/true'}, args = {'true'}, fds = {{0, 'inherit'}, {1, 'inherit'}, {2, 'inherit'}}}",
  "require('multiprocessing').Pool(1):apply(print)",
  "require('signal').kill(1, 0)", "require('signal').killpg(2, 'SIGTERM')", "require('signal').kill(-1, 0)",
  "asyncio.connect_read_pipe(5)", "asyncio.connect_write_pipe(5)",
  "asyncio.run(async(function() asyncio.get_running_loop():add_reader(5, print) end))",
  "asyncio.run(async(function() asyncio.get_running_loop():add_reader(setmetatable({}, {__index = {fileno = function() return 5 end}}), print) end))",
  "require('asyncio.workers').recv(5)", "require('asyncio.workers').send(5, 'x')", "require('tty').size(5)",
}

local code = {
  "load(string.dump(function() end))", "load(string.dump(function() end), 'x', 'b')", "load(string.dump(function() end), 'x', 'bt')",
  "do local s = string.dump(function() end) local i = 0 return load(function() i = i + 1 return i == 1 and s or nil end) end",
  "debug.sethook(print, 'l')", "debug.getregistry()", "debug.debug()", "debug.setmetatable(io.stdout, {})",
  "debug.setmetatable(require('asyncio').Lock(), {})",
}

describe("a sandbox of the command", function()
  it("refuses files by every door", function() refused(house(), { "--sandbox" }, files) end)
  it("refuses the network by every door", function() refused(house(), { "--sandbox" }, network) end)
  it("refuses programs, signals, variables and descriptors", function() refused(house(), { "--sandbox" }, process) end)

  it("refuses precompiled code and what debug could break", function()
    local got = try(house(), { "--sandbox" }, code)
    for text, answer in pairs(got) do
      assert(answer:find("permission denied", 1, true) or answer:find("binary chunk", 1, true) or answer:find("refused", 1, true)
        or answer:find("cannot be set", 1, true), text .. "\n" .. answer)
    end
  end)

  it("refuses files outside with rules for others", function()
    local dir = house()
    refused(dir, { "--allow-read=" .. dir .. "/in", "--allow-write=" .. dir .. "/out" }, files)
    assert.equal(SECRET, read(dir .. "/secret.txt"))
    assert.equal(nil, read(dir .. "/new.txt"))
  end)

  it("with no_net has files and no network; with no_fs the other way round", function()
    local dir = house()
    refused(dir, { "--profile=no_net" }, network)
    refused(dir, { "--profile=no_net" }, process)
    refused(dir, { "--profile=no_fs" }, files)
    refused(dir, { "--profile=no_fs" }, process)
    allowed(dir, { "--profile=no_net" }, { "assert(io.open(DIR .. '/secret.txt')):read 'a'", "fs.write_file(DIR .. '/n', 'x')", "fs.listdir(DIR)" })
    allowed(dir, { "--profile=no_fs" }, { [[local server <close> = await(asyncio.start_server(function(r, w) w:write("hi") w:close() end, "127.0.0.1", 0))
      local r, w = await(asyncio.open_connection("127.0.0.1", server.sockets[1].port))
      local got = await(r:read()) w:close() assert(got == "hi") return got]] })
  end)

  it("says what was refused and what would allow it", function()
    local dir = house()
    local got = try(dir, { "--sandbox" }, {
      "io.open(DIR .. '/secret.txt')", "os.getenv('HOME')", "asyncio.open_connection('127.0.0.1', 9)", "fs.unlink(DIR .. '/secret.txt')",
      [[local ok, e = pcall(function() await(fs.read_file(DIR .. "/secret.txt")) end)
        return asyncio.isinstance(e, asyncio.PermissionError), asyncio.isinstance(e, asyncio.OSError), e.code, e.permission, e.syscall, e.path == DIR .. "/secret.txt"]],
    })
    local function says(text, part) assert(got[text]:find(part, 1, true), got[text]) end
    says("io.open(DIR .. '/secret.txt')", "open '" .. dir .. "/secret.txt' (needs --allow-read=" .. dir .. "/secret.txt)")
    says("os.getenv('HOME')", "EACCES: permission denied: getenv 'HOME' (needs --allow-env=HOME)")
    says("asyncio.open_connection('127.0.0.1', 9)", "connect '127.0.0.1:9' (needs --allow-net=127.0.0.1:9)")
    says("fs.unlink(DIR .. '/secret.txt')", "(needs --allow-write=" .. dir .. "/secret.txt)")
    for text, answer in pairs(got) do
      if text:find "isinstance" then
        assert.equal("true\ttrue\ttrue\tEACCES\tread=" .. dir .. "/secret.txt\tread_file\ttrue", answer)
      end
    end
  end)
end)

describe("paths of a sandbox", function()
  it("that are allowed work as without one", function()
    local dir = house()
    local got = allowed(dir, { "--allow-read=" .. dir .. "/in," .. dir .. "/out", "--allow-write=" .. dir .. "/out" }, {
      "io.open(DIR .. '/in/ours.txt'):read 'a'", "fs.read_file(DIR .. '/in/ours.txt')", "fs.read_file(DIR .. '/out/../in/./ours.txt')",
      "fs.listdir(DIR .. '/in')", "fs.stat(DIR .. '/in')", "fs.write_file(DIR .. '/out/a', 'a')", "fs.rename(DIR .. '/out/a', DIR .. '/out/b')",
      "fs.mkdir(DIR .. '/out/x/y/z', {parents = true})", "fs.copyfile(DIR .. '/in/ours.txt', DIR .. '/out/c')",
      "fs.copyfile(DIR .. '/in/ours.txt', DIR .. '/out/c')", "fs.symlink('c', DIR .. '/out/l')", "fs.read_file(DIR .. '/out/l')",
      "fs.realpath(DIR .. '/out/l')", "fs.link(DIR .. '/out/c', DIR .. '/out/d')", "fs.unlink(DIR .. '/out/d')",
      "local f <close> = await(fs.open(DIR .. '/out/e', 'x')) await(f:write('e')) return f.path",
      "local f <close> = await(fs.open(DIR .. '/out/e', 'r+')) return await(f:read())",
      "fs.mkdtemp {dir = DIR .. '/out'}", "local f <close>, p = await(fs.mkstemp {dir = DIR .. '/out'}) return p, await(fs.exists(p))",
      "fs.chmod(DIR .. '/out/c', 384)", "fs.utime(DIR .. '/out/c', 1, 1)", "fs.truncate(DIR .. '/out/c', 1)", "fs.exists(DIR .. '/in/none')",
      "local n = 0 for root, ds, fs_ in fs.walk(DIR .. '/out') do n = n + 1 end return n", "fs.statfs(DIR .. '/in')",
      "local f = assert(io.open(DIR .. '/out/f', 'w')) f:write('1\\n2\\n') f:close() local n = 0 for l in io.lines(DIR .. '/out/f') do n = n + l end return n",
      "os.rename(DIR .. '/out/f', DIR .. '/out/g')", "os.remove(DIR .. '/out/g')", "fs.rmtree(DIR .. '/out/x')",
      [[local w <close> = fs.watch(DIR .. "/out", {recursive = true})
        await(fs.write_file(DIR .. "/out/watched", "x"))
        for e in w do return e.path end]],
    })
    for text, answer in pairs(got) do assert(not answer:find("/proc/self", 1, true), text .. "\n" .. answer) end
    assert.equal("o", read(dir .. "/out/c"))
    assert.equal("true\t" .. dir .. "/out/c", got["fs.realpath(DIR .. '/out/l')"])
    assert.equal("true\t3", got["local f = assert(io.open(DIR .. '/out/f', 'w')) f:write('1\\n2\\n') f:close() local n = 0 for l in io.lines(DIR .. '/out/f') do n = n + l end return n"])
    assert.equal("true\tfalse", got["fs.exists(DIR .. '/in/none')"])
  end)

  it("name the script's own path in other errors", function()
    local dir = house()
    local got = try(dir, { "--allow-read=" .. dir .. "/in" }, { "fs.read_file(DIR .. '/in/none')", "io.open(DIR .. '/in/none')", "fs.listdir(DIR .. '/in/ours.txt')" })
    for text, answer in pairs(got) do
      assert(answer:find(dir .. "/in/", 1, true) and not answer:find("/proc/", 1, true), text .. "\n" .. answer)
      assert(answer:find("ENOENT", 1, true) or answer:find("No such", 1, true) or answer:find("ENOTDIR", 1, true), answer)
    end
  end)

  it("do not lead out by dots, links, hard links, renames or nul", function()
    local dir = house()
    os.execute(("cd %s && ln -s ../secret.txt in/link && ln -s .. in/up && ln -s %s/private in/dir && ln -s /nowhere/x in/dangling && ln -s ../new.txt out/dangling && ln -s %s/none in/missing")
      :format(dir, dir, dir))
    local options = { "--allow-read=" .. dir .. "/in", "--allow-read=" .. dir .. "/out", "--allow-write=" .. dir .. "/out" }
    refused(dir, options, {
      "fs.read_file(DIR .. '/in/../secret.txt')", "fs.read_file(DIR .. '/in/link')", "fs.read_file(DIR .. '/in/up/secret.txt')",
      "fs.read_file(DIR .. '/in/dir/secret.txt')", "fs.read_file(DIR .. '/in/./../in/up/./secret.txt')", "fs.stat(DIR .. '/in/link')",
      "fs.listdir(DIR .. '/in/up')", "fs.listdir(DIR .. '/in/..')", "fs.read_file(DIR .. '/innermost')", "fs.stat(DIR .. '/in.txt')",
      "fs.stat(DIR .. '/in/dangling')", "fs.stat(DIR .. '/in/missing')", "fs.exists(DIR .. '/in/missing')", "fs.exists(DIR .. '/in/link')",
      "io.open(DIR .. '/in/link')", "io.open(DIR .. '/out/dangling', 'w')", "fs.write_file(DIR .. '/out/dangling', 'x', {atomic = false})",
      "fs.open(DIR .. '/out/dangling', 'w')", "fs.copyfile(DIR .. '/in/ours.txt', DIR .. '/out/dangling')",
      "fs.rename(DIR .. '/secret.txt', DIR .. '/out/s')", "fs.link(DIR .. '/secret.txt', DIR .. '/out/s')",
      "fs.rename(DIR .. '/in/ours.txt', DIR .. '/out/s')", "fs.link(DIR .. '/in/ours.txt', DIR .. '/out/s')", "os.rename(DIR .. '/in/ours.txt', DIR .. '/out/s')",
      "fs.symlink(DIR .. '/secret.txt', DIR .. '/out/s')", "fs.symlink('../secret.txt', DIR .. '/out/s')", "fs.symlink('../in/ours.txt', DIR .. '/out/s')",
      "fs.rename(DIR .. '/out', DIR .. '/out2')", "fs.mkdir(DIR .. '/out/../new')", "fs.mkdir(DIR .. '/out/../a/b', {parents = true})",
      "fs.rmtree(DIR .. '/in/dir')", "fs.unlink(DIR .. '/in/link')", "fs.exists(DIR .. '/none/../secret.txt')", "fs.exists(DIR .. '/private/../secret.txt')",
      "local f <close> = await(fs.open(DIR .. '/in/ours.txt')) await(f:chmod(511))", "local f <close> = await(fs.open(DIR .. '/in/ours.txt')) await(f:utime(1, 1))",
      "fs.chmod(DIR .. '/in/ours.txt', 511)", "fs.open(DIR .. '/in/ours.txt', 'r+')", "require('fs.core').open(DIR .. '/in/ours.txt', 'r', 512, 0)",
    })
    for text, got in pairs(try(dir, options, { "io.open(DIR .. '/in/ours.txt\\0/../../secret.txt')", "fs.read_file(DIR .. '/in/ours.txt\\0x')" })) do
      assert(got:find("zero byte", 1, true), text .. "\n" .. got)
    end
    assert.equal(SECRET, read(dir .. "/secret.txt"))
    assert.equal("ours", read(dir .. "/in/ours.txt"))
    assert.equal(nil, read(dir .. "/new.txt"))
    assert.equal(nil, read(dir .. "/new"))
  end)

  it("hold while folders are swapped for links", function()
    local dir = house()
    os.execute(("mkdir %s/out/a && ln -s %s/private %s/out/evil"):format(dir, dir, dir))
    write(dir .. "/out/a/secret.txt", "mine")
    helper.background(("python3 -c %s"):format(helper.quote(([[
import os
os.chdir("%s/out")
while True:
    os.rename("a", "c"); os.rename("evil", "a"); os.rename("a", "evil"); os.rename("c", "a")
]]):format(dir))))
    write(dir .. "/script/race.lua", [[
      local asyncio, fs = require "asyncio", require "fs"
      local dir = ...
      local leaked, reads, written = 0, 0, 0
      local look = async(function()
        for i = 1, 500 do
          local ok, text = pcall(await, fs.read_file(dir .. "/out/a/secret.txt"))
          if ok then
            reads = reads + 1
            if text ~= "mine" then leaked = leaked + 1 end
          end
          if pcall(await, fs.write_file(dir .. "/out/a/w" .. i % 2, "x", { atomic = false })) then written = written + 1 end
        end
      end)
      await(asyncio.gather(look(), look(), look()))
      print(leaked, reads > 0, written > 0)
    ]])
    local status, out, err = helper.cli { "--allow-read=" .. dir .. "/out", "--allow-write=" .. dir .. "/out", dir .. "/script/race.lua", dir }
    assert.equal(0, status, err)
    assert.equal("0\ttrue\ttrue\n", out)
    assert.equal(nil, read(dir .. "/private/w0"))
    assert.equal(nil, read(dir .. "/private/w1"))
  end)

  it("are used by what was looked up, never by their names", function()
    local dir = house()
    write(dir .. "/script/use.lua", [[
      local fs, dir = require "fs", ...
      local x = dir .. "/out/x"
      await(fs.write_file(x, "1", { atomic = false })) await(fs.read_file(x)) await(fs.stat(x)) await(fs.chmod(x, 384))
      await(fs.truncate(x, 0)) await(fs.rename(x, x .. "y")) await(fs.unlink(x .. "y")) await(fs.mkdir(x)) await(fs.rmdir(x))
      io.open(x, "w"):close() os.rename(x, x .. "z") os.remove(x .. "z")
      print "done"
    ]])
    local program = helper.program()
    local rules = ("--allow-read=%s/out --allow-write=%s/out"):format(dir, dir)
    local status, out, err = helper.sh(("strace -f -o %s/log -e trace=file %s %s %s/script/use.lua %s"):format(dir, program, rules, dir, dir),
      { env = { ASAN_OPTIONS = "detect_leaks=0" } })
    assert.equal("done\n", out, err)
    assert.equal(0, status, err)
    local lookups = 0
    for line in read(dir .. "/log"):gmatch "[^\n]+" do
      if line:find(dir .. "/out/x", 1, true) then
        lookups = lookups + 1
        assert(line:find "readlink" or line:find "O_PATH" or line:find "stat", line)
      end
    end
    assert(lookups > 10, lookups)
    assert(read(dir .. "/log"):find("/proc/self/fd/", 1, true))
  end)

  it("may be relative and need not be there when the script starts", function()
    local dir = house()
    allowed(dir, { "--allow-read=in", "--allow-write=made/later" }, {
      "fs.read_file('in/ours.txt')", "fs.read_file(DIR .. '/in/ours.txt')", "fs.mkdir('made/later', {parents = true})", "fs.write_file('made/later/x', 'x', {atomic = false})",
    }, { cwd = dir })
    refused(dir, { "--allow-read=in" }, { "fs.read_file('secret.txt')", "fs.read_file('in/../secret.txt')" }, { cwd = dir })
  end)

  it("of modules can be required but not read", function()
    local dir = house()
    write(dir .. "/script/neighbour.lua", "return { name = ... }")
    write(dir .. "/script/binary.lua", string.dump(function() return 1 end))
    write(dir .. "/private/other.lua", "return " .. ("%q"):format(SECRET))
    local path = "do package.path = DIR .. '/script/?.lua;' .. DIR .. '/private/?.lua' "
    allowed(dir, { "--sandbox" }, { path .. "return require('neighbour').name end", "dofile(DIR .. '/script/neighbour.lua').name" })
    refused(dir, { "--sandbox" }, { path .. "return require 'other' end", "io.open(DIR .. '/script/neighbour.lua')", "fs.read_file(DIR .. '/script/case.lua')" })
    for _, got in pairs(try(dir, { "--sandbox" }, { path .. "return require 'binary' end", "loadfile(DIR .. '/script/binary.lua')" })) do
      assert(got:find("binary chunk", 1, true), got)
    end
    allowed(dir, { "--sandbox", "--allow-bytecode" }, { path .. "return require 'binary' end", "assert(load(string.dump(function() end)))" })
  end)
end)

describe("addresses of a sandbox", function()
  local echo = [[local server <close> = await(asyncio.start_server(function(r, w) w:write("hi") w:close() end, "%s", 0))
    local r, w = await(asyncio.open_connection("%s", server.sockets[1].port)) local got = await(r:read()) w:close() return got]]

  it("may be single ones, networks, ranges of ports and this machine by its name", function()
    local dir = house()
    allowed(dir, { "--allow-listen=127.0.0.1", "--allow-net=127.0.0.0/8:1024-65535" }, { echo:format("127.0.0.1", "127.0.0.1") })
    allowed(dir, { "--allow-listen=localhost", "--allow-net=localhost" }, { echo:format("127.0.0.1", "localhost") })
    allowed(dir, { "--allow-listen", "--allow-net" }, { echo:format("127.0.0.1", "127.0.0.1") })
    refused(dir, { "--allow-listen", "--allow-net=127.0.0.1:1-1023" }, { echo:format("127.0.0.1", "127.0.0.1") })
    refused(dir, { "--allow-listen", "--allow-net=127.0.0.2" }, { echo:format("127.0.0.1", "127.0.0.1"), "asyncio.open_connection('::ffff:127.0.0.1', 9)" })
    refused(dir, { "--allow-listen=127.0.0.1:80-90", "--allow-net=api.example.net:443" }, network)
  end)

  it("of a name are those it resolves to, but not this machine's", function()
    local dir = house()
    -- a name that leads here, as a hostile DNS would say; /etc/hosts has one nearly everywhere
    local name
    for line in (read "/etc/hosts" or ""):gmatch "[^\n]+" do
      local address, names = line:match "^%s*([%x.:]+)%s+([^#]+)"
      for word in (names or ""):gmatch "%S+" do
        if (address:find "^127%." or address == "::1") and word ~= "localhost" then name = name or word end
      end
    end
    local expressions = {
      "asyncio.open_connection('example.org', 9)", "asyncio.open_connection('127.0.0.1', 9)", "asyncio.open_connection('::1', 9)",
      "asyncio.open_connection('2130706433', 9)", "asyncio.open_connection('0x7f.1', 9)", "asyncio.open_connection('0', 9)",
    }
    if name then expressions[#expressions + 1] = ("asyncio.open_connection(%q, 9)"):format(name) end
    refused(dir, { "--allow-net=" .. (name or "example.com"), "--allow-net=*.example.com" }, expressions)
    if name then
      for _, got in pairs(try(dir, { "--allow-net=" .. name, "--allow-net=127.0.0.0/8", "--allow-net=::1" }, { expressions[7] })) do
        assert(got:find("refused", 1, true) and not got:find("permission", 1, true), got) -- by nobody who listens there
      end
    end
  end)

  it("of unix sockets are paths", function()
    local dir = house()
    local unix = [[local server <close> = await(asyncio.start_unix_server(function(r, w) w:write("hi") w:close() end, DIR .. "/out/s"))
      local r, w = await(asyncio.open_unix_connection(DIR .. "/out/s")) local got = await(r:read()) w:close() return got]]
    allowed(dir, { "--allow-listen=unix:" .. dir .. "/out", "--allow-net=unix:" .. dir .. "/out/s" }, { unix })
    refused(dir, { "--allow-listen=unix:" .. dir .. "/out", "--allow-net" }, { unix })
    refused(dir, { "--allow-listen=unix:" .. dir .. "/in", "--allow-net" }, { unix, "asyncio.open_unix_connection('\\0x')" })
    for _, got in pairs(try(dir, { "--allow-net=unix:@x" }, { "asyncio.open_unix_connection('\\0x')" })) do
      assert(got:find("connection refused", 1, true), got)
    end
  end)

  it("of unix sockets hold what was looked at until the system call", function()
    local dir = house()
    local options = { "--allow-read=" .. dir, "--allow-write=" .. dir, "--allow-listen=unix:" .. dir, "--allow-net=unix:" .. dir .. "/out" }
    -- the address is looked at by the call; what it leads to is changed before that is awaited
    local prepare = [[local socket = require "socket"
      local server <close> = socket.socket("unix", KIND)
      server:bind(DIR .. "/private/s")
      if KIND == "stream" then server:listen() end
      local s <close> = socket.socket("unix", KIND)
      local op = OPERATION
      await(fs.symlink(DIR .. "/private/s", DIR .. "/out/s"))
      local ok, err = pcall(await, op)
      await(fs.unlink(DIR .. "/out/s")) await(fs.unlink(DIR .. "/private/s"))
      return ok, ok or err.code or tostring(err)]]
    local expressions = {}
    for operation, kind in pairs {
      ['s:connect(DIR .. "/out/s")'] = "stream", ['asyncio.open_unix_connection(DIR .. "/out/s")'] = "stream",
      ['require("asyncio.net").connect_unix(DIR .. "/out/s")'] = "stream",
      ['s:sendto("x", DIR .. "/out/s")'] = "dgram", ['s:sendmsg({ "x" }, DIR .. "/out/s")'] = "dgram",
    } do
      expressions[#expressions + 1] = prepare:gsub("KIND", '"' .. kind .. '"'):gsub("OPERATION", function() return operation end)
    end
    for text, got in pairs(try(dir, options, expressions)) do
      assert(got:find("EACCES", 1, true) or got:find("PermissionError", 1, true), text .. ": " .. got)
    end
    allowed(dir, options, { [[local socket = require "socket"
      local server <close>, ours = socket.socket("unix", "dgram"), DIR .. "/out/d"
      server:bind(ours)
      local s <close> = socket.socket("unix", "dgram")
      await(s:sendto("a", ours)) await(s:sendmsg({ "b", "c" }, ours)) await(s:connect(ours)) await(s:send("d"))
      assert(s:getpeername() == ours)
      return await(server:recv(9)) .. await(server:recv(9)) .. await(server:recv(9)) == "abcd"]] })
  end)

  it("let who has sent a datagram be answered", function()
    local dir = house()
    allowed(dir, { "--allow-listen=127.0.0.1", "--allow-net=127.0.0.1:9" }, { [[local socket = require "socket"
      local a <close> = socket.socket("inet", "dgram")
      local b <close> = socket.socket("inet", "dgram")
      a:bind("127.0.0.1", 0) b:bind("127.0.0.1", 0)
      local to = a:getsockname()
      local ok, err = pcall(function() await(b:sendto("x", to)) end)
      assert(not ok and asyncio.isinstance(err, asyncio.PermissionError))
      return true]] })
  end)
end)

describe("certificates of a folder", function()
  it("are read at once, each file under the rules", function()
    local dir = house()
    if not pcall(require, "ssl") then return end
    local ca = assert(read(require("spec.certs").path "root.pem"))
    os.execute(("mkdir %s/out/ca"):format(dir))
    write(dir .. "/out/ca/0a1b2c3d.0", ca)
    write(dir .. "/private/ca.pem", ca)
    os.execute(("cd %s/out/ca; ln -s ../../private/ca.pem 11111111.0; echo x >22222222.0; cp 0a1b2c3d.0 other.pem"):format(dir))
    local count = [[local context = require("ssl").SSLContext(require("ssl").PROTOCOL_TLS_CLIENT)
      context:load_verify_locations { capath = DIR .. "/out/FOLDER" } return #context:get_ca_certs() ]]
    local got = allowed(dir, { "--allow-read=" .. dir .. "/out" }, { (count:gsub("FOLDER", "ca")) })
    assert.equal("true\t1", (select(2, next(got))))
    refused(dir, { "--allow-read=" .. dir .. "/in" }, { (count:gsub("FOLDER", "ca")) })
    os.execute(("cd %s/out/ca; rm 0a1b2c3d.0"):format(dir))
    got = allowed(dir, { "--allow-read=" .. dir .. "/out" }, { (count:gsub("FOLDER", "ca")) })
    assert.equal("true\t0", (select(2, next(got)))) -- not what the link leads to
  end)
end)

describe("the rest of a sandbox", function()
  it("may be allowed: variables, programs", function()
    local dir = house()
    local options = { "--allow-env=COLOUR,SIZE", "--allow-run=cat," .. "/bin/echo" }
    local got = allowed(dir, options, {
      "os.getenv('COLOUR')", "os.getenv('SIZE')",
      "local p <close> = await(asyncio.create_subprocess_exec('cat', {stdin = 'meow', stdout = asyncio.subprocess.PIPE})) return (await(p:communicate()))",
      "local p <close> = await(asyncio.create_subprocess_exec('/bin/echo', 'hi', {stdout = asyncio.subprocess.PIPE})) return (await(p:communicate()))",
      "table.concat(require('asyncio.process').environ(), ' ')",
    }, { env = { COLOUR = "red", SIZE = "3", OTHER = SECRET } })
    assert.equal("true\tred", got["os.getenv('COLOUR')"])
    assert(not got["table.concat(require('asyncio.process').environ(), ' ')"]:find(SECRET, 1, true))
    write(dir .. "/out/cat", "#!/bin/sh\ntouch " .. dir .. "/pwned\n")
    os.execute("chmod +x " .. dir .. "/out/cat")
    refused(dir, options, {
      "os.getenv('OTHER')", "asyncio.create_subprocess_exec('ls')", "asyncio.create_subprocess_exec(DIR .. '/out/cat')", "os.execute('cat')",
      "asyncio.create_subprocess_exec('out/cat', {cwd = DIR})", "asyncio.create_subprocess_exec('../out/cat', {cwd = DIR .. '/in'})",
      "asyncio.create_subprocess_exec('cat', {add_env = {LD_PRELOAD = 'x'}})",
    })
    allowed(dir, options, { "local p <close> = await(asyncio.create_subprocess_exec('cat', {env = {PATH = DIR .. '/out'}, stdin = 'x', stdout = asyncio.subprocess.PIPE})) return (await(p:communicate()))" })
    assert.equal(nil, read(dir .. "/pwned"))
  end)

  it("is the worker threads' too, and the worker processes'", function()
    local dir = house()
    local work = [[local path = DIR .. "/secret.txt"
      local ok, err = pcall(function() return await(asyncio.to_thread(function(p) return (assert(io.open(p))):read "a" end, path)) end)
      return ok, err]]
    for _, got in pairs(try(dir, { "--sandbox" }, { work })) do
      assert(got:find("permission denied", 1, true), got)
    end
    local processes = [[local pool <close> = require("concurrent.futures").ProcessPoolExecutor(1)
      local sum = await(pool:submit(function(a, b) return a + b end, 2, 3))
      local ok, err = pcall(await, pool:submit(function(p) return (assert(io.open(p))):read "a" end, DIR .. "/secret.txt"))
      assert(sum == 5 and not ok)
      return tostring(err)]]
    local exe = helper.executable()
    for _, got in pairs(try(dir, { "--allow-run=" .. exe }, { processes })) do
      assert(got:find("^true") and got:find("needs --allow-read", 1, true), got)
    end
    refused(dir, { "--sandbox" }, { processes })
  end)

  it("lets a command exit, use its streams and handle signals", function()
    local status, out = helper.cli({ "--sandbox", "-e", [[local a = require "asyncio"
      io.write("w") print("p") a.stdout:write("s\n") await(a.stdout:drain()) print(await(a.stdin:readline()))
      a.run(async(function() a.get_running_loop():add_signal_handler("SIGUSR1", print) a.get_running_loop():remove_signal_handler("SIGUSR1") end))
      require("signal").kill(require("signal").getpid(), 0) os.exit(3)]] }, "line\n")
    assert.equal("wp\ns\nline\n\n", out)
    assert.equal(3, status)
  end)

  it("keeps the event loop's own descriptors from scripts, in full engines too", function()
    local status, out, err = helper.cli { "-e", [[local asyncio = require "asyncio"
      asyncio.run(async(function()
        await(asyncio.sleep(0))
        local refused, loop = 0, asyncio.get_running_loop()
        for fd = 3, 30 do
          for _, f in ipairs { function() loop:add_reader(fd, print) loop:remove_reader(fd) end, function() asyncio.connect_read_pipe(fd) end,
                               function() require("socket").fromfd(fd):close() end } do
            local ok, e = pcall(f)
            if not ok and tostring(e):find("event loop's own", 1, true) then refused = refused + 1 end
          end
        end
        await(asyncio.sleep(0.01))
        print(refused > 0)
      end)) ]] }
    assert.equal(0, status, err)
    assert.equal("true\n", out)
  end)
end)

describe("an attacker", function()
  local asyncio = require "asyncio"
  local socket = require "socket"

  -- Whether somebody has come within a moment.
  local function nobody(awaitable)
    local ok, e = pcall(function() return await(asyncio.wait_for(awaitable, 0.02)) end)
    return not ok and asyncio.isinstance(e, asyncio.TimeoutError)
  end

  -- Every how manyth set of arguments a function gets; SPEC_FULL=1: all of them (make asan).
  local each = os.getenv "SPEC_FULL" == "1" and 1 or 5

  -- Runs the attack, again behind each function that has ended it.
  local function attack(draw, options)
    local dir = house()
    local listener <close> = socket.socket()
    listener:bind("127.0.0.1", 0)
    listener:listen()
    local _, port = table.unpack(listener:getsockname())
    local datagrams <close> = socket.socket("inet", "dgram")
    datagrams:bind("127.0.0.1", port)
    local victim = helper.background("sleep 100")
    local first, runs, total = 1, 0, nil
    repeat
      local args = { "--virtual-time" }
      for _, option in ipairs(options(dir)) do args[#args + 1] = option end
      for _, word in ipairs { "spec/engine/sandbox_attack.lua", dir, port, victim, first, each, draw } do args[#args + 1] = word end
      local status, out, err = helper.cli(args, { timeout = 90, stdin = "", env = { SECRET_VARIABLE = SECRET } })
      local at, name
      for i, path in out:gmatch "\n(%d+) ([^\n]*)" do at, name = tonumber(i), path end
      runs = runs + 1
      total = total or tonumber(out:match "FOUND (%d+)")
      assert(not out:find("LEAK", 1, true), out:match "LEAK[^\n]*")
      assert(status < 128, ("status %d in %s\n%s"):format(status, tostring(name), err:sub(-2000)))
      first = out:find("\nEND", 1, true) and math.huge or assert(at, err) + 1
    until first == math.huge or runs > 12
    assert.equal(math.huge, first)
    assert(total > 900, total)
    assert.equal(SECRET, read(dir .. "/secret.txt"))
    for _, path in ipairs { "/pwned", "/new", "/out/pwned", "/sock" } do assert.equal(nil, read(dir .. path)) end
    assert(nobody(listener:accept()), "somebody has connected")
    assert(nobody(datagrams:recv(100)), "somebody has sent a datagram")
    assert.equal(0, helper.sh("kill -0 " .. victim))
  end

  it("who has nothing finds no way out", function()
    attack(0, function() return { "--sandbox" } end)
  end)

  it("who has a little finds no way to more", function()
    attack(2, function(dir)
      return { "--allow-read=" .. dir .. "/in", "--allow-write=" .. dir .. "/out", "--allow-listen=127.0.0.1:1-1023", "--allow-env=HOME",
        "--allow-run=cat", "--allow-net=api.example.net:443" }
    end)
  end)
end)

describe("rules of the command line", function()
  it("that are wrong are misuse that says why", function()
    for option, why in pairs {
      ["--allow-net=exa mple:80"] = "host name", ["--allow-net=a:b"] = "port", ["--allow-net=h:90-80"] = "port", ["--allow-net=h:99999"] = "port",
      ["--allow-net=10.0.0.0/33"] = "bits", ["--allow-net=[::1"] = "]", ["--allow-net=[1.2.3.4]:80"] = "IPv6", ["--allow-net=*.*.com"] = "host name",
      ["--allow-read="] = "missing", ["--allow-frobnicate=x"] = "unknown permission", ["--allow-exit=1"] = "no value", ["--allow-fd=x"] = "number",
      ["--allow-env=A=B"] = "variable", ["--profile=none"] = "pure", ["--allow-net=unix:"] = "unix socket", ["--allow-net=:80"] = "host name",
    } do
      local status, out, err = helper.cli { option, "-e", "print 'ran'" }
      assert.equal(2, status, option .. ": " .. err)
      assert.equal("", out)
      assert(err:find(why, 1, true) and err:find("--help", 1, true), option .. ": " .. err)
    end
  end)

  it("may be repeated and parted by commas", function()
    local dir = house()
    allowed(dir, { "--allow-read=" .. dir .. "/in," .. dir .. "/out", "--allow-read=" .. dir .. "/private" },
      { "fs.listdir(DIR .. '/in')", "fs.listdir(DIR .. '/out')", "fs.listdir(DIR .. '/private')" })
    local status = helper.cli { "--allow-net=example.com:443,*.example.org:*,127.0.0.1:8000-8100,[::1]:80,::1,10.0.0.0/8", "-e", "" }
    assert.equal(0, status)
  end)
end)
