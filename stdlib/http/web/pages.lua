--- What is sent when a handler fails: a plain page, or for those who debug one with the traceback.

local Response = require("http.web.response").Response

local M = {}

local escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

--- Text for HTML.
---@param text string
---@return string
function M.escape(text) return (text:gsub("[&<>\"']", escapes)) end

local plain = "500 Internal Server Error\n\nServer got itself in trouble"

local html = [[
<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>500 Internal Server Error</title></head>
<body>
<h1>500 Internal Server Error</h1>
<p>%s</p>
<h2>%s</h2>
<pre>%s</pre>
<p>Tracebacks are shown because the application is debugged.</p>
</body></html>
]]

--- The page of an error that no handler has caught.
---@param request http.web.Request?
---@param message string
---@param traceback string?
---@param debug boolean?
---@return http.web.Response
function M.internal_error(request, message, traceback, debug)
  local response
  if not debug then
    response = Response { status = 500, text = plain }
  else
    local accept = request and request.headers["Accept"] or ""
    if accept:find("text/html", 1, true) then
      local where = request.method .. " " .. request.path
      response = Response {
        status = 500,
        content_type = "text/html",
        text = html:format(M.escape(where), M.escape(message), M.escape(traceback or "")),
      }
    else
      local text = ("500 Internal Server Error\n\n%s\n%s\n"):format(message, traceback or "")
      response = Response { status = 500, text = text }
    end
  end
  response:force_close()
  return response
end

return M
