---@meta time

-- Module time. Written by tools/definitions.lua.

---@class time.Struct
---@field tm_year integer
---@field tm_mon integer
---@field tm_mday integer
---@field tm_hour integer
---@field tm_min integer
---@field tm_sec integer
---@field tm_wday integer
---@field tm_yday integer
---@field tm_isdst integer

---@class time
local time = {}

--- Seconds (nanoseconds) since 1970.
---@return number
function time.time() end

--- Seconds (nanoseconds) since 1970.
---@return integer
function time.time_ns() end

--- A clock that only goes forward.
---@return number
function time.monotonic() end

--- A clock that only goes forward.
---@return integer
function time.monotonic_ns() end

--- A clock that only goes forward.
---@return number
function time.perf_counter() end

--- A clock that only goes forward.
---@return integer
function time.perf_counter_ns() end

--- CPU time.
---@return number
function time.process_time() end

--- CPU time.
---@return integer
function time.process_time_ns() end

--- CPU time.
---@return number
function time.thread_time() end

--- Blocks the whole thread. Tasks want `asyncio.sleep`.
---@param seconds number
function time.sleep(seconds) end

--- A table with `tm_year`, `tm_mon`, ... of a time, now unless given.
---@param seconds? number
---@return time.Struct
function time.localtime(seconds) end

--- A table with `tm_year`, `tm_mon`, ... of a time, now unless given.
---@param seconds? number
---@return time.Struct
function time.gmtime(seconds) end

--- Back to seconds.
---@param t time.Struct
---@return number
function time.mktime(t) end

--- As text.
---@param format string
---@param t? time.Struct
---@return string
function time.strftime(format, t) end

--- As text.
---@param t? time.Struct
---@return string
function time.asctime(t) end

--- As text.
---@param seconds? number
---@return string
function time.ctime(seconds) end

return time
