---@meta reload

-- Module reload. Written by tools/definitions.lua.

---@class reload.WatchOptions
---@field on_reload? fun(name: string, module: any)
---@field on_error? fun(name: string?, err: any)
---@field debounce? number seconds

---@class reload
local reload = {}

--- Runs the module's new code and puts it in the place of the old one; gives the module. `name` is what `require` was
--- given. It raises what the new code raises, or its `on_reload`: then the module is as it was, and so are global
--- variables. ValueError: the module is not loaded, or no module of Lua's. In a task the new code and `on_reload` may
--- await.
---@param name string
---@return any
function reload.module(name) end

--- A table of the modules that can be reloaded: name to file, or false where there is none.
---@return table<string, string|false>
function reload.modules() end

--- Reloads modules whose files in the folder or below are written to, until its `close()` (it has `<close>`). When it
--- returns it is watching; it awaits by itself. `opts`: `on_reload(name, module)`, `on_error(name, err)` (nil: the
--- loop's exception handler is told), `debounce` as of fs.watch, whose errors it raises.
---@async
---@param folder string
---@param opts? reload.WatchOptions
---@return fs.Watch
function reload.watch(folder, opts) end

return reload
