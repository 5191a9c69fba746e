# shellcheck shell=bash
# What the scripts beside this file share: the checks of this machine, and the build. Sourced, not run.
# Each missing thing is one message with its remedy; all messages go to stderr.
set -euo pipefail
export LC_ALL=C

repo=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf 'nada: %s\n' "$1" >&2; }

# fail WHAT REMEDY…: ends the script with exit code 1.
fail() {
    say "$1"
    shift
    [ $# -eq 0 ] || printf '      %s\n' "$@" >&2
    exit 1
}

# install_line APT DNF: how this system's package manager is asked.
install_line() {
    if [ "$(uname -s)" = Darwin ]; then echo "xcode-select --install"
    elif command -v apt-get >/dev/null; then echo "sudo apt-get install $1"
    elif command -v dnf >/dev/null; then echo "sudo dnf install $2"
    else echo "your system's package manager (Debian calls it $1, Fedora $2)"; fi
}

# need_space FOLDER MB WHAT: the folder need not exist yet.
need_space() {
    local folder=$1 free
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    free=$(df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${free:-$2}" -ge "$2" ] || fail "$3 needs $2 MB in $1, but only $free MB are free there." \
        "Free some space, or name a folder on another disk: $4"
}

need_cargo() {
    local wanted have
    # rustup's folder is not on the PATH before the next login.
    command -v cargo >/dev/null || PATH="${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH"
    command -v cargo >/dev/null || fail "cargo was not found." \
        "Install Rust: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    have=$(cargo --version 2>&1) || fail "cargo does not run: $have" "Try: rustup default stable"
    have=$(echo "$have" | awk '{ print $2 }')
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$repo/Cargo.toml")
    at_least "$have" "$wanted" || fail "cargo $have is too old: nada needs $wanted or newer." "Update it: rustup update stable"
}

# at_least HAVE WANTED, of versions such as 1.88 and 1.95.0.
at_least() {
    awk -v have="$1" -v want="$2" 'BEGIN {
        split(have, h, "."); split(want, w, ".")
        exit !(h[1] + 0 > w[1] + 0 || (h[1] + 0 == w[1] + 0 && h[2] + 0 >= w[2] + 0))
    }'
}

# torch-sys compiles two C++ files, and rustc links with cc.
need_compiler() {
    local cxx=${CXX:-c++}
    # No pipe: one whose reader does not read would fail the check.
    if ! command -v cc >/dev/null || ! $cxx -x c++ -std=c++17 -fsyntax-only - 2>/dev/null <<<'#include <vector>'; then
        fail "no working C++17 compiler was found (tried $cxx and cc)." "Install one: $(install_line g++ gcc-c++)"
    fi
}

need_component() {
    cargo "$1" --version >/dev/null 2>&1 || fail "cargo $1 was not found." "Install it: rustup component add $2"
}

# Sets $target, the folder that cargo builds into.
find_target() {
    target=$(cd "$repo" && cargo metadata --no-deps --format-version 1 --offline |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
}

# Everything that a build needs. Quiet and quick when it is all there.
prepare() {
    need_cargo
    "$repo/scripts/libtorch"
    # cargo runs in the checkout, where a relative path would mean another folder.
    if [ -n "${LIBTORCH:-}" ] && [ -d "$LIBTORCH" ]; then LIBTORCH=$(cd "$LIBTORCH" && pwd); fi
    find_target
    [ -x "$target/release/nada" ] || {
        need_compiler
        need_space "$target" 2000 "the build" "CARGO_TARGET_DIR=FOLDER"
    }
}

# python_env NAME REQUIREMENTS [PYTHON]: prints the Python of an environment in the user's cache, made once per list of
# packages. It also sees the packages of PYTHON, if one is named.
python_env() {
    local name=$1 list=$repo/$2 below=${3:-} key env
    key=$({ cat "$list"; [ -z "$below" ] || echo "$below"; } | sha256sum | cut -c1-12)
    env=${XDG_CACHE_HOME:-$HOME/.cache}/nada/$name-$key
    if [ ! -x "$env/ready" ]; then
        rm -rf "$env"
        python3 -m venv "$env"
        if [ -n "$below" ]; then
            "$below" -c 'import site; print(site.getsitepackages()[0])' >"$("$env/bin/python" -c 'import site; print(site.getsitepackages()[0])')/below.pth"
        fi
        "$env/bin/pip" install --quiet --disable-pip-version-check --no-compile -r "$list" >&2
        ln -s bin/python "$env/ready"
    fi
    echo "$env/bin/python"
}
