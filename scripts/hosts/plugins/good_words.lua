-- Counts words.
local n, text = 0, plugin.text()
for _ in text:gmatch "%a+" do n = n + 1 end
return n .. " words"
