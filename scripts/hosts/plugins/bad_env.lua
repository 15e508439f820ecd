-- Looks for secrets.
return assert(os.getenv "HOME", "nothing there")
