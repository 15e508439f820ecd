--- .netrc: what is understood of it, and who uses it.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local netrc = require "http.client.netrc"

local function pair(text, host)
  local hosts, default = netrc.parse(text)
  local found = hosts[host] or default
  return found and found.login .. ":" .. found.password
end

describe("netrc.parse", function()
  it("reads machines, in one line or many", function()
    local text = "machine a.test login joe password secret\nmachine b.test\n\tlogin ann\n\tpassword p2 account x\n"
      .. "default user any password none\n"
    assert.equal("joe:secret", pair(text, "a.test"))
    assert.equal("ann:p2", pair(text, "b.test"))
    assert.equal("any:none", pair(text, "c.test"))
    assert.is_nil(pair("machine a login b password c", "d"))
  end)

  it("knows comments, quotes, macros, and takes the first of several", function()
    assert.equal("a b:c\"d#", pair('# machine a login x\nmachine a login "a b" password "c\\"d#" # end', "a"))
    assert.equal("u:p#q", pair("machine a login u password p#q", "a"))
    assert.equal("u:p", pair("macdef init\nmachine a login x\nbye\n\nmachine a login u password p", "a"))
    assert.equal("u:p", pair("machine A.Test login u password p\nmachine a.test login v password q", "a.test"))
    assert.equal("u:", pair("machine a login u", "a"))
  end)

  it("passes over what makes no sense", function()
    for _, text in ipairs { "", "machine", "machine a", "machine a login", "login x password y", '"', "\\", "#", "default",
      "machine a bogus login b", "macdef x", 'machine "a', ("\0"):rep(10), "machine a password \"" } do
      netrc.parse(text)
    end
    assert.equal("b:", pair("machine a bogus login b", "a"))
  end)
end)

describe("sessions with trust_env", function()
  it("send what .netrc has for the host, unless something else is asked for", function()
    asyncio.run(function()
      local server <close> = await(asyncio.start_server(async(function(reader, writer)
        asyncio.catch(function()
          while true do
            local head = await(reader:readuntil("\r\n\r\n"))
            local text = head:match("\r\nAuthorization: ([^\r]*)") or "none"
            writer:write(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"):format(#text, text))
          end
        end)
        writer:close()
      end), "127.0.0.1", 0))
      local file = helper.tmpfile("machine 127.0.0.1 login u password p\n")
      local script = helper.tmpfile([[
        local http = require "http"
        for _, trusted in ipairs { true, false } do
          local s <close> = http.ClientSession { trust_env = trusted }
          for _, opts in ipairs { {}, { auth = http.BasicAuth("a", "b") }, { headers = { Authorization = "x" } } } do
            local r <close> = await(s:get(arg[1], opts))
            print(await(r:text()))
          end
        end
        local s <close> = http.ClientSession { trust_env = true }
        local r <close> = await(s:get((arg[1]:gsub("127.0.0.1", "localhost"))))
        print(await(r:text()))
        for i = 1, 4 do -- the same again, after one with credentials of its own: by the short way where that can be
          local again <close> = await(s:get(arg[1], i == 1 and { auth = http.BasicAuth("a", "b") } or nil))
          io.write(await(again:text()), ";")
        end]], ".lua")
      for _, row in ipairs { { file, "Basic dTpw" }, { "/no/such/file", "none" }, { "/", "none" } } do
        local proc = await(asyncio.create_subprocess_exec(helper.moonloop, script,
          ("http://127.0.0.1:%d/"):format(server.sockets[1].port), {
            stdout = asyncio.subprocess.PIPE,
            env = { NETRC = row[1], PATH = os.getenv("PATH"), MOONLOOP_STDLIB = os.getenv("MOONLOOP_STDLIB") },
          }))
        assert.equal(row[2] .. "\nBasic YTpi\nx\nnone\nBasic YTpi\nx\nnone\nBasic YTpi;" .. (row[2] .. ";"):rep(3),
          (await(proc:communicate())))
      end
    end)
  end)
end)
