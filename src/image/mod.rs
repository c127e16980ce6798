//! Builder images: root file systems with the compilers of one distribution release.
//!
//! In: the folder of descriptions (`images/*.toml`) and the folder of built archives. Out: which image and which of
//! its compilers a kernel is built with and why ([`Catalogue::choose`]), and the built image's archive and identity
//! ([`BuiltImage`]). [`build`](build::build) makes the archives; an executor unpacks them or hands them to its
//! daemon. No image is ever pulled, and nothing here runs a compiler.
//!
//! An image is one uncompressed, reproducible root file system archive. It is Docker's only layer, so the digest of
//! the archive is the layer's `diff_id`: with and without a daemon an image has the same [`identity`].

pub mod build;
mod catalogue;
mod description;
mod gcc;
mod record;

pub use catalogue::{Catalogue, CatalogueError, Choice, ChoiceReason, NoCompiler};
pub use description::{ClangDescription, Compiler, DebianArchive, DebianSource, ImageDescription};
pub use gcc::{GccVersion, ParseGccVersionError};
pub use record::{BuiltImage, RecordError, identity};
