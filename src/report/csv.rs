//! The manifest as CSV, with one row per artifact.
//!
//! Quoted as in RFC 4180, with lines ended by CR LF, in the order of the manifest. Columns are only ever appended.
//! Fields contain text from compilers and distributions; a `'` is put before one that a spreadsheet would take for a
//! formula.

use std::io::{self, Write};

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

fn row(build: &BuildRecord, artifact: &ArtifactReport) -> [String; COLUMNS.len()] {
    fn text(value: Option<impl ToString>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let failure = artifact.failure.as_ref();
    let toolchain = build.toolchain.as_ref();
    let signature = artifact.signature.as_ref();
    // A probe has no symbols of the kernel.
    let proof = artifact.proof.as_ref();
    let module_tree = build.tree.filter(|_| artifact.artifact == Artifact::Module);
    [
        build.target.to_string(),
        build.kernel_release.to_string(),
        build.kernel_version.to_string(),
        build.architecture.to_string(),
        build.driver_version.to_string(),
        artifact.artifact.to_string(),
        artifact.status.to_string(),
        text(failure.map(|failure| failure.class)),
        text(failure.map(|failure| failure.phase)),
        text(failure.and_then(|failure| failure.first_error.as_ref())),
        text(failure.map(|Failure { message, .. }| message)),
        text(artifact.path.as_ref().map(|path| path.display())),
        text(artifact.sha256),
        text(artifact.size_bytes),
        text(artifact.vermagic.as_ref()),
        text(artifact.srcversion.as_ref()),
        text(artifact.key),
        text(toolchain.map(|toolchain| &toolchain.gcc_wanted)),
        text(toolchain.map(|toolchain| &toolchain.gcc_used)),
        text(toolchain.map(|toolchain| &toolchain.image)),
        text(toolchain.map(|toolchain| toolchain.image_sha256)),
        text(build.driver_sha256),
        text(artifact.log.as_ref().map(|path| path.display())),
        build.build_id.to_string(),
        text(module_tree.map(|tree| tree.symbols_checked)),
        text(build.tree.map(|tree| tree.host_programs.as_str())),
        text(proof.map(|proof| proof.result.as_str())),
        text(proof.map(|proof| &proof.message)),
        text(signature.map(|signature| signature.unsigned_sha256)),
        text(signature.map(|signature| signature.certificate_sha256)),
        text(
            artifact
                .double
                .as_ref()
                .map(|double| double.result.as_str()),
        ),
    ]
}
