"""``python -m nerfkit completion bash`` (``zsh``, ``fish``): a script by which a shell completes a command's words.

Keys, what groups offer and the values that there are few of stand in the script itself. Hydra's own
(``train.py -sc install=bash``) starts Python, and PyTorch, at every Tab.
"""

import itertools
from collections.abc import Iterator, Sequence

from nerfkit import hydra_words, store
from nerfkit.describe import GROUPS
from nerfkit.errors import ConfigError, did_you_mean
from nerfkit.schema import type_of

# bash cuts words at "=", and wants what stands behind it alone; zsh, and a bash told otherwise, want all of it.
# A key is offered by its group's name first; what has no known values is a path, or for the user to say.
FUNCTION = """\
_nerfkit() {{
    local line="${{COMP_LINE:0:$COMP_POINT}}" words="" prefix="" IFS=$' \\t\\n'
    local word="${{line##* }}"
    case "$line" in
        *train.py\\ *|*nerfkit-train\\ *|*nerfkit\\ train\\ *) words="{train}" ;;
        *render.py\\ *|*nerfkit-render\\ *|*nerfkit\\ render\\ *) words="{render}" ;;
        *nerfkit\\ *\\ *) ;;
        *nerfkit\\ *) words="{commands}" ;;
    esac
    case "$word" in
        *=*) words="$(tr ' ' '\\n' <<< "$words" | grep '=.')"
             [[ "$COMP_WORDBREAKS" == *=* ]] && prefix="${{word%%=*}}=" ;;
        *.*) words="$(tr ' ' '\\n' <<< "$words" | grep '\\.[^=]*=$')" ;;
        *) words="$(tr ' ' '\\n' <<< "$words" | sed 's/^\\([^.=]*\\.\\).*/\\1/; s/=.*/=/' | sort -u)" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    COMPREPLY=("${{COMPREPLY[@]#$prefix}}")
    [[ "${{COMPREPLY[*]}}" == *[.=] ]] || compopt +o nospace 2>/dev/null
}}
"""
BASH = FUNCTION + "complete -o default -o nospace -F _nerfkit {programs}\n"
# Where nothing is offered, zsh's own way to complete what stands behind "=" as a path.
ZSH = (
    "autoload -U +X compinit bashcompinit && compinit -u && bashcompinit\n"
    + FUNCTION
    + """\
_nerfkit_or_path() {{
    _bash_complete -o nospace -F _nerfkit && return
    compset -P '*='
    _default
}}
compdef _nerfkit_or_path {programs}
"""
)
# The same for fish, which leaves out the space behind "=" and "." by itself; files where nothing is offered.
FISH = """\
function __nerfkit
    set -l words
    set -l word (commandline -ct)
    switch (string join ' ' -- (commandline -opc) '')
        case '*train.py *' '*nerfkit-train *' '*nerfkit train *'
            set words (string split ' ' '{train}')
        case '*render.py *' '*nerfkit-render *' '*nerfkit render *'
            set words (string split ' ' '{render}')
        case '*nerfkit * *'
        case '*nerfkit *'
            set words (string split ' ' '{commands}')
    end
    switch "$word"
        case '*=*'
            set words (string match -r '.*=.+' -- $words)
        case '*.*'
            set words (string match -r '.*\\.[^=]*=$' -- $words)
        case '*'
            set words (string replace -r '^([^.=]*\\.).*' '$1' -- $words | string replace -r '=.*' '=' | sort -u)
    end
    set -l begin (string escape --style=regex -- "$word")
    string match -r -- "^$begin.*" $words
end
for program in {programs}
    complete -c $program -n '__nerfkit >/dev/null' -f -a '(__nerfkit)'
end
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
PROGRAMS = ("nerfkit", "nerfkit-train", "nerfkit-render", "python", "python3", "train.py", "render.py")


def script(shell: str, commands: Sequence[str]) -> str:
    """The script for a shell; ``commands`` are those of ``nerfkit``.

    Raises:
        ConfigError: a shell that there is no script for.
    """
    if shell not in SCRIPTS:
        raise ConfigError(f"{shell}: no such script{did_you_mean(shell, SCRIPTS)}")
    store.register()
    with hydra_words.hydra_here():
        groups = [f"{group}={name}" for group in GROUPS for name in hydra_words.group_options(group)]
    return SCRIPTS[shell].format(
        train=" ".join([*groups, *_keys("train")]),
        render=" ".join(_keys("render")),
        commands=" ".join(commands),
        programs=" ".join(PROGRAMS),
    )


def _keys(command: str) -> Iterator[str]:
    """``KEY=`` of every key, and ``KEY=VALUE`` where few values are possible."""
    for key, leaf in store.declarations(store.COMMANDS[command]).items():
        if "meaning" not in leaf.declared.metadata:
            continue  # the name of what a group chose
        kind, _ = type_of(leaf.made, leaf.declared)
        choices = leaf.declared.metadata.get("choices") or (("true", "false") if kind is bool else ())
        several = kind not in (str, bool)
        yield from itertools.chain([f"{key}="], (f"{key}={f'[{one}]' if several else one}" for one in choices))


def main(words: list[str], commands: Sequence[str]) -> None:
    """Prints the script for the shell that the first word names, bash where there is none."""
    print(script(words[0] if words else "bash", commands), end="")
