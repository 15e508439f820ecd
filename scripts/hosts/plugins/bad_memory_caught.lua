-- More and more, and then again.
while true do pcall(function()
  local t = {}
  while #t >= 0 do t[#t + 1] = { t[#t] } end
end) end
