# fish completion for castar; see 'castar completion --help'.

function __castar_complete
    set -l words (commandline -opc)
    set -l candidates ($words[1] __complete_typed $words[2..] (commandline -ct) 2>/dev/null)
    if test (count $candidates) -gt 0
        printf '%s\n' $candidates
    else
        __fish_complete_path (commandline -ct)
    end
end

complete -c castar -f -a '(__castar_complete)'
