# Words for measuring. A case starts with ". ./measure.sh", sets "runs" if five are not right, and calls "measure".
# A figure's name ends with its unit. "_per_s" and "_percent_of_linear" are better when they are higher, times ("_s",
# "_us", "_ns") when they are lower. "_spread_percent" is the distance of the fastest and the slowest run from each
# other, in percent of the median: a change that is smaller means nothing.
. ./words.sh

runs=5

want() { # PROGRAM PACKAGE...: skips where one is not there, and says what has it
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null 2>&1 || skip "no $1 here (package $2)"
    shift 2
  done
}

measure() { # NAME UNIT COMMAND...: the median of what the command prints, a number each time, and its spread
  name=$1 unit=$2
  shift 2
  : >"$scratch/values"
  run=0
  while [ "$run" -lt "$runs" ]; do
    value=$("$@" 2>"$scratch/errors") || fail "$* failed: $(head -n 1 "$scratch/errors")"
    case $value in
      '' | *[!0-9.]* | *.*.*) fail "$name: '$value' is no number ($(head -n 1 "$scratch/errors"))" ;;
    esac
    echo "$value" >>"$scratch/values"
    run=$((run + 1))
  done
  told=$(sort -n "$scratch/values" | awk -v name="$name" -v unit="$unit" '
    { v[NR] = $1 }
    END {
      m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
      if (m <= 0) exit 1
      printf "METRIC %s_%s=%.6g\nMETRIC %s_spread_percent=%.3g\n", name, unit, m, name, (v[NR] - v[1]) * 100 / m
    }') || fail "$name is $(tr '\n' ' ' <"$scratch/values")$unit: nothing was measured"
  echo "$told"
}

seconds() { # COMMAND...: what it took by the monotonic clock, which counts in hundredths
  read -r from _ </proc/uptime
  "$@" >/dev/null 2>"$scratch/errors" || return 1
  read -r until _ </proc/uptime
  awk -v from="$from" -v until="$until" 'BEGIN { print until - from }'
}

dd_seconds() { # OPERANDS OF DD...: what it says that it took
  dd "$@" 2>"$scratch/dd" || { cat "$scratch/dd" >&2; return 1; }
  sed -n 's/.*copied, \([0-9.e-]*\) s.*/\1/p' "$scratch/dd" | awk '{ printf "%.9f\n", $1 }'
}

rate() { # AMOUNT SECONDS
  awk -v amount="$1" -v seconds="$2" 'BEGIN { if (seconds <= 0) exit 1; printf "%.6f\n", amount / seconds }'
}
