#!/usr/bin/env bash
# Fetches the SQL files of PostgreSQL's own regression suites, from the distribution's source package of the version that libpg_query is
# made from, and cuts them into statements.
#
#   tests/oracle/fetch_corpus.sh DIRECTORY
#
# apt works in a directory of its own, so that the machine's package lists and sources stay as they are. What is there already is
# not fetched again.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$1
[ ! -e "$target/complete" ] || exit 0
major=$(sed -n 's/^#define PG_MAJORVERSION "\(.*\)"/\1/p' /usr/include/pg_query.h)
rm -rf "$target"
mkdir -p "$target/apt/sources" "$target/apt/lists/partial" "$target/apt/cache/archives/partial" "$target/source"
apt=$(realpath "$target/apt")

# The machine's own sources, as source packages.
shopt -s nullglob
for list in /etc/apt/sources.list.d/*.sources; do
    sed 's/^Types:.*/Types: deb-src/' "$list" >"$apt/sources/$(basename "$list")"
done
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -e "$list" ] || sed -n 's/^deb /deb-src /p' "$list" >"$apt/sources/$(basename "$list" .list).list"
done

options=(-qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$apt/sources"
    -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache")
# Some sources may have no source packages, and a mirror may not have a version yet that its index names: any version will do.
apt-get "${options[@]}" update >"$apt/log" 2>&1 || true
packages=$(apt-cache "${options[@]}" showsrc --only-source "postgresql-$major" 2>>"$apt/log" |
    sed -n "s/^Version: /postgresql-$major=/p" | sort -Vru)
for package in $packages; do
    (cd "$target/source" && apt-get "${options[@]}" --download-only source "$package") >>"$apt/log" 2>&1 && break
done
set -- "$target"/source/*.orig.tar.*
if [ $# -eq 0 ]; then
    cat "$apt/log" >&2
    echo "tests/oracle/fetch_corpus.sh: no source package of postgresql-$major could be fetched" >&2
    exit 1
fi
python3 tests/oracle/cut_corpus.py "$1" "$target/statements"
rm -rf "$apt" "$target/source"
touch "$target/complete"
