-- Never lets go.
while true do end
