//! Checks before the first build that artifacts can be attested as the matrices require.

use super::common_table::CommonTable;
use super::refresh::runtime;
use super::{Planned, ResolveError};
use crate::attest::{AttestError, Attester, DEFAULT_BUILDER};
use crate::diagnostic::Diagnostic;
use crate::matrix::Attestation;
use crate::sign::About;

/// Opens the key of the `[attestation]` table of a plan's matrices. Returns `None` if no matrix has that table.
pub(crate) fn check_attestation(planned: &Planned) -> Result<Option<Attester>, ResolveError> {
    let table = CommonTable {
        name: "attestation",
        what: "attest",
        of: |matrix| matrix.attestation.as_ref(),
        is_same: Attestation::is_same,
        span: |one| one.span(About::Machine),
    };
    let Some((matrix, attestation)) = table.find(planned)? else {
        return Ok(None);
    };
    let builder = attestation.builder.as_deref().unwrap_or(DEFAULT_BUILDER);
    let (key, password) = (attestation.key.clone(), attestation.password.clone());
    let opened = runtime()?.block_on(Attester::open(builder.to_owned(), key, password));
    opened.map(Some).map_err(|error| {
        let (about, help) = match &error {
            AttestError::Sign(error) => (error.about, error.help.clone()),
            _ => (About::Key, None),
        };
        let fault = Diagnostic::error(error.to_string()).maybe_help(help);
        let fault = fault.at(matrix.place(attestation.span(about)), "");
        ResolveError::Diagnostics(vec![fault])
    })
}
