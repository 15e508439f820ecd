--- An application for other people's clients, and how to run those.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local testing = require "http.testing"
local web = require "http.web"

local M = {}

--- What large bodies are compared by.
function M.sum(s)
  local a, b = 1, 0
  for i = 1, #s do
    a = (a + s:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b << 16 | a
end

--- "0123456789..." of so many bytes.
function M.digits(n) return (("0123456789"):rep(n // 10 + 1):sub(1, n)) end

--- GET /, /digits/{n}, /stream/{n}, /echo-headers, /slow; POST /echo, /form; HEAD as GET; /files below `folder`.
function M.application(folder)
  local app = web.Application { client_max_size = 8 << 20 }
  app:add_routes {
    web.get("/", async(function() return web.Response { text = "hello" } end)),
    web.get("/digits/{n}", async(function(request) return web.Response { body = M.digits(tonumber(request.match_info.n)) } end)),
    web.get("/stream/{n}", async(function(request)
      local response = web.StreamResponse()
      await(response:prepare(request))
      for i = 1, tonumber(request.match_info.n) do await(response:write(("line %d\n"):format(i))) end
      await(response:write_eof())
      return response
    end)),
    web.get("/about", async(function(request)
      return web.json_response {
        version = request._x:version(), scheme = request.scheme, agent = request.headers["User-Agent"],
        forwarded = request.headers["X-Forwarded-For"], query = request.query.q, cookies = request.cookies,
      }
    end)),
    web.get("/slow", async(function()
      await(asyncio.sleep(0.05))
      return web.Response { text = "slow" }
    end)),
    web.get("/error", async(function() error("on purpose") end)),
    web.post("/echo", async(function(request) return web.Response { body = await(request:read()) } end)),
    web.post("/form", async(function(request)
      local form = await(request:post())
      return web.json_response { a = form.a, b = form:getall("b") }
    end)),
  }
  if folder then app.router:add_static("/files", folder) end
  return app
end

--- Runs f(server) with that application served; nothing is logged. opts: of TestServer, folder.
function M.serve(f, opts)
  opts = opts or {}
  local app = M.application(opts.folder)
  asyncio.run(async(function()
    asyncio.get_running_loop():set_exception_handler(function() end)
    local server <close> = testing.TestServer(app, { ssl = opts.ssl, settings = opts.settings })
    await(server:start_server())
    local _ <close> = asyncio.timeout(60 * helper.slow)
    f(server)
  end)())
end

--- What a program prints, which must succeed. The last argument may be {stdin = }.
function M.run(program, ...)
  local args, input = table.pack(...), nil
  if type(args[args.n]) == "table" then
    input, args[args.n] = args[args.n].stdin, nil
  end
  args[#args + 1] = {
    stdin = input and asyncio.subprocess.PIPE or asyncio.subprocess.DEVNULL,
    stdout = asyncio.subprocess.PIPE, stderr = asyncio.subprocess.PIPE,
  }
  local process <close> = await(asyncio.create_subprocess_exec(program, table.unpack(args)))
  local out, err = await(process:communicate(input))
  if process.returncode ~= 0 then error(("%s: status %d: %s"):format(program, process.returncode, err), 2) end
  return out, err
end

return M
