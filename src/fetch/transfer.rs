//! A download that goes on where it ended: tries, pauses, and what each answer of a server means.

use super::client::{Answer, Client, Trouble, words};
use super::part::Part;
use super::{Event, Settings, Watcher, Weights};
use crate::error::{Error, Result};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// A try that brought fewer bytes counts as one that brought none.
const PROGRESS: u64 = 64 << 10;
/// No pause is longer.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Room that is left on the disk.
const SPARE: u64 = 16 << 20;

type Step<T> = std::result::Result<T, Trouble>;

/// One file to bring.
pub(super) struct Job<'a> {
    pub(super) weights: &'a Weights,
    pub(super) address: &'a str,
    /// Where it will lie.
    pub(super) path: &'a Path,
    pub(super) settings: &'a Settings,
}

impl Job<'_> {
    /// Fills the part to the end.
    pub(super) fn run(
        &self,
        client: &Client,
        part: &mut Part,
        watcher: &mut dyn Watcher,
    ) -> Result<()> {
        let mut in_vain = 0;
        loop {
            let before = part.len();
            let (why, asked) = match self.attempt(client, part, watcher) {
                Ok(()) => return Ok(()),
                Err(Trouble::Ours(error)) => return Err(error),
                Err(Trouble::Lasting(why, hint)) => {
                    return Err(hint.map_or_else(
                        || self.failed(&why, ""),
                        |hint| Error::file_hint(self.path, self.story(&why), hint),
                    ));
                }
                Err(Trouble::Passing(why, pause)) => (why, pause),
            };
            in_vain = if part.len() >= before.saturating_add(PROGRESS) { 1 } else { in_vain + 1 };
            if in_vain >= self.settings.tries {
                let kept = match part.len() {
                    0 => String::new(),
                    n => format!("{n} bytes are kept: the same command goes on from there"),
                };
                return Err(self.failed(&why, &kept));
            }
            let doubled = self.settings.pause.saturating_mul(1 << (in_vain - 1).min(16));
            let pause = asked.unwrap_or(doubled).min(MAX_PAUSE);
            watcher.event(Event::Retry { why: &why, pause });
            rest(pause, watcher)?;
        }
    }

    /// An error that says what to do without this program's network.
    pub(super) fn failed(&self, why: &str, first: &str) -> Error {
        let first = if first.is_empty() { String::new() } else { format!("{first}; or ") };
        Error::file_hint(
            self.path,
            self.story(why),
            format!(
                "{first}fetch {} in another way and put it at `{}`: the same command then checks it",
                self.address,
                self.path.display()
            ),
        )
    }

    fn story(&self, why: &str) -> String {
        format!("could not be fetched from {}: {why}", self.address)
    }

    fn attempt(&self, client: &Client, part: &mut Part, watcher: &mut dyn Watcher) -> Step<()> {
        if watcher.stopped() {
            return Err(Error::Interrupted.into());
        }
        let from = part.len();
        let answer = client.get(self.address, from, part.version.validator.as_deref())?;
        match (answer.status, answer.range) {
            (200, _) => {
                if from > 0 {
                    part.clear()?;
                    watcher.event(Event::Restart("the server sends the whole file"));
                }
                let total = answer.length;
                self.receive(answer, part, total, watcher)
            }
            (206, (Some(first), total)) if from > 0 && first == from => {
                let total = total.or(answer.length.and_then(|rest| rest.checked_add(from)));
                let known = part.version.total;
                if known.is_some() && total.is_some() && known != total {
                    return self.again(part, "the file on the server has another length now");
                }
                self.receive(answer, part, total.or(known), watcher)
            }
            (206, _) => self.again(part, "the server sent another part than was asked for"),
            (416, (_, total)) if from > 0 => match total.or(part.version.total) {
                Some(total) if total == from => Ok(()),
                _ => self.again(part, "the server says that what is there is too long"),
            },
            (408 | 425 | 429 | 500 | 502 | 503 | 504, _) => {
                let why = format!("the server answers {}", answer.status);
                Err(Trouble::Passing(why, answer.retry_after))
            }
            (status @ (401 | 403), _) => Err(Trouble::Lasting(
                format!("the server answers {status}: it wants a login, or refuses this network"),
                None,
            )),
            (status @ (404 | 410), _) => Err(Trouble::Lasting(
                format!("the server answers {status}: the file is not there (any more)"),
                None,
            )),
            (status, _) => Err(Trouble::Lasting(format!("the server answers {status}"), None)),
        }
    }

    /// Drops what is there, and has it tried again.
    fn again(&self, part: &mut Part, why: &str) -> Step<()> {
        part.clear()?;
        Err(Trouble::Passing(why.into(), None))
    }

    /// Writes a body to the end of the part.
    fn receive(
        &self,
        answer: Answer,
        part: &mut Part,
        total: Option<u64>,
        watcher: &mut dyn Watcher,
    ) -> Step<()> {
        let most = self.weights.most_bytes();
        let too_long = |n: u64| {
            let why = format!(
                "the server sends {n} bytes, but about {} MB were expected",
                self.weights.megabytes
            );
            Trouble::Lasting(why, Some("it is another file: try a mirror with `--base-url`"))
        };
        if let Some(total) = total.filter(|&total| total > most) {
            return Err(too_long(total));
        }
        let missing =
            total.unwrap_or(self.weights.megabytes * 1_000_000).saturating_sub(part.len());
        self.check_space(missing)?;
        part.begin(answer.validator, total)?;
        let mut body = answer.body;
        let mut buffer = vec![0; 256 << 10];
        loop {
            watcher.event(Event::Bytes { done: part.len(), total });
            if watcher.stopped() {
                return Err(Error::Interrupted.into());
            }
            let n = match body.read(&mut buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Trouble::Passing(words(&e), None)),
            };
            if n == 0 {
                break;
            }
            part.add(&buffer[..n])?;
            if part.len() > most || total.is_some_and(|total| part.len() > total) {
                let n = part.len();
                part.clear()?;
                return Err(too_long(n));
            }
        }
        match total {
            Some(total) if part.len() < total => {
                Err(Trouble::Passing("the connection was cut".into(), None))
            }
            _ => Ok(()),
        }
    }

    fn check_space(&self, missing: u64) -> Result<()> {
        let folder = self.path.parent().unwrap_or(self.path);
        // Where the system does not tell, the write will.
        let Ok(free) = fs4::available_space(folder) else { return Ok(()) };
        if missing.saturating_add(SPARE) <= free {
            return Ok(());
        }
        Err(Error::file_hint(
            self.path,
            format!(
                "{} MB more are needed, but only {} MB are free on its disk",
                missing.div_ceil(1_000_000),
                free / 1_000_000
            ),
            "make room, or use another folder with `--models-dir DIR`",
        ))
    }
}

/// Waits, but not when somebody asks to stop.
fn rest(pause: Duration, watcher: &dyn Watcher) -> Result<()> {
    let end = Instant::now() + pause;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if watcher.stopped() {
            return Err(Error::Interrupted);
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(())
}
