#compdef castar
# zsh completion for castar; see 'castar completion --help'.

_castar() {
    local -a candidates
    candidates=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${candidates[1]}" ]]; then
        compadd -a candidates
    else
        _files
    fi
}

if [[ "${funcstack[1]}" == _castar ]]; then
    _castar "$@"
else
    compdef _castar castar
fi
