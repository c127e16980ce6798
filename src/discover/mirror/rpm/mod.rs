//! Repositories of rpms: repodata, `mirror.list`, or a directory page.

mod index;
mod release;
mod repository;

pub(super) use release::expand;
pub(super) use repository::{Asked, Repository, discover};
