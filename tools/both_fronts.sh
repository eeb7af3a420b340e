#!/bin/sh
# Run the suite on both fronts at the same time: most tests wait, so two of them share the cores well.
#   both_fronts.sh PYTHON "arguments on the native front" "arguments on the front in Python" ["arguments of both"]
python=$1
native=$2
pure=$3
both=$4
log=$(mktemp)
trap 'rm -f "$log"' EXIT
AIOLOTS_PURE=1 "$python" -m pytest -p no:cacheprovider $pure $both > "$log" 2>&1 &
other=$!
AIOLOTS_PURE=0 "$python" -m pytest $native $both
status=$?
wait $other
pure_status=$?
echo "== the front in Python"
if [ $pure_status -eq 0 ]; then tail -n 3 "$log"; else cat "$log"; fi
[ $status -eq 0 ] && [ $pure_status -eq 0 ]
