local helper = require "spec.helper"

local function slurp(path)
  local f = io.open(path, "rb")
  if not f then return "" end
  local text = f:read("a")
  f:close()
  return text
end

-- Waits until the file has that text in it.
local function wait_for(path, text)
  for _ = 1, 6000 * helper.slow do
    if slurp(path):find(text, 1, true) then return end
    os.execute("sleep 0.01")
  end
  error(("'%s' did not come; there is:\n%s"):format(text, slurp(path)), 2)
end

describe("scripts: follow_log.lua", function()
  it("prints the last lines and what comes, through rotation and truncation", function()
    local dir = helper.tmpdir()
    local out, log = dir .. "/out", dir .. "/app.log"
    local function sh(command) assert(os.execute(("cd %s && %s"):format(dir, command))) end
    sh "seq 1 20 >app.log"
    local _, err = helper.background(("%s scripts/follow_log.lua %s 3 >%s"):format(helper.moonloop, log, out))
    wait_for(out, "18\n19\n20\n")
    sh "printf 'one\\ntw' >>app.log"
    wait_for(out, "one\ntw")
    sh "printf 'o\\n' >>app.log"
    wait_for(out, "two\n")
    sh "echo last >>app.log; mv app.log app.log.1; echo first of new >app.log"
    wait_for(out, "first of new\n")
    sh "echo second >>app.log"
    wait_for(out, "second\n")
    sh "cp app.log app.log.2; : >app.log"
    wait_for(err, "file truncated")
    sh "echo third >>app.log"
    wait_for(out, "third\n")
    sh "rm app.log"
    wait_for(err, "has become inaccessible")
    sh "echo noise >other.log; echo again >app.log"
    wait_for(out, "again\n")
    assert.equal("18\n19\n20\none\ntwo\nlast\nfirst of new\nsecond\nthird\nagain\n", slurp(out))
    assert.truthy(slurp(err):find("has been replaced", 1, true))
  end)

  it("waits for a log that is not there yet", function()
    local dir = helper.tmpdir()
    local _, out = helper.background(("%s scripts/follow_log.lua %s/new.log"):format(helper.moonloop, dir))
    wait_for(out, "cannot be opened yet")
    os.execute("echo hello >" .. dir .. "/new.log")
    wait_for(out, "hello\n")
  end)

  it("says how it is used", function()
    local status, _, err = helper.cli("scripts/follow_log.lua")
    assert.same({ 2, "usage: follow_log.lua FILE [LINES]\n" }, { status, err })
  end)
end)
