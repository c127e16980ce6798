//! Repositories of rpms: repodata, `mirror.list`, or a directory page.

mod family;
mod index;
mod release;
mod repository;

pub(super) use family::{Family, family};
pub(super) use release::expand;
pub(super) use repository::discover;
