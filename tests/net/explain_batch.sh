#!/bin/bash
# Every rule type as profiles write it, through `explain --batch`: explain_batch.py holds the cases. No network and no privilege is needed.
SHUNT=${SHUNT:-$PWD/build/dev/shunt}
command -v python3 >/dev/null || exit 77
exec python3 "$(dirname "$0")/explain_batch.py" "$SHUNT"
