local helper = require "spec.helper"
local asyncio = require "asyncio"

local function run(f)
  return helper.run(async(f))
end

--- The names of who waits, from the future outwards; several beside each other in brackets.
local function shape(graph)
  local name = graph.future.get_name and graph.future:get_name() or "future"
  if graph.cycle then name = name .. "!" end
  local outer = {}
  for i, awaiter in ipairs(graph.awaited_by) do outer[i] = shape(awaiter) end
  table.sort(outer)
  if #outer == 0 then return name end
  return name .. "<" .. table.concat(outer, ",") .. ">"
end

describe("capture_call_graph", function()
  it("shows who waits for a future, and for those in turn", function()
    run(function()
      local future = asyncio.get_running_loop():create_future()
      local a = asyncio.create_task(async(function() await(future) end)(), { name = "a" })
      local b = asyncio.create_task(async(function() await(a) end)(), { name = "b" })
      local c = asyncio.create_task(async(function() await(a) end)(), { name = "c" })
      await(asyncio.sleep(0))
      await(asyncio.sleep(0))
      assert.equal("future<a<b,c>>", shape(asyncio.capture_call_graph(future)))
      future:set_result(1)
      await(asyncio.gather(b, c))
    end)
  end)

  it("looks through gather, wait, shield and TaskGroup", function()
    run(function()
      local future = asyncio.get_running_loop():create_future()
      local leaf = asyncio.create_task(async(function() await(future) end)(), { name = "leaf" })
      local tasks = {
        asyncio.create_task(async(function() await(asyncio.gather(leaf)) end)(), { name = "gathers" }),
        asyncio.create_task(async(function() await(asyncio.wait { leaf }) end)(), { name = "waits" }),
        asyncio.create_task(async(function() await(asyncio.shield(leaf)) end)(), { name = "shields" }),
      }
      for _ = 1, 3 do await(asyncio.sleep(0)) end
      assert.equal("leaf<future<gathers>,shields,waits>", shape(asyncio.capture_call_graph(leaf)))
      local group = asyncio.create_task(async(function()
        local tg <close> = asyncio.TaskGroup()
        tg:create_task(async(function() await(future) end)(), { name = "child" })
      end)(), { name = "group" })
      for _ = 1, 3 do await(asyncio.sleep(0)) end
      assert.matches("child<group>", shape(asyncio.capture_call_graph(future)))
      future:set_result(1)
      await(asyncio.wait(tasks))
      await(group)
    end)
  end)

  it("shows the stack of a task where it waits", function()
    run(function()
      local line
      local function deep()
        line = debug.getinfo(1, "l").currentline + 1
        await(asyncio.sleep(1))
        return 1
      end
      local task = asyncio.create_task(async(function() return (deep()) end)())
      await(asyncio.sleep(0))
      local graph = asyncio.capture_call_graph(task)
      assert.equal(task, graph.future)
      assert.equal(line, graph.call_stack[1].line)
      assert.matches("graph_spec%.lua$", graph.call_stack[1].source)
      assert.equal(1, #asyncio.capture_call_graph(task, { limit = 1 }).call_stack)
      assert.equal(0, #asyncio.capture_call_graph(task, { limit = 0 }).call_stack)
      await(task)
    end)
  end)

  it("shows the running task's own stack from its caller on", function()
    run(function()
      local function here()
        local graph = asyncio.capture_call_graph()
        return graph, debug.getinfo(1, "l").currentline - 1
      end
      local graph, line = here()
      assert.equal(asyncio.current_task(), graph.future)
      assert.equal(line, graph.call_stack[1].line)
      local outer_line = debug.getinfo(1, "l").currentline + 3
      local function skipping()
        local function inner() return (asyncio.capture_call_graph(nil, { depth = 2 })) end
        local g = inner()
        return g
      end
      assert.equal(outer_line, skipping().call_stack[1].line)
    end)
  end)

  it("marks a cycle and ends there", function()
    run(function()
      local b
      local a = asyncio.create_task(async(function() asyncio.catch(await, b) end)(), { name = "a" })
      b = asyncio.create_task(async(function() asyncio.catch(await, a) end)(), { name = "b" })
      await(asyncio.sleep(0))
      await(asyncio.sleep(0))
      assert.equal("a<b<a!>>", shape(asyncio.capture_call_graph(a)))
      assert.matches("cycle: it waits for itself", asyncio.format_call_graph(a))
      a:cancel()
      await(asyncio.sleep(1))
    end)
  end)

  it("says what is wrong", function()
    local err = helper.raises(asyncio.RuntimeError, asyncio.capture_call_graph)
    assert.matches("called outside of a running event loop", err.message)
    run(function()
      helper.raises(asyncio.TypeError, asyncio.capture_call_graph, 5)
      helper.raises("dpeth", asyncio.capture_call_graph, nil, { dpeth = 1 })
    end)
  end)
end)

describe("format_call_graph", function()
  it("reads like a tree", function()
    run(function()
      local task = asyncio.create_task(async(function() await(asyncio.sleep(1)) end)(), { name = "inner" })
      local outer = asyncio.create_task(async(function() await(task) end)(), { name = "outer" })
      await(asyncio.sleep(0))
      await(asyncio.sleep(0))
      local text = asyncio.format_call_graph(task)
      local lines = {}
      for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
      assert.matches("^%* Task%(name='inner', id=0x%x+%)$", lines[1])
      assert.equal("  + Call stack:", lines[2])
      assert.matches("^  |   File '.*graph_spec%.lua', line %d+, in ", lines[3])
      assert.matches("\n  %+ Awaited by:\n    %* Task%(name='outer', id=0x%x+%)\n      %+ Call stack:\n", text)
      await(outer)
    end)
  end)
end)

describe("print_call_graph", function()
  it("writes to the file that it is given", function()
    run(function()
      local written = {}
      local file = { write = function(_, ...)
        for _, s in ipairs { ... } do written[#written + 1] = s end
      end }
      asyncio.print_call_graph(nil, { file = file })
      assert.matches("^%* Task%(name=", table.concat(written))
      assert.matches("graph_spec%.lua", written[1])
    end)
  end)
end)
