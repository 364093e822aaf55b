#!/bin/sh
# Installs the Debian packages that a step needs: tools/install.sh build|demo|test|fuzz ...
# Quick when nothing is missing. Services that packages bring are neither started nor left enabled: only the programs are wanted.
set -eu

build="gcc libc6-dev cmake ninja-build pkg-config xz-utils libuv1-dev libyaml-dev libssl-dev libc-ares-dev libmnl-dev
       libnftables-dev libjansson-dev libmicrohttpd-dev libpcre2-dev libzstd-dev libmaxminddb-dev libcurl4-openssl-dev libpsl-dev libnghttp2-dev
       libsystemd-dev"
fuzz="clang libclang-rt-dev llvm"
demo="iproute2 nftables tcpdump shadowsocks-libev dnsmasq-base busybox socat curl bind9-dnsutils jq procps util-linux"
test="libcmocka-dev dante-server microsocks iperf3 python3 iputils-ping strace
      simple-obfs shadowsocks-v2ray-plugin v2ray trojan tinyproxy squid stunnel4 nginx-light openssl python3-cryptography dbus
      unbound knot-resolver dnsdist dnsperf"

want=
for step in "$@"; do
    case $step in
    build) want="$want $build" ;;
    demo) want="$want $demo" ;;
    test) want="$want $demo $test" ;;
    fuzz) want="$want $test $fuzz" ;;
    *) echo "usage: $0 build|demo|test|fuzz ..." >&2; exit 2 ;;
    esac
done

missing=
for package in $want; do
    case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "These packages are missing; install them as root, then start again:" >&2
    echo "  apt-get install --no-install-recommends$missing" >&2
    exit 4
fi

echo "==> installing$missing"
guard=/usr/sbin/policy-rc.d
if [ ! -e $guard ]; then
    printf '#!/bin/sh\nexit 101\n' >$guard
    chmod 755 $guard
    trap 'rm -f $guard' EXIT INT TERM
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "apt-get failed; the whole log is in $log" >&2
    exit 1
fi
rm -f "$log"
for service in shadowsocks-libev danted microsocks v2ray trojan tinyproxy squid stunnel4 nginx; do
    case $missing in *"$service"* | *dante-server*)
        [ -d /run/systemd/system ] && systemctl disable --quiet "$service" 2>/dev/null || true ;;
    esac
done
