--- The way of a request: a connection, the request on it, the response's head; again when a connection that had waited
--- in the pool turns out to be gone, when credentials are asked for, and where redirects lead.

local ClientResponse = require("http.client.response").ClientResponse
local core = require "asyncio.core"
local entries = require "http.client.entries"
local errors = require "http.client.errors"
local http = require "http.client.core"
local redirects = require "http.client.redirects"
local request = require "http.client.request"

local async, await, catch = core.async, core.await, core.catch
local create_task, isinstance = core.create_task, core.isinstance
local complete, make_response = request.complete, ClientResponse._make

local X <const> = 1 -- of a response's array part (http.client.response)

local M = {}

--- Requests that may be sent again when nobody knows whether the server has seen them (RFC 9110, 9.2.2).
M.idempotent = { GET = true, HEAD = true, OPTIONS = true, TRACE = true, PUT = true, DELETE = true }
--- Those that have no body unless they are given one.
local bodiless = { GET = true, HEAD = true, OPTIONS = true, TRACE = true, CONNECT = true }

--- How often a request is sent again on another connection.
local MAX_RETRIES <const> = 2
--- The same where the server has not looked at it. If it has ended the connection with the answers to others, that is
--- not counted: of many on one connection it may take a few each time.
local MAX_REFUSALS <const> = 10
--- How long a request with a body waits for 100 Continue, seconds.
local CONTINUE_TIMEOUT <const> = 1

-- ---- the body ----

-- An exchange whose writes are told to those who trace.
local function traced(req, x)
  local proxy = {}
  function proxy.write(_, data)
    req.traces:send("request_chunk_sent", { method = req.method, url = req.url, chunk = data })
    return x:write(data)
  end
  return setmetatable(proxy, {
    __index = function(_, name)
      return function(_, ...) return x[name](x, ...) end
    end,
  })
end

local of_exchanges = { http.BadResponse, http.Disconnected, http.PayloadError, http.TimeoutError }

local function write(req, x)
  if req.expect then
    local ok, continued = pcall(await, require("asyncio").wait_for(x:continued(), CONTINUE_TIMEOUT))
    if ok and not continued then return end -- a final answer: the body is not wanted
  end
  local out = req.traces and req.traces:hears("request_chunk_sent") and traced(req, x) or x
  if req.payload then
    require "http.client.sendfile"
    await(req.payload:write(out))
  else
    local drain = out:write(req.body)
    if drain then await(drain) end
  end
  local ended = x:connection():is_closing()
  local ok, drain = pcall(x.finish, x)
  if not ok then
    if not ended then req.failure = drain end -- less than Content-Length said: that ends the connection
    error(drain, 0)
  end
  if drain then await(drain) end
end

local function close_payload(req)
  local payload = req.payload
  if payload then payload:close() end
end

-- The task that sends a body while the response is waited for. What fails here is told by who waits.
local write_body = async(function(req, x)
  local ok, err = catch(write, req, x)
  if req.writing_to == x then req.writing = nil end
  if req.finished then close_payload(req) end
  if ok then return end
  if isinstance(err, core.CancelledError) then error(err, 0) end
  -- the exchange has failed, maybe after an early answer: who waits for that gets to know; but if a file cannot be read
  -- then that is the reason, and not the exchange that x:sendfile has ended for it
  local of_file = isinstance(err, core.OSError) and err.path ~= nil
  if isinstance(err, of_exchanges) or not of_file and x:connection():is_closing() then return end
  req.failure = err
  x:abort()
end, "ClientSession.write_body")

--- Is the body sent by a task, and what does the exchange take in its place?
local function framing(req)
  local body = req.body
  if body == nil and not bodiless[req.method] then return "", false end
  local written = req.payload ~= nil
  if type(body) == "string" and (req.chunked or req.expect) then body, written = #body, true end
  if req.chunked and written then body = true end
  return body, written
end

-- ---- one exchange ----

local function stop_writer(req)
  local writer = req.writing
  if writer then
    req.writing = nil
    writer:cancel()
  end
end

--- What conn:request() has raised: on a connection that has closed in the meantime nothing was sent, so that any
--- request may go to another one.
---@param conn any
---@param err any
---@return any
function M.unsent(conn, err)
  if not (conn:is_closing() and isinstance(err, core.RuntimeError)) then return err end
  return http.Disconnected("the connection has closed", { retry = true, began = false })
end

-- What is told of a request that has been sent, and the task that writes its body.
local function sent(req, x, lines, body, written)
  local traces = req.traces
  if traces then
    traces:send("request_headers_sent", { method = req.method, url = req.url, headers = request.headers_of(lines) })
    if not written and type(body) == "string" and body ~= "" then
      traces:send("request_chunk_sent", { method = req.method, url = req.url, chunk = body })
    end
  end
  if written then req.writing, req.writing_to = create_task(write_body(req, x)), x end
  return await(x:response())
end

-- Sends the request on the connection and waits for the head of the response; nil and the error if that fails.
local function exchange(req, conn, lines)
  local session, entry = req.session, req.entry
  local body, written = framing(req)
  req.failure = nil
  local ok, x = pcall(conn.request, conn, req.method, entry.target, lines, body)
  if not ok then
    x = M.unsent(conn, x)
    session._connector:release(conn, false)
    return nil, x
  end
  x:deadline(req.deadline, req.timeout.sock_read)
  local status
  if written or req.traces then
    ok, status = catch(sent, req, x, lines, body, written)
  else
    ok, status = catch(await, x:response())
  end
  if not ok then
    stop_writer(req)
    x:abort()
    session._connector:release(conn, false)
    return nil, req.failure or status
  end
  local resp = make_response(status, req.method, x, conn, entry, lines, session, req)
  if req.no_eof and x:has_body() and not x:content_length() and not x:header("Transfer-Encoding")
    and not x:multiplexed() then
    resp:_without_body()
  elseif not req.upgrade or resp.status ~= 101 then
    resp:_take()
  end
  return resp
end
M.exchange = exchange

-- May it be sent again?
local function replayable(req)
  local payload = req.payload
  return payload == nil or payload.replayable == true
end

local function may_retry(req, err, reused)
  if type(err) ~= "table" or not replayable(req) then return false end
  if err.retry then return true end -- nothing was sent, or looked at
  if isinstance(err, http.Disconnected) then
    return reused and not err.began and M.idempotent[req.method]
  end
  local reset = isinstance(err, core.OSError) and (err.code == "ECONNRESET" or err.code == "EPIPE")
  return reset and reused and M.idempotent[req.method] or false
end

-- A connection for the request; was it used before?
local function connect(req)
  local connector, place = req.session._connector, req.entry.place
  local traces = req.traces
  local conn = connector:take(place)
  local reused = conn ~= nil
  if not conn then
    local timeout = req.timeout
    conn, reused = connector:connect(place, req, traces, {
      deadline = req.deadline, connect = timeout.connect, sock_connect = timeout.sock_connect, total = timeout.total,
    })
  end
  if reused and traces then
    local ok, err = catch(traces.send, traces, "connection_reuseconn", {})
    if not ok then
      connector:release(conn, true)
      error(err, 0)
    end
  end
  return conn, reused
end

--- What a script gets to see of an error.
local function told(req, err)
  local own = err == req.failure and not isinstance(err, core.OSError) and not isinstance(err, http.Disconnected)
  if own then return err end -- of the script's own iterator
  if isinstance(err, errors.ClientError) then return errors.translate(err, req) end
  if isinstance(err, core.RuntimeError) and tostring(err.message):find("the connection was closed", 1, true) then
    return errors.make(errors.ClientConnectionError, req, "Connection closed: by session or connector", { cause = err })
  end
  return errors.late(err, req, req.timeout) or errors.translate(err, req)
end

-- How long the body is. A header Content-Length tells of what comes in parts.
local function prepare(req)
  local size, told_of = req.payload:prepare(), req.length
  if told_of and size ~= true and size ~= told_of then
    local reason = "headers: Content-Length is %d, the body has %d bytes"
    error(core.ValueError(reason:format(told_of, size)), 0)
  end
  req.body = told_of or size
end

-- One request, one response, whatever connections that takes.
local function send(req)
  local retries = 0
  while true do
    if req.payload then prepare(req) end
    local lines = complete(req)
    local ok, conn, reused = catch(connect, req)
    if not ok then error(told(req, conn), 0) end
    local resp, err = exchange(req, conn, lines)
    if resp then return resp end
    if type(err) == "table" and err.code == "HTTP_1_1_REQUIRED" and replayable(req) and not req.downgraded then
      entries.without_http2(req)
    elseif not may_retry(req, err, reused) or retries >= (err.retry and MAX_REFUSALS or MAX_RETRIES) then
      error(told(req, err), 0)
    end
    if not (err.retry and err.served) then retries = retries + 1 end
  end
end

-- The same by way of the middlewares.
local function send_by_all(req)
  if not req.middlewares then return send(req) end
  return require("http.client.middlewares").run(req, function()
    if req.url ~= req.entry.url then
      req.entry = req.session:_entry(req.method, req.url)
      req.url = req.entry.url
    end
    return send(req)
  end)
end

-- ---- cookies, credentials, redirects ----

local function note_cookies(req, resp)
  if resp[X]:header("Set-Cookie") then
    req.session._jar:update_from(req.entry.url, resp.headers:getall("Set-Cookie"))
  end
end

-- Does the server ask for credentials that there are?
local function challenged(req, resp)
  local auth = req.auth
  if not auth then return false end
  if auth.informed and resp[X]:header("Authentication-Info") then
    auth:informed(req.entry.url, resp[X]:header("Authentication-Info"))
  end
  if resp.status ~= 401 or not auth.challenged then return false end
  req.challenges = (req.challenges or 0) + 1
  if req.challenges > 2 or not replayable(req) then return false end
  return auth:challenged(req.entry.url, resp.headers:getall("WWW-Authenticate"), req.sent_auth)
end

-- The same of a proxy that requests in the clear go by way of; for others see http.client.dial.
local function challenged_by_proxy(req, resp)
  local place = req.entry.place
  local digest = place.absolute and place.proxy.digest
  if not digest then return false end
  local info = resp[X]:header("Proxy-Authentication-Info")
  if info then digest:informed(place.proxy.url, info) end
  if resp.status ~= 407 then return false end
  req.proxy_challenges = (req.proxy_challenges or 0) + 1
  if req.proxy_challenges > 2 or not replayable(req) then return false end
  return digest:challenged(place.proxy.url, resp.headers:getall("Proxy-Authenticate"), req.sent_to_proxy)
end

local function without(headers, names)
  local all = headers:copy()
  for _, name in ipairs(names) do all[name] = nil end
  return all
end

local of_a_body = { "Content-Length", "Content-Type", "Content-Encoding", "Content-Language", "Content-Location",
  "Transfer-Encoding", "Expect" }
local of_the_user = { "Authorization", "Cookie", "Proxy-Authorization" }

local function drop_body(req)
  req.method = "GET"
  close_payload(req)
  req.body, req.kind, req.payload, req.coding, req.chunked, req.expect, req.length = nil, nil, nil, nil, nil, nil, nil
  req.own = without(req.own, of_a_body)
end

local function too_many(req, resp)
  resp:close()
  local first = req.history[1]
  local reason = ("%d redirects: more than max_redirects allows"):format(#req.history)
  error(errors.make(errors.TooManyRedirects, first, reason,
    { status = resp.status, headers = resp.headers, history = req.history }), 0)
end

-- The place of the next request.
local function set_entry(req, asked, to)
  local session, options = req.session, req.place_options
  local same = to.host == req.entry.url.host
  local ok, entry
  if options or req.upgrade then
    local all = {}
    for key, value in next, options or {} do
      if key ~= "server_hostname" or same then all[key] = value end
    end
    ok, entry = pcall(entries.make, session, req.method, to, all, req.upgrade)
  else
    ok, entry = pcall(session._entry, session, req.method, to)
  end
  if not ok then
    local class = isinstance(entry, errors.NonHttpUrlClientError) and errors.NonHttpUrlRedirectClientError
      or errors.InvalidUrlRedirectClientError
    if not isinstance(entry, errors.InvalidURL) then error(entry, 0) end
    error(errors.make(class, asked, "a redirect: " .. tostring(entry.message), { cause = entry }), 0)
  end
  req.entry, req.url = entry, entry.url
end

-- With requote_redirect_url = false: path and query are asked for as the server has written them.
local function keep_target(req, location)
  local target = location:match("^%a[%w+.-]*://[^/?#]*([^#]*)") or location:match("^/[^/#][^#]*")
  if not target or target:find("[%c \127-\255]") or req.entry.place.absolute then return end
  if not target:find("^/") then target = "/" .. target end
  local copy = {}
  for key, value in next, req.entry do copy[key] = value end
  copy.target = target
  req.entry = copy
end

-- Makes the request into the one that the response redirects to; false if it does not say where.
local function redirect(req, resp)
  local location = resp[X]:header("Location") or resp[X]:header("URI")
  if req.traces then
    req.traces:send("request_redirect",
      { method = req.method, url = req.url, headers = req.own, response = resp })
  end
  local history = req.history
  history[#history + 1] = resp
  if req.max_redirects > 0 and #history >= req.max_redirects then too_many(req, resp) end
  if not location then
    history[#history] = nil
    return false
  end
  resp:release()
  local from = req.entry.real_url
  local to = redirects.target(resp, from, location)
  if redirects.to_get(resp.status, req.method) then
    drop_body(req)
  elseif not replayable(req) then
    local reason = ("the redirect (%d) asks for the body again, which cannot be sent twice"):format(resp.status)
    error(errors.make(errors.RedirectClientError, resp, reason, { status = resp.status, location = location }), 0)
  end
  if not redirects.trusts(from, to) then
    req.auth, req.cookies = nil, nil
    req.own = without(req.own, of_the_user)
  end
  req.challenges, req.proxy_challenges = nil, nil
  set_entry(req, resp, to)
  if not req.session._requote then keep_target(req, location) end
  if req.entry.auth then req.auth = req.entry.auth end
  return true
end

-- ---- the whole of it ----

local function check_status(req, resp)
  local raise = req.raise
  if raise == nil then raise = req.session._raise_for_status end
  if not raise then return end
  if raise == true then return resp:raise_for_status() end -- M.run releases
  local ok, err = catch(function()
    local result = raise(resp)
    if core.isawaitable(result) then await(result) end
  end)
  if not ok then
    resp:release()
    error(err, 0)
  end
end

-- The server goes over to a protocol that nobody has asked for.
local function refuse_upgrade(req, resp)
  resp:close()
  error(errors.make(errors.ClientResponseError, req, "the server switches protocols, which it was not asked to", {
    status = resp.status, headers = resp.headers, history = req.history, request_info = resp.request_info,
  }), 0)
end

local function course(req, resp)
  while true do
    resp = resp or send_by_all(req)
    req.current = resp
    if resp.status == 101 and not req.upgrade then refuse_upgrade(req, resp) end
    note_cookies(req, resp)
    if challenged(req, resp) or challenged_by_proxy(req, resp) then
      resp:release()
    elseif not (req.redirects and redirects.statuses[resp.status] and redirect(req, resp)) then
      break
    end
    resp = nil
  end
  if #req.history > 0 then rawset(resp, "history", req.history) end
  check_status(req, resp)
  return resp
end

local function traced_course(req, resp)
  local traces = req.traces
  -- which may be altered there: but not the session's
  if req.own == req.session._headers then req.own = req.own:copy() end
  traces:send("request_start", { method = req.method, url = req.url, headers = req.own })
  resp = course(req, resp)
  traces:send("request_end", { method = req.method, url = req.url, headers = req.own, response = resp })
  return resp
end

--- Sends a request that has been made, or goes on with one whose response is there. Awaits by itself.
---@param req http.client.Request
---@param resp? http.ClientResponse
---@return http.ClientResponse
function M.run(req, resp)
  local traces = req.traces
  local ok, result = catch(traces and traced_course or course, req, resp)
  req.finished = true
  if not req.writing then close_payload(req) end
  if ok then return result end
  if req.current then req.current:release() end
  if traces then
    traces:send("request_exception", { method = req.method, url = req.url, headers = req.own, exception = result })
  end
  error(result, 0)
end

M.told, M.may_retry = told, may_retry

return M
