# How a stage of a distribution's installer speaks to the frontend: with curl, or with wget where there is no curl (busybox' in
# debian-installer). Put before early.sh and late.sh by bootserver/install/stages.py, behind FRONTEND and TOKEN. POSIX sh.

LC_ALL=C
export LC_ALL
umask 022

say() { printf 'bootserver: %s\n' "$*" >&2; }

WORK=$(mktemp -d) || exit 1
chmod 700 "$WORK"
trap 'rm -rf "$WORK"' EXIT

# curl reads the token from a file, so that it is in no process list. busybox' wget can't; nobody else is in the installer.
printf 'header = "Authorization: Bearer %s"\n' "$TOKEN" >"$WORK/curlrc"

# encode TEXT: for a form (application/x-www-form-urlencoded); every octet as %XX, which is always right.
encode() { printf %s "$1" | od -An -v -tx1 | tr -d '\n' | tr ' ' '%'; }

# try METHOD WHAT FILE: one request; the answer is in $WORK/answer, its status in $status ("" where nobody answers).
try() {
    : >"$WORK/answer"
    if command -v curl >/dev/null 2>&1; then
        if [ "$1" = GET ]; then set -- "$2"; else set -- "$2" --data-binary "@$3" -H "Content-Type: ${CONTENT:-application/x-www-form-urlencoded}"; fi
        what=$1
        shift
        status=$(curl -sS -K "$WORK/curlrc" -m 120 -o "$WORK/answer" -w '%{http_code}' "$@" "${FRONTEND}node/$what" 2>"$WORK/said") || status=
        return
    fi
    if [ "$1" = GET ]; then
        wget -q -S -O "$WORK/answer" --header "Authorization: Bearer $TOKEN" "${FRONTEND}node/$2" 2>"$WORK/said"
    else
        # An empty file is no body to busybox: then it would be a GET.
        [ -s "$3" ] || { printf 'x=' >"$WORK/form"; set -- "$1" "$2" "$WORK/form"; }
        wget -q -S -O "$WORK/answer" --header "Authorization: Bearer $TOKEN" --header "Content-Type: ${CONTENT:-application/x-www-form-urlencoded}" \
            --post-file "$3" "${FRONTEND}node/$2" 2>"$WORK/said"
    fi
    wget_ended=$?
    status=$(sed -n 's/.*HTTP\/1\.[01] \([0-9][0-9][0-9]\).*/\1/p' "$WORK/said" | tail -n 1)
    [ -n "$status" ] || [ $wget_ended -ne 0 ] || status=200
}

# api METHOD WHAT [FILE]: a request; true where it is a yes. A frontend that is away or has no time is asked again for a while.
api() {
    pause=1 waited=0
    while :; do
        try "$1" "$2" "${3:-/dev/null}"
        case $status in
            2??) return 0 ;;
            503 | '' | 000) ;;
            *) return 1 ;;
        esac
        if [ $waited -ge 900 ]; then
            echo "the frontend $FRONTEND does not answer" >"$WORK/answer"
            return 1
        fi
        [ $waited -gt 0 ] || say "the frontend $FRONTEND does not answer, trying again"
        sleep $pause
        waited=$((waited + pause))
        [ $pause -ge 10 ] || pause=$((pause * 2))
    done
}

# words: the first line of a refusal, for people; wget throws it away, so then the frontend's events tell more.
words() {
    line=$(head -n 1 "$WORK/answer" 2>/dev/null | tr -cd '[:print:]' | cut -c 1-200)
    printf %s "${line:-status ${status:-none}; \`bootserver events NODE\` on the frontend tells why}"
}

# fail WORDS: tell the frontend and whoever looks at the screen, and end with 1.
fail() {
    printf 'why=%s' "$(encode "$*")" >"$WORK/form"
    api POST failed "$WORK/form"
    say "$*"
    exit 1
}

# ask METHOD WHAT [FILE]: where a no ends the stage; the frontend knows why, since it said so.
ask() {
    api "$@" && return
    say "the frontend refuses: $(words)"
    exit 1
}

# phase NAME
phase() {
    printf 'phase=%s' "$1" >"$WORK/form"
    ask POST phase "$WORK/form"
}
