#!/bin/bash
# The system's own resolver services: systemd-resolved on a private bus is pointed at us, again when it forgot, and left alone at the end; where the
# kernel has no nf_tables /etc/resolv.conf is, and it is byte-equal afterwards, however we ended.
. "$(dirname "$0")/lib_platform.sh"
need_world python3 jq dbus-daemon dbus-send
HELPERS=$(dirname "$SHUNT")
WORKER=$SHUNT

world_up
origin_echo
net_state >"$DIR/before"
p=$(profile p "device tunos" "addr6 fdfe:dcba:9876::1/126")

# ---- a bus of our own
cat >"$DIR/bus.conf" <<END
<busconfig><type>system</type><listen>unix:path=$DIR/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>
END
background "$APP" dbus-daemon --config-file="$DIR/bus.conf" --nofork --nopidfile
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$DIR/bus
wait_for 5 test -S "$DIR/bus" || fail "no bus"
resolved_start() {
    : >"$DIR/resolved.log"
    background "$APP" "$HELPERS/helper_resolved" "$DIR/resolved.log" "$@"
    RESOLVED_PID=${WORLD_PIDS[-1]}
    wait_for 5 resolved_call org.freedesktop.DBus.Peer.Ping || fail "no resolved"
}
resolved_stop() { kill "$RESOLVED_PID"; wait "$RESOLVED_PID" 2>/dev/null; }
resolved_call() {
    in_app dbus-send --bus="$DBUS_SYSTEM_BUS_ADDRESS" --print-reply --reply-timeout=1000 --dest=org.freedesktop.resolve1 /org/freedesktop/resolve1 "$1"
}
wipe() { resolved_call org.freedesktop.resolve1.Manager.Wipe >/dev/null; }
heard() { [ "$(grep -c "$1" "$DIR/resolved.log")" -ge "${2:-1}" ]; }
link() { in_app cat /sys/class/net/tunos/ifindex; }

say "systemd-resolved"
step "nobody is there: nothing happens, nothing is started"
shunt_start "$p"
[[ $(pong) = pong* ]] || fail "no answer to a query"
shunt_stop || fail "exit status $?"
unchanged
ok
step "it asks us for every name, and forgets what it knew (F8)"
resolved_start
shunt_start "$p"
i=$(link)
wait_for 3 heard "FlushCaches" || fail "it was not told: $(cat "$DIR/resolved.log")"
for line in "SetLinkDNS $i 198.18.0.2" "SetLinkDomains $i ~\." "SetLinkDefaultRoute $i yes" "SetLinkDNSSEC $i no" "SetLinkDNSOverTLS $i no" "SetLinkLLMNR $i no" \
    "SetLinkMulticastDNS $i no"; do
    heard "$line" || fail "no $line: $(cat "$DIR/resolved.log")"
done
logged 'every name to the servers of lo, too' || fail "the rival is not named"
ok
step "somebody takes that away: it is there again within 3 s"
wipe
wait_for 4 heard "SetLinkDNS $i" 2 || fail "not set again"
sleep 3
wipe
in_app ip address add 10.99.0.1/32 dev lo # anything that happens on a link is a reason to look
wait_for 4 heard "SetLinkDNS $i" 3 || fail "not set again after an event"
in_app ip address del 10.99.0.1/32 dev lo
logged 'took our name server' || fail "not said"
ok
step "a quiet network costs nothing"
sleep 4
calls=$(wc -l <"$DIR/resolved.log")
children() { pgrep -P "$SHUNT_PID" | wc -l; }
sleep 3
[ "$(wc -l <"$DIR/resolved.log")" = "$calls" ] && [ "$(children)" = 1 ] || fail "it goes on"
ok
step "a reload: what is kept in caches is over"
flushes=$(grep -c FlushCaches "$DIR/resolved.log")
kill -HUP "$SHUNT_PID"
wait_for 4 heard FlushCaches $((flushes + 1)) || fail "not flushed"
ok
step "the end: reverted, flushed"
: >"$DIR/resolved.log"
shunt_stop || fail "exit status $?"
printf 'RevertLink %s\nFlushCaches\n' "$i" | diff - "$DIR/resolved.log" || fail "something else"
unchanged
ok
step "one that refuses is said, one that never answers holds nobody up"
resolved_stop
resolved_start refuse
shunt_start "$p"
wait_for 3 logged 'does not take our name server: SetLinkDNS: nobody may' || fail "not said"
shunt_stop || fail "exit status $?"
kill -STOP "$RESOLVED_PID"
shunt_start "$p"
[[ $(pong) = pong* ]] || fail "no answer to a query"
began=$(date +%s%N)
shunt_stop || fail "exit status $?"
ms=$((($(date +%s%N) - began) / 1000000))
kill -CONT "$RESOLVED_PID"
[ "$ms" -le 8000 ] || fail "the end took $ms ms"
unchanged
ok "the end took $ms ms"
resolved_stop
unset DBUS_SYSTEM_BUS_ADDRESS
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent # never this machine's

say "no nf_tables in the kernel"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$HELPERS/helper_without_nft" "$WORKER" >"$DIR/without"
chmod 755 "$DIR/without"
SHUNT=$DIR/without
conf() { in_app cat /etc/resolv.conf; }
ours() { conf | grep -q '^nameserver 198.18.0.2$'; }
echo "# the admin's
search lan
nameserver 127.0.0.53
nameserver 10.77.0.1
options edns0 timeout:3" >"/etc/netns/$APP/resolv.conf"
net_state >"$DIR/before"
step "a mounted /etc/resolv.conf is written over, and back"
shunt_start "$p"
wait_for 3 ours || fail "$(conf)"
[ "$(conf | grep -c '^nameserver')" = 1 ] && conf | grep -q '^search lan$' && conf | grep -q '^options timeout:3$' || fail "$(conf)"
shunt_stop || fail "exit status $?"
unchanged
ok
step "one that names far servers is left alone"
echo "nameserver 9.9.9.9" >"/etc/netns/$APP/resolv.conf"
shunt_start "$p"
sleep 1
[ "$(conf)" = "nameserver 9.9.9.9" ] || fail "$(conf)"
shunt_stop || fail "exit status $?"
printf 'nameserver 10.77.0.1' >"/etc/netns/$APP/resolv.conf"
net_state >"$DIR/before"
ok
step "SIGKILL, then cleanup: byte-equal"
shunt_start "$p"
wait_for 3 ours || fail "$(conf)"
kill_both
ours || fail "who restored it?"
in_app "$SHUNT" cleanup -d "$DIR/state" | grep -q 'restored /etc/resolv.conf' || fail "cleanup does not say so"
unchanged
in_app "$SHUNT" cleanup -d "$DIR/state" | grep -q 'nothing was left' || fail "the second time"
ok
step "SIGKILL, journal lost, then a start and an end: byte-equal"
shunt_start "$p"
wait_for 3 ours || fail "$(conf)"
kill_both
rm -f "$DIR/state/journal"
shunt_start "$p"
wait_for 3 ours || fail "$(conf)"
shunt_stop || fail "exit status $?"
unchanged
ok
step "SIGKILL of the supervisor between any two of its steps"
for ms in 1 5 10 20 40 80 150; do
    ip netns exec "$APP" "$SHUNT" run -f "$p" -d "$DIR/state" </dev/null >>"$DIR/shunt.log" 2>&1 &
    SHUNT_PID=$!
    sleep "$(printf '0.%03d' "$ms")"
    kill -KILL "$SHUNT_PID"; wait "$SHUNT_PID" 2>/dev/null; SHUNT_PID=
    sleep 0.3
    in_app "$SHUNT" cleanup -d "$DIR/state" >/dev/null
    unchanged "$ms ms after its start"
done
ok
step "somebody else replaces it: his is what comes back, ours is in force again"
shunt_start "$p"
wait_for 3 ours || fail "$(conf)"
printf 'nameserver 192.168.9.9\nsearch new\n' >"/etc/netns/$APP/resolv.conf"
wait_for 8 ours || fail "not again: $(conf)"
shunt_stop || fail "exit status $?"
[ "$(cat "/etc/netns/$APP/resolv.conf")" = "$(printf 'nameserver 192.168.9.9\nsearch new')" ] || fail "$(conf)"
ok

say "a regular file, a link, a read-only one"
# with_etc COMMAND...: in app, with an /etc of its own that nothing is mounted into
mkdir -p "$DIR/etc"
with_etc() { ip netns exec "$APP" unshare -m bash -c 'umount /etc/resolv.conf 2>/dev/null; mount --bind "$0" /etc && exec "$@"' "$DIR/etc" "$@"; }
printf '#!/bin/bash\numount /etc/resolv.conf 2>/dev/null; mount --bind "%s" /etc; [ ! -e "%s/ro" ] || mount -o remount,ro,bind /etc; exec "%s" "$@"\n' \
    "$DIR/etc" "$DIR" "$DIR/without" >"$DIR/own-etc"
chmod 755 "$DIR/own-etc"
printf '#!/bin/bash\nexec unshare -m "%s" "$@"\n' "$DIR/own-etc" >"$DIR/unshared"
chmod 755 "$DIR/unshared"
cp /etc/passwd /etc/group /etc/nsswitch.conf "$DIR/etc/" 2>/dev/null
SHUNT=$DIR/unshared
step "replaced in one step, with owner and mode"
printf 'nameserver 127.0.0.1\n' >"$DIR/etc/resolv.conf"
chown 65534:65534 "$DIR/etc/resolv.conf"; chmod 640 "$DIR/etc/resolv.conf"
stat -c '%u %g %a' "$DIR/etc/resolv.conf" >"$DIR/stat"
inode=$(stat -c %i "$DIR/etc/resolv.conf")
shunt_start "$p"
wait_for 3 grep -q '^nameserver 198.18.0.2$' "$DIR/etc/resolv.conf" || fail "$(cat "$DIR/etc/resolv.conf")"
[ "$(stat -c %i "$DIR/etc/resolv.conf")" != "$inode" ] || fail "it was written over"
stat -c '%u %g %a' "$DIR/etc/resolv.conf" | diff "$DIR/stat" - || fail "owner or mode"
shunt_stop || fail "exit status $?"
[ "$(cat "$DIR/etc/resolv.conf")" = "nameserver 127.0.0.1" ] || fail "$(cat "$DIR/etc/resolv.conf")"
stat -c '%u %g %a' "$DIR/etc/resolv.conf" | diff "$DIR/stat" - || fail "owner or mode"
ok
step "a link is somebody's product"
rm "$DIR/etc/resolv.conf"; printf 'nameserver 127.0.0.53\n' >"$DIR/etc/product"; ln -s product "$DIR/etc/resolv.conf"
: >"$DIR/shunt.log"
shunt_start "$p"
wait_for 3 logged 'no plain file' || fail "not said"
shunt_stop || fail "exit status $?"
[ -L "$DIR/etc/resolv.conf" ] && [ "$(cat "$DIR/etc/product")" = "nameserver 127.0.0.53" ] || fail "touched"
ok
step "read-only: said, and everything else works"
rm "$DIR/etc/resolv.conf"; printf 'nameserver 127.0.0.53\n' >"$DIR/etc/resolv.conf"
touch "$DIR/ro"
: >"$DIR/shunt.log"
shunt_start "$p"
wait_for 3 logged '/etc/resolv.conf does not lead names to us: Read-only' || fail "not said: $(cat "$DIR/shunt.log")"
echoed 203.0.113.1 || fail "not captured"
shunt_stop || fail "exit status $?"
[ "$(cat "$DIR/etc/resolv.conf")" = "nameserver 127.0.0.53" ] || fail "touched"
ok
sanitizers_silent
