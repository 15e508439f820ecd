--- moonloop fetch: gets URLs, sends data, downloads files.

local body = require "commands.fetch.body"
local client = require "commands.client"
local core = require "asyncio.core"
local options = require "commands.options"
local text = require "tty.text"

local help = [[
Usage: moonloop fetch [options] URL...
Prints what a server answers, or downloads it into files. Redirects are followed.

  -o, --output FILE       into a file (again: for the next URL); -: standard output
  -O, --remote-name       into a file that is named as the URL ends
  -J, --remote-header-name   the same, as the server says (never over a file that is there)
      --output-dir DIR    where files are put; made if it is not there
  -C -, --continue        go on with a file that is there in part (what FILE.fetch knows of it makes sure that it is
                          still the same)
  -R, --remote-time       the file gets the server's time
]] .. body.help .. client.help .. [[
  -L, --location          (redirects are followed anyway); --no-location: they are not
      --max-redirs N      10; 0: none are followed
  -b, --cookie DATA       'a=1; b=2', or a file that --cookie-jar has written
  -c, --cookie-jar FILE   cookies are saved there at the end
  -e, --referer URL
  -r, --range RANGE       a part: 0-499, 500-, -500
  -I, --head              headers alone (HEAD); -i, --include: headers, too
  -f, --fail              an answer of 400 and above is an error (into files it always is)
      --compressed        encodings are asked for and undone: so to standard output, unless --no-compressed, and into
                          files only with this option
  -m, --max-time T        for each request: 30s, 5m; none unless given
      --read-timeout T    how long nothing may come (60s); 0: any time
      --retry N           again after errors that may pass (connections, time-outs, 408, 429, 500, 502, 503, 504);
                          a download goes on where it was; --retry-delay T instead of 1, 2, 4, ... seconds
      --limit-rate SIZE   bytes a second: 500K, 2M
      --parallel N        so many URLs at a time
  -s, --silent            no progress bar, no messages; with -S, --show-error: messages
  -w, --write-out FORMAT  after each URL: '%{http_code} %{size_download} %{time_total} %header{etag}\n'...
  -v, --verbose           what is sent and received
  -h, --help              print this text

Exit status: 0; 1 if a URL failed; 2 for misuse; 130 after Ctrl-C.
]]

local kinds = client.with(client.with(client.kinds, body.kinds), {
  output = "list", ["remote-name"] = "flag", ["remote-header-name"] = "flag", ["output-dir"] = "string",
  ["continue-at"] = "string", continue = "flag", ["remote-time"] = "flag", location = "flag", ["no-location"] = "flag",
  ["max-redirs"] = "integer", cookie = "list", ["cookie-jar"] = "string", referer = "string", range = "string",
  head = "flag", include = "flag", fail = "flag", compressed = "flag", ["no-compressed"] = "flag",
  ["max-time"] = "duration", ["read-timeout"] = "duration", retry = "integer", ["retry-delay"] = "duration",
  ["limit-rate"] = "size", parallel = "integer", silent = "flag", verbose = "flag",
  ["show-error"] = "flag", ["write-out"] = "string",
})
local short = client.with(client.with(client.short, body.short), {
  o = "output", O = "remote-name", J = "remote-header-name", C = "continue-at", R = "remote-time", L = "location",
  b = "cookie", c = "cookie-jar", e = "referer", r = "range", I = "head", i = "include", f = "fail", m = "max-time",
  s = "silent", S = "show-error", v = "verbose", w = "write-out",
})

local function misuse(...) options.misuse("fetch", ...) end

--- What cannot be, whatever the server says.
local function check(given, words)
  if not words[1] then misuse("a URL is missing") end
  if given.continue_at and given.continue_at ~= "-" then
    misuse("-C: '-' was expected, got '%s'", given.continue_at)
  end
  if given.continue_at then given.continue = true end
  if given.range and not given.range:find("^%d*%-%d*$") then
    misuse("--range: '0-499' was expected, got '%s'", given.range)
  end
  if given.range and given.continue then misuse("--range and --continue exclude each other") end
  if given.head and (given.output or given.remote_name) then misuse("--head is not for files") end
  if given.parallel and given.parallel < 1 then misuse("--parallel: 1 or more was expected") end
  if given.limit_rate and given.limit_rate < 1 then misuse("--limit-rate: more than 0 was expected") end
  if given.referer and given.referer:find("%c") then misuse("--referer has control characters") end
  local unknown = given.write_out and require("commands.fetch.report").unknown(given.write_out)
  if unknown then misuse("--write-out: there is no %%{%s}", unknown) end
  if given.remote_header_name then given.remote_name = true end
  if given.max_redirs == 0 then given.no_location, given.max_redirs = true, nil end
end

--- The file for the nth URL: path, folder, whether the server names it; nothing for standard output.
local function file_for(given, url, n)
  local transfer = require "commands.fetch.transfer"
  local path, named = given.output and given.output[n], false
  if path == "-" then return nil, nil, false, true end
  if not path and given.remote_name then
    local name = require("url").parse(url).name
    path, named = name and transfer.safe_name(name), given.remote_header_name or false
    if not path and not named then misuse("'%s' does not end with a file's name (-o FILE)", url) end
  end
  if path and given.output_dir and path:sub(1, 1) ~= "/" then path = given.output_dir .. "/" .. path end
  return path or named and "download" or nil, given.output_dir, named, false
end

local function jobs_of(given, words, session)
  local tty = require "tty"
  local jobs, taken = {}, {}
  local ok, terminal = pcall(tty.isatty, 1)
  for i, word in ipairs(words) do
    local url = client.url("fetch", word)
    local path, folder, named, forced = file_for(given, url, i)
    if given.continue and not path then misuse("--continue is for files (-o, -O)") end
    if (given.parallel or 1) > 1 and not path then misuse("--parallel is for files (-o, -O)") end
    if path and not named then
      if taken[path] and path:sub(1, 5) ~= "/dev/" then misuse("two URLs are for the same file, '%s'", path) end
      taken[path] = true
    end
    jobs[i] = {
      url = url, given = given, session = session, path = path, folder = folder, named = named, forced = forced,
      to_terminal = ok and terminal, continue = given.continue or false,
      tell = function(message)
        if given.silent and not given.show_error then return end
        io.stderr:write("moonloop fetch: ", text.printable(message), "\n")
      end,
    }
  end
  return jobs
end

--- --cookie: pairs for each request, or a file for the jar.
local function take_cookies(given, jar)
  for _, value in ipairs(given.cookie or {}) do
    if value:find("=", 1, true) then
      given.cookies = given.cookies or {}
      for pair in value:gmatch("[^;]+") do
        local name, content = pair:match("^%s*([^=]-)%s*=%s*(.-)%s*$")
        if name then given.cookies[name] = content end
      end
    else
      local ok, err = pcall(core.await, jar:load(value))
      if not ok then misuse("--cookie: %s", type(err) == "table" and err.message or tostring(err)) end
    end
  end
end

local function session_for(given)
  local http = require "http"
  local jar = http.CookieJar { unsafe = true } -- hosts that are addresses have cookies, too
  take_cookies(given, jar)
  local silence = given.read_timeout or 60
  return client.session("fetch", given, {
    limit = math.max(given.parallel or 1, 10), timeout = given.max_time or false,
    silence = silence > 0 and silence or nil,
    cookie_jar = jar, max_redirects = given.max_redirs,
    trace_configs = given.verbose and { require("commands.fetch.trace").config() } or nil,
  }), jar
end

--- What the file system does not let us do. Gives the status.
local function complain(given, what, err)
  if not given.silent or given.show_error then
    io.stderr:write("moonloop fetch: ", text.printable(("%s: %s"):format(what, select(2, client.reason(err)))), "\n")
  end
  return 1
end

local function run(given, words)
  local asyncio, transfer = require "asyncio", require "commands.fetch.transfer"
  local session <close>, jar = session_for(given)
  given.headers_of = client.headers("fetch", given)
  local jobs = jobs_of(given, words, session)
  if given.output_dir then
    local ok, err = pcall(core.await, require("fs").mkdir(given.output_dir, { parents = true, exist_ok = true }))
    if not ok then return complain(given, "--output-dir", err) end
  end
  local failed, next_job = false, 1
  local worker = core.async(function()
    while jobs[next_job] do
      local job = jobs[next_job]
      next_job = next_job + 1
      if not transfer.run(job) then failed = true end
    end
  end, "fetch")
  local workers = {}
  for i = 1, math.min(given.parallel or 1, #jobs) do workers[i] = worker() end
  core.await(asyncio.gather(workers))
  if given.cookie_jar then
    local ok, err = pcall(core.await, jar:save(given.cookie_jar))
    if not ok then return complain(given, "--cookie-jar", err) end
  end
  return failed and 1 or 0
end

local function main(args)
  local given, words, rest = options.read("fetch", args, kinds, help, short)
  table.move(rest, 1, #rest, #words + 1, words)
  check(given, words)
  client.run(core.async(function() return run(given, words) end, "fetch")())
end

return main({ ... })
