--- Whose turn it is: pools in which somebody waits, by the ticket of the first there. A heap, so that a crawler that
--- waits for ten thousand hosts pays for its turns alone. A pool is in it once, with the ticket that it came in with;
--- one that cannot be served for reasons of its own is taken out and comes back when those are gone.

local Turns = {}
Turns.__index = Turns

--- Adds a pool, if somebody waits there and it is not in.
---@param pool http.client.Pool
function Turns:add(pool)
  if pool.listed or not pool.first then return end
  local ticket, n = pool.first.ticket, self.n + 1
  pool.listed, pool.ticket, self.n = true, ticket, n
  while n > 1 do
    local up = n // 2
    local above = self[up]
    if above.ticket <= ticket then break end
    self[n], n = above, up
  end
  self[n] = pool
end

--- Takes the pool out that came first; nil if there is none.
---@return http.client.Pool?
function Turns:take()
  local n = self.n
  if n == 0 then return nil end
  local top, last = self[1], self[n]
  self[n], self.n, top.listed = nil, n - 1, false
  n = n - 1
  if n == 0 then return top end
  local i = 1
  while true do
    local down = 2 * i
    if down > n then break end
    if down < n and self[down + 1].ticket < self[down].ticket then down = down + 1 end
    if self[down].ticket >= last.ticket then break end
    self[i], i = self[down], down
  end
  self[i] = last
  return top
end

---@return table
return function() return setmetatable({ n = 0 }, Turns) end
