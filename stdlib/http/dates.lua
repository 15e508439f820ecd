--- Dates as HTTP writes them (RFC 9110, 5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT". Read in all three of its forms.
--- Names of days and months are English whatever the locale is.

local M = {}

local days = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local months = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }
local month_numbers = {}
for i, name in ipairs(months) do month_numbers[name] = i end

--- The number of a month whose name begins with these letters, whatever their case; nil if there is none.
---@param name string
---@return integer?
function M.month(name) return month_numbers[name:sub(1, 1):upper() .. name:sub(2, 3):lower()] end

--- Seconds from 1970 to a time of the Gregorian calendar, UTC (H. Hinnant's algorithm:
--- years begin in March).
---@param y integer
---@param m integer 1 to 12
---@param d integer
---@param hour integer
---@param minute integer
---@param second integer
---@return integer
function M.seconds(y, m, d, hour, minute, second)
  if m <= 2 then y = y - 1 end
  local era = y // 400
  local yoe = y - era * 400
  local doy = (153 * (m + (m > 2 and -3 or 9)) + 2) // 5 + d - 1
  local days_since = era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468
  return ((days_since * 24 + hour) * 60 + minute) * 60 + second
end

--- A time as HTTP writes it.
---@param seconds number since 1970, UTC
---@return string
function M.format(seconds)
  local t = os.date("!*t", math.floor(seconds))
  return ("%s, %02d %s %04d %02d:%02d:%02d GMT"):format(
    days[t.wday], t.day, months[t.month], t.year, t.hour, t.min, t.sec)
end

local function time_of(year, month, day, hour, minute, second)
  month = month_numbers[month]
  year, day, hour = math.tointeger(year), math.tointeger(day), math.tointeger(hour)
  minute, second = math.tointeger(minute), math.tointeger(second)
  if not month or day < 1 or day > 31 or hour > 23 or minute > 59 or second > 60 then return nil end
  return M.seconds(year, month, day, hour, minute, second)
end

--- The time that a date of HTTP's says, in seconds since 1970; nil if it is none.
---@param text string?
---@return integer?
function M.parse(text)
  if type(text) ~= "string" then return nil end
  local day, month, year, h, m, s = text:match("^%s*%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT%s*$")
  if day then return time_of(year, month, day, h, m, s) end
  day, month, year, h, m, s = text:match("^%s*%a+, (%d%d)%-(%a%a%a)%-(%d%d) (%d%d):(%d%d):(%d%d) GMT%s*$")
  if day then -- RFC 850; two digits of a year that is at most 50 years ahead
    local now = os.date("!*t").year
    local full = now - now % 100 + tonumber(year)
    return time_of(full > now + 50 and full - 100 or full, month, day, h, m, s)
  end
  month, day, h, m, s, year = text:match("^%s*%a%a%a (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)%s*$")
  if month then return time_of(year, month, day:match("%d+"), h, m, s) end
  return nil
end

return M
