--- An application, and the clients that others have written.

local asyncio = require "asyncio"
local helper = require "spec.helper"
local testing = require "http.testing"
local web = require "http.web"

local function app_of()
  local app = web.Application()
  app:add_routes {
    web.get("/json/{name}", async(function(request)
      local response = web.json_response { name = request.match_info.name, q = request.query.q, cookie = request.cookies.a }
      response:set_cookie("a", "b")
      return response
    end)),
    web.post("/form", async(function(request)
      local form = await(request:post())
      return web.json_response {
        key = form.key, filename = form.file and form.file.filename, file = form.file and await(form.file:read()),
      }
    end)),
    web.post("/echo", async(function(request)
      local response = web.StreamResponse()
      await(response:prepare(request))
      while true do
        local data = await(request.content:read(1000))
        if not data or data == "" then break end
        await(response:write(data))
      end
      return response
    end)),
    web.get("/moved", function() error(web.HTTPFound("/json/there?q=1")) end),
  }
  return app
end

-- Runs a program with the server's URL as its argument while the application is served; gives what it prints.
-- `interpreter` is a command line: node --no-warnings, because Node 18 calls File experimental.
local function talk(interpreter, source, suffix)
  local program, out = helper.tmpfile(source, suffix), nil
  asyncio.run(async(function()
    local server <close> = await(testing.TestServer(app_of()):start_server())
    local command = ("exec %s %s %s"):format(interpreter, helper.quote(program), server:make_url(""))
    local process = await(asyncio.create_subprocess_shell(command, { stdout = asyncio.PIPE, stderr = asyncio.subprocess.STDOUT }))
    out = await(asyncio.wait_for(process:communicate(), 60 * helper.slow))
  end))
  return out
end

describe("an application talks to", function()
  it("Python's aiohttp", function()
    local out = talk("/usr/bin/python3", [[
import asyncio, sys, aiohttp
async def main(url):
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as s:
        async with s.get(url + "/json/j%C3%BCrgen", params={"q": "a b"}) as r:
            d = await r.json()
            print(r.status, r.content_type, d["name"], d["q"], r.cookies["a"].value)
        async with s.get(url + "/moved") as r:
            d = await r.json()
            print(r.status, r.url.path_qs, d["name"], d["cookie"])
        form = aiohttp.FormData()
        form.add_field("key", "value")
        form.add_field("file", b"\x00\x01" * 5000, filename="x.bin", content_type="application/octet-stream")
        async with s.post(url + "/form", data={"key": "v w"}) as r:
            print((await r.json())["key"])
        async with s.post(url + "/form", data={"key": "v", "file": open(sys.argv[0], "rb")}) as r:
            d = await r.json()
            print(d["key"], d["filename"].endswith(".py"), d["file"] == open(sys.argv[0]).read())
        async def pieces():
            for i in range(50):
                yield b"%d," % i * 100
        async with s.post(url + "/echo", data=pieces()) as r:
            print(len(await r.read()), r.headers["Transfer-Encoding"])
        rs = await asyncio.gather(*[s.get(url + "/json/%d" % i) for i in range(50)])
        print(sorted([int((await r.json())["name"]) for r in rs]) == list(range(50)))
asyncio.run(main(sys.argv[1].rstrip("/")))
]], ".py")
    assert.equal("200 application/json jürgen a b b\n200 /json/there?q=1 there b\nv w\nv True True\n14000 chunked\nTrue\n", out)
  end)

  it("Node's fetch", function()
    local out = talk("node --no-warnings", [[
const url = process.argv[2].replace(/\/$/, "");
(async () => {
  let r = await fetch(url + "/json/j%C3%BCrgen?q=a%20b");
  let d = await r.json();
  console.log(r.status, r.headers.get("content-type"), d.name, d.q, r.headers.get("set-cookie"));
  r = await fetch(url + "/moved");
  console.log(r.status, r.redirected, (await r.json()).name);
  const form = new FormData();
  form.append("key", "value");
  form.append("file", new Blob(["file text"]), "x.txt");
  r = await fetch(url + "/form", { method: "POST", body: form });
  d = await r.json();
  console.log(d.key, d.filename, d.file);
  r = await fetch(url + "/form", { method: "POST", body: new URLSearchParams({ key: "v w" }) });
  console.log((await r.json()).key);
  r = await fetch(url + "/echo", { method: "POST", body: "x".repeat(100000) });
  console.log((await r.text()).length);
  const all = await Promise.all([...Array(50).keys()].map(async (i) => (await (await fetch(url + "/json/" + i)).json()).name));
  console.log(all.every((name, i) => name === String(i)));
})();
]], ".js")
    assert.equal("200 application/json; charset=utf-8 jürgen a b a=b; Path=/\n200 true there\nvalue x.txt file text\nv w\n100000\ntrue\n", out)
  end)
end)
