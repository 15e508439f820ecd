--- What asyncio.process.spawn is asked for: the options of subprocesses, checked. For asyncio.subprocess and
--- asyncio.subprocess_protocols.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"
local process = require "asyncio.process"

local describe = misuse.describe

local M = {}

--- What stdin, stdout and stderr may be beside descriptors and files, as in Python.
M.PIPE, M.STDOUT, M.DEVNULL = -1, -2, -3
local PIPE, STDOUT, DEVNULL = M.PIPE, M.STDOUT, M.DEVNULL

M.options = {
  "stdin", "stdout", "stderr", "env", "add_env", "cwd", "executable", "pipes", "pass_fds", "close_fds", "pty",
  "start_new_session", "process_group", "user", "group", "extra_groups", "umask", "kill_on_close",
}

local MAX_FD = 4095

--- Raises with the position of whoever called the public function, which has called M.request.
local function complain(class, fname, fmt, ...)
  local level = 1
  repeat
    level = level + 1
    local info = debug.getinfo(level, "f")
  until not info or info.func == M.request
  misuse.raise(class, fname .. "(): " .. fmt:format(...), level + 2)
end

-- ---- program, environment ----

local function check_text(value, what, fname)
  if math.type(value) then value = tostring(value) end
  if type(value) ~= "string" then
    complain(core.TypeError, fname, "%s must be a string, got %s", what, describe(value))
  end
  if value:find("\0", 1, true) then complain(core.ValueError, fname, "%s has a zero byte in it", what) end
  return value
end

local function check_entry(list, key, value, what, fname)
  key = check_text(key, "a name in " .. what, fname)
  if key == "" or key:find("=", 1, true) then
    complain(core.ValueError, fname, "%s: '%s' is no name of an environment variable", what, key)
  end
  list[#list + 1] = key .. "=" .. check_text(value, ("%s.%s"):format(what, key), fname)
end

local function check_table(value, what, fname)
  if type(value) ~= "table" then
    complain(core.TypeError, fname, "%s must be a table, got %s", what, describe(value))
  end
  return value
end

--- An array of "NAME=value", or nil: as it is here.
local function environment(opts, fname)
  local list, add = {}, opts.add_env
  if opts.env == nil and add == nil then return nil end
  if opts.env ~= nil then
    for key, value in pairs(check_table(opts.env, "env", fname)) do check_entry(list, key, value, "env", fname) end
  else
    list = process.environ()
  end
  if add == nil then return list end
  local all = {}
  for key, value in pairs(check_table(add, "add_env", fname)) do
    if value then check_entry(all, key, value, "add_env", fname) end
  end
  for _, entry in ipairs(list) do
    if add[entry:match("^[^=]*")] == nil then all[#all + 1] = entry end
  end
  return all
end

--- Where the program may be.
local function search(program, env)
  if program == "" or program:find("/", 1, true) then return { program } end
  local path
  if not env then
    local ok, known = pcall(os.getenv, "PATH") -- a sandbox may refuse
    path = ok and known or nil
  end
  for i = 1, env and #env or 0 do path = env[i]:match("^PATH=(.*)") or path end
  local paths = {}
  for dir in ((path or "/bin:/usr/bin") .. ":"):gmatch("([^:]*):") do
    paths[#paths + 1] = dir == "" and program or dir .. "/" .. program
  end
  return paths
end

-- ---- descriptors ----

local function check_number(fd, what, fname)
  if fd < 0 or fd > 2147483647 then
    complain(core.ValueError, fname, "%s: %s is no file descriptor", what, fd)
  end
  return fd
end

--- A descriptor, an open file, or what has a method fileno.
local function check_fd(value, what, fname)
  if math.type(value) == "integer" then return check_number(value, what, fname) end
  local kind = io.type(value)
  if kind == "closed file" then complain(core.ValueError, fname, "%s: the file is closed", what) end
  if kind then return value end
  local has = type(value) == "table" or type(value) == "userdata"
  local ok, fileno = pcall(function() return has and value.fileno end)
  if ok and type(fileno) == "function" then
    local fd = fileno(value)
    if math.type(fd) == "integer" then return check_number(fd, what .. ": fileno()", fname) end
    complain(core.TypeError, fname, "%s: fileno() must give an integer, got %s", what, describe(fd))
  end
  complain(core.TypeError, fname,
    "%s must be PIPE, DEVNULL, a file descriptor, a file or an object with fileno(), got %s", what, describe(value))
end

--- How one of the three is to be made, for spawn.
local function standard(value, what, pipe, default, fname)
  if value == nil then return default end
  if value == PIPE then return pipe end
  if value == DEVNULL then return "null" end
  if value == STDOUT then
    if what == "stderr" then return "stdout" end
    complain(core.ValueError, fname, "STDOUT can only be used for stderr")
  end
  return check_fd(value, what, fname)
end

local directions = { r = true, w = true, rw = true }

--- Sorted array of {descriptor, how}.
local function descriptors(opts, input, fname)
  local default = opts.pty and "tty" or "inherit"
  local stdin = opts.stdin
  local list = {
    { 0, input and "w" or standard(stdin, "stdin", "w", default, fname) },
    { 1, standard(opts.stdout, "stdout", "r", default, fname) },
    { 2, standard(opts.stderr, "stderr", "r", default, fname) },
  }
  local seen = {}
  local function add(fd, how, what)
    if math.type(fd) ~= "integer" then
      complain(core.TypeError, fname, "%s: a file descriptor (an integer) was expected, got %s", what, describe(fd))
    end
    if fd < 3 or fd > MAX_FD then
      complain(core.ValueError, fname, "%s: descriptor %d is not between 3 and %d", what, fd, MAX_FD)
    end
    if seen[fd] then complain(core.ValueError, fname, "%s: descriptor %d is given twice", what, fd) end
    seen[fd] = true
    list[#list + 1] = { fd, how }
  end
  for _, fd in ipairs(check_table(opts.pass_fds or {}, "pass_fds", fname)) do add(fd, fd, "pass_fds") end
  for fd, value in pairs(check_table(opts.pipes or {}, "pipes", fname)) do
    local what = ("pipes[%s]"):format(tostring(fd))
    if type(value) == "string" and not directions[value] then
      complain(core.ValueError, fname, '%s must be "r", "w", "rw" or a file, got "%s"', what, value)
    end
    add(fd, directions[value] and value or value == DEVNULL and "null" or check_fd(value, what, fname), what)
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

-- ---- the rest ----

local function check_integer(value, what, low, high, fname)
  if value == nil then return nil end
  if math.type(value) ~= "integer" then
    complain(core.TypeError, fname, "%s must be an integer, got %s", what, describe(value))
  end
  if value < low or value > high then
    complain(core.ValueError, fname, "%s must be between %d and %d, got %d", what, low, high, value)
  end
  return value
end

--- The number of a user or group.
local function identity(kind, value, what, fname)
  if type(value) ~= "string" then return check_integer(value, what, 0, 4294967294, fname) end
  local id = process.id(kind, check_text(value, what, fname))
  if not id then complain(core.ValueError, fname, "%s: there is no %s '%s'", what, kind, value) end
  return id
end

local function identities(list, fname)
  if list == nil then return nil end
  local ids = {}
  for i, value in ipairs(check_table(list, "extra_groups", fname)) do
    ids[i] = identity("group", value, "extra_groups", fname)
  end
  return ids
end

local function check_boolean(opts, name, fname)
  local value = opts[name]
  if value ~= nil and type(value) ~= "boolean" then
    complain(core.TypeError, fname, "%s must be a boolean, got %s", name, describe(value))
  end
  return value
end

--- {rows, cols}, or nil.
local function terminal(pty, fname)
  if not pty then return nil end
  if pty == true then return { 24, 80 } end
  check_table(pty, "pty", fname)
  return M.check_size(pty[1] or pty.rows or 24, pty[2] or pty.cols or 80, function(class, message)
    complain(class, fname, "pty: %s", message)
  end)
end

--- Rows and columns of a terminal as a table.
function M.check_size(rows, cols, fail)
  for _, n in ipairs { rows, cols } do
    if math.type(n) ~= "integer" then fail(core.TypeError, "rows and columns must be integers, got " .. describe(n)) end
    if n < 0 or n > 65535 then fail(core.ValueError, "rows and columns must be between 0 and 65535, got " .. n) end
  end
  return { rows, cols }
end

--- What is inherited may be behind what this program has in its buffers.
local function inherits(fds)
  return fds[2][2] == "inherit" or fds[3][2] == "inherit" or fds[2][2] == 1 or fds[3][2] == 1
end

--- The request for spawn(args[1], ...). `fname` is the public function, which has to call this one directly.
---@param args any[] program and arguments
---@param opts table
---@param known string[] names of options that are allowed beside M.options
---@param fname string
---@return table request
function M.request(args, opts, known, fname)
  for key in pairs(opts) do
    local found = false
    for _, list in ipairs { M.options, known } do
      for i = 1, #list do found = found or list[i] == key end
    end
    if not found then
      complain(core.TypeError, fname, "unexpected keyword argument '%s' (expected: %s, %s)", tostring(key),
        table.concat(known, ", "), table.concat(M.options, ", "))
    end
  end
  local words = {}
  for i = 1, args.n or #args do
    words[i] = check_text(args[i], i == 1 and "program" or ("argument %d"):format(i - 1), fname)
  end
  local program = opts.executable == nil and words[1] or check_text(opts.executable, "executable", fname)
  local env = environment(opts, fname)
  local input = type(opts.stdin) == "string" and opts.stdin or nil
  local fds = descriptors(opts, input, fname)
  local pty = terminal(opts.pty, fname)
  local session = check_boolean(opts, "start_new_session", fname)
  local group = check_integer(opts.process_group, "process_group", 0, 2147483647, fname)
  if group and (pty or session) then
    complain(core.ValueError, fname, "process_group cannot be used with %s: that makes a group",
      pty and "pty" or "start_new_session")
  end
  local keep = opts.kill_on_close
  if keep ~= nil and type(keep) ~= "boolean" and keep ~= "group" then
    complain(core.TypeError, fname, 'kill_on_close must be a boolean or "group", got %s', describe(keep))
  end
  if keep == "group" and not (pty or session or group == 0) then
    complain(core.ValueError, fname,
      'kill_on_close = "group" needs a group of its own: start_new_session, process_group = 0 or pty')
  end
  return {
    program = program, paths = search(program, env), args = words, env = env, input = input, fds = fds, pty = pty,
    cwd = opts.cwd ~= nil and check_text(opts.cwd, "cwd", fname) or nil,
    session = session or pty ~= nil, group = group,
    umask = check_integer(opts.umask, "umask", 0, 511, fname),
    uid = identity("user", opts.user, "user", fname), gid = identity("group", opts.group, "group", fname),
    groups = identities(opts.extra_groups, fname),
    close_fds = check_boolean(opts, "close_fds", fname) ~= false,
    kill = keep ~= false, kill_group = keep == "group", flush = inherits(fds),
  }
end

return M
