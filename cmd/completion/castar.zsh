#compdef castar
# zsh completion for castar; see 'castar completion --help'.

# compadd quotes what it inserts.
_castar() {
    local -a candidates directories
    candidates=("${(@f)$("${(Q)words[1]}" __complete_typed "${(@Q)words[2,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null)}")
    if [[ -n "${candidates[1]}" ]]; then
        directories=("${(@M)candidates:#*/}")
        candidates=("${(@)candidates:#*/}")
        (( $#candidates )) && compadd -a candidates
        (( $#directories )) && compadd -S '' -a directories
    else
        _files
    fi
}

if [[ "${funcstack[1]}" == _castar ]]; then
    _castar "$@"
else
    compdef _castar castar
fi
