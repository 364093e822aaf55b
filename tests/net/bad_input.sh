#!/bin/bash
# Bad input: each a clear message, the right exit status, and nothing changed on the machine.
. "$(dirname "$0")/lib.sh"
need_world jq
world_up
good='rules: [ "MATCH,DIRECT" ]'
echo "$good" >"$DIR/good.yaml"
net_state >"$DIR/before"

# refuse WHAT STATUS PATTERN COMMAND...: must end with STATUS, say PATTERN on stderr, change nothing
refuse() {
    local what=$1 want=$2 pattern=$3 status
    shift 3
    step "$what: exit $want"
    in_app timeout 20 "$@" >"$DIR/out" 2>"$DIR/err" </dev/null
    status=$?
    [ $status = "$want" ] || fail "exit status $status; $(cat "$DIR/err")"
    grep -qiE "$pattern" "$DIR/err" || fail "did not say $pattern: $(cat "$DIR/err")"
    ! grep -E 'ERROR: .*Sanitizer|runtime error' "$DIR/err" || fail "sanitizers spoke"
    net_state >"$DIR/after"
    diff "$DIR/before" "$DIR/after" >"$DIR/difference" || fail "the machine changed: $(cat "$DIR/difference")"
    ok "$(grep -m 1 -iE "$pattern" "$DIR/err" | cut -c1-60)"
}
run() { echo "$SHUNT" run -d "$DIR/state" -f "$1"; }

refuse "missing profile" 1 'no such file' $(run "$DIR/nothing.yaml")
printf 'proxies: [ {\nrules: ]' >"$DIR/broken.yaml"
refuse "broken YAML" 1 'broken.yaml:[0-9]+:[0-9]+: error' $(run "$DIR/broken.yaml")
printf 'mode: foo\n' >"$DIR/mode.yaml"
refuse "impossible mode" 1 'mode.yaml:1:7: error' $(run "$DIR/mode.yaml")
printf -- '- a\n- b\n' >"$DIR/list.yaml"
refuse "a list at the top" 1 'list.yaml:1:1: error' $(run "$DIR/list.yaml")
printf 'rules: [ "MATCH,Nowhere" ]\n' >"$DIR/target.yaml"
refuse "MATCH with an unknown target" 1 'target.yaml:1:[0-9]+: error.*Nowhere' $(run "$DIR/target.yaml")
refuse "unknown verb" 2 'usage|unknown' "$SHUNT" frobnicate
refuse "unknown option" 2 'usage|unknown|unrecognized|invalid' "$SHUNT" run --frobnicate
for words in "status x y" "groups a b c" "flows x" "cleanup x" "reload x" "mode rule x" "use a b c" "delay a b" "dns a A x" "provider list x" "run x" \
    "check a.yaml b.yaml" "check -f a.yaml b.yaml" "explain --batch h" "explain" "explain --uid 99999999999 h" "explain --uid -1 h" "explain --uid 1x h"; do
    refuse "shunt $words" 2 . "$SHUNT" $words
done
refuse "an empty --uid" 2 'takes a number' "$SHUNT" explain --uid '' h
refuse "not running" 3 'not running|reach' "$SHUNT" status -d "$DIR/state"
refuse "no permission" 4 'root|permi' setpriv --reuid 65016 --regid 65016 --clear-groups $(run "$DIR/good.yaml")
refuse "no /dev/net/tun" 1 '/dev/net/tun' unshare -m sh -c "mount -t tmpfs none /dev/net && exec $(run "$DIR/good.yaml")"

in_app ip tuntap add name taken0 mode tun
net_state >"$DIR/before"
printf 'tun: { device: taken0 }\n%s\n' "$good" >"$DIR/taken.yaml"
refuse "occupied TUN name" 1 'taken0' $(run "$DIR/taken.yaml")
in_app ip link del taken0
net_state >"$DIR/before"

step "unknown types and rules are skipped with their position; check says so, --strict makes them errors"
cat >"$DIR/unknown.yaml" <<'EOF'
proxies:
  - { name: a, type: martian, server: 192.0.2.1, port: 1 }
  - { name: b, type: ss, server: 192.0.2.1, port: 8388, cipher: aes-128-gcm, password: x }
rules:
  - FROBNICATE,x,b
  - MATCH,b
EOF
"$SHUNT" check -f "$DIR/unknown.yaml" >"$DIR/out" 2>&1 || fail "check refused: $(cat "$DIR/out")"
grep -q 'unknown.yaml:2:.*warning.*martian' "$DIR/out" && grep -q 'unknown.yaml:5:.*warning' "$DIR/out" || fail "$(cat "$DIR/out")"
"$SHUNT" check --strict -f "$DIR/unknown.yaml" >/dev/null 2>&1 && fail "--strict let it pass"
"$SHUNT" check --json -f "$DIR/unknown.yaml" | jq -e '.ok == true and (.warnings | length) == 2 and .counts.rules == 2' >/dev/null || fail "check --json"
ok

step "every verb of --help is in the manual's synopsis"
for verb in $("$SHUNT" --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    sed -n '/^.SH SYNOPSIS/,/^.SH DESC/p' "$PWD/man/shunt.8" | grep -qw "$verb" || fail "$verb"
done
ok

shunt_start "$DIR/good.yaml"
step "a second instance is refused and changes nothing"
net_state >"$DIR/before"
in_app timeout 10 $(run "$DIR/good.yaml") >"$DIR/out" 2>&1
[ $? = 1 ] && grep -qi 'already\|another' "$DIR/out" || fail "$(cat "$DIR/out")"
in_app timeout 10 "$SHUNT" run -d "$DIR/state2" -f "$DIR/good.yaml" >"$DIR/out" 2>&1
[ $? = 1 ] && grep -qi 'already\|another' "$DIR/out" || fail "with another state directory: $(cat "$DIR/out")"
net_state >"$DIR/after"
diff "$DIR/before" "$DIR/after" || fail "the machine changed"
ctl status >/dev/null || fail "the first one is hurt"
ok
step "no such group, no such node, no such mode: exit 1, 1, 2; the old one stays"
ctl use Nowhere DIRECT >/dev/null 2>&1; [ $? = 1 ] || fail "group"
ctl use GLOBAL Nowhere >/dev/null 2>&1; [ $? = 1 ] || fail "node"
ctl mode sideways >/dev/null 2>&1; [ $? = 2 ] || fail "mode"
[ "$(ctl mode)" = rule ] || fail "mode changed"
ok
step "SIGHUP with a broken profile keeps the old one and says so"
printf 'rules: [ "MATCH,REJECT" ]\n' >"$DIR/good.yaml"
kill -HUP "$SHUNT_PID"
wait_for 3 bash -c "ip netns exec $APP $SHUNT explain -d $DIR/state 192.0.2.1:80 --json | grep -q REJECT" || fail "a good profile was not taken"
printf 'mode: [\n' >"$DIR/good.yaml"
kill -HUP "$SHUNT_PID"
wait_for 3 grep -q 'good.yaml:[0-9]*:[0-9]*: error' "$DIR/shunt.log" || fail "nothing said"
ctl explain 192.0.2.1:80 --json | grep -q REJECT || fail "the old profile is gone"
ok
shunt_stop || fail "exit status $?"
