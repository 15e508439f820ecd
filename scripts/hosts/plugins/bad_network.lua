-- Calls home.
await require "asyncio".open_connection("127.0.0.1", 80)
