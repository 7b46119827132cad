# How a case that changes its machine goes about it. Whatever it makes it also tells "undo", so that it is gone at the
# end, however the case ends. The same file is in each suite that needs it.
. ./words.sh

begin() {
  scratch=$(mktemp -d /tmp/lisa-ci-steps.XXXXXX) || fail "cannot make a folder in /tmp"
  : >"$scratch/undo"
  trap finish EXIT
  trap 'exit 1' HUP INT TERM
}

undo() { # COMMAND...: at the end, the last one first
  { printf '%s\n' "$*" && cat "$scratch/undo"; } >"$scratch/undo.new" && mv "$scratch/undo.new" "$scratch/undo"
}

finish() {
  status=$?
  trap - EXIT
  while read -r line; do
    eval "$line" </dev/null >/dev/null 2>&1
  done <"$scratch/undo"
  rm -rf "$scratch"
  exit "$status"
}

tools() { # PACKAGE PROGRAM...: skips where one is not there, and says what brings it
  package=$1
  shift
  for program; do
    command -v "$program" >/dev/null 2>&1 || skip "no $program here (package $package)"
  done
}

said() { # the last line of what went wrong
  tail -n 1 "$scratch/errors" 2>/dev/null
}

try() { # COMMAND...: has to work
  "$@" >"$scratch/output" 2>"$scratch/errors" || fail "$* failed: $(said)"
}

refused() { # WHAT COMMAND...: has to fail
  what=$1
  shift
  if "$@" >"$scratch/output" 2>"$scratch/errors"; then fail "$what was not refused ($*)"; fi
}

await() { # SECONDS WHAT COMMAND...: until the command is true
  limit=$1 what=$2
  shift 2
  read -r up idle </proc/uptime
  end=$((${up%%.*} + limit))
  until "$@" >/dev/null 2>&1; do
    read -r up idle </proc/uptime
    [ "${up%%.*}" -lt "$end" ] || fail "$what: not within $limit s"
    sleep 0.2 2>/dev/null || sleep 1
  done
}
