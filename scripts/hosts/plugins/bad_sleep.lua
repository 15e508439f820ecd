-- Waits for good.
await require "asyncio".sleep(1e6)
