#!/usr/bin/env bash
# Installs, from Debian's packages, the servers and programs that tests need and that are not there yet. CI calls it
# before the tests.
# Nothing is started here: the fixtures in tests/conftest.py start servers of their own and stop them again.
set -euo pipefail

PROGRAMS="${CARSPOTTER_POSTGRES:-/usr/lib/postgresql/*/bin}"  # as tests/conftest.py looks for them
NO_MAIN_SERVER=/etc/postgresql-common/createcluster.d/carspotter.conf

has_postgresql() {
  compgen -G "$PROGRAMS/initdb" >/dev/null
}

need_root() {
  if [ "$(id -u)" != 0 ]; then
    echo "error: PostgreSQL, Chromium, strace or mkfs.ext4 is not here, and only root installs them:" \
      "sudo apt-get install postgresql chromium strace e2fsprogs" >&2
    exit 2
  fi
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 \
    -o Dpkg::Use-Pty=0 "$@"
}

install_postgresql() {
  # Else the package makes a server for everybody and starts it on port 5432, which no test wants.
  mkdir -p "$(dirname "$NO_MAIN_SERVER")"
  echo "create_main_cluster = false" >"$NO_MAIN_SERVER"
  trap 'rm -f "$NO_MAIN_SERVER"' EXIT
  apt update
  apt install --yes --no-install-recommends postgresql
}

has_chromium() {
  command -v chromium >/dev/null
}

# What storms need: system calls that fail, and disks that are cut off.
has_storms() {
  command -v strace >/dev/null && [ -x "$(command -v mkfs.ext4 || echo /sbin/mkfs.ext4)" ]
}

if ! has_postgresql; then
  need_root
  install_postgresql
fi
if ! has_chromium; then
  need_root
  apt update
  apt install --yes --no-install-recommends chromium
fi
if ! has_storms; then
  need_root
  apt update
  apt install --yes --no-install-recommends strace e2fsprogs mount util-linux
fi
if ! has_postgresql; then
  echo "error: Debian's packages are installed, but there is no $PROGRAMS/initdb; see CARSPOTTER_POSTGRES" >&2
  exit 1
fi
