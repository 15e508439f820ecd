--- fs.watch: what happens to files, told once. Behind it is an inotify descriptor (fs.core's Watcher).
---
--- The kernel's events are collected until there were none for a moment (`debounce`), and then it is the difference
--- that counts: what is there now and was not, what is gone, what was written to or replaced, what has a new name. So
--- the dances of editors (write a temporary file, rename it over the old one; rename the old one away, write a new one)
--- come out as "modified".
---
--- For that the names of what is there are kept: `known` maps a path to true, or to "dir".

local core = require "asyncio.core"
local fs = require "fs.core"
local misuse = require "asyncio.misuse"
local paths = require "fs.path"

local await = core.await
local bits = fs.inotify

-- How many times `debounce` a round may last.
local LONGEST = 10

local M = {}

---@class Watch
---@field path string
local Watch = {}
Watch.__index = Watch
Watch.__name = "Watch"

-- ---- what is there ----

-- Takes what `add` has found: watches by number, entries by path.
local function learn(self, watches, entries, told)
  for i = 1, #watches, 2 do
    local number, folder = watches[i], watches[i + 1]
    local old = self.folders[number]
    if old and old ~= folder then self.numbers[old] = nil end -- it was moved before it was looked at
    self.folders[number], self.numbers[folder] = folder, number
  end
  for i = 1, #entries, 2 do
    local name, kind = entries[i], entries[i + 1] and "dir" or true
    if told then told(name, kind == "dir") end
    if not told then self.known[name] = kind end
  end
end

local function below(folder, name)
  return name:sub(1, #folder + 1) == folder .. "/"
end

-- A folder has left the tree: nothing below it is watched or known.
local function forget(self, folder)
  for name, number in pairs(self.numbers) do
    if name == folder or below(folder, name) then
      self.watcher:remove(number)
      self.numbers[name], self.folders[number] = nil, nil
    end
  end
  for name in pairs(self.known) do
    if below(folder, name) then self.known[name] = nil end
  end
end

-- A folder has a new name, and so has all that is in it.
local function rename_below(self, from, to)
  for _, map in ipairs { self.numbers, self.known, self.records } do
    local moved = {}
    for name, value in pairs(map) do
      if below(from, name) or name == from and map == self.numbers then moved[name] = value end
    end
    for name, value in pairs(moved) do
      local new = to .. name:sub(#from + 1)
      map[name], map[new] = nil, value
      if map == self.numbers then self.folders[value] = new end
      if map == self.records then value.path = new end
    end
  end
end

-- ---- one round of events ----

-- What has happened to a path in this round; made when it is first touched.
local function record(self, name, is_dir)
  local r = self.records[name]
  if not r then
    local was = self.known[name]
    r = { path = name, was = was ~= nil, now = was ~= nil, is_dir = is_dir or was == "dir" }
    self.records[name] = r
    self.order[#self.order + 1] = r
  end
  return r
end

local function appear(self, name, is_dir)
  local r = record(self, name, is_dir)
  if r.now and not r.gone then return r end
  r.now, r.is_dir, r.modified, r.origin = true, is_dir, true, nil
  return r
end

local function vanish(self, name, is_dir)
  local r = record(self, name, is_dir)
  r.now, r.gone, r.origin = false, true, nil
  return r
end

-- A folder that has just come, and what is in it already.
local function enter(self, folder)
  if not self.recursive then return end
  local ok, watches, entries = pcall(await, self.watcher:add(folder, true))
  if ok then
    learn(self, watches, entries, function(name, is_dir) appear(self, name, is_dir) end)
  elseif watches.code == "ENOSPC" then
    error(watches, 0)
  end
end

-- Moved away, and nobody knows where to: out of the tree.
local function settle(self, cookie)
  local from = self.moves[cookie]
  self.moves[cookie] = nil
  if from and from.is_dir then forget(self, from.path) end
end

local function arrive(self, name, cookie, is_dir)
  local from = self.moves[cookie]
  self.moves[cookie] = nil
  local r = record(self, name, is_dir)
  r.now, r.gone, r.is_dir, r.origin, r.modified = true, true, is_dir, nil, true
  if not from then return is_dir and enter(self, name) end
  r.origin = from.carried or (from.was and from.path) or nil
  r.content = from.content
  if is_dir then rename_below(self, from.path, name) end
end

local function depart(self, name, cookie, is_dir)
  local r = record(self, name, is_dir)
  self.moves[cookie] = {
    path = name, is_dir = is_dir, was = r.was and not r.gone, carried = r.origin, content = r.modified and not r.origin,
  }
  vanish(self, name, is_dir)
end

local function note(self, folder, mask, cookie, entry)
  local name = entry == "" and folder or paths.join(folder, entry)
  local is_dir = mask & bits.ISDIR ~= 0
  if self.only and name ~= self.only then
    -- another file of the folder is of interest when it becomes the one that is watched
    if mask & (bits.CREATE | bits.MOVED_FROM | bits.MOVED_TO) == 0 then return end
  end
  if mask & bits.CREATE ~= 0 then
    appear(self, name, is_dir)
    if is_dir then enter(self, name) end
  elseif mask & (bits.MODIFY | bits.CLOSE_WRITE) ~= 0 then
    record(self, name, is_dir).modified = true
  elseif mask & bits.DELETE ~= 0 then
    vanish(self, name, is_dir)
    if is_dir then forget(self, name) end
  elseif mask & bits.MOVED_FROM ~= 0 then
    depart(self, name, cookie, is_dir)
  elseif mask & bits.MOVED_TO ~= 0 then
    arrive(self, name, cookie, is_dir)
  end
end

local function push(self, event)
  self.queue[#self.queue + 1] = event
end

-- Events were lost: what is there is looked up again.
local function rescan(self)
  local watches, entries = await(self.watcher:add(self.root, self.recursive))
  self.known, self.records, self.order, self.moves = {}, {}, {}, {}
  learn(self, watches, entries)
  push(self, { type = "overflow", path = self.path, is_dir = not self.only })
end

-- Goes through self.events. A cancel in the middle loses none: the one that was being looked at is looked at again.
local function take(self)
  local events = self.events
  while self.at <= #events do
    local i = self.at
    local number, mask = events[i], events[i + 1]
    local folder = self.folders[number]
    if mask & bits.OVERFLOW ~= 0 then
      rescan(self)
    elseif folder and mask & bits.IGNORED ~= 0 then
      self.folders[number] = nil
      if self.numbers[folder] == number then self.numbers[folder] = nil end
      if folder == self.root then self.ended = true end
    elseif folder == self.root and mask & (bits.DELETE_SELF | bits.MOVE_SELF | bits.UNMOUNT) ~= 0 then
      self.ended = true
    elseif folder and mask & (bits.DELETE_SELF | bits.MOVE_SELF) == 0 then
      note(self, folder, mask, events[i + 2], events[i + 3])
    end
    self.at = i + 4
  end
  self.events, self.at = {}, 1
end

-- ---- what is told ----

local function tell(self, kind, r, old)
  if self.only and r.path ~= self.only and old ~= self.only then return end
  push(self, { type = kind, path = self:_shown(r.path), old_path = old and self:_shown(old), is_dir = r.is_dir })
end

local function left(self, origin)
  local r = self.records[origin]
  return not r or not r.now
end

-- The difference between before and now, in the order in which paths were first touched.
local function flush(self)
  local moved = {}
  for cookie in pairs(self.moves) do settle(self, cookie) end
  for _, r in ipairs(self.order) do
    if r.now and r.origin and r.origin ~= r.path and left(self, r.origin) then moved[r.origin] = r end
  end
  for _, r in ipairs(self.order) do
    if r.now and moved[r.origin or 0] == r then
      tell(self, "moved", r, r.origin)
    elseif r.now and not r.was then
      tell(self, "created", r)
    elseif r.now and r.modified and not (r.is_dir and not r.gone) and r.origin ~= r.path then
      tell(self, "modified", r)
    elseif r.was and not r.now and not moved[r.path] then
      tell(self, "deleted", r)
    end
  end
  for _, r in ipairs(self.order) do
    self.known[r.path] = r.now and (r.is_dir and "dir" or true) or nil
  end
  self.records, self.order = {}, {}
end

-- A path as the caller would write it.
function Watch:_shown(name)
  if self.only then return self.path end
  return name
end

-- Waits for one round. False at the end.
local function round(self)
  local watcher = self.watcher
  take(self) -- what a cancel has left
  local events = await(watcher:read(#self.order > 0 and self.debounce or nil))
  local loop = core.get_event_loop()
  local deadline = loop:time() + LONGEST * self.debounce -- where something happens all the time
  while events do
    self.events = events
    take(self)
    if self.ended or loop:time() > deadline and not next(self.moves) then break end
    events = await(watcher:read(self.debounce))
  end
  if events == nil then return false end
  flush(self)
  if self.ended then
    if not self.only or self.known[self.only] then
      push(self, { type = "deleted", path = self.path, is_dir = not self.only })
    end
    self:close()
  end
  return true
end

--- The next event, or nil at the end. Awaits by itself.
function Watch:__call()
  while not self.queue[self.first] do
    self.queue, self.first = {}, 1
    if self.closed or not round(self) then return nil end
  end
  local event = self.queue[self.first]
  self.queue[self.first] = nil
  self.first = self.first + 1
  return event
end

--- Ends it: a task that waits for its events gets nil. The second time nothing happens.
function Watch:close()
  self.closed = true
  self.watcher:close()
end

Watch.__close = Watch.close

function Watch:__tostring()
  return ("<Watch '%s'%s>"):format(self.path, self.closed and " closed" or "")
end

-- ---- beginning ----

local options = { "recursive", "debounce" }

local function check_debounce(value)
  if value == nil then return 0.05 end
  if type(value) ~= "number" or not (value >= 0 and value < 1e6) then
    misuse.raise(core.ValueError, "fs.watch: debounce must be a number of seconds, got " .. tostring(value), 3)
  end
  return value
end

--- Watches a folder (or, recursive, all that is in it) or a file: `for event in fs.watch(path) do`. Awaits by itself;
--- when it returns it is watching. An event has `type` ("created", "modified", "deleted", "moved", "overflow"), `path`,
--- `is_dir`, and `old_path` of what was moved.
---@param name string
---@param opts? table {recursive = false, debounce = 0.05: how long nothing must happen before it is told}
---@return Watch, nil, nil, Watch
function M.watch(name, opts)
  paths.check(name, "fs.watch")
  core.options(opts, options, "fs.watch")
  opts = opts or {}
  local debounce = check_debounce(opts.debounce)
  local trimmed = #name > 1 and name:gsub("/+$", "") or name
  if trimmed == "" then trimmed = "/" end
  local is_file = not await(fs.stat(name)).is_dir
  local self = setmetatable({
    path = trimmed, debounce = debounce, recursive = opts.recursive and not is_file or false,
    root = trimmed, watcher = fs.watcher(), folders = {}, numbers = {}, known = {}, records = {}, order = {},
    moves = {}, events = {}, at = 1, queue = {}, first = 1, ended = false, closed = false,
  }, Watch)
  if is_file then
    self.root = paths.dirname(trimmed)
    if self.root == "" then self.root = "." end
    self.only = paths.join(self.root, paths.basename(trimmed))
  end
  local begun = false
  local _guard <close> = setmetatable({}, { __close = function() if not begun then self:close() end end })
  learn(self, await(self.watcher:add(self.root, self.recursive)))
  begun = true
  return self, nil, nil, self
end

return M
