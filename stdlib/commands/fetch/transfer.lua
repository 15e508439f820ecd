--- One URL of `moonloop fetch`: the request, its answer into a file or to standard output, again if that was asked for.

local asyncio = require "asyncio"
local body = require "commands.fetch.body"
local client = require "commands.client"
local core = require "asyncio.core"
local output = require "commands.fetch.output"
local resume = require "commands.fetch.resume"
local text = require "tty.text"
local trace = require "commands.fetch.trace"

local await, isinstance = core.await, core.isinstance

local M = {}

--- Answers after which the same request may have another one (curl's list).
local passing = { [408] = true, [429] = true, [500] = true, [502] = true, [503] = true, [504] = true }

local FetchError = core.Exception:extend("FetchError")

local function fail(response, reason, fields)
  local shown = require("http.client.errors").shown(response.url)
  error(FetchError(("%s %s: %s"):format(response.method, shown, reason), fields), 0)
end

--- The status is an error.
local function refuse(response)
  local status = response.status
  fail(response, ("%d %s"):format(status, response.reason), { passing = passing[status], response = response })
end

---@class commands.fetch.Job
---@field url string
---@field given table the options
---@field session any
---@field path string? the file; nil: standard output
---@field named boolean? the server may name the file (--remote-header-name)
---@field continue boolean the file is there in part
---@field began boolean? this run has written to the file
---@field asked number? the loop's time when it was last asked for
---@field response any? the answer of the last attempt
---@field size integer? bytes of its body
---@field wrong string? why it failed
---@field tell fun(message: string) a line for standard error

-- ---- the request ----

local function add_headers(opts, more)
  opts.headers = opts.headers or {}
  for name, value in next, more do opts.headers[name] = value end
end

--- Adds what is asked for besides: parts, the rest of a file, encodings. Gives the size of what there is of the file.
local function ask_for(job, method, opts)
  local given, size = job.given, 0
  if given.range then add_headers(opts, { Range = "bytes=" .. given.range }) end
  if job.path and not given.compressed or given.no_compressed then
    add_headers(opts, { ["Accept-Encoding"] = "identity" })
  end
  if given.referer then add_headers(opts, { Referer = given.referer }) end
  if job.path and job.continue and method == "GET" then
    local condition
    size, condition = resume.found(job.path)
    if size > 0 then add_headers(opts, resume.headers(size, condition)) end
  end
  opts.allow_redirects = not given.no_location
  opts.cookies = given.cookies
  return size
end

-- ---- the answer ----

--- Where the answer's bytes belong in the file, and how long that will be (nil: nobody knows); nil if it is complete.
local function place_of(job, response, size)
  local status = response.status
  local first, total = resume.range(response)
  if size > 0 and status == 416 then
    if total == size then return nil end
    job.tell(("what there is of %s is no part of what the server has: from the beginning"):format(job.path))
    return 0, nil, true
  end
  if status >= 400 then
    refuse(response)
  elseif size > 0 and status == 206 then
    if first ~= size then fail(response, "the server sent another part than it was asked for") end
    return first, total or nil
  end
  if size > 0 then
    job.tell(("%s is downloaded from the beginning: it has changed, or cannot be continued"):format(job.path))
  end
  local length = response.content_length
  return 0, not response.headers:get("Content-Encoding") and length or nil
end

local function head_text(response)
  local lines = { trace.head(response) }
  local array = response.headers:array()
  for i = 1, #array, 2 do lines[#lines + 1] = array[i] .. ": " .. array[i + 1] end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

--- Copies the body, no faster than it may be, under a progress bar.
local function copy(job, response, out, total)
  local given, loop = job.given, core.get_running_loop()
  local bar <close> = asyncio.progress(total, {
    bytes = true, desc = job.path and job.path:match("[^/]*$"), initial = out.size,
    disable = given.silent or not job.path and job.to_terminal,
  })
  local begun, done, limit = loop:time(), 0, given.limit_rate
  local content, piece = response.content, limit and math.max(1, math.min(65536, limit // 10)) or 262144
  while true do
    local n = out:receive(content, piece)
    if not n then break end
    bar:update(n)
    done = done + n
    job.size = done
    if limit then
      local early = begun + done / limit - loop:time()
      local left = given.max_time and job.asked + given.max_time - loop:time() or early
      await(core.sleep(math.max(0, math.min(early, left))))
      if left < early then error(require("http.client.errors").timeout("total", response, given.max_time), 0) end
    end
  end
end

local function set_time(job, response)
  local modified = response.headers:get("Last-Modified")
  local when = modified and require("http.dates").parse(modified)
  if when then await(require("fs").utime(job.path, when, when)) end
end

--- The file's name as the server says it, without a way to another folder. Gives whether the file must be a new one.
local function rename(job, response)
  local disposition = response.content_disposition
  local name = disposition and disposition.filename and M.safe_name(disposition.filename)
  if not name then return false end
  name = name:gsub("^%.", "_") -- not among the hidden ones
  job.path = job.folder and job.folder .. "/" .. name or name
  return not job.began
end

--- The job's file, from `offset` on.
local function open(job, response, offset, new)
  local ok, out = pcall(output.file, job.path, offset, new)
  if ok then return out end
  if new and isinstance(out, core.OSError) and out.code == "EEXIST" then
    fail(response, ("there is a file '%s' already"):format(text.printable(job.path)))
  end
  error(out, 0)
end

local function into_file(job, response, size)
  local new = job.named and rename(job, response)
  local offset, total, again = place_of(job, response, size)
  if again then
    response:release()
    resume.forget(job.path)
    job.continue = false
    return M.attempt(job)
  elseif not offset then
    resume.forget(job.path)
    return
  end
  local out <close> = open(job, response, offset, new)
  job.began = true
  if offset == 0 then resume.note(job.path, response) end
  if job.given.include and offset == 0 then
    resume.forget(job.path)
    out:write(head_text(response))
  end
  copy(job, response, out, total)
  out:finish()
  resume.forget(job.path)
  if job.given.remote_time then set_time(job, response) end
end

local function to_stdout(job, response)
  local given = job.given
  if given.fail and response.status >= 400 then
    refuse(response)
  end
  local out <close> = output.stdout(job.to_terminal and not job.forced)
  if given.include or given.head then out:write(head_text(response)) end
  local length = not response.headers:get("Content-Encoding") and response.content_length or nil
  copy(job, response, out, response.method ~= "HEAD" and length or nil)
  out:finish()
end

--- One request and its answer. Raises what went wrong. Awaits by itself.
---@param job commands.fetch.Job
function M.attempt(job)
  local url, method, opts, _ <close> = body.of(job.given, job.url)
  local size = ask_for(job, method, opts)
  job.asked = core.get_running_loop():time()
  local response <close> = await(job.session:request(method, url, opts))
  job.response, job.size = response, 0
  if job.given.verbose then trace.response(response) end
  if passing[response.status] and job.may_retry then
    refuse(response)
  end
  if job.path and method ~= "HEAD" then return into_file(job, response, size) end
  to_stdout(job, response)
end

-- ---- again ----

--- May the same request go better another time?
local function transient(err)
  if isinstance(err, FetchError) then return err.passing == true end
  local http = require "http"
  return isinstance(err, http.ClientConnectionError) and not isinstance(err, http.ClientSSLError)
    and not isinstance(err, http.ServerFingerprintMismatch)
    or isinstance(err, http.ClientPayloadError) or isinstance(err, core.TimeoutError)
end

--- Seconds until the next attempt: what the server says, else 1, 2, 4, ... 60.
local function delay(job, err, attempt)
  local value = isinstance(err, FetchError) and err.response and err.response.headers:get("Retry-After")
  local seconds = value and tonumber(value:match("^%s*(%d+)%s*$"))
  if value and not seconds then
    local when = require("http.dates").parse(value)
    seconds = when and when - os.time()
  end
  if seconds then return math.max(0, math.min(seconds, 3600)) end
  return job.given.retry_delay or math.min(2 ^ (attempt - 1), 60)
end

-- The job, with as many attempts as there may be. Gives true, or false after it was told what went wrong.
local function try(job)
  local retries = job.given.retry or 0
  for attempt = 1, retries + 1 do
    job.may_retry, job.attempts, job.response = attempt <= retries, attempt, nil
    local ok, err = pcall(M.attempt, job)
    if ok then return true end
    if isinstance(err, core.SystemExit) then error(err, 0) end
    local unread = isinstance(err, core.OSError) and err.code == "EPIPE" and not err.method -- nobody reads our output
    if type(err) ~= "table" or unread then error(err, 0) end
    local _, reason = client.reason(err)
    local message = text.printable(err.message and err.method and ("%s %s: %s"):format(err.method, err.url, reason)
      or err.message or tostring(err))
    if not job.may_retry or not transient(err) then
      job.wrong = message
      job.tell(message)
      return false
    end
    local seconds = delay(job, err, attempt)
    job.tell(("%s; again in %g s (%d of %d)"):format(message, seconds, attempt, retries))
    if job.path and job.began and not job.continue then
      local size, condition = resume.found(job.path)
      job.continue = size > 0 and condition ~= nil
    end
    await(core.sleep(seconds))
  end
end

--- Does a job to its end. Gives true, or false after it was told what went wrong.
---@param job commands.fetch.Job
---@return boolean
function M.run(job)
  job.begun = core.get_running_loop():time()
  local done = try(job)
  if job.given.write_out then require("commands.fetch.report").write(job) end
  return done
end

--- A name for a file in this folder: without slashes and control characters; nil for what is none.
---@param name string
---@return string?
function M.safe_name(name)
  name = name:match("[^/\\]*$"):gsub("[%c\127]", "_")
  if name == "" or name == "." or name == ".." then return nil end
  return name
end

return M
