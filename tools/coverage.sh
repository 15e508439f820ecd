#!/bin/bash
# Sums up what a coverage build's runs reached: a table by file on standard
# output and in BUILD/report.txt, annotated sources in BUILD/gcov.
#   tools/coverage.sh BUILD
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
rm -rf "$build/gcov"
mkdir -p "$build/gcov"
find "$build/obj" -name '*.gcda' | sort | while read -r data; do
  gcov -o "$(dirname "$data")" "$data" 2>/dev/null
done | awk '
  /^File / { file = $2; gsub("\047", "", file) }
  /^Lines executed:/ && file ~ /^(engine|bindings)\// {
    split($0, part, /[:% ]+/)
    lines[file] = part[5]
    reached[file] = part[3] * part[5] / 100
    file = ""
  }
  END {
    for (f in lines) { printf "%-36s %6d lines %6.1f %%\n", f, lines[f], 100 * reached[f] / lines[f] | "sort"; n += lines[f]; r += reached[f] }
    close("sort")
    if (n > 0) printf "%-36s %6d lines %6.1f %%\n", "all", n, 100 * r / n
  }' | tee "$build/report.txt"
mv ./*.gcov "$build/gcov/" 2>/dev/null
