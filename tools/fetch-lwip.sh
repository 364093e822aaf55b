#!/bin/sh
# Fetches the distribution's lwIP source package (upstream's tarball, unpatched) into DEST: tools/fetch-lwip.sh DEST
# Needs neither root nor a change to the system's apt set-up: apt checks the signatures with lists and cache of its own below DEST.
set -eu

dest=${1:?usage: $0 DEST}
[ -f "$dest/src/core/tcp.c" ] && exit 0
mkdir -p "$(dirname "$dest")"
dest=$(cd "$(dirname "$dest")" && pwd)/$(basename "$dest")
work=$(mktemp -d "$(dirname "$dest")/lwip-fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/out"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
by=
[ -e $keyring ] && by="[signed-by=$keyring] "
apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' | sort -u |
    while read -r site release component; do
        [ "$component" = main ] && echo "deb-src $by$site $release main"
    done >"$work/sources.list"
[ -s "$work/sources.list" ] || { echo "fetch-lwip: apt names no mirror; pass -DLWIP_DIR= a tree of lwIP 2.1 or later" >&2; exit 1; }

apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/lists" \
        -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
}
apt update >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
(cd "$work/out" && apt source --download-only lwip) >>"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
(cd "$work/out" && cmake -E tar xf lwip_*.orig.tar.* && rm lwip_*)
tree=$(echo "$work"/out/*/)
[ -f "$tree/src/core/tcp.c" ] || { echo "fetch-lwip: the package has no src/core/tcp.c" >&2; exit 1; }
mv "$tree" "$dest" 2>/dev/null || [ -f "$dest/src/core/tcp.c" ] # somebody else may have been quicker
