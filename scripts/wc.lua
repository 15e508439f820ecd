-- Counts lines, words and bytes of files as wc does, many files at a time in threads.
--   moonloop scripts/wc.lua FILE...

local futures = require "concurrent.futures"

--- In a thread: the counts of a file, or nil and what went wrong.
local function count(path)
  local file <close>, err = io.open(path, "rb")
  if not file then return false, err end
  local lines, words, bytes, inside = 0, 0, 0, false
  while true do
    local block, problem = file:read(1 << 16)
    if problem then return false, path .. ": " .. problem end
    if not block then break end
    bytes = bytes + #block
    for _ in block:gmatch("\n") do lines = lines + 1 end
    for _ in block:gmatch("%S+") do words = words + 1 end
    if inside and block:find("^%S") then words = words - 1 end -- a word that two blocks share
    inside = block:find("%S$") ~= nil
  end
  return lines, words, bytes
end

if #arg == 0 then
  io.stderr:write("usage: moonloop scripts/wc.lua FILE...\n")
  os.exit(2)
end

local rows, total, failed = {}, { 0, 0, 0, "total" }, false
do
  local pool <close> = futures.ThreadPoolExecutor()
  local i = 0
  for lines, words, bytes in pool:map(count, arg) do
    i = i + 1
    if not lines then
      io.stderr:write("wc: ", tostring(words), "\n")
      failed = true
    else
      local row = { lines, words, bytes, arg[i] }
      for k = 1, 3 do total[k] = total[k] + row[k] end
      rows[#rows + 1] = row
    end
  end
end
if #arg > 1 then rows[#rows + 1] = total end

-- as wide as the largest number
local width = #tostring(total[3])
for _, row in ipairs(rows) do
  print(("%" .. width .. "d %" .. width .. "d %" .. width .. "d %s"):format(table.unpack(row)))
end
os.exit(not failed, true)
