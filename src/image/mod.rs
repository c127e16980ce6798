//! Builder images: root file systems with the compilers of one distribution release.
//!
//! In: the directory of descriptions (`images/*.toml`), the directory of built archives, and repositories or index
//! files of images in driverkit's form ([`index`]). Out: what compilers they offer ([`Offer`]), which of them a kernel
//! is built with and why ([`choose`]), and a built image's archive and identity ([`BuiltImage`]).
//! [`build`](build::build) makes the archives; an executor unpacks them or hands them to its daemon, which pulls those
//! of others. Nothing here runs a compiler.
//!
//! An own image is one uncompressed, reproducible root file system archive. It is Docker's only layer, so the digest of
//! the archive is the layer's `diff_id`: with and without a daemon an image has the same [`identity`].

pub mod build;
mod catalogue;
mod description;
mod foreign;
mod gcc;
pub mod index;
mod offer;
mod record;
mod registry;
mod runtime;
mod sources;

pub use catalogue::{Catalogue, CatalogueError};
pub use description::{
    ClangDescription, Compiler, DebianArchive, DebianSource, ImageDescription, Purpose,
    docker_name_of,
};
pub use foreign::{ForeignImages, ForeignImagesError};
pub use gcc::{GccVersion, ParseGccVersionError};
pub use offer::{ChoiceReason, Maker, NoCompiler, Offer, Wanted, choose};
pub use record::{BuiltImage, RecordError, identity};
pub use registry::{Login, RegistryAccess, RegistryError, list_tags};
pub use runtime::{EMULATOR, extract_runtime, loader};
pub use sources::{ImageSources, ImageSourcesError, OWN};
