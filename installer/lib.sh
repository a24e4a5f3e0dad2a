# What an install script of the frontend works with: asking and telling the frontend, copying the image, making the copy a
# system of its own. Sourced by main, in busybox' shell; everything that a person reads is plain words.

RUN=/run/bootserver
TARGET=/target

# -- words, and the end --------------------------------------------------------------------------------------------

say() { printf 'installer: %s\n' "$*"; }

# fail WORDS: tell the frontend and the person before the machine why, and end as the command line says (init's die).
fail() {
    printf 'why=%s' "$(encode "$*")" >$RUN/form
    api POST failed $RUN/form >/dev/null 2>&1
    die "$*"
}

# step WORDS COMMAND...: run it; where it fails, the words and its last line are what everybody reads.
step() {
    words=$1
    shift
    "$@" >$RUN/step 2>&1 && return
    cat $RUN/step >>$RUN/log
    fail "$words: $(grep -v '^ *$' $RUN/step | tail -n 1 | cut -c 1-200)"
}

# -- the frontend --------------------------------------------------------------------------------------------------

CR=$(printf '\r')

# encode TEXT: for a form (application/x-www-form-urlencoded); every octet as %XX, which is always right.
encode() { printf %s "$1" | od -An -v -tx1 | tr -d '\n' | tr ' ' '%'; }

# find_frontend URL: whom to ask.
find_frontend() {
    AUTHORITY=${1#http://} AUTHORITY=${AUTHORITY%%/*}
    SERVER=${AUTHORITY%:*} PORT=80
    case $AUTHORITY in *:*) PORT=${AUTHORITY##*:} ;; esac
}

# api METHOD WHAT [FILE]: one request to the node API. Its answer is in $RUN/answer; true where it is a yes.
# By nc and not by wget: busybox' wget shows no words of a refusal, and would have the token among its arguments.
# A frontend that does not answer, or has no time, is asked again for a quarter of an hour: it may be starting anew.
api() {
    body=${3:-/dev/null} pause=1 waited=0
    {
        printf '%s /node/%s HTTP/1.0\r\nHost: %s\r\nContent-Length: %s\r\n' "$1" "$2" "$AUTHORITY" "$(wc -c <"$body")"
        printf 'Content-Type: application/x-www-form-urlencoded\r\n'
        [ ! -s $RUN/token ] || printf 'Authorization: Bearer %s\r\n' "$(cat $RUN/token)"
        printf '\r\n'
        cat "$body"
    } >$RUN/request
    while :; do
        nc -w 60 "$SERVER" "$PORT" <$RUN/request >$RUN/response 2>/dev/null
        read -r _ status _ <$RUN/response
        case $status in
            2??) tail_of_response; return 0 ;;
            503 | '') ;;
            *) tail_of_response; return 1 ;;
        esac
        [ $waited -lt 900 ] || { printf 'the frontend %s does not answer\n' "$AUTHORITY" >$RUN/answer; return 1; }
        [ $waited -gt 0 ] || say "the frontend $AUTHORITY does not answer, trying again" >&2
        sleep $pause
        waited=$((waited + pause))
        [ $pause -ge 10 ] || pause=$((pause * 2))
    done
}

tail_of_response() { sed "1,/^$CR*\$/d" $RUN/response >$RUN/answer; }

# ask METHOD WHAT [FILE]: the same, where a no ends the install.
ask() { api "$@" || fail "the frontend refuses: $(head -n 1 $RUN/answer | cut -c 1-200)"; }

# phase NAME [more=form&fields=as%20such]
phase() {
    printf 'phase=%s%s' "$1" "${2:+&$2}" >$RUN/form
    ask POST phase $RUN/form
}

# fetch WHAT: a binary answer of the node API on standard output; the words of a refusal are in $RUN/answer.
fetch() {
    {
        printf 'GET /node/%s HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n' "$1" "$AUTHORITY" "$(cat $RUN/token)"
    } | nc -w 60 "$SERVER" "$PORT" | {
        echo "the frontend does not answer" >$RUN/answer
        read -r _ status _ && while read -r line; do [ "$line" != "$CR" ] || break; done
        case ${status:-} in
            2??) cat ;;
            *) cat >$RUN/answer; false ;;
        esac
    }
}

# -- a site's own scripts ------------------------------------------------------------------------------------------

fetch_scripts() {
    mkdir -p $RUN/scripts
    fetch scripts >$RUN/scripts.tar || fail "the site's scripts did not come: $(head -n 1 $RUN/answer | cut -c 1-200)"
    step "the site's scripts can't be unpacked" tar -xf $RUN/scripts.tar -C $RUN/scripts
}

pre_install() {
    for script in $RUN/scripts/pre-install/*; do
        [ -f "$script" ] || continue
        say "pre-install script ${script##*/}"
        step "pre-install script ${script##*/} failed" "$script"
    done
}

post_install() {
    for script in $RUN/scripts/post-install/*; do
        [ -f "$script" ] || continue
        say "post-install script ${script##*/}"
        cp "$script" $TARGET/run/bootserver/
        step "post-install script ${script##*/} failed" chroot $TARGET "/run/bootserver/${script##*/}"
    done
}

# -- the copy ------------------------------------------------------------------------------------------------------

# wait_for_turn: so many nodes copy at once, and the frontend says whose turn it is.
wait_for_turn() {
    while :; do
        ask POST sync
        read -r word first second _ <$RUN/answer
        case $word in
            go)
                MODULE=$first
                (umask 077; printf '%s\n' "$second" >$RUN/rsync.secret)
                return
                ;;
            wait)
                read -r _ _ ahead estimate <$RUN/answer
                say "waiting for its turn to copy: $ahead before it, about $estimate s"
                sleep "$first"
                ;;
            *) fail "the frontend says '$(head -c 60 $RUN/answer)' where it should say whose turn it is" ;;
        esac
    done
}

# sync_image PORT: rsync of the image; what helps is tried again.
sync_image() {
    tried=0
    while :; do
        wait_for_turn
        : >$RUN/rsync.out
        sync_began=$(seconds)
        watch_progress &
        watcher=$!
        rsync -aHAXSW --numeric-ids --no-inc-recursive --info=progress2 --timeout=120 --password-file=$RUN/rsync.secret \
            "rsync://$MODULE@$SERVER:$1/$MODULE/" $TARGET/ >$RUN/rsync.out 2>$RUN/rsync.err
        status=$?
        kill $watcher 2>/dev/null
        wait $watcher 2>/dev/null
        why=$(grep -v '^ *$' $RUN/rsync.err | tail -n 2 | head -n 1 | cut -c 1-160)
        case $status in
            0) break ;;
            5 | 10 | 12 | 20 | 24 | 30 | 35) # the daemon, the network, or a file that was altered meanwhile
                tried=$((tried + 1))
                [ $tried -lt 5 ] || fail "the image does not come (rsync status $status): $why"
                say "the copy broke off (rsync status $status: $why), trying again"
                sleep $((tried * 2))
                ;;
            *) fail "the image can't be copied (rsync status $status): $why" ;;
        esac
    done
    say "copied 100% in $(($(seconds) - sync_began)) s"
    phase sync percent=100
}

seconds() { read -r uptime _ </proc/uptime && echo "${uptime%.*}"; }

# rsync's own progress (--info=progress2), each two seconds: "  123,456  42%   12.34MB/s    0:00:12 (xfr#5, to-chk=9/20)". Its
# time is what remains only in the middle of a file, and what has passed at the end of each: so that is worked out here.
watch_progress() {
    read -r TOKEN <$RUN/token
    while sleep 2; do tell_progress; done
}

tell_progress() {
    set -- $(tail -c 160 $RUN/rsync.out | awk 'BEGIN { RS = "\r" } /%/ { line = $0 } END { print line }')
    case ${2:-} in *%) ;; *) return ;; esac
    percent=${2%\%}
    case $percent in '' | *[!0-9]*) return ;; esac
    if [ $percent -gt 0 ]; then remaining=$((($(seconds) - sync_began) * (100 - percent) / percent)); else remaining=; fi
    say "copied $percent% at $3${remaining:+, $remaining s to go}"
    # By hand and not by `api`: a report that is lost is no loss, and each program that is started here slows the copy down.
    form="phase=sync&percent=$percent&rate=$3&remaining=$remaining"
    printf 'POST /node/phase HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %s\r\n\r\n%s' \
        "$AUTHORITY" "$TOKEN" application/x-www-form-urlencoded ${#form} "$form" | nc -w 20 "$SERVER" "$PORT" >/dev/null 2>&1
}

# -- a system of its own -------------------------------------------------------------------------------------------

# enter_target: what programs of the installed system need while they run in it. /run is a memory of its own: nothing of the
# installer stays in the copy.
enter_target() {
    for name in dev proc sys; do mkdir -p $TARGET/$name; step "mount $name" mount --bind /$name $TARGET/$name; done
    mkdir -p $TARGET/run
    step "mount run" mount -t tmpfs -o mode=755 run $TARGET/run
    mkdir -m 700 $TARGET/run/bootserver
    mount --bind /run/cmdline $TARGET/proc/cmdline # where the ticket is hidden (see init)
    cp /bin/busybox $TARGET/run/bootserver/busybox
    if [ -d /sys/firmware/efi/efivars ]; then mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null; fi
    if [ -d /sys/firmware/efi/efivars ]; then mount --bind /sys/firmware/efi/efivars $TARGET/sys/firmware/efi/efivars; fi
}

# inside COMMAND...: busybox in the installed system, so that no link of it leads out.
inside() { chroot $TARGET /run/bootserver/busybox "$@"; }

# own_files: what makes the copy this node, and the site's overrides.
own_files() {
    inside sh -c 'rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub' # an image's own would be those of many nodes
    { fetch files || echo no >$RUN/refused; } | inside tar -xpf - -C / 2>$RUN/step || echo no >$RUN/failed
    [ ! -e $RUN/refused ] || fail "the node's own files did not come: $(head -n 1 $RUN/answer | cut -c 1-200)"
    [ ! -e $RUN/failed ] || fail "the node's own files can't be unpacked: $(tail -n 1 $RUN/step | cut -c 1-160)"
    inside sh -c '
        [ -s /etc/bootserver/authorized_keys ] || exit 0
        umask 077
        mkdir -p /root/.ssh
        touch /root/.ssh/authorized_keys
        while read -r line; do
            case $line in "" | "#"*) continue ;; esac
            grep -qxF "$line" /root/.ssh/authorized_keys || echo "$line" >>/root/.ssh/authorized_keys
        done </etc/bootserver/authorized_keys' || fail "root's authorized keys can't be written"
}

# host_keys: SSH keys of its own, made once; the frontend keeps them for the next install.
host_keys() {
    for kind in ed25519 ecdsa; do
        ! inside test -s /etc/ssh/ssh_host_${kind}_key || continue # the node's, from its last install
        step "SSH host key" chroot $TARGET ssh-keygen -q -t $kind -N '' -C "$NODE" -f /etc/ssh/ssh_host_${kind}_key
        for name in ssh_host_${kind}_key ssh_host_${kind}_key.pub; do
            inside cat /etc/ssh/$name >$RUN/host_key
            ask POST host-key/$name $RUN/host_key
            rm -f $RUN/host_key
        done
    done
}

# node_key: what the installed system proves itself with.
node_key() {
    ask POST key
    inside sh -c 'umask 077; cat >/etc/bootserver/node.key' <$RUN/answer || fail "the node key can't be written"
    rm -f $RUN/answer $RUN/response
}

grub_program() { if [ -e $TARGET/usr/sbin/grub2-install ]; then echo grub2-install; else echo grub-install; fi; }

# grub_bios DISK
grub_bios() { step "GRUB can't be installed on $1" chroot $TARGET "$(grub_program)" --target=i386-pc "$1"; }

# grub_uefi DISK PARTITION-NUMBER ID [DEVICE]: on the EFI system partition, under its own name and where firmware looks that
# knows no name. The firmware's boot order stays as it is, the network first: the entry is put behind all others. DEVICE is an
# EFI system partition that the installed system does not mount, of a disk that it may have to start from one day.
grub_uefi() {
    esp=/boot/efi
    if [ -n "${4:-}" ]; then
        esp=/run/bootserver/esp
        mkdir -p $TARGET$esp
        step "$4 is not mounted" mount -t vfat "$4" $TARGET$esp
    fi
    for how in "--bootloader-id=$3" --removable; do
        step "GRUB can't be installed on the EFI system partition of $1" chroot $TARGET "$(grub_program)" \
            --target=x86_64-efi --efi-directory=$esp --no-nvram $how
    done
    loader=$(inside find "$esp/EFI/$3" -name 'shimx64.efi' -o -name 'grubx64.efi' | sort -r | head -n 1)
    [ $esp = /boot/efi ] || step "$4 stays mounted" umount $TARGET$esp
    command -v efibootmgr >/dev/null || return 0
    [ -n "$loader" ] || return 0
    loader=$(echo "${loader#"$esp"}" | tr / '\\')
    for old in $(efibootmgr 2>/dev/null | sed -n "s/^Boot\([0-9A-F]\{4\}\)\*\{0,1\} $3\(	.*\)\{0,1\}\$/\1/p"); do
        efibootmgr -q -b "$old" -B 2>/dev/null
    done
    order=$(efibootmgr 2>/dev/null | sed -n 's/^BootOrder: //p')
    efibootmgr -q -C -d "$1" -p "$2" -L "$3" -l "$loader" >>$RUN/log 2>&1 || return 0 # firmware without room for one more
    new=$(efibootmgr 2>/dev/null | sed -n "s/^Boot\([0-9A-F]\{4\}\)\*\{0,1\} $3\(	.*\)\{0,1\}\$/\1/p" | head -n 1)
    [ -z "$new" ] || efibootmgr -q -o "${order:+$order,}$new" >>$RUN/log 2>&1
}

leave_target() {
    sync
    grep " $TARGET" /proc/mounts | cut -d ' ' -f 2 | sort -r | while read -r mounted; do
        umount "$mounted" 2>/dev/null || { sleep 1; umount "$mounted" 2>/dev/null || mount -o remount,ro "$mounted"; }
    done
    sync
}

# -- the end -------------------------------------------------------------------------------------------------------

# load_kernel KERNEL INITRD ARGS: kexec's first half, while the disk is still mounted; its file systems need not be.
load_kernel() {
    command -v kexec >/dev/null || return 1
    kexec -l "$TARGET$1" ${2:+--initrd="$TARGET$2"} --command-line="$3" >>$RUN/log 2>&1
}

# the_end reboot|kexec|poweroff|shell
the_end() {
    case $1 in
        kexec)
            say "starts its own kernel"
            for card in /sys/class/net/*; do ip link set "${card##*/}" down 2>/dev/null; done
            kexec -e
            say "this kernel can't be started so, restarting"
            reboot -f
            ;;
        poweroff) poweroff -f ;;
        shell) offer_shells "It is installed. Here is a shell; \`reboot\` starts it from its disk." ;;
        *) reboot -f ;;
    esac
    sleep 3600
}
