--- A headless Chromium for specs, driven by its DevTools protocol.
---
---   local page <close> = browser.open(url)       -- inside a task
---   page:eval("document.title")                  -- the value of an expression (or of its promise)
---   page:wait("document.querySelector('li')")    -- until it is true

local asyncio = require "asyncio"
local helper = require "spec.helper"

local M = {}

--- The command, or nil where there is none: specs are skipped by name then.
function M.command()
  local _, out = helper.sh("command -v chromium || command -v chromium-browser || command -v google-chrome || true")
  return out:match("%S+")
end

local Page = {}
Page.__index = Page

--- Calls a method of the protocol and gives its result.
function Page:call(method, params)
  self.id = self.id + 1
  await(self.ws:send_json { id = self.id, method = method, params = params or require("json").object {} })
  while true do
    local answer = await(self.ws:receive_json(60 * helper.slow))
    if answer.id == self.id then
      if answer.error then error(method .. ": " .. answer.error.message) end
      return answer.result
    end
    self.events[#self.events + 1] = answer
  end
end

function Page:eval(expression)
  local answer = self:call("Runtime.evaluate", { expression = expression, awaitPromise = true, returnByValue = true })
  local thrown = answer.exceptionDetails
  if thrown then error("in the page: " .. (thrown.exception and thrown.exception.description or thrown.text)) end
  return answer.result.value
end

--- Waits until the expression is true, and gives its value.
function Page:wait(expression, seconds)
  local loop = asyncio.get_running_loop()
  local stop = loop:time() + (seconds or 60) * helper.slow
  while true do
    local value = self:eval(expression)
    if value and value ~= "" then return value end
    if loop:time() > stop then error("never true in the page: " .. expression) end
    await(asyncio.sleep(0.02))
  end
end

--- Errors that the page's scripts have not caught, and what they wrote by console.error.
function Page:errors()
  local list = {}
  self:eval("0")
  for _, event in ipairs(self.events) do
    local p = event.params
    if event.method == "Runtime.exceptionThrown" then
      local e = p.exceptionDetails
      list[#list + 1] = e.exception and e.exception.description or e.text
    elseif event.method == "Runtime.consoleAPICalled" and p.type == "error" then
      list[#list + 1] = tostring(p.args[1] and p.args[1].value)
    end
  end
  return list
end

function Page:__close()
  self.ws.drop()
  os.execute(("kill -s KILL -- -%d 2>/dev/null"):format(self.process.pid)) -- with all that it has started: they write to its folder
  await(self.process:wait())
end

--- The address of the first page, from the browser's own little server.
local function find_page(port)
  local reader, writer = await(asyncio.open_connection("127.0.0.1", port))
  writer:write(("GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n"):format(port))
  local head = await(reader:readuntil("\r\n\r\n"))
  local body = await(reader:readexactly(tonumber(head:lower():match("content%-length:%s*(%d+)"))))
  writer:close()
  return body:match('"webSocketDebuggerUrl":%s*"ws://[^/]+(/devtools/page/[^"]+)"')
end

--- Starts a browser with that page. Closing the page ends it.
function M.open(url)
  local folder = helper.tmpdir()
  local process = await(asyncio.create_subprocess_exec(M.command(), "--headless", "--no-sandbox", "--disable-gpu",
    "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--disable-background-networking",
    "--remote-debugging-port=0", "--user-data-dir=" .. folder, "about:blank",
    { stdout = asyncio.DEVNULL, stderr = asyncio.PIPE, start_new_session = true, add_env = { HOME = folder, TMPDIR = folder } }))
  helper.finally(function()
    if process.returncode == nil then os.execute(("kill -s KILL -- -%d 2>/dev/null"):format(process.pid)) end
  end)
  local port
  for line in process.stderr:lines() do
    port = math.tointeger(tonumber(line:match("^DevTools listening on ws://[^:]+:(%d+)/")))
    if port then break end
  end
  assert(port, "the browser did not start")
  local path
  assert(helper.eventually(function()
    path = find_page(port)
    return path
  end), "the browser has no page")
  local ws = require("spec.http.wsclient").connect(port, path, { settings = { max_msg_size = 0 } })
  local page = setmetatable({ ws = ws, process = process, id = 0, events = {} }, Page)
  page:call("Runtime.enable")
  page:call("Page.enable")
  page:call("Page.navigate", { url = url })
  page:wait("document.readyState == 'complete'")
  return page
end

return M
