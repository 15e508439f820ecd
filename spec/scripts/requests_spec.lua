--- The scripts that show something around HTTP requests, each against a real server.

local helper = require "spec.helper"
local processes = require "spec.commands.processes"
local script = require "spec.scripts.script"

local port

--- Runs the script with the server's URL. Seconds become "S".
local function run(name, path, more)
  if not port then port = select(3, processes.start("spec/scripts/answers.lua")) end
  local status, out, err = helper.cli(("scripts/%s.lua http://127.0.0.1:%d%s %s"):format(name, port, path, more or ""))
  assert.same({ 0, "" }, { status, err })
  out = ("\n" .. out):gsub("\n%d+%.%d%d ", "\nS "):sub(2)
  return (out:gsub("(took:? )%d+%.%d+", "%1S"):gsub("(cost: )%d+%.%d+", "%1S"))
end

--- The same, without changing what it prints: what was printed as `pattern`, a number of seconds.
local function seconds(name, path, pattern)
  local status, out = helper.cli(("scripts/%s.lua http://127.0.0.1:%d%s"):format(name, port, path))
  assert.equal(0, status)
  return tonumber(out:match(pattern))
end

local three = "response\tok\nresponse\tok\nresponse\tok\n"

describe("scripts: requests:", function()
  after_each(function() port = nil end)

  it("requests_in_sequence.lua makes one after the other", function()
    assert.equal(three .. "took: S\n", run("requests_in_sequence", "/"))
    assert(seconds("requests_in_sequence", "/", "took: ([%d.]+)") >= 0.3)
  end)

  it("requests_in_tasks.lua makes them at once and sleeps", function()
    assert.equal(three .. "took: S\n", run("requests_in_tasks", "/"))
  end)

  it("requests_with_wait.lua tells what is done and what is pending", function()
    local task = "<Task finished name='Task-N' coro=<run() defined at scripts/requests_with_wait.lua:8> result=nil>\n"
    local out = run("requests_with_wait", "/"):gsub("Task%-%d+", "Task-N")
    assert.equal(three .. task:rep(3) .. "pending\t0\ntook: S\n", (out:gsub("requests_with_wait.lua:%d+", "requests_with_wait.lua:8")))
  end)

  it("requests_with_gather.lua gives results in order", function()
    assert.equal(three .. "0, 1, 2\ntook: S\n", run("requests_with_gather", "/"))
  end)

  it("lock.lua makes them go one by one", function()
    assert.equal(three .. "0, 1, 2\ntook: S\n", run("lock", "/"))
    assert(seconds("lock", "/", "took: ([%d.]+)") >= 0.3)
  end)

  it("event.lua wakes all who wait", function()
    assert.equal([[
response	0.988
S small waiter got its event
S small waiter got its event
response	0.333
S big waiter got its event
S big waiter got its event
response	0.419
took: S
]], run("event", "/random"))
  end)

  it("condition.lua wakes two at a time", function()
    assert.equal([[
response	0.988
S waiter[0] has waited
S waiter[1] has waited
response	0.333
S waiter[2] has waited
response	0.419
took: S
]], run("condition", "/random"))
  end)

  it("semaphore.lua lets two work at the same time", function()
    assert.equal([[
S worker[0] response 0.988
S worker[1] response 0.333
S worker[2] response 0.419
took: S
]], run("semaphore", "/random"))
  end)

  it("nested_coroutines.lua gets results in three ways", function()
    assert.equal("nested: response 1\n" .. "Task ret: \tresponse 1\nTask ret: \tresponse 2\nTask ret: \tresponse 3\n"
      .. "Task ret: \tresponse 1, response 2, response 3\n", (run("nested_coroutines", "/get"):gsub("Task ret: response %d\n", "")))
    local out = run("nested_coroutines", "/get")
    assert.equal("Task ret: response 1\n", out:match("[^\n]*\n$")) -- it answers last
  end)

  it("fetch_pages.lua fetches five through one session", function()
    assert.equal("Fetched 5 pages\n", run("fetch_pages", "/"))
  end)

  it("numbered_requests.lua gets twelve answers in order", function()
    local list = {}
    for a = 0, 11 do list[#list + 1] = ("fetch(%d) = %d\n"):format(a, a) end
    assert.equal(table.concat(list) .. "Use asyncio+http cost: S\n", run("numbered_requests", "/get"))
  end)

  it("thousand_requests.lua gets as many answers as it asks for", function()
    local out = run("thousand_requests", "/", "250")
    local _, n = out:gsub("<ClientResponse%(http://127.0.0.1:%d+/%) %[200 OK%]>\n", "")
    assert.equal(250, n)
    assert.truthy(out:find("\n250 requests took S s\n$"), out:sub(-60))
  end)

  it("load_test.lua posts a picture many times and prints its figures", function()
    local _, _, server = processes.start("scripts/web_server.lua 0")
    local status, out, err = helper.cli(("scripts/load_test.lua http://127.0.0.1:%d/demo1/x"):format(server))
    assert.same({ 0, "" }, { status, err })
    local round = [[
picture: PATH/picture.ppm
clients at once: 50
time in all (s): N
longest (s): N
shortest (s): N
top 90% (s): N
mean (s each): N
clients served (each s): N
payload (MB): 12.88
throughput (MB/s): N
]]
    out = out:gsub("picture: /[^\n]*/", "picture: PATH/"):gsub("(%(.-%)): (%d+%.%d+)", function(unit, number)
      return unit .. ": " .. (number == "12.88" and number or "N")
    end)
    assert.equal("test begin\n" .. round .. round .. "test finish\n", out)
    local picture = helper.tmpfile(("x"):rep(1000), ".jpg")
    status, out = helper.cli(("scripts/load_test.lua http://127.0.0.1:%d/demo1/x %s 3"):format(server, picture))
    assert.equal(0, status)
    assert.truthy(out:find("picture: " .. picture .. "\nclients at once: 3\n", 1, true), out)
    status, _, err = helper.cli(("scripts/load_test.lua http://127.0.0.1:%d/"):format(helper.unused_port()))
    assert.equal(1, status)
    assert.truthy(err:find("ClientConnectorError", 1, true), err)
  end)

  it("processes.lua shows Process, Worker and Pool", function()
    local _, _, server = processes.start("scripts/web_random.lua 0 0.05")
    local status, out, err = helper.cli(("scripts/processes.lua http://127.0.0.1:%d"):format(server))
    assert.same({ 0, "" }, { status, err })
    local put, ok, rest = out:match("^([^\n]*)\n([^\n]*)\n(.*)$")
    assert.same({ "PUT\t200\tvalue", '{"msg":"ok"}' }, { put, ok })
    local i = 0
    for n, answer in rest:gmatch("(%d)\t([^\n]*)\n") do
      i = i + 1
      assert.same({ tostring(i), tostring(i) }, { n, require("json").decode(answer).args.i })
    end
    assert.equal(5, i)
  end)

  --- Presses Ctrl-C while three requests wait for their answers.
  local function cancels(name, after, at_the_end)
    local _, _, server = processes.start("spec/scripts/answers.lua")
    local status, out, err = script.interrupt(name, "3, press Ctrl-C", ("http://127.0.0.1:%d/hang"):format(server))
    local waiting = "waiting for %d, press Ctrl-C\n"
    local cleaned = "cleaned up 1\ncleaned up 2\ncleaned up 3\n"
    assert.equal(waiting:format(1) .. waiting:format(2) .. waiting:format(3) .. after .. cleaned .. at_the_end, out)
    assert.same({ 0, "" }, { status, err })
  end

  it("cancel_all_on_ctrl_c.lua ends requests that are under way", function()
    cancels("cancel_all_on_ctrl_c", "", "all tasks cancelled\n")
  end)

  it("cancel_each_on_ctrl_c.lua ends them one by one", function()
    cancels("cancel_each_on_ctrl_c", ("true\n"):rep(4), "")
  end)
end)
