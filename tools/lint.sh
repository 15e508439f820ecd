#!/bin/bash
# Style and structure: luacheck, clang-format, clang-tidy, which headers may be
# included where, and what the shared library exports.
#   tools/lint.sh BUILD [COMPILER FLAGS...]
# Every check runs; the last line is 'N passed, N failed'.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
shift
flags=("$@")
passed=0 failed=0
check() { # TITLE COMMAND...
  local title=$1 out
  shift
  if out=$("$@" 2>&1); then
    printf '  ok      %s\n' "$title"
    passed=$((passed + 1))
  else
    printf '  FAILED  %s\n' "$title"
    printf '%s\n' "$out" | sed 's/^/    /'
    failed=$((failed + 1))
  fi
}

shopt -s nullglob globstar
c_sources=(engine/**/*.c bindings/**/*.c)
c_all=("${c_sources[@]}" {engine,bindings}/**/*.h {spec/embed,scripts/bench,scripts/hosts,spec/scripts}/**/*.[ch] scripts/hosts/**/*.[ch]pp spec/embed/*.cc {spec/,}tools/*.[ch])
lua_dirs=()
for d in stdlib scripts spec tools share; do [ -n "$(find $d -name '*.lua' 2>/dev/null | head -n 1)" ] && lua_dirs+=("$d"); done

tidy() {
  printf '%s\n' "${c_sources[@]}" |
    xargs -P "$(nproc)" -I{} sh -c 'f=$1; shift; clang-tidy --quiet "$f" -- -include tools/analyzer.h "$@" 2>/dev/null || { echo "in $f"; exit 1; }' sh {} "${flags[@]}"
}

# Arrows point one way: bindings -> engine -> Lua, libuv. A binding may include
# another's header only if it is a helper named here.
shared_helpers='inspector.h http/http.h http/hc.h http2/http2.h stream.h listen.h fdwatch.h socket.h tls.h process.h spawn.h stdfd.h executor.h datagram.h fs.h file.h http.h json.h'
includes() {
  local bad=0 f h
  for f in engine/**/*.[ch] bindings/**/*.[ch]; do
    while read -r h; do
      case $f in
      engine/*) if [ -e "bindings/$h" ] || [[ $h == *bindings/* ]]; then
        echo "$f includes $h: the engine knows no binding"
        bad=1
      fi ;;
      bindings/*)
        if [ -e "bindings/$h" ] && [ "$h" != "$(basename "${f%.*}").h" ] && [[ " $shared_helpers " != *" $h "* ]]; then
          echo "$f includes $h: bindings do not know each other (shared helpers: $shared_helpers)"
          bad=1
        fi
        ;;
      esac
    done < <(sed -n 's/^ *# *include *"\([^"]*\)".*/\1/p' "$f")
  done
  # The public header stands alone: no header of Lua, libuv or the engine.
  if grep -nE '^ *# *include' engine/moonloop.h | grep -vE '<(stddef|stdint|stdbool)\.h>'; then
    echo "engine/moonloop.h may include the C library's types only"
    bad=1
  fi
  for f in engine/cli/*.c; do
    if grep -nE '^ *# *include *"(core|\.\./)' "$f"; then
      echo "$f: the command is a client of moonloop.h alone"
      bad=1
    fi
  done
  return $bad
}

exports() {
  local extra
  extra=$(nm -D --defined-only "$build/libmoonloop.so" | awk '{ print $3 }' | grep -vE '^(ml_[a-z0-9]|luaopen_)')
  [ -z "$extra" ] && return
  echo "libmoonloop.so exports more than ml_* and luaopen_*:"
  echo "$extra"
  return 1
}

# No mutable globals: nothing of the library lies in .data or .bss (constants
# that need relocation have a section of their own). But for one: who handles a
# signal is the process's affair, see engine/watchdog.c.
globals() {
  local extra
  extra=$(nm -f sysv --defined-only "$build/libmoonloop.a" 2>/dev/null |
    awk -F'|' '$NF ~ /^(\.data|\.bss|\*COM\*)$/ && $1 !~ /^(\.|__|ml__watchdog *$)/ { print $1 }')
  [ -z "$extra" ] && return
  echo "mutable data in libmoonloop.a (make it const, or keep it in the engine):"
  echo "$extra"
  return 1
}

# luacheck reads plain Lua: what has the keywords is checked as what it becomes, line for line, in a
# copy of the tree; how long its lines are, as it is written.
lua_files() {
  local copy with files long
  copy=$(mktemp -d) || return
  trap "rm -rf '$copy'" RETURN
  cp -r .luacheckrc "${lua_dirs[@]}" "$copy" || return
  mapfile -t with < <(grep -rlE --include='*.lua' '\<(async (function|for|with)|await [A-Za-z_])' "${lua_dirs[@]}")
  mapfile -t files < <(find "${lua_dirs[@]}" -name '*.lua' | grep -vxF -f <(printf '%s\n' "${with[@]}"))
  for file in "${with[@]}"; do
    "$build/moonloop" translate -o "$copy/$file" "$file" || return
  done
  long=$(awk 'length > 120 { printf "%s:%d: line is too long\n", FILENAME, FNR }' \
    $(printf '%s\n' "${with[@]}" | grep -vE '^(spec|share/luals/library)/'))
  (cd "$copy" && luacheck -q --no-color --codes "${files[@]}" &&
    luacheck -q --no-color --codes --no-max-line-length --ignore '411/__async_with' '421/__async_with' '431/__async_with' \
      '211/__async_with' -- "${with[@]}") && [ -z "$long" ] || { echo "$long"; return 1; }
}

[ ${#lua_dirs[@]} -gt 0 ] && check "luacheck ${lua_dirs[*]}" lua_files
check clang-format clang-format --dry-run -Werror "${c_all[@]}"
check 'directions of includes' includes
check "what libmoonloop.so exports" exports
check "no mutable globals" globals
check clang-tidy tidy
echo
echo "$passed passed, $failed failed"
[ $failed = 0 ]
