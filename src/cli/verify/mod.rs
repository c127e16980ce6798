//! `verify`: checks drivers against their manifest, index, attestation and signature.

mod checks;
mod place;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use self::checks::{Checked, Outcome, PublishedIndex, Subject, Verifier, module_signature};
use self::place::{Place, is_http};
use super::destination::new_runtime;
use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus};
use crate::attest::{PublicKey, compare};
use crate::driver::Artifact;
use crate::publish::INDEX_FILE;
use crate::report::{Difference, DifferenceKind, differences, manifest_file, read_manifest};
use crate::resolve::said_while_busy;
use crate::sign::Certificate;
use crate::text::count;

/// The version of the JSON output.
const SCHEMA: u32 = 1;

/// The number of artifacts of a destination that are checked concurrently.
const AT_ONCE: usize = 8;

/// Check drivers: artifact, index, attestation and module signature
///
/// PLACE is an output directory, which is compared with its manifest; or a published destination or one of its
/// artifacts: a directory, a file, or a URL (`https://`, `http://`, `s3://`, `gs://`, `az://`, `file://`). Exit code
/// 1 if anything is wrong or nothing could be checked.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// Output directory, artifact or destination
    #[arg(value_name = "PLACE", default_value = "out")]
    place: PathBuf,
    /// Public key of attestations (PEM: Ed25519, ECDSA on P-256, RSA); repeatable, one has to match. Every artifact
    /// then needs an attestation
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    key: Vec<PathBuf>,
    /// Certificate of the key that signed the modules (PEM or DER). Every module then needs a signature
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    certificate: Option<PathBuf>,
    #[command(flatten)]
    format: AnswerFormat,
}

impl VerifyArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let keys = self.key.iter().map(|path| PublicKey::read(path));
        let keys: Vec<PublicKey> = keys
            .collect::<Result<_, _>>()
            .map_err(|error| CliError::input(error.to_string()))?;
        if let Some(certificate) = &self.certificate {
            let read = Certificate::read(certificate, Timestamp::now());
            let read = new_runtime()?.block_on(read);
            read.map_err(|error| CliError::Input {
                message: error.message,
                help: error.help,
            })?;
        }
        let text = self.place.to_string_lossy();
        if !text.contains("://") && !self.place.is_file() {
            let has = |name: &str| self.place.join(name).exists();
            if manifest_file(&self.place).exists() || !has(INDEX_FILE) {
                return self.execute_out(context, &keys);
            }
        }
        let (base, name) = split_place(&self.place)?;
        let place = Place::open(context, &base)?;
        let line = || format!("checking {}", place.shown());
        let runtime = new_runtime()?;
        let checked = said_while_busy(context, line, || {
            runtime.block_on(self.check(&place, name, keys))
        });
        self.tell(context, &checked?)
    }

    async fn check(
        &self,
        place: &Place,
        name: Option<String>,
        keys: Vec<PublicKey>,
    ) -> Result<Vec<Checked>, CliError> {
        let index = PublishedIndex::read(place).await?;
        let names = match (&name, &index) {
            (Some(name), _) => vec![name.clone()],
            (None, Some(read)) => read.index.artifacts.keys().cloned().collect(),
            (None, None) => Vec::new(),
        };
        if names.is_empty() {
            return Err(CliError::Input {
                message: format!("nothing is published at {}", place.shown()),
                help: Some("name an artifact, or a destination that `publish` wrote to".to_owned()),
            });
        }
        let verifier = Verifier {
            place: place.clone(),
            index,
            keys,
            certificate: self.certificate.clone(),
        };
        futures_util::stream::iter(&names)
            .map(|name| verifier.check(name))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    fn tell(&self, context: &Context, checked: &[Checked]) -> Result<ExitStatus, CliError> {
        let is_bad = |one: &Checked| one.has(Outcome::Failed) || !one.has(Outcome::Passed);
        if self.format.is_json() {
            print_json(&serde_json::json!({ "schema": SCHEMA, "artifacts": checked }))?;
        } else {
            // For a whole destination, only problems are shown.
            let shown = checked
                .iter()
                .filter(|one| checked.len() == 1 || is_bad(one));
            print(&shown.map(draw).collect::<String>())?;
        }
        if checked.len() > 1 {
            context.notice(&totals(checked));
        }
        Ok(if checked.iter().any(is_bad) {
            ExitStatus::Incomplete
        } else {
            ExitStatus::Success
        })
    }

    /// Compares an output directory with its manifest.
    fn execute_out(&self, context: &Context, keys: &[PublicKey]) -> Result<ExitStatus, CliError> {
        let out = &self.place;
        let line = || format!("comparing {} with its manifest", out.display());
        let found = said_while_busy(context, line, || self.differences(keys));
        let found = found?;
        if self.format.is_json() {
            print_json(&found)?;
        } else if found.is_empty() {
            print("all files match the manifest\n")?;
        }
        if found.is_empty() {
            return Ok(ExitStatus::Success);
        }
        if !self.format.is_json() {
            for difference in &found {
                print(&line_of(difference))?;
            }
            context.notice(&count(found.len(), "difference"));
        }
        Ok(ExitStatus::Incomplete)
    }

    fn differences(&self, keys: &[PublicKey]) -> Result<Vec<Difference>, CliError> {
        let out = &self.place;
        let manifest = read_manifest(out)?;
        let mut found = differences(out, &manifest)?;
        for (path, message) in compare(out, &manifest, keys)? {
            let kind = DifferenceKind::Attestation { message };
            found.push(Difference { path, kind });
        }
        let Some(certificate) = &self.certificate else {
            return Ok(found);
        };
        let artifacts = manifest.builds.iter().flat_map(|build| &build.artifacts);
        let modules = artifacts.filter(|one| one.artifact == Artifact::Module);
        let runtime = new_runtime()?;
        for path in modules.filter_map(|module| module.path.as_ref()) {
            // A missing module is already reported as a difference.
            let Ok(module) = crate::fs::read_file(&out.join(path)) else {
                continue;
            };
            let checked = runtime.block_on(module_signature(&module, certificate))?;
            if let Err(message) = checked {
                let kind = DifferenceKind::ModuleSignature { message };
                let path = path.clone();
                found.push(Difference { path, kind });
            }
        }
        Ok(found)
    }
}

fn line_of(difference: &Difference) -> String {
    let path = difference.path.display();
    match &difference.kind {
        DifferenceKind::Missing => format!("{path}: missing\n"),
        DifferenceKind::DifferentDigest {
            expected,
            found: Some(found),
        } => format!("{path}: different digest: {found}, expected {expected}\n"),
        DifferenceKind::DifferentDigest { found: None, .. } => {
            format!("{path}: different digest: it is not a regular file\n")
        }
        DifferenceKind::NotInManifest => format!("{path}: not in the manifest\n"),
        DifferenceKind::Attestation { message } => format!("{path}: attestation: {message}\n"),
        DifferenceKind::ModuleSignature { message } => {
            format!("{path}: module signature: {message}\n")
        }
    }
}

/// Splits a place into its root, and the name of the artifact if it is one.
fn split_place(place: &Path) -> Result<(String, Option<String>), CliError> {
    let text = place.to_string_lossy().into_owned();
    let is_artifact = |name: &str| [".ko", ".o"].iter().any(|end| name.ends_with(end));
    if !text.contains("://") {
        if !place.is_file() {
            return Ok((text, None));
        }
        let path = std::path::absolute(place).map_err(crate::fs::FileError::of("find", place))?;
        let published = path.ancestors().nth(3);
        let published = published.filter(|root| root.join(INDEX_FILE).exists());
        let root = published.or_else(|| path.parent()).unwrap_or(&path);
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
        return Ok((root.to_string_lossy().into_owned(), Some(name.into_owned())));
    }
    let end = if is_http(&text) {
        text.find(['?', '#'])
    } else {
        None
    };
    let path = text[..end.unwrap_or(text.len())].trim_end_matches('/');
    let mut parts = path.rsplitn(4, '/');
    let (Some(name), Some(machine), Some(driver), Some(root)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok((path.to_owned(), None));
    };
    if !is_artifact(name) {
        return Ok((path.to_owned(), None));
    }
    let name = format!("{driver}/{machine}/{name}");
    let name = if is_http(&text) {
        let decoded = percent_encoding::percent_decode_str(&name).decode_utf8();
        decoded
            .map_err(|_| CliError::input("invalid URL: its path is not UTF-8"))?
            .into_owned()
    } else {
        name
    };
    Ok((root.to_owned(), Some(name)))
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Failed => "FAILED",
        Outcome::Passed => "ok",
        Outcome::NotChecked => "not checked",
    }
}

fn draw(one: &Checked) -> String {
    let mut text = format!("{}\n", one.name);
    for check in &one.checks {
        let (what, outcome) = (check.subject.as_str(), word(check.result));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {what:<16}  {outcome:<11}  {}", check.detail);
    }
    text
}

/// Returns the number of results by check: `3 artifacts; attestation: 2 ok, 1 FAILED; ...`.
fn totals(checked: &[Checked]) -> String {
    let mut results: BTreeMap<(Subject, Outcome), usize> = BTreeMap::new();
    for check in checked.iter().flat_map(|one| &one.checks) {
        *results.entry((check.subject, check.result)).or_default() += 1;
    }
    let mut text = count(checked.len(), "artifact");
    let mut last = None;
    for ((subject, outcome), number) in results {
        let separator = if last == Some(subject) { ", " } else { "; " };
        text += separator;
        if last != Some(subject) {
            let _ = write!(text, "{}: ", subject.as_str());
        }
        let _ = write!(text, "{number} {}", word(outcome));
        last = Some(subject);
    }
    text
}
