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
npm ci --silent --no-audit --no-fund
cp package-lock.json node_modules/.made-from
