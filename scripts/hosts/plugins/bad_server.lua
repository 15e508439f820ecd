-- Opens a door.
await require "asyncio".start_server(print, "0.0.0.0", 0)
