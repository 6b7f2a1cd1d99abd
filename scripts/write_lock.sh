#!/usr/bin/env bash
# Writes requirements.lock: what CI installs, every file by its hash; and requirements-base.lock: the part of it that the
# package needs to predict. Run it when pyproject.toml or constraints.txt changes (`make lock`); a test compares. For
# Linux on x86-64 and Python 3.11, which is what CI has.
set -euo pipefail
cd "$(dirname "$0")/.."

UV="${UV:-.venv/bin/uv}"

# lock FILE WHAT OPTION...: what the options ask for, into the file.
lock() {
  local file="$1" what="$2" locked
  shift 2
  locked="$(mktemp)"
  "$UV" pip compile pyproject.toml --quiet --no-header --no-annotate --generate-hashes --allow-unsafe "$@" \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --output-file "$locked"
  {
    echo "# Written by \`make lock\` from pyproject.toml and constraints.txt; a test compares. It holds $what,"
    echo "# for Linux on x86-64 and Python 3.11. Install: pip install --require-hashes --requirement $file"
    cat "$locked"
  } >"$file"
  rm "$locked"
}

lock requirements.lock "[train] and the tools" --extra train --group dev --constraint constraints.txt
lock requirements-base.lock "the base install" --constraint requirements.lock
