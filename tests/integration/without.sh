#!/usr/bin/env bash
# A build that was made without some parts:   without.sh BINARY PART...
#
# A config that names a sink which is not there is refused, with its line, and none of their libraries is loaded.
set -euo pipefail
binary=$1
shift
passed=0 failed=0
config=$(mktemp)
trap 'rm -f "$config"' EXIT

declare -A url=([webhook]=http://h/ [redis]=redis://h [amqp]=amqp://h [kafka]=kafka://h)
declare -A library=([webhook]=libcurl [redis]=libhiredis [amqp]=librabbitmq [kafka]=librdkafka [systemd]=libsystemd)

# expect WHAT COMMAND...
expect() {
    what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED  $what"; fi
}

for part; do
    expect "${library[$part]} is not loaded" test "$(ldd "$binary" | grep -cF "${library[$part]}")" = 0
    [ -n "${url[$part]:-}" ] || continue # no sink
    printf 'database "*" { upstream = "host=127.0.0.1" }\nsink "s" { type = %s  url = "%s" }\n' "$part" "${url[$part]}" >"$config"
    said=$("$binary" check -c "$config" 2>&1) && status=0 || status=$?
    expect "a config with a $part sink is refused, not: $said" \
        test "$status $said" = "2 $config:2: type: this build of pgatomic has no $part sink"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
