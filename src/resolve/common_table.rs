//! A table that all matrices of a plan must have in common, since a run does one thing with all its builds.

use std::ops::Range;

use super::{Planned, ResolveError};
use crate::diagnostic::Diagnostic;
use crate::matrix::Matrix;

/// A table of that kind.
pub(super) struct CommonTable<'a, T> {
    /// Its name: `signing`.
    pub(super) name: &'static str,
    /// What the matrices do by it: `sign modules`.
    pub(super) what: &'static str,
    pub(super) of: fn(&'a Matrix) -> Option<&'a T>,
    pub(super) is_same: fn(&T, &T) -> bool,
    pub(super) span: fn(&T) -> Range<usize>,
}

impl<'a, T> CommonTable<'a, T> {
    /// The table of a plan with the first matrix that has it; nothing if none has. Two that differ are an error.
    pub(super) fn find(
        &self,
        planned: &'a Planned,
    ) -> Result<Option<(&'a Matrix, &'a T)>, ResolveError> {
        let matrices = planned.matrix_files().iter();
        let mut named = matrices.filter_map(|matrix| Some((matrix, (self.of)(matrix)?)));
        let Some((matrix, table)) = named.next() else {
            return Ok(None);
        };
        let Some((other_matrix, other)) = named.find(|(_, other)| !(self.is_same)(other, table))
        else {
            return Ok(Some((matrix, table)));
        };
        let Self { name, what, .. } = self;
        let fault = Diagnostic::error(format!("the matrices {what} in different ways"))
            .at(other_matrix.place((self.span)(other)), "this one")
            .at(matrix.place((self.span)(table)), "and this one")
            .help(format!(
                "give the same [{name}] in each, or run them one by one"
            ));
        Err(ResolveError::Diagnostics(vec![fault]))
    }
}
