//! Threads: samples of a batch are shared out among threads of our own, each with single-threaded operations.
//!
//! libtorch would rather split every operation among OpenMP's threads, which meet at a barrier after each of thousands
//! of tiny operations and spin while they wait. Beside one busy process a waiting thread then burns the time slice that
//! the other needs, and a command of half a minute takes ten. Here threads meet a few times in a step and sleep
//! meanwhile. Numbers do not depend on who computes what when: results are combined in the order of the samples.
//!
//! Work that has one sample only is left to OpenMP, on as many cores as nobody else is using just then ([`sparing`]).

use super::{catch, load};
use crate::error::Result;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tch::{Device, Tensor};

/// What [`set`] was told; 0 before.
static TOLD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this is one of our threads: what it does is not shared out once more.
    static WORKING: Cell<bool> = const { Cell::new(false) };
    /// Whether this is inside of [`narrow`].
    static NARROW: Cell<bool> = const { Cell::new(false) };
}

/// How many threads may compute at once; 0 leaves libtorch's choice.
pub fn set(threads: usize) {
    if threads > 0 {
        count();
        TOLD.store(threads, Ordering::Relaxed);
        use_in_operations(threads);
    }
}

/// How many threads may compute at once.
pub fn count() -> usize {
    /// Asked before anything here changes it.
    static LIBTORCH: OnceLock<usize> = OnceLock::new();
    match TOLD.load(Ordering::Relaxed) {
        0 => *LIBTORCH.get_or_init(operations),
        told => told,
    }
}

/// OpenMP's threads of the calling thread.
fn operations() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1)
}

fn use_in_operations(threads: usize) {
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
}

/// Things that several threads may look at, because they hold tensors and plain data only.
///
/// # Safety
/// No part may change behind a shared reference, but for what libtorch itself does when tensors are read or
/// differentiated: counts of references, versions and the accumulators of gradients are atomic or locked there. Whoever
/// implements this also keeps parameters unchanged while threads look at them.
#[allow(unsafe_code)]
pub unsafe trait Tensors {}

// SAFETY: tch itself lets another thread have a tensor (`Send`) while clones on the same memory stay where they were.
#[allow(unsafe_code)]
unsafe impl Tensors for Tensor {}
// SAFETY: as what they hold.
#[allow(unsafe_code)]
unsafe impl<T: Tensors> Tensors for Vec<T> {}
#[allow(unsafe_code)]
unsafe impl<T: Tensors> Tensors for Option<T> {}

/// A reference that other threads may have: tch does not say that tensors can be shared (`Sync`).
#[derive(Debug)]
pub struct Shared<'a, T: ?Sized>(&'a T);

// SAFETY: what `Tensors` promises.
#[allow(unsafe_code)]
unsafe impl<T: Tensors + ?Sized> Sync for Shared<'_, T> {}
#[allow(unsafe_code)]
unsafe impl<T: Tensors + ?Sized> Send for Shared<'_, T> {}

impl<'a, T: Tensors + ?Sized> Shared<'a, T> {
    /// Lends `tensors` to threads.
    pub fn new(tensors: &'a T) -> Self {
        Self(tensors)
    }

    /// The things themselves.
    pub fn get(&self) -> &'a T {
        self.0
    }
}

/// The parts of a batch of `n`: one for each thread on a CPU, as even as can be; all at once on a device that has its own
/// ways. Single samples would make numbers independent of the number of threads, but cost half as much again in small
/// networks, whose operations are too short then.
pub fn parts(device: Device, n: i64) -> Vec<Range<i64>> {
    let threads = if device == Device::Cpu { count() as i64 } else { 1 };
    let parts = threads.clamp(1, n.max(1));
    (0..parts).map(|i| n * i / parts..n * (i + 1) / parts).collect()
}

/// Sends a batch `[N, …]` through `work` in rows of at most `size`, several at once, without gradients, and joins what
/// comes out. Inside of [`narrow`], so that the numbers are the same whatever others do.
///
/// # Errors
/// As [`map`].
pub fn rows(
    doing: &str,
    batch: &Tensor,
    size: i64,
    work: impl Fn(&Tensor) -> Tensor + Sync,
) -> Result<Tensor> {
    let size = if batch.device() == Device::Cpu { size } else { batch.size()[0].max(1) };
    let work = |rows: Tensor| Ok(tch::no_grad(|| work(&rows)));
    let made = narrow(|| map(doing, batch.split(size, 0), work))?;
    Ok(Tensor::cat(&made, 0))
}

/// Computes every part, several at once, and gives the results in the order of `parts`.
///
/// # Errors
/// The first one of a part, in their order; a panic of libtorch is one.
pub fn map<P: Send, T: Send>(
    doing: &str,
    parts: Vec<P>,
    work: impl Fn(P) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    fold(doing, parts, work, Vec::new(), |mut all: Vec<T>, one| {
        all.push(one);
        all
    })
}

/// As [`map`], combining results in the order of `parts` as soon as it is their turn, so that few have to be kept.
///
/// # Errors
/// As [`map`].
pub fn fold<P: Send, T: Send, A: Send>(
    doing: &str,
    parts: Vec<P>,
    work: impl Fn(P) -> Result<T> + Sync,
    start: A,
    combine: impl Fn(A, T) -> A + Sync,
) -> Result<A> {
    let threads = if WORKING.get() { 1 } else { count() };
    let workers = threads.min(parts.len());
    if workers <= 1 {
        let each = |all, part| Ok(combine(all, work(part)?));
        let all = || catch(doing, || parts.into_iter().try_fold(start, each));
        // Inside of `narrow` the number is part of the result, so it is not left to what others do.
        return if NARROW.get() { with(threads, all) } else { sparing(all) };
    }
    let parts = Mutex::new(parts.into_iter().enumerate());
    let turn = Mutex::new(Turn { all: Some(start), done: 0, early: BTreeMap::new(), failed: None });
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                // A thread reads libtorch's default once, at its first use: told before that.
                use_in_operations(threads / workers);
                WORKING.set(true);
                loop {
                    let Some((i, part)) = lock(&parts).next() else { break };
                    let made = catch(doing, || work(part));
                    let mut turn = lock(&turn);
                    turn.take(i, made, |all, one| catch(doing, || Ok(combine(all, one))));
                    if turn.failed.is_some() {
                        break;
                    }
                }
            });
        }
    });
    let turn = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (turn.failed, turn.all) {
        (None, Some(all)) => Ok(all),
        (Some((_, error)), _) => Err(error),
        (None, None) => unreachable!("what is taken to be combined comes back, or has failed"),
    }
}

/// Nothing panics under these locks but [`catch`]'s own work.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is combined, and what came before its turn.
struct Turn<A, T> {
    all: Option<A>,
    done: usize,
    early: BTreeMap<usize, T>,
    failed: Option<(usize, crate::Error)>,
}

impl<A, T> Turn<A, T> {
    fn take(&mut self, i: usize, made: Result<T>, combine: impl Fn(A, T) -> Result<A>) {
        match made {
            Ok(one) => drop(self.early.insert(i, one)),
            Err(error) => self.fail(i, error),
        }
        while let Some(one) = self.early.remove(&self.done) {
            match self.all.take().map(|all| combine(all, one)) {
                Some(Ok(all)) => self.all = Some(all),
                Some(Err(error)) => self.fail(self.done, error),
                None => {}
            }
            self.done += 1;
        }
    }

    fn fail(&mut self, i: usize, error: crate::Error) {
        if self.failed.as_ref().is_none_or(|(first, _)| i < *first) {
            self.failed = Some((i, error));
        }
    }
}

/// Runs `work`, which cannot be split by samples, with operations on the cores that others leave free.
///
/// Results do not change by it as long as no weight learns: such gradients, sums over all pixels, are the only sums that
/// libtorch splits among threads. Trainings are [`narrow`] therefore.
pub fn sparing<T>(work: impl FnOnce() -> T) -> T {
    if WORKING.get() { work() } else { with(load::free_cores().min(count()), work) }
}

/// Runs `work`, tiny operations around a [`fold`], with one thread each. What is not split there, because there is one
/// sample only, has all threads, whatever others do: a training is to repeat bit for bit.
pub fn narrow<T>(work: impl FnOnce() -> T) -> T {
    count();
    let outer = NARROW.replace(true);
    let made = with(1, work);
    NARROW.set(outer);
    made
}

fn with<T>(threads: usize, work: impl FnOnce() -> T) -> T {
    let before = operations();
    if threads == before {
        return work();
    }
    use_in_operations(threads);
    let made = work();
    use_in_operations(before);
    made
}
