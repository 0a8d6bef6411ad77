#!/usr/bin/env bash
# Checks systemd/*.service with systemd's own tools: the score of its sandbox, its grammar, and, with --boot, that the
# program becomes ready, restarts and ends inside of it, under a systemd of its own.
#
#   tools/check-unit.sh PROGRAM            score and grammar
#   tools/check-unit.sh --boot PROGRAM     the same, and a boot (as root; nothing on this machine changes)
#
# The boot takes a file system of its own (an overlay that is thrown away), process numbers, network and mounts of
# its own, so it needs neither a virtual machine nor a systemd that runs here. Exit code 77: cannot be done here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Other units than those that are shipped, to see what is found in them.
readonly UNITS=${UNITS:-systemd}
readonly MOST_EXPOSED=11 # tenths
readonly UNIT=clerk-convex-sync.service
readonly SOCKET=clerk-convex-sync.socket
readonly PATIENCE=60 # seconds

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
cannot() {
    printf 'NOT RUN: %s\n' "$*"
    exit 77
}

# systemd-analyze looks whether the program is where the unit says.
unit_for() { sed "s|/usr/bin/clerk-convex-sync|$1|g" "$UNITS/$UNIT"; }

check() {
    local program=$1 exposure said copy
    exposure=$(systemd-analyze security --offline=true --threshold=$MOST_EXPOSED "$UNITS/$UNIT" | tail -1) ||
        die "too exposed: $exposure"
    printf '%s\n' "${exposure#*→ }"
    copy=$(mktemp -d)
    unit_for "$program" >"$copy/$UNIT"
    cp "$UNITS/$SOCKET" "$copy/"
    said=$(systemd-analyze verify "$copy/$UNIT" "$copy/$SOCKET" 2>&1) || die "verify: $said"
    rm -rf "$copy"
    [ -z "$said" ] || die "verify says: $said"
    printf 'verify says nothing\n'
}

# --- inside of the boot ------------------------------------------------------------------------------------------

# The file system that systemd gets as its root.
furnish() {
    local root=$1 program=$2 etc=$1/etc/clerk-convex-sync
    install -m 0755 "$program" "$root/usr/bin/clerk-convex-sync"
    install -d -m 0755 "$etc"
    install -d -m 0700 "$etc/credentials"
    cat >"$etc/config.toml" <<'TOML'
[clerk]
api_url = "http://127.0.0.1:9"
[convex]
url = "http://127.0.0.1:9"
[state]
dir = "/var/lib/clerk-convex-sync"
[admin]
socket = "/run/clerk-convex-sync/admin.sock"
TOML
    printf 'sk_test_unit0000000000000000000000000000000000' >"$etc/credentials/clerk-secret-key"
    printf 'whsec_dGhlLXVuaXQtaXMtY2hlY2tlZC13aXRoLXRoaXM=' >"$etc/credentials/clerk-webhook-secrets"
    printf 'dev:unit-check-1|unit00000000000000000000' >"$etc/credentials/convex-deploy-key"
    chmod 0600 "$etc"/credentials/*
    # There is no network to wait for.
    grep -v 'network-online' "$UNITS/$UNIT" >"$root/etc/systemd/system/$UNIT"
    install -m 0644 "$UNITS/$SOCKET" "$root/etc/systemd/system/"
    cat >"$root/etc/systemd/system/probe.target" <<TARGET
[Unit]
Wants=$UNIT
TARGET
}

main_pid() { systemctl show --property=MainPID --value "$UNIT"; }
# The first line of what the daemon answers, over a connection of its own.
answer() {
    local line=
    exec 3<>/dev/tcp/127.0.0.1/8787 || return 1
    printf 'GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n' >&3
    read -r line <&3 || true
    exec 3>&-
    printf '%s\n' "$line"
}
ready() { [[ $(answer) == *" 200 "* ]]; }
until_true() {
    local what=$1 end=$((SECONDS + PATIENCE))
    shift
    until "$@" 2>/dev/null; do
        if ((SECONDS > end)); then
            systemctl status --no-pager --full "$UNIT" || true
            journalctl --no-pager -n 30 2>/dev/null || true
            printf 'FAILED: %s\n' "$what"
            return 1
        fi
        sleep 0.1
    done
}
another_pid() { local pid; pid=$(main_pid); [ "$pid" != 0 ] && [ "$pid" != "$1" ]; }

# What is true of the daemon while it runs under its unit.
look() {
    local pid status
    until_true 'it becomes ready' ready || return 1
    pid=$(main_pid)
    status=$(cat "/proc/$pid/status")
    grep -q '^CapBnd:[[:space:]]*0*$' <<<"$status" || { echo 'FAILED: it has capabilities'; return 1; }
    grep -q '^NoNewPrivs:[[:space:]]*1' <<<"$status" || { echo 'FAILED: it may get more rights'; return 1; }
    grep -q '^Seccomp:[[:space:]]*2' <<<"$status" || { echo 'FAILED: no filter of system calls'; return 1; }
    if grep -q '^Uid:[[:space:]]*0' <<<"$status"; then echo 'FAILED: it is root'; return 1; fi
    printf 'ready as user %s, no capability, system calls filtered\n' "$(awk '/^Uid:/ {print $2}' <<<"$status")"
    kill -9 "$pid"
    until_true 'it is started again after kill -9' another_pid "$pid" || return 1
    until_true 'it is ready again' ready || return 1
    printf 'ready again after kill -9, NRestarts=%s\n' "$(systemctl show --property=NRestarts --value "$UNIT")"
    systemctl reload "$UNIT" || { echo 'FAILED: reload'; return 1; }
    systemctl stop "$UNIT"
    [ "$(systemctl show --property=Result --value "$UNIT")" = success ] || { echo 'FAILED: it did not end well'; return 1; }
    printf 'reloaded, and ended well\n'
    by_socket
}

# The same when systemd holds the socket: started by the first connection, and restarted while others come.
by_socket() {
    local asking refused
    systemctl start "$SOCKET"
    if [ "$(main_pid)" != 0 ]; then echo 'FAILED: it runs without being asked for'; return 1; fi
    ready || { echo 'FAILED: a connection does not start it'; return 1; }
    refused=$(mktemp)
    # Each waits for an answer, however long the restart takes.
    while :; do [[ $(answer) == HTTP/1.1\ * ]] || echo no >>"$refused"; done &
    asking=$!
    for _ in 1 2 3; do systemctl restart "$UNIT" || { echo 'FAILED: restart'; return 1; }; done
    kill "$asking"
    wait "$asking" 2>/dev/null || true
    [ ! -s "$refused" ] || { printf 'FAILED: %s not answered\n' "$(wc -l <"$refused")"; return 1; }
    systemctl stop "$SOCKET" "$UNIT"
    printf 'started by a connection, restarted three times with nobody refused\n'
}

inside() {
    local program=$1 base=$2
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$base"
    mkdir "$base"/{up,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$base/up,workdir=$base/work" "$base/root"
    cd "$base/root"
    furnish_from "$program"
    mount -t proc proc proc
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs tmpfs tmp
    mount --rbind /dev dev
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup 2>/dev/null || { mount -t sysfs sysfs sys && mount -t tmpfs tmpfs sys/fs/cgroup; }
    mkdir -p sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mkdir -p old
    # A chroot would make PrivateUsers= fail.
    pivot_root . old
    cd /
    umount -l /old
    # Credentials are handed over through a mount that has to be seen.
    mount --make-rshared /
    (
        until_true 'systemd is there' systemctl is-system-running --wait >/dev/null || true
        if look; then echo BOOTED; fi
        systemctl poweroff -ff
    ) &
    export container=other
    exec /lib/systemd/systemd --system --unit=probe.target systemd.unified_cgroup_hierarchy=0 \
        systemd.legacy_systemd_cgroup_controller=1 --log-target=null --show-status=false
}
furnish_from() {
    local here=$PWD
    (cd "$OLDPWD" && furnish "$here" "$1")
}

boot() {
    local program=$1 base said
    [ "$(id -u)" -eq 0 ] || cannot 'a boot of the unit needs root'
    [ -x /lib/systemd/systemd ] || cannot 'there is no systemd here'
    unshare --fork --pid --mount --cgroup true 2>/dev/null || cannot 'no namespaces can be had here'
    base=$(mktemp -d)
    said=$(timeout $((3 * PATIENCE)) unshare --fork --kill-child --pid --mount --uts --ipc --net --cgroup \
        bash "tools/check-unit.sh" --inside "$program" "$base" 2>&1 </dev/null) || true
    rmdir "$base" 2>/dev/null || true
    grep -v '^BOOTED$' <<<"$said" || true
    grep -q '^BOOTED$' <<<"$said" || die 'the unit did not boot'
}

command -v systemd-analyze >/dev/null || cannot 'systemd-analyze is not here'
case ${1:-} in
--inside) inside "$2" "$3" ;;
--boot)
    check "$(realpath "$2")"
    boot "$(realpath "$2")"
    ;;
'') die 'which program? (see the top of this file)' ;;
*) check "$(realpath "$1")" ;;
esac
