--- Runs the project's specs: busted inside the engine, as moonloop test does, but the specs make their loops themselves.
---   build/moonloop spec/run.lua [-v] [--filter PATTERN] [FILE or FOLDER...]
--- Prints what failed and closes with 'N passed, N failed'; status 1 if any did.
--- For tools/test.sh: SPEC_TALLY names a file for the counts, SPEC_PROGRESS one
--- that always holds the name of the spec that is running.

local root = arg[0]:match("^(.*)/spec/[^/]*$") or "."
package.path = root .. "/?.lua;" .. package.path

local verbose = os.getenv("SPEC_VERBOSE") == "1"
local filters, roots = {}, {}
do
  local i = 1
  while arg[i] do
    if arg[i] == "-v" then
      verbose = true
    elseif arg[i] == "--filter" and arg[i + 1] then
      i = i + 1
      filters[#filters + 1] = arg[i]
    elseif arg[i]:sub(1, 1) == "-" then
      io.stderr:write("spec/run.lua: unknown option '", arg[i], "'\n")
      os.exit(2)
    else
      roots[#roots + 1] = arg[i]
    end
    i = i + 1
  end
end
if #roots == 0 then roots[1] = root == "." and "spec" or root .. "/spec" end
arg = { [0] = arg[0] } -- luacheck: ignore (busted reads it)

local tally = os.getenv("SPEC_TALLY")
local report = require("asyncio.testing.runner").run {
  roots = roots, filter = filters, verbose = verbose, slow = 2, progress = os.getenv("SPEC_PROGRESS"), quiet = tally ~= nil,
  defaults = { loop = false, cleanup = require("spec.helper").cleanup },
}
if tally then
  local f <close> = assert(io.open(tally, "w"))
  f:write(("%d %d %d\n"):format(report.passed, report.failed, report.skipped))
end
io.flush()
if report.failed > 0 then os.exit(1, true) end
