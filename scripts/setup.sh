#!/bin/sh
# Brings a bare Debian to the point where `make test` and `make demo` work: system packages, then .venv.
# Only the Debian packages that are missing are installed; a second start changes nothing.
# Arguments: more lists of Debian packages beside packages.txt.
set -eu
cd "$(dirname "$0")/.."

# The newest interpreter that Airflow supports is not always the default one; PYTHON names another.
find_python() {
    for candidate in ${PYTHON:-} python3.11 python3 python3.12 python3.13 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

python_packages() {
    if [ -z "$python" ]; then
        echo python3 python3-venv python3-dev
        return
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    # mysqlclient is compiled against the interpreter's headers.
    "$python" -c 'import pathlib, sysconfig, sys
sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || echo python3-dev
}

missing_packages() {
    for package in $(python_packages) $(cat packages.txt "$@"); do
        case "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" in
            installed) ;;
            *) echo "$package" ;;
        esac
    done | sort -u | tr '\n' ' '
}

install_packages() {
    command="apt-get update && apt-get install -y --no-install-recommends $1"
    if [ "$(id -u)" -eq 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "These Debian packages are missing, and installing them needs root. Run this, then start again:" >&2
        echo "    sudo sh -c '$command'" >&2
        exit 1
    fi
    echo "Installing Debian packages: $1"
    # The project needs the servers' programs, not servers that run: policy-rc.d keeps the packages from starting them.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap '$as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    log=$(mktemp)
    if ! $as_root env DEBIAN_FRONTEND=noninteractive sh -c "$command" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        echo "apt-get failed (see above). Put that right, or run it yourself, and start again: $command" >&2
        exit 1
    fi
    rm -f "$log"
}

python=$(find_python)
if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    missing=$(missing_packages "$@")
    [ -z "$missing" ] || install_packages "$missing"
    [ -n "$python" ] || python=$(find_python)
else
    echo "This is not Debian: see packages.txt for the programs that must be there." >&2
fi
if [ -z "$python" ]; then
    echo "No Python 3.11 or newer was found. Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2
    exit 1
fi
"$python" scripts/setup_venv.py install
