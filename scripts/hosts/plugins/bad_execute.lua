-- Runs a program.
return tostring(os.execute "touch /tmp/plugin-was-here")
