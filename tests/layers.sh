#!/bin/sh
# Fails when an include points upwards, sideways, or past a folder's public header.
#   L5 app controller | L4 engine | L3 dns outbound tun2socks | L2 rules | L1 configs platform transport | L0 core
set -eu
cd "$(dirname "$0")/.."

uses() {
    case $1 in
    core) echo ;;
    configs | platform | transport) echo core ;;
    rules) echo core configs ;;
    dns) echo core configs transport rules ;;
    outbound) echo core configs transport ;;
    tun2socks) echo core ;;
    engine) echo core configs platform transport rules dns outbound tun2socks ;;
    controller) echo core configs platform transport rules dns outbound tun2socks engine ;;
    app) echo core configs platform transport rules dns outbound tun2socks engine controller ;;
    esac
}
public() {
    case $1 in
    core) echo '[a-z0-9_]*' ;;
    configs) echo config ;;
    engine) echo '(engine|provider)' ;;
    rules) echo '(rules|set|geo)' ;; # files of sets are read by whoever fetches them, too
    *) echo "$1" ;;
    esac
}

bad=0
for module in core configs platform transport rules dns outbound tun2socks engine controller app; do
    allowed=" $module $(uses "$module") "
    for file in "$module"/*.[ch]; do
        [ -e "$file" ] || continue
        for inc in $(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file"); do
            case $inc in
            lwip/* | lwipopts.h | arch/*)
                [ "$module" = tun2socks ] && continue
                echo "$file: includes $inc: lwIP headers belong to tun2socks/ only"; bad=1; continue ;;
            */*) dir=${inc%%/*} ;;
            *) continue ;; # same folder
            esac
            case $allowed in *" $dir "*) ;; *) echo "$file: includes $inc, but $module may use only:$allowed"; bad=1; continue ;; esac
            [ "$dir" = "$module" ] && continue
            if ! echo "${inc#*/}" | grep -Eqx "$(public "$dir")\.h"; then
                echo "$file: includes $inc, which is private to $dir/"; bad=1
            fi
        done
        case $module in tun2socks) ;; *)
            if grep -nE '#include <lwip/' "$file"; then echo "$file: lwIP header outside tun2socks/"; bad=1; fi ;;
        esac
    done
done
exit $bad
