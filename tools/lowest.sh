#!/usr/bin/env bash
# Runs the core's tests against the lowest versions that its metadata allows. Usage: tools/lowest.sh
set -euo pipefail
cd "$(dirname "$0")/.."

UV=.venv/bin/uv
ENVIRONMENT=build/lowest
export UV_PYTHON_DOWNLOADS=never

"$UV" venv --quiet --clear --python .venv/bin/python "$ENVIRONMENT"
export VIRTUAL_ENV=$PWD/$ENVIRONMENT
"$UV" pip install --quiet --resolution lowest-direct --reinstall-package paigeant-core \
    "./paigeant-core[cli,agents,msgpack,testing]"
"$UV" pip install --quiet --group test
"$UV" pip list | grep -iE '^(paigeant|pluggy|pydantic|typer|rich|msgpack)'
"$ENVIRONMENT/bin/pytest" tests -q -n 2 --dist loadgroup -m "not slow and not proof" \
    --ignore tests/docs --ignore tests/packaging -p no:cacheprovider
