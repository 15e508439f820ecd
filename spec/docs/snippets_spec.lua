--- Every Lua example of the documents runs, in virtual time, and prints what the ```text block after it says. Those
--- marked `no-run` are only compiled.

local blocks = require "spec.docs.blocks"
local helper = require "spec.helper"

local documents = { "README.md", "ARCHITECTURE.md", "docs/guide.md", "docs/reference.md", "docs/embedding.md" }
for _, name in ipairs {
  "forms",
  "fs",
  "json",
  "mime",
  "reload",
  "repl",
  "serving",
  "task",
  "testing",
  "url",
  "web",
  "websocket",
  "http",
  "http2",
  "inspect",
  "zlib",
} do
  documents[#documents + 1] = "docs/reference/" .. name .. ".md"
end
for _, name in ipairs { "scheduler", "await", "cancellation", "memory", "streams", "sockets", "files", "testing" } do
  documents[#documents + 1] = "docs/internals/" .. name .. ".md"
end

for _, name in ipairs { "asyncio", "node", "luvit" } do documents[#documents + 1] = "docs/from/" .. name .. ".md" end

describe("the Lua example at", function()
  for _, block in ipairs(blocks.all(documents, "lua")) do
    it(block.name, function()
      if block.flags == "no-run" then
        assert(load(block.text, "=" .. block.name))
        return
      end
      local dir, name = helper.tmpdir(), block.name:match("([^/]*)%.md") .. ".lua"
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write(block.text)
      f:close()
      local arguments = { name }
      if not block.flags:find("real-time", 1, true) then table.insert(arguments, 1, "--virtual-time") end
      local status, out, err = helper.cli(arguments, { cwd = dir })
      assert.equal(block.flags:match("exit=(%d+)") or "0", tostring(status), err)
      if not block.flags:find("stderr", 1, true) then assert.equal("", err) end
      if block.output then assert.equal(block.output, out) end
    end)
  end
end)
