local prints = require("spec.scripts.script").prints

describe("scripts: waiting for several:", function()
  it("gather.lua gives results in the order of the arguments", function()
    prints("gather", [[
Fetching data 1...
Fetching data 2...
Fetching data 3...
Data 2 fetched
Data 1 fetched
Data 3 fetched
id = 1, delay = 2
id = 2, delay = 1
id = 3, delay = 3
]])
  end)

  it("gather_results.lua gives one table of results", function()
    prints("gather_results", [[
1\t2
]])
  end)

  it("gather_return_exceptions.lua gives errors as results, or raises the first", function()
    prints("gather_return_exceptions", [[
1\tvalue\tresult of coro1
2\terror\tValueError: coro2 went wrong
false\tValueError: coro2 went wrong
]])
  end)

  it("gather_coroutines_and_futures.lua takes coroutines, an array, futures", function()
    prints("gather_coroutines_and_futures", [[
Waiting 1
Waiting 3
Done
Done
Waiting 1
Waiting 3
Done
Done
Waiting 1
Waiting 3
Done
Done
]])
  end)

  it("gather_and_wait.lua gives results, or tasks", function()
    prints("gather_and_wait", [[
Waiting 1
Waiting 3
Done
Done
wait: 2 done, 0 pending
Waiting 1
Waiting 3
Done
Done
gather: 1, 3
]])
  end)

  it("wait_first_completed.lua waits for the first", function()
    prints("wait_first_completed", [[
done: coro1
pending: 1
after half a second: 0 done, 1 pending
at the end: 1 done, 0 pending
]])
  end)

  it("concurrency.lua takes 4 seconds in two ways, 3 in six", function()
    prints("concurrency", [[
********************
Suspending a
Resuming a
Suspending b
Resuming b
e1 Cost: 4.000
********************
Suspending a
Resuming a
Suspending b
Resuming b
e2 Cost: 4.000
********************
Suspending a
Suspending b
Resuming b
Resuming a
c1 Cost: 3.000
********************
Suspending a
Suspending b
Resuming b
Resuming a
c2 Cost: 3.000
********************
Suspending a
Suspending b
Resuming b
Resuming a
c3 Cost: 3.000
********************
Suspending b
Suspending a
Resuming b
Resuming a
c4 Cost: 3.000
********************
Suspending a
Suspending b
Resuming b
Resuming a
c5 Cost: 3.000
********************
Suspending a
Suspending b
Resuming b
Resuming a
c6 Cost: 3.000
]])
  end)

end)
