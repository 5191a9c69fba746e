//! How much of the machine other processes use: Linux tells, elsewhere they are taken to use nothing.

use std::fs::read_to_string;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The kernel counts in hundredths of a second: shorter spans would tell little.
const SPAN: Duration = Duration::from_millis(100);

/// A reading of the kernel's counters, and what it said together with the one before.
struct Reading {
    at: Instant,
    others: u64,
    free: usize,
}

/// Cores that others left free in the last tenth of a second or more; one at least.
pub(super) fn free_cores() -> usize {
    static LAST: Mutex<Option<Reading>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = &*last
        && known.at.elapsed() < SPAN
    {
        return known.free;
    }
    let Some((cores, others)) = counters() else { return usize::MAX };
    let free = match &*last {
        Some(before) => {
            let span = before.at.elapsed().as_secs_f64() * TICKS;
            free(cores, others.saturating_sub(before.others) as f64 / span)
        }
        None => cores,
    };
    *last = Some(Reading { at: Instant::now(), others, free });
    free
}

/// `USER_HZ`, the unit of the kernel's counters, which is the same on every Linux.
const TICKS: f64 = 100.0;

/// What remains of `cores` when others use so many.
fn free(cores: usize, used: f64) -> usize {
    ((cores as f64 - used).round() as usize).max(1)
}

/// The number of cores, and ticks that other processes have computed for. Those that gave themselves a low priority
/// (`nice`) do not count: they yield.
fn counters() -> Option<(usize, u64)> {
    let (all, own) = (read_to_string("/proc/stat").ok()?, read_to_string("/proc/self/stat").ok()?);
    parse(&all, &own)
}

fn parse(all: &str, own: &str) -> Option<(usize, u64)> {
    let numbers = |text: &str| -> Vec<i64> {
        text.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect()
    };
    // cpu  user nice system idle iowait irq softirq steal …
    let mut lines = all.lines();
    let total = numbers(lines.next()?.strip_prefix("cpu ")?);
    let cores = lines.take_while(|line| line.starts_with("cpu")).count();
    let busy = total.first()? + total.get(2)? + total.iter().skip(5).take(3).sum::<i64>();
    // pid (name) state ppid …: the name may hold anything.
    let (_, own) = own.rsplit_once(") ")?;
    let own = numbers(own.get(2..)?);
    let (computed, nice) = (own.get(10)? + own.get(11)?, *own.get(15)?);
    let others = if nice > 0 { busy } else { busy - computed };
    Some((cores, others.max(0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_nice_time_does_not_count() {
        let all = "cpu  1000 500 200 9000 30 1 2 3 0 0\ncpu0 1 1\ncpu1 1 1\nintr 5\n";
        let own = |nice| {
            format!("7 (a) b) R 1 7 7 0 -1 4194304 90 0 0 0 300 50 0 0 20 {nice} 3 0 1 2 3\n")
        };
        assert_eq!(parse(all, &own(0)), Some((2, 1000 + 200 + 6 - 350)));
        assert_eq!(parse(all, &own(5)), Some((2, 1206)));
        assert_eq!(parse("", ""), None);
    }

    #[test]
    fn one_core_always_remains() {
        assert_eq!([0.0, 0.3, 0.6, 1.4, 7.0].map(|used| free(2, used)), [2, 2, 1, 1, 1]);
    }
}
