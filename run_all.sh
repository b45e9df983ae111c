#!/usr/bin/env bash
# Run the whole lab, from any folder: sets the environment up if needed, then runs the notebooks.
# ./run_all.sh --help says what it can do.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called with sh
set -euo pipefail
if [ -L "$0" ]; then # a link elsewhere: what it leads to
  target=$(readlink "$0")
  exec bash "$(cd "$(dirname "$0")" && cd "$(dirname "$target")" && pwd)/${target##*/}" "$@"
fi
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$ROOT/tools/setup/setup.sh"
case "${1:-}" in
  lab) command=tools.run.jupyter_lab ;;
  check-data) command=tools.checks.check_data ;;
  build-data) command=tools.build_data.command ;;
  report) command=tools.report.command ;;
  hand-in) command=tools.hand_in.command ;;
  kaggle-push) command=tools.kaggle.push ;;
  submit) command=tools.kaggle.submit ;;
  bench) command=benchmarks.speed ;;
  *) exec "$PYTHON" -P -m tools.run.command "$@" ;;
esac
shift
exec "$PYTHON" -P -m "$command" "$@"
