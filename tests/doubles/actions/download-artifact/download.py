"""Copy one artifact by its name, or each that fits a pattern into a folder of its own."""

import fnmatch
import os
import shutil
import sys
from pathlib import Path

kept = Path(os.environ["STANDIN_ARTIFACTS"])
name, pattern, target = os.environ["NAME"], os.environ["PATTERN"], Path(os.environ["TARGET"])
have = sorted(path.name for path in kept.iterdir()) if kept.is_dir() else []
if name:
    if name not in have:
        sys.exit(f"::error::Unable to download artifact(s): Artifact not found for name: {name}")
    shutil.copytree(kept / name, target, dirs_exist_ok=True)
else:
    target.mkdir(parents=True, exist_ok=True)
    for each in fnmatch.filter(have, pattern or "*"):
        shutil.copytree(kept / each, target / each, dirs_exist_ok=True)
