--- From connections to handlers: what runs as the task of a connection. For each exchange: its route, its handler, its
--- response; an error becomes one, too, and harms no other connection.

local Request = require "http.web.request"
local Response = require("http.web.response").Response
local core = require "asyncio.core"
local errors = require "http.web.errors"
local http_core = require "http.core"
local misuse = require "asyncio.misuse"
local pages = require "http.web.pages"

local async, await, current_task, create_task = core.async, core.await, core.current_task, core.create_task
local getmetatable, setmetatable, xpcall = getmetatable, setmetatable, xpcall
local resolve, send_plain = require("http.web.dispatcher")._resolve, Response._send

local uploads, close_form = Request._uploads, Request._close_form

local M = {}

-- ---- errors ----

--- An error of a handler, with where it was raised.
local Failure = {}

-- The library's own frames say nothing to who wrote a handler.
local function traceback_of(err)
  local before = core.traceback(err)
  local lines = {}
  for line in debug.traceback("", 3):gmatch("[^\n]+") do
    local own = line:find("^%s*moonloop/http/") or line:find("^%s*stdlib/http/") or line:find("[C]: in ?", 1, true)
    if not own then
      lines[#lines + 1] = line
    end
  end
  local here = table.concat(lines, "\n")
  return before and before .. "\nawaited at:\n" .. here or here
end

-- What reading a body raises where it is the client's doing, as the answer to it; else nil.
local function blame_client(err)
  if core.isinstance(err, http_core.BadRequest) then return errors.HTTPBadRequest { text = "400: " .. err.message } end
  if core.isinstance(err, http_core.RequestTimeout) then return errors.HTTPRequestTimeout() end
  local multipart = package.loaded["http.multipart"]
  if not multipart then return nil end
  if core.isinstance(err, multipart.TooLarge) then return errors.HTTPRequestEntityTooLarge(err.limit) end
  if core.isinstance(err, multipart.MultipartError) then
    return errors.HTTPBadRequest { text = "400: " .. err.message }
  end
end

-- The handler of xpcall: HTTP errors are responses, and nobody asks where they come from.
local function on_error(err)
  if type(err) == "table" then
    if err.is_http_exception then return err end
    local answer = blame_client(err)
    if answer then return answer end
  end
  return setmetatable({ err = err, traceback = traceback_of(err) }, Failure)
end

local function passes(err)
  return core.isinstance(err, core.KeyboardInterrupt) or core.isinstance(err, core.SystemExit)
    or core.isinstance(err, core.Terminated)
end

local function text_of(err)
  local ok, text = pcall(tostring, err)
  return ok and text or "(an error that cannot be shown)"
end

local function report(request, failure)
  core.get_running_loop():call_exception_handler {
    message = "Error handling request",
    exception = failure.err,
    traceback = failure.traceback,
    request = request and ("%s %s from %s"):format(request.method, request.raw_path, tostring(request.remote)) or nil,
  }
end

-- What a handler gave that is no response, in words.
local function nonsense(route, value)
  local what = misuse.describe(value)
  if type(value) == "string" or type(value) == "number" or type(value) == "boolean" then
    local text = type(value) == "string" and ("%q"):format(value:sub(1, 60)) or tostring(value)
    what = ("%s (%s)"):format(what, text)
  elseif value == nil then
    what = "nothing: is a return missing?"
  end
  local place = route.place and (" (%s)"):format(route.place) or ""
  return core.TypeError(("the handler of %s%s returned %s A Response was expected"):format(
    route.resource and ("%s %s"):format(route.method, route.resource.canonical) or "a request without route", place,
    what:find("%?$") and what or what .. "."))
end

-- ---- one exchange ----

-- Anything but a plain Response of this request: other kinds of responses, HTTP errors that were returned, nonsense.
local function finish(response, request, x)
  local mt = type(response) == "table" and getmetatable(response)
  if not mt or not mt.is_response then error(nonsense(request._route, response), 0) end
  if response._x ~= x and x:started() then
    local text = "a response was begun, and the handler returned another one: " .. text_of(response)
    error(core.RuntimeError(text), 0)
  end
  return response:_send(request, x)
end

-- The route of a request that is not that of a plain path.
local function find(app, x, method, path)
  local route, params, allowed, owner = resolve(app.router, method, path, x)
  if route then return Request._make(x, route, params) end
  local missing = owner._missing
  local request = Request._make(x, allowed and missing.not_allowed or missing.not_found, false)
  request._allowed = allowed
  return request
end

--- Answers with the response of an error, or drops the connection if one was begun.
---@return table? response what was sent
local function fail(app, options, x, request, err)
  local failure = getmetatable(err) == Failure and err
  if failure and passes(failure.err) then error(failure.err, 0) end
  local socket = request and rawget(request, "_websocket")
  if socket then
    if failure and not (socket.closed and core.isinstance(failure.err, core.OSError)) then report(request, failure) end
    socket:_fail()
    return socket
  elseif x:lost() then
    if failure and not core.isinstance(failure.err, core.OSError) then report(request, failure) end
    x:abort() -- it was not answered, and nobody else ends the connection
    return nil
  end
  if failure then report(request, failure) end
  if x:started() then
    x:abort()
    return nil
  end
  local response = err
  if failure then
    local show = options.debug
    if show == nil then show = app.debug or core.get_running_loop():get_debug() end
    response = pages.internal_error(request, text_of(failure.err), failure.traceback, show)
  end
  if not request then request = Request._make(x, app._missing.not_found, false) end
  if uploads.seen then pcall(close_form, request) end
  local ok, again = xpcall(response._send, on_error, response, request, x)
  if ok then return response end
  if getmetatable(again) == Failure then report(request, again) end
  if not x:started() and not x:lost() then
    local drain = x:respond(500, nil, { "Content-Type", "text/plain; charset=utf-8" }, "500: Internal Server Error")
    if drain then pcall(await, drain) end
  else
    x:abort()
  end
  return nil
end

-- ---- connections ----

--- `access_log`, in order of the calls: a request that has been answered.
local function log_line(log, state, response)
  local request, x = state.request, state.x
  if not request then return end
  local loop = core.get_running_loop()
  local status, seconds = response and response.status or 500, loop:time() - state.start
  local ok, err = pcall(log, request, status, x:sent(), seconds, response)
  if not ok then loop:call_exception_handler { message = "Error in logging", exception = err } end
end

-- Does an application have an on_response_prepare?
local function watches_responses(app)
  if app._has_prepare then return true end
  for _, sub in ipairs(app._subapps) do
    if watches_responses(sub) then return true end
  end
  return false
end

-- Without anything around the handler.
local function plain_one(app)
  local paths = app.router._plain
  local send_simple = require("http.web.core").sender(Response, Response._heads)
  if watches_responses(app) then send_simple = function() end end
  local find_simple = require("http.web.core").finder(app.router._pieces, Request)
  return function(state, x, method, path)
    local resource = paths[path]
    local route, request = resource and resource.routes[method]
    if route then
      request = setmetatable({ x, route, false }, Request)
    else
      request, route = find_simple(x, method, path)
      if not route then
        request = find(app, x, method, path)
        route = request._route
      end
    end
    state.x, state.request = x, request
    local response = route.call(request)
    local sent, drain = send_simple(response, x)
    if sent then
      if drain then await(drain) end
    elseif getmetatable(response) == Response then
      send_plain(response, request, x)
    else
      finish(response, request, x)
    end
    if uploads.seen then close_form(request) end
    state.x, state.request = false, false
  end
end

local function full_one(app, options, log)
  local cancelling = options.handler_cancellation
  return function(state, x, method, path)
    state.x, state.start = x, core.get_running_loop():time()
    local request = find(app, x, method, path)
    state.request = request
    if cancelling then
      request._handler = current_task()
      x:on_lost(request._handler)
    end
    local response = request._route.call(request)
    finish(response, request, x)
    if cancelling then
      request._handler = false
      x:on_lost(nil)
    end
    if uploads.seen then close_form(request) end
    if log then log_line(log, state, response) end
    state.x, state.request = false, false
  end
end

-- An exchange in a task of its own (HTTP/2), which takes itself out of `live` however it ends.
local function in_task(app, options, log, one)
  local function run(x, method, path)
    local state = { x = x, request = false, start = log and core.get_running_loop():time() or 0 }
    local ok, err = xpcall(one, on_error, state, x, method, path)
    if ok then return end
    local response = fail(app, options, x, state.request, err)
    if log then log_line(log, state, response) end
  end

  return async(function(live, x, method, path)
    local ok, err = core.catch(run, x, method, path)
    live[x] = nil
    if not x:finished() then x:abort() end -- its client has gone: it counts no more
    if not ok then error(err, 0) end
  end, "handle_request")
end

-- Many exchanges at once on one connection: their tasks are cancelled if this one is.
local function many(conn, task_of, x, method, path)
  local live = {}
  local _guard <close> = setmetatable({}, {
    __close = function(_, err)
      local tasks = {}
      for _, task in next, live do tasks[#tasks + 1] = task end
      for _, task in ipairs(tasks) do
        if err ~= nil then task:cancel() end
      end
      for _, task in ipairs(tasks) do core.catch(await, task) end
    end,
  })
  while x do
    local task = create_task(task_of(live, x, method, path))
    if not task:done() then live[x] = task end
    x, method, path = conn()
  end
end

-- Closed with the task of a connection: a WebSocket does not outlive its handler.
local served = {
  __close = function(state)
    local socket = state.request and rawget(state.request, "_websocket")
    if socket then socket:_fail(1001) end
  end,
}

local option_names = { "access_log", "access_log_format", "handler_cancellation", "debug" }

--- The coroutine function that serves a connection for an application, which is frozen by this. Options: `access_log`
--- (true, a function of the line, or a file), `access_log_format`, `handler_cancellation` (a handler is cancelled when
--- its client goes away), `debug` (pages of errors show tracebacks).
---@param app http.web.Application
---@param options? table
---@return fun(conn: any): any
function M.handler(app, options)
  core.options(options, option_names, "handler")
  options = options or {}
  app:freeze()
  local log = options.access_log and require("http.web.log").logger(options.access_log, options.access_log_format)
  local one = (log or options.handler_cancellation) and full_one(app, options, log) or plain_one(app)
  local task_of = in_task(app, options, log, one)

  -- While a connection is idle nothing of its last request is on the stack.
  local function serve(conn, state)
    while true do
      local x, method, path = conn()
      if not x then return end
      one(state, x, method, path)
    end
  end

  local function begin(conn, state)
    local x, method, path = conn()
    if not x then return end
    if x:multiplexed() then return many(conn, task_of, x, method, path) end
    one(state, x, method, path)
    return serve(conn, state)
  end

  local function attempt(loop, conn, state)
    local ok, err = xpcall(loop, on_error, conn, state)
    if ok then return true end
    if not state.x then error(getmetatable(err) == Failure and err.err or err, 0) end
    local response = fail(app, options, state.x, state.request, err)
    if log then log_line(log, state, response) end
    state.x, state.request = false, false
  end

  return async(function(conn)
    local state <close> = setmetatable({ x = false, request = false, start = 0 }, served)
    if attempt(begin, conn, state) then return end
    while not attempt(serve, conn, state) do end
  end, "serve_connection")
end

return M
