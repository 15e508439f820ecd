--- Certificates for specs, made once by spec/certs.sh and kept beside what is built. `certs.path "good.pem"` is a path,
--- `certs.server()` and `certs.client()` are contexts that fit each other.

local helper = require "spec.helper"

local M = {}

local PERIOD = 20 * 86400 -- seconds; they are good for 60 days

local function made(folder)
  local f = io.open(folder .. "/made")
  if f then f:close() end
  return f ~= nil
end

--- Several spec files may do this at the same time: the folder gets its name when it is complete, and
--- whoever comes second takes the first one's.
local function make()
  local build = helper.moonloop:match("^(.*)/[^/]*$") or "build"
  local folder = ("%s/test/certs-1-%d"):format(build, os.time() // PERIOD)
  if made(folder) then return folder end
  local _, _, err = helper.sh(([[mkdir -p %s && new=$(mktemp -d %s.XXXXXX) && chmod 755 $new &&
    sh spec/certs.sh $new && date > $new/made && mv -T $new %s || { rm -rf $new; false; }]])
    :format(folder:match("^(.*)/"), folder, folder))
  assert(made(folder), "spec/certs.sh failed: " .. err)
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
