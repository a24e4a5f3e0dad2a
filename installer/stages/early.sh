
# The early stage: what the machine has goes to the frontend, and the partition lines for it come back. They go to the file $1.

OUT=${1:?usage: sh early FILE}

phase partition
# /dev/null: a tool of the installer may wait at the terminal.
if ! DISKS_LIBRARY=$WORK/disks.sh sh "$WORK/inventory" >"$WORK/inventory.json" 2>"$WORK/said" </dev/null; then
    fail "this machine's hardware can't be read: $(tail -n 1 "$WORK/said" | cut -c 1-160)"
fi
CONTENT=application/json
ask POST partitions "$WORK/inventory.json"
unset CONTENT
cp "$WORK/answer" "$OUT" || fail "$OUT can't be written"
phase format
