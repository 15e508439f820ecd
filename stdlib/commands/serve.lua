--- moonloop serve: a static server for a folder.

local options = require "commands.options"

local help = [[
Usage: moonloop serve [options] [DIR]
Serves the files below a folder (default: the current one).

  --host HOST            where to listen (default 127.0.0.1; 0.0.0.0: for other machines, too)
  --port PORT            (default 8080; with --cert 8443; 0: a free one)
  --index NAME           the file that stands for its folder (may come again; default index.html)
  --no-list              folders without such a file are not listed: 403
  --no-compress          do not compress text (files x.br and x.gz beside x are still used)
  --follow-symlinks      links may lead out of the folder
  --max-age S            seconds that clients may keep what they got (default: nothing is said)
  --header 'NAME: VALUE' a header for every answer (may come again)
  --cert FILE            TLS with this certificate (PEM, with its chain)
  --key FILE             its private key, if it is not in the same file
  --workers N            so many processes
  --quiet                no line for each request
  -h, --help             print this text

Ends gracefully on Ctrl-C and SIGTERM.
]]

local kinds = {
  host = "list", port = "integer", index = "list", ["no-list"] = "flag", ["no-compress"] = "flag",
  ["follow-symlinks"] = "flag", ["max-age"] = "integer", header = "list", cert = "string", key = "string",
  workers = "integer", quiet = "flag",
}

-- --header's values, as pairs.
local function headers_of(given)
  local list = {}
  for _, text in ipairs(given or {}) do
    list[#list + 1] = { options.header("serve", text) }
  end
  return list
end

local function main(args)
  local given, words, rest = options.read("serve", args, kinds, help)
  if words[2] or rest[1] then options.misuse("serve", "one folder was expected, got '%s' too", words[2] or rest[1]) end
  if given.workers and given.workers < 1 then options.misuse("serve", "--workers: 1 or more was expected") end
  local web = require "http.web"
  local headers = headers_of(given.header)
  local app = web.Application()
  local dir = words[1] or "."
  local ok, err = pcall(app.router.add_static, app.router, "/", dir, {
    index = given.index or true, show_index = not given.no_list, follow_symlinks = given.follow_symlinks,
    max_age = given.max_age, compress = not given.no_compress,
  })
  if not ok then
    local core = require "asyncio.core"
    if core.isinstance(err, core.ValueError) then options.misuse("serve", "there is no folder '%s'", dir) end
    error(err, 0)
  end
  if #headers > 0 then
    app.on_response_prepare:append(function(_, response)
      for _, h in ipairs(headers) do response.headers[h[1]] = h[2] end
    end)
  end
  web.run_app(app, {
    host = given.host or "127.0.0.1", port = options.check_port("serve", given.port),
    ssl_context = options.tls("serve", given), access_log = not given.quiet, workers = given.workers,
  })
end

return main({ ... })
