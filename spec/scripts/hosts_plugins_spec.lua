local helper = require "spec.helper"
local host = require "spec.scripts.host"

--- How the verdict on each begins. What its deadline ends is ended by the engine or, if that comes too late on a busy
--- machine, with its process.
local late = { bad_await_loop = "killed %a+ its ", bad_blocked = "killed with its process", bad_sleep = "killed %a+ its " }
local verdicts = {
  bad_bytecode = "refused: ", bad_close_loop = "killed for time: ",
  bad_coroutine_loop = "killed for time: ", bad_debug = "refused: ", bad_env = "refused: .*getenv 'HOME'",
  bad_error = "failed: ", bad_execute = "refused: .*execute 'touch", bad_exit = "refused: .*exit",
  bad_finalizer = "killed for time: ", bad_fs = "refused: .*read_file '/etc/passwd'", bad_last_finalizer = "killed for time: .*finalizer",
  bad_loop = "killed for time: ", bad_memory = "killed for memory", bad_memory_caught = "killed for %a+: ",
  bad_network = "refused: .*connect '127.0.0.1:80'", bad_open = "refused: .*open '/etc/passwd'", bad_output = "killed for a limit: .*output",
  bad_pattern = "killed for time: ", bad_pcall_loop = "killed for time: ", bad_popen = "refused: .*popen 'id'",
  bad_recursion = "killed for memory", bad_require = "refused: .*loadlib", bad_server = "refused: .*bind '0.0.0.0:0'",
  bad_signal = "refused: .*kill", bad_string = "killed for memory", bad_subprocess = "refused: .*spawn 'id'",
  bad_tasks = "killed for a limit: .*tasks", bad_thread_output = "killed for a limit: .*output", bad_timers = "killed for a limit: .*handles",
  bad_write = "refused: .*open '/tmp/plugin%-was%-here'",
  good_curious = "ok: not allowed; tried to read /etc/passwd %(refusals: 2%)$", good_tasks = "ok: 1%+4%+9$", good_words = "ok: 9 words$",
}

local folder = "scripts/hosts/plugins/"

--- Runs those that the table names, each of which must have its verdict.
local function judge(expected, deadline)
  local files, bad = {}, 0
  for name in pairs(expected) do
    files[#files + 1] = folder .. name .. ".lua"
    if name:find "^bad" then bad = bad + 1 end
  end
  local status, out, err = helper.sh(("%s -d %d -s %d %s"):format(host.build "plugins", deadline * helper.slow, 60 * helper.slow,
    table.concat(files, " ")))
  assert.same({ 0, "" }, { status, err })
  local seen = 0
  for name, memory, ms, output, verdict in out:gmatch "([%w_]+)%.lua +(%d+) KB +(%d+) ms +(%d+) B  ([^\n]+)" do
    seen = seen + 1
    assert(verdict:find("^" .. expected[name]), name .. ": " .. verdict)
    assert(tonumber(memory) <= 4096 and tonumber(output) <= 16384 and ms, out)
  end
  assert.equal(#files, seen)
  assert.truthy(out:find(("\n%d did not end well\n$"):format(bad)), out)
end

describe("scripts/hosts/plugins", function()
  it("says of each plug-in what it did, and none of them harms", function()
    judge(verdicts, 30000)
    judge(late, 100)
    assert.is_nil(io.open "/tmp/plugin-was-here")
    local names = assert(io.popen("ls " .. folder))
    for name in names:lines() do
      name = name:match "^(.*)%.lua$"
      assert(verdicts[name] or late[name], tostring(name) .. " is not known to this spec")
    end
    names:close()
  end)

  it("runs the scripts of a folder by their names", function()
    local dir = helper.tmpdir()
    for name, text in pairs { ["b.lua"] = "return 'second'", ["a.lua"] = "return 'first'", ["c.txt"] = "error 'third'" } do
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write(text)
    end
    local status, out, err = helper.sh(("%s -d 30000 %s"):format(host.build "plugins", dir))
    assert.same({ 0, "" }, { status, err })
    assert.truthy(out:find "^a%.lua .* ok: first\nb%.lua .* ok: second\n0 did not end well\n$", out)
  end)

  it("shows what they print, runs single files, has limits of one's own", function()
    local program = host.build "plugins"
    local _, status, out, err
    status, out, err = helper.sh(program .. " -v scripts/hosts/plugins/good_tasks.lua")
    assert.same({ 0, "" }, { status, err })
    assert.truthy(out:find("^squares\t1 4 9\ngood_tasks.lua +%d+ KB +%d+ ms +14 B  ok: 1%+4%+9\n0 did not end well\n$"), out)
    local script = helper.tmpfile("return #('x'):rep(1000000)", ".lua")
    _, out = helper.sh(program .. " -s 1000 -m 500 " .. script)
    assert.truthy(out:find("killed for memory", 1, true), out)
    _, out = helper.sh(program .. " -s 1000 -m 5000 " .. script)
    assert.truthy(out:find("  ok\n", 1, true), out)
  end)

  it("says what is wrong with its options and its folder", function()
    local program = host.build "plugins"
    assert.same({ 2, "", "usage: plugins [-v] [-m KB] [-s SLICE_MS] [-d DEADLINE_MS] [FOLDER or FILE...]\n" },
      { helper.sh(program .. " -m 0") })
    local status, out, err = helper.sh(program .. " /no/where")
    assert.same({ 1, "0 did not end well\n", "plugins: /no/where: No such file or directory\n" }, { status, out, err })
  end)
end)
