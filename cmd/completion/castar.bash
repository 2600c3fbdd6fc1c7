# bash completion for castar; see 'castar completion --help'.

_castar() {
    local word IFS=$'\n'
    COMPREPLY=()
    while read -r word; do
        COMPREPLY+=("$word")
    done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}

complete -o default -o bashdefault -F _castar castar
