#!/bin/sh
# In the place of Python while tests/test_setup.py sets environments up.
case "$*" in
  *_base_executable*) [ -n "$TOO_OLD" ] && exit 1; echo "$0" ;;
  *ensurepip*) [ -z "$NO_VENV" ] ;;
  "-m venv "*) echo "venv" >>"$CALLS"; mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip "*)
    echo "$*" >>"$CALLS"
    case "$*" in
      *--index-url*) echo "no such host"; exit 1 ;;
      *requirements.lock*)
        sleep "${SECONDS_TO_INSTALL:-0}"
        if [ -n "$NO_NETWORK" ]; then echo "no network at all"; exit 1; fi ;;
    esac ;;
  *warm_up.py) echo "warm up" >>"$CALLS"; exit "${WARM_UP_STATUS:-0}" ;;
  --version) echo "Python 3.12.9" ;;
  *) exec "$PYTHON_OF_THE_TESTS" "$@" ;;
esac
