-- Reads what is none of its business.
return assert(io.open "/etc/passwd"):read "l"
