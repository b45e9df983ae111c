# Sourced by run_all.sh and run_tests.sh: makes sure that there is an environment for the kit and
# sets $PYTHON to its interpreter. Works with bash 3.2 (macOS), from any folder, more than once.
#
# Taken is the active conda or virtual environment (or Kaggle's Python), if it satisfies
# pyproject.toml; else .venv, which is made here from requirements.lock, once. The caller may set
# setup_extra=test to ask the active environment for the packages of that extra, too.

setup_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." >/dev/null && pwd)
setup_venv=$setup_root/.venv
setup_stamp=$setup_venv/made-from        # what a finished set-up was made from
setup_mark=$setup_venv/unfinished        # lies there while a set-up works
setup_lock=$setup_root/.cache/setup-lock # locked by the one set-up that works
setup_log=$setup_root/.cache/setup.log
setup_warm=$setup_root/.cache/warmed-up  # names the interpreter that has been warmed up
# PyTorch's own builds without CUDA: 200 MB in place of 3 GB, for machines without an NVIDIA GPU.
setup_cpu_builds=https://download.pytorch.org/whl/cpu

# `helpers` and `tools` of this checkout, also in the kernels that notebooks run in; first, because
# those of another checkout may stand there too.
case "${PYTHONPATH:-}:" in
  "$setup_root:"*) ;;
  *) export PYTHONPATH="$setup_root${PYTHONPATH:+:$PYTHONPATH}" ;;
esac

# A letter that a terminal lacks is shown as an escape, where Python would give up.
export PYTHONIOENCODING="${PYTHONIOENCODING:-:backslashreplace}"

setup_say() { printf '%s\n' "$*" >&2; }

setup_fail() {
  setup_say "Set-up failed: $*"
  exit 1
}

[ . -ef "$PWD" ] ||
  setup_fail "the folder that you are in is gone. Go to another one and run this again."

# setup_check PYTHON: 0 if this interpreter satisfies pyproject.toml; else prints what is missing.
setup_check() {
  "$1" "$setup_root/tools/setup/check_environment.py" ${setup_extra:+--extra "$setup_extra"} 2>/dev/null
}

# Prints the interpreter of the environment that the user has active, or nothing.
setup_active_python() {
  local prefix
  for prefix in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
    if [ -n "$prefix" ] && [ ! "$prefix" -ef "$setup_venv" ] && [ -x "$prefix/bin/python" ]; then
      printf '%s\n' "$prefix/bin/python"
      return
    fi
  done
  if [ -n "${KAGGLE_KERNEL_RUN_TYPE:-}" ]; then command -v python3 || true; fi
}

# What .venv is made from. The folder is part of it: a .venv that was moved does not work.
setup_inputs() {
  printf '%s\n' "$setup_root"
  cat "$setup_root/requirements.lock" "$setup_root/pyproject.toml"
}

# 0 if .venv is whole, up to date, and its interpreter still runs.
setup_venv_ready() {
  [ -f "$setup_stamp" ] && setup_inputs | cmp -s - "$setup_stamp" &&
    "$setup_venv/bin/python" -c "" 2>/dev/null
}

# 0 if there is a .venv that somebody made by hand and that satisfies the requirements.
setup_venv_by_hand() {
  [ -x "$setup_venv/bin/python" ] && [ ! -e "$setup_stamp" ] && [ ! -e "$setup_mark" ] &&
    setup_check "$setup_venv/bin/python" >/dev/null
}

# Prints the first interpreter that is Python 3.11 to 3.13 and can make environments.
setup_find_python() {
  local candidate found without_venv=""
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
    # Asked, not looked up: pyenv has names on the PATH that do not run. The base executable,
    # because the python3 of an active .venv would go away with it.
    found=$("$candidate" -c 'if True:
      import sys
      assert (3, 11) <= sys.version_info[:2] <= (3, 13)
      print(sys._base_executable)' 2>/dev/null) || continue
    if "$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then
      printf '%s\n' "$found"
      return
    fi
    without_venv=$found
  done
  if [ -n "$without_venv" ]; then
    setup_fail "$without_venv cannot make virtual environments (no venv or ensurepip)." \
      "On Debian and Ubuntu: sudo apt install python3-venv. Then run this again."
  fi
  setup_fail "no Python 3.11, 3.12 or 3.13 found. Install one (python.org, conda, brew, apt)" \
    "or name yours: PYTHON=/path/to/python3.12 $0"
}

setup_has_nvidia() {
  command -v nvidia-smi >/dev/null 2>&1 || [ -e /proc/driver/nvidia/version ] ||
    [ -e /usr/lib/wsl/lib/nvidia-smi ]
}

# setup_step WHAT COMMAND...: the output goes to the log; its last lines are shown on failure.
setup_step() {
  local what=$1
  shift
  "$@" >>"$setup_log" 2>&1 && return
  setup_say "--- the last lines of $setup_log:"
  tail -n 15 "$setup_log" >&2
  setup_fail "$what did not work (the cause stands above; often no network or a full disk)." \
    "Mend it and run this again."
}

setup_pip() { PIP_USER=0 "$setup_venv/bin/python" -m pip install --disable-pip-version-check "$@"; }

# On Linux without an NVIDIA driver: PyTorch's build without CUDA, where its site can be reached.
setup_cpu_torch() {
  [ "$(uname -s)" = Linux ] && ! setup_has_nvidia || return 0
  # Short time-outs, because without it the plain build does as well.
  if setup_pip --no-deps --timeout 10 --retries 0 --index-url "$setup_cpu_builds" \
    "$(grep '^torch==' "$setup_root/requirements.lock")" >>"$setup_log" 2>&1; then
    setup_say "  no NVIDIA driver: took PyTorch's build without CUDA ($SECONDS s)"
  else
    setup_say "  no NVIDIA driver, but PyTorch's build without CUDA is out of reach: taking the plain one ($SECONDS s)"
  fi
}

# setup_make_venv BASE: fills .venv. The mark lies there from the first file on, so that a set-up
# that was interrupted, however hard, is never taken for a whole one.
setup_make_venv() {
  local base=$1
  if setup_venv_ready; then return; fi # another set-up made it while this one waited
  SECONDS=0
  setup_say "Setting up .venv, once, with $("$base" --version 2>&1): a minute or two (log: .cache/setup.log)"
  : >"$setup_log"
  setup_step "removing the old .venv" rm -rf "$setup_venv" "$setup_warm"
  setup_step "making .venv" mkdir -p "$setup_venv"
  : >"$setup_mark"
  setup_step "making .venv" "$base" -m venv "$setup_venv"
  setup_cpu_torch
  setup_step "installing requirements.lock" setup_pip -r "$setup_root/requirements.lock"
  setup_say "  installed requirements.lock ($SECONDS s)"
  setup_step "installing helpers" \
    setup_pip --no-deps --no-build-isolation --editable "$setup_root"
  setup_inputs >"$setup_stamp.new" && mv "$setup_stamp.new" "$setup_stamp" &&
    rm -f "$setup_mark" || setup_fail "$setup_stamp cannot be written."
  setup_say "  installed helpers: .venv is ready ($SECONDS s)"
}

setup_is_warm() { [ -f "$setup_warm" ] && [ "$(cat "$setup_warm")" = "$PYTHON" ]; }

# See warm_up.py beside this file: this must not happen in several processes at once.
setup_warm_up() {
  if setup_is_warm; then return; fi
  SECONDS=0
  setup_say "Compiling librosa's inner loops, once"
  setup_step "compiling librosa's inner loops" "$PYTHON" "$setup_root/tools/setup/warm_up.py"
  printf '%s\n' "$PYTHON" >"$setup_warm"
  setup_say "  done ($SECONDS s)"
}

# setup_alone PYTHON FUNCTION: runs the function, with this interpreter, while no other set-up works.
# The lock goes with the last of its processes, however they end. Python takes it: macOS has no
# program that does.
setup_alone() (
  mkdir -p "$setup_root/.cache" && touch "$setup_lock" 2>/dev/null ||
    setup_fail "$setup_root/.cache cannot be written."
  exec 9>>"$setup_lock"
  trap 'exit 130' INT
  "$1" -c 'if True:
    import fcntl, signal, sys
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
      try:
        fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        print("Another set-up is at work: waiting for it", file=sys.stderr)
        fcntl.flock(9, fcntl.LOCK_EX)
    except OSError:
      pass  # a file system without locks'
  "$2" "$1"
)

# Prints why the environment that the user has active is not taken, and fails; or sets PYTHON.
setup_take_active() {
  local active problem
  active=$(setup_active_python)
  [ -n "$active" ] || return 1
  if problem=$(setup_check "$active"); then
    PYTHON=$active
    return 0
  fi
  setup_say "Not taken, the active environment ${active%/bin/*}: ${problem:-it does not run}. Using .venv"
  return 1
}

if ! setup_take_active; then
  if ! setup_venv_ready && ! setup_venv_by_hand; then
    setup_base=$(setup_find_python) || exit 1
    setup_alone "$setup_base" setup_make_venv || exit $?
  fi
  PYTHON=$setup_venv/bin/python
fi
if ! setup_is_warm; then
  setup_alone "$PYTHON" setup_warm_up || exit $?
fi
