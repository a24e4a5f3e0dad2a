# How what runs in a distribution's installer speaks to the frontend: with curl, or with nc where there is no curl (the wget of
# debian-installer's busybox knows neither headers nor POST). In front of it stand FRONTEND and TOKEN; it is part of the stages
# (bootserver/install/stages.py), and of what a kickstart or preseed runs (kickstart/stage.sh.j2). POSIX sh, and of busybox'
# programs those that debian-installer has.

LC_ALL=C
export LC_ALL
umask 022

say() { printf 'bootserver: %s\n' "$*" >&2; }

WORK=$(mktemp -d) || exit 1
chmod 700 "$WORK"
trap 'rm -rf "$WORK"' EXIT

# curl reads the token from a file, so that it is in no process list.
printf 'header = "Authorization: Bearer %s"\n' "$TOKEN" >"$WORK/curlrc"

# encode TEXT: for a form (application/x-www-form-urlencoded); every character as %XX, which is always right. Printable ASCII.
encode() {
    text=$(printf %s "$1" | tr -cd ' -~')
    while [ -n "$text" ]; do
        rest=${text#?}
        printf '%%%02X' "'${text%"$rest"}"
        text=$rest
    done
}

CR=$(printf '\r')
AUTHORITY=${FRONTEND#*://} AUTHORITY=${AUTHORITY%%/*}

# try METHOD WHAT FILE: one request; the answer is in $WORK/answer, its status in $status (empty where nobody answers).
try() {
    : >"$WORK/answer"
    type=${CONTENT:-application/x-www-form-urlencoded}
    if command -v curl >/dev/null 2>&1; then
        method=$1 what=$2
        if [ "$method" = GET ]; then set --; else set -- --data-binary "@$3" -H "Content-Type: $type"; fi
        status=$(curl -sS -K "$WORK/curlrc" -m 120 -o "$WORK/answer" -w '%{http_code}' "$@" "${FRONTEND}node/$what" 2>"$WORK/said") || status=
        return
    fi
    server=${AUTHORITY%:*} port=80
    case $FRONTEND in https:*) say "no curl here, and nothing else speaks HTTPS"; exit 1 ;; esac
    case $AUTHORITY in *:*) port=${AUTHORITY##*:} ;; esac
    {
        printf '%s /node/%s HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\n' "$1" "$2" "$AUTHORITY" "$TOKEN"
        printf 'Content-Type: %s\r\nContent-Length: %s\r\n\r\n' "$type" "$(wc -c <"$3" | tr -d ' ')"
        cat "$3"
    } >"$WORK/request"
    nc -w 60 "$server" "$port" <"$WORK/request" >"$WORK/response" 2>/dev/null
    status=
    {
        read -r _ status _
        while read -r line && [ "$line" != "$CR" ]; do :; done
        cat # an archive: no sed is to see it
    } <"$WORK/response" >"$WORK/answer"
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

# words: the first line of a refusal, for people.
words() { head -n 1 "$WORK/answer" | tr -cd ' -~' | cut -c 1-200; }
