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

  it("nested_coroutines.lua gets results in three ways", function()
    prints("nested_coroutines", [[
nested: response 1
Task ret: \tresponse 1
Task ret: \tresponse 2
Task ret: \tresponse 3
Task ret: \tresponse 1, response 2, response 3
Task ret: response 3
Task ret: response 2
Task ret: response 1
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

  it("requests_in_sequence.lua takes 3 seconds", function()
    prints("requests_in_sequence", [[
response\tok
response\tok
response\tok
took: 3.000
]])
  end)

  it("requests_in_tasks.lua takes as long as main sleeps", function()
    prints("requests_in_tasks", [[
response\tok
response\tok
response\tok
took: 1.100
]])
  end)

  it("requests_with_wait.lua gives the tasks", function()
    prints("requests_with_wait", [[
response\tok
response\tok
response\tok
<Task finished name='Task-2' coro=<run() defined at scripts/requests_with_wait.lua:11> result=nil>
<Task finished name='Task-3' coro=<run() defined at scripts/requests_with_wait.lua:11> result=nil>
<Task finished name='Task-4' coro=<run() defined at scripts/requests_with_wait.lua:11> result=nil>
pending\t0
took: 1.000
]])
  end)

  it("requests_with_gather.lua gives the results", function()
    prints("requests_with_gather", [[
response\tok
response\tok
response\tok
0, 1, 2
took: 1.000
]])
  end)

  it("load_test.lua prints the figures", function()
    prints("load_test", [[
test begin
clients at once: 50
time in all (s): 0.500
longest (s): 0.500
shortest (s): 0.100
top 90% (s): 0.500
mean (s each): 0.300
clients served (each s): 100.0
payload (MB): 12.50
throughput (MB/s): 25.00
clients at once: 50
time in all (s): 0.500
longest (s): 0.500
shortest (s): 0.100
top 90% (s): 0.500
mean (s each): 0.300
clients served (each s): 100.0
payload (MB): 12.50
throughput (MB/s): 25.00
test finish
]])
  end)
end)
