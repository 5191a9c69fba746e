#!/usr/bin/env bash
# shellcheck disable=SC2016  # the stand-ins are written in single quotes
# Tests of the set-up scripts: in a copy of them, with stand-ins for cargo, pip and the compiler, and no network.
set -uo pipefail
export LC_ALL=C
unset LIBTORCH LIBTORCH_USE_PYTORCH LIBTORCH_BYPASS_VERSION_CHECK NADA_LIBTORCH VIRTUAL_ENV PYTHONPATH CXX CARGO_HOME

scripts=$(cd -P "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
work=$(cd -P "$work" && pwd)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# --- the stand-ins -------------------------------------------------------------------------------------------------

python=$(python3 -c 'import sys; print(sys.executable)')

# A tool on the small PATH: stub NAME LINES…
stub() {
    local name=$1
    shift
    rm -f "$bin/$name"
    printf '%s\n' "#!/bin/sh" "$@" >"$bin/$name"
    chmod +x "$bin/$name"
}

# A pip that makes small wheels; FAKE_PIP says what goes wrong.
make_pip() {
    mkdir -p "$work/pip/pip"
    touch "$work/pip/pip/__init__.py"
    cat >"$work/pip/pip/__main__.py" <<'PY'
import os, sys, time, zipfile
args = sys.argv
mode = os.environ.get("FAKE_PIP", "")
dest = args[args.index("--dest") + 1]
requirement = open(args[args.index("--requirement") + 1]).read().split(" --hash=sha256:")
assert len(requirement[1].strip()) == 64 and "--require-hashes" in args
name = requirement[0].split("==")[0]
with open(os.environ["PIP_LOG"], "a") as log:
    log.write(requirement[0] + " " + args[args.index("--platform") + 1] + "\n")
if mode == "offline":
    sys.exit("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewError('<x at 0x7f>: Connection refused')': /simple/\nERROR: No matching distribution found for " + requirement[0])
if mode == "hash":
    sys.exit("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    Got 00ff")
if mode == "full disk":
    sys.exit("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")
if mode == "hang":
    open(os.path.join(dest, "half.whl"), "w").write("half")
    open(os.environ["PIP_LOG"] + ".hangs", "w").close()
    time.sleep(20)
if mode == "slow":
    time.sleep(0.3)
files = {
    "torch": ["torch/lib/libc10.so", "torch/lib/libtorch.so", "torch/lib/libtorch_cpu.so", "torch/lib/libtorch_cuda.so",
              "torch/lib/libtorch_python.so", "torch/test.py",
              "torch/include/torch/csrc/api/include/torch/torch.h", "torch/include/c10/c10.h"],
    "nvidia-cuda-runtime": ["nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/include/cuda.h"],
    "nvidia-cuda-cupti": ["nvidia/cu13/lib/libcupti.so.13", "nvidia/cu13/lib/libother.so.1"],
}
if "macos" in args[args.index("--platform") + 1]:
    files["torch"] = [file.replace(".so", ".dylib") for file in files["torch"]]
with zipfile.ZipFile(os.path.join(dest, name + ".whl"), "w") as wheel:
    for file in files.get(name, ["nvidia/cu13/lib/lib%s.so.1" % name]):
        wheel.writestr(file, "content of " + file)
PY
    mkdir -p "$work/no-pip/pip"
    echo 'raise ImportError("no pip here")' >"$work/no-pip/pip/__init__.py"
}

# A new checkout, a new cache and a new small PATH.
fresh() {
    repo=$work/repo bin=$work/bin cache=$work/cache
    rm -rf "$repo" "$bin" "$cache" "$work/log" "$work/log.hangs"
    mkdir -p "$repo/src" "$bin" "$cache" "$work/elsewhere"
    cp -R "$scripts" "$repo/scripts"
    printf '[package]\nrust-version = "1.88"\n' >"$repo/Cargo.toml"
    touch "$repo/build.rs" "$repo/Cargo.lock"
    for tool in awk bash cat chmod cmp cp cut df dirname env find head ls mkdir readlink rm sed sh sleep ln stat touch tr xargs; do
        ln -s "$(command -v $tool)" "$bin/$tool"
    done
    ln -s "$python" "$bin/python3"
    stub uname 'case $1 in -s) echo "${FAKE_OS:-Linux}";; *) echo "${FAKE_CPU:-x86_64}";; esac'
    stub getconf 'echo "${FAKE_GLIBC-glibc 2.36}"'
    stub cc 'exit 0'
    stub c++ 'exit "${FAKE_CXX:-0}"'
    stub cargo "target=$repo/target" 'case $1 in' \
        '--version) echo "cargo ${FAKE_CARGO:-1.95.0} (abc)";;' \
        'metadata) echo "{\"target_directory\":\"$target\",\"version\":1}";;' \
        'build) printf "%s\n" "LIBTORCH=${LIBTORCH:-}" "$*" >>"$target.log"; [ -z "${FAKE_BUILD:-}" ] || exit 101; mkdir -p "$target/release"' \
        '  printf "%s\n" "#!/bin/sh" "echo in \$PWD: \$*" "exit 7" >"$target/release/nada"; chmod +x "$target/release/nada";;' \
        'esac'
    unset FAKE_OS FAKE_CPU FAKE_GLIBC FAKE_CXX FAKE_CARGO FAKE_BUILD FAKE_PIP
}

# run SCRIPT ARGS…: its output in $out (both streams), its exit code in $code. Settings: VAR=value run …
run() {
    local script=$repo/scripts/$1
    shift
    out=$(cd "$work/elsewhere" && env -i PATH="$bin" HOME="$work/home" XDG_CACHE_HOME="$cache" PYTHONPATH="${PYTHONPATH:-$work/pip}" \
        PIP_LOG="$work/log" NADA_LIBTORCH="${NADA_LIBTORCH-cpu}" ${LIBTORCH:+"LIBTORCH=$LIBTORCH"} \
        ${LIBTORCH_USE_PYTORCH:+"LIBTORCH_USE_PYTORCH=1"} ${FAKE_PIP:+"FAKE_PIP=$FAKE_PIP"} ${FAKE_OS:+"FAKE_OS=$FAKE_OS"} \
        ${FAKE_CPU:+"FAKE_CPU=$FAKE_CPU"} ${FAKE_GLIBC+"FAKE_GLIBC=$FAKE_GLIBC"} ${FAKE_CXX:+"FAKE_CXX=$FAKE_CXX"} \
        ${FAKE_CARGO:+"FAKE_CARGO=$FAKE_CARGO"} ${FAKE_BUILD:+"FAKE_BUILD=1"} "$script" "$@" 2>&1)
    code=$?
}

# --- what is checked -----------------------------------------------------------------------------------------------

check() {    # check SENTENCE COMMAND…
    local sentence=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n  exit code %s, output:\n%s\n' "$sentence" "$code" "$out" | sed '3,$s/^/    /'
    fi
}

# says CODE WORDS…: the last run ended so, said each of these, and was brief.
says() {
    [ "$code" = "$1" ] && [ "$(printf '%s\n' "$out" | wc -l)" -le 6 ] || return 1
    shift
    for words; do case $out in *"$words"*) ;; *) return 1 ;; esac done
}

folder() { echo "$cache/nada/libtorch-2.11.0-cpu"; }
ready() { [ "$code" = 0 ] && [ "$(readlink "$repo/.libtorch")" = "$1" ] && ls "$1"/lib/libtorch_cpu.* >/dev/null; }
nothing_left() { [ -z "$(find "$cache/nada" -name '*.part-*')" ]; }

make_pip
fresh
run libtorch
check "a bare machine gets a libtorch" ready "$(folder)"
check "its version is where torch-sys looks" grep -qx '2.11.0+cpu' "$(folder)/build-version"
check "only what CPU work needs is unpacked" \
    [ "$(cd "$(folder)/lib" && echo *)" = "libc10.so libcudart.so.13 libcupti.so.13 libtorch.so libtorch_cpu.so" ]
check "libtorch.so is a link to libtorch_cpu.so" [ "$(readlink "$(folder)/lib/libtorch.so")" = libtorch_cpu.so ]
check "three pinned wheels are fetched" [ "$(tr '\n' ',' <"$work/log")" = \
    "torch==2.11.0 manylinux_2_28_x86_64,nvidia-cuda-runtime==13.0.96 manylinux2014_x86_64,nvidia-cuda-cupti==13.0.85 manylinux_2_25_x86_64," ]
check "the temporary folder is gone" nothing_left
run libtorch
check "the second call is silent" says 0
check "and fetches nothing" [ "$(wc -l <"$work/log")" -eq 3 ]

for damage in 'rm complete' 'rm include/c10/c10.h' 'printf x >>lib/libtorch_cpu.so' ': >lib/libc10.so' 'rm lib/libtorch.so' 'rm -r lib'; do
    (cd "$(folder)" && eval "$damage")
    run libtorch
    check "a damaged libtorch is repaired ($damage)" ready "$(folder)"
    check "and said so ($damage)" says 0 "fetching libtorch"
    run libtorch
    check "and is whole again ($damage)" says 0
    check "silently ($damage)" [ -z "$out" ]
done

rm -rf "$cache/nada/libtorch-2.11.0-cpu"
set -m    # a process group of its own, so that pip dies with the rest
FAKE_PIP=hang run libtorch 2>/dev/null &
set +m
for _ in $(seq 200); do [ -e "$work/log.hangs" ] || sleep 0.1; done
kill -9 -- -$!
{ wait $!; } 2>/dev/null
check "a killed download leaves its temporary folder, and no libtorch" [ ! -e "$(folder)" ]
run libtorch
check "the call after it starts anew" ready "$(folder)"
check "and clears what was left" nothing_left

fresh
FAKE_PIP=slow run libtorch &
sleep 0.2
FAKE_PIP=slow run libtorch
check "of two calls at once the later one waits" ready "$(folder)"
wait
check "and does not fetch again" [ "$(wc -l <"$work/log")" -eq 3 ]

fresh
NADA_LIBTORCH=full run libtorch
full=$cache/nada/libtorch-2.11.0-full
check "the full libtorch keeps the wheel's layout" ready "$full/torch"
check "with CUDA's libraries beside it" [ -e "$full/torch/lib/libtorch_cuda.so" -a -e "$full/nvidia/cu13/lib/libcudart.so.13" ]
check "sixteen wheels of it" [ "$(wc -l <"$work/log")" -eq 16 ]
NADA_LIBTORCH=full run libtorch
check "it is whole" [ "$code$out" = 0 ]
stub nvidia-smi 'exit 0'
NADA_LIBTORCH="" run libtorch
check "a machine with an NVIDIA GPU takes the full one" ready "$full/torch"
NADA_LIBTORCH=some run libtorch
check "an unknown NADA_LIBTORCH is refused" says 1 "'some'" "cpu or full"

fresh
FAKE_OS=Darwin FAKE_CPU=arm64 NADA_LIBTORCH="" run libtorch
check "a Mac gets one wheel" [ "$(cat "$work/log")" = "torch==2.11.0 macosx_11_0_arm64" ]
check "in the wheel's layout" ready "$full/torch"
fresh
FAKE_CPU=aarch64 run libtorch
check "an ARM Linux gets its own wheels" [ "$(grep -c aarch64 "$work/log")" -eq 3 ]

fresh
FAKE_CPU=riscv64 run libtorch
check "an unknown CPU is refused" says 1 "no libtorch 2.11.0 for Linux riscv64" "x86_64"
FAKE_OS=Darwin run libtorch
check "an Intel Mac is refused" says 1 "Darwin x86_64"
FAKE_OS=MINGW64_NT run libtorch
check "Windows is refused" says 1 "MINGW64_NT"
FAKE_GLIBC="" run libtorch
check "musl is refused" says 1 "no glibc" "Debian"
FAKE_GLIBC="glibc 2.17" run libtorch
check "an old glibc is refused" says 1 "glibc 2.17" "2.28"

fresh
FAKE_PIP=offline run libtorch
check "no network: pip's last line and what to set" says 1 "No matching distribution found for torch==2.11.0" "      Connection refused" "PIP_INDEX_URL" "PIP_FIND_LINKS"
check "a failed download leaves nothing" nothing_left
FAKE_PIP='hash' run libtorch
check "a file with another hash is refused" says 1 "not the file" "Got 00ff"
FAKE_PIP="full disk" run libtorch
check "a disk that fills up is named" says 1 "disk of $cache/nada is full" "XDG_CACHE_HOME"
stub df 'printf "%s\n" "Filesystem 1024-blocks Used Available Capacity Mounted" "/dev/a 9 9 512000 99% /"'
run libtorch
check "too little disk space is noticed before" says 1 "unpacking libtorch needs 1700 MB" "only 500 MB" "XDG_CACHE_HOME"

fresh
: >"$cache/nada"
run libtorch
check "a cache that can't be written to is named" says 1 "$cache/nada" "XDG_CACHE_HOME"

fresh
rm "$bin/python3"
run libtorch
check "a missing python3 is named" says 1 "python3 was not found" "Install"
fresh
PYTHONPATH=$work/no-pip run libtorch
check "a missing pip is named" says 1 "no pip" "Install"

# An own libtorch.
own=$work/own
mkdir -p "$own/lib" "$own/include/torch/csrc/api/include/torch"
touch "$own/lib/libtorch_cpu.so"
fresh
echo 2.11.0+cu128 >"$own/build-version"
LIBTORCH=$own run libtorch
check "LIBTORCH is honoured" ready "$own"
check "without a download" [ ! -e "$work/log" ]
LIBTORCH=../own run nada
check "also by a relative path, which cargo is handed in full" grep -qx "LIBTORCH=$own" "$repo/target.log"
LIBTORCH=$repo/.libtorch run libtorch
check "our own link, as cargo sets it, is not mistaken for one" ready "$(folder)"
echo 2.4.1+cpu >"$own/build-version"
LIBTORCH=$own run libtorch
check "a wrong version is named with the right one" says 1 "libtorch 2.4.1" "needs 2.11.0" "Unset LIBTORCH"
rm "$own/build-version"
printf '#define TORCH_VERSION_%s\n' 'MAJOR 2' 'MINOR 5' 'PATCH 1' >"$own/include/torch/csrc/api/include/torch/version.h"
LIBTORCH=$own run libtorch
check "also when only a header tells it" says 1 "libtorch 2.5.1"
LIBTORCH=$work/elsewhere run libtorch
check "a LIBTORCH that is none is refused" says 1 "which is no libtorch" "libtorch_cpu"
mkdir -p "$work/site/torch"
cp -R "$own/." "$work/site/torch"
echo 2.11.0 >"$work/site/torch/build-version"
LIBTORCH_USE_PYTORCH=1 PYTHONPATH=$work/site run libtorch
check "python's torch is honoured" ready "$work/site/torch"
echo 2.12.0 >"$work/site/torch/build-version"
LIBTORCH_USE_PYTORCH=1 PYTHONPATH=$work/site run libtorch
check "python's torch of a wrong version is named" says 1 "2.12.0" "torch==2.11.0"
LIBTORCH_USE_PYTORCH=1 PYTHONPATH=$work/pip run libtorch
check "python without torch is named" says 1 "python has no torch" "pip install torch==2.11.0"
rm "$repo/.libtorch" && mkdir "$repo/.libtorch"
run libtorch
check "a folder in the link's place is left alone" says 1 ".libtorch is in the way"

# scripts/nada.
fresh
run nada adapt --source "a photo"
check "nada builds, then runs where the caller is, with the caller's words" says 7 "4 minutes" "in $work/elsewhere: adapt --source a photo"
run nada inspect x
check "the second call says nothing of its own" [ "$out" = "in $work/elsewhere: inspect x" ]
check "and cargo is asked quietly" grep -qx 'build --release --bin nada --quiet' "$repo/target.log"
touch -t 203001010000 "$repo/src/main.rs"
run nada
check "changed sources are built with cargo's progress" [ "$(tail -n1 "$repo/target.log")" = "build --release --bin nada" ]
check "and it is said that this takes minutes" says 7 "building it again" "4 minutes"
touch -t 202001010000 "$repo/src/main.rs"
ln -sf "$repo/scripts/nada" "$bin/nada"
out=$(cd / && PATH=$bin XDG_CACHE_HOME=$cache PYTHONPATH=$work/pip PIP_LOG=$work/log NADA_LIBTORCH=cpu nada x 2>&1)
check "a link to the script works too" [ "$out" = "in /: x" ]
FAKE_BUILD=1 run nada
check "a failed build is said, and nothing is run" says 1 "the build failed"

fresh
rm "$bin/cargo"
run nada
check "a missing cargo is named" says 1 "cargo was not found" "rustup.rs"
check "before anything is downloaded" [ ! -e "$work/log" ]
fresh
FAKE_CARGO=1.79.0 run nada
check "an old cargo is named" says 1 "cargo 1.79.0 is too old" "1.88" "rustup update"
fresh
FAKE_CXX=1 run nada
check "a missing compiler is named" says 1 "no working C++17 compiler" "Install"
stub apt-get
FAKE_CXX=1 run nada
check "with this system's way to install one" says 1 "sudo apt-get install g++"

printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
