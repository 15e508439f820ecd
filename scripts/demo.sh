#!/bin/bash
# Downloads the same pages twice with scripts/crawler.lua: one at a time, then
# all at once. The server is Python's http.server on this folder's docs; each
# answer takes 0.2 s more, as one from afar would.
#   scripts/demo.sh [MOONLOOP]
set -u
cd "$(dirname "$0")/.." || exit 1
moonloop=${1:-build/moonloop}
out=$(mktemp) || exit 1
server=
trap 'rm -f "$out"; [ -n "$server" ] && kill "$server" 2>/dev/null' EXIT

python3 - docs >"$out" <<'PYTHON' &
import functools, http.server, sys, time

class Slow(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        time.sleep(0.2)
        super().do_GET()

    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

handler = functools.partial(Slow, directory=sys.argv[1])
server = Server(("127.0.0.1", 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()
PYTHON
server=$!
for _ in $(seq 100); do
  [ -s "$out" ] && break
  sleep 0.05
done
port=$(cat "$out")
[ -n "$port" ] || { echo "demo: python3's http.server did not start" >&2; exit 1; }

# 20 pages: what docs has, round and round if that is less.
mapfile -t pages < <(cd docs && find . -type f -name '*.md' | sort | sed 's/^\.\///')
pages+=("")
urls=()
for ((i = 0; i < 20; i++)); do
  round=$((i / ${#pages[@]}))
  urls+=("http://127.0.0.1:$port/${pages[i % ${#pages[@]}]}$([ $round -gt 0 ] && echo "?again=$round")")
done

now() { date +%s%N; }
crawl() { # CONCURRENCY: sets took to milliseconds
  local from
  from=$(now)
  "$moonloop" scripts/crawler.lua -n "$1" --timeout 10 "${urls[@]}" || exit 1
  took=$((($(now) - from) / 1000000))
}

echo "== ${#urls[@]} pages, one at a time"
crawl 1
one=$took
echo
echo "== ${#urls[@]} pages, all at once"
crawl ${#urls[@]}
all=$took
echo
printf 'one at a time: %d.%03d s\nall at once:   %d.%03d s (%d times faster)\n' \
  $((one / 1000)) $((one % 1000)) $((all / 1000)) $((all % 1000)) $((one / (all > 0 ? all : 1)))
