//! Ctrl-C and termination signals: the first asks the work to finish its step and save, the second ends it.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);
static INSTALL: Once = Once::new();

/// Starts to listen. `note` runs at the first signal.
pub(super) fn listen(note: impl Fn() + Send + 'static) {
    INSTALL.call_once(|| {
        // Without a handler the default action ends the process: nothing is lost but the last steps.
        let _ = ctrlc::set_handler(move || {
            if ASKED.swap(true, Ordering::SeqCst) {
                // The user insists; snapshots are written under another name first, so nothing breaks.
                #[allow(clippy::exit)]
                std::process::exit(130);
            }
            note();
        });
    });
}

/// Whether somebody asked to stop.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
