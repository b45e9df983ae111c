#!/usr/bin/env bash
# Run the whole lab, from any folder: sets the environment up if needed, then runs the notebooks.
# ./run_all.sh --help says what it can do.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$ROOT/tools/setup.sh"
exec "$PYTHON" -P -m tools.lab "$@"
