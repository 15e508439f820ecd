local prints = require("spec.scripts.script").prints

describe("scripts: resources, iterators, generators:", function()
  it("async_context_manager.lua opens and closes around a block", function()
    prints("async_context_manager", [[
Opening resource
Using resource
Closing resource
Opening resource
Using resource
Closing resource
]])
  end)

  it("async_iterator.lua waits between values", function()
    prints("async_iterator", [[
1
2
3
]])
  end)

  it("async_generator.lua waits between values", function()
    prints("async_generator", [[
0
1
2
]])
  end)

  it("yield_and_send.lua gives and takes values", function()
    prints("yield_and_send", [[
I got 5!
I got 4!
I got 3!
3, 4 and 5 are all I want
]])
  end)
end)
