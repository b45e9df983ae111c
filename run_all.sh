#!/usr/bin/env bash
# Run the whole lab, from any folder: sets the environment up if needed, then runs the notebooks.
# ./run_all.sh --help says what it can do.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$ROOT/tools/setup/setup.sh"
case "${1:-}" in
  lab) command=tools.run.jupyter_lab ;;
  check-data) command=tools.checks.check_data ;;
  report) command=tools.report.command ;;
  hand-in) command=tools.hand_in.command ;;
  kaggle-push) command=tools.kaggle.push ;;
  submit) command=tools.kaggle.submit ;;
  bench) command=benchmarks.speed ;;
  *) exec "$PYTHON" -P -m tools.run.command "$@" ;;
esac
shift
exec "$PYTHON" -P -m "$command" "$@"
