//! The only place that smooths tch: devices, threads, panics turned into errors.

mod load;
pub mod threads;

use crate::error::{Error, Result};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tch::{Device, Kind, Tensor};

/// Tensors by name, in the order of their names (tch's own store has a random order).
pub type TensorMap = BTreeMap<String, Tensor>;

/// Shapes by name: what a model needs, or what a file offers.
pub type ShapeMap = BTreeMap<String, Vec<i64>>;

/// The version of libtorch that this build was made for; `scripts/libtorch` installs the same.
pub const LIBTORCH_VERSION: &str = "2.11.0";

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Runs tensor code and turns a panic of tch into [`Error::Torch`] or [`Error::OutOfMemory`].
///
/// tch's operators panic on error; its fallible twins (`f_…`) would make the maths unreadable. So models are
/// written with the plain operators, and the four outer boundaries (load, encode, step, sample) go through here.
///
/// # Errors
/// Whatever `work` returns, or what it panicked with.
pub fn catch<T>(doing: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    install_quiet_hook();
    let outer = CATCHING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    outcome.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown panic");
        Err(from_panic(doing, text))
    })
}

fn from_panic(doing: &str, text: &str) -> Error {
    let lower = text.to_lowercase();
    if lower.contains("out of memory")
        || lower.contains("can't allocate memory")
        || lower.contains("bad_alloc")
    {
        return Error::OutOfMemory { doing: doing.to_owned() };
    }
    // `called Result::unwrap() on an Err value: Torch("the message\nException raised from …")`
    let inner = text.split_once("Torch(\"").map_or(text, |(_, rest)| rest);
    let line = inner.split("\\n").next().unwrap_or(inner).lines().next().unwrap_or(inner);
    Error::Torch { doing: doing.to_owned(), message: line.trim_end_matches("\")").to_owned() }
}

/// Keeps the default hook from printing a backtrace for panics that [`catch`] handles.
fn install_quiet_hook() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                default(info);
            }
        }));
    });
}

/// Reads `auto`, `cpu`, `cuda`, `cuda:N` or `mps`, and makes sure that it can be used.
///
/// # Errors
/// [`Error::Device`] when it is not there, [`Error::Request`] when it is no device at all.
pub fn device(asked: &str) -> Result<Device> {
    let lacking =
        |reason: &str| Error::Device { asked: asked.to_owned(), reason: reason.to_owned() };
    match asked {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(if load_cuda().is_ok() { Device::Cuda(0) } else { Device::Cpu }),
        "mps" if tch::utils::has_mps() => Ok(Device::Mps),
        "mps" => Err(lacking("this libtorch has no Metal support")),
        _ => {
            let number = match asked.strip_prefix("cuda") {
                Some("") => Some(0),
                Some(rest) => rest.strip_prefix(':').and_then(|n| n.parse::<usize>().ok()),
                None => None,
            };
            let number = number.ok_or_else(|| {
                Error::request(
                    format!("`{asked}` is no device"),
                    "use `auto`, `cpu`, `cuda`, `cuda:N` or `mps`",
                )
            })?;
            load_cuda().map_err(|reason| lacking(&reason))?;
            let count = tch::Cuda::device_count();
            if number as i64 >= count {
                return Err(lacking(&format!("there are {count} CUDA devices, counted from 0")));
            }
            Ok(Device::Cuda(number))
        }
    }
}

/// Makes CUDA usable by a binary that links the CPU libraries only: loads `libtorch_cuda.so` when it lies where
/// the dynamic linker looks (beside `libtorch_cpu.so`, or in `LD_LIBRARY_PATH`). The message says why it cannot.
#[allow(unsafe_code)]
fn load_cuda() -> std::result::Result<(), String> {
    if tch::Cuda::is_available() {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: loading runs the library's initialisers, which register its kernels with the libtorch already
        // loaded; it is the vendor's own library of the same version, found by the system's linker.
        let loaded = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
        match loaded {
            // The kernels must stay for the life of the process.
            Ok(library) => std::mem::forget(library),
            Err(_) => {
                return Err(
                    "this libtorch was installed for the CPU only (no `libtorch_cuda.so`)".into()
                );
            }
        }
    }
    if tch::Cuda::is_available() { Ok(()) } else { Err("no CUDA GPU or driver was found".into()) }
}

/// A name for messages and manifests: `cpu`, `cuda:0` …
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => "cpu".into(),
        Device::Cuda(n) => format!("cuda:{n}"),
        Device::Mps => "mps".into(),
        Device::Vulkan => "vulkan".into(),
    }
}

/// Makes the allocator keep freed memory for the next tensor instead of returning it to the system.
///
/// glibc maps every large tensor anew, and the kernel fills it with zeros page by page. Kept, a step at 256 px
/// takes about 0.65 of the CPU time (8.7 s to 5.5 s, one thread) and a sixth more memory at its peak. For programs; a library should not decide this for its host. Nothing happens where
/// the allocator is another, or where the user chose (`MALLOC_MMAP_MAX_`, `MALLOC_TRIM_THRESHOLD_`).
#[allow(unsafe_code)]
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        // <malloc.h>: no blocks of their own for large requests, no trimming of the heap (-1 is "never"), and one heap
        // for all threads: what one has freed serves the next.
        const SETTINGS: [(&str, c_int, c_int); 3] = [
            ("MALLOC_MMAP_MAX_", -4, 0),
            ("MALLOC_TRIM_THRESHOLD_", -1, -1),
            ("MALLOC_ARENA_MAX", -8, 1),
        ];
        for (variable, parameter, value) in SETTINGS {
            if std::env::var_os(variable).is_none() {
                // SAFETY: glibc's own function with documented parameters; it locks the heap while it sets them.
                unsafe { mallopt(parameter, value) };
            }
        }
    }
}

/// Copies every tensor to `kind` on `device`, detached, each with its own memory.
pub fn copy_map(tensors: &TensorMap, device: Device, kind: Kind) -> TensorMap {
    tensors
        .iter()
        .map(|(name, t)| (name.clone(), t.detach().to_device(device).to_kind(kind).copy()))
        .collect()
}

/// The names and shapes of `tensors`.
pub fn shapes(tensors: &TensorMap) -> ShapeMap {
    tensors.iter().map(|(name, t)| (name.clone(), t.size())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_of_tch_become_errors_with_one_line() {
        let e = catch("adding", || {
            Ok(Tensor::zeros([2], (Kind::Float, Device::Cpu))
                + Tensor::zeros([3], (Kind::Float, Device::Cpu)))
        })
        .unwrap_err();
        let text = e.to_string();
        assert!(
            text.starts_with("libtorch failed during adding: The size of tensor a (2)"),
            "{text}"
        );
        assert!(!text.contains('\n'));
    }

    #[test]
    fn an_unknown_device_is_a_wrong_request() {
        assert_eq!(device("gpu9").unwrap_err().exit_code(), 2);
        assert_eq!(device("cpu").unwrap(), Device::Cpu);
    }
}
