local helper = require "spec.helper"
local asyncio = require "asyncio"
local signal = require "signal"

local PIPE, STDOUT, DEVNULL = asyncio.PIPE, asyncio.STDOUT, asyncio.DEVNULL
local exec, shell = asyncio.create_subprocess_exec, asyncio.create_subprocess_shell

local function run(f, ...)
  return asyncio.run(async(f)(...))
end

--- Standard output of a command of the shell.
local function output(command, opts)
  opts = opts or {}
  opts.stdout = opts.stdout or PIPE
  local p = await(shell(command, opts))
  return (await(p:communicate()))
end

local function fds()
  local p = assert(io.popen("ls /proc/" .. signal.getpid() .. "/fd | wc -l"))
  local n = tonumber(p:read("a"))
  p:close()
  return n
end

--- Names and states of this process's children.
local function children()
  local p <close> = assert(io.popen(("ps -o pid=,stat=,comm= --ppid %d"):format(signal.getpid())))
  local list = {}
  for line in p:lines() do
    if not line:find(" sh$") and not line:find(" ps$") then list[#list + 1] = line end
  end
  return list
end

local eventually = helper.eventually

describe("create_subprocess_exec", function()
  it("runs a program and gives its output", function()
    run(function()
      local p = await(exec("echo", "one", 2, { stdout = PIPE }))
      assert.is_true(p.pid > 0)
      assert.is_nil(p.stdin)
      assert.is_nil(p.stderr)
      local out, err = await(p:communicate())
      assert.equal("one 2\n", out)
      assert.is_nil(err)
      assert.equal(0, p.returncode)
      assert.equal(("<Process %d returncode=0>"):format(p.pid), tostring(p))
    end)
  end)

  it("gives stdin, stdout and stderr as streams", function()
    run(function()
      local p = await(exec("sh", "-c", "read x; echo out $x; echo err $x >&2; exit 7",
        { stdin = PIPE, stdout = PIPE, stderr = PIPE }))
      assert.is_nil(p.returncode)
      assert.equal(("<Process %d running>"):format(p.pid), tostring(p))
      p.stdin:write("line\n")
      await(p.stdin:drain())
      assert.equal("out line\n", await(p.stdout:readline()))
      assert.equal("err line\n", await(p.stderr:readline()))
      assert.is_nil(await(p.stdout:readline()))
      assert.equal(7, await(p:wait()))
      assert.equal(7, await(p:wait()))
      assert.equal(7, p.returncode)
    end)
  end)

  it("leaves arguments as they are: no shell", function()
    run(function()
      local p = await(exec("printf", "%s|", "a b", "$HOME", "*", "", { stdout = PIPE }))
      assert.equal("a b|$HOME|*||", (await(p:communicate())))
    end)
  end)

  it("runs `executable` under the name of the first word", function()
    run(function()
      local p = await(exec("another", "-c", "echo $0", { executable = "/bin/sh", stdout = PIPE }))
      assert.equal("another\n", (await(p:communicate())))
    end)
  end)

  it("gives a negative code when a signal has ended the program", function()
    run(function()
      local p = await(exec("sleep", 100))
      p:send_signal("SIGUSR1")
      assert.equal(-signal.SIGUSR1, await(p:wait()))
      p = await(exec("sleep", 100))
      p:terminate()
      assert.equal(-signal.SIGTERM, await(p:wait()))
      p = await(exec("sleep", 100))
      p:kill()
      assert.equal(-signal.SIGKILL, await(p:wait()))
    end)
  end)

  it("raises ESRCH for signals after the end", function()
    run(function()
      local p = await(exec("true"))
      await(p:wait())
      for _, method in ipairs { "kill", "terminate" } do
        local e = helper.raises(asyncio.OSError, p[method], p)
        assert.equal("ESRCH", e.code)
      end
      helper.raises("no such process", p.send_signal, p, "SIGHUP")
    end)
  end)

  it("gives what was written before the end after it, too", function()
    run(function()
      local p = await(exec("echo", "early", { stdout = PIPE }))
      assert.equal(0, await(p:wait()))
      await(asyncio.sleep(0))
      assert.equal("early\n", await(p.stdout:read()))
    end)
  end)

  it("gives no child the pipes of another", function()
    run(function()
      local first <close> = await(exec("cat", { stdin = PIPE, stdout = PIPE }))
      local second <close> = await(exec("sleep", 100, { stdin = PIPE, close_fds = false }))
      first.stdin:close() -- is its end only if nobody else has it
      assert.equal("", await(first.stdout:read()))
      assert.equal(0, await(first:wait()))
      assert.is_nil(second.returncode)
    end)
  end)

  it("can be awaited by several, of whom one is cancelled", function()
    run(function()
      local p = await(exec("cat", { stdin = PIPE, stdout = DEVNULL }))
      local first = asyncio.create_task(p:wait())
      local second = asyncio.create_task(p:wait())
      local third = asyncio.create_task(p:wait())
      await(asyncio.sleep(0))
      second:cancel()
      helper.raises(asyncio.CancelledError, await, second)
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(p:wait(), 0.01))
      p.stdin:close()
      assert.equal(0, await(first))
      assert.equal(0, await(third))
      assert.equal(0, await(p:wait()))
    end)
  end)

  it("keeps exit and the end of output apart", function()
    run(function()
      -- what the shell leaves behind holds its output open
      local p = await(shell("(read x <&3; echo later) & exit 4", { stdout = PIPE, pipes = { [3] = "w" } }))
      assert.equal(4, await(p:wait()))
      assert.is_false(p.stdout:at_eof())
      p.pipes[3]:write("go\n")
      assert.equal("later\n", await(p.stdout:readline()))
      assert.is_nil(await(p.stdout:readline()))
      p = await(shell("exec >&-; read x; exit 5", { stdin = PIPE, stdout = PIPE }))
      assert.is_nil(await(p.stdout:readline()))
      assert.is_nil(p.returncode)
      p.stdin:write("go\n")
      assert.equal(5, await(p:wait()))
    end)
  end)
end)

describe("communicate", function()
  it("feeds and reads much at the same time", function()
    run(function()
      local text = ("0123456789abcdef"):rep(40000)
      local p = await(exec("cat", { stdin = PIPE, stdout = PIPE }))
      local out = await(p:communicate(text))
      assert.is_true(out == text)
    end)
  end)

  it("closes stdin without input", function()
    run(function()
      local p = await(exec("wc", "-c", { stdin = PIPE, stdout = PIPE }))
      assert.equal("0\n", (await(p:communicate())))
    end)
  end)

  it("does not mind a program that reads nothing", function()
    run(function()
      local p = await(exec("true", { stdin = PIPE }))
      assert.is_nil((await(p:communicate(("x"):rep(1 << 20)))))
      assert.equal(0, p.returncode)
      p = await(exec("true", { stdin = ("x"):rep(1 << 20) }))
      assert.equal(0, await(p:wait()))
    end)
  end)

  it("keeps stdout and stderr apart, or joins them", function()
    run(function()
      local p = await(shell("echo out; echo err >&2", { stdout = PIPE, stderr = PIPE }))
      local out, err = await(p:communicate())
      assert.same({ "out\n", "err\n" }, { out, err })
      assert.equal("out\nerr\n", output("echo out; echo err >&2", { stderr = STDOUT }))
    end)
  end)

  it("can be cancelled, and the process goes on", function()
    run(function()
      local p <close> = await(exec("cat", { stdin = PIPE, stdout = PIPE }))
      local reading = asyncio.create_task(p.stdout:read(100))
      await(asyncio.sleep(0))
      p.stdin:write("x")
      assert.equal("x", await(reading))
      local all = asyncio.create_task(async(function() return await(p.stdout:read()) end)())
      await(asyncio.sleep(0))
      all:cancel()
      helper.raises(asyncio.CancelledError, await, all)
      assert.is_nil(p.returncode)
      assert.equal("", (await(p:communicate())))
    end)
  end)

  it("says when it is used wrongly", function()
    run(function()
      local p = await(exec("true"))
      helper.raises("communicate(): input must be a string, got a table", p.communicate, p, {})
      helper.raises("communicate(): input was given, but stdin is not PIPE", p.communicate, p, "x")
      helper.raises("a Process was expected", p.wait, {})
      await(p:wait())
    end)
  end)
end)

describe("options of subprocesses:", function()
  it("env replaces the environment, add_env adds to it and removes", function()
    run(function()
      assert.equal("A=1\nB=two words\n", output("env | grep -v -e PWD -e SHLVL -e _= | sort",
        { env = { A = 1, B = "two words" } }))
      assert.equal("", output("env | grep -e ^HOME= -e ^PATH=", { env = {} }):gsub("PATH=[^\n]*\n", ""), "")
      local mine = output("echo $HOME:$X", { add_env = { X = "y" } })
      assert.equal(os.getenv("HOME") .. ":y\n", mine)
      assert.equal(":\n", output("echo $HOME:$X", { add_env = { HOME = false } }))
    end)
  end)

  it("env decides where the program is looked for", function()
    local dir = helper.tmpdir()
    os.execute(("printf '#!/bin/sh\\necho found\\n' > %s/my-tool; chmod +x %s/my-tool"):format(dir, dir))
    run(function()
      local p = await(exec("my-tool", { stdout = PIPE, add_env = { PATH = "/nowhere:" .. dir } }))
      assert.equal("found\n", (await(p:communicate())))
      local e = helper.raises(asyncio.OSError, await, exec("my-tool"))
      assert.equal("ENOENT", e.code)
    end)
  end)

  it("cwd", function()
    local dir = helper.tmpdir()
    run(function()
      assert.equal(dir .. "\n", output("pwd -P", { cwd = dir }))
    end)
  end)

  it("stdin as a string, a file, a descriptor, nothing", function()
    local path = helper.tmpfile("from a file\n")
    run(function()
      assert.equal("a string", output("cat", { stdin = "a string" }))
      assert.equal("", output("cat", { stdin = "" }))
      assert.equal("", output("cat", { stdin = DEVNULL }))
      local file <close> = assert(io.open(path))
      assert.equal("from a file\n", output("cat", { stdin = file }))
    end)
  end)

  it("stdout and stderr into a file, a descriptor, what has fileno", function()
    local path = helper.tmpfile()
    run(function()
      local file = assert(io.open(path, "w"))
      file:write("before\n") -- still in the file's buffer
      assert.equal(0, await(await(shell("echo out; echo err >&2", { stdout = file, stderr = STDOUT })):wait()))
      file:close()
      assert.equal("before\nout\nerr\n", assert(io.open(path)):read("a"))
      local p = await(exec("cat", { stdin = PIPE, stdout = PIPE }))
      local object = { fileno = function() return p.stdin:get_extra_info("pipe"):fileno() end }
      await(await(exec("echo", "through cat", { stdout = object })):wait())
      p.stdin:close()
      assert.equal("through cat\n", (await(p:communicate())))
    end)
  end)

  it("pipes: more of them, in each direction", function()
    run(function()
      local p = await(shell("cat <&3 >&4; exec 4>&-; cat <&5 | tr a-z A-Z >&5",
        { pipes = { [3] = "w", [4] = "r", [5] = "rw", [9] = DEVNULL } }))
      p.pipes[3]:write("three")
      p.pipes[3]:close()
      assert.equal("three", await(p.pipes[4]:read()))
      local five <close> = p.pipes[5]
      five:writelines { "fi", "ve" }
      await(five:drain())
      five:write_eof()
      assert.equal("FIVE", await(five:read()))
      assert.equal(0, await(p:wait()))
      assert.is_nil(p.pipes[9])
    end)
  end)

  it("a writer's write_eof ends a pipe", function()
    run(function()
      local p = await(exec("cat", { stdin = PIPE, stdout = PIPE }))
      p.stdin:write("all")
      p.stdin:write_eof()
      assert.equal("all", await(p.stdout:read()))
      await(p.stdin:wait_closed())
      await(p:wait())
    end)
  end)

  it("pass_fds passes, and nothing else is passed on", function()
    local path = helper.tmpfile("passed")
    run(function()
      local file <close> = assert(io.open(path)) -- not close-on-exec: Lua's files are not
      local fd = math.tointeger(tonumber(output("ls -l /proc/$PPID/fd"):match("(%d+) %-> " .. path:gsub("%W", "%%%0"))))
      assert.is_truthy(fd)
      assert.equal("passed", output("cat /dev/fd/" .. fd, { pass_fds = { fd } }))
      file:seek("set")
      local p = await(exec("ls", "/proc/self/fd", { stdout = PIPE })) -- 3 is the folder itself
      assert.equal("0\n1\n2\n3\n", (await(p:communicate())))
      local all = output("ls -l /proc/$$/fd", { close_fds = false })
      assert.is_truthy(all:find(path, 1, true))
    end)
  end)

  it("start_new_session and process_group", function()
    run(function()
      local session = "ps -o pid=,pgid=,sid= -p $$"
      local function ids(opts)
        local pid, group, sid = output(session, opts):match("(%d+) +(%d+) +(%d+)")
        return pid, group, sid
      end
      local _, mygroup, mysid = ids {}
      local pid, group, sid = ids { start_new_session = true }
      assert.same({ pid, pid }, { group, sid })
      pid, group, sid = ids { process_group = 0 }
      assert.same({ pid, mysid }, { group, sid })
      local leader <close> = await(exec("sleep", 100, { process_group = 0 }))
      _, group = ids { process_group = leader.pid }
      assert.equal(tostring(leader.pid), group)
      assert.are_not.equal(mygroup, group)
    end)
  end)

  it("umask", function()
    run(function()
      assert.equal("0027\n", output("umask", { umask = 23 }))
    end)
  end)

  it("user, group and extra_groups", function()
    run(function()
      if output("id -u") ~= "0\n" then -- nobody but root may: then the error says so
        local e = helper.raises(asyncio.OSError, await, exec("true", { user = 0, extra_groups = { 0 } }))
        assert.equal("EPERM", e.code)
        return
      end
      assert.equal("65534 12 12\n", output("echo $(id -u; id -g; id -G)", { user = 65534, group = 12 }))
      assert.equal("0 0 5\n", output("echo $(id -u; id -G)", { extra_groups = { 5 } }))
      assert.equal("root\n", output("id -un", { user = "root", group = "root" }))
    end)
  end)

  it("limit bounds a line", function()
    run(function()
      local p <close> = await(shell("echo 0123456789", { stdout = PIPE, limit = 5 }))
      helper.raises("limit", await, p.stdout:readline())
    end)
  end)
end)

describe("a subprocess in a terminal", function()
  it("has it as its controlling terminal", function()
    run(function()
      local p <close> = await(exec("sh", "-c",
        "test -t 0 && test -t 1 && test -t 2 && echo all; echo over >/dev/tty; stty size", { pty = { 33, 99 } }))
      assert.equal("all\r\nover\r\n33 99\r\n", await(p.pty:read()))
      assert.equal(0, await(p:wait()))
      assert.is_nil(p.stdin)
    end)
  end)

  it("reads and writes lines", function()
    run(function()
      local p <close> = await(exec("sh", "-c", 'stty -echo; echo ready; while read x; do echo "got $x"; done', { pty = true }))
      assert.equal("ready\r\n", await(p.pty:readline()))
      p.pty:write("hello\n")
      assert.equal("got hello\r\n", await(p.pty:readline()))
      p.pty:write("\4") -- the end, as it is typed
      assert.is_nil(await(p.pty:readline()))
      assert.equal(0, await(p:wait()))
    end)
  end)

  it("is resized, and told so", function()
    run(function()
      local p <close> = await(exec("sh", "-c", "trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.01; done",
        { pty = true }))
      await(p.pty:readline())
      assert.same({ 24, 80 }, { p.pty:size() })
      p.pty:resize(10, 20)
      assert.same({ 10, 20 }, { p.pty:size() })
      assert.equal("10 20\r\n", await(p.pty:readline()))
      assert.equal(4, await(p:wait()))
      helper.raises(asyncio.ValueError, p.pty.resize, p.pty, -1, 80)
      helper.raises(asyncio.TypeError, p.pty.resize, p.pty, "a", 80)
    end)
  end)

  it("is interrupted by Ctrl-C that is typed", function()
    run(function()
      local p <close> = await(exec("cat", { pty = true }))
      p.pty:write("line\n")
      await(p.pty:readuntil("line\r\nline\r\n")) -- its echo, and cat's
      p.pty:write("\3")
      assert.equal(-signal.SIGINT, await(p:wait()))
    end)
  end)

  it("communicate gives what was shown; stdout may go elsewhere", function()
    run(function()
      local p = await(exec("sh", "-c", "echo shown; echo piped >&2", { pty = true, stderr = PIPE }))
      local out, err = await(p:communicate())
      assert.same({ "shown\r\n", "piped\n" }, { out, err })
    end)
  end)

  it("raises EBADF when it is resized after it was closed", function()
    run(function()
      local p = await(exec("true", { pty = true }))
      await(p:communicate())
      p.pty:close()
      await(p.pty:wait_closed())
      assert.equal("EBADF", helper.raises(asyncio.OSError, p.pty.resize, p.pty, 1, 1).code)
    end)
  end)
end)

describe("what cannot be started", function()
  local function fails(code, text, ...)
    local e = helper.raises(asyncio.OSError, await, exec(...))
    assert.equal(code, e.code)
    assert.equal("OSError: " .. text, tostring(e))
    return e
  end

  it("raises OSError with code, path and syscall", function()
    local file, dir = helper.tmpfile("#!/nowhere/interpreter\n"), helper.tmpdir()
    run(function()
      local e = fails("ENOENT", "ENOENT: no such file or directory: spawn 'nope'", "nope")
      assert.equal("nope", e.path)
      assert.equal("spawn", e.syscall)
      fails("ENOENT", "ENOENT: no such file or directory: spawn '/no/such'", "/no/such", "-x")
      fails("ENOENT", "ENOENT: no such file or directory: spawn ''", "")
      fails("EACCES", ("EACCES: permission denied: spawn '%s'"):format(file), file)
      fails("EACCES", ("EACCES: permission denied: spawn '%s'"):format(dir), dir)
      os.execute("chmod +x " .. file)
      fails("ENOENT", ("ENOENT: no such file or directory: spawn '%s'"):format(file), file)
      local plain = helper.tmpfile("echo a shell's, without #!\n")
      os.execute("chmod +x " .. plain)
      fails("ENOEXEC", ("ENOEXEC: exec format error: spawn '%s'"):format(plain), plain)
    end)
  end)

  it("tells a wrong cwd from a wrong program", function()
    local file = helper.tmpfile()
    run(function()
      local e = fails("ENOENT", "ENOENT: no such file or directory: chdir '/no/dir' (spawn 'true')", "true",
        { cwd = "/no/dir" })
      assert.equal("/no/dir", e.path)
      assert.equal("chdir", e.syscall)
      fails("ENOTDIR", ("ENOTDIR: not a directory: chdir '%s' (spawn 'true')"):format(file), "true", { cwd = file })
    end)
  end)

  it("leaves nothing behind", function()
    run(function()
      await(await(exec("true", { stdout = PIPE })):communicate()) -- libuv keeps some descriptors from now on
      local before = fds()
      for _ = 1, 20 do
        pcall(await, exec("nope", { stdin = PIPE, stdout = PIPE, stderr = PIPE, pty = true }))
        pcall(await, exec("nope", { stdin = PIPE, stdout = PIPE, pipes = { [3] = "rw" } }))
      end
      assert.is_true(eventually(function() return fds() <= before end))
      assert.same({}, children())
    end)
  end)

  it("says when there are too many descriptors", function()
    local status, out, err = helper.sh("ulimit -n 24; exec " .. helper.quote(helper.moonloop) .. [[ -e '
      local asyncio = require "asyncio"
      asyncio.run(function()
        local all = {}
        local ok, e = pcall(function()
          for i = 1, 40 do
            all[i] = await(asyncio.create_subprocess_exec("cat", { stdin = asyncio.PIPE, stdout = asyncio.PIPE }))
          end
        end)
        print(e.code, tostring(e))
        for _, p in ipairs(all) do p:close() end
        for _, p in ipairs(all) do await(p:wait()) end
      end)']])
    assert.equal("", err)
    assert.is_truthy(out:find("^EMFILE\tOSError: EMFILE: too many open files"), out)
    assert.equal(0, status)
  end)

  it("says when there are too many processes", function()
    local dir = helper.tmpdir()
    local script = helper.tmpfile([[
      local asyncio = require "asyncio"
      asyncio.run(function()
        local all = {}
        local ok, e = pcall(function()
          for i = 1, 50 do all[i] = await(asyncio.create_subprocess_exec("sleep", 100)) end
        end)
        for _, p in ipairs(all) do p:close() end
        for _, p in ipairs(all) do await(p:wait()) end
        print(ok, e)
      end)]])
    -- root has no such limit: then another user, who must be able to read the program
    os.execute(("cp %s %s/moonloop; chmod 755 %s %s/moonloop; chmod 644 %s"):format(helper.moonloop, dir, dir, dir, script))
    local status, out, err = helper.sh(([[if [ $(id -u) = 0 ]; then
        set -- setpriv --reuid 65534 --regid 65534 --clear-groups
      fi
      exec "$@" prlimit --nproc=6 %s/moonloop %s]]):format(dir, script), { env = { ASAN_OPTIONS = "detect_leaks=0" } })
    assert.same({ 0, "false\tOSError: EAGAIN: resource temporarily unavailable: spawn 'sleep'\n", "" },
      { status, out, err })
  end)

  it("is misuse, raised at the call", function()
    local function misuse(class, text, ...)
      local args = table.pack(...)
      local e = helper.raises(class, function() exec(table.unpack(args, 1, args.n)) end)
      assert.is_truthy(e.message:find(text, 1, true), e.message)
      assert.is_truthy(e.message:find("subprocess_spec.lua:%d+: create_subprocess_exec"), e.message)
    end
    local T, V = asyncio.TypeError, asyncio.ValueError
    misuse(T, "program must be a string, got nil")
    misuse(T, "program must be a string, got a table", { "ls", "-l" })
    misuse(T, "argument 2 must be a string, got a boolean", "ls", "a", true)
    misuse(V, "argument 1 has a zero byte in it", "ls", "a\0b")
    misuse(T, "unexpected keyword argument 'stdot'", "ls", { stdot = PIPE })
    misuse(V, "STDOUT can only be used for stderr", "ls", { stdout = STDOUT })
    misuse(T, "stdout must be PIPE", "ls", { stdout = "file.txt" })
    misuse(T, "stdin must be PIPE", "ls", { stdin = true })
    misuse(V, "stdin: -7 is no file descriptor", "ls", { stdin = -7 })
    misuse(T, "fileno() must give an integer, got nil", "ls", { stdin = { fileno = function() end } })
    misuse(V, "env: 'A=B' is no name", "ls", { env = { ["A=B"] = "c" } })
    misuse(V, "env: '' is no name", "ls", { env = { [""] = "c" } })
    misuse(V, "a name in env has a zero byte", "ls", { env = { ["A\0"] = "c" } })
    misuse(V, "env.A has a zero byte", "ls", { env = { A = "c\0" } })
    misuse(T, "env.A must be a string, got a table", "ls", { env = { A = {} } })
    misuse(T, "env must be a table, got a string", "ls", { env = "A=1" })
    misuse(T, "cwd must be a string", "ls", { cwd = {} })
    misuse(V, 'pipes[3] must be "r", "w", "rw" or a file, got "x"', "ls", { pipes = { [3] = "x" } })
    misuse(V, "descriptor 2 is not between 3 and 4095", "ls", { pipes = { [2] = "r" } })
    misuse(T, "a file descriptor (an integer) was expected", "ls", { pipes = { a = "r" } })
    misuse(V, "descriptor 5 is given twice", "ls", { pass_fds = { 5 }, pipes = { [5] = "r" } })
    misuse(T, "umask must be an integer, got a string", "ls", { umask = "022" })
    misuse(V, "umask must be between 0 and 511", "ls", { umask = 512 })
    misuse(V, "there is no user 'no-such-user'", "ls", { user = "no-such-user" })
    misuse(V, "process_group cannot be used with pty", "ls", { pty = true, process_group = 0 })
    misuse(T, "rows and columns must be integers", "ls", { pty = { "a", 2 } })
    misuse(V, "needs a group of its own", "ls", { kill_on_close = "group" })
    misuse(T, "kill_on_close must be a boolean", "ls", { kill_on_close = 1 })
    local closed = io.tmpfile()
    closed:close()
    misuse(V, "stdin: the file is closed", "ls", { stdin = closed })
    helper.raises("the command must be a string, got nil", shell)
    helper.raises("options must be a table", shell, "ls", 5)
  end)
end)

describe("closing a subprocess", function()
  it("kills and reaps it", function()
    run(function()
      local p
      do
        local q <close> = await(exec("sleep", 100, { stdin = PIPE, stdout = PIPE }))
        p = q
      end
      assert.equal(-signal.SIGKILL, p.returncode)
      assert.is_true(p.stdin:is_closing())
      p:close()
      p:close()
    end)
  end)

  it("happens when the task is cancelled, and on errors", function()
    run(function()
      local p
      local task = asyncio.create_task(async(function()
        local q <close> = await(exec("sleep", 100, { stdout = PIPE }))
        p = q
        await(q:communicate())
      end)())
      assert.is_true(eventually(function() return p ~= nil end))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      assert.equal(-signal.SIGKILL, p.returncode)
      pcall(function()
        local q <close> = await(exec("sleep", 100))
        p = q
        error("oops")
      end)
      assert.equal(-signal.SIGKILL, p.returncode)
    end)
  end)

  it("takes the group with it, or leaves the process alone", function()
    run(function()
      local p
      do
        local q <close> = await(exec("sh", "-c", "sleep 100 & echo $!; wait",
          { stdout = PIPE, start_new_session = true, kill_on_close = "group" }))
        p = q
        q.child = tonumber(await(q.stdout:readline()))
      end
      assert.is_true(eventually(function()
        local state = io.open("/proc/" .. p.child .. "/stat")
        local text = state and state:read("a") or "gone"
        if state then state:close() end
        return text == "gone" or text:find("%) [ZX]") ~= nil
      end))
      do
        local q <close> = await(exec("cat", { stdin = PIPE, kill_on_close = false, stdout = DEVNULL }))
        p = q
      end
      assert.equal(0, await(p:wait())) -- its input has ended, nothing else
    end)
  end)

  it("drops input that nobody will read", function()
    run(function()
      local p = await(exec("sh", "-c", "exec 3<&0; sleep 0.3 <&3 & exit 0", { stdin = PIPE }))
      p.stdin:write(("x"):rep(1 << 20)) -- what the shell has started holds the other end
      assert.equal(0, await(p:wait()))
      assert.is_false(p.stdin:is_closing())
      p:close()
      await(p.stdin:wait_closed())
    end)
  end)

  it("happens when its loop is closed around a task that holds it", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local loop = asyncio.new_event_loop()
      local t = loop:create_task(function()
        local p <close> = await(asyncio.create_subprocess_exec("sleep", 100))
        loop:stop()
        await(p:wait())
      end)
      loop:run_forever()
      loop:close()
      print("end")]] })
    assert.equal("end\n", out)
    assert.is_truthy(err:find("Task was destroyed but it is pending", 1, true), err)
    assert.is_falsy(err:find("still runs", 1, true), err)
    assert.equal(0, status)
  end)

  it("does not happen before a task has begun", function()
    run(function()
      local task = asyncio.create_task(exec("sleep", 100))
      task:cancel()
      helper.raises(asyncio.CancelledError, await, task)
      assert.same({}, children())
    end)
  end)

  it("lets go of what is collected while it runs, and reaps it", function()
    run(function()
      await(exec("sleep", 0.02))
      collectgarbage()
      collectgarbage()
      assert.is_true(eventually(function() return #children() == 0 end))
    end)
  end)

  it("is done by a loop that is closed, which says so", function()
    local status, out, err = helper.cli({ "-e", [[
      local asyncio = require "asyncio"
      local p = asyncio.run(function() return await(asyncio.create_subprocess_exec("sleep", 100)) end)
      print(p.returncode)
      print(pcall(p.kill, p))
      local q = asyncio.run(function()
        return await(asyncio.create_subprocess_exec("sh", "-c", "until [ -e $0 ]; do sleep 0.01; done", arg[1],
          { kill_on_close = false }))
      end)
      print(q.returncode)
      print(pcall(q.kill, q))
      io.open(arg[1], "w"):close()
      asyncio.run(function()
        print(pcall(await, q:wait()))
        repeat -- until it is no zombie either
          await(asyncio.sleep(0.01))
          await(await(asyncio.create_subprocess_exec("true")):wait())
        until not io.open("/proc/" .. q.pid .. "/stat")
      end)
    ]], (helper.latch()) })
    assert.equal(0, status)
    assert.is_truthy(err:find("^ResourceWarning: subprocess %d+ still runs when its loop is closed: killed\n$"), err)
    assert.is_truthy(out:find("^%-9\nfalse\tOSError: ESRCH.-\nnil\nfalse\tOSError: ESRCH[^\n]*\nfalse\tRuntimeError[^\n]*\n$"), out)
  end)
end)

describe("many subprocesses", function()
  it("200 at once, each with a line of output; nothing stays", function()
    run(function()
      await(await(exec("true", { stdout = PIPE })):communicate()) -- libuv keeps some descriptors from now on
      local before = fds()
      local one = async(function(i)
        local p = await(exec("echo", i, { stdout = PIPE }))
        return (await(p:communicate()))
      end)
      local jobs = {}
      for i = 1, 200 do jobs[i] = one(i) end
      local results = await(asyncio.gather(jobs))
      for i = 1, 200 do assert.equal(i .. "\n", results[i]) end
      assert.same({}, children())
      assert.is_true(eventually(function() return fds() <= before end))
    end)
  end)

  it("200 cancelled in the middle; nothing stays", function()
    run(function()
      await(await(exec("true", { stdout = PIPE })):communicate()) -- libuv keeps some descriptors from now on
      local before = fds()
      local running = 0
      local one = async(function()
        local p <close> = await(exec("sleep", 100, { stdin = PIPE, stdout = PIPE }))
        running = running + 1
        await(p:communicate())
      end)
      local tasks = {}
      for i = 1, 200 do tasks[i] = asyncio.create_task(one()) end
      assert.is_true(eventually(function() return running == 200 end))
      for _, task in ipairs(tasks) do task:cancel() end
      await(asyncio.wait(tasks))
      assert.same({}, children())
      assert.is_true(eventually(function() return fds() <= before end))
    end)
  end)

  it("a child that writes without end fills nothing but its pipe", function()
    run(function()
      local p <close> = await(exec("yes", { stdout = PIPE, limit = 1000 }))
      assert.equal("y\n", await(p.stdout:readline()))
      for _ = 1, 20 do await(asyncio.sleep(0.005)) end
      local kept = tonumber(tostring(p.stdout):match("(%d+) bytes"))
      assert.is_true(kept <= 2 * 1000 + 68 * 1024, tostring(p.stdout))
      assert.is_truthy(tostring(p.stdout):find("paused"))
      assert.equal("y\n", await(p.stdout:readline()))
    end)
  end)

  it("a child that reads nothing holds the writer up", function()
    run(function()
      local p <close> = await(exec("sleep", 100, { stdin = PIPE }))
      for _ = 1, 4 do p.stdin:write(("x"):rep(65536)) end
      helper.raises(asyncio.TimeoutError, await, asyncio.wait_for(p.stdin:drain(), 0.01))
      p:kill()
      local e = helper.raises(asyncio.OSError, await, p.stdin:drain())
      assert.equal("EPIPE", e.code)
    end)
  end)
end)

describe("a child's end is noticed", function()
  it("beside children of others, as io.popen's", function()
    run(function()
      local other = io.popen("exit 3") -- a zombie until it is closed
      local p = await(exec("true"))
      assert.equal(0, await(asyncio.wait_for(p:wait(), 60 * helper.slow)))
      local _, how, code = other:close()
      assert.same({ "exit", 3 }, { how, code })
    end)
  end)

  it("in two loops of one engine", function()
    local a, b = asyncio.new_event_loop(), asyncio.new_event_loop()
    local p = a:run_until_complete(exec("cat", { stdin = PIPE, stdout = DEVNULL }))
    local q = b:run_until_complete(exec("sh", "-c", "exit 2"))
    helper.raises("belongs to a different loop", b.run_until_complete, b, p:wait())
    p.stdin:close()
    assert.equal(0, a:run_until_complete(p:wait()))
    assert.equal(2, b:run_until_complete(q:wait()))
    a:close()
    b:close()
  end)

  it("by programs in virtual time", function()
    local p, code
    helper.run(function()
      p = await(exec("sh", "-c", "exit 9"))
      code = await(p:wait())
    end)
    assert.equal(9, code)
  end)

  it("and signals of this program are not passed on by what it ignores", function()
    run(function()
      -- SIGPIPE ends a child though it does not end us
      local p = await(shell("yes; echo $? >&2", { stdout = PIPE, stderr = PIPE }))
      await(p.stdout:read(10))
      p.stdout = nil
      p:terminate()
      await(p:wait())
      p:close()
      p = await(shell("kill -PIPE $$; echo survived"))
      assert.equal(-signal.SIGPIPE, await(p:wait()))
    end)
  end)
end)

describe("a low-level subprocess", function()
  local function recorder()
    local log = {}
    local done = asyncio.get_running_loop():create_future()
    local P = {}
    function P:connection_made(transport)
      self.transport = transport
      log[#log + 1] = "made"
    end
    function P.pipe_data_received(_, fd, data) log[#log + 1] = ("data %s %s"):format(fd, data) end
    function P.pipe_connection_lost(_, fd, err) log[#log + 1] = ("lost %s %s"):format(fd, err and err.code) end
    function P.process_exited() log[#log + 1] = "exited" end
    function P.connection_lost(_, err)
      log[#log + 1] = "connection lost " .. tostring(err)
      done:set_result(nil)
    end
    return P, log, done
  end

  it("tells a protocol all that happens", function()
    run(function()
      local P, log, done = recorder()
      local loop = asyncio.get_running_loop()
      local transport, protocol = await(loop:subprocess_exec(function() return P end, "sh", "-c",
        "read x; echo $x; echo err >&2; exit 3", { stdin = PIPE, stdout = PIPE, stderr = PIPE }))
      assert.equal(P, protocol)
      assert.equal(transport, P.transport)
      assert.equal("made", log[1])
      assert.is_nil(transport:get_returncode())
      assert.is_nil(transport:get_pipe_transport(7))
      transport:get_pipe_transport(0):write("hi\n")
      await(done)
      assert.equal("connection lost nil", log[#log])
      table.sort(log)
      assert.same({ "connection lost nil", "data 1 hi\n", "data 2 err\n", "exited", "lost 0 nil", "lost 1 nil",
        "lost 2 nil", "made" }, log)
      assert.equal(3, transport:get_returncode())
      assert.equal("ESRCH", helper.raises(asyncio.OSError, transport.kill, transport).code)
      transport:close()
      assert.is_true(transport:is_closing())
    end)
  end)

  it("tells when the program closes its input", function()
    run(function()
      local P, log, done = recorder()
      await(asyncio.get_running_loop():subprocess_exec(function() return P end, "sh", "-c",
        "exec <&-; sleep 0.02; echo x; exit 1", { stdin = PIPE, stdout = PIPE }))
      await(done)
      assert.same({ "made", "lost 0 nil" }, { table.unpack(log, 1, 2) })
    end)
  end)

  it("is killed by close()", function()
    run(function()
      local P, log, done = recorder()
      local loop = asyncio.get_running_loop()
      local transport = await(loop:subprocess_shell(function() return P end, "cat; sleep 100", { stdin = "x", stdout = PIPE }))
      assert.is_true(transport:get_pid() > 0)
      assert.is_true(eventually(function() return log[2] end) ~= nil)
      transport:close()
      await(done)
      assert.equal(-signal.SIGKILL, transport:get_returncode())
    end)
  end)

  it("ends the process when it is cancelled before it is made", function()
    run(function()
      local P, log, done = recorder()
      local loop = asyncio.get_running_loop()
      local task
      task = loop:create_task(loop:subprocess_exec(function()
        loop:call_soon(task.cancel, task)
        return P
      end, "sleep", 100, { stdin = PIPE }))
      helper.raises(asyncio.CancelledError, await, task)
      await(done)
      assert.equal("connection lost nil", log[#log])
      assert.equal(-signal.SIGKILL, P.transport:get_returncode())
    end)
  end)

  it("in a terminal, whose end is no error", function()
    run(function()
      local P, log, done = recorder()
      local loop = asyncio.get_running_loop()
      await(loop:subprocess_exec(function() return P end, "echo", "hi", { pty = true }))
      await(done)
      table.sort(log)
      assert.same({ "connection lost nil", "data pty hi\r\n", "exited", "lost pty nil", "made" }, log)
    end)
  end)

  it("says when it is used wrongly", function()
    local loop = asyncio.new_event_loop()
    helper.raises("protocol_factory must be a function", loop.subprocess_exec, loop, nil, "ls")
    helper.raises("the command must be a string", loop.subprocess_shell, loop, function() end, {})
    helper.raises("unexpected keyword argument 'limit'", loop.subprocess_shell, loop, function() end, "ls", { limit = 1 })
    helper.raises("must give a table", loop.run_until_complete, loop, loop:subprocess_shell(function() end, "ls"))
    loop:close()
  end)
end)
