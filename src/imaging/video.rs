//! MP4 by ffmpeg, where it is on the path: it is not linked, so nobody needs it for anything else.

use crate::error::{Error, IoContext, Result};
use image::RgbImage;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A video that is being written. Dropped before [`Video::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Video {
    ffmpeg: Child,
    path: PathBuf,
    part: tempfile::TempPath,
    size: (u32, u32),
}

/// Whether ffmpeg is on the path.
///
/// # Errors
/// [`Error::Request`] when it is not.
pub fn check_ffmpeg() -> Result<()> {
    let quiet =
        Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match quiet {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Error::request(
            "MP4 is written by ffmpeg, which is not on the path",
            "install ffmpeg, or end the name in `.gif` or `.png` (animated PNG)",
        )),
    }
}

impl Video {
    /// Begins a video of H.264 at `path`, with frames of `size` (width, height).
    ///
    /// # Errors
    /// As [`check_ffmpeg`]; [`Error::Io`].
    pub fn create(path: &Path, size: (u32, u32), fps: u32) -> Result<Self> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let part = tempfile::Builder::new().prefix(".video.").suffix(".mp4").tempfile_in(folder);
        let part = part.while_doing("write", path)?.into_temp_path();
        let ffmpeg = Command::new("ffmpeg")
            .args(["-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"])
            .args(["-s", &format!("{}x{}", size.0, size.1), "-r", &fps.to_string(), "-i", "-"])
            // Colour is kept for every second pixel, so both sides must be even.
            .args(["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-crf", "16"])
            .args(["-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"])
            .arg(&part)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let ffmpeg = ffmpeg.or_else(|_| {
            check_ffmpeg()?;
            Err(failed(path, "it could not be started"))
        })?;
        Ok(Self { ffmpeg, path: path.into(), part, size })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// [`Error::File`] with ffmpeg's words when it gave up.
    pub fn push(&mut self, frame: &RgbImage) -> Result<()> {
        if frame.dimensions() != self.size {
            return Err(failed(&self.path, "its frames have different sizes"));
        }
        let pipe = self.ffmpeg.stdin.as_mut().expect("it was piped");
        if pipe.write_all(frame.as_raw()).is_err() {
            return Err(self.gave_up());
        }
        Ok(())
    }

    /// Ends the video and gives it its name.
    ///
    /// # Errors
    /// As [`Video::push`]; [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        drop(self.ffmpeg.stdin.take());
        match self.ffmpeg.wait() {
            Ok(status) if status.success() => {}
            _ => return Err(self.gave_up()),
        }
        self.part.persist(&self.path).map_err(|e| e.error).while_doing("write", &self.path)
    }

    fn gave_up(&mut self) -> Error {
        drop(self.ffmpeg.stdin.take());
        let mut words = String::new();
        if let Some(pipe) = self.ffmpeg.stderr.as_mut() {
            let _ = pipe.take(4096).read_to_string(&mut words);
        }
        let _ = self.ffmpeg.wait();
        failed(&self.path, words.lines().next().unwrap_or("it said nothing"))
    }
}

fn failed(path: &Path, why: &str) -> Error {
    Error::file_hint(
        path,
        format!("ffmpeg could not write it: {why}"),
        "end the name in `.gif` or `.png` (animated PNG)",
    )
}
