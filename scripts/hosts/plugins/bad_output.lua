-- Talks and talks.
while true do print(("bla "):rep(100)) end
