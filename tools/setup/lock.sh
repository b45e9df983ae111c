#!/usr/bin/env bash
# Makes requirements.lock again from pyproject.toml: bash tools/setup/lock.sh [--upgrade]
# Needs uv (pipx install uv, brew install uv). Pins that still fit are kept unless --upgrade is given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# torch is the one pin chosen by hand: it decides how much everybody has to download.
torch="torch==2.13.0"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$torch" > "$work/constraints.txt"
cp requirements.lock "$work/resolved.txt" 2>/dev/null || true
# --universal: one list for Python 3.11 to 3.13, Linux and macOS, with markers where they differ;
# fewest: the same version for everybody wherever there is one.
uv pip compile pyproject.toml --extra test --universal --python-version 3.11 \
  --fork-strategy fewest --constraint "$work/constraints.txt" \
  --no-header --no-annotate --quiet --output-file "$work/resolved.txt" "$@"

{
  cat <<'HEADER'
# The exact versions the kit is tested with; tools/setup/setup.sh installs them into .venv.
# Python 3.11 to 3.13 on Linux (also WSL) and macOS with an Apple chip.
# Made by a program from pyproject.toml. To make it again: bash tools/setup/lock.sh [--upgrade]
# Left out: what only torch's CUDA build needs (torch asks for it by itself), and Windows.
HEADER
  grep -vE "^(nvidia|cuda|triton)|== 'win32'|== 'nt'" "$work/resolved.txt"
} > "$work/requirements.lock"
mv "$work/requirements.lock" requirements.lock
