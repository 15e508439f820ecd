-- Leaves something behind.
await require "fs".write_file("/tmp/plugin-was-here", "ha")
