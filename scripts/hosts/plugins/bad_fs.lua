-- The same by another module.
return (await require "fs".read_file "/etc/passwd")
