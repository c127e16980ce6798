//! Builder images: root file systems with the compilers of one distribution release.
//!
//! In: the directory of descriptions (`images/*.toml`), the directory of built archives, and repositories or index
//! files of images in driverkit's format ([`index`]). Out: the compilers that they offer ([`Offer`]), the choice of one
//! for a kernel, with the reason ([`choose`]), and a built image's archive and identity ([`BuiltImage`]).
//! [`build`](build::build) creates the archives. An executor unpacks them or passes them to its daemon, which pulls
//! foreign images. No compiler runs in this module.
//!
//! An own image is one uncompressed, reproducible root file system archive. The archive is Docker's only layer, so its
//! digest is the layer's `diff_id`: an image has the same [`identity`] with and without a daemon.

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
