#!/bin/bash
# The user's local file over the profile: it is opened by the supervisor (the worker may not read it), stays over whatever profile is in use, is read again on SIGHUP, and
# a broken one changes nothing. A fetched profile cannot say what only the user may.
. "$(dirname "$0")/lib.sh"
need_world jq
world_up
decides() { [ "$(ctl explain "$1" --json | jq -r .action)" = "$2" ]; }
mode_is() { [ "$(ctl mode)" = "$1" ]; }
hup() { kill -HUP "$SHUNT_PID"; }
said() { grep -q "$1" "$DIR/shunt.log"; }
local_file() { cat >"$DIR/local.yaml"; chmod 600 "$DIR/local.yaml"; }
profile() {
    cat >"$DIR/p.yaml" <<EOF
mode: rule
secret: of-the-profile-and-long-enough
external-controller: 0.0.0.0:9097
tun: { enable: false, device: stranger }
dns: { nameserver: [10.78.0.2] }
rules: [ "DOMAIN,a.test,$1", "MATCH,REJECT" ]
EOF
}
profile DIRECT
net_state >"$DIR/before"

step "a fetched profile from standard input, with a local file of mode 0600"
local_file <<'EOF'
tun: { device: tunmine }
prepend-rules: [ "DOMAIN,first.test,DIRECT" ]
append-rules: [ "DOMAIN,last.test,DIRECT" ]
EOF
STDIN="$DIR/p.yaml" shunt_start - --foreign
ok
step "the profile cannot switch the device off or name it; the local file can"
in_app ip link show tunmine >/dev/null || fail "no device tunmine"
[ "$(grep -c 'may not be set by a fetched profile' "$DIR/shunt.log")" = 4 ] || fail "not told of four keys: $(cat "$DIR/shunt.log")"
said 'tun.enable may not' && said 'tun.device may not' && said 'secret may not' && said 'external-controller may not' || fail "$(cat "$DIR/shunt.log")"
! grep -q of-the-profile "$DIR/shunt.log" || fail "the secret is in the log"
in_app bash -c 'exec 3<>/dev/tcp/127.0.0.1/9097' 2>/dev/null && fail "the controller listens where the profile says"
ok
step "its rules stand before the profile's, and before its closing MATCH"
decides first.test:80 direct && decides a.test:80 direct && decides last.test:80 direct && decides other.test:80 reject || fail "$(ctl explain last.test:80)"
[ "$(ctl explain last.test:80 --json | jq .rule.index)" = 2 ] || fail "$(ctl explain last.test:80 --json)"
ok
step "SIGHUP reads the local file again, though standard input cannot be"
local_file <<'EOF'
mode: direct
tun: { device: tunmine }
EOF
hup
wait_for 3 mode_is direct || fail "$(tail -n 5 "$DIR/shunt.log")"
said 'from standard input cannot be read again' || fail "not said"
ok
step "a broken local file keeps everything as it is, and is named"
printf 'mode: rule\ntun: [\n' >"$DIR/local.yaml"
hup
wait_for 3 said 'local.yaml:2:6: error: what begins here is not complete' || fail "$(tail -n 5 "$DIR/shunt.log")"
wait_for 3 said 'the old profile stays in use' || fail "$(tail -n 5 "$DIR/shunt.log")"
sleep 0.3
mode_is direct || fail "$(ctl mode)"
ok
step "a worker that is replaced has the files that were taken, not the broken one"
kill -KILL "$(shunt_worker)"
wait_for 5 said 'the worker is back' || fail "$(tail -n 5 "$DIR/shunt.log")"
wait_for 3 mode_is direct || fail "$(ctl mode)"
ok
step "a local file that is gone was asked for: said, and the old ones stay"
rm "$DIR/local.yaml"
hup
wait_for 3 said 'local.yaml: No such file' || fail "$(tail -n 5 "$DIR/shunt.log")"
mode_is direct || fail "$(ctl mode)"
ok
shunt_stop || fail "exit status $?"

step "a profile of the user's own may say it all; a payload of the API is a stranger's, under the local file"
printf 'prepend-rules: [ "DOMAIN,mine.test,DIRECT" ]\ntun: { device: tunmine }\n' >"$DIR/local.yaml"
printf 'secret: of-the-user-and-long-enough\nmode: rule\nrules: [ "MATCH,REJECT" ]\n' >"$DIR/own.yaml"
: >"$DIR/shunt.log"
shunt_start "$DIR/own.yaml"
! said 'may not be set' || fail "told of locked keys"
decides mine.test:80 direct && decides other.test:80 reject || fail "$(ctl explain mine.test:80)"
in_app curl -sf --unix-socket "$DIR/state/shunt.sock" -X PUT http://localhost/configs -d '{"payload": "rules: [ \"DOMAIN,b.test,DIRECT\", \"MATCH,REJECT\" ]\ntun: { strict-route: true }\n"}' || fail "PUT"
decides b.test:80 direct && decides mine.test:80 direct && decides other.test:80 reject || fail "the payload does not decide, or the local file is lost"
ctl status --json | jq -e '[.skipped[] | select(.code == "locked-key")] | length == 1' >/dev/null || fail "$(ctl status --json | jq .skipped)"
ok
shunt_stop || fail "exit status $?"

step "files that are pipes are read at the start; SIGHUP and reload say that they cannot be, and wait for nobody"
mkfifo "$DIR/pipe"
: >"$DIR/shunt.log"
cat "$DIR/own.yaml" >"$DIR/pipe" &
shunt_start "$DIR/pipe"
decides mine.test:80 direct && decides other.test:80 reject || fail "$(ctl explain mine.test:80)"
hup
wait_for 3 said "$DIR/pipe: a pipe is read once" || fail "$(tail -n 5 "$DIR/shunt.log")"
sleep 100 <>"$DIR/pipe" & # a writer that never writes
writer=$!
ctl reload 2>&1 | grep -q 'a pipe is read once' || fail "reload: $(ctl reload 2>&1)"
kill $writer
decides mine.test:80 direct || fail "the old one is not in use"
ok
step "... nor does SIGTERM"
kill -TERM "$SHUNT_PID"
wait_for 4 gone "$SHUNT_PID" || { kill -KILL "$SHUNT_PID"; fail "it hangs"; }
shunt_stop || fail "exit status $?"
ok
step "/dev/stdin, when it is a pipe"
exec {anonymous}< <(cat "$DIR/own.yaml")
STDIN=/dev/fd/$anonymous shunt_start /dev/stdin
decides mine.test:80 direct || fail "$(ctl explain mine.test:80)"
ok
step "SIGTERM leaves the machine as it was"
shunt_stop || fail "exit status $?"
net_state >"$DIR/after"
diff "$DIR/before" "$DIR/after" || fail "something was left behind"
! grep -E 'ERROR: |runtime error|Sanitizer' "$DIR/shunt.log" || fail "sanitizers spoke"
ok
