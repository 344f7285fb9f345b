#!/bin/sh
# Installs what building memengine needs and this machine lacks (Debian 12, Ubuntu 24.04).
# Does nothing where all is there; says what it installs; uses sudo where it is not root.
set -eu

# program or "-", then the package that has it (the same names on both systems)
dependencies="
cmake       cmake
ninja       ninja-build
c++         g++
pkg-config  pkg-config
-           libcli11-dev
-           libfmt-dev
-           libgtest-dev
-           libicu-dev
-           libopenblas-dev
-           libopenmpi-dev
mpirun      openmpi-bin
-           libpcre2-dev
-           libsentencepiece-dev
-           libsimdjson-dev
-           libssl-dev
-           libxxhash-dev
-           libxml2-dev
-           libyaml-cpp-dev
-           libzstd-dev
-           nlohmann-json3-dev
-           zlib1g-dev
"

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo "memengine: not Debian or Ubuntu; these must be installed (under whatever name):" \
    $(echo "$dependencies" | awk '{ print $2 }')
  exit 0
fi

# A program may come from elsewhere; a library must be the package.
missing=$(echo "$dependencies" | while read -r program package; do
  [ -n "$package" ] || continue
  [ "$program" = "-" ] || ! command -v "$program" >/dev/null || continue
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
    echo "$package"
done)
[ -n "$missing" ] || exit 0
missing=$(echo $missing)

if [ "$(id -u)" = 0 ]; then
  as_root="env"
elif command -v sudo >/dev/null; then
  as_root="sudo env"
else
  echo "memengine: these packages are missing, and there is no sudo; as root, run:" >&2
  echo "  apt-get install $missing" >&2
  exit 1
fi

echo "memengine: installing with apt-get: $missing"
$as_root DEBIAN_FRONTEND=noninteractive apt-get update -q ||
  echo "memengine: apt-get update failed; going on with the package lists that are there" >&2
$as_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
