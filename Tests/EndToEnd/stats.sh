# What a mount tells of itself.

test_stats_count_what_was_done() {
    mountRAM m --at /more=mfs_ram:none,size=1M
    for number in $(seq 20); do echo x >"m/file-$number"; done
    cairn stats --json m >stats
    python3 - "$work/m" <<'PY'
import json, os, sys
stats = json.load(open("stats"))
assert stats["mountPoint"] == sys.argv[1]
assert os.path.exists(f"/proc/{stats['pid']}")
assert [part["path"] for part in stats["fileSystems"]] == ["/", "/more"]
assert stats["fileSystems"][1]["totalBytes"] == 1 << 20
count = sum(operation["count"] for operation in stats["operations"])
assert count >= 20, stats["operations"]
for operation in stats["operations"]:
    assert operation["p50Nanoseconds"] <= operation["p99Nanoseconds"]
PY
    cairn stats m | grep -q "^$work/m: daemon "
    cairn stats m/file-1 | grep -q mfs_ram
    expectFailure 1 "is not on a mount of Cairn" cairn stats /
}

test_watch_goes_on_with_rates() {
    mountRAM m
    timeout 3 "$CAIRN" stats --watch --json m >lines || [ $? = 124 ]
    [ "$(wc -l <lines)" -ge 2 ]
    while read -r line; do echo "$line" | python3 -m json.tool >/dev/null; done <lines
}

# Whoever connects and says nothing must not keep others out for long.
test_the_control_socket_is_not_held_up() {
    mountRAM m
    socket=$(stateDirectory)/$(connectionOf "$work/m")-$(daemonOf m).sock
    [ "$(stat -c %a "$socket")" = 600 ]
    python3 - "$socket" <<'PY' &
import socket, sys, time
silent = socket.socket(socket.AF_UNIX)
silent.connect(sys.argv[1])
time.sleep(20)
PY
    holder=$!
    sleep 0.5
    timeout 10 "$CAIRN" stats --json m >/dev/null
    printf 'nonsense\n' | python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b"nonsense\n")
assert b"unknown request" in s.recv(4096)' "$socket"
    kill "$holder"
    cairn umount m
}
