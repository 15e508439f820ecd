#!/bin/sh
# make oracle: hunts for programs whose events differ from CPython's. Needs CPython 3.13 or later, whose rules these
# are (PYTHON names one); without one it says so and is content: `make test` compares recorded traces.
#   run.sh MOONLOOP [hunt.lua's options]
export MOONLOOP="$1"
shift
for python in $PYTHON python3.13 python3.14 python3; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; then
    PYTHON=$(command -v "$python")
    export PYTHON
    exec "$MOONLOOP" spec/oracle/hunt.lua "$@"
  fi
done
echo "oracle: skipped, no Python 3.13 or later was found (PYTHON=...)"
