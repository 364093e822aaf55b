# lib.sh - one TCP flow through the world of tests/net/lib.sh: Gbit/s, and CPU seconds per GB of the program that carries it; sourced, bash
#
# T: seconds per measurement, ROUNDS: how many (the median counts). Client, proxy and origin share the machine: CPU seconds per GB is the figure
# that carries over; Gbit/s only as a ratio.

median() { sort -g | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }
# ticks PID...: CPU ticks of these processes so far
ticks() {
    local sum=0 pid
    for pid in "$@"; do sum=$((sum + $(awk '{print $14 + $15}' "/proc/$pid/stat"))); done
    echo $sum
}
# shunt_pids: supervisor and worker
shunt_pids() { echo "$SHUNT_PID" $(pgrep -P "$SHUNT_PID"); }
# measure ADDRESS [-R]: "bits/s bytes"
measure() {
    in_app timeout $((T + 20)) iperf3 -c "$1" -p 5201 -t "$T" ${2:-} -J | jq -r '"\(.end.sum_received.bits_per_second) \(.end.sum_received.bytes)"'
}
head_line() { printf '%-34s %12s %12s %14s %14s\n' "$1, $ROUNDS x $T s" "up Gbit/s" "down Gbit/s" "up CPU-s/GB" "down CPU-s/GB"; }
# row NAME ADDRESS [PID...]: a line of the table; without processes no CPU. Leaves UP and DOWN (Gbit/s), CPU_UP and CPU_DOWN
row() {
    local name=$1 at=$2 flag before after out; shift 2
    for flag in "" "-R"; do
        : >"$DIR/rate$flag"; : >"$DIR/cpu$flag"
        for _ in $(seq "$ROUNDS"); do
            before=$(ticks "$@")
            out=$(measure "$at" $flag)
            after=$(ticks "$@")
            echo "$out" | awk '{print $1 / 1e9}' >>"$DIR/rate$flag"
            echo "$out" | awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" '{print t / hz / ($2 / 1e9)}' >>"$DIR/cpu$flag"
        done
    done
    UP=$(median <"$DIR/rate") DOWN=$(median <"$DIR/rate-R") CPU_UP=- CPU_DOWN=-
    [ $# = 0 ] || { CPU_UP=$(median <"$DIR/cpu") CPU_DOWN=$(median <"$DIR/cpu-R"); }
    printf '%-34s %12.2f %12.2f %14s %14s\n' "$name" "$UP" "$DOWN" "$CPU_UP" "$CPU_DOWN"
}
