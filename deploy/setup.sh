#!/usr/bin/env bash
# Makes the virtual environment and installs the pinned packages; `make setup` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv}

usable() { "$1" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; }

find_python() {
    local name
    for name in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
        if usable "$name"; then command -v "$name"; return; fi
    done
    echo "setup: ${PYTHON:-Python 3.11, 3.12 or 3.13} was not found; install it, or name one: make setup PYTHON=/path/to/python3.11" >&2
    return 1
}

if ! usable "$VENV/bin/python"; then
    python=$(find_python)
    echo "setup: virtual environment in $VENV ($("$python" --version))"
    rm -rf "$VENV"
    "$python" -m venv "$VENV" || { echo "setup: this Python makes no virtual environment; on Debian install python3-venv" >&2; exit 1; }
fi

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check install --quiet --constraint constraints.txt "$@"; }

echo "setup: torch and torchvision (the longest part: one to a few minutes)"
# shellcheck disable=SC2086  # two words
pip ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} $TORCH
echo "setup: the other packages"
pip --editable '.[web,embedded,ml,dev]'
echo "setup: done"
