#!/bin/bash
# Throughput of one flow through the TUN, both ways: plain forwarding by the kernel, then shunt DIRECT, shunt -> SOCKS5 (dante; microsocks copies 1 KiB
# at a time and ends at 0.5 Gbit/s), shunt -> ss aes-256-gcm, in the same run. Prints Gbit/s, CPU seconds per GB of shunt (both processes, user + system), the ratio
# to the kernel, and what shunt takes of memory at start and at the end.
#   tests/bench/throughput.sh [SECONDS per measurement, 5] [ROUNDS, 3]      environment: MTU (1500), SHUNT (build/release/shunt)
# Client, proxy and origin share the machine: CPU seconds per GB is the figure that carries over; Gbit/s only as a ratio.
cd "$(dirname "$0")/../.."
SHUNT=${SHUNT:-$PWD/build/release/shunt}
. tests/net/lib.sh
need_world ss-server danted iperf3 jq dnsmasq
T=${1:-5} ROUNDS=${2:-3} MTU=${MTU:-1500}
world_up
background "$ORG" iperf3 -s -p 5201
proxy_socks
origin_dns bench.test=3
proxy_ss 8388 aes-256-gcm bench
cat >"$DIR/p.yaml" <<EOF
log-level: warning
tun: { device: tunbench, mtu: $MTU }
dns: { nameserver: [10.78.0.2] }
proxies:
  - { name: socks, type: socks5, server: 10.77.0.1, port: 1080 }
  - { name: ss, type: ss, server: 10.77.0.1, port: 8388, cipher: aes-256-gcm, password: bench }
rules: [ "IP-CIDR,10.78.0.4/32,socks,no-resolve", "IP-CIDR,10.78.0.5/32,ss,no-resolve", "MATCH,DIRECT" ]
EOF
ticks() { # CPU ticks of supervisor and worker so far
    local sum=0 pid
    for pid in $SHUNT_PID $(pgrep -P "$SHUNT_PID"); do sum=$((sum + $(awk '{print $14 + $15}' "/proc/$pid/stat"))); done
    echo $sum
}
measure() { # measure ADDRESS [-R]: "bits/s bytes"
    in_app timeout $((T + 20)) iperf3 -c "$1" -p 5201 -t "$T" ${2:-} -J | jq -r '"\(.end.sum_received.bits_per_second) \(.end.sum_received.bytes)"'
}
memory() { # memory WHEN: of supervisor and worker
    local pid name=supervisor
    for pid in $SHUNT_PID $(shunt_worker); do
        awk -v p="$name, $1" '/^Rss/ {r = $2} /^Private/ {n += $2} END {printf "%-34s RSS %d kB, private %d kB\n", p, r, n}' "/proc/$pid/smaps_rollup"
        name=worker
    done
}
median() { sort -g | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }

printf '%-34s %12s %12s %14s %14s\n' "MTU $MTU, one flow, $ROUNDS x $T s" "up Gbit/s" "down Gbit/s" "up CPU-s/GB" "down CPU-s/GB"
row() { # row NAME ADDRESS COUNT_CPU
    local name=$1 at=$2 cpu=$3 flag before after out
    for flag in "" "-R"; do
        : >"$DIR/rate$flag"; : >"$DIR/cpu$flag"
        for _ in $(seq "$ROUNDS"); do
            [ "$cpu" = yes ] && before=$(ticks)
            out=$(measure "$at" $flag)
            [ "$cpu" = yes ] && after=$(ticks)
            echo "$out" | awk '{print $1 / 1e9}' >>"$DIR/rate$flag"
            [ "$cpu" = yes ] && echo "$out" | awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" '{print t / hz / ($2 / 1e9)}' >>"$DIR/cpu$flag"
        done
    done
    local up down
    up=$(median <"$DIR/rate") down=$(median <"$DIR/rate-R")
    printf '%-34s %12.2f %12.2f %14s %14s\n' "$name" "$up" "$down" \
        "$([ "$cpu" = yes ] && median <"$DIR/cpu" || echo -)" "$([ "$cpu" = yes ] && median <"$DIR/cpu-R" || echo -)"
    if [ "$cpu" = no ]; then KERNEL_UP=$up KERNEL_DOWN=$down; else
        awk -v n="  ... as a ratio to the kernel" -v a="$up" -v b="$down" -v ku="$KERNEL_UP" -v kd="$KERNEL_DOWN" \
            'BEGIN {printf "%-34s %12.2f %12.2f\n", n, a / ku, b / kd}'
    fi
}
row "kernel forwarding, no shunt" 10.78.0.3 no
shunt_start "$DIR/p.yaml"
grep -o 'ready in.*' "$DIR/shunt.log"
memory "at start"
row "shunt DIRECT" 10.78.0.3 yes
row "shunt -> SOCKS5" 10.78.0.4 yes
row "shunt -> ss aes-256-gcm" 10.78.0.5 yes
memory "at the end"
