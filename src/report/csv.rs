//! The manifest as CSV, with one row per artifact.
//!
//! Quoted as in RFC 4180, with lines ended by CR LF, in the order of the manifest. Columns are only ever appended.
//! Fields contain text from compilers and distributions; a `'` is put before one that a spreadsheet would take for a
//! formula.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;

use ::csv::{Terminator, WriterBuilder};

use super::Manifest;
use super::manifest::BuildRecord;
use crate::driver::Artifact;
use crate::event::ArtifactReport;
use crate::failure::Failure;
use crate::text::no_formula;

/// The names of the columns, in order.
pub const COLUMNS: [&str; 31] = [
    "target",
    "kernel_release",
    "kernel_version",
    "architecture",
    "driver_version",
    "artifact",
    "status",
    "class",
    "phase",
    "first_error",
    "message",
    "path",
    "sha256",
    "size_bytes",
    "vermagic",
    "srcversion",
    "key",
    "gcc_wanted",
    "gcc_used",
    "image",
    "image_sha256",
    "driver_sha256",
    "log",
    "build_id",
    "symbols_checked",
    "host_programs",
    "proof",
    "proof_message",
    "unsigned_sha256",
    "certificate_sha256",
    "double",
];

/// Writes the header and a row for each artifact of a sorted manifest.
pub fn write_csv(manifest: &Manifest, writer: impl Write) -> io::Result<()> {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(writer);
    writer.write_record(COLUMNS)?;
    for build in &manifest.builds {
        for artifact in &build.artifacts {
            for field in &row(build, artifact) {
                writer.write_field(&*no_formula(field))?;
            }
            writer.write_record(None::<&[u8]>)?;
        }
    }
    writer.flush()
}

fn row<'a>(build: &'a BuildRecord, artifact: &'a ArtifactReport) -> [Cow<'a, str>; COLUMNS.len()] {
    fn text<'a>(value: Option<impl ToString>) -> Cow<'a, str> {
        value
            .map(|value| value.to_string().into())
            .unwrap_or_default()
    }
    fn word(value: Option<&(impl AsRef<str> + ?Sized)>) -> Cow<'_, str> {
        value.map(|value| value.as_ref().into()).unwrap_or_default()
    }
    fn path(value: Option<&PathBuf>) -> Cow<'_, str> {
        value.map(|path| path.to_string_lossy()).unwrap_or_default()
    }
    let failure = artifact.failure.as_ref();
    let toolchain = build.toolchain.as_ref();
    let signature = artifact.signature.as_ref();
    let double = artifact.double.as_ref();
    // A probe has no symbols of the kernel.
    let proof = artifact.proof.as_ref();
    let module_tree = build.tree.filter(|_| artifact.artifact == Artifact::Module);
    [
        build.target.as_str().into(),
        build.kernel_release.as_str().into(),
        build.kernel_version.as_str().into(),
        build.architecture.as_str().into(),
        build.driver_version.as_str().into(),
        artifact.artifact.as_str().into(),
        artifact.status.as_str().into(),
        text(failure.map(|failure| failure.class)),
        text(failure.map(|failure| failure.phase)),
        text(failure.and_then(|failure| failure.first_error.as_ref())),
        word(failure.map(|Failure { message, .. }| message)),
        path(artifact.path.as_ref()),
        text(artifact.sha256),
        text(artifact.size_bytes),
        word(artifact.vermagic.as_ref()),
        word(artifact.srcversion.as_ref()),
        text(artifact.key),
        word(toolchain.map(|toolchain| &toolchain.gcc_wanted)),
        word(toolchain.map(|toolchain| &toolchain.gcc_used)),
        word(toolchain.map(|toolchain| &toolchain.image)),
        text(toolchain.map(|toolchain| toolchain.image_sha256)),
        text(build.driver_sha256),
        path(artifact.log.as_ref()),
        build.build_id.as_str().into(),
        text(module_tree.map(|tree| tree.symbols_checked)),
        word(build.tree.map(|tree| tree.host_programs.as_str())),
        word(proof.map(|proof| proof.result.as_str())),
        word(proof.map(|proof| &proof.message)),
        text(signature.map(|signature| signature.unsigned_sha256)),
        text(signature.map(|signature| signature.certificate_sha256)),
        word(double.map(|double| double.result.as_str())),
    ]
}
