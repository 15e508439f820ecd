if not require("spec.helper").has_tls() then return end

local helper = require "spec.helper"

--- Starts the server with a new certificate. Gives its port, its folder and its log.
local function server()
  local folder = helper.tmpdir()
  local _, log = helper.background(helper.moonloop .. " scripts/tls_echo_server.lua 127.0.0.1 0 " .. folder)
  for _ = 1, 3000 * helper.slow do
    local f <close> = assert(io.open(log))
    local port = f:read("a"):match("^listening on 127%.0%.0%.1:(%d+)\n")
    if port then return port, folder, log end
    os.execute("sleep 0.02")
  end
  error("no server")
end

describe("scripts: TLS:", function()
  it("tls_echo_server.lua answers tls_echo_client.lua, which verifies it", function()
    local port, folder = server()
    local status, out, err = helper.cli { "scripts/tls_echo_client.lua", "localhost", port, folder .. "/cert.pem" }
    assert.same({ 0, "" }, { status, err })
    assert.equal("connected to localhost, TLS_AES_256_GCM_SHA384 TLSv1.3 256\nhello\nis anybody listening?\nbye\n", out)
    -- 127.0.0.1 is in the certificate too
    assert.equal(0, (helper.cli { "scripts/tls_echo_client.lua", "127.0.0.1", port, folder .. "/cert.pem" }))
    -- another certificate than the server's
    local other = helper.tmpdir()
    assert.equal(0, (helper.sh("sh scripts/make_certificate.sh " .. other)))
    status, out, err = helper.cli { "scripts/tls_echo_client.lua", "localhost", port, other .. "/cert.pem" }
    assert.same({ 1, "" }, { status, out })
    assert.matches("SSLCertVerificationError: TLS handshake with 127.0.0.1:%d+ failed: %[SSL: CERTIFICATE_VERIFY_FAILED%]", err)
  end)

  it("tls_echo_server.lua answers openssl", function()
    local port, folder = server()
    local out = helper.tmpfile()
    helper.sh(("{ echo hello; for i in $(seq 1000); do grep -q '^hello' %s && break; sleep 0.02; done; } | openssl s_client -verify_return_error -CAfile %s/cert.pem -connect 127.0.0.1:%s >%s 2>&1")
      :format(out, folder, port, out))
    local f <close> = assert(io.open(out))
    assert.matches("\nhello\n", f:read("a"))
  end)

  it("tls_echo_client.lua says when there is nobody", function()
    local folder = helper.tmpdir()
    assert.equal(0, (helper.sh("sh scripts/make_certificate.sh " .. folder)))
    local status, _, err = helper.cli { "scripts/tls_echo_client.lua", "127.0.0.1", tostring(helper.unused_port()), folder .. "/cert.pem" }
    assert.equal(1, status)
    assert.matches("connection refused", err)
  end)
end)
