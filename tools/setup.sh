#!/usr/bin/env bash
# Prepares this clone: uv (one on PATH if recent, else a private one in .uv) and the environment .venv as locked.
# Touches nothing outside the clone but uv's own download cache. Usage: tools/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."

UV_WANTED=0.13.9
UV_OLDEST=0.9.0

fail() {
    echo "setup: $*" >&2
    exit 1
}

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11)); ' 2>/dev/null || continue
        "$name" -c 'import sys; print(sys.executable)'
        return
    done
    fail "Python 3.11 or newer is needed and none was found; on Debian or Ubuntu: apt install python3 python3-venv"
}

recent_uv() {
    local version
    version=$("$1" --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$version" ] && [ "$(printf '%s\n' "$UV_OLDEST" "$version" | sort -V | head -n 1)" = "$UV_OLDEST" ]
}

find_uv() {
    local known
    for known in "$(command -v uv || true)" .uv/bin/uv; do
        if [ -n "$known" ] && recent_uv "$known"; then
            echo "$known"
            return
        fi
    done
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$PYTHON has no venv module; on Debian or Ubuntu: apt install python3-venv"
    echo "setup: installing uv $UV_WANTED into .uv" >&2
    "$PYTHON" -m venv --clear .uv >&2
    .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_WANTED" >&2 ||
        fail "uv could not be installed from PyPI; the lines above say why"
    echo .uv/bin/uv
}

PYTHON=$(find_python)
UV=$(find_uv)
export UV_PYTHON_DOWNLOADS=never
[ -x .venv/bin/python ] || export UV_PYTHON="$PYTHON"
echo "setup: installing the locked dependencies into .venv"
"$UV" sync --frozen --quiet
touch .venv/.ready
