"""Downloads libtorch for `scripts/libtorch` and unpacks it: libtorch.py FOLDER cpu|full PLATFORM

The folder appears at once and whole, or not at all. Its file `complete` lists every file with its size,
which is how a damaged folder is noticed later. Only Python's standard library and pip are used.
"""

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "2.11.0"

# What pip fetches, always the same files whatever Python runs this. The cpu form takes three of them.
# Left out of torch's own list: triton and the pure Python packages, which libtorch does not need.
WHEELS = """
0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756 torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl
7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.whl
4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8 nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl
ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171 nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_x86_64.whl
ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575 nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.whl
d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_x86_64.whl
6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3 nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.whl
08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44 nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.whl
1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl
0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112 nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl
2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.whl
25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd nvidia_cusparselt_cu13-0.8.0-py3-none-manylinux2014_x86_64.whl
e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42 nvidia_nccl_cu13-2.28.9-py3-none-manylinux_2_18_x86_64.whl
13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b nvidia_nvjitlink-13.0.88-py3-none-manylinux2010_x86_64.whl
290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80 nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.whl
4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4 nvidia_nvtx-13.0.85-py3-none-manylinux1_x86_64.whl
f99924682ef0aa6a4ab3b1b76f40dc6e273fca09f367d15a524266db100a723f torch-2.11.0-cp312-cp312-manylinux_2_28_aarch64.whl
ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55 nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_aarch64.whl
796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151 nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_aarch64.whl
c86fc7f7ae36d7528288c5d88098edcb7b02c633d262e7ddbb86b0ad91be5df2 nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_aarch64.whl
d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2014_aarch64.whl
6ed29ffaee1176c612daf442e4dd6cfeb6a0caa43ddcbeb59da94953030b1be4 nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_aarch64.whl
2708c852ef8cd89d1d2068bdbece0aa188813a0c934db3779b9b1faa8442e5f5 nvidia_cufft-12.0.0.61-py3-none-manylinux2014_aarch64.whl
bdc0deedc61f548bddf7733bdc216456c2fdb101d020e1ab4b88d232d5e2f6d1 nvidia_cufile-1.15.1.6-py3-none-manylinux_2_27_aarch64.whl
133df5a7509c3e292aaa2b477afd0194f06ce4ea24d714d616ff36439cee349a nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_aarch64.whl
02c2457eaa9e39de20f880f4bd8820e6a1cfb9f9a34f820eb12a155aa5bc92d2 nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_aarch64.whl
80bcc4662f23f1054ee334a15c72b8940402975e0eab63178fc7e670aa59472c nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_aarch64.whl
400c6ed1cf6780fc6efedd64ec9f1345871767e6a1a0a552a1ea0578117ea77c nvidia_cusparselt_cu13-0.8.0-py3-none-manylinux2014_aarch64.whl
01c873ba1626b54caa12272ed228dc5b2781545e0ae8ba3f432a8ef1c6d78643 nvidia_nccl_cu13-2.28.9-py3-none-manylinux_2_18_aarch64.whl
e931536ccc7d467a98ba1d8b89ff7fa7f1fa3b13f2b0069118cd7f47bff07d0c nvidia_nvjitlink-13.0.88-py3-none-manylinux2014_aarch64.whl
6dc2a197f38e5d0376ad52cd1a2a3617d3cdc150fd5966f4aee9bcebb1d68fe9 nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_aarch64.whl
cb7780edb6b14107373c835bf8b72e7a178bac7367e23da7acb108f973f157a6 nvidia_nvtx-13.0.85-py3-none-manylinux2014_aarch64.whl
4b5866312ee6e52ea625cd211dcb97d6a2cdc1131a5f15cc0d87eec948f6dd34 torch-2.11.0-cp312-cp312-macosx_11_0_arm64.whl
"""
CPU_WHEELS = ("torch", "nvidia_cuda_runtime", "nvidia_cuda_cupti")

# libtorch_cpu of the CUDA wheel links these two; it calls them only when there is a GPU.
CUDA_FOR_CPU = ("libcudart.so.13", "libcupti.so.13")
ONLY_CUDA = re.compile(r"libtorch\.so|lib.*cuda.*|libcaffe2_nvrtc.*|libtorch_nvshmem.*")
ONLY_PYTHON = re.compile(r"libtorch_python.*|libtorch_global_deps.*")


def fail(what, *remedies):
    sys.exit("\n".join([f"nada: {what}"] + [f"      {line}" for line in remedies]))


def wheels(variant, cpu):
    """The (name, version, platform tag, sha256) of each wheel to fetch."""
    for line in WHEELS.split("\n")[1:-1]:
        sha256, file = line.split()
        name, version, _, _, tag = file[: -len(".whl")].split("-")
        if tag.endswith("_" + cpu) and (variant == "full" or name in CPU_WHEELS):
            yield name, version, tag, sha256


def fetch(name, version, tag, sha256, into):
    """Downloads one wheel with pip, which checks its hash."""
    requirement = f"{name.replace('_', '-')}=={version}"
    listed = into / "requirements.txt"
    listed.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--require-hashes", "--requirement", str(listed), "--dest", str(into)]
    command += ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--platform", tag]
    command += ["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"]
    # A user's settings for their own projects are not for this one; mirrors and certificates are.
    settings = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_REQUIRE_VIRTUALENV="0", TMPDIR=str(into))
    settings.pop("PIP_CONSTRAINT", None)
    # The progress bar is for a terminal; stdout belongs to nada itself.
    shown = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
    done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True, errors="replace", env=settings)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["(it said nothing)"]
        if "No space left on device" in done.stderr:
            raise OSError(errno.ENOSPC, "No space left on device", str(into))
        if "DO NOT MATCH THE HASHES" in done.stderr:
            fail(f"what was downloaded as {requirement} is not the file that nada was made with: {said[-1]}",
                 "Try again; if it stays so, the index or mirror that pip asks has another file.")
        # "… after connection broken by 'NewConnectionError('<…>: Failed to establish …')': /simple/torch/"
        broken = [line.rsplit(">: ", 1)[-1].rsplit("'", 2)[0] for line in said if "connection broken" in line][-1:]
        fail(f"pip could not fetch {requirement}: {said[-1]}", *broken,
             "Is the network up? Behind a mirror, set PIP_INDEX_URL. Without a network, put the wheels named in",
             "scripts/libtorch.py into a folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER.")
    return next(into.glob("*.whl"))


def place(member, variant):
    """Where a file of a wheel goes in our folder; None for what is not needed."""
    if member.endswith("/") or ".." in member.split("/") or " " in member:
        return None
    name = member.rsplit("/", 1)[-1]
    root = "torch/" if variant == "full" else ""
    if member.startswith("torch/include/"):
        return root + member[len("torch/"):]
    if member.startswith("torch/lib/") and member.count("/") == 2 and not ONLY_PYTHON.fullmatch(name):
        return root + "lib/" + name if variant == "full" or not ONLY_CUDA.fullmatch(name) else None
    if re.fullmatch(r"nvidia/[^/]+/lib/[^/]+\.so[^/]*", member):
        if variant == "full":
            return member
        return "lib/" + name if name in CUDA_FOR_CPU else None
    return None


def unpack(wheel, into, variant):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            target = place(member, variant)
            if target is None:
                continue
            path = into / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(path, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
                if ".so" in path.name or path.suffix == ".dylib":
                    sink.flush()
                    os.fsync(sink.fileno())


def finish(folder, variant, system):
    """What the wheels lack, and the list of all files as the last one."""
    root = folder / "torch" if variant == "full" else folder
    library = "lib/libtorch_cpu.dylib" if system == "Darwin" else "lib/libtorch_cpu.so"
    for needed in (library, "include/torch/csrc/api/include/torch/torch.h"):
        if not (root / needed).is_file():
            fail(f"the wheel of torch {VERSION} holds no {needed}.")
    if variant == "cpu" and system == "Linux":
        os.symlink("libtorch_cpu.so", root / "lib/libtorch.so")
    build = {"cpu": "+cpu", "full": "+cu130"}[variant] if system == "Linux" else ""
    (root / "build-version").write_text(VERSION + build + "\n")
    files = sorted(os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)
    lines = [f"{os.lstat(file).st_size} {os.path.relpath(file, folder)}\n" for file in files]
    (folder / "complete").write_text("".join(lines))


def whole(folder):
    try:
        lines = (folder / "complete").read_text().splitlines()
        return all(os.lstat(folder / name).st_size == int(size) for size, name in (line.split(" ", 1) for line in lines))
    except (OSError, ValueError):
        return False


def prepare(folder, variant, platform):
    system, cpu = platform.split()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        # The kernel drops the lock of a process that dies, so it is never stale.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("nada: another process is fetching libtorch; waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if whole(folder):
            return
        for left in folder.parent.glob(folder.name + ".part-*"):
            shutil.rmtree(left, ignore_errors=True)    # of a process that was killed
        part = Path(tempfile.mkdtemp(prefix=folder.name + ".part-", dir=folder.parent))
        try:
            part.chmod(0o755)
            (part / "new").mkdir()
            for name, version, tag, sha256 in wheels(variant, cpu):
                wheel = fetch(name, version, tag, sha256, part)
                unpack(wheel, part / "new", variant)
                wheel.unlink()
            finish(part / "new", variant, system)
            if folder.exists():
                folder.rename(part / "broken")
            (part / "new").rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def main():
    folder, variant, platform = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))    # so that the temporary folder goes
    try:
        prepare(folder, variant, platform)
    except KeyboardInterrupt:
        print("nada: stopped; nothing half-done is left behind", file=sys.stderr)
        sys.exit(130)
    except zipfile.BadZipFile as error:
        fail(f"a downloaded wheel can't be unpacked: {error}", "Try again.")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            fail(f"the disk of {folder.parent} is full.", "Free some space, or name a folder on another disk: XDG_CACHE_HOME=FOLDER")
        fail(f"libtorch can't be put into {folder.parent}: {error}", "Name a folder that you may write to: XDG_CACHE_HOME=FOLDER")


main()
