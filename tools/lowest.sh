#!/usr/bin/env bash
# Runs the tests against the lowest versions that the metadata allows. Usage: tools/lowest.sh
# The agents apart: pydantic-ai needs a newer pydantic than the core does. Of the brokers, the contracts.
set -euo pipefail
cd "$(dirname "$0")/.."

UV=.venv/bin/uv
export UV_PYTHON_DOWNLOADS=never
export VIRTUAL_ENV=$PWD/build/lowest

run() { # PROJECTS PYTEST-ARGUMENTS...
    local projects=$1
    shift
    "$UV" venv --quiet --clear --python .venv/bin/python "$VIRTUAL_ENV"
    # shellcheck disable=SC2086 # several projects are several words
    "$UV" pip install --quiet --resolution lowest-direct --reinstall-package paigeant-core $projects
    "$UV" pip install --quiet --group test
    "$UV" pip list 2>/dev/null | grep -iE '^(msgspec|pluggy|pydantic|typer|rich|msgpack|redis|aio-pika|aiormq|nats-py)'
    "$VIRTUAL_ENV/bin/pytest" -q -n 4 --dist loadgroup -m "not slow" -p no:cacheprovider \
        -W ignore::DeprecationWarning "$@" # old libraries on new ones
}

run "./paigeant-core[cli,msgpack,testing]" \
    tests/core tests/plugins tests/conformance/test_builtin.py tests/cli tests/runtime -k "not (runtime and sqlite)"
run "./paigeant-core[cli,agents]" tests/agents
run "./paigeant-core[cli,testing] ./paigeant-redis ./paigeant-rabbitmq ./paigeant-nats" tests/brokers/test_*_conformance.py
