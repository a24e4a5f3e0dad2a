#!/bin/bash
# Tells the frontend that this node is at work. Put here by bootserver's installer; needs bash and nothing else.
url=$(</etc/bootserver/url) key=$(</etc/bootserver/node.key)
authority=${url#http://} authority=${authority%%/*}
host=${authority%:*} port=80
[[ $authority != *:* ]] || port=${authority##*:}

tell() {
    printf 'POST /node/up HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\n\r\n' "$authority" "$key" >&3
    read -r -t 30 _ status _ <&3
}

for ((try = 0; try < 120; try++)); do
    status=
    # A redirection of a group: where it fails, the group fails, and not this shell.
    { tell; } 3<>"/dev/tcp/$host/$port" 2>/dev/null
    case $status in
        200) exit 0 ;;
        403) echo "the frontend $authority does not know this node's key" >&2; exit 1 ;;
    esac
    sleep 5
done
echo "the frontend $authority does not answer" >&2
exit 1
