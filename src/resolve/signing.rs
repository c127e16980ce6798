//! Whether modules can be signed as the matrices say: known before the first build.

use std::sync::Arc;

use super::refresh::runtime;
use super::{Planned, ResolveError};
use crate::diagnostic::Diagnostic;
use crate::driver::Artifact;
use crate::matrix::Signing;
use crate::sign::{About, Signer};

/// Opens the key that the matrices of a plan with modules name; nothing if they name none.
pub(crate) fn check_signing(planned: &Planned) -> Result<Option<Arc<Signer>>, ResolveError> {
    let matrices = planned.matrix_files().iter();
    let mut named = matrices.filter_map(|matrix| Some((matrix, matrix.signing.as_ref()?)));
    let mut builds = planned.plan.builds.iter();
    let Some((matrix, signing)) = named.next() else {
        return Ok(None);
    };
    if !builds.any(|build| build.artifacts.contains(&Artifact::Module)) {
        return Ok(None);
    }
    let place = |signing: &Signing, about| matrix.place(signing.span(about));
    if let Some((other_matrix, other)) = named.find(|(_, other)| other.settings != signing.settings)
    {
        let fault = Diagnostic::error("the matrices sign modules in different ways")
            .at(other_matrix.place(other.span(About::Machine)), "this one")
            .at(place(signing, About::Machine), "and this one")
            .help("give the same [signing] in each, or run them one by one");
        return Err(ResolveError::Diagnostics(vec![fault]));
    }
    let opened = runtime()?.block_on(Signer::open(signing.settings.clone()));
    match opened {
        Ok(signer) => Ok(Some(Arc::new(signer))),
        Err(error) => {
            let fault = Diagnostic::error(error.message).maybe_help(error.help);
            let fault = fault.at(place(signing, error.about), "");
            Err(ResolveError::Diagnostics(vec![fault]))
        }
    }
}
