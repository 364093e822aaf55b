#!/bin/bash
# Answers per second of one core, by CPU time: fake addresses of shunt beside answers out of memory of unbound, knot-resolver and dnsmasq, in the same run. Over UDP by
# loopback, server and dnsperf on a core each; 20,000 names. Every server knows the answer by itself, nobody is asked. The best of ROUNDS, taken in turns.
#   tests/bench/dns.sh [SECONDS, 4] [ROUNDS, 5] [CLIENTS, 8] [QUESTIONS UNDER WAY, 400]      environment: SHUNT (build/release/shunt)
# Eight clients with fifty questions each are forwarders; 200 with one each (4 5 200 200) are programs that ask and wait.
# The kernel's part is most of it: microseconds of user time are said, too.
cd "$(dirname "$0")/../.."
SHUNT=${SHUNT:-$PWD/build/release/shunt}
. tests/net/lib.sh
need_world dnsperf unbound kresd dnsmasq dig jq taskset
T=${1:-4} ROUNDS=${2:-5} CLIENTS=${3:-8} UNDER_WAY=${4:-400}
world_up
for i in $(seq 20000); do echo "host$i.bench.test A"; done >"$DIR/names"
mkdir "$DIR/kresd"
cat >"$DIR/p.yaml" <<'END'
log-level: warning
tun: { device: tunbench }
dns: { enable: true, listen: "127.0.0.1:5301", nameserver: [ 10.78.0.2 ] }
rules: [ "MATCH,DIRECT" ]
END
cat >"$DIR/unbound.conf" <<END
server:
    directory: "$DIR"
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    logfile: "$DIR/unbound.log"
    interface: 127.0.0.1@5302
    num-threads: 1
    minimal-responses: yes
    module-config: "iterator"
    local-zone: "bench.test." redirect
    local-data: "bench.test. 1 IN A 198.18.0.9"
END
cat >"$DIR/kresd.conf" <<'END'
net.listen('127.0.0.1', 5303)
modules.unload('ta_signal_query'); modules.unload('ta_update'); trust_anchors.remove('.')
policy.add(policy.all(policy.ANSWER({ [kres.type.A] = { rdata = kres.str2ip('198.18.0.9'), ttl = 1 } })))
END
pinned() { background "$APP" taskset -c 0 "$@"; }
pinned unbound -d -c "$DIR/unbound.conf"; UNBOUND=${WORLD_PIDS[-1]}
pinned kresd -n -c "$DIR/kresd.conf" "$DIR/kresd"; KRESD=${WORLD_PIDS[-1]}
pinned dnsmasq --keep-in-foreground --no-resolv --no-hosts --user=root --listen-address=127.0.0.1 --port=5304 --bind-interfaces --pid-file= \
    --address=/bench.test/198.18.0.9 --local-ttl=1; DNSMASQ=${WORLD_PIDS[-1]}
shunt_start "$DIR/p.yaml"
WORKER=$(shunt_worker)
taskset -pc 0 "$WORKER" >/dev/null
ticks() { awk '{print $14, $14 + $15}' "/proc/$1/stat"; } # user, and all
declare -A BEST USER QPS
round() { # round NAME PID PORT
    local user all user_now all_now n
    read -r user all <<<"$(ticks "$2")"
    in_app taskset -c 1 dnsperf -s 127.0.0.1 -p "$3" -d "$DIR/names" -l "$T" -c "$CLIENTS" -q "$UNDER_WAY" >"$DIR/out" 2>&1 || fail "$(cat "$DIR/out")"
    read -r user_now all_now <<<"$(ticks "$2")"
    n=$(awk '/Queries completed/ {print $3}' "$DIR/out")
    awk -v n="$n" '/Response codes/ {exit !($0 ~ "NOERROR " n)}' "$DIR/out" || fail "$1: $(grep 'Response codes' "$DIR/out")"
    all=$((all_now - all)) user=$((user_now - user))
    n=$(awk -v n="$n" -v t=$all -v u=$user -v s="$T" -v hz="$(getconf CLK_TCK)" 'BEGIN {printf "%d %.2f %d", n * hz / t, u / hz * 1e6 / n, n / s}')
    if [ "${n%% *}" -gt "${BEST[$1]:-0}" ]; then read -r "BEST[$1]" "USER[$1]" "QPS[$1]" <<<"$n"; fi
}
for port in 5301 5302 5303 5304; do
    wait_for 5 in_app dig +time=1 +tries=1 @127.0.0.1 -p $port host1.bench.test || fail "nobody at port $port"
done
for _ in $(seq "$ROUNDS"); do
    round shunt "$WORKER" 5301
    round unbound "$UNBOUND" 5302
    round knot-resolver "$KRESD" 5303
    round dnsmasq "$DNSMASQ" 5304
done
printf '%-16s %16s %16s %14s\n' "" "answers/s of CPU" "user us/answer" "answers/s seen"
for name in shunt unbound knot-resolver dnsmasq; do printf '%-16s %16s %16s %14s\n' "$name" "${BEST[$name]}" "${USER[$name]}" "${QPS[$name]}"; done
best=0
for name in unbound knot-resolver dnsmasq; do [ "${BEST[$name]}" -gt "$best" ] && best=${BEST[$name]}; done
awk -v a="${BEST[shunt]}" -v b="$best" 'BEGIN {printf "shunt is %.2f times the best other\n", a / b}'
