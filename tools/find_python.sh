#!/bin/sh
# Prints the Python to use: `find_python.sh 3.12` finds that one, `find_python.sh` the first that is 3.11 or newer.
# Each candidate is started before it is believed: pyenv leaves shims in PATH for versions that are not switched on.
# Free-threaded builds are passed over: cffi supports them from 3.14 on only.
set -eu

wanted=${1:-}

fits() {
    "$1" - "$wanted" 2>/dev/null <<'PYTHON'
import sys, sysconfig
wanted = sys.argv[1]
found = "%d.%d" % sys.version_info[:2]
usable = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")
sys.exit(not usable or wanted not in ("", found))
PYTHON
}

candidates() {
    if [ -n "$wanted" ]; then
        command -v "python$wanted" || true
        command -v python3 || true
    else
        for name in python3 python python3.13 python3.12 python3.11 python3.14; do
            command -v "$name" || true
        done
    fi
    if command -v pyenv >/dev/null 2>&1; then
        ls -d "$(pyenv root)"/versions/"${wanted:-3.1}"*/bin/python 2>/dev/null || true
    fi
}

found=$(candidates | while IFS= read -r python; do
    if fits "$python"; then
        echo "$python"
        break
    fi
done)
if [ -z "$found" ]; then
    echo "no Python ${wanted:-3.11 or newer} found; install one, or put it in PATH" >&2
    exit 1
fi
echo "$found"
