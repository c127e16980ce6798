//! Whether artifacts can be attested as the matrices say: known before the first build.

use super::refresh::runtime;
use super::{Planned, ResolveError};
use crate::attest::{AttestError, Attester, DEFAULT_BUILDER};
use crate::diagnostic::Diagnostic;
use crate::sign::About;

/// Opens the key of the `[attestation]` of the matrices of a plan; nothing if they have none.
pub(crate) fn check_attestation(planned: &Planned) -> Result<Option<Attester>, ResolveError> {
    let matrices = planned.matrix_files().iter();
    let mut named = matrices.filter_map(|matrix| Some((matrix, matrix.attestation.as_ref()?)));
    let Some((matrix, attestation)) = named.next() else {
        return Ok(None);
    };
    if let Some((other_matrix, other)) = named.find(|(_, other)| !other.is_same(attestation)) {
        let fault = Diagnostic::error("the matrices attest in different ways")
            .at(other_matrix.place(other.span(About::Machine)), "this one")
            .at(
                matrix.place(attestation.span(About::Machine)),
                "and this one",
            )
            .help("give the same [attestation] in each, or run them one by one");
        return Err(ResolveError::Diagnostics(vec![fault]));
    }
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
