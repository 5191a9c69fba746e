//! Where a CLIP's [`Traits`] stand: in the file's own metadata, or in the configuration beside it.

use crate::checkpoint::Checkpoint;
use crate::clip::Traits;
use crate::error::{Error, IoContext, Result};
use std::path::Path;

/// A configuration is a page of text.
const MAX_BYTES: u64 = 1 << 20;

/// How a publisher's files are called: weights beginning so have their configuration in the second.
const BESIDE: &[(&str, &str)] = &[
    ("open_clip_", "open_clip_config.json"),
    ("model.", "config.json"),
    ("pytorch_model.", "config.json"),
];

/// The traits of a CLIP's file, and what was taken for granted, if anything was.
///
/// # Errors
/// [`Error::File`] about the configuration, or the metadata, that cannot be used.
pub(super) fn find(file: &Checkpoint) -> Result<(Traits, Option<String>)> {
    let own = Traits::from_metadata(&file.metadata).map_err(|why| Error::file(&file.path, why))?;
    let name = file.path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
    let Some((_, config)) = BESIDE.iter().find(|(start, _)| name.starts_with(start)) else {
        return Ok((own, None));
    };
    let path = file.path.with_file_name(config);
    if let Some(stated) = read(&path)? {
        return Ok((own.or(stated), None));
    }
    let note = format!(
        "`{name}` has no `{config}` beside it, so QuickGELU is used, as in OpenAI's models; LAION's and others need theirs"
    );
    Ok((own, Some(note).filter(|_| own.activation.is_none())))
}

/// What a configuration states; `None` when it is not there, or about something else.
fn read(path: &Path) -> Result<Option<Traits>> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).while_doing("read", path),
        Ok(about) if about.len() > MAX_BYTES => {
            return Err(Error::file(path, format!("has {} bytes, no configuration", about.len())));
        }
        Ok(_) => {}
    }
    let text = crate::regular::text(path, "a configuration")?;
    Traits::from_json(&text).map_err(|why| {
        Error::file_hint(
            path,
            why,
            "it describes the CLIP beside it: fetch it again, or use another model",
        )
    })
}
