#!/bin/bash
# Datagrams of 1,400 bytes through the TUN, both ways, at a given rate: plain forwarding by the kernel, then shunt DIRECT, shunt -> ss aes-256-gcm, in the same run.
# Prints what arrived, what was lost, and CPU microseconds of shunt (both processes, user + system) per datagram that arrived.
#   tests/bench/datagrams.sh [RATE, 500M] [SECONDS, 3] [ROUNDS, 3]      environment: SHUNT (build/release/shunt)
# Client, proxy and origin share the machine, and ss-server is the slower end: microseconds per datagram are the figure that carries over.
cd "$(dirname "$0")/../.."
SHUNT=${SHUNT:-$PWD/build/release/shunt}
. tests/net/lib.sh
need_world ss-server iperf3 jq
RATE=${1:-500M} T=${2:-3} ROUNDS=${3:-3}
world_up
background "$ORG" iperf3 -s -p 5201
background "$ORG" iperf3 -s -p 5202
proxy_ss 8388 aes-256-gcm bench
wait_for 5 port_open "$ORG" 10.78.0.2 5202
cat >"$DIR/p.yaml" <<'EOF'
log-level: warning
tun: { device: tunbench }
dns: { nameserver: [10.78.0.2] }
proxies: [ { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-256-gcm, password: bench, udp: true } ]
rules: [ "DST-PORT,5202,ss", "MATCH,DIRECT" ]
EOF
ticks() { # CPU ticks of supervisor and worker so far
    local sum=0 pid
    for pid in ${SHUNT_PID:+$SHUNT_PID $(pgrep -P "$SHUNT_PID")}; do sum=$((sum + $(awk '{print $14 + $15}' "/proc/$pid/stat"))); done
    echo $sum
}
median() { sort -g | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }
row() { # row NAME PORT
    local name=$1 port=$2 flag before after
    for flag in "" -R; do
        : >"$DIR/rate"; : >"$DIR/lost"; : >"$DIR/cpu"
        for _ in $(seq "$ROUNDS"); do
            before=$(ticks)
            in_app timeout $((T + 20)) iperf3 -u -b "$RATE" -l 1400 $flag -c 10.78.0.2 -p "$port" -t "$T" -J >"$DIR/out"
            after=$(ticks)
            jq -r '.end.sum | .bits_per_second / 1e6 * (1 - .lost_percent / 100)' "$DIR/out" >>"$DIR/rate"
            jq -r '.end.sum.lost_percent' "$DIR/out" >>"$DIR/lost"
            jq -r '.end.sum | .packets - .lost_packets' "$DIR/out" | awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" '{print t / hz * 1e6 / $1}' >>"$DIR/cpu"
        done
        printf '%-30s %-5s %9.0f Mbit/s %8.2f %% lost %9s\n' "$name" "$([ -z "$flag" ] && echo up || echo down)" "$(median <"$DIR/rate")" "$(median <"$DIR/lost")" \
            "$([ -n "${SHUNT_PID:-}" ] && printf '%.2f us' "$(median <"$DIR/cpu")")"
    done
}
echo "$RATE offered, $ROUNDS x $T s"
row "kernel forwarding, no shunt" 5201
shunt_start "$DIR/p.yaml"
row "shunt DIRECT" 5201
row "shunt -> ss aes-256-gcm" 5202
