local asyncio = require "asyncio"
local helper = require "spec.helper"
local http = require "http"
local peer = require "spec.http.client.peer"
local tracing = require "http.client.tracing"

local answer = peer.answer

-- A TraceConfig that writes down what it hears.
local function recorder(log)
  local trace = http.TraceConfig()
  for _, event in ipairs(tracing.events) do
    trace["on_" .. event]:append(async(function(session, context, params)
      await(asyncio.sleep(0))
      log[#log + 1] = event
      log[event] = { session = session, context = context, params = params }
    end))
  end
  return trace
end

describe("TraceConfig", function()
  it("hears each step of a request", function()
    local log = {}
    peer.raw(function(request)
      if request.line:find("/a ") then return answer(302, { "Location: /b" }, "") end
      return answer(200, {}, "body")
    end, { trace_configs = { recorder(log) } }, function(session, url)
      local resp <close> = await(session:post(url "/a", { data = "sent", trace_request_ctx = "mine" }))
      await(resp:read())
      local steps = {}
      for _, event in ipairs(log) do
        if not event:find("^dns") then steps[#steps + 1] = event end
      end
      assert.same({
        "request_start", "connection_create_start", "connection_create_end", "request_headers_sent",
        "request_chunk_sent", "request_redirect", "connection_reuseconn", "request_headers_sent", "request_end",
        "response_chunk_received",
      }, steps)
      assert.equal(session, log.request_start.session)
      assert.equal("mine", log.request_start.context.trace_request_ctx)
      assert.equal("POST", log.request_start.params.method)
      assert.equal(url "/a", tostring(log.request_start.params.url))
      assert.equal("sent", log.request_chunk_sent.params.chunk)
      assert.equal(302, log.request_redirect.params.response.status)
      assert.equal("GET", log.request_headers_sent.params.method)
      assert.equal("*/*", log.request_headers_sent.params.headers.Accept)
      assert.equal(resp, log.request_end.params.response)
      assert.equal("body", log.response_chunk_received.params.chunk)
    end)
  end)

  it("may alter the headers of a request, and of no other", function()
    local traced = http.TraceConfig()
    traced.on_request_start:append(function(_, _, params)
      params.headers["X-Count"] = tostring(#params.headers:getall "X-Count" + 1)
    end)
    peer.raw(function(request) return answer(200, {}, request.headers["x-count"] or "none") end, { trace_configs = { traced } },
      function(session, url)
        for _, opts in ipairs { {}, {}, { headers = { ["X-Own"] = "1" } } } do
          local resp <close> = await(session:get(url "/", opts))
          assert.equal("1", await(resp:text()))
        end
        assert.is_nil(session.headers["X-Count"])
      end)
  end)

  it("hears of failures", function()
    local log = {}
    peer.raw(function() end, { trace_configs = { recorder(log) } }, function(session, url)
      local e = helper.raises(http.ServerDisconnectedError, function() await(session:get(url "/")) end)
      assert.equal("request_exception", log[#log])
      assert.equal(e, log.request_exception.params.exception)
    end)
  end)

  it("has a context of its own for each request", function()
    local contexts = {}
    local trace = http.TraceConfig { trace_config_ctx_factory = function(opts) return { given = opts.trace_request_ctx } end }
    trace.on_request_start:append(function(_, context) contexts[#contexts + 1] = context end)
    peer.raw(function() return answer(200, {}, "") end, { trace_configs = { trace } }, function(session, url)
      for i = 1, 2 do
        local resp <close> = await(session:get(url "/", { trace_request_ctx = i }))
        assert.equal(200, resp.status)
      end
    end)
    assert.same({ { given = 1 }, { given = 2 } }, contexts)
    assert(contexts[1] ~= contexts[2])
  end)

  it("is frozen by the session that takes it", function()
    local trace = http.TraceConfig()
    local session <close> = http.ClientSession { trace_configs = { trace } }
    assert.same({ trace }, session.trace_configs)
    helper.raises("frozen", trace.on_request_start.append, trace.on_request_start, print)
  end)

  it("whose handler fails fails the request, and leaves no connection behind", function()
    for _, event in ipairs { "request_start", "request_headers_sent", "connection_reuseconn", "request_end" } do
      local fail = true
      local trace = http.TraceConfig()
      trace["on_" .. event]:append(function() if fail then error("no " .. event, 0) end end)
      peer.raw(function() return answer(200, {}, "ok") end, { trace_configs = { trace }, limit = 1 }, function(session, url)
        local function get()
          local resp <close> = await(session:get(url "/"))
          return await(resp:text())
        end
        if event == "connection_reuseconn" then get() end
        assert.equal("no " .. event, helper.raises("no", get))
        fail = false
        assert.equal("ok", get())
      end)
    end
  end)
end)
