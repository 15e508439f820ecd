--- make amalgam: the library as one file of C, which a host compiles with its own.

local helper = require "spec.helper"

local build = helper.moonloop:match("^(.*)/moonloop$") or "build"

local function sh(command, opts) -- a compiler takes its time on a busy machine
  local status, out, err = helper.sh(command, opts or { timeout = 170 * helper.slow })
  assert.equal(0, status, command .. "\n" .. out .. err)
  return out
end

local dir -- moonloop.c and moonloop.h, made once for all

setup(function()
  dir = sh("mktemp -d"):gsub("\n", "")
  sh(("%s tools/amalgam.lua %s"):format(helper.moonloop, dir))
end)
teardown(function() os.execute("rm -rf " .. dir) end)

local warnings = "-std=c11 -Wall -Wextra -Werror"
local packages = "lua5.4 libuv"

describe("the amalgamation", function()
  it("has the whole standard library as source", function()
    local f <close> = assert(io.open(dir .. "/moonloop.c"))
    local text, missing = f:read("a"), {}
    for path in sh("find stdlib -name '*.lua'"):gmatch("stdlib/([^\n]+)") do
      if not text:find('"@moonloop/' .. path .. '"', 1, true) then missing[#missing + 1] = path end
    end
    assert.same({}, missing)
  end)

  if build ~= "build" then return end -- it is the same in a sanitizer's build, and takes long

  it("is compiled without a warning with a host that runs two engines, serves TCP, reads files, uses a thread", function()
    sh(("${CC:-cc} %s -I%s $(pkg-config --cflags %s) -o %s/host spec/tools/amalgam_host.c %s/moonloop.c "
      .. "$(pkg-config --libs %s) -lpthread -lm"):format(warnings, dir, packages, dir, dir, packages))
    local out = sh(dir .. "/host", { cwd = "/" })
    assert.equal(("hello from a file, client 1\nhello from a file, client 2\nhello from a file, client 3\na thread\n"), out)
    assert.equal("", sh(("nm -D --defined-only %s/host | grep ' ml_' || true"):format(dir)), "hidden in the host")
  end)

  it("makes a library that exports what engine/moonloop.sym lists, with TLS if asked to", function()
    local tls = helper.has_tls() and " openssl" or ""
    sh(("${CC:-cc} %s -shared -fPIC -DML_BUILD %s -I%s $(pkg-config --cflags %s) -o %s/lib.so %s/moonloop.c "
      .. "$(pkg-config --libs %s) -lpthread -lm"):format(warnings, tls ~= "" and "-DML_WITH_TLS" or "", dir,
      packages .. tls, dir, dir, packages .. tls))
    assert.equal(sh("cat engine/moonloop.sym"),
      sh(("nm -D --defined-only %s/lib.so | sed -n 's/.* \\(ml_.*\\)/\\1/p' | LC_ALL=C sort"):format(dir)))
  end)
end)
