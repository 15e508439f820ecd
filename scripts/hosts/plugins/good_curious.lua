-- Looks whether it may, and does without.
local _, why = io.open "/etc/passwd"
pcall(os.getenv, "HOME")
return why and "not allowed"
