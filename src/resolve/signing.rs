//! Checks before the first build that modules can be signed as the matrices require.

use std::sync::Arc;

use super::common_table::CommonTable;
use super::refresh::runtime;
use super::{Planned, ResolveError};
use crate::diagnostic::Diagnostic;
use crate::driver::Artifact;
use crate::sign::{About, Signer};

/// Opens the signing key that the matrices name. Returns `None` if the plan has no modules or the matrices name no key.
pub(crate) fn check_signing(planned: &Planned) -> Result<Option<Arc<Signer>>, ResolveError> {
    let mut builds = planned.plan.builds.iter();
    if !builds.any(|build| build.artifacts.contains(&Artifact::Module)) {
        return Ok(None);
    }
    let table = CommonTable {
        name: "signing",
        what: "sign modules",
        of: |matrix| matrix.signing.as_ref(),
        is_same: |one, other| one.settings == other.settings,
        span: |one| one.span(About::Machine),
    };
    let Some((matrix, signing)) = table.find(planned)? else {
        return Ok(None);
    };
    let opened = runtime()?.block_on(Signer::open(signing.settings.clone()));
    opened
        .map(|signer| Some(Arc::new(signer)))
        .map_err(|error| {
            let fault = Diagnostic::error(error.message).maybe_help(error.help);
            let fault = fault.at(matrix.place(signing.span(error.about)), "");
            ResolveError::Diagnostics(vec![fault])
        })
}
