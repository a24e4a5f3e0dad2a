
# The last stage: makes the new system one of the cluster, and says that it is installed. Its root is mounted at $1.

ROOT=${1:-/}
ROOT=${ROOT%/}

inside() { chroot "$ROOT/" "$@"; }

phase configure

# The node's own files: who it reports to, host keys that it had before, what the site lays over. Packed for this node.
ask GET late-files
tar -xpf "$WORK/answer" -C "$ROOT/" || fail "the node's own files can't be unpacked"

ask POST key
(umask 077 && cat "$WORK/answer" >"$ROOT/etc/bootserver/node.key") || fail "the node key can't be written"

if [ -s "$ROOT/etc/bootserver/authorized_keys" ]; then
    (umask 077 && mkdir -p "$ROOT/root/.ssh" && touch "$ROOT/root/.ssh/authorized_keys") || fail "root's authorized keys can't be written"
    while read -r line; do
        case $line in '' | '#'*) continue ;; esac
        grep -qxF "$line" "$ROOT/root/.ssh/authorized_keys" || echo "$line" >>"$ROOT/root/.ssh/authorized_keys"
    done <"$ROOT/etc/bootserver/authorized_keys"
fi

# SSH host keys: made now where the distribution makes them at the first start, and kept on the frontend for the next install.
if [ -x "$ROOT/usr/sbin/sshd" ] && [ -x "$ROOT/usr/bin/ssh-keygen" ]; then
    inside ssh-keygen -A >/dev/null 2>&1 || say "ssh-keygen made no host keys"
    for kind in ed25519 ecdsa; do
        for name in ssh_host_${kind}_key ssh_host_${kind}_key.pub; do
            [ ! -s "$ROOT/etc/ssh/$name" ] || api POST "host-key/$name" "$ROOT/etc/ssh/$name" || say "$name is not kept: $(words)"
        done
    done
fi

# What a later install finds the data again by.
further_disks "$ROOT/"
name_partitions "$ROOT/"

# Files that came from outside have no labels yet.
if [ -x "$ROOT/usr/sbin/restorecon" ]; then
    inside restorecon -RF /etc/bootserver /usr/lib/bootserver /etc/systemd/system /root/.ssh /etc/ssh >/dev/null 2>&1
fi

# The distribution's boot loader put itself first; but a node asks the network first, always (it is told to start its disk). The
# entry that it was started by is the network's.
if [ -d /sys/firmware/efi ]; then
    if command -v efibootmgr >/dev/null 2>&1; then boot() { efibootmgr "$@"; }; else boot() { inside efibootmgr "$@"; }; fi
    current=$(boot 2>/dev/null | sed -n 's/^BootCurrent: //p')
    order=$(boot 2>/dev/null | sed -n 's/^BootOrder: //p')
    if [ -n "$current" ]; then
        rest=$(printf '%s' "$order" | tr ',' '\n' | grep -v "^$current\$" | tr '\n' ',')
        boot -q -o "$current${rest:+,${rest%,}}" || say "the firmware keeps its boot order"
    fi
fi

phase done
ask POST installed
say "installed"
