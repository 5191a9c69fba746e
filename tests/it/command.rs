//! Runs the real `nada`, and says what it answered.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails unless the command succeeded.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Fails unless the command was refused with this code and all of these words, and without a panic.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        let text = &self.stderr;
        assert_eq!(self.code, code, "{text}");
        assert!(text.lines().any(|line| line.starts_with("error: ")), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
        self
    }
}

/// `nada` in a folder of its own: one thread, no models of the user's.
pub(crate) fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nada"));
    command
        .args(args)
        .current_dir(folder)
        .env("OMP_NUM_THREADS", "1")
        .env("NADA_MODELS", folder.join("no-models"))
        .env_remove("NADA_CHECKPOINTS")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn nada(folder: &Path, args: &[&str]) -> Ran {
    let output = command(folder, args).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Everything in a folder, sorted, relative to it.
pub(crate) fn listing(folder: &Path) -> Vec<PathBuf> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(root).unwrap().to_path_buf());
            if path.is_dir() {
                walk(root, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}
