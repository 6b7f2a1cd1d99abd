#!/usr/bin/env bash
# Writes requirements.lock: what CI installs, every file by its hash. Run it when pyproject.toml or constraints.txt
# changes (`make lock`); a test compares. For Linux on x86-64 and Python 3.11, which is what CI has.
set -euo pipefail
cd "$(dirname "$0")/.."

UV="${UV:-.venv/bin/uv}"

header() {
  echo "# Written by \`make lock\` from pyproject.toml and constraints.txt; a test compares. It holds [train] and the tools,"
  echo "# for Linux on x86-64 and Python 3.11. Install: pip install --require-hashes --requirement requirements.lock"
}

locked="$(mktemp)"
trap 'rm -f "$locked"' EXIT
"$UV" pip compile pyproject.toml --quiet --no-header --no-annotate --generate-hashes --allow-unsafe \
  --extra train --group dev --constraint constraints.txt \
  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --output-file "$locked"
{ header; cat "$locked"; } >requirements.lock
