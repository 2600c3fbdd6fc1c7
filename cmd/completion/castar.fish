# fish completion for castar; see 'castar completion --help'.

# Each line is a word, and perhaps a tab and what it is.
function __castar_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l candidates ($words[1] __complete_described $words[2..] $word 2>/dev/null)
    if test (count $candidates) -gt 0
        printf '%s\n' $candidates
    else if string match -q -- '--*=*' $word
        set -l parts (string split -m 1 = -- $word)
        for path in (__fish_complete_path $parts[2])
            printf '%s=%s\n' $parts[1] $path
        end
    else
        __fish_complete_path $word
    end
end

complete -c castar -f -a '(__castar_complete)'
