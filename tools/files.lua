--- Files and commands, for the programs of tools/. What fails raises.

local M = {}

---@param path string
---@return string
function M.read(path)
  local f <close> = assert(io.open(path, "rb"))
  return assert(f:read("a"))
end

--- Writes a file; its folders are made if they are not there.
---@param path string
---@param text string
function M.write(path, text)
  local f = io.open(path, "wb")
  if not f then
    assert(os.execute("mkdir -p '" .. (path:match("^(.*)/") or ".") .. "'"))
    f = assert(io.open(path, "wb"))
  end
  local ok, message = f:write(text)
  assert(f:close() and ok, message)
end

--- The lines that a command prints.
---@param command string for the shell
---@return string[]
function M.list(command)
  local p <close> = assert(io.popen(command))
  local lines = {}
  for line in p:lines() do lines[#lines + 1] = line end
  return lines
end

return M
