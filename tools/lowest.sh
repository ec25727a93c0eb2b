#!/usr/bin/env bash
# Runs the tests against the lowest versions that the metadata allows. Usage: tools/lowest.sh
# The agents apart: pydantic-ai needs a newer pydantic than the core does.
set -euo pipefail
cd "$(dirname "$0")/.."

UV=.venv/bin/uv
export UV_PYTHON_DOWNLOADS=never
export VIRTUAL_ENV=$PWD/build/lowest

run() { # EXTRAS PYTEST-ARGUMENTS...
    local extras=$1
    shift
    "$UV" venv --quiet --clear --python .venv/bin/python "$VIRTUAL_ENV"
    "$UV" pip install --quiet --resolution lowest-direct --reinstall-package paigeant-core "./paigeant-core[$extras]"
    "$UV" pip install --quiet --group test
    "$UV" pip list 2>/dev/null | grep -iE '^(pluggy|pydantic|typer|rich|msgpack)'
    "$VIRTUAL_ENV/bin/pytest" -q -n 2 --dist loadgroup -m "not slow" -p no:cacheprovider \
        -W ignore::DeprecationWarning "$@" # old libraries on new ones
}

run cli,msgpack,testing tests --ignore tests/docs --ignore tests/packaging --ignore tests/agents
if [ -d tests/agents ]; then run cli,agents tests/agents; fi
