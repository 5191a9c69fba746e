//! `--device` and `--threads`: where a command computes.

use crate::error::Result;
use crate::torch::{self, threads};
use clap::Args;
use tch::Device;

/// The options.
#[derive(Debug, Clone, Args)]
pub(super) struct MachineArgs {
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Machine")]
    device: String,
    /// CPU threads; 0 lets libtorch choose
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Machine")]
    threads: usize,
}

impl MachineArgs {
    /// Sets the threads; what `auto` stands for is decided here.
    ///
    /// # Errors
    /// As [`torch::device`].
    pub(super) fn device(&self) -> Result<Device> {
        threads::set(self.threads);
        torch::device(&self.device)
    }
}
