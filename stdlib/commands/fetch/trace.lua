--- moonloop fetch --verbose: what goes to the server and what comes, on standard error, as curl shows it.

local text = require "tty.text"

local M = {}

local function put(sign, line) io.stderr:write(sign, line ~= "" and " " or "", text.printable(line), "\n") end

local secrets = { authorization = true, ["proxy-authorization"] = true, cookie = false }

local function put_headers(sign, headers)
  local lines = headers:array()
  for i = 1, #lines, 2 do
    local value = lines[i + 1]
    if secrets[lines[i]:lower()] then value = value:gsub("^(%S+) .*$", "%1 ...") end
    put(sign, lines[i] .. ": " .. value)
  end
  put(sign, "")
end

--- What a response's head says: its first line, then the headers.
function M.head(response)
  local version = response.version:gsub("^2%.0$", "2")
  return ("HTTP/%s %d%s"):format(version, response.status,
    response.reason and response.reason ~= "" and " " .. response.reason or "")
end

local function put_response(response)
  put("<", M.head(response))
  put_headers("<", response.headers)
end
M.response = put_response

--- A TraceConfig that tells.
function M.config()
  local trace = require("http").TraceConfig()
  local asked
  trace.on_dns_resolvehost_start:append(function(_, _, params) put("*", "looking up " .. tostring(params.host)) end)
  trace.on_connection_create_start:append(function() put("*", "connecting") end)
  trace.on_connection_create_end:append(function() put("*", "connected") end)
  trace.on_connection_reuseconn:append(function() put("*", "a connection is there already") end)
  trace.on_request_headers_sent:append(function(_, _, params)
    asked = params.url
    put(">", ("%s %s"):format(params.method, asked.path_qs))
    put_headers(">", params.headers)
  end)
  trace.on_request_redirect:append(function(_, _, params) put_response(params.response) end)
  trace.on_request_exception:append(function(_, _, params) put("*", tostring(params.exception)) end)
  return trace
end

return M
