//! A table that must be the same in all matrices of a plan, because a run applies it to all builds.

use std::ops::Range;

use super::{Planned, ResolveError};
use crate::diagnostic::Diagnostic;
use crate::matrix::Matrix;

/// Describes a table that all matrices of a plan must share.
pub(super) struct CommonTable<'a, T> {
    /// The name of the table, for example `signing`.
    pub(super) name: &'static str,
    /// What the matrices do with the table, for example `sign modules`.
    pub(super) what: &'static str,
    pub(super) of: fn(&'a Matrix) -> Option<&'a T>,
    pub(super) is_same: fn(&T, &T) -> bool,
    pub(super) span: fn(&T) -> Range<usize>,
}

impl<'a, T> CommonTable<'a, T> {
    /// Returns the table of a plan and the first matrix that has it, or `None` if no matrix has it. Two different
    /// tables are an error.
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
                "use the same [{name}] in each, or run them one by one"
            ));
        Err(ResolveError::Diagnostics(vec![fault]))
    }
}
