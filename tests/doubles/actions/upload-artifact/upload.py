"""Keep a file, or the files of a folder, under an artifact's name. Hidden files stay out, a taken name is an error."""

import os
import re
import shutil
import sys
from pathlib import Path

name, source = os.environ["NAME"], Path(os.environ["FOUND_IN"])
target = Path(os.environ["STANDIN_ARTIFACTS"]) / name
if not name or re.search(r'[":<>|*?\r\n\\/]', name):
    sys.exit(f"::error::The artifact name is not valid: {name}")
if target.exists():
    sys.exit(f"::error::Failed to CreateArtifact: (409) Conflict: an artifact with this name already exists: {name}")
files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
base = source.parent if source.is_file() else source
names = [path.relative_to(base) for path in files]
names = [each for each in names if not any(part.startswith(".") for part in each.parts)]
if not names:
    kind = os.environ["MISSING"]
    print(f"::{kind}::No files were found with the provided path: {source}" if kind != "ignore" else "nothing found")
    sys.exit(kind == "error")
for each in names:
    (target / each).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(base / each, target / each)
print(f"kept {len(names)} files as {name}")
