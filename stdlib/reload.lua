--- Hot reload: new code for modules that are in use, while tasks go on. The work is done by the engine (reload.c); this
--- adds a watch on the files.

local core = require "asyncio.core"
local misuse = require "asyncio.misuse"

local M = {}

--- Runs the module's new code and puts it in the place of the old one; the module stays the same table. Raises what the
--- new code raises, or what its `on_reload` does: then the module is as it was. ValueError: it is not loaded, or no
--- module of Lua's.
---@param name string as given to require
---@return any module
function M.module(name)
  if type(name) ~= "string" then
    misuse.raise(core.TypeError, "reload.module: a module's name was expected, got " .. misuse.describe(name))
  end
  return core.reload(name)
end

--- The modules that can be reloaded, and the files they come from (false: none).
---@return table<string, string|false>
function M.modules() return core.modules() end

---@class ReloadWatch
---@field path string the folder
---@field private events any
---@field private task any
local Watch = {}
Watch.__index = Watch
Watch.__name = "ReloadWatch"

--- Ends it. The second time nothing happens.
function Watch:close()
  self.events:close()
  self.task:cancel()
end
Watch.__close = Watch.close

-- The modules by the real paths of their files.
local function by_file(fs)
  local names = {}
  for name, file in pairs(core.modules()) do
    local real = file and select(2, core.catch(function() return core.await(fs.realpath(file)) end))
    if type(real) == "string" then names[real] = name end
  end
  return names
end

-- A file that has been written: reloads its module, if it has one.
local function renew(fs, path, opts)
  local ok, real = pcall(function() return core.await(fs.realpath(path)) end)
  local name = ok and by_file(fs)[real]
  if not name then return end
  local done, result = pcall(core.reload, name)
  if done then
    if opts.on_reload then opts.on_reload(name, result) end
  elseif opts.on_error then
    opts.on_error(name, result)
  else
    local loop = core.get_running_loop()
    loop:call_exception_handler { message = ("module '%s' was not reloaded"):format(name), exception = result }
  end
end

local keys = { on_reload = "function", on_error = "function", debounce = "number" }

local function check(path, opts)
  if type(path) ~= "string" then
    misuse.raise(core.TypeError, "reload.watch: a folder was expected, got " .. misuse.describe(path), 3)
  end
  if type(opts) ~= "table" then
    misuse.raise(core.TypeError, "reload.watch: options are a table, got " .. misuse.describe(opts), 3)
  end
  for key, value in pairs(opts) do
    if not keys[key] then
      misuse.raise(core.TypeError, ("reload.watch: unknown option '%s'"):format(tostring(key)), 3)
    elseif type(value) ~= keys[key] then
      local message = ("reload.watch: %s must be a %s, got %s"):format(key, keys[key], misuse.describe(value))
      misuse.raise(core.TypeError, message, 3)
    end
  end
end

--- Reloads modules whose files below a folder are written to, until it is closed. When it returns it is watching (it
--- awaits by itself). Raises what `fs.watch` does.
---@param path string a folder
---@param opts? {on_reload: fun(name: string, module: any)?, on_error: fun(name: string, err: any)?, debounce: number?}
--- on_error: nil: the loop's exception handler is told. debounce: as of fs.watch.
---@return ReloadWatch
function M.watch(path, opts)
  opts = opts or {}
  check(path, opts)
  local fs = require "fs"
  local events = fs.watch(path, { recursive = true, debounce = opts.debounce })
  local watch = setmetatable({ path = path, events = events }, Watch)
  watch.task = core.create_task(function()
    for event in events do
      if event.type ~= "deleted" and not event.is_dir and event.path then renew(fs, event.path, opts) end
    end
  end, { name = "reload.watch" })
  return watch
end

return M
