#!/bin/sh
# Installs Azurite, the emulator of Azure Blob Storage that the tests start, with Node.js where there is none.
# The lock file says which version, and of what it consists; a second start changes nothing.
set -eu
cd "$(dirname "$0")/../tests/azurite"

if [ -e node_modules/.made-from ] && cmp -s package-lock.json node_modules/.made-from; then
    exit
fi
command -v npm >/dev/null || sh ../../scripts/setup.sh tests/azurite/packages.txt
echo "Installing the Azure emulator of the tests"
tries=3  # npm itself tries a download again, but gives up at some answers of a registry that is busy
until npm ci --loglevel=error --no-audit --no-fund >/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    echo "npm failed (see above), and is tried again in 10 seconds" >&2
    sleep 10
done
cp package-lock.json node_modules/.made-from
