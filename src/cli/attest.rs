//! `attest`, and what `run` does for an `[attestation]`: writes an attestation beside each artifact.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use url::Url;

use super::destination::new_runtime;
use super::output::{AnswerFormat, print_json};
use super::{CliError, Context, ExitStatus};
use crate::attest::{AttestError, Attested, Attester, DEFAULT_BUILDER, PublicKey};
use crate::report::read_manifest;
use crate::resolve::said_while_busy;
use crate::sign::Key;
use crate::text::count;

/// Write an attestation beside each artifact of a run
///
/// An in-toto statement with SLSA provenance: `<artifact>.intoto.jsonl`, signed if a key is given. `run` does the
/// same for a matrix with `[attestation]`; this command is for other runs, for merged shards, and for signing on a
/// separate machine that has the key.
#[derive(Debug, Args)]
pub(super) struct AttestArguments {
    /// Output directory of the run
    #[arg(value_name = "OUT", default_value = "out")]
    out: PathBuf,
    /// Private key (Ed25519, ECDSA on P-256, RSA): a file or a `pkcs11:` URI
    #[arg(long, value_name = "KEY", help_heading = "Keys")]
    key: Option<String>,
    /// Environment variable with the password of the key or the PIN of the token
    #[arg(long, value_name = "NAME", requires = "key", help_heading = "Keys")]
    password: Option<String>,
    /// URI that identifies the builder
    #[arg(long, value_name = "URI", default_value = DEFAULT_BUILDER)]
    builder: Url,
    #[command(flatten)]
    format: AnswerFormat,
}

impl AttestArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let parse = |text: &String| {
            Key::parse(text, Path::new("")).ok_or_else(|| {
                CliError::input(
                    "the `pkcs11:` URI contains the PIN of the token: pass it in a variable named with --password",
                )
            })
        };
        let key = self.key.as_ref().map(parse).transpose()?;
        let opened = Attester::open(self.builder.into(), key, self.password);
        let attester = new_runtime()?.block_on(opened).map_err(of_input)?;
        let attested = attest(context, &attester, &self.out)?;
        if self.format.is_json() {
            print_json(&json!({
                "schema": 1,
                "written": attested.written,
                "unchanged": attested.unchanged,
                "key": attester.public_key().map(PublicKey::id),
            }))?;
        }
        Ok(ExitStatus::Success)
    }
}

/// Attests the artifacts that a run wrote to `out`.
pub(super) fn attest(
    context: &Context,
    attester: &Attester,
    out: &Path,
) -> Result<Attested, CliError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = new_runtime()?;
    let line = || format!("attesting the artifacts in {}", out.display());
    let attested = said_while_busy(context, line, || {
        let manifest = read_manifest(out)?;
        let work = crate::attest::attest(out, &manifest, attester, cores);
        let attested = runtime.block_on(work);
        attested.map_err(|error| CliError::infrastructure(error.to_string()))
    })?;
    let signed = match attester.public_key() {
        Some(key) => format!("signed by key {}", key.id().short()),
        None => "not signed".to_owned(),
    };
    context.notice(&format!(
        "{} written, {} unchanged ({signed})",
        count(attested.written, "attestation"),
        attested.unchanged
    ));
    Ok(attested)
}

fn of_input(error: AttestError) -> CliError {
    let message = error.to_string();
    let help = match error {
        AttestError::Sign(error) => error.help,
        _ => None,
    };
    CliError::Input { message, help }
}
