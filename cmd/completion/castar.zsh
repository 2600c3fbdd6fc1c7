#compdef castar
# zsh completion for castar; see 'castar completion --help'.

# Each line is a word, and perhaps a tab and what it is. compadd quotes what it inserts.
_castar() {
    local line word shown
    local -i width=0
    local -a lines words_only shown_only long directories shown_directories
    lines=("${(@f)$("${(Q)words[1]}" __complete_described "${(@Q)words[2,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null)}")
    if [[ -z "${lines[1]}" ]]; then
        [[ "${words[CURRENT]}" == --*=* ]] && compset -P '*='
        _files
        return
    fi
    for line in "${lines[@]}"; do
        word="${line%%$'\t'*}"
        (( $#word > width )) && width=$#word
    done
    for line in "${lines[@]}"; do
        word="${line%%$'\t'*}" shown="$word"
        if [[ "$line" == *$'\t'* ]]; then
            shown="${(r:$width:)word}  -- ${line#*$'\t'}" long=(-l)
        fi
        if [[ "$word" == */ ]]; then # a directory, in which something may follow
            directories+=("$word") shown_directories+=("$shown")
        else
            words_only+=("$word") shown_only+=("$shown")
        fi
    done
    (( $#words_only )) && compadd $long -d shown_only -a words_only
    (( $#directories )) && compadd $long -d shown_directories -S '' -a directories
}

if [[ "${funcstack[1]}" == _castar ]]; then
    _castar "$@"
else
    compdef _castar castar
fi
