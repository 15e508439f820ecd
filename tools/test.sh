#!/bin/bash
# Runs specs and host programs against a build and adds up the counts.
#   tools/test.sh BUILD [specs] [embed] [cxx] [oom] [-- SPEC_FILE...]
# Each spec file and each program is a process of its own, as many at a time as
# there are cores; what failed is printed in full, and named again at the end.
# The last line is 'N passed, N failed'; logs stay in BUILD/test.
# A file or program that failed, but did not crash, hang or leak, is run once more
# when all others are through. If it passes then, that counts, and a line
# 'flaky: FILE: SPEC: MESSAGE' tells of it. If more than three failed, all of it stands.
#   SPEC_SLOW=N    everything may take N times longer (sanitizers, valgrind)
#   SPEC_WRAP=CMD  runs each spec file's process under CMD
#   SPEC_VERBOSE=1 names every spec
#   SPEC_FULL=1    what specs only draw from otherwise is gone through whole (the sandbox's attacker)
#   SPEC_RERUN=0   nothing is run a second time
#   SPEC_STOCK=1   runs spec files in lua5.4 with BUILD/asyncio.so, but for the one that needs the
#                  engine's own state
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
shift
what=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  what+=("$1")
  shift
done
[ $# -gt 0 ] && shift
export SPEC_SLOW=${SPEC_SLOW:-1} SPEC_WRAP=${SPEC_WRAP:-} SPEC_VERBOSE=${SPEC_VERBOSE:-0}
export BUILD=$build MOONLOOP=$build/moonloop LOGS=$build/test
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0:exitcode=99}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-exitcode=98:suppressions=$PWD/tools/tsan.supp}
export LIMIT=$((180 * SPEC_SLOW))
export INTERPRETER=$MOONLOOP
if [ "${SPEC_STOCK:-0}" = 1 ]; then
  INTERPRETER="env LUA_CPATH=$PWD/$BUILD/?.so;; LUA_INIT=async,await=require('asyncio').async,require('asyncio').await lua5.4"
fi
# What the user has set for other programs: rights of new files, a proxy, a terminal's size, no colours.
umask 022
unset {http,https,all,no}_proxy {HTTP,HTTPS,ALL,NO}_PROXY COLUMNS LINES NO_COLOR LUA_PATH{,_5_4} LUA_CPATH{,_5_4} LUA_INIT{,_5_4} NETRC
jobs=$(nproc 2>/dev/null || echo 2)
rm -rf "$LOGS"
mkdir -p "$LOGS"

# Writes PASSED FAILED SKIPPED to the job's .tally whatever happens.
run_spec() {
  local file=$1 name=${1#/}
  name=${name//\//.}
  local log=$LOGS/$name.log tally=$LOGS/$name.tally
  { # the shell's own words about a crash go nowhere: the status tells
    SPEC_TALLY=$tally SPEC_PROGRESS=$LOGS/$name.progress \
      timeout -k 10 "$LIMIT" $SPEC_WRAP $INTERPRETER spec/run.lua "$file" >"$log" 2>&1 </dev/null
  } 2>/dev/null
  local status=$?
  [ $status = 1 ] && [ -s "$tally" ] && may_rerun "$name" "run_spec $file"
  if [ ! -s "$tally" ]; then
    echo "0 1 0" >"$tally"
    case $status in
    124 | 137) echo "FAILED $file: took more than $LIMIT s" >>"$log" ;;
    *) echo "FAILED $file: ended with status $status" >>"$log" ;;
    esac
    [ -s "$LOGS/$name.progress" ] && echo "    while running $(cat "$LOGS/$name.progress")" >>"$log"
  elif [ $status -ne 0 ] && grep -q '^[0-9]* 0 ' "$tally"; then
    echo "FAILED $file: every spec passed, but the process ended with status $status" >>"$log"
    sed -i 's/^\([0-9]*\) 0 /\1 1 /' "$tally"
  fi
  finish "$file" "$name"
}

# run_program NAME COMMAND...: passes if its exit status is 0
run_program() {
  local name=$1 log=$LOGS/$1.log
  shift
  timeout -k 10 "$LIMIT" bash -c "$*" >"$log" 2>&1 </dev/null
  local status=$?
  if [ $status = 0 ]; then
    echo "1 0 0" >"$LOGS/$name.tally"
  else
    [ $status = 1 ] && may_rerun "$name" "$PROGRAM_JOB"
    echo "FAILED $name: status $status" >>"$log"
    echo "0 1 0" >"$LOGS/$name.tally"
  fi
  finish "$name" "$name"
}

# may_rerun NAME JOB: it failed by assertions or errors, unless a sanitizer, valgrind or the leak gate has spoken
may_rerun() {
  grep -qE 'Sanitizer|runtime error: |leak gate: |left behind:|^==[0-9]+==' "$LOGS/$1.log" || echo "$2" >"$LOGS/$1.again"
}

finish() { # TITLE NAME: one piece of output per job
  local p f s
  read -r p f s <"$LOGS/$2.tally"
  {
    printf '%-44s %4d passed' "$1" "$p"
    [ "$f" != 0 ] && printf ', %d FAILED' "$f"
    [ "$s" != 0 ] && printf ', %d skipped' "$s"
    printf '\n'
    if [ "$f" != 0 ] || [ "$SPEC_VERBOSE" = 1 ]; then sed 's/^/  | /' "$LOGS/$2.log"; else grep '^slow: ' "$LOGS/$2.log"; fi
  } >"$LOGS/$2.out"
  cat "$LOGS/$2.out"
}

# How a host is built: the .pc file is all it needs. Once with the static
# library, once with the shared one.
embed_program() {
  local src=$1 kind=$2 name PROGRAM_JOB="embed_program $1 $2"
  name=$(basename "$src")
  local compiler="${CC:-cc} -std=gnu11"
  [ "${src##*.}" = cc ] && compiler="${CXX:-c++} -std=c++11 -Wpedantic -Wold-style-cast"
  name=${name%.*}
  mkdir -p "$BUILD/embed"
  local program=$BUILD/embed/$name-$kind flags
  flags=$(PKG_CONFIG_PATH=$BUILD pkg-config --cflags --libs --static moonloop) || return 1
  if [ "$kind" = shared ]; then
    local shared="$BUILD/libmoonloop.so -Wl,-rpath,'$PWD/$BUILD'" # for a shell to read
    flags=${flags//$BUILD\/libmoonloop.a/$shared}
  fi
  run_program "embed.$name-$kind" \
    "$compiler -g -Wall -Wextra -Werror -o $program $src $flags -lpthread && exec $program"
}
export -f run_spec run_program embed_program finish may_rerun

list() {
  for w in "${what[@]}"; do
    case $w in
    specs)
      if [ $# -gt 0 ]; then
        find "$@" -name '*_spec.lua' | sort | sed 's/^/run_spec /'
      else
        find spec -name '*_spec.lua' | sort | sed 's/^/run_spec /'
      fi
      ;;
    embed)
      for src in spec/embed/*.c spec/embed/*.cc; do
        [ -e "$src" ] || continue
        case $(basename "$src") in oom*) continue ;; esac
        echo "embed_program $src static"
        echo "embed_program $src shared"
      done
      ;;
    cxx)
      echo "run_spec spec/embed/header_spec.lua"
      for src in spec/embed/*.cc; do
        echo "embed_program $src static"
        echo "embed_program $src shared"
      done
      ;;
    oom)
      echo "embed_program spec/embed/oom.c static"
      echo "embed_program spec/embed/oom_calls.c static"
      echo "run_spec spec/scripts/hosts_sweep_spec.lua"
      ;;
    *) echo "test.sh: what is '$w'?" >&2 ;;
    esac
  done
}

# ---- what failed, once more ----

# with SUFFIX: the jobs that have such a file
with() {
  local f
  for f in "$LOGS"/*."$1"; do [ -e "$f" ] && basename "$f" ".$1"; done
}

failed_jobs() {
  local name
  for name in $(with tally); do grep -q '^[0-9]* 0 ' "$LOGS/$name.tally" || echo "$name"; done
}

# Runs alone what may_rerun has noted.
rerun() {
  [ "${SPEC_RERUN:-1}" = 0 ] || [ "$(failed_jobs | wc -l)" -gt 3 ] && return
  local name
  for name in $(with again); do
    mv "$LOGS/$name.log" "$LOGS/$name.first"
    printf 'once more: '
    bash -c "$(cat "$LOGS/$name.again")"
  done
}

# failures LOG FORM: of each failure its place and name, then what was said of it: as the first lines of that, indented
# (block), or behind 'flaky: ' in one line with it
failures() {
  awk -v form="$2" -v title="$(basename "${1%.*}")" '
    function flush() {
      if (name == "") return
      if (form == "block") printf "  %s\n%s", name, text
      else {
        gsub(/[ \n]+/, " ", text)
        sub(/^ /, "", text)
        print substr("flaky: " name ": " text, 1, 400)
      }
      name = ""
    }
    title ~ /^embed\./ && !/^FAILED / { if (NF) last[++seen] = $0; next }
    /^FAILED / {
      flush()
      name = substr($0, 8)
      text = ""
      n = 0
      for (i = seen > 5 ? seen - 5 : 1; i <= seen; i++) text = text "      " last[i] "\n"
      said = 1
      next
    }
    /^ *[0-9]* \|/ || !/^    / { said = 0 }
    said && NF && n++ < 8 { text = text "  " substr($0, 1, 300) "\n" }
    END { flush() }' "$1"
}

# The closing block; nothing if all went well at once.
summary() {
  local name failed
  failed=$(failed_jobs)
  if [ -n "$failed" ]; then
    printf '\nwhat failed:\n'
    for name in $failed; do failures "$LOGS/$name.log" block; done | awk 'NR <= 100; NR == 101 { print "  ... and more, above" }'
  fi
  for name in $(with again); do
    if [ -e "$LOGS/$name.first" ] && ! grep -qx "$name" <<<"$failed"; then failures "$LOGS/$name.first" line; fi
  done >"$LOGS/flaky"
  [ -s "$LOGS/flaky" ] && echo && cat "$LOGS/flaky"
}

started=$SECONDS
list "$@" | xargs -P "$jobs" -d '\n' -I{} bash -c '{}'
rerun
summary
cat "$LOGS"/*.tally 2>/dev/null | awk -v seconds=$((SECONDS - started)) -v flaky="$(wc -l <"$LOGS/flaky")" '
  { passed += $1; failed += $2; skipped += $3 }
  END {
    printf "\n%d s%s%s\n", seconds, skipped ? ", " skipped " skipped" : "", (flaky + 0 ? ", " flaky " flaky" : "")
    printf "%d passed, %d failed\n", passed, failed
    exit failed > 0 || passed == 0
  }'
