# bash completion for castar; see 'castar completion --help'.

# castar reads the words as bash has them, quotes and all, and its replies are quoted: bash inserts them as they are.
_castar() {
    local reply program=${COMP_WORDS[0]} line=${COMP_LINE-}
    [[ $program == '~/'* ]] && program=$HOME${program:1}
    COMPREPLY=()
    while IFS= read -r -d '' reply; do
        COMPREPLY+=("$reply")
    done < <("$program" __complete_bash "${line:0:${COMP_POINT:-0}}" "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null # a directory, in which something may follow
    fi
}

complete -o default -o bashdefault -F _castar castar
