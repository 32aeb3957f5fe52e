#!/usr/bin/env bash
# What an image holds, step by step; the Dockerfile and the Apptainer definition both run this.
#
#     install.sh system                   Debian's packages; as root
#     install.sh program SOURCE PREFIX    the program from a folder or a wheel, in an environment of its own
#     install.sh check PREFIX             that it starts, and that nothing in it disagrees
set -euo pipefail

system() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates
    rm -rf /var/lib/apt/lists/*
}

program() {
    python3 -m venv "$2"
    "$2/bin/pip" install -qq --no-cache-dir --disable-pip-version-check "$1"
}

check() {
    # From an empty folder: what is imported must be what was installed.
    cd "$(mktemp -d)"
    "$1/bin/pip" check --disable-pip-version-check
    "$1/bin/mripipe" --version
    "$1/bin/mripipe" atlas list
    # Libraries of the system that are missing show when compiled modules are loaded.
    "$1/bin/python" -P -W ignore -c "import mripipe.api, mripipe.workflows.run, mripipe.stats.analysis"
}

case $1 in
    system) system ;;
    program) program "$2" "$3" ;;
    check) check "$2" ;;
    *) echo "expected system, program or check, got $1" >&2; exit 2 ;;
esac
