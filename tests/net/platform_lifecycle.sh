#!/bin/bash
# The supervisor's whole life: what is there while it runs, what is left when it ends in order, by SIGKILL, or does not even start; two of them; names that are taken.
. "$(dirname "$0")/lib_platform.sh"
need_world python3 jq
world_up
origin_echo
net_state >"$DIR/before"
p=$(profile p "device tunlife" "addr6 fdfe:dcba:9876::1/126" "fake6 fdfe:198:18::/64")

step "traffic and queries reach the worker, the worker reaches the world"
shunt_start "$p"
[[ $(pong) = pong* ]] || fail "no answer to a query"
[[ $(ask 127.0.0.53 53 ping) = pong* && $(ask ::1 53 ping) = pong* && $(ask 10.77.0.1 53 ping) = pong* ]] || fail "loopback, IPv6 or LAN servers are not redirected"
[[ $(ask tcp 9.9.9.9 53) = tcp* ]] || fail "TCP is not redirected"
echoed 203.0.113.1 && echoed 2001:db8::1 && echoed 198.18.3.3 && echoed fdfe:198:18::5 || fail "not captured"
[ "$(ask 9.9.9.9 53 "up 10.78.0.3:7 there")" = there ] && [ "$(ask 9.9.9.9 53 "up [fd78::3]:7 there")" = there ] || fail "the worker is captured itself"
ok "$(sed -n 's/.*ready in/ready in/p' "$DIR/shunt.log" | head -n 1)"

step "the worker is powerless"
[ "$(ask 9.9.9.9 53 powers)" = "worked 0" ] || fail "$(ask 9.9.9.9 53 powers)"
status=$(cat "/proc/$(shunt_worker)/status")
for line in 'CapInh: 0+$' 'CapPrm: 0+$' 'CapEff: 0+$' 'CapBnd: 0+$' 'CapAmb: 0+$' 'NoNewPrivs: 1$' 'Seccomp: 2$' 'Uid: 65017 65017 65017 65017' 'Groups: *$'; do
    tr '\t' ' ' <<<"$status" | grep -qE "^$line" || fail "$line: $(grep "${line%%:*}" <<<"$status")"
done
ok

step "a second one refuses, also with another directory, and changes nothing"
net_state >"$DIR/running"
ends_with 1 "$p"
ends_with 1 "$p" "$DIR/state2"
[ ! -e "$DIR/state2" ] || fail "it made a directory"
logged "another shunt (process $SHUNT_PID)" || fail "it does not say which"
net_state | diff "$DIR/running" - || fail "it changed something"
[[ $(pong) = pong* ]] || fail "the first one suffered"
in_app "$SHUNT" cleanup -d "$DIR/state" | grep -q 'is running' || fail "cleanup did not see it"
net_state | diff "$DIR/running" - || fail "cleanup tore at a running shunt"
ok

step "SIGTERM leaves everything byte-equal"
shunt_stop || fail "exit status $?"
unchanged
ok

step "a worker that does not stop is killed after 2 s"
shunt_start "$(profile deaf "device tunlife" "deaf")"
began=$(date +%s%N)
shunt_stop || fail "exit status $?"
ms=$((($(date +%s%N) - began) / 1000000))
[ "$ms" -ge 1900 ] && [ "$ms" -le 4000 ] || fail "it took $ms ms"
unchanged
ok "$ms ms"

step "a second SIGTERM is at once"
shunt_start "$(profile deaf "device tunlife" "deaf")"
began=$(date +%s%N)
kill -TERM "$SHUNT_PID"; sleep 0.1; shunt_stop || fail "exit status $?"
ms=$((($(date +%s%N) - began) / 1000000))
[ "$ms" -le 1500 ] || fail "it took $ms ms"
unchanged
ok "$ms ms"

step "SIGKILL of the supervisor: worker and device go, the network is back"
shunt_start "$p"
worker=$(shunt_worker)
kill -KILL "$SHUNT_PID"; wait "$SHUNT_PID" 2>/dev/null; SHUNT_PID=
wait_for 1 gone "$worker" || fail "the worker lives on"
no_device() { ! in_app ip link show tunlife; }
wait_for 1 no_device || fail "the device lives on" # a child of the supervisor's that has just begun lets go of it a moment later
echoed 10.78.0.3 && echoed fd78::3 || fail "no plain traffic"
[ "$(ask 9.9.9.9 53 ping)" != "pong" ] || fail "the redirect lives on"
ok
step "cleanup takes back the rest and says what, twice"
in_app "$SHUNT" cleanup -d "$DIR/state" >"$DIR/said" || fail "status $?"
grep -q 'policy rules' "$DIR/said" || fail "$(cat "$DIR/said")"
unchanged
in_app "$SHUNT" cleanup -d "$DIR/state" | grep -q 'nothing was left' || fail "the second time"
unchanged
ok
step "cleanup without any journal"
shunt_start "$p"; kill_both
rm "$DIR/state/journal"
in_app "$SHUNT" cleanup -d "$DIR/nowhere" >/dev/null || fail "status $?"
unchanged
ok
step "the next start takes back the rest, too"
shunt_start "$p"; kill_both
shunt_start "$p"
[[ $(pong) = pong* ]] && echoed 203.0.113.1 || fail "not captured"
shunt_stop || fail "exit status $?"
unchanged
ok

say "starts that are refused change nothing"
refused() { step "$1"; shift; ends_with "$@"; unchanged; ok; }
refused "no such profile: 1" 1 "$DIR/none"
refused "the profile is a directory: 1" 1 "$DIR"
refused "the worker says 1" 1 "$(profile e1 "exit 1")"
refused "the worker says 4" 4 "$(profile e4 "exit 4")"
refused "a device name that cannot be: 1" 1 "$(profile bad "device a/b")"
refused "an MTU that cannot be: 1" 1 "$(profile badmtu "mtu 12")"
step "not root: 4"
status=0
in_app setpriv --reuid 65534 --regid 65534 --clear-groups "$SHUNT" run -f "$p" -d "$DIR/state" 2>>"$DIR/shunt.log" || status=$?
[ $status = 4 ] || fail "status $status"
ok
step "no /dev/net/tun: 1"
status=0
in_app unshare -m sh -c "mount -t tmpfs none /dev/net && exec '$SHUNT' run -f '$p' -d '$DIR/state'" 2>>"$DIR/shunt.log" || status=$?
[ $status = 1 ] || fail "status $status"
unchanged
ok
step "a state directory that holds other things: 1, untouched"
mkdir -p "$DIR/theirs" && echo precious >"$DIR/theirs/file" && chmod 1777 "$DIR/theirs"
ends_with 1 "$p" "$DIR/theirs"
[ "$(stat -c '%u %a' "$DIR/theirs")" = "0 1777" ] || fail "it was taken over"
ok
step "a state directory the worker cannot get to: 1"
mkdir -p "$DIR/shut" && chmod 700 "$DIR/shut"
ends_with 1 "$p" "$DIR/shut/state"
logged "must be passable" || fail "no remedy"
ok
step "somebody else under the worker's id: 1, with the pid"
background "$APP" setpriv --reuid 65017 --regid 65017 --clear-groups sleep 60
other=${WORLD_PIDS[-1]}
sleep 0.2
ends_with 1 "$p"
logged "process $other runs under" || fail "not named"
kill "$other"; wait "$other" 2>/dev/null
unchanged
ok
step "... but not a user who sits on our abstract name"
background "$APP" setpriv --reuid 65534 --clear-groups /usr/bin/python3 -c 'import socket,time; s=socket.socket(socket.AF_UNIX); s.bind("\0shunt-run"); s.listen(1); time.sleep(60)'
sleep 0.3
shunt_start "$p"; shunt_stop || fail "exit status $?"
unchanged
ok

say "what is taken"
step "the device name: error"
in_app ip tuntap add dev tunlife mode tun
net_state >"$DIR/before.tun"
ends_with 1 "$p"
logged "tunlife is taken" || fail "not said"
net_state | diff "$DIR/before.tun" - || fail "it changed something"
in_app ip tuntap del dev tunlife mode tun
unchanged
ok
step "no name wanted: the next free one"
in_app ip tuntap add dev shunt0 mode tun
shunt_start "$(profile anyname "mtu 1400")"
in_app ip link show shunt1 | grep -q 'mtu 1400' || fail "no shunt1"
shunt_stop || fail "exit status $?"
in_app ip link show shunt0 >/dev/null || fail "the other's device is gone"
in_app ip tuntap del dev shunt0 mode tun
unchanged
ok
step "rule priorities and table: the next free ones"
in_app ip rule add pref 9004 fwmark 7 lookup 100
in_app ip -6 rule add pref 9023 fwmark 7 lookup 100
in_app ip route add 192.0.2.0/24 via 10.77.0.1 table 2022
net_state >"$DIR/before.rules"
: >"$DIR/shunt.log"
shunt_start "$p"
logged "table 2023 prio 9040" || fail "$(grep helper: "$DIR/shunt.log")"
echoed 203.0.113.1 || fail "not captured"
shunt_stop || fail "exit status $?"
net_state | diff "$DIR/before.rules" - || fail "something was left behind"
shunt_start "$p"; kill_both
in_app "$SHUNT" cleanup -d "$DIR/state" >/dev/null
net_state | diff "$DIR/before.rules" - || fail "cleanup took what is not ours"
in_app ip rule del pref 9004; in_app ip -6 rule del pref 9023; in_app ip route del 192.0.2.0/24 table 2022
unchanged
ok

say "other profiles"
step "from standard input"
: >"$DIR/shunt.log"
ip netns exec "$APP" "$SHUNT" run -f - -d "$DIR/state" <"$p" >>"$DIR/shunt.log" 2>&1 &
SHUNT_PID=$!
wait_for 5 shunt_ready 0 || fail "not ready"
kill -HUP "$SHUNT_PID"
wait_for 2 logged "cannot be read again" || fail "no word about it"
kill -KILL "$(shunt_worker)"
wait_for 3 logged "worker is back" || fail "the worker did not come back"
echoed 203.0.113.1 || fail "not captured"
shunt_stop || fail "exit status $?"
unchanged
ok
step "auto-route off: the machine's traffic and DNS are left alone"
shunt_start "$(profile noroute "device tunlife" "auto-route 0")"
in_app ip rule >"$DIR/rules"; grep -q 'proto 84' "$DIR/rules" && fail "there are rules"
[ -z "$(in_app nft list ruleset)" ] || fail "there is an nft table"
in_app ip route add 203.0.113.0/24 dev tunlife
echoed 203.0.113.1 || fail "the device does not work"
shunt_stop || fail "exit status $?"
unchanged
ok
step "no device at all"
shunt_start "$(profile notun "no-tun")"
unchanged "it changed something"
shunt_stop || fail "exit status $?"
unchanged
ok
for level in none csum tso full; do
    step "offload $level"
    : >"$DIR/shunt.log"
    SHUNT_TUN_OFFLOAD=$level shunt_start "$p"
    case $level in
    none) want="vnet 0 csum 0 tso 0 uso 0" ;;
    csum) want="vnet 1 csum 1 tso 0 uso 0" ;;
    tso) want="vnet 1 csum 1 tso 1 uso 0" ;;
    full) want="vnet 1 csum 1 tso 1 uso [01]" ;; # USO: Linux 6.2 or later
    esac
    wait_for 2 logged "$want" || fail "$(grep helper: "$DIR/shunt.log")"
    echoed 203.0.113.1 && echoed 2001:db8::1 || fail "no echo"
    shunt_stop || fail "exit status $?"
    ok
done
unchanged
step "sd_notify says READY=1"
background "$APP" python3 -c "
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('$DIR/notify'); s.settimeout(20)
while True:
    print(s.recv(100).decode(), file=open('$DIR/notified', 'a'), flush=True)"
wait_for 3 test -S "$DIR/notify"
NOTIFY_SOCKET=$DIR/notify shunt_start "$p"
wait_for 2 grep -q READY=1 "$DIR/notified" || fail "not said"
shunt_stop || fail "exit status $?"
grep -q STOPPING=1 "$DIR/notified" || fail "the end not said"
unchanged
ok
sanitizers_silent
