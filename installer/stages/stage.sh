
# What both stages are made with: a no ends them, and the frontend knows why.

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
