#!/usr/bin/env bash
# Installs lisa-ci as checked out beside this script, in an environment of its own. Every package is named with its
# hash in requirements.lock, the build backend too, so pinning the action by commit pins all that runs.
set -euo pipefail
source_folder=$(cd "$(dirname "$0")/../.." && pwd)
home="$RUNNER_TEMP/lisa-ci-tool"
[ -x "$home/bin/lisa-ci" ] && exit 0

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "::error title=lisa-ci::The runner's python3 is older than 3.11; add actions/setup-python before this step."
  exit 2
}
python3 -m venv "$home/venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
"$home/venv/bin/python" -m pip install --quiet --require-hashes --only-binary :all: -r "$source_folder/requirements.lock"
# The build writes beside its sources; the checkout stays as it is.
cp -R "$source_folder" "$home/source"
"$home/venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --no-index "$home/source"
rm -rf "$home/source"
mkdir "$home/bin"
ln -s ../venv/bin/lisa-ci "$home/bin/lisa-ci"
echo "$home/bin" >> "$GITHUB_PATH"
