#!/usr/bin/env bash
# Picture of a report for the README: scripts/report_picture.sh REPORT.html OUT.png
# Needs Debian's chromium and fonts-dejavu-core. Only for reports of phantoms: a picture is kept in the history.
set -euo pipefail
if [ $# -ne 2 ] || [ ! -f "$1" ]; then echo "usage: $0 REPORT.html OUT.png" >&2; exit 2; fi
command -v chromium >/dev/null || { echo "$0: apt-get install chromium fonts-dejavu-core" >&2; exit 1; }
page=$(realpath "$1") picture=$(realpath -m "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

chromium --headless --no-sandbox --no-first-run --disable-gpu --disable-background-networking \
    --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$scratch/profile" \
    --window-size=1280,1500 --virtual-time-budget=20000 --screenshot="$scratch/page.png" "file://$page" 2>/dev/null

# The browser cannot write a small PNG; 128 colours and two thirds of the size are enough to show what it looks like.
"${PYTHON:-python3}" - "$scratch/page.png" "$picture" <<'PYTHON'
import sys
from pathlib import Path

from PIL import Image

LIMIT_BYTES = 300_000

page = Image.open(sys.argv[1]).convert("RGB")
small = page.resize((page.width * 2 // 3, page.height * 2 // 3), Image.Resampling.LANCZOS)
out = Path(sys.argv[2])
out.parent.mkdir(parents=True, exist_ok=True)
small.quantize(128).save(out, optimize=True)
size = out.stat().st_size
if size > LIMIT_BYTES:
    sys.exit(f"{out}: {size} bytes, expected at most {LIMIT_BYTES}; cut the page shorter")
print(f"{out}: {small.width} x {small.height}, {size} bytes")
PYTHON
