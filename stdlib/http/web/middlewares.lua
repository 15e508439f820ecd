--- Middlewares that come with http.web. A middleware is a function of the request and of the handler behind it:
---   web.middleware(async(function(request, handler) return await(handler(request)) end))

local core = require "asyncio.core"
local errors = require "http.web.errors"
local misuse = require "asyncio.misuse"

local async, await = core.async, core.await

local M = {}

--- Marks a function as a middleware. It is one without, too; this gives it back.
---@param f function
---@return function
function M.middleware(f)
  if type(f) ~= "function" then
    misuse.blame(
      core.TypeError, "middleware: a function of request and handler was expected, got " .. misuse.describe(f)
    )
  end
  return f
end

-- Does the path lead to a handler of the method?
local function leads(request, path)
  local router = request._apps[1].router
  return (router:_resolve(request.method, path, request.host)) ~= nil
end

local normalize_options = { "append_slash", "remove_slash", "merge_slashes", "redirect_class" }

--- Redirects requests for paths that nobody handles to one that somebody does: with a slash at the end, or without
--- it, or with slashes merged that stand side by side.
---@param opts? { append_slash: boolean, remove_slash: boolean, merge_slashes: boolean, redirect_class: table }
---@return function
function M.normalize_path_middleware(opts)
  core.options(opts, normalize_options, "normalize_path_middleware")
  opts = opts or {}
  local append, remove = opts.append_slash ~= false, opts.remove_slash
  if opts.append_slash == nil and remove then append = false end
  if append and remove then
    misuse.blame(core.ValueError, "normalize_path_middleware: append_slash and remove_slash cannot both be set")
  end
  local merge, redirect = opts.merge_slashes ~= false, opts.redirect_class or errors.HTTPPermanentRedirect

  return async(function(request, handler)
    if not request._route.system then return await(handler(request)) end
    local path, query = request._raw_path_only, request.raw_query_string
    local candidates = {}
    local merged = merge and path:gsub("//+", "/") or path
    if merge then candidates[1] = merged end
    if append and path:sub(-1) ~= "/" then
      candidates[#candidates + 1] = path .. "/"
      candidates[#candidates + 1] = merged .. "/"
    elseif remove and path:sub(-1) == "/" then
      candidates[#candidates + 1] = path:sub(1, -2)
      candidates[#candidates + 1] = (merged:gsub("/$", ""))
    end
    for _, candidate in ipairs(candidates) do
      candidate = candidate:gsub("^//+", "/") -- "//host" would lead to another host
      if candidate ~= path and leads(request, candidate) then
        error(redirect(query ~= "" and candidate .. "?" .. query or candidate), 0)
      end
    end
    return await(handler(request))
  end)
end

--- Pages in place of the plain text of errors: `web.error_pages{ [404] = function(request, err) return response end }`.
--- What is not an HTTP error counts as a 500, and is reported.
---@param pages table<integer, fun(request: http.web.Request, err: any): http.web.Response>
---@return function
function M.error_pages(pages)
  if type(pages) ~= "table" then
    misuse.blame(
      core.TypeError, "error_pages: a table of functions by status was expected, got " .. misuse.describe(pages)
    )
  end
  for status, page in next, pages do
    if math.type(status) ~= "integer" or type(page) ~= "function" then
      misuse.blame(
        core.TypeError,
        "error_pages: functions by status were expected, got " .. tostring(status) .. " = " .. misuse.describe(page)
      )
    end
  end

  local function show(page, request, err)
    local response = page(request, err)
    if core.isawaitable(response) then response = await(response) end
    return response
  end

  return async(function(request, handler)
    local trace
    local ok, result = xpcall(function() return await(handler(request)) end, function(err)
      if type(err) ~= "table" or not err.is_http_exception then trace = debug.traceback("", 2) end
      return err
    end)
    if ok then
      local page = type(result) == "table" and result.is_response and pages[result.status]
      if page and not result.prepared then return show(page, request, result) end
      return result
    end
    local http = type(result) == "table" and result.is_http_exception
    local page = pages[http and result.status or 500]
    if not page or request._x:started() then error(result, 0) end
    if not http then
      core.get_running_loop():call_exception_handler {
        message = "Error handling request", exception = result, traceback = trace,
        request = ("%s %s"):format(request.method, request.raw_path),
      }
    end
    return show(page, request, result)
  end)
end

return M
