#!/usr/bin/env bash
# Sets the environment up if needed, then runs the tests: ./run_tests.sh [pytest's arguments]
#   ./run_tests.sh                    all of them
#   ./run_tests.sh -m "not smoke"     without the notebooks, the longest part
#   ./run_tests.sh -k demo            those with "demo" in their name
#   ./run_tests.sh -n 0               one after the other, as a debugger or `print` wants it
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
begun=$(date +%s)
setup_extra=test
source tools/setup/setup.sh

status=0
# By file, because the tests of a file share what is slow to make, the longest files first (conftest.py
# sorts them); at most four processes, for the memory.
"$PYTHON" -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile \
  --no-loadscope-reorder "$@" || status=$?
echo "run_tests.sh: $(($(date +%s) - begun)) s with the set-up, exit $status"
exit "$status"
