--- Hunts for random programs whose traces differ between moonloop and CPython's asyncio.
---   build/moonloop spec/oracle/hunt.lua [--seed N] [--count N] [--size N] [--keep N]
---   build/moonloop spec/oracle/hunt.lua --show FILE     a program (JSON) side by side, with both traces
---   build/moonloop spec/oracle/hunt.lua --shrink FILE   the same, made as small as it can be
---   build/moonloop spec/oracle/hunt.lua --record N [--seed N] > FILE    N programs and CPython's traces
--- PYTHON names the interpreter (3.13 or later). A program that differs is shrunk and shown. Status 1 if any did.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path

local notation = require "notation"
local generate = require "generate"
local shrink = require "shrink"
local show = require "show"

local python = os.getenv("PYTHON") or "python3"
local moonloop = os.getenv("MOONLOOP") or "build/moonloop"
local seconds = 30

local function quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

local function write(path, text)
  local f <close> = assert(io.open(path, "wb"))
  f:write(text)
end

--- Traces of a list of programs: one text for each, in their order. What an interpreter that dies in the middle has
--- left is a trace that says so; it goes on with the next program.
local function run(command, programs)
  local traces, from, deaths = {}, 1, 0
  local input, output, errors = os.tmpname(), os.tmpname(), os.tmpname()
  while from <= #programs do
    local lines = {}
    for i = from, #programs do
      lines[#lines + 1] = notation.encode { id = i, objects = programs[i].objects, functions = programs[i].functions }
    end
    write(input, table.concat(lines, "\n") .. "\n")
    local _, _, status = os.execute(("timeout %d %s <%s >%s 2>%s"):format(seconds, command, input, output, errors))
    local text = io.open(output, "rb"):read("a")
    for id, trace in text:gmatch("# (%d+)\n(.-)\n?%.\n") do
      traces[math.tointeger(tonumber(id))] = trace
    end
    local ended = from
    while ended <= #programs and traces[ended] do ended = ended + 1 end
    if ended <= #programs then
      deaths = deaths + 1
      if deaths > 20 then error("it keeps dying: " .. command .. "\n" .. io.open(errors, "rb"):read("a"), 0) end
      traces[ended] = ("ended with status %s\n%s"):format(status, io.open(errors, "rb"):read("a"):sub(1, 2000))
      ended = ended + 1
    end
    from = ended
  end
  os.remove(input)
  os.remove(output)
  os.remove(errors)
  return traces
end

local function on_python(programs) return run(quote(python) .. " " .. quote(here .. "/interpret.py"), programs) end

local function on_moonloop(programs)
  return run(quote(moonloop) .. " " .. quote(here .. "/interpret.lua"), programs)
end

--- Which of the programs differ: their indices, and both lists of traces.
local function compare(programs)
  local theirs, ours = on_python(programs), on_moonloop(programs)
  local bad = {}
  for i = 1, #programs do
    if theirs[i] ~= ours[i] then bad[#bad + 1] = i end
  end
  return bad, theirs, ours
end

--- Shrinks and prints.
local function present(program)
  local small = shrink(program, function(candidates) return (compare(candidates)) end)
  local _, theirs, ours = compare { small }
  print(("---- seed %s\n%s\n"):format(program.id, notation.encode(small)))
  print(show(small, theirs[1], ours[1]))
  io.stdout:flush()
end

local function read_program(path)
  return notation.decode(assert(io.open(path, "rb")):read("a"))
end

-- ---- the corpus

--- What a program has to show for itself: its operations, which stands in which, which meet in one program.
local function features(program)
  local set, seen = {}, {}
  local function visit(node, outer)
    local name = type(node[1]) == "string" and node[1] or nil
    if name then
      seen[name] = true
      set[outer .. ">" .. name] = true
    end
    for _, inner in ipairs(node) do
      if type(inner) == "table" then visit(inner, name or outer) end
    end
  end
  for _, f in ipairs(program.functions) do visit(f, "") end
  for a in pairs(seen) do
    for b in pairs(seen) do
      if a <= b then set[a .. "&" .. b] = true end
    end
  end
  return set
end

--- Prints `count` programs with their traces, from `seed` on: those that show much that the ones before do not.
local function record(count, seed)
  local known, given = {}, 0
  while given < count do
    local programs = {}
    for k = 1, 200 do programs[k] = generate.program(seed + k - 1) end
    seed = seed + 200
    local traces = on_python(programs)
    for k, program in ipairs(programs) do
      local lines, new = {}, 0
      for line in traces[k]:gmatch("[^\n]+") do lines[#lines + 1] = line end
      for feature in pairs(features(program)) do
        if not known[feature] then new = new + 1 end
      end
      if given < count and #lines < 50 and (new > 7 or k == 200) then
        for feature in pairs(features(program)) do known[feature] = true end
        given = given + 1
        program.trace = lines
        print(notation.encode(program))
      end
    end
  end
end

local options = { seed = 1, count = 1000, keep = 5 }
local i = 1
while arg[i] do
  local name = arg[i]:match("^%-%-(%a+)$")
  if name == "show" then
    local program = read_program(arg[i + 1])
    local _, theirs, ours = compare { program }
    print(show(program, theirs[1], ours[1]))
    os.exit(theirs[1] == ours[1] and 0 or 1)
  elseif name == "shrink" then
    present(read_program(arg[i + 1]))
    os.exit(1)
  elseif name and tonumber(arg[i + 1]) then
    options[name] = math.tointeger(tonumber(arg[i + 1]))
  else
    io.stderr:write("hunt.lua: unknown option '", arg[i], "'\n")
    os.exit(2)
  end
  i = i + 2
end

if options.record then
  record(options.record, options.seed)
  os.exit(0)
end

local found, done = 0, 0
while done < options.count do
  local programs = {}
  for k = 1, math.min(500, options.count - done) do
    programs[k] = generate.program(options.seed + done + k - 1, options.size)
  end
  local bad = compare(programs)
  for _, k in ipairs(bad) do
    found = found + 1
    if found <= options.keep then present(programs[k]) else print("---- seed " .. programs[k].id) end
  end
  done = done + #programs
end
print(("%d programs, %d differ"):format(done, found))
if found > 0 then os.exit(1) end
