//! Ctrl-C and termination signals: the first asks the work to finish its step and save, the second ends it.
//!
//! A signal that was ignored when the program started stays ignored: so `nohup`, and scripts that run a command in the
//! background, ask for it.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);
static INSTALL: Once = Once::new();

/// Starts to listen. `note` runs at the first signal.
pub(super) fn listen(note: impl Fn() + Send + 'static) {
    INSTALL.call_once(|| {
        let heard = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal));
        // Without a handler the default action ends the process: nothing is lost but the last steps.
        let Ok(mut signals) = Signals::new(heard) else { return };
        let wait = move || {
            for _ in signals.forever() {
                if ASKED.swap(true, Ordering::SeqCst) {
                    // The user insists; snapshots are written under another name first, so nothing breaks.
                    #[allow(clippy::exit)]
                    std::process::exit(130);
                }
                note();
            }
        };
        let _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
    });
}

/// Whether somebody asked to stop.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Whether whoever started this program wanted the signal ignored.
// No crate asks without setting something, and what is set and put back could lose a signal between.
#[allow(unsafe_code)]
fn is_ignored(signal: i32) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null pointer for the new action only asks; the old one is written whole where 0 is returned.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), found.as_mut_ptr()) == 0
            && found.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
