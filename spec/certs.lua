--- Certificates for specs, made once by spec/certs.sh and kept beside what is built. `certs.path "good.pem"` is a path,
--- `certs.server()` and `certs.client()` are contexts that fit each other.

local helper = require "spec.helper"

local M = {}

local MAX_AGE = 20 * 86400 -- seconds; they are good for 60 days

local function make()
  local build = helper.moonloop:match("^(.*)/[^/]*$") or "build"
  local folder = build .. "/test/certs-1"
  local stamp = io.open(folder .. "/made")
  local made = stamp and tonumber(stamp:read("l") or "") or 0
  if stamp then stamp:close() end
  if os.time() - made < MAX_AGE then return folder end
  -- several spec files may do this at the same time: the folder is complete when it gets its name
  local new = ("%s.%d.%d"):format(folder, os.time(), math.random(1 << 30))
  local status, _, err = helper.sh(("sh spec/certs.sh %s && date +%%s > %s/made && rm -rf %s.old && { ! test -e %s || mv -T %s %s.old; } && mv -T %s %s")
    :format(new, new, folder, folder, folder, folder, new, folder))
  if status ~= 0 then
    local other = io.open(folder .. "/made")
    assert(other, "spec/certs.sh failed: " .. err)
    other:close()
    os.execute("rm -rf " .. new)
  end
  return folder
end

local folder

--- The path of a file that spec/certs.sh has made.
function M.path(name)
  folder = folder or make()
  return folder .. "/" .. name
end

--- A server's context with the certificate of that name ("good").
function M.server(name)
  local ssl = require "ssl"
  local context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
  name = name or "good"
  context:load_cert_chain(M.path(name .. ".pem"), M.path(name .. ".key"))
  return context
end

--- A client's context that trusts the root.
function M.client()
  return require("ssl").create_default_context({ cafile = M.path("root.pem") })
end

return M
