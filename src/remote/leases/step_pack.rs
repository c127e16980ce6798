//! The pack of a single step, which replaces its lease.

use super::Learned;
use crate::digest::Sha256;
use crate::remote::keys::Trust;
use crate::remote::pack::{self, Line, Writer};

/// Returns the outcome of the step with this key, if the pack is trusted.
pub(super) fn open_step(key: Sha256, content: &[u8], trust: &Trust) -> Result<Learned, String> {
    let lines = pack::open(content, trust).map_err(|error| error.to_string())?;
    let mut text = None;
    let mut contents = Vec::new();
    pack::read(&lines, |line| match line {
        Line::Outcome(of, range) if of == key => text = Some(lines[range].to_vec()),
        Line::Content(content, size_bytes) => contents.push((content, size_bytes)),
        Line::Outcome(..) | Line::Record(..) => {}
    })
    .map_err(|error| error.to_string())?;
    let text = text.ok_or_else(|| "it has no outcome of its key".to_owned())?;
    Ok(Learned { text, contents })
}

/// Returns the pack of a step.
pub(super) fn pack_step(
    key: Sha256,
    text: &[u8],
    contents: &[(Sha256, u64)],
    trust: &Trust,
) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new()?;
    writer.outcome(key, text)?;
    for &(content, size_bytes) in contents {
        writer.content(content, size_bytes)?;
    }
    writer.finish(trust)
}
