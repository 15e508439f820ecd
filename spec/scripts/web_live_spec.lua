-- The scripts whose pages live: the chat over WebSocket, the dashboard of server-sent events. Their pages run in Chromium.
local asyncio = require "asyncio"
local browser = require "spec.browser"
local helper = require "spec.helper"

if not pcall(require, "http.client.core") then return pending("built without HTTP") end
local http = require "http"

-- Starts a script that serves, and runs f(session, url) in a task.
local function serve(script, f)
  local _, log = helper.background(helper.quote(helper.moonloop) .. " scripts/" .. script)
  local port
  for _ = 1, 1200 * helper.slow do
    local file <close> = assert(io.open(log))
    port = file:read("a"):match("Running on http://127%.0%.0%.1:(%d+)")
    if port then break end
    os.execute("sleep 0.05")
  end
  assert(port, "it does not serve")
  asyncio.run(async(function()
    local session <close> = http.ClientSession { base_url = ("http://127.0.0.1:%s/"):format(port) }
    f(session, "http://127.0.0.1:" .. port .. "/")
  end))
  local file <close> = assert(io.open(log))
  assert.equal(2, select(2, file:read("a"):gsub("\n", "")), "it had something to say")
end

-- The next message of that type.
local function expect(ws, kind)
  while true do
    local message = await(ws:receive_json(60 * helper.slow))
    if message.type == kind then return message end
  end
end

describe("the script web_chat", function()
  it("lets people join, talk, and leave", function()
    serve("web_chat.lua 0", function(session)
      local ada <close> = await(session:ws_connect("chat"))
      await(ada:send_str("not JSON"))
      expect(ada, "error")
      await(ada:send_json { type = "join", name = ("x"):rep(21) })
      expect(ada, "error")
      await(ada:send_json { type = "join", name = " Ada " })
      assert.same({ "Ada" }, expect(ada, "welcome").people)
      local bob <close> = await(session:ws_connect("chat"))
      await(bob:send_json { type = "join", name = "Ada" })
      assert.equal("Ada is here already", expect(bob, "error").text)
      await(ada:send_json { type = "say", text = "first" })
      assert.equal("first", expect(ada, "said").text)
      await(bob:send_json { type = "join", name = "Bob" })
      local welcome = expect(bob, "welcome")
      assert.equal("first", welcome.history[1].text)
      assert.same({ "Ada", "Bob" }, expect(bob, "joined").people)
      await(bob:send_json { type = "say", text = "hi" })
      local said = expect(ada, "said")
      assert.same({ "Bob", "hi" }, { said.name, said.text })
      await(bob:close())
      assert.same({ "Ada" }, expect(ada, "left").people)
    end)
  end)

  if browser.command() then
    it("has a page that does", function()
      serve("web_chat.lua 0", function(session, url)
        local ada <close> = await(session:ws_connect("chat"))
        await(ada:send_json { type = "join", name = "Ada" })
        expect(ada, "joined")
        local page <close> = browser.open(url)
        page:wait("document.getElementById('status').textContent == 'connected'")
        local function enter(text)
          page:eval(("document.getElementById('input').value = %q; document.querySelector('button').click()"):format(text))
        end
        enter("Grace")
        assert.equal("Grace", expect(ada, "joined").name)
        page:wait("document.getElementById('people').textContent == 'AdaGrace'")
        enter("hello from the page")
        assert.equal("hello from the page", expect(ada, "said").text)
        await(ada:send_json { type = "say", text = "<b id=markup>no markup</b>" })
        page:wait("document.getElementById('log').textContent.includes('<b id=markup>')")
        assert.equal(false, page:eval("!!document.getElementById('markup')"))
        await(ada:close())
        page:wait("document.getElementById('log').textContent.includes('Ada has gone')")
        assert.same({}, page:errors())
      end)
    end)
  else
    pending("has a page that does: Chromium is not installed")
  end
end)

describe("the script web_dashboard", function()
  it("sends what a client has missed", function()
    serve("web_dashboard.lua 0", function(session)
      local function events(last)
        local resp <close> = await(session:get("events", { headers = { ["Last-Event-ID"] = last } }))
        local id = await(resp.content:readuntil("\n\n")):match("id: (%d+)\n")
        return tonumber(id)
      end
      assert.equal(1, events(""))
      assert.equal(2, events("1"))
      assert.equal(1, events("999999"))
    end)
  end)

  if browser.command() then
    it("has a page that draws what comes", function()
      serve("web_dashboard.lua 0", function(_, url)
        local page <close> = browser.open(url)
        page:wait("document.getElementById('status').textContent == 'live' && +document.body.dataset.drawn >= 3")
        assert.equal("1 ", page:wait("document.getElementById('watching').textContent == '1 ' && '1 '"))
        assert.is_truthy(page:eval("document.getElementById('memory').textContent"):find("^%d+%.%d%d MiB$"))
        -- something was painted in the plot's own colour
        assert.is_true(page:wait([[(() => { const c = document.querySelector("canvas");
          const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
          for (let i = 0; i < d.length; i += 4) if (d[i] > 200 && d[i + 1] < 120 && d[i + 3] > 200) return true;
          return false; })()]]))
        assert.same({}, page:errors())
      end)
    end)
  else
    pending("has a page that draws what comes: Chromium is not installed")
  end
end)
